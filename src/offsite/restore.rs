//! An empty directory becomes the database that the store holds.
//!
//! The caller has made IDENT and the folders and taken the next token in the store: what is restored is the head. The
//! directory's first manifest is the last thing made, so that an interrupted restore is one without a manifest, and is begun
//! anew.

use std::path::Path;

use super::chain::Site;
use super::stored::{LSN, SEGMENT};
use super::transfer::fetch;
use crate::codec::{EpochEnd, Record, RecordKind};
use crate::env::{Entropy, Env};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CoreId, Epoch, FencingToken, Lsn, ManifestSeq, Nonce, SegmentNo};
use crate::manifest::ident::Ident;
use crate::manifest::store::{self, Landing};
use crate::manifest::{Author, Checkpoint, CoreLife, Manifest};
use crate::offset::Offset;
use crate::parallel::beside;
use crate::vfs::{EntryKind, Vfs, retry};
use crate::wal::{LifeBuilder, LifeSpec, LogSpec, OwnSegments, Predecessor};

/// What the log of a restored core begins with.
pub(crate) struct FirstLife<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) core: CoreId,
    pub(crate) token: FencingToken,
    pub(crate) identity: Nonce,
    pub(crate) epoch: Epoch,
    pub(crate) offsets: Vec<(String, Offset)>,
    pub(crate) watermark: Option<i64>,
}

/// Brings the newest checkpoint of `head` down into the directory `root`, which is locked and holds no manifest.
///
/// # Errors
///
/// `Corrupt` naming the object that is not what it should be; `Full` or `Failed`: open again, and it is begun anew.
pub(crate) async fn restore<E: Env>(
    env: &E,
    (vfs, root): (&E::Vfs, &Path),
    site: &Site<E>,
    (ident, head): (&Ident, &Manifest),
    parallel: usize,
) -> Result<()> {
    clear(vfs, root, head.cores).await?;
    let nonce = env.entropy().nonce();
    let Some(newest) = head.newest_checkpoint() else {
        return land(vfs, root, &Manifest::create(ident.database, ident.timeline, nonce)).await;
    };
    let lanes = (0..parallel.max(1)).map(|lane| async move {
        for file in newest.files.iter().skip(lane).step_by(parallel.max(1)) {
            fetch(&site.client, (vfs, root), file).await?;
        }
        Ok(())
    });
    beside(lanes.collect()).await.into_iter().collect::<Result<()>>()?;
    let folder = root.join("f");
    retry(|| vfs.sync_dir(&folder)).await.map_err(|error| Error::io("syncing a folder", &folder, error))?;
    let mut manifest = Manifest {
        seq: ManifestSeq(1),
        nonce,
        previous: None,
        timeline: ident.timeline,
        author: Author::Checkpoint,
        checkpoints: vec![newest.clone()],
        retired: Vec::new(),
        ..head.clone()
    };
    for core in (0..head.cores).map(CoreId) {
        let life = first_life(vfs, &folder_of(root, core), beginning(ident, head, newest, core)).await?;
        assert_eq!(life, head.lives[0].cores[core.index()], "O7: as the store says");
    }
    manifest.trim();
    land(vfs, root, &manifest).await?;
    tracing::info!(
        target: "highwater::offsite",
        epoch = newest.epoch.0,
        files = newest.files.len(),
        manifest = head.seq.0,
        "restored"
    );
    Ok(())
}

fn beginning<'a>(ident: &'a Ident, head: &Manifest, newest: &Checkpoint, core: CoreId) -> FirstLife<'a> {
    let offsets = newest.offsets.iter().filter(|(of, ..)| *of == core);
    FirstLife {
        ident,
        core,
        token: head.token,
        identity: head.lives[0].cores[core.index()].identity,
        epoch: newest.epoch,
        offsets: offsets.map(|(_, name, offset)| (name.clone(), offset.clone())).collect(),
        watermark: newest.watermarks[core.index()],
    }
}

fn folder_of(root: &Path, core: CoreId) -> std::path::PathBuf {
    root.join("wal").join(format!("{:05}", core.0))
}

async fn land<V: Vfs>(vfs: &V, root: &Path, manifest: &Manifest) -> Result<()> {
    match store::land(vfs, root, manifest).await? {
        Landing::Landed { .. } => Ok(()),
        Landing::Unknown(error) => Err(error.with_kind(ErrorKind::Failed)),
        Landing::Conflict(_) => {
            Err(Error::new(ErrorKind::Busy, "another process restores the same directory").at(root))
        }
    }
}

/// Removes what an interrupted restore has left of logs. Files are replaced as they come.
async fn clear<V: Vfs>(vfs: &V, root: &Path, cores: u16) -> Result<()> {
    for core in (0..cores).map(CoreId) {
        let folder = folder_of(root, core);
        for entry in store::list(vfs, &folder).await? {
            let path = folder.join(&entry.name);
            if entry.kind == EntryKind::File {
                let removed = retry(|| vfs.remove(&path)).await;
                removed.map_err(|error| Error::io("removing what a restore has left", &path, error))?;
            }
        }
    }
    Ok(())
}

/// Begins the log of one core in the folder `dir`: nothing but the end of an epoch, durable.
///
/// # Errors
///
/// `Full` or `Failed` naming the file.
pub(crate) async fn first_life<V: Vfs>(vfs: &V, dir: &Path, life: FirstLife<'_>) -> Result<CoreLife> {
    let FirstLife { ident, core, token, identity, epoch, offsets, watermark } = life;
    let end = EpochEnd { epoch, token, watermark, offsets, sinks: Vec::new() };
    let mut value = Vec::new();
    end.encode(&mut value);
    // Twice the record, and some frames.
    let segment_bytes = (2 * value.len() as u64 + (64 << 10)).next_multiple_of(4096);
    let (database, write_unit) = (ident.database, ident.write_unit);
    let spec = LifeSpec {
        log: LogSpec { database, core, token, write_unit, segment_bytes },
        segment: SEGMENT,
        identity,
        first_lsn: LSN,
        closed_through: epoch,
        floor: SegmentNo(0),
        predecessor: Predecessor { segment: SegmentNo(0), last_lsn: Lsn(0), token: FencingToken(0) },
    };
    // The record fits the first segment: no further identity is asked for.
    let mut segments = OwnSegments::after(SEGMENT, move || identity);
    let mut builder = LifeBuilder::begin(vfs.clone(), dir, spec, value.len() + 64).await?;
    let record = Record { kind: RecordKind::EpochEnd, key: &[], value: &value };
    let lsn = builder.carry(&record, &mut segments).await?;
    assert_eq!(lsn, LSN, "the only record of the life");
    let begun = builder.finish(&mut segments).await?;
    Ok(CoreLife {
        first_segment: begun.first_segment,
        identity: begun.identity,
        first_lsn: begun.first_lsn,
        carried_through: Lsn(begun.next_lsn.0 - 1),
        ceiling: None,
    })
}
