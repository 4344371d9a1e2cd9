//! Operations in flight on one file: a few at a time, in bounded memory.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Bytes of one read: big enough to keep a disk streaming.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;

/// Most operations in flight, however deep the device is: they hold memory.
const DEPTH_MAX: usize = 4;

type Operation<T> = Pin<Box<dyn Future<Output = io::Result<T>>>>;

enum Slot<T> {
    InFlight(Operation<T>),
    Done(io::Result<T>),
}

/// Operations that run beside each other and are taken in the order in which they began.
pub(super) struct Queue<T> {
    slots: VecDeque<Slot<T>>,
    depth: usize,
}

impl<T> Queue<T> {
    /// A queue for a device that is worth `depth` operations.
    pub(super) fn new(depth: usize) -> Self {
        Self { slots: VecDeque::new(), depth: depth.clamp(1, DEPTH_MAX) }
    }

    pub(super) fn is_full(&self) -> bool {
        self.slots.len() >= self.depth
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Begins `operation`.
    ///
    /// # Panics
    ///
    /// When the queue is full.
    pub(super) async fn begin(&mut self, operation: impl Future<Output = io::Result<T>> + 'static) {
        assert!(!self.is_full(), "{} operations in flight", self.slots.len());
        self.slots.push_back(Slot::InFlight(Box::pin(operation)));
        // A future does nothing before its first poll.
        poll_fn(|context| {
            self.poll_each(context);
            Poll::Ready(())
        })
        .await;
    }

    /// Waits for the oldest operation and returns its result; `None` when there is none.
    pub(super) async fn oldest(&mut self) -> Option<io::Result<T>> {
        if self.is_empty() {
            return None;
        }
        poll_fn(|context| {
            self.poll_each(context);
            if matches!(self.slots.front(), Some(Slot::InFlight(_))) {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
        match self.slots.pop_front() {
            Some(Slot::Done(result)) => Some(result),
            Some(Slot::InFlight(_)) | None => None,
        }
    }

    fn poll_each(&mut self, context: &mut Context<'_>) {
        for slot in &mut self.slots {
            if let Slot::InFlight(operation) = slot
                && let Poll::Ready(result) = operation.as_mut().poll(context)
            {
                *slot = Slot::Done(result);
            }
        }
    }
}
