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
use crate::{DAMAGE_MUST_HIT, REMOTE_MUST_HIT};

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

/// What stories had to see and did not, if there were enough seeds to tell: marks of `must_hit`, and cells of the
/// coverage.
pub(crate) fn missed(total: &Totals, profile: Profile, must_hit: &[&str]) -> Vec<String> {
    if profile.exploration().is_some() {
        return Vec::new();
    }
    if profile == Profile::Damage {
        return missed_outcomes(total);
    }
    if profile == Profile::Remote {
        let is_hit = |mark: &str| total.marks.count(mark) > 0;
        let missed = REMOTE_MUST_HIT.iter().filter(|mark| total.seeds >= MARKS_SEEDS_MIN && !is_hit(mark));
        return missed.map(|mark| (*mark).to_owned()).collect();
    }
    missing(total.seeds, must_hit, |mark| total.marks.count(mark) > 0, &total.coverage.named())
}

/// [`missed`] of damage: marks, and outcomes of the lattice.
fn missed_outcomes(total: &Totals) -> Vec<String> {
    let Tally { exact, typed, tail_lost, verified_damage, .. } = total.tally;
    let outcomes = [
        ("exact", exact),
        ("typed error", typed),
        ("unproven tail lost", tail_lost),
        ("verify names damage", verified_damage),
    ];
    let mut missed = Vec::new();
    if total.seeds >= MARKS_SEEDS_MIN {
        let marks = DAMAGE_MUST_HIT.iter().filter(|mark| total.marks.count(mark) == 0);
        missed.extend(marks.map(|mark| (*mark).to_owned()));
        missed.extend(outcomes.iter().filter(|(_, count)| *count == 0).map(|(name, _)| (*name).to_owned()));
    }
    missed
}

/// [`missed`] of `seeds` stories that have hit these marks and named cells.
pub(crate) fn missing(
    seeds: u64,
    must_hit: &[&str],
    is_hit: impl Fn(&str) -> bool,
    reached: &BTreeMap<String, u64>,
) -> Vec<String> {
    let mut missed = Vec::new();
    if seeds >= MARKS_SEEDS_MIN {
        missed.extend(must_hit.iter().filter(|mark| !is_hit(mark)).map(|mark| (*mark).to_owned()));
    }
    if seeds >= COVERAGE_SEEDS_MIN {
        missed.extend(coverage::cold(reached));
    }
    missed
}
