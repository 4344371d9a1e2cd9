//! Faults that are switched off, so that a run tells whether a bug needs them: `HIGHWATER_WITHOUT=PowerLoss,SyncError`.
//!
//! Names are those of [`FaultClass`], and `Clock`. Everything else that a seed draws stays as it was.

use std::sync::LazyLock;

use highwater::sim::{ClockFaults, FaultClass, FaultPlan};

use crate::plan::{Ending, Fate, Next, Plan};

/// The variable of the environment.
const VARIABLE: &str = "HIGHWATER_WITHOUT";

/// What [`VARIABLE`] names.
static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let named = std::env::var(VARIABLE).unwrap_or_default();
    let names: Vec<String> =
        named.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let crashes = [FaultClass::PowerLoss, FaultClass::ProcessCrash];
    let mut known: Vec<String> =
        FaultClass::RATED.iter().chain(&crashes).map(|class| format!("{class:?}")).collect();
    known.push("Clock".to_owned());
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        panic!("{VARIABLE}={named}: there is no {unknown}, only {}", known.join(", "));
    }
    names
});

fn is_off(name: &str) -> bool {
    NAMES.iter().any(|off| off == name)
}

/// `plan` without the classes that are off.
pub(crate) fn restrict(plan: FaultPlan) -> FaultPlan {
    let off = FaultClass::RATED.into_iter().filter(|class| is_off(&format!("{class:?}")));
    off.fold(plan, |plan, class| plan.with(class, 0.0))
}

/// `plan` without what is off. A life whose crash is off ends by being dropped.
pub(crate) fn adapt(mut plan: Plan) -> Plan {
    plan.faults = restrict(plan.faults);
    if is_off("Clock") {
        plan.clock = ClockFaults::default();
    }
    for life in &mut plan.lives {
        life.next = match (life.next, power_loss(), process_crash()) {
            (Next::NewProcess, _, false) | (Next::PowerLoss, true, false) => Next::NewProcess,
            (Next::PowerLoss, false, _) | (Next::NewProcess, false, true) => Next::PowerLoss,
            (Next::SameProcess, ..) | (_, true, true) => Next::SameProcess,
        };
        if let Some(fate) = crash(life.fate) {
            life.fate = fate;
        } else {
            life.trigger = None;
            life.ending = if life.ending == Ending::Crash { Ending::Drop } else { life.ending };
        }
    }
    plan
}

/// Whether the power stays on.
pub(crate) fn power_loss() -> bool {
    is_off("PowerLoss")
}

/// Whether a process ends by itself only.
pub(crate) fn process_crash() -> bool {
    is_off("ProcessCrash")
}

/// The crash to make where a run has drawn `fate`: another one when that is off, none when all are.
pub(crate) fn crash(fate: Fate) -> Option<Fate> {
    match (fate, power_loss(), process_crash()) {
        (_, true, true) => None,
        (Fate::Drawn | Fate::AllLost, true, false) => Some(Fate::Cache),
        (Fate::Cache, false, true) => Some(Fate::Drawn),
        (fate, ..) => Some(fate),
    }
}
