//! What people are told: how to see a failure again, what led to it, and how fast a sweep was.
#![expect(clippy::print_stdout, reason = "a sweep tells people about its seeds")]

use std::collections::BTreeMap;
use std::time::Duration;

use highwater::sim::{FaultClass, Ledger};

use crate::host::Scheduler;
use crate::marks::Marks;
use crate::repeat;
use crate::sweep::Outcome;
use crate::world::{Tally, lock};

/// How many of a ledger's faults and a trace's lines are shown.
const LAST: usize = 20;
/// From this many seeds on, a mark that was never hit is a failure.
const MARKS_SEEDS_MIN: u64 = 500;

/// Tells about the seeds that failed: the first in full.
pub(crate) fn failures(name: &str, scheduler: Scheduler, failures: &[Outcome]) {
    println!("\n==== {name}: {} seeds failed on the {scheduler} scheduler", failures.len());
    for outcome in failures {
        let (seed, step) = (outcome.run.plan.seed, lock(&outcome.run.step));
        println!("{seed:#x} {step}: {}", outcome.failure.as_deref().unwrap_or("?"));
    }
    if let Some(first) = failures.first() {
        story(name, scheduler, first);
    }
}

/// Tells everything about a run.
pub(crate) fn story(name: &str, scheduler: Scheduler, outcome: &Outcome) {
    let run = &outcome.run;
    println!("\nreplay: HIGHWATER_SEED={:#x} cargo sim {name} --nocapture", run.plan.seed);
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

/// Tells how fast a sweep was, and what it did.
pub(crate) fn rates(
    name: &str,
    scheduler: Scheduler,
    count: u64,
    tally: &Tally,
    took: Duration,
    busy: Duration,
) {
    #[expect(clippy::cast_precision_loss, reason = "a count of seeds is small")]
    let per_core = count as f64 / busy.as_secs_f64().max(f64::MIN_POSITIVE);
    println!(
        "{name}: {count} seeds on the {scheduler} scheduler in {took:.1?}: {per_core:.1} seeds/s per core"
    );
    println!("  {tally:?}");
}

/// Tells which marks were hit. Panics when one that must be was not, unless there were too few seeds to tell.
pub(crate) fn marks(marks: &Marks, must_hit: &[&str], count: u64) {
    for (mark, hits) in marks.counts() {
        println!("  {hits:>9} {mark}");
    }
    let missed: Vec<_> = must_hit.iter().filter(|mark| marks.count(mark) == 0).collect();
    assert!(missed.is_empty() || count < MARKS_SEEDS_MIN, "marks that {count} seeds never hit: {missed:?}");
}
