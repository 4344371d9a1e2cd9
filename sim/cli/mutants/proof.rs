//! What people get of a planted bug that was found: its seed fails again in the same way, shrinks to a few lines, and
//! has a page.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::Exit;
use super::probe::{Kill, Killer};
use crate::job;

/// Seconds after which shrinking is content.
const SHRINK_SECONDS: &str = "60";

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Proof {
    /// The seed, as people write it.
    pub(super) seed: String,
    /// Lines that tell what is left of its plan.
    pub(super) lines: u64,
    /// How long shrinking took.
    pub(super) shrink_millis: u64,
}

/// Replays the seed of `kill` twice, shrinks and explains it, all with the planted harness; `None` when there is no seed.
///
/// # Errors
///
/// What did not work.
pub(super) fn prove(
    (binary, name): (&Path, &str),
    folder: &Path,
    killer: Killer,
    kill: Kill,
) -> Result<Option<Proof>, String> {
    let Some((seed, profile)) = kill.seed.zip(killer.profile()) else { return Ok(None) };
    let (seed, profile) = (format!("{seed:#x}"), profile.to_string());
    let page = folder.join(format!("{name}.html"));
    let run = |args: &[&str]| -> Result<String, String> {
        let mut command = Command::new(binary);
        command.args(args).args([&seed, "--profile", &profile]).stdin(Stdio::null());
        command.env_remove("HIGHWATER_SEED").env("RUST_BACKTRACE", "0");
        let output = command.output().map_err(|error| format!("{}: {error}", binary.display()))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.code() {
            Some(code) if code == Exit::Failed as i32 => Ok(said),
            code => Err(format!(
                "{name}: {} {seed} --profile {profile} ended with {code:?} instead of a failure:\n{said}{}",
                args.join(" "),
                String::from_utf8_lossy(&output.stderr)
            )),
        }
    };
    // It runs the seed twice itself, and says when these runs differ.
    run(&["replay"])?;
    let begun = job::now();
    let shrunk = run(&["shrink", "--dry-run", "--seconds", SHRINK_SECONDS])?;
    let shrink_millis = millis(begun.elapsed());
    let lines = shrunk.lines().skip_while(|line| !line.ends_with("what is left:")).skip(1);
    let lines = lines.filter(|line| !line.trim().is_empty()).count() as u64;
    if lines == 0 {
        return Err(format!("{name}: shrinking {seed} of {profile} left nothing to read:\n{shrunk}"));
    }
    run(&["explain", "--html", &page.display().to_string()])?;
    if !page.is_file() {
        return Err(format!("{name}: {} was not written", page.display()));
    }
    Ok(Some(Proof { seed, lines, shrink_millis }))
}

/// Milliseconds, as rows have them.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
