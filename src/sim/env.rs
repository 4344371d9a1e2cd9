//! A simulated process's world: the seams of [`Env`], each of them simulated.

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex};

use super::clock::SimClock;
use super::executor::Executor;
use super::lock;
use super::rng::{Stream, Streams};
use crate::env::{Entropy, Env, Spawn};
use crate::vfs::Vfs;

/// The world of one simulated process, whose disk is a `V`.
///
/// It lives as long as its process does. The world of the next process of the same node comes from
/// [`SimEnv::reboot`], so that no process draws the identities of an earlier one.
#[derive(Clone)]
pub struct SimEnv<V> {
    name: Arc<str>,
    vfs: V,
    clock: SimClock,
    executor: Arc<dyn Executor>,
    entropy: SimEntropy,
}

impl<V> SimEnv<V> {
    /// The world of the first process of the node `name`: its tasks run on `executor`, its files are in `vfs`, its
    /// entropy is the stream "entropy/`name`" of `streams`, its clock has no faults.
    pub fn new(name: &str, executor: Arc<dyn Executor>, vfs: V, streams: &Streams) -> Self {
        let clock = SimClock::new(Arc::clone(&executor));
        let entropy = SimEntropy::new(streams.stream(&format!("entropy/{name}")));
        Self { name: name.into(), vfs, clock, executor, entropy }
    }

    /// The same world with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: SimClock) -> Self {
        self.clock = clock;
        self
    }

    /// The world of the node's next process: clock and entropy go on where they are.
    #[must_use]
    pub fn reboot(&self, executor: Arc<dyn Executor>, vfs: V) -> Self {
        Self {
            name: Arc::clone(&self.name),
            vfs,
            clock: self.clock.with_executor(Arc::clone(&executor)),
            executor,
            entropy: self.entropy.clone(),
        }
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<V: Vfs<File: Send> + Send + Sync> Env for SimEnv<V> {
    type Vfs = V;
    type InlineVfs = V;
    type Clock = SimClock;
    type Spawn = SimSpawn;
    type Entropy = SimEntropy;

    fn vfs(&self) -> io::Result<V> {
        Ok(self.vfs.clone())
    }

    fn inline_vfs(&self) -> io::Result<V> {
        Ok(self.vfs.clone())
    }

    fn clock(&self) -> SimClock {
        self.clock.clone()
    }

    fn spawn(&self) -> SimSpawn {
        SimSpawn(Arc::clone(&self.executor))
    }

    fn entropy(&self) -> SimEntropy {
        self.entropy.clone()
    }
}

impl<V> fmt::Debug for SimEnv<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimEnv({} on {:?})", self.name, self.executor)
    }
}

/// Starts background work as tasks of a simulated process.
#[derive(Clone, Debug)]
pub struct SimSpawn(Arc<dyn Executor>);

impl Spawn for SimSpawn {
    fn spawn<F, Fut>(&self, name: &str, make: F) -> io::Result<()>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        self.0.spawn(name, Box::new(move || Box::pin(make())));
        Ok(())
    }

    /// Tasks have no priorities: their order is the scheduler's.
    fn give_way(&self) {}
}

/// Entropy from a stream. Clones share it: no two draws are the same.
#[derive(Clone, Debug)]
pub struct SimEntropy(Arc<Mutex<Stream>>);

impl SimEntropy {
    /// Entropy from `stream`.
    pub fn new(stream: Stream) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }
}

impl Entropy for SimEntropy {
    fn bits(&self) -> u64 {
        lock(&self.0).bits()
    }
}
