//! Which versions were measured, from the lock file that the program was built with.

use super::machine::said_by;

const LOCK: &str = include_str!("../../Cargo.lock");

/// What is named in a report.
const NAMED: [&str; 20] = [
    "laminar-storage",
    "laminar-core",
    "okaywal",
    "fjall",
    "lsm-tree",
    "raft-engine",
    "walrus-rust",
    "redb",
    "sled",
    "commonware-storage",
    "commonware-runtime",
    "rocksdb",
    "io-uring",
    "crc32c",
    "crc-fast",
    "crc32fast",
    "hashbrown",
    "ahash",
    "rustc-hash",
    "tokio",
];

/// Names and versions, highwater with its commit first.
pub(crate) fn all() -> Vec<(String, String)> {
    let at = env!("CARGO_MANIFEST_DIR");
    let commit = said_by("git", &["-C", at, "describe", "--always", "--dirty", "--abbrev=12"]);
    let own =
        locked("highwater").first().map_or("unknown".to_owned(), |version| format!("{version} at {commit}"));
    let others =
        NAMED.iter().flat_map(|name| locked(name).into_iter().map(|version| ((*name).to_owned(), version)));
    std::iter::once(("highwater".to_owned(), own)).chain(others).collect()
}

/// The versions of `name` in the lock file: the one that this program names, or all if only others name it.
fn locked(name: &str) -> Vec<String> {
    let version = |package| (field(package, "name")? == name).then(|| field(package, "version"))?;
    let versions: Vec<String> = LOCK.split("[[package]]").filter_map(version).map(str::to_owned).collect();
    // Where there are several, a package that depends on one says which.
    let own =
        LOCK.split("[[package]]").find(|package| field(package, "name") == Some(env!("CARGO_PKG_NAME")));
    let named = |version: &&String| own.is_some_and(|own| own.contains(&format!("\"{name} {version}\"")));
    versions.iter().find(named).cloned().map_or(versions, |one| vec![one])
}

fn field<'p>(package: &'p str, name: &str) -> Option<&'p str> {
    let line = package.lines().find_map(|line| line.strip_prefix(name));
    line?.strip_prefix(" = \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_package_is_in_the_lock_file() {
        for name in NAMED.iter().chain(&["highwater"]) {
            assert!(!locked(name).is_empty(), "{name}");
        }
    }

    #[test]
    fn of_several_versions_the_one_in_use_is_named() {
        for name in ["hashbrown", "ahash", "rustc-hash"] {
            assert_eq!(locked(name).len(), 1, "{name}");
        }
    }
}
