//! The log's end of a core's handle: records go into the open batch, full batches to the log writer.
//!
//! Invariants
//! 1. LSNs are dense: the record after `lsn` is `lsn + 1`, and a refused record takes none.
//! 2. Memory is bounded: batches come from the pool, and at most one record at a time has a batch of its own.

use std::sync::Arc;

use super::shared::{CoreShared, Shared};
use crate::codec::{Record, RecordKind};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{CoreId, Lsn};
use crate::sync::atomic::Ordering;
use crate::wal::{Batch, Pool};

/// Below this many bytes a batch is not handed over early: waking the log writer would cost more than it gains.
const HUNGRY_BYTES_MIN: usize = 64 << 10;

/// Where a core's records are appended.
pub(super) struct Appender {
    core: CoreId,
    shared: Arc<Shared>,
    queue: rtrb::Producer<Batch>,
    pool: Arc<Pool>,
    next_lsn: Lsn,
    /// Most bytes of records in one epoch; and that, or zero while the epoch ends.
    epoch_bytes_max: u64,
    bytes_max: u64,
    batch: Option<Batch>,
    epoch_bytes: u64,
    epoch_records: u64,
    /// Whether the record that was refused last is too large for a batch of the pool.
    refused_large: bool,
}

impl Appender {
    pub(super) fn new(
        core: CoreId,
        shared: Arc<Shared>,
        (queue, pool): (rtrb::Producer<Batch>, Arc<Pool>),
        next_lsn: Lsn,
        epoch_bytes_max: u64,
    ) -> Self {
        Self {
            core,
            shared,
            queue,
            pool,
            next_lsn,
            epoch_bytes_max,
            bytes_max: epoch_bytes_max,
            batch: None,
            epoch_bytes: 0,
            epoch_records: 0,
            refused_large: false,
        }
    }

    /// The LSN of the next record.
    pub(super) fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    /// Records of the open epoch, unless they were given up.
    pub(super) fn open_records(&self) -> u64 {
        self.epoch_records
    }

    /// Gives up the records of the open epoch: nobody counts on them.
    pub(super) fn discard_open(&mut self) {
        self.epoch_records = 0;
    }

    /// The pool that the next record waits for, if it does: with a batch open it has room, unless it is larger than
    /// what is left; then it says so.
    pub(super) fn awaited_pool(&self) -> Option<Arc<Pool>> {
        self.batch.is_none().then(|| Arc::clone(&self.pool))
    }

    /// The LSN that the next record waits for to be durable, if it does: one that is larger than a batch waits for the one
    /// before.
    pub(super) fn awaited_lsn(&self) -> Option<Lsn> {
        self.refused_large.then(|| Lsn(self.shared().large_lsn.load(Ordering::Relaxed)))
    }

    /// From now on the open epoch takes no change: `Busy`.
    pub(super) fn freeze(&mut self) {
        self.bytes_max = 0;
    }

    /// Whether it takes none.
    pub(super) fn is_frozen(&self) -> bool {
        self.bytes_max == 0
    }

    /// It takes changes again.
    pub(super) fn thaw(&mut self) {
        self.bytes_max = self.epoch_bytes_max;
    }

    /// Appends a change to the open epoch.
    ///
    /// # Errors
    ///
    /// `Busy`, `Full` or `Failed`; then nothing has been appended.
    #[inline]
    pub(super) fn append(&mut self, record: &Record<'_>) -> Result<Lsn> {
        let bytes = record.encoded_bytes() as u64;
        if self.shared.failed() {
            self.shared.check()?;
        }
        if self.epoch_bytes + bytes > self.bytes_max {
            return Err(self.epoch_too_large());
        }
        let lsn = self.append_to_batch(record)?;
        self.epoch_bytes += bytes;
        self.epoch_records += 1;
        if self.shared().hungry.load(Ordering::Relaxed)
            && self.batch.as_ref().is_some_and(|batch| batch.payload().len() >= HUNGRY_BYTES_MIN)
        {
            self.hand_over();
        }
        Ok(lsn)
    }

    /// Appends the end of the open epoch, encoded as `value`, and begins the next. The batch stays open until
    /// [`Appender::hand_over`].
    ///
    /// # Errors
    ///
    /// As [`Appender::append`].
    pub(super) fn append_end(&mut self, value: &[u8]) -> Result<()> {
        self.shared.check()?;
        self.append_to_batch(&Record { kind: RecordKind::EpochEnd, key: &[], value })?;
        self.epoch_bytes = 0;
        self.epoch_records = 0;
        Ok(())
    }

    /// Gives the open batch to the log writer.
    pub(super) fn hand_over(&mut self) {
        let Some(batch) = self.batch.take() else { return };
        self.shared().counts.handed_over(Lsn(batch.next_lsn().0 - 1), batch.payload().len() as u64);
        let pushed = self.queue.push(batch);
        assert!(pushed.is_ok(), "the queue holds every batch of the pool");
        self.shared().writer.wake();
    }

    /// Puts `record` into the open batch, or into a fresh one if it does not fit.
    #[inline]
    fn append_to_batch(&mut self, record: &Record<'_>) -> Result<Lsn> {
        let appended = self.batch.as_mut().and_then(|batch| batch.append(record));
        let lsn = match appended {
            Some(lsn) => lsn,
            None => self.append_to_fresh(record)?,
        };
        assert!(lsn == self.next_lsn, "invariant 1: {lsn} instead of {}", self.next_lsn);
        self.next_lsn = lsn.next();
        Ok(lsn)
    }

    #[cold]
    fn append_to_fresh(&mut self, record: &Record<'_>) -> Result<Lsn> {
        let Some(mut fresh) = self.fresh_batch(record.encoded_bytes()) else {
            return Err(self.no_batch());
        };
        self.hand_over();
        let Some(lsn) = fresh.append(record) else {
            panic!("a fresh batch takes the record it was made for")
        };
        self.batch = Some(fresh);
        if record.encoded_bytes() > self.pool.batch_bytes() {
            // It is full, and the next such record waits until it is durable.
            self.hand_over();
        }
        Ok(lsn)
    }

    /// A batch from the pool, or one of its own for a record that none of those can hold: invariant 2.
    fn fresh_batch(&mut self, record_bytes: usize) -> Option<Batch> {
        if record_bytes <= self.pool.batch_bytes() {
            self.refused_large = false;
            return self.pool.take(self.next_lsn);
        }
        self.refused_large = !self.shared().is_large_durable();
        if self.refused_large {
            return None;
        }
        self.shared().large_lsn.store(self.next_lsn.0, Ordering::Release);
        Some(Batch::of_its_own(record_bytes, self.next_lsn))
    }

    #[cold]
    fn no_batch(&self) -> Error {
        if self.shared().full.load(Ordering::Acquire) {
            return no_space(self.core);
        }
        self.shared().refused.store(true, Ordering::Release);
        Error::new(ErrorCode::BuffersFull, format!("all log buffers of core {} wait for the disk", self.core))
    }

    #[cold]
    fn epoch_too_large(&self) -> Error {
        let max = self.bytes_max;
        if max == 0 {
            let what =
                "the epoch is ending, and its sinks have pre-committed: end it first, by another close_epoch";
            return Error::new(ErrorCode::EpochEnding, what);
        }
        Error::new(
            ErrorCode::EpochTooLarge,
            format!("the open epoch holds {max} bytes (epoch_bytes_max): end it first"),
        )
    }

    fn shared(&self) -> &CoreShared {
        self.shared.core(self.core)
    }
}

#[cold]
pub(super) fn no_space(core: CoreId) -> Error {
    let what = format!("the device is full and so is the queue of core {core}: free space, then go on");
    Error::new(ErrorCode::NoSpaceForLog, what)
}
