//! The forms of a durable write.
//!
//! ```text
//!                     flag RWF_DSYNC          fdatasync behind it: a call, or linked in a ring
//! through the cache   CachedDsync             Cached
//! past the cache      DirectDsync             Direct
//! ```
//!
//! Both forms through the cache are one in a ring: the write without a flag, and one `fdatasync` at a time for all
//! writes of the file that have completed.
//!
//! `Fitting` is `DirectDsync` by plain calls, and in flight on a device that makes one command of it. Without such a
//! device the kernel finishes a `DirectDsync` in flight in a thread of its own, whose turn may be late; then one plain
//! `fdatasync` makes durable all the direct writes that have completed.

use std::io;

use super::machine;
use crate::options::DurableWrite;
use crate::vfs::StdFile;
use crate::vfs::uring::Durability;

/// How a durable write is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Cached,
    CachedDsync,
    Direct,
    DirectDsync,
    Fitting,
}

impl From<DurableWrite> for Form {
    fn from(durable: DurableWrite) -> Self {
        match durable {
            DurableWrite::Cached => Self::Cached,
            DurableWrite::CachedDsync => Self::CachedDsync,
            DurableWrite::Direct => Self::Direct,
            DurableWrite::DirectDsync => Self::DirectDsync,
            DurableWrite::Auto => Self::Fitting,
        }
    }
}

impl Form {
    /// Whether it goes past the page cache.
    pub(super) fn is_direct(self) -> bool {
        matches!(self, Self::Direct | Self::DirectDsync | Self::Fitting)
    }

    /// Whether a plain call makes itself durable.
    fn is_by_flag(self) -> bool {
        matches!(self, Self::CachedDsync | Self::DirectDsync | Self::Fitting)
    }

    /// The same in flight, on a device that writes through or does not. The page cache tells an error once, to whichever
    /// sync asks first: no two run at a time (promise 5 of [`crate::vfs`]).
    pub(super) fn in_flight(self, writes_through: bool) -> Durability {
        match self {
            Self::Direct => Durability::ByLink,
            Self::DirectDsync => Durability::ByFlag,
            Self::Fitting if writes_through => Durability::ByFlag,
            Self::Fitting | Self::Cached | Self::CachedDsync => Durability::Shared,
        }
    }

    /// The same through the page cache.
    pub(super) fn cached(self) -> Self {
        match self {
            // A flag without the direct file is not what was asked for, and slower on many file systems.
            Self::Cached | Self::Direct | Self::DirectDsync | Self::Fitting => Self::Cached,
            Self::CachedDsync => Self::CachedDsync,
        }
    }
}

/// What direct I/O on a file asks of offsets, lengths and memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alignment {
    pub(super) offset: u32,
    pub(super) memory: u32,
}

impl Alignment {
    /// Whether a write of `bytes` bytes at `offset` may go past the cache.
    pub(super) fn allows(self, offset: u64, bytes: usize) -> bool {
        bytes > 0
            && offset.is_multiple_of(u64::from(self.offset))
            && (bytes as u64).is_multiple_of(u64::from(self.offset))
    }

    /// Whether memory at `address` may be written from.
    pub(super) fn allows_memory(self, address: *const u8) -> bool {
        address.addr().is_multiple_of(self.memory as usize)
    }
}

/// Writes the front of `data` at `offset`, and makes it durable if that was all of it. The file is open as `form` asks.
pub(super) fn write(file: &StdFile, form: Form, offset: u64, data: &[u8]) -> io::Result<usize> {
    let by_flag = if form.is_by_flag() { machine::write_by_flag(file, offset, data) } else { None };
    by_flag.unwrap_or_else(|| file.write_and_sync(offset, data))
}
