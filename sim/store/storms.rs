//! Random stories of machines that come, work, stop, wake up, lose their power or vanish, around a store with faults.
//!
//! Every round gets a number of its own and writes it everywhere, so that a state tells which round it is. What a
//! directory or the store has promised may never be followed by less.

use std::collections::BTreeMap;

use highwater::sim::{Executor, Machine, StoreFaults, Streams};
use highwater::{Epoch, ErrorKind, Opened};

use super::rig::{Rig, SECOND, World, assert_round, round, story};
use crate::Test;
use crate::settings;

/// See [`Test`].
pub(super) const TESTS: &[Test] = tests![nothing_that_was_promised_is_lost_and_no_zombie_promises,];

const KEYS: u64 = 12;

/// Stories of a test run.
const SEEDS: u64 = 300;

/// A machine, and what is known of its directory.
struct Place {
    machine: Machine,
    opened: Option<Opened<World>>,
    /// The last round that this directory has acknowledged.
    local: u64,
    paused: bool,
    deposed: bool,
    /// Whether an open of the directory has returned.
    known: bool,
}

/// What the store has promised: the last round of all, by epoch of the history that it belongs to.
#[derive(Default)]
struct Promise {
    rounds: BTreeMap<u64, u64>,
    /// The round that a restore must bring back, at least.
    floor: u64,
    /// The greatest token of an open that has returned.
    token: u64,
    next: u64,
}

async fn open(rig: &Rig, place: &mut Place, promise: &mut Promise) {
    assert!(place.opened.is_none());
    for attempt in 0.. {
        match rig.open(&place.machine).await {
            Ok(opened) => {
                assert!(!place.deposed, "a deposed directory was opened");
                check(&opened, place, promise);
                place.opened = Some(opened);
                return;
            }
            Err(error) => match error.kind() {
                // Somebody landed something between two looks.
                ErrorKind::Fenced if !place.known => {}
                ErrorKind::Fenced => {
                    place.deposed = true;
                    return;
                }
                ErrorKind::Failed | ErrorKind::Busy => {}
                _ => panic!("open: {error}"),
            },
        }
        assert!(attempt < 100, "it never opens");
        rig.sim.sleep(SECOND * 30).await;
    }
}

/// What came back is no less than what was promised, and exactly one round.
fn check(opened: &Opened<World>, place: &mut Place, promise: &mut Promise) {
    assert!(opened.engine.token().0 > promise.token, "tokens ascend over all machines");
    promise.token = opened.engine.token().0;
    let epoch = opened.report.epoch;
    if opened.report.live_keys == 0 {
        assert_eq!((promise.floor, place.local), (0, 0), "everything is gone");
        return;
    }
    let (_, offset) = opened.report.offsets.first_key_value().unwrap();
    let highwater::Offset::Number(found) = offset else { panic!("{offset:?}") };
    assert_round(opened, *found, KEYS);
    assert!(*found >= promise.floor, "round {found} came back, {} was promised by the store", promise.floor);
    let local = place.local;
    assert!(*found >= local, "round {found} came back, {local} was promised by the directory");
    (place.local, place.known) = (*found, true);
    promise.rounds.insert(epoch.0, *found);
}

/// One round, and perhaps a wait for the store.
async fn work(rig: &Rig, place: &mut Place, promise: &mut Promise, waits: bool) {
    let Some(opened) = &mut place.opened else { return };
    promise.next += 1;
    let (number, token) = (promise.next, opened.engine.token().0);
    let epoch: Epoch = match round(opened, number, KEYS).await {
        Ok(epoch) => epoch,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
            assert!(token < promise.token, "nobody has taken over: {error}");
            place.deposed = true;
            return;
        }
    };
    place.local = number;
    if !waits {
        return;
    }
    for _ in 0..20 {
        match opened.engine.remote_durable(epoch).await {
            Ok(()) => {
                assert_eq!(token, promise.token, "a writer that was deposed acknowledges nothing (I8)");
                promise.floor = number;
                return;
            }
            Err(error) if error.kind() == ErrorKind::Busy => rig.sim.sleep(SECOND).await,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
                assert!(token < promise.token, "nobody has taken over: {error}");
                place.deposed = true;
                return;
            }
        }
    }
}

fn crash(place: &mut Place, power: bool) {
    // The handles of a dead process do nothing any more.
    place.opened = None;
    place.paused = false;
    if power {
        place.machine.cut_power();
    } else {
        place.machine.crash_process();
    }
}

async fn storm(mut rig: Rig, seed: u64) {
    let mut dice = Streams::new(seed).stream("storm");
    let mut promise = Promise::default();
    let mut old: Vec<Place> = Vec::new();
    let mut place = new_place(&mut rig);
    open(&rig, &mut place, &mut promise).await;
    for _ in 0..dice.range(10, 60) {
        match dice.below(16) {
            0 | 1 => {
                crash(&mut place, dice.chance(0.5));
                open(&rig, &mut place, &mut promise).await;
            }
            2 => {
                // The machine is cut off, or it only sleeps: another takes over.
                let mut left = std::mem::replace(&mut place, new_place(&mut rig));
                if dice.chance(0.7) {
                    left.machine.process().pause();
                    left.paused = true;
                } else {
                    crash(&mut left, true);
                }
                old.push(left);
                open(&rig, &mut place, &mut promise).await;
            }
            3 => {
                if let Some(woken) = old.iter_mut().find(|place| place.paused) {
                    woken.machine.resume();
                    woken.paused = false;
                }
            }
            4 => {
                for woken in old.iter_mut().filter(|place| !place.paused && !place.deposed) {
                    work(&rig, woken, &mut promise, true).await;
                }
            }
            5 => rig.sim.sleep(SECOND * u32::try_from(dice.range(1, 200)).unwrap()).await,
            _ => work(&rig, &mut place, &mut promise, dice.chance(0.5)).await,
        }
        if place.deposed {
            place = new_place(&mut rig);
            open(&rig, &mut place, &mut promise).await;
        }
    }
    rig.store.stop_faults();
    work(&rig, &mut place, &mut promise, true).await;
    assert_eq!(promise.floor, promise.next, "without faults a round gets there");
    let mut last = new_place(&mut rig);
    open(&rig, &mut last, &mut promise).await;
    assert_eq!(last.local, promise.floor);
}

fn new_place(rig: &mut Rig) -> Place {
    Place { machine: rig.machine(), opened: None, local: 0, paused: false, deposed: false, known: false }
}

fn nothing_that_was_promised_is_lost_and_no_zombie_promises() {
    let base = settings::base() >> 16;
    for seed in settings::one_seed().map_or(base..base + SEEDS, |seed| seed..seed + 1) {
        let faults = StoreFaults::swarm(&Streams::new(seed));
        story(seed, faults, move |rig| storm(rig, seed));
    }
}
