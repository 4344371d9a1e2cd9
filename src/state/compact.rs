//! Giving memory back: chunks with few live records are emptied into the free slots of others.
//!
//! A class is *sparse* when more than a sixth of its slots are free and a full-sized chunk could be spared.
//! Then each operation moves up to [`MOVES_MAX`] records out of one chunk, the emptiest of a few, until it is
//! empty and goes. Where a sixth is free, emptying a chunk takes at most five moves for each slot that it
//! brings back; six an operation keep up with any sequence of operations, each of which frees one slot.
//!
//! Moves need no new memory: the slots free elsewhere were more than a chunk's.

use super::slab::{CLASSES, KIND_OFFSET, Location, Slab, slot_bytes, slots_max};

/// Most records that one operation moves.
pub(super) const MOVES_MAX: usize = 6;

/// Most slots that one operation looks at.
const LOOKS_MAX: usize = 64;

/// A class is sparse when more than one slot in this many is free.
const FREE_SHARE: u64 = 6;

/// Chunks among which the emptiest is chosen.
const CANDIDATES: usize = 16;

/// The chunk of a class that is being emptied.
#[derive(Debug, Default)]
pub(super) struct Compaction {
    victim: Option<Victim>,
    /// Where in the list of open chunks the next choice begins.
    turn: usize,
}

#[derive(Clone, Copy, Debug)]
struct Victim {
    chunk: usize,
    /// Slots before this one are empty.
    slot: usize,
}

impl Compaction {
    pub(super) fn is_emptying(&self, chunk: usize) -> bool {
        self.victim.is_some_and(|victim| victim.chunk == chunk)
    }

    /// `chunk` is going away.
    pub(super) fn forget(&mut self, chunk: usize) {
        if self.is_emptying(chunk) {
            self.victim = None;
        }
    }
}

impl Slab {
    /// Whether [`Slab::compact`] has something to do.
    #[inline]
    pub(super) fn needs_compaction(&self) -> bool {
        self.sparse != 0
    }

    /// Notes whether `class` is sparse.
    pub(super) fn judge(&mut self, class: usize) {
        let held = &self.classes[class];
        let sparse = self.could_spare_a_chunk(class) && held.free() * FREE_SHARE > held.slots;
        self.sparse = self.sparse & !(1 << class) | u64::from(sparse) << class;
    }

    /// Moves a few records of one sparse class. `moved` learns each record's key, its old and its new location.
    #[cold]
    pub(super) fn compact(&mut self, mut moved: impl FnMut(&[u8], Location, Location)) {
        let class = self.sparse.trailing_zeros() as usize;
        self.judge(class);
        if self.sparse & (1 << class) != 0 {
            self.empty_some(class, &mut moved);
        }
    }

    /// Empties chunks while any class could do with one less. As [`Slab::compact`] else, and in one go.
    #[cold]
    pub(super) fn squeeze(&mut self, mut moved: impl FnMut(&[u8], Location, Location)) {
        for class in 0..CLASSES {
            while self.could_spare_a_chunk(class) && self.empty_some(class, &mut moved) {}
        }
    }

    /// Moves a few records of `class` out of one chunk. False when there is none to empty.
    fn empty_some(&mut self, class: usize, mut moved: impl FnMut(&[u8], Location, Location)) -> bool {
        let (mut moves, mut looks) = (0, 0);
        while moves < MOVES_MAX && looks < LOOKS_MAX {
            let Some(victim) = self.victim(class) else { return false };
            let info = self.infos[victim.chunk];
            if info.live == 0 {
                self.retire(class, victim.chunk);
                self.judge(class);
                return true;
            }
            if self.classes[class].open.is_empty() {
                // Puts were faster and took the slots that the rest was to move to.
                self.give_up_compaction(class);
                return false;
            }
            let from = Location::new(victim.chunk, victim.slot * slot_bytes(class));
            assert!(
                victim.slot < usize::from(info.fresh),
                "a chunk with live records has one before its fresh slots"
            );
            looks += 1;
            if self.chunks[victim.chunk][from.offset() + KIND_OFFSET] != 0 {
                let to = self.move_record(class, from);
                moved(self.key(to), from, to);
                moves += 1;
            }
            self.classes[class].compaction.victim = Some(Victim { slot: victim.slot + 1, ..victim });
        }
        true
    }

    /// Whether the records of `class` fit into one full-sized chunk less.
    fn could_spare_a_chunk(&self, class: usize) -> bool {
        self.classes[class].free() > slots_max(class) as u64
    }

    /// Goes on using the chunk that was being emptied; whether there was one.
    pub(super) fn give_up_compaction(&mut self, class: usize) -> bool {
        let Some(victim) = self.classes[class].compaction.victim.take() else { return false };
        self.list(class, victim.chunk);
        true
    }

    /// The chunk to empty: the one that was begun, else the emptiest of a few.
    fn victim(&mut self, class: usize) -> Option<Victim> {
        let held = &mut self.classes[class];
        if held.compaction.victim.is_some() {
            return held.compaction.victim;
        }
        if held.open.len() < 2 {
            return None;
        }
        let turn = held.compaction.turn;
        let candidates =
            (turn..turn + CANDIDATES.min(held.open.len())).map(|at| held.open[at % held.open.len()]);
        let free = |chunk: u32| {
            let info = self.infos[chunk as usize];
            u32::from(info.slots - info.live) * u32::from(u16::MAX) / u32::from(info.slots)
        };
        let chunk = candidates.max_by_key(|chunk| free(*chunk))? as usize;
        held.compaction.turn = (turn + CANDIDATES) % held.open.len();
        self.unlist(class, chunk);
        let victim = Victim { chunk, slot: 0 };
        self.classes[class].compaction.victim = Some(victim);
        Some(victim)
    }

    /// Moves the record at `from` into a free slot of an open chunk of the same class.
    fn move_record(&mut self, class: usize, from: Location) -> Location {
        let to = self.take_slot(class);
        assert_ne!(from.chunk(), to.chunk(), "the chunk being emptied is not open");
        let bytes = self.encoded(from).len();
        let [source, target] =
            self.chunks.get_disjoint_mut([from.chunk(), to.chunk()]).expect("two chunks, both there");
        target[to.offset()..][..bytes].copy_from_slice(&source[from.offset()..][..bytes]);
        self.free_slot(class, from);
        to
    }

    /// Panics unless the bookkeeping agrees with the bytes (S2).
    #[cfg(test)]
    pub(super) fn assert_invariants(&self) {
        use super::slab::{NOT_LISTED, Use, number};
        for class in 0..CLASSES {
            let mut sums = (0, 0);
            for (chunk, info) in self.infos.iter().enumerate() {
                if info.holds != Use::Class(u8::try_from(class).expect("small")) {
                    continue;
                }
                let kinds = (0..usize::from(info.slots))
                    .map(|slot| self.chunks[chunk][slot * slot_bytes(class) + KIND_OFFSET]);
                assert_eq!(kinds.filter(|kind| *kind != 0).count(), usize::from(info.live));
                let held = &self.classes[class];
                let open = info.live < info.slots && !held.compaction.is_emptying(chunk);
                assert_eq!(info.listed != NOT_LISTED, open, "chunk {chunk}: {info:?}");
                if open {
                    assert_eq!(held.open[info.listed as usize], number(chunk));
                }
                sums = (sums.0 + u64::from(info.slots), sums.1 + u64::from(info.live));
            }
            assert_eq!(sums, (self.classes[class].slots, self.classes[class].live), "class {class}");
        }
    }
}
