//! The data of the timeline of a page or a picture: for every core how far each mark had come at which time, and
//! everything that is drawn beside it. Times are in nanoseconds, and every series is flat: time, value, time, value …

use std::collections::BTreeMap;

use serde::Serialize;

use super::doc::{Doc, Life, Returned};
use super::record::{Event, Recording, Told};

/// See the module.
#[derive(Serialize)]
pub(crate) struct Lanes {
    pub(super) end: u64,
    broken: Option<(u64, String)>,
    pub(super) lives: Vec<LifeBand>,
    pub(super) cores: Vec<Marks>,
    events: Vec<Mark>,
    faults: Vec<Mark>,
    calls: Calls,
}

#[derive(Serialize)]
pub(super) struct LifeBand {
    number: u32,
    pub(super) from: u64,
    /// When its first open had returned.
    pub(super) opened: Option<u64>,
    pub(super) to: u64,
    pub(super) end: &'static str,
    title: String,
}

/// The marks of one core. A `null` value ends a life.
#[derive(Clone, Default, Serialize)]
pub(super) struct Marks {
    pub(super) appended: Vec<Option<u64>>,
    submitted: Vec<Option<u64>>,
    pub(super) durable: Vec<Option<u64>>,
    pub(super) acknowledged: Vec<Option<u64>>,
    checkpointed: Vec<Option<u64>>,
}

#[derive(Serialize)]
struct Mark {
    t: u64,
    kind: String,
    core: Option<u64>,
    text: String,
    /// Drawn as something that went wrong.
    bad: bool,
}

/// The calls of the disk, column by column.
#[derive(Default, Serialize)]
struct Calls {
    operations: Vec<&'static str>,
    paths: Vec<String>,
    operation: Vec<usize>,
    path: Vec<usize>,
    from: Vec<u64>,
    to: Vec<Option<u64>>,
    first: Vec<u64>,
    bytes: Vec<u64>,
}

impl Lanes {
    /// The timeline of a run.
    pub(crate) fn new(doc: &Doc, recording: &Recording) -> Self {
        let broken = doc.broken.as_ref();
        Self {
            end: doc.end_ns.max(1),
            broken: broken.map(|broken| (broken.at_ns, broken.invariant.unwrap_or("broken").to_owned())),
            lives: doc.lives.iter().map(LifeBand::of).collect(),
            cores: Stairs::of(doc.cores, recording),
            events: recording.entries.iter().filter_map(|entry| mark(entry.at.0, &entry.event)).collect(),
            faults: faults(doc),
            calls: Calls::of(recording),
        }
    }
}

impl LifeBand {
    fn of(life: &Life) -> Self {
        let opened = life.opens.iter().find(|open| matches!(open.result, Some(Returned::Opened(..))));
        let (end, to) = match life.crashes.first() {
            Some((at_ns, crash)) if crash.aftermath.power => ("power loss", *at_ns),
            Some((at_ns, _)) => ("process crash", *at_ns),
            None => ("end", life.to_ns),
        };
        let title = format!("life {}: {}", life.number, life.over.as_deref().unwrap_or("cut short"));
        Self {
            number: life.number,
            from: life.from_ns,
            opened: opened.map(|open| open.at_ns),
            to,
            end,
            title,
        }
    }
}

fn faults(doc: &Doc) -> Vec<Mark> {
    let mark = |fault: &highwater::sim::Injected| Mark {
        t: fault.at.0,
        kind: format!("{:?}", fault.class),
        core: None,
        text: format!("{} {} {:?}", fault.operation, fault.path.display(), fault.bytes),
        bad: !fault.class.in_contract(),
    };
    let crashes = ["ProcessCrash", "PowerLoss"];
    doc.faults.iter().map(mark).filter(|fault| !crashes.contains(&&*fault.kind)).collect()
}

/// What is drawn among the events; the marks of frames are drawn as stairs.
fn mark(t: u64, event: &Event) -> Option<Mark> {
    let (kind, core, text, bad) = match event {
        Event::Opened(opened) => ("opened".to_owned(), None, opened.report.clone(), false),
        Event::Refused(error) => ("open refused".to_owned(), None, error.clone(), true),
        Event::Acknowledged(epoch) => ("acknowledged".to_owned(), None, format!("epoch {epoch}"), false),
        Event::Ended { core, epoch } => {
            ("epoch ended".to_owned(), Some(*core as u64), format!("epoch {epoch}"), false)
        }
        Event::Crash(crash) if crash.aftermath.power => ("power loss".to_owned(), None, String::new(), true),
        Event::Crash(_) => ("process crash".to_owned(), None, String::new(), true),
        Event::Engine(told) if told.message == "submitted" || told.message == "durable" => return None,
        Event::Engine(told) => {
            let bad =
                ["log poisoned", "engine failed", "checkpoint failed", "fallback"].contains(&&*told.message);
            (told.message.clone(), told.number("core"), told.to_string(), bad)
        }
        Event::Life { .. } | Event::Appended { .. } | Event::Synced { .. } | Event::Over(_) => return None,
    };
    Some(Mark { t, kind, core, text, bad })
}

/// Follows the marks of every core through a run.
struct Stairs {
    marks: Vec<Marks>,
    appended: Vec<u64>,
    /// The LSN at which each core ended an epoch, or began behind it.
    ends: Vec<BTreeMap<u64, u64>>,
}

impl Stairs {
    fn of(cores: usize, recording: &Recording) -> Vec<Marks> {
        let marks = vec![Marks::default(); cores];
        let mut stairs = Self { marks, appended: vec![0; cores], ends: vec![BTreeMap::new(); cores] };
        for entry in &recording.entries {
            stairs.follow(entry.at.0, &entry.event);
        }
        stairs.marks
    }

    fn follow(&mut self, t: u64, event: &Event) {
        match event {
            Event::Appended { core, lsn } => self.append(t, *core, *lsn),
            Event::Ended { core, epoch } => {
                self.append(t, *core, self.appended[*core] + 1);
                self.ends[*core].insert(*epoch, self.appended[*core]);
            }
            Event::Opened(opened) => {
                for core in 0..self.marks.len() {
                    let lsn = self.appended[core];
                    self.ends[core].extend(opened.epoch.map(|epoch| (epoch, lsn)));
                    for series in self.marks[core].all() {
                        series.extend([Some(t), Some(lsn)]);
                    }
                }
            }
            Event::Synced { lsn } => {
                for marks in &mut self.marks {
                    marks.acknowledged.extend([Some(t), Some(*lsn)]);
                }
            }
            Event::Acknowledged(epoch) => self.reach(t, *epoch, |marks| &mut marks.acknowledged),
            Event::Engine(told) => self.hear(t, told),
            Event::Crash(_) | Event::Over(_) => {
                for series in self.marks.iter_mut().flat_map(Marks::all) {
                    if series.last().is_some_and(Option::is_some) {
                        series.extend([Some(t), None]);
                    }
                }
            }
            Event::Life { .. } | Event::Refused(_) => {}
        }
    }

    fn hear(&mut self, t: u64, told: &Told) {
        let core = told.number("core").and_then(|core| usize::try_from(core).ok());
        match (&*told.message, core, told.number("lsn")) {
            ("submitted", Some(core), Some(lsn)) => self.marks[core].submitted.extend([Some(t), Some(lsn)]),
            ("durable", Some(core), Some(lsn)) => self.marks[core].durable.extend([Some(t), Some(lsn)]),
            ("life begun", Some(core), None) => {
                self.appended[core] = told.number("next_lsn").map_or(0, |next| next - 1);
            }
            ("checkpoint landed", ..) => {
                let epoch = told.number("epoch").unwrap_or(0);
                self.reach(t, epoch, |marks| &mut marks.checkpointed);
            }
            _ => {}
        }
    }

    fn append(&mut self, t: u64, core: usize, lsn: u64) {
        self.appended[core] = lsn;
        self.marks[core].appended.extend([Some(t), Some(lsn)]);
    }

    /// A mark of every core has come to the end of `epoch`.
    fn reach(&mut self, t: u64, epoch: u64, series: impl Fn(&mut Marks) -> &mut Vec<Option<u64>>) {
        for (marks, ends) in self.marks.iter_mut().zip(&self.ends) {
            if let Some(lsn) = ends.get(&epoch) {
                series(marks).extend([Some(t), Some(*lsn)]);
            }
        }
    }
}

impl Marks {
    fn all(&mut self) -> [&mut Vec<Option<u64>>; 5] {
        let Self { appended, submitted, durable, acknowledged, checkpointed } = self;
        [appended, submitted, durable, acknowledged, checkpointed]
    }
}

impl Calls {
    fn of(recording: &Recording) -> Self {
        let mut calls = Self::default();
        let mut paths: BTreeMap<&str, usize> = BTreeMap::new();
        for call in &recording.calls {
            let known = calls.operations.iter().position(|operation| *operation == call.operation);
            calls.operation.push(known.unwrap_or(calls.operations.len()));
            if known.is_none() {
                calls.operations.push(call.operation);
            }
            let next = paths.len();
            calls.path.push(*paths.entry(&call.path).or_insert(next));
            if paths.len() > next {
                calls.paths.push(call.path.clone());
            }
            calls.from.push(call.from.0);
            calls.to.push(call.to.map(|to| to.0));
            calls.first.push(call.bytes.start);
            calls.bytes.push(call.bytes.end - call.bytes.start);
        }
        calls
    }
}
