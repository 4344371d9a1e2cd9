//! The crate `madsim` as an [`Executor`].
//!
//! A1. Its shortest sleep is 1 ms, long for a disk. So virtual time is [`SCALE`] times finer than madsim's: a
//!     microsecond of the simulation is a millisecond there.
//! A2. It never frees tasks that are pending when a run ends: every node is killed first, and given a moment.
//! A3. It runs destructors of a killed node late, perhaps after the next process began. The simulated disk refuses
//!     handles of the dead.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater::env::Tick;
use highwater::sim::{Executor, LocalFuture, Trace};
use madsim::runtime::{Handle, NodeHandle, Runtime};
use madsim::task::NodeId;
use madsim::time::TimeHandle;

use crate::world::lock;

/// How many nanoseconds of madsim are one of the simulation (A1).
const SCALE: u32 = 1_000;

/// Runs the future that `root` makes, for at most `time_max` of virtual time. Panics when a task does.
pub(crate) fn run<Fut: Future<Output = ()> + 'static>(
    seed: u64,
    time_max: Duration,
    trace: &Trace,
    root: impl FnOnce(MadsimRoot) -> Fut,
) {
    let mut runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
    runtime.set_time_limit(time_max * SCALE);
    let trace = trace.clone();
    runtime.block_on(async move {
        let time = Time(TimeHandle::current());
        let handle = MadsimRoot { nodes: Arc::default(), trace, time, tasks: Arc::default() };
        root(handle.clone()).await;
        for node in lock(&handle.nodes).drain(..) {
            node.kill();
        }
        madsim::time::sleep(Duration::from_millis(5)).await;
    });
}

/// The virtual clock of one run.
#[derive(Clone)]
struct Time(TimeHandle);

impl Time {
    fn now(&self) -> Tick {
        Tick(Tick(0).after(self.0.elapsed()).0 / u64::from(SCALE))
    }

    fn sleep(&self, duration: Duration) -> LocalFuture {
        // A deadline is fixed by the call, not by the first poll.
        let (time, deadline) = (self.clone(), self.now().after(duration));
        Box::pin(async move { time.0.sleep(deadline.since(time.now()) * SCALE).await })
    }
}

/// The root task's executor: tasks of a process that is never killed before the run ends.
#[derive(Clone)]
pub(crate) struct MadsimRoot {
    nodes: Arc<Mutex<Vec<MadsimNode>>>,
    trace: Trace,
    time: Time,
    /// How many tasks were started.
    tasks: Arc<AtomicU64>,
}

impl MadsimRoot {
    /// A new process.
    pub(crate) fn node(&self, name: &str) -> MadsimNode {
        let handle = Handle::current().create_node().name(name).build();
        let (trace, time, tasks) = (self.trace.clone(), self.time.clone(), Arc::clone(&self.tasks));
        let (id, handle) = (handle.id(), Arc::new(handle));
        let node = MadsimNode { id, handle, dead: Arc::default(), trace, time, tasks };
        lock(&self.nodes).push(node.clone());
        node
    }
}

impl Executor for MadsimRoot {
    fn now(&self) -> Tick {
        self.time.now()
    }

    fn sleep(&self, duration: Duration) -> LocalFuture {
        self.time.sleep(duration)
    }

    fn spawn(&self, name: &str, make: Box<dyn FnOnce() -> LocalFuture + Send>) {
        self.node(name).spawn(name, make);
    }
}

impl fmt::Debug for MadsimRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("madsim")
    }
}

/// A process: a madsim node.
#[derive(Clone)]
pub(crate) struct MadsimNode {
    id: NodeId,
    handle: Arc<NodeHandle>,
    dead: Arc<AtomicBool>,
    trace: Trace,
    time: Time,
    tasks: Arc<AtomicU64>,
}

impl MadsimNode {
    /// Ends the process.
    pub(crate) fn kill(&self) {
        if !self.dead.swap(true, Ordering::SeqCst) {
            Handle::current().kill(self.id);
        }
    }
}

impl Executor for MadsimNode {
    fn now(&self) -> Tick {
        self.time.now()
    }

    fn sleep(&self, duration: Duration) -> LocalFuture {
        self.time.sleep(duration)
    }

    fn spawn(&self, name: &str, make: Box<dyn FnOnce() -> LocalFuture + Send>) {
        if self.dead.load(Ordering::SeqCst) {
            return;
        }
        let (trace, time) = (self.trace.clone(), self.time.clone());
        let (task, now) = (self.tasks.fetch_add(1, Ordering::Relaxed), time.now());
        trace.event("scheduler", "start", format_args!("{name}"), format_args!("task {task}"), now);
        // The future is not `Send`: it is made, and stays, on the one thread that a run has.
        drop(self.handle.spawn(async move {
            let mut future = make();
            drop(madsim::task::spawn_local(poll_fn(move |context| {
                trace.step(task, time.now());
                future.as_mut().poll(context)
            })));
        }));
    }
}

impl fmt::Debug for MadsimNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "madsim node {}", self.id)
    }
}
