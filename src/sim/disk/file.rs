//! One file: the bytes in the cache, the bytes on the platter, and the history between them.
//!
//! ```text
//! write ─► cache ─► pending (a version of each sector) ─ sync ─► platter
//!                                   └──────────────── crash ──► any version of each sector, or garbage
//! ```
//!
//! F1. A sector or a length without pending changes reads from the platter after a power cut, whatever the cache says.
//! F2. Pending changes are ordered by their stamps, and every version that a sector had since it was last made durable
//!     is among them: a power cut can find each.
//! F3. A sync takes the changes that had completed when it began. With them go earlier ones that share a sector
//!     with them: the sector reached the platter as the cache had it.
//! F4. After a failed sync, what was lost is neither pending nor on the platter: no later sync finds it.

use std::collections::BTreeSet;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::content::{Content, SECTOR, index};
use super::{Cover, Stamp, SyncFate};
use crate::sim::choices::Choices;
use crate::sim::personality::AfterFailedSync;

/// New bytes of some whole sectors.
#[derive(Clone)]
pub(super) struct Write {
    pub(super) stamp: Stamp,
    /// When the operation completed; [`Stamp::NEVER`] while it is in flight.
    done: Stamp,
    pub(super) first: u64,
    data: Data,
}

#[derive(Clone)]
enum Data {
    Bytes(Bytes),
    Zeroes { sectors: u64 },
}

/// A change of the length.
#[derive(Clone, Copy)]
pub(super) struct Resize {
    pub(super) stamp: Stamp,
    done: Stamp,
    pub(super) to: Length,
}

#[derive(Clone, Copy)]
pub(super) enum Length {
    AtLeast(u64),
    Exactly(u64),
}

impl Length {
    pub(super) fn after(self, len: u64) -> u64 {
        match self {
            Self::AtLeast(least) => len.max(least),
            Self::Exactly(exactly) => exactly,
        }
    }
}

impl Write {
    pub(super) fn sectors(&self) -> Range<u64> {
        let count = match &self.data {
            Data::Bytes(bytes) => (bytes.len() / SECTOR) as u64,
            Data::Zeroes { sectors } => *sectors,
        };
        self.first..self.first + count
    }

    /// The bytes of one sector; `None` is zeroes.
    pub(super) fn sector(&self, sector: u64) -> Option<Bytes> {
        match &self.data {
            Data::Bytes(bytes) => {
                let start = index(sector - self.first) * SECTOR;
                Some(bytes.slice(start..start + SECTOR))
            }
            Data::Zeroes { .. } => None,
        }
    }

    fn part(&self, sectors: Range<u64>) -> Self {
        let data = match &self.data {
            Data::Bytes(bytes) => {
                let start = index(sectors.start - self.first) * SECTOR;
                let end = index(sectors.end - self.first) * SECTOR;
                Data::Bytes(bytes.slice(start..end))
            }
            Data::Zeroes { .. } => Data::Zeroes { sectors: sectors.end - sectors.start },
        };
        Self { stamp: self.stamp, done: self.done, first: sectors.start, data }
    }

    fn apply(&self, content: &mut Content) {
        self.apply_beside(content, None);
    }

    /// [`Write::apply`]. Whole pages that `twin` holds already are shared with it.
    fn apply_beside(&self, content: &mut Content, twin: Option<&Content>) {
        let sectors = self.sectors();
        match &self.data {
            Data::Bytes(bytes) => content.write_beside(sectors.start * SECTOR as u64, bytes, twin),
            Data::Zeroes { .. } => content.zero(sectors.start * SECTOR as u64..sectors.end * SECTOR as u64),
        }
    }
}

/// See the module.
#[derive(Clone, Default)]
pub(super) struct FileNode {
    pub(super) cache: Content,
    pub(super) platter: Content,
    pub(super) writes: Vec<Write>,
    pub(super) resizes: Vec<Resize>,
    /// Sectors that cannot be read until they are written again.
    pub(super) bad: BTreeSet<u64>,
    /// Whether the cache may differ from the platter although nothing is pending (F4).
    astray: bool,
}

impl FileNode {
    /// A file whose bytes are on the platter.
    pub(super) fn settled(platter: Content, bad: BTreeSet<u64>) -> Self {
        Self { cache: platter.clone(), platter, bad, ..Self::default() }
    }

    /// Whether a power cut finds exactly what the cache holds.
    pub(super) fn is_settled(&self) -> bool {
        self.writes.is_empty() && self.resizes.is_empty() && !self.astray
    }

    pub(super) fn write(&mut self, stamp: Stamp, offset: u64, data: &Bytes) {
        let end = offset + data.len() as u64;
        let sectors = offset / SECTOR as u64..end.div_ceil(SECTOR as u64);
        self.cache.write_raw(offset, data);
        if end > self.cache.len() {
            self.cache.set_len_only(end);
        }
        self.bad.retain(|sector| !sectors.contains(sector));
        let whole = offset.is_multiple_of(SECTOR as u64) && data.len().is_multiple_of(SECTOR);
        let data = if whole { data.clone() } else { self.cached_sectors(&sectors) };
        self.writes.push(Write { stamp, done: Stamp::NEVER, first: sectors.start, data: Data::Bytes(data) });
        self.lengthen(stamp, end);
    }

    /// The write of `stamp` took the bytes before `end` only. What it did not take stays a change of its own, `rest`, that never
    /// completes: sector by sector, so that a sync of a later write takes none of it but what that one has written over.
    pub(super) fn shorten(&mut self, stamp: Stamp, end: u64, rest: Stamp) {
        let Some(at) = self.writes.iter().position(|write| write.stamp == stamp) else { return };
        let whole = self.writes.remove(at);
        let (sectors, last) = (whole.sectors(), end.div_ceil(SECTOR as u64));
        let split = sectors.start.max(end / SECTOR as u64);
        let mut parts = Vec::new();
        if sectors.start < last {
            let mut taken = BytesMut::zeroed(index(last - sectors.start) * SECTOR);
            for sector in sectors.start..last {
                let into = &mut taken[index(sector - sectors.start) * SECTOR..][..SECTOR];
                self.before(at, sector, into);
                let own = index((end - sector * SECTOR as u64).min(SECTOR as u64));
                if let Some(bytes) = whole.sector(sector) {
                    into[..own].copy_from_slice(&bytes[..own]);
                }
            }
            let data = Data::Bytes(taken.freeze());
            parts.push(Write { stamp, done: whole.done, first: sectors.start, data });
        }
        for sector in split..sectors.end {
            let is_later = |write: &Write| write.sectors().contains(&sector);
            if !self.writes[at..].iter().any(is_later) {
                if let Some(taken) = parts.first().filter(|taken| taken.sectors().contains(&sector)) {
                    taken.part(sector..sector + 1).apply(&mut self.cache);
                } else {
                    let mut shown = [0; SECTOR];
                    self.before(at, sector, &mut shown);
                    self.cache.put_sector(sector, &shown);
                }
            }
        }
        parts.extend((split..sectors.end).map(|sector| Write {
            stamp: rest,
            done: Stamp::NEVER,
            ..whole.part(sector..sector + 1)
        }));
        self.writes.splice(at..at, parts);
        // No system gives a file the length of what it did not take.
        for resize in self.resizes.iter_mut().filter(|resize| resize.stamp == stamp) {
            resize.to = Length::AtLeast(end);
        }
        let shown = self.resizes.iter().fold(self.platter.len(), |len, resize| resize.to.after(len));
        self.cache.set_len_only(shown);
    }

    /// What `sector` held before the pending write number `at`.
    fn before(&self, at: usize, sector: u64, into: &mut [u8]) {
        let last = self.writes[..at].iter().rev().find(|write| write.sectors().contains(&sector));
        match last.map(|write| write.sector(sector)) {
            None => self.platter.read_raw(sector * SECTOR as u64, into),
            Some(Some(bytes)) => into.copy_from_slice(&bytes),
            Some(None) => into.fill(0),
        }
    }

    /// Extends the length to at least `end`, also when only the platter lacks it: a later sync must restore what
    /// an earlier one lost.
    fn lengthen(&mut self, stamp: Stamp, end: u64) {
        let pending_cut = self.resizes.iter().any(|resize| matches!(resize.to, Length::Exactly(_)));
        if end > self.platter.len() || pending_cut {
            self.resizes.push(Resize { stamp, done: Stamp::NEVER, to: Length::AtLeast(end) });
        }
    }

    pub(super) fn set_len(&mut self, stamp: Stamp, len: u64) {
        let old = self.cache.len().max(self.platter.len());
        self.cache.clip(len);
        self.resizes.push(Resize { stamp, done: Stamp::NEVER, to: Length::Exactly(len) });
        if len >= old {
            return;
        }
        // What is cut off must not come back when the file grows again: it is written over with zeroes.
        let first_whole = len.div_ceil(SECTOR as u64);
        if !len.is_multiple_of(SECTOR as u64) {
            let data = Data::Bytes(self.cached_sectors(&(first_whole - 1..first_whole)));
            self.writes.push(Write { stamp, done: Stamp::NEVER, first: first_whole - 1, data });
        }
        let sectors = old.div_ceil(SECTOR as u64).saturating_sub(first_whole);
        if sectors > 0 {
            let data = Data::Zeroes { sectors };
            self.writes.push(Write { stamp, done: Stamp::NEVER, first: first_whole, data });
        }
    }

    pub(super) fn allocate(&mut self, stamp: Stamp, bytes: u64) {
        self.cache.reserve(bytes);
        if bytes > self.cache.len() {
            self.cache.set_len_only(bytes);
        }
        self.lengthen(stamp, bytes);
    }

    /// The changes of `stamp` are complete: a sync that begins later covers them.
    pub(super) fn complete(&mut self, stamp: Stamp, now: Stamp) {
        for write in self.writes.iter_mut().filter(|write| write.stamp == stamp) {
            write.done = now;
        }
        for resize in self.resizes.iter_mut().filter(|resize| resize.stamp == stamp) {
            resize.done = now;
        }
    }

    /// Everything pending is complete: the process is gone, the kernel finishes its work.
    pub(super) fn complete_all(&mut self, now: Stamp) {
        for write in &mut self.writes {
            write.done = write.done.min(now);
        }
        for resize in &mut self.resizes {
            resize.done = resize.done.min(now);
        }
    }

    pub(super) fn sync(
        &mut self,
        cover: Cover,
        fate: SyncFate,
        habit: AfterFailedSync,
        choices: &mut dyn Choices,
    ) {
        if matches!(fate, SyncFate::Forgotten | SyncFate::FailedStillDirty) {
            return;
        }
        let (writes, resizes) = self.take_covered(cover);
        match fate {
            // Everything is covered: the platter is what the cache is.
            SyncFate::Done if self.is_settled() => self.platter = self.cache.clone(),
            SyncFate::Done => {
                for write in &writes {
                    write.apply_beside(&mut self.platter, Some(&self.cache));
                }
                self.resize_platter(&resizes);
            }
            SyncFate::FailedSomeLost | SyncFate::FailedAllLost => {
                self.astray = true;
                let mut keeps = |sector_options: bool| {
                    fate == SyncFate::FailedSomeLost && sector_options && choices.choose(2) == 1
                };
                for write in &writes {
                    for sector in write.sectors() {
                        if keeps(true) {
                            write.part(sector..sector + 1).apply(&mut self.platter);
                        }
                    }
                }
                if keeps(!resizes.is_empty()) {
                    self.resize_platter(&resizes);
                }
                self.after_loss(&writes, habit, choices);
            }
            SyncFate::Forgotten | SyncFate::FailedStillDirty => unreachable!("returned above"),
        }
    }

    /// What the cache shows of lost sectors.
    fn after_loss(&mut self, lost: &[Write], habit: AfterFailedSync, choices: &mut dyn Choices) {
        if habit == AfterFailedSync::New {
            return;
        }
        for sector in lost.iter().flat_map(Write::sectors).collect::<BTreeSet<_>>() {
            let dirty = self.writes.iter().any(|write| write.sectors().contains(&sector));
            if !dirty && (habit == AfterFailedSync::Old || choices.choose(2) == 1) {
                self.cache.copy_sector(sector, &self.platter);
            }
        }
        self.cache.clip(self.cache.len());
    }

    /// Some complete and dirty sectors reach the platter early. Returns how many.
    pub(super) fn write_back(&mut self, now: Stamp, choices: &mut dyn Choices) -> u64 {
        let complete: Vec<usize> = (0..self.writes.len()).filter(|&at| self.writes[at].done <= now).collect();
        if complete.is_empty() {
            return 0;
        }
        let options = u32::try_from(complete.len()).unwrap_or(u32::MAX);
        let last = if options > 1 { complete[choices.choose(options) as usize] } else { complete[0] };
        let mut pick = |limit: u64| match u32::try_from(limit) {
            Ok(limit) if limit > 1 => u64::from(choices.choose(limit)),
            _ => 0,
        };
        let sectors = self.writes[last].sectors();
        let start = sectors.start + pick(sectors.end - sectors.start);
        let end = start + 1 + pick(sectors.end - start);
        self.writes[last].part(start..end).apply(&mut self.platter);
        // Older versions of these sectors can no longer be found (F2).
        let newer = self.writes.split_off(last + 1);
        let older = std::mem::take(&mut self.writes);
        for write in older {
            let has = write.sectors();
            for kept in [has.start..has.end.min(start), has.start.max(end)..has.end] {
                if kept.start < kept.end {
                    self.writes.push(write.part(kept));
                }
            }
        }
        self.writes.extend(newer);
        end - start
    }

    /// Damage at rest: cache and platter change behind everybody's back. A write of the sector that is pending stays as it was.
    pub(super) fn scribble(&mut self, offset: u64, data: &[u8]) {
        self.platter.write_raw(offset, data);
        self.cache.write_raw(offset, data);
    }

    fn resize_platter(&mut self, resizes: &[Resize]) {
        let len = resizes.iter().fold(self.platter.len(), |len, resize| resize.to.after(len));
        self.platter.set_len_only(len);
    }

    /// Takes what a sync covers (F3) out of the pending changes.
    fn take_covered(&mut self, cover: Cover) -> (Vec<Write>, Vec<Resize>) {
        let covers = |stamp: Stamp, done: Stamp| match cover {
            Cover::CompletedBy(began) => done <= began,
            Cover::One(one) => stamp == one,
            Cover::Everything => true,
        };
        let mut covered: Vec<Write> = Vec::new();
        let mut rest = Vec::new();
        for write in std::mem::take(&mut self.writes).into_iter().rev() {
            let shared = |later: &Write| overlap(&later.sectors(), &write.sectors());
            if covers(write.stamp, write.done) || covered.iter().any(shared) {
                covered.push(write);
            } else {
                rest.push(write);
            }
        }
        covered.reverse();
        rest.reverse();
        self.writes = rest;
        // A length is what all changes up to it made of it: none is taken without those before.
        let last = match cover {
            Cover::One(one) => Some(one),
            Cover::CompletedBy(_) | Cover::Everything => self
                .resizes
                .iter()
                .filter(|resize| covers(resize.stamp, resize.done))
                .map(|resize| resize.stamp)
                .next_back(),
        };
        let (taken, left) =
            std::mem::take(&mut self.resizes).into_iter().partition(|resize| Some(resize.stamp) <= last);
        self.resizes = left;
        (covered, taken)
    }

    fn cached_sectors(&self, sectors: &Range<u64>) -> Bytes {
        let mut data = BytesMut::zeroed(index(sectors.end - sectors.start) * SECTOR);
        self.cache.read_raw(sectors.start * SECTOR as u64, &mut data);
        data.freeze()
    }
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}
