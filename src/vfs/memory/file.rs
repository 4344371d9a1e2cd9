//! The bytes of a file in memory.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};

use crate::limits::SECTOR_BYTES;
use crate::sync::unpoisoned;
use crate::vfs::{File, OpenMode};

/// Bytes of a page.
const PAGE_BYTES: usize = 16 << 10;

/// A file, whatever its names are and whoever has it open.
#[derive(Debug)]
pub(super) struct Inode {
    names: AtomicU64,
    content: Mutex<Content>,
}

/// Pages by their numbers; one that is not there holds zeroes.
#[derive(Debug, Default)]
struct Content {
    bytes: u64,
    pages: BTreeMap<u64, Box<[u8]>>,
}

/// An open file of a [`MemoryVfs`](super::MemoryVfs).
#[derive(Debug)]
pub struct MemoryFile {
    inode: Arc<Inode>,
    mode: OpenMode,
}

impl Inode {
    /// An empty file.
    pub(super) fn with_a_name() -> Arc<Self> {
        Arc::new(Self { names: AtomicU64::new(1), content: Mutex::default() })
    }

    /// It has one name more.
    pub(super) fn named(&self) {
        self.names.fetch_add(1, Ordering::Relaxed);
    }

    /// It has one name less.
    pub(super) fn unnamed(&self) {
        let before = self.names.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "a file lost a name that it did not have");
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        unpoisoned(self.content.lock())
    }
}

/// The stretches of `offset .. offset + bytes`, page by page: number, place in the page, place in the whole, length.
fn stretches(offset: u64, bytes: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let page_bytes = PAGE_BYTES as u64;
    let mut at = 0;
    std::iter::from_fn(move || {
        if at == bytes {
            return None;
        }
        let place = offset + at as u64;
        let within = usize::try_from(place % page_bytes).expect("a page fits memory");
        let length = (PAGE_BYTES - within).min(bytes - at);
        let stretch = (place / page_bytes, within, at, length);
        at += length;
        Some(stretch)
    })
}

impl Content {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let left = usize::try_from(self.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = buffer.len().min(left);
        for (page, within, at, length) in stretches(offset, count) {
            let target = &mut buffer[at..at + length];
            match self.pages.get(&page) {
                Some(page) => target.copy_from_slice(&page[within..within + length]),
                None => target.fill(0),
            }
        }
        count
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset.checked_add(data.len() as u64).ok_or(ErrorKind::InvalidInput)?;
        for (number, within, at, length) in stretches(offset, data.len()) {
            let piece = &data[at..at + length];
            if piece.iter().all(|byte| *byte == 0) {
                self.zero(number, within, length);
                continue;
            }
            let page = self.pages.entry(number).or_insert_with(|| vec![0; PAGE_BYTES].into_boxed_slice());
            page[within..within + length].copy_from_slice(piece);
        }
        self.bytes = self.bytes.max(end);
        Ok(())
    }

    fn zero(&mut self, number: u64, within: usize, length: usize) {
        if length == PAGE_BYTES {
            self.pages.remove(&number);
        } else if let Some(page) = self.pages.get_mut(&number) {
            page[within..within + length].fill(0);
        }
    }

    /// What is cut off does not come back.
    fn set_len(&mut self, bytes: u64) {
        let (last, within) = (bytes / PAGE_BYTES as u64, bytes % PAGE_BYTES as u64);
        if bytes < self.bytes {
            self.pages.split_off(&(last + 1));
            let within = usize::try_from(within).expect("a page fits memory");
            self.zero(last, within, PAGE_BYTES - within);
        }
        self.bytes = bytes;
    }
}

impl MemoryFile {
    pub(super) fn new(inode: Arc<Inode>, mode: OpenMode) -> Self {
        Self { inode, mode }
    }

    /// How many pages it takes.
    #[cfg(test)]
    pub(super) fn pages(&self) -> usize {
        self.inode.content().pages.len()
    }

    #[cfg(test)]
    pub(super) fn downgrade(&self) -> std::sync::Weak<Inode> {
        Arc::downgrade(&self.inode)
    }

    /// # Errors
    ///
    /// `PermissionDenied` for a file that is open for reading.
    fn to_write(&self) -> io::Result<MutexGuard<'_, Content>> {
        match self.mode {
            OpenMode::Read => Err(ErrorKind::PermissionDenied.into()),
            OpenMode::Write => Ok(self.inode.content()),
        }
    }
}

impl File for MemoryFile {
    async fn len(&self) -> io::Result<u64> {
        Ok(self.inode.content().bytes)
    }

    async fn link_count(&self) -> io::Result<u64> {
        Ok(self.inode.names.load(Ordering::Relaxed))
    }

    async fn read_at(&self, offset: u64, mut buffer: BytesMut) -> io::Result<(BytesMut, usize)> {
        let count = self.inode.content().read(offset, &mut buffer);
        Ok((buffer, count))
    }

    async fn write_at(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        self.to_write()?.write(offset, &data)?;
        Ok(data.len())
    }

    async fn write_at_and_sync(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        self.write_at(offset, data).await
    }

    async fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    async fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut content = self.to_write()?;
        content.bytes = content.bytes.max(bytes);
        Ok(())
    }

    async fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.to_write()?.set_len(bytes);
        Ok(())
    }

    fn depth_max(&self) -> usize {
        1
    }

    /// Whatever a log was made for: nothing here is torn.
    fn write_unit(&self) -> u32 {
        SECTOR_BYTES
    }

    fn failures_are_own(&self) -> bool {
        true
    }
}
