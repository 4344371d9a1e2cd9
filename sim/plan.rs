//! Everything that a seed decides: the disk, its faults, the database, its lives and how each ends.

use std::fmt;
use std::time::Duration;

use highwater::sim::{ClockFaults, FaultClass, FaultPlan, Latency, Personality, Stream, Streams};

use crate::draw::Draw;
use crate::shape::{Shape, Tuning};

/// One seed's run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The seed.
    pub(crate) seed: u64,
    /// What kind of disk.
    pub(crate) disk: Personality,
    /// Which faults it injects.
    pub(crate) faults: FaultPlan,
    /// What is wrong with the clock.
    pub(crate) clock: ClockFaults,
    /// What is fixed at the creation of the database.
    pub(crate) shape: Shape,
    /// What its users do.
    pub(crate) load: Load,
    /// Its lives, without the last one, which has no faults.
    pub(crate) lives: Vec<LifePlan>,
    /// The options of the last life.
    pub(crate) last: Tuning,
}

/// What the workload does, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Distinct keys per core: few, so that they are overwritten.
    pub(crate) keys: u64,
    /// Bytes of a value: all the same finds resurrected frames.
    pub(crate) values: (u64, u64),
    /// The chance that a value is as long as a record may be.
    pub(crate) oversize: f64,
    /// Weights in the order of [`Op::ALL`].
    pub(crate) weights: [u32; Op::ALL.len()],
    /// How much more often than its share the first core gets an operation.
    pub(crate) skew: u32,
    /// Whether money moves between cores.
    pub(crate) transfers: bool,
    /// The longest pause between two operations, in microseconds.
    pub(crate) pause_us_max: u64,
}

/// An operation of the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// A key gets a value.
    Put,
    /// A key loses its value.
    Delete,
    /// A key is read.
    Get,
    /// All keys with a prefix are read.
    Scan,
    /// Every key loses its value.
    Clear,
    /// Money moves from one core to another within one epoch.
    Transfer,
    /// One core ends its epoch.
    EndOne,
    /// Every core is asked to end its epoch, and does.
    EndAll,
    /// Somebody waits in the background for an epoch.
    Await,
    /// The workload itself waits for an epoch.
    Commit,
    /// A checkpoint is asked for.
    Checkpoint,
}

impl Op {
    /// Every operation.
    pub(crate) const ALL: [Self; 11] = [
        Self::Put,
        Self::Delete,
        Self::Get,
        Self::Scan,
        Self::Clear,
        Self::Transfer,
        Self::EndOne,
        Self::EndAll,
        Self::Await,
        Self::Commit,
        Self::Checkpoint,
    ];
}

/// One life of the database: from an open to its end.
#[derive(Clone, Debug)]
pub(crate) struct LifePlan {
    /// Its options.
    pub(crate) tuning: Tuning,
    /// How many operations it may do.
    pub(crate) operations: u64,
    /// Crash at the n-th boundary of the calls that match, if they are that many.
    pub(crate) trigger: Option<Trigger>,
    /// What happens when the operations are done.
    pub(crate) ending: Ending,
    /// What the next life finds, unless this one ended in a crash of its own.
    pub(crate) next: Next,
    /// The crash of this life, if it comes to one.
    pub(crate) power: bool,
}

/// When a life is cut short.
#[derive(Clone, Debug)]
pub(crate) struct Trigger {
    /// Only calls of this name count, if one is given.
    pub(crate) operation: Option<&'static str>,
    /// How many boundaries of such calls it waits for.
    pub(crate) boundaries: u64,
}

/// How a life ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It runs until it is crashed.
    Crash,
    /// The engine is closed.
    Close,
    /// The engine is dropped.
    Drop,
}

/// How the next life begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// In the same process.
    SameProcess,
    /// In a new process, after the old one was ended.
    NewProcess,
    /// In a new process, after a power loss.
    PowerLoss,
}

/// Calls at which a crash is worth aiming.
const TARGETS: [&str; 7] =
    ["write_at", "write_at_and_sync", "sync_data", "rename", "link", "sync_dir", "create_new"];

impl Plan {
    /// The plan of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        let streams = Streams::new(seed);
        let mut stream = streams.stream("plan.disk");
        let disk = Personality::draw(&mut stream);
        let faults = faults(&mut stream);
        let clock = clock(&mut stream);
        let shape = Shape::draw(&mut streams.stream("plan.shape"), &disk);
        let load = Load::draw(&mut streams.stream("plan.load"));
        let mut stream = streams.stream("plan.lives");
        let count = stream.range(1, 7);
        let lives = (0..count).map(|_| LifePlan::draw(&mut stream)).collect();
        let mut last = Tuning::draw(&mut streams.stream("plan.last"));
        // There the workload has to get to the end of every operation.
        last.epoch_bytes_max = 1 << 30;
        Self { seed, disk, faults, clock, shape, load, lives, last }
    }

    /// The longest value for a key of `key_bytes`: a log is opened with segments that take what it may hold.
    pub(crate) fn value_bytes_max(&self, key_bytes: usize) -> usize {
        let tunings = self.lives.iter().map(|life| &life.tuning).chain([&self.last]);
        let record_bytes = tunings.map(|tuning| tuning.record_bytes_max(&self.shape)).min().unwrap_or(0);
        usize::try_from(record_bytes).unwrap_or(0) - 8 - key_bytes
    }
}

/// Faults that a program must survive exactly. A third of the seeds has none but crashes, which lets them go deep.
fn faults(stream: &mut Stream) -> FaultPlan {
    let mut plan = FaultPlan::none();
    plan.site_chance = *stream.pick(&[0.25, 0.5, 1.0]);
    plan.latency = if stream.chance(0.8) { Latency::FLASH } else { Latency::NONE };
    plan.stall = Duration::from_millis(stream.scale(20, 5_000));
    plan.full_for = Duration::from_millis(stream.scale(5, 2_000));
    let quiet = stream.chance(0.33);
    for class in FaultClass::RATED {
        let on = stream.chance(0.4);
        let harmless = matches!(class, FaultClass::WriteBack | FaultClass::Interrupted)
            || matches!(class, FaultClass::ShortRead | FaultClass::ShortWrite);
        let harmless_rate = *stream.pick(&[0.01, 0.1, 0.5]);
        let rate = *stream.pick(&[0.0003, 0.001, 0.003, 0.01]);
        if class.in_contract() && on && (harmless || !quiet) {
            plan = plan.with(class, if harmless { harmless_rate } else { rate });
        }
    }
    plan
}

fn clock(stream: &mut Stream) -> ClockFaults {
    let mut rate = || if stream.chance(0.3) { *stream.pick(&[0.01, 0.2, 1.0]) } else { 0.0 };
    ClockFaults {
        wall_jump: rate(),
        wall_freeze: rate(),
        wall_resolution: rate(),
        suspend: rate().min(0.01),
        suspend_max: Duration::from_secs(2),
    }
}

impl Load {
    fn draw(stream: &mut Stream) -> Self {
        let shortest = stream.scale(1, 600);
        let values = if stream.chance(0.5) { (shortest, shortest) } else { (0, shortest) };
        let mut weight = |usual: u32| match stream.below(8) {
            0 => 0,
            1 => usual * 8,
            _ => usual,
        };
        let weights = [
            weight(40).max(5),
            weight(8),
            weight(6),
            weight(1),
            weight(1),
            weight(6),
            weight(6),
            weight(4).max(1),
            weight(3),
            weight(2),
            weight(1),
        ];
        Self {
            keys: stream.scale(1, 60),
            values,
            oversize: *stream.pick(&[0.0, 0.0, 0.002, 0.05]),
            weights,
            skew: *stream.pick(&[1, 1, 3, 20]),
            transfers: stream.chance(0.7),
            pause_us_max: *stream.pick(&[0, 1, 50, 500, 20_000]),
        }
    }
}

impl LifePlan {
    fn draw(stream: &mut Stream) -> Self {
        let tuning = Tuning::draw(stream);
        let operations = stream.scale(4, 600);
        // Short triggers fall into recovery, also several in a row; long ones into the workload.
        let boundaries = if stream.chance(0.3) { stream.scale(1, 200) } else { stream.scale(60, 6_000) };
        let aimed = stream.chance(0.4).then_some(*stream.pick(&TARGETS));
        let boundaries = if aimed.is_some() { boundaries.div_ceil(8) } else { boundaries };
        let trigger = stream.chance(0.75).then_some(Trigger { operation: aimed, boundaries });
        let ending =
            *stream.pick(&[Ending::Crash, Ending::Crash, Ending::Crash, Ending::Close, Ending::Drop]);
        let next = *stream.pick(&[Next::SameProcess, Next::NewProcess, Next::PowerLoss]);
        Self { tuning, operations, trigger, ending, next, power: stream.chance(0.7) }
    }
}

impl fmt::Display for LifePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let crash = if self.power { "power loss" } else { "process crash" };
        write!(
            f,
            "{} operations, then {:?}, next {:?}; {}",
            self.operations, self.ending, self.next, self.tuning
        )?;
        match &self.trigger {
            Some(Trigger { operation, boundaries }) => {
                write!(f, "; {crash} at boundary {boundaries} of {}", operation.unwrap_or("any call"))
            }
            None => write!(f, "; a crash would be a {crash}"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "disk:   {}", self.disk)?;
        writeln!(f, "faults: {} latency={:?}", self.faults, self.faults.latency)?;
        writeln!(f, "        stall={:?} full-for={:?}", self.faults.stall, self.faults.full_for)?;
        writeln!(f, "clock:  {:?}", self.clock)?;
        writeln!(f, "shape:  {:?}", self.shape)?;
        writeln!(f, "load:   {:?}", self.load)?;
        for (number, life) in self.lives.iter().enumerate() {
            writeln!(f, "life {number}: {life}")?;
        }
        write!(f, "last life: {}", self.last)
    }
}
