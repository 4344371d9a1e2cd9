//! What the engine tells a recorder of the crate `metrics`: how long its stages take, and every value of its statistics.
//!
//! ```text
//! mod.rs         the timers, which the background and those who wait use
//! published.rs   the names, and the values of a snapshot under them   (feature `metrics`)
//! ```

#[cfg(feature = "metrics")]
mod published;

use std::time::Duration;

#[cfg(feature = "metrics")]
use super::stats::EngineStats;
use crate::env::Clock;
use crate::meter::Timer;
use crate::options::Options;
#[cfg(feature = "metrics")]
use published::Published;

/// The timers of one engine, and its place at the recorder.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    /// From the moment at which somebody waits for an epoch until it is durable.
    pub(super) commit_wait: Timer,
    /// A durable write or a sync of each core's log.
    pub(super) log_syncs: Vec<Timer>,
    pub(super) checkpoint: Timer,
    /// A checkpoint on its way into the object store.
    pub(super) upload: Timer,
    #[cfg(feature = "metrics")]
    published: Option<Published>,
}

impl Meters {
    /// For an engine that the calling thread opens with `options`, and whose recovery took `recovered`.
    #[cfg(feature = "metrics")]
    pub(super) fn new(clock: &impl Clock, options: &Options, recovered: Duration) -> Self {
        let (cores, remote) = (options.cores, options.remote.is_some());
        if !crate::meter::is_watched() {
            return Self::none(cores);
        }
        let mut sinks: Vec<&str> = options.sinks.iter().map(|sink| sink.name.as_str()).collect();
        sinks.sort_unstable();
        let timer = |histogram| Timer::new(histogram, clock.clone());
        timer(published::RECOVERY.register(&[])).record(recovered);
        Self {
            commit_wait: timer(published::COMMIT_WAIT.register(&[])),
            log_syncs: (0..cores).map(|core| timer(published::LOG_SYNC.register_of(core))).collect(),
            checkpoint: timer(published::CHECKPOINT.register(&[])),
            upload: if remote { timer(published::UPLOAD.register(&[])) } else { Timer::default() },
            published: Some(Published::register(cores, remote, &sinks)),
        }
    }

    /// For an engine that is opened with `options`: nobody can watch.
    #[cfg(not(feature = "metrics"))]
    pub(super) fn new(_: &impl Clock, options: &Options, _: Duration) -> Self {
        Self::none(options.cores)
    }

    pub(super) fn none(cores: u16) -> Self {
        Self { log_syncs: (0..cores).map(|_| Timer::default()).collect(), ..Self::default() }
    }

    /// Tells the recorder what a snapshot says, if there is one.
    #[cfg(feature = "metrics")]
    pub(super) fn publish(&self, stats: &EngineStats) {
        if let Some(published) = &self.published {
            published.publish(stats);
        }
    }
}
