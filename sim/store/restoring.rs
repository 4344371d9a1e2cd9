//! From the store to an empty directory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use highwater::sim::{Executor, StoreFault, StoreFaults};
use highwater::{Engine, Epoch, ErrorKind, Options, VerifyOptions, verify_in};

use super::rig::{SECOND, assert_round, assert_state, round, story};
use crate::Test;

/// See [`Test`].
pub(super) const TESTS: &[Test] = tests![
    a_lost_machine_is_restored_from_the_store,
    a_restored_database_goes_on,
    a_database_without_a_checkpoint_is_restored_empty,
    a_restore_that_is_interrupted_anywhere_is_begun_anew,
    an_interrupted_restore_that_was_overtaken_says_so,
    a_rotten_object_is_named,
    a_takeover_that_fails_gives_no_checkpoint_up,
    a_number_that_nobody_has_come_to_is_named,
    a_database_gets_a_store_later,
    an_older_copy_of_the_directory_is_refused,
    an_option_that_is_fixed_takes_no_token,
    a_restore_through_a_bad_store_takes_longer_and_gives_the_same,
    a_restore_may_change_the_number_of_cores,
];

/// F12: the machine is gone with its disk; what `remote_durable` returned for is there.
fn a_lost_machine_is_restored_from_the_store() {
    story(1, StoreFaults::none(), async |mut rig| {
        let mut machine = rig.machine();
        let mut opened = rig.open(&machine).await.unwrap();
        assert!(opened.report.created && !opened.report.restored);
        for number in 1..=3 {
            let epoch = round(&mut opened, number, 100).await.unwrap();
            opened.engine.remote_durable(epoch).await.unwrap();
            assert_eq!(opened.engine.remote_status().unwrap().epoch, epoch);
        }
        let unsafe_epoch = round(&mut opened, 4, 100).await.unwrap();
        let first_token = opened.engine.token();
        let database = opened.engine.database_id();
        machine.cut_power();

        let second = rig.machine();
        let opened = rig.open(&second).await.unwrap();
        assert!(opened.report.restored && !opened.report.created, "{}", opened.report);
        assert_eq!(opened.report.epoch, Epoch(unsafe_epoch.0 - 1));
        assert_eq!(opened.engine.database_id(), database);
        assert!(opened.engine.token() > first_token);
        assert_round(&opened, 3, 100);
    });
}

/// What was restored is a database like any other: it is verified, written, crashed and opened again.
fn a_restored_database_goes_on() {
    story(2, StoreFaults::none(), async |mut rig| {
        let first = rig.machine();
        let mut opened = rig.open(&first).await.unwrap();
        let epoch = round(&mut opened, 1, 50).await.unwrap();
        opened.engine.remote_durable(epoch).await.unwrap();

        let mut second = rig.machine();
        let mut opened = rig.open(&second).await.unwrap();
        for number in 2..=5 {
            let epoch = round(&mut opened, number, 50).await.unwrap();
            opened.engine.remote_durable(epoch).await.unwrap();
        }
        round(&mut opened, 6, 50).await.unwrap();
        second.cut_power();
        let mut opened = rig.open(&second).await.unwrap();
        assert!(!opened.report.restored);
        assert_round(&opened, 6, 50);
        opened.engine.close_async(&mut opened.cores[..]).await.unwrap();
        let report = verify_in(&second.env(), "db", VerifyOptions::default()).await.unwrap();
        assert!(report.is_sound(), "{report:?}");
    });
}

fn a_database_without_a_checkpoint_is_restored_empty() {
    story(3, StoreFaults::none(), async |mut rig| {
        let first = rig.machine();
        let mut opened = rig.open(&first).await.unwrap();
        round(&mut opened, 1, 10).await.unwrap();
        let second = rig.machine();
        let opened = rig.open(&second).await.unwrap();
        assert!(opened.report.restored);
        assert_eq!((opened.report.epoch, opened.report.live_keys), (Epoch(0), 0));
    });
}

/// S17: killed at every call of the disk in turn, the restore is begun anew, and ends.
fn a_restore_that_is_interrupted_anywhere_is_begun_anew() {
    for power in [false, true] {
        story(4, StoreFaults::none(), async move |mut rig| {
            let first = rig.machine();
            let mut opened = rig.open(&first).await.unwrap();
            let epoch = round(&mut opened, 7, 30).await.unwrap();
            opened.engine.remote_durable(epoch).await.unwrap();
            for calls in 1.. {
                let mut machine = rig.machine();
                let options = rig.options(&machine);
                machine.spawn("open", move |env| async move {
                    let _opened = Engine::open_in(env, options).await;
                    std::future::pending::<()>().await;
                });
                let stopped = machine.run_until_call(calls, SECOND * 100).await;
                if power {
                    machine.cut_power();
                } else {
                    machine.crash_process();
                }
                let opened = rig.open(&machine).await;
                let opened = opened.unwrap_or_else(|error| panic!("stopped at {stopped:?}: {error}"));
                assert_eq!(opened.report.epoch, epoch, "stopped at {stopped:?}");
                assert_round(&opened, 7, 30);
                if stopped.is_none() {
                    assert!(calls > 50, "the open made {calls} calls");
                    break;
                }
            }
        });
    }
}

/// A restore is interrupted, and another directory takes over meanwhile. What is left of the first is no database
/// that has lost its manifests.
fn an_interrupted_restore_that_was_overtaken_says_so() {
    let refused = Arc::new(AtomicU64::new(0));
    for calls in (1..150).step_by(11) {
        let refused = Arc::clone(&refused);
        story(10, StoreFaults::none(), async move |mut rig| {
            let first = rig.machine();
            let mut opened = rig.open(&first).await.unwrap();
            let epoch = round(&mut opened, 7, 30).await.unwrap();
            opened.engine.remote_durable(epoch).await.unwrap();
            let mut second = rig.machine();
            let options = rig.options(&second);
            second.spawn("open", move |env| async move {
                let _opened = Engine::open_in(env, options).await;
                std::future::pending::<()>().await;
            });
            let stopped = second.run_until_call(calls, SECOND * 100).await;
            second.crash_process();
            let third = rig.machine();
            let opened = rig.open(&third).await.unwrap();
            assert_round(&opened, 7, 30);
            drop(opened);
            match rig.open(&second).await {
                // It had not come as far as to hold anything.
                Ok(opened) => assert_round(&opened, 7, 30),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Fenced, "stopped at {stopped:?}: {error}");
                    if error.to_string().contains("empty it") {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
    }
    assert!(refused.load(Ordering::Relaxed) > 0, "no restore was stopped on its way");
}

/// The newest checkpoint is rotten: whoever tries to take over is told what else there is, and it is there for the next one.
fn a_takeover_that_fails_gives_no_checkpoint_up() {
    story(11, StoreFaults::none(), async |mut rig| {
        let first = rig.machine();
        let mut opened = rig.open(&first).await.unwrap();
        let (mut before, mut last) = (Vec::new(), Epoch(0));
        for number in 1..=3 {
            before = rig.names("f/");
            last = round(&mut opened, number, 50).await.unwrap();
            opened.engine.remote_durable(last).await.unwrap();
        }
        opened.engine.close_async(&mut opened.cores[..]).await.unwrap();
        let newest = rig.names("f/").into_iter().find(|name| !before.contains(name)).unwrap();
        let whole = rig.store.objects()[&newest].clone();
        rig.store.tamper(&newest, None);
        for _ in 0..3 {
            let machine = rig.machine();
            let error = rig.open(&machine).await.expect_err("it is rotten");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(error.to_string().contains(&format!("--to-epoch {}`", last.0 - 1)), "{error}");
        }
        rig.store.tamper(&newest, Some(whole));
        let machine = rig.machine();
        let mut opened = rig.open(&machine).await.unwrap();
        assert_round(&opened, 3, 50);
        // With a checkpoint of its own the older ones go.
        for number in 4..=24 {
            let epoch = round(&mut opened, number, 50).await.unwrap();
            opened.engine.remote_durable(epoch).await.unwrap();
        }
        rig.sim.sleep(SECOND * 100).await;
        assert!(!rig.names("f/").iter().any(|name| before.contains(name)), "{:?}", rig.names("f/"));
    });
}

/// Who put it there is not known, only that no count leads to it.
fn a_number_that_nobody_has_come_to_is_named() {
    story(12, StoreFaults::none(), async |mut rig| {
        let first = rig.machine();
        let mut opened = rig.open(&first).await.unwrap();
        let epoch = round(&mut opened, 1, 20).await.unwrap();
        opened.engine.remote_durable(epoch).await.unwrap();
        for prefix in ["b/", "m/"] {
            let name = format!("{prefix}{}", u64::MAX);
            rig.store.tamper(&name, Some(vec![1].into()));
            let second = rig.machine();
            let error = rig.open(&second).await.expect_err("it is nobody's");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert_eq!(error.path().unwrap().to_str().unwrap(), name, "{error}");
            rig.store.tamper(&name, None);
        }
        let last = rig.machine();
        assert_round(&rig.open(&last).await.unwrap(), 1, 20);
    });
}

/// What is not as the head says is named, and nothing is opened.
fn a_rotten_object_is_named() {
    story(5, StoreFaults::none(), async |mut rig| {
        let first = rig.machine();
        let mut opened = rig.open(&first).await.unwrap();
        let epoch = round(&mut opened, 1, 50).await.unwrap();
        opened.engine.remote_durable(epoch).await.unwrap();
        let name = rig.names("f/").remove(0);
        let whole = rig.store.objects()[&name].clone();
        let mut flipped = whole.to_vec();
        flipped[100] ^= 1;
        for body in [None, Some(whole.slice(..200)), Some(flipped.into())] {
            rig.store.tamper(&name, body);
            let second = rig.machine();
            let error = rig.open(&second).await.expect_err("it is rotten");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert_eq!(error.path().unwrap().to_str().unwrap(), name, "{error}");
        }
        rig.store.tamper(&name, Some(whole));
        let third = rig.machine();
        assert_eq!(rig.open(&third).await.unwrap().report.epoch, epoch);
    });
}

fn a_database_gets_a_store_later() {
    story(6, StoreFaults::none(), async |mut rig| {
        let mut machine = rig.machine();
        let alone =
            || Options::new("db").cores(2).segment_bytes(64 << 10).batch_bytes(4 << 10).write_unit_bytes(512);
        let mut opened = Engine::open_in(machine.env(), alone()).await.unwrap();
        let epoch = round(&mut opened, 1, 20).await.unwrap();
        let refused = opened.engine.remote_durable(epoch).await.expect_err("no store");
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        assert!(opened.engine.remote_status().is_none());
        opened.engine.checkpoint_async().await.unwrap();
        machine.crash_process();
        // The checkpoint that is there goes up by itself.
        let opened = rig.open(&machine).await.unwrap();
        opened.engine.remote_durable(epoch).await.unwrap();
        let second = rig.machine();
        assert_round(&rig.open(&second).await.unwrap(), 1, 20);
    });
}

/// A copy of the directory that is older than the store is refused: it would lose epochs that are safe.
fn an_older_copy_of_the_directory_is_refused() {
    story(7, StoreFaults::none(), async |mut rig| {
        let mut machine = rig.machine();
        let mut opened = rig.open(&machine).await.unwrap();
        let epoch = round(&mut opened, 1, 20).await.unwrap();
        opened.engine.remote_durable(epoch).await.unwrap();
        machine.crash_process();
        let old = machine.disk().disk();
        let mut opened = rig.open(&machine).await.unwrap();
        let epoch = round(&mut opened, 2, 20).await.unwrap();
        opened.engine.remote_durable(epoch).await.unwrap();
        machine.crash_process();
        machine.disk().with_disk(|disk| *disk = old);
        let refused = rig.open(&machine).await.expect_err("an older copy");
        assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    });
}

fn an_option_that_is_fixed_takes_no_token() {
    story(8, StoreFaults::none(), async |mut rig| {
        let first = rig.machine();
        let mut opened = rig.open(&first).await.unwrap();
        let epoch = round(&mut opened, 1, 20).await.unwrap();
        opened.engine.remote_durable(epoch).await.unwrap();
        let manifests = rig.names("m/");
        let second = rig.machine();
        let refused =
            Engine::open_in(second.env(), rig.options(&second).key_groups(7)).await.expect_err("7 groups");
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
        assert_eq!(rig.names("m/"), manifests);
        let epoch = round(&mut opened, 2, 20).await.unwrap();
        opened.engine.remote_durable(epoch).await.unwrap();
    });
}

fn a_restore_through_a_bad_store_takes_longer_and_gives_the_same() {
    let faults = StoreFaults::none()
        .with_latency_ms(1, 20)
        .with(StoreFault::ShortGet, 0.3)
        .with(StoreFault::RequestLost, 0.05)
        .with(StoreFault::ReplyLost, 0.05)
        .with(StoreFault::StaleList, 0.5);
    story(9, faults, async |mut rig| {
        let first = rig.machine();
        let mut opened = rig.open(&first).await.unwrap();
        let epoch = round(&mut opened, 1, 200).await.unwrap();
        while let Err(error) = opened.engine.remote_durable(epoch).await {
            assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        }
        let second = rig.machine();
        assert_round(&rig.open(&second).await.unwrap(), 1, 200);
    });
}

/// Onto another machine with another number of cores, and back again: the store goes on with those of the newest checkpoint.
fn a_restore_may_change_the_number_of_cores() {
    for (seed, cores) in [(70, 1), (71, 3), (72, 4)] {
        story(seed, StoreFaults::none().with_latency_ms(1, 5), async move |mut rig| {
            let mut last = 0;
            for cores in [2, cores, 2] {
                let machine = rig.machine();
                let options = rig.options(&machine).cores(cores);
                let mut opened = Engine::open_in(machine.env(), options).await.unwrap();
                if last > 0 {
                    assert_eq!(opened.report.rescaled_from.is_some(), opened.report.restored);
                    assert_state(&opened, last, 30);
                }
                // A checkpoint of these cores, and one more on top of it.
                for _ in 0..2 {
                    last += 1;
                    let epoch = round(&mut opened, last, 30).await.unwrap();
                    opened.engine.remote_durable(epoch).await.unwrap();
                }
            }
        });
    }
}
