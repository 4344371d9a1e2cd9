//! The records of a core, the index that finds them, and the order of their keys where that is kept.

use super::index::{Index, Position};
use super::order::Order;
use super::slab::{Location, Slab, Stored};
use super::{KeyHasher, StateConfig};
use crate::codec::Record;

/// Every put and delete that reached it, and nothing else: see the invariants of the module above.
#[derive(Debug)]
pub(super) struct Records {
    hasher: KeyHasher,
    pub(super) index: Index,
    pub(super) slab: Slab,
    /// The keys in order, if they are kept in order.
    pub(super) order: Option<Order>,
    /// Bytes of all live keys and values, without record headers and slot padding.
    pub(super) live_bytes: u64,
}

impl Records {
    pub(super) fn new(config: StateConfig) -> Self {
        Self {
            hasher: config.hasher,
            index: Index::new(),
            slab: Slab::new(config.chunks_max),
            order: config.ordered.then(Order::new),
            live_bytes: 0,
        }
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key)
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let order = self.order.as_ref().map_or(0, Order::memory_bytes);
        self.index.memory_bytes() + self.slab.memory_bytes() + order
    }

    /// The value of `key`.
    #[inline]
    pub(super) fn get(&self, hash: u64, key: &[u8]) -> Option<&[u8]> {
        // What nearly every read of a short key comes to. No call is on this way, so that the processor has the next
        // read under way while this one waits for memory.
        if let Some((_, stored)) = self.likely(hash, key) {
            return Some(stored.value());
        }
        self.get_by_search(hash, key)
    }

    #[cold]
    #[inline(never)]
    fn get_by_search(&self, hash: u64, key: &[u8]) -> Option<&[u8]> {
        self.find(hash, key).map(|(.., stored)| stored.value())
    }

    /// The record of `key`, if its key is short and the first entry that fits leads to it.
    #[inline]
    fn likely(&self, hash: u64, key: &[u8]) -> Option<(Location, Stored<'_>)> {
        let location = self.index.first(hash, self.index.place(hash))?;
        Some((location, self.slab.stored_of_short(location, key)?))
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<(Position, Location, Stored<'_>)> {
        self.index.find(hash, self.index.place(hash), |location| self.slab.stored_of(location, key))
    }

    /// Asks for the place where a search for `hash` begins, without waiting for it.
    #[inline]
    pub(super) fn prefetch_place(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Asks for the `bytes` of the record to which the first entry that fits `hash` leads.
    #[inline]
    pub(super) fn prefetch_record(&self, hash: u64, bytes: usize) {
        let place = self.index.place(hash);
        if let Some(location) = self.index.first(hash, place) {
            self.slab.prefetch(location, bytes);
        }
    }

    /// Sets the value of `record.key`. There must be room for it.
    #[inline]
    pub(super) fn put(&mut self, hash: u64, record: &Record<'_>) {
        // What nearly every put of a short key comes to that is not its first.
        if let Some((location, old)) = self.likely(hash, record.key)
            && old.encoded_bytes() == record.encoded_bytes()
        {
            self.slab.overwrite(location, record);
            return;
        }
        self.put_by_search(hash, record);
    }

    #[inline(never)]
    fn put_by_search(&mut self, hash: u64, record: &Record<'_>) {
        let bytes = record.encoded_bytes();
        let Some((position, location, old)) = self.find(hash, record.key) else {
            let location = self.slab.allocate(bytes);
            self.slab.write(location, record);
            self.index.insert(hash, location);
            if let Some(order) = &mut self.order {
                order.insert(record.key);
            }
            self.live_bytes += (record.key.len() + record.value.len()) as u64;
            self.compact();
            return;
        };
        let old_bytes = old.encoded_bytes();
        self.live_bytes += bytes as u64;
        self.live_bytes -= old_bytes as u64;
        if self.slab.fits(location, old_bytes, bytes) {
            self.slab.write(location, record);
            return;
        }
        // The old slot first: a value that grows past a large slot needs no second chunk number.
        self.slab.free(location);
        let moved = self.slab.allocate(bytes);
        self.slab.write(moved, record);
        self.index.set(position, moved);
        self.compact();
    }

    /// Removes `key`; whether it was there.
    pub(super) fn delete(&mut self, hash: u64, key: &[u8]) -> bool {
        let Some((position, location, stored)) = self.find(hash, key) else { return false };
        let bytes = (key.len() + stored.value().len()) as u64;
        self.live_bytes -= bytes;
        self.slab.free(location);
        self.index.remove(position);
        if let Some(order) = &mut self.order {
            order.remove(key);
        }
        self.compact();
        true
    }

    /// Whether a put of `record` will find room in a state without spare chunks.
    pub(super) fn has_room_though_full(&self, hash: u64, record: &Record<'_>) -> bool {
        let bytes = record.encoded_bytes();
        let found = self.find(hash, record.key);
        let replaces = found.is_some_and(|(_, location, _)| self.slab.replaces(location, bytes));
        replaces || self.slab.has_slot(bytes)
    }

    /// A few record moves, when a class has too many free slots (S3).
    #[inline]
    fn compact(&mut self) {
        if self.slab.needs_compaction() {
            let (index, hasher) = (&mut self.index, self.hasher);
            self.slab.compact(|key, from, to| index.relocate(hasher.hash(key), from, to));
        }
    }

    /// Moves records until every class has less than a chunk's worth of free slots.
    #[cold]
    pub(super) fn squeeze(&mut self) {
        let (index, hasher) = (&mut self.index, self.hasher);
        self.slab.squeeze(|key, from, to| index.relocate(hasher.hash(key), from, to));
    }
}
