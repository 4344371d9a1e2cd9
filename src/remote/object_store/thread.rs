//! The thread that polls what wants tokio.
//!
//! The engine's threads have no tokio, and its futures need not be `Send`. So each request becomes a task of a
//! runtime with one thread, and its caller waits for the task, from whatever polls the caller.
//!
//! 1. The thread ends when the last handle is gone, whoever drops it and wherever; nobody waits for it.
//! 2. A caller that is dropped takes its request along: there are never more requests than callers. Not so with a directory,
//!    whose calls are made by threads beside this one: one that has begun goes on to its end, and keeps its thread until then.
//! 3. Every request ends, in the time that it is given: R4.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::env::{Spawn, StdSpawn};

/// Threads that work on a local directory at once.
const BLOCKING_MAX: usize = 4;

/// Why a request has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoReply {
    /// Its time is over.
    TimedOut,
    /// It panicked, or the thread is gone.
    Died,
}

/// A handle of the thread.
#[derive(Debug)]
pub(super) struct Thread {
    runtime: Handle,
    /// Dropped with the handle: the thread sees it and ends.
    _alive: oneshot::Sender<Infallible>,
}

impl Thread {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// The system has no more threads or files to give.
    pub(super) fn start() -> io::Result<Self> {
        let (alive, dropped) = oneshot::channel();
        let (started, outcome) = mpsc::sync_channel(1);
        // The runtime is made where it ends: dropped inside of another one, it would panic.
        StdSpawn.spawn("highwater-store", move || async move {
            match Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_MAX).build() {
                Ok(runtime) => {
                    let _ = started.send(Ok(runtime.handle().clone()));
                    let _ = runtime.block_on(dropped);
                    runtime.shutdown_background();
                }
                Err(error) => drop(started.send(Err(error))),
            }
        })?;
        let runtime = outcome.recv().map_err(io::Error::other)??;
        Ok(Self { runtime, _alive: alive })
    }

    /// What `work` comes to within `limit`.
    ///
    /// # Errors
    ///
    /// [`NoReply`]: it may have taken effect.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, NoReply> {
        // Made inside the task: a timer belongs to the runtime that it is made in.
        let work = async move { tokio::time::timeout(limit, work).await };
        let mut task = Task(self.runtime.spawn(work));
        match (&mut task.0).await {
            Ok(in_time) => in_time.map_err(|_| NoReply::TimedOut),
            Err(_) => Err(NoReply::Died),
        }
    }
}

/// A task that ends with whoever waits for it.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
