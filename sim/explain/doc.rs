//! A recorded run, life after life.

use std::collections::BTreeMap;

use highwater::sim::{FileFate, Injected, SectorFate, Trace};

use super::promise::Broken;
use super::record::{Crash, Event, Fanned, Opened, Recording, Told};
use super::sectors;
use crate::fanout::Explored;
use crate::host::Scheduler;
use crate::profile::Profile;
use crate::sweep::Outcome;
use crate::world::lock;

/// See the module.
pub(crate) struct Doc {
    /// The seed.
    pub(crate) seed: u64,
    /// The kind of its plan.
    pub(crate) profile: Profile,
    /// What ran it.
    pub(crate) scheduler: Scheduler,
    /// What the seed decided.
    pub(crate) plan: String,
    /// Cores of the database.
    pub(crate) cores: usize,
    /// What happened how often, in words.
    pub(crate) tally: String,
    /// The digest of the trace.
    pub(crate) digest: u128,
    /// How many events it covers.
    pub(crate) events: u64,
    /// The first broken promise.
    pub(crate) broken: Option<Broken>,
    /// The epochs that it names: how they came about.
    pub(crate) trails: Vec<Trail>,
    /// Every life, the last one included.
    pub(crate) lives: Vec<Life>,
    /// Every fault that was injected, crashes included.
    pub(crate) faults: Vec<Injected>,
    /// The last lines of the trace.
    pub(crate) last_lines: Vec<String>,
    /// When the run ended, in nanoseconds.
    pub(crate) end_ns: u64,
}

/// One life.
#[derive(Default)]
pub(crate) struct Life {
    /// Counted from zero.
    pub(crate) number: u32,
    /// What was planned.
    pub(crate) plan: String,
    /// When it began, in nanoseconds.
    pub(crate) from_ns: u64,
    /// When it was over.
    pub(crate) to_ns: u64,
    /// Its opens, in order: usually one.
    pub(crate) opens: Vec<Open>,
    /// What the engine said after the open, with the time, without what is said again and again.
    pub(crate) said: Vec<(u64, Told)>,
    /// How it ended, in its own words.
    pub(crate) over: Option<String>,
    /// The crash that ended it, and the one before the last life, if that came next.
    pub(crate) crashes: Vec<(u64, Crash)>,
}

/// One open: what it read and decided, and what it returned.
#[derive(Default)]
pub(crate) struct Open {
    /// When it returned; the beginning of the life's next phase.
    pub(crate) at_ns: u64,
    /// What the engine said meanwhile.
    pub(crate) said: Vec<(u64, Told)>,
    /// What it returned; `None` when a crash came first.
    pub(crate) result: Option<Returned>,
}

/// What an open returned.
pub(crate) enum Returned {
    /// What it recovered.
    Opened(Opened),
    /// The error.
    Refused(String),
}

/// How an epoch came about, as far as the run saw it.
pub(crate) struct Trail {
    /// The epoch.
    pub(crate) epoch: u64,
    /// When somebody was told that it is durable.
    pub(crate) acknowledged_ns: Option<u64>,
    /// For each core: when it ended the epoch, with which LSN, and when that was durable.
    pub(crate) cores: Vec<Option<(u64, u64, Option<u64>)>>,
}

/// Messages of the engine that are too frequent to be told one by one.
const FREQUENT: [&str; 6] = ["submitted", "durable", "coalesce", "seal", "epoch closed", "segment prepared"];

/// How many lines of the trace are shown.
const LINES: usize = 40;

impl Doc {
    /// What there is to tell about a story.
    pub(crate) fn of_story(scheduler: Scheduler, outcome: &Outcome, recording: &Recording) -> Self {
        let run = &outcome.run;
        let disk = lock(&run.disk).clone();
        let step = lock(&run.step).clone();
        let broken = outcome
            .failure
            .clone()
            .map(|message| Broken::of_story(message, step, recording.panicked.as_ref()));
        let cores = cores_of(recording, run.plan.shape.cores);
        Self {
            seed: run.plan.seed,
            profile: run.plan.profile,
            scheduler,
            plan: run.plan.to_string(),
            cores,
            tally: format!("{:?}", lock(&run.tally)),
            digest: run.trace.digest(),
            events: run.trace.events(),
            trails: trails(broken.as_ref(), cores, recording),
            end_ns: end_of(recording, broken.as_ref()),
            broken,
            lives: lives(recording),
            faults: disk.map(|disk| disk.ledger().entries().to_vec()).unwrap_or_default(),
            last_lines: run.trace.last(LINES),
        }
    }

    /// What there is to tell about a run whose crashes were explored, and about the one that broke a promise.
    pub(crate) fn of_fan_out(
        (profile, seed): (Profile, u64),
        explored: &Explored,
        recording: &Recording,
    ) -> Self {
        let fanned = recording.fanned.as_ref();
        let end_ns = recording.entries.last().map_or(0, |entry| entry.at.0);
        let broken = explored
            .result
            .as_ref()
            .err()
            .map(|why| Broken::of_fan_out(why, recording.panicked.as_ref(), end_ns));
        let cores = cores_of(recording, fanned.map_or(1, |fanned| fanned.cores));
        let trace = fanned.map(|fanned| &fanned.trace);
        Self {
            seed,
            profile,
            scheduler: Scheduler::BuiltIn,
            plan: fanned.map(|Fanned { shape, .. }| shape.clone()).unwrap_or_default(),
            cores,
            tally: format!("{:?}", explored.tally),
            digest: trace.map_or(0, Trace::digest),
            events: trace.map_or(0, Trace::events),
            trails: trails(broken.as_ref(), cores, recording),
            end_ns: end_of(recording, broken.as_ref()),
            broken,
            lives: lives(recording),
            faults: fanned.map(|fanned| fanned.disk.ledger().entries().to_vec()).unwrap_or_default(),
            last_lines: trace.map(|trace| trace.last(LINES)).unwrap_or_default(),
        }
    }

    /// The last crash before the promise was broken: life and crash.
    pub(crate) fn fatal_crash(&self) -> Option<(&Life, &Crash)> {
        self.broken.as_ref()?;
        self.lives.iter().rev().find_map(|life| Some((life, &life.crashes.last()?.1)))
    }

    /// The files of that crash that had their final names and lost something.
    pub(crate) fn fatal_files(&self) -> impl Iterator<Item = &FileFate> {
        let files = self.fatal_crash().into_iter().flat_map(|(_, crash)| &crash.aftermath.files);
        files.filter(|file| {
            let temporary = file.path.extension().is_some_and(|extension| extension == "tmp");
            let kept = |fate| matches!(fate, SectorFate::New | SectorFate::Unsynced);
            !temporary && sectors::counts(file).iter().any(|(fate, _)| !kept(*fate))
        })
    }

    /// How many faults of each class there were.
    pub(crate) fn fault_counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for fault in &self.faults {
            *counts.entry(format!("{:?}", fault.class)).or_default() += 1;
        }
        counts
    }
}

/// The cores of the database when it had most of them: a life may have more than the `first`.
fn cores_of(recording: &Recording, first: u16) -> usize {
    let count = |event: &Event| match event {
        Event::Appended { core, .. } | Event::Ended { core, .. } => Some(core + 1),
        Event::Opened(opened) => opened.cores,
        Event::Engine(told) => told.number("core").and_then(|core| usize::try_from(core + 1).ok()),
        _ => None,
    };
    let counts = recording.entries.iter().filter_map(|entry| count(&entry.event));
    counts.chain([usize::from(first)]).max().unwrap_or(1)
}

/// How the epochs came about that a broken promise names.
fn trails(broken: Option<&Broken>, cores: usize, recording: &Recording) -> Vec<Trail> {
    // Nobody ends epoch 0: it is the beginning.
    let epochs = broken.into_iter().flat_map(Broken::epochs).filter(|epoch| *epoch > 0);
    epochs.map(|epoch| Trail::of(epoch, cores, recording)).collect()
}

fn end_of(recording: &Recording, broken: Option<&Broken>) -> u64 {
    let ends = recording.entries.iter().map(|entry| entry.at.0);
    ends.chain(broken.map(|broken| broken.at_ns)).max().unwrap_or(0)
}

fn lives(recording: &Recording) -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    for entry in &recording.entries {
        let at_ns = entry.at.0;
        if let Event::Life { number, plan } = &entry.event {
            let open = Open { at_ns, ..Open::default() };
            let (number, plan) = (*number, plan.clone());
            lives.push(Life { number, plan, from_ns: at_ns, opens: vec![open], ..Life::default() });
            continue;
        }
        let Some(life) = lives.last_mut() else { continue };
        life.to_ns = life.to_ns.max(at_ns);
        match &entry.event {
            Event::Opened(opened) => life.returned(at_ns, Returned::Opened(opened.clone())),
            Event::Refused(error) => life.returned(at_ns, Returned::Refused(error.clone())),
            Event::Engine(told) if FREQUENT.contains(&&*told.message) => {}
            Event::Engine(told) => life.told(at_ns, told),
            Event::Crash(crash) => life.crashes.push((at_ns, (**crash).clone())),
            Event::Over(story) => life.over = Some(story.clone()),
            Event::Life { .. }
            | Event::Appended { .. }
            | Event::Ended { .. }
            | Event::Acknowledged(_)
            | Event::Synced { .. } => {}
        }
    }
    lives
}

impl Life {
    fn returned(&mut self, at_ns: u64, result: Returned) {
        if self.opens.last().is_none_or(|open| open.result.is_some()) {
            self.opens.push(Open::default());
        }
        if let Some(open) = self.opens.last_mut() {
            (open.at_ns, open.result) = (at_ns, Some(result));
        }
    }

    /// What is said while a database is opened belongs to the open, also to a second one in the same life.
    fn told(&mut self, at_ns: u64, told: &Told) {
        let opens = told.message == "directory read";
        let pending = self.opens.last().is_some_and(|open| open.result.is_none());
        if opens && !pending {
            self.opens.push(Open { at_ns, ..Open::default() });
        }
        match self.opens.last_mut() {
            Some(open) if open.result.is_none() => open.said.push((at_ns, told.clone())),
            _ => self.said.push((at_ns, told.clone())),
        }
    }

    /// The core's decision of an open, if it came to one.
    pub(crate) fn decisions(open: &Open) -> impl Iterator<Item = &Told> {
        open.said.iter().map(|(_, told)| told).filter(|told| told.message == "decided")
    }
}

impl Trail {
    fn of(epoch: u64, cores: usize, recording: &Recording) -> Self {
        let mut trail = Self { epoch, acknowledged_ns: None, cores: vec![None; cores] };
        let mut appended = vec![0; cores];
        for entry in &recording.entries {
            let at_ns = entry.at.0;
            match &entry.event {
                Event::Appended { core, lsn } => appended[*core] = *lsn,
                Event::Ended { core, epoch: ended } => {
                    appended[*core] += 1;
                    if *ended == epoch
                        && let Some(ended) = trail.cores.get_mut(*core)
                    {
                        *ended = Some((at_ns, appended[*core], None));
                    }
                }
                // A number is used again when an epoch is lost: the last one counts, and begins anew.
                Event::Opened(opened) if opened.epoch.is_some_and(|recovered| recovered < epoch) => {
                    let cores = opened.cores.unwrap_or(cores);
                    trail = Self { epoch, acknowledged_ns: None, cores: vec![None; cores] };
                }
                Event::Acknowledged(durable) if *durable >= epoch => {
                    trail.acknowledged_ns.get_or_insert(at_ns);
                }
                Event::Engine(told) => trail.hear(at_ns, told, &mut appended),
                _ => {}
            }
        }
        trail
    }

    fn hear(&mut self, at_ns: u64, told: &Told, appended: &mut [u64]) {
        let core = told.number("core").and_then(|core| usize::try_from(core).ok()).unwrap_or(usize::MAX);
        match (&*told.message, told.number("lsn"), told.number("next_lsn")) {
            ("life begun", _, Some(next)) => appended[core] = next - 1,
            ("durable", Some(lsn), _) => {
                if let Some(Some((_, ended, durable))) = self.cores.get_mut(core)
                    && lsn >= *ended
                {
                    durable.get_or_insert(at_ns);
                }
            }
            _ => {}
        }
    }
}
