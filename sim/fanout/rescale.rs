//! Recoveries that change the number of cores: every crash of a small run, recovered with as many cores as its bytes
//! say, and every crash inside such a recovery, with other numbers again (F2, F3).
//!
//! Keys are compared over all cores together, offsets by the core that stated them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use highwater::sim::Streams;
use highwater::{CoreId, Error, Opened, Options};

use super::engine::VERIFIED_EVERY;
use super::found::{World, decoded, plain, recovered, verified};
use super::promise::Promise;
use super::workload::{self, Shape};
use super::{Cut, Effort, Explored, Explorer, Recovery, Remains, Subject, Work, campaign};
use crate::Test;
use crate::decode::{self, CoreState, Database, Memo};
use crate::world::lock;

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![fan_out_of_the_rescale_passes];

const EFFORT: Effort = Effort {
    images: 8,
    nested_images: 4,
    nest_one_in: 180,
    again_one_in: 3,
    run_max: Work::of(3_000, DISK_BYTES_USUAL),
    recovery_max: Work::of(300, DISK_BYTES_USUAL),
};

const DISK_BYTES_USUAL: u64 = 256 << 10;

/// As every shape has key groups.
const CORES_MAX: u64 = 5;

fn fan_out_of_the_rescale_passes() {
    campaign::run("the rescale", 6_000, explore_cut);
}

/// Every crash of what is left of the run of `seed`.
pub(crate) fn explore_cut(seed: u64, cut: &Cut) -> Explored {
    let mut shape = Shape::draw(seed);
    shape.course.cut(cut);
    let (moments, outcome) = workload::run(seed, &shape);
    let subject =
        Rescaled { options: shape.options.clone(), memo: Mutex::default(), images: AtomicU64::new(0) };
    let mut explorer = Explorer::new(&subject, EFFORT.within(cut), seed);
    let outcome = outcome.and_then(|()| explorer.all(&moments));
    let result = outcome.map_err(|why| format!("{why}\n  {shape}"));
    Explored { tally: explorer.tally, seen: shape.course.seen(), result }
}

/// A database of whatever number of cores.
#[derive(Clone, Default)]
struct Found {
    epoch: u64,
    /// Of the life that found it; the same may be found by others.
    token: u64,
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    offsets: BTreeMap<(u16, String), decode::Offset>,
    watermark: Option<i64>,
}

impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        let all = |found: &Self| (found.epoch, found.watermark);
        all(self) == all(other) && self.values == other.values && self.offsets == other.offsets
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, token, values, offsets, watermark } = self;
        let keys = values.len();
        write!(f, "epoch {epoch} with {keys} keys, watermark {watermark:?}, {offsets:?}, token {token}")
    }
}

impl Found {
    fn of(epoch: u64, cores: impl Iterator<Item = CoreState>, watermark: Option<i64>) -> Self {
        let mut found = Self { epoch, watermark, ..Self::default() };
        for (core, state) in (0..).zip(cores) {
            found.values.extend(state.values);
            found.offsets.extend(state.offsets.into_iter().map(|(name, offset)| ((core, name), offset)));
        }
        found
    }

    fn of_bytes(database: &Database, memo: &mut Memo) -> Result<Self, String> {
        let epoch = database.recovered_epoch();
        let state = database.state_at(epoch, memo)?;
        let cores = state.cores.iter().map(decode::Flat::state);
        let mut found = Self::of(epoch, cores, state.watermark);
        let stated: Vec<String> = found.offsets.keys().map(|(_, name)| name.clone()).collect();
        let inherited = database.inherited(epoch).iter().filter(|(_, name, _)| !stated.contains(name));
        found.offsets.extend(inherited.map(|(core, name, offset)| ((*core, name.clone()), offset.clone())));
        Ok(found)
    }
}

/// The subject.
struct Rescaled {
    options: Options,
    memo: Mutex<Memo>,
    images: AtomicU64,
}

impl Subject for Rescaled {
    type Promise = Promise;
    type Found = Found;

    fn recover(&self, left: Remains, boot: u64, watch: bool) -> Result<Recovery<Found>, String> {
        let of_bytes = decoded(&left.disk, &mut lock(&self.memo))?;
        let due = self.images.fetch_add(1, Ordering::Relaxed).is_multiple_of(VERIFIED_EVERY);
        let verified = if due { verified(&left.disk)? } else { None };
        let cores = Streams::new(boot).stream("rescale.cores").range(1, CORES_MAX);
        let options = self.options.clone().cores(u16::try_from(cores).expect("a few"));
        let recovery = recovered(left, (boot, watch), (options, None), export)?;
        if let Some(epoch) = verified.filter(|epoch| *epoch != recovery.found.epoch) {
            return Err(format!("verify says epoch {epoch}, recovered {:?}", recovery.found));
        }
        let expected = match of_bytes {
            Some(database) => Found::of_bytes(&database, &mut lock(&self.memo))
                .map_err(|why| format!("the decoder: {why}"))?,
            None => Found::default(),
        };
        if recovery.found == expected {
            Ok(recovery)
        } else {
            Err(format!("with {cores} cores recovered {:?}, the decoder finds {expected:?}", recovery.found))
        }
    }

    fn judge(&self, promise: &Promise, found: &Found, _: bool) -> Result<(), String> {
        promise.precedes(found.token)?;
        let (epoch, acked) = (found.epoch, promise.acked);
        if epoch < acked {
            return Err(format!("recovered epoch {epoch}, and {acked} was promised"));
        }
        let Some(ends) = promise.state_at(epoch) else {
            return Err(format!("recovered epoch {epoch}, which no core or not every core has ended"));
        };
        let watermark = ends.first().and_then(|end| end.watermark);
        let expected = Found::of(epoch, ends.iter().map(|end| end.flat.state()), watermark);
        if *found == expected {
            Ok(())
        } else {
            Err(format!("epoch {epoch} came back changed: {found:?} instead of {expected:?}"))
        }
    }

    fn holds(&self, _: &Promise, earlier: &Found, later: &Found) -> bool {
        earlier == later
    }

    fn follows(&self, earlier: &Found, later: &Found) -> bool {
        later.token > earlier.token
    }
}

fn export(opened: &Opened<World>) -> Result<Found, Error> {
    let Opened { engine, cores, report, .. } = opened;
    let (epoch, token) = (report.epoch.0, report.token.0);
    let mut found = Found { epoch, token, watermark: report.watermark, ..Found::default() };
    for (core, handle) in (0..).map(CoreId).zip(cores) {
        for entry in handle.scan_prefix(b"") {
            let (key, value) = entry?;
            assert_eq!(engine.core_of(&key), core, "a key of another core");
            let before = found.values.insert(key.to_vec(), value.to_vec());
            assert!(before.is_none(), "a key of two cores");
        }
    }
    let offsets = report.offsets.iter();
    found.offsets = offsets.map(|((core, name), offset)| ((core.0, name.clone()), plain(offset))).collect();
    Ok(found)
}
