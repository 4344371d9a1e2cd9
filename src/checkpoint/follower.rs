//! Following one core's log from the last checkpoint's cut: what the next checkpoint needs of it.
//!
//! ```text
//! tap (memory) ─► pending ─► records of closed epochs ─┬─► delta         the last write of each key
//! log (disk) ──────────────────────────────────────────┘   offsets, watermark
//! ```
//!
//! A follower goes along while the log is written, so that a checkpoint finds most of its work done. It is a cache: one
//! that is lost is begun anew at the cut, from the disk.
//!
//! 1. The delta holds what every record of the log from the cut to before `next` has left, and nothing else: also
//!    when what comes next is not in the tap, then the disk is read from `next` on.
//! 2. Only records of epochs that are closed are followed: the others may never become durable.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use super::delta::{DeltaBuilder, Pushed};
use super::tap::{Held, Tap};
use crate::codec::{EpochEnd, Record, RecordKind};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{Epoch, Lsn};
use crate::offset::Offset;

/// Where following stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// At the end of the epoch that was asked for.
    AtEnd,
    /// Behind the last end of an epoch that the tap knows, or before a record that it does not have.
    Short,
    /// The delta takes no more: write it, then go on.
    Full,
}

/// What a core's log has come to since the last checkpoint.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(super) delta: DeltaBuilder,
    pub(super) offsets: BTreeMap<String, Offset>,
    pub(super) watermark: Option<i64>,
    /// Records followed.
    pub(super) records: u64,
    /// The delta takes no more until it is written. Trying again would have it look for superseded records again.
    full: bool,
    /// The last epoch whose end was followed.
    through: Epoch,
    /// The record to come; unknown where the next one is of another life than the last.
    next: Option<Lsn>,
    pending: Pending,
}

/// Where a follower begins.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) through: Epoch,
    pub(super) next: Option<Lsn>,
    pub(super) offsets: BTreeMap<String, Offset>,
    pub(super) watermark: Option<i64>,
}

/// Records from the tap that were not followed yet.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    /// Memory for the tap.
    spare: Vec<u8>,
    /// Where in `bytes` the first of them is, and its LSN.
    at: usize,
    next: Lsn,
    /// The LSN behind the last.
    end: Lsn,
    /// How far they were searched for ends of epochs, and the ends that were found: the place behind each.
    searched: usize,
    ends: VecDeque<(Epoch, usize)>,
}

impl Follower {
    /// A follower at `beginning`, whose delta takes at most `memory_bytes`.
    pub(super) fn new(beginning: Beginning, memory_bytes: usize) -> Self {
        let Beginning { through, next, offsets, watermark } = beginning;
        let delta = DeltaBuilder::new(memory_bytes);
        Self {
            delta,
            offsets,
            watermark,
            records: 0,
            full: false,
            through,
            next,
            pending: Pending::default(),
        }
    }

    /// The last epoch whose end was followed.
    pub(super) fn through(&self) -> Epoch {
        self.through
    }

    /// The LSN of the record to come, if it is known.
    pub(super) fn next(&self) -> Option<Lsn> {
        self.next
    }

    #[cfg(test)]
    /// Bytes that were taken from the tap and not followed yet.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending.bytes.len()
    }

    /// Follows what `tap` has, to the end of the closed epoch `through` at most. `dir` is the log's.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the end of an epoch cannot be decoded.
    pub(super) fn follow(&mut self, tap: &Tap, through: Epoch, dir: &Path) -> Result<Stop> {
        assert!(self.through <= through, "followed through {} when {through} is closed", self.through);
        self.full &= !self.delta.is_empty();
        if self.full {
            return Ok(Stop::Full);
        }
        let Some(next) = self.next.filter(|_| self.through < through) else {
            return Ok(if self.through == through { Stop::AtEnd } else { Stop::Short });
        };
        // Behind a gap only the disk leads on. Whatever was taken until then would grow with the log: the tap is bounded.
        if self.pending.is_beyond(next) {
            return Ok(Stop::Short);
        }
        self.pending.extend(tap);
        if !self.pending.seek(next) {
            return Ok(Stop::Short);
        }
        let Some(end) = self.pending.end_of(through) else { return Ok(Stop::Short) };
        while self.pending.at < end {
            let (record, behind) = self.pending.record();
            if record.kind == RecordKind::EpochEnd {
                let mark = decode_end(&record, dir)?;
                self.offsets.extend(mark.offsets);
                self.watermark = mark.watermark.or(self.watermark);
                self.through = mark.epoch;
            } else if self.delta.push(&record) == Pushed::Full {
                self.full = true;
                return Ok(Stop::Full);
            }
            self.pending.step(behind);
            self.records += 1;
            self.next = Some(self.pending.next);
        }
        Ok(if self.through == through { Stop::AtEnd } else { Stop::Short })
    }

    /// Follows `record`, which was read from the disk and has `lsn`. False when the delta has no room for it: write
    /// that, then follow the record again.
    ///
    /// # Errors
    ///
    /// As [`Follower::follow`].
    pub(super) fn read(&mut self, lsn: Lsn, record: &Record<'_>, dir: &Path) -> Result<bool> {
        assert!(self.next.is_none_or(|next| next <= lsn), "record {lsn} after {:?}", self.next);
        if record.kind == RecordKind::EpochEnd {
            let mark = decode_end(record, dir)?;
            self.offsets.extend(mark.offsets);
            self.watermark = mark.watermark.or(self.watermark);
            self.through = mark.epoch;
        } else if self.delta.push(record) == Pushed::Full {
            return Ok(false);
        }
        self.records += 1;
        self.next = Some(lsn.next());
        Ok(true)
    }
}

impl Pending {
    /// Whether something is held, and all of it comes after the record with the LSN `next`.
    fn is_beyond(&self, next: Lsn) -> bool {
        self.at < self.bytes.len() && self.next > next
    }

    /// Takes what `tap` has, if it goes on where this ends.
    fn extend(&mut self, tap: &Tap) {
        if self.at == self.bytes.len() {
            let taken = tap.take(std::mem::take(&mut self.bytes));
            *self = self.renewed(taken);
            return;
        }
        self.bytes.drain(..self.at);
        self.searched -= self.at;
        self.ends.iter_mut().for_each(|(_, place)| *place -= self.at);
        self.at = 0;
        if let Some(end) = tap.take_from(self.end, &mut self.spare) {
            // The writer of the log does not wait for this copy.
            self.bytes.extend_from_slice(&self.spare);
            self.end = end;
        }
    }

    /// With what was taken instead of what is here.
    fn renewed(&mut self, taken: Held) -> Self {
        let spare = std::mem::take(&mut self.spare);
        Self { bytes: taken.bytes, spare, next: taken.first, end: taken.next, ..Self::default() }
    }

    /// Goes to the record with the LSN `next`; false when it is not here.
    fn seek(&mut self, next: Lsn) -> bool {
        if self.end <= next {
            // All of it was read from the disk meanwhile.
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.clear();
            *self = self.renewed(Held { bytes, ..Held::default() });
            return false;
        }
        while self.next < next {
            let (_, behind) = self.record();
            self.step(behind);
        }
        self.next == next
    }

    /// The record at the front, and where the one behind it begins.
    fn record(&self) -> (Record<'_>, usize) {
        let Some((record, rest)) = Record::decode(&self.bytes[self.at..]) else {
            panic!("no record at {} of what the log was given", self.at)
        };
        (record, self.bytes.len() - rest.len())
    }

    fn step(&mut self, behind: usize) {
        self.at = behind;
        self.next = self.next.next();
        self.searched = self.searched.max(behind);
        if self.ends.front().is_some_and(|(_, place)| *place <= behind) {
            self.ends.pop_front();
        }
    }

    /// The place behind the last end of an epoch through `through`.
    fn end_of(&mut self, through: Epoch) -> Option<usize> {
        while let Some((record, rest)) = Record::decode(&self.bytes[self.searched..]) {
            self.searched = self.bytes.len() - rest.len();
            if record.kind == RecordKind::EpochEnd
                && let Some(end) = EpochEnd::decode(record.value)
            {
                self.ends.push_back((end.epoch, self.searched));
            }
        }
        self.ends.iter().rev().find(|(epoch, _)| *epoch <= through).map(|(_, place)| *place)
    }
}

fn decode_end(record: &Record<'_>, dir: &Path) -> Result<EpochEnd> {
    EpochEnd::decode(record.value).ok_or_else(|| {
        Error::corrupt(
            ErrorCode::EpochEndDamaged,
            dir,
            "the end of an epoch cannot be decoded; restore this directory",
        )
    })
}
