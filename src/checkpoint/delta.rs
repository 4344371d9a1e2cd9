//! The delta of an epoch range: of the log's records the last one of each key, in key order.
//!
//! ```text
//! arena   | record | record | record | …          in log order, the codec's encoding
//! slots   | (key's first 8 bytes, place in arena) …
//! ```
//!
//! Superseded records are squeezed out when the budget is reached, in place; when that frees too little the builder
//! is full, and what it holds becomes one delta file. The next file is newer, and wins: a range may take several.
//!
//! B1. Arena and slots together stay within the budget, or hold one record.
//! B2. Every slot names a record; a key's latest record has a slot.
//! B3. After a `Clear` only what followed it is held.

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
}

impl DeltaBuilder {
    /// A builder that holds at most `budget_bytes`.
    pub(crate) fn new(budget_bytes: usize) -> Self {
        assert!(budget_bytes <= BUDGET_BYTES_MAX, "a budget of {budget_bytes} bytes");
        Self { arena: Vec::new(), slots: Vec::new(), budget_bytes, clears: false }
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty() && !self.clears
    }

    /// Bytes held.
    pub(crate) fn held_bytes(&self) -> usize {
        self.arena.len() + self.slots.len() * size_of::<Slot>()
    }

    /// Takes the log's next record. The end of an epoch changes no key and takes no room.
    pub(crate) fn push(&mut self, record: &Record<'_>) -> Pushed {
        match record.kind {
            RecordKind::EpochEnd => return Pushed::Taken,
            RecordKind::Clear => {
                self.arena.clear();
                self.slots.clear();
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
        self.arena.resize(at + bytes, 0);
        record.encode(&mut self.arena[at..]);
        let slot_bytes_max = self.budget_bytes / size_of::<Slot>();
        grow(&mut self.slots, 1, slot_bytes_max);
        self.slots.push(Slot { prefix: prefix(record.key), at: place(at) });
        assert!(self.slots.len() == 1 || self.held_bytes() <= self.budget_bytes, "B1");
        Pushed::Taken
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.slots.is_empty() || self.held_bytes() + bytes + size_of::<Slot>() <= self.budget_bytes
    }

    /// Drops every record that a later one supersedes. The survivors keep their order in the arena.
    fn squeeze(&mut self) {
        self.keep_last_of_each_key();
        self.slots.sort_unstable_by_key(|slot| slot.at);
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

    /// Leaves the slots in key order, one for each key.
    fn keep_last_of_each_key(&mut self) {
        let arena = &self.arena;
        let key = |slot: &Slot| record_at(arena, slot.at).key;
        self.slots.sort_unstable_by(|a, b| {
            a.prefix.cmp(&b.prefix).then_with(|| key(a).cmp(key(b))).then_with(|| b.at.cmp(&a.at))
        });
        // The latest of equal keys stands first, and stays.
        self.slots.dedup_by(|later, kept| later.prefix == kept.prefix && key(later) == key(kept));
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
                self.arena.clear();
                self.slots.clear();
                self.clears = false;
                Ok(written)
            }
            Err(error) => {
                // Back to log order: a later push relies on nothing else.
                self.slots.sort_unstable_by_key(|slot| slot.at);
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
        for slot in &self.slots {
            let record = record_at(&self.arena, slot.at);
            if record.kind == RecordKind::Put || (hides && !self.clears) {
                writer.push(&record).await?;
            }
        }
        writer.finish().await
    }
}

/// The first eight bytes of a key as a number that orders as they do; a shorter key counts as followed by zeroes.
fn prefix(key: &[u8]) -> u64 {
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
