//! The last write of each key in a range of the log, by the hash of the key: what a checkpoint must have made of it.
//!
//! A table with open addressing. When it holds as many keys as the memory allows, it gives up half of them, by a bit of
//! their hashes, and the range is read once more for each part that was given up.
//!
//! 1. It holds the last write of every key of its part since the last `Clear`, and of no other key.
//! 2. It takes no more than the memory that it was given, and half as much again while it becomes another table. Parts that are
//!    read later are as large as the first by the law of large numbers: there is room for an eighth more.

use xxhash_rust::xxh3::xxh3_128;

/// What the log last did to a key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Write {
    key: u128,
    /// The hash of the encoded put; zero for a delete.
    put: u128,
    /// Where; zero in an empty slot.
    pub(super) lsn: u64,
    deletes: bool,
    seen: bool,
}

impl Write {
    /// The hash of the put; none for a delete.
    pub(super) fn put(&self) -> Option<u128> {
        (!self.deletes).then_some(self.put)
    }

    /// The hash of its key.
    pub(super) fn key(&self) -> u128 {
        self.key
    }
}

/// See the module.
pub(super) struct Writes {
    slots: Vec<Write>,
    /// For each slot eight bits of its key's hash, zero when it is empty: most keys that are asked for are not here, and
    /// one byte of many that the processor has at hand says so.
    tags: Vec<u8>,
    used: usize,
    used_max: usize,
    /// Keys count whose hashes begin with the `depth` bits of `part`.
    depth: u32,
    part: u64,
    /// Where the last `Clear` was.
    pub(super) cleared: Option<u64>,
}

/// Slots of the smallest table.
const SLOTS_MIN: usize = 1 << 8;

/// Most parts of one range: each is read on its own.
const DEPTH_MAX: u32 = 12;

/// How a key is told from others.
pub(super) fn key_hash(key: &[u8]) -> u128 {
    xxh3_128(key)
}

impl Writes {
    /// An empty table that takes at most `memory_bytes`.
    pub(super) fn new(memory_bytes: usize) -> Self {
        let slots_max = (memory_bytes / (size_of::<Write>() + 1)).max(SLOTS_MIN);
        // A power of two that fits, three quarters full at most, and less in the first part: the others may be larger.
        let used_max = (slots_max + 1).next_power_of_two() / 2 / 32 * 21;
        Self { slots: Vec::new(), tags: Vec::new(), used: 0, used_max, depth: 0, part: 0, cleared: None }
    }

    /// How many parts there are.
    pub(super) fn parts(&self) -> u64 {
        1 << self.depth
    }

    /// Begins `part`, empty; the first part of a range may become smaller.
    pub(super) fn begin(&mut self, part: u64) {
        if part == 0 {
            self.depth = 0;
        }
        self.part = part;
        self.empty();
        self.cleared = None;
    }

    /// Whether keys with this hash belong to the part.
    pub(super) fn covers(&self, key: u128) -> bool {
        self.depth == 0 || key >> (128 - self.depth) == u128::from(self.part)
    }

    /// The log does this to the key with the hash `key`: it puts a record with this hash, or deletes.
    pub(super) fn write(&mut self, key: u128, put: Option<u128>, lsn: u64) {
        assert!(lsn > 0, "LSN 0 is no LSN");
        if !self.covers(key) {
            return;
        }
        if self.used >= self.used_max && self.part == 0 && self.depth < DEPTH_MAX {
            self.halve();
            return self.write(key, put, lsn);
        }
        if (self.used + 1) * 4 > self.slots.len() * 3 {
            let slots = (self.slots.len() * 2).max(SLOTS_MIN);
            self.rebuild(slots);
        }
        let at = self.find(key);
        self.used += usize::from(self.tags[at] == 0);
        self.tags[at] = tag(key);
        let (deletes, put) = (put.is_none(), put.unwrap_or(0));
        self.slots[at] = Write { key, put, lsn, deletes, seen: false };
    }

    /// The log deletes every key at `lsn`.
    pub(super) fn clear(&mut self, lsn: u64) {
        self.empty();
        self.cleared = Some(lsn);
    }

    /// The last write to the key with the hash `key`, which has been seen now.
    pub(super) fn see(&mut self, key: u128) -> Option<Write> {
        if self.used == 0 {
            return None;
        }
        let at = self.find(key);
        if self.tags[at] == 0 {
            return None;
        }
        let slot = &mut self.slots[at];
        slot.seen = true;
        Some(*slot)
    }

    /// The writes that nobody has seen.
    pub(super) fn unseen(&self) -> impl Iterator<Item = Write> + '_ {
        self.slots.iter().filter(|slot| slot.lsn > 0 && !slot.seen).copied()
    }

    fn empty(&mut self) {
        if self.used > 0 {
            (self.slots, self.tags) = (Vec::new(), Vec::new());
            self.used = 0;
        }
    }

    /// The slot of `key`, or the empty one where it would be.
    fn find(&self, key: u128) -> usize {
        let mask = self.slots.len() - 1;
        // Its low bits are meant.
        let mut at = key as usize & mask;
        let tag = tag(key);
        while self.tags[at] != 0 && (self.tags[at] != tag || self.slots[at].key != key) {
            at = (at + 1) & mask;
        }
        at
    }

    fn halve(&mut self) {
        self.depth += 1;
        self.rebuild(self.slots.len());
    }

    /// The same writes, as far as they are of the part, in a table of `slots`.
    fn rebuild(&mut self, slots: usize) {
        let stays = |write: &&Write| write.lsn > 0 && self.covers(write.key);
        let mut kept = Vec::with_capacity(self.slots.iter().filter(stays).count());
        kept.extend(self.slots.iter().filter(stays).copied());
        if slots == self.slots.len() {
            self.slots.fill(Write::default());
            self.tags.fill(0);
        } else {
            // The smaller table goes before the larger one comes.
            (self.slots, self.tags) = (Vec::new(), Vec::new());
            (self.slots, self.tags) = (vec![Write::default(); slots], vec![0; slots]);
        }
        self.used = kept.len();
        for write in kept {
            let at = self.find(write.key);
            (self.slots[at], self.tags[at]) = (write, tag(write.key));
        }
    }
}

/// Bits of a hash that place no key, and never zero.
fn tag(key: u128) -> u8 {
    key.to_le_bytes()[12] | 1
}
