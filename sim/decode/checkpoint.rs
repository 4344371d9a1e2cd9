//! Checkpoint files that are in memory, applied to a map.

use super::format::bytes::{crc, slice, u16_at, u32_at, u64_at};
use super::format::manifest::StateFile;
use super::format::record::Kind;
use super::format::state_file::{
    BLOCK_HEADER_BYTES, BlockHeader, BlockRecords, Counts, Footer, HEADER_BYTES, TRAILER_BYTES, Trailer,
    read_header,
};
use super::state::Values;

/// Applies the file `bytes`, which the manifest describes as `file`, to `values`.
pub(super) fn load(
    bytes: &[u8],
    file: &StateFile,
    database: u128,
    values: &mut Values,
) -> Result<(), String> {
    let salt = read_header(bytes, file, database)?;
    let trailer_at = bytes.len().checked_sub(TRAILER_BYTES).ok_or("too short for a trailer")?;
    let trailer = Trailer::read(&bytes[trailer_at..], bytes.len() as u64, salt)?;
    let (index_at, footer_at) = (place(trailer.index_begins)?, place(trailer.footer_at().unwrap_or(0))?);
    let index = slice(bytes, index_at, place(trailer.index_bytes)?)?;
    let footer = Footer::read(slice(bytes, footer_at, trailer.footer_bytes as usize)?, &trailer, salt)?;
    if crc(salt, index) != trailer.index_crc {
        return Err("a bad index".into());
    }
    if file.is_base {
        values.clear();
    }
    let counts = load_blocks(&bytes[..index_at], salt, index, trailer.blocks, values)?;
    footer.check(&counts, file)
}

/// The blocks, which end where `bytes` do, compared with the index.
fn load_blocks(
    bytes: &[u8],
    salt: u32,
    mut index: &[u8],
    blocks: u64,
    values: &mut Values,
) -> Result<Counts, String> {
    let mut at = HEADER_BYTES;
    let mut counts = Counts::default();
    let mut last_key: Option<Vec<u8>> = None;
    for _ in 0..blocks {
        let header = slice(bytes, at, BLOCK_HEADER_BYTES)?;
        let block = BlockHeader::read(header, at as u64, bytes.len() as u64, salt)
            .map_err(|why| format!("at {at}: {why}"))?;
        let payload = slice(bytes, at + BLOCK_HEADER_BYTES, block.payload_bytes as usize)?;
        let entry = slice(index, 0, 24)?;
        let entry_bytes = 24 + usize::from(u16_at(entry, 20)?);
        if u64_at(entry, 0)? != at as u64 || entry[8..20] != header[..12] || !block.holds(payload, salt) {
            return Err(format!("a bad block at {at}, {} bytes", u32_at(header, 0)?));
        }
        at += BLOCK_HEADER_BYTES + payload.len();
        index = &index[slice(index, 0, entry_bytes)?.len()..];
        let mut records = BlockRecords::of(&block);
        while let Some(entry) = records.next(payload)? {
            counts.count(&entry)?;
            if entry.kind != Kind::Clear && last_key.as_deref().is_some_and(|last| last >= entry.key) {
                return Err(format!("keys do not ascend at {}", entry.key.escape_ascii()));
            }
            match entry.kind {
                Kind::Put => {
                    values.insert(entry.key.to_vec(), entry.value.to_vec());
                }
                Kind::Delete => {
                    values.remove(entry.key);
                }
                _ => values.clear(),
            }
            if entry.kind != Kind::Clear {
                last_key = Some(entry.key.to_vec());
            }
        }
    }
    let end = bytes.len();
    if at == end && index.is_empty() { Ok(counts) } else { Err(format!("the blocks end at {at}, not {end}")) }
}

fn place(at: u64) -> Result<usize, String> {
    usize::try_from(at).map_err(|_| "a length beyond memory".to_owned())
}
