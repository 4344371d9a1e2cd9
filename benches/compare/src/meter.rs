//! Clocks and counters around a stretch of work.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::{profile, sys};

/// The figures of one slice, by column.
pub(crate) type Figures = BTreeMap<String, f64>;

/// A stretch that is being measured.
pub(crate) struct Meter {
    start: Instant,
    cpu: Duration,
    written: u64,
}

/// A stretch that was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) wall: Duration,
    /// Of all threads, user and system.
    pub(crate) cpu: Duration,
    /// Bytes that the process caused to be written, by the kernel's account: whole folios of the page cache.
    pub(crate) written: u64,
}

impl Meter {
    pub(crate) fn start() -> Self {
        profile::sample(true);
        let (written, cpu) = (written_bytes(), sys::cpu_time());
        Self { start: Instant::now(), cpu, written }
    }

    pub(crate) fn stop(self) -> Span {
        let wall = self.start.elapsed();
        let cpu = sys::cpu_time().saturating_sub(self.cpu);
        let written = written_bytes().saturating_sub(self.written);
        profile::sample(false);
        Span { wall, cpu, written }
    }
}

fn written_bytes() -> u64 {
    let counters = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = counters.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0)
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

pub(crate) fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// The most memory that was resident, in megabytes.
pub(crate) fn peak_rss_mb() -> f64 {
    sys::peak_rss() as f64 / 1e6
}

/// Puts figures together.
pub(crate) fn figures<const N: usize>(figures: [(&str, f64); N]) -> Figures {
    figures.into_iter().map(|(column, figure)| (column.to_owned(), figure)).collect()
}

/// How long each of many operations took.
pub(crate) struct Latencies {
    nanos: Vec<u64>,
}

impl Latencies {
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self { nanos: Vec::with_capacity(count) }
    }

    #[inline]
    pub(crate) fn add(&mut self, took: Duration) {
        self.nanos.push(took.as_nanos() as u64);
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.nanos.append(&mut other.nanos);
    }

    pub(crate) fn len(&self) -> usize {
        self.nanos.len()
    }

    /// p50, p99 and p99.9 in microseconds.
    pub(crate) fn percentiles(mut self) -> [(&'static str, f64); 3] {
        assert!(!self.nanos.is_empty(), "nothing was measured");
        self.nanos.sort_unstable();
        let at = |share: f64| {
            let index = (self.nanos.len() as f64 * share) as usize;
            self.nanos[index.min(self.nanos.len() - 1)] as f64 / 1e3
        };
        [("p50_us", at(0.50)), ("p99_us", at(0.99)), ("p999_us", at(0.999))]
    }
}
