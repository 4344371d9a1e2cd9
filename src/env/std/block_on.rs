//! Drives one future on the calling thread. The thread parks while there is nothing to do.
//!
//! B1. No wake is lost: the flag is cleared before a poll and looked at after it, and unparking a thread that does
//!     not yet park makes its next park return at once.
//! B2. A sleep of this thread, in whatever combination of futures, ends the park when it is due; dropping it takes
//!     its timer away, so that a loop which waits for "work or idle" does not pile timers up.
//! B3. While operations of this thread are in flight in its ring, it waits there and not in a park; see
//!     `vfs::uring`. The same flag and the same timers end that wait.
//! B4. Calls may nest. Each has a flag of its own, so that an inner call may consume an unpark of the outer one;
//!     both serve the timers of the thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use super::TimerKey;
use crate::vfs::uring::{self, Bell};

thread_local! {
    /// How many calls of `block_on` this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// The sleeps that wait on this thread.
    static TIMERS: RefCell<BTreeMap<TimerKey, Waker>> = const { RefCell::new(BTreeMap::new()) };
    /// The parker of the last call that ended, for the next one.
    static SPARE: Cell<Option<Arc<Parker>>> = const { Cell::new(None) };
}

struct Parker {
    thread: Thread,
    bell: Arc<Bell>,
    woken: AtomicBool,
}

impl Parker {
    fn of_this_thread() -> Arc<Self> {
        let (thread, bell) = (thread::current(), Bell::of_this_thread());
        Arc::new(Self { thread, bell, woken: AtomicBool::new(false) })
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::SeqCst) && !self.bell.ring() {
            self.thread.unpark();
        }
    }
}

/// One call of `block_on`, from entry to exit, also by a panic.
struct Call {
    parker: Arc<Parker>,
}

impl Call {
    fn enter() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self { parker: SPARE.take().unwrap_or_else(Parker::of_this_thread) }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        SPARE.set(Some(Arc::clone(&self.parker)));
    }
}

/// Drives `future` to its end.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let call = Call::enter();
    let mut future = pin!(future);
    let waker = Waker::from(Arc::clone(&call.parker));
    let mut context = Context::from_waker(&waker);
    loop {
        call.parker.woken.store(false, Ordering::SeqCst);
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result;
        }
        // Timers and completions come first also for a future that wakes itself: it may wait for one of them.
        uring::turn();
        let mut next = fire_due();
        while !call.parker.woken.load(Ordering::SeqCst) {
            let timeout = next.map(|deadline| deadline.saturating_duration_since(now()));
            match timeout {
                _ if uring::wait(&call.parker.woken, timeout) => {}
                None => thread::park(),
                Some(timeout) => thread::park_timeout(timeout),
            }
            next = fire_due();
        }
    }
}

/// Whether `block_on` serves the timers of this thread.
pub(crate) fn is_driving() -> bool {
    DEPTH.get() > 0
}

/// Wakes `waker` from this thread's `block_on` when `timer` is due.
pub(super) fn register(timer: TimerKey, waker: &Waker) {
    let replaced = TIMERS.with_borrow_mut(|timers| timers.insert(timer, waker.clone()));
    drop(replaced);
}

/// Forgets `timer`, if it still waits on this thread.
pub(super) fn cancel(timer: TimerKey) {
    // A sleep may be dropped by the destructor of another thread-local, after the timers are gone.
    let waker = TIMERS.try_with(|timers| timers.borrow_mut().remove(&timer));
    drop(waker);
}

/// Wakes what is due; returns when the next timer is. No timer is borrowed while a waker runs.
fn fire_due() -> Option<Instant> {
    loop {
        let (deadline, number) = TIMERS.with_borrow(|timers| timers.keys().next().copied())?;
        if deadline > now() {
            return Some(deadline);
        }
        if let Some(waker) = TIMERS.with_borrow_mut(|timers| timers.remove(&(deadline, number))) {
            waker.wake();
        }
    }
}

fn now() -> Instant {
    Instant::now()
}

/// How many sleeps wait on this thread.
#[cfg(test)]
pub(super) fn timers_waiting() -> usize {
    TIMERS.with_borrow(BTreeMap::len)
}
