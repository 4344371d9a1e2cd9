//! Recorded seeds can be read. What they must say, and that they pass, is checked by `cargo sim seeds check`.

use crate::{assert_none, files, read};

#[test]
fn recorded_seeds_parse() {
    let mut problems = Vec::new();
    for path in files("seeds", "toml") {
        if let Err(error) = read(&path).parse::<toml::Table>() {
            problems.push(format!("{}: {error}", path.display()));
        }
    }
    assert_none(&problems);
}
