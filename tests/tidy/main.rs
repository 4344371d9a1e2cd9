//! Rules of this repository that no other tool knows. Each failure names a file and says what to do.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![expect(clippy::disallowed_methods, reason = "it reads the repository, not a database")]

mod codes;
mod layers;
mod mutants;
mod seeds;
mod tree;

use std::path::{Path, PathBuf};

/// The root of the repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `dir` whose name ends in `.{extension}`, as paths from the root, sorted. None if there is no such
/// directory.
fn files(dir: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `source` without its comment lines; the line numbers stay.
fn code(source: &str) -> String {
    let keep = |line: &str| if line.trim_start().starts_with("//") { String::new() } else { line.to_owned() };
    source.lines().map(keep).collect::<Vec<_>>().join("\n")
}

fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// The feature adds modules and nothing else: no method, no branch in the engine depends on it.
#[test]
fn the_feature_sim_is_named_in_two_places_only() {
    let allowed = [Path::new("src/lib.rs"), Path::new("src/vfs/mod.rs")];
    let mut problems = Vec::new();
    for path in files("src", "rs").iter().filter(|path| !allowed.contains(&path.as_path())) {
        for (number, line) in code(&read(path)).lines().enumerate() {
            if line.replace(' ', "").contains("feature=\"sim\"") {
                problems.push(format!(
                    "{}:{}: `feature = \"sim\"` belongs in src/lib.rs and src/vfs/mod.rs only",
                    path.display(),
                    number + 1
                ));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn every_decision_record_is_in_the_index() {
    let records = files("docs/adr", "md");
    let index = Path::new("docs/adr/README.md");
    let Some(records) = (!records.is_empty()).then_some(records) else { return };
    let listed = read(index);
    let problems: Vec<String> = records
        .iter()
        .filter(|path| path.as_path() != index)
        .filter(|path| !listed.contains(&format!("({})", path.file_name().unwrap().to_str().unwrap())))
        .map(|path| format!("{}: link it from {}", path.display(), index.display()))
        .collect();
    assert_none(&problems);
}
