//! docs/mutants.md: every planted bug has its line, and none survives.

use std::collections::BTreeSet;
use std::path::Path;

use super::{assert_none, files, read};

/// The planted bugs on the page, each with the cell that says how many of its tries found it, if it was run.
fn rows(page: &str) -> Vec<(String, Option<String>)> {
    let lines = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| planted bug |"));
    let row = |line: &str| {
        let mut cells = line.split('|').map(|cell| cell.trim().to_owned()).skip(1);
        let (name, killers) = (cells.next()?, cells.next()?);
        Some((name, cells.next().filter(|_| killers != "not run yet")))
    };
    lines.filter_map(row).collect()
}

/// Whether `killed`, as in *3 of 3*, says that some try did not find the bug.
fn survived(killed: &str) -> bool {
    let counts: Vec<u64> = killed.split(" of ").filter_map(|count| count.parse().ok()).collect();
    !matches!(counts[..], [found, tries] if found >= tries && tries > 0)
}

#[test]
fn every_planted_bug_is_on_the_page_and_none_survives() {
    let (page, patches) = (Path::new("docs/mutants.md"), files("sim/mutants", "patch"));
    if patches.is_empty() {
        return;
    }
    let planted: BTreeSet<String> =
        patches.iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let rows = rows(&read(page));
    let listed: BTreeSet<String> = rows.iter().map(|(name, _)| name.clone()).collect();
    let shown = page.display();
    let missing = planted.difference(&listed).map(|name| {
        format!("sim/mutants/{name}.patch: {shown} has no line for it: run `cargo sim mutants --page`")
    });
    let gone = listed.difference(&planted).map(|name| format!("{shown}: there is no patch {name}"));
    let survivors = rows.iter().filter(|(_, killed)| killed.as_deref().is_some_and(survived));
    let survivors = survivors.map(|(name, _)| {
        format!("{shown}: {name} survives: make the harness find it, then run `cargo sim mutants {name}`")
    });
    assert_none(&missing.chain(gone).chain(survivors).collect::<Vec<_>>());
}

#[test]
fn a_survivor_is_told_from_a_bug_that_was_found_and_from_one_that_was_not_run() {
    let page = "\
| planted bug | killed by | killed | seeds |
|--|--|--|--|
| found | log | 3 of 3 | 1 |
| alive |  | 0 of 3 | – |
| half | log | 2 of 3 | 9 |
| new | not run yet |  |  |
";
    let alive: Vec<_> = rows(page)
        .into_iter()
        .filter(|(_, killed)| killed.as_deref().is_some_and(survived))
        .map(|(name, _)| name)
        .collect();
    assert_eq!((rows(page).len(), alive), (4, vec!["alive".to_owned(), "half".to_owned()]));
}
