//! Blocks of records, and the index that finds the block of a key.
//!
//! ```text
//! block        0  u32 payload bytes   4  u32 records   8  u32 payload crc   12  u32 header crc   16  records
//! index entry  0  u64 block offset    8  u32 payload bytes   12  u32 records   16  u32 payload crc
//!             20  u16 key bytes      22  u8 cut short       23  u8 zero       24  first key
//! ```
//!
//! Both crcs of a block start from the file's salt; the header's covers the block's offset (u64) and 0..12, so that a
//! block at another place is no block. An index entry holds the first key, or its first 256 bytes and a 1 in
//! "cut short": the index stays a small part of any file.

#[cfg(test)]
use std::path::Path;

use bytes::Bytes;

use crate::codec::{Digest, Reader, Record, RecordKind, Writer, crc};
use crate::error::Result;
#[cfg(test)]
use crate::error::{Error, ErrorCode};
use crate::limits::{KEY_BYTES_MAX, RECORD_HEADER_BYTES, VALUE_BYTES_MAX};
use crate::manifest::FileKind;

pub(super) const BLOCK_HEADER_BYTES: usize = 16;

/// A block ends with the record that would take it beyond this.
pub(super) const BLOCK_BYTES_TARGET: usize = 64 * 1024;

/// A record alone in its block may be as long as a record can be.
const BLOCK_BYTES_MAX: usize = RECORD_HEADER_BYTES + KEY_BYTES_MAX + VALUE_BYTES_MAX;

const _: () = assert!(BLOCK_BYTES_TARGET <= BLOCK_BYTES_MAX && BLOCK_BYTES_MAX <= u32::MAX as usize);

/// Longest part of a first key that the index holds.
const INDEX_KEY_BYTES_MAX: usize = 256;

/// Longest index, which a writer holds in memory: that of a base of some 250 GiB, or of 2,000 where keys are short.
pub(super) const INDEX_BYTES_MAX: u64 = 1 << 30;

/// The header of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHeader {
    pub(super) payload_bytes: u32,
    pub(super) records: u32,
    pub(super) payload_crc: u32,
}

impl BlockHeader {
    /// The header of the block of `payload`.
    pub(super) fn of(payload: &[u8], records: u32, salt: u32) -> Self {
        assert!(!payload.is_empty() && payload.len() <= BLOCK_BYTES_MAX, "{} bytes", payload.len());
        #[expect(clippy::cast_possible_truncation, reason = "asserted above")]
        let payload_bytes = payload.len() as u32;
        Self { payload_bytes, records, payload_crc: crc(salt, payload) }
    }

    /// The bytes, for the block at `offset`.
    pub(super) fn encode(&self, salt: u32, offset: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BLOCK_HEADER_BYTES);
        Writer(&mut bytes).u32(self.payload_bytes).u32(self.records).u32(self.payload_crc);
        let crc = crc(crc(salt, &offset.to_le_bytes()), &bytes);
        Writer(&mut bytes).u32(crc);
        bytes
    }

    /// The header in `bytes`, at `offset` of a file whose blocks end at `end`; `None` when it is none.
    pub(super) fn decode(bytes: &[u8], salt: u32, offset: u64, end: u64) -> Option<Self> {
        let (front, stored) = bytes.split_at_checked(BLOCK_HEADER_BYTES - 4)?;
        if Reader(stored).u32()? != crc(crc(salt, &offset.to_le_bytes()), front) {
            return None;
        }
        let mut fields = Reader(front);
        let header =
            Self { payload_bytes: fields.u32()?, records: fields.u32()?, payload_crc: fields.u32()? };
        let block_end = offset.checked_add(BLOCK_HEADER_BYTES as u64 + u64::from(header.payload_bytes))?;
        let bounded = header.payload_bytes as usize <= BLOCK_BYTES_MAX && block_end <= end;
        (bounded && header.records > 0).then_some(header)
    }

    /// Adds the index entry of the block at `offset` to `index`.
    pub(super) fn index(&self, index: &mut Vec<u8>, offset: u64, first_key: &[u8]) {
        let key = &first_key[..first_key.len().min(INDEX_KEY_BYTES_MAX)];
        #[expect(clippy::cast_possible_truncation, reason = "at most INDEX_KEY_BYTES_MAX")]
        let key_bytes = key.len() as u16;
        Writer(index)
            .u64(offset)
            .u32(self.payload_bytes)
            .u32(self.records)
            .u32(self.payload_crc)
            .u16(key_bytes)
            .u8(u8::from(key.len() < first_key.len()))
            .u8(0)
            .bytes(key);
    }
}

/// The records of one block, checked.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    payload: Bytes,
}

/// A record of a block, with its encoding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) record: Record<'a>,
    pub(crate) encoded: &'a [u8],
}

/// What the records of a block come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) entries: u64,
    pub(super) tombstones: u64,
    pub(super) live_bytes: u64,
    pub(super) digest: Digest,
    pub(super) clears: bool,
    /// Where the last record begins.
    last_at: usize,
}

impl Counts {
    fn add(&mut self, record: &Record<'_>, encoded: &[u8]) {
        match record.kind {
            RecordKind::Put => {
                self.entries += 1;
                self.live_bytes += encoded.len() as u64;
                self.digest.add(encoded);
            }
            RecordKind::Delete => self.tombstones += 1,
            RecordKind::Clear => self.clears = true,
            RecordKind::EpochEnd => panic!("a block holds no epoch's end"),
        }
    }
}

impl Block {
    /// The block of `payload`, whose crc fits. Every record must be one of a file of `kind`, and follow the one
    /// before, the first of them `last_key`. `is_first` says whether the block opens the file.
    ///
    /// # Errors
    ///
    /// What is wrong, and how far into the payload.
    pub(super) fn check(
        payload: Bytes,
        records: u32,
        kind: FileKind,
        is_first: bool,
        last_key: Option<&[u8]>,
    ) -> Result<(Self, Counts), (usize, &'static str)> {
        let mut rest = &payload[..];
        let mut last = last_key;
        let mut count = 0_u32;
        let mut counts = Counts::default();
        while !rest.is_empty() {
            let at = payload.len() - rest.len();
            let (record, behind) = Record::decode(rest).ok_or((at, "no valid record"))?;
            let opens = is_first && count == 0;
            let belongs = match record.kind {
                RecordKind::Put => true,
                RecordKind::Delete => kind == FileKind::Delta,
                RecordKind::Clear => kind == FileKind::Delta && opens,
                RecordKind::EpochEnd => false,
            };
            if !belongs {
                return Err((at, "a record that has no place here"));
            }
            // A Clear has no key; what follows it may have an empty one.
            if record.kind != RecordKind::Clear {
                if last.is_some_and(|last| last >= record.key) {
                    return Err((at, "keys are out of order"));
                }
                last = Some(record.key);
            }
            count = count.saturating_add(1);
            counts.add(&record, &rest[..rest.len() - behind.len()]);
            counts.last_at = at;
            rest = behind;
        }
        if count != records {
            return Err((0, "the count of records differs from the header's"));
        }
        Ok((Self { payload }, counts))
    }

    /// The first key and the last; empty for a `Clear`. `counts` are the block's.
    pub(super) fn bounds(&self, counts: &Counts) -> (&[u8], &[u8]) {
        let key = |at| self.entry_at(at).map_or(&[][..], |(entry, _)| entry.record.key);
        (key(0), key(counts.last_at))
    }

    /// The records in key order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let (entry, next) = self.entry_at(at)?;
            at = next;
            Some(entry)
        })
    }

    /// The record that begins at byte `at`, and where the next one does; `None` at the end.
    ///
    /// # Panics
    ///
    /// When no record begins there: the block was checked.
    pub(super) fn entry_at(&self, at: usize) -> Option<(Entry<'_>, usize)> {
        let rest = &self.payload[at..];
        if rest.is_empty() {
            return None;
        }
        let Some((record, behind)) = Record::decode(rest) else {
            panic!("no record at {at} of a checked block")
        };
        let encoded = &rest[..rest.len() - behind.len()];
        Some((Entry { record, encoded }, at + encoded.len()))
    }
}

#[cfg(test)]
/// One block as the index names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) offset: u64,
    pub(super) header: BlockHeader,
    key: Vec<u8>,
    cut_short: bool,
}

#[cfg(test)]
/// Where each block is and which key it begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockIndex {
    pub(super) entries: Vec<IndexEntry>,
}

#[cfg(test)]
impl BlockIndex {
    /// The index in `bytes`, whose crc fits, of the file `path`, at `offset`.
    ///
    /// # Errors
    ///
    /// `Corrupt`.
    pub(super) fn decode(path: &Path, bytes: &[u8], offset: u64) -> Result<Self> {
        let mut rest = Reader(bytes);
        let mut entries: Vec<IndexEntry> = Vec::new();
        while !rest.is_empty() {
            let at = offset + (bytes.len() - rest.0.len()) as u64;
            let entry = Self::decode_entry(&mut rest)
                .filter(|entry| entries.last().is_none_or(|last| last.offset < entry.offset))
                .filter(|entry| entries.last().is_none_or(|last| last.key <= entry.key))
                .ok_or_else(|| {
                    Error::corrupt(
                        ErrorCode::CheckpointDamaged,
                        path,
                        format!("offset {at}: no valid index entry"),
                    )
                })?;
            entries.push(entry);
        }
        Ok(Self { entries })
    }

    fn decode_entry(fields: &mut Reader<'_>) -> Option<IndexEntry> {
        let offset = fields.u64()?;
        let header =
            BlockHeader { payload_bytes: fields.u32()?, records: fields.u32()?, payload_crc: fields.u32()? };
        let key_bytes = usize::from(fields.u16()?);
        let (cut_short, zero) = (fields.u8()?, fields.u8()?);
        let key = fields.bytes(key_bytes)?.to_vec();
        let fits = key_bytes <= INDEX_KEY_BYTES_MAX && cut_short <= 1 && zero == 0;
        let cut_fits = cut_short == 0 || key_bytes == INDEX_KEY_BYTES_MAX;
        (fits && cut_fits).then_some(IndexEntry { offset, header, key, cut_short: cut_short == 1 })
    }

    /// Count of blocks.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The first block that can hold `key` or a greater one.
    pub(crate) fn block_of(&self, key: &[u8]) -> usize {
        // A first key that was cut short to a prefix of `key` may be greater than `key`: the block before counts.
        let begins_at_or_before = |entry: &IndexEntry| {
            if entry.cut_short {
                entry.key.as_slice() < key && !key.starts_with(&entry.key)
            } else {
                entry.key.as_slice() <= key
            }
        };
        self.entries.partition_point(begins_at_or_before).saturating_sub(1)
    }
}
