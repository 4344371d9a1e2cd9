//! The steps of a workload, each drawn on its own: leaving one out changes nothing about the others.
//!
//! A step is written `7 put core 0 key 3 len 40 pause 12`: its number, what it does, and the longest pause after it in
//! microseconds. What is left to chance when it is done, such as patience, comes from the stream of its number.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use highwater::sim::Streams;

use crate::draw::Draw;
use crate::plan::Load;

/// Where a life stands: which step it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    /// The number of the life.
    pub(crate) life: u32,
    /// [`Moment::OPEN`], the number of a step, or [`Moment::END`].
    pub(crate) step: u32,
}

impl Moment {
    /// Before the first step.
    pub(crate) const OPEN: u32 = 0;
    /// Behind the last step.
    pub(crate) const END: u32 = u32::MAX;

    /// As a scope of the simulated disk.
    pub(crate) fn scope(self) -> u64 {
        u64::from(self.life) << 32 | u64::from(self.step)
    }

    /// The moment of a scope.
    pub(crate) fn of(scope: u64) -> Self {
        let low = scope & u64::from(u32::MAX);
        Self { life: u32::try_from(scope >> 32).unwrap_or(0), step: u32::try_from(low).unwrap_or(0) }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Self::OPEN => write!(f, "{}/open", self.life),
            Self::END => write!(f, "{}/end", self.life),
            step => write!(f, "{}/{step}", self.life),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (life, step) = text.split_once('/').ok_or("a moment is life/step")?;
        let step = match step {
            "open" => Self::OPEN,
            "end" => Self::END,
            step => number(step)?,
        };
        Ok(Self { life: number(life)?, step })
    }
}

/// An operation of the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// A key gets a value.
    Put,
    /// A key loses its value.
    Delete,
    /// A key is read.
    Get,
    /// All keys with a prefix are read.
    Scan,
    /// Every key loses its value.
    Clear,
    /// Money moves from one core to another within one epoch.
    Transfer,
    /// One core ends its epoch.
    EndOne,
    /// Every core is asked to end its epoch, and does.
    EndAll,
    /// Somebody waits in the background for an epoch.
    Await,
    /// The workload itself waits for an epoch.
    Commit,
    /// A checkpoint is asked for.
    Checkpoint,
}

impl Op {
    /// Every operation, with its name.
    pub(crate) const ALL: [(Self, &str); 11] = [
        (Self::Put, "put"),
        (Self::Delete, "delete"),
        (Self::Get, "get"),
        (Self::Scan, "scan"),
        (Self::Clear, "clear"),
        (Self::Transfer, "transfer"),
        (Self::EndOne, "end-one"),
        (Self::EndAll, "end-all"),
        (Self::Await, "await"),
        (Self::Commit, "commit"),
        (Self::Checkpoint, "checkpoint"),
    ];
}

/// How long a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Len {
    /// So many bytes.
    Bytes(u64),
    /// So many bytes less than a record may have.
    Below(u64),
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Counts from one, and names the step in its life.
    pub(crate) number: u32,
    /// What it does.
    pub(crate) op: Op,
    /// The core that does it.
    pub(crate) core: u64,
    /// The key, if there is one, as an index of the keys of its core; of a transfer, the other core.
    pub(crate) key: u64,
    /// The length of the value, if there is one.
    pub(crate) len: Len,
    /// How long it waits afterwards, in microseconds.
    pub(crate) pause_us: u64,
}

impl Step {
    /// Draws the steps of a life, or of what the streams are for.
    pub(crate) fn draw(streams: Streams, load: &Load, cores: u16, count: u64) -> Vec<Self> {
        let mut weights = vec![1; usize::from(cores)];
        weights[0] = load.skew;
        let mut name = String::new();
        let draw = |number: u64| {
            name.clear();
            // Writing to a string does not fail.
            let _ = write!(name, "step/{number}");
            let mut stream = streams.stream(&name);
            let core = stream.weighted(&weights) as u64;
            let op = Op::ALL[stream.weighted(&load.weights)].0;
            let (some, other) = (stream.below(1 << 16), stream.weighted(&weights) as u64);
            let (bytes, oversize) =
                (stream.range(load.values.0, load.values.1), stream.chance(load.oversize));
            let below = stream.below(64);
            let (pauses, pause_us) = (stream.chance(0.3), stream.scale(1, load.pause_us_max.max(1)));
            Self {
                number: u32::try_from(number).unwrap_or(Moment::END - 1),
                op,
                core,
                key: if op == Op::Transfer { other } else { some },
                len: if oversize { Len::Below(below) } else { Len::Bytes(bytes) },
                pause_us: if pauses && load.pause_us_max > 0 { pause_us } else { 0 },
            }
            .plain()
        };
        (1..=count).map(draw).collect()
    }

    /// The same step without what its operation does not use: what is not written down is not there either.
    fn plain(mut self) -> Self {
        if matches!(self.op, Op::EndAll | Op::Await | Op::Commit | Op::Checkpoint) {
            self.core = 0;
        }
        if !matches!(self.op, Op::Put | Op::Delete | Op::Get | Op::Transfer) {
            self.key = 0;
        }
        if self.op != Op::Put {
            self.len = Len::Bytes(0);
        }
        self
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, op, core, key, len, pause_us } = self;
        let name = Op::ALL.iter().find(|(known, _)| known == op).map_or("", |(_, name)| name);
        write!(f, "{number} {name}")?;
        match op {
            Op::EndAll | Op::Await | Op::Commit | Op::Checkpoint => {}
            Op::Scan | Op::Clear | Op::EndOne => write!(f, " core {core}")?,
            Op::Delete | Op::Get => write!(f, " core {core} key {key}")?,
            Op::Transfer => write!(f, " core {core} to {key}")?,
            Op::Put => match len {
                Len::Bytes(bytes) => write!(f, " core {core} key {key} len {bytes}")?,
                Len::Below(bytes) => write!(f, " core {core} key {key} below {bytes}")?,
            },
        }
        match pause_us {
            0 => Ok(()),
            us => write!(f, " pause {us}"),
        }
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let step = number(words.next().unwrap_or_default())?;
        let name = words.next().ok_or("a step is a number and what it does")?;
        let op =
            Op::ALL.iter().find(|(_, known)| *known == name).ok_or_else(|| format!("no step does {name}"))?.0;
        let mut read = Self { number: step, op, core: 0, key: 0, len: Len::Bytes(0), pause_us: 0 };
        while let Some(what) = words.next() {
            let count = number(words.next().unwrap_or_default())?;
            match what {
                "core" => read.core = count,
                "key" | "to" => read.key = count,
                "len" => read.len = Len::Bytes(count),
                "below" => read.len = Len::Below(count),
                "pause" => read.pause_us = count,
                _ => return Err(format!("a step has no {what}")),
            }
        }
        Ok(read)
    }
}

/// Reads a number in a step or moment.
pub(crate) fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("a number is needed, not \"{text}\""))
}

/// Steps in one line, as long as they are few.
pub(crate) fn in_words(steps: &[Step]) -> String {
    const FEW: usize = 24;
    if steps.is_empty() {
        return "no steps".to_owned();
    }
    let mut words = String::new();
    for (index, step) in steps.iter().take(FEW).enumerate() {
        // Writing to a string does not fail.
        let _ = write!(words, "{}{step}", if index > 0 { "; " } else { "" });
    }
    match steps.len().saturating_sub(FEW) {
        0 => words,
        more => format!("{words}; and {more} more"),
    }
}
