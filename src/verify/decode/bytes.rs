//! Little-endian fields at fixed places, and the checksum.

/// CRC-32C of `bytes`, continued from `seed`.
pub(crate) fn crc(seed: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(seed, bytes)
}

/// `count` bytes at `at`.
pub(crate) fn slice(bytes: &[u8], at: usize, count: usize) -> Result<&[u8], String> {
    let end = at.checked_add(count).ok_or("an offset overflows")?;
    bytes.get(at..end).ok_or_else(|| format!("{count} bytes at {at} of {}", bytes.len()))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], String> {
    let found = slice(bytes, at, N)?;
    Ok(*found.first_chunk().expect("N bytes were sliced"))
}

pub(crate) fn u8_at(bytes: &[u8], at: usize) -> Result<u8, String> {
    Ok(array::<1>(bytes, at)?[0])
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Result<u16, String> {
    array(bytes, at).map(u16::from_le_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Result<u32, String> {
    array(bytes, at).map(u32::from_le_bytes)
}

pub(crate) fn i32_at(bytes: &[u8], at: usize) -> Result<i32, String> {
    array(bytes, at).map(i32::from_le_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Result<u64, String> {
    array(bytes, at).map(u64::from_le_bytes)
}

pub(crate) fn i64_at(bytes: &[u8], at: usize) -> Result<i64, String> {
    array(bytes, at).map(i64::from_le_bytes)
}

pub(crate) fn u128_at(bytes: &[u8], at: usize) -> Result<u128, String> {
    array(bytes, at).map(u128::from_le_bytes)
}
