//! What a database or a log holds, as text: what its writer knew, and what an open has to give back.

use std::collections::BTreeMap;
use std::fmt;

use highwater::env::Env;
use highwater::wal::{CoreWal, WalRecord};
use highwater::{Offset, Opened};

/// The state of a database at the end of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) epoch: u64,
    pub(crate) watermark: Option<i64>,
    /// By core and source.
    pub(crate) offsets: BTreeMap<(u16, String), Offset>,
    /// By name, the epoch that each holds.
    pub(crate) pins: BTreeMap<String, u64>,
    /// What the sinks are to show, whatever becomes of the writer.
    pub(crate) published: Vec<String>,
    /// By core.
    pub(crate) keys: Vec<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Held {
    /// What an open has given back, without what its sinks show.
    pub(crate) fn of<E: Env>(opened: &Opened<E>) -> Self {
        let Opened { engine, cores, report, .. } = opened;
        let mut held = Self { epoch: report.epoch.0, watermark: report.watermark, ..Self::default() };
        for ((core, source), offset) in &report.offsets {
            held.offsets.insert((core.0, source.clone()), offset.clone());
        }
        for retained in engine.retained() {
            held.pins.extend(retained.pins.into_iter().map(|pin| (pin, retained.epoch.0)));
        }
        for core in cores {
            let entries = core.scan_prefix(b"").map(|entry| entry.unwrap());
            held.keys.push(entries.map(|(key, value)| (key.to_vec(), value.to_vec())).collect());
        }
        held
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "epoch {}", self.epoch)?;
        if let Some(watermark) = self.watermark {
            writeln!(f, "watermark {watermark}")?;
        }
        for ((core, source), offset) in &self.offsets {
            writeln!(f, "offset of core {core}: {source} {offset:?}")?;
        }
        for (pin, epoch) in &self.pins {
            writeln!(f, "pin {pin}: epoch {epoch}")?;
        }
        for row in &self.published {
            writeln!(f, "published: {row}")?;
        }
        for (core, keys) in self.keys.iter().enumerate() {
            writeln!(f, "core {core}: {} keys", keys.len())?;
            for (key, value) in keys {
                writeln!(f, "  {} = {}", key.escape_ascii(), value.escape_ascii())?;
            }
        }
        Ok(())
    }
}

/// The records of a log without a database, in order.
pub(crate) async fn of_log<E: Env>(wal: &CoreWal<E>) -> String {
    let mut reader = wal.read(None).await.unwrap();
    let mut text = String::new();
    while let Some(frame) = reader.next().await.unwrap() {
        for (_, record) in frame {
            text.push_str(&of_record(&record));
        }
    }
    text
}

/// One line.
pub(crate) fn of_record(record: &WalRecord<'_>) -> String {
    match record {
        WalRecord::Put { key, value } => format!("put {} = {}\n", key.escape_ascii(), value.escape_ascii()),
        WalRecord::Delete { key } => format!("delete {}\n", key.escape_ascii()),
        WalRecord::Clear => "clear\n".to_owned(),
        WalRecord::EpochEnd { epoch } => format!("end of epoch {epoch}\n"),
        other => panic!("a record that nobody wrote: {other:?}"),
    }
}
