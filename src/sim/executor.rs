//! What a simulation asks of its scheduler: time, waiting and tasks.
//!
//! [`Simulator`](super::Simulator) is the built-in one. Any other deterministic runtime can stand in its place by
//! implementing the three methods; everything else of a simulated [`Env`](crate::env::Env) rests on them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::env::Tick;

/// A future that stays on the thread that made it.
pub type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// A deterministic scheduler, seen from one simulated process.
pub trait Executor: Send + Sync + fmt::Debug {
    /// Virtual time since the simulation began. Never goes backwards.
    fn now(&self) -> Tick;

    /// A future that completes when `duration` of virtual time has passed from this call on. Dropping it ends the
    /// wait.
    fn sleep(&self, duration: Duration) -> LocalFuture;

    /// Runs the future that `make` makes as a task of this process, until it completes or the process is killed.
    /// `make` itself runs as the task's first step. `name` is for people.
    fn spawn(&self, name: &str, make: Box<dyn FnOnce() -> LocalFuture + Send>);
}

/// Lets every other ready task go first, if the scheduler so chooses.
pub fn yield_now() -> impl Future<Output = ()> {
    YieldNow { yielded: false }
}

struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
