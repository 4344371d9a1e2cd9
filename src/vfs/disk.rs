//! Where a database of `Engine::open` lies: on a disk of this machine, or in its memory.

use std::io;
use std::path::Path;

use bytes::{Bytes, BytesMut};

use super::memory::{MemoryFile, MemoryLock, MemoryVfs};
use super::std::StdLock;
use super::{Entry, File, OpenMode, SystemFile, SystemVfs, Vfs};

/// One of the two.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Disk {
    /// The file system of this machine.
    System(SystemVfs),
    /// Its memory.
    Memory(MemoryVfs),
}

/// An open file of a [`Disk`].
#[derive(Debug)]
#[non_exhaustive]
pub enum DiskFile {
    /// On the file system of this machine.
    System(SystemFile),
    /// In its memory.
    Memory(MemoryFile),
}

/// A held lock of a directory of a [`Disk`].
#[derive(Debug)]
#[non_exhaustive]
pub enum DiskLock {
    /// On the file system of this machine.
    System(StdLock),
    /// In its memory.
    Memory(MemoryLock),
}

/// The same call of whichever it is.
macro_rules! either {
    ($kind:ident, $self:ident, $one:ident => $call:expr) => {
        match $self {
            $kind::System($one) => $call,
            $kind::Memory($one) => $call,
        }
    };
}

impl Vfs for Disk {
    type File = DiskFile;
    type Lock = DiskLock;

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<DiskFile> {
        match self {
            Self::System(disk) => disk.open(path, mode).await.map(DiskFile::System),
            Self::Memory(disk) => disk.open(path, mode).await.map(DiskFile::Memory),
        }
    }

    async fn create_new(&self, path: &Path) -> io::Result<DiskFile> {
        match self {
            Self::System(disk) => disk.create_new(path).await.map(DiskFile::System),
            Self::Memory(disk) => disk.create_new(path).await.map(DiskFile::Memory),
        }
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        either!(Self, self, disk => disk.create_dir(path).await)
    }

    async fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        either!(Self, self, disk => disk.link(from, to).await)
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        either!(Self, self, disk => disk.rename(from, to).await)
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        either!(Self, self, disk => disk.remove(path).await)
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        either!(Self, self, disk => disk.list(path).await)
    }

    async fn lock(&self, path: &Path) -> io::Result<DiskLock> {
        match self {
            Self::System(disk) => disk.lock(path).await.map(DiskLock::System),
            Self::Memory(disk) => disk.lock(path).await.map(DiskLock::Memory),
        }
    }

    async fn free_space(&self, path: &Path) -> io::Result<u64> {
        either!(Self, self, disk => disk.free_space(path).await)
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        either!(Self, self, disk => disk.sync_dir(path).await)
    }
}

impl File for DiskFile {
    async fn len(&self) -> io::Result<u64> {
        either!(Self, self, file => file.len().await)
    }

    async fn link_count(&self) -> io::Result<u64> {
        either!(Self, self, file => file.link_count().await)
    }

    async fn read_at(&self, offset: u64, buffer: BytesMut) -> io::Result<(BytesMut, usize)> {
        either!(Self, self, file => file.read_at(offset, buffer).await)
    }

    async fn write_at(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        either!(Self, self, file => file.write_at(offset, data).await)
    }

    async fn write_at_and_sync(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        either!(Self, self, file => file.write_at_and_sync(offset, data).await)
    }

    async fn sync_data(&self) -> io::Result<()> {
        either!(Self, self, file => file.sync_data().await)
    }

    async fn allocate(&self, bytes: u64) -> io::Result<()> {
        either!(Self, self, file => file.allocate(bytes).await)
    }

    async fn set_len(&self, bytes: u64) -> io::Result<()> {
        either!(Self, self, file => file.set_len(bytes).await)
    }

    fn depth_max(&self) -> usize {
        either!(Self, self, file => file.depth_max())
    }

    fn write_unit(&self) -> u32 {
        either!(Self, self, file => file.write_unit())
    }

    fn failures_are_own(&self) -> bool {
        either!(Self, self, file => file.failures_are_own())
    }
}
