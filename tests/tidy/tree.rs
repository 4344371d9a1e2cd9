//! Every source file is part of the build.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::{assert_none, code, files, read, root};

/// Files that cargo builds by itself.
fn is_target(path: &Path) -> bool {
    ["src/lib.rs", "src/main.rs", "sim/main.rs"].iter().any(|target| path == Path::new(target))
        || path.parent() == Some(Path::new("src/bin"))
}

/// The files that the `mod` lines of `path` name, as they would be found.
fn children(path: &Path, source: &str) -> Vec<PathBuf> {
    let folder = path.parent().unwrap();
    let stem = path.file_stem().unwrap();
    let owns_folder = is_target(path) || stem == "mod";
    let base = if owns_folder { folder.to_owned() } else { folder.join(stem) };
    let mut found = Vec::new();
    let mut named_path = None;
    for line in code(source).lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("#[path = \"") {
            named_path = rest.split('"').next().map(|name| folder.join(name));
        }
        let Some(name) = line.strip_suffix(';').and_then(module_name) else { continue };
        let file = base.join(format!("{name}.rs"));
        let by_name = if root().join(&file).exists() { file } else { base.join(name).join("mod.rs") };
        found.push(named_path.take().unwrap_or(by_name));
    }
    found
}

/// The name in `mod name`, with any visibility in front.
fn module_name(line: &str) -> Option<&str> {
    let rest = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1,
        Some(rest) => rest,
        None => line,
    };
    let name = rest.trim_start().strip_prefix("mod ")?.trim();
    name.chars().all(|c| c.is_alphanumeric() || c == '_').then_some(name)
}

#[test]
fn no_source_file_is_left_out_of_the_build() {
    let all: BTreeSet<PathBuf> = files("src", "rs").into_iter().chain(files("sim", "rs")).collect();
    let mut reached = BTreeSet::new();
    let mut open: Vec<PathBuf> = all.iter().filter(|path| is_target(path)).cloned().collect();
    while let Some(path) = open.pop() {
        if all.contains(&path) && reached.insert(path.clone()) {
            open.extend(children(&path, &read(&path)));
        }
    }
    let problems: Vec<String> = all
        .difference(&reached)
        .map(|path| format!("{}: no `mod` line reaches it; add one or delete the file", path.display()))
        .collect();
    assert_none(&problems);
}

#[test]
fn mod_lines_are_understood() {
    assert_eq!(module_name("mod a"), Some("a"));
    assert_eq!(module_name("pub mod b_2"), Some("b_2"));
    assert_eq!(module_name("pub(crate) mod c"), Some("c"));
    assert_eq!(module_name("pub(in crate::x) mod d"), Some("d"));
    assert_eq!(module_name("pub use a::b"), None);
    let source = "//! mod no;\n#[cfg(test)]\nmod tests;\n#[path = \"other.rs\"]\nmod odd;\nmod inline {";
    assert_eq!(
        children(Path::new("src/wal/log.rs"), source),
        [PathBuf::from("src/wal/log/tests/mod.rs"), PathBuf::from("src/wal/other.rs")]
    );
}
