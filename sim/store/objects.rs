//! What goes into the store, what stays, and what happens while it is away.

use highwater::env::Tick;
use highwater::sim::{Executor, StoreFault, StoreFaults};
use highwater::{Engine, Epoch, ErrorCode, ErrorKind, Health};

use super::rig::{SECOND, assert_round, round, story};
use crate::Test;

/// See [`Test`].
pub(super) const TESTS: &[Test] = tests![
    a_store_that_creates_a_name_twice_is_refused,
    nothing_goes_up_twice,
    what_nobody_needs_is_removed,
    what_nobody_needs_is_removed_also_while_uploads_are_behind,
    an_unplugged_store_is_caught_up_with,
    an_engine_too_far_ahead_of_its_store_says_so_until_that_is_back,
    an_open_without_the_store_changes_nothing_and_says_so,
    a_close_does_not_wait_for_the_store,
];

fn a_store_that_creates_a_name_twice_is_refused() {
    story(41, StoreFaults::none().lying(), async |mut rig| {
        let machine = rig.machine();
        let refused = rig.open(&machine).await.expect_err("it lies");
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
        assert!(rig.names("m/").is_empty());
    });
}

/// An epoch that is there already costs nothing, a small change little, and a crash in the middle of an upload repeats no
/// file that had got there.
fn nothing_goes_up_twice() {
    story(42, StoreFaults::none(), async |mut rig| {
        let mut machine = rig.machine();
        let mut opened = rig.open(&machine).await.unwrap();
        let epoch = round(&mut opened, 1, 500).await.unwrap();
        opened.engine.remote_durable(epoch).await.unwrap();
        let before = rig.store.requests();
        opened.engine.remote_durable(epoch).await.unwrap();
        assert_eq!(rig.store.requests(), before);

        let files = rig.names("f/");
        machine.crash_process();
        let mut opened = rig.open(&machine).await.unwrap();
        let epoch = round(&mut opened, 2, 4).await.unwrap();
        opened.engine.remote_durable(epoch).await.unwrap();
        let added = rig.names("f/").len() - files.len();
        assert!((1..=2).contains(&added), "one delta for each core: {added}");
        assert_eq!(rig.store.open_uploads(), 0);
    });
}

/// F19: with a bound the cores stand still while the store is away, and go on by themselves.
fn an_engine_too_far_ahead_of_its_store_says_so_until_that_is_back() {
    story(51, StoreFaults::none(), async |mut rig| {
        let machine = rig.machine();
        let options = rig.options(&machine).remote(rig.remote(&machine).epoch_lag_max(4));
        let mut opened = Engine::open_in(machine.env(), options).await.unwrap();
        let epoch = round(&mut opened, 1, 40).await.unwrap();
        opened.engine.remote_durable(epoch).await.unwrap();
        assert_eq!(opened.engine.health(), Health::Healthy);

        rig.store.unplug(Tick(rig.sim.now().0 + 600_000_000_000));
        for number in 2..=4 {
            round(&mut opened, number, 40).await.unwrap();
        }
        rig.sim.sleep(SECOND * 60).await;
        assert_eq!(opened.engine.health(), Health::Throttled, "within the bound, and it will be reached");
        round(&mut opened, 5, 40).await.unwrap();
        let refused = round(&mut opened, 6, 40).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::StoreBehind, "{refused}");
        rig.sim.sleep(SECOND * 60).await;
        assert_eq!(opened.engine.health(), Health::ReadOnly, "the store does not answer");
        assert_eq!(opened.engine.durable_epoch(), Epoch(5), "what was within the bound is durable");

        rig.sim.sleep(SECOND * 900).await;
        assert_eq!(opened.engine.health(), Health::Healthy);
        let epoch = round(&mut opened, 6, 40).await.unwrap();
        opened.engine.remote_durable(epoch).await.unwrap();
        assert_eq!(opened.engine.health(), Health::Healthy);
    });
}

/// The store holds what its head names, and one or two strides of manifests: O5.
fn what_nobody_needs_is_removed() {
    story(43, StoreFaults::none(), async |mut rig| {
        let mut machine = rig.machine();
        for life in 0..4 {
            let mut opened = rig.open(&machine).await.unwrap();
            for number in 0..10 {
                let epoch = round(&mut opened, 10 * life + number, 40).await.unwrap();
                opened.engine.remote_durable(epoch).await.unwrap();
            }
            rig.sim.sleep(SECOND * 100).await;
            assert!(rig.names("m/").len() <= 4, "{:?}", rig.names("m/"));
            assert!(rig.names("f/").len() <= 40, "{:?}", rig.names("f/"));
            assert!(rig.names("probe/").is_empty());
            machine.crash_process();
        }
        // What a writer leaves that dies before its manifest, the next one finds.
        let orphan = "f/0000000000000001-00000001-00000000000000000000000000000abc.delta";
        rig.store.tamper(orphan, Some(vec![1].into()));
        let _opened = rig.open(&machine).await.unwrap();
        rig.sim.sleep(SECOND * 100).await;
        assert!(!rig.names("f/").contains(&orphan.to_owned()));
        let second = rig.machine();
        assert_round(&rig.open(&second).await.unwrap(), 39, 40);
    });
}

/// There is always a newer checkpoint to bring: the store grows no further for that.
fn what_nobody_needs_is_removed_also_while_uploads_are_behind() {
    story(47, StoreFaults::none().with_latency_ms(2, 5), async |mut rig| {
        let machine = rig.machine();
        let mut opened = rig.open(&machine).await.unwrap();
        for number in 0..1_500 {
            round(&mut opened, number, 20).await.unwrap();
            opened.engine.checkpoint_async().await.unwrap();
            rig.sim.sleep(SECOND / 100).await;
        }
        let landed = opened.engine.remote_status().unwrap().manifest.0;
        assert!(landed > 40, "{landed} manifests");
        let busy = rig.names("");
        rig.sim.sleep(SECOND * 100).await;
        let idle = rig.names("");
        assert!(busy.len() <= idle.len() + 30, "{} objects, {} of them needed", busy.len(), idle.len());
    });
}

/// The store is away: the database works on, whoever waits for the store is told, and all is made up for.
fn an_unplugged_store_is_caught_up_with() {
    story(44, StoreFaults::none().with_latency_ms(1, 5), async |mut rig| {
        let machine = rig.machine();
        let mut opened = rig.open(&machine).await.unwrap();
        let epoch = round(&mut opened, 1, 40).await.unwrap();
        opened.engine.remote_durable(epoch).await.unwrap();
        rig.store.unplug(Tick(rig.sim.now().0 + 60_000_000_000));
        let mut told = 0;
        for number in 2..20 {
            let epoch = round(&mut opened, number, 40).await.unwrap();
            opened.engine.checkpoint_async().await.unwrap();
            if let Err(error) = opened.engine.remote_durable(epoch).await {
                assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
                told += 1;
            }
        }
        assert!(told > 0);
        let status = opened.engine.remote_status().unwrap();
        rig.sim.sleep(SECOND * 200).await;
        let after = opened.engine.remote_status().unwrap();
        assert!(after.trouble.is_none() && !after.pending, "{status:?}, then {after:?}");
        assert_eq!(after.epoch.0, 19);
        let second = rig.machine();
        assert_round(&rig.open(&second).await.unwrap(), 19, 40);
    });
}

/// An open needs the store: nobody else can say who owns the database.
fn an_open_without_the_store_changes_nothing_and_says_so() {
    story(45, StoreFaults::none().with(StoreFault::Unavailable, 1.0), async |mut rig| {
        let machine = rig.machine();
        let refused = rig.open(&machine).await.expect_err("nothing is reached");
        assert_eq!(refused.kind(), ErrorKind::Failed, "{refused}");
        rig.store.stop_faults();
        assert!(rig.open(&machine).await.unwrap().report.created);
    });
}

/// Closing does not wait for a store that does not answer.
fn a_close_does_not_wait_for_the_store() {
    story(46, StoreFaults::none().with_latency_ms(1, 5), async |mut rig| {
        let mut machine = rig.machine();
        let mut opened = rig.open(&machine).await.unwrap();
        let epoch = round(&mut opened, 1, 40).await.unwrap();
        rig.store.unplug(Tick(rig.sim.now().0 + 3_600_000_000_000));
        opened.engine.checkpoint_async().await.unwrap();
        let before = rig.sim.now();
        opened.engine.close_async(&mut opened.cores[..]).await.unwrap();
        assert!(rig.sim.now().since(before) < SECOND);
        drop(opened);
        machine.crash_process();
        rig.store.stop_faults();
        // And what was on its way goes on by itself.
        let opened = rig.open(&machine).await.unwrap();
        opened.engine.remote_durable(epoch).await.unwrap();
    });
}
