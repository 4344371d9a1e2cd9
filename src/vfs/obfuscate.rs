//! A wrapper that stores other bytes than it is given, a few at a time.
//!
//! Run a program on it to prove two things: whoever reads or writes a file past the seam meets bytes that make no
//! sense, and whoever takes one call for the whole transfer stops short. Every non-zero byte is moved on by one on
//! disk (zero stays zero, so that unwritten ranges still read as zero), no transfer takes more than a set count of
//! bytes, and what a short read leaves of the buffer is overwritten with garbage.

#[cfg(test)]
mod tests;

use std::io;
use std::num::NonZeroUsize;
use std::path::Path;

use bytes::{Bytes, BytesMut};

use super::{Entry, File, OpenMode, Vfs};

/// What a short read leaves behind the bytes that it has read.
const GARBAGE: u8 = 0xA5;

/// A file system whose files hold shifted bytes and whose transfers are short.
#[derive(Clone, Debug)]
pub struct ObfuscatedVfs<V> {
    inner: V,
    bytes_max: NonZeroUsize,
}

/// An open file of an [`ObfuscatedVfs`].
#[derive(Debug)]
pub struct ObfuscatedFile<F> {
    inner: F,
    bytes_max: usize,
}

impl<V> ObfuscatedVfs<V> {
    /// Files of `inner`, of which one call reads or writes at most `bytes_max` bytes.
    pub fn new(inner: V, bytes_max: NonZeroUsize) -> Self {
        Self { inner, bytes_max }
    }

    fn wrap<F>(&self, inner: F) -> ObfuscatedFile<F> {
        ObfuscatedFile { inner, bytes_max: self.bytes_max.get() }
    }
}

/// 1 → 2 → … → 255 → 1, and 0 → 0.
fn obscure(byte: u8) -> u8 {
    if byte == 0 { 0 } else { byte % 255 + 1 }
}

/// The inverse of [`obscure`].
fn reveal(byte: u8) -> u8 {
    match byte {
        0 => 0,
        1 => 255,
        _ => byte - 1,
    }
}

impl<V: Vfs> Vfs for ObfuscatedVfs<V> {
    type File = ObfuscatedFile<V::File>;
    type Lock = V::Lock;

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Self::File> {
        Ok(self.wrap(self.inner.open(path, mode).await?))
    }

    async fn create_new(&self, path: &Path) -> io::Result<Self::File> {
        Ok(self.wrap(self.inner.create_new(path).await?))
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path).await
    }

    async fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.link(from, to).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path).await
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.inner.list(path).await
    }

    async fn lock(&self, path: &Path) -> io::Result<V::Lock> {
        self.inner.lock(path).await
    }

    async fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.inner.free_space(path).await
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path).await
    }
}

impl<F: File> ObfuscatedFile<F> {
    /// What one call takes of `data`, as it goes to disk.
    fn front(&self, data: &Bytes) -> Bytes {
        data[..data.len().min(self.bytes_max)].iter().map(|&byte| obscure(byte)).collect()
    }
}

impl<F: File> File for ObfuscatedFile<F> {
    async fn len(&self) -> io::Result<u64> {
        self.inner.len().await
    }

    async fn link_count(&self) -> io::Result<u64> {
        self.inner.link_count().await
    }

    async fn read_at(&self, offset: u64, mut buffer: BytesMut) -> io::Result<(BytesMut, usize)> {
        let short = BytesMut::zeroed(buffer.len().min(self.bytes_max));
        let (short, count) = self.inner.read_at(offset, short).await?;
        assert!(count <= short.len(), "{count} bytes read into {}", short.len());
        buffer.fill(GARBAGE);
        for (to, from) in buffer.iter_mut().zip(&short[..count]) {
            *to = reveal(*from);
        }
        Ok((buffer, count))
    }

    async fn write_at(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        self.inner.write_at(offset, self.front(&data)).await
    }

    async fn write_at_and_sync(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        self.inner.write_at_and_sync(offset, self.front(&data)).await
    }

    async fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data().await
    }

    async fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.inner.allocate(bytes).await
    }

    async fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.inner.set_len(bytes).await
    }

    fn depth_max(&self) -> usize {
        self.inner.depth_max()
    }

    fn write_unit(&self) -> u32 {
        self.inner.write_unit()
    }

    fn failures_are_own(&self) -> bool {
        self.inner.failures_are_own()
    }
}
