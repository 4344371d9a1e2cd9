//! The scheduler's choices, as numbers that can be recorded and played back.
//!
//! A seed is one generator of choices and a tape is another. A tape still replays after its run was changed a
//! little, which is what makes shrinking possible:
//!
//! H1. Choice 0 is the default: of the ready tasks the one that waits longest, of a power cut the loss of what was not
//!     synced. A run all of whose choices are 0 is the plainest one there is.
//! H2. A tape of any content is a run: a choice that does not fit, or is not there any more, is 0, and
//!     [`Tape::fit`] says so.

#[cfg(test)]
mod tests;

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

/// For what has nothing to choose.
pub(super) struct Decided;

impl Choices for Decided {
    fn choose(&mut self, options: u32) -> u32 {
        panic!("nothing is open, and a choice of {options} was asked for");
    }
}

impl<C: Choices + ?Sized> Choices for Box<C> {
    fn choose(&mut self, options: u32) -> u32 {
        (**self).choose(options)
    }
}

/// The choices of one run, in order. Clones share one tape.
///
/// ```
/// use highwater::sim::{Simulator, Streams, Tape, yield_now};
///
/// let tape = Tape::default();
/// let seeded = Streams::new(7).stream("schedule");
/// Simulator::with_choices(tape.record(seeded)).run(async |_| yield_now().await).unwrap();
///
/// Simulator::with_choices(tape.replay()).run(async |_| yield_now().await).unwrap(); // the same run
/// assert!(tape.fit().is_exact());
/// ```
#[derive(Clone, Default)]
pub struct Tape(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    choices: Vec<u32>,
    fit: Fit,
}

/// A choice other than the default, in its place on a [`Tape`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deviation {
    /// How many choices come before it.
    pub at: u64,
    /// The choice, from 1 on.
    pub choice: u32,
}

/// How a tape suited the run that it was replayed in. `Display` says it in words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fit {
    /// Choices that the run asked for.
    pub asked: u64,
    /// Of these, choices on the tape that were out of range: the default was taken.
    pub out_of_range: u64,
    /// Of these, choices behind the end of the tape: the default was taken.
    pub behind_end: u64,
}

impl Fit {
    /// Whether every choice of the run was on the tape and in range.
    pub fn is_exact(self) -> bool {
        self.out_of_range == 0 && self.behind_end == 0
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, out_of_range, behind_end } = self;
        if self.is_exact() {
            return write!(f, "the tape had all {asked} choices");
        }
        write!(
            f,
            "of {asked} choices {behind_end} were behind the end of the tape and {out_of_range} did not fit: "
        )?;
        f.write_str("the default was taken")
    }
}

impl Tape {
    /// A tape that holds `choices`.
    pub fn new(choices: Vec<u32>) -> Self {
        Self(Arc::new(Mutex::new(Inner { choices, fit: Fit::default() })))
    }

    /// A tape with the default everywhere but in these places. Of two for one place the later counts.
    ///
    /// # Panics
    ///
    /// When memory has no such place.
    pub fn of_deviations(deviations: &[Deviation]) -> Self {
        let mut choices = Vec::new();
        for deviation in deviations {
            let at = usize::try_from(deviation.at).expect("a place on a tape in memory");
            if choices.len() <= at {
                choices.resize(at + 1, 0);
            }
            choices[at] = deviation.choice;
        }
        Self::new(choices)
    }

    /// What is on the tape now.
    pub fn choices(&self) -> Vec<u32> {
        lock(&self.0).choices.clone()
    }

    /// The choices on the tape that are not the default, in order.
    pub fn deviations(&self) -> Vec<Deviation> {
        let inner = lock(&self.0);
        let numbered = (0..).zip(inner.choices.iter().copied());
        numbered.filter(|&(_, choice)| choice > 0).map(|(at, choice)| Deviation { at, choice }).collect()
    }

    /// A source that takes its choices from `inner` and writes them to the end of this tape.
    pub fn record(&self, inner: impl Choices + 'static) -> impl Choices + 'static {
        Recorder { tape: self.clone(), inner }
    }

    /// A source that plays the tape as it is now. Where a choice does not fit, and behind the end of the tape, it
    /// takes the default.
    pub fn replay(&self) -> impl Choices + 'static {
        let mut inner = lock(&self.0);
        inner.fit = Fit::default();
        Player { tape: self.clone(), choices: inner.choices.clone().into_iter() }
    }

    /// How the tape suited its latest replay, as far as that has come.
    pub fn fit(&self) -> Fit {
        lock(&self.0).fit
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tape({} choices)", lock(&self.0).choices.len())
    }
}

struct Recorder<C> {
    tape: Tape,
    inner: C,
}

impl<C: Choices> Choices for Recorder<C> {
    fn choose(&mut self, options: u32) -> u32 {
        let choice = self.inner.choose(options);
        lock(&self.tape.0).choices.push(choice);
        choice
    }
}

struct Player {
    tape: Tape,
    choices: std::vec::IntoIter<u32>,
}

impl Choices for Player {
    fn choose(&mut self, options: u32) -> u32 {
        let next = self.choices.next();
        let mut inner = lock(&self.tape.0);
        inner.fit.asked += 1;
        match next {
            Some(choice) if choice < options => choice,
            Some(_) => {
                inner.fit.out_of_range += 1;
                0
            }
            None => {
                inner.fit.behind_end += 1;
                0
            }
        }
    }
}
