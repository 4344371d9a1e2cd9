//! Which of the legal outcomes of a power cut are tried: all when they are few, else the corners and a sample.

use std::collections::BTreeSet;
use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

use super::pending::{Combination, Pending, Slot, is_ordered};
use super::{Aftermath, Disk};
use crate::sim::choices::Choices;
use crate::sim::rng::{Stream, Streams};

/// How many duplicates in a row end a sample: what is left is too rare to wait for.
const DUPLICATES_MAX: u32 = 64;

/// The disks that a power cut may leave. See [`Disk::images`].
pub struct Images {
    disk: Disk,
    pending: Pending,
    last: Option<Combination>,
    ordered: bool,
    stream: Stream,
    limit: u64,
    yielded: u64,
    step: Step,
    seen: BTreeSet<u128>,
}

/// Where the iteration stands. Each carries the number of the next combination of its kind.
enum Step {
    /// Every combination, when there are no more than the limit.
    Every(u64),
    /// All kept, then all lost.
    Extremes(u64),
    /// Everything up to one change, and nothing after it.
    Prefixes(usize),
    /// One change lost, the others kept.
    LostChanges(usize),
    /// One change kept, the others lost.
    KeptChanges(usize),
    /// One slot lost, the others kept.
    LostSlots(usize),
    /// One slot kept, the others lost.
    KeptSlots(usize),
    /// Draws.
    Sample,
}

impl Images {
    pub(super) fn new(disk: &Disk, limit: u64, seed: u64) -> Self {
        let pending = Pending::new(disk);
        let few = !is_ordered(disk) && pending.combinations().is_some_and(|count| count <= limit);
        Self {
            step: if few { Step::Every(0) } else { Step::Extremes(0) },
            stream: Streams::new(seed).stream("disk.images"),
            ordered: is_ordered(disk),
            disk: disk.clone(),
            pending,
            last: None,
            limit,
            yielded: 0,
            seen: BTreeSet::new(),
        }
    }

    /// The last image once more, and what the crash decided that leaves it; `None` before the first.
    pub fn latest(&self) -> Option<(Disk, Aftermath)> {
        let combination = self.last.as_ref()?;
        let image = self.pending.image(combination);
        let aftermath = Aftermath::of_power(&self.disk, &self.pending, combination, &image);
        Some((image, aftermath))
    }

    /// The next combination in line, which may be one that was there before; `None` when the line is at its end.
    fn candidate(&mut self) -> Option<Combination> {
        loop {
            let (moments, slots) = (self.pending.moments.len(), self.pending.slots.len());
            let spent = self.yielded >= self.limit;
            match &mut self.step {
                Step::Every(next) => {
                    let at = *next;
                    *next += 1;
                    return numbered(&self.pending, at);
                }
                Step::Extremes(next) if *next < 2 => {
                    *next += 1;
                    let kept = *next == 1;
                    return Some(self.pending.keeping(|_| kept));
                }
                Step::Extremes(_) => self.step = Step::Prefixes(0),
                Step::Prefixes(next) if *next < moments => {
                    *next += 1;
                    let last = self.pending.moments[*next - 1];
                    return Some(self.pending.keeping(|stamp| stamp <= last));
                }
                Step::Prefixes(_) if self.ordered => self.step = Step::Sample,
                Step::Prefixes(_) => self.step = Step::LostChanges(0),
                Step::LostChanges(next) if *next < moments => {
                    *next += 1;
                    let lost = self.pending.moments[*next - 1];
                    return Some(self.pending.keeping(|stamp| stamp != lost));
                }
                Step::LostChanges(_) => self.step = Step::KeptChanges(0),
                Step::KeptChanges(next) if *next < moments => {
                    *next += 1;
                    let kept = self.pending.moments[*next - 1];
                    return Some(self.pending.keeping(|stamp| stamp == kept));
                }
                Step::KeptChanges(_) => self.step = Step::LostSlots(0),
                _ if spent => return None,
                Step::LostSlots(next) if *next < slots => {
                    *next += 1;
                    let mut combination = self.pending.keeping(|_| true);
                    combination[*next - 1] = 0;
                    return Some(combination);
                }
                Step::LostSlots(_) => self.step = Step::KeptSlots(0),
                Step::KeptSlots(next) if *next < slots => {
                    *next += 1;
                    let slot = *next - 1;
                    let mut combination = vec![0; slots];
                    combination[slot] = self.pending.slots[slot].newest(|_| true);
                    return Some(combination);
                }
                Step::KeptSlots(_) => self.step = Step::Sample,
                Step::Sample => return Some(sample(&self.pending, self.ordered, &mut self.stream)),
            }
        }
    }
}

impl Iterator for Images {
    type Item = Disk;

    fn next(&mut self) -> Option<Disk> {
        let mut duplicates = 0;
        while duplicates < DUPLICATES_MAX || !matches!(self.step, Step::Sample) {
            let mut combination = self.candidate()?;
            self.pending.settle(&mut combination);
            if self.seen.insert(digest(&combination)) {
                self.yielded += 1;
                let image = self.pending.image(&combination);
                self.last = Some(combination);
                return Some(image);
            }
            duplicates += 1;
        }
        None
    }
}

fn digest(combination: &Combination) -> u128 {
    let bytes: Vec<u8> = combination.iter().flat_map(|option| option.to_le_bytes()).collect();
    xxh3_128(&bytes)
}

/// The combination with number `at`, if there are so many.
fn numbered(pending: &Pending, at: u64) -> Option<Combination> {
    let mut rest = at;
    let combination = pending
        .slots
        .iter()
        .map(|slot| {
            let options = u64::from(slot.options());
            let option = rest % options;
            rest /= options;
            u32::try_from(option).expect("below a u32")
        })
        .collect();
    (rest == 0).then_some(combination)
}

/// Draws one legal combination. The kinds of draws differ in what stays together, because bugs do.
pub(super) fn sample(pending: &Pending, ordered: bool, choices: &mut dyn Choices) -> Combination {
    if ordered {
        return sample_ordered(pending, choices);
    }
    let mut combination = match choices.choose(4) {
        // Each slot on its own, all options alike.
        0 => pending.slots.iter().map(|slot| below(choices, slot.options())).collect(),
        // Whole changes, kept or lost.
        1 => {
            let kept: BTreeSet<_> =
                pending.moments.iter().copied().filter(|_| choices.choose(2) == 1).collect();
            pending.keeping(|stamp| kept.contains(&stamp))
        }
        // Each slot new or old, one of them more often.
        2 => {
            let weight = choices.choose(7) + 1;
            let newest = pending.keeping(|_| true);
            newest.into_iter().map(|option| if choices.choose(8) < weight { option } else { 0 }).collect()
        }
        // Everything up to a moment, and of the later changes some sectors.
        _ => {
            let at = pending.moments.get(below(choices, count(pending.moments.len())) as usize).copied();
            let newest = pending.keeping(|_| true);
            let mut combination = pending.keeping(|stamp| Some(stamp) < at);
            for (slot, newest) in newest.into_iter().enumerate() {
                if choices.choose(4) == 0 {
                    combination[slot] = newest;
                }
            }
            combination
        }
    };
    // A little of what is rare: garbage, stale ranges, versions between old and new.
    if choices.choose(2) == 1 && !pending.slots.is_empty() {
        let slot = below(choices, count(pending.slots.len())) as usize;
        combination[slot] = below(choices, pending.slots[slot].options());
    }
    if choices.choose(4) == 0 {
        for (slot, option) in pending.slots.iter().zip(&mut combination) {
            if let Slot::Stale { .. } = slot {
                *option = below(choices, slot.options());
            }
        }
    }
    pending.settle(&mut combination);
    combination
}

/// Everything up to one change, and of that change the first sectors, the next one perhaps garbled.
fn sample_ordered(pending: &Pending, choices: &mut dyn Choices) -> Combination {
    let count = count(pending.moments.len());
    let at = below(choices, count.saturating_add(1));
    if at == count {
        return pending.keeping(|_| true);
    }
    let last = pending.moments[at as usize];
    let before = pending.keeping(|stamp| stamp < last);
    let mut combination = pending.keeping(|stamp| stamp <= last);
    let torn: Vec<usize> = (0..combination.len()).filter(|&slot| combination[slot] != before[slot]).collect();
    let kept = below(choices, self::count(torn.len()).saturating_add(1)) as usize;
    for (order, &slot) in torn.iter().enumerate().skip(kept) {
        combination[slot] = before[slot];
        if let Slot::Sector { versions, garbage: true, .. } = &pending.slots[slot]
            && order == kept
            && choices.choose(4) == 0
        {
            combination[slot] = self::count(versions.len()) + 1;
        }
    }
    pending.settle(&mut combination);
    combination
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn below(choices: &mut dyn Choices, options: u32) -> u32 {
    if options < 2 { 0 } else { choices.choose(options) }
}

impl fmt::Debug for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, yielded, .. } = self;
        f.debug_struct("Images").field("limit", limit).field("yielded", yielded).finish_non_exhaustive()
    }
}
