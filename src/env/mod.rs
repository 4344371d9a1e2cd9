//! `Env` bundles the seams: everything that the engine takes from the world around it.
//!
//! The engine is generic over one `Env`; production has a default, so a plain user never names one.
//! `vfs` is disk, `Clock` time, `Spawn` background work, `Entropy` randomness. Nothing else reaches outside.

mod pin;
mod std;
mod system;

pub use self::pin::pin_thread;
#[cfg(target_os = "linux")]
pub(crate) use self::std::is_driven;
pub use self::std::{StdClock, StdEntropy, StdEnv, StdSpawn};
pub use self::system::SystemEnv;

// This module has a child called `std`, so the library's paths start with `::`.
use ::std::fmt;
use ::std::future::Future;
use ::std::io;
use ::std::time::Duration;

use crate::ids::Nonce;
use crate::vfs::Vfs;

/// Nanoseconds of a monotonic clock since some moment of this process. Never stored, never compared across opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u64);

impl Tick {
    /// The time from `earlier` to this tick; zero if the clock says that it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The tick that comes `duration` after this one; the last one of all when there is none.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

/// `duration` in nanoseconds, or as many as there can be: 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Time. Orders nothing that is stored and names no file.
pub trait Clock: Clone + Send + Sync + 'static {
    /// Monotonic time: for measuring and for waiting.
    fn now(&self) -> Tick;

    /// Milliseconds since the Unix epoch by the wall clock, which may jump, stand still or run backwards: for
    /// people to read, never for a decision.
    fn wall_ms(&self) -> u64;

    /// Completes when `duration` has passed.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;
}

/// Starts background work: a thread with its own loop in production, a task in a simulation.
pub trait Spawn: Clone + Send + Sync + 'static {
    /// Runs the future that `make` makes, on a thread of its own (`make` runs there, so the future need not be
    /// `Send`), until it completes. `name` is for people.
    ///
    /// # Errors
    ///
    /// Whatever the system reports when it cannot start one more.
    fn spawn<F, Fut>(&self, name: &str, make: F) -> io::Result<()>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static;

    /// Puts the calling thread, and the threads that it will start, behind all others, where the system has a way to,
    /// and does nothing elsewhere: for work that nobody waits for.
    fn give_way(&self);
}

/// Randomness for identities, nonces and jitter.
pub trait Entropy: Clone + Send + Sync + 'static {
    /// 64 fresh bits.
    fn bits(&self) -> u64;

    /// 128 fresh bits.
    fn nonce(&self) -> Nonce {
        Nonce(u128::from(self.bits()) << 64 | u128::from(self.bits()))
    }
}

/// The world as the engine sees it.
pub trait Env: Clone + fmt::Debug + Send + Sync + 'static {
    /// The disk, as used by background threads.
    type Vfs: Vfs;
    /// The disk, as used by a caller that drives its own log (`Options::inline`): it may move between threads.
    type InlineVfs: Vfs<File: Send> + Send;
    /// Time.
    type Clock: Clock;
    /// Background work.
    type Spawn: Spawn;
    /// Randomness.
    type Entropy: Entropy;

    /// A disk for the calling thread. Called on the thread that uses it.
    ///
    /// # Errors
    ///
    /// `Unsupported` when this thread cannot drive the backend.
    fn vfs(&self) -> io::Result<Self::Vfs>;

    /// A disk for inline commits.
    ///
    /// # Errors
    ///
    /// As [`Env::vfs`].
    fn inline_vfs(&self) -> io::Result<Self::InlineVfs>;

    /// The clock.
    fn clock(&self) -> Self::Clock;

    /// The starter of background work.
    fn spawn(&self) -> Self::Spawn;

    /// The source of randomness.
    fn entropy(&self) -> Self::Entropy;
}

/// An `Env` whose callers may block their thread. Simulations are not.
pub trait Blocking: Env {
    /// Drives `future` to its end on the calling thread.
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T;
}
