//! A state as plain maps.

use std::collections::BTreeMap;

use super::bytes::{i64_at, slice, u8_at, u16_at, u64_at};
use super::wal::{Kind, Record};

/// A source offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Offset {
    /// A number.
    Number(u64),
    /// Bytes.
    Opaque(Vec<u8>),
}

/// Values by key.
pub(super) type Values = BTreeMap<Vec<u8>, Vec<u8>>;

/// One core's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CoreState {
    /// Values by key.
    pub values: Values,
    /// Offsets by source.
    pub offsets: BTreeMap<String, Offset>,
    /// The watermark.
    pub watermark: Option<i64>,
}

/// The state of all cores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// By core.
    pub cores: Vec<CoreState>,
}

impl State {
    /// The first difference, for people.
    pub(crate) fn difference(&self, other: &Self) -> String {
        for (core, (a, b)) in self.cores.iter().zip(&other.cores).enumerate() {
            let keys = a.values.keys().chain(b.values.keys());
            if let Some(key) = keys.into_iter().find(|key| a.values.get(*key) != b.values.get(*key)) {
                let (a, b) = (a.values.get(key).map(Vec::len), b.values.get(key).map(Vec::len));
                return format!("core {core}, key {}, values of {a:?} and {b:?} bytes", key.escape_ascii());
            }
            if a.offsets != b.offsets || a.watermark != b.watermark {
                let (a, b) = ((&a.offsets, a.watermark), (&b.offsets, b.watermark));
                return format!("core {core}, {a:?} and {b:?}");
            }
        }
        format!("{} and {} cores", self.cores.len(), other.cores.len())
    }
}

impl CoreState {
    /// Applies a record of the log in the epoch after `epoch`; returns the last epoch that has ended now.
    pub(super) fn apply(&mut self, record: &Record, epoch: u64) -> Result<u64, String> {
        match record.kind {
            Kind::Put => {
                self.values.insert(record.key().to_vec(), record.value().to_vec());
            }
            Kind::Delete => {
                self.values.remove(record.key());
            }
            Kind::Clear => self.values.clear(),
            Kind::EpochEnd => {
                let mark = Mark::read(record.value())?;
                if mark.epoch != epoch + 1 {
                    return Err(format!("LSN {}: epoch {} ends after {epoch}", record.lsn, mark.epoch));
                }
                self.offsets.extend(mark.offsets);
                self.watermark = mark.watermark.or(self.watermark);
                return Ok(mark.epoch);
            }
        }
        Ok(epoch)
    }
}

/// What an `EpochEnd` holds.
pub(super) struct Mark {
    pub(super) epoch: u64,
    pub(super) token: u64,
    offsets: Vec<(String, Offset)>,
    watermark: Option<i64>,
}

impl Mark {
    pub(super) fn read(value: &[u8]) -> Result<Self, String> {
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
