//! docs/operations.md shows what the tool does: every command there is run, and prints what stands below it but for
//! numbers, and for what `…` leaves out.

use std::fs;
use std::path::Path;

use crate::{copy, files, folder, highwater, told};

/// A command of the page, and what it shows.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) command: String,
    lines: Vec<String>,
    pub(crate) code: i32,
}

pub(crate) fn page() -> Vec<Shown> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = fs::read_to_string(page).unwrap();
    let mut found: Vec<Shown> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let (true, Some(command)) = (inside, line.strip_prefix("$ highwater ")) {
            found.push(Shown { command: command.to_owned(), lines: Vec::new(), code: 0 });
        } else if let (true, Some(code)) = (inside, line.strip_prefix("(exit code ")) {
            found.last_mut().unwrap().code = code.trim_end_matches(')').parse().unwrap();
        } else if inside {
            found.last_mut().unwrap().lines.push(line.to_owned());
        }
    }
    found
}

/// A line without its numbers, and with single blanks.
fn plain(line: &str) -> String {
    let is_hex = |word: &str| word.len() >= 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut words = Vec::new();
    for word in line.split_whitespace() {
        let parts: Vec<String> = word
            .split_inclusive(|c: char| !c.is_ascii_alphanumeric())
            .map(|part| {
                let name = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
                let number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
                let dull = number
                    || is_hex(name)
                    || (name.len() >= 8 && name.bytes().all(|b| b.is_ascii_hexdigit()));
                if dull { part.replacen(name, "#", 1) } else { part.to_owned() }
            })
            .collect();
        words.push(parts.concat());
    }
    words.join(" ")
}

/// Whether `lines` are those of the page, where `…` stands for any.
fn fits(shown: &[String], lines: &[String]) -> bool {
    match shown.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "…" => {
            (0..=lines.len()).any(|skipped| fits(rest, &lines[skipped..]))
        }
        Some((first, rest)) => lines
            .split_first()
            .is_some_and(|(line, others)| plain(first) == plain(line) && fits(rest, others)),
    }
}

#[test]
fn the_page_shows_what_the_tool_does() {
    let folder = folder();
    let damaged = folder.path().join("damaged");
    copy(&folder.path().join("data"), &damaged);
    let file = files(&damaged.join("f")).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[200] ^= 1;
    fs::write(&file, bytes).unwrap();

    let shown = page();
    assert!(shown.len() >= 10, "{} commands", shown.len());
    for Shown { command, lines, code } in shown {
        let words: Vec<&str> = command.split_whitespace().collect();
        let output = highwater(folder.path(), &words);
        assert_eq!(output.status.code(), Some(code), "{command}: {}", told(&output));
        let printed = String::from_utf8(output.stdout.clone()).unwrap();
        let mut printed: Vec<String> = printed.lines().map(str::to_owned).collect();
        printed.extend(String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned));
        assert!(
            fits(&lines, &printed),
            "$ highwater {command}\n{}\nthe page says\n{}",
            told(&output),
            lines.join("\n")
        );
    }
}
