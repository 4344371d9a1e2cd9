//! A streaming job over a year of real departures, killed at random, and equal to the last bit in the end.
//!
//! ```sh
//! cargo run --release --example flights
//! cargo run --release --example flights -- --help
//! ```
//!
//! The job (`job.rs`) goes through 336,776 flights (`source.rs`) and keeps some 260,000 aggregates (`aggregate.rs`) in
//! the engine. Its parent (`parent.rs`) kills it with SIGKILL by a seeded plan (`plan.rs`), during a checkpoint and
//! during a recovery too, and starts it again. In the end a fresh process compares what the engine holds with a plain
//! computation (`reference.rs`).
//!
//! A SIGKILL takes the process and leaves the kernel's page cache: what a power loss takes is the simulator's subject.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a user's program, not the engine"
)]

mod aggregate;
mod job;
mod parent;
mod plan;
mod protocol;
mod reference;
mod source;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use highwater::Backend;

use source::Flights;

/// Counts 336,776 real departures on several cores, kills the job again and again, and compares the recovered state
/// with a plain computation.
#[derive(Debug, Parser)]
struct Args {
    /// Cores of the database; each has its thread, its share of the keys, and its log
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    cores: u16,

    /// Decides when the job is killed
    #[arg(long, default_value_t = 2013)]
    seed: u64,

    /// How often the job is killed; with three and more, once during a recovery and once during a checkpoint
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(0..=60))]
    kills: u64,

    /// Events per second that the source delivers; 0 = as many as the job takes
    #[arg(long, default_value_t = 50_000)]
    rate: u32,

    /// How the job reaches its disk
    #[arg(long, value_enum, default_value_t = DiskBackend::Auto)]
    backend: DiskBackend,

    /// Where to make the directory of the database [default: the system's directory for temporary files]
    #[arg(long)]
    dir: Option<PathBuf>,

    /// Keep the database
    #[arg(long)]
    keep: bool,

    /// What the program is when it starts itself; `--dir` is the database then
    #[arg(long, hide = true, requires = "dir")]
    child: Option<Role>,
}

/// How the job reaches its disk.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum DiskBackend {
    /// The best that works here.
    Auto,
    /// Plain system calls.
    Std,
    /// Linux's io_uring.
    Uring,
}

impl DiskBackend {
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Std => "std",
            Self::Uring => "uring",
        }
    }

    fn backend(self) -> Backend {
        match self {
            Self::Auto => Backend::Auto,
            Self::Std => Backend::Std,
            Self::Uring => Backend::Uring,
        }
    }
}

/// What a process of this program does.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    /// Runs the job, and is killed.
    Job,
    /// Compares the final state with a plain computation.
    Check,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Check => "check",
        }
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("flights: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Plays the role that was asked for; `false` when the final state is wrong.
fn run(args: &Args) -> Result<bool, Box<dyn Error>> {
    if let (Some(role), Some(dir)) = (args.child, &args.dir) {
        return match role {
            Role::Job => {
                let options = job::options(dir, args.cores).backend(args.backend.backend());
                job::run(options, args.rate).map(|()| true)
            }
            Role::Check => reference::check(dir, args.cores),
        };
    }
    // Removed when it goes out of scope, also after an error.
    let mut prefix = tempfile::Builder::new();
    let prefix = prefix.prefix("highwater-flights-");
    let mut home = match &args.dir {
        Some(dir) => prefix.tempdir_in(dir),
        None => prefix.tempdir(),
    }?;
    home.disable_cleanup(args.keep);
    let data = home.path().join("data");
    let outcome = parent::run(args, &data, Flights::load()?.rows.len() as u64);
    if args.keep {
        println!("kept: {}", data.display());
    } else {
        home.close()?;
    }
    outcome
}
