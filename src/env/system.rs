//! Production with the best disk backend of this machine.

use std::future::Future;
use std::io;

use super::{Blocking, Env, StdClock, StdEntropy, StdEnv, StdSpawn};
use crate::options::{Backend, DurableWrite};
use crate::vfs::{Disk, MemoryVfs, SystemVfs};

/// The real world, as [`Engine::open`](crate::Engine::open) uses it: files by io_uring where that works and by
/// plain calls elsewhere, or in memory; threads, clocks and randomness of [`StdEnv`].
#[derive(Clone, Debug)]
pub struct SystemEnv {
    disk: Disk,
}

impl SystemEnv {
    /// By `backend`, with durable writes as `durable` says. Clones share the memory of [`Backend::Memory`], and nobody else does.
    ///
    /// # Errors
    ///
    /// `Unsupported` when [`Backend::Uring`] is asked for and does not work here: choose [`Backend::Auto`].
    pub fn new(backend: Backend, durable: DurableWrite) -> io::Result<Self> {
        if backend == Backend::Memory {
            return Ok(Self { disk: Disk::Memory(MemoryVfs::new()) });
        }
        SystemVfs::new(backend, durable).map(Self::with)
    }

    /// Over `vfs`.
    pub fn with(vfs: SystemVfs) -> Self {
        Self { disk: Disk::System(vfs) }
    }
}

impl Env for SystemEnv {
    type Vfs = Disk;
    type InlineVfs = Disk;
    type Clock = StdClock;
    type Spawn = StdSpawn;
    type Entropy = StdEntropy;

    fn vfs(&self) -> io::Result<Disk> {
        Ok(self.disk.clone())
    }

    fn inline_vfs(&self) -> io::Result<Disk> {
        Ok(self.disk.clone())
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

impl Blocking for SystemEnv {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        StdEnv.block_on(future)
    }
}
