//! walrus: sparse files of 1 GB, shared by topics.

use std::path::Path;
use std::sync::Arc;

use walrus_rust::{FsyncSchedule, ReadConsistency, Walrus};

use super::{Log, LogPeer, LogSpec, ReplayPeer, Replayed, Result, Work, with_writers};
use crate::record::{Check, KEY_BYTES};

pub(crate) struct WalrusLog;

/// The most entries that one batch takes is 2,000.
const UNSYNCED_BATCH: usize = 1_000;
const READ_BYTES: usize = 1 << 20;

/// Walrus takes its directory from the environment, which `run::slice` has set: a slice is a process of its own. A batch
/// is synced at its end whatever the schedule; with `SyncEach` each of its records would be synced as well.
fn open(schedule: FsyncSchedule) -> Result<Arc<Walrus>> {
    Ok(Arc::new(Walrus::with_consistency_and_schedule(
        ReadConsistency::AtLeastOnce { persist_every: 1 << 30 },
        schedule,
    )?))
}

/// One topic of a walrus.
struct Topic {
    walrus: Arc<Walrus>,
    name: String,
    batch: Vec<Vec<u8>>,
    used: usize,
    durable: bool,
}

impl Topic {
    fn write(&mut self) -> Result<()> {
        let records: Vec<&[u8]> = self.batch[..self.used].iter().map(Vec::as_slice).collect();
        self.used = 0;
        match records.as_slice() {
            [] => {}
            [one] => self.walrus.append_for_topic(&self.name, one)?,
            many => self.walrus.batch_append_for_topic(&self.name, many)?,
        }
        Ok(())
    }
}

impl Log for Topic {
    fn append(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if self.used == self.batch.len() {
            self.batch.push(Vec::with_capacity(key.len() + value.len()));
        }
        let record = &mut self.batch[self.used];
        record.clear();
        record.extend_from_slice(key);
        record.extend_from_slice(value);
        self.used += 1;
        if !self.durable && self.used >= UNSYNCED_BATCH { self.write() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<()> {
        self.write()
    }
}

impl LogPeer for WalrusLog {
    fn with(&self, _dir: &Path, spec: &LogSpec, work: Work<'_>) -> Result<()> {
        let each = spec.durable && spec.per_commit == 1;
        let walrus = open(if each { FsyncSchedule::SyncEach } else { FsyncSchedule::NoFsync })?;
        let log = |number| {
            let (walrus, name) = (Arc::clone(&walrus), format!("topic-{number}"));
            Ok(Topic { walrus, name, batch: Vec::new(), used: 0, durable: spec.durable })
        };
        with_writers(spec.writers, log, work)
    }
}

impl ReplayPeer for WalrusLog {
    fn replay(&self, _dir: &Path) -> Result<Replayed> {
        let walrus = open(FsyncSchedule::NoFsync)?;
        let mut found = Check::default();
        loop {
            let entries = walrus.batch_read_for_topic("topic-0", READ_BYTES, true)?;
            if entries.is_empty() {
                return Ok(Replayed::Checked(found));
            }
            for entry in &entries {
                let (key, value) = entry.data.split_at(KEY_BYTES);
                found.add(key, value);
            }
        }
    }
}
