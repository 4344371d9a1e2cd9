//! redb: a copy-on-write B-tree.

use std::path::Path;
use std::sync::Arc;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

use super::batched::{Batch, Batched};
use super::{LogPeer, LogSpec, ReplayPeer, Replayed, Result, Store, StorePeer, Work, with_writers};
use crate::record::Check;

pub(crate) struct Redb;

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

fn open(dir: &Path) -> Result<Arc<Database>> {
    Ok(Arc::new(Database::create(dir.join("records.redb"))?))
}

/// The tables of a transaction borrow it: the records wait in a buffer until the commit.
struct RedbBatch {
    database: Arc<Database>,
    records: Vec<(Vec<u8>, Vec<u8>)>,
    used: usize,
}

impl RedbBatch {
    fn new(database: &Arc<Database>) -> Self {
        Self { database: Arc::clone(database), records: Vec::new(), used: 0 }
    }
}

impl Batch for RedbBatch {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if self.used == self.records.len() {
            self.records.push((Vec::new(), Vec::new()));
        }
        let (old_key, old_value) = &mut self.records[self.used];
        old_key.clear();
        old_key.extend_from_slice(key);
        old_value.clear();
        old_value.extend_from_slice(value);
        self.used += 1;
        Ok(())
    }

    fn write(&mut self, durable: bool) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(if durable { Durability::Immediate } else { Durability::None })?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for (key, value) in &self.records[..self.used] {
                table.insert(key.as_slice(), value.as_slice())?;
            }
        }
        self.used = 0;
        Ok(transaction.commit()?)
    }
}

impl LogPeer for Redb {
    fn with(&self, dir: &Path, spec: &LogSpec, work: Work<'_>) -> Result<()> {
        let database = open(dir)?;
        with_writers(spec.writers, |_| Ok(Batched::new(RedbBatch::new(&database), spec.durable)), work)
    }
}

impl ReplayPeer for Redb {
    fn replay(&self, dir: &Path) -> Result<Replayed> {
        let database = open(dir)?;
        let table = database.begin_read()?.open_table(RECORDS)?;
        let mut found = Check::default();
        for record in table.iter()? {
            let (key, value) = record?;
            found.add(key.value(), value.value());
        }
        Ok(Replayed::Checked(found))
    }
}

impl StorePeer for Redb {
    fn open(&self, dir: &Path, _keys: u64) -> Result<Box<dyn Store>> {
        Ok(Box::new(RedbBatch::new(&open(dir)?)))
    }
}

impl Store for RedbBatch {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        Batch::put(self, key, value)
    }

    /// Not durable: the tree is the checkpoint, and there is no log between two of them.
    fn commit(&mut self) -> Result<()> {
        self.write(false)
    }

    fn checkpoint(&mut self) -> Result<()> {
        self.write(true)
    }

    fn has(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        let table = self.database.begin_read()?.open_table(RECORDS)?;
        Ok(table.get(key)?.is_some_and(|found| found.value() == value))
    }

    fn count(&mut self) -> Result<u64> {
        Ok(self.database.begin_read()?.open_table(RECORDS)?.len()?)
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        self.write(true)
    }
}
