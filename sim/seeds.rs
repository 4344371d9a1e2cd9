//! Seeds on record: one file in `seeds/` per bug that a seed found. seeds/README.md says what is in one.

use std::fs;
use std::path::Path;

use crate::host::Scheduler;
use crate::settings;

/// A seed that once failed.
pub(crate) struct Recorded {
    /// The file.
    pub(crate) file: String,
    /// The seed.
    pub(crate) seed: u64,
    /// The scheduler that it failed on.
    pub(crate) scheduler: Scheduler,
}

/// Every seed on record that is for the forward sweeps, by file name. Panics when a file is not what it should be.
pub(crate) fn recorded() -> Vec<Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let mut files = files(&folder);
    files.sort();
    files.iter().filter_map(|file| parse(file, &read(&folder.join(file)))).collect()
}

#[expect(clippy::disallowed_methods, reason = "the files of this repository are not the engine's")]
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    let names = names.map(|name| name.unwrap_or_else(|error| panic!("{}: {error}", folder.display())));
    names.filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "toml")).collect()
}

#[expect(clippy::disallowed_methods, reason = "the files of this repository are not the engine's")]
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What `file` records, if it is for the forward sweeps.
fn parse(file: &str, text: &str) -> Option<Recorded> {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='));
        line.unwrap_or_else(|| panic!("seeds/{file}: no {key}")).trim().trim_matches('"').to_owned()
    };
    let scheduler = match value("profile").as_str() {
        "built-in" => Scheduler::BuiltIn,
        "madsim" => Scheduler::Madsim,
        _ => return None,
    };
    let seed =
        settings::parse(&value("seed")).unwrap_or_else(|| panic!("seeds/{file}: the seed is no number"));
    assert!(!value("commit").is_empty() && !value("story").is_empty(), "seeds/{file}: commit and story");
    Some(Recorded { file: file.to_owned(), seed, scheduler })
}
