//! A queue of batches in front of a log, for whoever appends and drives on the same thread.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use crate::ids::{Epoch, Lsn};
use crate::wal::batch::Batch;
use crate::wal::log::Feed;

/// Batches in LSN order. A drive over it ends when it is empty.
#[derive(Default)]
pub(crate) struct Queue {
    batches: VecDeque<Batch>,
    closed_through: Epoch,
    durable: Lsn,
}

impl Queue {
    /// An empty queue for a log whose epochs through `epoch` are closed.
    pub(crate) fn closed_through(epoch: Epoch) -> Self {
        Self { batches: VecDeque::new(), closed_through: epoch, durable: Lsn(0) }
    }

    /// A queue of `batches`, for a log in which everything through `durable` is durable.
    pub(crate) fn of(batches: VecDeque<Batch>, closed_through: Epoch, durable: Lsn) -> Self {
        Self { batches, closed_through, durable }
    }

    /// The batches, and the greatest epoch known closed.
    pub(crate) fn into_parts(self) -> (VecDeque<Batch>, Epoch) {
        (self.batches, self.closed_through)
    }

    /// How many batches wait.
    pub(crate) fn len(&self) -> usize {
        self.batches.len()
    }

    /// Adds a batch behind the others.
    pub(crate) fn push(&mut self, batch: Batch) {
        self.batches.push_back(batch);
    }
}

impl Feed for Queue {
    fn poll_batch(&mut self, _: &mut Context<'_>) -> Poll<Option<Batch>> {
        Poll::Ready(self.batches.pop_front())
    }

    fn try_batch(&mut self) -> Option<Batch> {
        self.batches.pop_front()
    }

    fn closed_through(&self) -> Epoch {
        self.closed_through
    }

    fn demanded(&self) -> Lsn {
        Lsn(u64::MAX)
    }

    fn written(&mut self, _: Lsn) {}

    fn durable(&mut self, lsn: Lsn, epochs: &[(Epoch, Lsn)]) {
        assert!(lsn > self.durable, "acknowledged {lsn} after {}", self.durable);
        self.durable = lsn;
        // With one core an epoch is closed as soon as its end is durable.
        if let Some((epoch, _)) = epochs.last() {
            self.closed_through = self.closed_through.max(*epoch);
        }
    }
}
