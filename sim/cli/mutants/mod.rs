//! `cargo sim mutants`: planted bugs. Does the harness find each of them, how fast, and which faults does it need?
//!
//! ```text
//! sim/mutants/*.patch ─► check: every patch applies ─► plant one in a copy of the tree ─► build the harness there
//!                                                                                             │
//!     docs/mutants.md ◄─ rows, kept with the hash of the tree ◄─ try it, again with faults switched off (matrix);
//!                                                                replay, shrink and explain its seed (proof)
//! ```
//!
//! A full run takes long. Its rows are kept: one that was interrupted goes on where it stopped, with the bugs that have no row
//! first, then those whose row is of another engine, harness or budget. A patch that changes makes its row void.

mod bug;
mod matrix;
mod page;
mod probe;
mod proof;
mod rows;
mod workshop;

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Exit, broken};
use crate::{Test, job};
use bug::Bug;
use matrix::Needs;
use probe::{Budget, Kill, Killer, Try};
use proof::Proof;
use rows::Rows;
use workshop::Workshop;

pub(crate) use probe::{Args as ProbeArgs, run as run_probe};

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![every_planted_bug_still_applies];

/// The first seed of the n-th try is n times this.
const BASE_STRIDE: u64 = 0x10_0000;
/// What a try may take before it counts as hanging.
const TIME_MAX: Duration = Duration::from_secs(600);

/// Run planted bugs: does the harness still find them?
///
/// Their rows are kept in docs/mutants.toml, and docs/mutants.md is written from them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// These only, whether or not they have a row.
    names: Vec<String>,
    /// See only whether every patch still applies.
    #[arg(long, conflicts_with = "names")]
    check: bool,
    /// As many as fit into so many minutes, beginning with one that the hash of the tree chooses; no matrix, no page.
    #[arg(long, conflicts_with = "names")]
    minutes: Option<f64>,
    /// Tries of each bug, each from another first seed.
    #[arg(long, default_value_t = 3)]
    runs: u64,
    /// Most crash states of a try with a fan-out.
    #[arg(long, default_value_t = 60_000)]
    states: u64,
    /// Most seeds of a try with stories.
    #[arg(long, default_value_t = 4_000)]
    seeds: u64,
    /// Only those that have no row, not those whose row is of another tree.
    #[arg(long, conflicts_with = "names")]
    missing: bool,
    /// Run none: write the page from the rows that are there.
    #[arg(long, conflicts_with_all = ["names", "missing"])]
    page: bool,
}

/// What became of one bug.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// Tries.
    runs: u64,
    /// The profile of each try that killed it.
    killers: Vec<String>,
    /// Seeds until then, where there are seeds.
    seeds: Vec<u64>,
    /// Milliseconds until then.
    millis: Vec<u64>,
    /// The faults that it needs.
    #[serde(default)]
    needs: Needs,
    /// What its first seed gave people, if it has one.
    proof: Option<Proof>,
}

impl Row {
    fn survived(&self) -> bool {
        (self.killers.len() as u64) < self.runs
    }
}

/// Runs the planted bugs that `args` asks for.
pub(crate) fn run(args: &Args) -> Exit {
    match planted(args) {
        Ok(exit) => exit,
        Err(why) => broken(why),
    }
}

/// The planted bugs, and where they are built; or which patches are stale.
fn prepared(root: &Path) -> Result<(Workshop, Vec<Bug>), String> {
    let workshop = Workshop::open(root)?;
    let bugs = bug::all(&root.join("sim/mutants"))?;
    let stale: Vec<String> = bugs.iter().filter_map(|bug| workshop.check(bug).err()).collect();
    if stale.is_empty() { Ok((workshop, bugs)) } else { Err(stale.join("\n")) }
}

fn every_planted_bug_still_applies() {
    let (_, bugs) = prepared(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap_or_else(|why| panic!("{why}"));
    assert!(bugs.len() >= 32, "{} planted bugs", bugs.len());
}

fn planted(args: &Args) -> Result<Exit, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (workshop, mut bugs) = match prepared(root) {
        Ok(prepared) => prepared,
        Err(why) => {
            println!("{why}");
            return Ok(Exit::Failed);
        }
    };
    println!("{} planted bugs apply", bugs.len());
    if args.check {
        return Ok(Exit::Clean);
    }
    if let Some(unknown) = args.names.iter().find(|name| bugs.iter().all(|bug| bug.name != **name)) {
        return Err(format!("there is no sim/mutants/{unknown}.patch"));
    }
    let hash = workshop.hash()?;
    if let Some(minutes) = args.minutes {
        let first = hash % bugs.len() as u64;
        bugs.rotate_left(usize::try_from(first).unwrap_or(0));
        return some(&workshop, &bugs, args, minutes);
    }
    let mut rows = Rows::open(root, hash)?;
    let due: Vec<&Bug> = due(&rows, &bugs, args);
    for bug in due {
        let row = measured(&workshop, bug, args)?;
        println!("{}", page::line(&bug.name, Some((&row, &rows.commit))));
        rows.keep(bug, args, row, &bugs)?;
        page::write(root, args, &bugs, &rows)?;
    }
    page::write(root, args, &bugs, &rows)?;
    let survived = bugs.iter().filter_map(|bug| rows.of(bug)).any(|kept| kept.row.survived());
    Ok(if survived { Exit::Failed } else { Exit::Clean })
}

/// Those to be run, in their order.
fn due<'a>(rows: &Rows, bugs: &'a [Bug], args: &Args) -> Vec<&'a Bug> {
    if args.page {
        return Vec::new();
    }
    if !args.names.is_empty() {
        return bugs.iter().filter(|bug| args.names.contains(&bug.name)).collect();
    }
    let (missing, others): (Vec<_>, Vec<_>) = bugs.iter().partition(|bug| rows.of(bug).is_none());
    let stale = others.into_iter().filter(|bug| !args.missing && !rows.is_fresh(bug, args));
    missing.into_iter().chain(stale).collect()
}

/// Bugs one after the other until the time is up: one try each.
fn some(workshop: &Workshop, bugs: &[Bug], args: &Args, minutes: f64) -> Result<Exit, String> {
    let time = Duration::try_from_secs_f64(minutes * 60.0).map_err(|error| format!("--minutes: {error}"))?;
    let (begun, mut slowest) = (job::now(), Duration::ZERO);
    for (done, bug) in bugs.iter().enumerate() {
        if begun.elapsed() + slowest > time {
            println!("{done} of {} planted bugs in {:.0?}: all found", bugs.len(), begun.elapsed());
            return Ok(Exit::Clean);
        }
        let from = job::now();
        let row = tried(workshop, bug, &Args { runs: 1, names: Vec::new(), ..*args })?.row;
        println!("{}", page::line(&bug.name, Some((&row, ""))));
        if row.survived() {
            println!("{} survives: {}", bug.name, bug.subject);
            return Ok(Exit::Failed);
        }
        // The first build is the largest.
        slowest = if done == 0 { Duration::ZERO } else { slowest.max(from.elapsed()) };
    }
    Ok(Exit::Clean)
}

/// Runs `bug` whole.
fn measured(workshop: &Workshop, bug: &Bug, args: &Args) -> Result<Row, String> {
    let Tried { mut row, binary, first } = tried(workshop, bug, args)?;
    if !row.survived() {
        row.needs = matrix::needs(&binary, &workshop.folder(), bug, args, &row)?;
    }
    if let Some((killer, kill)) = first {
        row.proof = proof::prove((&binary, &bug.name), &workshop.folder(), killer, kill)?;
    }
    Ok(row)
}

/// A bug whose profiles were run.
struct Tried {
    row: Row,
    /// The planted harness.
    binary: std::path::PathBuf,
    /// The first kill.
    first: Option<(Killer, Kill)>,
}

/// Plants `bug` and runs its profiles, in order, from every base until one fails.
fn tried(workshop: &Workshop, bug: &Bug, args: &Args) -> Result<Tried, String> {
    let binary = workshop.build(bug)?;
    let log = workshop.folder().join(format!("{}.log", bug.name));
    let (mut row, mut first) = (Row { runs: args.runs, ..Row::default() }, None);
    for run in 1..=args.runs {
        for &killer in &bug.killers {
            let budget = Budget { seeds: args.seeds, states: args.states, time: TIME_MAX };
            let base = run * BASE_STRIDE;
            let Some(kill) = (Try { binary: &binary, log: &log, killer, base, budget }).run(&[])? else {
                continue;
            };
            first.get_or_insert((killer, kill));
            row.killers.push(killer.name());
            row.seeds.extend(killer.has_seeds().then_some(kill.seeds));
            row.millis.push(proof::millis(kill.took));
            break;
        }
        if !bug.killers.iter().any(|killer| killer.has_seeds()) {
            // The same from every base.
            row.runs = 1;
            break;
        }
    }
    Ok(Tried { row, binary, first })
}
