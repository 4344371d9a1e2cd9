//! The clocks of a simulated node, and what real ones do wrong.
//!
//! ```text
//! executor's time ──┬─► monotonic: stands still while the node is suspended
//!                   └─► wall: offset, jumps both ways, stands still, stamps the same value for a while
//! ```
//!
//! C1. Monotonic time never goes backwards, whatever is injected.
//! C2. A sleep takes at least its duration of monotonic time.

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::executor::Executor;
use super::lock;
use super::rng::Stream;
use crate::env::{Clock, Tick, nanos};

/// What the wall clock shows at virtual time zero: 1 January 2030.
const WALL_START_MS: i64 = 1_893_456_000_000;

/// How far one injected jump of the wall clock goes at most: ten years.
const JUMP_MS_MAX: u64 = 10 * 366 * 24 * 3600 * 1000;

/// Resolutions that an injected fault picks from, in milliseconds.
const RESOLUTIONS_MS: [i64; 4] = [1, 16, 1000, 60_000];

/// The chance of each fault, drawn at every reading of the clock that it harms. Zero is never, one always.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClockFaults {
    /// The wall clock jumps by up to ten years, forwards or backwards.
    pub wall_jump: f64,
    /// The wall clock stops, or goes on if it had stopped.
    pub wall_freeze: f64,
    /// The wall clock changes its resolution: neighbouring readings become equal.
    pub wall_resolution: f64,
    /// The node is suspended: its monotonic clock misses up to [`ClockFaults::suspend_max`].
    pub suspend: f64,
    /// The longest drawn suspension.
    pub suspend_max: Duration,
}

/// The clock of one simulated node. Clones share their faults.
#[derive(Clone)]
pub struct SimClock {
    executor: Arc<dyn Executor>,
    state: Arc<Mutex<State>>,
}

struct State {
    faults: Option<(ClockFaults, Stream)>,
    wall_offset_ms: i64,
    wall_frozen_ms: Option<i64>,
    wall_resolution_ms: i64,
    /// Monotonic time when the last suspension began, and the virtual time when it ends or ended.
    suspended_at_ns: u64,
    suspended_until_ns: u64,
}

impl State {
    fn monotonic_ns(&self, world_ns: u64) -> u64 {
        self.suspended_at_ns + world_ns.saturating_sub(self.suspended_until_ns)
    }

    fn suspend(&mut self, world_ns: u64, duration: Duration) {
        self.suspended_at_ns = self.monotonic_ns(world_ns);
        self.suspended_until_ns = self.suspended_until_ns.max(world_ns).saturating_add(nanos(duration));
    }

    fn wall_ms(&self, world_ns: u64) -> i64 {
        if let Some(frozen_ms) = self.wall_frozen_ms {
            return frozen_ms;
        }
        let world_ms = i64::try_from(world_ns / 1_000_000).unwrap_or(i64::MAX);
        let exact = WALL_START_MS.saturating_add(world_ms).saturating_add(self.wall_offset_ms);
        exact - exact.rem_euclid(self.wall_resolution_ms)
    }

    fn toggle_freeze(&mut self, world_ns: u64) {
        self.wall_frozen_ms = match self.wall_frozen_ms {
            Some(_) => None,
            None => Some(self.wall_ms(world_ns)),
        };
    }

    fn draw_wall_faults(&mut self, world_ns: u64) {
        let Some((faults, mut stream)) = self.faults.take() else { return };
        // Everything is drawn every time, so that one fault's rate does not move the others.
        let jumps = stream.chance(faults.wall_jump);
        let jump_ms = i64::try_from(stream.below(JUMP_MS_MAX)).unwrap_or(i64::MAX);
        let backwards = stream.chance(0.5);
        let freezes = stream.chance(faults.wall_freeze);
        let changes_resolution = stream.chance(faults.wall_resolution);
        let resolution_ms = *stream.pick(&RESOLUTIONS_MS);
        if jumps {
            let by_ms = if backwards { -jump_ms } else { jump_ms };
            self.wall_offset_ms = self.wall_offset_ms.saturating_add(by_ms);
        }
        if changes_resolution {
            self.wall_resolution_ms = resolution_ms;
        }
        if freezes {
            self.toggle_freeze(world_ns);
        }
        self.faults = Some((faults, stream));
    }

    fn draw_suspension(&mut self, world_ns: u64) {
        let Some((faults, mut stream)) = self.faults.take() else { return };
        let suspends = stream.chance(faults.suspend);
        let duration = Duration::from_nanos(stream.range(0, nanos(faults.suspend_max)));
        if suspends {
            self.suspend(world_ns, duration);
        }
        self.faults = Some((faults, stream));
    }
}

impl SimClock {
    /// A clock without faults, until one is asked for by a method.
    pub fn new(executor: Arc<dyn Executor>) -> Self {
        let state = State {
            faults: None,
            wall_offset_ms: 0,
            wall_frozen_ms: None,
            wall_resolution_ms: 1,
            suspended_at_ns: 0,
            suspended_until_ns: 0,
        };
        Self { executor, state: Arc::new(Mutex::new(state)) }
    }

    /// The same clock with faults drawn from `stream`, at every reading from now on.
    #[must_use]
    pub fn with_faults(self, faults: ClockFaults, stream: Stream) -> Self {
        lock(&self.state).faults = Some((faults, stream));
        self
    }

    /// The same clock, with its faults, for a process that runs on `executor`.
    #[must_use]
    pub fn with_executor(&self, executor: Arc<dyn Executor>) -> Self {
        Self { executor, state: Arc::clone(&self.state) }
    }

    /// Ends all drawn faults. What they did to the wall clock stays.
    pub fn stop_faults(&self) {
        lock(&self.state).faults = None;
    }

    /// How long it has stood still so far: the machine was suspended, and no timer went on.
    pub fn stood_still(&self) -> Duration {
        let world_ns = self.executor.now().0;
        Duration::from_nanos(world_ns.saturating_sub(lock(&self.state).monotonic_ns(world_ns)))
    }

    /// Moves the wall clock by `by_ms` milliseconds, backwards if negative.
    pub fn jump_wall(&self, by_ms: i64) {
        let mut state = lock(&self.state);
        state.wall_offset_ms = state.wall_offset_ms.saturating_add(by_ms);
    }

    /// Stops the wall clock, or lets it go on if it had stopped: it then shows the right time again.
    #[cfg(test)]
    pub(in crate::sim) fn toggle_wall_freeze(&self) {
        lock(&self.state).toggle_freeze(self.executor.now().0);
    }

    /// Suspends the node's monotonic clock for `duration` of virtual time, after any suspension that still lasts.
    pub fn suspend(&self, duration: Duration) {
        lock(&self.state).suspend(self.executor.now().0, duration);
    }

    fn monotonic_ns(&self) -> u64 {
        lock(&self.state).monotonic_ns(self.executor.now().0)
    }

    /// Virtual time until `deadline_ns` of monotonic time, if no further suspension comes; zero when it is past.
    fn until(&self, deadline_ns: u64) -> Duration {
        let world_ns = self.executor.now().0;
        let state = lock(&self.state);
        match deadline_ns.saturating_sub(state.monotonic_ns(world_ns)) {
            0 => Duration::ZERO,
            left_ns => {
                let suspended_ns = state.suspended_until_ns.saturating_sub(world_ns);
                Duration::from_nanos(left_ns.saturating_add(suspended_ns))
            }
        }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Tick {
        let world_ns = self.executor.now().0;
        let mut state = lock(&self.state);
        state.draw_suspension(world_ns);
        Tick(state.monotonic_ns(world_ns))
    }

    fn wall_ms(&self) -> u64 {
        let world_ns = self.executor.now().0;
        let mut state = lock(&self.state);
        state.draw_wall_faults(world_ns);
        u64::try_from(state.wall_ms(world_ns)).unwrap_or(0)
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> {
        let deadline_ns = self.monotonic_ns().saturating_add(nanos(duration));
        let clock = self.clone();
        async move {
            loop {
                let left = clock.until(deadline_ns);
                if left.is_zero() {
                    return;
                }
                clock.executor.sleep(left).await;
            }
        }
    }
}

impl fmt::Debug for SimClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimClock(at {} ns)", self.monotonic_ns())
    }
}
