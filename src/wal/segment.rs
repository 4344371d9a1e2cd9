//! The segment: one file of fixed size, prepared before its first frame, recycled after its last.
//!
//! ```text
//! 0        8         12     16        32        48      56       64        72     74      124   128     4096
//! | magic  | version | unit | database | identity | token | number | bytes  | core | zeroes | crc | zeroes | frames …
//! ```
//!
//! 1. A final name is given only to a file whose header and length are durable. So a bad header under a final name
//!    is damage and never the trace of a crash.
//! 2. The header crc is the salt of every frame in the file. It covers an identity from entropy, so that frames of
//!    an earlier use of the same bytes never count.
//! 3. A retired segment loses its final name, durably, before its first byte changes.
//! 4. A file with a second name is never recycled: somebody else relies on its bytes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};

use crate::codec::{Reader, crc};
use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::ids::{CoreId, DatabaseId, FencingToken, Nonce, SegmentNo};
use crate::limits::{
    FORMAT_VERSION, FRAME_HEADER_BYTES, SECTOR_BYTES, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
    WRITE_UNIT_BYTES_MAX,
};
use crate::vfs::{
    File, OpenMode, Vfs, aligned_zeroes, allocate, read_full_at, retry, write_all_and_sync, write_all_at,
    write_zeroes,
};
use crate::wal::frame::{FrameHeader, FrameKind, Predecessor, SEGMENT_START_PAYLOAD_BYTES};
use crate::wal::scan::LogId;

/// The first bytes of every segment.
pub(crate) const MAGIC: [u8; 8] = *b"HWALSEG\0";

/// Bytes of the header that say something; the rest of its 4,096 are zero.
pub(crate) const HEADER_USED_BYTES: usize = 128;

/// Where the first frame stands.
pub(crate) const FRAMES_START: u64 = WRITE_UNIT_BYTES_MAX as u64;

/// The same in memory.
const FRAMES_START_INDEX: usize = WRITE_UNIT_BYTES_MAX as usize;

/// What the rest of a header is compared with.
static ZEROES: [u8; FRAMES_START_INDEX] = [0; FRAMES_START_INDEX];

/// Digits of a number in a name: those of the greatest u64.
const NAME_DIGITS: usize = 20;

/// What stays the same over all segments that one life of one core writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogSpec {
    pub(crate) database: DatabaseId,
    pub(crate) core: CoreId,
    pub(crate) token: FencingToken,
    pub(crate) write_unit: u32,
    pub(crate) segment_bytes: u64,
}

impl LogSpec {
    /// # Errors
    ///
    /// `Invalid` when a size is outside its limits.
    pub(crate) fn check(&self) -> Result<()> {
        if self.write_unit != SECTOR_BYTES && self.write_unit != WRITE_UNIT_BYTES_MAX {
            return Err(Error::new(
                ErrorCode::BadOption,
                format!(
                    "a write unit of {} bytes; it must be {SECTOR_BYTES} or {WRITE_UNIT_BYTES_MAX}",
                    self.write_unit
                ),
            ));
        }
        let sizes = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX;
        if !sizes.contains(&self.segment_bytes)
            || !self.segment_bytes.is_multiple_of(u64::from(WRITE_UNIT_BYTES_MAX))
        {
            return Err(Error::new(
                ErrorCode::BadOption,
                format!(
                    "segments of {} bytes; choose a multiple of {WRITE_UNIT_BYTES_MAX} from {SEGMENT_BYTES_MIN} to \
                 {SEGMENT_BYTES_MAX}",
                    self.segment_bytes
                ),
            ));
        }
        Ok(())
    }

    /// The write unit, for offsets.
    pub(crate) fn unit(&self) -> u64 {
        u64::from(self.write_unit)
    }

    /// Where a segment's frames with records end: its last unit is kept for the seal.
    pub(crate) fn records_end(&self) -> u64 {
        self.segment_bytes - self.unit()
    }

    /// The largest frame, header included, that an otherwise empty segment takes.
    pub(crate) fn frame_bytes_max(&self) -> usize {
        let bytes = self.records_end() - FRAMES_START - self.unit();
        usize::try_from(bytes).expect("SEGMENT_BYTES_MAX fits an address space")
    }
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) log: LogSpec,
    pub(crate) number: SegmentNo,
    pub(crate) identity: Nonce,
}

impl SegmentHeader {
    /// The used front of the encoded header and the salt for its frames.
    pub(crate) fn encode(&self) -> ([u8; HEADER_USED_BYTES], u32) {
        let mut out = [0; HEADER_USED_BYTES];
        out[0..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.log.write_unit.to_le_bytes());
        out[16..32].copy_from_slice(&self.log.database.0.to_le_bytes());
        out[32..48].copy_from_slice(&self.identity.0.to_le_bytes());
        out[48..56].copy_from_slice(&self.log.token.0.to_le_bytes());
        out[56..64].copy_from_slice(&self.number.0.to_le_bytes());
        out[64..72].copy_from_slice(&self.log.segment_bytes.to_le_bytes());
        out[72..74].copy_from_slice(&self.log.core.0.to_le_bytes());
        let salt = crc(0, &out[..124]);
        out[124..128].copy_from_slice(&salt.to_le_bytes());
        (out, salt)
    }

    /// What stands in front of the frames.
    fn page(&self) -> Bytes {
        let mut page = aligned_zeroes(FRAMES_START_INDEX);
        page[..HEADER_USED_BYTES].copy_from_slice(&self.encode().0);
        page.freeze()
    }

    /// The salt for its frames.
    pub(crate) fn salt(&self) -> u32 {
        self.encode().1
    }

    /// The header at the front of `bytes`, and the salt; else what is wrong with it.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a later version, `Corrupt` for anything else; both about `path`.
    pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<(Self, u32)> {
        let broken = |what: &str| {
            Error::corrupt(
                ErrorCode::SegmentDamaged,
                path,
                format!(
                    "segment header at offset 0: {what}, yet a segment has its final name only when its header is \
                     durable; restore this file from a backup"
                ),
            )
        };
        let (Some(head), Some(page)) =
            (bytes.first_chunk::<HEADER_USED_BYTES>(), bytes.get(..WRITE_UNIT_BYTES_MAX as usize))
        else {
            return Err(broken(&format!("the file ends after {} bytes", bytes.len())));
        };
        if head[..8] != MAGIC {
            return Err(broken("the magic bytes are wrong"));
        }
        let [.., c0, c1, c2, c3] = *head;
        let salt = u32::from_le_bytes([c0, c1, c2, c3]);
        if salt != crc(0, &head[..124]) {
            return Err(broken("the checksum does not match"));
        }
        let format = Reader(&head[8..]).u32().unwrap_or(0);
        if format > FORMAT_VERSION {
            return Err(Error::newer_format(path, "a segment", format));
        }
        let header = Self::fields(head)
            .filter(|_| format == FORMAT_VERSION)
            .ok_or_else(|| broken("the fields contradict each other"))?;
        if page[HEADER_USED_BYTES..] != ZEROES[HEADER_USED_BYTES..] {
            return Err(broken("bytes 128 to 4095 are not zero"));
        }
        header.log.check().map_err(|_| broken("a size is outside the limits of the format"))?;
        Ok((header, salt))
    }

    fn fields(head: &[u8; HEADER_USED_BYTES]) -> Option<Self> {
        let mut fields = Reader(&head[12..124]);
        let write_unit = fields.u32()?;
        let database = Nonce(fields.u128()?);
        let identity = Nonce(fields.u128()?);
        let token = FencingToken(fields.u64()?);
        let number = SegmentNo(fields.u64()?);
        let segment_bytes = fields.u64()?;
        let core = CoreId(fields.u16()?);
        let zeroes = fields.bytes(50)?;
        let log = LogSpec { database, core, token, write_unit, segment_bytes };
        zeroes.iter().all(|byte| *byte == 0).then_some(Self { log, number, identity })
    }
}

/// A segment under its final name, ready for its first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prepared {
    pub(crate) number: SegmentNo,
    pub(crate) identity: Nonce,
    pub(crate) salt: u32,
}

/// The final path of a segment.
pub(crate) fn segment_path(dir: &Path, number: SegmentNo) -> PathBuf {
    let mut digits = [b'0'; NAME_DIGITS];
    let mut rest = number.0;
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
    }
    // With room for the whole: a log is read by many of these.
    let mut path = PathBuf::with_capacity(dir.as_os_str().len() + 1 + NAME_DIGITS);
    path.push(dir);
    path.push(str::from_utf8(&digits).expect("digits are ASCII"));
    path
}

/// The path of a segment that is being made, or being unmade.
pub(crate) fn temp_path(dir: &Path, number: SegmentNo, identity: Nonce) -> PathBuf {
    dir.join(format!("{:020}.{identity}.tmp", number.0))
}

/// The number in a final name; `None` for every other name.
pub(crate) fn parse_name(name: &str) -> Option<SegmentNo> {
    let digits = name.len() == NAME_DIGITS && name.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| name.parse().ok().map(SegmentNo)).flatten()
}

/// Whether `name` is one that [`prepare`] and [`recycle`] use on the way.
pub(crate) fn is_temp_name(name: &str) -> bool {
    let Some((number, rest)) = name.split_once('.') else { return false };
    let Some(nonce) = rest.strip_suffix(".tmp") else { return false };
    parse_name(number).is_some()
        && nonce.len() == 32
        && nonce.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The numbers of all segments in `dir`, ascending.
pub(crate) async fn list<V: Vfs>(vfs: &V, dir: &Path) -> Result<Vec<SegmentNo>> {
    Ok(list_all(vfs, dir).await?.segments)
}

/// The fronts of the segments of `log` in `dir`, ascending.
///
/// # Errors
///
/// `Corrupt` for a bad segment header or that of another log, `Failed` when the device fails to read.
pub(crate) async fn catalog<V: Vfs>(vfs: &V, dir: &Path, log: LogId) -> Result<Vec<Front>> {
    let mut catalog = Vec::new();
    for number in list(vfs, dir).await? {
        let first = read_first_frame(vfs, dir, number).await?;
        let header = first.header;
        let found = LogId { database: header.log.database, core: header.log.core };
        if found != log {
            let what = format!(
                "the segment header at offset 0 belongs to database {}, core {}, and the log that it lies in to database \
                 {}, core {}: a file of another log was put here; nothing was changed, restore this file from a backup",
                found.database, found.core, log.database, log.core
            );
            return Err(Error::corrupt(ErrorCode::SegmentForeign, &first.path, what));
        }
        catalog.push(first.front());
    }
    Ok(catalog)
}

/// What a directory of segments holds, by name.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// The numbers of all segments, ascending.
    pub(crate) segments: Vec<SegmentNo>,
    /// What interrupted preparations left behind.
    pub(crate) temps: Vec<String>,
}

/// Segments and temporary names of `dir`.
pub(crate) async fn list_all<V: Vfs>(vfs: &V, dir: &Path) -> Result<Listing> {
    let entries = retry(|| vfs.list(dir)).await.map_err(|e| Error::io("listing segments", dir, e))?;
    let mut listing = Listing::default();
    for entry in entries {
        if let Some(number) = parse_name(&entry.name) {
            listing.segments.push(number);
        } else if is_temp_name(&entry.name) {
            listing.temps.push(entry.name);
        }
    }
    Ok(listing)
}

/// Removes what interrupted preparations left behind.
pub(crate) async fn remove_temps<V: Vfs>(vfs: &V, dir: &Path, temps: &[String]) -> Result<()> {
    for name in temps {
        let path = dir.join(name);
        retry(|| vfs.remove(&path)).await.map_err(|e| Error::io("removing a temporary segment", &path, e))?;
    }
    Ok(())
}

/// Reads and checks the header of a segment, against the file's name and length too.
pub(crate) async fn read_header<F: File>(
    file: &F,
    path: &Path,
    number: SegmentNo,
) -> Result<(SegmentHeader, u32)> {
    let (header, salt, _) = read_front(file, path, number, &mut BytesMut::zeroed(FRAMES_START_INDEX)).await?;
    Ok((header, salt))
}

/// Fills `front` from the file's beginning, cuts it where the file ends, and checks the header at its front. Returns
/// header, salt and the length of the file.
async fn read_front<F: File>(
    file: &F,
    path: &Path,
    number: SegmentNo,
    front: &mut BytesMut,
) -> Result<(SegmentHeader, u32, u64)> {
    let (mut read, count) = read_full_at(file, 0, std::mem::take(front))
        .await
        .map_err(|e| Error::io("reading the front of a segment", path, e))?;
    read.truncate(count);
    *front = read;
    let (header, salt) = SegmentHeader::decode(front, path)?;
    if header.number != number {
        return Err(Error::corrupt(
            ErrorCode::SegmentDamaged,
            path,
            format!(
                "the segment header at offset 0 says number {}, the file name says {number}",
                header.number
            ),
        ));
    }
    let bytes = retry(|| file.len()).await.map_err(|e| Error::io("measuring a segment", path, e))?;
    if bytes < header.log.segment_bytes {
        return Err(Error::corrupt(
            ErrorCode::SegmentShort,
            path,
            format!(
                "the file ends at offset {bytes}, its header says {}, and its length was durable before it had this \
                 name: restore this file from a backup",
                header.log.segment_bytes
            ),
        ));
    }
    Ok((header, salt, bytes))
}

/// Makes a new segment: zeroes written, header durable, final name durable.
///
/// # Errors
///
/// `Full` when the device has no space: the call may be repeated with another identity. `Failed` for every other
/// trouble. Nothing is left behind, if the device lets it be removed.
pub(crate) async fn prepare<V: Vfs>(vfs: &V, dir: &Path, header: &SegmentHeader) -> Result<Prepared> {
    prepare_open(vfs, dir, header).await.map(|(prepared, _)| prepared)
}

/// As [`prepare`], and leaves the segment open for whoever writes its first frame.
///
/// # Errors
///
/// As there.
pub(crate) async fn prepare_open<V: Vfs>(
    vfs: &V,
    dir: &Path,
    header: &SegmentHeader,
) -> Result<(Prepared, V::File)> {
    header.log.check()?;
    let temp = temp_path(dir, header.number, header.identity);
    let made = async {
        let file = write_new(vfs, &temp, header).await?;
        Ok((publish(vfs, dir, &temp, header).await?, file))
    }
    .await;
    let core = header.log.core.0;
    match &made {
        Ok(_) => {
            tracing::debug!(target: "highwater::wal", core, segment = header.number.0, "segment prepared");
        }
        Err(_) => discard(vfs, &temp).await,
    }
    made
}

async fn write_new<V: Vfs>(vfs: &V, temp: &Path, header: &SegmentHeader) -> Result<V::File> {
    let failed = |e| Error::io("preparing a segment", temp, e);
    let file = retry(|| vfs.create_new(temp)).await.map_err(failed)?;
    check_unit(&file, &header.log, temp)?;
    // Where the file system has no means to, the zeroes take the space.
    allocate(&file, header.log.segment_bytes).await.map_err(failed)?;
    write_all_at(&file, 0, header.page()).await.map_err(failed)?;
    write_zeroes(&file, FRAMES_START..header.log.segment_bytes).await.map_err(failed)?;
    retry(|| file.sync_data()).await.map_err(failed)?;
    Ok(file)
}

/// Gives the file `temp`, whose content is durable, its final name.
async fn publish<V: Vfs>(vfs: &V, dir: &Path, temp: &Path, header: &SegmentHeader) -> Result<Prepared> {
    let path = segment_path(dir, header.number);
    if vfs.open(&path, OpenMode::Read).await.is_ok() {
        return Err(Error::new(
            ErrorCode::SegmentExists,
            format!("segment {} exists already: numbers are never used twice; reopen the log", header.number),
        )
        .at(&path));
    }
    retry(|| vfs.rename(temp, &path)).await.map_err(|e| Error::io("naming a segment", &path, e))?;
    if let Err(error) = retry(|| vfs.sync_dir(dir)).await {
        discard(vfs, &path).await;
        return Err(Error::io("naming a segment", dir, error));
    }
    Ok(Prepared { number: header.number, identity: header.identity, salt: header.salt() })
}

/// Removes a segment that was not finished, of which nobody knows: a caller that tries again takes another number, and
/// space with it. Best effort: one that stays is removed at the next open.
async fn discard<V: Vfs>(vfs: &V, path: &Path) {
    let _ = retry(|| vfs.remove(path)).await;
}

/// Removes a segment that no log needs any more; that it is gone already is as good. A crash may undo it
/// (`trim`, invariant 1).
///
/// # Errors
///
/// `Failed` when the device fails: whether the segment is there is unknown then.
pub(crate) async fn remove<V: Vfs>(vfs: &V, dir: &Path, number: SegmentNo) -> Result<()> {
    let path = segment_path(dir, number);
    match retry(|| vfs.remove(&path)).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("removing a segment that is no longer needed", &path, error)
                .with_kind(ErrorKind::Failed))
        }
        _ => Ok(()),
    }
}

/// Makes a new segment out of the retired one, without writing its zeroes again. `None` when that cannot be done: the
/// file's size differs, or it has a second name, or the device fails. The retired one is removed then.
///
/// # Errors
///
/// `Full` when there is no space for a name, `Failed` when the retired segment cannot even be removed. It may be there
/// still: recycle or remove it later.
pub(crate) async fn recycle<V: Vfs>(
    vfs: &V,
    dir: &Path,
    retired: SegmentNo,
    header: &SegmentHeader,
) -> Result<Option<Prepared>> {
    header.log.check()?;
    assert!(retired < header.number, "segment {} recycled as {}", retired, header.number);
    match recycle_file(vfs, dir, retired, header).await {
        Ok(Some(prepared)) => return Ok(Some(prepared)),
        Ok(None) => {}
        Err(error) if error.kind() == ErrorKind::Full => return Err(error),
        Err(error) => {
            let (core, from) = (header.log.core.0, retired.0);
            tracing::debug!(target: "highwater::wal", core, from, %error, "segment not recycled");
        }
    }
    remove(vfs, dir, retired).await?;
    Ok(None)
}

/// [`recycle`], as far as it goes: leaves the retired segment as it is, or nothing at all, when it cannot be done.
async fn recycle_file<V: Vfs>(
    vfs: &V,
    dir: &Path,
    retired: SegmentNo,
    header: &SegmentHeader,
) -> Result<Option<Prepared>> {
    let old = segment_path(dir, retired);
    let temp = temp_path(dir, header.number, header.identity);
    let failed = |e| Error::io("recycling a segment", &old, e);
    let file = retry(|| vfs.open(&old, OpenMode::Write)).await.map_err(failed)?;
    let bytes = retry(|| file.len()).await.map_err(failed)?;
    let names = retry(|| file.link_count()).await.map_err(failed)?;
    if bytes != header.log.segment_bytes || names != 1 {
        return Ok(None);
    }
    // The old name must be gone for good before the first byte changes.
    retry(|| vfs.rename(&old, &temp)).await.map_err(failed)?;
    let made = async {
        retry(|| vfs.sync_dir(dir)).await.map_err(failed)?;
        write_all_and_sync(&file, 0, header.page()).await.map_err(failed)?;
        publish(vfs, dir, &temp, header).await
    }
    .await;
    let (core, from, to) = (header.log.core.0, retired.0, header.number.0);
    match &made {
        Ok(_) => tracing::debug!(target: "highwater::wal", core, from, to, "segment recycled"),
        Err(_) => discard(vfs, &temp).await,
    }
    made.map(Some)
}

/// # Errors
///
/// `Unsupported` when the device overwrites more at once than the log's write unit: a torn write could then reach
/// acknowledged bytes.
pub(crate) fn check_unit<F: File>(file: &F, log: &LogSpec, path: &Path) -> Result<()> {
    if file.write_unit() > log.write_unit {
        return Err(Error::new(
            ErrorCode::UnitTooLarge,
            format!(
                "the device overwrites {} bytes at once, the log was made for {}: move it to another device",
                file.write_unit(),
                log.write_unit
            ),
        )
        .at(path));
    }
    Ok(())
}

/// Whose a segment is and which one it follows, as its valid `SegmentStart` says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) token: FencingToken,
    pub(crate) predecessor: Predecessor,
}

/// What the front of a segment says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Front {
    pub(crate) header: SegmentHeader,
    pub(crate) salt: u32,
    /// As its `SegmentStart` says, if that is valid.
    pub(crate) link: Option<Link>,
}

/// Links that were read, by segment. No number is used twice: what they say stays true while their segments are there.
pub(crate) type Links = BTreeMap<SegmentNo, Link>;

impl<F> FirstFrame<F> {
    /// The link, if the segment has one yet.
    pub(crate) fn link(&self) -> Option<Link> {
        let (_, predecessor) = self.start?;
        Some(Link { token: self.header.log.token, predecessor })
    }

    /// What is worth keeping of it.
    pub(crate) fn front(&self) -> Front {
        Front { header: self.header, salt: self.salt, link: self.link() }
    }
}

/// A segment's header and, if it is valid, its `SegmentStart`.
pub(crate) struct FirstFrame<F> {
    pub(crate) path: PathBuf,
    pub(crate) file: F,
    pub(crate) header: SegmentHeader,
    pub(crate) salt: u32,
    /// The length of the file.
    pub(crate) bytes: u64,
    pub(crate) start: Option<(FrameHeader, Predecessor)>,
    /// The floor that it states; zero when it states none.
    pub(crate) floor: SegmentNo,
}

/// Reads the front of a segment.
///
/// # Errors
///
/// `Corrupt` for a bad segment header; a bad first frame is `None`. `Failed` when the device fails to read.
pub(crate) async fn read_first_frame<V: Vfs>(
    vfs: &V,
    dir: &Path,
    number: SegmentNo,
) -> Result<FirstFrame<V::File>> {
    let path = segment_path(dir, number);
    let failed = |e| Error::io("reading the front of a segment", &path, e);
    let file = retry(|| vfs.open(&path, OpenMode::Read)).await.map_err(failed)?;
    let mut front = BytesMut::zeroed(FRAMES_START_INDEX + FRAME_HEADER_BYTES + SEGMENT_START_PAYLOAD_BYTES);
    let (header, salt, bytes) = read_front(&file, &path, number, &mut front).await?;
    let (start, floor) = match decode_start(&header, salt, &front[FRAMES_START_INDEX..]) {
        Some((frame, start, floor)) => (Some((frame, start)), floor),
        None => (None, SegmentNo(0)),
    };
    Ok(FirstFrame { path, file, header, salt, bytes, start, floor })
}

fn decode_start(
    header: &SegmentHeader,
    salt: u32,
    front: &[u8],
) -> Option<(FrameHeader, Predecessor, SegmentNo)> {
    let (frame, _) = FrameHeader::decode(salt, FRAMES_START, front).ok()?;
    let payload = front.get(FRAME_HEADER_BYTES..)?;
    let ours = (frame.core, frame.token, frame.segment) == (header.log.core, header.log.token, header.number);
    if frame.kind != FrameKind::SegmentStart || !ours || frame.payload_crc != crc(salt, payload) {
        return None;
    }
    let (start, floor) = Predecessor::decode(payload, header.number)?;
    Some((frame, start, floor))
}
