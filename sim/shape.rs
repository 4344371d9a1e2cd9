//! The options of a plan's databases: what belongs to the data, and what each life chooses anew.

use std::fmt;
use std::time::Duration;

use highwater::sim::{Personality, Stream};
use highwater::{Options, Route};

use serde::{Deserialize, Serialize};

use crate::draw::Draw;
use crate::text::{maybe_millis, millis, route};

/// Where the database lies on the simulated disk.
pub(crate) const DIRECTORY: &str = "db";

/// Spans of which one epoch is kept.
const SPANS: usize = 3;

/// What is fixed when the database is created.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shape {
    /// Cores.
    pub(crate) cores: u16,
    /// Key groups.
    pub(crate) key_groups: u16,
    /// The part of a key that decides its core.
    #[serde(with = "route")]
    pub(crate) route: Route,
    /// Never less than the device's.
    pub(crate) write_unit: u32,
}

impl Shape {
    /// The plainest one.
    pub(crate) fn plain() -> Self {
        Self { cores: 1, key_groups: 64, route: Route::WholeKey, write_unit: 512 }
    }

    /// Draws one for a disk.
    pub(crate) fn draw(stream: &mut Stream, disk: &Personality) -> Self {
        let cores = *stream.pick(&[1, 1, 2, 2, 2, 3, 4, 8]);
        let key_groups = *stream.pick(&[cores, 64, 1024]);
        let route = *stream.pick(&[Route::WholeKey, Route::WholeKey, Route::Prefix(4), Route::Until(b'/')]);
        let write_unit = if disk.write_unit == 4096 || stream.chance(0.5) { 4096 } else { 512 };
        Self { cores, key_groups, route, write_unit }
    }
}

/// What each life may choose.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the engine")]
pub(crate) struct Tuning {
    /// Who writes the log: the caller, or a task of its own.
    pub(crate) inline: bool,
    /// See [`Options`], here and below.
    pub(crate) segment_bytes: u64,
    /// Bytes of a log buffer.
    pub(crate) batch_bytes: usize,
    /// Bytes of all log buffers of a core.
    pub(crate) queue_bytes: usize,
    /// Writes in flight.
    pub(crate) depth: usize,
    /// Bytes of an open epoch.
    pub(crate) epoch_bytes_max: u64,
    /// Epochs that a core may be ahead.
    pub(crate) epoch_skew_max: u64,
    /// Time to the seal of an idle log.
    #[serde(with = "millis")]
    pub(crate) idle_seal_after: Duration,
    /// Time between checkpoints.
    #[serde(with = "maybe_millis")]
    pub(crate) checkpoint_interval: Option<Duration>,
    /// Log bytes between checkpoints.
    pub(crate) checkpoint_wal_bytes: u64,
    /// Memory of a checkpoint.
    pub(crate) checkpoint_memory_bytes: usize,
    /// Checkpoints kept.
    pub(crate) retain: usize,
    /// Log bytes that are kept for a fallback.
    pub(crate) fallback_bytes_max: u64,
    /// Keys in order. Plans of before there was a choice have none.
    #[serde(default)]
    pub(crate) ordered_index: bool,
    /// Epochs of a span that keeps one; none if zero. Plans of before there were spans have none.
    #[serde(default)]
    pub(crate) span: u64,
    /// Whether its programs set pins.
    #[serde(default)]
    pub(crate) pins: bool,
    /// The recovery budget in milliseconds, none if zero. Plans of before there was one have none.
    #[serde(default)]
    pub(crate) budget_ms: u64,
    /// Whether space is held back. Plans of before there was a choice hold none.
    #[serde(default)]
    pub(crate) reserve: bool,
}

impl Tuning {
    /// The plainest one: nothing happens unless it is asked for, and little fits.
    pub(crate) fn plain() -> Self {
        Self {
            inline: false,
            segment_bytes: 16 << 10,
            batch_bytes: 1024,
            queue_bytes: 8192,
            depth: 1,
            epoch_bytes_max: 1 << 30,
            epoch_skew_max: 16,
            idle_seal_after: Duration::from_secs(60),
            checkpoint_interval: None,
            checkpoint_wal_bytes: 1 << 30,
            checkpoint_memory_bytes: 1 << 20,
            retain: 2,
            fallback_bytes_max: 0,
            ordered_index: false,
            span: 0,
            pins: false,
            budget_ms: 0,
            reserve: false,
        }
    }

    /// Draws one; `ordered` is a stream of its own.
    pub(crate) fn draw(stream: &mut Stream, mut ordered: Stream) -> Self {
        let segment_bytes = *stream.pick(&[16 << 10, 16 << 10, 32 << 10, 64 << 10]);
        let batch_bytes = *stream.pick(&[512, 1024, 2048, 4096, 8000]);
        // A batch is never larger than the largest record.
        let batch_bytes = if segment_bytes == 16 << 10 { batch_bytes.min(4_000) } else { batch_bytes };
        let buffers = *stream.pick(&[1, 3, 4, 8, 32]);
        let interval_ms = stream.scale(2, 2_000);
        Self {
            inline: stream.chance(0.25),
            segment_bytes,
            batch_bytes,
            queue_bytes: batch_bytes * buffers,
            depth: *stream.pick(&[1, 1, 2, 3, 4, 6]),
            epoch_bytes_max: *stream.pick(&[1 << 30, 1 << 30, 64 << 10, 16 << 10]),
            epoch_skew_max: *stream.pick(&[1, 2, 16]),
            idle_seal_after: Duration::from_millis(*stream.pick(&[1, 10, 50, 60_000])),
            checkpoint_interval: stream.chance(0.4).then(|| Duration::from_millis(interval_ms)),
            checkpoint_wal_bytes: *stream.pick(&[16 << 10, 64 << 10, 1 << 30]),
            checkpoint_memory_bytes: *stream.pick(&[1 << 10, 16 << 10, 1 << 20]),
            retain: *stream.pick(&[1, 2, 2, 3, 4]),
            fallback_bytes_max: *stream.pick(&[0, 64 << 10, 512 << 10, 1 << 30]),
            ordered_index: ordered.chance(0.5),
            span: *ordered.pick(&[0, 0, 1, 2, 5]),
            pins: ordered.chance(0.4),
            budget_ms: *ordered.pick(&[0, 0, 0, 1, 252]),
            reserve: ordered.chance(0.75),
        }
    }

    /// The options of a life.
    pub(crate) fn options(&self, shape: &Shape) -> Options {
        let options = Options::new(DIRECTORY)
            .cores(shape.cores)
            .key_groups(shape.key_groups)
            .route(shape.route)
            .write_unit_bytes(shape.write_unit)
            .inline(self.inline)
            .segment_bytes(self.segment_bytes)
            .batch_bytes(self.batch_bytes)
            .queue_bytes(self.queue_bytes)
            .depth(self.depth)
            .epoch_bytes_max(self.epoch_bytes_max)
            .epoch_skew_max(self.epoch_skew_max)
            .idle_seal_after(self.idle_seal_after)
            .checkpoint_interval(self.checkpoint_interval)
            .checkpoint_wal_bytes(self.checkpoint_wal_bytes)
            .checkpoint_memory_bytes(self.checkpoint_memory_bytes)
            .retain_checkpoints(self.retain)
            .fallback_bytes_max(self.fallback_bytes_max)
            .ordered_index(self.ordered_index)
            .reserve(self.reserve);
        let options = if self.span == 0 { options } else { options.keep_history(self.span, SPANS) };
        match self.budget_ms {
            0 => options,
            budget => options.max_recovery(Duration::from_millis(budget)),
        }
    }

    /// Bytes of the longest record that this life can log.
    pub(crate) fn record_bytes_max(&self, shape: &Shape) -> u64 {
        let units = 4096 + 2 * u64::from(shape.write_unit);
        (self.segment_bytes / 2).min(self.segment_bytes - units) - 64
    }
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            inline,
            segment_bytes,
            batch_bytes,
            queue_bytes,
            depth,
            epoch_bytes_max,
            epoch_skew_max,
            ..
        } = self;
        write!(
            f,
            "inline={inline} segment={segment_bytes} batch={batch_bytes} queue={queue_bytes} depth={depth} "
        )?;
        write!(f, "epoch-max={epoch_bytes_max} skew={epoch_skew_max} seal={:?} ", self.idle_seal_after)?;
        write!(f, "checkpoint={:?}/{}B ", self.checkpoint_interval, self.checkpoint_wal_bytes)?;
        write!(f, "memory={} retain={} ", self.checkpoint_memory_bytes, self.retain)?;
        write!(f, "fallback={}", self.fallback_bytes_max)?;
        if self.span > 0 {
            write!(f, " span={}", self.span)?;
        }
        if self.pins {
            f.write_str(" pins")?;
        }
        if self.reserve {
            f.write_str(" reserve")?;
        }
        if self.budget_ms > 0 {
            write!(f, " budget={}ms", self.budget_ms)?;
        }
        if self.ordered_index { f.write_str(" ordered") } else { Ok(()) }
    }
}
