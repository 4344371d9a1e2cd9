//! One try to kill a planted bug: a profile from one seed on, in a process of the planted harness.

use std::panic::catch_unwind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::ValueEnum;

use super::super::{Exit, seed};
use crate::host::Scheduler;
use crate::job::{self, Job};
use crate::profile::Profile;
use crate::{Test, flips, many, scenario, sink, store};

/// What may kill a planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Killer {
    /// Crash fan-out of the log alone.
    Log,
    /// Crash fan-out of the whole engine.
    Engine,
    /// Stories of whole lives, on the built-in scheduler.
    Forward,
    /// The same with an object store.
    Remote,
    /// Every byte of a closed database damaged.
    Flips,
    /// Scenarios of damage at rest.
    Damage,
    /// Scenarios of disks that fail, and of full ones.
    Failures,
    /// Scenarios of what interrupted opens leave.
    Leftovers,
    /// Scenarios of epochs that are held on to.
    Pins,
    /// A state of many keys.
    State,
    /// Scenarios around an object store.
    Store,
    /// Crash fan-out of the engine with an object store, and of the loss of its machine.
    Offsite,
    /// Crash fan-out of recoveries that change the number of cores.
    Rescale,
    /// Scenarios of the same.
    Cores,
    /// Scenarios around sinks.
    Sink,
}

impl Killer {
    /// The name on the command line and in the patches.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The kind of plans, if it runs seeds.
    pub(super) fn profile(self) -> Option<Profile> {
        match self {
            Self::Log => Some(Profile::FanOutLog),
            Self::Engine => Some(Profile::FanOutEngine),
            Self::Forward => Some(Profile::Forward),
            Self::Remote => Some(Profile::Remote),
            Self::Rescale => Some(Profile::FanOutRescale),
            Self::Offsite => Some(Profile::FanOutRemote),
            Self::Flips
            | Self::Damage
            | Self::Failures
            | Self::Leftovers
            | Self::Pins
            | Self::State
            | Self::Store
            | Self::Cores
            | Self::Sink => None,
        }
    }

    fn tests(self) -> Vec<Test> {
        match self {
            Self::Flips => flips::TESTS.to_vec(),
            Self::Damage => scenario::damage::TESTS.to_vec(),
            Self::Failures => [scenario::failures::TESTS, scenario::pressure::TESTS].concat(),
            Self::Leftovers => scenario::leftovers::TESTS.to_vec(),
            Self::Pins => scenario::pins::TESTS.to_vec(),
            Self::State => many::TESTS.to_vec(),
            Self::Store => store::SUITES.concat(),
            Self::Cores => scenario::rescale::TESTS.to_vec(),
            Self::Sink => sink::TESTS.to_vec(),
            Self::Log | Self::Engine | Self::Forward | Self::Remote | Self::Rescale | Self::Offsite => {
                Vec::new()
            }
        }
    }

    /// Whether it runs seeds, and so may take another time from another base.
    pub(super) fn has_seeds(self) -> bool {
        self.profile().is_some()
    }

    /// Whether all that it injects is damage at rest.
    pub(super) fn is_damage(self) -> bool {
        matches!(self, Self::Flips | Self::Damage)
    }
}

/// How long a try may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Seeds.
    pub(super) seeds: u64,
    /// Crash states.
    pub(super) states: u64,
    /// Real time; what takes longer hangs, which kills too.
    pub(super) time: Duration,
}

/// Run one profile until the first failure, for `cargo sim mutants`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(value_enum)]
    killer: Killer,
    #[arg(long, value_parser = seed::parse)]
    base: u64,
    #[arg(long)]
    seeds: u64,
    #[arg(long)]
    states: u64,
}

/// What a process prints that has seen a failure; the seed and what it says follow.
const FOUND: &str = "found by seed ";
/// What it prints then; the count of seeds follows.
const KILLED: &str = "killed after seeds: ";

/// Runs here what [`Try::run`] asked for.
pub(crate) fn run(args: &Args) -> Exit {
    let Some(profile) = args.killer.profile() else {
        for (name, test) in args.killer.tests() {
            if catch_unwind(test).is_err() {
                println!("{name} failed");
                killed(0);
            }
        }
        return Exit::Clean;
    };
    let budget = job::Budget { seeds: args.seeds, states: args.states, ..job::Budget::UNLIMITED };
    let (scheduler, base) = (Scheduler::BuiltIn, args.base);
    job::run(&Job { profile, scheduler, base, budget, failures_max: 1 }, &|total| {
        if let Some(failure) = total.failures.first() {
            println!("{FOUND}{:#x}: {}", failure.seed, failure.why.as_deref().unwrap_or("?"));
            killed(total.seeds);
        }
    });
    Exit::Clean
}

/// Ends the process at once: the seeds that other threads are at would not change the answer.
fn killed(seeds: u64) -> ! {
    println!("{KILLED}{seeds}");
    std::process::exit(Exit::Failed as i32)
}

/// One try.
#[derive(Clone, Copy, Debug)]
pub(super) struct Try<'a> {
    /// The planted harness.
    pub(super) binary: &'a Path,
    /// Where it says what it does.
    pub(super) log: &'a Path,
    /// What to run.
    pub(super) killer: Killer,
    /// The first seed.
    pub(super) base: u64,
    /// How long.
    pub(super) budget: Budget,
}

/// A try that found the bug.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kill {
    /// Seeds until then; zero where there are none.
    pub(super) seeds: u64,
    /// The seed that found it, if it lived to tell.
    pub(super) seed: Option<u64>,
    /// How long it took.
    pub(super) took: Duration,
}

impl Try<'_> {
    /// Runs it, with the fault classes of `without` off; `None` when the bug survives.
    ///
    /// # Errors
    ///
    /// Why it could not be run.
    pub(super) fn run(&self, without: &[&str]) -> Result<Option<Kill>, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.binary.display());
        let log = create(self.log).map_err(|error| format!("{}: {error}", self.log.display()))?;
        let Budget { seeds, states, time } = self.budget;
        let mut command = Command::new(self.binary);
        command.args(["probe", &self.killer.name()]);
        for (name, value) in [("--base", self.base), ("--seeds", seeds), ("--states", states)] {
            command.args([name, &value.to_string()]);
        }
        command.env_remove("HIGHWATER_SEED").env("HIGHWATER_SEED_BASE", self.base.to_string());
        command.env("HIGHWATER_WITHOUT", without.join(",")).env("RUST_BACKTRACE", "0");
        command.stdout(log.try_clone().map_err(failed)?).stderr(log).stdin(Stdio::null());
        let begun = job::now();
        let mut process = command.spawn().map_err(failed)?;
        let status = loop {
            if let Some(status) = process.try_wait().map_err(failed)? {
                break Some(status);
            }
            if begun.elapsed() > time {
                process.kill().and_then(|()| process.wait()).map_err(failed)?;
                break None;
            }
            nap();
        };
        let took = begun.elapsed();
        match status {
            Some(status) if status.success() => Ok(None),
            // It hangs, or it has taken the whole process with it.
            None => Ok(Some(Kill { seeds: 0, seed: None, took })),
            Some(_) => {
                let text = read(self.log)?;
                let told = |what| text.lines().rev().find_map(|line| line.strip_prefix(what));
                let seeds = told(KILLED).and_then(|seeds| seeds.parse().ok()).unwrap_or(0);
                let seed = told(FOUND).and_then(|line| seed::parse(line.split(':').next()?).ok());
                Ok(Some(Kill { seeds, seed, took }))
            }
        }
    }
}

#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a log of the harness")]
fn create(path: &Path) -> std::io::Result<std::fs::File> {
    std::fs::File::create(path)
}

#[expect(clippy::disallowed_methods, reason = "a log of the harness")]
pub(super) fn read(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[expect(clippy::disallowed_methods, reason = "the harness waits for a process of its own")]
fn nap() {
    std::thread::sleep(Duration::from_millis(10));
}
