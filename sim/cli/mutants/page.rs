//! docs/mutants.md: the table planted bug × fault class, and the stories.

#![expect(clippy::disallowed_methods, reason = "the files of this repository are not the engine's")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::bug::Bug;
use super::matrix::{ANY, DAMAGE, GROUPS};
use super::proof::Proof;
use super::rows::Rows;
use super::{Args, Row};

/// What stands above the table; `{…}` is filled in.
const HEAD: &str = "\
# Planted bugs

Written by `cargo sim mutants`. Each bug is a patch of at most ten lines in `sim/mutants`, planted in a copy of the tree
and built at opt-level 1; the harness runs against it from {runs} first seeds on {cores} processors until the first failure, with at most
{states} crash states (fan-outs) or {seeds} seeds (stories) a try. {count} bugs, {run} of them run, {fresh} of these on
this very tree, {survivors} survivors.

*Killed by*: the profile that found it: `log`, `engine`, `offsite`, `rescale` crash fan-outs, the third with an object store, the last of
recoveries that change the number of cores; `forward`, `remote` stories, these with an object store; `flips`, `damage` damage at rest;
`state` many keys; and scenarios: `cores` of other numbers of cores, `failures` of disks that fail or are full, `leftovers` of what
interrupted opens leave, `pins` of epochs that are held on to, `sink` around sinks, `store` around an object store. *Seeds* and
*seconds*: the median until the first failure; fan-outs and stories count seeds.
*Shrunk to*: the lines that `cargo sim shrink` leaves of the first seed that found it, and how long that took. Before, it
was replayed and failed twice in the same way; afterwards its page was written (`cargo sim explain --html`). *Commit*: where that
was; a row is void when its patch changes.

The matrix says which faults the bug needs: ● this one, and nothing else; ◐ this one, together with others; ○ one of
several, each of which is enough. To find out, the try from the first base is repeated with that group of fault classes
switched off, and with all others switched off (`HIGHWATER_WITHOUT`), everything else as it was, for eight times the seeds of
the slowest kill, sixteen at least. Where crashes are enough, no other group is tried. An empty row means that the bug shows
without any fault and crash, *some mixture* that it does not, and that no group is needed or enough. Damage at
rest needs no such test: those profiles inject nothing else.

";

/// What stands behind it.
const TAIL: &str = "
## Not planted

- *Header crc without the length.* The payload's crc covers what the length says, so that a wrong length fails there;
  `crc-of-the-first-sector` plants the checksum that does not reach the end.
- *Acknowledgement by a destructor.* The engine has no I/O in `Drop`; `close-acknowledges` is the nearest slip.
";

/// The row of a bug, for the table and for people who wait; one that was not run yet has none.
pub(super) fn line(name: &str, row: Option<(&Row, &str)>) -> String {
    let Some((row, commit)) = row else {
        return format!("| {name} | not run yet |{}", "  |".repeat(5 + GROUPS.len() + 2));
    };
    let mut killers = row.killers.clone();
    killers.sort();
    killers.dedup();
    let seconds = |millis| format!("{}.{:02}", millis / 1000, millis % 1000 / 10);
    let shrunk = row
        .proof
        .as_ref()
        .map(|Proof { lines, shrink_millis, .. }| format!("{lines} lines, {} s", seconds(*shrink_millis)));
    let seconds = median(&row.millis).map(seconds);
    let seeds = median(&row.seeds).map(|seeds| seeds.to_string());
    let mut text = format!(
        "| {name} | {} | {} of {} | {} | {} | {} | {commit} |",
        killers.join(" "),
        row.killers.len(),
        row.runs,
        seeds.unwrap_or_else(|| "–".to_owned()),
        seconds.unwrap_or_else(|| "–".to_owned()),
        shrunk.unwrap_or_else(|| "–".to_owned()),
    );
    let has = |names: &[String], name: &str| names.iter().any(|one| one == name);
    for name in GROUPS.iter().map(|group| group.name).chain([DAMAGE]) {
        text.push_str(match (has(&row.needs.needed, name), has(&row.needs.enough, name)) {
            (true, true) => " ● |",
            (true, false) => " ◐ |",
            (false, true) => " ○ |",
            (false, false) => "  |",
        });
    }
    text.push_str(if has(&row.needs.needed, ANY) { " yes |" } else { "  |" });
    text
}

/// The middle one, the lower of two.
fn median(numbers: &[u64]) -> Option<u64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

/// Writes the page, as far as it is known.
///
/// # Errors
///
/// Why it could not be written.
pub(super) fn write(root: &Path, args: &Args, bugs: &[Bug], rows: &Rows) -> Result<(), String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let run: Vec<_> = bugs.iter().filter_map(|bug| rows.of(bug)).collect();
    let survivors = run.iter().filter(|kept| kept.row.survived()).count();
    let fresh = bugs.iter().filter(|bug| rows.is_fresh(bug, args)).count();
    let mut text = HEAD.to_owned();
    for (name, value) in [
        ("{runs}", args.runs.to_string()),
        ("{cores}", cores.to_string()),
        ("{states}", args.states.to_string()),
        ("{seeds}", args.seeds.to_string()),
        ("{count}", bugs.len().to_string()),
        ("{run}", run.len().to_string()),
        ("{fresh}", fresh.to_string()),
        ("{survivors}", survivors.to_string()),
    ] {
        text = text.replace(name, &value);
    }
    let groups: Vec<&str> = GROUPS.iter().map(|group| group.name).chain([DAMAGE, ANY]).collect();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "| planted bug | killed by | killed | seeds | seconds | shrunk to | commit | {} |",
        groups.join(" | ")
    );
    let _ = writeln!(text, "|{}", "--|".repeat(7 + groups.len()));
    for bug in bugs {
        let row = rows.of(bug).map(|kept| (&kept.row, &*kept.commit));
        let _ = writeln!(text, "{}", line(&bug.name, row));
    }
    let _ = writeln!(text, "\n## What their authors would have said\n");
    for Bug { name, subject, why, .. } in bugs {
        let _ = writeln!(text, "- **{name}** — {subject}. *{why}*");
    }
    text.push_str(TAIL);
    replace(&root.join("docs/mutants.md"), &text)
}

/// Writes `text` to `path`, whole or not at all.
///
/// # Errors
///
/// Why not.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), String> {
    let next = path.with_extension("next");
    let written = fs::write(&next, text).and_then(|()| fs::rename(&next, path));
    written.map_err(|error| format!("{}: {error}", path.display()))
}
