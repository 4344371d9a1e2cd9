//! What a run's root task, its processes and the thread that watches it share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use event_listener::Event;
use highwater::Options;
use highwater::env::Tick;
use highwater::sim::{BoundaryInfo, Executor, SimClock, SimDisk, SimEnv, SimStore, SimVfs, Trace};

use crate::audit::Audits;
use crate::cause::Since;
use crate::coverage::{Coverage, Work};
use crate::damage::Images;
use crate::explain::record;
use crate::oracle::Oracle;
use crate::pins;
use crate::plan::{Plan, Trigger};
use crate::shape::Tuning;
use crate::sink::{Outlet, Sinks};
use crate::step::Moment;

/// The environment of the simulated processes.
pub(crate) type World = SimEnv<SimVfs>;

/// What a life tells the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The boundary of the trigger was reached: crash now.
    Triggered,
    /// The operations are done, the engine is still open: crash when you like.
    Idle,
    /// The engine is closed, dropped, or could not be opened: whatever the story says.
    Over(String),
}

/// Locks `mutex`, also after a panic: the story of a failed run is told from what it left.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts of one run, for the rates of a sweep.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Lives begun.
    pub(crate) lives: u64,
    /// Opens that returned `Ok`.
    pub(crate) opened: u64,
    /// Opens that returned an error.
    pub(crate) refused: u64,
    /// Crashes, power losses included.
    pub(crate) crashes: u64,
    /// Crashes behind which an open has returned, and was judged: of several without an open between them the last.
    pub(crate) judged: u64,
    /// Crashes before open had returned.
    pub(crate) crashes_in_open: u64,
    /// Operations of the workload.
    pub(crate) operations: u64,
    /// Epochs that every core ended.
    pub(crate) epochs: u64,
    /// Checkpoints that were asked for and landed.
    pub(crate) checkpoints: u64,
    /// Pins that were set or let go.
    pub(crate) pins: u64,
    /// Engines that failed.
    pub(crate) failed: u64,
    /// With damage, here and below. Opens that gave exactly a closed epoch, and none that was acknowledged is missing.
    pub(crate) exact: u64,
    /// Opens that were refused with a place that the ledger knows.
    pub(crate) typed: u64,
    /// Opens that gave exactly an older closed epoch, and no surviving mark speaks of a later one.
    pub(crate) tail_lost: u64,
    /// Checkpoints that were refused with a place that the ledger knows.
    pub(crate) checkpoints_refused: u64,
    /// Runs that ended with a refusal.
    pub(crate) refused_for_good: u64,
    /// Disks that were put back to before the damage, after a refusal.
    pub(crate) restored: u64,
    /// Epochs that somebody was told are in the object store.
    pub(crate) stored: u64,
    /// Disks that were lost.
    pub(crate) lost: u64,
    /// Files damaged at rest.
    pub(crate) damaged: u64,
    /// Disks that were verified after a life, and those of them on which damage was found.
    pub(crate) verified: u64,
    /// See [`Tally::verified`].
    pub(crate) verified_damage: u64,
}

/// A run as seen by everybody.
pub(crate) struct Run {
    /// What the seed decided.
    pub(crate) plan: Plan,
    /// The digest and the last events.
    pub(crate) trace: Trace,
    /// The model.
    pub(crate) oracle: Mutex<Oracle>,
    /// What happened how often.
    pub(crate) tally: Mutex<Tally>,
    /// What was tried.
    pub(crate) coverage: Mutex<Coverage>,
    /// When opens began and ended; the end of one that goes on is the end of time.
    pub(crate) opens: Mutex<Vec<(Tick, Tick)>>,
    /// What tells the time, and the clock that the engine sees, once there are any.
    pub(crate) clocks: Mutex<Option<(Arc<dyn Executor>, SimClock)>>,
    /// What had gone wrong before the last open.
    since: Mutex<Since>,
    /// Whether the last crash was of a process that no open has followed yet.
    crashed: AtomicBool,
    /// What the engine was doing at the boundary of the last trigger.
    pub(crate) interrupted: Mutex<Option<Work>>,
    /// Where the run stands, for people.
    pub(crate) step: Mutex<String>,
    /// The disk, once there is one.
    pub(crate) disk: Mutex<Option<SimDisk>>,
    /// The object store, if the plan has one.
    pub(crate) store: Mutex<Option<SimStore>>,
    /// The external system that takes rows, if the plan has one.
    pub(crate) outlet: Mutex<Option<Outlet>>,
    /// Earlier images of the disk, of which parts may come back.
    pub(crate) images: Mutex<Images>,
    /// What verifications found.
    pub(crate) audits: Mutex<Audits>,
    /// The pins.
    pub(crate) pins: Mutex<pins::Ledger>,
    news: Mutex<Option<News>>,
    changed: Event,
    aim: Mutex<Aim>,
    /// Whether a crash is waited for; the hook of the disk looks at it without the run.
    pub(crate) aimed: Arc<AtomicBool>,
}

/// The crash that a life waits for.
#[derive(Default)]
struct Aim {
    trigger: Option<Trigger>,
    moment: Option<Moment>,
    /// Boundaries that count, since the life began, if the trigger waits for no moment.
    in_life: u64,
    /// And since the moment began, if it is the trigger's.
    in_moment: u64,
    /// Where the lives were cut short: the moment, and the boundaries since it began.
    fired: Vec<(Moment, u64)>,
}

impl Run {
    /// Before the first life.
    pub(crate) fn new(plan: Plan) -> Arc<Self> {
        let oracle = Mutex::new(Oracle::new(plan.shape.cores));
        Arc::new(Self {
            plan,
            trace: Trace::new(),
            oracle,
            tally: Mutex::default(),
            coverage: Mutex::default(),
            opens: Mutex::default(),
            clocks: Mutex::default(),
            since: Mutex::default(),
            crashed: AtomicBool::new(false),
            interrupted: Mutex::default(),
            step: Mutex::new("before the first life".to_owned()),
            disk: Mutex::default(),
            store: Mutex::default(),
            outlet: Mutex::default(),
            images: Mutex::default(),
            audits: Mutex::default(),
            pins: Mutex::default(),
            news: Mutex::default(),
            changed: Event::new(),
            aim: Mutex::default(),
            aimed: Arc::default(),
        })
    }

    /// The options of a life with these sinks, whose tasks run on `executor`.
    pub(crate) fn options(
        &self,
        tuning: &Tuning,
        executor: &Arc<dyn Executor>,
        sinks: Option<&Sinks>,
    ) -> Options {
        let options = tuning.options(&self.plan.shape);
        let options = match sinks {
            Some(sinks) => sinks.option(options),
            None => options,
        };
        match (&self.plan.remote, &*lock(&self.store)) {
            (Some(plan), Some(store)) => options.remote(plan.option(store, Arc::clone(executor))),
            _ => options,
        }
    }

    /// Where the run stands.
    pub(crate) fn step(&self, step: impl Into<String>) {
        *lock(&self.step) = step.into();
    }

    /// Counts something.
    pub(crate) fn count(&self, count: impl FnOnce(&mut Tally)) {
        count(&mut lock(&self.tally));
    }

    /// An open begins; it ends with [`Self::opened`], or with the next crash.
    pub(crate) fn opening(&self, now: Tick) {
        *lock(&self.since) = Since::look(self, now);
        lock(&self.opens).push((now, Tick(u64::MAX)));
    }

    /// The open that went on, if one did, has ended.
    pub(crate) fn opened(&self, now: Tick) {
        if let Some((_, to)) = lock(&self.opens).last_mut()
            && *to == Tick(u64::MAX)
        {
            *to = now;
        }
    }

    /// What had gone wrong before the last open.
    pub(crate) fn since(&self) -> Since {
        *lock(&self.since)
    }

    /// The time, and for how much of it the engine's clock has stood still.
    pub(crate) fn now(&self) -> (Tick, Duration) {
        let clocks = lock(&self.clocks);
        clocks.as_ref().map_or_else(Default::default, |(time, clock)| (time.now(), clock.stood_still()))
    }

    /// The process has ended as by a crash.
    pub(crate) fn crashed(&self) {
        self.crashed.store(true, Ordering::SeqCst);
        self.count(|tally| tally.crashes += 1);
    }

    /// An open has returned, and what it found was as it had to be.
    pub(crate) fn judged(&self) {
        let behind_a_crash = self.crashed.swap(false, Ordering::SeqCst);
        self.count(|tally| tally.judged += u64::from(behind_a_crash));
    }

    /// Begins a life whose crash, if any, comes at `trigger`.
    pub(crate) fn begin(&self, trigger: Option<Trigger>) {
        *lock(&self.news) = None;
        self.aimed.store(trigger.is_some(), Ordering::SeqCst);
        let mut aim = lock(&self.aim);
        (aim.in_life, aim.in_moment) = (0, 0);
        aim.trigger = trigger;
    }

    /// Goes on to the next moment of a life: faults and the boundaries of the crash count from here.
    pub(crate) fn enter(&self, moment: Moment) {
        let mut aim = lock(&self.aim);
        aim.moment = Some(moment);
        aim.in_moment = 0;
        drop(aim);
        if let Some(disk) = &*lock(&self.disk) {
            disk.enter(moment.scope());
        }
    }

    /// Where the lives were cut short: the moment, and the boundaries since it began.
    pub(crate) fn fired(&self) -> Vec<(Moment, u64)> {
        lock(&self.aim).fired.clone()
    }

    /// Tells the root. The first news of a life counts, except that an end is always heard.
    pub(crate) fn tell(&self, news: News) {
        let mut slot = lock(&self.news);
        if slot.is_none() || *slot == Some(News::Idle) {
            *slot = Some(news);
        }
        drop(slot);
        self.changed.notify(usize::MAX);
    }

    /// Waits for news of the life.
    pub(crate) async fn news(&self) -> News {
        loop {
            let changed = self.changed.listen();
            if let Some(news) = lock(&self.news).clone() {
                return news;
            }
            changed.await;
        }
    }

    /// Every boundary of every call of the disk comes through here.
    pub(crate) fn boundary(&self, info: &BoundaryInfo) {
        record::boundary(info);
        if !self.aimed.load(Ordering::SeqCst) {
            return;
        }
        let mut aim = lock(&self.aim);
        let Some(Trigger { after, work: wanted, boundaries }) = aim.trigger else { return };
        if after.is_some() && aim.moment != after {
            return;
        }
        let work = || {
            let opening = lock(&self.opens).last().is_some_and(|(_, to)| *to == Tick(u64::MAX));
            Work::of(info.operation, &info.path, opening)
        };
        if wanted.is_some_and(|wanted| wanted != work()) {
            return;
        }
        aim.in_life += 1;
        aim.in_moment += 1;
        let counted = if after.is_none() { aim.in_life } else { aim.in_moment };
        if counted == boundaries {
            let fired = aim.moment.map(|moment| (moment, aim.in_moment));
            aim.fired.extend(fired);
            drop(aim);
            self.aimed.store(false, Ordering::SeqCst);
            *lock(&self.interrupted) = Some(work());
            self.tell(News::Triggered);
        }
    }
}
