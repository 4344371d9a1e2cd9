//! How what a crash left came about: the run or the recovery it fell into, and what became of the machine.

use std::fmt;

/// How remains came about, for people and for what may be expected of them.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) within: Option<&'a Origin<'a>>,
    pub(super) step: Step<'a>,
    /// Whether what is there is durable.
    pub(super) power: bool,
    /// Whether a machine was lost on the way.
    pub(super) lost: bool,
    pub(super) depth: u32,
}

/// The last part of how remains came about. Its text is made when somebody has to read it.
#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    Crash { place: Place, call: &'a str, fate: Fate, landed: &'a str },
    Again { lost: bool },
}

/// Where a crash came.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// At this moment of the run.
    Run(usize),
    /// In a recovery.
    Recovery,
}

/// What became of the machine.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    /// Its power was cut: the image of this number.
    Cut(usize),
    /// Its process ended.
    Process,
    /// It is gone.
    Lost,
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(within) = self.within {
            write!(f, "{within}, ")?;
        }
        self.step.fmt(f)
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step::Crash { place, call, fate, landed } = self else {
            return f.write_str(match self {
                Step::Again { lost: true } => "recovered, then the machine lost",
                _ => "recovered, then a power cut that loses everything unsynced",
            });
        };
        match place {
            Place::Run(number) => write!(f, "moment {number} ({call}), ")?,
            Place::Recovery => write!(f, "in its recovery ({call}), ")?,
        }
        match fate {
            Fate::Cut(image) => write!(f, "power cut, image {image}")?,
            Fate::Process => f.write_str("process crash")?,
            Fate::Lost => f.write_str("machine lost")?,
        }
        if landed.is_empty() { Ok(()) } else { write!(f, " [{landed}]") }
    }
}
