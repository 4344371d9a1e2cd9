//! Epochs that are held on to: what a pin holds is there, whatever goes on around it, and what nothing holds goes.

use highwater::sim::{FaultClass, FaultPlan};
use highwater::{Engine, Epoch, ErrorKind, Opened, Options, RetainedEpoch, StateDigest, VerifyOptions};

use super::{Rig, commit, options, put, story};
use crate::Test;
use crate::audit;
use crate::shape::DIRECTORY;
use crate::world::World;

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![
    a_pin_outlives_retention_opens_and_other_cores,
    what_no_pin_holds_goes,
    a_pin_that_is_cut_off_is_set_or_not,
    what_is_asked_again_after_a_failure_is_done,
    of_every_span_one_epoch_is_kept,
    a_pin_of_what_is_gone_is_refused,
];

/// As little as possible is retained.
fn frugal(cores: u16) -> Options {
    options(cores).retain_checkpoints(1).fallback_bytes_max(0)
}

/// Changes some keys, ends the epoch, and takes a checkpoint of it.
async fn round(opened: &mut Opened<World>, number: u32) -> Epoch {
    for core in 0..opened.cores.len() {
        put(opened, core, number % 5, &[u8::try_from(number % 251).unwrap_or(0); 700]).expect("room");
        put(opened, core, 100 + number, &number.to_le_bytes()).expect("room");
    }
    let epoch = commit(opened).await.expect("no faults");
    opened.engine.checkpoint_async().await.expect("no faults");
    epoch
}

/// The digest of what the files of `epoch` hold, core by core; the database is sound.
fn digest(rig: &Rig, epoch: Epoch) -> Option<Vec<StateDigest>> {
    let report = audit::verify(rig.disk.disk(), DIRECTORY, VerifyOptions::new().state_digests(true));
    let report = report.unwrap_or_else(|error| panic!("verify: {error}"));
    assert!(report.is_sound(), "{report}");
    let verified = report.epochs.into_iter().find(|verified| verified.epoch == epoch)?;
    Some(verified.states.expect("they were asked for"))
}

fn held(engine: &Engine<World>, name: &str) -> Option<RetainedEpoch> {
    engine.retained().into_iter().find(|retained| retained.pins.iter().any(|pin| pin == name))
}

fn a_pin_outlives_retention_opens_and_other_cores() {
    story(FaultPlan::none(), async |mut rig| {
        let mut opened = rig.recover(frugal(2)).await;
        for number in 0..3 {
            round(&mut opened, number).await;
        }
        let pinned = opened.engine.pin_async("audit", None).await.expect("no faults");
        assert_eq!(pinned, Epoch(3));
        let before = digest(&rig, pinned).expect("it is the newest");
        for cores in [2, 3, 1, 2] {
            for number in 10..40 {
                round(&mut opened, number).await;
            }
            let found = held(&opened.engine, "audit").expect("it is held");
            assert_eq!((found.epoch, found.recovers), (pinned, false), "{cores} cores next");
            assert_eq!(digest(&rig, pinned).as_ref(), Some(&before), "{cores} cores next");
            drop(opened);
            rig.cut_power();
            opened = rig.recover(frugal(cores)).await;
        }
        assert_eq!(held(&opened.engine, "audit").map(|found| found.epoch), Some(pinned));
        assert_eq!(digest(&rig, pinned), Some(before));
    });
}

fn what_no_pin_holds_goes() {
    story(FaultPlan::none(), async |rig| {
        let mut opened = rig.recover(frugal(1)).await;
        for number in 0..20 {
            let epoch = round(&mut opened, number).await;
            let twice = [
                opened.engine.pin_async("a", epoch).await.expect("no faults"),
                opened.engine.pin_async("b", None).await.expect("no faults"),
            ];
            assert_eq!(twice, [epoch; 2]);
            for name in ["a", "b"] {
                assert_eq!(opened.engine.unpin_async(name).await.expect("no faults"), epoch);
            }
        }
        for number in 20..60 {
            round(&mut opened, number).await;
        }
        let retained = opened.engine.retained();
        assert!(retained.iter().all(|epoch| epoch.recovers), "{retained:?}");
        let needed: u64 = retained.iter().map(|epoch| epoch.bytes).sum();
        let disk = rig.disk.disk();
        let names = disk.digests().into_iter().map(|(path, _)| path);
        let files = names.filter(|path| path.to_string_lossy().contains("/f/"));
        let there: u64 = files.map(|path| disk.read_file(&path).map_or(0, |bytes| bytes.len() as u64)).sum();
        assert!(there <= needed, "{there} bytes of files, {needed} needed");
    });
}

/// A pin is a manifest: there whole or not at all, and never a file less than before.
fn a_pin_that_is_cut_off_is_set_or_not() {
    let mut seen = [0, 0];
    for boundaries in 1.. {
        let (sender, receiver) = std::sync::mpsc::channel();
        story(FaultPlan::none(), async move |mut rig| {
            let mut opened = rig.recover(frugal(1)).await;
            for number in 0..4 {
                round(&mut opened, number).await;
            }
            opened.engine.pin_async("old", None).await.expect("no faults");
            let before = digest(&rig, Epoch(4)).expect("it is the newest");
            round(&mut opened, 5).await;
            let work = async {
                opened.engine.pin_async("new", None).await.expect("no faults");
                opened.engine.unpin_async("old").await.expect("no faults");
            };
            let done = rig.run_for(work, boundaries).await.is_some();
            drop(opened);
            rig.cut_power();
            let mut opened = rig.recover(frugal(1)).await;
            let pins = [held(&opened.engine, "old").is_some(), held(&opened.engine, "new").is_some()];
            assert!(pins.contains(&true), "one of them is always there");
            assert!(!done || pins == [false, true], "{pins:?}");
            if pins[0] {
                for number in 6..30 {
                    round(&mut opened, number).await;
                }
                assert_eq!(digest(&rig, Epoch(4)), Some(before));
            }
            sender.send((done, pins)).expect("the test waits");
        });
        let (done, pins) = receiver.recv().expect("the story was told");
        seen[usize::from(pins[1])] += 1;
        if done {
            assert!(seen[0] > 3 && seen[1] > 3, "{seen:?}");
            return;
        }
    }
}

fn of_every_span_one_epoch_is_kept() {
    story(FaultPlan::none(), async |mut rig| {
        let options = || frugal(2).keep_history(10, 3);
        let mut opened = rig.recover(options()).await;
        let mut states = Vec::new();
        for number in 1..=47 {
            let epoch = round(&mut opened, number).await;
            if epoch.0.is_multiple_of(10) {
                states.push((epoch, digest(&rig, epoch).expect("it is the newest")));
            }
            if number % 7 == 0 {
                drop(opened);
                rig.kill();
                opened = rig.recover(options()).await;
            }
        }
        let kept = opened.engine.retained().into_iter().filter(|retained| !retained.recovers);
        assert_eq!(kept.map(|kept| kept.epoch.0).collect::<Vec<_>>(), [20, 30, 40]);
        for (epoch, state) in states {
            assert_eq!(digest(&rig, epoch), (epoch.0 > 10).then_some(state), "epoch {epoch}");
        }
    });
}

fn a_pin_of_what_is_gone_is_refused() {
    story(FaultPlan::none(), async |rig| {
        let mut opened = rig.recover(frugal(1)).await;
        let refused = opened.engine.pin_async("early", None).await.expect_err("there is no checkpoint");
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        for number in 0..30 {
            round(&mut opened, number).await;
        }
        for (name, epoch) in [("gone", 1), ("to come", 99), ("", 30)] {
            let refused =
                opened.engine.pin_async(name, Epoch(epoch)).await.expect_err("there is no such epoch");
            assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
        }
        assert_eq!(opened.engine.unpin_async("gone").await.expect_err("no pin").kind(), ErrorKind::Invalid);
        opened.engine.pin_async("one", Epoch(30)).await.expect("no faults");
        round(&mut opened, 31).await;
        let moved = opened.engine.pin_async("one", None).await.expect_err("it holds another");
        assert_eq!(moved.kind(), ErrorKind::Invalid, "{moved}");
    });
}

/// An unpin failed, so that the manifest without the pin might surface; then the pin was set again, which did nothing, for the
/// head had it; and after a crash the other manifest was the head (0x70001e). The same the other way round.
fn what_is_asked_again_after_a_failure_is_done() {
    story(FaultPlan::none().with(FaultClass::DirSyncError, 0.05), async |mut rig| {
        let mut seen = [0, 0];
        for number in 0..400_u32 {
            let Some(sets) = ask_again(&rig, number).await else {
                rig.kill();
                continue;
            };
            rig.kill();
            let opened = loop {
                match rig.open(frugal(1)).await {
                    Ok(opened) => break opened,
                    Err(_) => rig.kill(),
                }
            };
            let is_set = held(&opened.engine, &number.to_string()).is_some();
            assert_eq!(is_set, sets, "pin {number}");
            seen[usize::from(sets)] += 1;
            drop(opened);
            rig.kill();
        }
        assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    });
}

/// Asks for what has just failed to be undone, and is told that it is; whether pin `number` is set then. None when it did not
/// come to that.
async fn ask_again(rig: &Rig, number: u32) -> Option<bool> {
    let mut opened = rig.open(frugal(1)).await.ok()?;
    put(&mut opened, 0, number % 5, &number.to_le_bytes()).ok()?;
    commit(&mut opened).await.ok()?;
    opened.engine.checkpoint_async().await.ok()?;
    let (name, engine) = (number.to_string(), &opened.engine);
    if engine.pin_async(&*name, None).await.is_err() {
        let undone = engine.unpin_async(&*name).await;
        return undone.map_or_else(|error| error.kind() == ErrorKind::Invalid, |_| true).then_some(false);
    }
    engine.unpin_async(&*name).await.err()?;
    engine.pin_async(&*name, None).await.ok()?;
    Some(true)
}
