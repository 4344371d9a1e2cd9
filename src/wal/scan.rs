//! What is asked of a reader, and what it has learnt.

use crate::ids::{CoreId, DatabaseId, Epoch, FencingToken, Lsn, Nonce, SegmentNo};

/// The stretch of a core's log that one open of the database wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// The fencing token of that open.
    pub token: FencingToken,
    /// Its first segment, or the first that is still needed.
    pub first_segment: SegmentNo,
    /// The identity in the header of that segment.
    pub identity: Nonce,
    /// The LSN of the first record in that segment.
    pub first_lsn: Lsn,
    /// Records above this LSN were discarded or carried over by a later open; `None` for the live life.
    pub ceiling: Option<Lsn>,
}

/// Where a checkpoint and one core's log meet: everything through `lsn` is in the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment that reading begins with.
    pub segment: SegmentNo,
    /// The last LSN that is not needed any more.
    pub lsn: Lsn,
}

/// Which log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogId {
    /// The database that the segments must belong to.
    pub database: DatabaseId,
    /// The core that they must belong to.
    pub core: CoreId,
}

/// How a log ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogTail {
    /// Nothing was begun behind the last frame.
    #[default]
    Clean,
    /// No frame follows, but bytes: the front of a torn write, or what an earlier use of the segment left.
    Residue,
    /// Something was being written and was promised to nobody: an incomplete frame, or frames behind a hole.
    Torn,
}

/// An epoch's end on one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EpochEndAt {
    /// The life that it was found in.
    pub token: FencingToken,
    /// The epoch.
    pub epoch: Epoch,
    /// The LSN of its `EpochEnd` record.
    pub lsn: Lsn,
}

/// What a reader has learnt. Complete once [`WalReader::next`](crate::wal::WalReader::next) has returned `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogScan {
    /// The last LSN that could be followed.
    pub prefix_end: Lsn,
    /// The greatest LSN of the live life that is proven durable; never above `prefix_end`.
    pub proven: Lsn,
    /// The greatest epoch that any frame says is closed on all cores.
    pub closed_through: Epoch,
    /// The greatest LSN in any valid frame, also behind a hole and above a ceiling.
    pub greatest_lsn: Lsn,
    /// The epoch ends that were followed, in order.
    pub epoch_ends: Vec<EpochEndAt>,
    /// How the log ends.
    pub tail: LogTail,
    /// The segment where reading ended.
    pub end_segment: SegmentNo,
    /// The offset there, in bytes.
    pub end_offset: u64,
    /// Count of the records that were followed.
    pub records: u64,
}
