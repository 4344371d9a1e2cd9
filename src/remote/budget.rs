//! How many requests are made, and how often one is tried again.
//!
//! Each class of requests has a bucket of its own, so that removals never take what an upload needs, nor an upload what a
//! manifest needs. A bucket fills with time, at a rate that halves when the store throttles and grows back with
//! success. Trying again is paid from a second bucket, which only success fills: while a store is down, a
//! class soon makes no more requests than its first tries.

use std::sync::Mutex;
use std::time::Duration;

use crate::env::Tick;
use crate::sync::unpoisoned;

/// What a request is for, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Manifests, and what decides about them. Not limited: there are few.
    Manifest,
    /// Checkpoint files.
    File,
    /// Removals, and looking for what is to be removed.
    Collect,
}

impl Class {
    pub(super) const ALL: [Self; 3] = [Self::Manifest, Self::File, Self::Collect];

    /// Tries of one request, the first included.
    pub(super) fn tries_max(self) -> u32 {
        match self {
            Self::Manifest => 8,
            Self::File => 5,
            Self::Collect => 2,
        }
    }
}

/// Requests that may be made at once after a rest, in seconds of the full rate.
const BURST_SECONDS: u64 = 1;

/// Throttling lowers the rate to this part of the full one, and no further.
const SLOWEST_PART: u64 = 64;

/// Tries that a class has in hand when nothing went wrong for long.
const RETRIES_MAX: u32 = 20;

/// Successes that pay for one more try.
const SUCCESSES_PER_RETRY: u32 = 10;

/// Nanoseconds of a second: the price of a request at one per second.
const SECOND_NS: u64 = 1_000_000_000;

/// The bucket of one class.
#[derive(Debug)]
pub(super) struct Budget(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Requests per second; zero is without limit.
    full_rate: u64,
    rate: u64,
    /// When the next request is paid for, if none is made before; at most a burst ago.
    paid_until: Tick,
    /// In tenths.
    retries: u32,
}

impl Budget {
    /// For `class`, with `requests_per_second` for files.
    pub(super) fn new(class: Class, requests_per_second: u32) -> Self {
        let full_rate = match class {
            Class::Manifest => 0,
            Class::File => u64::from(requests_per_second),
            Class::Collect => u64::from(requests_per_second.div_ceil(10)),
        };
        let retries = RETRIES_MAX * SUCCESSES_PER_RETRY;
        Self(Mutex::new(State { full_rate, rate: full_rate, paid_until: Tick(0), retries }))
    }

    /// Takes the right to one request: after this long.
    pub(super) fn take(&self, now: Tick) -> Duration {
        let mut state = lock(&self.0);
        let Some(price_ns) = SECOND_NS.checked_div(state.rate) else { return Duration::ZERO };
        let oldest = Tick(now.0.saturating_sub(BURST_SECONDS * SECOND_NS));
        let begin = state.paid_until.max(oldest);
        state.paid_until = Tick(begin.0.saturating_add(price_ns));
        begin.since(now)
    }

    /// A request succeeded.
    pub(super) fn succeeded(&self) {
        let mut state = lock(&self.0);
        state.retries = (state.retries + 1).min(RETRIES_MAX * SUCCESSES_PER_RETRY);
        let step = (state.full_rate / SLOWEST_PART).max(1);
        state.rate = (state.rate + step).min(state.full_rate);
    }

    /// The store asks for fewer requests.
    pub(super) fn throttled(&self) {
        let mut state = lock(&self.0);
        let slowest = (state.full_rate / SLOWEST_PART).max(1).min(state.full_rate);
        state.rate = (state.rate / 2).max(slowest);
    }

    /// Whether one more try may be made.
    pub(super) fn may_retry(&self) -> bool {
        let mut state = lock(&self.0);
        let paid = state.retries >= SUCCESSES_PER_RETRY;
        if paid {
            state.retries -= SUCCESSES_PER_RETRY;
        }
        paid
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    unpoisoned(state.lock())
}
