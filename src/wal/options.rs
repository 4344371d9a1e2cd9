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
///
/// ```
/// use highwater::CoreId;
/// use highwater::wal::WalOptions;
///
/// let options = WalOptions::new().core(CoreId(3)).segment_bytes(64 << 20);
/// assert_eq!((options.core, options.depth), (CoreId(3), 2));
/// ```
#[derive(Clone, Debug)]
#[must_use]
#[non_exhaustive]
pub struct WalOptions {
    /// The core whose log this is: a name among several logs, and part of every frame. Default 0.
    pub core: CoreId,
    /// The database that a new log belongs to; drawn from entropy when `None`. Several logs that are to be merged
    /// share one. Default `None`.
    pub database: Option<DatabaseId>,
    /// Bytes of a segment: a multiple of 4,096 from 16 KiB to 1 GiB. An existing log may change it.
    /// Default 16 MiB.
    pub segment_bytes: u64,
    /// Bytes of records in one batch, at least 1; beyond what a segment takes it is cut down to that. A larger record gets
    /// a batch of its own. Default 256 KiB.
    pub batch_bytes: usize,
    /// Most batches between two syncs, 1 to 65,536; then an append is `Busy`. Default 64.
    pub batches_max: usize,
    /// Durable writes in flight, 1 to 4,096. Default 2.
    pub depth: usize,
    /// Bytes of one read while recovering and reading back; never more than a segment has. Default 1 MiB.
    pub read_ahead_bytes: usize,
    /// The unit, in bytes, that frames start on, fixed when the log is created: 4,096 suits every device; 512 saves
    /// space on one that overwrites single sectors without touching their neighbours, and is refused on others.
    /// Default 4,096.
    pub write_unit: u32,
    /// Through which LSN the caller has trimmed, if it knows: an open then refuses a log that begins above it, such as
    /// one that somebody else has trimmed. A lost first segment is refused with and without it. Default `None`.
    pub trimmed_through: Option<Lsn>,
    /// How many trimmed segments are kept to be used again. Default 1.
    pub spare_segments: usize,
}

impl WalOptions {
    /// A log of core 0 in segments of 16 MiB, of a database that is drawn. Each field says its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// The core whose log it is.
    pub fn core(mut self, core: CoreId) -> Self {
        self.core = core;
        self
    }

    /// The database that a new log belongs to.
    pub fn database(mut self, database: DatabaseId) -> Self {
        self.database = Some(database);
        self
    }

    /// Bytes of a segment.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Bytes of records in one batch.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// Most batches between two syncs.
    pub fn batches_max(mut self, batches: usize) -> Self {
        self.batches_max = batches;
        self
    }

    /// Durable writes in flight.
    pub fn depth(mut self, depth: usize) -> Self {
        self.depth = depth;
        self
    }

    /// Bytes of one read.
    pub fn read_ahead_bytes(mut self, bytes: usize) -> Self {
        self.read_ahead_bytes = bytes;
        self
    }

    /// The unit, in bytes, that frames start on.
    pub fn write_unit(mut self, bytes: u32) -> Self {
        self.write_unit = bytes;
        self
    }

    /// Through which LSN the caller has trimmed.
    pub fn trimmed_through(mut self, lsn: Lsn) -> Self {
        self.trimmed_through = Some(lsn);
        self
    }

    /// How many trimmed segments are kept to be used again.
    pub fn spare_segments(mut self, segments: usize) -> Self {
        self.spare_segments = segments;
        self
    }

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
