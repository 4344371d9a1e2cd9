//! Writing a checkpoint file: records in key order in, one synced file out.
//!
//! Records are encoded where the disk takes them from: into chunks whose memory is aligned, so that they go past the
//! page cache, and a few of which are in flight while the next one fills. Only the file's end, less than a page, does not.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;

use crate::codec::{Digest, Record, RecordKind, crc};
use crate::error::{Error, ErrorCode, Result};
use crate::manifest::{CheckpointFile, FileKind, FileName};
use crate::vfs::{ALIGN_BYTES, File, Vfs, retry, write_all_at};

use super::Grouping;
use super::block::{BLOCK_BYTES_TARGET, BLOCK_HEADER_BYTES, BlockHeader, INDEX_BYTES_MAX};
use super::chunk::Chunk;
use super::file::{Header, Trailer, file_path};
use super::footer::{Footer, GroupDigest};
use super::pace::Pace;
use super::queue::Queue;

/// A file whose bytes are durable and whose name is not: [`seal`] makes it so.
#[derive(Debug)]
#[must_use = "no manifest may name the file before its folder is synced"]
pub(crate) struct Written(CheckpointFile);

impl Written {
    /// As a manifest will list it.
    pub(super) fn file(&self) -> &CheckpointFile {
        &self.0
    }
}

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

/// Removes the file `name`, which no manifest names or ever will. What stays is removed by the garbage collection.
pub(super) async fn remove<V: Vfs>(vfs: &V, root: &Path, name: &FileName) {
    let path = file_path(root, name);
    if let Err(error) = retry(|| vfs.remove(&path)).await {
        tracing::debug!(target: "highwater::checkpoint", path = %path.display(), %error, "a needless file stays for now");
    }
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
    pace: Pace,
    /// What is in flight, oldest first: its memory comes back.
    lent: VecDeque<Bytes>,
    spare: Vec<Chunk>,
    /// What was not given to the disk yet, from `chunk_offset` of the file.
    chunk: Chunk,
    chunk_offset: u64,
    /// Of everything before the open block.
    file_crc: u32,
    /// The open block: where in `chunk` its header goes, and where its last record begins.
    block_at: usize,
    block_records: u32,
    last_at: usize,
    /// The last key before the open block.
    last_key: Option<Vec<u8>>,
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
            pace: Pace::default(),
            lent: VecDeque::new(),
            spare: Vec::new(),
            file: Rc::new(file),
            header,
            salt,
            chunk: Chunk::default(),
            chunk_offset: 0,
            file_crc: 0,
            block_at: 0,
            block_records: 0,
            last_at: 0,
            last_key: None,
            index: Vec::new(),
            blocks: 0,
            footer: Footer::default(),
            grouping,
            groups: vec![(0, Digest::default()); groups],
        };
        writer.append(&header_bytes);
        Ok(writer)
    }

    /// The same, written at `pace`.
    pub(crate) fn at(self, pace: Pace) -> Self {
        Self { pace, ..self }
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
        let bytes = record.encoded_bytes();
        if self.block_records > 0 && self.block_bytes() + bytes > BLOCK_BYTES_TARGET {
            self.end_block()?;
            if self.chunk.bytes().len() >= self.pace.chunk_bytes() {
                self.submit().await?;
            }
        }
        self.add(record, bytes);
        Ok(())
    }

    /// Adds `record`, which takes `bytes`, to the open block.
    fn add(&mut self, record: &Record<'_>, bytes: usize) {
        let is_delta = !self.is_base();
        let is_first = self.blocks == 0 && self.block_records == 0;
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
        assert!(record.kind == RecordKind::Clear || self.last_key() < Some(record.key), "keys ascend");
        if self.block_records == 0 {
            self.block_at = self.chunk.bytes().len();
            self.chunk.extend(&[0; BLOCK_HEADER_BYTES]);
        }
        self.last_at = self.chunk.bytes().len();
        record.encode(self.chunk.extend_by(bytes));
        self.block_records += 1;
        if record.kind == RecordKind::Put {
            self.count_put(record.key);
        }
    }

    /// The key before the next record; a `Clear` has none.
    fn last_key(&self) -> Option<&[u8]> {
        if self.block_records == 0 {
            return self.last_key.as_deref();
        }
        let record = record_at(self.chunk.bytes(), self.last_at);
        (record.kind != RecordKind::Clear).then_some(record.key)
    }

    /// Bytes of the records of the open block.
    fn block_bytes(&self) -> usize {
        self.chunk.bytes().len() - self.block_at - BLOCK_HEADER_BYTES
    }

    /// Counts the put that was added last.
    fn count_put(&mut self, key: &[u8]) {
        let encoded = &self.chunk.bytes()[self.last_at..];
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

    /// Writes the header of the open block, if there is one.
    fn end_block(&mut self) -> Result<()> {
        if self.block_records == 0 {
            return Ok(());
        }
        let offset = self.chunk_offset + self.block_at as u64;
        let payload = &self.chunk.bytes()[self.block_at + BLOCK_HEADER_BYTES..];
        let header = BlockHeader::of(payload, self.block_records, self.salt);
        header.index(&mut self.index, offset, record_at(payload, 0).key);
        if self.index.len() as u64 > INDEX_BYTES_MAX {
            let message = "the checkpoint file is too large for one index: use more cores";
            return Err(Error::new(ErrorCode::CheckpointTooLarge, message).at(&self.path));
        }
        let last = record_at(self.chunk.bytes(), self.last_at);
        self.last_key = (last.kind != RecordKind::Clear).then(|| last.key.to_vec());
        let header_bytes = header.encode(self.salt, offset);
        let block = &mut self.chunk.bytes_mut()[self.block_at..];
        block[..BLOCK_HEADER_BYTES].copy_from_slice(&header_bytes);
        self.file_crc = crc(self.file_crc, block);
        self.block_records = 0;
        self.blocks += 1;
        Ok(())
    }

    /// Adds bytes behind the last block.
    fn append(&mut self, bytes: &[u8]) {
        assert_eq!(self.block_records, 0, "bytes inside a block");
        self.file_crc = crc(self.file_crc, bytes);
        self.chunk.extend(bytes);
    }

    /// Gives the disk what makes whole pages.
    async fn submit(&mut self) -> Result<()> {
        assert_eq!(self.block_records, 0, "the open block has no header yet");
        let whole = self.chunk.bytes().len() / ALIGN_BYTES * ALIGN_BYTES;
        let mut next = self.spare.pop().unwrap_or_default();
        next.extend(&self.chunk.bytes()[whole..]);
        let pages = std::mem::replace(&mut self.chunk, next).into_bytes(whole);
        self.write(pages).await?;
        self.pace.keep(whole as u64).await;
        Ok(())
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let offset = self.chunk_offset;
        self.chunk_offset += bytes.len() as u64;
        while self.writes.is_full() {
            self.settle_oldest().await?;
        }
        let file = Rc::clone(&self.file);
        self.lent.push_back(bytes.clone());
        self.writes.begin(async move { write_all_at(&*file, offset, bytes).await }).await;
        Ok(())
    }

    async fn settle_oldest(&mut self) -> Result<()> {
        let written = self.writes.oldest().await;
        self.spare.extend(self.lent.pop_front().and_then(Chunk::reuse));
        match written {
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
        self.end_block()?;
        let index_offset = self.chunk_offset + self.chunk.bytes().len() as u64;
        let index = std::mem::take(&mut self.index);
        self.append(&index);
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
        self.append(&footer);
        self.append(&trailer.encode(self.salt));
        self.submit().await?;
        let rest = Bytes::copy_from_slice(self.chunk.bytes());
        self.pace.keep(rest.len() as u64).await;
        self.write(rest).await?;
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

fn record_at(bytes: &[u8], at: usize) -> Record<'_> {
    let Some((record, _)) = Record::decode(&bytes[at..]) else {
        panic!("no record at {at} of an open block")
    };
    record
}
