//! Checkpoint files: header, blocks, index, footer, trailer.

use super::bytes::{crc, slice, u8_at, u16_at, u32_at, u64_at, u128_at};
use super::index_at;
use super::manifest::StateFile;
use super::state::Values;
use super::wal::{Kind, split_record};

/// Applies the file `bytes`, which the manifest describes as `file`, to `values`.
pub(super) fn load(
    bytes: &[u8],
    file: &StateFile,
    database: u128,
    values: &mut Values,
) -> Result<(), String> {
    let salt = check_header(bytes, file, database)?;
    let trailer_at = bytes.len().checked_sub(64).ok_or("too short for a trailer")?;
    let trailer = &bytes[trailer_at..];
    if &trailer[..8] != b"HWSTEND\0" || crc(salt, &trailer[..60]) != u32_at(trailer, 60)? {
        return Err("a bad trailer".into());
    }
    let (index_begins, index_bytes) = (index_at(trailer, 8)?, index_at(trailer, 16)?);
    let footer_bytes = u32_at(trailer, 36)? as usize;
    let index = slice(bytes, index_begins, index_bytes)?;
    let footer = slice(bytes, index_begins + index_bytes, footer_bytes)?;
    if index_begins + index_bytes + footer_bytes != trailer_at
        || crc(salt, index) != u32_at(trailer, 32)?
        || crc(salt, footer) != u32_at(trailer, 40)?
    {
        return Err("a bad index or footer".into());
    }
    if file.is_base {
        values.clear();
    }
    let counts = load_blocks(bytes, salt, (96, index_begins), index, u64_at(trailer, 24)?, values)?;
    let root = footer_bytes.checked_sub(56).ok_or("a footer without a root")?;
    let stated = Counts {
        digest: u128_at(footer, root)?,
        puts: u64_at(footer, root + 16)?,
        deletes: u64_at(footer, root + 24)?,
        put_bytes: u64_at(footer, root + 32)?,
        clears: u64::from(u16_at(footer, root + 50)?),
    };
    let of_manifest = Counts {
        digest: file.digest,
        puts: file.puts,
        deletes: file.deletes,
        put_bytes: file.put_bytes,
        clears: counts.clears,
    };
    if counts != stated || counts != of_manifest {
        return Err(format!("holds {counts:?}, its footer says {stated:?}, the manifest {of_manifest:?}"));
    }
    if file.is_base && (counts.deletes > 0 || counts.clears > 0) {
        return Err("a base with more than puts".into());
    }
    Ok(())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    digest: u128,
    puts: u64,
    deletes: u64,
    put_bytes: u64,
    clears: u64,
}

fn check_header(bytes: &[u8], file: &StateFile, database: u128) -> Result<u32, String> {
    let header = slice(bytes, 0, 96)?;
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

/// The blocks between two offsets, compared with the index.
fn load_blocks(
    bytes: &[u8],
    salt: u32,
    (mut at, end): (usize, usize),
    mut index: &[u8],
    blocks: u64,
    values: &mut Values,
) -> Result<Counts, String> {
    let mut counts = Counts::default();
    let mut last_key: Option<Vec<u8>> = None;
    for _ in 0..blocks {
        let header = slice(bytes, at, 16)?;
        let place = crc(salt, &(at as u64).to_le_bytes());
        if crc(place, &header[..12]) != u32_at(header, 12)? {
            return Err(format!("a bad block header at {at}"));
        }
        let mut payload = slice(bytes, at + 16, u32_at(header, 0)? as usize)?;
        let entry = slice(index, 0, 24)?;
        let entry_bytes = 24 + usize::from(u16_at(entry, 20)?);
        if u64_at(entry, 0)? != at as u64
            || entry[8..20] != header[..12]
            || crc(salt, payload) != u32_at(header, 8)?
        {
            return Err(format!("a bad block at {at}"));
        }
        at += 16 + payload.len();
        index = &index[slice(index, 0, entry_bytes)?.len()..];
        for _ in 0..u32_at(header, 4)? {
            let (kind, key, value, rest) = split_record(payload)?;
            let encoded = &payload[..payload.len() - rest.len()];
            counts.count(kind, encoded)?;
            if kind != Kind::Clear && last_key.as_deref().is_some_and(|last| last >= key) {
                return Err(format!("keys do not ascend at {}", key.escape_ascii()));
            }
            match kind {
                Kind::Put => {
                    values.insert(key.to_vec(), value.to_vec());
                }
                Kind::Delete => {
                    values.remove(key);
                }
                _ => values.clear(),
            }
            if kind != Kind::Clear {
                last_key = Some(key.to_vec());
            }
            payload = rest;
        }
        if !payload.is_empty() {
            return Err(format!("{} bytes behind the records of the block before {at}", payload.len()));
        }
    }
    if at == end && index.is_empty() { Ok(counts) } else { Err(format!("the blocks end at {at}, not {end}")) }
}

impl Counts {
    fn count(&mut self, kind: Kind, encoded: &[u8]) -> Result<(), String> {
        let first = *self == Self::default();
        match kind {
            Kind::Put => {
                self.puts += 1;
                self.put_bytes += encoded.len() as u64;
                self.digest = self.digest.wrapping_add(xxhash_rust::xxh3::xxh3_128(encoded));
            }
            Kind::Delete => self.deletes += 1,
            Kind::Clear if first => self.clears = 1,
            Kind::Clear | Kind::EpochEnd => return Err(format!("a {kind:?} inside a file")),
        }
        Ok(())
    }
}
