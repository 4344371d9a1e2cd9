//! The one encoding of a record, wherever it lies: log buffer, state slab, frame, base, delta.
//!
//! ```text
//! 0        4        6      7          8
//! | value  | key    | kind | zero     | key bytes | value bytes |
//! | length | length |      |          |           |             |
//! ```
//!
//! Lengths are little-endian. A kind is never zero, so that a run of zeroes is no record.

use crate::limits::{KEY_BYTES_MAX, RECORD_HEADER_BYTES, VALUE_BYTES_MAX};

/// What a record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RecordKind {
    /// The key has this value from here on.
    Put = 1,
    /// The key has no value from here on.
    Delete = 2,
    /// No key of this core has a value from here on.
    Clear = 3,
    /// The core's epoch ends here; the value holds the mark (`docs/format.md`, "`EpochEnd`").
    EpochEnd = 4,
}

impl RecordKind {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Put),
            2 => Some(Self::Delete),
            3 => Some(Self::Clear),
            4 => Some(Self::EpochEnd),
            _ => None,
        }
    }
}

/// Copies a key: without a call where it is as short as most are.
#[inline]
fn copy_key(to: &mut [u8], key: &[u8]) {
    if let (Some(front), Some(back)) = (key.first_chunk::<8>(), key.last_chunk::<8>())
        && key.len() <= 16
        && to.len() == key.len()
    {
        to[..8].copy_from_slice(front);
        to[key.len() - 8..].copy_from_slice(back);
    } else {
        to.copy_from_slice(key);
    }
}

/// A record, borrowed from where it is encoded or about to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: RecordKind,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// Bytes that a record with this key and value takes.
#[inline]
pub(crate) fn record_bytes(key_bytes: usize, value_bytes: usize) -> usize {
    RECORD_HEADER_BYTES + key_bytes + value_bytes
}

/// The lengths of key and value, in this order, of an encoded record with this header.
#[inline]
pub(crate) fn lengths(header: [u8; RECORD_HEADER_BYTES]) -> (usize, usize) {
    let [v0, v1, v2, v3, k0, k1, ..] = header;
    let value_bytes = u32::from_le_bytes([v0, v1, v2, v3]) as usize;
    (usize::from(u16::from_le_bytes([k0, k1])), value_bytes)
}

impl<'a> Record<'a> {
    /// Bytes of the encoded record.
    #[inline]
    pub(crate) fn encoded_bytes(&self) -> usize {
        record_bytes(self.key.len(), self.value.len())
    }

    #[inline]
    fn header(&self) -> [u8; RECORD_HEADER_BYTES] {
        assert!(self.key.len() <= KEY_BYTES_MAX && self.value.len() <= VALUE_BYTES_MAX);
        #[expect(clippy::cast_possible_truncation, reason = "asserted above; limits.rs ties the widths")]
        let (key_bytes, value_bytes) = (self.key.len() as u16, self.value.len() as u32);
        let [v0, v1, v2, v3] = value_bytes.to_le_bytes();
        let [k0, k1] = key_bytes.to_le_bytes();
        [v0, v1, v2, v3, k0, k1, self.kind as u8, 0]
    }

    /// Writes the record to the front of `out`, which must be at least [`Record::encoded_bytes`] long.
    ///
    /// # Panics
    ///
    /// When `out` is too short or the record breaks a limit: callers check both before.
    #[inline]
    pub(crate) fn encode(&self, out: &mut [u8]) {
        let (header, body) = out[..self.encoded_bytes()].split_at_mut(RECORD_HEADER_BYTES);
        header.copy_from_slice(&self.header());
        let (key, value) = body.split_at_mut(self.key.len());
        copy_key(key, self.key);
        value.copy_from_slice(self.value);
    }

    /// Adds the encoded record to the end of `out`.
    ///
    /// # Panics
    ///
    /// When the record breaks a limit.
    #[inline]
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.header());
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.value);
    }

    /// The record at the front of `bytes` and what follows it; `None` when there is no valid one.
    #[inline]
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (header, body) = bytes.split_first_chunk::<RECORD_HEADER_BYTES>()?;
        let (key_bytes, value_bytes) = lengths(*header);
        let [.., kind, zero] = *header;
        let kind = RecordKind::from_byte(kind)?;
        if zero != 0 || key_bytes > KEY_BYTES_MAX || value_bytes > VALUE_BYTES_MAX {
            return None;
        }
        let (key, body) = body.split_at_checked(key_bytes)?;
        let (value, rest) = body.split_at_checked(value_bytes)?;
        let shape_fits = match kind {
            RecordKind::Put => true,
            RecordKind::Delete => value.is_empty(),
            RecordKind::Clear => key.is_empty() && value.is_empty(),
            RecordKind::EpochEnd => key.is_empty() && !value.is_empty(),
        };
        shape_fits.then_some((Self { kind, key, value }, rest))
    }
}
