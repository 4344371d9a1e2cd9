//! The sleeps of futures that an executor of somebody else drives: one thread waits for all of them.
//!
//! The thread starts with the first such sleep and stays. A program that uses the engine only through its blocking
//! face never starts it.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use super::TimerKey;
use crate::sync::unpoisoned;

struct Timers {
    waiting: BTreeMap<TimerKey, Waker>,
    thread_runs: bool,
}

static TIMERS: Mutex<Timers> = Mutex::new(Timers { waiting: BTreeMap::new(), thread_runs: false });

/// Signalled when the first timer changes to an earlier one.
static EARLIER: Condvar = Condvar::new();

/// How long the thread waits when it has nothing to wait for; only a number, since it is signalled.
const IDLE: Duration = Duration::from_secs(3600);

/// Wakes `waker` from the timer thread when `timer` is due. If no thread can be started it is woken at once: its
/// future then polls the clock, which is wasteful and right.
pub(super) fn register(timer: TimerKey, waker: &Waker) {
    let mut timers = lock();
    if !timers.thread_runs {
        let started = thread::Builder::new().name("highwater-timers".to_owned()).spawn(serve);
        if started.is_err() {
            drop(timers);
            waker.wake_by_ref();
            return;
        }
        timers.thread_runs = true;
    }
    let replaced = timers.waiting.insert(timer, waker.clone());
    let is_first = timers.waiting.keys().next() == Some(&timer);
    drop(timers);
    drop(replaced);
    if is_first {
        EARLIER.notify_one();
    }
}

/// Forgets `timer`.
pub(super) fn cancel(timer: TimerKey) {
    let waker = lock().waiting.remove(&timer);
    drop(waker);
}

fn serve() {
    let mut timers = lock();
    loop {
        let now = Instant::now();
        let next = timers.waiting.keys().next().copied();
        let wait = match next {
            Some(timer) if timer.0 <= now => {
                let waker = timers.waiting.remove(&timer);
                drop(timers);
                waker.into_iter().for_each(Waker::wake);
                timers = lock();
                continue;
            }
            Some(timer) => timer.0 - now,
            None => IDLE,
        };
        timers = unpoisoned(EARLIER.wait_timeout(timers, wait)).0;
    }
}

fn lock() -> MutexGuard<'static, Timers> {
    // Nothing that can panic runs under this lock, but a waker's clone; the map is whole after it.
    unpoisoned(TIMERS.lock())
}

/// Panics when a sleep waits that is due later than `duration` from now.
#[cfg(test)]
pub(super) fn assert_none_after(duration: Duration) {
    let latest = lock().waiting.keys().next_back().copied();
    assert!(latest.is_none_or(|timer| timer.0 <= Instant::now() + duration));
}
