//! Production with the best disk backend of this machine.

use std::future::Future;
use std::io;

use super::{Blocking, Env, StdClock, StdEntropy, StdEnv, StdSpawn};
use crate::options::{Backend, DurableWrite};
use crate::vfs::SystemVfs;

/// The real world, as [`Engine::open`](crate::Engine::open) uses it: files by io_uring where that works and by
/// plain calls elsewhere; threads, clocks and randomness of [`StdEnv`].
#[derive(Clone, Copy, Debug)]
pub struct SystemEnv {
    vfs: SystemVfs,
}

impl SystemEnv {
    /// By `backend`, with durable writes as `durable` says.
    ///
    /// # Errors
    ///
    /// `Unsupported` when [`Backend::Uring`] is asked for and does not work here: choose [`Backend::Auto`].
    pub fn new(backend: Backend, durable: DurableWrite) -> io::Result<Self> {
        SystemVfs::new(backend, durable).map(Self::with)
    }

    /// Over `vfs`.
    pub fn with(vfs: SystemVfs) -> Self {
        Self { vfs }
    }
}

impl Env for SystemEnv {
    type Vfs = SystemVfs;
    type InlineVfs = SystemVfs;
    type Clock = StdClock;
    type Spawn = StdSpawn;
    type Entropy = StdEntropy;

    fn vfs(&self) -> io::Result<SystemVfs> {
        Ok(self.vfs)
    }

    fn inline_vfs(&self) -> io::Result<SystemVfs> {
        Ok(self.vfs)
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
