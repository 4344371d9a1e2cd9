//! A machine: one disk, one clock, and the process that runs there now.
//!
//! ```text
//! Machine::new ──► spawn ──► run_until_call ──► crash_process ─┐
//!                    ▲                     └──► cut_power ─────┤
//!                    └──────── the next process ◄──────────────┘
//! ```
//!
//! All of it can be put together from [`SimDisk`], [`SimClock`], [`SimEnv`] and [`Node`] as well; this is
//! the arrangement that a program of one process needs.
//!
//! M1. At most one process of a machine runs. What an earlier one still tries changes nothing.
//! M2. A process that was stopped at a call has submitted it, and the call has not taken effect. It goes no further than
//!     its next wait: with a [`Latency`](super::Latency) above zero, that is in the same call.

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::choices::Choices;
use super::clock::{ClockFaults, SimClock};
use super::disk::{Crash, Disk};
use super::env::SimEnv;
use super::executor::Executor;
use super::faults::{FaultPlan, Latency};
use super::lock;
use super::node::{Handle, Node};
use super::personality::Personality;
use super::rng::Streams;
use super::vfs::{BoundaryInfo, Phase, SimDisk, SimVfs};

/// What a machine is made of. `Display` gives it in one line.
#[derive(Clone, Debug, PartialEq)]
pub struct Hardware {
    /// The kind of disk.
    pub disk: Personality,
    /// Room for the contents of files, in bytes, counted in pages of 4,096.
    pub disk_bytes: u64,
    /// What the disk does wrong, and how long it takes.
    pub faults: FaultPlan,
    /// What the clock does wrong.
    pub clock: ClockFaults,
}

impl Default for Hardware {
    /// The most paranoid disk that keeps its promises, of flash, without limits and faults; a clock without faults.
    fn default() -> Self {
        Self {
            disk: Personality::default(),
            disk_bytes: u64::MAX,
            faults: FaultPlan::none().with_latency(Latency::FLASH),
            clock: ClockFaults::default(),
        }
    }
}

impl Hardware {
    /// Draws the kind of disk, and faults that a program must survive: about half of the classes, rare or frequent.
    #[must_use]
    pub fn draw(streams: &Streams) -> Self {
        let mut stream = streams.stream("hardware");
        let disk = Personality::draw(&mut stream);
        let mut rate = || *stream.pick(&[0.0, 0.0, 0.01, 0.1]);
        let clock = ClockFaults {
            wall_jump: rate(),
            wall_freeze: rate(),
            wall_resolution: rate(),
            suspend: rate() / 100.0,
            suspend_max: Duration::from_secs(5),
        };
        Self { disk, disk_bytes: u64::MAX, faults: FaultPlan::swarm(streams, false), clock }
    }
}

impl fmt::Display for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { disk, disk_bytes, faults, clock } = self;
        write!(f, "disk: {disk}")?;
        if *disk_bytes < u64::MAX {
            write!(f, " bytes={disk_bytes}")?;
        }
        write!(f, "; faults: {faults}")?;
        if *clock != ClockFaults::default() {
            write!(f, "; clock: {clock:?}")?;
        }
        Ok(())
    }
}

/// A simulated machine, seen from the root future, which survives its crashes.
///
/// ```
/// use std::time::Duration;
/// use highwater::sim::{Hardware, Machine, Simulator};
/// use highwater::{Engine, EpochMark, Opened, Options};
///
/// # fn main() -> Result<(), highwater::sim::Stuck> {
/// Simulator::new(7).run(async |sim| {
///     let mut machine = Machine::new(&sim, 7, Hardware::default());
///     machine.spawn("service", async |env| {
///         let Opened { engine, mut cores, .. } = Engine::open_in(env, Options::new("db")).await.unwrap();
///         cores[0].put(b"balance", b"100").unwrap();
///         let epoch = cores[0].close_epoch(EpochMark::new()).unwrap();
///         engine.durable(epoch).await.unwrap();
///     });
///     machine.run_until_call(1_000, Duration::from_secs(1)).await; // it makes fewer: a second has passed
///     machine.cut_power();
///     let opened = Engine::open_in(machine.env(), Options::new("db")).await.unwrap();
///     assert_eq!(opened.cores[0].get(b"balance").unwrap().as_deref(), Some(&b"100"[..]));
/// })
/// # }
/// ```
pub struct Machine {
    sim: Handle,
    disk: SimDisk,
    clock: SimClock,
    node: Node,
    env: SimEnv<SimVfs>,
    stop: Arc<Mutex<Stop>>,
}

/// Where the process is to be stopped.
#[derive(Default)]
struct Stop {
    /// The process, and the calls that it may still submit, this one included. `None`: no stop.
    armed: Option<(Node, u64)>,
    reached: Option<BoundaryInfo>,
    waker: Option<Waker>,
}

impl Machine {
    /// A machine with an empty disk and a first process without tasks. What chance decides on it comes from
    /// streams of `seed`; every call of its disk is part of the [trace](Handle::trace) of the run. A second machine in
    /// one run takes another seed ([`Streams::fork`]).
    ///
    /// # Panics
    ///
    /// When the hardware has a disk that does not exist ([`Disk::new`]).
    pub fn new(sim: &Handle, seed: u64, hardware: Hardware) -> Self {
        let streams = Streams::new(seed);
        let Hardware { disk, disk_bytes, faults, clock } = hardware;
        let executor: Arc<dyn Executor> = Arc::new(sim.clone());
        let disk = Disk::new(disk).with_capacity(disk_bytes);
        let disk = SimDisk::new(disk, Arc::clone(&executor), &streams, faults, sim.trace().clone());
        let clock = SimClock::new(executor).with_faults(clock, streams.stream("clock"));
        let node = sim.node("machine");
        let executor: Arc<dyn Executor> = Arc::new(node.clone());
        let env = SimEnv::new("machine", Arc::clone(&executor), disk.vfs(), &streams)
            .with_clock(clock.with_executor(executor));
        let stop = Arc::new(Mutex::new(Stop::default()));
        let watched = Arc::clone(&stop);
        disk.watch(Box::new(move |_, info| {
            if info.phase == Phase::Before {
                lock(&watched).count(info);
            }
        }));
        Self { sim: sim.clone(), disk, clock, node, env, stop }
    }

    /// The world of the process that runs now. It dies with it: ask again after a crash.
    pub fn env(&self) -> SimEnv<SimVfs> {
        self.env.clone()
    }

    /// The disk.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// The clock, with its faults.
    pub fn clock(&self) -> &SimClock {
        &self.clock
    }

    /// The process that runs now.
    pub fn process(&self) -> &Node {
        &self.node
    }

    /// Runs the future that `make` makes of the process's world, as a task of the process, until it completes or the
    /// process ends. `name` is for people.
    pub fn spawn<F, Fut>(&self, name: &str, make: F)
    where
        F: FnOnce(SimEnv<SimVfs>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let env = self.env();
        self.node.spawn(name, move || make(env));
    }

    /// Lets the process run until it has submitted `calls` calls of its disk, counted from now, and stops it in the
    /// last one; what it was is returned, and [`Machine::crash_process`] or [`Machine::cut_power`] comes next, or
    /// [`Machine::resume`]. `None` when `at_most` of virtual time passed first, which costs nothing: then it runs on.
    ///
    /// # Panics
    ///
    /// When `calls` is zero.
    pub async fn run_until_call(&mut self, calls: u64, at_most: Duration) -> Option<BoundaryInfo> {
        assert!(calls > 0, "the first call is number 1");
        lock(&self.stop).armed = Some((self.node.clone(), calls));
        let mut timeout = self.sim.sleep(at_most);
        let reached = poll_fn(|context| {
            let reached = lock(&self.stop).poll(context);
            if reached.is_none() && timeout.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            Poll::Ready(reached)
        });
        let reached = reached.await;
        *lock(&self.stop) = Stop::default();
        reached
    }

    /// Lets a process go on that was stopped at a call.
    pub fn resume(&self) {
        self.node.resume();
    }

    /// Ends the process; the machine stays up, and with it the page cache. The next process has no tasks yet.
    pub fn crash_process(&mut self) {
        self.node.kill();
        self.disk.crash(Crash::Process);
        self.restart();
    }

    /// Cuts the power: what was not synced is kept or lost, as the stream `disk.crash` decides. The next process has
    /// no tasks yet.
    pub fn cut_power(&mut self) {
        self.node.kill();
        self.disk.power_loss();
        self.restart();
    }

    /// [`Machine::cut_power`] with an outcome of the caller's choice: a replayed tape, for instance. With 0 for every
    /// choice everything is lost that was not synced.
    pub fn cut_power_with(&mut self, choices: &mut dyn Choices) {
        self.node.kill();
        self.disk.crash(Crash::Power(choices));
        self.restart();
    }

    /// Ends all faults of disk and clock, as a run does before it checks that the program recovers in peace.
    pub fn stop_faults(&self) {
        self.disk.stop_faults();
        self.clock.stop_faults();
    }

    fn restart(&mut self) {
        self.node = self.sim.node("machine");
        self.env = self.env.reboot(Arc::new(self.node.clone()), self.disk.vfs());
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("disk", &self.disk)
            .field("process", &self.node)
            .finish_non_exhaustive()
    }
}

impl Stop {
    /// The process has submitted the call `info`.
    fn count(&mut self, info: BoundaryInfo) {
        let Some((node, calls)) = &mut self.armed else { return };
        *calls -= 1;
        if *calls == 0 {
            node.pause();
            self.armed = None;
            self.reached = Some(info);
            self.waker.take().into_iter().for_each(Waker::wake);
        }
    }

    fn poll(&mut self, context: &Context<'_>) -> Option<BoundaryInfo> {
        self.waker = Some(context.waker().clone());
        self.reached.take()
    }
}
