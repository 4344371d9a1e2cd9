//! State in one array with checkpoints, without an engine: what W5 costs at least.
//!
//! ```text
//! base    every slot, in blocks of 1 MiB behind a crc each
//! delta   the changed slots: number, key, value; the same blocks
//! tail    framed records since the last checkpoint, one durable write for each commit
//! ```
//!
//! A checkpoint is written by direct I/O into a file with a temporary name, synced, renamed, and its folder synced.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustc_hash::{FxBuildHasher, FxHashMap};

use super::buffer::Aligned;
use super::{UNIT_BYTES, frame, unframe};
use crate::peer::{Result, Store, StorePeer};
use crate::record::{KEY_BYTES, Key, VALUE_BYTES};

pub(crate) struct Slots;

const SLOT_BYTES: usize = KEY_BYTES + VALUE_BYTES;
const BLOCK_BYTES: usize = 1 << 20;
const BLOCK_HEADER_BYTES: usize = 8;

struct SlotStore {
    dir: PathBuf,
    slots: FxHashMap<Key, u32>,
    arena: Vec<u8>,
    /// Which slots have changed since the last checkpoint: a bit each, and a list.
    dirty: Vec<u64>,
    changed: Vec<u32>,
    deltas: u32,
    /// Frames since the last commit.
    batch: Vec<u8>,
    tail: File,
    tail_bytes: u64,
}

impl SlotStore {
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<u32> {
        let key: Key = key.try_into()?;
        if let Some(slot) = self.slots.get(&key) {
            let at = *slot as usize * SLOT_BYTES + KEY_BYTES;
            self.arena[at..at + VALUE_BYTES].copy_from_slice(value);
            return Ok(*slot);
        }
        let slot = (self.arena.len() / SLOT_BYTES) as u32;
        self.slots.insert(key, slot);
        self.arena.extend_from_slice(&key);
        self.arena.extend_from_slice(value);
        Ok(slot)
    }

    fn mark(&mut self, slot: u32) {
        let (word, bit) = (slot as usize / 64, 1 << (slot % 64));
        if self.dirty.len() <= word {
            self.dirty.resize(2 * word + 64, 0);
        }
        if self.dirty[word] & bit == 0 {
            self.dirty[word] |= bit;
            self.changed.push(slot);
        }
    }

    fn recover(&mut self) -> Result<()> {
        if !base_path(&self.dir).exists() {
            return Ok(());
        }
        let mut blocks = Blocks::open(&base_path(&self.dir))?;
        while let Some(block) = blocks.next()? {
            for slot in block.chunks_exact(SLOT_BYTES) {
                let (key, value) = slot.split_at(KEY_BYTES);
                self.set(key, value)?;
            }
        }
        while delta_path(&self.dir, self.deltas).exists() {
            let mut blocks = Blocks::open(&delta_path(&self.dir, self.deltas))?;
            while let Some(block) = blocks.next()? {
                for slot in block.chunks_exact(SLOT_BYTES) {
                    let (key, value) = slot.split_at(KEY_BYTES);
                    self.set(key, value)?;
                }
            }
            self.deltas += 1;
        }
        let mut tail = Vec::new();
        File::open(tail_path(&self.dir))?.read_to_end(&mut tail)?;
        let mut rest = tail.as_slice();
        while let Some((key, value, behind)) = unframe(rest) {
            let slot = self.set(key, value)?;
            self.mark(slot);
            rest = behind;
        }
        self.tail_bytes = (tail.len() - rest.len()) as u64;
        Ok(())
    }
}

fn base_path(dir: &Path) -> PathBuf {
    dir.join("base")
}

fn delta_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("delta-{number}"))
}

fn tail_path(dir: &Path) -> PathBuf {
    dir.join("tail")
}

impl StorePeer for Slots {
    fn open(&self, dir: &Path, keys: u64) -> Result<Box<dyn Store>> {
        let tail = OpenOptions::new().create(true).truncate(false).write(true).open(tail_path(dir))?;
        let keys = usize::try_from(keys)?;
        let mut store = SlotStore {
            dir: dir.to_owned(),
            slots: FxHashMap::with_capacity_and_hasher(keys, FxBuildHasher),
            arena: Vec::with_capacity(keys * SLOT_BYTES),
            dirty: Vec::new(),
            changed: Vec::new(),
            deltas: 0,
            batch: Vec::new(),
            tail,
            tail_bytes: 0,
        };
        store.recover()?;
        Ok(Box::new(store))
    }
}

impl Store for SlotStore {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        frame(&mut self.batch, key, value);
        let slot = self.set(key, value)?;
        self.mark(slot);
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        self.tail.write_all_at(&self.batch, self.tail_bytes)?;
        self.tail.sync_data()?;
        self.tail_bytes += self.batch.len() as u64;
        self.batch.clear();
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<()> {
        if base_path(&self.dir).exists() {
            let path = delta_path(&self.dir, self.deltas);
            let slot = |slot: &u32| &self.arena[*slot as usize * SLOT_BYTES..][..SLOT_BYTES];
            write_blocks(&self.dir, &path, self.changed.iter().map(slot))?;
            self.deltas += 1;
        } else {
            write_blocks(&self.dir, &base_path(&self.dir), self.arena.chunks_exact(SLOT_BYTES))?;
        }
        for slot in self.changed.drain(..) {
            self.dirty[slot as usize / 64] = 0;
        }
        self.tail.set_len(0)?;
        self.tail_bytes = 0;
        Ok(())
    }

    fn has(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        let Some(slot) = self.slots.get(key) else { return Ok(false) };
        Ok(self.arena[*slot as usize * SLOT_BYTES + KEY_BYTES..][..VALUE_BYTES] == *value)
    }

    fn count(&mut self) -> Result<u64> {
        Ok(self.slots.len() as u64)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// Writes `slots` to a new file at `path`, durably.
fn write_blocks<'s>(dir: &Path, path: &Path, slots: impl Iterator<Item = &'s [u8]>) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(libc::O_DIRECT)
        .open(&temporary)?;
    let mut block = Aligned::new(BLOCK_BYTES);
    let (mut used, mut offset) = (BLOCK_HEADER_BYTES, 0);
    let mut write = |block: &mut Aligned, used: &mut usize| -> Result<()> {
        let bytes = block.get_mut();
        let crc = crc32c::crc32c(&bytes[BLOCK_HEADER_BYTES..*used]);
        bytes[..4].copy_from_slice(&(*used as u32).to_le_bytes());
        bytes[4..BLOCK_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        let whole = used.next_multiple_of(UNIT_BYTES);
        bytes[*used..whole].fill(0);
        file.write_all_at(&bytes[..whole], offset)?;
        offset += whole as u64;
        *used = BLOCK_HEADER_BYTES;
        Ok(())
    };
    for slot in slots {
        if used + SLOT_BYTES > BLOCK_BYTES {
            write(&mut block, &mut used)?;
        }
        block.get_mut()[used..used + SLOT_BYTES].copy_from_slice(slot);
        used += SLOT_BYTES;
    }
    write(&mut block, &mut used)?;
    file.sync_data()?;
    std::fs::rename(&temporary, path)?;
    Ok(File::open(dir)?.sync_all()?)
}

/// Reads what [`write_blocks`] wrote.
struct Blocks {
    file: File,
    block: Vec<u8>,
}

impl Blocks {
    fn open(path: &Path) -> Result<Self> {
        Ok(Self { file: File::open(path)?, block: vec![0; BLOCK_BYTES] })
    }

    /// The slots of the next block.
    fn next(&mut self) -> Result<Option<&[u8]>> {
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            match self.file.read(&mut self.block[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        if filled == 0 {
            return Ok(None);
        }
        let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| self.block[at + byte]));
        let slots = self.block.get(BLOCK_HEADER_BYTES..word(0) as usize).ok_or("a block has no end")?;
        if crc32c::crc32c(slots) == word(4) { Ok(Some(slots)) } else { Err("a block fails its crc".into()) }
    }
}
