//! The last few puts, on their way from the log into the records.
//!
//! A put finds its key by two reads from memory, one behind the other, and a processor that waits for both with every
//! put does little else. So a put asks for what the first one needs and goes into a ring; when a few more have come
//! it asks for what the second one needs, and when the ring is full it is done, without waiting:
//!
//! ```text
//! put n          the record into the ring, the line of the index asked for
//! put n + 4      that line is there: the record in the slab asked for
//! put n + 8      both are there: the record written, and gone from the ring
//! ```
//!
//! Whoever reads asks the ring first (S5). Only puts of small records wait here: everything else is done at once, when
//! the ring has been emptied.

use super::processor::equal_words;
use super::slab::Stored;
use crate::codec::Record;

/// Most puts in the ring.
pub(super) const PENDING_MAX: usize = 8;

/// After so many more puts, what the index says is there.
pub(super) const INDEX_PUTS: usize = 4;

/// Longest encoded record in the ring, in bytes.
pub(super) const PENDING_BYTES_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct Pending {
    /// Each from its hash; zero where nothing waits.
    tags: [u32; PENDING_MAX],
    hashes: [u64; PENDING_MAX],
    records: Box<[[u8; PENDING_BYTES_MAX]; PENDING_MAX]>,
    /// Puts that left the ring, and puts that came.
    left: usize,
    came: usize,
}

#[expect(clippy::cast_possible_truncation, reason = "a tag is some bits of a hash")]
#[inline]
fn tag_of(hash: u64) -> u32 {
    (hash >> 16) as u32 | 1
}

impl Pending {
    pub(super) fn new() -> Self {
        Self {
            tags: [0; PENDING_MAX],
            hashes: [0; PENDING_MAX],
            records: Box::new([[0; PENDING_BYTES_MAX]; PENDING_MAX]),
            left: 0,
            came: 0,
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.left == self.came
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.came - self.left == PENDING_MAX
    }

    /// Adds a put.
    ///
    /// # Panics
    ///
    /// When the ring is full.
    #[inline]
    pub(super) fn push(&mut self, hash: u64, record: &Record<'_>) {
        assert!(!self.is_full(), "a put is waited for before another takes its place");
        let slot = self.came % PENDING_MAX;
        self.tags[slot] = tag_of(hash);
        self.hashes[slot] = hash;
        record.encode(&mut self.records[slot]);
        self.came += 1;
    }

    /// The oldest put, which stays until [`Pending::leave`].
    #[inline]
    pub(super) fn oldest(&self) -> (u64, Stored<'_>) {
        self.at(self.left)
    }

    /// The oldest put is done.
    #[inline]
    pub(super) fn leave(&mut self) {
        assert!(!self.is_empty());
        self.tags[self.left % PENDING_MAX] = 0;
        self.left += 1;
    }

    /// Hash and bytes of the put that came `puts` before the last one, if it is still here.
    #[inline]
    pub(super) fn before_last(&self, puts: usize) -> Option<(u64, usize)> {
        let number = self.came.checked_sub(puts + 1).filter(|number| *number >= self.left)?;
        let (hash, stored) = self.at(number);
        Some((hash, stored.encoded_bytes()))
    }

    /// The newest value that waits for `key`.
    #[inline]
    pub(super) fn value_of(&self, hash: u64, key: &[u8]) -> Option<&[u8]> {
        if equal_words(&self.tags, tag_of(hash)) == 0 {
            return None;
        }
        let mut newest_first = (self.left..self.came).rev().map(|number| self.at(number));
        newest_first
            .find(|(held, stored)| *held == hash && stored.key() == key)
            .map(|(_, stored)| stored.value())
    }

    /// For each key with a put here, its hash and the newest put.
    pub(super) fn newest(&self) -> impl Iterator<Item = (u64, Stored<'_>)> {
        let held = |number: usize| self.at(number);
        (self.left..self.came).filter_map(move |number| {
            let (hash, stored) = held(number);
            let again = (number + 1..self.came).map(held);
            let mut newer = again.filter(|(other, newer)| *other == hash && newer.key() == stored.key());
            newer.next().is_none().then_some((hash, stored))
        })
    }

    #[inline]
    fn at(&self, number: usize) -> (u64, Stored<'_>) {
        let slot = number % PENDING_MAX;
        (self.hashes[slot], Stored::at_front_of(&self.records[slot]))
    }
}
