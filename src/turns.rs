//! One at a time, whoever comes: no order among those who wait.

use std::sync::Arc;

use event_listener::Event;

use crate::sync::atomic::{AtomicBool, Ordering};

/// Something that only one at a time may do.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    taken: AtomicBool,
    freed: Event,
}

impl Turns {
    /// Waits until nobody has the turn, and takes it.
    pub(crate) async fn take(self: Arc<Self>) -> Turn {
        loop {
            let freed = self.freed.listen();
            if self.taken.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Turn(self);
            }
            freed.await;
        }
    }
}

/// The right to do it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Turns>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::Release);
        self.0.freed.notify(usize::MAX);
    }
}
