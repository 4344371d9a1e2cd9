//! Which faults a planted bug needs: it is tried again with faults switched off.
//!
//! A group of fault classes is *needed* when the bug survives without it, and *enough* when it dies with nothing else:
//! from the first base, within eight times as many seeds as the slowest try took with everything on (sixteen at least).
//! Everything else that the seeds draw stays as it is. A bug that dies without any fault and crash needs none. Where
//! crashes are enough, other groups are not asked about. A bug to which none of that applies needs [`ANY`]. Damage at rest is
//! another matter: the profiles that do it inject nothing else.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::bug::Bug;
use super::probe::{Budget, Killer, Try};
use super::{Args, BASE_STRIDE, Row, TIME_MAX};

/// A group of faults: its name, and the classes that are switched off.
pub(super) struct Group {
    pub(super) name: &'static str,
    classes: &'static [&'static str],
    /// Whether it is about crashes.
    crash: bool,
}

/// Crashes of both kinds, the third of [`GROUPS`].
const BOTH: &str = "either crash";

/// Every group but [`DAMAGE`] and [`ANY`], in the order of the table.
pub(super) const GROUPS: [Group; 10] = [
    Group { name: "power loss", classes: &["PowerLoss"], crash: true },
    Group { name: "process crash", classes: &["ProcessCrash"], crash: true },
    Group { name: BOTH, classes: &["PowerLoss", "ProcessCrash"], crash: true },
    Group { name: "failed sync", classes: &["SyncError", "SyncErrorOnce", "DirSyncError"], crash: false },
    Group { name: "failed write", classes: &["WriteError"], crash: false },
    Group { name: "failed read", classes: &["ReadError"], crash: false },
    Group { name: "cut short", classes: &["ShortRead", "ShortWrite", "Interrupted"], crash: false },
    Group { name: "full device", classes: &["Full"], crash: false },
    Group { name: "early write-back, stall", classes: &["WriteBack", "Stall"], crash: false },
    Group { name: "clock", classes: &["Clock"], crash: false },
];

/// Damage at rest.
pub(super) const DAMAGE: &str = "damage at rest";

/// Some fault or crash, whichever.
pub(super) const ANY: &str = "some mixture";

/// Names of groups that a bug needs, and of groups that are enough for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Needs {
    /// Without any one of these it survives.
    pub(super) needed: Vec<String>,
    /// With any one of these and nothing else it dies.
    pub(super) enough: Vec<String>,
}

/// How many times the seeds of the slowest try a bug must survive without a fault to need it, and at least how many.
const PATIENCE: u64 = 8;
const SEEDS_MIN: u64 = 16;

/// What `bug`, which `row` says was killed, needs.
pub(super) fn needs(
    binary: &Path,
    folder: &Path,
    bug: &Bug,
    args: &Args,
    row: &Row,
) -> Result<Needs, String> {
    let killer = usual(bug, row);
    if killer.is_damage() {
        return Ok(Needs { needed: vec![DAMAGE.to_owned()], enough: vec![DAMAGE.to_owned()] });
    }
    if !killer.has_seeds() {
        return Ok(Needs::default());
    }
    let slowest = row.seeds.iter().copied().max().unwrap_or(1);
    let seeds = (slowest * PATIENCE).max(SEEDS_MIN).min(args.seeds.max(slowest));
    let budget = Budget { seeds, states: args.states, time: TIME_MAX };
    let log = folder.join(format!("{}-matrix.log", bug.name));
    let attempt = Try { binary, log: &log, killer, base: BASE_STRIDE, budget };
    let dies = |classes: &[&str]| attempt.run(classes).map(|kill| kill.is_some());
    let all: Vec<&str> = GROUPS.iter().flat_map(|group| group.classes).copied().collect();
    if dies(&all)? {
        return Ok(Needs::default());
    }
    let mut found = Needs::default();
    for group in GROUPS.iter().filter(|group| group.crash) {
        found.look(group, &dies)?;
    }
    // Where crashes alone do, nothing else is needed.
    let crashes_do = !found.enough.is_empty();
    for group in GROUPS.iter().filter(|group| !group.crash && !crashes_do) {
        found.look(group, &dies)?;
    }
    if found == Needs::default() {
        found.needed.push(ANY.to_owned());
    }
    Ok(found)
}

impl Needs {
    /// Whether `group` is needed, and whether it is enough by itself. Of both crashes together this is asked only when
    /// neither alone has an answer.
    fn look(&mut self, group: &Group, dies: &dyn Fn(&[&str]) -> Result<bool, String>) -> Result<(), String> {
        let (ask_needed, ask_enough) = match group.name {
            BOTH => (self.needed.is_empty(), self.enough.is_empty()),
            _ => (true, true),
        };
        if ask_needed && !dies(group.classes)? {
            self.needed.push(group.name.to_owned());
        }
        let others = GROUPS.iter().flat_map(|group| group.classes).copied();
        let others: Vec<&str> = others.filter(|class| !group.classes.contains(class)).collect();
        if ask_enough && dies(&others)? {
            self.enough.push(group.name.to_owned());
        }
        Ok(())
    }
}

/// The profile that killed most often.
fn usual(bug: &Bug, row: &Row) -> Killer {
    let mut counts = BTreeMap::new();
    for name in &row.killers {
        *counts.entry(name.as_str()).or_insert(0) += 1;
    }
    let count = |killer: &Killer| counts.get(killer.name().as_str()).copied().unwrap_or(0);
    bug.killers.iter().rev().copied().max_by_key(count).unwrap_or(Killer::Forward)
}
