//! Many seeds on all cores, in order, until a budget is used up or too many have failed.
//!
//! J1. Seeds are consecutive: when a job ends, every seed from its base on, [`Totals::seeds`] of them, was run whole.
//! J2. One job has all cores ([`sweep::all_cores`]). Rates are per second that processors worked for it, which hardly depends
//!     on what else the machine does.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::coverage::Coverage;
use crate::fanout;
use crate::host::Scheduler;
use crate::marks::Marks;
use crate::profile::Profile;
use crate::recipe::Recipe;
use crate::report;
use crate::sweep::{self, Outcome};
use crate::usage;
use crate::watch::Watch;
use crate::world::{Tally, lock};

/// What to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    /// The kind of plans.
    pub(crate) profile: Profile,
    /// What runs them; fan-outs know the built-in scheduler only.
    pub(crate) scheduler: Scheduler,
    /// The first seed.
    pub(crate) base: u64,
    /// When it ends by itself.
    pub(crate) budget: Budget,
    /// With so many failures it is not continued.
    pub(crate) failures_max: usize,
}

/// What a job may use; it ends with the seed that uses up any part of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Seeds.
    pub(crate) seeds: u64,
    /// Crash states.
    pub(crate) states: u64,
    /// Real time.
    pub(crate) time: Duration,
}

impl Budget {
    /// Without end.
    pub(crate) const UNLIMITED: Self = Self { seeds: u64::MAX, states: u64::MAX, time: Duration::MAX };
}

/// One seed's run.
pub(crate) struct Ran {
    /// The seed.
    pub(crate) seed: u64,
    /// Why it failed, if it did: the message of its panic, or the rule that was broken.
    pub(crate) why: Option<String>,
    /// Everything about it, if it was a story.
    pub(crate) outcome: Option<Outcome>,
    /// What was explored, if it was a fan-out.
    pub(crate) explored: fanout::Tally,
}

impl Ran {
    /// What has to be the same when the seed is run again (I12).
    pub(crate) fn identity(&self) -> (Option<&str>, u128, u64) {
        let digest = self.outcome.as_ref().map_or(0, |outcome| outcome.run.trace.digest());
        (self.why.as_deref(), digest, self.explored.states)
    }
}

/// What a job came to.
#[derive(Default)]
pub(crate) struct Totals {
    /// Seeds run.
    pub(crate) seeds: u64,
    /// What happened in stories.
    pub(crate) tally: Tally,
    /// What was explored in fan-outs.
    pub(crate) explored: fanout::Tally,
    /// The engine's events in stories.
    pub(crate) marks: Marks,
    /// What stories have tried.
    pub(crate) coverage: Coverage,
    /// How long processors worked, together.
    pub(crate) busy: Duration,
    /// The time of the job.
    pub(crate) took: Duration,
    /// The seeds that failed, in order.
    pub(crate) failures: Vec<Ran>,
}

impl Totals {
    /// What counts as crash states for a budget: with all crashes switched off there are none, and a seed counts as one.
    fn work(&self) -> u64 {
        self.states().max(self.seeds)
    }

    /// Crash states recovered and judged: those of stories behind which an open has returned, and those of fan-outs.
    pub(crate) fn states(&self) -> u64 {
        self.tally.judged + self.explored.states
    }

    /// Seeds and crash states per second and core.
    pub(crate) fn rates(&self) -> (f64, f64) {
        let seconds = self.busy.as_secs_f64().max(f64::MIN_POSITIVE);
        #[expect(clippy::cast_precision_loss, reason = "rates are for people")]
        let rates = (self.seeds as f64 / seconds, self.states() as f64 / seconds);
        rates
    }

    fn add(&mut self, ran: Ran) {
        self.seeds += 1;
        self.explored.add(ran.explored);
        if let Some(outcome) = &ran.outcome {
            self.busy += outcome.busy;
            self.tally.add(&lock(&outcome.run.tally));
            self.marks.add(&outcome.marks);
            self.coverage.add(&lock(&outcome.run.coverage));
        }
        if ran.why.is_some() {
            self.failures.push(ran);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "rates are of the real clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Runs `job`, and calls `progress` after each seed with what it has come to.
pub(crate) fn run(job: &Job, progress: &(dyn Fn(&Totals) + Sync)) -> Totals {
    let _alone = sweep::all_cores();
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(job.budget.seeds == 0));
    let total = Mutex::new(Totals::default());
    let watch = Watch::default();
    let begun = now();
    let work = || {
        let before = usage::on_processor();
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= job.budget.seeds {
                break;
            }
            let seed = job.base.wrapping_add(index);
            let ran = watch.over(seed, || Recipe::of(job.profile, job.scheduler, seed).run());
            let mut total = lock(&total);
            total.add(ran);
            total.took = begun.elapsed();
            let over = total.failures.len() >= job.failures_max
                || total.work() >= job.budget.states
                || total.took >= job.budget.time;
            stop.fetch_or(over, Ordering::Relaxed);
            progress(&total);
        }
        // Stories have threads of their own, on which this one waits.
        lock(&total).busy += usage::on_processor().saturating_sub(before);
    };
    watch.on_every_core(|seed| report::replay_line(job.profile, job.scheduler, seed), work);
    let mut total = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    total.failures.sort_by_key(|failure| failure.seed);
    total
}
