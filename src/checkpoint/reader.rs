//! Reading a checkpoint file: every byte is checked against the manifest's entry before or while it is used.
//!
//! ```text
//! open: length ─► header ─► trailer ─► footer ─► compare with the manifest's entry
//! stream: blocks in order (crcs, key order, kinds, counts, digest) ─► index, footer, trailer (crc of the whole file)
//! by key: index ─► one block at a time: nobody needs that but tests
//! ```
//!
//! What disagrees is `Corrupt`, with the file and the offset. A device that reports an error is `Failed`: that is
//! neither damage nor an end.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use crate::codec::{Digest, crc};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::DatabaseId;
use crate::manifest::{CheckpointFile, FileKind};
use crate::vfs::{File, OpenMode, Vfs, aligned_zeroes, read_exact_at, retry};

use super::Grouping;
use super::block::{BLOCK_HEADER_BYTES, Block, BlockHeader, Counts};
#[cfg(test)]
use super::block::{BlockIndex, INDEX_BYTES_MAX, IndexEntry};
use super::file::{HEADER_BYTES, Header, TRAILER_BYTES, Trailer, file_path};
use super::footer::{FOOTER_BYTES_MAX, Footer, GroupDigest};
use super::queue::{CHUNK_BYTES, Queue};

/// An open checkpoint file.
pub(crate) struct FileReader<F: File> {
    path: PathBuf,
    file: Rc<F>,
    expected: CheckpointFile,
    salt: u32,
    trailer: Trailer,
    footer: Footer,
}

impl<F: File> FileReader<F> {
    /// Opens the file that a manifest of `database`, at `root`, lists as `expected`.
    ///
    /// # Errors
    ///
    /// `Corrupt` when it is missing or not that file, `Unsupported` when a newer program wrote it, `Failed` when it
    /// cannot be read.
    pub(crate) async fn open<V: Vfs<File = F>>(
        vfs: &V,
        root: &Path,
        database: DatabaseId,
        expected: &CheckpointFile,
    ) -> Result<Self> {
        let path = file_path(root, &expected.name);
        let file = match retry(|| vfs.open(&path, OpenMode::Read)).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::corrupt(
                    ErrorCode::CheckpointMissing,
                    &path,
                    "a manifest names this file, and it is missing",
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Err(Error::corrupt(
                    ErrorCode::CheckpointMissing,
                    &path,
                    "a manifest names this file, and it is no regular one",
                ));
            }
            Err(error) => return Err(Error::io("opening a checkpoint file", &path, error)),
        };
        let bytes = retry(|| file.len())
            .await
            .map_err(|error| Error::io("reading a checkpoint file", &path, error))?;
        if bytes != expected.bytes || bytes < (HEADER_BYTES + TRAILER_BYTES) as u64 {
            let message = format!("{bytes} bytes long, where the manifest says {}", expected.bytes);
            return Err(Error::corrupt(ErrorCode::CheckpointDamaged, &path, message));
        }
        let header = read(&file, &path, 0, HEADER_BYTES).await?;
        let salt = Header::of(database, expected).expect(&path, &header)?;
        let trailer = read(&file, &path, bytes - TRAILER_BYTES as u64, TRAILER_BYTES).await?;
        let trailer = Trailer::decode(&path, &trailer, salt, bytes)?;
        let footer = read_footer(&file, &path, &trailer, salt).await?;
        let listed = Footer {
            entries: expected.entries,
            tombstones: expected.tombstones,
            live_bytes: expected.live_bytes,
            digest: Digest(expected.digest),
            ..footer.clone()
        };
        let is_base = expected.name.kind == FileKind::Base;
        if footer != listed || is_base != (footer.key_groups > 0) || (is_base && footer.clears) {
            return Err(Error::corrupt(
                ErrorCode::CheckpointDamaged,
                &path,
                "the footer's counts are not those of the manifest",
            ));
        }
        Ok(Self { path, file: Rc::new(file), expected: *expected, salt, trailer, footer })
    }

    /// The counts and digests: what a restore allocates by. True once a stream of the file has ended well.
    pub(crate) fn footer(&self) -> &Footer {
        &self.footer
    }

    /// The file's blocks in order, read ahead, checked.
    pub(crate) fn stream(&self) -> FileStream<'_, F> {
        self.stream_ahead(usize::MAX)
    }

    /// Gives every block to `apply`, in key order; after an error some have been given that do not count.
    ///
    /// # Errors
    ///
    /// `Corrupt` with the file and the offset, or `Failed`.
    pub(crate) async fn load(&self, mut apply: impl FnMut(&Block)) -> Result<()> {
        let mut stream = self.stream();
        while let Some(block) = stream.next().await? {
            apply(&block);
        }
        Ok(())
    }

    /// The same with at most `reads` reads ahead, for who reads many files at a time.
    pub(super) fn stream_ahead(&self, reads: usize) -> FileStream<'_, F> {
        FileStream {
            reader: self,
            reads: Queue::new(self.file.depth_max().min(reads)),
            next_read: 0,
            buffer: BytesMut::new(),
            at: 0,
            crc: 0,
            index_crc: self.salt,
            index_bytes: 0,
            blocks: 0,
            last_key: None,
            totals: Footer::default(),
            ended: false,
        }
    }

    #[cfg(test)]
    /// The index of the file's blocks, for [`FileReader::block`].
    ///
    /// # Errors
    ///
    /// `Corrupt` or `Failed`.
    pub(crate) async fn index(&self) -> Result<BlockIndex> {
        let Trailer { index_offset, index_bytes, index_crc, blocks, .. } = self.trailer;
        if index_bytes > INDEX_BYTES_MAX {
            return Err(self.corrupt(index_offset, "the index is larger than any can be"));
        }
        let length =
            usize::try_from(index_bytes).map_err(|_| self.corrupt(index_offset, "longer than memory"))?;
        let bytes = read(&*self.file, &self.path, index_offset, length).await?;
        if crc(self.salt, &bytes) != index_crc {
            return Err(self.corrupt(index_offset, "the index is damaged"));
        }
        let index = BlockIndex::decode(&self.path, &bytes, index_offset)?;
        if index.len() as u64 == blocks {
            Ok(index)
        } else {
            Err(self.corrupt(index_offset, "blocks are missing"))
        }
    }

    #[cfg(test)]
    /// The block at place `place` of `index`, checked by itself.
    ///
    /// # Errors
    ///
    /// `Corrupt` or `Failed`.
    ///
    /// # Panics
    ///
    /// When the index has no such place.
    pub(crate) async fn block(&self, index: &BlockIndex, place: usize) -> Result<Block> {
        let IndexEntry { offset, header: listed, .. } = index.entries[place];
        let bytes = BLOCK_HEADER_BYTES as u64 + u64::from(listed.payload_bytes);
        let end = self.trailer.index_offset;
        if offset < HEADER_BYTES as u64 || offset.checked_add(bytes).is_none_or(|block_end| block_end > end) {
            return Err(self.corrupt(offset, "the index names a block outside the file's"));
        }
        let length = BLOCK_HEADER_BYTES + listed.payload_bytes as usize;
        let mut bytes = read(&*self.file, &self.path, offset, length).await?;
        let payload = bytes.split_off(BLOCK_HEADER_BYTES).freeze();
        if BlockHeader::decode(&bytes, self.salt, offset, end) != Some(listed) {
            return Err(self.corrupt(offset, "the block's header is damaged"));
        }
        self.check_block(payload, listed, offset, place == 0, None).map(|(block, _)| block)
    }

    fn check_block(
        &self,
        payload: Bytes,
        header: BlockHeader,
        offset: u64,
        is_first: bool,
        last_key: Option<&[u8]>,
    ) -> Result<(Block, Counts)> {
        if crc(self.salt, &payload) != header.payload_crc {
            return Err(self.corrupt(offset, "the block is damaged"));
        }
        Block::check(payload, header.records, self.expected.name.kind, is_first, last_key)
            .map_err(|(at, what)| self.corrupt(offset + (BLOCK_HEADER_BYTES + at) as u64, what))
    }

    fn corrupt(&self, offset: u64, what: &str) -> Error {
        Error::corrupt(ErrorCode::CheckpointDamaged, &self.path, format!("offset {offset}: {what}"))
    }
}

async fn read<F: File>(file: &F, path: &Path, offset: u64, bytes: usize) -> Result<BytesMut> {
    read_exact_at(file, offset, BytesMut::zeroed(bytes)).await.map_err(|error| read_error(path, error))
}

/// A file that ends early has shrunk since its length was checked.
fn read_error(path: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        Error::corrupt(ErrorCode::CheckpointDamaged, path, format!("the file ends early: {error}"))
    } else {
        Error::io("reading a checkpoint file", path, error)
    }
}

async fn read_footer<F: File>(file: &F, path: &Path, trailer: &Trailer, salt: u32) -> Result<Footer> {
    let offset = trailer.index_offset + trailer.index_bytes;
    if trailer.footer_bytes > FOOTER_BYTES_MAX {
        return Err(Error::corrupt(
            ErrorCode::CheckpointDamaged,
            path,
            format!("offset {offset}: the footer is larger than any can be"),
        ));
    }
    let bytes = read(file, path, offset, trailer.footer_bytes as usize).await?;
    Footer::decode(path, &bytes, trailer.footer_crc, salt, offset)
}

/// The blocks of a file in order. After an error it gives no more.
pub(crate) struct FileStream<'a, F: File> {
    reader: &'a FileReader<F>,
    reads: Queue<BytesMut>,
    next_read: u64,
    /// Read and not yet taken, from offset `at`.
    buffer: BytesMut,
    at: u64,
    /// Of everything read.
    crc: u32,
    /// Of the index that the blocks seen would have.
    index_crc: u32,
    index_bytes: u64,
    blocks: u64,
    last_key: Option<Vec<u8>>,
    totals: Footer,
    ended: bool,
}

impl<F: File> FileStream<'_, F> {
    /// The next block; `None` when the file has ended and every check of the whole has passed.
    ///
    /// # Errors
    ///
    /// `Corrupt` with the offset, or `Failed`.
    pub(crate) async fn next(&mut self) -> Result<Option<Block>> {
        if self.ended {
            return Ok(None);
        }
        // Until this call has succeeded the file is no good.
        self.ended = true;
        if self.at == 0 {
            self.take(HEADER_BYTES).await?;
        }
        if self.at == self.reader.trailer.index_offset {
            self.check_rest().await?;
            return Ok(None);
        }
        let offset = self.at;
        let end = self.reader.trailer.index_offset;
        let room = end - offset;
        if room < BLOCK_HEADER_BYTES as u64 {
            return Err(self.reader.corrupt(offset, "bytes that are no block"));
        }
        let header = self.take(BLOCK_HEADER_BYTES).await?;
        let header = BlockHeader::decode(&header, self.reader.salt, offset, end)
            .ok_or_else(|| self.reader.corrupt(offset, "the block's header is damaged"))?;
        let payload = self.take(header.payload_bytes as usize).await?;
        let last_key = self.last_key.as_deref();
        let (block, counts) = self.reader.check_block(payload, header, offset, self.blocks == 0, last_key)?;
        self.count(&block, &counts, header, offset);
        self.ended = false;
        Ok(Some(block))
    }

    /// Adds the block to the totals.
    fn count(&mut self, block: &Block, counts: &Counts, header: BlockHeader, offset: u64) {
        let Footer { entries, tombstones, live_bytes, digest, clears, .. } = &mut self.totals;
        *entries += counts.entries;
        *tombstones += counts.tombstones;
        *live_bytes += counts.live_bytes;
        digest.merge(counts.digest);
        *clears |= counts.clears;
        let (first_key, last_key) = block.bounds(counts);
        let mut entry = Vec::new();
        header.index(&mut entry, offset, first_key);
        self.index_crc = crc(self.index_crc, &entry);
        self.index_bytes += entry.len() as u64;
        self.blocks += 1;
        // A Clear alone in its block leaves no key behind.
        if self.totals.entries + self.totals.tombstones > 0 {
            let kept = self.last_key.get_or_insert_default();
            kept.clear();
            kept.extend_from_slice(last_key);
        }
    }

    /// What follows the blocks, and what only the whole file shows.
    async fn check_rest(&mut self) -> Result<()> {
        let Trailer { index_offset, index_bytes, blocks, index_crc, .. } = self.reader.trailer;
        if (self.index_crc, self.index_bytes, self.blocks) != (index_crc, index_bytes, blocks) {
            return Err(self.reader.corrupt(index_offset, "the index is not that of the blocks"));
        }
        let Footer { key_groups, groups, .. } = &self.reader.footer;
        let totals = Footer { key_groups: *key_groups, groups: groups.clone(), ..self.totals.clone() };
        if totals != self.reader.footer {
            let offset = index_offset + index_bytes;
            return Err(self.reader.corrupt(offset, "the footer's counts are not those of the records"));
        }
        while self.at < self.reader.expected.bytes {
            let rest = self.reader.expected.bytes - self.at;
            let step = usize::try_from(rest).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            self.take(step).await?;
        }
        if self.crc == self.reader.expected.crc {
            return Ok(());
        }
        Err(self.reader.corrupt(0, "the file's checksum is not the manifest's"))
    }

    /// The next `bytes` of the file. Only what lies in two chunks is copied.
    async fn take(&mut self, bytes: usize) -> Result<Bytes> {
        if self.buffer.is_empty() && bytes > 0 {
            self.buffer = self.read_chunk().await?;
        }
        self.at += bytes as u64;
        if self.buffer.len() >= bytes {
            return Ok(self.buffer.split_to(bytes).freeze());
        }
        let mut whole = BytesMut::with_capacity(bytes);
        whole.extend_from_slice(&self.buffer.split());
        while whole.len() < bytes {
            self.buffer = self.read_chunk().await?;
            let missing = (bytes - whole.len()).min(self.buffer.len());
            whole.extend_from_slice(&self.buffer.split_to(missing));
        }
        Ok(whole.freeze())
    }

    /// The next chunk, with more of them on their way.
    async fn read_chunk(&mut self) -> Result<BytesMut> {
        let end = self.reader.expected.bytes;
        while !self.reads.is_full() && self.next_read < end {
            let offset = self.next_read;
            let length = usize::try_from(end - offset).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            let file = Rc::clone(&self.reader.file);
            self.reads
                .begin(async move { read_exact_at(&*file, offset, aligned_zeroes(length)).await })
                .await;
            self.next_read += length as u64;
        }
        match self.reads.oldest().await {
            Some(Ok(chunk)) => {
                self.crc = crc(self.crc, &chunk);
                Ok(chunk)
            }
            Some(Err(error)) => Err(read_error(&self.reader.path, error)),
            None => Err(self.reader.corrupt(end, "the file ends early")),
        }
    }
}

/// Reads the whole of the listed file, so that a later restore may rely on it. With a `grouping` the digests of a
/// base's key groups are computed again.
///
/// # Errors
///
/// `Corrupt` with the file and the offset, or `Failed`.
pub(crate) async fn verify<V: Vfs>(
    vfs: &V,
    root: &Path,
    database: DatabaseId,
    listed: &CheckpointFile,
    grouping: Option<&Grouping>,
) -> Result<()> {
    let reader = FileReader::open(vfs, root, database, listed).await?;
    let mut groups =
        vec![(0, Digest::default()); grouping.map_or(0, |grouping| usize::from(grouping.groups))];
    let mut stream = reader.stream();
    while let Some(block) = stream.next().await? {
        for entry in block.entries() {
            if let Some(grouping) = grouping {
                let (entries, digest) = &mut groups[usize::from((grouping.group_of)(entry.record.key).0)];
                *entries += 1;
                digest.add(entry.encoded);
            }
        }
    }
    let Some(grouping) = grouping.filter(|_| listed.name.kind == FileKind::Base) else { return Ok(()) };
    let computed =
        (0_u16..).zip(groups).filter(|(_, (entries, _))| *entries > 0).map(|(group, (entries, digest))| {
            GroupDigest { group: crate::ids::KeyGroup(group), entries, digest }
        });
    if reader.footer.key_groups == grouping.groups && computed.eq(reader.footer.groups.iter().copied()) {
        return Ok(());
    }
    let offset = reader.trailer.index_offset + reader.trailer.index_bytes;
    Err(reader.corrupt(offset, "a key group's digest is not that of its records"))
}
