//! raft-engine: the log of `TiKV`'s raft groups, used as a key-value log of one group.

use std::path::Path;
use std::sync::Arc;

use raft_engine::env::DefaultFileSystem;
use raft_engine::internals::FilePipeLog;
use raft_engine::{Config, Engine, LogBatch, ReadableSize};

use super::batched::{Batch, Batched};
use super::{LogPeer, LogSpec, ReplayPeer, Replayed, Result, Work, with_writers};
use crate::record::Check;

pub(crate) struct RaftEngine;

type Open = Engine<DefaultFileSystem, FilePipeLog<DefaultFileSystem>>;

const GROUP: u64 = 1;

fn open(dir: &Path) -> Result<Arc<Open>> {
    let config = Config {
        dir: dir.to_string_lossy().into_owned(),
        // Values are incompressible.
        batch_compression_threshold: ReadableSize(0),
        ..Config::default()
    };
    Ok(Arc::new(Engine::open(config)?))
}

struct RaftEngineBatch {
    engine: Arc<Open>,
    batch: LogBatch,
}

impl Batch for RaftEngineBatch {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.batch.put(GROUP, key.to_vec(), value.to_vec())?)
    }

    fn write(&mut self, durable: bool) -> Result<()> {
        self.engine.write(&mut self.batch, durable)?;
        Ok(())
    }
}

impl LogPeer for RaftEngine {
    fn with(&self, dir: &Path, spec: &LogSpec, work: Work<'_>) -> Result<()> {
        let engine = open(dir)?;
        let log = |_| {
            let batch = RaftEngineBatch { engine: Arc::clone(&engine), batch: LogBatch::default() };
            Ok(Batched::new(batch, spec.durable))
        };
        with_writers(spec.writers, log, work)
    }
}

impl ReplayPeer for RaftEngine {
    fn replay(&self, dir: &Path) -> Result<Replayed> {
        let mut found = Check::default();
        open(dir)?.scan_raw_messages(GROUP, None, None, false, |key, value| {
            found.add(key, value);
            true
        })?;
        Ok(Replayed::Checked(found))
    }
}
