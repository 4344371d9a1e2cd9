//! One plan's run, and the tests that run many.
//!
//! Each plan runs on a thread of its own: what the last one left in thread-locals (madsim seeds hashers there) is
//! no part of the next.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use highwater::env::Tick;

use crate::explain::record::{self, Recording};
use crate::host::Scheduler;
use crate::job::{self, Budget, Job, Ran};
use crate::marks::{self, Marks};
use crate::plan::Plan;
use crate::profile::Profile;
use crate::recipe::Recipe;
use crate::report;
use crate::settings;
use crate::story;
use crate::usage;
use crate::world::{Run, Tally, lock};

/// A seed gets this much stack: futures of debug builds are large.
const STACK_BYTES: usize = 8 << 20;

/// A sweep with so many failures is not continued.
const FAILURES_MAX: usize = 20;

/// What takes all cores takes turns.
static ALL_CORES: Mutex<()> = Mutex::new(());

/// Waits until nobody else has all cores, and has them until the guard is dropped.
pub(crate) fn all_cores() -> MutexGuard<'static, ()> {
    lock(&ALL_CORES)
}

/// What one seed's run came to.
pub(crate) struct Outcome {
    /// Everything about the run.
    pub(crate) run: Arc<Run>,
    /// The engine's events.
    pub(crate) marks: Marks,
    /// The message of its panic.
    pub(crate) failure: Option<String>,
    /// How long a processor worked on it.
    pub(crate) busy: Duration,
}

/// Runs `plan` on a fresh thread.
pub(crate) fn one(scheduler: Scheduler, plan: Plan) -> Outcome {
    prepared(scheduler, Run::new(plan))
}

/// Runs what was prepared, on a fresh thread.
pub(crate) fn prepared(scheduler: Scheduler, run: Arc<Run>) -> Outcome {
    let name = format!("seed {:#x}", run.plan.seed);
    on_fresh_thread(name, move || tell(scheduler, run))
}

/// Runs `plan` on this thread, which must be a fresh one.
pub(crate) fn here(scheduler: Scheduler, plan: Plan) -> Outcome {
    tell(scheduler, Run::new(plan))
}

/// Does `body` on a fresh thread and records what happens.
pub(crate) fn recorded<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> (T, Recording) {
    on_fresh_thread("recorded".to_owned(), move || {
        marks::install();
        record::begin();
        let done = body();
        (done, record::take())
    })
}

fn tell(scheduler: Scheduler, run: Arc<Run>) -> Outcome {
    marks::install();
    let told = panic::catch_unwind(AssertUnwindSafe(|| story::tell(scheduler, &run)));
    let failure = told.err().map(|payload| message(&*payload));
    if let Some(failure) = &failure {
        run.trace.event("root", "panic", format_args!(""), format_args!("{failure}"), Tick(0));
    }
    Outcome { run, marks: marks::take(), failure, busy: usage::on_processor() }
}

fn message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

#[expect(clippy::disallowed_methods, reason = "the harness is outside of the simulations that it starts")]
fn on_fresh_thread<T: Send + 'static>(name: String, body: impl FnOnce() -> T + Send + 'static) -> T {
    // A panic is printed with the thread's name, long before a sweep ends.
    let thread = thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(body);
    let thread = thread.unwrap_or_else(|error| panic!("no thread for a seed: {error}"));
    thread.join().unwrap_or_else(|_| panic!("a seed's thread died outside its run"))
}

/// Runs `count` fresh seeds, or the one that was asked for. Panics with the first failure, and when 500 seeds or more
/// missed a mark that they must hit.
pub(crate) fn sweep(profile: Profile, scheduler: Scheduler, count: u64) {
    let budget = Budget { seeds: count, ..Budget::UNLIMITED };
    let job = Job {
        profile,
        scheduler,
        base: scheduler.base(settings::base()),
        budget,
        failures_max: FAILURES_MAX,
    };
    if let Some(seed) = settings::one_seed() {
        let ran = Recipe::of(profile, scheduler, seed).run();
        report::one(profile, scheduler, &ran);
        return assert_eq!(ran.why, None, "seed {seed:#x}");
    }
    let total = job::run(&job, &|_| {});
    report::totals(&job, &total);
    if let Some(Ran { seed, why: Some(why), .. }) = total.failures.first() {
        panic!("seed {seed:#x} failed: {why}");
    }
    let missed = report::missed(&total, profile);
    assert!(missed.is_empty(), "{count} seeds never saw: {missed:?}");
}

impl Tally {
    /// Adds another run's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.lives += other.lives;
        self.opened += other.opened;
        self.refused += other.refused;
        self.crashes += other.crashes;
        self.judged += other.judged;
        self.crashes_in_open += other.crashes_in_open;
        self.operations += other.operations;
        self.epochs += other.epochs;
        self.checkpoints += other.checkpoints;
        self.pins += other.pins;
        self.failed += other.failed;
        self.exact += other.exact;
        self.typed += other.typed;
        self.tail_lost += other.tail_lost;
        self.checkpoints_refused += other.checkpoints_refused;
        self.refused_for_good += other.refused_for_good;
        self.restored += other.restored;
        self.stored += other.stored;
        self.lost += other.lost;
        self.damaged += other.damaged;
        self.verified += other.verified;
        self.verified_damage += other.verified_damage;
    }
}
