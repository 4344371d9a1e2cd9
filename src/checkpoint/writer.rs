//! Writing a checkpoint file: records in key order in, one synced file out.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;

use crate::codec::{Digest, Record, RecordKind, crc};
use crate::error::{Error, Result};
use crate::manifest::{CheckpointFile, FileKind};
use crate::vfs::{File, Vfs, retry, write_all_at};

use super::Grouping;
use super::block::{BLOCK_BYTES_TARGET, BLOCK_HEADER_BYTES, BlockHeader, INDEX_BYTES_MAX};
use super::file::{Header, Trailer, file_path};
use super::footer::{Footer, GroupDigest};
use super::queue::{CHUNK_BYTES, Queue};

/// A file whose bytes are durable and whose name is not: [`seal`] makes it so.
#[derive(Debug)]
#[must_use = "no manifest may name the file before its folder is synced"]
pub(crate) struct Written(CheckpointFile);

/// Makes the names of `files` durable: now a manifest may name them. One sync for all of them.
///
/// # Errors
///
/// `Failed`: their names are durable or not, and none may ever be named.
pub(crate) async fn seal<V: Vfs>(vfs: &V, root: &Path, files: Vec<Written>) -> Result<Vec<CheckpointFile>> {
    let folder = root.join("f");
    if !files.is_empty() {
        retry(|| vfs.sync_dir(&folder))
            .await
            .map_err(|error| Error::io("syncing the folder of checkpoint files", &folder, error))?;
    }
    Ok(files.into_iter().map(|Written(file)| file).collect())
}

/// A checkpoint file that is being written.
///
/// After an error only [`FileWriter::abandon`] makes sense. Dropping it leaves the file for the garbage collection.
pub(crate) struct FileWriter<V: Vfs> {
    vfs: V,
    path: PathBuf,
    file: Rc<V::File>,
    header: Header,
    salt: u32,
    writes: Queue<()>,
    /// What was not given to the disk yet.
    chunk: Vec<u8>,
    chunk_offset: u64,
    /// Of everything before the end of `chunk`.
    file_crc: u32,
    block: Vec<u8>,
    block_records: u32,
    block_first_key: Vec<u8>,
    last_key: Vec<u8>,
    index: Vec<u8>,
    blocks: u64,
    footer: Footer,
    grouping: Option<Grouping>,
    /// One per key group, with a grouping.
    groups: Vec<(u64, Digest)>,
}

impl<V: Vfs> FileWriter<V> {
    /// Creates the file that `header` names in the database at `root`. With a `grouping` it gets a digest for each
    /// key group, as a base must.
    ///
    /// # Errors
    ///
    /// `Full`, or `Failed`: also when the name exists, for a name is never used twice.
    pub(crate) async fn create(
        vfs: &V,
        root: &Path,
        header: Header,
        grouping: Option<Grouping>,
    ) -> Result<Self> {
        assert_eq!(grouping.is_some(), header.name.kind == FileKind::Base, "bases have group digests");
        let path = file_path(root, &header.name);
        let file = retry(|| vfs.create_new(&path))
            .await
            .map_err(|error| Error::io("creating a checkpoint file", &path, error))?;
        let (header_bytes, salt) = header.encode();
        let groups = grouping.as_ref().map_or(0, |grouping| usize::from(grouping.groups));
        let mut writer = Self {
            vfs: vfs.clone(),
            path,
            writes: Queue::new(file.depth_max()),
            file: Rc::new(file),
            header,
            salt,
            chunk: Vec::with_capacity(CHUNK_BYTES + BLOCK_BYTES_TARGET),
            chunk_offset: 0,
            file_crc: 0,
            block: Vec::with_capacity(BLOCK_BYTES_TARGET),
            block_records: 0,
            block_first_key: Vec::new(),
            last_key: Vec::new(),
            index: Vec::new(),
            blocks: 0,
            footer: Footer::default(),
            grouping,
            groups: vec![(0, Digest::default()); groups],
        };
        writer.append(&header_bytes).await?;
        Ok(writer)
    }

    /// Whether the file is a base: it holds puts only.
    pub(super) fn is_base(&self) -> bool {
        self.header.name.kind == FileKind::Base
    }

    /// Adds `record`, whose key is greater than every one before. A `Clear` comes first.
    ///
    /// # Errors
    ///
    /// `Full` or `Failed`; `Invalid` when the file grows beyond what its index can hold.
    ///
    /// # Panics
    ///
    /// When the record is out of order or of a kind that the file cannot hold.
    pub(crate) async fn push(&mut self, record: &Record<'_>) -> Result<()> {
        let is_first = self.blocks == 0 && self.block_records == 0;
        let is_delta = self.header.name.kind == FileKind::Delta;
        match record.kind {
            RecordKind::Put => self.footer.entries += 1,
            RecordKind::Delete => {
                assert!(is_delta, "a base holds no deletes");
                self.footer.tombstones += 1;
            }
            RecordKind::Clear => {
                assert!(is_delta && is_first, "a Clear opens a delta");
                self.footer.clears = true;
            }
            RecordKind::EpochEnd => panic!("a checkpoint file holds no epoch's end"),
        }
        let has_key_before = !is_first && (self.footer.entries + self.footer.tombstones > 1);
        if record.kind != RecordKind::Clear {
            assert!(!has_key_before || self.last_key.as_slice() < record.key, "keys ascend");
            self.last_key.clear();
            self.last_key.extend_from_slice(record.key);
        }
        let bytes = record.encoded_bytes();
        if !self.block.is_empty() && self.block.len() + bytes > BLOCK_BYTES_TARGET {
            self.end_block().await?;
        }
        if self.block.is_empty() {
            self.block_first_key.clear();
            self.block_first_key.extend_from_slice(record.key);
        }
        let at = self.block.len();
        self.block.resize(at + bytes, 0);
        record.encode(&mut self.block[at..]);
        self.block_records += 1;
        if record.kind == RecordKind::Put {
            self.count_put(record.key, at);
        }
        Ok(())
    }

    /// Counts the put whose encoding is at `at` of the block.
    fn count_put(&mut self, key: &[u8], at: usize) {
        let encoded = &self.block[at..];
        self.footer.live_bytes += encoded.len() as u64;
        let mut digest = Digest::default();
        digest.add(encoded);
        self.footer.digest.merge(digest);
        if let Some(grouping) = &self.grouping {
            let group = (grouping.group_of)(key);
            let (entries, of_group) = &mut self.groups[usize::from(group.0)];
            *entries += 1;
            of_group.merge(digest);
        }
    }

    async fn end_block(&mut self) -> Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let offset = self.chunk_offset + self.chunk.len() as u64;
        let header = BlockHeader::of(&self.block, self.block_records, self.salt);
        header.index(&mut self.index, offset, &self.block_first_key);
        if self.index.len() as u64 > INDEX_BYTES_MAX {
            let message = "the checkpoint file is too large for one index: use more cores";
            return Err(Error::invalid(message).at(&self.path));
        }
        let header_bytes = header.encode(self.salt, offset);
        debug_assert_eq!(header_bytes.len(), BLOCK_HEADER_BYTES);
        self.append(&header_bytes).await?;
        let mut block = std::mem::take(&mut self.block);
        let appended = self.append(&block).await;
        block.clear();
        self.block = block;
        self.block_records = 0;
        self.blocks += 1;
        appended
    }

    /// Adds bytes to the file, and gives the disk what makes a whole chunk.
    async fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file_crc = crc(self.file_crc, bytes);
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= CHUNK_BYTES { self.submit().await } else { Ok(()) }
    }

    async fn submit(&mut self) -> Result<()> {
        let next = Vec::with_capacity(CHUNK_BYTES + BLOCK_BYTES_TARGET);
        let chunk = Bytes::from(std::mem::replace(&mut self.chunk, next));
        let offset = self.chunk_offset;
        self.chunk_offset += chunk.len() as u64;
        while self.writes.is_full() {
            self.settle_oldest().await?;
        }
        let file = Rc::clone(&self.file);
        self.writes.begin(async move { write_all_at(&*file, offset, chunk).await }).await;
        Ok(())
    }

    async fn settle_oldest(&mut self) -> Result<()> {
        match self.writes.oldest().await {
            Some(Err(error)) => Err(Error::io("writing a checkpoint file", &self.path, error)),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// Ends the file and makes its bytes durable.
    ///
    /// # Errors
    ///
    /// `Full` or `Failed`. The file's content is then unknown for good: give it up, whatever a later sync says.
    pub(crate) async fn finish(&mut self) -> Result<Written> {
        self.end_block().await?;
        let index_offset = self.chunk_offset + self.chunk.len() as u64;
        let index = std::mem::take(&mut self.index);
        self.append(&index).await?;
        self.footer.key_groups = self.grouping.as_ref().map_or(0, |grouping| grouping.groups);
        for (group, &(entries, digest)) in (0_u16..).zip(&self.groups) {
            if entries > 0 {
                self.footer.groups.push(GroupDigest { group: crate::ids::KeyGroup(group), entries, digest });
            }
        }
        let footer = self.footer.encode()?;
        let footer_bytes = u32::try_from(footer.len()).unwrap_or(u32::MAX);
        assert!(footer_bytes <= super::footer::FOOTER_BYTES_MAX, "{footer_bytes} bytes of footer");
        let trailer = Trailer {
            index_offset,
            index_bytes: index.len() as u64,
            blocks: self.blocks,
            index_crc: crc(self.salt, &index),
            footer_bytes,
            footer_crc: crc(self.salt, &footer),
        };
        self.append(&footer).await?;
        self.append(&trailer.encode(self.salt)).await?;
        self.submit().await?;
        while !self.writes.is_empty() {
            self.settle_oldest().await?;
        }
        retry(|| self.file.sync_data())
            .await
            .map_err(|error| Error::io("syncing a checkpoint file", &self.path, error))?;
        Ok(Written(self.listed()))
    }

    fn listed(&self) -> CheckpointFile {
        CheckpointFile {
            name: self.header.name,
            core: self.header.core,
            cores: self.header.cores,
            bytes: self.chunk_offset,
            crc: self.file_crc,
            entries: self.footer.entries,
            tombstones: self.footer.tombstones,
            live_bytes: self.footer.live_bytes,
            digest: self.footer.digest.0,
            from_epoch: self.header.from_epoch,
            through_epoch: self.header.through_epoch,
        }
    }

    /// Removes the unfinished file, so that a full device gets its space back. What stays is removed by the garbage
    /// collection, once the attempt is over.
    pub(crate) async fn abandon(mut self) {
        while self.writes.oldest().await.is_some() {}
        let _ = retry(|| self.vfs.remove(&self.path)).await;
    }
}
