//! What a run's root task, its processes and the thread that watches it share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_listener::Event;
use highwater::sim::{BoundaryInfo, SimDisk, SimEnv, SimVfs, Trace};

use crate::oracle::Oracle;
use crate::plan::{Plan, Trigger};

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
    /// Crashes before open had returned.
    pub(crate) crashes_in_open: u64,
    /// Operations of the workload.
    pub(crate) operations: u64,
    /// Epochs that every core ended.
    pub(crate) epochs: u64,
    /// Checkpoints that were asked for and landed.
    pub(crate) checkpoints: u64,
    /// Engines that failed.
    pub(crate) failed: u64,
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
    /// Where the run stands, for people.
    pub(crate) step: Mutex<String>,
    /// The disk, once there is one.
    pub(crate) disk: Mutex<Option<SimDisk>>,
    news: Mutex<Option<News>>,
    changed: Event,
    trigger: Mutex<Option<Trigger>>,
    boundaries: AtomicU64,
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
            step: Mutex::new("before the first life".to_owned()),
            disk: Mutex::default(),
            news: Mutex::default(),
            changed: Event::new(),
            trigger: Mutex::default(),
            boundaries: AtomicU64::new(0),
        })
    }

    /// Where the run stands.
    pub(crate) fn step(&self, step: impl Into<String>) {
        *lock(&self.step) = step.into();
    }

    /// Counts something.
    pub(crate) fn count(&self, count: impl FnOnce(&mut Tally)) {
        count(&mut lock(&self.tally));
    }

    /// Begins a life whose crash, if any, comes at `trigger`.
    pub(crate) fn begin(&self, trigger: Option<Trigger>) {
        *lock(&self.news) = None;
        self.boundaries.store(trigger.as_ref().map_or(0, |trigger| trigger.boundaries), Ordering::SeqCst);
        *lock(&self.trigger) = trigger;
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
        if self.boundaries.load(Ordering::SeqCst) == 0 {
            return;
        }
        let counts = lock(&self.trigger)
            .as_ref()
            .is_some_and(|trigger| trigger.operation.is_none_or(|operation| operation == info.operation));
        if counts && self.boundaries.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.tell(News::Triggered);
        }
    }
}
