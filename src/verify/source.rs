//! Files as a verification reads them: by name below the database's folder, in chunks, counted.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::decode::bytes::crc;
use super::report::{DamageKind, Finding};
use super::version::Header;
use super::{Progress, VerifyProgress};
use crate::vfs::{Entry, EntryKind, File, OpenMode, Vfs, read_exact_at, retry};

/// What one read asks for, unless one record is longer.
const CHUNK_BYTES: usize = 256 << 10;

/// A database's folder.
#[derive(Clone)]
pub(crate) struct Directory<V> {
    vfs: V,
    root: PathBuf,
    tally: Rc<Tally>,
}

/// What was read so far.
#[derive(Default)]
pub(crate) struct Tally {
    bytes: Cell<u64>,
    total: Cell<u64>,
    progress: Option<Progress>,
}

impl Tally {
    fn count(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes as u64);
        if let Some(progress) = &self.progress {
            let (bytes_read, bytes_known) = (self.bytes.get(), self.total.get().max(self.bytes.get()));
            progress(VerifyProgress { bytes_read, bytes_known });
        }
    }
}

impl<V: Vfs> Directory<V> {
    pub(crate) fn new(vfs: V, root: &Path, progress: Option<Progress>) -> Self {
        let tally = Tally { progress, ..Tally::default() };
        Self { vfs, root: root.to_owned(), tally: Rc::new(tally) }
    }

    /// Bytes that were read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.tally.bytes.get()
    }

    /// That many more are going to be read.
    pub(crate) fn expect_bytes(&self, bytes: u64) {
        self.tally.total.set(self.tally.total.get().saturating_add(bytes));
    }

    /// The files and folders in `folder`; none when it is not there.
    pub(crate) async fn names(&self, folder: &str) -> Result<Option<Vec<Entry>>, Finding> {
        let path = self.root.join(folder);
        match retry(|| self.vfs.list(&path)).await {
            Ok(entries) => Ok(Some(entries)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(Path::new(folder), &error)),
        }
    }

    /// A database's folders are folders in it: a link in the place of one would lead out of the directory.
    pub(crate) async fn check_folders(&self) -> Result<(), Finding> {
        let misplaced = |folder: PathBuf| {
            let what = "is no folder, and links are not followed";
            Err(Finding::new(DamageKind::Damaged, &folder, what))
        };
        for entry in self.names("").await?.unwrap_or_default() {
            let is_folder = entry.kind == EntryKind::Directory;
            if matches!(&*entry.name, "wal" | "m" | "f") && !is_folder {
                return misplaced(PathBuf::from(entry.name));
            }
        }
        for entry in self.names("wal").await?.unwrap_or_default() {
            let is_core = entry.name.len() == 5 && entry.name.bytes().all(|byte| byte.is_ascii_digit());
            if is_core && entry.kind != EntryKind::Directory {
                return misplaced(Path::new("wal").join(entry.name));
            }
        }
        Ok(())
    }

    /// The numbers that files in `folder` have for names, ascending; other names are not a database's.
    pub(crate) async fn numbers(&self, folder: &str) -> Result<Vec<u64>, Finding> {
        let entries = self.names(folder).await?.unwrap_or_default();
        let files = entries.iter().filter(|entry| entry.kind == EntryKind::File);
        let mut numbers: Vec<u64> = files.filter_map(|entry| number(&entry.name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Opens the file `path`.
    pub(crate) async fn open(&self, path: impl AsRef<Path>) -> Result<Source<V::File>, Finding> {
        let (path, tally) = (path.as_ref().to_owned(), Rc::clone(&self.tally));
        let full = self.root.join(&path);
        let file = match retry(|| self.vfs.open(&full, OpenMode::Read)).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Finding::new(DamageKind::Missing, &path, "the file is needed and missing"));
            }
            Err(error) => return Err(unreadable(&path, &error)),
        };
        let bytes = retry(|| file.len()).await.map_err(|error| unreadable(&path, &error))?;
        Ok(Source { file, path, bytes, tally })
    }

    /// All of the file `path`, which begins with a header of this kind and is at most `bytes_max` long.
    pub(crate) async fn whole(&self, path: &str, bytes_max: u64, header: Header) -> Result<Bytes, Finding> {
        let file = self.open(path).await?;
        if file.bytes > bytes_max {
            let what = format!("{} bytes, and {bytes_max} are possible", file.bytes);
            return Err(Finding::new(DamageKind::Damaged, &file.path, what));
        }
        let bytes = file.read(0, usize::try_from(file.bytes).unwrap_or(usize::MAX)).await?;
        header.check(&file, &bytes)?;
        Ok(bytes)
    }
}

/// The number that a name of twenty digits is.
fn number(name: &str) -> Option<u64> {
    let digits = name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit());
    if digits { name.parse().ok() } else { None }
}

fn unreadable(path: &Path, error: &io::Error) -> Finding {
    Finding::new(DamageKind::Unreadable, path, format!("cannot be read: {error}"))
}

/// An open file.
pub(crate) struct Source<F> {
    file: F,
    /// Below the database's folder.
    pub(crate) path: PathBuf,
    /// Its length when it was opened.
    pub(crate) bytes: u64,
    tally: Rc<Tally>,
}

impl<F: File> Source<F> {
    /// `bytes` bytes at `at`.
    pub(crate) async fn read(&self, at: u64, bytes: usize) -> Result<Bytes, Finding> {
        self.fill(at, BytesMut::new(), bytes).await.map(BytesMut::freeze)
    }

    /// What is in `front`, and `bytes` bytes from `at` on behind it.
    async fn fill(&self, at: u64, front: BytesMut, bytes: usize) -> Result<BytesMut, Finding> {
        if at.checked_add(bytes as u64).is_none_or(|end| end > self.bytes) {
            let what = format!("ends early: {bytes} bytes at {at} of {}", self.bytes);
            return Err(self.damage(at, what));
        }
        let mut buffer = BytesMut::zeroed(front.len() + bytes);
        buffer[..front.len()].copy_from_slice(&front);
        let rest = if front.is_empty() { std::mem::take(&mut buffer) } else { buffer.split_off(front.len()) };
        let rest = read_exact_at(&self.file, at, rest).await.map_err(|error| {
            let mut finding = unreadable(&self.path, &error);
            finding.offset = Some(at);
            finding
        })?;
        self.tally.count(rest.len());
        if buffer.is_empty() {
            return Ok(rest);
        }
        buffer.unsplit(rest);
        Ok(buffer)
    }

    /// Something is wrong at `at`.
    pub(crate) fn damage(&self, at: u64, what: impl Into<String>) -> Finding {
        Finding::new(DamageKind::Damaged, &self.path, what).at(at)
    }
}

/// A file that is read from one place on, in order.
pub(crate) struct Sequential<F> {
    pub(crate) source: Source<F>,
    /// Where the next byte to be taken is.
    at: u64,
    /// Read from there on.
    buffer: BytesMut,
    /// Of everything read.
    crc: u32,
}

impl<F: File> Sequential<F> {
    pub(crate) fn from(source: Source<F>, at: u64) -> Self {
        Self { source, at, buffer: BytesMut::new(), crc: 0 }
    }

    /// Where the next byte to be taken is.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The crc of everything that was read, which is more than was taken.
    pub(crate) fn crc(&self) -> u32 {
        self.crc
    }

    /// The next `bytes` bytes, which stay.
    pub(crate) async fn peek(&mut self, bytes: usize) -> Result<&[u8], Finding> {
        let have = self.buffer.len();
        if have < bytes {
            let from = self.at + have as u64;
            let rest = usize::try_from(self.source.bytes.saturating_sub(from)).unwrap_or(usize::MAX);
            let more = (bytes - have).max(CHUNK_BYTES.min(rest));
            let front = std::mem::take(&mut self.buffer);
            self.buffer = self.source.fill(from, front, more).await?;
            self.crc = crc(self.crc, &self.buffer[have..]);
        }
        Ok(&self.buffer[..bytes])
    }

    /// The next `bytes` bytes.
    pub(crate) async fn take(&mut self, bytes: usize) -> Result<Bytes, Finding> {
        self.peek(bytes).await?;
        self.at += bytes as u64;
        Ok(self.buffer.split_to(bytes).freeze())
    }

    /// Goes on at `at`, which is not behind.
    pub(crate) async fn skip_to(&mut self, at: u64) -> Result<(), Finding> {
        while self.at < at {
            let step = usize::try_from(at - self.at).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            self.take(step).await?;
        }
        Ok(())
    }
}
