//! The delta of an epoch range: of the log's records the last one of each key, in key order.
//!
//! ```text
//! arena   | record | record | record | …          in log order, the codec's encoding
//! slots   | (eight bytes of the key, place in arena) …
//! ```
//!
//! The eight bytes of a slot are those at the front of the key, or behind the front that all keys have in common when that is
//! long: they order most pairs without a look at the arena, which is a cache miss.
//!
//! Superseded records are squeezed out when the budget is reached, in place; when that frees too little the builder
//! is full, and what it holds becomes one delta file. The next file is newer, and wins: a range may take several.
//!
//! B1. Arena and slots together stay within the budget, or hold one record.
//! B2. Every slot names a record; a key's latest record has a slot.
//! B3. After a `Clear` only what followed it is held.

use std::hint::black_box;

use crate::codec::{Record, RecordKind};
use crate::error::Result;
use crate::vfs::Vfs;

use super::writer::{FileWriter, Written};

/// Whether a record was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a record that was not taken must be pushed again"]
pub(crate) enum Pushed {
    /// It is part of the delta.
    Taken,
    /// There is no room: write the delta to a file, then push the record again.
    Full,
}

/// Where a record is, and enough of its key to order most pairs without looking there.
#[derive(Clone, Copy, Debug)]
struct Slot {
    prefix: u64,
    at: u32,
}

/// Largest budget, so that a place in the arena, behind any one record, fits 32 bits.
pub(crate) const BUDGET_BYTES_MAX: usize = 2 << 30;

const _: () = assert!(BUDGET_BYTES_MAX + crate::limits::VALUE_BYTES_MAX < u32::MAX as usize);

/// Gathers one core's records, in log order.
#[derive(Debug)]
pub(crate) struct DeltaBuilder {
    arena: Vec<u8>,
    slots: Vec<Slot>,
    budget_bytes: usize,
    clears: bool,
    /// Some slots may hold what is behind a front of their keys.
    skips: bool,
    /// How many slots, from the first on, stand in runs that are ordered.
    in_runs: usize,
}

impl DeltaBuilder {
    /// A builder that holds at most `budget_bytes`.
    pub(crate) fn new(budget_bytes: usize) -> Self {
        assert!(budget_bytes <= BUDGET_BYTES_MAX, "a budget of {budget_bytes} bytes");
        Self { arena: Vec::new(), slots: Vec::new(), budget_bytes, clears: false, skips: false, in_runs: 0 }
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty() && !self.clears
    }

    /// Bytes held.
    pub(crate) fn held_bytes(&self) -> usize {
        self.arena.len() + self.slots.len() * SLOT_BYTES
    }

    /// Takes the log's next record. The end of an epoch changes no key and takes no room.
    pub(crate) fn push(&mut self, record: &Record<'_>) -> Pushed {
        match record.kind {
            RecordKind::EpochEnd => return Pushed::Taken,
            RecordKind::Clear => {
                self.arena.clear();
                self.slots.clear();
                self.in_runs = 0;
                self.clears = true;
                return Pushed::Taken;
            }
            RecordKind::Put | RecordKind::Delete => {}
        }
        let bytes = record.encoded_bytes();
        if !self.has_room(bytes) {
            self.squeeze();
            // Half the budget must be free again, or the next squeeze would come too soon.
            if self.held_bytes() > self.budget_bytes / 2 || !self.has_room(bytes) {
                return Pushed::Full;
            }
        }
        let at = self.arena.len();
        grow(&mut self.arena, bytes, self.budget_bytes);
        record.append_to(&mut self.arena);
        let slot_bytes_max = self.budget_bytes / SLOT_BYTES;
        grow(&mut self.slots, 1, slot_bytes_max);
        self.slots.push(Slot { prefix: prefix(record.key), at: place(at) });
        assert!(self.slots.len() == 1 || self.held_bytes() <= self.budget_bytes, "B1");
        if self.slots.len() - self.in_runs >= RUN {
            self.order_run();
        }
        Pushed::Taken
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.slots.is_empty() || self.held_bytes() + bytes + SLOT_BYTES <= self.budget_bytes
    }

    /// Drops every record that a later one supersedes. The survivors keep their order in the arena.
    fn squeeze(&mut self) {
        self.keep_last_of_each_key();
        self.order_as_logged();
        let mut end = 0;
        for slot in &mut self.slots {
            let at = slot.at as usize;
            let bytes = record_at(&self.arena, slot.at).encoded_bytes();
            // Survivors only move down, over what is dropped or has moved already.
            self.arena.copy_within(at..at + bytes, end);
            slot.at = place(end);
            end += bytes;
        }
        self.arena.truncate(end);
    }

    fn order_as_logged(&mut self) {
        self.slots.sort_unstable_by_key(|slot| slot.at);
        self.in_runs = 0;
    }

    /// Orders the last run, so that little is left to do when all are.
    fn order_run(&mut self) {
        let run = &mut self.slots[self.in_runs..];
        if !has_long_front(run) {
            run.sort_unstable_by_key(|slot| slot.prefix);
        }
        self.in_runs = self.slots.len();
    }

    /// Leaves the slots in key order, one for each key.
    fn keep_last_of_each_key(&mut self) {
        self.skips |= has_long_front(&self.slots);
        if self.skips {
            self.skip_front();
            self.slots.sort_unstable_by_key(|slot| slot.prefix);
        } else {
            self.order_run();
            // Made for runs that are in order already: it only merges them.
            self.slots.sort_by_key(|slot| slot.prefix);
        }
        let arena = &self.arena;
        let key = |slot: &Slot| record_at(arena, slot.at).key;
        for run in self.slots.chunk_by_mut(|a, b| a.prefix == b.prefix).filter(|run| run.len() > 1) {
            // The latest of equal keys stands first, and stays.
            run.sort_unstable_by(|a, b| key(a).cmp(key(b)).then_with(|| b.at.cmp(&a.at)));
        }
        self.slots.dedup_by(|later, kept| later.prefix == kept.prefix && key(later) == key(kept));
    }

    /// Has every slot hold what is behind the front that all keys have in common.
    fn skip_front(&mut self) {
        let arena = &self.arena;
        let Some(first) = self.slots.first() else { return };
        let front = record_at(arena, first.at).key;
        let mut common = front.len();
        for slot in &self.slots {
            let key = record_at(arena, slot.at).key;
            if !key.starts_with(&front[..common]) {
                common = key.iter().zip(front).take_while(|(a, b)| a == b).count();
            }
        }
        for slot in &mut self.slots {
            slot.prefix = prefix(&record_at(arena, slot.at).key[common..]);
        }
    }

    /// Writes the delta to `writer`'s file, ends it, and begins the next delta, empty. Deletes behind a `Clear` are
    /// left out: there is nothing that they could hide.
    ///
    /// # Errors
    ///
    /// As [`FileWriter::push`] and [`FileWriter::finish`]. The delta is still held: a new attempt may write it.
    pub(crate) async fn write<V: Vfs>(&mut self, mut writer: FileWriter<V>) -> Result<Written> {
        self.keep_last_of_each_key();
        match self.write_to(&mut writer).await {
            Ok(written) => {
                *self = Self::new(self.budget_bytes);
                Ok(written)
            }
            Err(error) => {
                // Back to log order: a later push relies on nothing else.
                self.order_as_logged();
                writer.abandon().await;
                Err(error)
            }
        }
    }

    async fn write_to<V: Vfs>(&self, writer: &mut FileWriter<V>) -> Result<Written> {
        // A base has nothing before it that a Clear or a delete could hide.
        let hides = !writer.is_base();
        if self.clears && hides {
            writer.push(&Record { kind: RecordKind::Clear, key: &[], value: &[] }).await?;
        }
        let record_bytes = self.arena.len() / self.slots.len().max(1);
        let lines = (record_bytes / CACHE_LINE_BYTES + 2).min(NEAR_LINES_MAX);
        for near in self.slots.chunks(NEAR) {
            self.load(near, lines);
            for slot in near {
                let record = record_at(&self.arena, slot.at);
                if record.kind == RecordKind::Put || (hides && !self.clears) {
                    writer.push(&record).await?;
                }
            }
        }
        writer.finish().await
    }

    /// Has the records of `slots`, which take some `lines` lines of the cache each, brought there all at once: they
    /// lie in another order.
    fn load(&self, slots: &[Slot], lines: usize) {
        let mut sum = 0_u8;
        for slot in slots {
            let record = &self.arena[slot.at as usize..];
            for line in record.chunks(CACHE_LINE_BYTES).take(lines) {
                sum ^= line[0];
            }
        }
        black_box(sum);
    }
}

/// How many records are brought to the cache at once.
const NEAR: usize = 64;

/// Of large records only the beginning is: the rest follows it anyway.
const NEAR_LINES_MAX: usize = 4;

const CACHE_LINE_BYTES: usize = 64;

/// A common front of more bits leaves too little of a slot's eight bytes to order by.
const LONG_FRONT_BITS: u32 = 32;

/// Slots that are ordered at once while the log is followed.
const RUN: usize = 32 * 1024;

/// A slot, and what ordering all of them takes for it.
const SLOT_BYTES: usize = size_of::<Slot>() + size_of::<Slot>() / 2;

/// Whether too little of the slots' eight bytes is left to order by: all keys begin alike.
fn has_long_front(slots: &[Slot]) -> bool {
    let first = slots.first().map_or(0, |slot| slot.prefix);
    let differ = slots.iter().fold(0, |differ, slot| differ | (slot.prefix ^ first));
    differ.leading_zeros() > LONG_FRONT_BITS
}

/// The first eight bytes of a key as a number that orders as they do; a shorter key counts as followed by zeroes.
fn prefix(key: &[u8]) -> u64 {
    if let Some(bytes) = key.first_chunk() {
        return u64::from_le_bytes(*bytes).swap_bytes();
    }
    key.iter()
        .take(8)
        .zip((0..8).rev())
        .fold(0, |prefix, (&byte, place)| prefix | u64::from(byte) << (8 * place))
}

/// A place in the arena as a slot stores it.
fn place(at: usize) -> u32 {
    let Ok(place) = u32::try_from(at) else { panic!("{at} is beyond any budget") };
    place
}

fn record_at(arena: &[u8], at: u32) -> Record<'_> {
    let Some((record, _)) = Record::decode(&arena[at as usize..]) else { panic!("B2: no record at {at}") };
    record
}

/// Makes room for `more` entries by doubling, but never beyond `most` while that is enough.
fn grow<T>(entries: &mut Vec<T>, more: usize, most: usize) {
    let need = entries.len() + more;
    if need > entries.capacity() {
        let target = (entries.capacity() * 2).min(most).max(need);
        entries.reserve_exact(target - entries.len());
    }
}
