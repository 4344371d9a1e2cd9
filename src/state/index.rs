//! From a key's hash to its location: 1,024 open-addressing tables that grow alone.
//!
//! ```text
//! hash   63 ........ 42 41 ................. 10 9 ..... 0
//!        key group       tag                     table
//! entry  63 ..... 32 31 ....... 0                            zero = empty
//!        tag         location
//! ```
//!
//! The key group takes the high bits, which are alike on one core; table and tag take others. An entry's home
//! slot follows from its tag alone, so growing and removing never look at a record. Probing is linear, removal
//! shifts back, so there are no tombstones. The home rises with the tag: growing a table is one sweep through
//! the old and the new one: with five million keys a table has 5,000 and grows in some 20 µs. A key costs
//! 10 to 15 bytes while tables grow, at most 20 when they shrink. A table has no slots until its first key comes: a
//! core without keys is opened as fast as it is dropped.

use super::slab::Location;

const TABLES: usize = 1024;
const TABLE_BITS: u32 = 10;
const CAPACITY_MIN: usize = 8;

/// One table is at most four fifths full, and at least two fifths, unless it is minimal or reserved.
const LOAD_MAX: (usize, usize) = (4, 5);
const LOAD_MIN: (usize, usize) = (2, 5);

const _: () = assert!(TABLES == 1 << TABLE_BITS, "a table's number is exactly those bits");

/// The index of one core.
#[derive(Debug)]
pub(super) struct Index {
    tables: Box<[Table]>,
    len: usize,
    /// Slots of all tables.
    capacity: u64,
}

#[derive(Debug)]
struct Table {
    entries: Box<[u64]>,
    len: usize,
}

/// Where the search for a hash begins, and the entry that stood there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    home: usize,
    entry: u64,
}

/// The slot of an entry; good until the index changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    table: usize,
    slot: usize,
}

#[expect(clippy::cast_possible_truncation, reason = "masked to a table number")]
#[inline]
fn table_of(hash: u64) -> usize {
    (hash & (TABLES as u64 - 1)) as usize
}

#[expect(clippy::cast_possible_truncation, reason = "a tag is the next 32 bits, the rest is cut off")]
#[inline]
fn tag_of(hash: u64) -> u32 {
    (hash >> TABLE_BITS) as u32
}

#[inline]
fn entry_tag(entry: u64) -> u32 {
    (entry >> 32) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the low half of an entry is the location")]
#[inline]
fn entry_location(entry: u64) -> Location {
    Location::from_raw(entry as u32)
}

#[inline]
fn entry_of(tag: u32, location: Location) -> u64 {
    u64::from(tag) << 32 | u64::from(location.raw())
}

impl Index {
    pub(super) fn new() -> Self {
        let tables = (0..TABLES).map(|_| Table::with_capacity(0)).collect();
        Self { tables, len: 0, capacity: 0 }
    }

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
        let capacity = capacity_for(fullest);
        for table in &mut self.tables {
            if table.entries.len() < capacity {
                self.capacity += (capacity - table.entries.len()) as u64;
                table.resize(capacity);
            }
        }
    }

    /// Loads the entry at which the search for `hash` begins.
    #[inline]
    pub(super) fn place(&self, hash: u64) -> Place {
        let table = &self.tables[table_of(hash)];
        let home = home_of(tag_of(hash), table.entries.len());
        Place { home, entry: table.entries.get(home).copied().unwrap_or(0) }
    }

    /// The entry of the key that hashes to `hash` and lies where `is_key` says yes. `place` is that of `hash`.
    #[inline]
    pub(super) fn find(
        &self,
        hash: u64,
        place: Place,
        mut is_key: impl FnMut(Location) -> bool,
    ) -> Option<(Position, Location)> {
        let (number, tag) = (table_of(hash), tag_of(hash));
        let table = &self.tables[number];
        let Place { home: mut slot, mut entry } = place;
        // A table with slots always has an empty one: it ends every search.
        while entry != 0 {
            if entry_tag(entry) == tag {
                let location = entry_location(entry);
                if is_key(location) {
                    return Some((Position { table: number, slot }, location));
                }
            }
            slot = table.after(slot);
            entry = table.entries[slot];
        }
        None
    }

    /// Adds an entry for a key that has none.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, location: Location) {
        let table = &mut self.tables[table_of(hash)];
        if table.is_full() {
            let capacity = capacity_after(table.entries.len());
            self.capacity += (capacity - table.entries.len()) as u64;
            table.resize(capacity);
        }
        table.insert(entry_of(tag_of(hash), location));
        table.len += 1;
        self.len += 1;
    }

    /// The key at `position` now lies at `location`.
    #[inline]
    pub(super) fn set(&mut self, position: Position, location: Location) {
        let entry = &mut self.tables[position.table].entries[position.slot];
        assert_ne!(*entry, 0, "an entry is there");
        *entry = entry_of(entry_tag(*entry), location);
    }

    /// The record of a key that hashes to `hash` has moved.
    ///
    /// # Panics
    ///
    /// When no entry leads to `from`: the index and the slab contradict each other (S1).
    pub(super) fn relocate(&mut self, hash: u64, from: Location, to: Location) {
        let (number, wanted) = (table_of(hash), entry_of(tag_of(hash), from));
        let table = &mut self.tables[number];
        let mut slot = home_of(tag_of(hash), table.entries.len());
        while table.entries[slot] != wanted {
            assert_ne!(table.entries[slot], 0, "no entry for the record at {from:?} (hash {hash:#x})");
            slot = table.after(slot);
        }
        table.entries[slot] = entry_of(tag_of(hash), to);
    }

    /// Removes the entry at `position`.
    #[inline]
    pub(super) fn remove(&mut self, position: Position) {
        let table = &mut self.tables[position.table];
        table.remove(position.slot);
        table.len -= 1;
        self.len -= 1;
        let capacity = table.entries.len();
        if capacity > CAPACITY_MIN && table.len * LOAD_MIN.1 < capacity * LOAD_MIN.0 {
            // To a load of three fifths: the next change of size is far in both directions.
            let smaller = (table.len * 5 / 3).max(CAPACITY_MIN).next_multiple_of(CAPACITY_MIN);
            table.resize(smaller);
            self.capacity -= (capacity - smaller) as u64;
        }
    }

    /// Every entry: the bits of the hash that it knows, and the location.
    #[cfg(test)]
    pub(super) fn locations(&self) -> impl Iterator<Item = (u64, Location)> {
        self.tables.iter().enumerate().flat_map(|(number, table)| {
            let held = table.entries.iter().copied().filter(|entry| *entry != 0);
            held.map(move |entry| {
                let hash = u64::from(entry_tag(entry)) << TABLE_BITS | number as u64;
                (hash, entry_location(entry))
            })
        })
    }

    /// Panics unless every table can be searched and the sums are right.
    #[cfg(test)]
    pub(super) fn assert_invariants(&self) {
        let mut len = 0;
        for table in &self.tables {
            let held = table.entries.iter().filter(|entry| **entry != 0).count();
            assert_eq!(held, table.len);
            let searchable = table.entries.is_empty() || table.len < table.entries.len();
            assert!(searchable, "an empty slot ends every search");
            len += table.len;
        }
        assert_eq!(len, self.len);
        assert_eq!(self.capacity, self.tables.iter().map(|table| table.entries.len() as u64).sum::<u64>());
    }
}

/// The home slot of `tag` among `capacity` slots: rises with the tag.
#[inline]
fn home_of(tag: u32, capacity: usize) -> usize {
    ((u64::from(tag) * capacity as u64) >> 32) as usize
}

/// Slots that hold `records` entries without growing.
fn capacity_for(records: usize) -> usize {
    (records * LOAD_MAX.1 / LOAD_MAX.0 + 1).next_multiple_of(CAPACITY_MIN)
}

/// The next capacity above `capacity`: half as much again, or the least.
fn capacity_after(capacity: usize) -> usize {
    (capacity + capacity / 2).next_multiple_of(CAPACITY_MIN).max(CAPACITY_MIN)
}

impl Table {
    fn with_capacity(capacity: usize) -> Self {
        assert!(u32::try_from(capacity).is_ok(), "a tag can reach every slot of {capacity}");
        Self { entries: vec![0; capacity].into_boxed_slice(), len: 0 }
    }

    #[inline]
    fn is_full(&self) -> bool {
        (self.len + 1) * LOAD_MAX.1 > self.entries.len() * LOAD_MAX.0
    }

    #[inline]
    fn after(&self, slot: usize) -> usize {
        if slot + 1 == self.entries.len() { 0 } else { slot + 1 }
    }

    #[inline]
    fn insert(&mut self, entry: u64) {
        let mut slot = home_of(entry_tag(entry), self.entries.len());
        while self.entries[slot] != 0 {
            slot = self.after(slot);
        }
        self.entries[slot] = entry;
    }

    fn resize(&mut self, capacity: usize) {
        let mut grown = Self::with_capacity(capacity);
        grown.len = self.len;
        for entry in self.entries.iter().copied().filter(|entry| *entry != 0) {
            grown.insert(entry);
        }
        *self = grown;
    }

    /// Empties `hole` and moves back what had been pushed past it.
    fn remove(&mut self, mut hole: usize) {
        assert_ne!(self.entries[hole], 0, "an entry is there");
        let capacity = self.entries.len();
        let mut slot = hole;
        loop {
            slot = self.after(slot);
            let entry = self.entries[slot];
            if entry == 0 {
                break;
            }
            // An entry may move back to the hole unless that is in front of its home.
            let home = home_of(entry_tag(entry), capacity);
            let pushed = (slot + capacity - home) % capacity;
            if pushed >= (slot + capacity - hole) % capacity {
                self.entries[hole] = entry;
                hole = slot;
            }
        }
        self.entries[hole] = 0;
    }
}
