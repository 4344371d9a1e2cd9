//! The log's end of a core's handle: records go into the open batch, full batches to the log writer.
//!
//! Invariants
//! 1. LSNs are dense: the record after `lsn` is `lsn + 1`, and a refused record takes none.
//! 2. Memory is bounded: batches come from the pool, and at most one record at a time has a batch of its own.
//! 3. The end of an epoch stays in the open batch until it is announced (invariant 1 of `shared`), however large it is.

use std::sync::Arc;

use super::shared::{CoreShared, Shared};
use crate::codec::{Record, RecordKind};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{CoreId, Lsn};
use crate::sync::atomic::Ordering;
use crate::wal::{Batch, Pool};

/// Below this many bytes a batch is not handed over early: waking the log writer would cost more than it gains.
const HUNGRY_BYTES_MIN: usize = 64 << 10;

/// What a record waits for that found no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// A batch of the pool.
    Pooled,
    /// A batch of its own, and for that the durability of the record that had the last one.
    Large,
}

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
    /// What comes in front of this LSN and is not closed was given up.
    discarded: Lsn,
    /// The LSN that a record would have got that found no batch: while it is the next one, the last append was that record's.
    refused: Option<(Lsn, Refused)>,
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
            discarded: Lsn(0),
            refused: None,
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

    /// Gives up the records of the open epoch, and of those that do not close without it: nobody counts on them.
    pub(super) fn discard_open(&mut self) {
        self.epoch_records = 0;
        self.discarded = self.next_lsn;
    }

    /// Whether nobody counts on what is not closed: all of it was given up.
    pub(super) fn is_discarded(&self) -> bool {
        self.discarded == self.next_lsn
    }

    /// The pool that the next record waits for, if it does: none is open, or the last record found no room in the one that is.
    pub(super) fn awaited_pool(&self) -> Option<Arc<Pool>> {
        let waits = self.batch.is_none() || self.last_refused() == Some(Refused::Pooled);
        waits.then(|| Arc::clone(&self.pool))
    }

    /// The LSN that the next record waits for to be durable, if it does: one that is larger than a batch waits for the one
    /// before.
    pub(super) fn awaited_lsn(&self) -> Option<Lsn> {
        let waits = self.last_refused() == Some(Refused::Large);
        waits.then(|| Lsn(self.shared().large_lsn.load(Ordering::Relaxed)))
    }

    /// What the record of the last append waits for, if that was refused for want of a batch.
    fn last_refused(&self) -> Option<Refused> {
        self.refused.filter(|(lsn, _)| *lsn == self.next_lsn).map(|(_, refused)| refused)
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
    /// `Busy`, `Full` or `Failed`, or `Invalid` when the engine was closed; then nothing has been appended.
    #[inline]
    pub(super) fn append(&mut self, record: &Record<'_>) -> Result<Lsn> {
        let bytes = record.encoded_bytes() as u64;
        if self.shared.is_over() {
            self.shared.check_open()?;
        }
        if self.epoch_bytes + bytes > self.bytes_max {
            return Err(self.epoch_too_large());
        }
        let lsn = match self.append_to_open(record) {
            Some(lsn) => lsn,
            None => self.append_change_to_fresh(record)?,
        };
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
        self.shared.check_open()?;
        let end = Record { kind: RecordKind::EpochEnd, key: &[], value };
        if self.append_to_open(&end).is_none() {
            self.append_to_fresh(&end)?;
        }
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

    /// Puts `record` into the open batch, if it fits.
    #[inline]
    fn append_to_open(&mut self, record: &Record<'_>) -> Option<Lsn> {
        let lsn = self.batch.as_mut()?.append(record)?;
        self.advance(lsn);
        Some(lsn)
    }

    #[inline]
    fn advance(&mut self, lsn: Lsn) {
        assert!(lsn == self.next_lsn, "invariant 1: {lsn} instead of {}", self.next_lsn);
        self.next_lsn = lsn.next();
    }

    /// Puts a change into a fresh batch. One that has a batch of its own is handed over: the batch is full, and the next such
    /// record waits until it is durable.
    #[cold]
    fn append_change_to_fresh(&mut self, record: &Record<'_>) -> Result<Lsn> {
        let lsn = self.append_to_fresh(record)?;
        if record.encoded_bytes() > self.pool.batch_bytes() {
            self.hand_over();
        }
        Ok(lsn)
    }

    /// Puts `record` into a fresh batch, which is the open one then.
    #[cold]
    fn append_to_fresh(&mut self, record: &Record<'_>) -> Result<Lsn> {
        let mut fresh = match self.fresh_batch(record.encoded_bytes()) {
            Ok(fresh) => fresh,
            Err(refused) => {
                self.refused = Some((self.next_lsn, refused));
                return Err(self.no_batch());
            }
        };
        self.hand_over();
        let Some(lsn) = fresh.append(record) else {
            panic!("a fresh batch takes the record it was made for")
        };
        self.batch = Some(fresh);
        self.advance(lsn);
        Ok(lsn)
    }

    /// A batch from the pool, or one of its own for a record that none of those can hold: invariant 2.
    fn fresh_batch(&self, record_bytes: usize) -> std::result::Result<Batch, Refused> {
        if record_bytes <= self.pool.batch_bytes() {
            return self.pool.take(self.next_lsn).ok_or(Refused::Pooled);
        }
        if !self.shared().is_large_durable() {
            return Err(Refused::Large);
        }
        self.shared().large_lsn.store(self.next_lsn.0, Ordering::Release);
        Ok(Batch::of_its_own(record_bytes, self.next_lsn))
    }

    #[cold]
    fn no_batch(&self) -> Error {
        if let Err(over) = self.shared.check_open() {
            return over;
        }
        if self.shared().full.load(Ordering::Acquire) {
            return no_space(self.core);
        }
        self.shared().refused.store(true, Ordering::Release);
        Error::new(ErrorCode::BuffersFull, format!("all log buffers of core {} wait for the disk", self.core))
    }

    #[cold]
    fn epoch_too_large(&mut self) -> Error {
        // No batch helps this one.
        self.refused = None;
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

#[cfg(all(test, not(loom)))]
mod tests;
