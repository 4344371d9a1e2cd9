//! The write-ahead log of one core, and everything that reads one.
//!
//! ```text
//! wal/{core}/{segment}   = header, frames …      fixed size, prepared before use, recycled or removed after
//! life                   = the segments that one open wrote; each open starts a new one
//! log                    = lives in order, each up to the ceiling that the next one gave it
//! ```
//!
//! [`CoreWal`] is a log as a product of its own: append, sync, read back, trim. [`WalReader`] reads any core's log,
//! [`merged`] several of them in one order, [`segments`] says what is on disk.
//!
//! ```
//! use highwater::Lsn;
//! use highwater::env::StdEnv;
//! use highwater::wal::{CoreWal, WalOpened, WalOptions, WalRecord};
//!
//! # fn main() -> highwater::Result<()> {
//! # let scratch = tempfile::tempdir().unwrap();
//! # let directory = scratch.path().join("log");
//! let options = || WalOptions::new().segment_bytes(16 << 10);
//! let WalOpened { mut wal, .. } = CoreWal::open_blocking(StdEnv, &directory, options())?;
//! for order in 1..=100_u64 {
//!     wal.append(&WalRecord::Put { key: b"order", value: &order.to_le_bytes() })?; // in memory, and promised to nobody
//!     assert_eq!(wal.sync_blocking()?, Lsn(order)); // durable, with everything before it
//! }
//! drop(wal); // no crash takes away more than that does
//!
//! let WalOpened { mut wal, report } = CoreWal::open_blocking(StdEnv, &directory, options())?;
//! assert_eq!(report.scan.records, 100);
//! let mut orders = Vec::new();
//! wal.read_blocking(None, |_, _, record| {
//!     if let WalRecord::Put { value, .. } = record {
//!         orders.push(value[0]);
//!     }
//! })?;
//! assert!(orders.into_iter().eq(1..=100));
//!
//! let last = wal.high_water(); // not Lsn(100): what nothing had proven yet was written again by the open
//! assert!(wal.trim_blocking(last)? > 0); // files whose records nobody needs any more
//! wal.close_blocking()?;
//! # Ok(())
//! # }
//! ```
//!
//! What the module promises:
//!
//! 1. Acknowledged means durable: a record is acknowledged after a completed sync covers it and all before it.
//! 2. After a crash exactly a prefix of the records is read back, at least as long as what was acknowledged.
//! 3. Damage to proven records is [`Corrupt`](crate::ErrorKind::Corrupt), with file and offset, and changes nothing
//!    on disk. The one loss that nothing can tell from a crash is that of the last frames, above all proof of them;
//!    a seal, written when the log goes idle or rolls, leaves nothing above, nor does the last frame of one that is closed.
//! 4. After a failed write or sync nothing more is acknowledged until the log is opened again.
//! 5. Memory and work are bounded by options, whatever the bytes on disk say.

pub(crate) mod batch;
mod core_wal;
mod desk;
mod diagnosis;
pub(crate) mod epoch_end;
mod evidence;
mod feed;
pub(crate) mod frame;
mod frame_view;
mod inflight;
pub(crate) mod life;
mod lives;
mod locate;
pub(crate) mod log;
mod marks;
mod merged;
mod opening;
mod options;
mod pipeline;
mod reader;
mod record;
mod scan;
pub(crate) mod segment;
mod stats;
mod tail;
mod tally;
mod tray;
pub(crate) mod trim;
mod window;

#[cfg(test)]
mod tests;

pub use core_wal::{CoreWal, WalOpened, WalReport};
pub use frame_view::Frame;
pub use merged::{MergedLog, MergedReader, MergedRecord, merged};
pub use options::WalOptions;
pub use pipeline::Pipeline;
pub use reader::WalReader;
pub use record::WalRecord;
pub use scan::{Cut, EpochEndAt, Life, LogId, LogScan, LogTail};
pub use stats::{SegmentState, SegmentStats, segments};

pub(crate) use batch::{Batch, Pool};
pub(crate) use evidence::{Evidence, evidence_in};
pub(crate) use frame::Predecessor;
#[cfg(fuzzing)]
pub(crate) use frame_view::records_are_whole;
pub(crate) use life::{LifeBuilder, LifeSpec, LifeStart, OwnSegments};
pub(crate) use locate::segment_of;
pub(crate) use log::{CoreLog, Feed, Segments};
pub(crate) use segment::{
    Front, LogSpec, Prepared, SegmentHeader, catalog, list as segment_numbers, prepare, read_first_frame,
    recycle, remove as remove_segment, segment_path,
};
pub(crate) use tally::Tally;
