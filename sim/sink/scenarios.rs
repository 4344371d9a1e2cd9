//! What other systems got wrong with two-phase commit, each as one sentence.

#![expect(clippy::unwrap_used, reason = "a scenario says what it expects")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use highwater::env::{Env, Tick};
use highwater::sim::{Damage, Executor, FaultClass, FaultPlan, Hardware, Latency};
use highwater::sink::{Commit, FileSink, LostPolicy, Part, Prepared, Sink, SinkLife};
use highwater::vfs::Vfs;
use highwater::{CoreId, Engine, Epoch, EpochMark, ErrorKind, FencingToken, Nonce, Standing};

use super::outlet::{Outlet, SinkFault};
use super::rig::{CORES, SECOND, User, World, file_rows, open, options, story};
use crate::Test;

/// See [`Test`].
pub(super) const TESTS: &[Test] = tests![
    rows_are_seen_once_wherever_a_process_is_stopped,
    rows_are_seen_once_wherever_the_power_is_cut,
    files_are_seen_once_on_a_disk_that_fails,
    a_file_that_was_decided_or_aborted_is_never_in_doubt_again,
    cores_that_end_together_are_told_of_their_own_names,
    an_empty_epoch_is_decided_like_any_other,
    a_commit_whose_reply_is_lost_is_made_again,
    a_silent_sink_holds_up_its_own_epochs_only,
    a_transaction_that_expires_is_lost_and_says_so,
    a_transaction_that_nobody_knows_is_left_alone,
    a_barrier_that_reached_half_of_the_cores_publishes_nothing,
    a_rotten_checkpoint_takes_no_decision_back,
    nor_does_one_that_leaves_nothing_but_the_log,
    with_a_store_its_manifest_decides,
    what_no_upload_can_decide_any_more_gets_a_checkpoint,
    a_writer_fenced_in_the_middle_of_a_commit_publishes_nothing_twice,
    a_deposed_writer_leaves_nothing_in_doubt,
    what_cores_that_are_gone_have_prepared_is_published,
];

/// Works until it is stopped: epochs with and without rows, and a checkpoint now and then.
async fn work(outlet: Outlet, env: World, executor: Arc<dyn Executor>) {
    let (options, writers) = options(&outlet, env.clone(), executor);
    let Ok(mut user) = open(env, options, writers).await else { return };
    for number in 0.. {
        let Ok(epoch) = user.round(number % 3).await else { return };
        if number % 3 == 2 && user.published(epoch).await.is_err() {
            return;
        }
    }
}

/// How many calls of the disk the longest life makes: those of an open and of some epochs with their publication.
const CALLS_MAX: u64 = 300;

/// A life is stopped at its first call, another one at its second, and so on. Those between them get through, so that what has to
/// be cleaned up does not become more and more.
fn stopped_anywhere(power: bool) {
    story(u64::from(power), async move |mut rig| {
        rig.outlet.set(SinkFault::ReplyLost, 0.1);
        rig.outlet.set(SinkFault::Late, 0.05);
        let mut machine = rig.machine();
        let mut most = 0;
        for calls in 1..=CALLS_MAX {
            let before = rig.assert_dense();
            let (outlet, executor) = (rig.outlet.clone(), Arc::new(machine.process().clone()));
            machine.spawn("user", move |env| work(outlet, env, executor));
            machine.run_until_call(calls, SECOND * 100).await;
            if power {
                machine.cut_power();
            } else {
                machine.crash_process();
            }
            most = most.max(rig.assert_dense()[0] - before[0]);
            if let Ok(mut user) = rig.open(&machine).await {
                let epoch = user.round(1).await.unwrap();
                let _ = user.published(epoch).await;
            }
            machine.crash_process();
        }
        assert!(most >= 3, "no life got through epochs with one row and with two: {most}");
        rig.outlet.stop_faults();
        let mut user = rig.open(&machine).await.unwrap();
        let epoch = user.round(1).await.unwrap();
        user.published(epoch).await.unwrap();
        assert_eq!(rig.assert_dense(), user.rows, "nothing is missing");
        assert!(user.rows[0] > 10, "only {} rows: the lives were too short to prove anything", user.rows[0]);
        assert_eq!(file_rows(&user).await, user.rows.map(|last| (1..=last).collect::<Vec<_>>()));
        assert_eq!(rig.outlet.prepared(), []);
    });
}

/// S5: a kill between any two calls of the protocol.
fn rows_are_seen_once_wherever_a_process_is_stopped() {
    stopped_anywhere(false);
}

/// S5, and what was not synced is kept or lost.
fn rows_are_seen_once_wherever_the_power_is_cut() {
    stopped_anywhere(true);
}

/// Two cores stage and publish at the same time, in a folder whose syncs fail, until each is told that it is done; then the power
/// goes. A sync that fails for one loses the names of both.
fn cores_that_end_together_are_told_of_their_own_names() {
    for seed in 0..20 {
        story(200 + seed, async move |mut rig| {
            let plan = FaultPlan::none().with_latency(Latency::FLASH);
            let mut plan = plan.with(FaultClass::SyncErrorOnce, 0.2);
            plan.focus = Some("out".into());
            let mut machine = rig.machine_with(Hardware { faults: plan, ..Hardware::default() });
            for epoch in 1..=20 {
                let sink = FileSink::in_env(machine.env(), "out");
                let mut life = SinkLife::new("files", Nonce(1), Nonce(2));
                life.token = FencingToken(epoch);
                while sink.recover(&life).await.is_err() {}
                let told = Arc::new(AtomicU64::new(0));
                for core in [0, 1] {
                    let (sink, told) = (sink.clone(), Arc::clone(&told));
                    let part = Part { epoch: Epoch(epoch), core: CoreId(core) };
                    machine.spawn("core", async move |_| {
                        sink.write(part.core, &epoch.to_le_bytes());
                        let handle = loop {
                            if let Ok(handle) = sink.pre_commit(part).await {
                                break handle.unwrap();
                            }
                        };
                        while sink.commit(&handle).await.is_err() {}
                        told.fetch_add(1, Ordering::SeqCst);
                    });
                }
                while told.load(Ordering::SeqCst) < 2 {
                    rig.sim.sleep(SECOND).await;
                }
                machine.cut_power();
                let sink = FileSink::in_env(machine.env(), "out");
                while sink.recover(&life).await.is_err() {}
                let published = sink.published().await.unwrap();
                assert_eq!(published.len() as u64, 2 * epoch, "seed {seed}: what was published is there");
            }
        });
    }
}

/// S3, S4, S14 for files: syncs fail and lose names, the disk is full for a while, and the power goes.
fn files_are_seen_once_on_a_disk_that_fails() {
    for seed in 0..20 {
        story(100 + seed, async move |mut rig| {
            let faults = [
                FaultClass::SyncErrorOnce,
                FaultClass::DirSyncError,
                FaultClass::Full,
                FaultClass::WriteError,
            ];
            let mut plan = faults.into_iter().fold(FaultPlan::none(), |plan, fault| plan.with(fault, 0.02));
            plan.focus = Some("out".into());
            let mut machine = rig.machine_with(Hardware { faults: plan, ..Hardware::default() });
            for calls in 0..30 {
                let (outlet, executor) = (rig.outlet.clone(), Arc::new(machine.process().clone()));
                machine.spawn("user", move |env| work(outlet, env, executor));
                machine.run_until_call(100 + 37 * calls, SECOND * 100).await;
                if calls % 3 == 0 { machine.crash_process() } else { machine.cut_power() }
            }
            machine.stop_faults();
            let mut user = rig.open(&machine).await.unwrap();
            let epoch = user.round(1).await.unwrap();
            user.published(epoch).await.unwrap();
            assert_eq!(file_rows(&user).await, user.rows.map(|last| (1..=last).collect::<Vec<_>>()));
        });
    }
}

/// K4 for files: processes die behind syncs that failed, so that what they have moved or removed is gone from the cache alone; then the
/// power goes. Readers remove what they have read.
fn a_file_that_was_decided_or_aborted_is_never_in_doubt_again() {
    for seed in 0..40 {
        story(300 + seed, async move |mut rig| {
            let mut plan = FaultPlan::none().with_latency(Latency::FLASH).with(FaultClass::DirSyncError, 0.3);
            plan.focus = Some("out".into());
            let mut machine = rig.machine_with(Hardware { faults: plan, ..Hardware::default() });
            let [mut staged, mut decided, mut seen, mut over] = [(); 4].map(|()| BTreeSet::new());
            for token in 1..=60 {
                let sink = FileSink::in_env(machine.env(), "out");
                let mut life = SinkLife::new("files", Nonce(1), Nonce(2));
                life.token = FencingToken(token);
                if sink.recover(&life).await.is_ok() {
                    let listed = sink.in_doubt().await.unwrap();
                    let listed: BTreeSet<_> = listed.into_iter().map(|prepared| prepared.handle).collect();
                    let back: Vec<_> = listed.intersection(&over).collect();
                    assert!(back.is_empty(), "seed {seed}: {back:?} is in doubt again at token {token}");
                    seen.extend(listed.iter().cloned());
                    over.extend(
                        seen.difference(&listed).filter(|handle| !decided.contains(*handle)).cloned(),
                    );
                    for handle in listed {
                        // What a core was not told of is in no log.
                        if staged.remove(&handle) && token % 2 == 0 {
                            decided.insert(handle);
                        } else if !decided.contains(&handle) {
                            let _ = sink.abort(&handle).await;
                        }
                    }
                    for handle in decided.clone() {
                        if let Ok(done) = sink.commit(&handle).await {
                            assert_eq!(done, Commit::Done, "seed {seed}");
                            decided.remove(&handle);
                            over.insert(handle);
                        }
                    }
                    if decided.is_empty() {
                        for published in sink.published().await.unwrap() {
                            machine.env().vfs().unwrap().remove(&published.path).await.unwrap();
                        }
                    }
                    for core in [0, 1] {
                        let part = Part { epoch: Epoch(token), core: CoreId(core) };
                        sink.write(part.core, b"row");
                        staged.extend(sink.pre_commit(part).await.ok().flatten());
                    }
                }
                if token % 3 == 0 { machine.cut_power() } else { machine.crash_process() }
            }
            assert!(over.len() > 20, "seed {seed}: only {} transactions came to an end", over.len());
        });
    }
}

/// S11: an epoch without rows has an entry and no transaction, and decides those before it.
fn an_empty_epoch_is_decided_like_any_other() {
    story(200, async |mut rig| {
        let mut machine = rig.machine();
        let mut user = rig.open(&machine).await.unwrap();
        for _ in 0..2 {
            let epoch = user.round(0).await.unwrap();
            user.published(epoch).await.unwrap();
            assert_eq!((user.opened.engine.published_epoch(), user.standings()), (epoch, BTreeSet::new()));
            // A core with rows, and one without.
            user.end(0, 2).await.unwrap();
            let epoch = user.end(1, 0).await.unwrap();
            user.opened.engine.durable(epoch).await.unwrap();
            machine.crash_process();
            user = rig.open(&machine).await.unwrap();
            rig.sim.sleep(SECOND).await;
            assert_eq!(user.standings(), BTreeSet::from([(epoch.0, Standing::InDoubt)]));
        }
        let epoch = user.round(0).await.unwrap();
        user.published(epoch).await.unwrap();
        assert_eq!(rig.assert_dense(), [4, 0]);
    });
}

/// S12: the commit took effect, and nobody said so.
fn a_commit_whose_reply_is_lost_is_made_again() {
    story(201, async |mut rig| {
        let mut machine = rig.machine();
        let mut user = rig.open(&machine).await.unwrap();
        let epoch = user.round(2).await.unwrap();
        rig.outlet.set(SinkFault::ReplyLost, 1.0);
        let busy = user.opened.engine.published(epoch).await.expect_err("no reply ever comes");
        assert_eq!(busy.kind(), ErrorKind::Busy, "{busy}");
        assert_eq!(rig.assert_dense(), [2, 0], "the first of them took effect");
        assert!(user.standings().contains(&(epoch.0, Standing::Decided)), "unknown is not done");
        machine.cut_power();
        rig.outlet.stop_faults();
        let user = rig.open(&machine).await.unwrap();
        user.published(epoch).await.unwrap();
        assert_eq!(rig.assert_dense(), [2, 2]);
    });
}

/// An outage of the sink: the state goes on being durable, epochs end up to the bound, and then it all catches up.
fn a_silent_sink_holds_up_its_own_epochs_only() {
    story(202, async |mut rig| {
        let machine = rig.machine();
        let mut user = rig.open(&machine).await.unwrap();
        let epoch = user.round(1).await.unwrap();
        user.published(epoch).await.unwrap();
        let clock: Arc<dyn Executor> = Arc::new(machine.process().clone());
        rig.outlet.silence(Tick(clock.now().0 + 60_000_000_000));
        user.writers.outlet.write(CoreId(0), 2);
        let busy =
            user.opened.cores[0].close_epoch_async(EpochMark::new().offset("rows", 2_u64)).await.unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::Busy, "{busy}");
        assert!(user.opened.cores[0].is_ending());
        user.rows = [2, 1];
        let epoch = user.end(0, 0).await.unwrap();
        assert!(clock.now().0 > 60_000_000_000, "it waited");
        user.end(1, 1).await.unwrap();
        user.published(epoch).await.unwrap();
        assert_eq!(rig.assert_dense(), [2, 2]);
    });
}

/// S12: the transaction is gone. The third outcome is typed, and stays until somebody decides.
fn a_transaction_that_expires_is_lost_and_says_so() {
    story(203, async |mut rig| {
        let mut machine = rig.machine();
        let mut user = rig.open(&machine).await.unwrap();
        let epoch = user.round(1).await.unwrap();
        user.opened.engine.durable(epoch).await.unwrap();
        rig.outlet.expire();
        for _ in 0..2 {
            let lost = user.published(epoch).await.expect_err("it is lost");
            assert_eq!(lost.kind(), ErrorKind::Lost, "{lost}");
            assert_eq!(user.opened.engine.check().unwrap_err().kind(), ErrorKind::Lost);
            machine.crash_process();
            user = rig.open(&machine).await.unwrap();
        }
        machine.crash_process();
        let (options, writers) = rig.options(&machine);
        let mut user = open(machine.env(), options.on_lost(LostPolicy::Accept), writers).await.unwrap();
        user.published(epoch).await.unwrap();
        assert_eq!(user.standings(), BTreeSet::from([(epoch.0, Standing::Lost)]));
        let epoch = user.round(1).await.unwrap();
        user.published(epoch).await.unwrap();
        assert_eq!(rig.assert_dense(), [2, 2], "what was forgotten is not there, and everything else is");
        machine.cut_power();
        let user = rig.open(&machine).await.unwrap();
        assert!(user.standings().contains(&(1, Standing::Lost)), "the manifest keeps the record");
    });
}

/// S12: a handle that no log and no manifest knows, of an epoch long closed, is neither committed nor aborted.
fn a_transaction_that_nobody_knows_is_left_alone() {
    story(204, async |mut rig| {
        let mut machine = rig.machine();
        let mut user = rig.open(&machine).await.unwrap();
        let epoch = user.round(1).await.unwrap();
        user.published(epoch).await.unwrap();
        let strange = |token: u64, epoch: u64| {
            let part = Part { epoch: Epoch(epoch), core: CoreId(1) };
            Prepared::new(FencingToken(token), part, format!("strange/{token}/{epoch}").into_bytes())
        };
        rig.outlet.plant(strange(1, 1));
        rig.outlet.plant(strange(1, 2));
        rig.outlet.plant(strange(9, 2));
        machine.crash_process();
        let mut user = rig.open(&machine).await.unwrap();
        rig.sim.sleep(SECOND).await;
        let unclaimed = BTreeSet::from([(1, Standing::Unclaimed), (2, Standing::Unclaimed)]);
        assert_eq!(user.standings(), unclaimed);
        assert_eq!(
            rig.outlet.prepared(),
            [strange(1, 1), strange(9, 2)],
            "the one that could never close is aborted"
        );
        let epoch = user.round(1).await.unwrap();
        user.published(epoch).await.unwrap();
        assert_eq!(rig.assert_dense(), [2, 2]);
        assert_eq!(user.standings(), unclaimed);
    });
}

/// S22: one core has ended the epoch, with its handle in its log, and the other has not.
fn a_barrier_that_reached_half_of_the_cores_publishes_nothing() {
    story(205, async |mut rig| {
        let mut machine = rig.machine();
        let mut user = rig.open(&machine).await.unwrap();
        let epoch = user.round(1).await.unwrap();
        user.published(epoch).await.unwrap();
        for _ in 0..3 {
            user.end(0, 5).await.unwrap();
            rig.sim.sleep(SECOND).await;
            assert_eq!(rig.outlet.prepared().len(), 1);
            machine.crash_process();
            user = rig.open(&machine).await.unwrap();
            assert_eq!(rig.outlet.prepared(), [], "aborted");
            assert_eq!(user.rows, [1, 1], "its rows come again");
        }
        let epoch = user.round(5).await.unwrap();
        user.published(epoch).await.unwrap();
        assert_eq!(rig.assert_dense(), [6, 6]);
    });
}

/// R6: a checkpoint whose files are damaged costs time. What its manifest decided stays decided.
fn a_rotten_checkpoint_takes_no_decision_back() {
    story(206, async |mut rig| {
        let mut machine = rig.machine();
        let mut user = rig.open(&machine).await.unwrap();
        for number in 0..40_u64 {
            let key = number.to_le_bytes();
            let core = user.opened.engine.core_of(&key).index();
            user.opened.cores[core].put(&key, &[7; 100]).unwrap();
        }
        let epoch = user.round(1).await.unwrap();
        user.published(epoch).await.unwrap();
        for number in 0..40_u64 {
            let key = number.to_le_bytes();
            let core = user.opened.engine.core_of(&key).index();
            user.opened.cores[core].put(&key, &[8; 100]).unwrap();
        }
        let epoch = user.round(1).await.unwrap();
        user.opened.engine.checkpoint_async().await.unwrap();
        user.published(epoch).await.unwrap();
        let disk = machine.disk().disk();
        let newest =
            disk.tree().into_iter().filter(|(path, _)| path.starts_with("db/f")).map(|(path, _)| path);
        machine.crash_process();
        for path in newest.filter(|path| path.extension().is_some_and(|end| end == "delta")) {
            machine.disk().damage(&path, &Damage::BitRot { offset: 200, mask: 1 }).unwrap();
        }
        for _ in 0..3 {
            let user = rig.open(&machine).await.unwrap();
            assert!(!user.opened.report.skipped.is_empty() || user.opened.report.checkpoint_epoch < epoch);
            rig.sim.sleep(SECOND).await;
            assert_eq!(user.opened.engine.published_epoch(), epoch, "decided and published, as before");
            machine.crash_process();
        }
        let mut user = rig.open(&machine).await.unwrap();
        let epoch = user.round(1).await.unwrap();
        user.published(epoch).await.unwrap();
        assert_eq!(rig.assert_dense(), [3, 3]);
    });
}

/// R6 again: the only checkpoint is damaged, so that the log is replayed from its beginning, and the process dies
/// before it has taken another. What was published, and forgotten by the sink, is not published again.
fn nor_does_one_that_leaves_nothing_but_the_log() {
    story(212, async |mut rig| {
        let mut machine = rig.machine();
        let mut user = rig.open(&machine).await.unwrap();
        let mut published = Epoch(0);
        for number in 0..40_u64 {
            let key = number.to_le_bytes();
            let core = user.opened.engine.core_of(&key).index();
            user.opened.cores[core].put(&key, &[7; 100]).unwrap();
        }
        for _ in 0..3 {
            published = user.round(1).await.unwrap();
        }
        user.opened.engine.checkpoint_async().await.unwrap();
        user.published(published).await.unwrap();
        // The next life's first checkpoint lets the sink forget them.
        let last = user.round(1).await.unwrap();
        user.opened.engine.checkpoint_async().await.unwrap();
        user.published(last).await.unwrap();
        rig.sim.sleep(SECOND).await;
        let disk = machine.disk().disk();
        let files: Vec<_> = disk
            .tree()
            .into_iter()
            .filter(|(path, _)| path.starts_with("db/f"))
            .map(|(path, _)| path)
            .collect();
        machine.crash_process();
        for path in
            files.iter().filter(|path| path.extension().is_some_and(|end| end == "base" || end == "delta"))
        {
            machine.disk().damage(path, &Damage::BitRot { offset: 200, mask: 1 }).unwrap();
        }
        for life in 0..3 {
            let user = rig.open(&machine).await.unwrap();
            assert_eq!(user.opened.report.checkpoint_epoch, Epoch(0), "life {life} reads the log alone");
            assert_eq!(user.opened.report.skipped.is_empty(), life > 0, "the first gives the checkpoints up");
            rig.sim.sleep(SECOND).await;
            assert_eq!(
                user.opened.engine.published_epoch(),
                last,
                "life {life}: decided and published, as before"
            );
            machine.crash_process();
        }
        let mut user = rig.open(&machine).await.unwrap();
        let epoch = user.round(1).await.unwrap();
        user.published(epoch).await.unwrap();
        assert_eq!(rig.assert_dense(), [5, 5]);
    });
}

/// The decision is the manifest that a successor will begin from: while the store is away nothing is published.
fn with_a_store_its_manifest_decides() {
    story(207, async |mut rig| {
        let mut first = rig.machine();
        let mut user = rig.open_remote(&first).await.unwrap();
        let epoch = user.round(1).await.unwrap();
        user.published(epoch).await.unwrap();
        rig.store.unplug(Tick(u64::MAX));
        let epoch = user.round(1).await.unwrap();
        user.opened.engine.durable(epoch).await.unwrap();
        let info = user.opened.engine.checkpoint_async().await.unwrap();
        assert_eq!(info.epoch, epoch, "the directory has it");
        rig.sim.sleep(SECOND * 100).await;
        assert_eq!(user.standings(), BTreeSet::from([(epoch.0, Standing::InDoubt)]));
        assert_eq!(rig.assert_dense(), [1, 1]);
        // The machine is lost: its successor knows nothing of the epoch, and writes the rows anew.
        first.cut_power();
        rig.store.unplug(Tick(0));
        let second = rig.machine();
        let mut user = rig.open_remote(&second).await.unwrap();
        assert_eq!((user.opened.report.epoch.0, user.rows), (epoch.0 - 1, [1, 1]));
        assert_eq!(rig.outlet.prepared(), [], "aborted");
        let epoch = user.round(2).await.unwrap();
        user.published(epoch).await.unwrap();
        assert_eq!(rig.assert_dense(), [3, 3]);
    });
}

/// The checkpoint that lists an epoch is given up before the store has it: only another one can decide now, and who
/// waits for that has it taken.
fn what_no_upload_can_decide_any_more_gets_a_checkpoint() {
    story(213, async |mut rig| {
        let mut machine = rig.machine();
        let mut user = rig.open_remote(&machine).await.unwrap();
        let put = |user: &mut User, value: u8| {
            for number in 0..40_u64 {
                let key = number.to_le_bytes();
                let core = user.opened.engine.core_of(&key).index();
                user.opened.cores[core].put(&key, &[value; 100]).unwrap();
            }
        };
        put(&mut user, 1);
        let before = user.round(1).await.unwrap();
        user.published(before).await.unwrap();
        rig.store.unplug(Tick(u64::MAX));
        put(&mut user, 2);
        let epoch = user.round(1).await.unwrap();
        user.opened.engine.durable(epoch).await.unwrap();
        assert_eq!(user.opened.engine.checkpoint_async().await.unwrap().epoch, epoch);
        let files: Vec<_> = machine.disk().disk().tree().into_iter().map(|(path, _)| path).collect();
        machine.crash_process();
        for path in files.iter().filter(|path| path.extension().is_some_and(|end| end == "delta")) {
            machine.disk().damage(path, &Damage::BitRot { offset: 200, mask: 1 }).unwrap();
        }
        rig.store.unplug(Tick(0));
        let user = rig.open_remote(&machine).await.unwrap();
        assert_eq!((user.opened.report.epoch, user.opened.report.checkpoint_epoch), (epoch, before));
        assert_eq!(user.standings(), BTreeSet::from([(epoch.0, Standing::InDoubt)]));
        user.published(epoch).await.unwrap();
        assert_eq!(rig.assert_dense(), [2, 2]);
    });
}

/// S20: the decision has landed, the commit is under way, and the writer is deposed. Both commit, and once is all.
fn a_writer_fenced_in_the_middle_of_a_commit_publishes_nothing_twice() {
    for seed in 0..20 {
        story(300 + seed, async |mut rig| {
            let first = rig.machine();
            let mut old = rig.open_remote(&first).await.unwrap();
            let epoch = old.round(3).await.unwrap();
            rig.outlet.set(SinkFault::Late, 0.5);
            let _ = old.opened.engine.remote_durable(epoch).await;
            first.process().pause();
            let second = rig.machine();
            let mut new = loop {
                match rig.open_remote(&second).await {
                    Ok(user) => break user,
                    Err(error) => {
                        assert!(matches!(error.kind(), ErrorKind::Failed | ErrorKind::Busy), "{error}");
                    }
                }
            };
            first.process().resume();
            let next = new.round(2).await.unwrap();
            new.published(next).await.unwrap();
            let fenced = old.round(4).await.expect_err("it is deposed, and the outlet knows");
            assert_eq!(fenced.kind(), ErrorKind::Fenced, "{fenced}");
            rig.sim.sleep(SECOND * 100).await;
            assert_eq!(rig.assert_dense(), new.rows);
            assert_eq!(rig.outlet.prepared(), [], "what the old one pre-committed took no effect");
        });
    }
}

/// P7: transactions of a writer that does not know it is deposed are aborted, or never take effect.
fn a_deposed_writer_leaves_nothing_in_doubt() {
    for seed in 0..20 {
        story(400 + seed, async |mut rig| {
            rig.outlet.set(SinkFault::Late, 0.3);
            rig.outlet.set(SinkFault::ReplyLost, 0.3);
            let mut rows = [0, 0];
            let mut machines = Vec::new();
            for life in 0..4 {
                let machine = rig.machine();
                let mut user = loop {
                    match rig.open_remote(&machine).await {
                        Ok(user) => break user,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Failed, "{error}"),
                    }
                };
                assert!(user.rows[0] >= rows[0] && user.rows[1] >= rows[1], "life {life}");
                let epoch = user.round(2).await.unwrap();
                user.published(epoch).await.unwrap();
                rows = user.rows;
                let _ = user.round(1).await;
                let _ = user.end(0, 1).await;
                if life % 2 == 0 {
                    machine.process().pause();
                }
                machines.push((machine, user));
            }
            rig.outlet.stop_faults();
            for (machine, _) in &machines {
                machine.process().resume();
            }
            rig.sim.sleep(SECOND * 100).await;
            let machine = rig.machine();
            let mut user = rig.open_remote(&machine).await.unwrap();
            let epoch = user.round(1).await.unwrap();
            user.published(epoch).await.unwrap();
            assert_eq!(rig.assert_dense(), user.rows);
            assert_eq!(rig.outlet.prepared(), []);
        });
    }
}

/// What two cores have in doubt is decided when one takes over: the checkpoint before the keys are divided anew lists it.
fn what_cores_that_are_gone_have_prepared_is_published() {
    story(230, async |mut rig| {
        let mut machine = rig.machine();
        let mut user = rig.open(&machine).await.unwrap();
        let epoch = user.round(2).await.unwrap();
        user.opened.engine.durable(epoch).await.unwrap();
        assert_eq!((rig.assert_dense(), rig.outlet.prepared().len()), ([0, 0], 2));
        drop(user);
        machine.crash_process();
        let (options, _writers) = rig.options(&machine);
        let opened = Engine::open_in(machine.env(), options.cores(1)).await.unwrap();
        assert_eq!(opened.report.rescaled_from, Some(CORES));
        while let Err(error) = opened.engine.published(epoch).await {
            assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        }
        assert_eq!((rig.assert_dense(), rig.outlet.prepared().len()), ([2, 2], 0));
    });
}
