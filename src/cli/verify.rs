//! `highwater verify`.

use serde_json::json;

use super::console::Console;
use super::copy::shown;
use super::{Database, Exit, Outcome};
use crate::verify::{VerifyOptions, verify};

/// Prove every retained epoch: rebuild it from its files, and from the epoch before and the log, and compare.
///
/// Reads only; exit code 1 and a line for each place when damage is found, 3 when nothing else is wrong
/// than that a newer program wrote files.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    database: Database,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Also compute the digest of every retained epoch's state, core by core.
    #[arg(long)]
    digests: bool,
    /// Memory for the last writes of a stretch of log, in MiB; with less the log is read more often.
    #[arg(long, value_name = "MIB", default_value_t = 128)]
    memory: usize,
}

pub(super) fn run(args: &Args, console: &mut Console) -> Outcome {
    let bar = console.bar("verifying");
    let options = VerifyOptions::new()
        .state_digests(args.digests)
        .memory_bytes(args.memory.saturating_mul(1 << 20))
        .progress(shown(&bar));
    let report = verify(&args.database.path, options);
    bar.finish_and_clear();
    let report = report?;
    if args.json {
        let mut value = serde_json::to_value(&report).unwrap_or_default();
        value["sound"] = json!(report.is_sound());
        console.json(&value)?;
    } else {
        console.line(report.to_string())?;
        for epoch in &report.epochs {
            for (core, state) in epoch.states.iter().flatten().enumerate() {
                let (epoch, keys, digest) = (epoch.epoch, state.keys, state.digest);
                console.line(format!("epoch {epoch}, core {core}: {keys} keys, digest {digest}"))?;
            }
        }
    }
    Ok(match report.is_sound() {
        true => Exit::Fine,
        false if report.is_newer() => Exit::Unreadable,
        false => Exit::Damaged,
    })
}
