//! What happened in a run: a digest of everything and the last lines for people.
//!
//! T1. Two runs with equal digests did the same things, in the same order, at the same virtual times.
//! T2. Neither addresses, thread ids nor wall-clock times are part of an event, so that the digest is the same in
//!     another process, on another machine, in a debug or a release build.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex};

use xxhash_rust::xxh3::xxh3_128;

use super::lock;
use crate::env::Tick;

/// How many lines a trace keeps unless told otherwise.
const LINES_DEFAULT: usize = 64;

/// The trace of one run. Clones share it.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<Inner>>);

struct Inner {
    digest: u128,
    events: u64,
    /// The last events, oldest first; its strings are reused.
    lines: VecDeque<String>,
    lines_max: usize,
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
    pub fn with_lines(lines_max: usize) -> Self {
        assert!(lines_max > 0, "a trace keeps at least one line");
        Self(Arc::new(Mutex::new(Inner { digest: 0, events: 0, lines: VecDeque::new(), lines_max })))
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
        let mut inner = lock(&self.0);
        let mut line = if inner.lines.len() == inner.lines_max { inner.lines.pop_front() } else { None }
            .unwrap_or_default();
        line.clear();
        let Tick(ns) = at;
        // A line whose argument cannot be printed is cut there, in each of two equal runs.
        let _ = write!(line, "{}.{:06}ms {task}: {op}({args}) = {result}", ns / 1_000_000, ns % 1_000_000);
        inner.chain(xxh3_128(line.as_bytes()));
        inner.lines.push_back(line);
    }

    /// Adds numbers to the digest without a line: what is too frequent for people to read.
    pub fn mix(&self, a: u64, b: u64) {
        lock(&self.0).chain(u128::from(a) << 64 | u128::from(b));
    }

    /// The digest of everything so far.
    pub fn digest(&self) -> u128 {
        lock(&self.0).digest
    }

    /// How many events the digest covers.
    pub fn events(&self) -> u64 {
        lock(&self.0).events
    }

    /// The last `n` lines that are kept, oldest first.
    pub fn last(&self, n: usize) -> Vec<String> {
        let inner = lock(&self.0);
        inner.lines.iter().skip(inner.lines.len().saturating_sub(n)).cloned().collect()
    }
}

impl Inner {
    fn chain(&mut self, event: u128) {
        let mut link = [0; 32];
        link[..16].copy_from_slice(&self.digest.to_le_bytes());
        link[16..].copy_from_slice(&event.to_le_bytes());
        self.digest = xxh3_128(&link);
        self.events += 1;
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = lock(&self.0);
        write!(f, "Trace({} events, {:032x})", inner.events, inner.digest)
    }
}
