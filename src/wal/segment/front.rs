//! What the front of a segment's file says: its header, and the first frame behind it, which links it to the segment before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::BytesMut;

use super::{FRAMES_START, FRAMES_START_INDEX, SegmentHeader, list, segment_path};
use crate::codec::crc;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{FencingToken, SegmentNo};
use crate::limits::FRAME_HEADER_BYTES;
use crate::vfs::{File, OpenMode, Vfs, read_full_at, retry};
use crate::wal::frame::{FrameHeader, FrameKind, Predecessor, SEGMENT_START_PAYLOAD_BYTES};
use crate::wal::scan::LogId;

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
