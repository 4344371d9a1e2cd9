//! The value of an `EpochEnd` record: what a core says when it ends an epoch.
//!
//! ```text
//! 0       8       16      17     18              20          28
//! | epoch | token | flags | zero | offset count  | watermark | offsets … | sink count, sinks … |
//!
//! flags    bit 0: the watermark is present (else its field is zero) · bit 1: sinks are listed
//! offset   u8 name bytes · u8 kind: 0 number, 1 opaque · u16 value bytes · name · value
//! sinks    only with bit 1: u16 count, at least one; each u8 name bytes · u8 has a handle · u16 handle bytes · name · handle
//! ```
//!
//! A decoded mark encodes to the bytes that it came from: every other spelling of it is refused.

use super::{Reader, Writer};
use crate::ids::{Epoch, FencingToken};
use crate::limits::{OFFSET_BYTES_MAX, OFFSET_NAME_BYTES_MAX, OFFSETS_MAX, SINK_HANDLE_BYTES_MAX, SINKS_MAX};
use crate::offset::Offset;

const HAS_WATERMARK: u8 = 1;
const HAS_SINKS: u8 = 2;
const NUMBER: u8 = 0;
const OPAQUE: u8 = 1;

const _: () = assert!(OFFSET_NAME_BYTES_MAX <= u8::MAX as usize, "a name's length is one byte");
const _: () = assert!(OFFSET_BYTES_MAX <= u16::MAX as usize, "an offset's length is two bytes");
const _: () = assert!(OFFSETS_MAX <= u16::MAX as usize, "a count is two bytes");
const _: () = assert!(SINKS_MAX <= u16::MAX as usize, "a count is two bytes");
const _: () = assert!(SINK_HANDLE_BYTES_MAX <= u16::MAX as usize, "a handle's length is two bytes");

/// What a core says when it ends an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EpochEnd {
    pub(crate) epoch: Epoch,
    pub(crate) token: FencingToken,
    pub(crate) watermark: Option<i64>,
    /// The offsets that were set in this epoch, by the name of their source.
    pub(crate) offsets: Vec<(String, Offset)>,
    /// Every sink and the handle of its pre-commit, if it had something to commit. Empty without sinks.
    pub(crate) sinks: Vec<(String, Option<Vec<u8>>)>,
}

impl EpochEnd {
    /// Appends the encoded value to `out`.
    ///
    /// # Panics
    ///
    /// When a name, offset, handle or count is over its limit: callers check before.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.offsets.len() <= OFFSETS_MAX && self.sinks.len() <= SINKS_MAX);
        let mut flags = 0;
        if self.watermark.is_some() {
            flags |= HAS_WATERMARK;
        }
        if !self.sinks.is_empty() {
            flags |= HAS_SINKS;
        }
        let mut out = Writer(out);
        out.u64(self.epoch.0).u64(self.token.0).u8(flags).u8(0);
        out.u16(short(self.offsets.len())).i64(self.watermark.unwrap_or(0));
        for (name, offset) in &self.offsets {
            match offset {
                Offset::Number(number) => named(&mut out, name, NUMBER, &number.to_le_bytes()),
                Offset::Opaque(bytes) => {
                    assert!(bytes.len() <= OFFSET_BYTES_MAX, "offset of {} bytes", bytes.len());
                    named(&mut out, name, OPAQUE, bytes);
                }
            }
        }
        if !self.sinks.is_empty() {
            out.u16(short(self.sinks.len()));
        }
        for (name, handle) in &self.sinks {
            let bytes = handle.as_deref().unwrap_or_default();
            assert!(bytes.len() <= SINK_HANDLE_BYTES_MAX, "handle of {} bytes", bytes.len());
            named(&mut out, name, u8::from(handle.is_some()), bytes);
        }
    }

    /// The mark in `bytes`, all of them; `None` when they are not one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        let (epoch, token) = (Epoch(from.u64()?), FencingToken(from.u64()?));
        let (flags, zero, count, watermark) = (from.u8()?, from.u8()?, from.u16()?, from.i64()?);
        let has_watermark = flags & HAS_WATERMARK != 0;
        let spelled_right = flags & !(HAS_WATERMARK | HAS_SINKS) == 0 && zero == 0;
        if !spelled_right || usize::from(count) > OFFSETS_MAX || (!has_watermark && watermark != 0) {
            return None;
        }
        let mut offsets = Vec::new();
        for _ in 0..count {
            let (name, kind, value) = take_named(&mut from)?;
            let offset = match kind {
                NUMBER => Offset::Number(u64::from_le_bytes(value.try_into().ok()?)),
                OPAQUE if value.len() <= OFFSET_BYTES_MAX => Offset::Opaque(value.to_vec()),
                _ => return None,
            };
            offsets.push((name, offset));
        }
        let sinks = if flags & HAS_SINKS == 0 { Vec::new() } else { take_sinks(&mut from)? };
        let watermark = has_watermark.then_some(watermark);
        from.is_empty().then_some(Self { epoch, token, watermark, offsets, sinks })
    }
}

fn take_sinks(from: &mut Reader<'_>) -> Option<Vec<(String, Option<Vec<u8>>)>> {
    let count = usize::from(from.u16()?);
    if count == 0 || count > SINKS_MAX {
        return None;
    }
    let mut sinks = Vec::new();
    for _ in 0..count {
        let (name, has_handle, handle) = take_named(from)?;
        let handle = match has_handle {
            0 if handle.is_empty() => None,
            1 if handle.len() <= SINK_HANDLE_BYTES_MAX => Some(handle.to_vec()),
            _ => return None,
        };
        sinks.push((name, handle));
    }
    Some(sinks)
}

fn named(out: &mut Writer<'_>, name: &str, kind: u8, value: &[u8]) {
    assert!(name.len() <= OFFSET_NAME_BYTES_MAX, "name of {} bytes", name.len());
    let name_bytes = u8::try_from(name.len()).expect("limits.rs ties the widths");
    out.u8(name_bytes).u8(kind).u16(short(value.len())).bytes(name.as_bytes()).bytes(value);
}

fn take_named<'a>(from: &mut Reader<'a>) -> Option<(String, u8, &'a [u8])> {
    let (name_bytes, kind, value_bytes) = (from.u8()?, from.u8()?, from.u16()?);
    let name = std::str::from_utf8(from.bytes(usize::from(name_bytes))?).ok()?;
    Some((name.to_owned(), kind, from.bytes(usize::from(value_bytes))?))
}

fn short(count: usize) -> u16 {
    u16::try_from(count).expect("limits.rs ties the widths")
}
