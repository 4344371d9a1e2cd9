//! Cuts the power of a real file system under highwater, and opens what is left. README.md says how to run it.
//!
//! ```text
//! engine ─► file system ─► loop device ─► user-space file system: one file, which records every write and flush
//!    │ calls                                   │ writes, flushes
//!    ▼                                         ▼
//! witness: the simulated disk             images: what a flush had covered, and some of the rest
//! ```
//!
//! P1. Of every image: it mounts, an open succeeds, recovers at least the epoch that was acknowledged when the power
//!     went, and exactly the content of the epoch that it names; the database goes on from there, and verifies.
//! P2. Names, lengths and bytes of the engine's files, as the file system shows them after the cut, are among those that the
//!     simulated disk allows: [`highwater::sim::Witness`] was told the same calls up to the same moment.

mod blocks;
mod cut;
mod device;
mod disk;
mod follower;
mod promises;
mod recording;
mod traced;
mod trial;
mod world;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::{Parser, ValueEnum};
use highwater::Backend;

use disk::Kind;
use trial::Trial;

/// Set in the process that has mounts of its own.
const ALONE: &str = "HIGHWATER_POWER_CUT_ALONE";

/// A production backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Means {
    /// Plain system calls.
    Std,
    /// io_uring.
    Uring,
}

/// Cuts the power of real file systems under highwater. Needs root, /dev/fuse and loop devices.
#[derive(Parser)]
struct Arguments {
    /// File systems.
    #[arg(long, value_delimiter = ',', default_values_t = [Kind::Ext4, Kind::Xfs], value_enum)]
    fs: Vec<Kind>,
    /// Backends.
    #[arg(long, value_delimiter = ',', default_values = ["std", "uring"], value_enum)]
    backends: Vec<Means>,
    /// Images of each file system with each backend.
    #[arg(long, default_value_t = 500)]
    images: u64,
    /// Where the draws begin. What the kernel does is not drawn: a seed does not repeat a run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Images of one recording.
    #[arg(long, default_value_t = 40)]
    per_recording: u64,
    /// Writes every image that was found wrong into this folder.
    #[arg(long)]
    keep: Option<PathBuf>,
}

fn main() -> ExitCode {
    if std::env::var_os(ALONE).is_none() {
        // With mounts of its own nothing is left behind, whatever ends this process.
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--"]);
        let error = match std::env::current_exe() {
            Ok(path) => command.arg(path).args(std::env::args_os().skip(1)).env(ALONE, "1").exec(),
            Err(error) => error,
        };
        eprintln!("NOT RUN: {command:?}: {error}");
        return ExitCode::from(2);
    }
    let arguments = Arguments::parse();
    let mut failed = false;
    for &kind in &arguments.fs {
        for &means in &arguments.backends {
            match run(kind, means, &arguments) {
                Ok(sound) => failed |= !sound,
                Err(error) => {
                    eprintln!("NOT RUN: {kind}, {means:?}: {error}");
                    return ExitCode::from(2);
                }
            }
        }
    }
    ExitCode::from(u8::from(failed))
}

/// Whether all images of one file system and one backend were as promised.
fn run(kind: Kind, means: Means, arguments: &Arguments) -> Result<bool, String> {
    let backend = match means {
        Means::Std => Backend::Std,
        Means::Uring => Backend::Uring,
    };
    let began = Instant::now();
    let mut trial = Trial::new(kind, backend, arguments.keep.clone())?;
    let mut seed = arguments.seed;
    while trial.tally.images < arguments.images && trial.tally.findings < 5 {
        let left = arguments.images - trial.tally.images;
        trial.record(seed, left.min(arguments.per_recording))?;
        seed += 1;
    }
    let seconds = began.elapsed().as_secs_f64();
    let rate = trial.tally.images as f64 / seconds;
    println!("{kind}, {means:?}: {}, in {seconds:.0} s ({rate:.1} images/s)", trial.tally);
    Ok(trial.tally.findings == 0)
}
