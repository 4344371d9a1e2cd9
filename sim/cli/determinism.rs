//! `cargo sim determinism`: the same seeds in several processes, and in another build of the harness.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::{Exit, broken, seed};
use crate::host::Scheduler;
use crate::repeat::{self, Case, Difference, Footprint, Place};
use crate::world::lock;
use crate::{settings, sweep};

/// Run the same seeds again, in other processes: do they do the same things?
#[derive(clap::Args)]
pub(crate) struct Args {
    /// This seed only.
    #[arg(value_parser = seed::parse)]
    seed: Option<u64>,
    /// How many seeds, each on each scheduler.
    #[arg(long, default_value_t = 20, conflicts_with = "seed")]
    seeds: u64,
    /// The first seed.
    #[arg(long, value_parser = seed::parse, default_value_t = settings::base())]
    base: u64,
    /// This scheduler only.
    #[arg(long, value_enum)]
    scheduler: Option<Scheduler>,
    /// Run each seed in this build of the harness too: the program target/*/deps/sim-*.
    #[arg(long, value_name = "BINARY")]
    against: Option<PathBuf>,
}

/// What was found about the cases so far.
#[derive(Default)]
struct Found {
    events: u64,
    different: Vec<(Case, Place, Difference)>,
    broken: Option<String>,
}

/// Runs every case here, in a process of this program, and in one of the other.
pub(crate) fn run(args: &Args) -> Exit {
    let mut places = match repeat::this_program() {
        Ok(place) => vec![place],
        Err(why) => return broken(why),
    };
    places.extend(args.against.clone().map(Place::Process));
    let (base, count) = args.seed.map_or((args.base, args.seeds), |seed| (seed, 1));
    let schedulers = args.scheduler.map_or(vec![Scheduler::BuiltIn, Scheduler::Madsim], |one| vec![one]);
    let seeds = (0..count).map(|index| base.wrapping_add(index));
    let cases: Vec<Case> =
        seeds.flat_map(|seed| schedulers.iter().map(move |&scheduler| Case { scheduler, seed })).collect();
    let mut found = all(&cases, &places);
    found.different.sort_by_key(|(case, ..)| case.seed);
    if let Some(why) = found.broken {
        return broken(why);
    }
    for (case, place, difference) in &found.different {
        println!("{case}: this process and {place} differ (I12)\n{difference}");
    }
    let (of, places) = (found.different.len(), places.len() + 1);
    println!("{} runs in {places} processes each, {} events: {of} differences", cases.len(), found.events);
    if found.different.is_empty() { Exit::Clean } else { Exit::Nondeterminism }
}

/// Compares every case on all cores, until one cannot be run.
fn all(cases: &[Case], places: &[Place]) -> Found {
    let _alone = sweep::all_cores();
    let (next, found) = (AtomicU64::new(0), Mutex::new(Found::default()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while lock(&found).broken.is_none() {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let case = usize::try_from(at).ok().and_then(|at| cases.get(at));
                    let Some(case) = case else { return };
                    if let Err(why) = one(*case, places, &found) {
                        lock(&found).broken = Some(why);
                    }
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn one(case: Case, places: &[Place], found: &Mutex<Found>) -> Result<(), String> {
    let here = Place::Here.run(case, 0..0)?;
    for place in places {
        // Only a difference is worth more than one run.
        if place.run(case, 0..0)? != here {
            let difference = repeat::compare(case, &Place::Here, place)?;
            let difference = difference.unwrap_or_else(Difference::seen_once);
            lock(found).different.push((case, place.clone(), difference));
        }
    }
    lock(found).events += here.events;
    Ok(())
}

/// What another process asks of this one: `sim trace SEED`.
#[derive(clap::Args)]
pub(crate) struct TraceArgs {
    /// The seed.
    #[arg(value_parser = seed::parse)]
    seed: u64,
    /// What runs it.
    #[arg(long, value_enum, default_value_t = Scheduler::BuiltIn)]
    scheduler: Scheduler,
    /// Tell the events from this number on …
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// … to before this one.
    #[arg(long, default_value_t = 0)]
    to: u64,
}

/// Prints the digest of a run, its checkpoints, and the events that were asked for.
pub(crate) fn trace(args: &TraceArgs) -> Exit {
    let TraceArgs { seed, scheduler, from, to } = *args;
    match Place::Here.run(Case { scheduler, seed }, from..to) {
        Ok(footprint) => Footprint::lines(&footprint).for_each(|line| println!("{line}")),
        Err(why) => return broken(why),
    }
    Exit::Clean
}
