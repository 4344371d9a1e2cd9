//! The built-in deterministic scheduler.
//!
//! ```text
//!             wake                      chosen at random
//!  waiting ─────────► ready queue ─────────────────────────► one step ──► waiting, or done
//!     ▲                    ▲
//!     │ timers: when nothing is ready, time jumps to the next one
//! ```
//!
//! E1. Same choices, same run: a step sees only what earlier steps and virtual time have produced.
//! E2. Virtual time moves by [`STEP_NS`] per step, and to the next timer when nothing is ready; never backwards.
//! E3. A task of a killed node takes no further step (see [`Node::kill`](super::Node::kill)).
//! E4. A run ends: with the root future's result, or with a [`Stuck`] that says who waits.
//! E5. When a run is over its tasks are dropped, in the order of their slots; nothing outlives it.

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::choices::Choices;
use super::executor::LocalFuture;
use super::node::Handle;
use super::queue::{Make, Next, ROOT_NODE, Request, Shared, TaskKey, TaskWaker};
use super::rng::Streams;
use super::trace::Trace;
use crate::env::{Tick, nanos};

/// How far virtual time moves with every step: a loop that watches the clock ends.
const STEP_NS: u64 = 100;

/// Steps that a run may take unless told otherwise.
const STEPS_MAX_DEFAULT: u64 = 100_000_000;

/// Virtual time that a run may take unless told otherwise.
const TIME_MAX_DEFAULT: Duration = Duration::from_secs(366 * 24 * 3600);

/// The root future's key; no task has its slot.
const ROOT_KEY: TaskKey = TaskKey { slot: u32::MAX, serial: 0 };

/// One run of a simulation, still to be started.
///
/// ```
/// use std::time::Duration;
/// use highwater::sim::{Executor, Simulator};
///
/// let elapsed = Simulator::new(7).run(async |sim| {
///     sim.sleep(Duration::from_secs(3600)).await; // takes no time at all
///     sim.now()
/// });
/// assert!(elapsed.unwrap().0 >= 3_600_000_000_000);
/// ```
pub struct Simulator {
    choices: Box<dyn Choices>,
    trace: Option<Trace>,
    steps_max: u64,
    time_max: Duration,
}

/// Why a run ended without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stuck {
    /// Nothing is ready, no timer runs, and the root future is not done.
    Deadlock {
        /// Who waits, as "node/task".
        waiting: Vec<String>,
    },
    /// The step limit was reached: a livelock, or a limit that is too low.
    Steps {
        /// The limit.
        steps: u64,
        /// Who had not finished, as "node/task".
        waiting: Vec<String>,
    },
    /// The limit of virtual time was reached.
    Time {
        /// The limit.
        time: Duration,
        /// Who had not finished, as "node/task".
        waiting: Vec<String>,
    },
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = match self {
            Self::Deadlock { waiting } => {
                f.write_str("deadlock: nothing is ready and no timer runs")?;
                waiting
            }
            Self::Steps { steps, waiting } => {
                write!(f, "not done after {steps} steps")?;
                waiting
            }
            Self::Time { time, waiting } => {
                write!(f, "not done after {time:?} of virtual time")?;
                waiting
            }
        };
        write!(f, "; waiting: {}", waiting.join(", "))
    }
}

impl std::error::Error for Stuck {}

impl Simulator {
    /// A run whose choices come from the stream "schedule" of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_choices(Streams::new(seed).stream("schedule"))
    }

    /// A run whose choices come from `choices`.
    #[must_use]
    pub fn with_choices(choices: impl Choices + 'static) -> Self {
        Self {
            choices: Box::new(choices),
            trace: None,
            steps_max: STEPS_MAX_DEFAULT,
            time_max: TIME_MAX_DEFAULT,
        }
    }

    /// Makes every start and step of a task part of the digest of `trace`: which task, and when.
    #[must_use]
    pub fn trace(mut self, trace: Trace) -> Self {
        self.trace = Some(trace);
        self
    }

    /// Gives up after `steps` steps of tasks.
    #[must_use]
    pub fn steps_max(mut self, steps: u64) -> Self {
        self.steps_max = steps;
        self
    }

    /// Gives up after `time` of virtual time.
    #[must_use]
    pub fn time_max(mut self, time: Duration) -> Self {
        self.time_max = time;
        self
    }

    /// Drives the future that `root` makes, and every task it starts, until it completes. What is still running
    /// then is dropped.
    ///
    /// Nothing outside the run may be waited for: the run would be called a deadlock.
    ///
    /// # Errors
    ///
    /// [`Stuck`] when the future cannot complete, or not within the limits.
    ///
    /// # Panics
    ///
    /// When a task does.
    pub fn run<T, Fut: Future<Output = T>>(self, root: impl FnOnce(Handle) -> Fut) -> Result<T, Stuck> {
        let shared = Shared::new();
        let mut run =
            Run { shared: Arc::clone(&shared), slots: Vec::new(), free: Vec::new(), serial: 0, steps: 0 };
        let trace = self.trace.clone().unwrap_or_default();
        let root = pin!(root(Handle { shared, trace }));
        // `root` is dropped before `run`: what it owns may still use the queues.
        self.drive(&mut run, root)
    }

    fn drive<T>(mut self, run: &mut Run, mut root: Pin<&mut impl Future<Output = T>>) -> Result<T, Stuck> {
        let root_waker = TaskWaker::queued(&run.shared, ROOT_KEY);
        let waker = Waker::from(Arc::clone(&root_waker));
        run.shared.push_ready(ROOT_KEY);
        let time_max_ns = nanos(self.time_max);
        loop {
            let key = match run.shared.next(|options| self.choices.choose(options)) {
                Next::Step(key) => key,
                Next::Nothing => return Err(Stuck::Deadlock { waiting: run.waiting() }),
                Next::Kill(nodes) => {
                    run.drop_tasks_of(&nodes);
                    continue;
                }
                Next::Start(requests) => {
                    for request in requests {
                        run.start(request, self.trace.as_ref());
                    }
                    continue;
                }
                Next::Fire(waker) => {
                    waker.wake();
                    continue;
                }
            };
            if run.shared.now_ns() > time_max_ns {
                return Err(Stuck::Time { time: self.time_max, waiting: run.waiting() });
            }
            if run.steps >= self.steps_max {
                return Err(Stuck::Steps { steps: run.steps, waiting: run.waiting() });
            }
            if key == ROOT_KEY {
                run.count_step(key, self.trace.as_ref());
                root_waker.taken();
                if let Poll::Ready(result) = root.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Ok(result);
                }
            } else {
                run.step(key, self.trace.as_ref());
            }
        }
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Simulator(at most {} steps, {:?})", self.steps_max, self.time_max)
    }
}

/// The tasks of a run in progress.
struct Run {
    shared: Arc<Shared>,
    slots: Vec<Option<Task>>,
    free: Vec<u32>,
    serial: u64,
    steps: u64,
}

struct Task {
    key: TaskKey,
    node: u32,
    name: String,
    body: Body,
    wake_flag: Arc<TaskWaker>,
    waker: Waker,
}

enum Body {
    Unmade(Make),
    Made(LocalFuture),
}

impl Run {
    fn start(&mut self, request: Request, trace: Option<&Trace>) {
        let Request { node, name, make } = request;
        if self.shared.is_dead(node) {
            return;
        }
        self.serial += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        assert!(slot < ROOT_KEY.slot, "too many tasks for one run");
        let key = TaskKey { slot, serial: self.serial };
        if let Some(trace) = trace {
            let (who, number) = (self.shared.full_name(node, &name), key.serial);
            let now = Tick(self.shared.now_ns());
            trace.event("scheduler", "start", format_args!("{who}"), format_args!("task {number}"), now);
        }
        let wake_flag = TaskWaker::queued(&self.shared, key);
        let waker = Waker::from(Arc::clone(&wake_flag));
        let task = Task { key, node, name, body: Body::Unmade(make), wake_flag, waker };
        assert!(self.slots[slot as usize].replace(task).is_none(), "slot {slot} is taken");
        self.shared.push_ready(key);
    }

    /// Gives the task `key` a step, if it still exists and its node runs.
    fn step(&mut self, key: TaskKey, trace: Option<&Trace>) {
        let slot = key.slot as usize;
        // A task woken just before its end leaves its key in the ready queue.
        let Some(mut task) = self.slots[slot].take_if(|task| task.key == key) else { return };
        if !self.shared.may_run(task.node, key) {
            self.slots[slot] = Some(task);
            return;
        }
        self.count_step(key, trace);
        task.wake_flag.taken();
        let mut future = match task.body {
            Body::Unmade(make) => make(),
            Body::Made(future) => future,
        };
        match future.as_mut().poll(&mut Context::from_waker(&task.waker)) {
            Poll::Ready(()) => self.free.push(key.slot),
            Poll::Pending => {
                task.body = Body::Made(future);
                self.slots[slot] = Some(task);
            }
        }
    }

    fn count_step(&mut self, key: TaskKey, trace: Option<&Trace>) {
        self.steps += 1;
        self.shared.advance(STEP_NS);
        if let Some(trace) = trace {
            trace.step(key.serial, Tick(self.shared.now_ns()));
        }
    }

    fn drop_tasks_of(&mut self, nodes: &[u32]) {
        for slot in 0..self.slots.len() {
            if let Some(task) = self.slots[slot].take_if(|task| nodes.contains(&task.node)) {
                self.free.push(task.key.slot);
                drop(task);
            }
        }
    }

    fn waiting(&self) -> Vec<String> {
        let root = self.shared.full_name(ROOT_NODE, "root");
        let tasks = self.slots.iter().flatten().map(|task| self.shared.full_name(task.node, &task.name));
        std::iter::once(root).chain(tasks).collect()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.shared.close();
        for slot in &mut self.slots {
            drop(slot.take());
        }
    }
}
