//! How a log is opened.

use crate::error::{Error, ErrorCode, Result};
use crate::ids::{CoreId, DatabaseId, FencingToken, Lsn};
use crate::limits::WRITE_UNIT_BYTES_MAX;
use crate::wal::segment::LogSpec;

/// Most [`WalOptions::batches_max`].
const BATCHES_MAX: usize = 1 << 16;

/// Most [`WalOptions::depth`].
const DEPTH_MAX: usize = 1 << 12;

/// How a log is opened. An open refuses what lies outside the limits that stand here, before it touches anything.
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
    /// Bytes of records in one batch, at least 1; beyond what a segment takes it is cut down to that. A larger record gets
    /// a batch of its own.
    pub batch_bytes: usize,
    /// Most batches between two syncs, 1 to 65,536; then an append is `Busy`.
    pub batches_max: usize,
    /// Durable writes in flight, 1 to 4,096.
    pub depth: usize,
    /// Bytes of one read while recovering and reading back; never more than a segment has.
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

impl WalOptions {
    /// # Errors
    ///
    /// `Invalid` for an option outside its limits.
    pub(super) fn check(&self) -> Result<()> {
        for (name, value, most) in [
            ("batch_bytes", self.batch_bytes, usize::MAX),
            ("batches_max", self.batches_max, BATCHES_MAX),
            ("depth", self.depth, DEPTH_MAX),
        ] {
            if !(1..=most).contains(&value) {
                let what = format!("{name} is {value}; it must lie between 1 and {most}");
                return Err(Error::new(ErrorCode::BadOption, what));
            }
        }
        let shape = LogSpec {
            database: self.database.unwrap_or_default(),
            core: self.core,
            token: FencingToken::default(),
            write_unit: self.write_unit,
            segment_bytes: self.segment_bytes,
        };
        shape.check()
    }
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
