//! A log that begins in the middle of a database's history: after nothing but the end of an epoch.

use std::path::{Path, PathBuf};

use crate::codec::{EpochEnd, Record, RecordKind};
use crate::error::{Error, Result};
use crate::ids::{CoreId, Epoch, FencingToken, Lsn, Nonce, SegmentNo};
use crate::offset::Offset;
use crate::vfs::{EntryKind, Vfs, retry};
use crate::wal::{LifeBuilder, LifeSpec, LogSpec, OwnSegments, Predecessor};

use super::CoreLife;
use super::ident::Ident;
use super::store;

/// The directory of one core's log.
pub(crate) fn log_dir(root: &Path, core: CoreId) -> PathBuf {
    root.join("wal").join(format!("{:05}", core.0))
}

/// What the log of one core begins with, when its state is in a checkpoint of `epoch`.
pub(crate) struct FirstLife<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) core: CoreId,
    pub(crate) token: FencingToken,
    pub(crate) identity: Nonce,
    /// The number of its segment, above every one that the folder had.
    pub(crate) segment: SegmentNo,
    /// The LSN of its only record.
    pub(crate) lsn: Lsn,
    /// Zero: no epoch has ended, and the log begins with nothing.
    pub(crate) epoch: Epoch,
    pub(crate) offsets: Vec<(String, Offset)>,
    pub(crate) watermark: Option<i64>,
}

/// Begins the log in the folder `dir`, durable.
///
/// # Errors
///
/// `Full` or `Failed` naming the file.
pub(crate) async fn first_life<V: Vfs>(vfs: &V, dir: &Path, life: FirstLife<'_>) -> Result<CoreLife> {
    let FirstLife { ident, core, token, identity, segment, lsn, epoch, offsets, watermark } = life;
    let end = EpochEnd { epoch, token, watermark, offsets, sinks: Vec::new() };
    let mut value = Vec::new();
    end.encode(&mut value);
    // Twice the record, and some frames.
    let segment_bytes = (2 * value.len() as u64 + (64 << 10)).next_multiple_of(4096);
    let (database, write_unit) = (ident.database, ident.write_unit);
    let spec = LifeSpec {
        log: LogSpec { database, core, token, write_unit, segment_bytes },
        segment,
        identity,
        first_lsn: lsn,
        closed_through: epoch,
        floor: SegmentNo(0),
        predecessor: Predecessor { segment: SegmentNo(0), last_lsn: Lsn(0), token: FencingToken(0) },
    };
    // The record fits the first segment: no further identity is asked for.
    let mut segments = OwnSegments::after(segment, move || identity);
    let mut builder = LifeBuilder::begin(vfs.clone(), dir, spec, value.len() + 64, None).await?;
    if epoch > Epoch(0) {
        let record = Record { kind: RecordKind::EpochEnd, key: &[], value: &value };
        let carried = builder.carry(&record, &mut segments).await?;
        assert_eq!(carried, lsn, "the only record of the life");
    }
    let begun = builder.finish(&mut segments).await?;
    Ok(CoreLife {
        first_segment: begun.first_segment,
        identity: begun.identity,
        first_lsn: begun.first_lsn,
        carried_through: Lsn(begun.next_lsn.0 - 1),
        ceiling: None,
    })
}

/// Empties the folder `dir` of a log that no manifest names any more, or not yet.
///
/// # Errors
///
/// `Failed` naming the file.
pub(crate) async fn clear_log<V: Vfs>(vfs: &V, dir: &Path) -> Result<()> {
    for entry in store::list(vfs, dir).await? {
        let path = dir.join(&entry.name);
        if entry.kind == EntryKind::File {
            let removed = retry(|| vfs.remove(&path)).await;
            removed.map_err(|error| Error::io("removing a log file of no life", &path, error))?;
        }
    }
    Ok(())
}
