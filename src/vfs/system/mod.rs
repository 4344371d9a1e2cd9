//! The file system of this machine by the best means that it has: io_uring for what is worth having in flight, and
//! durable writes past the page cache.
//!
//! ```text
//! mod.rs        names (by plain calls), and which means to use
//! file.rs       bytes: which operation goes which way
//! durable.rs    the forms of a durable write
//! linux.rs      what Linux has for them, and elsewhere.rs what others lack
//! ```
//!
//! S1. Every form of a durable write is honest: `Ok` with a full count means that the device was told to make the
//!     bytes durable after it had them. The forms differ in speed alone (docs/adr/0010).
//! S2. A form that a file system or a piece of memory does not allow is replaced by the page cache and an `fdatasync`, for
//!     that file or that write.
//! S3. A small operation that nothing accompanies is a plain call on the calling thread: nothing is faster, and no
//!     other thread's turn delays it. So is a write into the page cache, and a sync. Large reads, durable writes and
//!     writes past the cache, and what is in flight beside them, go through the ring.
//! S4. A large read of what the page cache does not have goes past it too, if its memory allows that: checkpoint files
//!     are read once.

#[cfg(test)]
mod tests;

mod durable;
mod file;
#[cfg(not(target_os = "linux"))]
#[path = "elsewhere.rs"]
mod machine;
#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod machine;

use std::io;
use std::path::Path;

pub use file::SystemFile;

use self::durable::Form;
use super::{Entry, OpenMode, StdFile, StdLock, StdVfs, Vfs, uring};
use crate::options::{Backend, DurableWrite};

/// Writes of fewer bytes, with nothing in flight, are plain calls: a log that has small batches does better to
/// coalesce them than to have them in flight (docs/adr/0009).
const PIPELINED_FROM_BYTES: usize = 32 * 1024;

/// The file system of this machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemVfs {
    rings: bool,
    form: Form,
    pipelined_from: usize,
}

impl SystemVfs {
    /// By `backend`; durable writes are done as `durable` says.
    ///
    /// # Errors
    ///
    /// `Unsupported` when [`Backend::Uring`] is asked for and this kernel, or whoever restricts this process, does not
    /// let it work: choose [`Backend::Auto`]; and for [`Backend::Memory`], which is [`MemoryVfs`](super::MemoryVfs).
    pub fn new(backend: Backend, durable: DurableWrite) -> io::Result<Self> {
        let rings = match backend {
            Backend::Std => false,
            Backend::Memory => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "memory is no file system of this machine: use MemoryVfs",
                ));
            }
            Backend::Uring => uring::probe()
                .map(|()| true)
                .map_err(|error| io::Error::new(io::ErrorKind::Unsupported, format!("io_uring: {error}")))?,
            Backend::Auto => match uring::probe() {
                Ok(()) => true,
                Err(error) => {
                    tracing::info!(target: "highwater::vfs", %error, "no io_uring: plain calls");
                    false
                }
            },
        };
        Ok(Self { rings, form: Form::from(durable), pipelined_from: PIPELINED_FROM_BYTES })
    }

    /// Has reads and durable writes of fewer than `bytes` bytes, while nothing else is in flight, done by plain
    /// calls; the others go through io_uring, if it is used at all. Default 32 KiB. With 0 everything goes through
    /// io_uring, syncs and writes into the page cache too, which otherwise are plain calls whatever their size. Writes
    /// of at least `bytes` bytes go past the page cache where durable ones do.
    #[must_use]
    pub fn pipelined_from(mut self, bytes: usize) -> Self {
        self.pipelined_from = bytes;
        self
    }

    /// Whether io_uring is used.
    #[cfg(test)]
    fn uses_uring(&self) -> bool {
        self.rings
    }

    /// The file at `path`, which is open for writing.
    fn writable(self, path: &Path, file: StdFile) -> SystemFile {
        let direct =
            if self.form.is_direct() { machine::open_direct(path, OpenMode::Write, &file) } else { None };
        SystemFile::new(self, file, direct)
    }
}

impl Vfs for SystemVfs {
    type File = SystemFile;
    type Lock = StdLock;

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SystemFile> {
        let file = StdVfs.open(path, mode).await?;
        Ok(match mode {
            OpenMode::Read => SystemFile::reading(*self, file, path),
            OpenMode::Write => self.writable(path, file),
        })
    }

    async fn create_new(&self, path: &Path) -> io::Result<SystemFile> {
        let file = StdVfs.create_new(path).await?;
        Ok(self.writable(path, file))
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
        StdVfs.sync_dir(path).await
    }
}
