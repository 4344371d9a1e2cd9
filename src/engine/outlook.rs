//! How long a recovery would take if the process died now, and when a checkpoint is due for that.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Engine;
use crate::env::Env;
use crate::forecast::{Rates, Volume};

/// What a recovery would have to do, and how long that would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryForecast {
    /// How long it would take, at the rates of earlier recoveries of this database; at guesses before the first that was
    /// large enough to measure them.
    pub predicted: Duration,
    /// [`Options::max_recovery`](crate::Options::max_recovery).
    pub budget: Option<Duration>,
    /// Bytes of checkpoint files to load.
    pub checkpoint_bytes: u64,
    /// Bytes of log records to replay.
    pub log_bytes: u64,
}

impl RecoveryForecast {
    /// Whether a recovery would take longer than it may.
    #[must_use]
    pub fn exceeds_budget(&self) -> bool {
        self.budget.is_some_and(|budget| self.predicted > budget)
    }
}

/// What is known of recoveries, and asked of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outlook {
    pub(crate) rates: Rates,
    pub(crate) budget: Option<Duration>,
}

impl Outlook {
    /// Bytes of log behind which a checkpoint is due, where `wal_bytes` make it due anyway.
    pub(super) fn log_bytes_due(&self, wal_bytes: u64, load_bytes: u64) -> u64 {
        let due = self.budget.map_or(u64::MAX, |budget| self.rates.log_bytes_due(budget, load_bytes));
        due.min(wal_bytes)
    }
}

impl<E: Env> Engine<E> {
    /// What a recovery would take if the process died now. A restore from an object store takes the time to bring the files
    /// down besides.
    pub fn recovery_forecast(&self) -> RecoveryForecast {
        let requests = &self.requests;
        let Outlook { rates, budget } = requests.outlook;
        let load_bytes = requests.load_bytes.load(Ordering::Relaxed);
        let log_bytes = requests.growth.bytes();
        let predicted = rates.predict(Volume { load_bytes, log_bytes });
        RecoveryForecast { predicted, budget, checkpoint_bytes: load_bytes, log_bytes }
    }
}
