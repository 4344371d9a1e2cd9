//! Everything that a seed decides: the disk, its faults, the database, its lives and how each ends.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use highwater::sim::{ClockFaults, FaultClass, FaultPlan, Latency, Personality, Stream, Streams};

use serde::{Deserialize, Serialize};

use crate::coverage::Work;
use crate::damage::{self, DamagePlan};
use crate::draw::Draw;
use crate::host::Schedule;
use crate::profile::Profile;
use crate::remote::RemotePlan;
use crate::shape::{DIRECTORY, Shape, Tuning};
use crate::sink::SinkPlan;
use crate::step::{Moment, Op, Step, in_words};
use crate::without;

/// One seed's run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The kind of plan.
    pub(crate) profile: Profile,
    /// The seed.
    pub(crate) seed: u64,
    /// Who goes first.
    pub(crate) schedule: Schedule,
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
    /// What the last life does at first.
    pub(crate) last_steps: Vec<Step>,
    /// What is out of contract, if anything is.
    pub(crate) damage: Option<DamagePlan>,
    /// The object store, if there is one.
    pub(crate) remote: Option<RemotePlan>,
    /// The sinks, if there are any.
    pub(crate) sinks: Option<SinkPlan>,
}

/// What the workload does, and how often.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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

/// One life of the database: from an open to its end.
#[derive(Clone, Debug)]
pub(crate) struct LifePlan {
    /// Names its streams, whichever lives are left out.
    pub(crate) number: u32,
    /// Its options.
    pub(crate) tuning: Tuning,
    /// What it does.
    pub(crate) steps: Vec<Step>,
    /// Crash at the n-th boundary of the calls that match, if they are that many.
    pub(crate) trigger: Option<Trigger>,
    /// What happens when the operations are done.
    pub(crate) ending: Ending,
    /// What the next life finds, unless this one ended in a crash of its own.
    pub(crate) next: Next,
    /// The crash of this life, if it comes to one.
    pub(crate) fate: Fate,
}

/// What a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fate {
    /// The page cache.
    Cache,
    /// The platter, and of what was unsynced whatever is drawn.
    Drawn,
    /// The platter, and nothing that was unsynced.
    AllLost,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cache => "process crash",
            Self::Drawn => "power loss",
            Self::AllLost => "power loss (all unsynced lost)",
        })
    }
}

/// When a life is cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trigger {
    /// Boundaries count from here on; from the beginning of the life if nothing is said.
    pub(crate) after: Option<Moment>,
    /// Only calls of this work count, if one is given.
    pub(crate) work: Option<Work>,
    /// How many boundaries of such calls it waits for.
    pub(crate) boundaries: u64,
}

/// How a life ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ending {
    /// It runs until it is crashed.
    Crash,
    /// The engine is closed.
    Close,
    /// The engine is dropped.
    Drop,
}

/// How the next life begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Next {
    /// In the same process.
    SameProcess,
    /// In a new process, after the old one was ended.
    NewProcess,
    /// In a new process, after a power loss.
    PowerLoss,
}

/// Steps of the last life.
const LAST_STEPS: u64 = 60;

impl Plan {
    /// The plan of a seed. Panics when the profile is a fan-out, which draws shapes of its own.
    pub(crate) fn of(profile: Profile, seed: u64) -> Self {
        without::adapt(match profile {
            Profile::Forward => Self::forward(seed),
            Profile::Damage => Self::damaged(seed),
            Profile::Remote => Self::remote(seed),
            Profile::FanOutLog | Profile::FanOutEngine | Profile::FanOutRescale | Profile::FanOutRemote => {
                panic!("{profile} tells no stories")
            }
        })
    }

    /// A forward plan on a disk that breaks its word.
    fn damaged(seed: u64) -> Self {
        let mut plan = Self::forward(seed);
        let mut stream = Streams::new(seed).stream("plan.damage");
        plan.profile = Profile::Damage;
        plan.disk.lying = stream.chance(0.5);
        plan.faults = damage::faults(&mut stream, plan.faults);
        // What a sink shows of a database that went back is that sink's affair.
        plan.sinks = None;
        plan.damage = Some(DamagePlan::draw(&mut stream, plan.lives.iter().map(|life| life.number)));
        plan
    }

    /// A forward plan with an object store.
    fn remote(seed: u64) -> Self {
        let mut plan = Self::forward(seed);
        plan.profile = Profile::Remote;
        let lives = plan.lives.iter().map(|life| life.number);
        plan.remote = Some(RemotePlan::draw(Streams::new(seed), lives));
        plan.sinks = SinkPlan::draw(Streams::new(seed), false);
        plan
    }

    fn forward(seed: u64) -> Self {
        let streams = Streams::new(seed);
        let mut stream = streams.stream("plan.disk");
        let disk = Personality::draw(&mut stream);
        let faults = faults(&mut stream);
        let clock = clock(&mut stream);
        let shape = Shape::draw(&mut streams.stream("plan.shape"), &disk);
        let load = Load::draw(&mut streams.stream("plan.load"));
        let mut stream = streams.stream("plan.lives");
        let count = stream.range(1, 7);
        let draw = |number| LifePlan::draw((&mut stream, &streams), number, &load, shape.cores);
        let lives = (0..count).map(draw).collect();
        let mut last = Tuning::draw(&mut streams.stream("plan.last"), streams.stream("plan.ordered/last"));
        // There the workload has to get to the end of every operation.
        last.epoch_bytes_max = 1 << 30;
        let last_steps = Step::draw(streams.fork("load/last"), &load, shape.cores, LAST_STEPS);
        let (profile, schedule) = (Profile::Forward, Schedule::Drawn);
        Self {
            profile,
            seed,
            schedule,
            disk,
            faults,
            clock,
            shape,
            load,
            lives,
            last,
            last_steps,
            damage: None,
            remote: None,
            sinks: SinkPlan::draw(streams, true),
        }
    }

    /// The plainest one: a healthy disk, one life without steps.
    pub(crate) fn plain(profile: Profile, seed: u64) -> Self {
        Self {
            profile,
            seed,
            schedule: Schedule::Tape(BTreeMap::new()),
            disk: tame(),
            faults: FaultPlan::none(),
            clock: ClockFaults::default(),
            shape: Shape::plain(),
            load: Load::plain(),
            lives: Vec::new(),
            last: Tuning::plain(),
            last_steps: Vec::new(),
            damage: (profile == Profile::Damage).then(DamagePlan::plain),
            remote: (profile == Profile::Remote).then(RemotePlan::plain),
            sinks: None,
        }
    }

    /// The longest value for a key of `key_bytes`: a log is opened with segments that take what it may hold.
    pub(crate) fn value_bytes_max(&self, key_bytes: usize) -> usize {
        let tunings = self.lives.iter().map(|life| &life.tuning).chain([&self.last]);
        let record_bytes = tunings.map(|tuning| tuning.record_bytes_max(&self.shape)).min().unwrap_or(0);
        usize::try_from(record_bytes).unwrap_or(0) - 8 - key_bytes
    }
}

/// Where the faults of a run may strike alone.
const FOCUS: [&str; 6] = ["m", "f", "f", "wal", "wal/00000", ""];

/// Faults that a program must survive exactly. A third of the seeds has none but crashes, which lets them go deep.
fn faults(stream: &mut Stream) -> FaultPlan {
    let mut plan = FaultPlan::none();
    plan.site_chance = *stream.pick(&[0.25, 0.5, 1.0]);
    plan.latency = if stream.chance(0.8) { Latency::FLASH } else { Latency::NONE };
    plan.stall = Duration::from_millis(stream.scale(20, 5_000));
    plan.full_for = Duration::from_millis(stream.scale(5, 2_000));
    let quiet = stream.chance(0.33);
    // A tenth of a run's calls are about checkpoints and manifests: a rate for all of them rarely hits these.
    let focus = *stream.pick(&FOCUS);
    let focused = stream.chance(0.6);
    plan.focus = focused.then(|| Path::new(DIRECTORY).join(focus));
    for class in FaultClass::RATED {
        let on = stream.chance(0.4);
        let harmless = matches!(class, FaultClass::WriteBack | FaultClass::Interrupted)
            || matches!(class, FaultClass::ShortRead | FaultClass::ShortWrite);
        let harmless_rate = *stream.pick(&[0.01, 0.1, 0.5]);
        let rate = *stream.pick(&[0.0003, 0.001, 0.003, 0.01]);
        if class.in_contract() && on && (harmless || !quiet) {
            // Stalls cost virtual time, of which a life has so much and no more.
            let rate = if focused && class != FaultClass::Stall { 10.0 * rate } else { rate };
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

/// The disk with the fewest outcomes of a crash.
pub(crate) fn tame() -> Personality {
    Personality { power_safe_overwrite: true, stale_extension: false, ..Personality::default() }
}

impl Load {
    /// The plainest one.
    pub(crate) fn plain() -> Self {
        let mut weights = [0; Op::ALL.len()];
        weights[0] = 1;
        Self { keys: 4, values: (8, 8), oversize: 0.0, weights, skew: 1, transfers: false, pause_us_max: 0 }
    }

    fn draw(stream: &mut Stream) -> Self {
        let shortest = stream.scale(1, 600);
        let values = if stream.chance(0.5) { (shortest, shortest) } else { (0, shortest) };
        let mut weight = |usual: u32| match stream.below(8) {
            0 => 0,
            1 => usual * 8,
            _ => usual,
        };
        let mut weights = [
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
        // Long epochs, in some.
        weights[0] *= *stream.pick(&[1, 1, 1, 30]);
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
    fn draw((stream, streams): (&mut Stream, &Streams), number: u64, load: &Load, cores: u16) -> Self {
        let tuning = Tuning::draw(stream, streams.stream(&format!("plan.ordered/{number}")));
        let operations = stream.scale(4, 600);
        // Short triggers fall into recovery, also several in a row; long ones into the workload.
        let boundaries = if stream.chance(0.3) { stream.scale(1, 200) } else { stream.scale(60, 6_000) };
        // Most calls append: a crash that is not aimed rarely meets anything else.
        let aimed = stream.chance(0.5).then_some(*stream.pick(&Work::CALLS));
        let boundaries = match aimed {
            None => boundaries,
            // An open carries in a few calls, and not every open does.
            Some(Work::Carry) => stream.scale(1, 4),
            Some(_) => stream.scale(1, 60),
        };
        let trigger = stream.chance(0.75).then_some(Trigger { after: None, work: aimed, boundaries });
        let ending =
            *stream.pick(&[Ending::Crash, Ending::Crash, Ending::Crash, Ending::Close, Ending::Drop]);
        let next = *stream.pick(&[Next::SameProcess, Next::NewProcess, Next::PowerLoss]);
        let fate = if stream.chance(0.7) { Fate::Drawn } else { Fate::Cache };
        let steps = Step::draw(streams.fork(&format!("load/{number}")), load, cores, operations);
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        Self { number, tuning, steps, trigger, ending, next, fate }
    }
}

impl fmt::Display for LifePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, ending, next, fate, .. } = self;
        write!(f, "{} steps, then {ending:?}, next {next:?}; {}", steps.len(), self.tuning)?;
        match &self.trigger {
            Some(trigger) => write!(f, "; {fate} at {trigger}")?,
            None => write!(f, "; a crash would be a {fate}")?,
        }
        write!(f, "\n        {}", in_words(steps))
    }
}

impl LifePlan {
    /// What happens in this life, without its options.
    pub(crate) fn in_words(&self) -> String {
        let Self { number, steps, trigger, ending, next, fate, .. } = self;
        let crash = trigger.map_or(String::new(), |trigger| format!("; {fate} at {trigger}"));
        let end = match (trigger, ending) {
            (Some(_), _) => String::new(),
            (None, Ending::Crash) => format!("; {fate}"),
            (None, ending) => format!("; {ending:?}, next {next:?}"),
        };
        format!("life {number}: {}{crash}{end}", in_words(steps))
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { after, work, boundaries } = self;
        match work {
            Some(work) => write!(f, "boundary {boundaries} of {work:?}")?,
            None => write!(f, "boundary {boundaries}")?,
        }
        after.map_or(Ok(()), |after| write!(f, " since {after}"))
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
        for life in &self.lives {
            writeln!(f, "life {}: {life}", life.number)?;
        }
        write!(f, "last life: {}\n        {}", self.last, in_words(&self.last_steps))?;
        if let Some(sinks) = &self.sinks {
            write!(f, "\n{sinks}")?;
        }
        if let Some(remote) = &self.remote {
            write!(f, "\n{remote}")?;
        }
        self.damage.as_ref().map_or(Ok(()), |damage| write!(f, "\n{damage}"))
    }
}
