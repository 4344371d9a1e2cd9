//! A module uses only what lies below it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::{assert_none, code, files, read};

/// The layers, lowest first. The modules of the first two may use each other.
const LAYERS: [&[&str]; 8] = [
    &["ids", "limits", "offset", "route", "error", "codec", "forecast", "race", "sync", "turns"],
    &["vfs", "env", "meter", "parallel", "remote", "sink", "options"],
    &["state", "wal"],
    &["manifest"],
    &["checkpoint", "offsite"],
    &["recovery", "verify"],
    &["engine"],
    &["cli", "fuzzing", "golden"],
];

/// What `verify` may use, whatever lies below it: nothing of the readers that it is to prove.
const VERIFY: &str = "verify";
const VERIFY_USES: [&str; 5] = ["ids", "limits", "error", "env", "vfs"];

/// `sim` stands beside the layers: it implements the seams, uses nothing above them, and nothing uses it.
const SIM: &str = "sim";
const SIM_USES_UP_TO: usize = 1;

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

fn may_use(user: &str, used: &str) -> Result<bool, String> {
    if user == used {
        return Ok(true);
    }
    if used == SIM {
        return Ok(false);
    }
    let unknown = |module: &str| format!("module `{module}` is in no layer: add it to tests/tidy/layers.rs");
    let below = layer(used).ok_or_else(|| unknown(used))?;
    if user == SIM {
        return Ok(below <= SIM_USES_UP_TO);
    }
    if user == VERIFY {
        return Ok(VERIFY_USES.contains(&used));
    }
    let own = layer(user).ok_or_else(|| unknown(user))?;
    Ok(below < own || (below == own && own <= 1))
}

/// The names behind each `crate::` of `source`, with line numbers: one for a path, several for a braced list.
fn crate_paths(source: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, start) in source.match_indices("crate::") {
        let before = source[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let line = source[..at].matches('\n').count() + 1;
        let rest = &source[at + start.len()..];
        let list =
            if let Some(list) = rest.strip_prefix('{') { first_names(list) } else { vec![ident(rest)] };
        found.extend(list.into_iter().filter(|name| !name.is_empty()).map(|name| (line, name.to_owned())));
    }
    found
}

fn ident(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// The first name of each item of a braced list, whose opening brace is already gone.
fn first_names(list: &str) -> Vec<&str> {
    let (mut names, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                names.push(ident(list[start..at].trim()));
                start = at + 1;
            }
            '}' if depth == 0 => {
                names.push(ident(list[start..at].trim()));
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

/// Names that src/lib.rs re-exports, and the module each comes from.
fn reexports(lib: &str) -> BTreeMap<String, String> {
    let mut modules = BTreeMap::new();
    for statement in lib.split("pub use ").skip(1) {
        let Some((path, _)) = statement.split_once(';') else { continue };
        let Some((module, names)) = path.split_once("::") else { continue };
        let names = match names.split_once('{') {
            Some((_, list)) => first_names(list),
            None => vec![names.rsplit("::").next().unwrap_or_default()],
        };
        for name in names.into_iter().filter(|name| !name.is_empty()) {
            modules.insert(name.to_owned(), module.to_owned());
        }
    }
    modules
}

/// The top-level module that a file of src/ belongs to; none for the roots, which may use everything.
fn module_of(path: &Path) -> Option<String> {
    let mut parts = path.strip_prefix("src").ok()?.components();
    let first = parts.next()?.as_os_str().to_str()?.trim_end_matches(".rs").to_owned();
    (!["lib", "main", "bin"].contains(&first.as_str())).then_some(first)
}

/// Tests may use what their module may not: a backend below needs an environment to run in.
fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

#[test]
fn modules_use_only_what_is_below_them() {
    let exported = reexports(&code(&read(Path::new("src/lib.rs"))));
    let mut problems = BTreeSet::new();
    for path in files("src", "rs").iter().filter(|path| !is_test(path)) {
        let Some(user) = module_of(path) else { continue };
        for (line, name) in crate_paths(&code(&read(path))) {
            let used = exported.get(&name).unwrap_or(&name);
            match may_use(&user, used) {
                Ok(true) => {}
                Ok(false) => {
                    problems.insert(format!("{}:{line}: `{user}` may not use `{used}`", path.display()));
                }
                Err(unknown) => {
                    problems.insert(format!("{}:{line}: {unknown}", path.display()));
                }
            }
        }
    }
    assert_none(&problems.into_iter().collect::<Vec<_>>());
}

#[test]
fn the_layer_rule_sees_what_it_should() {
    let source =
        "use crate::vfs::{File, Vfs};\nuse crate::{wal::{A, B}, Error,\n ids};\nlet x = crate::engine::y;";
    let names: Vec<_> =
        crate_paths(source).into_iter().map(|(line, name)| format!("{line} {name}")).collect();
    assert_eq!(names, ["1 vfs", "2 wal", "2 Error", "2 ids", "4 engine"]);

    let exported = reexports("pub use error::{Error, Result};\npub use engine::Engine;\npub mod vfs;");
    assert_eq!(exported["Engine"], "engine");
    assert_eq!(exported["Result"], "error");

    assert_eq!(may_use("wal", "vfs"), Ok(true));
    assert_eq!(may_use("env", "vfs"), Ok(true));
    assert_eq!(may_use("vfs", "wal"), Ok(false));
    assert_eq!(may_use("wal", "state"), Ok(false));
    assert_eq!(may_use("manifest", "checkpoint"), Ok(false));
    assert_eq!(may_use("verify", "vfs"), Ok(true));
    assert_eq!(may_use("verify", "wal"), Ok(false));
    assert_eq!(may_use("engine", "sim"), Ok(false));
    assert_eq!(may_use("sim", "vfs"), Ok(true));
    assert_eq!(may_use("sim", "wal"), Ok(false));
    assert!(may_use("wal", "news").is_err());
}
