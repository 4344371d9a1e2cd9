//! A state as plain maps.

use std::collections::BTreeMap;

use super::format::record::{Kind, Mark, Offset};
use super::wal::Record;

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
