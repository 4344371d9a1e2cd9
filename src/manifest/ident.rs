//! IDENT: who a database is and what can never change, written once at creation.
//!
//! ```text
//!  0  magic "HWIDENT\0"    8  u32 format        12  u32 write unit
//! 16  u128 database       32  u128 timeline     48  u64 hash seed
//! 56  u16 hash id         58  u16 key groups    60  u8 route rule     61  u8 delimiter   62  u16 prefix bytes
//! 64  u64 created, wall clock ms                72  zeroes            92  u32 crc of 0..92
//! ```
//!
//! Creation, each line durable before the next:
//!
//! ```text
//! 1 folders   wal/ wal/{core}/ m/ f/    sync_dir wal, data, parent
//! 2 IDENT     temp, sync, link, sync_dir data
//! 3 m/1       the manifest of a creation: no life, nothing to recover
//! 4 (the first open) segments, then m/2: the first open manifest
//! ```
//!
//! So nothing that holds data exists before the first manifest does, and "IDENT without a manifest" is an
//! interrupted creation exactly when there is no segment and no checkpoint file.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::codec::{HASH_ID_XXH3_64, Reader, Writer, crc};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{DatabaseId, Nonce, TimelineId};
use crate::limits::{FORMAT_VERSION, KEY_BYTES_MAX, KEY_GROUPS_MAX, SECTOR_BYTES, WRITE_UNIT_BYTES_MAX};
use crate::route::Route;
use crate::vfs::{File, Vfs, renew_dir, retry, write_all_at};

use super::gc::Listing;
use super::store::read_whole;

pub(crate) const IDENT_NAME: &str = "IDENT";

const MAGIC: &[u8; 8] = b"HWIDENT\0";
pub(crate) const IDENT_BYTES: usize = 96;
const CRC_AT: usize = IDENT_BYTES - 4;
const ZEROES: usize = CRC_AT - 72;

/// What is fixed for the life of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ident {
    /// Bytes that the device overwrites without touching others: 512 or 4,096.
    pub(crate) write_unit: u32,
    pub(crate) database: DatabaseId,
    pub(crate) timeline: TimelineId,
    pub(crate) hash_seed: u64,
    pub(crate) hash_id: u16,
    pub(crate) key_groups: u16,
    pub(crate) route: Route,
    /// When it was created, by a clock that may have been wrong: for people.
    pub(crate) created_wall_ms: u64,
}

impl Ident {
    /// Whether this build can work with the values; what is wrong otherwise.
    fn flaw(&self) -> Option<&'static str> {
        if self.write_unit != SECTOR_BYTES && self.write_unit != WRITE_UNIT_BYTES_MAX {
            return Some("the write unit is neither 512 nor 4,096 bytes");
        }
        if self.hash_id != HASH_ID_XXH3_64 {
            return Some("the hash of keys is unknown");
        }
        if self.key_groups == 0 || self.key_groups > KEY_GROUPS_MAX {
            return Some("the count of key groups is out of range");
        }
        let prefix_fits = match self.route {
            Route::Prefix(bytes) => bytes > 0 && usize::from(bytes) <= KEY_BYTES_MAX,
            Route::WholeKey | Route::Until(_) => true,
        };
        (!prefix_fits).then_some("the route prefix is out of range")
    }

    /// The file's content.
    ///
    /// # Panics
    ///
    /// When a value is out of range: options are checked before.
    pub(crate) fn encode(&self) -> Vec<u8> {
        assert_eq!(self.flaw(), None, "{self:?}");
        let (rule, delimiter, prefix_bytes) = match self.route {
            Route::WholeKey => (0, 0, 0),
            Route::Prefix(bytes) => (1, 0, bytes),
            Route::Until(byte) => (2, byte, 0),
        };
        let mut bytes = Vec::with_capacity(IDENT_BYTES);
        Writer(&mut bytes)
            .bytes(MAGIC)
            .u32(FORMAT_VERSION)
            .u32(self.write_unit)
            .u128(self.database.0)
            .u128(self.timeline.0)
            .u64(self.hash_seed)
            .u16(self.hash_id)
            .u16(self.key_groups)
            .u8(rule)
            .u8(delimiter)
            .u16(prefix_bytes)
            .u64(self.created_wall_ms)
            .bytes(&[0; ZEROES]);
        let crc = crc(0, &bytes);
        Writer(&mut bytes).u32(crc);
        assert_eq!(bytes.len(), IDENT_BYTES);
        bytes
    }

    /// The identity in `bytes`, the whole content of the file `path`.
    ///
    /// # Errors
    ///
    /// `Corrupt` when it is damaged, `Unsupported` when a newer program wrote it.
    pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<Self> {
        let bad = |why: &str| Error::corrupt(ErrorCode::IdentDamaged, path, format!("offset 0: {why}"));
        if bytes.len() != IDENT_BYTES || &bytes[..MAGIC.len()] != MAGIC {
            return Err(bad("this is no IDENT"));
        }
        let (body, stored) = bytes.split_at(CRC_AT);
        if Reader(stored).u32() != Some(crc(0, body)) {
            return Err(bad("IDENT is damaged"));
        }
        let fields = &mut Reader(&body[MAGIC.len()..]);
        let format = fields.u32().unwrap_or(0);
        if format > FORMAT_VERSION {
            return Err(Error::newer_format(path, "IDENT", format));
        }
        let ident =
            Self::decode_fields(fields).filter(|_| format != 0).ok_or_else(|| bad("IDENT is malformed"))?;
        match ident.flaw() {
            None => Ok(ident),
            Some(flaw) => Err(bad(flaw)),
        }
    }

    fn decode_fields(fields: &mut Reader<'_>) -> Option<Self> {
        let write_unit = fields.u32()?;
        let (database, timeline) = (Nonce(fields.u128()?), Nonce(fields.u128()?));
        let hash_seed = fields.u64()?;
        let (hash_id, key_groups) = (fields.u16()?, fields.u16()?);
        let route = match (fields.u8()?, fields.u8()?, fields.u16()?) {
            (0, 0, 0) => Route::WholeKey,
            (1, 0, bytes) => Route::Prefix(bytes),
            (2, byte, 0) => Route::Until(byte),
            _ => return None,
        };
        let created_wall_ms = fields.u64()?;
        fields.bytes(ZEROES)?.iter().all(|&byte| byte == 0).then_some(Self {
            write_unit,
            database,
            timeline,
            hash_seed,
            hash_id,
            key_groups,
            route,
            created_wall_ms,
        })
    }
}

/// The file IDENT of the database at `root`; `None` when there is no such name.
///
/// # Errors
///
/// `Corrupt` or `Unsupported` as [`Ident::decode`], `Failed` when it cannot be read.
pub(crate) async fn read<V: Vfs>(vfs: &V, root: &Path) -> Result<Option<Ident>> {
    let path = root.join(IDENT_NAME);
    match read_whole(vfs, &path, IDENT_BYTES as u64).await? {
        None => Ok(None),
        Some(bytes) => Ident::decode(&path, &bytes).map(Some),
    }
}

/// The folders of a database of `cores` cores, below its own, parents first.
fn folders(cores: u16) -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from("wal"), PathBuf::from("m"), PathBuf::from("f")];
    folders.extend((0..cores).map(|core| Path::new("wal").join(format!("{core:05}"))));
    folders
}

/// Makes the names of the folders that an unfinished creation left at `root` anew, and that of `root` itself: the
/// sync that should have made them durable may have failed. [`make_folders`] syncs them.
///
/// # Errors
///
/// `Failed` naming the folder.
pub(crate) async fn renew_folders<V: Vfs>(vfs: &V, root: &Path, cores: u16, nonce: Nonce) -> Result<()> {
    for folder in folders(cores) {
        let path = root.join(folder);
        match renew_dir(vfs, &path, nonce).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("renewing a folder of an unfinished creation", &path, error));
            }
            _ => {}
        }
    }
    renew_dir(vfs, root, nonce)
        .await
        .map_err(|error| Error::io("renewing the database directory", root, error))
}

/// Makes the folders of a database of `cores` cores at `root`, those that `listing` lacks, and their names durable, that
/// of `root` itself last. Every open calls it, because the count of cores may have grown and a folder of an
/// interrupted open may not be durable.
///
/// # Errors
///
/// `Full`, or `Failed` naming the folder.
pub(crate) async fn make_folders<V: Vfs>(vfs: &V, root: &Path, cores: u16, listing: &Listing) -> Result<()> {
    assert!(cores > 0, "a database has a core");
    if *listing == Listing::default() {
        make_folder(vfs, root).await?;
    }
    for folder in folders(cores).into_iter().filter(|folder| !listing.has_folder(folder)) {
        make_folder(vfs, &root.join(folder)).await?;
    }
    sync_dir(vfs, &root.join("wal")).await?;
    sync_dir(vfs, root).await?;
    match root.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_dir(vfs, Path::new(".")).await,
        Some(parent) => sync_dir(vfs, parent).await,
        None => Ok(()),
    }
}

async fn make_folder<V: Vfs>(vfs: &V, path: &Path) -> Result<()> {
    match retry(|| vfs.create_dir(path)).await {
        Ok(()) => Ok(()),
        // Whatever has the name: if it is no folder, the first use of it says so.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::io("creating a folder", path, error)),
    }
}

async fn sync_dir<V: Vfs>(vfs: &V, path: &Path) -> Result<()> {
    retry(|| vfs.sync_dir(path)).await.map_err(|error| Error::io("syncing a folder", path, error))
}

/// Lands `ident` in the directory `root`, step 2 of a creation, durably. `nonce` makes the temp name unique.
///
/// # Errors
///
/// `Full` or `Failed`; a later open goes on with the creation, or finds it done. `Invalid` when there is an IDENT.
pub(crate) async fn land<V: Vfs>(vfs: &V, root: &Path, ident: &Ident, nonce: Nonce) -> Result<()> {
    let path = root.join(IDENT_NAME);
    let temp = write_temp(vfs, root, ident, nonce).await?;
    match retry(|| vfs.link(&temp, &path)).await {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Error::new(ErrorCode::DatabaseExists, "the database exists already").at(&path));
        }
        Err(error) => return Err(Error::io("linking IDENT", &path, error)),
    }
    sync_dir(vfs, root).await?;
    // A temp that stays is removed by the next open.
    let _ = retry(|| vfs.remove(&temp)).await;
    Ok(())
}

/// Lands `ident`, which was found in `root`, once more: an interrupted creation is finished with it. The sync that
/// made its name durable may have failed, and then no later sync of that name proves anything; a new name does.
///
/// # Errors
///
/// `Full` or `Failed`; a later open finishes the creation.
pub(crate) async fn land_again<V: Vfs>(vfs: &V, root: &Path, ident: &Ident, nonce: Nonce) -> Result<()> {
    let path = root.join(IDENT_NAME);
    let temp = write_temp(vfs, root, ident, nonce).await?;
    retry(|| vfs.rename(&temp, &path)).await.map_err(|error| Error::io("renaming IDENT", &path, error))?;
    sync_dir(vfs, root).await
}

/// Writes `ident` under a temp name of `root`; its bytes are durable.
async fn write_temp<V: Vfs>(vfs: &V, root: &Path, ident: &Ident, nonce: Nonce) -> Result<PathBuf> {
    let temp = root.join(format!("{IDENT_NAME}.{nonce}.tmp"));
    let failed = |error| Error::io("writing IDENT", &temp, error);
    let file = retry(|| vfs.create_new(&temp)).await.map_err(failed)?;
    write_all_at(&file, 0, Bytes::from(ident.encode())).await.map_err(failed)?;
    retry(|| file.sync_data()).await.map_err(failed)?;
    Ok(temp)
}
