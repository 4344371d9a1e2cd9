//! What the runs of all fan-outs have in common: the disk that they run on, the moments that are taken of it, the steps
//! that happen, and how their processes end.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use highwater::sim::{
    Crash, Disk, Executor, FaultClass, FaultPlan, Handle, Latency, Personality, SimDisk, SimStore, Simulator,
    Stream, Streams,
};

use super::{Cut, Moment, Remains, Seen, Shot, watch};
use crate::explain::record::{self, At, Event, Fanned};
use crate::plan::Fate;
use crate::remote::RemotePlan;
use crate::step::Moment as Scope;
use crate::without;
use crate::world::lock;

/// How often an open is tried while the disk fails.
pub(super) const OPENS_MAX: u32 = 8;

/// What a seed decides for a run of any kind.
pub(super) struct Course {
    pub(super) personality: Personality,
    pub(super) plan: FaultPlan,
    /// The object store, if there is one, and the lives behind which the machine is lost.
    pub(super) remote: Option<RemotePlan>,
    pub(super) value_bytes_max: u64,
    pub(super) lives: u64,
    pub(super) operations: u64,
    /// What happens of all that.
    cut: Cut,
    /// What has happened.
    seen: Arc<Mutex<Seen>>,
}

impl Course {
    /// A course of which everything happens.
    pub(super) fn new(personality: Personality, plan: FaultPlan) -> Self {
        let plan = without::restrict(plan);
        let (cut, seen) = (Cut::default(), Arc::default());
        Self { personality, plan, remote: None, value_bytes_max: 0, lives: 0, operations: 0, cut, seen }
    }

    /// The same on another disk.
    pub(super) fn on(&self, personality: Personality) -> Self {
        let (plan, remote, seen) = (self.plan.clone(), self.remote.clone(), Arc::default());
        Self { personality, plan, remote, cut: self.cut.clone(), seen, ..*self }
    }

    /// Leaves out what `cut` does.
    pub(super) fn cut(&mut self, cut: &Cut) {
        cut.disk(&mut self.personality, &mut self.plan);
        if let Some(remote) = self.remote.as_mut().filter(|_| cut.tame) {
            *remote = remote.tame();
        }
        if cut.short {
            self.value_bytes_max = 20;
        }
        self.cut = cut.clone();
    }

    /// The numbers of the lives that happen.
    pub(super) fn lives(&self) -> impl Iterator<Item = u64> {
        (0..self.lives).filter(|life| self.cut.keeps_life(*life))
    }

    /// The numbers of the operations of one life.
    pub(super) fn operations(&self) -> impl Iterator<Item = u32> + use<> {
        1..=u32::try_from(self.operations).unwrap_or(Scope::END - 1)
    }

    /// Notes what the operation that the run is at is called.
    pub(super) fn call(&self, name: &'static str) {
        lock(&self.seen).names.push(name);
    }

    /// What has happened.
    pub(super) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }
}

/// Flash with faults: each class at one of `rates`, and `share` of them at all.
pub(super) fn plan(draws: &mut Stream, classes: &[FaultClass], rates: &[f64], share: f64) -> FaultPlan {
    let mut plan = FaultPlan::none().with_latency(Latency::FLASH);
    for class in classes {
        let rate = *draws.pick(rates);
        plan = plan.with(*class, if draws.chance(share) { rate } else { 0.0 });
    }
    plan
}

/// The disk of a run and its object store, what it has promised, and the draws of the step that it is at.
pub(super) struct Stage<'a, P> {
    pub(super) disk: SimDisk,
    pub(super) store: Option<SimStore>,
    pub(super) promise: Arc<Mutex<P>>,
    pub(super) streams: Streams,
    pub(super) draws: Stream,
    course: &'a Course,
    moments: Arc<Mutex<Vec<Moment<P>>>>,
    /// The number of the last call that took effect.
    last_call: Arc<AtomicU64>,
}

/// Runs `work` on a fresh disk, and returns the moments at which it may crash. `told` is what people are told of it: what
/// its seed decided, and how many cores it has.
pub(super) fn run<'a, P: Clone + Send + 'static, Work: Future<Output = Result<(), String>>>(
    (simulator, streams): (Simulator, Streams),
    course: &'a Course,
    promise: P,
    told: impl Fn() -> (String, u16),
    work: impl FnOnce(Handle, Stage<'a, P>) -> Work,
) -> (Vec<Moment<P>>, Result<(), String>) {
    let promise = Arc::new(Mutex::new(promise));
    let moments = Arc::new(Mutex::new(Vec::new()));
    let (of_hook, seen) = (Arc::clone(&promise), Arc::clone(&moments));
    let (last_call, of_stage) = (Arc::new(AtomicU64::new(0)), Arc::clone(&moments));
    let outcome = simulator.run(|handle: Handle| async move {
        let executor: Arc<dyn Executor> = Arc::new(handle.clone());
        let (plan, trace) = (course.plan.clone(), record::trace());
        let disk =
            SimDisk::new(Disk::new(course.personality), executor.clone(), &streams, plan, trace.clone());
        let fanned = || {
            let (shape, cores) = told();
            Fanned { shape, cores, disk: disk.clone(), trace: trace.clone() }
        };
        record::fanned(fanned, &executor);
        let store = course.remote.as_ref().map(|remote| remote.store(streams, trace.clone()));
        let called = Arc::clone(&last_call);
        let take = move |shot: Shot| {
            if let At::Call(number) = shot.at {
                called.store(number, Ordering::SeqCst);
            }
            lock(&seen).push(Moment { shot, promise: lock(&of_hook).clone() });
        };
        let _watch = watch(&disk, store.as_ref(), take);
        let draws = streams.stream("workload");
        work(handle, Stage { disk, store, promise, streams, draws, course, moments: of_stage, last_call })
            .await
    });
    let outcome = outcome.unwrap_or_else(|stuck| Err(format!("the run is stuck: {stuck}")));
    let moments = std::mem::take(&mut *lock(&moments));
    (moments, outcome)
}

impl<P: Clone> Stage<'_, P> {
    /// Somebody is told something now: `raise` adds it to the promise, and says whether that is new. If so, it is a moment of
    /// its own, between what took effect before and what is on its way: an acknowledgement must be true when it is given.
    pub(super) fn promised(&self, raise: impl FnOnce(&mut P) -> bool) {
        let promise = {
            let mut promise = lock(&self.promise);
            if !raise(&mut promise) {
                return;
            }
            promise.clone()
        };
        let disk = self.disk.with_disk(|disk| disk.clone());
        let remains = Remains { disk, store: self.store.as_ref().map(SimStore::image) };
        let number = self.last_call.load(Ordering::SeqCst);
        let shot = Shot { remains, call: format!("{number} acknowledged"), at: At::Call(number) };
        lock(&self.moments).push(Moment { shot, promise });
    }
}

impl<P> Stage<'_, P> {
    /// Goes on to an operation, if it happens. Each has draws of its own, and faults are counted from there.
    pub(super) fn enter(&mut self, life: u64, step: u32) -> bool {
        let moment = Scope { life: u32::try_from(life).unwrap_or(0), step };
        let is_operation = step != Scope::OPEN && step != Scope::END;
        if is_operation && !self.course.cut.keeps(moment) {
            return false;
        }
        self.draws = self.streams.stream(&format!("workload/{moment}"));
        self.disk.enter(moment.scope());
        if let Some(store) = &self.store {
            store.draw_from(&self.streams.fork(&format!("store/{moment}")));
        }
        let mut seen = lock(&self.course.seen);
        seen.operations.extend(is_operation.then_some(moment));
        seen.faults = self.disk.ledger().entries().iter().filter_map(|fault| fault.firing).collect();
        true
    }

    /// Ends the process, in one of the ways in which processes end.
    pub(super) fn crash(&mut self) {
        // With all crashes off a process ends after a close, and what it left in the cache stays there.
        let drawn = if self.draws.chance(0.4) { Fate::Cache } else { Fate::Drawn };
        if without::crash(drawn).unwrap_or(Fate::Cache) == Fate::Cache {
            self.disk.crash(Crash::Process);
        } else {
            self.disk.crash(Crash::Power(&mut self.draws));
        }
    }

    /// Whether the machine is lost behind this life; then there is another one.
    pub(super) fn loses(&mut self, life: u64) -> bool {
        let lost = |remote: &RemotePlan| remote.lost.iter().any(|one| u64::from(*one) == life);
        let lost = self.course.remote.as_ref().is_some_and(lost);
        if lost {
            let empty = Disk::new(self.course.personality);
            self.disk.with_disk(|disk| *disk = empty);
            record::note(|| Event::Over("the machine is lost".to_owned()));
        }
        lost
    }
}
