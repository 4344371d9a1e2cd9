//! What the engine has done and what it has before it, at one moment: for people and for what watches over programs.
//!
//! Nothing here waits for a core: its handle and its writer leave counts where they pass anyway (`counts`). Values of one
//! snapshot are read one after the other while the engine goes on: between two of them a batch may have moved.

use std::time::Duration;

use super::Engine;
use super::counts::Queued;
use super::outlook::RecoveryForecast;
use super::requests::CheckpointInfo;
use super::shared::Health;
use super::sinks::SinkStatus;
use crate::env::Env;
use crate::ids::{CoreId, Epoch, Lsn};
use crate::offsite::RemoteStatus;

/// A snapshot; [`Engine::stats`]. Counts are since the open.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineStats {
    /// How the engine is doing.
    pub health: Health,
    /// One for each core, in their order.
    pub cores: Vec<CoreStats>,
    /// The epoch that the open recovered; zero in a new database.
    pub recovered_epoch: Epoch,
    /// The greatest epoch that every core has ended.
    pub ended_epoch: Epoch,
    /// The greatest closed epoch: durable on every core, recovered after any crash.
    pub closed_epoch: Epoch,
    /// Checkpoints.
    pub checkpoints: CheckpointStats,
    /// What a recovery would have to do if the process died now: also how many bytes of log there are since the newest checkpoint.
    pub forecast: RecoveryForecast,
    /// How long the recovery of this open took, without what came from an object store.
    pub recovery_took: Duration,
    /// The object store; `None` without [`Options::remote`](crate::Options::remote).
    pub remote: Option<RemoteStats>,
    /// The sinks ([`Options::sink`](crate::Options::sink)), by name.
    pub sinks: Vec<SinkStatus>,
}

/// One core of [`EngineStats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoreStats {
    /// Which core it is.
    pub core: CoreId,
    /// The greatest LSN that the handle gave to the log; what is still in the handle's own batch is not in it.
    pub appended_lsn: Lsn,
    /// The greatest LSN that is durable: the core's high-water mark.
    pub durable_lsn: Lsn,
    /// The greatest epoch that the core has ended.
    pub ended_epoch: Epoch,
    /// The greatest epoch whose end is durable on the core.
    pub durable_epoch: Epoch,
    /// How many of its epochs' ends became durable.
    pub commits: u64,
    /// How many frames the log was given, those without records included.
    pub frames: u64,
    /// Bytes of these frames: records, headers and padding.
    pub log_bytes: u64,
    /// How often something of the log became durable, by a durable write or by a sync.
    pub syncs: u64,
    /// Records that the handle gave to the log and the log's writer has not taken.
    pub queued_records: u64,
    /// Bytes of these records.
    pub queued_bytes: u64,
    /// How many files hold the log, from the oldest that is needed to the one in use.
    pub segments: u64,
    /// How many more are prepared ahead, or wait to be used again.
    pub spare_segments: u64,
    /// How many keys had a value when the core last ended an epoch, or at the open.
    pub state_keys: u64,
    /// Bytes of these keys and values.
    pub state_bytes: u64,
}

/// The checkpoints of [`EngineStats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointStats {
    /// The epoch of the newest checkpoint; zero before the first.
    pub epoch: Epoch,
    /// How many were taken.
    pub taken: u64,
    /// How many tries failed.
    pub failed: u64,
    /// What the last one that was taken did.
    pub last: Option<CheckpointInfo>,
    /// How long that took.
    pub last_took: Duration,
}

/// The object store of [`EngineStats`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RemoteStats {
    /// How far it is.
    pub status: RemoteStatus,
    /// How many uploads of a checkpoint failed and were begun again.
    pub failures: u64,
    /// How many requests were made, tries of the same one included.
    pub requests: u64,
    /// How many of them were not the first try.
    pub retries: u64,
    /// Bytes of the objects that the store took.
    pub sent_bytes: u64,
    /// Bytes of the objects that the store gave.
    pub received_bytes: u64,
}

impl<E: Env> Engine<E> {
    /// What the engine has done so far, and what it has before it. It waits for nobody, and nobody waits for it: call it as
    /// often as you like.
    ///
    /// With the feature `metrics` the recorder that was there when this thread opened the database is told all of it, too: call
    /// it before what the recorder has is read (docs/operations.md).
    pub fn stats(&self) -> EngineStats {
        let stats = self.snapshot();
        #[cfg(feature = "metrics")]
        self.shared.meters.publish(&stats);
        stats
    }

    fn snapshot(&self) -> EngineStats {
        // What is published first: read later, it could be above what was closed.
        let sinks = self.sinks();
        EngineStats {
            health: self.health(),
            cores: (0..self.identity.cores).map(|core| self.core_stats(CoreId(core))).collect(),
            recovered_epoch: self.recovered.epoch,
            ended_epoch: self.shared.slowest_ended(),
            closed_epoch: self.shared.closed(),
            checkpoints: self.requests.stats(),
            forecast: self.recovery_forecast(),
            recovery_took: self.recovered.took,
            remote: self.remote_stats(),
            sinks,
        }
    }

    fn core_stats(&self, core: CoreId) -> CoreStats {
        let shared = self.shared.core(core);
        // What is durable first: read later, it could be above what was appended or ended.
        let (durable_lsn, durable_epoch) = shared.durable_marks();
        let counts = &shared.counts;
        let Queued { handed_lsn, records, bytes } = counts.queued();
        CoreStats {
            core,
            appended_lsn: handed_lsn,
            durable_lsn,
            ended_epoch: shared.ended_epoch(),
            durable_epoch,
            commits: durable_epoch.0 - self.recovered.epoch.0,
            frames: counts.log.frames(),
            log_bytes: counts.log.bytes(),
            syncs: counts.log.syncs(),
            queued_records: records,
            queued_bytes: bytes,
            segments: counts.log.segments() as u64,
            spare_segments: self.supply.spare(core) as u64,
            state_keys: counts.state_keys(),
            state_bytes: counts.state_bytes(),
        }
    }

    fn remote_stats(&self) -> Option<RemoteStats> {
        let mirror = self.mirror.as_ref()?;
        let traffic = mirror.traffic();
        Some(RemoteStats {
            status: mirror.status(),
            failures: mirror.failures(),
            requests: traffic.requests(),
            retries: traffic.retries(),
            sent_bytes: traffic.sent_bytes(),
            received_bytes: traffic.received_bytes(),
        })
    }
}
