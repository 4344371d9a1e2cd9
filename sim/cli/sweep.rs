//! `cargo sim sweep`: fresh seeds on all cores.

use super::progress::Progress;
use super::{Exit, seed};
use crate::host::Scheduler;
use crate::job::{self, Budget, Job};
use crate::profile::Profile;
use crate::{report, settings, usage};

/// Seeds of a story sweep, if nothing else is said.
const SEEDS_DEFAULT: u64 = 1_000;
/// Crash states of a fan-out, if nothing else is said.
const STATES_DEFAULT: u64 = 10_000;
/// A sweep with so many failures is not continued.
const FAILURES_MAX: usize = 20;

/// Run fresh seeds on all cores.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The kind of plans.
    #[arg(long, value_enum, default_value_t = Profile::Forward)]
    profile: Profile,
    /// What runs stories; fan-outs run on the built-in scheduler.
    #[arg(long, value_enum, default_value_t = Scheduler::BuiltIn)]
    scheduler: Scheduler,
    /// Stop after so many seeds [default: 1000 for stories].
    #[arg(long)]
    seeds: Option<u64>,
    /// Stop after so many crash states [default: 10000 for fan-outs].
    #[arg(long)]
    states: Option<u64>,
    /// Run the seeds so often, and tell after each time how much memory is left in use.
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// The first seed [default: that of the sweeps, another one for each scheduler].
    #[arg(long, value_parser = seed::parse)]
    base: Option<u64>,
}

/// Runs the sweep.
pub(crate) fn run(args: &Args) -> Exit {
    let (seeds, states) = match (args.seeds, args.states, args.profile.exploration()) {
        (None, None, None) => (SEEDS_DEFAULT, u64::MAX),
        (None, None, Some(_)) => (u64::MAX, STATES_DEFAULT),
        (seeds, states, _) => (seeds.unwrap_or(u64::MAX), states.unwrap_or(u64::MAX)),
    };
    let budget = Budget { seeds, states, ..Budget::UNLIMITED };
    let Args { profile, scheduler, .. } = *args;
    let base = args.base.unwrap_or_else(|| scheduler.base(settings::base()));
    let bar = Progress::new(&profile.to_string(), budget);
    let job = Job { profile, scheduler, base, budget, failures_max: FAILURES_MAX };
    if args.rounds > 1 {
        usage::count_live_bytes();
    }
    for _ in 1..args.rounds {
        job::run(&job, &|total| bar.show(total));
        println!("  {}", usage::memory());
    }
    let total = job::run(&job, &|total| bar.show(total));
    drop(bar);
    report::totals(&job, &total);
    println!("  {}", usage::memory());
    if !total.failures.is_empty() {
        return Exit::Failed;
    }
    let missed = report::missed(&total, profile);
    if missed.is_empty() {
        return Exit::Clean;
    }
    println!("{} seeds never saw: {missed:?}", total.seeds);
    Exit::Missed
}
