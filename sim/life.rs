//! One life: a task of a simulated process that opens the database, proves what it finds, works and ends.

use std::sync::Arc;
use std::time::Duration;

use highwater::sim::{Executor, Streams};
use highwater::{Engine, ErrorKind, Health, Opened};

use crate::check;
use crate::load::{Stop, User};
use crate::plan::{Ending, LifePlan};
use crate::shape::Tuning;
use crate::world::{News, Run, World, lock};

/// How often an open is tried while an engine that was dropped gives up its lock.
const LOCK_TRIES_MAX: u32 = 3_000;
/// The pause between two of them.
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// Rounds that the last life has for being healthy.
const ROUNDS_MAX: u32 = 200;

/// Checkpoints after which the logs have to be small: two generations of bases, so that the fallback is young too.
const DRAINS_MAX: u32 = 30;

/// Lives the `number`-th life, and tells how it ended.
pub(crate) async fn live(
    run: Arc<Run>,
    env: World,
    executor: Arc<dyn Executor>,
    number: u64,
    plan: LifePlan,
) {
    let opened = match open(&run, &env, &executor, &plan.tuning).await {
        Ok(opened) => opened,
        Err(story) => return run.tell(News::Over(story)),
    };
    let stream = Streams::new(run.plan.seed).stream(&format!("load/{number}"));
    let mut user = User::new(&run, (opened.engine, opened.cores), executor, (number, &plan.tuning), stream);
    run.step(format!("life {number}: working"));
    let stopped = user.work(plan.operations).await;
    user.look();
    user.read_everything();
    match (stopped, plan.ending) {
        (Err(Stop::NoRoom), _) | (Ok(()), Ending::Drop) => {
            drop(user);
            run.tell(News::Over("dropped".to_owned()));
        }
        (Err(Stop::Failed(error)), _) => {
            run.count(|tally| tally.failed += 1);
            assert_eq!(user.engine.health(), Health::Failed, "{error}");
            drop(user);
            run.tell(News::Over(format!("failed: {error}")));
        }
        (Ok(()), Ending::Close) => {
            let story = close(&mut user).await;
            drop(user);
            run.tell(News::Over(story));
        }
        (Ok(()), Ending::Crash) => {
            run.tell(News::Idle);
            // The engine works on behind the program's back until the crash.
            std::future::pending::<()>().await;
        }
    }
}

/// Opens the database and checks the state that came back; the story of the refusal, if it was refused.
async fn open(
    run: &Arc<Run>,
    env: &World,
    executor: &Arc<dyn Executor>,
    tuning: &Tuning,
) -> Result<Opened<World>, String> {
    for _ in 0..LOCK_TRIES_MAX {
        match Engine::open_in(env.clone(), tuning.options(&run.plan.shape)).await {
            Ok(opened) => {
                run.trace.event(
                    env.name(),
                    "open",
                    format_args!("{tuning}"),
                    format_args!("epoch {}, token {}", opened.report.epoch, opened.report.token),
                    executor.now(),
                );
                run.count(|tally| tally.opened += 1);
                check_recovery(run, &opened);
                return Ok(opened);
            }
            Err(error) if error.kind() == ErrorKind::Busy => executor.sleep(LOCK_PAUSE).await,
            Err(error) => {
                run.trace.event(
                    env.name(),
                    "open",
                    format_args!(""),
                    format_args!("{error}"),
                    executor.now(),
                );
                run.count(|tally| tally.refused += 1);
                let excused = matches!(error.kind(), ErrorKind::Failed | ErrorKind::Full);
                assert!(excused, "I7: only faults in contract, and open says: {error}");
                return Err(format!("not opened: {error}"));
            }
        }
    }
    panic!("I11: the lock of the database was never given up");
}

fn check_recovery(run: &Run, opened: &Opened<World>) {
    let Opened { engine, cores, report } = opened;
    let epoch = report.epoch.0;
    let mut oracle = lock(&run.oracle);
    check::i1_acknowledged_is_recovered(&oracle, epoch);
    check::i3_one_cut(&oracle, engine, cores, report);
    check::i5_recovery_repeats(&oracle, epoch);
    check::i4_state_is_the_model(&oracle.at(epoch), cores, report);
    oracle.recovered(epoch, report.token);
}

async fn close(user: &mut User) -> String {
    let open: usize = {
        let oracle = lock(&user.run.oracle);
        (0..oracle.cores()).map(|core| oracle.open_changes(core)).sum()
    };
    if open > 0 {
        let refused = user.engine.close_async(&mut user.cores[..]).await.err();
        let kind = refused.as_ref().map(highwater::Error::kind);
        assert_eq!(kind, Some(ErrorKind::Invalid), "closing with {open} changes in open epochs: {refused:?}");
        user.cores.iter_mut().for_each(highwater::CoreHandle::discard_open);
    }
    let ceiling = lock(&user.run.oracle).ceiling();
    match user.engine.close_async(&mut user.cores[..]).await {
        Ok(()) => {
            // What was handed over is durable now.
            let durable = user.engine.durable_epoch().0;
            assert_eq!(durable, ceiling, "I1: close returned, and epoch {ceiling} is not durable");
            lock(&user.run.oracle).acknowledge(durable);
            "closed".to_owned()
        }
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Failed | ErrorKind::Full), "close: {error}");
            format!("closed with an error: {error}")
        }
    }
}

/// The life after the last fault: I11. Everything works, in bounded virtual time, which the root watches.
pub(crate) async fn live_happily(run: Arc<Run>, env: World, executor: Arc<dyn Executor>, number: u64) {
    let tuning = run.plan.last.clone();
    run.step("last life: opening");
    let opened = open(&run, &env, &executor, &tuning).await.unwrap_or_else(|story| panic!("I11: {story}"));
    let stream = Streams::new(run.plan.seed).stream("load/last");
    let mut user =
        User::new(&run, (opened.engine, opened.cores), executor.clone(), (number, &tuning), stream);
    run.step("last life: working");
    user.work(60).await.unwrap_or_else(|stop| panic!("I11: without faults: {stop:?}"));
    for round in 1.. {
        drain(&mut user).await;
        let log_bytes = check::log_bytes(&run);
        if log_bytes <= check::log_bytes_max(&run.plan) {
            break;
        }
        assert!(round < DRAINS_MAX, "I10: {log_bytes} bytes of logs after {round} checkpoints");
        user.work(5).await.unwrap_or_else(|stop| panic!("I11: without faults: {stop:?}"));
    }
    run.step("last life: closing");
    user.read_everything();
    user.cores.iter_mut().for_each(highwater::CoreHandle::discard_open);
    user.engine.close_async(&mut user.cores[..]).await.unwrap_or_else(|error| panic!("I11: close: {error}"));
    drop(user);
    run.step("last life: opening once more");
    let opened = open(&run, &env, &executor, &tuning).await.unwrap_or_else(|story| panic!("I11: {story}"));
    run.tell(News::Over(format!("drained: {}", opened.report)));
    std::future::pending::<()>().await;
}

/// Ends an epoch, waits until it is durable, takes a checkpoint of it.
async fn drain(user: &mut User) {
    user.commit().await.unwrap_or_else(|stop| panic!("I11: without faults: {stop:?}"));
    let ceiling = lock(&user.run.oracle).ceiling();
    assert_eq!(user.engine.durable_epoch().0, ceiling, "I11: a commit without faults");
    let info =
        user.engine.checkpoint_async().await.unwrap_or_else(|error| panic!("I11: checkpoint: {error}"));
    assert_eq!(info.epoch.0, ceiling, "I11: a checkpoint holds the last closed epoch");
    for _ in 0..ROUNDS_MAX {
        if user.engine.health() == Health::Healthy {
            return;
        }
        user.commit().await.unwrap_or_else(|stop| panic!("I11: without faults: {stop:?}"));
    }
    panic!("I11: the engine is {:?} long after the last fault", user.engine.health());
}
