//! The ring of this thread, and how its `block_on` waits in it.
//!
//! A thread whose operations are in flight waits in its ring instead of parking. Wakes from other threads have to
//! end that wait: they ring the thread's bell, an event descriptor that the ring polls.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use super::ring::Ring;
use super::setup;
use crate::env::is_driven;

/// What wakes a thread that waits in its ring.
#[derive(Default)]
pub(crate) struct Bell {
    /// The thread waits, or is about to.
    waiting: AtomicBool,
    /// Made with the ring.
    event: OnceLock<OwnedFd>,
}

impl Bell {
    /// The bell of the calling thread.
    pub(crate) fn of_this_thread() -> Arc<Self> {
        BELL.with(Arc::clone)
    }

    /// Ends the wait of the thread in its ring and says so; `false` when it does not wait there. Call it after the
    /// flag is set that [`wait`] looks at: of the two, one sees the other.
    pub(crate) fn ring(&self) -> bool {
        if !self.waiting.load(Ordering::SeqCst) {
            return false;
        }
        let Some(event) = self.event.get() else { return false };
        #[expect(clippy::host_endian_bytes, reason = "a number for the kernel of this machine")]
        let one = 1_u64.to_ne_bytes();
        // It can fail only because the counter is full, and then the bell has rung.
        let _ = rustix::io::write(event, &one);
        true
    }

    fn silence(&self) {
        if let Some(event) = self.event.get() {
            // Nothing to read: somebody else was woken by it.
            let _ = rustix::io::read(event, &mut [0; 8]);
        }
    }

    fn make_event(&self) -> io::Result<()> {
        if self.event.get().is_none() {
            let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            assert!(self.event.set(event).is_ok(), "only its own thread makes a bell's event");
        }
        Ok(())
    }
}

enum OfThread {
    /// Nothing was asked of it yet.
    Unmade,
    Made(Rc<Ring>),
    /// The kernel gave none: plain calls do.
    Refused,
}

thread_local! {
    static BELL: Arc<Bell> = Arc::default();
    static RING: RefCell<OfThread> = const { RefCell::new(OfThread::Unmade) };
}

/// The ring of this thread; `None` where nobody would wait in it, and where there is none.
pub(in crate::vfs) fn current() -> Option<Rc<Ring>> {
    if !is_driven() {
        return None;
    }
    // A thread that ends has none any more.
    RING.try_with(|of_thread| {
        let mut of_thread = of_thread.borrow_mut();
        if matches!(*of_thread, OfThread::Unmade) {
            *of_thread = make();
        }
        match &*of_thread {
            OfThread::Made(ring) => Some(Rc::clone(ring)),
            OfThread::Unmade | OfThread::Refused => None,
        }
    })
    .ok()
    .flatten()
}

fn make() -> OfThread {
    let made = BELL.with(|bell| bell.make_event()).and_then(|()| Ring::new());
    match made {
        Ok(ring) => OfThread::Made(Rc::new(ring)),
        Err(error) => {
            tracing::warn!(target: "highwater::vfs", %error, "no io_uring for this thread: it uses plain calls");
            OfThread::Refused
        }
    }
}

/// The ring, if this thread has one with operations in flight.
fn busy() -> Option<Rc<Ring>> {
    let ring = RING.try_with(|of_thread| match &*of_thread.borrow() {
        OfThread::Made(ring) if !ring.is_idle() => Some(Rc::clone(ring)),
        _ => None,
    });
    ring.ok().flatten()
}

/// Wakes whose operations have completed, without waiting.
pub(crate) fn turn() {
    if let Some(ring) = busy() {
        ring.reap();
    }
}

/// Waits until an operation completes, the bell rings or `timeout` has passed, unless `woken` is set. `false` when
/// nothing is in flight: then the caller parks as ever.
pub(crate) fn wait(woken: &AtomicBool, timeout: Option<Duration>) -> bool {
    let Some(ring) = busy() else { return false };
    let bell = Bell::of_this_thread();
    let event = bell.event.get().expect("a bell's event is made before its ring");
    if ring.bell_rang() {
        bell.silence();
        ring.arm(event.as_raw_fd());
    }
    bell.waiting.store(true, Ordering::SeqCst);
    if !woken.load(Ordering::SeqCst) {
        ring.enter(timeout);
    }
    // Before anybody is woken: what this thread wakes itself needs no bell.
    bell.waiting.store(false, Ordering::SeqCst);
    ring.reap();
    true
}

/// Whether this kernel, and whoever restricts this process, lets a ring work.
///
/// # Errors
///
/// Why not. The first answer is kept.
pub(in crate::vfs) fn probe() -> io::Result<()> {
    static ANSWER: OnceLock<Result<(), (io::ErrorKind, String)>> = OnceLock::new();
    let answer = ANSWER.get_or_init(|| setup::try_out().map_err(|error| (error.kind(), error.to_string())));
    answer.clone().map_err(|(kind, text)| io::Error::new(kind, text))
}

/// Gives this thread another ring.
#[cfg(test)]
pub(super) fn replace(ring: Ring) {
    BELL.with(|bell| bell.make_event()).unwrap();
    let before = RING.replace(OfThread::Made(Rc::new(ring)));
    drop(before);
}
