//! A record, which is encoded alike in frames and in checkpoint files, and the mark at the end of an epoch.

use super::bytes::{i64_at, slice, u8_at, u16_at, u32_at, u64_at};

/// What a record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Put,
    Delete,
    Clear,
    EpochEnd,
}

/// A record, where it was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) kind: Kind,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    /// All of its bytes.
    pub(crate) encoded: &'a [u8],
}

/// The record that begins at `at`.
pub(crate) fn record_at(bytes: &[u8], at: usize) -> Result<Entry<'_>, String> {
    let (value_bytes, key_bytes) = (u32_at(bytes, at)? as usize, usize::from(u16_at(bytes, at + 4)?));
    let kind = match u8_at(bytes, at + 6)? {
        1 => Kind::Put,
        2 => Kind::Delete,
        3 => Kind::Clear,
        4 => Kind::EpochEnd,
        other => return Err(format!("a record of kind {other}")),
    };
    let (key, value) = (slice(bytes, at + 8, key_bytes)?, slice(bytes, at + 8 + key_bytes, value_bytes)?);
    let shape = match kind {
        Kind::Put => true,
        Kind::Delete => value.is_empty(),
        Kind::Clear => key.is_empty() && value.is_empty(),
        Kind::EpochEnd => key.is_empty() && value.len() >= 28,
    };
    if u8_at(bytes, at + 7)? != 0 || !shape {
        return Err(format!("a {kind:?} of another shape"));
    }
    Ok(Entry { kind, key, value, encoded: &bytes[at..at + 8 + key_bytes + value_bytes] })
}

/// A source offset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Offset {
    /// A number.
    Number(u64),
    /// Bytes.
    Opaque(Vec<u8>),
}

/// What an `EpochEnd` holds.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) epoch: u64,
    pub(crate) token: u64,
    pub(crate) offsets: Vec<(String, Offset)>,
    pub(crate) watermark: Option<i64>,
}

impl Mark {
    /// Reads the value of an `EpochEnd`.
    pub(crate) fn read(value: &[u8]) -> Result<Self, String> {
        let flags = u8_at(value, 16)?;
        if flags > 3 || u8_at(value, 17)? != 0 {
            return Err("a mark with unknown flags".into());
        }
        let mut at = 28;
        let mut offsets = Vec::new();
        for _ in 0..u16_at(value, 18)? {
            let (name_bytes, kind) = (usize::from(u8_at(value, at)?), u8_at(value, at + 1)?);
            let value_bytes = usize::from(u16_at(value, at + 2)?);
            let name =
                String::from_utf8(slice(value, at + 4, name_bytes)?.to_vec()).map_err(|e| e.to_string())?;
            let found = slice(value, at + 4 + name_bytes, value_bytes)?;
            let offset = match kind {
                0 if value_bytes == 8 => Offset::Number(u64_at(found, 0)?),
                1 => Offset::Opaque(found.to_vec()),
                _ => return Err(format!("an offset of kind {kind} with {value_bytes} bytes")),
            };
            offsets.push((name, offset));
            at += 4 + name_bytes + value_bytes;
        }
        if flags & 2 == 0 && at != value.len() {
            return Err(format!("a mark of {} bytes ends at {at}", value.len()));
        }
        let watermark = (flags & 1 == 1).then_some(i64_at(value, 20)?);
        Ok(Self { epoch: u64_at(value, 0)?, token: u64_at(value, 8)?, offsets, watermark })
    }
}
