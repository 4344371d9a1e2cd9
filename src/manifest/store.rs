//! Landing a manifest and reading the head.
//!
//! ```text
//! create temp ─► write ─► sync ─► link to m/{seq} ─► sync_dir m ─► remove temp
//!     └──────────┴─────────┴─ error: not landed    │       │
//!                       name taken ─► conflict ◄───┘       └─ error: unknown, for good
//! ```
//!
//! A failed sync of the directory leaves the name durable or not, and neither a second sync nor reading the name
//! back can tell (promises 2 and 3 of [`crate::vfs`]). The caller fails the open or checkpoint, deletes nothing
//! and acknowledges nothing; the next open reads the directory as it finds it.

use std::io;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};

use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::ids::{DatabaseId, ManifestSeq, Nonce};
use crate::vfs::{Entry, EntryKind, File, OpenMode, Vfs, read_exact_at, retry, write_all_at};

use super::codec::{MANIFEST_BYTES_MAX, decode, encode};
use super::{Manifest, decimal};

/// What became of a manifest that was to land.
#[derive(Debug)]
pub(crate) enum Landing {
    /// It is the head, durably. Its header's crc is what the next manifest names it by.
    Landed {
        /// See [`Manifest::previous`].
        crc: u32,
    },
    /// Another one has its number.
    Conflict(Box<Manifest>),
    /// It may have landed, now or after a crash, or not. Not a failure and not a success.
    Unknown(Error),
}

/// A manifest as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) manifest: Manifest,
    /// The file's header crc.
    pub(crate) crc: u32,
}

/// The folder of manifests below the database's own.
pub(crate) fn folder(root: &Path) -> PathBuf {
    root.join("m")
}

/// The file of manifest `seq`.
pub(crate) fn path_of(root: &Path, seq: ManifestSeq) -> PathBuf {
    folder(root).join(format!("{:020}", seq.0))
}

/// Lands `manifest` in the database at `root`: the commit.
///
/// # Errors
///
/// It did not land, and never will: `Full` (may be tried again with a new nonce), `Failed`, or `Invalid` when it is
/// too large. `Corrupt` when its number is taken by something that is no manifest.
///
/// # Panics
///
/// When it breaks a rule of manifests.
pub(crate) async fn land<V: Vfs>(vfs: &V, root: &Path, manifest: &Manifest) -> Result<Landing> {
    let encoded = encode(manifest)?;
    let path = path_of(root, manifest.seq);
    let temp = folder(root).join(format!("{:020}.{}.tmp", manifest.seq.0, manifest.nonce));
    write_temp(vfs, &temp, Bytes::from(encoded.bytes)).await?;
    let landing = match retry(|| vfs.link(&temp, &path)).await {
        Ok(()) => Ok(sync_name(vfs, root, encoded.crc).await),
        Err(error) => resolve(vfs, root, manifest, encoded.crc, error).await,
    };
    // Nobody reads a temp name, and a full device wants its space back; one that stays is removed by the garbage collection.
    let _ = retry(|| vfs.remove(&temp)).await;
    landing
}

/// Lands `manifest`, without which the caller cannot go on, and makes it the head.
///
/// # Errors
///
/// See [`land`]; `Failed` when it is unknown whether it landed, and [`overtaken`].
pub(crate) async fn land_head<V: Vfs>(vfs: &V, root: &Path, manifest: Manifest) -> Result<Head> {
    match land(vfs, root, &manifest).await? {
        Landing::Landed { crc } => Ok(Head { manifest, crc }),
        Landing::Unknown(error) => Err(error.with_kind(ErrorKind::Failed)),
        Landing::Conflict(found) => Err(overtaken(root, &found)),
    }
}

/// `Fenced`: what a writer is told whose number `found` has.
pub(crate) fn overtaken(root: &Path, found: &Manifest) -> Error {
    let what = format!("manifest {} was landed by another writer, with token {}", found.seq, found.token);
    Error::new(ErrorCode::ManifestOvertaken, what).at(&path_of(root, found.seq))
}

/// Lands `manifest`, which is the head and the first of its database, once more: a kill may have come between the link
/// of its name and the sync of it, and then nothing but its name in the page cache says that there is a database.
/// `nonce` makes the temp name unique; the name that is replaced has the same content.
///
/// # Errors
///
/// `Full` or `Failed`; a later open does it again.
pub(crate) async fn land_again<V: Vfs>(
    vfs: &V,
    root: &Path,
    manifest: &Manifest,
    nonce: Nonce,
) -> Result<()> {
    let path = path_of(root, manifest.seq);
    let temp = folder(root).join(format!("{:020}.{nonce}.tmp", manifest.seq.0));
    write_temp(vfs, &temp, Bytes::from(encode(manifest)?.bytes)).await?;
    if let Err(error) = retry(|| vfs.rename(&temp, &path)).await {
        let _ = retry(|| vfs.remove(&temp)).await;
        return Err(Error::io("renaming a manifest", &path, error));
    }
    let folder = folder(root);
    retry(|| vfs.sync_dir(&folder)).await.map_err(|error| Error::io("syncing a folder", &folder, error))
}

async fn write_temp<V: Vfs>(vfs: &V, temp: &Path, bytes: Bytes) -> Result<()> {
    let file = retry(|| vfs.create_new(temp))
        .await
        .map_err(|error| Error::io("creating a manifest", temp, error))?;
    let written = match write_all_at(&file, 0, bytes).await {
        Ok(()) => retry(|| file.sync_data()).await,
        Err(error) => Err(error),
    };
    drop(file);
    match written {
        Ok(()) => Ok(()),
        Err(error) => {
            // The space is wanted back at once when the device is full. No name but this one refers to it.
            let _ = retry(|| vfs.remove(temp)).await;
            Err(Error::io("writing a manifest", temp, error))
        }
    }
}

async fn sync_name<V: Vfs>(vfs: &V, root: &Path, crc: u32) -> Landing {
    let folder = folder(root);
    match retry(|| vfs.sync_dir(&folder)).await {
        Ok(()) => Landing::Landed { crc },
        Err(error) => {
            let error = Error::io("syncing the folder of a manifest that was linked", &folder, error);
            Landing::Unknown(error.with_kind(ErrorKind::Failed).coded(ErrorCode::ManifestUnknown))
        }
    }
}

/// The link reported `error`: what has the name now says whose it is, and its absence says nothing unless the
/// error itself does.
async fn resolve<V: Vfs>(
    vfs: &V,
    root: &Path,
    manifest: &Manifest,
    crc: u32,
    error: io::Error,
) -> Result<Landing> {
    let path = path_of(root, manifest.seq);
    match read(vfs, &path).await {
        Ok(Some(found)) if found.manifest.nonce == manifest.nonce => Ok(sync_name(vfs, root, crc).await),
        Ok(Some(found)) => Ok(Landing::Conflict(Box::new(found.manifest))),
        Err(unreadable) if unreadable.kind() == ErrorKind::Corrupt => Err(unreadable),
        Ok(None) if crate::error::is_full(&error) => Err(Error::io("linking a manifest", &path, error)),
        Ok(None) | Err(_) => {
            let error = Error::io("linking a manifest", &path, error);
            Ok(Landing::Unknown(error.with_kind(ErrorKind::Failed).coded(ErrorCode::ManifestUnknown)))
        }
    }
}

/// The greatest manifest of the database at `root` among the names `entries` of its folder; `None` when there is none.
///
/// # Errors
///
/// `Corrupt` naming the file when the greatest one is damaged, of another database or under another number than its
/// own: an older one would be a silent step back. `Unsupported` when a newer program wrote it, `Failed` when it
/// cannot be read.
pub(crate) async fn head_among<V: Vfs>(
    vfs: &V,
    root: &Path,
    database: DatabaseId,
    entries: &[Entry],
) -> Result<Option<Head>> {
    let Some(seq) = greatest(entries) else { return Ok(None) };
    let path = path_of(root, seq);
    let gone = || {
        Error::corrupt(ErrorCode::ManifestVanished, &path, "the head vanished between listing and reading")
    };
    let head = read(vfs, &path).await?.ok_or_else(gone)?;
    if head.manifest.seq != seq {
        return Err(Error::corrupt(
            ErrorCode::ManifestForeign,
            &path,
            format!("offset 36: this is manifest {}", head.manifest.seq),
        ));
    }
    if head.manifest.database != database {
        let other = head.manifest.database;
        return Err(Error::corrupt(
            ErrorCode::ManifestForeign,
            &path,
            format!(
                "the manifest is of database {other}, IDENT of {database}: one of them is from elsewhere"
            ),
        ));
    }
    Ok(Some(head))
}

/// [`head_among`] the names that are there now.
pub(crate) async fn head<V: Vfs>(vfs: &V, root: &Path, database: DatabaseId) -> Result<Option<Head>> {
    let entries = list(vfs, &folder(root)).await?;
    head_among(vfs, root, database, &entries).await
}

/// The greatest number among the names that are manifests' by pattern.
pub(crate) fn greatest(entries: &[Entry]) -> Option<ManifestSeq> {
    let files = entries.iter().filter(|entry| entry.kind == EntryKind::File);
    files.filter_map(|entry| decimal(&entry.name)).max().map(ManifestSeq)
}

async fn read<V: Vfs>(vfs: &V, path: &Path) -> Result<Option<Head>> {
    let Some(bytes) = read_whole(vfs, path, MANIFEST_BYTES_MAX).await? else { return Ok(None) };
    let (manifest, crc) = decode(path, &bytes)?;
    Ok(Some(Head { manifest, crc }))
}

/// The entries of `folder`; none when there is no such folder.
///
/// # Errors
///
/// `Failed` naming the folder.
pub(crate) async fn list<V: Vfs>(vfs: &V, folder: &Path) -> Result<Vec<Entry>> {
    match retry(|| vfs.list(folder)).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(|error| Error::io("listing a folder", folder, error)),
    }
}

/// The content of the file `path`, at most `bytes_max` long; `None` when there is no such name.
///
/// # Errors
///
/// `Corrupt` when it is no regular file or longer, `Failed` when it cannot be read: an error of the device is
/// neither absence nor damage.
pub(crate) async fn read_whole<V: Vfs>(vfs: &V, path: &Path, bytes_max: u64) -> Result<Option<BytesMut>> {
    let failed = |error| Error::io("reading", path, error);
    let file = match retry(|| vfs.open(path, OpenMode::Read)).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            return Err(Error::corrupt(ErrorCode::FileImpossible, path, "this is no regular file"));
        }
        Err(error) => return Err(failed(error)),
    };
    let bytes = retry(|| file.len()).await.map_err(failed)?;
    if bytes > bytes_max {
        return Err(Error::corrupt(
            ErrorCode::FileImpossible,
            path,
            format!("{bytes} bytes long, at most {bytes_max} are possible"),
        ));
    }
    let length = usize::try_from(bytes)
        .map_err(|_| Error::corrupt(ErrorCode::FileImpossible, path, "longer than memory"))?;
    read_exact_at(&file, 0, BytesMut::zeroed(length)).await.map(Some).map_err(failed)
}
