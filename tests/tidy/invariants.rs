//! Every invariant that is promised is checked under its number, and what is checked is promised.

use std::collections::BTreeSet;
use std::path::Path;

use crate::{code, files, read};

/// The numbers behind each `before` of `text`.
fn numbers(text: &str, before: &str) -> BTreeSet<u32> {
    let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>();
    text.split(before).skip(1).filter_map(|rest| digits(rest).parse().ok()).collect()
}

#[test]
fn every_invariant_has_a_check_and_every_check_an_invariant() {
    let promised = numbers(&read(Path::new("docs/durability.md")), "\n| I");
    let mut checked = BTreeSet::new();
    for path in files("sim", "rs") {
        // What a failed check says.
        checked.extend(numbers(&code(&read(&path)), "\"I"));
    }
    assert!(promised.len() >= 12, "docs/durability.md has a row for each invariant: {promised:?}");
    assert_eq!(promised, checked, "left: docs/durability.md, right: what the checks in sim/ say");
}
