//! Somebody who waits for seeds, and not for ever. What never ends inside of one poll no bound of a simulation ends: steps and
//! virtual time stand still, and the run would hang without a word.

use std::collections::BTreeMap;
use std::process;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Test;
use crate::job::now;
use crate::world::lock;

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![a_seed_that_takes_too_long_is_named];

/// Real time that a seed may take; one takes seconds at most.
const SEED_MAX: Duration = Duration::from_secs(300);

/// How often somebody looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The seeds that are being run, and when each was begun.
#[derive(Default)]
pub(crate) struct Watch(Mutex<BTreeMap<u64, Instant>>);

impl Watch {
    /// Does `work`, which is the run of `seed`.
    pub(crate) fn over<T>(&self, seed: u64, work: impl FnOnce() -> T) -> T {
        lock(&self.0).insert(seed, now());
        let done = work();
        lock(&self.0).remove(&seed);
        done
    }

    /// Does `work` once on every core, and looks after its seeds.
    pub(crate) fn on_every_core(&self, replay: impl Fn(u64) -> String + Send, work: impl Fn() + Sync) {
        let (working, over) = mpsc::channel::<()>();
        let work = &work;
        thread::scope(|scope| {
            scope.spawn(move || self.until(&over, replay));
            for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
                let working = working.clone();
                scope.spawn(move || {
                    work();
                    drop(working);
                });
            }
            drop(working);
        });
    }

    /// Looks until everybody who can send has gone. When a seed takes too long this says how to see that again, which `replay`
    /// knows, and ends the process: nobody can stop a thread.
    fn until(&self, over: &Receiver<()>, replay: impl Fn(u64) -> String) {
        while over.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            if let Some(seed) = self.overdue(now()) {
                eprintln!("seed {seed:#x} does not end, after {SEED_MAX:.0?}\nreplay: {}", replay(seed));
                process::abort();
            }
        }
    }

    fn overdue(&self, now: Instant) -> Option<u64> {
        let seeds = lock(&self.0);
        let mut overdue = seeds.iter().filter(|(_, begun)| now.duration_since(**begun) > SEED_MAX);
        overdue.next().map(|(seed, _)| *seed)
    }
}

fn a_seed_that_takes_too_long_is_named() {
    let (watch, begun) = (Watch::default(), now());
    let later = || now().max(begun) + SEED_MAX + LOOK_EVERY;
    assert_eq!(watch.over(7, || (watch.overdue(begun), watch.overdue(later()))), (None, Some(7)));
    assert_eq!(watch.overdue(later()), None, "it has ended");
}
