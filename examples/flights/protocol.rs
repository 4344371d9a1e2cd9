//! What the job tells its parent: one line each on standard output. A pipe keeps the lines of a killed process, so the
//! parent learns exactly how far it came.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

/// A stretch of time in which a kill is of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Recovery,
    Checkpoint,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Begin(Phase),
    End(Phase),
    /// What `open` brought back.
    Recovered(Recovered),
    /// The engine's own words about that.
    Report(String),
    /// Events that core 0 has counted, from the beginning of the data.
    Progress(u64),
    /// The epoch is durable, and holds so many events.
    Acked {
        epoch: u64,
        events: u64,
    },
    /// All events are counted and durable, and the database is closed.
    Done,
}

/// What `open` brought back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    pub(crate) epoch: u64,
    pub(crate) events: u64,
    pub(crate) replayed: u64,
    pub(crate) took_us: u64,
}

impl Line {
    /// Sends the line.
    ///
    /// # Errors
    ///
    /// When nobody listens any more: the parent is gone.
    pub(crate) fn send(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{self}")?;
        out.flush()
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recovery => "recovery",
            Self::Checkpoint => "checkpoint",
        })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin(phase) => write!(f, "phase {phase} begin"),
            Self::End(phase) => write!(f, "phase {phase} end"),
            Self::Recovered(Recovered { epoch, events, replayed, took_us }) => {
                write!(f, "recovered {epoch} {events} {replayed} {took_us}")
            }
            Self::Report(text) => write!(f, "report {text}"),
            Self::Progress(events) => write!(f, "progress {events}"),
            Self::Acked { epoch, events } => write!(f, "acked {epoch} {events}"),
            Self::Done => f.write_str("done"),
        }
    }
}

impl FromStr for Line {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let unknown = || format!("the job said something unexpected: {line}");
        if let Some(text) = line.strip_prefix("report ") {
            return Ok(Self::Report(text.to_owned()));
        }
        let words: Vec<&str> = line.split(' ').collect();
        let number = |place: usize| -> Result<u64, String> {
            words.get(place).and_then(|word| word.parse().ok()).ok_or_else(unknown)
        };
        match words[..] {
            ["phase", "recovery", "begin"] => Ok(Self::Begin(Phase::Recovery)),
            ["phase", "recovery", "end"] => Ok(Self::End(Phase::Recovery)),
            ["phase", "checkpoint", "begin"] => Ok(Self::Begin(Phase::Checkpoint)),
            ["phase", "checkpoint", "end"] => Ok(Self::End(Phase::Checkpoint)),
            ["recovered", _, _, _, _] => Ok(Self::Recovered(Recovered {
                epoch: number(1)?,
                events: number(2)?,
                replayed: number(3)?,
                took_us: number(4)?,
            })),
            ["progress", _] => Ok(Self::Progress(number(1)?)),
            ["acked", _, _] => Ok(Self::Acked { epoch: number(1)?, events: number(2)? }),
            ["done"] => Ok(Self::Done),
            _ => Err(unknown()),
        }
    }
}
