//! How long a recovery would take: what it has to read, at the rates of those before it.
//!
//! ```text
//! predicted = fixed + bytes of checkpoint files / load rate + bytes of log records / replay rate
//! ```
//!
//! F1. Rates are measured by every recovery that reads enough for that, and carried by manifests; the newest counts for half.
//!     Before the first they are guesses, on the slow side.
//! F2. A forecast decides how often checkpoints are taken and when bases are rewritten, and nothing else: when it is wrong, time
//!     is lost and no data.
//! F3. However small a budget is, a checkpoint waits for some log: one that cannot be met costs no more than that.

use std::time::Duration;

/// A recovery that reads less says nothing about rates.
const MEASURABLE_BYTES: u64 = 4 << 20;

/// Bytes of log for which a checkpoint is worth it, whatever the budget (F3).
pub(crate) const LOG_BYTES_MIN: u64 = 256 << 10;

/// Before the first measurement.
const GUESS: Rates =
    Rates { fixed_us: 250_000, load_bytes_per_s: 150_000_000, replay_bytes_per_s: 75_000_000 };

/// How fast recoveries are, over all cores together; zero where nothing was measured yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    /// What a recovery takes that reads nothing, in microseconds.
    pub(crate) fixed_us: u64,
    /// Bytes of checkpoint files.
    pub(crate) load_bytes_per_s: u64,
    /// Bytes of log records.
    pub(crate) replay_bytes_per_s: u64,
}

/// What a recovery reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Volume {
    /// Of checkpoint files.
    pub(crate) load_bytes: u64,
    /// Of log records.
    pub(crate) log_bytes: u64,
}

/// What a recovery took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) loading: Duration,
    pub(crate) replaying: Duration,
    /// Everything else.
    pub(crate) rest: Duration,
}

/// What rebuilding took on each core, added up: cores do it beside each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) loading: Duration,
    pub(crate) replaying: Duration,
}

impl Measured {
    /// What the parts of a recovery took that took `all`: `rebuilding`, which the cores share out as `each` says, and
    /// `looking` at the log, which is part of replaying it.
    pub(crate) fn of(each: Parts, rebuilding: Duration, looking: Duration, all: Duration) -> Self {
        let together = (each.loading + each.replaying).max(Duration::from_nanos(1));
        let loading = rebuilding.mul_f64(each.loading.as_secs_f64() / together.as_secs_f64());
        let replaying = rebuilding.saturating_sub(loading) + looking;
        Self { loading, replaying, rest: all.saturating_sub(loading + replaying) }
    }
}

impl Rates {
    /// These, and guesses where nothing was measured.
    fn known(self) -> Self {
        let or = |measured: u64, guess: u64| if measured == 0 { guess } else { measured };
        Self {
            fixed_us: or(self.fixed_us, GUESS.fixed_us),
            load_bytes_per_s: or(self.load_bytes_per_s, GUESS.load_bytes_per_s),
            replay_bytes_per_s: or(self.replay_bytes_per_s, GUESS.replay_bytes_per_s),
        }
    }

    fn fixed(self) -> Duration {
        Duration::from_micros(self.known().fixed_us)
    }

    /// What a recovery that reads `volume` takes.
    pub(crate) fn predict(self, volume: Volume) -> Duration {
        let Self { load_bytes_per_s, replay_bytes_per_s, .. } = self.known();
        let load = time(volume.load_bytes, load_bytes_per_s);
        self.fixed() + load + time(volume.log_bytes, replay_bytes_per_s)
    }

    /// What is known behind a recovery that read `volume` (F1).
    pub(crate) fn learn(self, volume: Volume, measured: Measured) -> Self {
        let Volume { load_bytes, log_bytes } = volume;
        if load_bytes + log_bytes < MEASURABLE_BYTES {
            return self;
        }
        let rest_us = u64::try_from(measured.rest.as_micros()).unwrap_or(u64::MAX);
        Self {
            fixed_us: mean(self.fixed_us, rest_us.max(1)),
            load_bytes_per_s: mean(self.load_bytes_per_s, rate(load_bytes, measured.loading)),
            replay_bytes_per_s: mean(self.replay_bytes_per_s, rate(log_bytes, measured.replaying)),
        }
    }

    /// Bytes of log behind which a checkpoint is due if a recovery may take `budget` and has to load `load_bytes`: half of what
    /// fits, because the log grows on while a checkpoint is taken.
    pub(crate) fn log_bytes_due(self, budget: Duration, load_bytes: u64) -> u64 {
        let room = budget.saturating_sub(self.predict(Volume { load_bytes, log_bytes: 0 }));
        bytes(room / 2, self.known().replay_bytes_per_s).max(LOG_BYTES_MIN)
    }

    /// Bytes of checkpoint files that may be loaded before bases are worth rewriting: half of what `budget` leaves, the other
    /// half is for the log.
    pub(crate) fn load_bytes_max(self, budget: Duration) -> u64 {
        bytes(budget.saturating_sub(self.fixed()) / 2, self.known().load_bytes_per_s)
    }
}

/// What `bytes` take at a rate.
fn time(bytes: u64, per_s: u64) -> Duration {
    let us = u128::from(bytes) * 1_000_000 / u128::from(per_s.max(1));
    Duration::from_micros(u64::try_from(us).unwrap_or(u64::MAX))
}

/// How many bytes go into `time` at a rate.
fn bytes(time: Duration, per_s: u64) -> u64 {
    u64::try_from(time.as_micros() * u128::from(per_s) / 1_000_000).unwrap_or(u64::MAX)
}

/// Bytes per second; zero for too few bytes, and for no time.
fn rate(bytes: u64, time: Duration) -> u64 {
    let us = time.as_micros();
    if bytes < MEASURABLE_BYTES || us == 0 {
        return 0;
    }
    u64::try_from(u128::from(bytes) * 1_000_000 / us).unwrap_or(u64::MAX)
}

/// The newest counts for half; zero is nothing.
fn mean(before: u64, newest: u64) -> u64 {
    match (before, newest) {
        (0, newest) => newest,
        (before, 0) => before,
        (before, newest) => before / 2 + newest / 2,
    }
}

#[cfg(test)]
#[path = "forecast_tests.rs"]
mod tests;
