//! What became of planted bugs, in a file of the repository: a full run takes longer than one sitting, and on one
//! machine. A row stands for its patch, and says of which tree it is.
//!
//! ```text
//! docs/mutants.toml   one table a bug: patch, budget, tree, commit, and the row
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::bug::Bug;
use super::{Args, Row, page, probe};

/// The rows of all bugs that were run.
pub(super) struct Rows {
    path: PathBuf,
    kept: BTreeMap<String, Kept>,
    /// Of what is run now.
    tree: String,
    pub(super) commit: String,
}

/// A row, and what it stands for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    /// The digest of the patch.
    patch: String,
    /// Tries, crash states and seeds of each.
    budget: String,
    /// The digest of what the bug was planted in.
    tree: String,
    /// The last commit then; what was not committed is in the digest only.
    pub(super) commit: String,
    pub(super) row: Row,
}

impl Rows {
    /// Those of the repository at `root`, whose tree has this digest.
    ///
    /// # Errors
    ///
    /// What is wrong with the file.
    pub(super) fn open(root: &Path, tree: u64) -> Result<Self, String> {
        let path = root.join("docs/mutants.toml");
        let kept = if path.exists() {
            toml::from_str(&probe::read(&path)?).map_err(|error| format!("{}: {error}", path.display()))?
        } else {
            BTreeMap::new()
        };
        Ok(Self { path, kept, tree: format!("{tree:016x}"), commit: commit(root) })
    }

    /// The row of `bug` as it is planted now, of whichever tree and budget.
    pub(super) fn of(&self, bug: &Bug) -> Option<&Kept> {
        self.kept.get(&bug.name).filter(|kept| kept.patch == patch(bug))
    }

    /// Whether the row of `bug` is of this tree and budget.
    pub(super) fn is_fresh(&self, bug: &Bug, args: &Args) -> bool {
        self.of(bug).is_some_and(|kept| kept.tree == self.tree && kept.budget == budget(args))
    }

    /// Keeps the row of `bug`, and forgets those of `bugs` that are none any more.
    ///
    /// # Errors
    ///
    /// Why it could not be written.
    pub(super) fn keep(&mut self, bug: &Bug, args: &Args, row: Row, bugs: &[Bug]) -> Result<(), String> {
        let (tree, commit) = (self.tree.clone(), self.commit.clone());
        let kept = Kept { patch: patch(bug), budget: budget(args), tree, commit, row };
        self.kept.insert(bug.name.clone(), kept);
        self.kept.retain(|name, _| bugs.iter().any(|bug| bug.name == *name));
        let text = toml::to_string(&self.kept).map_err(|error| error.to_string())?;
        page::replace(&self.path, &text)
    }
}

fn patch(bug: &Bug) -> String {
    format!("{:016x}", xxh3_64(bug.text.as_bytes()))
}

fn budget(args: &Args) -> String {
    format!("{} {} {}", args.runs, args.states, args.seeds)
}

fn commit(root: &Path) -> String {
    let asked = Command::new("git").args(["rev-parse", "--short=7", "HEAD"]).current_dir(root).output();
    let said = asked.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.ok().filter(|commit| !commit.is_empty()).unwrap_or_else(|| "none".to_owned())
}
