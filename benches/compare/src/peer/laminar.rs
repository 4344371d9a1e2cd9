//! laminar-storage: a log per core, checkpoints of the whole state, stores in memory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use laminar_core::state::{AHashMapStore, StateStore};
use laminar_storage::{
    CheckpointConfig, CoreWalWriter, IncrementalCheckpointManager, PerCoreRecoveryManager, PerCoreWalConfig,
    PerCoreWalEntry, PerCoreWalReader, RecoveryConfig, RecoveryManager, StateChangelogBuffer, WalEntry,
    WalOperation, WriteAheadLog,
};

use super::{
    Log, LogPeer, LogSpec, Map, MapPeer, ReplayPeer, Replayed, Result, Store, StorePeer, Work, with_writers,
};
use crate::record::Check;

/// Its log, read by its streaming reader; its incremental checkpoints.
pub(crate) struct Laminar;

/// Its log, read by what its recovery calls.
pub(crate) struct LaminarRecovery;

fn segments(dir: &Path, cores: usize) -> PerCoreWalConfig {
    PerCoreWalConfig::new(dir, cores)
}

impl Log for CoreWalWriter {
    fn append(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.append_put(key, value)?;
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        Ok(self.sync()?)
    }

    /// It hands over when its buffer is full and at no other time: up to 64 KiB stay behind.
    fn hand_over(&mut self) -> Result<()> {
        Ok(())
    }
}

impl LogPeer for Laminar {
    fn with(&self, dir: &Path, spec: &LogSpec, work: Work<'_>) -> Result<()> {
        let segments = segments(dir, spec.writers);
        let writer = |core| Ok(CoreWalWriter::new(core, &segments.segment_path(core))?);
        with_writers(spec.writers, writer, work)
    }
}

impl LogPeer for LaminarRecovery {
    fn with(&self, dir: &Path, spec: &LogSpec, work: Work<'_>) -> Result<()> {
        Laminar.with(dir, spec, work)
    }
}

fn add(found: &mut Check, entry: &PerCoreWalEntry) {
    if let WalOperation::Put { key, value } = &entry.operation {
        found.add(key, value);
    }
}

impl ReplayPeer for Laminar {
    fn replay(&self, dir: &Path) -> Result<Replayed> {
        let mut found = Check::default();
        for entry in PerCoreWalReader::open(0, &segments(dir, 1).segment_path(0))? {
            add(&mut found, &entry?);
        }
        Ok(Replayed::Checked(found))
    }
}

impl ReplayPeer for LaminarRecovery {
    fn replay(&self, dir: &Path) -> Result<Replayed> {
        let recovery = RecoveryConfig::new(&dir.join("checkpoints"), &dir.join("none"));
        let entries = PerCoreRecoveryManager::new(segments(dir, 1), recovery).recover_wal_only()?;
        let mut found = Check::default();
        for entry in &entries {
            add(&mut found, entry);
        }
        Ok(Replayed::Checked(found))
    }
}

/// State in its fastest store, every change in its log, checkpoints by its manager: the parts as its own recovery
/// puts them together.
struct LaminarStore {
    state: AHashMapStore,
    log: WriteAheadLog,
    checkpoints: IncrementalCheckpointManager,
}

fn log_path(dir: &Path) -> PathBuf {
    dir.join("state.wal")
}

impl StorePeer for Laminar {
    fn open(&self, dir: &Path, keys: u64) -> Result<Box<dyn Store>> {
        let (folder, log) = (dir.join("checkpoints"), log_path(dir));
        let recovery = RecoveryConfig::new(&folder, &log).with_collect_state_changes(true);
        let recovered = RecoveryManager::new(recovery).recover()?;
        let mut state = AHashMapStore::with_capacity(usize::try_from(keys)?);
        if let Some(snapshot) = recovered.state_snapshot {
            state.restore(snapshot);
        }
        for (key, value) in recovered.state_changes {
            match value {
                Some(value) => state.put(&key, Bytes::from(value))?,
                None => state.delete(&key)?,
            }
        }
        // Only `commit` syncs.
        let log = WriteAheadLog::new(&log, Duration::from_hours(1))?;
        let checkpoints = IncrementalCheckpointManager::new(CheckpointConfig::new(&folder))?;
        Ok(Box::new(LaminarStore { state, log, checkpoints }))
    }
}

impl Store for LaminarStore {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.log.append(&WalEntry::Put { key: key.to_vec(), value: value.to_vec() })?;
        Ok(self.state.put(key, Bytes::copy_from_slice(value))?)
    }

    fn commit(&mut self) -> Result<()> {
        Ok(self.log.sync()?)
    }

    fn checkpoint(&mut self) -> Result<()> {
        let (position, snapshot) = (self.log.position(), self.state.snapshot().to_bytes()?);
        self.checkpoints.create_checkpoint_with_state(position, HashMap::new(), None, &snapshot)?;
        Ok(())
    }

    fn has(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        Ok(self.state.get_ref(key) == Some(value))
    }

    fn count(&mut self) -> Result<u64> {
        Ok(self.state.len() as u64)
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        Ok(self.log.sync()?)
    }
}

/// How changes of the state in memory are captured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Capture {
    Changelog,
    Wal,
}

enum Captured {
    Changelog(Box<StateChangelogBuffer>),
    Wal(CoreWalWriter),
}

struct LaminarMap {
    state: AHashMapStore,
    captured: Captured,
}

impl MapPeer for Capture {
    fn open(&self, dir: &Path, keys: u64) -> Result<Box<dyn Map>> {
        let captured = match self {
            Self::Changelog => Captured::Changelog(Box::new(StateChangelogBuffer::with_capacity(1 << 16))),
            Self::Wal => Captured::Wal(CoreWalWriter::new(0, &segments(dir, 1).segment_path(0))?),
        };
        let state = AHashMapStore::with_capacity(usize::try_from(keys)?);
        Ok(Box::new(LaminarMap { state, captured }))
    }
}

impl Map for LaminarMap {
    fn update(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.state.put(key, Bytes::copy_from_slice(value))?;
        match &mut self.captured {
            Captured::Changelog(buffer) => {
                if !buffer.push_put(key, 0, u32::try_from(value.len())?) {
                    // Nobody drains it here: that is Ring 1's work.
                    buffer.clear();
                }
            }
            Captured::Wal(log) => {
                log.append_put(key, value)?;
            }
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Option<u8> {
        self.state.get_ref(key).and_then(|value| value.first().copied())
    }
}
