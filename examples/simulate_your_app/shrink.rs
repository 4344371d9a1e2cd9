//! From a failing plan to the least one that fails in the same way, and its story in a few lines.
//!
//! What is left out moves the rest: with fewer transfers the fatal call comes earlier. So whenever something is left
//! out, the last crash is looked for again, at the calls before its place.

use std::cell::Cell;
use std::fmt;
use std::mem::{Discriminant, discriminant};

use highwater::sim::{ClockFaults, FaultClass, FaultPlan, Hardware, Personality, Shrinker, Tape};

use crate::storm::{Crash, End, Outcome, Plan, Violation, record, run};

/// Questions that shrinking may ask.
const TRIES_MAX: u64 = 400;

/// How many calls before its place a crash is looked for.
const CALLS_BACK: u64 = 40;

/// A failing plan from which nothing can be left out.
pub(crate) struct Shrunk {
    before: Plan,
    pub(crate) plan: Plan,
    pub(crate) outcome: Outcome,
    runs: u64,
    is_minimal: bool,
}

/// Makes `plan` smaller as long as it fails in the same way; none when it does not fail.
pub(crate) fn shrink(before: &Plan) -> Option<Shrunk> {
    let search = Search { kind: discriminant(&run(before).violation?), runs: Cell::new(1) };
    let (mut plan, mut shrinker) = (before.clone(), Shrinker::new().tries_max(TRIES_MAX));
    loop {
        let from = plan.clone();
        let with = |crashes: &[Crash]| Plan { crashes: crashes.to_vec(), ..from.clone() };
        plan = with(&shrinker.minimize(&from.crashes, |crashes| search.fails(&with(crashes))));

        let from = plan.clone();
        let with = |classes: &[FaultClass]| with_faults(&from, classes);
        let drawn = classes(&from.hardware.faults);
        let needed = shrinker.minimize(&drawn, |classes| search.finds(&with(classes)).is_some());
        plan = search.finds(&with(&needed))?;

        let from = plan.clone();
        let with = |transfers: &[_]| Plan { transfers: transfers.to_vec(), ..from.clone() };
        let needed = shrinker.minimize(&from.transfers, |transfers| search.finds(&with(transfers)).is_some());
        plan = search.finds(&with(&needed))?;
        if plan.transfers.len() == from.transfers.len() {
            break;
        }
    }
    plan = search.with_plainer_hardware(plan);
    for at in 0..plan.crashes.len() {
        plan = search.with_plainer_crash(&plan, at, &mut shrinker);
    }
    let with = |tape: &Tape| Plan { schedule: Some(tape.clone()), ..plan.clone() };
    let tape = shrinker.minimize_tape(&record(&plan), |tape| search.fails(&with(tape)));
    let plan = with(&tape);

    let outcome = run(&plan);
    let is_minimal = !shrinker.is_exhausted();
    Some(Shrunk { before: before.clone(), plan, outcome, runs: search.runs.get(), is_minimal })
}

/// The failure that is being looked for.
struct Search {
    kind: Discriminant<Violation>,
    runs: Cell<u64>,
}

impl Search {
    fn fails(&self, plan: &Plan) -> bool {
        self.runs.set(self.runs.get() + 1);
        run(plan).violation.is_some_and(|found| discriminant(&found) == self.kind)
    }

    /// The plan, with its last crash in the latest place, not behind the planned one, where it fails.
    fn finds(&self, plan: &Plan) -> Option<Plan> {
        let Some((&last, earlier)) = plan.crashes.split_last() else {
            return self.fails(plan).then(|| plan.clone());
        };
        let first = last.calls.saturating_sub(CALLS_BACK).max(1);
        let with = |calls| [earlier, &[Crash { calls, ..last }]].concat();
        let mut moved = (first..=last.calls).rev().map(|calls| Plan { crashes: with(calls), ..plan.clone() });
        moved.find(|plan| self.fails(plan))
    }

    fn with_plainer_hardware(&self, plan: Plan) -> Plan {
        let hardware =
            Hardware { disk: Personality::default(), clock: ClockFaults::default(), ..plan.hardware.clone() };
        let plainer = Plan { hardware, ..plan.clone() };
        if self.fails(&plainer) { plainer } else { plan }
    }

    /// Lets the power take everything, if that fails too, and the crash come as early as it may.
    fn with_plainer_crash(&self, plan: &Plan, at: usize, shrinker: &mut Shrinker) -> Plan {
        let with = |crash| {
            let mut plainer = plan.clone();
            plainer.crashes[at] = crash;
            plainer
        };
        let mut crash = plan.crashes[at];
        let all_lost = Crash { end: End::PowerAllLost, ..crash };
        if self.fails(&with(all_lost)) {
            crash = all_lost;
        }
        let earlier = |calls| with(Crash { calls: calls + 1, ..crash });
        let least = shrinker.minimize_number(crash.calls - 1, |calls| self.fails(&earlier(calls)));
        earlier(least)
    }
}

/// The classes of faults that can happen.
fn classes(faults: &FaultPlan) -> Vec<FaultClass> {
    FaultClass::RATED.into_iter().filter(|&class| faults.rate(class) > 0.0).collect()
}

/// The plan with these classes of faults and no others. Each class draws from its own stream: those that stay do the
/// same things.
fn with_faults(plan: &Plan, kept: &[FaultClass]) -> Plan {
    let mut faults = plan.hardware.faults.clone();
    for class in classes(&faults) {
        if !kept.contains(&class) {
            faults = faults.with(class, 0.0);
        }
    }
    Plan { hardware: Hardware { faults, ..plan.hardware.clone() }, ..plan.clone() }
}

impl fmt::Display for Shrunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, plan, outcome, runs, is_minimal } = self;
        let minimal = if *is_minimal { "minimal" } else { "as far as the runs went" };
        writeln!(f, "seed {:#x}, {:?}: {runs} runs, {minimal}", plan.seed, plan.bug)?;
        let list: Vec<String> =
            plan.transfers.iter().map(|t| format!("{}→{}: {}", t.from, t.to, t.amount)).collect();
        writeln!(f, "  transfers  {} of {}: {}", list.len(), before.transfers.len(), list.join(", "))?;
        let crashes: Vec<String> = plan
            .crashes
            .iter()
            .zip(&outcome.crashes)
            .map(|(crash, hit)| format!("{:?} at {hit}", crash.end))
            .collect();
        writeln!(f, "  crashes    {} of {}: {}", crashes.len(), before.crashes.len(), crashes.join("; "))?;
        let (kept, drawn) = (classes(&plan.hardware.faults), classes(&before.hardware.faults).len());
        writeln!(f, "  faults     {} of {drawn} classes: {kept:?}", kept.len())?;
        let deviations = plan.schedule.as_ref().map(Tape::deviations).unwrap_or_default();
        if deviations.is_empty() {
            writeln!(f, "  schedule   whoever waits longest goes first")?;
        } else {
            let list: Vec<String> =
                deviations.iter().map(|d| format!("choice {} takes number {}", d.at, d.choice)).collect();
            writeln!(f, "  schedule   whoever waits longest goes first, but {}", list.join(", "))?;
        }
        let violation = outcome.violation.as_ref().map(ToString::to_string).unwrap_or_default();
        write!(f, "  violation  {violation}")
    }
}
