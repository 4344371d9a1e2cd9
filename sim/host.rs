//! The two deterministic schedulers of the harness behind one face: a root task that survives every crash, and
//! processes that it starts and kills.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use highwater::sim::{Executor, Handle, Node, Simulator, Streams, Tape, Trace};

use crate::madsim::{self, MadsimNode, MadsimRoot};

/// Virtual time after which a run is called stuck: far beyond what the slowest plan takes.
const TIME_MAX: Duration = Duration::from_secs(4 * 3600);
/// Steps after which a run on the built-in scheduler is called a livelock.
const STEPS_MAX: u64 = 50_000_000;

/// Which scheduler runs a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scheduler {
    /// `highwater::sim::Simulator`.
    BuiltIn,
    /// The crate `madsim`.
    Madsim,
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BuiltIn => "built-in",
            Self::Madsim => "madsim",
        })
    }
}

/// How far the seeds of madsim are from those of the built-in scheduler, unless somebody says where they begin.
const MADSIM_AWAY: u64 = 1 << 40;

impl Scheduler {
    /// Where its seeds begin when those of the built-in scheduler do at `base`: both draw the same plan from a seed.
    pub(crate) fn base(self, base: u64) -> u64 {
        match self {
            Self::BuiltIn => base,
            Self::Madsim => base.wrapping_add(MADSIM_AWAY),
        }
    }

    /// Runs the future that `root` makes to its end.
    ///
    /// Panics when a task does, and when the run cannot end.
    pub(crate) fn run<Fut: Future<Output = ()> + 'static>(
        self,
        (seed, schedule): (u64, &Schedule),
        trace: &Trace,
        root: impl FnOnce(Host) -> Fut,
    ) {
        match self {
            Self::BuiltIn => schedule
                .simulator(seed)
                .trace(trace.clone())
                .steps_max(STEPS_MAX)
                .time_max(TIME_MAX)
                .run(|handle| root(Host::BuiltIn(handle)))
                .unwrap_or_else(|stuck| panic!("the run is stuck: {stuck}")),
            Self::Madsim => madsim::run(seed, TIME_MAX, trace, |handle| root(Host::Madsim(handle))),
        }
    }
}

/// Where the choices of the built-in scheduler come from. Madsim's come from the seed, always.
#[derive(Clone, Debug)]
pub(crate) enum Schedule {
    /// From the seed.
    Drawn,
    /// From the seed, and they are written to this tape.
    Recorded(Tape),
    /// Whoever was ready first goes first; but the choices with these numbers are others.
    Tape(BTreeMap<usize, u32>),
}

impl Schedule {
    fn simulator(&self, seed: u64) -> Simulator {
        match self {
            Self::Drawn => Simulator::new(seed),
            Self::Recorded(tape) => {
                Simulator::with_choices(tape.record(Streams::new(seed).stream("schedule")))
            }
            Self::Tape(choices) => {
                let mut tape = vec![0; choices.keys().next_back().map_or(0, |last| last + 1)];
                for (at, choice) in choices {
                    tape[*at] = *choice;
                }
                Simulator::with_choices(Tape::new(tape).replay())
            }
        }
    }
}

/// A scheduler as its root task sees it.
#[derive(Clone)]
pub(crate) enum Host {
    /// See [`Scheduler::BuiltIn`].
    BuiltIn(Handle),
    /// See [`Scheduler::Madsim`].
    Madsim(MadsimRoot),
}

impl Host {
    /// The root's own executor.
    pub(crate) fn executor(&self) -> Arc<dyn Executor> {
        match self {
            Self::BuiltIn(handle) => Arc::new(handle.clone()),
            Self::Madsim(root) => Arc::new(root.clone()),
        }
    }

    /// A new process.
    pub(crate) fn process(&self, name: &str) -> Process {
        match self {
            Self::BuiltIn(handle) => Process::BuiltIn(handle.node(name)),
            Self::Madsim(root) => Process::Madsim(root.node(name)),
        }
    }

    /// Waits `duration` of virtual time.
    pub(crate) async fn sleep(&self, duration: Duration) {
        self.executor().sleep(duration).await;
    }
}

/// A process of a run.
#[derive(Clone)]
pub(crate) enum Process {
    /// See [`Scheduler::BuiltIn`].
    BuiltIn(Node),
    /// See [`Scheduler::Madsim`].
    Madsim(MadsimNode),
}

impl Process {
    /// What runs its tasks.
    pub(crate) fn executor(&self) -> Arc<dyn Executor> {
        match self {
            Self::BuiltIn(node) => Arc::new(node.clone()),
            Self::Madsim(node) => Arc::new(node.clone()),
        }
    }

    /// Stops it: none of its tasks takes a step until it goes on. Only the built-in scheduler can.
    pub(crate) fn pause(&self) {
        match self {
            Self::BuiltIn(node) => node.pause(),
            Self::Madsim(_) => panic!("a process of madsim is not paused"),
        }
    }

    /// Lets it go on, unaware of the time that passed.
    pub(crate) fn resume(&self) {
        match self {
            Self::BuiltIn(node) => node.resume(),
            Self::Madsim(_) => panic!("a process of madsim is not paused"),
        }
    }

    /// Ends it: none of its tasks takes another step. They are dropped some time later.
    pub(crate) fn kill(&self) {
        match self {
            Self::BuiltIn(node) => node.kill(),
            Self::Madsim(node) => node.kill(),
        }
    }
}
