//! An empty directory becomes the database that the store holds.
//!
//! The caller has made IDENT and the folders and taken the next token in the store: what is restored is the head. The
//! directory's first manifest is the last thing made, so that an interrupted restore is one without a manifest, and is begun
//! anew.

use std::path::Path;

use super::chain::Site;
use super::stored::{LSN, SEGMENT};
use super::transfer::fetch;
use crate::env::{Entropy, Env};
use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::ids::{CoreId, ManifestSeq};
use crate::manifest::first_life::{FirstLife, clear_log, first_life, log_dir};
use crate::manifest::ident::Ident;
use crate::manifest::store::{self, Landing};
use crate::manifest::{Author, Checkpoint, KeptEpoch, Manifest};
use crate::parallel::beside;
use crate::vfs::{Vfs, retry};

/// Brings the newest checkpoint of `head` down into the directory `root`, which is locked and holds no manifest; `parallel` files
/// at once. `progress` is told of bytes as they come.
///
/// # Errors
///
/// `Corrupt` naming the object that is not what it should be; `Full` or `Failed`: open again, and it is begun anew.
pub(crate) async fn restore<E: Env>(
    env: &E,
    (vfs, root): (&E::Vfs, &Path),
    site: &Site<E>,
    (ident, head): (&Ident, &Manifest),
    (parallel, progress): (usize, &dyn Fn(u64)),
) -> Result<()> {
    // What an interrupted restore has left. Files are replaced as they come.
    for core in (0..head.cores).map(CoreId) {
        clear_log(vfs, &log_dir(root, core)).await?;
    }
    let nonce = env.entropy().nonce();
    let Some(newest) = head.newest_checkpoint() else {
        return land(vfs, root, &Manifest::create(ident.database, ident.timeline, nonce)).await;
    };
    // Not more lanes than files, whatever was asked for.
    let parallel = parallel.clamp(1, newest.files.len().max(1));
    let lanes = (0..parallel).map(|lane| async move {
        for file in newest.files.iter().skip(lane).step_by(parallel) {
            fetch(&site.client, (vfs, root), file, progress).await?;
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
        kept: kept_away(&head.kept, newest),
        retired: Vec::new(),
        ..head.clone()
    };
    for core in (0..head.cores).map(CoreId) {
        let life = first_life(vfs, &log_dir(root, core), beginning(ident, head, newest, core)).await?;
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

/// What the directory knows of the epochs that the store keeps: their files are there alone, unless they came with `newest`.
fn kept_away(kept: &[KeptEpoch], newest: &Checkpoint) -> Vec<KeptEpoch> {
    let is_here = |kept: &KeptEpoch| kept.checkpoint.files.iter().all(|file| newest.files.contains(file));
    kept.iter().map(|kept| KeptEpoch { away: !is_here(kept), ..kept.clone() }).collect()
}

fn beginning<'a>(ident: &'a Ident, head: &Manifest, newest: &Checkpoint, core: CoreId) -> FirstLife<'a> {
    let offsets = newest.offsets.iter().filter(|(of, ..)| *of == core);
    FirstLife {
        ident,
        core,
        token: head.token,
        identity: head.lives[0].cores[core.index()].identity,
        segment: SEGMENT,
        lsn: LSN,
        epoch: newest.epoch,
        offsets: offsets.map(|(_, name, offset)| (name.clone(), offset.clone())).collect(),
        watermark: newest.watermarks[core.index()],
    }
}

async fn land<V: Vfs>(vfs: &V, root: &Path, manifest: &Manifest) -> Result<()> {
    match store::land(vfs, root, manifest).await? {
        Landing::Landed { .. } => Ok(()),
        Landing::Unknown(error) => Err(error.with_kind(ErrorKind::Failed)),
        Landing::Conflict(_) => {
            Err(Error::new(ErrorCode::RaceAtOpen, "another process restores the same directory").at(root))
        }
    }
}
