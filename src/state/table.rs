//! One of the index's tables: buckets of eight entries, searched a bucket at a time.
//!
//! ```text
//! bucket   | tag 0 | … | tag 7 | location 0 | … | location 7 |       64 bytes: one line of the cache
//! ```
//!
//! 1. A tag is never zero, but for an empty entry.
//! 2. Every bucket from an entry's home up to the one in front of its own is full: a search ends at the first bucket
//!    with an empty entry. A table with buckets always has one.
//!
//! A search compares all tags of a bucket at once and branches only on whether one fits, which is nearly always
//! foreseen. A branch for each entry would not be: it would wait for the line to come from memory, and with it
//! everything behind it, while as it is the processor fetches for several calls at a time.

use super::processor::{equal_words, prefetch};
use super::slab::Location;

/// Entries of one bucket.
pub(super) const BUCKET_ENTRIES: usize = 8;

/// One table is at most four fifths full, and at least two fifths, unless it is minimal or reserved.
const LOAD_MAX: (usize, usize) = (4, 5);
const LOAD_MIN: (usize, usize) = (2, 5);

/// The part of a hash that an entry keeps; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u32);

impl Tag {
    /// The tag of these bits, of which the lowest is lost.
    #[inline]
    pub(super) fn new(bits: u32) -> Self {
        Self(bits | 1)
    }

    #[cfg(test)]
    pub(super) fn bits(self) -> u32 {
        self.0
    }
}

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket {
    tags: [u32; BUCKET_ENTRIES],
    locations: [u32; BUCKET_ENTRIES],
}

const EMPTY: Bucket = Bucket { tags: [0; BUCKET_ENTRIES], locations: [0; BUCKET_ENTRIES] };

const _: () = assert!(size_of::<Bucket>() == 64, "a bucket is one line of the cache");

/// A set of entries of a bucket, a bit for each.
#[derive(Clone, Copy, Debug)]
struct Entries(u32);

impl Entries {
    #[inline]
    fn first(self) -> Option<usize> {
        (self.0 != 0).then(|| self.0.trailing_zeros() as usize % BUCKET_ENTRIES)
    }

    #[inline]
    fn without_first(self) -> Self {
        Self(self.0 & (self.0 - 1))
    }
}

impl Bucket {
    /// The entries with these bits for a tag; zero for the empty ones.
    #[inline]
    fn with(&self, bits: u32) -> Entries {
        Entries(equal_words(&self.tags, bits))
    }
}

/// Where the search for a tag begins, and which entries of its home fit: loaded ahead of the search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    home: usize,
    fitting: Entries,
}

/// An entry of a table; good until the table changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    bucket: usize,
    entry: usize,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    buckets: Box<[Bucket]>,
    len: usize,
}

/// The home bucket of `tag` among `buckets`: rises with the tag.
#[inline]
fn home_of(tag: Tag, buckets: usize) -> usize {
    ((u64::from(tag.0) * buckets as u64) >> 32) as usize
}

impl Table {
    /// How many entries the table has room for.
    #[inline]
    pub(super) fn capacity(&self) -> usize {
        self.buckets.len() * BUCKET_ENTRIES
    }

    /// Looks into the home bucket of `tag`.
    #[inline]
    pub(super) fn place(&self, tag: Tag) -> Place {
        let home = home_of(tag, self.buckets.len());
        let fitting = self.buckets.get(home).map_or(Entries(0), |bucket| bucket.with(tag.0));
        Place { home, fitting }
    }

    /// Asks for the home bucket of `tag`.
    #[inline]
    pub(super) fn prefetch(&self, tag: Tag) {
        if let Some(bucket) = self.buckets.get(home_of(tag, self.buckets.len())) {
            prefetch(bucket);
        }
    }

    /// Where the first entry that fits in the home bucket leads to.
    #[inline]
    pub(super) fn first(&self, place: Place) -> Option<Location> {
        let entry = place.fitting.first()?;
        Some(Location::from_raw(self.buckets.get(place.home)?.locations[entry]))
    }

    /// The entry with `tag` of which `is_it` finds out that it is the one. `place` is that of `tag`.
    #[inline]
    pub(super) fn find<T>(
        &self,
        tag: Tag,
        place: Place,
        mut is_it: impl FnMut(Location) -> Option<T>,
    ) -> Option<(Slot, Location, T)> {
        let Place { home: mut bucket, mut fitting } = place;
        loop {
            let held = self.buckets.get(bucket)?;
            while let Some(entry) = fitting.first() {
                let location = Location::from_raw(held.locations[entry]);
                if let Some(found) = is_it(location) {
                    return Some((Slot { bucket, entry }, location, found));
                }
                fitting = fitting.without_first();
            }
            if held.with(0).first().is_some() {
                return None;
            }
            bucket = self.after(bucket);
            fitting = self.buckets[bucket].with(tag.0);
        }
    }

    /// Adds an entry. When that makes the table larger, says by how many entries.
    #[inline]
    pub(super) fn insert(&mut self, tag: Tag, location: Location) -> usize {
        let before = self.capacity();
        if (self.len + 1) * LOAD_MAX.1 > before * LOAD_MAX.0 {
            // Half as much again, or the least.
            self.resize((before + before / 2).max(BUCKET_ENTRIES));
        }
        self.place_entry(tag, location);
        self.len += 1;
        self.capacity() - before
    }

    /// The entry at `slot` now leads to `location`.
    #[inline]
    pub(super) fn set(&mut self, slot: Slot, location: Location) {
        let bucket = &mut self.buckets[slot.bucket];
        assert_ne!(bucket.tags[slot.entry], 0, "an entry is there");
        bucket.locations[slot.entry] = location.raw();
    }

    /// Removes the entry at `slot`. When that makes the table smaller, says by how many entries.
    #[inline]
    pub(super) fn remove(&mut self, slot: Slot) -> usize {
        self.empty(slot);
        self.len -= 1;
        let before = self.capacity();
        if before > BUCKET_ENTRIES && self.len * LOAD_MIN.1 < before * LOAD_MIN.0 {
            // To a load of three fifths: the next change of size is far in both directions.
            self.resize(self.len * 5 / 3);
        }
        before - self.capacity()
    }

    /// Makes room for `entries` without growing; says how much larger the table has become.
    pub(super) fn reserve(&mut self, entries: usize) -> usize {
        let before = self.capacity();
        let wanted = entries * LOAD_MAX.1 / LOAD_MAX.0 + 1;
        if before < wanted {
            self.resize(wanted);
        }
        self.capacity() - before
    }

    #[inline]
    fn after(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() { 0 } else { bucket + 1 }
    }

    /// Puts an entry into the first bucket with room for it, from its home on.
    #[inline]
    fn place_entry(&mut self, tag: Tag, location: Location) {
        let mut at = home_of(tag, self.buckets.len());
        loop {
            let bucket = &mut self.buckets[at];
            if let Some(entry) = bucket.with(0).first() {
                bucket.tags[entry] = tag.0;
                bucket.locations[entry] = location.raw();
                return;
            }
            at = self.after(at);
        }
    }

    /// Changes the room to `entries`, rounded up to whole buckets.
    fn resize(&mut self, entries: usize) {
        let buckets = entries.div_ceil(BUCKET_ENTRIES).max(1);
        assert!(u32::try_from(buckets).is_ok(), "a tag can reach every bucket of {buckets}");
        assert!(self.len < buckets * BUCKET_ENTRIES, "invariant 2: an empty entry ends every search");
        let old = std::mem::replace(&mut self.buckets, vec![EMPTY; buckets].into_boxed_slice());
        for bucket in old {
            for (tag, location) in bucket.tags.into_iter().zip(bucket.locations) {
                if tag != 0 {
                    self.place_entry(Tag(tag), Location::from_raw(location));
                }
            }
        }
    }

    /// Empties the entry at `hole` and moves back what had been pushed past it.
    fn empty(&mut self, mut hole: Slot) {
        assert_ne!(self.buckets[hole.bucket].tags[hole.entry], 0, "an entry is there");
        let mut at = hole.bucket;
        // What lies behind a bucket that is not full never passed it.
        while self.buckets[at].with(0).first().is_none() {
            at = self.after(at);
            let pushed = (0..BUCKET_ENTRIES)
                .find(|entry| self.passed(hole.bucket, Slot { bucket: at, entry: *entry }));
            // The bucket's own room is judged before one of its entries moves back.
            if let Some(entry) = pushed {
                let Bucket { tags, locations } = self.buckets[at];
                let target = &mut self.buckets[hole.bucket];
                target.tags[hole.entry] = tags[entry];
                target.locations[hole.entry] = locations[entry];
                hole = Slot { bucket: at, entry };
            }
        }
        let bucket = &mut self.buckets[hole.bucket];
        bucket.tags[hole.entry] = 0;
        bucket.locations[hole.entry] = 0;
    }

    /// Whether the entry at `slot` was pushed past `bucket`, or out of it.
    #[inline]
    fn passed(&self, bucket: usize, slot: Slot) -> bool {
        let tag = self.buckets[slot.bucket].tags[slot.entry];
        if tag == 0 {
            return false;
        }
        let buckets = self.buckets.len();
        let behind = |from: usize| (slot.bucket + buckets - from) % buckets;
        behind(home_of(Tag(tag), buckets)) >= behind(bucket)
    }

    /// Every entry.
    #[cfg(test)]
    pub(super) fn entries(&self) -> impl Iterator<Item = (Tag, Location)> {
        self.buckets.iter().flat_map(|bucket| {
            let entries = bucket.tags.into_iter().zip(bucket.locations);
            entries
                .filter(|(tag, _)| *tag != 0)
                .map(|(tag, location)| (Tag(tag), Location::from_raw(location)))
        })
    }

    /// Panics unless every entry can be found and the sum is right.
    #[cfg(test)]
    pub(super) fn assert_invariants(&self) {
        assert_eq!(self.entries().count(), self.len);
        let full = |bucket: usize| self.buckets[bucket].with(0).first().is_none();
        let searchable = self.buckets.is_empty() || (0..self.buckets.len()).any(|bucket| !full(bucket));
        assert!(searchable, "invariant 2: an empty entry ends every search");
        for (number, bucket) in self.buckets.iter().enumerate() {
            for tag in bucket.tags.into_iter().filter(|tag| *tag != 0) {
                let mut passed = home_of(Tag(tag), self.buckets.len());
                while passed != number {
                    assert!(full(passed), "invariant 2: tag {tag:#x} lies behind a bucket with room");
                    passed = self.after(passed);
                }
            }
        }
    }
}
