//! sled: a log-structured tree. Its `flush` is `sync_file_range`: the device's cache is not flushed.

use std::path::Path;

use sled::Db;

use super::batched::{Batch, Batched};
use super::{LogPeer, LogSpec, ReplayPeer, Replayed, Result, Store, StorePeer, Work, with_writers};
use crate::record::Check;

pub(crate) struct Sled;

fn open(dir: &Path) -> Result<Db> {
    // No timer: a flush happens when it is asked for.
    Ok(sled::Config::new().path(dir).flush_every_ms(None).open()?)
}

struct SledBatch {
    database: Db,
    batch: sled::Batch,
}

impl SledBatch {
    fn new(database: &Db) -> Self {
        Self { database: database.clone(), batch: sled::Batch::default() }
    }
}

impl Batch for SledBatch {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.batch.insert(key, value);
        Ok(())
    }

    fn write(&mut self, durable: bool) -> Result<()> {
        self.database.apply_batch(std::mem::take(&mut self.batch))?;
        if durable {
            self.database.flush()?;
        }
        Ok(())
    }
}

impl LogPeer for Sled {
    fn with(&self, dir: &Path, spec: &LogSpec, work: Work<'_>) -> Result<()> {
        let database = open(dir)?;
        with_writers(spec.writers, |_| Ok(Batched::new(SledBatch::new(&database), spec.durable)), work)
    }
}

impl ReplayPeer for Sled {
    fn replay(&self, dir: &Path) -> Result<Replayed> {
        let mut found = Check::default();
        for record in open(dir)?.iter() {
            let (key, value) = record?;
            found.add(&key, &value);
        }
        Ok(Replayed::Checked(found))
    }
}

impl StorePeer for Sled {
    fn open(&self, dir: &Path, _keys: u64) -> Result<Box<dyn Store>> {
        Ok(Box::new(SledBatch::new(&open(dir)?)))
    }
}

impl Store for SledBatch {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        Batch::put(self, key, value)
    }

    fn commit(&mut self) -> Result<()> {
        self.write(false)
    }

    fn checkpoint(&mut self) -> Result<()> {
        self.write(true)
    }

    fn has(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        Ok(self.database.get(key)?.is_some_and(|found| *found == *value))
    }

    fn count(&mut self) -> Result<u64> {
        Ok(self.database.len() as u64)
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        self.write(true)
    }
}
