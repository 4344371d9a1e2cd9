//! What the segments of one core's log hold, without asking which of them a recovery would use.

use std::path::Path;

use crate::codec::crc;
use crate::error::{Error, Result};
use crate::ids::{CoreId, DatabaseId, Epoch, FencingToken, Lsn, Nonce, SegmentNo};
use crate::limits::FRAME_HEADER_BYTES;
use crate::vfs::{File, Vfs};
use crate::wal::evidence::scan_evidence;
use crate::wal::frame::{FrameHeader, FrameKind};
use crate::wal::segment::{self, FRAMES_START, FirstFrame};
use crate::wal::window::Window;

const READ_AHEAD_BYTES: usize = 256 * 1024;

/// What a segment is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SegmentState {
    /// It has no valid `SegmentStart`, so that no frame of it counts: ready for use, or of a life that never began.
    Prepared,
    /// It is the last of its token.
    Last,
    /// A later segment says that it follows.
    Sealed,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentStats {
    /// Its number.
    pub number: SegmentNo,
    /// The database it belongs to.
    pub database: DatabaseId,
    /// The core it belongs to.
    pub core: CoreId,
    /// The token that wrote it.
    pub token: FencingToken,
    /// Its identity.
    pub identity: Nonce,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes up to the end of the last frame that could be followed, padding included.
    pub used_bytes: u64,
    /// Count of the frames that could be followed.
    pub frames: u64,
    /// Count of their records.
    pub records: u64,
    /// The LSN of the first record, if there is one.
    pub first_lsn: Option<Lsn>,
    /// The LSN of the last record, if there is one.
    pub last_lsn: Option<Lsn>,
    /// The greatest durable mark in any valid frame, also behind a hole.
    pub durable_through: Lsn,
    /// The greatest closed epoch in any valid frame, also behind a hole.
    pub closed_through: Epoch,
    /// Count of valid frames behind the first that could not be followed.
    pub frames_behind: u64,
    /// What it is good for.
    pub state: SegmentState,
}

/// Statistics of every segment in `dir`, ascending by number.
///
/// # Errors
///
/// `Corrupt` for a segment whose header is bad; `Failed` when the device fails to read.
pub async fn segments<V: Vfs>(vfs: &V, dir: impl AsRef<Path>) -> Result<Vec<SegmentStats>> {
    let dir = dir.as_ref();
    let mut all: Vec<SegmentStats> = Vec::new();
    for number in segment::list(vfs, dir).await? {
        let front = segment::read_first_frame(vfs, dir, number).await?;
        if let Some((_, start)) = front.start {
            let token = front.header.log.token;
            for before in &mut all {
                if (before.number, before.token) == (start.segment, token) {
                    before.state = SegmentState::Sealed;
                }
            }
        }
        all.push(of_segment(&front).await?);
    }
    Ok(all)
}

async fn of_segment<F: File>(front: &FirstFrame<F>) -> Result<SegmentStats> {
    let log = &front.header.log;
    let mut stats = SegmentStats {
        number: front.header.number,
        database: log.database,
        core: log.core,
        token: log.token,
        identity: front.header.identity,
        file_bytes: front.bytes,
        used_bytes: FRAMES_START,
        frames: 0,
        records: 0,
        first_lsn: None,
        last_lsn: None,
        durable_through: Lsn(0),
        closed_through: Epoch(0),
        frames_behind: 0,
        state: if front.start.is_some() { SegmentState::Last } else { SegmentState::Prepared },
    };
    let limit = log.segment_bytes;
    let mut window = Window::new(READ_AHEAD_BYTES);
    while let Some(header) = frame_at(front, &mut window, stats.used_bytes, limit).await? {
        stats.frames += 1;
        if header.kind == FrameKind::Records {
            stats.records += u64::from(header.records);
            stats.first_lsn = stats.first_lsn.or(Some(header.first_lsn));
            stats.last_lsn = Some(Lsn(header.next_lsn().0 - 1));
        }
        stats.durable_through = stats.durable_through.max(header.durable_through);
        stats.closed_through = stats.closed_through.max(header.closed_through);
        stats.used_bytes += u64::from(header.frame_bytes).next_multiple_of(log.unit());
    }
    let (place, stretch) = ((&front.file, front.path.as_path()), (stats.used_bytes, limit));
    let behind = scan_evidence(&mut window, place, front.salt, log.unit(), stretch).await?;
    stats.durable_through = stats.durable_through.max(behind.durable_through);
    stats.closed_through = stats.closed_through.max(behind.closed_through);
    stats.frames_behind = behind.frames;
    Ok(stats)
}

/// The frame at `offset`, if it is whole.
async fn frame_at<F: File>(
    front: &FirstFrame<F>,
    window: &mut Window,
    offset: u64,
    limit: u64,
) -> Result<Option<FrameHeader>> {
    let failed = |e| Error::io("reading a segment", &front.path, e);
    if !window.ensure(&front.file, offset, FRAME_HEADER_BYTES, limit).await.map_err(failed)? {
        return Ok(None);
    }
    let bytes = window.get(offset, FRAME_HEADER_BYTES).unwrap_or_default();
    let Ok((header, _)) = FrameHeader::decode(front.salt, offset, bytes) else { return Ok(None) };
    let frame_bytes = header.frame_bytes as usize;
    if u64::from(header.frame_bytes) > limit - offset
        || !window.ensure(&front.file, offset, frame_bytes, limit).await.map_err(failed)?
    {
        return Ok(None);
    }
    let frame = window.get(offset, frame_bytes).unwrap_or_default();
    let payload = frame.get(FRAME_HEADER_BYTES..).unwrap_or_default();
    Ok((header.payload_crc == crc(front.salt, payload)).then_some(header))
}
