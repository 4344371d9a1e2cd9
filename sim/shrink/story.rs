//! Shrinking of a story: explicit faults and crash points first, then less and plainer of everything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use highwater::sim::{ClockFaults, FaultPlan, Firing, Latency, Personality, Tape, minimize};

use super::signature;
use crate::host::{Schedule, Scheduler};
use crate::job;
use crate::plan::{Ending, Fate, LifePlan, Load, Next, Plan, Trigger, tame};
use crate::shape::{Shape, Tuning};
use crate::step::{Len, Moment, Op, Step};
use crate::sweep::{self, Outcome};
use crate::world::lock;

/// Rounds over everything: what one kind of simplification makes possible for another.
const ROUNDS_MAX: u32 = 6;

/// A story that is being shrunk.
pub(crate) struct Story<'a> {
    /// What runs it now: a failure that the built-in scheduler shows as well is shrunk there.
    pub(crate) scheduler: Scheduler,
    /// The least plan so far.
    pub(crate) plan: Plan,
    /// What it says when it fails.
    pub(crate) why: String,
    /// Which failure is followed.
    pub(crate) signature: String,
    /// Runs so far.
    pub(crate) tries: u64,
    until: Instant,
    progress: &'a dyn Fn(&Plan, u64),
}

/// A change that makes a plan plainer.
type Plainer = fn(&mut Plan);

/// Changes of settings, the greater ones first.
const PLAINER: &[Plainer] = &[
    |plan| plan.sinks = None,
    |plan| plan.sinks.iter_mut().for_each(|sinks| sinks.rates.clear()),
    |plan| plan.sinks.iter_mut().for_each(|sinks| sinks.latency_ms = (0, 0)),
    |plan| plan.sinks.iter_mut().for_each(|sinks| sinks.files &= !sinks.external),
    |plan| plan.shape = Shape { write_unit: plan.shape.write_unit, ..Shape::plain() },
    |plan| plan.shape.cores = 1,
    |plan| plan.shape.cores = 2,
    |plan| plan.shape.route = Shape::plain().route,
    |plan| plan.shape.key_groups = Shape::plain().key_groups,
    |plan| plan.disk = Personality { write_unit: plan.disk.write_unit, ..tame() },
    |plan| {
        plan.disk = tame();
        plan.shape.write_unit = 512;
    },
    |plan| plan.disk.order = Personality::default().order,
    |plan| plan.disk.after_failed_sync = Personality::default().after_failed_sync,
    |plan| plan.disk.power_safe_overwrite = true,
    |plan| plan.disk.stale_extension = false,
    |plan| plan.disk.failures_are_own = Personality::default().failures_are_own,
    |plan| plan.disk.depth_max = Personality::default().depth_max,
    |plan| plan.load = Load { keys: plan.load.keys, transfers: plan.load.transfers, ..Load::plain() },
    |plan| plan.load.transfers = false,
    |plan| plan.load.keys = Load::plain().keys,
    |plan| plan.last = Tuning::plain(),
    |plan| plan.clock = ClockFaults::default(),
    |plan| plan.faults.stall = FaultPlan::none().stall,
    |plan| plan.faults.full_for = FaultPlan::none().full_for,
    |plan| lives(plan, |life| life.tuning = Tuning::plain()),
    |plan| lives(plan, |life| life.tuning.inline = false),
    |plan| lives(plan, |life| life.tuning.depth = 1),
    |plan| lives(plan, |life| life.tuning.checkpoint_interval = None),
    |plan| lives(plan, |life| life.tuning.checkpoint_wal_bytes = 1 << 30),
    |plan| lives(plan, |life| life.tuning.checkpoint_memory_bytes = 1 << 20),
    |plan| lives(plan, |life| life.tuning.epoch_bytes_max = 1 << 30),
    |plan| lives(plan, |life| life.tuning.epoch_skew_max = 16),
    |plan| lives(plan, |life| life.tuning.idle_seal_after = Tuning::plain().idle_seal_after),
    |plan| lives(plan, |life| life.tuning.fallback_bytes_max = 0),
    |plan| lives(plan, |life| life.tuning.retain = 2),
    |plan| lives(plan, |life| life.tuning.ordered_index = false),
    |plan| lives(plan, |life| life.tuning.pins = false),
    |plan| lives(plan, |life| life.tuning.reserve = false),
    |plan| lives(plan, |life| life.tuning.span = 0),
    |plan| lives(plan, |life| life.tuning.budget_ms = 0),
    |plan| lives(plan, |life| life.fate = Fate::AllLost),
    |plan| lives(plan, |life| life.next = Next::NewProcess),
    |plan| lives(plan, |life| life.ending = Ending::Crash),
    |plan| steps(plan, |step| step.pause_us = 0),
    |plan| steps(plan, |step| step.len = if step.op == Op::Put { Len::Bytes(8) } else { step.len }),
    |plan| steps(plan, |step| step.key = if step.op == Op::Transfer { step.key } else { 0 }),
    |plan| steps(plan, |step| step.key %= 16),
    |plan| steps(plan, |step| step.core = 0),
];

/// Makes `change` in every life.
fn lives(plan: &mut Plan, change: fn(&mut LifePlan)) {
    plan.lives.iter_mut().for_each(change);
}

/// Makes `change` in every step.
fn steps(plan: &mut Plan, change: fn(&mut Step)) {
    plan.lives.iter_mut().flat_map(|life| &mut life.steps).chain(&mut plan.last_steps).for_each(change);
}

impl<'a> Story<'a> {
    /// The failing story of `plan`; `None` when it does not fail. `progress` is told of every step forward.
    pub(crate) fn new(
        scheduler: Scheduler,
        plan: &Plan,
        time_max: Duration,
        progress: &'a dyn Fn(&Plan, u64),
    ) -> Option<Self> {
        let outcome = sweep::one(scheduler, plan.clone());
        let why = outcome.failure.clone()?;
        let (signature, until) = (signature(&why), job::now() + time_max);
        let mut story = Self { scheduler, plan: plan.clone(), why, signature, tries: 1, until, progress };
        if scheduler == Scheduler::Madsim {
            story.scheduler = Scheduler::BuiltIn;
            if story.run(plan).is_none() {
                story.scheduler = scheduler;
            }
        }
        Some(story)
    }

    /// Shrinks it as far as it goes.
    pub(crate) fn shrink(&mut self) {
        self.make_explicit();
        for _ in 0..ROUNDS_MAX {
            let before = self.tries_that_helped();
            self.schedule_first_come();
            self.faults();
            self.lives();
            self.steps();
            for plainer in PLAINER {
                self.change(*plainer);
            }
            self.each_life();
            if self.tries_that_helped() == before || job::now() >= self.until {
                break;
            }
        }
        self.schedule();
    }

    /// The failure of `plan`, if it is the one that is followed. Nothing fails when the time is over: what is there is
    /// kept.
    fn run(&mut self, plan: &Plan) -> Option<Outcome> {
        if job::now() >= self.until {
            return None;
        }
        self.tries += 1;
        let outcome = sweep::one(self.scheduler, plan.clone());
        let why = outcome.failure.clone()?;
        if signature(&why) != self.signature {
            return None;
        }
        (self.why, self.plan) = (why, plan.clone());
        (self.progress)(&self.plan, self.tries);
        Some(outcome)
    }

    /// The plan in words: it changes when a try has helped.
    fn tries_that_helped(&self) -> String {
        format!("{:?}", self.plan)
    }

    /// Tries one change.
    fn change(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        let mut plan = self.plan.clone();
        change(&mut plan);
        // What changes nothing needs no run.
        format!("{plan:?}") != self.tries_that_helped() && self.run(&plan).is_some()
    }

    /// Keeps what is needed of the list that `set` puts into a plan.
    fn minimize<T: Clone>(&mut self, all: &[T], set: impl Fn(&mut Plan, Vec<T>)) {
        let kept = minimize(all, |kept| {
            let mut plan = self.plan.clone();
            set(&mut plan, kept.to_vec());
            self.run(&plan).is_some()
        });
        set(&mut self.plan, kept);
    }

    /// Names the faults and the crash points of the failing run, so that they stay when other things go.
    fn make_explicit(&mut self) {
        let plan = self.plan.clone();
        let Some(outcome) = self.run(&plan) else { return };
        let firings: BTreeSet<Firing> = lock(&outcome.run.disk)
            .as_ref()
            .map(|disk| disk.ledger().entries().iter().filter_map(|fault| fault.firing).collect())
            .unwrap_or_default();
        let fired: BTreeMap<u32, (Moment, u64)> =
            outcome.run.fired().into_iter().map(|(moment, count)| (moment.life, (moment, count))).collect();
        self.change(|plan| {
            let FaultPlan { latency, stall, full_for, .. } = plan.faults;
            plan.faults = FaultPlan::none().only(firings).with_latency(latency);
            (plan.faults.stall, plan.faults.full_for) = (stall, full_for);
        });
        self.change(|plan| {
            for life in &mut plan.lives {
                let work = life.trigger.and_then(|trigger| trigger.work);
                life.trigger = fired.get(&life.number).map(|(moment, count)| Trigger {
                    after: Some(*moment),
                    work,
                    boundaries: *count,
                });
            }
        });
    }

    /// A schedule without choices, and a disk and a clock that take no time.
    fn schedule_first_come(&mut self) {
        self.change(|plan| {
            plan.schedule = Schedule::Tape(BTreeMap::new());
            plan.faults.latency = Latency::NONE;
        });
        self.change(|plan| plan.faults.latency = Latency::NONE);
        if self.scheduler == Scheduler::BuiltIn && matches!(self.plan.schedule, Schedule::Drawn) {
            self.change(|plan| plan.schedule = Schedule::Tape(BTreeMap::new()));
        }
    }

    fn faults(&mut self) {
        let put = |plan: &mut Plan, firings: Vec<Firing>| plan.faults = plan.faults.clone().only(firings);
        let classes: BTreeSet<_> = self.plan.faults.firings().map(|firing| firing.class).collect();
        let all: Vec<Firing> = self.plan.faults.firings().collect();
        let classes: Vec<_> = classes.into_iter().collect();
        self.minimize(&classes, |plan, classes| {
            put(plan, all.iter().filter(|firing| classes.contains(&firing.class)).copied().collect());
        });
        if let Some(rest) = self.plan.damage.as_ref().map(|damage| damage.rest.clone()) {
            self.minimize(&rest, |plan, rest| {
                plan.damage.iter_mut().for_each(|damage| damage.rest.clone_from(&rest));
            });
        }
        let left: Vec<Firing> = self.plan.faults.firings().collect();
        self.minimize(&left, put);
    }

    fn lives(&mut self) {
        let all = self.plan.lives.clone();
        self.minimize(&all, |plan, lives| plan.lives = lives);
    }

    fn steps(&mut self) {
        let all = self.plan.last_steps.clone();
        self.minimize(&all, |plan, steps| plan.last_steps = steps);
        for at in 0..self.plan.lives.len() {
            let all = self.plan.lives[at].steps.clone();
            self.minimize(&all, |plan, steps| plan.lives[at].steps = steps);
        }
    }

    /// What is plainer for one life, and not for all.
    fn each_life(&mut self) {
        for at in 0..self.plan.lives.len() {
            self.change(|plan| plan.lives[at].tuning = Tuning::plain());
            self.change(|plan| plan.lives[at].fate = Fate::AllLost);
            self.change(|plan| plan.lives[at].fate = Fate::Cache);
            self.change(|plan| plan.lives[at].trigger = None);
            self.change(|plan| plan.lives[at].ending = Ending::Crash);
            for step in 0..self.plan.lives[at].steps.len() {
                self.change(|plan| plan.lives[at].steps[step].key = 0);
                self.change(|plan| {
                    let step = &mut plan.lives[at].steps[step];
                    if step.op == Op::Put {
                        step.len = Len::Bytes(8);
                    }
                });
                self.change(|plan| plan.lives[at].steps[step].pause_us = 0);
            }
        }
    }

    /// Of the choices of the scheduler, those that matter.
    fn schedule(&mut self) {
        if self.scheduler != Scheduler::BuiltIn || !matches!(self.plan.schedule, Schedule::Drawn) {
            return;
        }
        let tape = Tape::default();
        let recorded = Plan { schedule: Schedule::Recorded(tape.clone()), ..self.plan.clone() };
        let found = self.run(&recorded).is_some();
        self.plan.schedule = Schedule::Drawn;
        if !found {
            return;
        }
        let choices: Vec<(usize, u32)> =
            tape.choices().into_iter().enumerate().filter(|(_, choice)| *choice > 0).collect();
        let put = |plan: &mut Plan, choices: Vec<(usize, u32)>| {
            plan.schedule = Schedule::Tape(choices.into_iter().collect());
        };
        if self.change(|plan| put(plan, choices.clone())) {
            self.minimize(&choices, put);
        }
    }
}
