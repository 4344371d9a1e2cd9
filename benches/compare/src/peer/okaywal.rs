//! okaywal: pre-zeroed segments, entries of chunks.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use okaywal::{
    Configuration, Entry, EntryId, EntryWriter, LogManager, ReadChunkResult, SegmentReader, WriteAheadLog,
};

use super::{Log, LogPeer, LogSpec, ReplayPeer, Replayed, Result, Work, with_writers};
use crate::record::{Check, KEY_BYTES};

pub(crate) struct OkayWal;

/// Bytes of a segment, and of the buffer in front of it: as large as helps.
const SEGMENT_BYTES: u32 = 64 << 20;
const BUFFER_BYTES: usize = 256 << 10;

/// An entry that nobody waits for is committed, and so synced, after so many bytes: it has no other way to end one.
const UNSYNCED_ENTRY_BYTES: usize = 16 << 20;

fn configuration(dir: &Path, keep: bool) -> Configuration {
    // What is read back must not be checkpointed away.
    let bytes = if keep { 1 << 30 } else { SEGMENT_BYTES };
    Configuration::default_for(dir)
        .preallocate_bytes(bytes)
        .checkpoint_after_bytes(u64::from(bytes) - (1 << 20))
        .buffer_bytes(BUFFER_BYTES)
}

/// Recovers nothing and keeps nothing.
#[derive(Debug)]
struct Forgetful;

impl LogManager for Forgetful {
    fn recover(&mut self, _entry: &mut Entry<'_>) -> io::Result<()> {
        Ok(())
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> io::Result<()> {
        Ok(())
    }
}

struct OkayWalLog<'w> {
    wal: &'w WriteAheadLog,
    entry: Option<EntryWriter<'w>>,
    entry_bytes: usize,
    durable: bool,
}

impl Log for OkayWalLog<'_> {
    fn append(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if self.entry.is_none() {
            self.entry = Some(self.wal.begin_entry()?);
        }
        let Some(entry) = &mut self.entry else { unreachable!("an entry was just begun") };
        let bytes = key.len() + value.len();
        let mut chunk = entry.begin_chunk(u32::try_from(bytes)?)?;
        chunk.write_all(key)?;
        chunk.write_all(value)?;
        chunk.finish()?;
        self.entry_bytes += bytes;
        if !self.durable && self.entry_bytes >= UNSYNCED_ENTRY_BYTES { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<()> {
        self.entry_bytes = 0;
        if let Some(entry) = self.entry.take() {
            entry.commit()?;
        }
        Ok(())
    }
}

// An entry holds the lock of its segment; it is begun and committed by the one thread that has the log.
impl LogPeer for OkayWal {
    fn with(&self, dir: &Path, spec: &LogSpec, work: Work<'_>) -> Result<()> {
        let wal = configuration(dir, spec.keep).open(Forgetful)?;
        with_writers(
            spec.writers,
            |_| Ok(OkayWalLog { wal: &wal, entry: None, entry_bytes: 0, durable: spec.durable }),
            work,
        )?;
        Ok(wal.shutdown()?)
    }
}

/// Checks what it recovers.
#[derive(Debug)]
struct Recovering {
    found: Arc<Mutex<Check>>,
    buffer: Vec<u8>,
}

impl LogManager for Recovering {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        let mut found = self.found.lock().map_err(|_| io::Error::other("a panic elsewhere"))?;
        while let ReadChunkResult::Chunk(mut chunk) = entry.read_chunk()? {
            self.buffer.resize(chunk.bytes_remaining() as usize, 0);
            chunk.read_exact(&mut self.buffer)?;
            if !chunk.check_crc()? {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a chunk fails its crc"));
            }
            let (key, value) = self.buffer.split_at(KEY_BYTES);
            found.add(key, value);
        }
        Ok(())
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> io::Result<()> {
        Ok(())
    }
}

impl ReplayPeer for OkayWal {
    fn replay(&self, dir: &Path) -> Result<Replayed> {
        let found = Arc::new(Mutex::new(Check::default()));
        let manager = Recovering { found: Arc::clone(&found), buffer: Vec::new() };
        let wal = configuration(dir, true).open(manager)?;
        let found = *found.lock().map_err(|_| "a panic elsewhere")?;
        wal.shutdown()?;
        Ok(Replayed::Checked(found))
    }
}
