//! Scenarios with names: what must survive, each as one sentence. They run on the built-in scheduler with one seed;
//! the sweeps do the same things at moments that nobody chose.

pub(crate) mod bounds;
pub(crate) mod clocks;
pub(crate) mod cuts;
pub(crate) mod damage;
pub(crate) mod failures;
pub(crate) mod leftovers;
pub(crate) mod opening;
pub(crate) mod pins;
pub(crate) mod pressure;
pub(crate) mod rescale;
pub(crate) mod zombies;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use event_listener::Event;
use highwater::sim::{
    Crash, Disk, FaultPlan, Latency, Personality, SimClock, SimDisk, SimEnv, Streams, Trace,
};
use highwater::{Engine, Epoch, EpochMark, Error, ErrorKind, Opened, Options};

use crate::host::{Host, Process, Schedule, Scheduler};
use crate::shape::DIRECTORY;
use crate::world::World;

/// A machine for one scenario: a disk, and the process that runs on it.
struct Rig {
    host: Host,
    disk: SimDisk,
    clock: SimClock,
    process: Process,
    env: World,
}

/// Runs the story that `body` makes of a rig whose disk has the faults of `plan`.
fn story<Fut: Future<Output = ()> + 'static>(plan: FaultPlan, body: impl FnOnce(Rig) -> Fut) {
    story_on(Disk::new(Personality::default()), plan, body);
}

/// The same on a disk of its own.
fn story_on<Fut: Future<Output = ()> + 'static>(disk: Disk, plan: FaultPlan, body: impl FnOnce(Rig) -> Fut) {
    let trace = Trace::new();
    Scheduler::BuiltIn.run((0x5eed, &Schedule::Drawn), &trace, |host| {
        let (streams, executor) = (Streams::new(0x5eed), host.executor());
        let plan = plan.with_latency(Latency::FLASH);
        let disk = SimDisk::new(disk, executor.clone(), &streams, plan, trace.clone());
        let clock = SimClock::new(executor);
        let process = host.process("engine");
        let env = SimEnv::new("engine", process.executor(), disk.vfs(), &streams)
            .with_clock(clock.with_executor(process.executor()));
        body(Rig { host, disk, clock, process, env })
    });
}

/// A small database with `cores` cores, which takes checkpoints only when asked.
fn options(cores: u16) -> Options {
    Options::new(DIRECTORY)
        .cores(cores)
        .segment_bytes(16 << 10)
        .batch_bytes(1 << 10)
        .queue_bytes(8 << 10)
        .checkpoint_interval(None)
        .checkpoint_wal_bytes(1 << 30)
}

impl Rig {
    async fn open(&self, options: Options) -> Result<Opened<World>, Error> {
        Engine::open_in(self.env.clone(), options).await
    }

    /// Opens what must open.
    async fn recover(&self, options: Options) -> Opened<World> {
        self.open(options).await.unwrap_or_else(|error| panic!("open: {error}"))
    }

    /// Opens on a disk that may fail that: `None` then. A log that misses what is proven durable is refused as
    /// corrupt, and that is never the disk's doing.
    async fn open_or_fail(&self, options: Options) -> Option<Opened<World>> {
        match self.open(options).await {
            Ok(opened) => Some(opened),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Failed | ErrorKind::Full), "{error}");
                None
            }
        }
    }

    /// Opens until the disk has seen `boundaries` boundaries of calls; `None` when open was not done by then.
    async fn open_for(&self, options: Options, boundaries: u64) -> Option<Result<Opened<World>, Error>> {
        self.run_for(self.open(options), boundaries).await
    }

    /// Does `work` until the disk has seen `boundaries` boundaries of calls; `None` when it was not done by then.
    async fn run_for<T>(&self, work: impl Future<Output = T>, boundaries: u64) -> Option<T> {
        let (left, reached) = (Arc::new(AtomicU64::new(boundaries)), Arc::new(Event::new()));
        let listener = reached.listen();
        self.disk.on_boundary(Box::new(move |_, _| {
            if left.load(Ordering::SeqCst) > 0 && left.fetch_sub(1, Ordering::SeqCst) == 1 {
                reached.notify(usize::MAX);
            }
        }));
        let (mut work, mut listener) = (Box::pin(work), Box::pin(listener));
        std::future::poll_fn(|context| {
            if listener.as_mut().poll(context).is_ready() {
                return std::task::Poll::Ready(None);
            }
            work.as_mut().poll(context).map(Some)
        })
        .await
    }

    /// From now on the disk has the faults of `plan`. No process runs.
    fn fail(&mut self, plan: FaultPlan) {
        self.fail_on(self.disk.disk(), plan);
    }

    /// From now on the machine has this disk, with the faults of `plan`. No process runs.
    fn fail_on(&mut self, disk: Disk, plan: FaultPlan) {
        let (streams, plan) = (Streams::new(0x5eed), plan.with_latency(Latency::FLASH));
        self.disk = SimDisk::new(disk, self.host.executor(), &streams, plan, Trace::silent());
        self.env = self.env.reboot(self.process.executor(), self.disk.vfs());
    }

    /// The log files that are there.
    fn segments(&self) -> BTreeSet<PathBuf> {
        let logs = Path::new(DIRECTORY).join("wal");
        let tree = self.disk.disk().tree().into_iter();
        tree.filter(|(path, len)| len.is_some() && path.starts_with(&logs)).map(|(path, _)| path).collect()
    }

    /// Ends the process; the machine stays up.
    fn kill(&mut self) {
        self.end(false);
    }

    /// Cuts the power.
    fn cut_power(&mut self) {
        self.end(true);
    }

    fn end(&mut self, power: bool) {
        self.process.kill();
        if power {
            self.disk.power_loss();
        } else {
            self.disk.crash(Crash::Process);
        }
        self.process = self.host.process("engine");
        self.env = self.env.reboot(self.process.executor(), self.disk.vfs());
    }
}

/// A key that `core` owns; each number gives another.
fn key(engine: &Engine<World>, core: usize, number: u32) -> Vec<u8> {
    let mut owned = (0_u32..).map(|salt| format!("{number}-{salt}").into_bytes());
    owned.find(|key| engine.core_of(key).index() == core).unwrap_or_else(|| panic!("core {core} owns no key"))
}

/// Ends the epoch on every core and waits until it is durable.
async fn commit(opened: &mut Opened<World>) -> Result<Epoch, Error> {
    let mut epoch = Epoch(0);
    for core in &mut opened.cores {
        epoch = core.close_epoch(EpochMark::new())?;
    }
    opened.engine.durable(epoch).await?;
    Ok(epoch)
}

/// Puts `value` under a key of `core`.
fn put(opened: &mut Opened<World>, core: usize, number: u32, value: &[u8]) -> Result<(), Error> {
    let key = key(&opened.engine, core, number);
    opened.cores[core].put(&key, value).map(|_| ())
}

/// The value under a key of `core`.
fn get(opened: &Opened<World>, core: usize, number: u32) -> Option<Vec<u8>> {
    let key = key(&opened.engine, core, number);
    let value = opened.cores[core].get(&key).unwrap_or_else(|error| panic!("get: {error}"));
    value.map(|value| value.to_vec())
}
