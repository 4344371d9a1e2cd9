//! Everything of a log but its file: its marks, its cursor, and the frames that are made there.
//!
//! 1. What a frame states as durable is durable when the frame is submitted; while a life begins, frames state nothing.
//! 2. Records are submitted in LSN order, each frame behind the one before it, and none behind the end of its segment.

use std::sync::Arc;

use bytes::Bytes;

use crate::codec::crc;
use crate::ids::{Epoch, Lsn, SegmentNo};
use crate::limits::FRAME_HEADER_BYTES;
use crate::vfs::aligned_zeroes;
use crate::wal::batch::{Batch, FrozenBatch};
use crate::wal::frame::{FrameHeader, FrameKind, chain_after};
use crate::wal::inflight::Unsynced;
use crate::wal::log::Feed;
use crate::wal::marks::Marks;
use crate::wal::segment::LogSpec;
use crate::wal::tally::Tally;

/// Everything of a log but its file: what a drive changes while writes borrow the file.
pub(super) struct Desk {
    pub(super) spec: LogSpec,
    pub(super) cursor: Cursor,
    pub(super) marks: Marks,
    /// A batch that was taken from the feed and has no frame yet: it did not fit, or the device was full.
    pub(super) held: Option<Batch>,
    /// No segment below is needed, as a durable frame says; what the next seal or `SegmentStart` repeats.
    pub(super) floor: SegmentNo,
    /// While a life begins nothing of it counts, so its frames claim nothing (see `life`).
    pub(super) claims: bool,
    pub(super) tally: Arc<Tally>,
}

/// Where the next frame goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    pub(crate) segment: SegmentNo,
    pub(crate) salt: u32,
    pub(crate) offset: u64,
    pub(crate) chain: u32,
}

/// A frame that was submitted, until it is acknowledged.
pub(super) struct Submitted {
    batch: FrozenBatch,
    pub(super) offset: u64,
    /// What the frame states as durable and as closed.
    pub(super) mark: Lsn,
    pub(super) epoch: Epoch,
    /// Whether its write is to be a durable one.
    pub(super) durably: bool,
}

impl Submitted {
    pub(super) fn bytes(&self) -> Bytes {
        self.batch.bytes()
    }

    pub(super) fn last_lsn(&self) -> Lsn {
        self.batch.last_lsn()
    }

    pub(super) fn epochs(&self) -> &[(Epoch, Lsn)] {
        self.batch.epochs()
    }
}

impl Desk {
    /// What a frame that is submitted now may claim as durable.
    pub(super) fn mark(&self) -> Lsn {
        if self.claims { self.marks.durable } else { Lsn(0) }
    }

    /// The floor that a frame that is submitted now may state.
    pub(super) fn floor(&self) -> SegmentNo {
        if self.claims { self.floor } else { SegmentNo(0) }
    }

    /// Whether the current segment has room for a seal.
    pub(super) fn seal_fits(&self) -> bool {
        self.cursor.offset + self.spec.unit() <= self.spec.segment_bytes
    }

    /// Counts `batch` as appended.
    pub(super) fn accept(&mut self, batch: &Batch) {
        assert!(!batch.is_empty(), "an empty batch was queued");
        assert_eq!(batch.first_lsn(), Lsn(self.marks.submitted.0 + 1), "a batch out of order");
        assert!(batch.frame_bytes() <= self.spec.frame_bytes_max(), "a batch larger than a segment");
        let last = Lsn(batch.next_lsn().0 - 1);
        self.marks.append(last.max(self.marks.appended));
    }

    /// Whether the current segment has room for `batch`.
    pub(super) fn fits(&self, batch: &Batch) -> bool {
        self.cursor.offset + batch.frame_bytes() as u64 <= self.spec.records_end()
    }

    /// Makes one frame of `batch` and of what is queued behind it, as far as it fits. The bytes behind the first
    /// batch are copied: what is small is cheap, and what is big finds no room and goes alone.
    pub(super) fn submit(&mut self, mut batch: Batch, feed: &mut impl Feed) -> Submitted {
        let mut coalesced = 0_u32;
        while let Some(next) = feed.try_batch() {
            let fits = self.cursor.offset + (batch.frame_bytes() + next.frame_bytes()) as u64
                <= self.spec.records_end();
            if !(fits && batch.absorb(&next)) {
                self.held = Some(next);
                break;
            }
            coalesced += 1;
        }
        if coalesced > 0 {
            let (core, records) = (self.spec.core.0, batch.records());
            tracing::debug!(target: "highwater::wal", core, batches = coalesced + 1, records, "coalesce");
        }
        self.marks.append(Lsn(batch.next_lsn().0 - 1));
        let (mark, epoch, offset) = (self.mark(), feed.closed_through(), self.cursor.offset);
        let frame_bytes = batch.frame_bytes();
        let header = self.header(FrameKind::Records, batch.payload(), batch.records(), mark, epoch);
        let (encoded, header_crc) = header.encode(self.cursor.salt, offset);
        self.marks.submit(Lsn(batch.next_lsn().0 - 1));
        let (core, lsn) = (self.spec.core.0, self.marks.submitted.0);
        tracing::trace!(target: "highwater::wal", core, lsn, "submitted");
        self.advance(frame_bytes, header_crc);
        let unit = self.spec.write_unit as usize;
        Submitted { batch: batch.freeze(&encoded, unit), offset, mark, epoch, durably: true }
    }

    /// The first frame of the unacknowledged ones is durable.
    pub(super) fn complete(&mut self, frame: &Submitted, feed: &mut impl Feed) {
        self.marks.sync(frame.last_lsn(), frame.mark, frame.epoch);
        self.acknowledge(frame.epochs(), feed);
    }

    /// The first frames of the unacknowledged ones are durable, by one sync.
    pub(super) fn complete_all(&mut self, frames: &Unsynced, feed: &mut impl Feed) {
        self.marks.sync(frames.last_lsn, frames.mark, frames.epoch);
        self.acknowledge(&frames.epochs, feed);
    }

    fn acknowledge(&mut self, epochs: &[(Epoch, Lsn)], feed: &mut impl Feed) {
        self.tally.synced();
        self.marks.acknowledge();
        let (core, lsn) = (self.spec.core.0, self.marks.durable.0);
        tracing::trace!(target: "highwater::wal", core, lsn, "durable");
        feed.durable(self.marks.acknowledged, epochs);
    }

    /// A padded frame without records for the cursor's place, and the cursor behind it.
    pub(super) fn control_frame(
        &mut self,
        kind: FrameKind,
        payload: &[u8],
        mark: Lsn,
        closed: Epoch,
    ) -> Bytes {
        let header = self.header(kind, payload, 0, mark, closed);
        let (encoded, header_crc) = header.encode(self.cursor.salt, self.cursor.offset);
        let frame_bytes = FRAME_HEADER_BYTES + payload.len();
        let mut frame = aligned_zeroes(frame_bytes.next_multiple_of(self.spec.write_unit as usize));
        frame[..FRAME_HEADER_BYTES].copy_from_slice(&encoded);
        frame[FRAME_HEADER_BYTES..frame_bytes].copy_from_slice(payload);
        self.advance(frame_bytes, header_crc);
        frame.freeze()
    }

    fn header(&self, kind: FrameKind, payload: &[u8], records: u32, mark: Lsn, closed: Epoch) -> FrameHeader {
        let frame_bytes = u32::try_from(FRAME_HEADER_BYTES + payload.len()).expect("a frame fits a segment");
        FrameHeader {
            frame_bytes,
            kind,
            core: self.spec.core,
            token: self.spec.token,
            segment: self.cursor.segment,
            first_lsn: Lsn(self.marks.submitted.0 + 1),
            durable_through: mark,
            closed_through: closed,
            records,
            payload_crc: crc(self.cursor.salt, payload),
            chain: self.cursor.chain,
        }
    }

    fn advance(&mut self, frame_bytes: usize, header_crc: u32) {
        let padded = (frame_bytes as u64).next_multiple_of(self.spec.unit());
        self.tally.frame(padded);
        self.cursor.offset += padded;
        self.cursor.chain = chain_after(self.cursor.chain, header_crc);
        assert!(self.cursor.offset <= self.spec.segment_bytes, "a frame behind the end of its segment");
        assert!(self.cursor.offset.is_multiple_of(self.spec.unit()));
    }
}
