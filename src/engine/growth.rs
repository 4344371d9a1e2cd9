//! How much the logs have grown since the newest checkpoint: what a recovery would have to replay.
//!
//! The writer of a core counts what it takes, and says how much that was where an epoch ended. A checkpoint holds
//! what stood in front of the end of its epoch, and nothing of the epochs behind it that cores have begun meanwhile.

use std::collections::VecDeque;

use crate::ids::{CoreId, Epoch};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, lock};

/// See the module.
#[derive(Debug)]
pub(crate) struct Growth {
    /// Bytes that no checkpoint holds.
    bytes: AtomicU64,
    marks: Mutex<Marks>,
}

#[derive(Debug)]
struct Marks {
    /// What the open had to replay: a checkpoint of any epoch holds it.
    replayed: u64,
    /// What the newest checkpoint holds of that and of what came since.
    held: u64,
    /// Per core, epochs that have ended, each with the bytes that the core's log had been given since the open. Of those that are
    /// closed only the last one is needed.
    ends: Vec<VecDeque<(Epoch, u64)>>,
}

impl Growth {
    /// For logs of `cores` cores of which the open had to replay `replayed_bytes`.
    pub(super) fn new(replayed_bytes: u64, cores: u16) -> Self {
        let marks = Marks {
            replayed: replayed_bytes,
            held: 0,
            ends: (0..cores).map(|_| VecDeque::with_capacity(32)).collect(),
        };
        Self { bytes: AtomicU64::new(replayed_bytes), marks: Mutex::new(marks) }
    }

    /// Bytes that no checkpoint holds.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A log was given `bytes` more; how many there were before.
    pub(super) fn grew(&self, bytes: u64) -> u64 {
        self.bytes.fetch_add(bytes, Ordering::Relaxed)
    }

    /// The log of `core` was given the end of `epoch`, and `given` bytes through it. Said before the epoch can close;
    /// `closed` is.
    pub(super) fn ended(&self, core: CoreId, epoch: Epoch, given: u64, closed: Epoch) {
        let mut marks = lock(&self.marks);
        let ends = &mut marks.ends[core.index()];
        assert!(
            ends.back().is_none_or(|last| *last < (epoch, given)),
            "core {core} ends epoch {epoch} again"
        );
        while ends.get(1).is_some_and(|(next, _)| *next <= closed) {
            ends.pop_front();
        }
        ends.push_back((epoch, given));
    }

    /// The epoch that is closed now, and how much all logs were given through its end.
    pub(super) fn through(&self, closed: impl FnOnce() -> Epoch) -> (Epoch, u64) {
        let marks = lock(&self.marks);
        // Asked while nobody forgets an end.
        let closed = closed();
        let of_core = |ends: &VecDeque<(Epoch, u64)>| {
            ends.iter().rev().find(|(epoch, _)| *epoch <= closed).map_or(0, |(_, given)| *given)
        };
        (closed, marks.replayed + marks.ends.iter().map(of_core).sum::<u64>())
    }

    /// A checkpoint holds what [`Growth::through`] said.
    pub(super) fn held(&self, through: u64) {
        let mut marks = lock(&self.marks);
        assert!(marks.held <= through, "a checkpoint holds {through} bytes after one of {}", marks.held);
        self.bytes.fetch_sub(through - marks.held, Ordering::Relaxed);
        marks.held = through;
    }
}

#[cfg(test)]
#[path = "growth_tests.rs"]
mod tests;
