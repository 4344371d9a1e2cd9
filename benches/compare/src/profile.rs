//! Where the time of a timed stretch goes, as `perf` finds it.
//!
//! ```text
//! perf record ── starts, counting nothing ──► the slice
//!      ▲                                        │ Meter::start, Meter::stop
//!      └────── enable, disable: `control` ──────┘
//! ```

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::peer::Result;

/// Where the slice finds the two pipes to its profiler, with a `,` between them.
const CONTROL: &str = "HIGHWATER_COMPARE_CONTROL";

/// Samples a second and thread. Not a round number: nothing periodic keeps time with it.
const RATE: &str = "3989";

/// The rows that are profiled: workload and row.
pub(crate) const ROWS: [(&str, &str); 6] = [
    ("W2", "highwater"),
    ("W3-100", "highwater"),
    ("W3-16368", "highwater"),
    ("W4", "highwater"),
    ("W4", "highwater-state"),
    ("W7", "highwater"),
];

/// The processor time of all threads of one row's timed stretch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) workload: String,
    pub(crate) row: String,
    /// The greatest share first.
    pub(crate) parts: Vec<Part>,
}

/// The share of one function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Of 100.
    pub(crate) share: f64,
    /// `kernel`, or the file that holds the function.
    pub(crate) place: String,
    pub(crate) function: String,
}

/// Has `slice` run a slice under the command that it is given, and says what was sampled. `dir` is for the files on the way.
pub(crate) fn of(
    (workload, row): (&str, &str),
    dir: &Path,
    slice: impl FnOnce(Command) -> Result<()>,
) -> Result<Profile> {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir(dir)?;
    let [control, reply, data] = ["control", "reply", "data"].map(|name| dir.join(name));
    said(Command::new("mkfifo").arg(&control).arg(&reply))?;
    let pipes = format!("{},{}", control.display(), reply.display());
    let mut perf = Command::new("perf");
    perf.args(["record", "--quiet", "--event", "cpu-clock", "--freq", RATE, "--delay=-1", "--output"])
        .arg(&data);
    perf.arg(format!("--control=fifo:{pipes}")).arg("--").arg(std::env::current_exe()?).env(CONTROL, &pipes);
    slice(perf)?;
    let mut report = Command::new("perf");
    report.args(["report", "--stdio", "--no-children", "--call-graph=none", "--fields=overhead,dso,symbol"]);
    let text = said(report.args(["--field-separator=\t", "--input"]).arg(&data))?;
    fs::remove_dir_all(dir)?;
    Ok(Profile { workload: workload.to_owned(), row: row.to_owned(), parts: parts(&text)? })
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned().into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The lines of a report: share, file and function, with tabs between them.
fn parts(report: &str) -> Result<Vec<Part>> {
    let lines = report.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let part = |line: &str| {
        let mut fields = line.split('\t').map(str::trim);
        let share = fields.next()?.trim_end_matches('%').parse().ok()?;
        let place = fields.next()?;
        let place = if place.starts_with("[kernel") { "kernel" } else { place };
        let function = fields.next()?;
        // `[.]` and `[k]` say again whose it is.
        let function = function.split_once("] ").map_or(function, |(_, name)| name);
        Some(Part { share, place: place.to_owned(), function: function.to_owned() })
    };
    lines.map(|line| part(line).ok_or_else(|| format!("not a line of a profile: {line}").into())).collect()
}

/// In a slice: whether what follows is sampled. Nothing happens where nobody profiles.
pub(crate) fn sample(on: bool) {
    let Ok(pipes) = std::env::var(CONTROL) else { return };
    let (control, reply) = pipes.split_once(',').expect("two pipes");
    let command: &[u8] = if on { b"enable\n" } else { b"disable\n" };
    let told = OpenOptions::new().write(true).open(control).and_then(|mut pipe| pipe.write_all(command));
    told.expect("the profiler listens");
    // Only then is it so.
    let heard = OpenOptions::new().read(true).open(reply).and_then(|mut pipe| pipe.read(&mut [0; 16]));
    heard.expect("the profiler answers");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_taken_apart() {
        let report = "# Samples: 4K\n#\n# Overhead\tShared Object\tSymbol\n\n 31.58%\tlibc.so.6\t[.] memcpy\n\
                      \u{20}18.42%\t[kernel.kallsyms]\t[k] _copy_to_iter\n";
        let part = |share, place: &str, function: &str| Part {
            share,
            place: place.to_owned(),
            function: function.to_owned(),
        };
        let found = [part(31.58, "libc.so.6", "memcpy"), part(18.42, "kernel", "_copy_to_iter")];
        assert_eq!(parts(report).unwrap(), found);
        assert!(parts("nothing of the kind").is_err());
    }
}
