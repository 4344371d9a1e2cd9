//! Which kind of plans a seed is run with.

use std::fmt;

use clap::ValueEnum;

use crate::fanout::{self, Exploration};

/// A kind of plans, each with faults and oracles of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Profile {
    /// Life after life under faults in contract: everything promised is there, exactly.
    Forward,
    /// The same on disks that break their word, in a life and between two: the lattice of outcomes.
    Damage,
    /// The same with an object store, and lives that end with the loss of the disk.
    Remote,
    /// Every crash of a small run of the log alone.
    FanOutLog,
    /// Every crash of a small run of the whole engine.
    FanOutEngine,
    /// The same, and every recovery changes the number of cores.
    FanOutRescale,
    /// Every crash of a small run of the engine with an object store, and every loss of its machine.
    FanOutRemote,
}

impl Profile {
    /// What explores a seed's crashes, if this is a fan-out and no story.
    pub(crate) fn exploration(self) -> Option<Exploration> {
        match self {
            Self::Forward | Self::Damage | Self::Remote => None,
            Self::FanOutLog => Some(fanout::log::explore_cut),
            Self::FanOutEngine => Some(fanout::engine::explore_cut),
            Self::FanOutRescale => Some(fanout::rescale::explore_cut),
            Self::FanOutRemote => Some(fanout::offsite::explore_cut),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward",
            Self::Damage => "damage",
            Self::Remote => "remote",
            Self::FanOutLog => "fan-out-log",
            Self::FanOutEngine => "fan-out-engine",
            Self::FanOutRescale => "fan-out-rescale",
            Self::FanOutRemote => "fan-out-remote",
        })
    }
}
