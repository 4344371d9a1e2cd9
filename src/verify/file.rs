//! A checkpoint file from disk: key after key, in the memory of one block, with every check that the format allows.

use std::ops::Range;

use bytes::Bytes;

use super::decode::ident::Ident;
use super::decode::manifest::StateFile;
use super::decode::record::Kind;
use super::decode::state_file::{
    BLOCK_HEADER_BYTES, BlockHeader, BlockRecords, Counts, Footer, HEADER_BYTES, TRAILER_BYTES, Trailer,
    read_header,
};
use super::report::{DamageKind, Finding};
use super::source::{Directory, Sequential};
use super::version;
use crate::vfs::{File, Vfs};

/// Stands at one record after the other: puts and deletes, by ascending key.
pub(crate) struct FileCursor<F> {
    file: Sequential<F>,
    stated: StateFile,
    ident: Ident,
    salt: u32,
    trailer: Trailer,
    footer: Footer,
    payload: Bytes,
    records: Option<BlockRecords>,
    /// Whether it stands at a record of this block.
    stands: bool,
    /// The record's key and value in the payload.
    key: Range<usize>,
    value: Range<usize>,
    /// The hash of the put; none at a delete, and before the first record.
    put: Option<u128>,
    /// The last key of the block before.
    last_key: Option<Vec<u8>>,
    seen: Seen,
}

/// What was counted so far.
struct Seen {
    blocks: u64,
    index_crc: u32,
    index_bytes: u64,
    counts: Counts,
    /// Of a base, by key group: puts, and their digest.
    groups: Vec<(u64, u128)>,
}

impl<F: File> FileCursor<F> {
    /// Opens the file that a manifest describes as `stated`, in front of its first record.
    pub(crate) async fn open<V: Vfs<File = F>>(
        directory: &Directory<V>,
        stated: &StateFile,
        ident: &Ident,
    ) -> Result<Self, Finding> {
        let source = directory.open(stated.path()).await?;
        let front = usize::try_from(source.bytes).unwrap_or(usize::MAX).min(HEADER_BYTES);
        version::STATE_FILE.check(&source, &source.read(0, front).await?)?;
        if source.bytes != stated.bytes {
            let what = format!("has {} bytes, and the manifest says {}", source.bytes, stated.bytes);
            return Err(source.damage(0, what).of_core(stated.core));
        }
        let trailer_at = source.bytes.saturating_sub(TRAILER_BYTES as u64);
        let header = source.read(0, HEADER_BYTES).await?;
        let salt = read_header(&header, stated, ident.database).map_err(|why| source.damage(0, why))?;
        let trailer = source.read(trailer_at, TRAILER_BYTES).await?;
        let trailer = Trailer::read(&trailer, source.bytes, salt);
        let trailer = trailer.map_err(|why| source.damage(trailer_at, why))?;
        let footer_at = trailer.footer_at().unwrap_or(0);
        let footer = source.read(footer_at, trailer.footer_bytes as usize).await?;
        let footer = Footer::read(&footer, &trailer, salt).map_err(|why| source.damage(footer_at, why))?;
        let groups = if stated.is_base { usize::from(ident.key_groups) } else { 0 };
        let seen = Seen {
            blocks: 0,
            index_crc: salt,
            index_bytes: 0,
            counts: Counts::default(),
            groups: vec![(0, 0); groups],
        };
        let mut file = Sequential::from(source, 0);
        file.skip_to(HEADER_BYTES as u64).await?;
        Ok(Self {
            file,
            stated: stated.clone(),
            ident: *ident,
            salt,
            trailer,
            footer,
            payload: Bytes::new(),
            records: None,
            stands: false,
            key: 0..0,
            value: 0..0,
            put: None,
            last_key: None,
            seen,
        })
    }

    /// Whether nothing before this file counts.
    pub(crate) fn voids(&self) -> bool {
        self.stated.is_base || self.footer.counts.clears > 0
    }

    /// The key of the record.
    pub(crate) fn key(&self) -> &[u8] {
        &self.payload[self.key.clone()]
    }

    /// The value of the record; empty at a delete.
    #[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "the command-line tool shows it"))]
    pub(crate) fn value(&self) -> &[u8] {
        &self.payload[self.value.clone()]
    }

    /// The hash of the put; none at a delete.
    pub(crate) fn put(&self) -> Option<u128> {
        self.put
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> String {
        self.stated.path()
    }

    /// Goes to the next record; whether there is one. At the end the whole file was checked.
    pub(crate) async fn advance(&mut self) -> Result<bool, Finding> {
        self.step().await.map_err(|finding| finding.of_core(self.stated.core))
    }

    async fn step(&mut self) -> Result<bool, Finding> {
        loop {
            if self.step_in_block()? {
                return Ok(true);
            }
            if self.seen.blocks == self.trailer.blocks {
                self.end().await?;
                return Ok(false);
            }
            self.next_block().await?;
        }
    }

    /// Goes to the next put or delete of the block.
    fn step_in_block(&mut self) -> Result<bool, Finding> {
        let Some(records) = &mut self.records else { return Ok(false) };
        let block_at = self.file.at() - self.payload.len() as u64 - BLOCK_HEADER_BYTES as u64;
        let bad = |why: String| self.file.source.damage(block_at, why);
        while let Some(entry) = records.next(&self.payload).map_err(bad)? {
            let put = self.seen.counts.count(&entry).map_err(bad)?;
            if entry.kind == Kind::Clear {
                continue;
            }
            let last =
                if self.stands { Some(&self.payload[self.key.clone()]) } else { self.last_key.as_deref() };
            if last.is_some_and(|last| last >= entry.key) {
                return Err(bad(format!("keys do not ascend at \"{}\"", entry.key.escape_ascii())));
            }
            if let (Kind::Put, false) = (entry.kind, self.seen.groups.is_empty()) {
                let group = self.ident.group_of(entry.key);
                if let Some((puts, digest)) = self.seen.groups.get_mut(usize::from(group)) {
                    (*puts, *digest) = (*puts + 1, digest.wrapping_add(put));
                }
            }
            let (key_bytes, value_bytes) = (entry.key.len(), entry.value.len());
            let behind = records.at();
            self.value = behind - value_bytes..behind;
            self.key = self.value.start - key_bytes..self.value.start;
            self.put = (entry.kind == Kind::Put).then_some(put);
            self.stands = true;
            return Ok(true);
        }
        self.records = None;
        Ok(false)
    }

    async fn next_block(&mut self) -> Result<(), Finding> {
        if self.stands {
            let last = self.last_key.get_or_insert_default();
            last.clear();
            last.extend_from_slice(&self.payload[self.key.clone()]);
        }
        let at = self.file.at();
        let end = self.trailer.index_begins;
        if end.saturating_sub(at) < BLOCK_HEADER_BYTES as u64 {
            return Err(self.file.source.damage(at, "the blocks end before they have all been seen"));
        }
        let header = self.file.take(BLOCK_HEADER_BYTES).await?;
        let header = BlockHeader::read(&header, at, end, self.salt);
        let header = header.map_err(|why| self.file.source.damage(at, why))?;
        let payload = self.file.take(header.payload_bytes as usize).await?;
        if !header.holds(&payload, self.salt) {
            return Err(self.file.source.damage(at, "a bad block"));
        }
        let mut records = BlockRecords::of(&header);
        let first = records.next(&payload).map_err(|why| self.file.source.damage(at, why))?;
        let (index_crc, bytes) =
            header.index_entry(at, first.map_or(&[], |entry| entry.key), self.seen.index_crc);
        self.seen.index_crc = index_crc;
        self.seen.index_bytes += bytes;
        self.seen.blocks += 1;
        (self.payload, self.records) = (payload, Some(BlockRecords::of(&header)));
        self.stands = false;
        Ok(())
    }

    /// What follows the blocks, and what only the whole file shows.
    async fn end(&mut self) -> Result<(), Finding> {
        let Trailer { index_begins, index_bytes, index_crc, .. } = self.trailer;
        let at = self.file.at();
        let index = (self.seen.index_crc, self.seen.index_bytes);
        if at != index_begins || index != (index_crc, index_bytes) {
            return Err(self.file.source.damage(at, "the index is not that of the blocks"));
        }
        let footer_at = self.trailer.footer_at().unwrap_or(at);
        let bad = |why| self.file.source.damage(footer_at, why);
        self.footer.check(&self.seen.counts, &self.stated).map_err(bad)?;
        let groups = (0_u16..).zip(&self.seen.groups).filter(|(_, (puts, _))| *puts > 0);
        let groups = groups.map(|(group, (puts, digest))| (group, *digest, *puts));
        let stated = self.footer.groups.iter().copied();
        let stated_groups = if self.stated.is_base { self.ident.key_groups } else { 0 };
        if self.footer.key_groups != stated_groups || !groups.eq(stated) {
            return Err(bad("the digests of its key groups are not those of its records".to_owned()));
        }
        self.file.skip_to(self.stated.bytes).await?;
        if self.file.crc() != self.stated.crc {
            let what = "the file's checksum is not the manifest's";
            return Err(Finding::new(DamageKind::Damaged, &self.file.source.path, what));
        }
        Ok(())
    }
}
