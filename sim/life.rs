//! One life: a task of a simulated process that opens the database, proves what it finds, works and ends.

use std::sync::Arc;
use std::time::Duration;

use highwater::sim::{Executor, FaultClass, SimDisk, Streams};
use highwater::{Engine, ErrorKind, Health, Opened};

use crate::audit;
use crate::check;
use crate::explain::record::{self, Event};
use crate::lattice;
use crate::load::{Stop, User};
use crate::pins;
use crate::plan::{Ending, LifePlan};
use crate::remote;
use crate::shape::Tuning;
use crate::sink::{self, Sinks};
use crate::step::{Moment, Step};
use crate::story::LAST;
use crate::world::{News, Run, World, lock};

/// How often an open is tried while an engine that was dropped gives up its lock. That ends what it is at, a call
/// that stalls after the other perhaps: counted from the last of them.
const LOCK_TRIES_MAX: u32 = 3_000;
/// The pause between two of them.
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// Virtual time in which the writes end that a failed engine had in flight.
const SETTLE: Duration = Duration::from_millis(100);
/// Rounds that the last life has for being healthy.
const ROUNDS_MAX: u32 = 200;

/// Steps between two checkpoints of the last life.
const DRAIN_STEPS: u64 = 5;

/// Rounds with steps of a life whose segments are too small for them: each step may fill a frame, and what the
/// checkpoints that are kept have between them is log that has to stay. So has what a core has written that is ahead of the
/// others: behind these rounds all cores end the same epochs.
const SMALL_DRAINS: u32 = 20;

/// Checkpoints after which the logs have to be small: two generations of bases, so that the fallback is young too.
const DRAINS_MAX: u32 = 30;

/// The story of a life that ended as it should.
pub(crate) const CLOSED: &str = "closed";

/// What the story of an open begins with that was refused because of damage.
const REFUSED: &str = "refused for damage";

/// Lives the `number`-th life, and tells how it ended.
pub(crate) async fn live(run: Arc<Run>, env: World, executor: Arc<dyn Executor>, plan: LifePlan) {
    let number = plan.number;
    let (opened, sinks) = match open(&run, &env, &executor, &plan.tuning).await {
        Ok(opened) => opened,
        Err(story) => return run.tell(News::Over(story)),
    };
    let mut user = User::new(&run, (opened.engine, opened.cores, sinks), executor, (number, &plan.tuning));
    run.step(format!("life {number}: working"));
    let stopped = user.work(&plan.steps).await;
    run.enter(Moment { life: number, step: Moment::END });
    user.look();
    if matches!(stopped, Err(Stop::Failed(_))) {
        // What was in flight on other cores completes now, and is not acknowledged any more (I2).
        user.pause(SETTLE).await;
        user.look();
    }
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

fn stalls_in(run: &Run) -> usize {
    let ledger = lock(&run.disk).as_ref().map(SimDisk::ledger).unwrap_or_default();
    ledger.entries().iter().filter(|one| one.class == FaultClass::Stall).count()
}

/// Opens the database and checks the state that came back; the story of the refusal, if it was refused.
async fn open(
    run: &Arc<Run>,
    env: &World,
    executor: &Arc<dyn Executor>,
    tuning: &Tuning,
) -> Result<(Opened<World>, Option<Sinks>), String> {
    let sinks = Sinks::of(run, env, executor);
    let (mut tries, mut stalls) = (0, stalls_in(run));
    while tries < LOCK_TRIES_MAX {
        let (before, nothing_there) = (lattice::Before::look(run), check::nothing_there(run));
        run.opening(executor.now());
        let opened = Engine::open_in(env.clone(), run.options(tuning, executor, sinks.as_ref())).await;
        run.opened(executor.now());
        match opened {
            Ok(opened) => {
                run.trace.event(
                    env.name(),
                    "open",
                    format_args!("{tuning}"),
                    format_args!("epoch {}, token {}", opened.report.epoch, opened.report.token),
                    executor.now(),
                );
                run.count(|tally| tally.opened += 1);
                record::note(|| {
                    let oracle = lock(&run.oracle);
                    let allowed = Some((oracle.floor(), oracle.ceiling()));
                    Event::Opened(record::Opened::of(&opened.report, opened.cores.len(), allowed))
                });
                audit::opened(run, &opened);
                pins::p1_what_was_set_is_there(run, &opened);
                if let Some(before) = before {
                    before.judge_opened(run, &opened);
                } else {
                    check::i3_created_once(nothing_there, &opened.report);
                    check_recovery(run, &opened);
                }
                run.judged();
                return Ok((opened, sinks));
            }
            Err(error) if error.kind() == ErrorKind::Busy => {
                let now = stalls_in(run);
                tries = if now > stalls { 0 } else { tries + 1 };
                stalls = now;
                executor.sleep(LOCK_PAUSE).await;
            }
            Err(error) => {
                run.trace.event(
                    env.name(),
                    "open",
                    format_args!(""),
                    format_args!("{error}"),
                    executor.now(),
                );
                run.count(|tally| tally.refused += 1);
                record::note(|| Event::Refused(error.to_string()));
                audit::open_refused(run, &error);
                if let Some(before) = before {
                    let damage = before.judge_refused(run, &error);
                    return Err(format!("{}: {error}", if damage { REFUSED } else { "not opened" }));
                }
                // What the lost machine had on its way may land while the next one takes over.
                let taken = run.plan.remote.is_some() && lock(&run.oracle).is_lost();
                let excused = matches!(error.kind(), ErrorKind::Failed | ErrorKind::Full)
                    || (error.kind() == ErrorKind::Fenced && taken);
                assert!(excused, "I7: only faults in contract, and open says: {error}");
                if error.kind() != ErrorKind::Fenced {
                    run.since().check(run, "open", &error);
                }
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
    let states = oracle.at(epoch);
    check::i4_state_is_the_model(&states, cores, report);
    oracle.recovered(epoch, states, report.token);
    drop(oracle);
    sink::i9_nothing_twice_nothing_missing(run);
}

async fn close(user: &mut User) -> String {
    let open: usize = {
        let oracle = lock(&user.run.oracle);
        (0..oracle.cores()).map(|core| oracle.open_changes(core)).sum()
    };
    let behind = user.cores.iter().map(highwater::CoreHandle::open_epoch).min();
    let uneven = user.cores.iter().any(|core| Some(core.open_epoch()) != behind);
    // A failed engine ends no epochs any more, and says that first.
    if (open > 0 || uneven) && user.engine.check().is_ok() {
        let refused = user.engine.close_async(&mut user.cores[..]).await.err();
        let kind = refused.as_ref().map(highwater::Error::kind);
        assert_eq!(
            kind,
            Some(ErrorKind::Invalid),
            "closing with {open} changes in epochs that are open, uneven: {uneven}: {refused:?}"
        );
        user.cores.iter_mut().for_each(highwater::CoreHandle::discard_open);
    }
    let ceiling = lock(&user.run.oracle).ceiling();
    match user.engine.close_async(&mut user.cores[..]).await {
        Ok(()) => {
            // What was handed over is durable now.
            let durable = user.engine.durable_epoch().0;
            assert_eq!(durable, ceiling, "I1: close returned, and epoch {ceiling} is not durable");
            lock(&user.run.oracle).acknowledge(durable);
            CLOSED.to_owned()
        }
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Failed | ErrorKind::Full), "close: {error}");
            user.since.check(&user.run, "close", &error);
            format!("closed with an error: {error}")
        }
    }
}

/// The life after the last fault: I11. Everything works, in bounded virtual time, which the root watches.
pub(crate) async fn live_happily(run: Arc<Run>, env: World, executor: Arc<dyn Executor>) {
    let tuning = run.plan.last.clone();
    run.step("last life: opening");
    let (opened, sinks) = match open(&run, &env, &executor, &tuning).await {
        Ok(opened) => opened,
        Err(story) => return end_refused(&run, story),
    };
    let opened = (opened.engine, opened.cores, sinks);
    let mut user = User::new(&run, opened, executor.clone(), (LAST, &tuning));
    run.step("last life: working");
    user.work(&run.plan.last_steps).await.unwrap_or_else(|stop| panic!("I11: without faults: {stop:?}"));
    for round in 1.. {
        if round > SMALL_DRAINS {
            user.catch_up().await.unwrap_or_else(|stop| panic!("I11: without faults: {stop:?}"));
        }
        if !drain(&mut user).await {
            break;
        }
        let log_bytes = check::log_bytes(&run);
        if log_bytes <= check::log_bytes_max(&run.plan) {
            break;
        }
        assert!(round < DRAINS_MAX, "I10: {log_bytes} bytes of logs after {round} checkpoints");
        let streams = Streams::new(run.plan.seed).fork(&format!("load/drain/{round}"));
        // A segment begins with its header and its `SegmentStart`.
        let frames = (tuning.segment_bytes / u64::from(run.plan.shape.write_unit)).saturating_sub(2);
        let steps = if frames < DRAIN_STEPS && round >= SMALL_DRAINS { 0 } else { DRAIN_STEPS };
        let more = Step::draw(streams, &run.plan.load, run.plan.shape.cores, steps);
        user.work(&more).await.unwrap_or_else(|stop| panic!("I11: without faults: {stop:?}"));
    }
    user.reach_the_store().await;
    user.publish_everything().await;
    sink::i9_everything_once(&run);
    run.step("last life: closing");
    user.read_everything();
    user.cores.iter_mut().for_each(highwater::CoreHandle::discard_open);
    user.engine.close_async(&mut user.cores[..]).await.unwrap_or_else(|error| panic!("I11: close: {error}"));
    drop(user);
    run.step("last life: opening once more");
    let (opened, _sinks) = match open(&run, &env, &executor, &tuning).await {
        Ok(opened) => opened,
        Err(story) => return end_refused(&run, story),
    };
    remote::check_store(&run);
    nothing_is_left_over(&run, &*executor).await;
    run.tell(News::Over(format!("drained: {}", opened.report)));
    std::future::pending::<()>().await;
}

/// The folders of checkpoints and manifests hold what the database needs, once whatever an open begins has been done (I10).
async fn nothing_is_left_over(run: &Run, executor: &dyn Executor) {
    if run.plan.damage.is_some() {
        // Nobody removes what may be evidence.
        return;
    }
    let mut left = check::left_over(run);
    for _ in 0..ROUNDS_MAX {
        if left.is_empty() {
            return;
        }
        executor.sleep(SETTLE).await;
        left = check::left_over(run);
    }
    panic!("I10: files that nothing needs stay: {left:?}");
}

/// The end of a run whose last open did not succeed: for damage, or it is a bug.
fn end_refused(run: &Run, story: String) {
    assert!(story.starts_with(REFUSED), "I11: {story}");
    run.count(|tally| tally.refused_for_good += 1);
    run.tell(News::Over(story));
}

/// Ends an epoch, waits until it is durable, takes a checkpoint of it; false if that is refused for damage.
async fn drain(user: &mut User) -> bool {
    user.commit().await.unwrap_or_else(|stop| panic!("I11: without faults: {stop:?}"));
    let ceiling = lock(&user.run.oracle).ceiling();
    assert_eq!(user.engine.durable_epoch().0, ceiling, "I11: a commit without faults");
    match user.engine.checkpoint_async().await {
        Ok(info) => assert_eq!(info.epoch.0, ceiling, "I11: a checkpoint holds the last closed epoch"),
        Err(error) if lattice::excuses_checkpoint(&user.run, &error) => return false,
        Err(error) => panic!("I11: checkpoint: {error}"),
    }
    for _ in 0..ROUNDS_MAX {
        if user.engine.health() == Health::Healthy {
            return true;
        }
        user.commit().await.unwrap_or_else(|stop| panic!("I11: without faults: {stop:?}"));
        // What was held back is held again when there has been room for a while.
        user.pause(SETTLE).await;
    }
    panic!("I11: the engine is {:?} long after the last fault", user.engine.health());
}
