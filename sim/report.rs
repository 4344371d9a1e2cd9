//! What people are told: how to see a failure again, what led to it, and how fast a sweep was.
use std::collections::BTreeMap;

use highwater::sim::{FaultClass, Ledger};

use crate::coverage;
use crate::host::Scheduler;
use crate::job::{Job, Ran, Totals};
use crate::profile::Profile;
use crate::repeat;
use crate::sweep::Outcome;
use crate::world::{Tally, lock};
use crate::{DAMAGE_MUST_HIT, MUST_HIT, REMOTE_MUST_HIT};

/// How many of a ledger's faults and a trace's lines are shown.
const LAST: usize = 20;
/// From this many seeds on, a mark that was never hit is a failure.
const MARKS_SEEDS_MIN: u64 = 500;
/// From this many seeds on, a cell of the coverage that was never reached is one: the rarest is met once in a thousand.
const COVERAGE_SEEDS_MIN: u64 = 10_000;

/// The line that runs a seed again.
pub(crate) fn replay_line(profile: Profile, scheduler: Scheduler, seed: u64) -> String {
    match profile.exploration() {
        None => format!("cargo sim replay {seed:#x} --profile {profile} --scheduler {scheduler}"),
        Some(_) => format!("cargo sim replay {seed:#x} --profile {profile}"),
    }
}

/// Tells everything about a seed's run.
pub(crate) fn one(profile: Profile, scheduler: Scheduler, ran: &Ran) {
    println!("\nreplay: {}", replay_line(profile, scheduler, ran.seed));
    match &ran.outcome {
        Some(outcome) => story(scheduler, outcome),
        None => println!("{:?}", ran.explored),
    }
    match &ran.why {
        Some(why) => {
            println!("seed {:#x} failed: {why}", ran.seed);
            println!("shrink: {}", replay_line(profile, scheduler, ran.seed).replace("replay", "shrink"));
        }
        None => println!("seed {:#x} passes", ran.seed),
    }
}

/// Tells everything about a story.
pub(crate) fn story(scheduler: Scheduler, outcome: &Outcome) {
    let run = &outcome.run;
    println!("seed {:#x}, {scheduler} scheduler, at {}\n{}", run.plan.seed, lock(&run.step), run.plan);
    println!("{:?}", lock(&run.tally));
    if let Some(disk) = &*lock(&run.disk) {
        faults(&disk.ledger());
    }
    println!("the engine's last events:");
    for line in outcome.marks.lines() {
        println!("  {line}");
    }
    println!("the last events:");
    for line in run.trace.last(LAST) {
        println!("  {line}");
    }
    println!("{}", repeat::digest(run.trace.digest(), run.trace.events()));
}

/// Tells which faults there were, and when: the last of those that a program feels.
fn faults(ledger: &Ledger) {
    let mut counts = BTreeMap::new();
    for fault in ledger.entries() {
        *counts.entry(fault.class).or_insert(0_u64) += 1;
    }
    println!("faults injected: {counts:?}; the last:");
    let felt = |class| {
        use FaultClass::{Interrupted, ShortRead, ShortWrite, WriteBack};
        !matches!(class, Interrupted | ShortRead | ShortWrite | WriteBack)
    };
    let felt: Vec<_> = ledger.entries().iter().filter(|fault| felt(fault.class)).collect();
    for fault in felt.iter().skip(felt.len().saturating_sub(LAST)) {
        let (at, path) = (fault.at.0 / 1_000, fault.path.display());
        println!("  {at} us {:?} {path} {:?}", fault.class, fault.bytes);
    }
}

/// Tells what a job did and how fast, and about its failures: each in a line, the first in full.
pub(crate) fn totals(job: &Job, total: &Totals) {
    let Job { profile, scheduler, .. } = *job;
    let (seeds_rate, states_rate) = total.rates();
    for (mark, hits) in total.marks.counts() {
        println!("  {hits:>9} {mark}");
    }
    println!("{profile}: {} seeds from {:#x} on the {scheduler} scheduler", total.seeds, job.base);
    match profile.exploration() {
        None => println!("  {:?}\n{}", total.tally, total.coverage),
        Some(_) => println!("  {:?}", total.explored),
    }
    println!(
        "  {} crash states in {:.1?}: {seeds_rate:.1} seeds/s and {states_rate:.0} crash states/s per core",
        total.states(),
        total.took
    );
    let Some(first) = total.failures.first() else { return };
    println!("\n==== {} seeds failed", total.failures.len());
    for ran in &total.failures {
        println!(
            "{}\n  {}",
            replay_line(profile, scheduler, ran.seed),
            ran.why.as_deref().unwrap_or_default()
        );
    }
    one(profile, scheduler, first);
}

/// What the stories of one profile have seen.
pub(crate) struct SeenBy<'a> {
    /// How many there were.
    pub(crate) seeds: u64,
    /// Whether an event of the engine was among it.
    pub(crate) is_hit: &'a dyn Fn(&str) -> bool,
    /// Outcomes of the lattice, and how often there was each.
    pub(crate) outcomes: &'a BTreeMap<String, u64>,
    /// Cells of the coverage that were reached.
    pub(crate) reached: &'a BTreeMap<String, u64>,
}

/// The outcomes of the lattice that there were, by name.
pub(crate) fn outcomes(tally: &Tally) -> BTreeMap<String, u64> {
    let Tally { exact, typed, tail_lost, verified_damage, .. } = *tally;
    let counts = [exact, typed, tail_lost, verified_damage];
    OUTCOMES.iter().map(|name| (*name).to_owned()).zip(counts).filter(|(_, count)| *count > 0).collect()
}

/// Every outcome of the lattice.
const OUTCOMES: [&str; 4] = ["exact", "typed error", "unproven tail lost", "verify names damage"];

/// What stories had to see and did not, if there were enough seeds to tell.
pub(crate) fn missed(total: &Totals, profile: Profile) -> Vec<String> {
    let is_hit = |mark: &str| total.marks.count(mark) > 0;
    let (outcomes, reached) = (outcomes(&total.tally), total.coverage.named());
    missing(profile, &SeenBy { seeds: total.seeds, is_hit: &is_hit, outcomes: &outcomes, reached: &reached })
}

/// [`missed`] of what stories of `profile` have seen: each has events, and perhaps outcomes or cells of the coverage, of its own.
pub(crate) fn missing(profile: Profile, seen: &SeenBy<'_>) -> Vec<String> {
    if profile.exploration().is_some() {
        return Vec::new();
    }
    let (marks, outcomes, covers): (&[&str], &[&str], bool) = match profile {
        Profile::Damage => (DAMAGE_MUST_HIT, &OUTCOMES, false),
        Profile::Remote => (REMOTE_MUST_HIT, &[], false),
        _ => (MUST_HIT, &[], true),
    };
    let mut missed = Vec::new();
    if seen.seeds >= MARKS_SEEDS_MIN {
        missed.extend(marks.iter().filter(|mark| !(seen.is_hit)(mark)));
        missed.extend(outcomes.iter().filter(|name| !seen.outcomes.contains_key(**name)));
    }
    let mut missed: Vec<String> = missed.into_iter().map(|name: &&str| (*name).to_owned()).collect();
    if covers && seen.seeds >= COVERAGE_SEEDS_MIN {
        missed.extend(coverage::cold(seen.reached));
    }
    missed
}
