//! The logs of a database, for those who read the stream of its changes.

use std::path::Path;

use super::first_life::log_dir;
use super::{Checkpoint, Manifest, ident, store};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::CoreId;
use crate::vfs::Vfs;
use crate::wal::{Cut, LogId, MergedLog};

/// The logs of the database at `root`: one for each core, from the oldest retained checkpoint on, as the newest manifest
/// says that they are read.
///
/// [`wal::merged`](crate::wal::merged) makes one stream of them, [`WalReader`](crate::wal::WalReader::open) reads one by
/// itself. What was discarded at an open is not part of them; what an open has carried over is, under the token of that
/// open. Nothing is locked or changed. Beside an engine that is running, a checkpoint may remove the oldest segments
/// before they are read: the reader then says `Corrupt` ([`ErrorCode::SegmentMissing`]), and the logs are to be looked up
/// again.
///
/// ```
/// use highwater::env::{Blocking, StdEnv};
/// use highwater::vfs::StdVfs;
/// use highwater::wal::{WalRecord, merged};
/// use highwater::{Engine, Options, logs_in};
///
/// # fn main() -> highwater::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let directory = directory.path().join("data");
/// let mut opened = Engine::open(Options::new(&directory))?;
/// opened.cores[0].put(b"user/42", b"100")?;
/// opened.cores[0].commit()?;
/// opened.engine.close(opened.cores)?;
///
/// let mut puts = 0;
/// let logs = StdEnv.block_on(logs_in(&StdVfs, &directory))?;
/// let mut changes = StdEnv.block_on(merged(&StdVfs, logs, 256 << 10))?;
/// while let Some(change) = StdEnv.block_on(changes.next())? {
///     puts += u32::from(matches!(change.record, WalRecord::Put { .. }));
/// }
/// assert_eq!(puts, 1);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// `Invalid` when there is no database at `root`; `Corrupt` naming the file when IDENT or the newest manifest is damaged,
/// `Unsupported` when a newer program wrote it, `Failed` when it cannot be read.
pub async fn logs_in<V: Vfs>(vfs: &V, root: impl AsRef<Path>) -> Result<Vec<MergedLog>> {
    let root = root.as_ref();
    let nothing = |what: &str| Error::new(ErrorCode::NotADatabase, what).at(root);
    let ident = ident::read(vfs, root).await?.ok_or_else(|| nothing("there is no database"))?;
    let head = store::head(vfs, root, ident.database).await?;
    let head = head.ok_or_else(|| nothing("the creation of the database was interrupted; open it once"))?;
    let width = head.manifest.lives.iter().map(|life| life.cores.len()).max().unwrap_or(0);
    let logs = (0..width).filter_map(|core| {
        let id = LogId { database: ident.database, core: CoreId(u16::try_from(core).ok()?) };
        log_of(&head.manifest, core, id, root)
    });
    Ok(logs.collect())
}

/// The log of one core from the oldest checkpoint on; `None` when nothing of it is needed any more.
fn log_of(manifest: &Manifest, core: usize, id: LogId, root: &Path) -> Option<MergedLog> {
    let oldest = manifest.checkpoints.first().filter(|_| !manifest.beginning);
    let cut = oldest.and_then(|oldest| oldest.cuts.get(core));
    let since = cut.map(|cut| cut.token).or(oldest.map(Checkpoint::cut_token)).unwrap_or_default();
    let lives = manifest.lives.iter().filter(|life| life.token >= since);
    let lives: Vec<_> = lives
        .filter_map(|life| life.cores.get(core).map(|of_core| of_core.as_read(life.token, of_core.ceiling)))
        .collect();
    let cut = cut.map(|cut| Cut { segment: cut.segment, lsn: cut.lsn });
    (!lives.is_empty()).then(|| MergedLog { dir: log_dir(root, id.core), log: id, lives, cut })
}
