//! Who moves the logs along: threads of their own, or the caller who waits for them (inline).
//!
//! ```text
//! here ──taken──► taken ──written──► here
//!   ▲               │ │
//!   │               │ └──finished──► finished: nobody takes it any more
//!   └───dropped─────┘ half-way: the next who takes the log finds it poisoned, and the engine fails (HW-604)
//! ```
//!
//! Whoever waits takes an inline log out of its slot, writes what is queued, and puts it back; a second waiter finds it
//! taken and waits for the first. No lock is held while the disk works.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};

use super::shared::Shared;
use crate::env::Blocking;
use crate::error::{Error, ErrorCode, Result};
use crate::sync::{Mutex, lock};

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
struct Slot(Mutex<Place>);

/// Where an inline log is.
enum Place {
    Here(Box<dyn InlineLog>),
    /// With somebody; `wanted` when somebody else waits to be told that it is back.
    Taken {
        wanted: bool,
    },
    Finished,
}

/// What somebody who wants a log finds.
enum Found<'a> {
    Log(Taken<'a>),
    /// Somebody else has it; there is a notification when it is back.
    Busy,
    Finished,
}

/// A log on its way to the disk. It goes back into its slot whatever becomes of the drive: one that is lost could neither be
/// finished nor say that it is poisoned.
struct Taken<'a> {
    slot: &'a Slot,
    shared: &'a Shared,
    log: Option<Box<dyn InlineLog>>,
}

impl Slot {
    fn take<'a>(&'a self, shared: &'a Shared) -> Found<'a> {
        let mut place = lock(&self.0);
        match std::mem::replace(&mut *place, Place::Taken { wanted: false }) {
            Place::Here(log) => Found::Log(Taken { slot: self, shared, log: Some(log) }),
            Place::Taken { .. } => {
                *place = Place::Taken { wanted: true };
                Found::Busy
            }
            Place::Finished => {
                *place = Place::Finished;
                Found::Finished
            }
        }
    }
}

impl Taken<'_> {
    fn log(&mut self) -> &mut dyn InlineLog {
        let Some(log) = &mut self.log else { panic!("a log is given back at the end only") };
        log.as_mut()
    }

    /// The log has ended, and does not go back.
    fn finished(mut self) {
        self.log = None;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let next = self.log.take().map_or(Place::Finished, Place::Here);
        let before = std::mem::replace(&mut *lock(&self.slot.0), next);
        if matches!(before, Place::Taken { wanted: true }) {
            self.shared.notify();
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
        let inline = inline.into_iter().map(|log| Slot(Mutex::new(Place::Here(log)))).collect();
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
                "this engine was opened by `open_in`: use the async form instead of blocking the thread, or open it by \
                 `open_blocking_in`",
            )
        })
    }

    /// Writes what is queued in every inline log that nobody else is writing.
    pub(crate) async fn run(&self, shared: &Shared) {
        for slot in &self.inline {
            if let Found::Log(mut taken) = slot.take(shared) {
                taken.log().drive().await;
            }
        }
    }

    /// Ends every inline log, behind whoever writes it.
    pub(crate) async fn finish(&self, shared: &Shared) {
        for slot in &self.inline {
            let found = shared.until(|| match slot.take(shared) {
                Found::Log(taken) => Some(Some(taken)),
                Found::Busy => None,
                Found::Finished => Some(None),
            });
            if let Some(mut taken) = found.await {
                taken.log().finish().await;
                taken.finished();
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
