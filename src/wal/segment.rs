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

mod front;
mod names;
mod prepare;

use std::path::Path;

use bytes::Bytes;

use crate::codec::{Reader, crc};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{CoreId, DatabaseId, FencingToken, Nonce, SegmentNo};
use crate::limits::{
    FORMAT_VERSION, SECTOR_BYTES, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, WRITE_UNIT_BYTES_MAX,
};
use crate::vfs::aligned_zeroes;

pub(crate) use front::{FirstFrame, Front, Link, Links, catalog, read_first_frame, read_header};
pub(crate) use names::{list, list_all, remove_temps, segment_path};
pub(crate) use prepare::{Prepared, check_unit, prepare, prepare_open, recycle, recycle_open, remove};

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
