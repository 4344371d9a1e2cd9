//! The live state of one core: every key of the core and its value, in memory.
//!
//! ```text
//!   hash ─► table (bits 0..10) ─► entry {tag: bits 10..42, location} ─► chunk ─► slot: the encoded record
//!           index.rs: 1,024 tables, one u64 per key                     slab.rs: slots in size classes
//! ```
//!
//! A record lies in its slot exactly as it lies in the log: one encoding everywhere. A put to a key whose
//! record keeps its size class overwrites the slot and touches nothing else. No call does I/O, and none
//! allocates but to grow: a new chunk of slots, or one of the 1,024 tables.
//!
//! Invariants, checked by `assert_invariants` in tests after every batch of operations:
//!
//! - S1: the index holds exactly one entry for each live record, and each entry leads to its record.
//! - S2: a slot is live if and only if its record's kind byte is not zero.
//! - S3: the slots of a class that hold nothing are at most a sixth of them, or fit into one chunk, as soon
//!   as compaction has caught up; it moves at most [`MOVES_MAX`](compact::MOVES_MAX) records per operation.
//! - S4: nothing is written between [`CoreState::entry`] and a call on the entry: whoever logs a record
//!   between the two never has state ahead of its log.

mod compact;
mod index;
mod scan;
mod slab;
#[cfg(test)]
mod tests;

use crate::codec::{Record, RecordKind, key_hash, record_bytes};
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use index::{Index, Place};
use slab::{CHUNKS_MAX, Location, Slab};

/// Computes the hash of a key again, when its record moves. The callers of every method that takes a hash
/// must pass what this function gives for the key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyHasher {
    pub(crate) seed: u64,
    pub(crate) function: fn(u64, &[u8]) -> u64,
}

impl KeyHasher {
    /// The hash of the format, seeded from IDENT.
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, function: key_hash }
    }

    /// The hash of `key`.
    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        (self.function)(self.seed, key)
    }
}

/// How a [`CoreState`] is built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateConfig {
    pub(crate) hasher: KeyHasher,
    /// Most chunks, of 64 KiB or one large record each. [`StateConfig::new`] sets what a location can name.
    pub(crate) chunks_max: u32,
}

impl StateConfig {
    /// As large as a location allows: 64 GiB of records, at most a million of them larger than 16 KiB.
    pub(crate) fn new(hasher: KeyHasher) -> Self {
        Self { hasher, chunks_max: CHUNKS_MAX }
    }
}

/// The live state of one core. See the module's page.
#[derive(Debug)]
pub(crate) struct CoreState {
    config: StateConfig,
    index: Index,
    slab: Slab,
    /// Bytes of all live keys and values, without record headers and slot padding.
    live_bytes: u64,
}

/// The place where a key's record is or will be, found before the record is logged.
///
/// It holds the first index entry that the search will look at, so that fetching it from memory can overlap
/// with the copy into the log. Dropping it leaves the state as it was (S4).
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    state: &'a mut CoreState,
    hash: u64,
    place: Place,
}

impl CoreState {
    /// A state without keys.
    pub(crate) fn new(config: StateConfig) -> Self {
        Self { config, index: Index::new(), slab: Slab::new(config.chunks_max), live_bytes: 0 }
    }

    /// The hash that this state expects with `key`.
    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.config.hasher.hash(key)
    }

    /// Makes room for `records` records of `bytes` encoded bytes together, so that loading them grows no table, if they
    /// are many.
    pub(crate) fn reserve(&mut self, records: u64, bytes: u64) {
        self.index.reserve(records);
        self.slab.reserve(bytes);
    }

    /// Starts a put or delete of the key that hashes to `hash`; then log the record, then finish it.
    #[inline]
    pub(crate) fn entry(&mut self, hash: u64) -> Entry<'_> {
        let place = self.index.place(hash);
        Entry { state: self, hash, place }
    }

    /// The value of `key`.
    #[inline]
    pub(crate) fn get(&self, hash: u64, key: &[u8]) -> Option<&[u8]> {
        let slab = &self.slab;
        let place = self.index.place(hash);
        let (_, location) = self.index.find(hash, place, |location| slab.key(location) == key)?;
        Some(slab.value(location))
    }

    /// Sets the value of `record.key`, in one step.
    ///
    /// # Panics
    ///
    /// When the record is no put or breaks a limit, or when the state [has no room](CoreState::has_room_for).
    #[inline]
    pub(crate) fn put(&mut self, hash: u64, record: &Record<'_>) {
        self.entry(hash).put(record);
    }

    /// Removes `key`, in one step; whether it was there.
    #[inline]
    pub(crate) fn delete(&mut self, hash: u64, key: &[u8]) -> bool {
        self.entry(hash).delete(key)
    }

    /// Removes every key and gives the memory back.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.config);
    }

    /// Live keys.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no key has a value.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all live keys and values.
    pub(crate) fn bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Bytes of memory that the state occupies, index and free slots included.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.index.memory_bytes() + self.slab.memory_bytes()
    }

    /// Whether a put of `record` will find room, now: else refuse it with `Full`. Only a state that has used every
    /// chunk that a location can name says no, and then also to some puts that would just fit.
    #[inline]
    pub(crate) fn has_room_for(&self, hash: u64, record: &Record<'_>) -> bool {
        !self.slab.is_full() || self.has_room_though_full(hash, record)
    }

    #[cold]
    fn has_room_though_full(&self, hash: u64, record: &Record<'_>) -> bool {
        let (slab, bytes) = (&self.slab, record.encoded_bytes());
        let place = self.index.place(hash);
        let found = self.index.find(hash, place, |location| slab.key(location) == record.key);
        let replaces = found.is_some_and(|(_, location)| slab.replaces(location, bytes));
        replaces || slab.has_slot(bytes)
    }

    /// A few record moves, when a class has too many free slots (S3).
    #[inline]
    fn compact(&mut self) {
        if self.slab.needs_compaction() {
            let (index, hasher) = (&mut self.index, self.config.hasher);
            self.slab.compact(|key, from, to| index.relocate(hasher.hash(key), from, to));
        }
    }
}

impl Entry<'_> {
    /// Sets the value of `record.key`.
    ///
    /// # Panics
    ///
    /// When the record is no put or breaks a limit, or when the state [has no room](CoreState::has_room_for).
    #[inline]
    pub(crate) fn put(self, record: &Record<'_>) {
        assert_eq!(record.kind, RecordKind::Put);
        assert!(record.key.len() <= KEY_BYTES_MAX && record.value.len() <= VALUE_BYTES_MAX);
        let Self { state, hash, place } = self;
        let CoreState { index, slab, .. } = state;
        let bytes = record.encoded_bytes();
        let found = index.find(hash, place, |location| slab.key(location) == record.key);
        let Some((position, location)) = found else {
            let location = slab.allocate(bytes);
            slab.write(location, record);
            index.insert(hash, location);
            state.live_bytes += (record.key.len() + record.value.len()) as u64;
            state.compact();
            return;
        };
        let old_value_bytes = slab.value(location).len();
        state.live_bytes -= old_value_bytes as u64;
        state.live_bytes += record.value.len() as u64;
        if slab.fits(location, record_bytes(record.key.len(), old_value_bytes), bytes) {
            slab.write(location, record);
            return;
        }
        // The old slot first: a value that grows past a large slot needs no second chunk number.
        slab.free(location);
        let moved = slab.allocate(bytes);
        slab.write(moved, record);
        index.set(position, moved);
        state.compact();
    }

    /// Removes `key`; whether it was there.
    #[inline]
    pub(crate) fn delete(self, key: &[u8]) -> bool {
        let Self { state, hash, place } = self;
        let CoreState { index, slab, .. } = state;
        let Some((position, location)) = index.find(hash, place, |location| slab.key(location) == key) else {
            return false;
        };
        state.live_bytes -= (key.len() + slab.value(location).len()) as u64;
        slab.free(location);
        index.remove(position);
        state.compact();
        true
    }
}

const _: () = assert!(size_of::<Location>() == 4, "a location is half of an index entry");
