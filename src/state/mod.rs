//! The live state of one core: every key of the core and its value, in memory.
//!
//! ```text
//!   put ─► pending.rs: the last eight ─► records.rs
//!                                           │
//!   hash ─► table (bits 0..10) ─► entry {tag: bits 10..42, location} ─► chunk ─► slot: the encoded record
//!           index.rs, table.rs: 1,024 tables, 8 bytes per key           slab.rs: slots in size classes
//!   order.rs: the keys in order, where that was asked for
//! ```
//!
//! A record lies in its slot exactly as it lies in the log: one encoding everywhere. A put to a key whose
//! record keeps its size class overwrites the slot and touches nothing else. No call does I/O. Such a put allocates
//! nothing; other changes do where something grows or shrinks: a chunk of slots, one of the 1,024 tables, a node of
//! the order. A key over 22 bytes takes memory of its own in the order whenever it is inserted, also again.
//!
//! Invariants, checked by `assert_invariants` in tests after every batch of operations:
//!
//! - S1: the index holds exactly one entry for each live record, and each entry leads to its record.
//! - S2: a slot is live if and only if its record's kind byte is not zero.
//! - S3: the slots of a class that hold nothing are at most a sixth of them, or fit into one chunk, as soon
//!   as compaction has caught up; it moves at most [`MOVES_MAX`](compact::MOVES_MAX) records per operation.
//! - S4: nothing of a change is written between [`CoreState::entry`] and a call on the entry: whoever logs a record
//!   between the two never has state ahead of its log.
//! - S5: a put is seen by every read from the moment of its call, wherever it is: of the puts that are under way and of
//!   the records, the newest counts.
//! - S6: the order holds exactly the keys of the live records.

mod compact;
mod hash;
mod index;
mod load;
mod order;
mod pending;
mod processor;
mod records;
mod room;
mod scan;
mod slab;
mod table;
#[cfg(test)]
mod tests;

use crate::codec::{Record, RecordKind};
use crate::limits::{KEY_BYTES_MAX, STATE_CHUNKS_MAX, VALUE_BYTES_MAX};
pub(crate) use hash::KeyHasher;
pub(crate) use load::Load;
use pending::{INDEX_PUTS, PENDING_BYTES_MAX, PENDING_MAX, Pending};
use records::Records;
pub(crate) use room::Room;
pub(crate) use scan::KeyRange;
use slab::{CHUNKS_MAX, CLASSES, Location, Stored};

/// Chunks that a rebuilt state may have above those of the state that it was: of each class those that are smaller at
/// first, and one that is not full.
pub(crate) const REBUILD_CHUNKS: u32 = 1024;
const _: () = assert!(REBUILD_CHUNKS as usize == CLASSES * 16);
const _: () = assert!(STATE_CHUNKS_MAX + REBUILD_CHUNKS <= CHUNKS_MAX, "a location names every chunk");

/// How a [`CoreState`] is built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateConfig {
    pub(crate) hasher: KeyHasher,
    /// Most chunks, of 64 KiB or one large record each. [`StateConfig::new`] sets what a location can name.
    pub(crate) chunks_max: u32,
    /// Whether the keys are kept in order, too.
    pub(crate) ordered: bool,
}

impl StateConfig {
    /// As large as a location allows: 64 GiB of records, at most a million of them larger than 16 KiB.
    pub(crate) fn new(hasher: KeyHasher) -> Self {
        Self { hasher, chunks_max: CHUNKS_MAX, ordered: false }
    }

    /// For what is rebuilt of a state that had at most `chunks_max` chunks.
    pub(crate) fn rebuilt(self, chunks_max: u32) -> Self {
        self.chunks_max((chunks_max + REBUILD_CHUNKS).min(CHUNKS_MAX))
    }

    /// With at most `chunks_max` chunks.
    pub(crate) fn chunks_max(self, chunks_max: u32) -> Self {
        Self { chunks_max, ..self }
    }

    /// Whether the keys are kept in order, so that scans need not sort.
    pub(crate) fn ordered(self, ordered: bool) -> Self {
        Self { ordered, ..self }
    }
}

/// The live state of one core. See the module's page.
#[derive(Debug)]
pub(crate) struct CoreState {
    config: StateConfig,
    records: Records,
    pending: Pending,
}

/// A change whose record is about to be logged. Where its key leads to is being fetched from memory meanwhile.
/// Dropping it leaves the state as it was (S4).
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    state: &'a mut CoreState,
    hash: u64,
}

impl CoreState {
    /// A state without keys.
    pub(crate) fn new(config: StateConfig) -> Self {
        Self { config, records: Records::new(config), pending: Pending::new() }
    }

    /// The hash that this state expects with `key`.
    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.records.hash(key)
    }

    /// Makes room for `records` records of `bytes` encoded bytes together, so that loading them grows no table, if they
    /// are many.
    pub(crate) fn reserve(&mut self, records: u64, bytes: u64) {
        self.records.index.reserve(records);
        self.records.slab.reserve(bytes);
    }

    /// Starts a put or delete of the key that hashes to `hash`; then log the record, then finish it.
    #[inline]
    pub(crate) fn entry(&mut self, hash: u64) -> Entry<'_> {
        self.records.prefetch_place(hash);
        Entry { state: self, hash }
    }

    /// The value of `key`.
    #[inline]
    pub(crate) fn get(&self, hash: u64, key: &[u8]) -> Option<&[u8]> {
        if !self.pending.is_empty()
            && let Some(value) = self.pending.value_of(hash, key)
        {
            return Some(value);
        }
        self.records.get(hash, key)
    }

    /// Asks for the place where a read of the key that hashes to `hash` will begin, without waiting for it.
    #[inline]
    pub(crate) fn prefetch_place(&self, hash: u64) {
        self.records.prefetch_place(hash);
    }

    /// Asks for the first `bytes` bytes of the record to which that place leads; it should be there by now.
    #[inline]
    pub(crate) fn prefetch_record(&self, hash: u64, bytes: usize) {
        self.records.prefetch_record(hash, bytes);
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

    /// Finishes the puts that are under way: what is read afterwards is read as fast as can be.
    pub(crate) fn settle(&mut self) {
        while !self.pending.is_empty() {
            self.finish_oldest();
        }
    }

    /// Live keys.
    pub(crate) fn len(&self) -> usize {
        let is_new = |(hash, put): (u64, Stored<'_>)| self.records.find(hash, put.key()).is_none();
        self.records.index.len() + self.pending.newest().filter(|put| is_new(*put)).count()
    }

    /// Whether no key has a value.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.records.index.len() == 0
    }

    /// Bytes of all live keys and values.
    pub(crate) fn bytes(&self) -> u64 {
        let replaced =
            |(hash, put): (u64, Stored<'_>)| self.records.find(hash, put.key()).map(|(.., old)| old);
        let bytes = |stored: Stored<'_>| (stored.key().len() + stored.value().len()) as u64;
        let came: u64 = self.pending.newest().map(|(_, put)| bytes(put)).sum();
        let went: u64 = self.pending.newest().filter_map(replaced).map(bytes).sum();
        self.records.live_bytes + came - went
    }

    /// Bytes of memory that the state occupies, index and free slots included.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.records.memory_bytes()
    }

    /// Whether a put of `record` will find room, now: else refuse it with `Full`. Only a state that has used every
    /// chunk that a location can name says no, and then also to some puts that would just fit.
    #[inline]
    pub(crate) fn has_room_for(&mut self, hash: u64, record: &Record<'_>) -> bool {
        // Each put takes one chunk at most, those under way too.
        self.records.slab.chunks_left() > PENDING_MAX || self.has_room_though_full(hash, record)
    }

    /// As [`CoreState::has_room_for`], and moves as many records as that takes: not for a put that somebody waits for.
    pub(crate) fn makes_room_for(&mut self, hash: u64, record: &Record<'_>) -> bool {
        self.has_room_for(hash, record) || {
            self.records.squeeze();
            self.has_room_for(hash, record)
        }
    }

    /// Has no more than `chunks_max` chunks from now on, unless it has more already.
    pub(crate) fn limit(&mut self, chunks_max: u32) {
        self.config.chunks_max = chunks_max;
        self.records.slab.limit(chunks_max);
    }

    /// Whether puts of any `entries` records of `bytes` encoded bytes together will find room, in any order.
    pub(crate) fn has_room_for_any(&mut self, entries: u64, bytes: u64) -> bool {
        self.settle();
        room::chunks_most(entries, bytes) <= self.records.slab.chunks_left() as u64
    }

    #[cold]
    fn has_room_though_full(&mut self, hash: u64, record: &Record<'_>) -> bool {
        self.settle();
        self.records.slab.chunks_left() > 0 || self.records.has_room_though_full(hash, record)
    }

    #[inline]
    fn finish_oldest(&mut self) {
        let (hash, put) = self.pending.oldest();
        let record = Record { kind: RecordKind::Put, key: put.key(), value: put.value() };
        self.records.put(hash, &record);
        self.pending.leave();
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
        let Self { state, hash } = self;
        if record.encoded_bytes() > PENDING_BYTES_MAX {
            state.settle();
            state.records.put(hash, record);
            return;
        }
        if state.pending.is_full() {
            state.finish_oldest();
        }
        state.pending.push(hash, record);
        if let Some((hash, bytes)) = state.pending.before_last(INDEX_PUTS) {
            state.records.prefetch_record(hash, bytes);
        }
    }

    /// Removes `key`; whether it was there.
    #[inline]
    pub(crate) fn delete(self, key: &[u8]) -> bool {
        let Self { state, hash } = self;
        state.settle();
        state.records.delete(hash, key)
    }
}

const _: () = assert!(size_of::<Location>() == 4, "a location is half of an index entry");
