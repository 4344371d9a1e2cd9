//! The names at the recorder, and what each of them says (docs/operations.md has the same table).

use std::fmt;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, SharedString, Unit, with_recorder};

use super::super::shared::Health;
use super::super::sinks::SinkStatus;
use super::super::stats::{CoreStats, EngineStats, RemoteStats};
use crate::ids::Epoch;

const METADATA: Metadata<'static> = Metadata::new("highwater", Level::INFO, None);

/// A histogram of durations, in seconds.
pub(super) struct Stage {
    name: &'static str,
    help: &'static str,
}

const fn stage(name: &'static str, help: &'static str) -> Stage {
    Stage { name, help }
}

pub(super) const COMMIT_WAIT: Stage =
    stage("highwater_commit_wait_seconds", "How long somebody waited for an epoch to be durable");
pub(super) const LOG_SYNC: Stage =
    stage("highwater_log_sync_seconds", "How long a durable write or a sync of the log took");
pub(super) const CHECKPOINT: Stage =
    stage("highwater_checkpoint_seconds", "How long a checkpoint took, or a try that failed");
pub(super) const RECOVERY: Stage =
    stage("highwater_recovery_seconds", "How long the recovery of an open took");
pub(super) const UPLOAD: Stage =
    stage("highwater_upload_seconds", "How long it took to bring a checkpoint into the object store");

impl Stage {
    pub(super) fn register(&self, labels: &[Label]) -> Histogram {
        with_recorder(|recorder| {
            recorder.describe_histogram(self.name.into(), Some(Unit::Seconds), help(self.help));
            recorder.register_histogram(&key(self.name, labels), &METADATA)
        })
    }

    pub(super) fn register_of(&self, core: u16) -> Histogram {
        self.register(&label(core))
    }
}

/// One value of a `T`.
struct Value<T> {
    name: &'static str,
    help: &'static str,
    unit: Unit,
    of: Of<T>,
}

/// How it is told.
enum Of<T> {
    /// It grows only.
    Total(fn(&T) -> u64),
    Level(fn(&T) -> u64),
    Time(fn(&T) -> Duration),
}

const fn total<T>(name: &'static str, unit: Unit, of: fn(&T) -> u64, help: &'static str) -> Value<T> {
    Value { name, help, unit, of: Of::Total(of) }
}

const fn level<T>(name: &'static str, unit: Unit, of: fn(&T) -> u64, help: &'static str) -> Value<T> {
    Value { name, help, unit, of: Of::Level(of) }
}

const fn time<T>(name: &'static str, of: fn(&T) -> Duration, help: &'static str) -> Value<T> {
    Value { name, help, unit: Unit::Seconds, of: Of::Time(of) }
}

/// Of the engine.
#[rustfmt::skip]
const ENGINE: [Value<EngineStats>; 13] = [
    level("highwater_health", Unit::Count, |stats| health(stats.health), "0 healthy, 1 throttled, 2 read-only, 3 failed"),
    level("highwater_recovered_epoch", Unit::Count, |stats| stats.recovered_epoch.0, "The epoch that the open recovered"),
    level("highwater_ended_epoch", Unit::Count, |stats| stats.ended_epoch.0, "The last epoch that every core has ended"),
    level("highwater_closed_epoch", Unit::Count, |stats| stats.closed_epoch.0, "The last epoch that is durable on every core"),
    level("highwater_checkpoint_epoch", Unit::Count, |stats| stats.checkpoints.epoch.0, "The epoch of the newest checkpoint"),
    total("highwater_checkpoints_taken_total", Unit::Count, |stats| stats.checkpoints.taken, "Checkpoints"),
    total("highwater_checkpoints_failed_total", Unit::Count, |stats| stats.checkpoints.failed, "Tries of one that failed"),
    level("highwater_checkpoint_last_bytes", Unit::Bytes,
        |stats| stats.checkpoints.last.map_or(0, |last| last.bytes_written), "What the last checkpoint wrote"),
    time("highwater_checkpoint_last_seconds", |stats| stats.checkpoints.last_took, "How long it took"),
    level("highwater_checkpoint_bytes", Unit::Bytes, |stats| stats.forecast.checkpoint_bytes, "Files that a recovery would load"),
    level("highwater_log_since_checkpoint_bytes", Unit::Bytes, |stats| stats.forecast.log_bytes, "Log that it would replay"),
    time("highwater_recovery_predicted_seconds", |stats| stats.forecast.predicted, "How long it would take"),
    time("highwater_recovery_last_seconds", |stats| stats.recovery_took, "How long the recovery of this open took"),
];

/// Of each core.
#[rustfmt::skip]
const CORE: [Value<CoreStats>; 14] = [
    level("highwater_appended_lsn", Unit::Count, |core| core.appended_lsn.0, "The last record that the handle gave to the log"),
    level("highwater_durable_lsn", Unit::Count, |core| core.durable_lsn.0, "The last record that is durable"),
    level("highwater_core_ended_epoch", Unit::Count, |core| core.ended_epoch.0, "The last epoch that the core has ended"),
    level("highwater_core_durable_epoch", Unit::Count, |core| core.durable_epoch.0, "The last epoch whose end is durable there"),
    total("highwater_commits_total", Unit::Count, |core| core.commits, "Epochs' ends that became durable"),
    total("highwater_log_frames_total", Unit::Count, |core| core.frames, "Frames that the log was given"),
    total("highwater_log_bytes_total", Unit::Bytes, |core| core.log_bytes, "Bytes of these frames"),
    total("highwater_log_syncs_total", Unit::Count, |core| core.syncs, "Durable writes and syncs of the log"),
    level("highwater_queued_records", Unit::Count, |core| core.queued_records, "Records that wait for the log's writer"),
    level("highwater_queued_bytes", Unit::Bytes, |core| core.queued_bytes, "Bytes of these records"),
    level("highwater_segments", Unit::Count, |core| core.segments, "Files that hold the log"),
    level("highwater_spare_segments", Unit::Count, |core| core.spare_segments, "Files that wait to be used"),
    level("highwater_state_keys", Unit::Count, |core| core.state_keys, "Keys with a value"),
    level("highwater_state_bytes", Unit::Bytes, |core| core.state_bytes, "Bytes of these keys and values"),
];

/// Of the object store.
#[rustfmt::skip]
const REMOTE: [Value<RemoteStats>; 7] = [
    level("highwater_remote_epoch", Unit::Count, |remote| remote.status.epoch.0, "The epoch that a restore would bring back"),
    level("highwater_remote_pending", Unit::Count, |remote| u64::from(remote.status.pending), "1 while a newer one is on its way"),
    total("highwater_remote_failures_total", Unit::Count, |remote| remote.failures, "Uploads of a checkpoint that failed"),
    total("highwater_remote_requests_total", Unit::Count, |remote| remote.requests, "Requests"),
    total("highwater_remote_retries_total", Unit::Count, |remote| remote.retries, "Requests that were not the first try"),
    total("highwater_remote_sent_bytes_total", Unit::Bytes, |remote| remote.sent_bytes, "Bytes that the store took"),
    total("highwater_remote_received_bytes_total", Unit::Bytes, |remote| remote.received_bytes, "Bytes that the store gave"),
];

/// How far a sink is, beside what has closed.
struct SinkReach {
    published: Epoch,
    pending: usize,
    closed: Epoch,
}

impl SinkReach {
    fn of(sink: &SinkStatus, closed: Epoch) -> Self {
        Self { published: sink.published, pending: sink.pending, closed }
    }
}

/// Of each sink.
#[rustfmt::skip]
const SINK: [Value<SinkReach>; 3] = [
    level("highwater_sink_published_epoch", Unit::Count, |sink| sink.published.0, "Everything up to this epoch is published"),
    level("highwater_sink_pending", Unit::Count, |sink| sink.pending as u64, "Transactions in doubt or being committed"),
    level("highwater_sink_lag_epochs", Unit::Count, |sink| sink.closed.0.saturating_sub(sink.published.0), "Closed epochs behind it"),
];

fn health(health: Health) -> u64 {
    match health {
        Health::Healthy => 0,
        Health::Throttled => 1,
        Health::ReadOnly => 2,
        Health::Failed => 3,
    }
}

fn help(text: &'static str) -> SharedString {
    SharedString::const_str(text)
}

fn key(name: &'static str, labels: &[Label]) -> Key {
    Key::from_parts(name, labels.to_vec())
}

fn label(core: u16) -> [Label; 1] {
    [Label::new("core", core.to_string())]
}

fn sink_label(name: &str) -> [Label; 1] {
    [Label::new("sink", name.to_owned())]
}

/// A value's place at the recorder.
enum Place {
    Counter(Counter),
    Gauge(Gauge),
}

impl<T> Value<T> {
    fn register(&self, labels: &[Label]) -> Place {
        let (unit, help) = (Some(self.unit), help(self.help));
        with_recorder(|recorder| match self.of {
            Of::Total(_) => {
                recorder.describe_counter(self.name.into(), unit, help);
                Place::Counter(recorder.register_counter(&key(self.name, labels), &METADATA))
            }
            Of::Level(_) | Of::Time(_) => {
                recorder.describe_gauge(self.name.into(), unit, help);
                Place::Gauge(recorder.register_gauge(&key(self.name, labels), &METADATA))
            }
        })
    }

    fn tell(&self, place: &Place, source: &T) {
        match (&self.of, place) {
            (Of::Total(of), Place::Counter(counter)) => counter.absolute(of(source)),
            (Of::Level(of), Place::Gauge(gauge)) => gauge.set(float(of(source))),
            (Of::Time(of), Place::Gauge(gauge)) => gauge.set(of(source)),
            _ => unreachable!("{} was registered as what it is", self.name),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "what a gauge is")]
fn float(count: u64) -> f64 {
    count as f64
}

fn register<T>(values: &[Value<T>], labels: &[Label]) -> Vec<Place> {
    values.iter().map(|value| value.register(labels)).collect()
}

fn tell<T>(values: &[Value<T>], places: &[Place], source: &T) {
    for (value, place) in values.iter().zip(places) {
        value.tell(place, source);
    }
}

/// The place of one engine's statistics at the recorder.
pub(super) struct Published {
    engine: Vec<Place>,
    cores: Vec<Vec<Place>>,
    remote: Vec<Place>,
    /// By the sinks' names, as the statistics have them.
    sinks: Vec<Vec<Place>>,
}

impl Published {
    /// Of an engine of `cores` cores, with an object store if it is `remote`, and with `sinks`, sorted.
    pub(super) fn register(cores: u16, remote: bool, sinks: &[&str]) -> Self {
        assert!(sinks.is_sorted(), "sinks are told by name");
        Self {
            engine: register(&ENGINE, &[]),
            cores: (0..cores).map(|core| register(&CORE, &label(core))).collect(),
            remote: if remote { register(&REMOTE, &[]) } else { Vec::new() },
            sinks: sinks.iter().map(|name| register(&SINK, &sink_label(name))).collect(),
        }
    }

    pub(super) fn publish(&self, stats: &EngineStats) {
        tell(&ENGINE, &self.engine, stats);
        for (places, core) in self.cores.iter().zip(&stats.cores) {
            tell(&CORE, places, core);
        }
        if let Some(remote) = &stats.remote {
            tell(&REMOTE, &self.remote, remote);
        }
        for (places, sink) in self.sinks.iter().zip(&stats.sinks) {
            tell(&SINK, places, &SinkReach::of(sink, stats.closed_epoch));
        }
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published").finish_non_exhaustive()
    }
}
