//! Whether records find room in an empty state, without putting them there.

use super::StateConfig;
use super::slab::{CHUNK_BYTES, CLASSES, SLOT_BYTES_MAX, class_of, grown_slots};
use crate::codec::Record;

/// Records that would be loaded one after the other.
#[derive(Debug)]
pub(crate) struct Room {
    /// Number 0 is never used.
    chunks: u64,
    large: u64,
    slots: [u64; CLASSES],
}

impl Room {
    /// For a state of `config`.
    pub(crate) fn new(config: StateConfig) -> Self {
        Self { chunks: u64::from(config.chunks_max) - 1, large: 0, slots: [0; CLASSES] }
    }

    /// One record more.
    pub(crate) fn take(&mut self, record: &Record<'_>) {
        let bytes = record.encoded_bytes();
        if bytes > SLOT_BYTES_MAX {
            self.large += 1;
        } else {
            self.slots[class_of(bytes)] += 1;
        }
    }

    /// Whether all of them find room.
    pub(crate) fn fits(&self) -> bool {
        let small: u64 = self.slots.iter().enumerate().map(|(class, slots)| chunks_of(class, *slots)).sum();
        self.large + small <= self.chunks
    }

    /// Whether `entries` records of `bytes` encoded bytes together find room, whatever they are. A forged manifest
    /// may say anything.
    pub(crate) fn surely_fits(&self, entries: u64, bytes: u64) -> bool {
        chunks_most(entries, bytes) <= self.chunks
    }
}

/// Chunks that `slots` slots of `class` take at most, where nothing was announced.
fn chunks_of(class: usize, slots: u64) -> u64 {
    let (mut held, mut chunks) = (0, 0);
    while held < slots {
        let more = grown_slots(class, held);
        held += more;
        chunks += 1;
        if more == grown_slots(class, u64::MAX) {
            return chunks + slots.saturating_sub(held).div_ceil(more);
        }
    }
    chunks
}

/// Chunks that so many records of so many encoded bytes take at most: one each, or, where they are small, what they fill. A slot
/// is an eighth longer than its record at most, or by less than 16 bytes, and three quarters of a chunk at least are slots.
pub(super) fn chunks_most(entries: u64, bytes: u64) -> u64 {
    let slots = bytes.saturating_add(bytes / 7).saturating_add(entries.saturating_mul(16));
    let begun = (CLASSES * 16) as u64;
    let filled = (bytes / SLOT_BYTES_MAX as u64).saturating_add(slots / (CHUNK_BYTES as u64 / 4 * 3));
    entries.min(filled.saturating_add(begun))
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
