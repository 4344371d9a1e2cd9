//! What one log has done since its open, for whoever asks: its writer counts, anybody reads.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::ids::SegmentNo;
use crate::meter::Timer;
use crate::sync::unpoisoned;

/// Counters of one log. Each grows only.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    frames: AtomicU64,
    bytes: AtomicU64,
    syncs: AtomicU64,
    /// The files that hold the log. Locked where one is left for the next, and where a checkpoint gives some up.
    segments: Mutex<BTreeSet<SegmentNo>>,
    /// Of each durable write and sync.
    pub(super) sync_time: Timer,
}

impl Tally {
    /// With a timer for each durable write and sync.
    pub(crate) fn timed(sync_time: Timer) -> Self {
        Self { sync_time, ..Self::default() }
    }

    /// A frame was submitted that takes `bytes`, padding included.
    pub(super) fn frame(&self, bytes: u64) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Something became durable, by a durable write or by a sync.
    pub(super) fn synced(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }

    /// `segments` hold some of the log.
    pub(crate) fn hold(&self, segments: impl IntoIterator<Item = SegmentNo>) {
        self.held().extend(segments);
    }

    /// Nobody needs `segments` any more.
    pub(crate) fn give_up(&self, segments: &[SegmentNo]) {
        self.held().retain(|held| !segments.contains(held));
    }

    /// Count of the frames that were submitted.
    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How often something became durable.
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// How many files hold the log.
    pub(crate) fn segments(&self) -> usize {
        self.held().len()
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<SegmentNo>> {
        unpoisoned(self.segments.lock())
    }
}
