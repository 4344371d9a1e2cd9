//! What is counted of one core: by its handle where it hands a batch over or ends an epoch, by its writer where it takes one.
//! A put counts nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ids::Lsn;
use crate::meter::Timer;
use crate::state::CoreState;
use crate::wal::Tally;

/// Counts of one core. Each has one writer.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// What the handle gave to the queue: the last record of it, and bytes of records since the open.
    handed_lsn: AtomicU64,
    handed_bytes: AtomicU64,
    /// What the writer took from there.
    taken_lsn: AtomicU64,
    taken_bytes: AtomicU64,
    /// The state as the last epoch left it.
    state_keys: AtomicU64,
    state_bytes: AtomicU64,
    /// What the writer did with it.
    pub(super) log: Arc<Tally>,
}

/// What waits in the queue of a core, or had gone through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queued {
    pub(super) handed_lsn: Lsn,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl Counts {
    /// With a timer for each durable write and sync of the log.
    pub(super) fn timed(log_sync: Timer) -> Self {
        Self { log: Arc::new(Tally::timed(log_sync)), ..Self::default() }
    }

    /// Everything through `lsn` was there before.
    pub(super) fn begin(&self, lsn: Lsn) {
        self.handed_lsn.store(lsn.0, Ordering::Relaxed);
        self.taken_lsn.store(lsn.0, Ordering::Relaxed);
    }

    /// The handle gave away a batch of `bytes` that ends with `lsn`; before the writer can see it.
    pub(super) fn handed_over(&self, lsn: Lsn, bytes: u64) {
        self.handed_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.handed_lsn.store(lsn.0, Ordering::Release);
    }

    /// The writer took it.
    pub(super) fn taken(&self, lsn: Lsn, bytes: u64) {
        self.taken_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.taken_lsn.store(lsn.0, Ordering::Release);
    }

    /// This is the state behind an epoch.
    pub(super) fn state(&self, state: &CoreState) {
        self.state_keys.store(state.len() as u64, Ordering::Relaxed);
        self.state_bytes.store(state.bytes(), Ordering::Relaxed);
    }

    pub(super) fn queued(&self) -> Queued {
        // What was taken had been handed over: read in this order, the difference is never negative.
        let (taken_lsn, taken_bytes) =
            (self.taken_lsn.load(Ordering::Acquire), self.taken_bytes.load(Ordering::Acquire));
        let (lsn, bytes) =
            (self.handed_lsn.load(Ordering::Acquire), self.handed_bytes.load(Ordering::Acquire));
        Queued {
            handed_lsn: Lsn(lsn),
            records: lsn.saturating_sub(taken_lsn),
            bytes: bytes.saturating_sub(taken_bytes),
        }
    }

    pub(super) fn state_keys(&self) -> u64 {
        self.state_keys.load(Ordering::Relaxed)
    }

    pub(super) fn state_bytes(&self) -> u64 {
        self.state_bytes.load(Ordering::Relaxed)
    }
}
