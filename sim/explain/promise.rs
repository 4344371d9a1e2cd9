//! The first broken promise of a run: which one, about what, and where it was noticed.

use super::record::Panicked;

/// What each invariant of docs/durability.md promises, in a line.
const PROMISES: [(&str, &str); 12] = [
    ("I1", "what was acknowledged is recovered"),
    ("I2", "appended ≥ submitted ≥ durable ≥ acknowledged, always"),
    ("I3", "the recovered state is one closed epoch's cut on all cores"),
    ("I4", "checkpoint and replay together are the model"),
    ("I5", "a recovery repeats itself, and trusts no page cache"),
    ("I6", "a file that a retained manifest needs is never deleted"),
    ("I7", "damage is reported with its place; faults in contract never are"),
    ("I8", "a dead or fenced writer changes nothing"),
    ("I9", "sinks: no duplicate, no gap"),
    ("I10", "memory, queues and logs are bounded"),
    ("I11", "after the last fault everything works again, in bounded time"),
    ("I12", "same seed, same trace"),
];

/// What each rule of a crash fan-out promises, in a line.
const RULES: [(&str, &str); 3] = [
    ("F1", "what was promised at the moment of the crash is recovered, exactly"),
    ("F2", "what a recovery returned survives a power cut: it trusts no page cache"),
    ("F3", "a crash inside of a recovery changes nothing of what is recovered"),
];

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    /// "I1" … or "F1" …; an assertion of the engine or the harness has none.
    pub(crate) invariant: Option<&'static str>,
    /// What it promises.
    pub(crate) promise: &'static str,
    /// What was found instead.
    pub(crate) message: String,
    /// What the message is about: "epoch" and its number, "core", "key" …
    pub(crate) about: Vec<(&'static str, String)>,
    /// File and line of the check.
    pub(crate) location: String,
    /// The calls that led there, innermost first.
    pub(crate) frames: Vec<String>,
    /// When, in nanoseconds.
    pub(crate) at_ns: u64,
    /// Where the run stood.
    pub(crate) step: String,
}

impl Broken {
    /// What a story broke, which failed with `message` at `step`.
    pub(crate) fn of_story(message: String, step: String, panicked: Option<&Panicked>) -> Self {
        let known = PROMISES.iter().find(|(name, _)| message.starts_with(&format!("{name}:")));
        let none = "an assertion holds, and every run comes to its end";
        Self::new(message, step, panicked, known, none)
    }

    /// What a fan-out found: the first line of it; the image and the shape that follow are told in their places.
    pub(crate) fn of_fan_out(why: &str, panicked: Option<&Panicked>, at_ns: u64) -> Self {
        let message = why.lines().next().unwrap_or_default().to_owned();
        let known = RULES.iter().find(|(name, _)| message.contains(&format!("({name})")));
        let none = "after a crash every open succeeds, and says what the bytes say";
        let broken = Self::new(message, "in the crash fan-out".to_owned(), panicked, known, none);
        Self { at_ns, ..broken }
    }

    fn new(
        message: String,
        step: String,
        panicked: Option<&Panicked>,
        known: Option<&(&'static str, &'static str)>,
        otherwise: &'static str,
    ) -> Self {
        Self {
            invariant: known.map(|(name, _)| *name),
            promise: known.map_or(otherwise, |(_, promise)| *promise),
            about: about(&message),
            location: panicked.map_or_else(String::new, |panicked| panicked.location.clone()),
            at_ns: panicked.map_or(0, |panicked| panicked.at.0),
            frames: panicked.map_or_else(Vec::new, |panicked| panicked.frames.clone()),
            step,
            message,
        }
    }

    /// The epochs that the message names, in order.
    pub(crate) fn epochs(&self) -> impl Iterator<Item = u64> {
        self.about.iter().filter(|(what, _)| *what == "epoch").filter_map(|(_, value)| value.parse().ok())
    }
}

/// The things that a message of `check` names: the words before numbers, and what stands in quotes.
fn about(message: &str) -> Vec<(&'static str, String)> {
    const NAMES: [&str; 6] = ["epoch", "core", "token", "segment", "offset", "LSN"];
    let mut about = Vec::new();
    let mut words = message.split([' ', ',', ':', ';', '(', ')']).filter(|word| !word.is_empty()).peekable();
    while let Some(word) = words.next() {
        let name = NAMES.iter().find(|name| **name == word);
        let number = words.peek().filter(|next| next.bytes().all(|byte| byte.is_ascii_digit()));
        if let (Some(name), Some(number)) = (name, number) {
            about.push((*name, (*number).to_owned()));
        }
    }
    if let Some(key) = message.split('"').nth(1)
        && message.starts_with("I4:")
    {
        about.push(("key", key.to_owned()));
    }
    about.dedup();
    about
}
