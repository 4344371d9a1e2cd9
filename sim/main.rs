//! The harness: this project's own use of the public simulator. It sees only public items, as an embedder would.
//!
//! ```text
//! seed ─► plan (plan, shape, draw) ─► story: life after life, crash after crash (story, life, load)
//!                                       │ every answer of the engine
//!                                       ▼
//!                            oracle (the model) ─► check (one function per invariant)
//! ```
//!
//! `sweep` runs many seeds, on the scheduler of the crate `madsim` and on the built-in one (`host`, `madsim`); `report`
//! says what happened, `seeds` runs the ones on record. Variables of the environment: `settings`.
//!
//! The target has a `main` of its own. It runs the tests that the modules list (`TESTS`) as the standard harness would,
//! one after the other where they take all cores; what they print is always shown.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a harness reports to people")]

#[cfg(not(madsim))]
compile_error!(
    "the sweeps need `--cfg madsim`, which .cargo/config.toml sets: run cargo inside the repository and unset \
     RUSTFLAGS (it replaces the file's flags), or add `--cfg madsim` to it"
);

/// A test: its name with its modules, and what runs it. A function that no list names is dead code, which the
/// compiler reports.
pub(crate) type Test = (&'static str, fn());

/// The list of tests of a module, each named as the standard harness would.
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        &[$((concat!(module_path!(), "::", stringify!($name)), $name)),+]
    };
}

mod audit;
mod cause;
mod check;
mod cli;
mod coverage;
mod damage;
mod decode;
mod draw;
mod explain;
mod fanout;
mod flips;
mod host;
mod job;
mod lattice;
mod life;
mod load;
mod madsim;
mod many;
mod marks;
mod oracle;
mod pins;
mod plan;
mod profile;
mod recipe;
mod remote;
mod repeat;
mod report;
mod scenario;
mod seeds;
mod settings;
mod shape;
mod shrink;
mod sink;
mod step;
mod store;
mod stored;
mod story;
mod sweep;
mod text;
mod usage;
mod watch;
mod without;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use crate::host::Scheduler;
use crate::profile::Profile;

/// Every list of tests.
const SUITES: &[&[Test]] = &[
    TESTS,
    cause::TESTS,
    check::TESTS,
    cli::campaign::TESTS,
    cli::mutants::TESTS,
    explain::TESTS,
    fanout::engine::TESTS,
    fanout::log::TESTS,
    fanout::offsite::TESTS,
    fanout::rescale::TESTS,
    flips::TESTS,
    lattice::TESTS,
    many::TESTS,
    repeat::TESTS,
    scenario::bounds::TESTS,
    scenario::clocks::TESTS,
    scenario::cuts::TESTS,
    scenario::damage::TESTS,
    scenario::failures::TESTS,
    scenario::leftovers::TESTS,
    scenario::opening::TESTS,
    scenario::pins::TESTS,
    scenario::pressure::TESTS,
    scenario::rescale::TESTS,
    scenario::zombies::TESTS,
    settings::TESTS,
    shrink::TESTS,
    sink::TESTS,
    text::TESTS,
    usage::TESTS,
    watch::TESTS,
];

const TESTS: &[Test] = tests![
    recorded_seeds_pass,
    sweep_passes,
    built_in_sweep_passes,
    damage_is_named_or_harmless,
    lost_disks_come_back_from_the_store,
    same_seed_same_trace,
];

/// Seeds of a sweep of the whole test run: what two cores do in a few minutes.
const MADSIM_SEEDS: u64 = 2_000;
const BUILT_IN_SEEDS: u64 = 1_000;
const DAMAGE_SEEDS: u64 = 2_000;
const REMOTE_SEEDS: u64 = 1_000;

/// Seeds that are run three times each.
const REPEATED_SEEDS: u64 = 10;

/// What every sweep must have seen.
const MUST_HIT: &[&str] = &[
    "checkpoint: base rewritten",
    "checkpoint: checkpoint landed",
    "engine: checkpoint failed",
    "engine: created",
    "engine: engine failed",
    "engine: epoch closed",
    "engine: pin set or let go",
    "engine: pins stay as they are",
    "engine: segment not prepared",
    "engine: space for the log",
    "engine: space is short: the reserve is given up",
    "engine: there is space: the reserve is held",
    "sink: aborted",
    "sink: commit failed",
    "sink: decided",
    "sink: found decided",
    "sink: found in doubt",
    "sink: pre-commit failed",
    "sink: published",
    "wal: carry",
    "wal: close",
    "wal: coalesce",
    "wal: log poisoned",
    "wal: roll",
    "wal: seal",
    "wal: segment prepared",
    "wal: segment recycled",
    "wal: torn tail cut",
];

/// What every sweep of damage must have seen, besides each outcome of the lattice.
const DAMAGE_MUST_HIT: &[&str] = &[
    "checkpoint: checkpoint landed",
    "engine: checkpoint failed",
    "recovery: fallback",
    "wal: evidence behind damage",
    "wal: torn tail cut",
];

/// What every sweep with an object store must have seen.
const REMOTE_MUST_HIT: &[&str] = &[
    "engine: engine failed",
    "offsite: boundary moved",
    "offsite: files are in the store",
    "offsite: manifest landed in the store",
    "offsite: orphans looked for",
    "offsite: removed from the store",
    "offsite: restored",
    "offsite: upload failed",
    "remote: request given up",
    "sink: aborted",
    "sink: decided",
    "sink: found decided",
    "sink: found in doubt",
    "sink: published",
];

fn main() -> ExitCode {
    if let Some(exit) = cli::run() {
        return exit.into();
    }
    libtest_mimic::run(&Arguments::from_args(), trials()).exit_code()
}

/// Every test under the name that the standard harness would give it.
fn trials() -> Vec<Trial> {
    let tests = SUITES.iter().copied().chain(store::SUITES).flatten();
    let trial = |(name, run): &Test| {
        let run = *run;
        Trial::test(name.trim_start_matches("sim::"), move || {
            run();
            Ok(())
        })
    };
    tests.map(trial).collect()
}

/// Every bug that a seed found once stays found.
fn recorded_seeds_pass() {
    for (_, recorded) in seeds::all() {
        let recorded = recorded.unwrap_or_else(|why| panic!("{why}"));
        let shrunk = recorded.shrunk().unwrap_or_else(|why| panic!("{why}"));
        for recipe in shrunk.into_iter().chain([recorded.drawn()]) {
            let ran = recipe.run();
            if let Some(why) = &ran.why {
                report::one(recorded.profile, recorded.scheduler, &ran);
                panic!("seeds/{}: {why}", recorded.file);
            }
        }
    }
}

/// Crash after crash, under the scheduler of madsim.
fn sweep_passes() {
    sweep::sweep(Profile::Forward, Scheduler::Madsim, settings::seeds(MADSIM_SEEDS));
}

/// The same stories under the built-in scheduler, whose choices can be put on a tape.
fn built_in_sweep_passes() {
    sweep::sweep(Profile::Forward, Scheduler::BuiltIn, settings::seeds(BUILT_IN_SEEDS));
}

/// I7: the same on disks that lie, rot, lose sectors and get parts of their past back.
fn damage_is_named_or_harmless() {
    sweep::sweep(Profile::Damage, Scheduler::BuiltIn, settings::seeds(DAMAGE_SEEDS));
}

/// The same with an object store: what it was said to hold comes back when the disk is lost.
fn lost_disks_come_back_from_the_store() {
    sweep::sweep(Profile::Remote, Scheduler::BuiltIn, settings::seeds(REMOTE_SEEDS));
}

/// I12, without which no seed is worth recording.
fn same_seed_same_trace() {
    for index in 0..REPEATED_SEEDS {
        let seed = settings::one_seed().unwrap_or(settings::base().wrapping_add(index));
        repeat::i12_same_seed_same_trace(Scheduler::BuiltIn, seed);
        repeat::i12_same_seed_same_trace(Scheduler::Madsim, seed);
    }
}
