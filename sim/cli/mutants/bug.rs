//! A planted bug: a patch of a few lines that a review could have let through, with the story of its author in front.
//!
//! ```text
//! wal: one sync less per segment                                  what the author would have called it
//!
//! The file was synced a moment ago; its name goes with it.        and why
//!
//! Profiles: log engine forward                                    what may kill it, in the order in which they are tried
//!
//! --- a/src/wal/segment.rs …                                      at most ten lines
//! ```

#![expect(clippy::disallowed_methods, reason = "the files of this repository are not the engine's")]

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::probe::Killer;

/// Most lines that a patch adds, and most that it takes away.
const LINES_MAX: usize = 10;

/// A patch of `sim/mutants`.
#[derive(Clone, Debug)]
pub(super) struct Bug {
    /// The file's name without its ending.
    pub(super) name: String,
    /// The first line.
    pub(super) subject: String,
    /// What follows it.
    pub(super) why: String,
    /// What may kill it, in order.
    pub(super) killers: Vec<Killer>,
    /// The file.
    pub(super) path: PathBuf,
    /// Its content.
    pub(super) text: String,
}

/// Every bug in `folder`, by name.
///
/// # Errors
///
/// Which file is not what it must be, and why.
pub(super) fn all(folder: &Path) -> Result<Vec<Bug>, String> {
    let failed = |error| format!("{}: {error}", folder.display());
    let mut bugs = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == "patch") {
            let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            bugs.push(parse(&path, text).map_err(|why| format!("{}: {why}", path.display()))?);
        }
    }
    bugs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(bugs)
}

fn parse(path: &Path, text: String) -> Result<Bug, String> {
    let (head, diff) = text.split_once("\n--- a/").ok_or("there is no patch in it")?;
    let changed =
        |sign| diff.lines().filter(|line| line.starts_with(sign) && !line.starts_with("+++")).count();
    let lines = changed('+').max(changed('-'));
    if lines > LINES_MAX {
        return Err(format!("{lines} changed lines, and {LINES_MAX} are a lot for a slip"));
    }
    let (story, profiles) =
        head.split_once("\nProfiles: ").ok_or("no line `Profiles: …` before the patch")?;
    let (subject, why) =
        story.split_once("\n\n").ok_or("a subject, an empty line and the story are needed")?;
    let killer = |name| Killer::from_str(name, false).map_err(|error| format!("Profiles: {error}"));
    let killers: Vec<Killer> = profiles.split_whitespace().map(killer).collect::<Result<_, _>>()?;
    if killers.is_empty() || why.trim().is_empty() {
        return Err("the story or the profiles are empty".to_owned());
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let (subject, why) = (subject.to_owned(), why.split_whitespace().collect::<Vec<_>>().join(" "));
    Ok(Bug { name, subject, why, killers, path: path.to_owned(), text })
}
