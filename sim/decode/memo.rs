//! What was decoded of files that come again: of two images of one run most files are the same.
//!
//! The decoder is a pure function of files, so what it made of some holds for the same names and bytes. They are
//! told by their digests, of 128 bits. Errors are not kept.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use highwater::sim::Disk;
use xxhash_rust::xxh3::Xxh3;

use super::flat::Flat;
use super::format::bytes::crc;
use super::format::manifest::{CoreLife, Manifest, StateFile};
use super::state::Values;
use super::wal::CoreLog;

/// The bytes of a file.
pub(crate) struct Content {
    pub(super) digest: u128,
    bytes: Vec<u8>,
    crc: OnceLock<u32>,
}

impl Content {
    /// The CRC-32C of all of them.
    pub(super) fn crc(&self) -> u32 {
        *self.crc.get_or_init(|| crc(0, &self.bytes))
    }
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

/// The files of a directory by their path in it, with `/` between the parts.
pub(crate) type Files = BTreeMap<String, Arc<Content>>;

/// The bytes of files by their digest.
#[derive(Debug, Default)]
pub(crate) struct FileCache {
    files: BTreeMap<u128, Arc<Content>>,
    bytes: usize,
}

/// What a cache holds before it is emptied.
const CACHE_BYTES_MAX: usize = 64 << 20;

impl FileCache {
    /// The file `path`, which has this digest.
    pub(super) fn file(&mut self, disk: &Disk, path: &Path, digest: u128) -> Arc<Content> {
        if let Some(content) = self.files.get(&digest) {
            return Arc::clone(content);
        }
        let bytes = disk.read_file(path).unwrap_or_default();
        self.bytes += bytes.len();
        if self.bytes > CACHE_BYTES_MAX {
            *self = Self { bytes: bytes.len(), ..Self::default() };
        }
        let content = Arc::new(Content { digest, bytes, crc: OnceLock::new() });
        self.files.insert(digest, Arc::clone(&content));
        content
    }
}

/// Names a part of a directory by what it was decoded from.
pub(super) struct Key(Xxh3);

impl Key {
    pub(super) fn new(part: &str) -> Self {
        let mut hasher = Xxh3::new();
        hasher.update(part.as_bytes());
        Self(hasher)
    }

    pub(super) fn with(mut self, number: u128) -> Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    /// A file, and where it is.
    pub(super) fn file(mut self, path: &str, content: &Content) -> Self {
        self.0.update(&(path.len() as u64).to_le_bytes());
        self.0.update(path.as_bytes());
        self.with(content.digest)
    }

    pub(super) fn end(&self) -> u128 {
        self.0.digest128()
    }
}

impl StateFile {
    /// Adds what a file is read by.
    pub(super) fn key(&self, key: Key) -> Key {
        let Self { uuid, token, attempt, is_base, digest, bytes, puts, deletes, put_bytes, .. } = *self;
        let Self { from_epoch, through_epoch, crc, core, .. } = *self;
        let key = key.with(uuid).with(digest).with(is_base.into()).with(core.into());
        let counts = [token, attempt.into(), bytes, puts, deletes, put_bytes];
        let epochs = [from_epoch, through_epoch, crc.into()];
        counts.into_iter().chain(epochs).fold(key, |key, number| key.with(number.into()))
    }
}

impl Manifest {
    /// Names what the log of `core` is read by, beside its files.
    pub(super) fn key_of_log(&self, core: u16, unit: u32) -> Key {
        let index = usize::from(core);
        let key = Key::new("log").with(self.database).with(self.token.into()).with(unit.into());
        let mut key = key.with(core.into()).with(self.floors[index].into());
        for life in &self.lives {
            let CoreLife { identity, first_segment, first_lsn, carried_through, ceiling } = life.cores[index];
            key =
                key.with(life.token.into()).with(identity).with(ceiling.map_or(0, |lsn| u128::from(lsn) + 1));
            for number in [first_segment, first_lsn, carried_through] {
                key = key.with(number.into());
            }
        }
        key
    }
}

/// Things that were decoded, by their keys.
#[derive(Debug)]
pub(super) struct Shelf<T>(BTreeMap<u128, T>);

/// What a shelf holds before it is emptied.
const SHELF_MAX: usize = 1024;

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Clone> Shelf<T> {
    pub(super) fn get(&mut self, key: u128, make: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        if let Some(found) = self.0.get(&key) {
            return Ok(found.clone());
        }
        let made = make()?;
        if self.0.len() >= SHELF_MAX {
            self.0.clear();
        }
        self.0.insert(key, made.clone());
        Ok(made)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    pub(super) files: FileCache,
    pub(super) heads: Shelf<Arc<Manifest>>,
    pub(super) logs: Shelf<Arc<CoreLog>>,
    pub(super) checkpoints: Shelf<Arc<Values>>,
    pub(super) states: Shelf<(Flat, Option<i64>)>,
}
