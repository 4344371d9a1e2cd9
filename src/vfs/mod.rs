//! The engine's only door to the disk: two traits, their backends, and the loops above them.
//!
//! ```text
//! Vfs   names: open, create, link, rename, remove, list, lock, sync_dir
//! File  bytes: read_at, write_at, write_at_and_sync, sync_data, …
//! ```
//!
//! What a backend promises, and nothing more:
//!
//! 1. A write is durable once a sync of its file that began after the write had completed returns `Ok`.
//! 2. A name (created, linked, renamed, removed) is durable once a `sync_dir` of its directory that began after
//!    the change returns `Ok`. A name can be durable before the bytes behind it, and the other way round.
//! 3. After a failed sync the writes that it covered are lost or kept, unknowably, and a later `Ok` on the same
//!    file proves nothing about them. Reading them back proves nothing either.
//! 4. [`Interrupted`](io::ErrorKind::Interrupted) and [`WouldBlock`](io::ErrorKind::WouldBlock) mean that nothing
//!    was done and nothing lost: the call may be repeated. Every other error of a write or sync is final.
//! 5. Of several syncs of one file at a time, only one may be told of a failure, and late: where
//!    [`File::failures_are_own`] does not hold, an `Ok` counts only once each sync that ran beside it has said `Ok` too.
//!    (Linux reports an error of the page cache once per open file, to whoever asks first.)
//! 6. A crash tears a write between sectors: of each sector, the old bytes, the new ones or neither may be found.
//! 7. An operation completes although others that were begun before it are not polled any more: a caller may leave
//!    some alone until one has completed.
//!
//! Offsets and lengths are in bytes. Futures need not be `Send`: a backend belongs to the thread that made it.
//! Dropping a future never cancels what it has begun, and never frees memory that the device still uses.
//! `contract` (feature `sim`) holds the suite that every backend passes.

mod aligned;
#[cfg(feature = "sim")]
pub mod contract;
mod disk;
mod memory;
mod obfuscate;
mod renew;
mod std;
mod system;
mod transfer;
#[cfg(not(target_os = "linux"))]
#[path = "uring/absent.rs"]
pub(crate) mod uring;
#[cfg(target_os = "linux")]
pub(crate) mod uring;

pub use self::disk::{Disk, DiskFile, DiskLock};
pub use self::memory::{MemoryFile, MemoryLock, MemoryVfs};
pub use self::obfuscate::{ObfuscatedFile, ObfuscatedVfs};
pub use self::std::{StdFile, StdLock, StdVfs};
pub use self::system::{SystemFile, SystemVfs};
pub(crate) use aligned::{ALIGN_BYTES, align, aligned_zeroes};
pub(crate) use renew::renew_dir;
pub(crate) use transfer::{
    allocate, hold_space, read_exact_at, read_full_at, retry, split_off, unsplit, write_all_and_sync,
    write_all_at, write_all_durably, write_zeroes,
};

// This module has a child called `std`, so the library's paths start with `::`.
use ::std::future::Future;
use ::std::io;
use ::std::path::Path;

use bytes::{Bytes, BytesMut};

/// How an existing file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Reading only; the file system may be read-only.
    Read,
    /// Reading and writing.
    Write,
}

/// What a directory entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else: a link, a pipe, a device. The engine never follows one.
    Other,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The name, without its directory.
    pub name: String,
    /// What it names.
    pub kind: EntryKind,
}

/// A file system, as seen by one thread.
pub trait Vfs: Clone + 'static {
    /// An open file of this file system.
    type File: File;

    /// A held lock of a directory; dropping it, or the death of the process, gives the lock up.
    type Lock: Send + Sync + 'static;

    /// Opens the existing regular file at `path`.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is no such name; `InvalidInput` when it is no regular file (links are not followed).
    fn open(&self, path: &Path, mode: OpenMode) -> impl Future<Output = io::Result<Self::File>>;

    /// Creates an empty file at `path`, open for reading and writing. The name is not durable yet.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` when the name is taken, by anything.
    fn create_new(&self, path: &Path) -> impl Future<Output = io::Result<Self::File>>;

    /// Creates the directory `path`. Its name is not durable yet.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` when the name is taken, by anything; `NotFound` when the parent is missing.
    fn create_dir(&self, path: &Path) -> impl Future<Output = io::Result<()>>;

    /// Gives the file `from` the second name `to`: the one atomic "create, or learn that another was first".
    ///
    /// # Errors
    ///
    /// `AlreadyExists` when `to` is taken; `NotFound` when `from` is missing.
    fn link(&self, from: &Path, to: &Path) -> impl Future<Output = io::Result<()>>;

    /// Renames the file or directory `from` to `to`. A file replaces a file of that name; a directory replaces nothing.
    ///
    /// # Errors
    ///
    /// `NotFound` when `from` is missing; `AlreadyExists` when a directory would replace something.
    fn rename(&self, from: &Path, to: &Path) -> impl Future<Output = io::Result<()>>;

    /// Removes the name of a file. Until the directory is synced, a crash may bring it back.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is no such name.
    fn remove(&self, path: &Path) -> impl Future<Output = io::Result<()>>;

    /// The entries of the directory `path`, sorted by name. Names that are not UTF-8 are left out.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is no such directory.
    fn list(&self, path: &Path) -> impl Future<Output = io::Result<Vec<Entry>>>;

    /// Locks the directory `path` itself (not a file in it) against every other process and every other opener
    /// in this one, until the lock is dropped.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when somebody holds it; `NotFound` when there is no such directory.
    fn lock(&self, path: &Path) -> impl Future<Output = io::Result<Self::Lock>>;

    /// Bytes that the file system of directory `path` has free for this process.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is no such directory.
    fn free_space(&self, path: &Path) -> impl Future<Output = io::Result<u64>>;

    /// Makes the names in the directory `path` durable, as they were when the call began.
    ///
    /// # Errors
    ///
    /// After any error, whether the changes since the last `Ok` are durable is unknown, for good.
    fn sync_dir(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
}

/// An open file. Operations on one file may be in flight together and complete in any order; writes that overlap
/// must not be in flight together. Dropping it closes it and makes nothing durable.
#[expect(clippy::len_without_is_empty, reason = "the length is an operation of the device that may fail")]
pub trait File: 'static {
    /// The file's length.
    ///
    /// # Errors
    ///
    /// Whatever the device reports.
    fn len(&self) -> impl Future<Output = io::Result<u64>>;

    /// How many names the file has: a second one means that somebody else relies on its bytes.
    ///
    /// # Errors
    ///
    /// Whatever the device reports.
    fn link_count(&self) -> impl Future<Output = io::Result<u64>>;

    /// Fills the front of `buffer` from `offset` and returns it with the count of bytes read: perhaps fewer than
    /// its length, zero only at or beyond the end of the file. Bytes of the buffer behind the count are garbage.
    ///
    /// # Errors
    ///
    /// Whatever the device reports; the read may be tried again.
    fn read_at(&self, offset: u64, buffer: BytesMut) -> impl Future<Output = io::Result<(BytesMut, usize)>>;

    /// Writes the front of `data` at `offset` and returns how many bytes it took: at least one, perhaps fewer than
    /// all. The backend owns the buffer until then, even if the future is dropped.
    ///
    /// # Errors
    ///
    /// `StorageFull` or `QuotaExceeded` when there is no space: part of `data` may be there, nothing else is harmed.
    fn write_at(&self, offset: u64, data: Bytes) -> impl Future<Output = io::Result<usize>>;

    /// Writes like [`File::write_at`] and makes what it wrote durable, in one operation of the device if it can.
    /// Only a count of the whole of `data` says that it is durable; after a short count finish with
    /// [`File::write_at`] and [`File::sync_data`].
    ///
    /// # Errors
    ///
    /// Those of a write and of a sync, and no telling them apart: promise 3 of the module holds.
    fn write_at_and_sync(&self, offset: u64, data: Bytes) -> impl Future<Output = io::Result<usize>>;

    /// Makes durable every write that had completed when the call began, and the length needed to read it.
    ///
    /// # Errors
    ///
    /// After any error promise 3 of the module holds: give the file up.
    fn sync_data(&self) -> impl Future<Output = io::Result<()>>;

    /// Reserves space for the first `bytes` of the file, so that writing them later should not find the device
    /// full. Extends the length; new bytes read as zero.
    ///
    /// # Errors
    ///
    /// `StorageFull` or `QuotaExceeded` when there is no space. `Unsupported` where the file system has no means to
    /// reserve any: nothing was done then, and writing the bytes is the only way to have their space.
    fn allocate(&self, bytes: u64) -> impl Future<Output = io::Result<()>>;

    /// Cuts or extends the file to `bytes`; new bytes read as zero. Durable after the next sync.
    ///
    /// # Errors
    ///
    /// Whatever the device reports.
    fn set_len(&self, bytes: u64) -> impl Future<Output = io::Result<()>>;

    /// How many operations are worth having in flight; one where calls block.
    fn depth_max(&self) -> usize;

    /// The smallest unit, in bytes, that the device overwrites without touching its neighbours: 512 or 4,096.
    fn write_unit(&self) -> u32;

    /// Whether an `Ok` of [`File::write_at_and_sync`] for the whole of its data counts whatever else fails: because no
    /// cache is between it and the device, or because this backend never runs two syncs of the file at a time, so that none
    /// is told of a failure in another's place. A [`File::sync_data`] never has that (promise 5 of the module).
    fn failures_are_own(&self) -> bool;
}
