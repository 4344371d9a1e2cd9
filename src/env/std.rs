//! Production: the system's clocks, threads and randomness.
//!
//! ```text
//! std.rs            StdEnv and its seams
//! std/block_on.rs   drives a future on the calling thread, which parks; sleeps there wait with it
//! std/timers.rs     sleeps of futures that some other executor drives: one thread for all of them
//! ```
#![expect(clippy::disallowed_methods, reason = "this is where the seams meet the system")]

mod block_on;
mod timers;

#[cfg(target_os = "linux")]
pub(crate) use block_on::is_driving as is_driven;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Blocking, Clock, Entropy, Env, Spawn, Tick};
use crate::vfs::StdVfs;

/// The real world: files by plain system calls, threads, the system's clocks and randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdEnv;

impl Env for StdEnv {
    type Vfs = StdVfs;
    type InlineVfs = StdVfs;
    type Clock = StdClock;
    type Spawn = StdSpawn;
    type Entropy = StdEntropy;

    fn vfs(&self) -> io::Result<StdVfs> {
        Ok(StdVfs)
    }

    fn inline_vfs(&self) -> io::Result<StdVfs> {
        Ok(StdVfs)
    }

    fn clock(&self) -> StdClock {
        StdClock
    }

    fn spawn(&self) -> StdSpawn {
        StdSpawn
    }

    fn entropy(&self) -> StdEntropy {
        StdEntropy
    }
}

impl Blocking for StdEnv {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        block_on::block_on(future)
    }
}

/// The system's clocks.
///
/// A sleep waits with whoever drives it: inside [`Blocking::block_on`] of a [`StdEnv`], and on the threads of
/// [`StdSpawn`], the thread parks until the first of its sleeps is due, and other futures of that thread run
/// meanwhile; under any other executor one background thread serves all sleeps. Another executor that runs *inside*
/// such a `block_on` must not wait for a sleep: the thread that serves it is the one that waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdClock;

/// When this process first looked at the clock.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Clock for StdClock {
    fn now(&self) -> Tick {
        let origin = *ORIGIN;
        Tick(0).after(origin.elapsed())
    }

    fn wall_ms(&self) -> u64 {
        // A clock that is set before 1970 shows 1970: people may wonder, nothing else depends on it.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> {
        Sleep::new(duration)
    }
}

/// A point in time, made unique by a number: the key of one sleep among the timers.
type TimerKey = (Instant, u64);

/// Where a sleep is waiting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Registered {
    Nowhere,
    /// With `block_on` of this thread.
    Local(thread::ThreadId),
    /// With the timer thread.
    Global,
}

struct Sleep {
    /// `None` when the end lies beyond what the clock can express.
    timer: Option<TimerKey>,
    registered: Registered,
}

impl Sleep {
    fn new(duration: Duration) -> Self {
        static SLEEPS: AtomicU64 = AtomicU64::new(0);
        let number = SLEEPS.fetch_add(1, Ordering::Relaxed);
        let timer = Instant::now().checked_add(duration).map(|deadline| (deadline, number));
        Self { timer, registered: Registered::Nowhere }
    }

    fn unregister(&mut self) {
        if let Some(timer) = self.timer {
            match self.registered {
                Registered::Local(thread) if thread == thread::current().id() => block_on::cancel(timer),
                // On another thread it stays until it is due, and then wakes somebody once for nothing.
                Registered::Local(_) | Registered::Nowhere => {}
                Registered::Global => timers::cancel(timer),
            }
        }
        self.registered = Registered::Nowhere;
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(timer) = self.timer else { return Poll::Pending };
        if Instant::now() >= timer.0 {
            self.unregister();
            return Poll::Ready(());
        }
        let home = if block_on::is_driving() {
            Registered::Local(thread::current().id())
        } else {
            Registered::Global
        };
        if home != self.registered {
            self.unregister();
        }
        match home {
            Registered::Global => timers::register(timer, context.waker()),
            _ => block_on::register(timer, context.waker()),
        }
        self.registered = home;
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.unregister();
    }
}

/// The priority of a thread that gives way: a tenth of the share of others, while these are busy.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Starts one named thread per future.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdSpawn;

impl Spawn for StdSpawn {
    fn spawn<F, Fut>(&self, name: &str, make: F) -> io::Result<()>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        thread::Builder::new().name(name.to_owned()).spawn(move || block_on::block_on(make())).map(drop)
    }

    fn give_way(&self) {
        // Linux counts a priority by thread, and none means the caller's.
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::debug!(target: "highwater::env", %error, "a thread does not give way");
        }
    }
}

/// The system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdEntropy;

impl Entropy for StdEntropy {
    /// # Panics
    ///
    /// When the system has no randomness to give: without it, identities would repeat.
    fn bits(&self) -> u64 {
        match getrandom::u64() {
            Ok(bits) => bits,
            Err(error) => panic!("the system gives no randomness: {error}"),
        }
    }
}
