//! A disk that stands still when it is told to: writes and syncs wait until it is released.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use bytes::{Bytes, BytesMut};
use highwater::env::{Blocking, Env, StdClock, StdEntropy, StdEnv, StdSpawn};
use highwater::vfs::{Entry, File, OpenMode, StdFile, StdLock, StdVfs, Vfs};

/// The real world, whose disk can be stopped. Clones share the disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct StallEnv {
    disk: Arc<Disk>,
}

#[derive(Debug, Default)]
struct Disk {
    stands_still: Mutex<bool>,
    released: Condvar,
}

impl Disk {
    /// Blocks the thread, which is a background thread of the engine, while the disk stands still.
    fn pass(&self) {
        let stands_still = self.stands_still.lock().unwrap();
        drop(self.released.wait_while(stands_still, |stands_still| *stands_still).unwrap());
    }
}

impl StallEnv {
    /// From now on no write and no sync begins.
    pub(crate) fn stall(&self) {
        *self.disk.stands_still.lock().unwrap() = true;
    }

    /// The writes and syncs that wait go on.
    pub(crate) fn release(&self) {
        *self.disk.stands_still.lock().unwrap() = false;
        self.disk.released.notify_all();
    }
}

impl Env for StallEnv {
    type Vfs = StallVfs;
    type InlineVfs = StallVfs;
    type Clock = StdClock;
    type Spawn = StdSpawn;
    type Entropy = StdEntropy;

    fn vfs(&self) -> io::Result<StallVfs> {
        Ok(StallVfs(Arc::clone(&self.disk)))
    }

    fn inline_vfs(&self) -> io::Result<StallVfs> {
        self.vfs()
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

impl Blocking for StallEnv {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        StdEnv.block_on(future)
    }
}

#[derive(Clone)]
pub(crate) struct StallVfs(Arc<Disk>);

pub(crate) struct StallFile {
    inner: StdFile,
    disk: Arc<Disk>,
}

impl StallVfs {
    fn wrap(&self, inner: StdFile) -> StallFile {
        StallFile { inner, disk: Arc::clone(&self.0) }
    }
}

impl Vfs for StallVfs {
    type File = StallFile;
    type Lock = StdLock;

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<StallFile> {
        Ok(self.wrap(StdVfs.open(path, mode).await?))
    }

    async fn create_new(&self, path: &Path) -> io::Result<StallFile> {
        Ok(self.wrap(StdVfs.create_new(path).await?))
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        StdVfs.create_dir(path).await
    }

    async fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        StdVfs.link(from, to).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        StdVfs.rename(from, to).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        StdVfs.remove(path).await
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        StdVfs.list(path).await
    }

    async fn lock(&self, path: &Path) -> io::Result<StdLock> {
        StdVfs.lock(path).await
    }

    async fn free_space(&self, path: &Path) -> io::Result<u64> {
        StdVfs.free_space(path).await
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.pass();
        StdVfs.sync_dir(path).await
    }
}

impl File for StallFile {
    async fn len(&self) -> io::Result<u64> {
        self.inner.len().await
    }

    async fn link_count(&self) -> io::Result<u64> {
        self.inner.link_count().await
    }

    async fn read_at(&self, offset: u64, buffer: BytesMut) -> io::Result<(BytesMut, usize)> {
        self.inner.read_at(offset, buffer).await
    }

    async fn write_at(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        self.disk.pass();
        self.inner.write_at(offset, data).await
    }

    async fn write_at_and_sync(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        self.disk.pass();
        self.inner.write_at_and_sync(offset, data).await
    }

    async fn sync_data(&self) -> io::Result<()> {
        self.disk.pass();
        self.inner.sync_data().await
    }

    async fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.inner.allocate(bytes).await
    }

    async fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.inner.set_len(bytes).await
    }

    fn depth_max(&self) -> usize {
        self.inner.depth_max()
    }

    fn failures_are_own(&self) -> bool {
        self.inner.failures_are_own()
    }

    fn write_unit(&self) -> u32 {
        self.inner.write_unit()
    }
}
