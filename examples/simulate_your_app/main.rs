//! How to find the bugs of *your* program: a bank on highwater, and the storms that it has to survive.
//!
//! ```sh
//! cargo run --release --features sim --example simulate_your_app                 # the whole tour
//! alias bank='cargo run --release --features sim --example simulate_your_app --'
//! bank --bug confirm-early sweep --seeds 200                                     # which seeds find it
//! bank --bug confirm-early replay 0x1                                            # one of them again
//! bank --bug confirm-early shrink 0x1                                            # what it takes, and no more
//! bank --real /tmp                                                               # the same service on a real disk
//! ```
//!
//! `service.rs` is the program, which knows of no simulation. `storm.rs` lets it live through what a seed has in
//! store and says what must be true, `shrink.rs` takes away what a failure does not need, `real.rs` runs the program
//! on the disk of this machine. docs/simulate-your-app.md goes through a smaller one step by step.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a user's program, not the engine"
)]

mod real;
mod service;
mod shrink;
mod storm;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};

use service::Bug;
use shrink::shrink;
use storm::{Outcome, Plan, run};

/// Seeds that the tour gives a bug to show itself.
const TOUR_SEEDS: u64 = 300;

/// Seeds on which the tour shows that the service without a bug holds.
const TOUR_CLEAN: u64 = 200;

/// Lines that a shrunk story may have.
const LINES_MAX: usize = 10;

/// Finds the bugs of a bank by simulation. Without a command: the whole tour.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = false)]
struct Args {
    /// What is wrong with the bank
    #[arg(long, value_enum, default_value_t, global = true)]
    bug: Bug,

    /// Runs the bank on a real disk, in a new directory in this one
    #[arg(long, value_name = "DIR", conflicts_with = "bug")]
    real: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs many seeds and lists those that break a promise
    Sweep {
        /// How many
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// The first one, decimal or hexadecimal after 0x
        #[arg(long, default_value = "1", value_parser = seed)]
        base: u64,
    },
    /// Runs one seed twice and tells what came of it
    Replay {
        /// The seed, decimal or hexadecimal after 0x
        #[arg(value_parser = seed)]
        seed: u64,
    },
    /// Leaves out of a failing seed what the failure does not need
    Shrink {
        /// The seed, decimal or hexadecimal after 0x
        #[arg(value_parser = seed)]
        seed: u64,
    },
}

fn seed(text: &str) -> Result<u64, std::num::ParseIntError> {
    text.strip_prefix("0x").map_or_else(|| text.parse(), |digits| u64::from_str_radix(digits, 16))
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match (&args.real, &args.command) {
        (Some(dir), _) => real::run(dir),
        (None, None) => tour(),
        (None, Some(Command::Sweep { seeds, base })) => sweep(args.bug, *base, *seeds),
        (None, Some(Command::Replay { seed })) => replay(args.bug, *seed),
        (None, Some(Command::Shrink { seed })) => tell_least(args.bug, *seed),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simulate_your_app: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The first of `seeds` seeds that breaks a promise.
fn find(bug: Bug, base: u64, seeds: u64) -> Option<(u64, Outcome)> {
    (base..base + seeds)
        .map(|seed| (seed, run(&Plan::of(seed, bug))))
        .find(|(_, outcome)| outcome.violation.is_some())
}

fn sweep(bug: Bug, base: u64, seeds: u64) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    let mut found = 0;
    for seed in base..base + seeds {
        if let Some(violation) = run(&Plan::of(seed, bug)).violation {
            println!("{seed:#x}: {violation}");
            found += 1;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{seeds} seeds in {seconds:.1} s, {found} broke a promise");
    if found == 0 { Ok(()) } else { Err(format!("{found} of {seeds} seeds; replay or shrink one").into()) }
}

fn replay(bug: Bug, seed: u64) -> Result<(), Box<dyn Error>> {
    let plan = Plan::of(seed, bug);
    let outcome = run(&plan);
    println!("seed {seed:#x}, {bug:?}: {} transfers\n  {}", plan.transfers.len(), plan.hardware);
    for (crash, hit) in plan.crashes.iter().zip(&outcome.crashes) {
        println!("  {:?} at {hit}", crash.end);
    }
    println!("  digest {:032x}", outcome.digest);
    if run(&plan) != outcome {
        return Err(
            "the same seed did something else: the program takes something from outside its Env".into()
        );
    }
    match outcome.violation {
        None => Ok(()),
        Some(violation) => Err(violation.to_string().into()),
    }
}

fn tell_least(bug: Bug, seed: u64) -> Result<(), Box<dyn Error>> {
    let least = shrink(&Plan::of(seed, bug)).ok_or("this seed breaks no promise")?;
    println!("{least}");
    Ok(())
}

/// Shows that it all holds; an error says what did not.
fn tour() -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    for bug in [Bug::ConfirmEarly, Bug::LostOffset] {
        show(bug)?;
    }
    if let Some((seed, outcome)) = find(Bug::None, 1, TOUR_CLEAN) {
        return Err(format!("without a bug seed {seed:#x} broke a promise: {:?}", outcome.violation).into());
    }
    println!("without a bug: {TOUR_CLEAN} seeds, every promise kept");
    let home = tempfile::tempdir()?;
    real::run(home.path())?;
    println!("all of it in {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// Finds, replays, shrinks and fixes one bug.
fn show(bug: Bug) -> Result<(), Box<dyn Error>> {
    let (seed, outcome) =
        find(bug, 1, TOUR_SEEDS).ok_or_else(|| format!("{TOUR_SEEDS} seeds missed {bug:?}"))?;
    let plan = Plan::of(seed, bug);
    let violation = outcome.violation.as_ref().map(ToString::to_string).unwrap_or_default();
    println!("{bug:?}: found by seed {seed:#x}: {violation}");
    if run(&plan) != outcome {
        return Err(format!("seed {seed:#x} did something else the second time").into());
    }
    println!("replayed: the same run, digest {:032x}", outcome.digest);

    let least = shrink(&plan).ok_or("the failure is gone")?;
    let story = least.to_string();
    if story.lines().count() > LINES_MAX || run(&least.plan) != least.outcome {
        return Err(format!("not a story to tell:\n{story}").into());
    }
    println!("shrunk: {story}");
    for plan in [&plan, &least.plan] {
        let fixed = run(&Plan { bug: Bug::None, ..plan.clone() });
        if let Some(violation) = fixed.violation {
            return Err(format!("{bug:?} fixed, and seed {seed:#x} still fails: {violation}").into());
        }
    }
    println!("fixed: the same storms, whole and shrunk, break no promise\n");
    Ok(())
}
