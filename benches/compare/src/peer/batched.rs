//! A key-value store used as a log.

use super::{Log, Result};

/// What a key-value store is given at once.
pub(super) trait Batch: Send {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Writes what was put, durably if so asked, and begins the next batch.
    fn write(&mut self, durable: bool) -> Result<()>;
}

/// A key-value store as a log: one batch per commit, or per [`UNSYNCED_BATCH`] records where nobody commits.
pub(super) struct Batched<B> {
    batch: B,
    records: usize,
    durable: bool,
}

/// Records of one batch that does not wait for the disk.
const UNSYNCED_BATCH: usize = 1_000;

impl<B: Batch> Batched<B> {
    #[allow(dead_code, reason = "no such peer may be built")]
    pub(super) fn new(batch: B, durable: bool) -> Self {
        Self { batch, records: 0, durable }
    }

    fn write(&mut self, durable: bool) -> Result<()> {
        self.records = 0;
        self.batch.write(durable)
    }
}

impl<B: Batch> Log for Batched<B> {
    fn append(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.batch.put(key, value)?;
        self.records += 1;
        if !self.durable && self.records >= UNSYNCED_BATCH { self.write(false) } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<()> {
        self.write(true)
    }

    fn hand_over(&mut self) -> Result<()> {
        self.write(false)
    }
}
