//! From a key's hash to its location: 1,024 open-addressing tables that grow alone.
//!
//! ```text
//! hash     63 ........ 42 41 ................. 10 9 ..... 0
//!          key group       tag                     table
//! ```
//!
//! The key group takes the high bits, which are alike on one core; table and tag take others. An entry's home
//! follows from its tag alone, so growing and removing never look at a record. Probing is linear, bucket by bucket,
//! and removal shifts back, so there are no tombstones. The home rises with the tag: growing a table is one sweep
//! through the old and the new one: with five million keys a table has 5,000 and grows in some 20 µs. A key costs
//! 10 to 15 bytes while tables grow, at most 20 when they shrink. A table has no buckets until its first key comes: a
//! core without keys is opened as fast as it is dropped.

use super::slab::Location;
use super::table::{Place, Slot, Table, Tag};

const TABLES: usize = 1024;
const TABLE_BITS: u32 = 10;

const _: () = assert!(TABLES == 1 << TABLE_BITS, "a table's number is exactly those bits");

/// The index of one core.
#[derive(Debug)]
pub(super) struct Index {
    tables: Box<[Table; TABLES]>,
    len: usize,
    /// What all tables have room for.
    capacity: u64,
}

/// The entry of a key; good until the index changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    table: usize,
    slot: Slot,
}

#[expect(clippy::cast_possible_truncation, reason = "masked to a table number")]
#[inline]
fn table_of(hash: u64) -> usize {
    (hash & (TABLES as u64 - 1)) as usize
}

#[expect(clippy::cast_possible_truncation, reason = "a tag is of the next 32 bits, the rest is cut off")]
#[inline]
fn tag_of(hash: u64) -> Tag {
    Tag::new((hash >> TABLE_BITS) as u32)
}

impl Index {
    pub(super) fn new() -> Self {
        Self { tables: Box::new(std::array::from_fn(|_| Table::default())), len: 0, capacity: 0 }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.capacity * size_of::<u64>() as u64 + (TABLES * size_of::<Table>()) as u64
    }

    /// Makes room for `records` keys in all, spread as hashes spread, unless they are fewer than the tables.
    pub(super) fn reserve(&mut self, records: u64) {
        if records < TABLES as u64 {
            // Many tables would stay empty, and those that do not are small.
            return;
        }
        // The fullest table holds hardly more than four standard deviations above the mean.
        let mean = records.div_ceil(TABLES as u64);
        let fullest = usize::try_from(mean + 4 * mean.isqrt()).expect("keys of a core fit into memory");
        for table in self.tables.iter_mut() {
            self.capacity += table.reserve(fullest) as u64;
        }
    }

    /// Looks into the bucket at which the search for `hash` begins.
    #[inline]
    pub(super) fn place(&self, hash: u64) -> Place {
        self.tables[table_of(hash)].place(tag_of(hash))
    }

    /// Asks for the bucket at which the search for `hash` begins.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        self.tables[table_of(hash)].prefetch(tag_of(hash));
    }

    /// Where the first entry that fits `hash` leads to, if there is one where the search begins. `place` is that of
    /// `hash`.
    #[inline]
    pub(super) fn first(&self, hash: u64, place: Place) -> Option<Location> {
        self.tables[table_of(hash)].first(place)
    }

    /// The entry of the key that hashes to `hash`, its location, and what `is_key` found there. `place` is that of
    /// `hash`.
    #[inline]
    pub(super) fn find<T>(
        &self,
        hash: u64,
        place: Place,
        is_key: impl FnMut(Location) -> Option<T>,
    ) -> Option<(Position, Location, T)> {
        let table = table_of(hash);
        let (slot, location, found) = self.tables[table].find(tag_of(hash), place, is_key)?;
        Some((Position { table, slot }, location, found))
    }

    /// Adds an entry for a key that has none.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, location: Location) {
        self.capacity += self.tables[table_of(hash)].insert(tag_of(hash), location) as u64;
        self.len += 1;
    }

    /// The key at `position` now lies at `location`.
    #[inline]
    pub(super) fn set(&mut self, position: Position, location: Location) {
        self.tables[position.table].set(position.slot, location);
    }

    /// The record of a key that hashes to `hash` has moved.
    ///
    /// # Panics
    ///
    /// When no entry leads to `from`: the index and the slab contradict each other (S1).
    pub(super) fn relocate(&mut self, hash: u64, from: Location, to: Location) {
        let found = self.find(hash, self.place(hash), |location| (location == from).then_some(()));
        let Some((position, ..)) = found else {
            panic!("no entry for the record at {from:?} (hash {hash:#x})")
        };
        self.set(position, to);
    }

    /// Removes the entry at `position`.
    #[inline]
    pub(super) fn remove(&mut self, position: Position) {
        self.capacity -= self.tables[position.table].remove(position.slot) as u64;
        self.len -= 1;
    }

    /// Every entry: the bits of the hash that it knows, and the location.
    #[cfg(test)]
    pub(super) fn locations(&self) -> impl Iterator<Item = (u64, Location)> {
        self.tables.iter().enumerate().flat_map(|(number, table)| {
            table
                .entries()
                .map(move |(tag, location)| (u64::from(tag.bits()) << TABLE_BITS | number as u64, location))
        })
    }

    /// The bits of `hash` that an entry knows.
    #[cfg(test)]
    pub(super) fn known_bits(hash: u64) -> u64 {
        u64::from(tag_of(hash).bits()) << TABLE_BITS | table_of(hash) as u64
    }

    /// Panics unless every table can be searched and the sums are right.
    #[cfg(test)]
    pub(super) fn assert_invariants(&self) {
        self.tables.iter().for_each(Table::assert_invariants);
        assert_eq!(self.len, self.tables.iter().map(|table| table.entries().count()).sum::<usize>());
        assert_eq!(self.capacity, self.tables.iter().map(|table| table.capacity() as u64).sum::<u64>());
    }
}
