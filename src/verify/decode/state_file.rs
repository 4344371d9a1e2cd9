//! A checkpoint file, piece by piece: header, trailer, footer, blocks.

use xxhash_rust::xxh3::xxh3_128;

use super::bytes::{crc, i32_at, slice, u8_at, u16_at, u32_at, u64_at, u128_at};
use super::manifest::StateFile;
use super::record::{Entry, Kind, record_at};

/// The bytes of a file's header, of a block's, and of a file's trailer.
pub(crate) const HEADER_BYTES: usize = 96;
/// See [`HEADER_BYTES`].
pub(crate) const BLOCK_HEADER_BYTES: usize = 16;
/// See [`HEADER_BYTES`].
pub(crate) const TRAILER_BYTES: usize = 64;

/// The longest footer: of all key groups that there can be.
const FOOTER_BYTES_MAX: u32 = 56 + 32 * 32_768 + 64;

/// What the bytes of an index entry's key end at.
const INDEX_KEY_BYTES_MAX: usize = 256;

/// Checks the header of the file that a manifest of `database` describes as `file`; returns the salt.
pub(crate) fn read_header(bytes: &[u8], file: &StateFile, database: u128) -> Result<u32, String> {
    let header = slice(bytes, 0, HEADER_BYTES)?;
    let salt = crc(0, &header[..92]);
    let sound = &header[..8] == b"HWSTATE\0" && u32_at(header, 92)? == salt && u32_at(header, 8)? == 1;
    let kind = if file.is_base { 1 } else { 2 };
    let theirs = u8_at(header, 12)? == kind
        && u16_at(header, 14)? == file.core
        && u128_at(header, 16)? == database
        && u128_at(header, 32)? == file.uuid
        && u64_at(header, 48)? == file.token
        && u32_at(header, 56)? == file.attempt;
    let range = (u64_at(header, 64)?, u64_at(header, 72)?) == (file.from_epoch, file.through_epoch);
    if sound && theirs && range { Ok(salt) } else { Err("a header other than the manifest says".into()) }
}

/// The last bytes of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trailer {
    pub(crate) index_begins: u64,
    pub(crate) index_bytes: u64,
    pub(crate) blocks: u64,
    pub(crate) index_crc: u32,
    pub(crate) footer_bytes: u32,
    footer_crc: u32,
}

impl Trailer {
    /// Reads the trailer of a file of `file_bytes` with this salt.
    pub(crate) fn read(bytes: &[u8], file_bytes: u64, salt: u32) -> Result<Self, String> {
        let trailer = slice(bytes, 0, TRAILER_BYTES)?;
        if &trailer[..8] != b"HWSTEND\0" || crc(salt, &trailer[..60]) != u32_at(trailer, 60)? {
            return Err("a bad trailer".into());
        }
        let read = Self {
            index_begins: u64_at(trailer, 8)?,
            index_bytes: u64_at(trailer, 16)?,
            blocks: u64_at(trailer, 24)?,
            index_crc: u32_at(trailer, 32)?,
            footer_bytes: u32_at(trailer, 36)?,
            footer_crc: u32_at(trailer, 40)?,
        };
        let footer_ends = read.footer_at().and_then(|at| at.checked_add(read.footer_bytes.into()));
        let fits = footer_ends.and_then(|end| end.checked_add(TRAILER_BYTES as u64)) == Some(file_bytes);
        if !fits || read.index_begins < HEADER_BYTES as u64 || read.footer_bytes > FOOTER_BYTES_MAX {
            return Err("a trailer of another file".into());
        }
        Ok(read)
    }

    /// Where the footer begins.
    pub(crate) fn footer_at(&self) -> Option<u64> {
        self.index_begins.checked_add(self.index_bytes)
    }
}

/// What a file's footer says of its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) counts: Counts,
    pub(crate) key_groups: u16,
    /// The groups that have a put, each with its digest and count.
    pub(crate) groups: Vec<(u16, u128, u64)>,
}

/// What is counted of a file's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) digest: u128,
    pub(crate) puts: u64,
    pub(crate) deletes: u64,
    pub(crate) put_bytes: u64,
    pub(crate) clears: u64,
}

impl Footer {
    /// Reads the footer that `trailer` describes.
    pub(crate) fn read(bytes: &[u8], trailer: &Trailer, salt: u32) -> Result<Self, String> {
        if bytes.len() != trailer.footer_bytes as usize || crc(salt, bytes) != trailer.footer_crc {
            return Err("a bad footer".into());
        }
        let root = bytes.len().checked_sub(56).ok_or("a footer without a root")?;
        let counts = Counts {
            digest: u128_at(bytes, root)?,
            puts: u64_at(bytes, root + 16)?,
            deletes: u64_at(bytes, root + 24)?,
            put_bytes: u64_at(bytes, root + 32)?,
            clears: u64::from(u16_at(bytes, root + 50)?),
        };
        let (place, count) = (i32_at(bytes, root + 40)?, u32_at(bytes, root + 44)? as usize);
        let mut groups = Vec::new();
        if count > 0 {
            let begins = i64::try_from(root + 40).ok().and_then(|at| at.checked_add(place.into()));
            let begins = begins.and_then(|at| usize::try_from(at).ok()).ok_or("groups before the footer")?;
            let list = slice(bytes, begins, count.checked_mul(32).ok_or("too many groups")?)?;
            for group in list.chunks_exact(32) {
                groups.push((u16_at(group, 24)?, u128_at(group, 0)?, u64_at(group, 16)?));
            }
        }
        Ok(Self { counts, key_groups: u16_at(bytes, root + 48)?, groups })
    }

    /// Whether these are the counts of the records, and of what the manifest says of `file`.
    pub(crate) fn check(&self, counts: &Counts, file: &StateFile) -> Result<(), String> {
        let StateFile { digest, puts, deletes, put_bytes, is_base, .. } = *file;
        let of_manifest = Counts { digest, puts, deletes, put_bytes, clears: counts.clears };
        if *counts != self.counts || *counts != of_manifest {
            let stated = self.counts;
            return Err(format!(
                "holds {counts:?}, its footer says {stated:?}, the manifest {of_manifest:?}"
            ));
        }
        if is_base && (counts.deletes > 0 || counts.clears > 0) {
            return Err("a base with more than puts".into());
        }
        Ok(())
    }
}

impl Counts {
    /// Counts a record; returns the hash of a put.
    pub(crate) fn count(&mut self, entry: &Entry<'_>) -> Result<u128, String> {
        let first = *self == Self::default();
        match entry.kind {
            Kind::Put => {
                let hash = xxh3_128(entry.encoded);
                self.puts += 1;
                self.put_bytes += entry.encoded.len() as u64;
                self.digest = self.digest.wrapping_add(hash);
                return Ok(hash);
            }
            Kind::Delete => self.deletes += 1,
            Kind::Clear if first => self.clears = 1,
            kind @ (Kind::Clear | Kind::EpochEnd) => return Err(format!("a {kind:?} inside a file")),
        }
        Ok(0)
    }
}

/// The header of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockHeader {
    pub(crate) payload_bytes: u32,
    pub(crate) records: u32,
    payload_crc: u32,
}

impl BlockHeader {
    /// Reads the header at offset `at` of a file with this salt, whose blocks end at `end`.
    pub(crate) fn read(bytes: &[u8], at: u64, end: u64, salt: u32) -> Result<Self, String> {
        let header = slice(bytes, 0, BLOCK_HEADER_BYTES)?;
        if crc(crc(salt, &at.to_le_bytes()), &header[..12]) != u32_at(header, 12)? {
            return Err("a bad block header".into());
        }
        let read = Self {
            payload_bytes: u32_at(header, 0)?,
            records: u32_at(header, 4)?,
            payload_crc: u32_at(header, 8)?,
        };
        let behind = at.saturating_add(16 + u64::from(read.payload_bytes));
        if behind > end || read.records == 0 {
            return Err(format!("a block of {} records ends at {behind}, and blocks at {end}", read.records));
        }
        Ok(read)
    }

    /// Whether `payload` is the block's.
    pub(crate) fn holds(&self, payload: &[u8], salt: u32) -> bool {
        payload.len() == self.payload_bytes as usize && crc(salt, payload) == self.payload_crc
    }

    /// Adds what the index must say of this block at `at`, which begins with `key`, to the crc of an index.
    pub(crate) fn index_entry(&self, at: u64, key: &[u8], index_crc: u32) -> (u32, u64) {
        let kept = &key[..key.len().min(INDEX_KEY_BYTES_MAX)];
        let mut entry = [0; 24];
        entry[..8].copy_from_slice(&at.to_le_bytes());
        entry[8..12].copy_from_slice(&self.payload_bytes.to_le_bytes());
        entry[12..16].copy_from_slice(&self.records.to_le_bytes());
        entry[16..20].copy_from_slice(&self.payload_crc.to_le_bytes());
        entry[20..22].copy_from_slice(&u16::try_from(kept.len()).unwrap_or(u16::MAX).to_le_bytes());
        entry[22] = u8::from(kept.len() < key.len());
        (crc(crc(index_crc, &entry), kept), 24 + kept.len() as u64)
    }
}

/// The records of one block, one after the other.
#[derive(Debug)]
pub(crate) struct BlockRecords {
    left: u32,
    at: usize,
}

impl BlockRecords {
    pub(crate) fn of(header: &BlockHeader) -> Self {
        Self { left: header.records, at: 0 }
    }

    /// Where in the payload the record that was returned last ends.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The next record of `payload`; none when all were seen and nothing is behind them.
    pub(crate) fn next<'a>(&mut self, payload: &'a [u8]) -> Result<Option<Entry<'a>>, String> {
        if self.left == 0 {
            let rest = payload.len() - self.at.min(payload.len());
            return if rest == 0 {
                Ok(None)
            } else {
                Err(format!("{rest} bytes behind the records of a block"))
            };
        }
        let entry = record_at(payload, self.at)?;
        self.left -= 1;
        self.at += entry.encoded.len();
        Ok(Some(entry))
    }
}
