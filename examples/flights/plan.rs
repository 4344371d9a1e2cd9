//! When the parent kills the job: at random, from a seed, and once in every phase that is of interest.

use std::time::Duration;

use crate::protocol::Phase;

/// Where in the data the last kill falls, in percent.
const LAST_KILL_PERCENT: u64 = 85;

/// When a kill is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trigger {
    /// Kill inside this phase; none = while the job counts.
    pub(crate) phase: Option<Phase>,
    /// Not before the job has gone through so many events.
    pub(crate) events_min: u64,
    /// From the moment that was waited for to the kill.
    pub(crate) delay: Duration,
}

/// `kills` triggers: one during a recovery, one during a checkpoint, the others while the job counts, spread over
/// `events` events.
pub(crate) fn plan(seed: u64, kills: u64, events: u64) -> Vec<Trigger> {
    let mut dice = Dice(seed);
    // A recovery comes after a kill, so the first kill is never in one.
    let recovery = (kills > 1).then(|| 1 + dice.below(kills - 1));
    let checkpoint = (kills > 2).then(|| {
        let place = dice.below(kills - 1);
        if Some(place) >= recovery { place + 1 } else { place }
    });
    let slot = events * LAST_KILL_PERCENT / 100 / kills.max(1);
    (0..kills)
        .map(|place| {
            let (phase, delay_us_max) = if Some(place) == recovery {
                (Some(Phase::Recovery), 2_000)
            } else if Some(place) == checkpoint {
                (Some(Phase::Checkpoint), 2_000)
            } else {
                (None, 20_000)
            };
            let events_min = place * slot + dice.below(slot.max(1));
            Trigger { phase, events_min, delay: Duration::from_micros(dice.below(delay_us_max)) }
        })
        .collect()
}

/// Random numbers from a seed: Steele, Lea and Flood's `SplitMix64`.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }
}
