//! The command-line tool `highwater`: looks into databases, proves, compares and copies them (docs/operations.md).
//!
//! ```text
//! inspect, dump, diff      read by the independent decoder       inspect.rs, dump.rs, diff.rs over snapshot.rs
//! log                      read as a user of the library would   log.rs
//! verify                   highwater::verify                     verify.rs
//! gc --dry-run             the engine's own plan, not executed   gc.rs
//! epochs, pin, unpin       what is retained, and holding on      pin.rs
//! backup, restore          a new database beside the old one     copy.rs
//! salvage                  the same, of what damage has left     salvage.rs
//! fetch                    a new database of what a store holds  fetch.rs
//! probe                    this machine's disk                   probe.rs
//! ```
//!
//! 1. Nothing but `backup`, `restore`, `fetch` and `salvage` writes to a database, and these only to a new one;
//!    `probe` writes one file of its own, `pin` and `unpin` a manifest.
//! 2. No command but `pin` and `unpin` locks a database: all others work beside a running engine. What vanishes while
//!    it is read is told as that.
//! 3. Results go to the standard output, everything else to the standard error; progress only if that is a terminal.
//!    Whoever stops reading the results changes nothing of how a command ends.

mod console;
mod copy;
mod diff;
mod dump;
#[cfg(feature = "object-store")]
mod fetch;
mod gc;
mod inspect;
mod log;
mod pin;
mod place;
mod probe;
mod salvage;
mod snapshot;
mod verify;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::error::{Error, ErrorCode, ErrorKind};
use crate::verify::{DamageKind, Finding};
use console::Console;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Nothing is wrong.
    Fine = 0,
    /// Damage was found; its place was told.
    Damaged = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// The database cannot be read: it is not there, of a newer format, or the device refuses.
    Unreadable = 3,
    /// What was to be written could not be; nothing half is left behind under the name that was asked for.
    Unwritten = 4,
}

/// Why a command stopped, for people.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    what: String,
    code: Option<ErrorCode>,
}

type Outcome<T = Exit> = Result<T, Failure>;

impl Failure {
    fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), code: None }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::Corrupt => Exit::Damaged,
            ErrorKind::Full => Exit::Unwritten,
            _ => Exit::Unreadable,
        };
        Self { exit, what: error.to_string(), code: Some(error.code()) }
    }
}

impl From<Finding> for Failure {
    fn from(damage: Finding) -> Self {
        let exit = match damage.kind {
            DamageKind::Newer => return Self::new(Exit::Unreadable, damage.to_string()),
            DamageKind::Unreadable => Exit::Unreadable,
            _ => Exit::Damaged,
        };
        let advice = "run `highwater verify`; if a writer is at work, try again";
        Self::new(exit, format!("{} ({advice})", *damage))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Exit::Unwritten, format!("writing the output: {error}"))
    }
}

/// Look into highwater databases, prove, compare and copy them.
///
/// Exit codes: 0 fine, 1 damage found, 2 the command line cannot be understood, 3 the database cannot be read,
/// 4 the copy or the output cannot be written.
#[derive(Parser)]
#[command(name = "highwater", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// No progress, also on a terminal.
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    Inspect(inspect::Args),
    Verify(verify::Args),
    Dump(dump::Args),
    Diff(diff::Args),
    Log(log::Args),
    Gc(gc::Args),
    Epochs(pin::EpochsArgs),
    Pin(pin::PinArgs),
    Unpin(pin::UnpinArgs),
    Probe(probe::Args),
    Backup(copy::BackupArgs),
    Restore(copy::RestoreArgs),
    #[cfg(feature = "object-store")]
    Fetch(fetch::Args),
    Salvage(salvage::Args),
    /// Print the completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Where the database is.
#[derive(clap::Args)]
pub(crate) struct Database {
    /// The database's folder.
    #[arg(value_name = "DIR")]
    path: PathBuf,
}

/// Runs the tool with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::from(run(std::env::args_os()) as u8)
}

fn run(arguments: impl Iterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and the version are what was asked for.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Fine };
            let _ = error.print();
            return exit;
        }
    };
    let mut console = Console::new(cli.quiet);
    let outcome = match &cli.command {
        Command::Inspect(args) => inspect::run(args, &mut console),
        Command::Verify(args) => verify::run(args, &mut console),
        Command::Dump(args) => dump::run(args, &mut console),
        Command::Diff(args) => diff::run(args, &mut console),
        Command::Log(args) => log::run(args, &mut console),
        Command::Gc(args) => gc::run(args, &mut console),
        Command::Epochs(args) => pin::epochs(args, &mut console),
        Command::Pin(args) => pin::pin(args, &mut console),
        Command::Unpin(args) => pin::unpin(args, &mut console),
        Command::Probe(args) => probe::run(args, &mut console),
        Command::Backup(args) => copy::backup(args, &mut console),
        Command::Restore(args) => copy::restore(args, &mut console),
        #[cfg(feature = "object-store")]
        Command::Fetch(args) => fetch::run(args, &mut console),
        Command::Salvage(args) => salvage::run(args, &mut console),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "highwater", &mut console);
            Ok(Exit::Fine)
        }
    };
    outcome.and_then(|exit| console.end().map(|()| exit)).unwrap_or_else(|failure| {
        console.complain(failure.code, &failure.what);
        failure.exit
    })
}
