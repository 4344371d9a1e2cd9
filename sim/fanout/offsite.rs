//! The whole engine with an object store: at every call of the disk, and at every request that takes effect, the machine may
//! survive, or be lost with its disk.
//!
//! - A machine that survives is judged as every engine is: by what was promised locally, and by the decoder.
//! - A machine that was lost comes back at a closed epoch, exactly, at or above what somebody was told is in the store (I1), with
//!   the pins that had got there.
//! - Every token is greater than all before it, also those that only the store knows (I8).
//! - What the store's head names is there, whole, before every recovery and behind it (I6).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use highwater::sim::{StoreImage, Streams};
use highwater::{Error, Opened, Options};

use super::found::{self, World, compare, decoded, pins_of, recovered};
use super::promise::Promise;
use super::workload::{self, Shape};
use super::{Cut, Effort, Explored, Explorer, Recovery, Remains, Subject, Work, campaign};
use crate::Test;
use crate::decode::Memo;
use crate::remote::RemotePlan;
use crate::stored::{Stored, Sums};
use crate::world::lock;

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![fan_out_of_the_remote_passes];

const EFFORT: Effort = Effort {
    images: 8,
    nested_images: 2,
    nest_one_in: 60,
    again_one_in: 6,
    run_max: Work::of(3_000, DISK_BYTES_USUAL),
    recovery_max: Work::of(300, DISK_BYTES_USUAL),
};

const DISK_BYTES_USUAL: u64 = 256 << 10;

fn fan_out_of_the_remote_passes() {
    campaign::run("the remote", 25_000, explore_cut);
}

/// Every crash of what is left of the run of `seed`.
pub(crate) fn explore_cut(seed: u64, cut: &Cut) -> Explored {
    let mut shape = Shape::draw(seed);
    let lives = 0..u32::try_from(shape.course.lives).unwrap_or(u32::MAX);
    shape.course.remote = Some(RemotePlan::draw(Streams::new(seed).fork("fanout.remote"), lives));
    shape.course.cut(cut);
    let (moments, outcome) = workload::run(seed, &shape);
    let remote = shape.course.remote.clone().unwrap_or_else(RemotePlan::plain);
    let (options, cores) = (shape.options.clone(), shape.cores);
    let subject = Offsite { options, remote, cores, memo: Mutex::default(), stores: Mutex::default() };
    let mut explorer = Explorer::new(&subject, EFFORT.within(cut), seed);
    let outcome = outcome.and_then(|()| explorer.all(&moments));
    let result = outcome.map_err(|why| format!("{why}\n  {shape}"));
    Explored { tally: explorer.tally, seen: shape.course.seen(), result }
}

/// What a recovery returned.
#[derive(Clone, PartialEq)]
struct Found {
    database: found::Found,
    pins: BTreeMap<String, u64>,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, pins {:?}", self.database, self.pins)
    }
}

impl Found {
    fn of(opened: &Opened<World>) -> Result<Self, Error> {
        Ok(Self { database: found::Found::of(opened)?, pins: pins_of(opened) })
    }
}

/// The subject: a database with a store.
struct Offsite {
    options: Options,
    remote: RemotePlan,
    cores: u16,
    memo: Mutex<Memo>,
    stores: Mutex<Stores>,
}

/// What is known of stores that were looked at: by their digest the epoch and the greatest token.
#[derive(Default)]
struct Stores {
    known: BTreeMap<u128, (u64, u64)>,
    sums: Sums,
}

impl Stores {
    /// The epoch that a restore from `store` brings back, and the greatest token there.
    fn look(&mut self, store: &StoreImage) -> Result<(u64, u64), String> {
        let hash = store.hash();
        if let Some(known) = self.known.get(&hash) {
            return Ok(*known);
        }
        let stored = Stored::read(store)?;
        if let Some(stored) = &stored {
            stored.check(store, &mut self.sums)?;
        }
        let found = stored.map_or((0, 0), |stored| (stored.epoch(), stored.token));
        self.known.insert(hash, found);
        Ok(found)
    }
}

impl Subject for Offsite {
    type Promise = Promise;
    type Found = Found;

    fn recover(&self, left: Remains, boot: u64, watch: bool) -> Result<Recovery<Found>, String> {
        let (stored, token) = match &left.store {
            Some(store) => lock(&self.stores).look(store)?,
            None => (0, 0),
        };
        let of_bytes = decoded(&left.disk, &mut lock(&self.memo))?;
        let means = (self.options.clone(), Some(&self.remote));
        let mut recovery = recovered(left, (boot, watch), means, Found::of)?;
        let found = &mut recovery.found;
        if found.database.token <= token {
            return Err(format!("I8: recovered {found:?}, and the store knows token {token}"));
        }
        if of_bytes.is_some() {
            compare(of_bytes.as_ref(), &mut found.database, self.cores, &mut lock(&self.memo))?;
        } else if found.database.epoch != stored {
            return Err(format!("recovered {found:?}, and the store has epoch {stored}"));
        }
        if let Some(store) = &recovery.remains.store {
            lock(&self.stores).look(store)?;
        }
        Ok(recovery)
    }

    fn judge(&self, promise: &Promise, found: &Found, lost: bool) -> Result<(), String> {
        promise.keeps(&found.database, if lost { promise.stored } else { promise.acked })?;
        promise.holds(found.database.token, &found.pins, lost)
    }

    fn holds(&self, _: &Promise, earlier: &Found, later: &Found) -> bool {
        earlier.database == later.database && earlier.pins == later.pins
    }

    fn follows(&self, earlier: &Found, later: &Found) -> bool {
        later.database.token > earlier.database.token
    }
}
