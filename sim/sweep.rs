//! Many seeds on all cores, and what is told about them.
//!
//! Each seed runs on a thread of its own: what the last seed left in thread-locals (madsim seeds hashers there) is
//! no part of the next.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::host::Scheduler;
use crate::marks::{self, Marks};
use crate::report;
use crate::settings;
use crate::story;
use crate::world::{Run, Tally, lock};

/// A seed gets this much stack: futures of debug builds are large.
const STACK_BYTES: usize = 8 << 20;

/// A sweep with so many failures is not continued.
const FAILURES_MAX: usize = 20;

/// Sweeps take all cores: one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What one seed's run came to.
pub(crate) struct Outcome {
    /// Everything about the run.
    pub(crate) run: Arc<Run>,
    /// The engine's events.
    pub(crate) marks: Marks,
    /// The message of its panic.
    pub(crate) failure: Option<String>,
}

/// Runs `seed` on a fresh thread.
pub(crate) fn one(scheduler: Scheduler, seed: u64) -> Outcome {
    marks::install();
    let run = story::of_seed(seed);
    let shared = Arc::clone(&run);
    let body = move || {
        let told = panic::catch_unwind(AssertUnwindSafe(|| story::tell(scheduler, &shared)));
        (told.err().map(|payload| message(&*payload)), marks::take())
    };
    let (failure, marks) = on_fresh_thread(body);
    Outcome { run, marks, failure }
}

fn message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

#[expect(clippy::disallowed_methods, reason = "the harness is outside of the simulations that it starts")]
fn on_fresh_thread<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn(body);
    let thread = thread.unwrap_or_else(|error| panic!("no thread for a seed: {error}"));
    thread.join().unwrap_or_else(|_| panic!("a seed's thread died outside its run"))
}

#[expect(clippy::disallowed_methods, reason = "rates are of the real clock")]
fn now() -> Instant {
    Instant::now()
}

/// Runs `count` fresh seeds from `name`'s part of the seed space, or the one that was asked for. Panics with the
/// first failure, and when a mark of `must_hit` was missed by 500 seeds or more.
pub(crate) fn sweep(name: &str, scheduler: Scheduler, count: u64, must_hit: &[&str]) {
    if let Some(seed) = settings::one_seed() {
        return replay(name, scheduler, seed);
    }
    let _alone = lock(&ONE_AT_A_TIME);
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let total = Mutex::new((Tally::default(), Marks::default(), Duration::ZERO, Vec::new()));
    let workers = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let begun = now();
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    let seed = settings::base().wrapping_add(index);
                    let from = now();
                    let outcome = one(scheduler, seed);
                    let mut total = lock(&total);
                    total.0.add(&lock(&outcome.run.tally));
                    total.1.add(&outcome.marks);
                    total.2 += from.elapsed();
                    if outcome.failure.is_some() {
                        total.3.push(outcome);
                        stop.store(total.3.len() >= FAILURES_MAX, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let (tally, marks, busy, mut failures) =
        total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    failures.sort_by_key(|outcome| outcome.run.plan.seed);
    if let Some(failure) = failures.first() {
        report::failures(name, scheduler, &failures);
        panic!(
            "{name}: seed {:#x} failed: {}",
            failure.run.plan.seed,
            failure.failure.as_deref().unwrap_or("?")
        );
    }
    report::rates(name, scheduler, count, &tally, begun.elapsed(), busy);
    report::marks(&marks, must_hit, count);
}

/// Runs one seed and tells everything about it.
fn replay(name: &str, scheduler: Scheduler, seed: u64) {
    let outcome = one(scheduler, seed);
    report::story(name, scheduler, &outcome);
    if let Some(failure) = &outcome.failure {
        panic!("{name}: seed {seed:#x} failed: {failure}");
    }
}

impl Tally {
    /// Adds another run's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.lives += other.lives;
        self.opened += other.opened;
        self.refused += other.refused;
        self.crashes += other.crashes;
        self.crashes_in_open += other.crashes_in_open;
        self.operations += other.operations;
        self.epochs += other.epochs;
        self.checkpoints += other.checkpoints;
        self.failed += other.failed;
    }
}
