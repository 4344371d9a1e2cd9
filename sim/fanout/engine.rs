//! The whole engine: epochs over several cores, checkpoints, retention, reopens. What a recovery finds is also compared
//! with what the independent decoder says about the same bytes (I3, I4, I6), and its token is above all before it (I8).

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use highwater::Options;
use highwater::sim::{Disk, FaultPlan};

use super::found::{Found, compare, decoded, recovered, verified};
use super::promise::Promise;
use super::workload::{Shape, run};
use super::{Cut, Effort, Explored, Explorer, Recovery, Remains, Subject, Tally, Work, campaign};
use crate::Test;
use crate::decode::Memo;
use crate::world::lock;

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![fan_out_of_the_engine_passes, a_creation_may_be_crashed_anywhere,];

const EFFORT: Effort = Effort {
    images: 24,
    nested_images: 3,
    nest_one_in: 60,
    again_one_in: 6,
    run_max: Work::of(3_000, DISK_BYTES_USUAL),
    recovery_max: Work::of(300, DISK_BYTES_USUAL),
};

/// What most disks with a database hold at most.
const DISK_BYTES_USUAL: u64 = 256 << 10;

/// I1, I3, I4, I5 and I6 of the engine: every crash of a small workload, and some crashes of its recovery.
fn fan_out_of_the_engine_passes() {
    campaign::run("the engine", 10_000, explore_cut);
}

/// A creation was killed between the link of the first manifest and the sync of its folder, the next open made log
/// files on the strength of a name in the page cache, and after a power cut there was data without a manifest (0x1009).
fn a_creation_may_be_crashed_anywhere() {
    let effort = Effort {
        images: 8,
        nested_images: 1,
        nest_one_in: 6,
        again_one_in: 1,
        run_max: Work { states: 5_000, ..Work::UNBOUNDED },
        recovery_max: Work::UNBOUNDED,
    };
    for seed in 0..2 {
        let mut shape = Shape::draw(seed);
        (shape.course.plan, shape.course.lives, shape.course.operations) = (FaultPlan::none(), 1, 0);
        (shape.cores, shape.options) = (1, shape.options.cores(1));
        let (tally, outcome) = explore_shape(seed, &shape, effort);
        assert_eq!(outcome, Ok(()), "seed {seed}, after {} states", tally.states);
    }
}

/// Every crash of what is left of the run of `seed`.
pub(crate) fn explore_cut(seed: u64, cut: &Cut) -> Explored {
    let mut shape = Shape::draw(seed);
    shape.course.cut(cut);
    let (tally, result) = explore_shape(seed, &shape, EFFORT.within(cut));
    Explored { tally, seen: shape.course.seen(), result }
}

fn explore_shape(seed: u64, shape: &Shape, effort: Effort) -> (Tally, Result<(), String>) {
    let (moments, outcome) = run(seed, shape);
    let (memo, images) = (Mutex::default(), AtomicU64::new(0));
    let subject = Whole { options: shape.options.clone(), cores: shape.cores, memo, images };
    let mut explorer = Explorer::new(&subject, effort, seed);
    let outcome = outcome.and_then(|()| explorer.all(&moments));
    (explorer.tally, outcome.map_err(|why| format!("{why}\n  {shape}")))
}

/// Images from one to the next that is verified too.
pub(super) const VERIFIED_EVERY: u64 = 8;

/// The subject: a database under these options.
struct Whole {
    options: Options,
    cores: u16,
    memo: Mutex<Memo>,
    /// How many images there were.
    images: AtomicU64,
}

impl Subject for Whole {
    type Promise = Promise;
    type Found = Found;

    fn recover(&self, left: Remains, boot: u64, watch: bool) -> Result<Recovery<Found>, String> {
        let decoded = decoded(&left.disk, &mut lock(&self.memo))?;
        let verified = self.perhaps_verified(&left.disk)?;
        let mut recovery = recovered(left, (boot, watch), (self.options.clone(), None), Found::of)?;
        if let Some(epoch) = verified.filter(|epoch| *epoch != recovery.found.epoch) {
            return Err(format!("verify says epoch {epoch}, recovered {:?}", recovery.found));
        }
        compare(decoded.as_ref(), &mut recovery.found, self.cores, &mut lock(&self.memo))?;
        Ok(recovery)
    }

    fn judge(&self, promise: &Promise, found: &Found, _: bool) -> Result<(), String> {
        promise.keeps(found, promise.acked)?;
        promise.precedes(found.token)
    }

    fn holds(&self, _: &Promise, earlier: &Found, later: &Found) -> bool {
        earlier == later
    }

    fn follows(&self, earlier: &Found, later: &Found) -> bool {
        later.token > earlier.token
    }
}

impl Whole {
    /// What `highwater::verify` says is recovered, of some images.
    fn perhaps_verified(&self, image: &Disk) -> Result<Option<u64>, String> {
        let due = self.images.fetch_add(1, Ordering::Relaxed).is_multiple_of(VERIFIED_EVERY);
        if due { verified(image) } else { Ok(None) }
    }
}
