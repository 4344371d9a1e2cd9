//! Who moves the logs along: threads of their own, or the caller who waits for them (inline).
//!
//! An inline log sits in a slot. Whoever waits takes it out, writes what is queued, and puts it back; a second waiter
//! finds the slot empty and waits for the first. No lock is held while the disk works.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};

use super::shared::{Shared, lock};
use crate::env::Blocking;
use crate::error::{Error, ErrorCode, Result};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// A log that its callers drive.
pub(crate) trait InlineLog: Send {
    /// Writes everything that is queued and makes it durable.
    fn drive(&mut self) -> Pin<Box<dyn Future<Output = ()> + '_>>;

    /// Writes the marks once more and ends the log.
    fn finish(&mut self) -> Pin<Box<dyn Future<Output = ()> + '_>>;
}

/// Blocks the calling thread on a future.
pub(crate) trait Blocker: Send + Sync {
    fn block(&self, future: Pin<&mut dyn Future<Output = ()>>);
}

/// A [`Blocker`] over an environment that has one.
pub(crate) struct EnvBlocker<E>(pub(crate) E);

impl<E: Blocking> Blocker for EnvBlocker<E> {
    fn block(&self, future: Pin<&mut dyn Future<Output = ()>>) {
        self.0.block_on(future);
    }
}

/// The inline logs of an engine, if it has such, and the means to block on them.
#[derive(Default)]
pub(crate) struct Drive {
    blocker: OnceLock<Arc<dyn Blocker>>,
    inline: Vec<Slot>,
}

/// Where an inline log lies while nobody drives it.
struct Slot {
    log: Mutex<Option<Box<dyn InlineLog>>>,
    /// Somebody found the slot empty, and waits to be told that it is not.
    wanted: AtomicBool,
}

impl Slot {
    fn take(&self) -> Option<Box<dyn InlineLog>> {
        if let Some(log) = lock(&self.log).take() {
            return Some(log);
        }
        self.wanted.store(true, Ordering::SeqCst);
        // The log may have been put back before the store was seen.
        lock(&self.log).take()
    }

    fn put_back(&self, log: Box<dyn InlineLog>, shared: &Shared) {
        *lock(&self.log) = Some(log);
        if self.wanted.swap(false, Ordering::SeqCst) {
            shared.notify();
        }
    }
}

impl fmt::Debug for Drive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drive").field("inline", &self.inline.len()).finish_non_exhaustive()
    }
}

impl Drive {
    pub(crate) fn new(inline: Vec<Box<dyn InlineLog>>) -> Self {
        let slot = |log| Slot { log: Mutex::new(Some(log)), wanted: AtomicBool::new(false) };
        let inline = inline.into_iter().map(slot).collect();
        Self { blocker: OnceLock::new(), inline }
    }

    /// From now on callers may block their threads.
    pub(crate) fn allow_blocking(&self, blocker: Arc<dyn Blocker>) {
        let _ = self.blocker.set(blocker);
    }

    /// # Errors
    ///
    /// `Invalid` when callers must not block.
    pub(crate) fn blocker(&self) -> Result<&dyn Blocker> {
        self.blocker.get().map(AsRef::as_ref).ok_or_else(|| {
            Error::new(
                ErrorCode::CannotBlock,
                "this engine was opened by `open_in`: use the async form instead of blocking the thread",
            )
        })
    }

    /// Writes what is queued in every inline log that nobody else is writing.
    pub(crate) async fn run(&self, shared: &Shared) {
        for slot in &self.inline {
            if let Some(mut log) = slot.take() {
                log.drive().await;
                slot.put_back(log, shared);
            }
        }
    }

    /// Ends every inline log. Nobody may drive one at the same time.
    pub(crate) async fn finish(&self) {
        for slot in &self.inline {
            if let Some(mut log) = slot.take() {
                log.finish().await;
            }
        }
    }

    /// Blocks the thread until `outcome` has one, driving the inline logs meanwhile.
    pub(crate) fn block_until<T>(
        &self,
        blocker: &dyn Blocker,
        shared: &Shared,
        mut outcome: impl FnMut(&Shared) -> Option<T>,
    ) -> T {
        let mut answer = None;
        let waiting = async {
            loop {
                let changed = shared.changed();
                self.run(shared).await;
                answer = outcome(shared);
                if answer.is_some() {
                    return;
                }
                changed.await;
            }
        };
        blocker.block(pin!(waiting));
        answer.unwrap_or_else(|| panic!("a blocker returned before its future"))
    }
}
