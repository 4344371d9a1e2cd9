//! The scheduler's choices, as numbers that can be recorded and played back.
//!
//! A seed is one generator of choices and a tape is another. A tape still replays after its run was changed a
//! little, which is what makes shrinking possible: a choice that no longer fits is brought into range.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::lock;
use super::rng::Stream;

/// Where a run takes its choices from.
pub trait Choices: Send {
    /// One of `options` possibilities, counted from zero. `options` is at least two: where there is nothing to
    /// choose, nothing is asked.
    fn choose(&mut self, options: u32) -> u32;
}

impl Choices for Stream {
    fn choose(&mut self, options: u32) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "the result is below `options`, a u32")]
        let choice = self.below(u64::from(options)) as u32;
        choice
    }
}

/// The choices of one run, in order. Clones share one tape.
#[derive(Clone, Default)]
pub struct Tape(Arc<Mutex<Vec<u32>>>);

impl Tape {
    /// A tape that holds `choices`.
    pub fn new(choices: Vec<u32>) -> Self {
        Self(Arc::new(Mutex::new(choices)))
    }

    /// What is on the tape now.
    pub fn choices(&self) -> Vec<u32> {
        lock(&self.0).clone()
    }

    /// A source that takes its choices from `inner` and writes them to the end of this tape.
    pub fn record(&self, inner: impl Choices + 'static) -> impl Choices + 'static {
        Recorder { tape: self.clone(), inner }
    }

    /// A source that plays the tape as it is now. A choice out of range wraps around; behind the end of the tape
    /// every choice is the first one.
    pub fn replay(&self) -> impl Choices + 'static {
        Player { choices: self.choices().into_iter() }
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tape({} choices)", lock(&self.0).len())
    }
}

struct Recorder<C> {
    tape: Tape,
    inner: C,
}

impl<C: Choices> Choices for Recorder<C> {
    fn choose(&mut self, options: u32) -> u32 {
        let choice = self.inner.choose(options);
        lock(&self.tape.0).push(choice);
        choice
    }
}

struct Player {
    choices: std::vec::IntoIter<u32>,
}

impl Choices for Player {
    fn choose(&mut self, options: u32) -> u32 {
        self.choices.next().unwrap_or(0) % options
    }
}
