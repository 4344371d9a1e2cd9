//! How a log is opened.

use crate::ids::{CoreId, DatabaseId, Lsn};
use crate::limits::WRITE_UNIT_BYTES_MAX;

/// How a log is opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WalOptions {
    /// The core whose log this is: a name among several logs, and part of every frame.
    pub core: CoreId,
    /// The database that a new log belongs to; drawn from entropy when `None`. Several logs that are to be merged
    /// share one.
    pub database: Option<DatabaseId>,
    /// Bytes of a segment: a multiple of 4,096 from 16 KiB to 1 GiB. An existing log may change it.
    pub segment_bytes: u64,
    /// Bytes of records in one batch. A larger record gets a batch of its own.
    pub batch_bytes: usize,
    /// Most batches between two syncs; then an append is `Busy`.
    pub batches_max: usize,
    /// Durable writes in flight.
    pub depth: usize,
    /// Bytes of one read while recovering and reading back.
    pub read_ahead_bytes: usize,
    /// The unit, in bytes, that frames start on, fixed when the log is created: 4,096 suits every device; 512 saves
    /// space on one that overwrites single sectors without touching their neighbours, and is refused on others.
    pub write_unit: u32,
    /// Through which LSN the caller has trimmed, if it knows: an open then refuses a log that begins above it, such as
    /// one that somebody else has trimmed. A lost first segment is refused with and without it.
    pub trimmed_through: Option<Lsn>,
    /// How many trimmed segments are kept to be used again.
    pub spare_segments: usize,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self {
            core: CoreId(0),
            database: None,
            segment_bytes: 16 << 20,
            batch_bytes: 256 << 10,
            batches_max: 64,
            depth: 2,
            read_ahead_bytes: 1 << 20,
            write_unit: WRITE_UNIT_BYTES_MAX,
            trimmed_through: None,
            spare_segments: 1,
        }
    }
}
