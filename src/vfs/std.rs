//! Files by plain system calls, on Linux and macOS.
//!
//! U1. A symbolic link, pipe, device or directory under a file's name is refused, and opening it never blocks.
//! U2. Files are made with mode 0600, directories with 0700, whatever the umask allows beyond that.
//! U3. Calls block the calling thread and are never cancelled: a future that was polled once is done.
//! U4. A directory is locked by its inode, so that every path to it meets the same lock.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is where the seam meets the system"
)]

#[cfg(test)]
mod tests;

use std::fs::File as SysFile;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{Entry, EntryKind, File, OpenMode, Vfs};
use crate::limits::WRITE_UNIT_BYTES_MAX;

/// The file system of this machine, through blocking calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdVfs;

/// An open file of a [`StdVfs`].
#[derive(Debug)]
pub struct StdFile(SysFile);

/// A held lock of a directory: of the open descriptor, which goes with the process.
#[derive(Debug)]
pub struct StdLock {
    _directory: SysFile,
}

impl Vfs for StdVfs {
    type File = StdFile;
    type Lock = StdLock;

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<StdFile> {
        StdFile::open_with(
            path,
            match mode {
                OpenMode::Read => OFlags::RDONLY,
                OpenMode::Write => OFlags::RDWR,
            },
        )
    }

    async fn create_new(&self, path: &Path) -> io::Result<StdFile> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(StdFile(SysFile::from(fd)))
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::mkdir(path, Mode::RWXU)?)
    }

    async fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(rustix::fs::link(from, to)?)
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if std::fs::symlink_metadata(from)?.is_dir() {
            return rename_dir(from, to, |from, to| {
                let (flags, here) = (rustix::fs::RenameFlags::NOREPLACE, rustix::fs::CWD);
                rustix::fs::renameat_with(here, from, here, to, flags)
            });
        }
        Ok(rustix::fs::rename(from, to)?)
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::unlink(path)?)
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Of the entry itself: a link is `Other`, whatever it points to.
            let kind = match entry.file_type()? {
                kind if kind.is_file() => EntryKind::File,
                kind if kind.is_dir() => EntryKind::Directory,
                _ => EntryKind::Other,
            };
            entries.push(Entry { name, kind });
        }
        entries.sort_unstable();
        Ok(entries)
    }

    async fn lock(&self, path: &Path) -> io::Result<StdLock> {
        let directory = open_dir(path)?;
        directory.try_lock()?;
        Ok(StdLock { _directory: directory })
    }

    async fn free_space(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        open_dir(path)?.sync_all()
    }
}

impl StdFile {
    /// Opens the existing regular file at `path` with `flags` and those of U1.
    pub(super) fn open_with(path: &Path, flags: OFlags) -> io::Result<Self> {
        // O_NONBLOCK: opening a pipe would wait for its other end.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => SysFile::from(fd),
            Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Err(not_regular()),
            Err(errno) => return Err(errno.into()),
        };
        if file.metadata()?.is_file() { Ok(Self(file)) } else { Err(not_regular()) }
    }

    /// What tells this file from every other one: device and inode.
    #[cfg(target_os = "linux")]
    pub(super) fn identity(&self) -> io::Result<(u64, u64)> {
        let metadata = self.0.metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    }

    /// Its bytes from where it was last read.
    #[cfg(target_os = "linux")]
    pub(super) fn reader(&self) -> impl io::Read + '_ {
        &self.0
    }

    /// [`File::sync_data`], as the plain call that it is.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    /// [`File::write_at_and_sync`] of borrowed bytes.
    pub(super) fn write_and_sync(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        let count = self.0.write_at(data, offset)?;
        if count == data.len() {
            self.0.sync_data()?;
        }
        Ok(count)
    }
}

impl AsFd for StdFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl File for StdFile {
    async fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    async fn link_count(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.nlink())
    }

    async fn read_at(&self, offset: u64, mut buffer: BytesMut) -> io::Result<(BytesMut, usize)> {
        let count = self.0.read_at(&mut buffer, offset)?;
        Ok((buffer, count))
    }

    async fn write_at(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        self.0.write_at(&data, offset)
    }

    async fn write_at_and_sync(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        self.write_and_sync(offset, &data)
    }

    async fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    async fn allocate(&self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            Err(Errno::OPNOTSUPP) => {}
            result => return Ok(result?),
        }
        // A length without space behind it would pass for a reservation.
        Err(io::Error::new(io::ErrorKind::Unsupported, "the file system reserves no space"))
    }

    async fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn depth_max(&self) -> usize {
        1
    }

    /// The page cache writes whole blocks back, whatever the sectors of the device below: a write of 512 bytes
    /// takes its neighbours in the block along.
    fn write_unit(&self) -> u32 {
        WRITE_UNIT_BYTES_MAX
    }

    /// The page cache is between, but a call ends before the next begins: no two syncs run at a time.
    fn failures_are_own(&self) -> bool {
        true
    }
}

/// Renames the directory `from`, by `exclusively` if the file system has that, and replaces nothing.
fn rename_dir(
    from: &Path,
    to: &Path,
    exclusively: impl FnOnce(&Path, &Path) -> rustix::io::Result<()>,
) -> io::Result<()> {
    match exclusively(from, to) {
        // NFS, 9p and many of FUSE know no flag, old kernels not the call, and macOS says it in a third way. A plain
        // rename replaces an empty directory: nobody else makes one of this name, for the engine holds a lock.
        Err(errno) if [Errno::INVAL, Errno::NOSYS, Errno::NOTSUP].contains(&errno) => {}
        result => return Ok(result?),
    }
    match std::fs::symlink_metadata(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(rustix::fs::rename(from, to)?),
        Err(error) => Err(error),
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
    }
}

fn open_dir(path: &Path) -> io::Result<SysFile> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(SysFile::from(rustix::fs::open(path, flags, Mode::empty())?))
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}
