//! What tasks, wakers and handles share with the runner: the ready queue, the timers, and the nodes' states.
//!
//! The runner owns the tasks, which may not leave its thread; everything here may. So a waker works from any
//! thread, and a handle can be part of a `Send + Sync` environment.
//!
//! Q1. A task is in the ready queue at most once.
//! Q2. No lock is held while a task, a destructor or a waker runs.
//! Q3. A dead node never comes back: a restarted process is a new node.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::executor::LocalFuture;
use super::lock;
use crate::env::nanos;

/// The node of the root future and of tasks spawned through a [`Handle`](super::Handle).
pub(super) const ROOT_NODE: u32 = 0;

/// A task's place, and a number that no other task of the run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TaskKey {
    pub(super) slot: u32,
    pub(super) serial: u64,
}

/// What makes a task's future.
pub(super) type Make = Box<dyn FnOnce() -> LocalFuture + Send>;

/// A task that was asked for and is not yet the runner's.
pub(super) struct Request {
    pub(super) node: u32,
    pub(super) name: String,
    pub(super) make: Make,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeState {
    Running,
    Paused,
    Dead,
}

struct NodeInfo {
    name: String,
    state: NodeState,
    /// Tasks that became ready while the node was paused.
    held: Vec<TaskKey>,
}

/// Shared by one runner, its handles and its wakers.
pub(super) struct Shared {
    now_ns: AtomicU64,
    queue: Mutex<Queue>,
}

pub(super) struct Queue {
    ready: Vec<TaskKey>,
    timers: BTreeMap<(u64, u64), Waker>,
    timers_made: u64,
    requests: Vec<Request>,
    nodes: Vec<NodeInfo>,
    /// Nodes whose tasks the runner has yet to drop.
    killed: Vec<u32>,
    /// Set when the run is over: nothing is taken in any more.
    closed: bool,
}

/// What the runner does next.
pub(super) enum Next {
    /// Drop the tasks of these nodes.
    Kill(Vec<u32>),
    /// Take these tasks in.
    Start(Vec<Request>),
    /// Wake this one: its time has come.
    Fire(Waker),
    /// Give this task a step.
    Step(TaskKey),
    /// Nothing will ever happen again.
    Nothing,
}

impl Shared {
    pub(super) fn new() -> Arc<Self> {
        let root = NodeInfo { name: "root".to_owned(), state: NodeState::Running, held: Vec::new() };
        Arc::new(Self {
            now_ns: AtomicU64::new(0),
            queue: Mutex::new(Queue {
                ready: Vec::new(),
                timers: BTreeMap::new(),
                timers_made: 0,
                requests: Vec::new(),
                nodes: vec![root],
                killed: Vec::new(),
                closed: false,
            }),
        })
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }

    /// Moves virtual time forward. Only the runner does.
    pub(super) fn advance(&self, ns: u64) {
        self.now_ns.store(self.now_ns().saturating_add(ns), Ordering::Relaxed);
    }

    /// The next thing to do, moving time to the next timer when nothing is ready. `choose` picks among ready tasks.
    pub(super) fn next(&self, choose: impl FnOnce(u32) -> u32) -> Next {
        let mut queue = lock(&self.queue);
        if !queue.killed.is_empty() {
            return Next::Kill(std::mem::take(&mut queue.killed));
        }
        if !queue.requests.is_empty() {
            let requests = std::mem::take(&mut queue.requests);
            return Next::Start(requests);
        }
        let nothing_ready = queue.ready.is_empty();
        if let Some(timer) = queue.timers.first_entry() {
            let (deadline_ns, now_ns) = (timer.key().0, self.now_ns());
            if deadline_ns <= now_ns || nothing_ready {
                self.now_ns.store(deadline_ns.max(now_ns), Ordering::Relaxed);
                return Next::Fire(timer.remove());
            }
        }
        let index = match u32::try_from(queue.ready.len()).unwrap_or(u32::MAX) {
            0 => return Next::Nothing,
            1 => 0,
            options => {
                let choice = choose(options);
                assert!(choice < options, "choice {choice} of {options} options");
                choice
            }
        };
        // In order of arrival, so that choice 0 is the one that waits longest and nobody starves behind it.
        Next::Step(queue.ready.remove(index as usize))
    }

    /// Whether a task of `node` may run now. If the node is paused, `key` is kept for when it resumes.
    pub(super) fn may_run(&self, node: u32, key: TaskKey) -> bool {
        if node == ROOT_NODE {
            return true;
        }
        let mut queue = lock(&self.queue);
        let info = &mut queue.nodes[node as usize];
        if info.state == NodeState::Paused {
            info.held.push(key);
        }
        info.state == NodeState::Running
    }

    /// The number of a new node.
    pub(super) fn add_node(&self, name: &str) -> u32 {
        let mut queue = lock(&self.queue);
        let id = u32::try_from(queue.nodes.len()).unwrap_or(u32::MAX);
        assert!(id < u32::MAX, "too many nodes for one run");
        queue.nodes.push(NodeInfo { name: name.to_owned(), state: NodeState::Running, held: Vec::new() });
        id
    }

    pub(super) fn kill(&self, node: u32) {
        let mut queue = lock(&self.queue);
        let info = &mut queue.nodes[node as usize];
        if info.state != NodeState::Dead {
            info.state = NodeState::Dead;
            info.held.clear();
            queue.killed.push(node);
        }
    }

    pub(super) fn pause(&self, node: u32) {
        let mut queue = lock(&self.queue);
        let info = &mut queue.nodes[node as usize];
        if info.state == NodeState::Running {
            info.state = NodeState::Paused;
        }
    }

    pub(super) fn resume(&self, node: u32) {
        let mut queue = lock(&self.queue);
        let info = &mut queue.nodes[node as usize];
        if info.state == NodeState::Paused {
            info.state = NodeState::Running;
            let mut held = std::mem::take(&mut info.held);
            queue.ready.append(&mut held);
        }
    }

    pub(super) fn is_dead(&self, node: u32) -> bool {
        lock(&self.queue).nodes[node as usize].state == NodeState::Dead
    }

    pub(super) fn push_ready(&self, key: TaskKey) {
        let mut queue = lock(&self.queue);
        if !queue.closed {
            queue.ready.push(key);
        }
    }

    /// "node/task", or "node/task (paused)".
    pub(super) fn full_name(&self, node: u32, task: &str) -> String {
        let queue = lock(&self.queue);
        let info = &queue.nodes[node as usize];
        let paused = if info.state == NodeState::Paused { " (paused)" } else { "" };
        format!("{}/{task}{paused}", info.name)
    }

    /// Ends the run: gives up everything that waits, and with it the ways from here back to here.
    pub(super) fn close(&self) {
        let (timers, requests) = {
            let mut queue = lock(&self.queue);
            queue.closed = true;
            queue.ready.clear();
            (std::mem::take(&mut queue.timers), std::mem::take(&mut queue.requests))
        };
        drop((timers, requests));
    }

    pub(super) fn request(&self, node: u32, name: &str, make: Make) {
        let refused = {
            let mut queue = lock(&self.queue);
            if queue.closed || queue.nodes[node as usize].state == NodeState::Dead {
                Some(make)
            } else {
                queue.requests.push(Request { node, name: name.to_owned(), make });
                None
            }
        };
        drop(refused);
    }

    pub(super) fn sleep(self: &Arc<Self>, duration: Duration) -> LocalFuture {
        // The last nanosecond is never reached: waiting for it is waiting for ever.
        let deadline_ns = self.now_ns().saturating_add(nanos(duration)).min(u64::MAX - 1);
        Box::pin(Sleep { shared: Arc::clone(self), deadline_ns, timer: None })
    }
}

/// Wakes one task.
pub(super) struct TaskWaker {
    shared: Arc<Shared>,
    key: TaskKey,
    /// Whether the task is in the ready queue, or on its way there (Q1).
    queued: AtomicBool,
}

impl TaskWaker {
    /// The waker of a task that is about to be put into the ready queue.
    pub(super) fn queued(shared: &Arc<Shared>, key: TaskKey) -> Arc<Self> {
        Arc::new(Self { shared: Arc::clone(shared), key, queued: AtomicBool::new(true) })
    }

    /// Call before the task's step, so that a wake during it counts.
    pub(super) fn taken(&self) {
        self.queued.store(false, Ordering::SeqCst);
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::SeqCst) {
            self.shared.push_ready(self.key);
        }
    }
}

struct Sleep {
    shared: Arc<Shared>,
    deadline_ns: u64,
    /// This sleep's key among the timers, once it was polled.
    timer: Option<(u64, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.shared.now_ns() >= self.deadline_ns {
            return Poll::Ready(());
        }
        let key = {
            let mut queue = lock(&self.shared.queue);
            let key = self.timer.unwrap_or_else(|| {
                queue.timers_made += 1;
                (self.deadline_ns, queue.timers_made)
            });
            if !queue.closed {
                queue.timers.insert(key, context.waker().clone());
            }
            key
        };
        self.timer = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.timer {
            let waker = lock(&self.shared.queue).timers.remove(&key);
            drop(waker);
        }
    }
}
