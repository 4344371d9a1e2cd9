//! What frames behind a hole still prove.

use std::path::Path;

use crate::codec::crc;
use crate::error::{Error, Result};
use crate::ids::{Epoch, Lsn, SegmentNo};
use crate::limits::{FRAME_HEADER_BYTES, WRITE_UNIT_BYTES_MAX};
use crate::vfs::File;
use crate::wal::frame::{FLOOR_BYTES, FrameHeader, FrameKind, stated_floor};
use crate::wal::segment::{FRAMES_START, FirstFrame};
use crate::wal::window::Window;

/// Bytes of one read in search of evidence.
pub(crate) const READ_AHEAD_BYTES: usize = 64 * WRITE_UNIT_BYTES_MAX as usize;

/// The greatest marks of the valid headers in a stretch of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) durable_through: Lsn,
    pub(crate) closed_through: Epoch,
    /// The least closed-through of any header.
    pub(crate) least_closed_through: Option<Epoch>,
    pub(crate) greatest_lsn: Lsn,
    /// The greatest floor of the seals, the last one of a life among them.
    pub(crate) floor: SegmentNo,
    /// The least LSN that a header begins with.
    pub(crate) least_lsn: Option<Lsn>,
    /// The greatest durable-through of a frame with records. The beginning of a life writes none above zero.
    pub(crate) records_durable_through: Lsn,
    /// Count of valid headers.
    pub(crate) frames: u64,
}

impl Evidence {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.durable_through = self.durable_through.max(other.durable_through);
        self.closed_through = self.closed_through.max(other.closed_through);
        self.greatest_lsn = self.greatest_lsn.max(other.greatest_lsn);
        self.floor = self.floor.max(other.floor);
        self.least_closed_through =
            self.least_closed_through.into_iter().chain(other.least_closed_through).min();
        self.least_lsn = self.least_lsn.into_iter().chain(other.least_lsn).min();
        self.records_durable_through = self.records_durable_through.max(other.records_durable_through);
        self.frames += other.frames;
    }

    pub(crate) fn add(&mut self, header: &FrameHeader) {
        self.merge(&Self {
            durable_through: header.durable_through,
            closed_through: header.closed_through,
            least_closed_through: Some(header.closed_through),
            greatest_lsn: Lsn(header.next_lsn().0 - 1),
            floor: SegmentNo(0),
            least_lsn: Some(header.first_lsn),
            records_durable_through: match header.kind {
                FrameKind::Records => header.durable_through,
                FrameKind::SegmentStart | FrameKind::Seal | FrameKind::Close => Lsn(0),
            },
            frames: 1,
        });
    }
}

/// What all frames of one segment say.
pub(crate) async fn evidence_in<F: File>(front: &FirstFrame<F>) -> Result<Evidence> {
    let log = &front.header.log;
    let mut window = Window::new(READ_AHEAD_BYTES);
    let stretch = (FRAMES_START, log.segment_bytes);
    scan_evidence(&mut window, (&front.file, &front.path), front.salt, log.unit(), stretch).await
}

/// Tries every write unit between two offsets for a valid header. Lengths are not followed: what they would skip may
/// hold evidence. `window` is one on this file; it holds another part of it afterwards.
pub(crate) async fn scan_evidence<F: File>(
    window: &mut Window,
    (file, path): (&F, &Path),
    salt: u32,
    unit: u64,
    (from, limit): (u64, u64),
) -> Result<Evidence> {
    let failed = |e| Error::io("reading a segment for evidence", path, e);
    let mut evidence = Evidence::default();
    let mut offset = from;
    while limit.saturating_sub(offset) >= FRAME_HEADER_BYTES as u64 {
        let there = window.ensure(file, offset, FRAME_HEADER_BYTES, limit).await.map_err(failed)?;
        let Some(bytes) = window.get(offset, FRAME_HEADER_BYTES).filter(|_| there) else { break };
        if let Ok((header, _)) = FrameHeader::decode(salt, offset, bytes) {
            evidence.add(&header);
            if matches!(header.kind, FrameKind::Seal | FrameKind::Close) {
                let at = offset + FRAME_HEADER_BYTES as u64;
                window.ensure(file, at, FLOOR_BYTES, limit).await.map_err(failed)?;
                let payload = window.get(at, FLOOR_BYTES).filter(|it| header.payload_crc == crc(salt, it));
                let floor = payload.and_then(|payload| stated_floor(&header, payload));
                evidence.floor = evidence.floor.max(floor.unwrap_or_default());
            }
        }
        offset += unit;
    }
    Ok(evidence)
}
