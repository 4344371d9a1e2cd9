//! Who acts in a simulation: the root future's [`Handle`], and [`Node`]s, its processes, which die and are paused.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::executor::{Executor, LocalFuture};
use super::queue::{Make, ROOT_NODE, Shared};
use super::trace::Trace;
use crate::env::Tick;

/// The simulation as its root future sees it. As an [`Executor`] it stands for a process that is never killed.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
    pub(super) trace: Trace,
}

impl Handle {
    /// The trace of the run: the one of [`Simulator::trace`](super::Simulator::trace), else one that holds only what is
    /// added to it.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// A new process called `name`, with no tasks yet. To restart a killed one, make another of the same name.
    ///
    /// # Panics
    ///
    /// When the run has had 2^32 − 1 processes.
    pub fn node(&self, name: &str) -> Node {
        let id = self.shared.add_node(name);
        Node { shared: Arc::clone(&self.shared), id, name: name.into() }
    }

    /// Runs the future that `make` makes as a task, called `name` for people: [`Executor::spawn`]
    /// without the boxes.
    ///
    /// ```
    /// # use highwater::sim::Executor;
    /// # highwater::sim::Simulator::new(1).run(async |sim| {
    /// let seen = sim.clone();
    /// sim.spawn("client", async move || println!("{:?}", seen.now()));
    /// # }).unwrap();
    /// ```
    pub fn spawn<F, Fut>(&self, name: &str, make: F)
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        self.shared.request(ROOT_NODE, name, Box::new(move || Box::pin(make())));
    }
}

/// A simulated process, from start to death.
#[derive(Clone)]
pub struct Node {
    shared: Arc<Shared>,
    id: u32,
    name: Arc<str>,
}

impl Node {
    /// The name it was made with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Kills the process: from this call on none of its tasks takes another step, except that a task which kills
    /// its own node finishes the step it is in. Nor does it start a new task.
    ///
    /// The tasks are dropped before any other task takes a step. So destructors run *after* the death of their
    /// process, and perhaps after the caller has gone on to crash its disk: what they reach must know that its
    /// owner is dead. The simulated disk refuses handles of a dead incarnation.
    pub fn kill(&self) {
        self.shared.kill(self.id);
    }

    /// Stops the process without killing it: its tasks take no step until [`Node::resume`], while time goes on.
    /// A dead process stays dead.
    pub fn pause(&self) {
        self.shared.pause(self.id);
    }

    /// Lets a paused process go on, unaware of the time that passed.
    pub fn resume(&self) {
        self.shared.resume(self.id);
    }

    /// Whether the process was killed.
    pub fn is_dead(&self) -> bool {
        self.shared.is_dead(self.id)
    }

    /// Runs the future that `make` makes as a task of this process, called `name` for people: [`Executor::spawn`]
    /// without the boxes.
    ///
    /// ```
    /// # highwater::sim::Simulator::new(1).run(async |sim| {
    /// let node = sim.node("bank");
    /// node.spawn("teller", async || println!("open"));
    /// # }).unwrap();
    /// ```
    pub fn spawn<F, Fut>(&self, name: &str, make: F)
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        self.shared.request(self.id, name, Box::new(move || Box::pin(make())));
    }
}

impl Executor for Handle {
    fn now(&self) -> Tick {
        Tick(self.shared.now_ns())
    }

    fn sleep(&self, duration: Duration) -> LocalFuture {
        self.shared.sleep(duration)
    }

    fn spawn(&self, name: &str, make: Make) {
        self.shared.request(ROOT_NODE, name, make);
    }
}

impl Executor for Node {
    fn now(&self) -> Tick {
        Tick(self.shared.now_ns())
    }

    fn sleep(&self, duration: Duration) -> LocalFuture {
        self.shared.sleep(duration)
    }

    fn spawn(&self, name: &str, make: Make) {
        self.shared.request(self.id, name, make);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle(at {} ns)", self.shared.now_ns())
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({} #{})", self.name, self.id)
    }
}
