//! The baselines: the simplest honest single-threaded programs for the same work. The same bytes, the same
//! durability, no engine.

mod buffer;
pub(crate) mod file;
pub(crate) mod map;
pub(crate) mod replay;
pub(crate) mod ring;
pub(crate) mod store;

/// What every device takes as a unit, and direct I/O as an alignment.
const UNIT_BYTES: usize = 4096;

/// Where a record that is framed by a baseline begins: length of all, crc32c of what follows, length of the key.
const HEADER_BYTES: usize = 12;

/// Appends the frame of a record to `buffer`.
#[inline]
fn frame(buffer: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let start = buffer.len();
    let bytes = (HEADER_BYTES + key.len() + value.len()) as u32;
    buffer.extend_from_slice(&bytes.to_le_bytes());
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&(key.len() as u32).to_le_bytes());
    buffer.extend_from_slice(key);
    buffer.extend_from_slice(value);
    let crc = crc32c::crc32c(&buffer[start + 8..]);
    buffer[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// The first record of `bytes` and what follows it; `None` when it is not whole.
#[inline]
fn unframe(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (whole, crc, key) = (word(0)? as usize, word(4)?, word(8)? as usize);
    let record = bytes.get(8..whole)?;
    if crc32c::crc32c(record) != crc {
        return None;
    }
    let (key, value) = record.get(4..)?.split_at_checked(key)?;
    Some((key, value, &bytes[whole..]))
}
