//! A disk whose writes and syncs are told to somebody, before they begin and once they have completed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use highwater::env::{Blocking, Env, StdClock, StdEntropy, StdEnv, StdSpawn};
use highwater::vfs::{Entry, File, OpenMode, SystemVfs, Vfs};

/// Who is told. Clones are told the same.
pub(crate) trait Watch: Clone + Send + Sync + 'static {
    /// A write or sync is about to begin; what is returned is given back when it is a sync of a file, and has completed.
    fn begins(&self) -> usize;

    /// `data` is in `file`; `durable` when the write made itself so.
    fn wrote(&self, file: &Path, data: Bytes, durable: bool);

    /// A sync of `file` has completed, of which [`Watch::begins`] said `since`.
    fn synced(&self, file: &Path, since: usize);
}

/// The real world with a watched disk.
#[derive(Clone)]
pub(crate) struct WatchedEnv<W> {
    pub(crate) vfs: SystemVfs,
    pub(crate) watch: W,
}

impl<W> fmt::Debug for WatchedEnv<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WatchedEnv({:?})", self.vfs)
    }
}

impl<W: Watch> Env for WatchedEnv<W> {
    type Vfs = WatchedVfs<W>;
    type InlineVfs = WatchedVfs<W>;
    type Clock = StdClock;
    type Spawn = StdSpawn;
    type Entropy = StdEntropy;

    fn vfs(&self) -> io::Result<WatchedVfs<W>> {
        Ok(WatchedVfs { vfs: self.vfs, watch: self.watch.clone() })
    }

    fn inline_vfs(&self) -> io::Result<WatchedVfs<W>> {
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

impl<W: Watch> Blocking for WatchedEnv<W> {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        StdEnv.block_on(future)
    }
}

#[derive(Clone)]
pub(crate) struct WatchedVfs<W> {
    vfs: SystemVfs,
    watch: W,
}

pub(crate) struct WatchedFile<W> {
    inner: <SystemVfs as Vfs>::File,
    path: PathBuf,
    watch: W,
}

impl<W: Watch> WatchedVfs<W> {
    fn wrap(&self, path: &Path, inner: <SystemVfs as Vfs>::File) -> WatchedFile<W> {
        WatchedFile { inner, path: path.to_owned(), watch: self.watch.clone() }
    }
}

impl<W: Watch> Vfs for WatchedVfs<W> {
    type File = WatchedFile<W>;
    type Lock = <SystemVfs as Vfs>::Lock;

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<WatchedFile<W>> {
        Ok(self.wrap(path, self.vfs.open(path, mode).await?))
    }

    async fn create_new(&self, path: &Path) -> io::Result<WatchedFile<W>> {
        Ok(self.wrap(path, self.vfs.create_new(path).await?))
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.vfs.create_dir(path).await
    }

    async fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.vfs.link(from, to).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.vfs.rename(from, to).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        self.vfs.remove(path).await
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.vfs.list(path).await
    }

    async fn lock(&self, path: &Path) -> io::Result<Self::Lock> {
        self.vfs.lock(path).await
    }

    async fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.vfs.free_space(path).await
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.watch.begins();
        self.vfs.sync_dir(path).await
    }
}

impl<W: Watch> File for WatchedFile<W> {
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
        self.watch.begins();
        let count = self.inner.write_at(offset, data.clone()).await?;
        self.watch.wrote(&self.path, data.slice(..count), false);
        Ok(count)
    }

    async fn write_at_and_sync(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        self.watch.begins();
        let count = self.inner.write_at_and_sync(offset, data.clone()).await?;
        let durable = count == data.len();
        self.watch.wrote(&self.path, data.slice(..count), durable);
        Ok(count)
    }

    async fn sync_data(&self) -> io::Result<()> {
        let since = self.watch.begins();
        self.inner.sync_data().await?;
        self.watch.synced(&self.path, since);
        Ok(())
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
