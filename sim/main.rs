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

#[cfg(not(madsim))]
compile_error!(
    "the sweeps need `--cfg madsim`, which .cargo/config.toml sets: run cargo inside the repository and unset \
     RUSTFLAGS (it replaces the file's flags), or add `--cfg madsim` to it"
);

mod check;
mod decode;
mod draw;
mod fanout;
mod flips;
mod host;
mod life;
mod load;
mod madsim;
mod marks;
mod oracle;
mod plan;
mod repeat;
mod report;
mod scenario;
mod seeds;
mod settings;
mod shape;
mod story;
mod sweep;
mod world;

use host::Scheduler;

/// Seeds of a sweep of the whole test run: what two cores do in a few minutes.
const MADSIM_SEEDS: u64 = 2_000;
const BUILT_IN_SEEDS: u64 = 1_000;

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
    "engine: segment not prepared",
    "engine: space for the log",
    "wal: carry",
    "wal: coalesce",
    "wal: log poisoned",
    "wal: roll",
    "wal: seal",
    "wal: segment prepared",
    "wal: segment recycled",
    "wal: torn tail cut",
];

/// Every bug that a seed found once stays found.
#[test]
fn recorded_seeds_pass() {
    for recorded in seeds::recorded() {
        let outcome = sweep::one(recorded.scheduler, recorded.seed);
        if let Some(failure) = &outcome.failure {
            report::story("recorded_seeds_pass", recorded.scheduler, &outcome);
            panic!("seeds/{}: {failure}", recorded.file);
        }
    }
}

/// Crash after crash, under the scheduler of madsim.
#[test]
fn sweep_passes() {
    sweep::sweep("sweep_passes", Scheduler::Madsim, settings::seeds(MADSIM_SEEDS), MUST_HIT);
}

/// The same stories under the built-in scheduler, whose choices can be put on a tape.
#[test]
fn built_in_sweep_passes() {
    sweep::sweep("built_in_sweep_passes", Scheduler::BuiltIn, settings::seeds(BUILT_IN_SEEDS), MUST_HIT);
}

/// I12, without which no seed is worth recording.
#[test]
fn same_seed_same_trace() {
    for index in 0..REPEATED_SEEDS {
        let seed = settings::one_seed().unwrap_or(settings::base().wrapping_add(index));
        repeat::i12_same_seed_same_trace(Scheduler::BuiltIn, "built_in_sweep_passes", seed);
        repeat::i12_same_seed_same_trace(Scheduler::Madsim, "sweep_passes", seed);
    }
}
