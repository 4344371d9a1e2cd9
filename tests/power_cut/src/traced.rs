//! The production environment, whose calls to the file system are told to the recording as they begin and end.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use highwater::env::{Blocking, Env, StdClock, StdEntropy, StdSpawn, SystemEnv};
use highwater::sim::Act;
use highwater::vfs::{Entry, File, OpenMode, SystemFile, SystemVfs, Vfs};

use crate::recording::{Event, Recording};

/// [`SystemEnv`] on the file system below `root`.
#[derive(Clone)]
pub(crate) struct TracedEnv {
    vfs: SystemVfs,
    root: Arc<Path>,
    recording: Arc<Recording>,
}

impl std::fmt::Debug for TracedEnv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.vfs.fmt(f)
    }
}

/// The disk of a [`TracedEnv`].
#[derive(Clone)]
pub(crate) struct TracedVfs(TracedEnv);

/// An open file of a [`TracedVfs`].
pub(crate) struct TracedFile {
    inner: SystemFile,
    number: u64,
    recording: Arc<Recording>,
}

impl TracedEnv {
    pub(crate) fn new(vfs: SystemVfs, root: &Path, recording: Arc<Recording>) -> Self {
        Self { vfs, root: root.into(), recording }
    }
}

impl Env for TracedEnv {
    type Vfs = TracedVfs;
    type InlineVfs = TracedVfs;
    type Clock = StdClock;
    type Spawn = StdSpawn;
    type Entropy = StdEntropy;

    fn vfs(&self) -> io::Result<TracedVfs> {
        Ok(TracedVfs(self.clone()))
    }

    fn inline_vfs(&self) -> io::Result<TracedVfs> {
        Ok(TracedVfs(self.clone()))
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

impl Blocking for TracedEnv {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        SystemEnv::with(self.vfs).block_on(future)
    }
}

/// Tells of one call. A future that is dropped has begun and never ends.
async fn told<T>(
    recording: &Recording,
    act: Act,
    call: impl Future<Output = io::Result<T>>,
    taken: impl Fn(&T) -> usize,
) -> io::Result<T> {
    let number = recording.number();
    recording.push(Event::Began { call: number, act });
    let done = call.await?;
    recording.push(Event::Ended { call: number, taken: taken(&done) });
    Ok(done)
}

fn nothing<T>(_: &T) -> usize {
    0
}

impl TracedVfs {
    /// The path as the witness knows it: from the root of the file system.
    fn inside(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.0.root).expect("the database is on this file system").to_owned()
    }

    fn opened(&self, path: &Path, inner: SystemFile) -> TracedFile {
        let recording = Arc::clone(&self.0.recording);
        let number = recording.number();
        recording.push(Event::Opened { file: number, path: self.inside(path) });
        TracedFile { inner, number, recording }
    }
}

impl Vfs for TracedVfs {
    type File = TracedFile;
    type Lock = <SystemVfs as Vfs>::Lock;

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<TracedFile> {
        let file = self.0.vfs.open(path, mode).await?;
        Ok(self.opened(path, file))
    }

    async fn create_new(&self, path: &Path) -> io::Result<TracedFile> {
        let act = Act::CreateFile(self.inside(path));
        let file = told(&self.0.recording, act, self.0.vfs.create_new(path), nothing).await?;
        Ok(self.opened(path, file))
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        let act = Act::CreateDir(self.inside(path));
        told(&self.0.recording, act, self.0.vfs.create_dir(path), nothing).await
    }

    async fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let act = Act::Link(self.inside(from), self.inside(to));
        told(&self.0.recording, act, self.0.vfs.link(from, to), nothing).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let act = Act::Rename(self.inside(from), self.inside(to));
        told(&self.0.recording, act, self.0.vfs.rename(from, to), nothing).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        let act = Act::Remove(self.inside(path));
        told(&self.0.recording, act, self.0.vfs.remove(path), nothing).await
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.0.vfs.list(path).await
    }

    async fn lock(&self, path: &Path) -> io::Result<Self::Lock> {
        self.0.vfs.lock(path).await
    }

    async fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.0.vfs.free_space(path).await
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let act = Act::SyncDir(self.inside(path));
        told(&self.0.recording, act, self.0.vfs.sync_dir(path), nothing).await
    }
}

impl File for TracedFile {
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
        // A copy: who gave the bytes wants their memory back.
        let act = Act::Write(self.number, offset, Bytes::copy_from_slice(&data));
        told(&self.recording, act, self.inner.write_at(offset, data), |taken| *taken).await
    }

    async fn write_at_and_sync(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        let act = Act::WriteAndSync(self.number, offset, Bytes::copy_from_slice(&data));
        told(&self.recording, act, self.inner.write_at_and_sync(offset, data), |taken| *taken).await
    }

    async fn sync_data(&self) -> io::Result<()> {
        told(&self.recording, Act::Sync(self.number), self.inner.sync_data(), nothing).await
    }

    async fn allocate(&self, bytes: u64) -> io::Result<()> {
        told(&self.recording, Act::Allocate(self.number, bytes), self.inner.allocate(bytes), nothing).await
    }

    async fn set_len(&self, bytes: u64) -> io::Result<()> {
        told(&self.recording, Act::SetLen(self.number, bytes), self.inner.set_len(bytes), nothing).await
    }

    fn depth_max(&self) -> usize {
        self.inner.depth_max()
    }

    fn write_unit(&self) -> u32 {
        self.inner.write_unit()
    }

    fn failures_are_own(&self) -> bool {
        self.inner.failures_are_own()
    }
}
