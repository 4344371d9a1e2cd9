//! How a log is opened: what was found decides, and nothing is changed before all of it was read.
//!
//! ```text
//! lock ─► discover ─► which log is it ─► scan ─► begin a life, carry what nothing proves ─► ends of the lives before
//! ```

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::env::Entropy;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{FencingToken, Lsn, Nonce, SegmentNo};
use crate::vfs::{Vfs, renew_dir, retry};
use crate::wal::frame::Predecessor;
use crate::wal::life::{LifeBuilder, LifeSpec, LifeStart};
use crate::wal::lives::Discovery;
use crate::wal::log::{CoreLog, Segments};
use crate::wal::options::WalOptions;
use crate::wal::reader::WalReader;
use crate::wal::scan::{Cut, Life, LogId, LogScan};
use crate::wal::segment::{Front, Link, LogSpec, SegmentHeader};

fn lock_error(dir: &Path, source: io::Error) -> Error {
    if source.kind() == io::ErrorKind::WouldBlock {
        return Error::new(ErrorCode::DatabaseOpen, "somebody has this log open: close it there first")
            .at(dir);
    }
    Error::io("locking the log", dir, source)
}

/// Locks `dir`, and makes it first if it is missing.
pub(super) async fn lock<V: Vfs>(vfs: &V, dir: &Path) -> Result<V::Lock> {
    match vfs.lock(dir).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_dir(vfs, dir).await?;
            vfs.lock(dir).await.map_err(|e| lock_error(dir, e))
        }
        locked => locked.map_err(|e| lock_error(dir, e)),
    }
}

/// Makes `dir` if it is missing; its parent must exist.
async fn create_dir<V: Vfs>(vfs: &V, dir: &Path) -> Result<()> {
    match retry(|| vfs.create_dir(dir)).await {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io("creating the log's directory", dir, error))
        }
        _ => Ok(()),
    }
}

/// Makes the name of `dir`, in which no log has begun, durable: also if a sync of it failed before.
pub(super) async fn renew_name<V: Vfs>(vfs: &V, dir: &Path, nonce: Nonce) -> Result<()> {
    renew_dir(vfs, dir, nonce).await.map_err(|e| Error::io("renewing the log's directory", dir, e))?;
    let Some(parent) = dir.parent() else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    retry(|| vfs.sync_dir(parent)).await.map_err(|e| Error::io("creating the log's directory", parent, e))
}

/// Which log this is: what its segments say, or for a new one what the options say.
pub(super) fn identify<N: Entropy>(
    dir: &Path,
    options: &WalOptions,
    found: &Discovery,
    entropy: &N,
) -> Result<LogId> {
    let Some(id) = found.id else {
        let database = options.database.unwrap_or_else(|| entropy.nonce());
        return Ok(LogId { database, core: options.core });
    };
    if id.core != options.core || options.database.is_some_and(|database| database != id.database) {
        return Err(Error::new(ErrorCode::OtherLog, format!(
            "the log belongs to database {}, core {}; the options name another: open it with those, or another \
             directory",
            id.database, id.core
        ))
        .at(dir));
    }
    Ok(id)
}

pub(super) fn check_trimmed(dir: &Path, options: &WalOptions, found: &Discovery) -> Result<()> {
    match options.trimmed_through {
        Some(known) if found.trimmed_through > known => Err(Error::corrupt(
            ErrorCode::SegmentMissing,
            dir,
            format!(
                "the log begins above LSN {}, and was trimmed through {known} only: its first segments are missing; \
                 restore them from a backup",
                found.trimmed_through
            ),
        )),
        _ => Ok(()),
    }
}

/// The log as an open finds it: nobody else writes it.
pub(super) struct OldLog<'a, V> {
    pub(super) vfs: &'a V,
    pub(super) dir: &'a Path,
    pub(super) id: LogId,
    /// Of all segments.
    pub(super) fronts: &'a Arc<[Front]>,
    pub(super) read_ahead_bytes: usize,
}

impl<V: Vfs> OldLog<'_, V> {
    fn reader(&self, lives: Vec<Life>, cut: Option<Cut>) -> WalReader<V> {
        let (place, fronts) = ((self.vfs.clone(), self.dir), Arc::clone(self.fronts));
        WalReader::of_fronts(place, self.id, lives, cut, self.read_ahead_bytes, fronts)
    }

    pub(super) async fn scan(&self, lives: &[Life]) -> Result<LogScan> {
        let mut reader = self.reader(lives.to_vec(), None);
        while reader.advance().await? {}
        Ok(reader.into_scan())
    }
}

/// Ends the last of `lives` at the proven mark. A life of which nothing is proven is left out: its first
/// `SegmentStart` may be in the page cache only, so that the new life may not build on it. All of its records are
/// carried, and the life before it keeps the ceiling that it had.
pub(super) fn drop_unproven(lives: &mut Vec<Life>, proven: Lsn) {
    let Some(last) = lives.last_mut() else { return };
    if last.first_lsn <= proven {
        last.ceiling = Some(proven);
    } else {
        lives.pop();
    }
}

/// A life that has begun, and the log that goes on with it.
pub(super) struct Begun<V: Vfs> {
    pub(super) start: LifeStart,
    pub(super) log: CoreLog<V>,
    /// Of its first segment.
    pub(super) front: Front,
    /// Count of the records that were written again.
    pub(super) carried: u64,
}

/// Begins the life of this open and carries into it what is read but not proven.
pub(super) async fn begin<V: Vfs>(
    old: &OldLog<'_, V>,
    found: &Discovery,
    scan: &LogScan,
    segments: &mut impl Segments,
    options: &WalOptions,
) -> Result<Begun<V>> {
    let (segment, identity) = segments.fresh();
    let token = FencingToken(found.greatest_token.0 + 1);
    let write_unit = found.shape.map_or(options.write_unit, |(unit, _)| unit);
    let log = LogSpec {
        database: old.id.database,
        core: old.id.core,
        token,
        write_unit,
        segment_bytes: options.segment_bytes,
    };
    let mut linked = found.lives.clone();
    drop_unproven(&mut linked, scan.proven);
    let floor = linked.first().map_or(segment, |oldest| oldest.first_segment);
    let spec = LifeSpec {
        log,
        segment,
        identity,
        first_lsn: scan.greatest_lsn.next(),
        closed_through: scan.closed_through,
        floor,
        predecessor: Predecessor {
            segment: SegmentNo(0),
            last_lsn: linked.last().and_then(|life| life.ceiling).unwrap_or_default(),
            token: linked.last().map_or(FencingToken(0), |life| life.token),
        },
    };
    let mut life = LifeBuilder::begin(old.vfs.clone(), old.dir, spec, options.batch_bytes, None).await?;
    let mut carried = 0;
    if let Some(before) = found.lives.last().filter(|_| scan.proven < scan.prefix_end) {
        let cut = Cut { segment: before.first_segment, lsn: scan.proven };
        let lives = vec![Life { ceiling: Some(scan.prefix_end), ..*before }];
        let mut reader = old.reader(lives, Some(cut));
        while reader.advance().await? {
            let mut frame = reader.frame();
            while let Some((_, record)) = frame.next_record() {
                life.carry(&record, segments).await?;
                carried += 1;
            }
        }
    }
    let (start, log) = life.finish_into_log(segments, options.depth).await?;
    let header = SegmentHeader { log: spec.log, number: segment, identity };
    let link = Link { token, predecessor: spec.predecessor };
    let front = Front { header, salt: header.salt(), link: Some(link) };
    Ok(Begun { start, log, front, carried })
}
