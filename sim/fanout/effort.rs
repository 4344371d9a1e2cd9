//! How much a fan-out may try, and how much it tried.

use super::Cut;

/// How many images are tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Images per moment of the run, beside the corners.
    pub images: u64,
    /// Images per moment of a recovery, beside the corners.
    pub nested_images: u64,
    /// One state in so many has its recovery crashed.
    pub nest_one_in: u64,
    /// One state in so many is recovered twice; process crashes always are.
    pub again_one_in: u64,
    /// After so much work the other moments of the run are left out.
    pub run_max: Work,
    /// After so much work the other moments of one recovery are left out, and of the recoveries inside it.
    pub recovery_max: Work,
}

/// How much was recovered. A state costs what its disk holds: without a bound on bytes a few large runs would take
/// the time of all others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Crash states.
    pub states: u64,
    /// Bytes of their disks.
    pub bytes: u64,
}

impl Work {
    pub(super) const UNBOUNDED: Self = Self { states: u64::MAX, bytes: u64::MAX };

    /// As many states, and the bytes of as many disks of `disk_bytes`.
    pub(super) const fn of(states: u64, disk_bytes: u64) -> Self {
        Self { states, bytes: states * disk_bytes }
    }

    /// Whether more was done between `before` and `now`.
    pub(super) fn is_done(self, before: Tally, now: Tally) -> bool {
        now.states - before.states >= self.states || now.bytes - before.bytes >= self.bytes
    }
}

impl Effort {
    /// The same up to the states that `cut` leaves.
    pub(super) fn within(self, cut: &Cut) -> Self {
        let states = cut.states_max.unwrap_or(self.run_max.states);
        Self { run_max: Work { states, ..self.run_max }, ..self }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Moments of runs.
    pub moments: u64,
    /// Crash images judged.
    pub images: u64,
    /// Crash states recovered: images that were not seen before, and second recoveries.
    pub states: u64,
    /// Those of them inside recoveries.
    pub nested: u64,
    /// Bytes of the disks that were recovered: what a state costs grows with them.
    pub bytes: u64,
    /// Crash states that differ in what a program can read, within their seed; all were recovered.
    pub distinct: u64,
}

impl Tally {
    /// Adds what somebody else did.
    pub(crate) fn add(&mut self, other: Self) {
        self.moments += other.moments;
        self.images += other.images;
        self.states += other.states;
        self.nested += other.nested;
        self.bytes += other.bytes;
        self.distinct += other.distinct;
    }
}
