//! Recorded seeds can be read.

use crate::{assert_none, files, read};

/// A check of the TOML that seed files use: tables, keys, and values on one line or in a list or a multi-line string.
/// Returns the first line that is none of these, and what was expected.
fn check(text: &str) -> Result<(), (usize, &'static str)> {
    let mut in_string = false;
    let mut depth = 0_i32;
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let line = line.trim();
        let quotes = line.matches("\"\"\"").count();
        if in_string {
            in_string = quotes == 0;
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let value = if depth > 0 {
            line
        } else if line.starts_with('[') {
            if !is_table(line) {
                return Err((line_number, "a table, as [name] or [[name]]"));
            }
            continue;
        } else {
            let Some((key, value)) = line.split_once('=') else { return Err((line_number, "key = value")) };
            if !is_key(key.trim()) || value.trim().is_empty() {
                return Err((line_number, "key = value"));
            }
            value.trim()
        };
        if quotes > 0 {
            in_string = quotes % 2 == 1;
            continue;
        }
        depth += nesting(value).ok_or((line_number, "a string that ends on its line"))?;
        if depth < 0 {
            return Err((line_number, "as many closing brackets as opening ones"));
        }
    }
    if in_string || depth != 0 {
        return Err((text.lines().count(), "the end of a string or list"));
    }
    Ok(())
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.\"".contains(c))
}

fn is_table(line: &str) -> bool {
    let line = line.split('#').next().unwrap_or_default().trim();
    let single = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
    let double = single.and_then(|line| line.strip_prefix('[')).and_then(|line| line.strip_suffix(']'));
    double.or(single).is_some_and(|name| is_key(name.trim()))
}

/// Opening minus closing brackets outside of strings; none if a string does not end.
fn nesting(value: &str) -> Option<i32> {
    let mut depth = 0;
    let mut quote = None;
    let mut escaped = false;
    for c in value.chars() {
        match (quote, c) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), _) if c == open && !escaped => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth -= 1,
            (None, '#') => break,
            _ => {}
        }
        escaped = false;
    }
    quote.is_none().then_some(depth)
}

#[test]
fn recorded_seeds_parse() {
    let mut problems = Vec::new();
    for path in files("seeds", "toml") {
        if let Err((line, expected)) = check(&read(&path)) {
            problems.push(format!("{}:{line}: expected {expected}", path.display()));
        }
    }
    assert_none(&problems);
}

#[test]
fn the_check_tells_good_from_bad() {
    let good = "# a seed\nseed = 0x5eed # hex\nstory = \"\"\"\nfree = [text\n\"\"\"\n[plan]\nops = [\n  \"put ]\", 1,\n]\n[[fault]]\nkind = 'torn'\n";
    assert_eq!(check(good), Ok(()));
    for bad in ["seed", "seed =", "= 3", "[plan", "a = \"x", "a = [1", "a = 1]", "a = \"\"\"\nx"] {
        assert!(check(bad).is_err(), "{bad:?}");
    }
}
