//! The harness as a command for people: `cargo sim <command>`. Without a command it runs tests.
//!
//! Every command ends with an [`Exit`], so that scripts need not read what it says.

pub(crate) mod campaign;
mod determinism;
mod explain;
pub(crate) mod mutants;
mod progress;
mod replay;
mod seed;
mod seeds;
mod shrink;
mod sweep;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// How a command ends; documented in [`AFTER_HELP`] and docs/simulator.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was run and nothing failed.
    Clean = 0,
    /// A seed failed, or a file of seeds/ does not hold what it must.
    Failed = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// Nothing failed, but something that must be seen was not.
    Missed = 3,
    /// The same seed did different things twice.
    Nondeterminism = 4,
    /// A file could not be read or written, or a tool is missing.
    Broken = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

const AFTER_HELP: &str = "\
Without a command the arguments are those of a test: a filter, --exact, --list, --skip ...
  cargo sim                                 every test of the harness
  cargo sim fan_out                         the tests whose names have this in them
A seed is written 5, 0x5eed, git:d8e1ca4 (the digits of a commit, seven or more), or as the 40 digits of a commit.

Exit codes:
  0  clean
  1  a seed failed, or a file of seeds/ is not what it must be
  2  the command line cannot be understood
  3  nothing failed, but a must-hit mark or cell was missed
  4  the same seed did different things twice
  5  a file could not be read or written, or a tool is missing

Examples:
  cargo sim sweep                                        1,000 fresh seeds on all cores
  cargo sim sweep --profile fan-out-engine --states 50000
  cargo sim replay 0x5eed --scheduler madsim             one seed, told in full
  cargo sim shrink 0x5eed                                ten lines instead of a thousand, on record
  cargo sim explain 0x5eed --html run.html               one seed, as a page to look at
  cargo sim determinism --seeds 50                       each seed in two processes: the same trace?
  cargo sim campaign --hours 8                           until morning; goes on where it stopped
  cargo sim seeds check                                  every seed on record";

/// The simulator's harness.
#[derive(Parser)]
#[command(name = "cargo sim", bin_name = "cargo sim", after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run fresh seeds on all cores.
    Sweep(sweep::Args),
    /// Run one seed, twice, and tell everything about it.
    Replay(replay::Args),
    /// Find the least that fails like a seed, and record it in seeds/.
    Shrink(shrink::Args),
    /// Run one seed and tell what happened: every promise, fault, crash and recovery.
    Explain(explain::Args),
    /// Run the same seeds again, in other processes: do they do the same things?
    Determinism(determinism::Args),
    /// Tell the digest of one run, and some of its events.
    Trace(determinism::TraceArgs),
    /// Run every profile in turn, for hours; a second call goes on where the first stopped.
    Campaign(campaign::Args),
    /// Look after the seeds on record.
    #[command(subcommand)]
    Seeds(seeds::Command),
    /// Run planted bugs: does the harness still find them?
    Mutants(mutants::Args),
    #[command(hide = true)]
    Probe(mutants::ProbeArgs),
}

/// Runs the command that the arguments name; `None` when they name none, and are a test's.
pub(crate) fn run() -> Option<Exit> {
    let first = std::env::args().nth(1)?;
    let is_command = Cli::command().get_subcommands().any(|command| command.get_name() == first);
    if !is_command && !["help", "--help", "-h"].contains(&first.as_str()) {
        return None;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell when standard output is closed.
            let _ = error.print();
            return Some(if error.use_stderr() { Exit::Usage } else { Exit::Clean });
        }
    };
    Some(match cli.command {
        Command::Sweep(args) => sweep::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Shrink(args) => shrink::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Determinism(args) => determinism::run(&args),
        Command::Trace(args) => determinism::trace(&args),
        Command::Campaign(args) => campaign::run(&args),
        Command::Seeds(command) => seeds::run(&command),
        Command::Mutants(args) => mutants::run(&args),
        Command::Probe(args) => mutants::run_probe(&args),
    })
}

/// Says why a command cannot go on.
fn broken(why: impl std::fmt::Display) -> Exit {
    eprintln!("{why}");
    Exit::Broken
}
