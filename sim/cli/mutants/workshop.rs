//! A copy of the tree in which bugs are planted and built, one after the other, so that each build is a small one.

#![expect(clippy::disallowed_methods, reason = "the files of this repository are not the engine's")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use xxhash_rust::xxh3::xxh3_64;

use super::bug::Bug;

/// What does not decide how a bug fares. Each bug's own patch is looked at by whoever keeps its row.
const IGNORED: [&str; 6] = ["docs/", "seeds/", "benches/", "examples/", "tests/", "sim/mutants/"];

/// Building takes longer than finding: little is optimised, unless the environment says otherwise.
const BUILT: [(&str, &str); 2] = [("CARGO_PROFILE_TEST_OPT_LEVEL", "1"), ("CARGO_PROFILE_TEST_LTO", "off")];

/// The folders of the copy in which a file that is not the repository's changes what is built.
const SOURCES: [&str; 2] = ["src", "sim"];

/// The copy, below the target directory, and what is built of it.
pub(super) struct Workshop {
    root: PathBuf,
    target: PathBuf,
    /// The copy.
    tree: PathBuf,
}

impl Workshop {
    /// The one of the repository at `root`.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(super) fn open(root: &Path) -> Result<Self, String> {
        let exe = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
        // target/debug/deps/sim-…
        let target = exe.ancestors().nth(3).ok_or("this program is in no target directory")?.to_owned();
        let tree = target.join("mutants/tree");
        fs::create_dir_all(&tree).map_err(|error| format!("{}: {error}", tree.display()))?;
        Ok(Self { root: root.to_owned(), target, tree })
    }

    /// Where rows and logs are kept.
    pub(super) fn folder(&self) -> PathBuf {
        self.target.join("mutants")
    }

    /// The files of the repository as they are in the working tree.
    fn files(&self) -> Result<Vec<String>, String> {
        let mut git = Command::new("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(&self.root);
        let listed = git.output().map_err(|error| format!("git: {error}"))?;
        if !listed.status.success() {
            return Err(format!("git ls-files: {}", String::from_utf8_lossy(&listed.stderr)));
        }
        let names = String::from_utf8_lossy(&listed.stdout).into_owned();
        let names = names.split('\0').filter(|name| self.root.join(name).is_file());
        Ok(names.map(str::to_owned).collect())
    }

    /// A digest of everything that decides how a bug fares, but for its patch.
    pub(super) fn hash(&self) -> Result<u64, String> {
        let mut hash = 0;
        let matters = |name: &&String| !IGNORED.iter().any(|ignored| name.starts_with(ignored));
        for name in self.files()?.iter().filter(matters) {
            let bytes = read(&self.root.join(name))?;
            hash = xxh3_64(format!("{hash:x} {name} {:x}", xxh3_64(&bytes)).as_bytes());
        }
        Ok(hash)
    }

    /// Makes the copy what the repository is. Only what differs is written: the next build looks at the times.
    fn restore(&self) -> Result<(), String> {
        let files = self.files()?;
        for folder in SOURCES {
            let wanted = files.iter().map(|name| self.tree.join(name)).collect();
            remove_others(&self.tree.join(folder), &wanted)?;
        }
        for name in files {
            let (from, to) = (self.root.join(&name), self.tree.join(&name));
            let bytes = read(&from)?;
            if fs::read(&to).is_ok_and(|there| there == bytes) {
                continue;
            }
            let folder = to.parent().unwrap_or(&self.tree);
            let written = fs::create_dir_all(folder).and_then(|()| fs::write(&to, &bytes));
            written.map_err(|error| format!("{}: {error}", to.display()))?;
        }
        Ok(())
    }

    /// Whether `bug` applies to the repository.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(super) fn check(&self, bug: &Bug) -> Result<(), String> {
        self.apply(bug, &self.root, &["--check"])
    }

    fn apply(&self, bug: &Bug, to: &Path, options: &[&str]) -> Result<(), String> {
        let mut git = Command::new("git");
        // The copy lies in a repository that ignores it; git must not look further up.
        // One line of context: a comment that changes makes no patch stale.
        git.args(["apply", "-C1"]).args(options).arg(&bug.path).current_dir(to);
        git.env("GIT_CEILING_DIRECTORIES", self.folder()).env_remove("GIT_DIR");
        let applied = git.output().map_err(|error| format!("git: {error}"))?;
        if applied.status.success() {
            return Ok(());
        }
        Err(format!(
            "{} does not apply any more: {}",
            bug.name,
            String::from_utf8_lossy(&applied.stderr).trim()
        ))
    }

    /// Plants `bug` and builds the harness; returns its binary.
    ///
    /// # Errors
    ///
    /// What does not apply or build.
    pub(super) fn build(&self, bug: &Bug) -> Result<PathBuf, String> {
        self.restore()?;
        self.apply(bug, &self.tree, &[])?;
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["test", "--quiet", "--features", "sim", "--test", "sim", "--no-run"]);
        cargo.args(["--message-format", "json"]).current_dir(&self.tree).stdin(Stdio::null());
        // A directory of its own: in the common one the copy's artifacts would have the names of this program's.
        cargo.env("CARGO_TARGET_DIR", self.folder().join("build"));
        // A bug changes few functions, and nobody debugs it.
        cargo.env("CARGO_INCREMENTAL", "1").env("CARGO_PROFILE_TEST_CODEGEN_UNITS", "256");
        cargo.env("CARGO_PROFILE_TEST_DEBUG", "0");
        for (name, value) in BUILT {
            if std::env::var_os(name).is_none() {
                cargo.env(name, value);
            }
        }
        let built = cargo.output().map_err(|error| format!("cargo: {error}"))?;
        let messages = String::from_utf8_lossy(&built.stdout);
        let binaries = messages.split("\"executable\":\"").skip(1).filter_map(|rest| rest.split('"').next());
        match binaries.last() {
            Some(binary) if built.status.success() => Ok(PathBuf::from(binary)),
            _ => Err(format!("{} does not build: {}", bug.name, errors_of(&messages))),
        }
    }
}

/// Removes every file below `folder`, if that is there, that is not among `wanted`.
fn remove_others(folder: &Path, wanted: &BTreeSet<PathBuf>) -> Result<(), String> {
    let told = |error: io::Error| format!("{}: {error}", folder.display());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(told)?,
    };
    for entry in entries {
        let path = entry.map_err(told)?.path();
        if path.is_dir() {
            remove_others(&path, wanted)?;
        } else if !wanted.contains(&path) {
            fs::remove_file(&path).map_err(told)?;
        }
    }
    Ok(())
}

/// The headlines of what a compiler said.
fn errors_of(messages: &str) -> String {
    let told = messages.lines().filter(|line| line.contains("\"level\":\"error\""));
    let headlines = told.filter_map(|line| line.split("\"rendered\":\"").nth(1));
    headlines.filter_map(|text| text.split("\\n").next()).collect::<Vec<_>>().join("; ")
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}
