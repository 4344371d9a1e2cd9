//! What happened in a run: a digest of everything and the last lines for people.
//!
//! T1. Two runs with equal digests did the same things, in the same order, at the same virtual times.
//! T2. Neither addresses, thread ids nor wall-clock times are part of an event, so that the digest is the same in
//!     another process, on another machine, in a debug or a release build.
//! T3. An event covers the task, the operation, its arguments (written bytes by their digest), its result (bytes read
//!     by theirs) and the virtual time. Tasks are named when they start; after that a step says which of them it is.
//! T4. Each digest covers all earlier events: two runs that differ at one event differ at every milestone from there
//!     on, so that the first difference is found by bisection.
//! T5. Calls of the disk, which are most of a run, enter the digest as numbers. Their text is made when somebody asks
//!     for it.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::lock;
use crate::env::Tick;

/// How many lines a trace keeps unless told otherwise.
const LINES_DEFAULT: usize = 64;

/// Events from one milestone of the digest to the next.
const MILESTONE_EVENTS: u64 = 1024;

/// The trace of one run. Clones share it.
#[derive(Clone)]
pub struct Trace(Option<Arc<Mutex<Inner>>>);

struct Inner {
    digest: u128,
    events: u64,
    /// The last events, oldest first.
    lines: VecDeque<Line>,
    lines_max: usize,
    /// The digest after every [`MILESTONE_EVENTS`] events.
    milestones: Vec<u128>,
    window: Range<u64>,
    /// What happened in the window, one line per event.
    kept: Vec<String>,
}

enum Line {
    Text(String),
    Call(CallEvent),
}

/// A call of the disk that has ended.
pub(in crate::sim) struct CallEvent {
    pub(in crate::sim) operation: &'static str,
    pub(in crate::sim) path: Arc<Path>,
    pub(in crate::sim) bytes: Range<u64>,
    /// The digest of the bytes that a write was given.
    pub(in crate::sim) data: Option<u64>,
    pub(in crate::sim) outcome: Result<Answer, (io::ErrorKind, String)>,
    pub(in crate::sim) at: Tick,
}

/// What a call returned, as far as a program can tell two answers apart.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim) enum Answer {
    /// Nothing but that it was done.
    Done,
    /// A number.
    Number(u64),
    /// Some bytes or names: how many, and their digest.
    Content(u64, u64),
}

/// A result that a trace can tell from others.
pub(in crate::sim) trait Traced {
    /// The result in short.
    fn answer(&self) -> Answer;
}

impl Traced for () {
    fn answer(&self) -> Answer {
        Answer::Done
    }
}

impl Traced for u64 {
    fn answer(&self) -> Answer {
        Answer::Number(*self)
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

impl Trace {
    /// An empty trace that keeps the last 64 lines.
    #[must_use]
    pub fn new() -> Self {
        Self::with_lines(LINES_DEFAULT)
    }

    /// An empty trace that keeps the last `lines_max` lines.
    ///
    /// # Panics
    ///
    /// When `lines_max` is zero.
    #[must_use]
    pub(in crate::sim) fn with_lines(lines_max: usize) -> Self {
        assert!(lines_max > 0, "a trace keeps at least one line");
        Self(Some(Arc::new(Mutex::new(Inner {
            digest: 0,
            events: 0,
            lines: VecDeque::new(),
            lines_max,
            milestones: Vec::new(),
            window: 0..0,
            kept: Vec::new(),
        }))))
    }

    /// A trace that takes nothing in and stays empty: for runs that nobody will compare or read.
    #[must_use]
    pub fn silent() -> Self {
        Self(None)
    }

    /// Adds the event "`task` did `op` with `args` at time `at`, and the outcome was `result`".
    pub fn event(
        &self,
        task: &str,
        op: &str,
        args: fmt::Arguments<'_>,
        result: fmt::Arguments<'_>,
        at: Tick,
    ) {
        let Some(inner) = &self.0 else { return };
        let line = format!("{} {task}: {op}({args}) = {result}", Millis(at));
        let mut inner = lock(inner);
        inner.chain(xxh3_128(line.as_bytes()), || line.clone());
        inner.push(Line::Text(line));
    }

    /// Adds a call of the disk, unless the trace is silent: then the event is not even made.
    pub(in crate::sim) fn call(&self, event: impl FnOnce() -> CallEvent) {
        let Some(inner) = &self.0 else { return };
        let event = event();
        let digest = event.digest();
        let line = Line::Call(event);
        let mut inner = lock(inner);
        inner.chain(digest, || line.to_string());
        inner.push(line);
    }

    /// Whether nothing is taken in.
    pub(in crate::sim) fn is_silent(&self) -> bool {
        self.0.is_none()
    }

    /// Adds numbers to the digest without a line: what is too frequent for people to read. `what` says what they are.
    pub fn mix(&self, what: &'static str, a: u64, b: u64) {
        let Some(inner) = &self.0 else { return };
        let mut event = [0; 24];
        event[..8].copy_from_slice(&xxh3_64(what.as_bytes()).to_le_bytes());
        event[8..16].copy_from_slice(&a.to_le_bytes());
        event[16..].copy_from_slice(&b.to_le_bytes());
        lock(inner).chain(xxh3_128(&event), || format!("{what} {a} {b}"));
    }

    /// Adds "the task with number `task` takes a step at time `at`".
    pub fn step(&self, task: u64, at: Tick) {
        let Some(inner) = &self.0 else { return };
        let event = u128::from(task) << 64 | u128::from(at.0);
        lock(inner).chain(event, || format!("{} step of task {task}", Millis(at)));
    }

    /// Keeps a line of each event from number `window.start` to before `window.end`, counted from zero, from now on.
    pub fn keep(&self, window: Range<u64>) {
        let Some(inner) = &self.0 else { return };
        let mut inner = lock(inner);
        inner.window = window;
        inner.kept.clear();
    }

    /// The lines of the window of [`Trace::keep`].
    pub fn kept(&self) -> Vec<String> {
        self.0.as_ref().map_or(Vec::new(), |inner| lock(inner).kept.clone())
    }

    /// The digest after every [`Trace::milestone_events`] events, oldest first.
    pub fn milestones(&self) -> Vec<u128> {
        self.0.as_ref().map_or(Vec::new(), |inner| lock(inner).milestones.clone())
    }

    /// How many events lie between two milestones.
    pub const fn milestone_events() -> u64 {
        MILESTONE_EVENTS
    }

    /// The digest of everything so far.
    pub fn digest(&self) -> u128 {
        self.0.as_ref().map_or(0, |inner| lock(inner).digest)
    }

    /// How many events the digest covers.
    pub fn events(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| lock(inner).events)
    }

    /// The last `n` lines that are kept, oldest first.
    pub fn last(&self, n: usize) -> Vec<String> {
        let Some(inner) = &self.0 else { return Vec::new() };
        let inner = lock(inner);
        inner.lines.iter().skip(inner.lines.len().saturating_sub(n)).map(Line::to_string).collect()
    }
}

impl Inner {
    fn chain(&mut self, event: u128, line: impl FnOnce() -> String) {
        if self.window.contains(&self.events) {
            self.kept.push(line());
        }
        let mut link = [0; 32];
        link[..16].copy_from_slice(&self.digest.to_le_bytes());
        link[16..].copy_from_slice(&event.to_le_bytes());
        self.digest = xxh3_128(&link);
        self.events += 1;
        if self.events.is_multiple_of(MILESTONE_EVENTS) {
            self.milestones.push(self.digest);
        }
    }

    fn push(&mut self, line: Line) {
        if self.lines.len() == self.lines_max {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

impl CallEvent {
    fn digest(&self) -> u128 {
        let (kind, one, two) = match &self.outcome {
            Ok(Answer::Done) => (0, 0, 0),
            Ok(Answer::Number(number)) => (1, *number, 0),
            Ok(Answer::Content(count, digest)) => (2, *count, *digest),
            Err((kind, text)) => (3, xxh3_64(format!("{kind:?}").as_bytes()), xxh3_64(text.as_bytes())),
        };
        let words = [
            xxh3_64(self.operation.as_bytes()),
            xxh3_64(self.path.as_os_str().as_encoded_bytes()),
            self.bytes.start,
            self.bytes.end,
            self.data.unwrap_or(0),
            kind,
            one,
            two,
            self.at.0,
        ];
        let mut event = [0; 72];
        for (into, word) in event.chunks_exact_mut(8).zip(words) {
            into.copy_from_slice(&word.to_le_bytes());
        }
        xxh3_128(&event)
    }
}

/// A time as people read it.
struct Millis(Tick);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tick(ns) = self.0;
        write!(f, "{}.{:06}ms", ns / 1_000_000, ns % 1_000_000)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CallEvent { operation, path, bytes, data, outcome, at } = match self {
            Self::Text(text) => return f.write_str(text),
            Self::Call(event) => event,
        };
        write!(f, "{} disk: {operation}({} {bytes:?}", Millis(*at), path.display())?;
        if let Some(data) = data {
            write!(f, " of digest {data:016x}")?;
        }
        f.write_str(") = ")?;
        match outcome {
            Ok(Answer::Done) => f.write_str("Ok"),
            Ok(Answer::Number(number)) => write!(f, "Ok({number})"),
            Ok(Answer::Content(count, digest)) => write!(f, "Ok({count}, digest {digest:016x})"),
            Err((kind, text)) => write!(f, "Err({kind:?}: {text})"),
        }
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("Trace(silent)"),
            Some(inner) => {
                let inner = lock(inner);
                write!(f, "Trace({} events, {:032x})", inner.events, inner.digest)
            }
        }
    }
}
