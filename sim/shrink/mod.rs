//! Shrinking: from a run that fails to the least that fails in the same way.
//!
//! H1. *The same way* is the same [`signature`]: another bug that a smaller run happens to meet is not followed.
//! H2. What is left out is left out of a plan, and the plan runs through the same code as any other.

pub(crate) mod fanout;
pub(crate) mod story;

use crate::Test;
use crate::shape::DIRECTORY;

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![a_signature_has_no_numbers];

/// Words that tell one refusal from another: who judged it, the kind of the error, how it begins.
const REFUSAL_WORDS: usize = 20;

/// What a failure is, whatever the numbers: the invariant that it broke, or its words without numbers, quotations and
/// paths. Every refusal breaks the same invariant: of I7 it is the words too, and the folder of the place.
pub(crate) fn signature(why: &str) -> String {
    let line = why.lines().next().unwrap_or_default();
    // A fan-out says first which crash it was.
    let line = match line.split_once(": ") {
        Some((place, rest)) if place.starts_with("moment ") => rest,
        _ => line,
    };
    if let Some((name, what)) = line.split_once(':')
        && name.strip_prefix('I').is_some_and(|digits| digits.parse::<u32>().is_ok())
    {
        return if name == "I7" { refusal(what) } else { name.to_owned() };
    }
    words(line)
}

/// The signature of an I7: the first words of what is wrong, and the folder of the place.
fn refusal(what: &str) -> String {
    let folder = |word: &str| {
        let path =
            word.trim_matches(|c: char| "():,;".contains(c)).strip_prefix(DIRECTORY)?.strip_prefix('/')?;
        path.split('/').next().map(str::to_owned)
    };
    let place = what.split_whitespace().find_map(folder);
    let words = words(what);
    let first: Vec<&str> = words.split(' ').take(REFUSAL_WORDS).collect();
    let first = first.join(" ");
    place.map_or(format!("I7 {first}"), |place| format!("I7 in {place}: {first}"))
}

/// `line` without numbers, quotations and paths.
fn words(line: &str) -> String {
    let mut quoted = false;
    let unquoted: String = line
        .chars()
        .filter(|c| {
            quoted ^= *c == '"';
            !quoted && *c != '"'
        })
        .collect();
    let is_word = |word: &&str| !word.contains('/') && !word.contains(|c: char| c.is_ascii_digit());
    let words: Vec<&str> = unquoted.split_whitespace().filter(is_word).collect();
    words.join(" ")
}

fn a_signature_has_no_numbers() {
    assert_eq!(signature("I1: recovered epoch 3, but epoch 4 was acknowledged"), "I1");
    assert_eq!(
        signature(
            "I7: open names a place where nothing is damaged: corrupt: core 3, offset 4096: no frame (db/wal/00003/7)"
        ),
        "I7 in wal: open names a place where nothing is damaged: corrupt: core offset no frame"
    );
    let panic = "wal/00000/00000000000000000007: corrupt at 4096: a \"bad\" frame\nmore";
    assert_eq!(signature(panic), "corrupt at a frame");
    let fan_out = "moment 12 (33 sync_data /log/7), power cut, image 3: nothing recovered, 4 promised (F1)";
    assert_eq!(signature(fan_out), "nothing recovered, promised");
}
