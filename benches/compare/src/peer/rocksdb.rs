//! `RocksDB`: the library of the system (`ROCKSDB_LIB_DIR`), behind feature `rocksdb`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{DB, DBCompressionType, IteratorMode, Options, WriteBatch, WriteOptions};

use super::batched::{Batch, Batched};
use super::{LogPeer, LogSpec, ReplayPeer, Replayed, Result, Store, StorePeer, Work, with_writers};
use crate::record::Check;

pub(crate) struct Rocks;

fn open(dir: &Path) -> Result<Arc<DB>> {
    let mut options = Options::default();
    options.create_if_missing(true);
    // Values are incompressible.
    options.set_compression_type(DBCompressionType::None);
    Ok(Arc::new(DB::open(&options, dir.join("db"))?))
}

struct RocksBatch {
    database: Arc<DB>,
    batch: WriteBatch,
}

impl RocksBatch {
    fn new(database: &Arc<DB>) -> Self {
        Self { database: Arc::clone(database), batch: WriteBatch::default() }
    }
}

impl Batch for RocksBatch {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.batch.put(key, value);
        Ok(())
    }

    fn write(&mut self, durable: bool) -> Result<()> {
        let mut options = WriteOptions::default();
        options.set_sync(durable);
        Ok(self.database.write_opt(std::mem::take(&mut self.batch), &options)?)
    }
}

impl LogPeer for Rocks {
    fn with(&self, dir: &Path, spec: &LogSpec, work: Work<'_>) -> Result<()> {
        let database = open(dir)?;
        with_writers(spec.writers, |_| Ok(Batched::new(RocksBatch::new(&database), spec.durable)), work)
    }
}

impl ReplayPeer for Rocks {
    fn replay(&self, dir: &Path) -> Result<Replayed> {
        let mut found = Check::default();
        for record in open(dir)?.iterator(IteratorMode::Start) {
            let (key, value) = record?;
            found.add(&key, &value);
        }
        Ok(Replayed::Checked(found))
    }
}

struct RocksStore {
    batch: RocksBatch,
    dir: PathBuf,
    checkpoints: u64,
}

impl StorePeer for Rocks {
    fn open(&self, dir: &Path, _keys: u64) -> Result<Box<dyn Store>> {
        Ok(Box::new(RocksStore { batch: RocksBatch::new(&open(dir)?), dir: dir.to_owned(), checkpoints: 0 }))
    }
}

impl Store for RocksStore {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.batch.put(key, value)
    }

    fn commit(&mut self) -> Result<()> {
        self.batch.write(true)
    }

    fn checkpoint(&mut self) -> Result<()> {
        self.checkpoints += 1;
        let to = self.dir.join(format!("checkpoint-{}", self.checkpoints));
        Ok(Checkpoint::new(&self.batch.database)?.create_checkpoint(to)?)
    }

    fn has(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        Ok(self.batch.database.get(key)?.is_some_and(|found| found == value))
    }

    fn count(&mut self) -> Result<u64> {
        Ok(self.batch.database.iterator(IteratorMode::Start).count() as u64)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
