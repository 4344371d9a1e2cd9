//! Every cause of an error has a code, a row in docs/errors.md, and a place where it comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::{assert_none, code, files, read};

/// Number and name of each code, as the library defines them.
fn defined() -> BTreeMap<u16, String> {
    let source = code(&read(Path::new("src/error/code.rs")));
    let rows = source.lines().filter_map(|line| {
        let (number, rest) = line.trim().split_once(' ')?;
        Some((number.parse().ok()?, rest.split(' ').next()?.to_owned()))
    });
    rows.collect()
}

/// Number and cause of each row of the page, in its order.
fn documented() -> Vec<(u16, String)> {
    let page = read(Path::new("docs/errors.md"));
    let rows = page.lines().filter_map(|line| line.strip_prefix("| HW-")).map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        assert_eq!(cells.len(), 3, "{row}");
        (cells[0].parse().unwrap(), cells[1].to_owned())
    });
    rows.collect()
}

#[test]
fn every_code_is_documented_once() {
    let (defined, documented) = (defined(), documented());
    assert!(defined.len() > 90, "{} codes were found", defined.len());
    let numbers: Vec<u16> = documented.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, defined.keys().copied().collect::<Vec<_>>(), "in ascending order");
    let source = read(Path::new("src/error/code.rs"));
    let differ = documented
        .iter()
        .filter(|(number, cause)| !source.contains(&format!("{} \"{cause}\"", defined[number])));
    let differ: Vec<_> =
        differ.map(|(number, cause)| format!("HW-{number}: the code does not say \"{cause}\"")).collect();
    assert_none(&differ);
}

#[test]
fn every_code_comes_from_somewhere() {
    let mut used = BTreeSet::new();
    for path in files("src", "rs") {
        if path.starts_with("src/error") || path.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        for rest in code(&read(&path)).split("ErrorCode::").skip(1) {
            used.insert(rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned());
        }
    }
    used.extend(["NoSpace".to_owned(), "Io".to_owned()]); // what `Error::io` makes
    let unused = defined().into_iter().filter(|(_, name)| !used.contains(name));
    let unused: Vec<_> =
        unused.map(|(number, name)| format!("HW-{number} {name}: nothing makes such an error")).collect();
    assert_none(&unused);
}
