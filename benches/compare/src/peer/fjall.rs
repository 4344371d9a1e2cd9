//! fjall: an LSM tree with a journal.

use std::path::Path;

use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

use super::batched::{Batch, Batched};
use super::{LogPeer, LogSpec, ReplayPeer, Replayed, Result, Store, StorePeer, Work, with_writers};
use crate::record::Check;

pub(crate) struct Fjall;

#[derive(Clone)]
struct Open {
    database: Database,
    records: Keyspace,
}

fn open(dir: &Path) -> Result<Open> {
    // Values are incompressible: compressing would cost and save nothing.
    let database = Database::builder(dir).journal_compression(CompressionType::None).open()?;
    let records = database.keyspace("records", KeyspaceCreateOptions::default)?;
    Ok(Open { database, records })
}

struct FjallBatch {
    open: Open,
    batch: OwnedWriteBatch,
}

impl FjallBatch {
    fn new(open: &Open) -> Self {
        Self { open: open.clone(), batch: open.database.batch() }
    }
}

impl Batch for FjallBatch {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.batch.insert(&self.open.records, key, value);
        Ok(())
    }

    fn write(&mut self, durable: bool) -> Result<()> {
        let mode = if durable { PersistMode::SyncData } else { PersistMode::Buffer };
        if self.batch.is_empty() {
            return Ok(self.open.database.persist(mode)?);
        }
        let batch = std::mem::replace(&mut self.batch, self.open.database.batch());
        Ok(batch.durability(Some(mode)).commit()?)
    }
}

impl LogPeer for Fjall {
    fn with(&self, dir: &Path, spec: &LogSpec, work: Work<'_>) -> Result<()> {
        let open = open(dir)?;
        with_writers(spec.writers, |_| Ok(Batched::new(FjallBatch::new(&open), spec.durable)), work)
    }
}

impl ReplayPeer for Fjall {
    fn replay(&self, dir: &Path) -> Result<Replayed> {
        let mut found = Check::default();
        for guard in open(dir)?.records.iter() {
            let (key, value) = guard.into_inner()?;
            found.add(&key, &value);
        }
        Ok(Replayed::Checked(found))
    }
}

impl StorePeer for Fjall {
    fn open(&self, dir: &Path, _keys: u64) -> Result<Box<dyn Store>> {
        Ok(Box::new(FjallBatch::new(&open(dir)?)))
    }
}

impl Store for FjallBatch {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        Batch::put(self, key, value)
    }

    fn commit(&mut self) -> Result<()> {
        self.write(true)
    }

    fn checkpoint(&mut self) -> Result<()> {
        Ok(self.open.records.rotate_memtable_and_wait()?)
    }

    fn has(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        Ok(self.open.records.get(key)?.is_some_and(|found| *found == *value))
    }

    fn count(&mut self) -> Result<u64> {
        Ok(self.open.records.len()? as u64)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
