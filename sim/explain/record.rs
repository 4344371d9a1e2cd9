//! What happens in one run, as far as people want to know: recorded on the run's own thread, and only if asked for.
//!
//! Everybody in the harness may note something at any time; without a recording that costs the look at a flag.

use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::panic;
use std::sync::{Arc, Once};

use highwater::RecoveryReport;
use highwater::env::Tick;
use highwater::sim::{Aftermath, BoundaryInfo, Executor, Phase, SimDisk, StoreEffect, Trace};

/// One thing that happened.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// When.
    pub(crate) at: Tick,
    /// What.
    pub(crate) event: Event,
}

/// See [`Entry`].
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A life begins, with these options.
    Life {
        /// Counted from zero.
        number: u32,
        /// What was planned for it.
        plan: String,
    },
    /// An open has returned.
    Opened(Opened),
    /// An open has returned an error.
    Refused(String),
    /// A core has taken a change.
    Appended {
        /// Index of the core.
        core: usize,
        /// Of the change.
        lsn: u64,
    },
    /// A core has ended an epoch.
    Ended {
        /// Index of the core.
        core: usize,
        /// The epoch.
        epoch: u64,
    },
    /// Somebody was told that an epoch is durable.
    Acknowledged(u64),
    /// Somebody was told that a log is durable as far as this.
    Synced {
        /// The last LSN.
        lsn: u64,
    },
    /// The engine says something.
    Engine(Told),
    /// The process ended, or the power went.
    Crash(Box<Crash>),
    /// A life is over, for this reason.
    Over(String),
}

/// What an open returned.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    /// The epoch that was recovered; a log alone has none.
    pub(crate) epoch: Option<u64>,
    /// Cores of the database from then on, where an open may change them.
    pub(crate) cores: Option<usize>,
    /// What it says of itself.
    pub(crate) report: String,
    /// In a word or two.
    pub(crate) short: String,
    /// The least and the greatest epoch that it was allowed to recover, where that is known.
    pub(crate) allowed: Option<(u64, u64)>,
}

impl Opened {
    /// Of an engine with so many cores.
    pub(crate) fn of(report: &RecoveryReport, cores: usize, allowed: Option<(u64, u64)>) -> Self {
        let epoch = report.epoch.0;
        let short = if report.created { "created".to_owned() } else { format!("recovered epoch {epoch}") };
        Self { epoch: Some(epoch), cores: Some(cores), report: report.to_string(), short, allowed }
    }

    /// Of what has no report: what was found there.
    pub(crate) fn saying(found: &str) -> Self {
        Self {
            epoch: None,
            cores: None,
            report: format!("recovered {found}"),
            short: format!("recovered {found}"),
            allowed: None,
        }
    }
}

/// An event of the engine.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// The target without its prefix: "wal", "recovery" …
    pub(crate) target: &'static str,
    /// The message.
    pub(crate) message: String,
    /// Its fields.
    pub(crate) fields: Vec<(&'static str, String)>,
}

impl Told {
    /// A field that is a number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.fields.iter().find(|(field, _)| *field == name)?.1.parse().ok()
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.target, self.message)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// A crash and what it left.
#[derive(Clone, Debug)]
pub(crate) struct Crash {
    /// What became of everything unsynced.
    pub(crate) aftermath: Aftermath,
    /// Calls that had been submitted and had not come back.
    pub(crate) in_flight: Vec<Call>,
}

/// A call of the disk.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Counts the calls of its disk.
    number: u64,
    /// How many entries there were when it took effect.
    entries: usize,
    /// Its name.
    pub(crate) operation: &'static str,
    /// Where.
    pub(crate) path: String,
    /// Which bytes.
    pub(crate) bytes: Range<u64>,
    /// When it was submitted.
    pub(crate) from: Tick,
    /// When it came back, if it did.
    pub(crate) to: Option<Tick>,
}

/// The panic that ended a run.
#[derive(Clone, Debug)]
pub(crate) struct Panicked {
    /// File, line and column of the panic.
    pub(crate) location: String,
    /// The calls of this project that led to it, innermost first.
    pub(crate) frames: Vec<String>,
    /// When.
    pub(crate) at: Tick,
}

/// A moment of a run: this call of the disk, or this request of the object store, took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// By its number.
    Call(u64),
    /// By its number.
    Request(u64),
}

/// Everything that was recorded of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recording {
    /// In order.
    pub(crate) entries: Vec<Entry>,
    /// Calls of the disk, in order of submission.
    pub(crate) calls: Vec<Call>,
    /// The first panic.
    pub(crate) panicked: Option<Panicked>,
    /// The run, if it is one of a fan-out.
    pub(crate) fanned: Option<Fanned>,
    pub(super) open_calls: BTreeMap<u64, usize>,
}

/// A run whose crashes are explored.
#[derive(Clone, Debug)]
pub(crate) struct Fanned {
    /// What its seed decided.
    pub(crate) shape: String,
    /// Cores of the database.
    pub(crate) cores: u16,
    /// Its disk.
    pub(crate) disk: SimDisk,
    /// What it did.
    pub(crate) trace: Trace,
}

/// Whether something is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Off,
    On,
    /// The run is over, and its crashes are explored: nothing is noted until one of them is told.
    Paused,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Off) };
    static RECORDING: RefCell<Recording> = RefCell::default();
    static CLOCK: RefCell<Option<Arc<dyn Executor>>> = RefCell::default();
    /// What is added to every time: the clock of a recovery that is told begins where the story before it ended.
    static BEFORE: Cell<u64> = const { Cell::new(0) };
}

/// Between the end of a run and a recovery of what it left, in nanoseconds: so much that people see where it begins.
const PAUSE_NS: u64 = 50_000;

/// Records on this thread from now on.
pub(crate) fn begin() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| if is_on() { panicked(info) } else { usual(info) }));
    });
    RECORDING.set(Recording::default());
    BEFORE.set(0);
    MODE.set(Mode::On);
}

/// Notes nothing until [`resume`].
pub(crate) fn pause() {
    if is_on() {
        MODE.set(Mode::Paused);
    }
}

/// Whether [`resume`] would go on with a recording.
pub(crate) fn is_paused() -> bool {
    MODE.get() == Mode::Paused
}

/// Forgets what happened after the moment `at`; a crash there is told next.
pub(crate) fn cut(at: At) {
    RECORDING.with_borrow_mut(|recording| {
        let Recording { entries, calls, .. } = recording;
        let last = match at {
            At::Call(number) => {
                let Some(last) = calls.iter().rposition(|call| call.number == number) else { return };
                calls.truncate(last + 1);
                entries.truncate(calls[last].entries);
                Some(last)
            }
            At::Request(number) => {
                let is_it = |entry: &Entry| entry.event.effect() == Some(number);
                let Some(last) = entries.iter().rposition(is_it) else { return };
                entries.truncate(last + 1);
                let end = entries[last].at;
                calls.retain(|call| call.from <= end);
                None
            }
        };
        let from = last.map_or(Tick(0), |last| calls[last].from);
        let end = entries.last().map_or(Tick(0), |entry| entry.at).max(from);
        for (index, call) in calls.iter_mut().enumerate() {
            if call.to.is_some_and(|to| to > end) || Some(index) == last {
                call.to = None;
                recording.open_calls.insert(call.number, index);
            }
        }
    });
}

/// Goes on after [`pause`]. Times begin behind everything that was noted, those of a new clock too.
pub(crate) fn resume() {
    CLOCK.set(None);
    let end = RECORDING.with_borrow(|recording| {
        let entries = recording.entries.iter().map(|entry| entry.at.0);
        let calls = recording.calls.iter().map(|call| call.to.unwrap_or(call.from).0);
        entries.chain(calls).max().unwrap_or(0)
    });
    BEFORE.set(end + PAUSE_NS);
    MODE.set(Mode::On);
}

/// Records what `disk` does from now on, under the clock of `executor`.
pub(crate) fn follow(disk: &SimDisk, executor: &Arc<dyn Executor>) {
    if is_on() {
        clock(Arc::clone(executor));
        disk.on_boundary(Box::new(|_, info| boundary(&info)));
    }
}

/// The run that is recorded is this one of a fan-out, under the clock of `executor`.
pub(crate) fn fanned(fanned: impl FnOnce() -> Fanned, executor: &Arc<dyn Executor>) {
    if is_on() {
        let fanned = fanned();
        clock(Arc::clone(executor));
        fanned.disk.on_crash(Box::new(crash));
        RECORDING.with_borrow_mut(|recording| recording.fanned = Some(fanned));
    }
}

/// A trace for such a run: one with lines only if somebody will read them.
pub(crate) fn trace() -> Trace {
    if is_on() { Trace::new() } else { Trace::silent() }
}

/// Ends the recording of this thread.
pub(crate) fn take() -> Recording {
    MODE.set(Mode::Off);
    CLOCK.set(None);
    RECORDING.take()
}

/// Whether this thread records.
pub(crate) fn is_on() -> bool {
    MODE.get() == Mode::On
}

/// Times come from `executor` from now on.
pub(crate) fn clock(executor: Arc<dyn Executor>) {
    if is_on() {
        CLOCK.set(Some(executor));
    }
}

fn now() -> Tick {
    let since = CLOCK.with_borrow(|clock| clock.as_ref().map_or(Tick(0), |clock| clock.now()));
    later(since)
}

fn later(at: Tick) -> Tick {
    Tick(at.0 + BEFORE.get())
}

/// Notes what `event` makes.
pub(crate) fn note(event: impl FnOnce() -> Event) {
    if is_on() {
        let entry = Entry { at: now(), event: event() };
        RECORDING.with_borrow_mut(|recording| {
            // What destructors do after the end is no part of the story.
            if recording.panicked.is_none() {
                recording.entries.push(entry);
            }
        });
    }
}

/// Notes that another life begins.
pub(crate) fn life(plan: String) {
    note(|| {
        let lives = RECORDING.with_borrow(|recording| {
            recording.entries.iter().filter(|entry| matches!(entry.event, Event::Life { .. })).count()
        });
        Event::Life { number: u32::try_from(lives).unwrap_or(u32::MAX), plan }
    });
}

/// Notes the boundary of a call.
pub(crate) fn boundary(info: &BoundaryInfo) {
    if !is_on() {
        return;
    }
    RECORDING.with_borrow_mut(|recording| match info.phase {
        Phase::Before => {
            recording.open_calls.insert(info.call, recording.calls.len());
            let entries = recording.entries.len();
            recording.calls.push(Call {
                number: info.call,
                entries,
                operation: info.operation,
                path: info.path.display().to_string(),
                bytes: info.bytes.clone(),
                from: later(info.at),
                to: None,
            });
        }
        Phase::Applied => {
            let entries = recording.entries.len();
            if let Some(call) = recording.open_calls.get(&info.call) {
                recording.calls[*call].entries = entries;
            }
        }
        Phase::After => {
            if let Some(call) = recording.open_calls.remove(&info.call) {
                recording.calls[call].to = Some(later(info.at));
            }
        }
    });
}

/// What the message of a request says that took effect, and the field with its number.
const EFFECT: (&str, &str) = ("took effect in the store", "request");

/// Notes that a request of an object store took effect.
pub(crate) fn effect(effect: &StoreEffect) {
    note(|| {
        let number = (EFFECT.1, effect.request.to_string());
        let fields = vec![number, ("does", effect.operation.to_owned()), ("name", effect.name.clone())];
        Event::Engine(Told { target: "store", message: EFFECT.0.to_owned(), fields })
    });
}

impl Event {
    /// The number of the request of which this says that it took effect.
    fn effect(&self) -> Option<u64> {
        match self {
            Self::Engine(told) if told.message == EFFECT.0 => told.number(EFFECT.1),
            _ => None,
        }
    }
}

/// Notes a crash, with the calls that it interrupts. The disk calls this: its own clock is not to be asked.
pub(crate) fn crash(aftermath: &Aftermath) {
    let at = now();
    RECORDING.with_borrow_mut(|recording| {
        let open = std::mem::take(&mut recording.open_calls);
        let in_flight = open.into_values().map(|call| recording.calls[call].clone()).collect();
        let crash = Box::new(Crash { aftermath: aftermath.clone(), in_flight });
        recording.entries.push(Entry { at, event: Event::Crash(crash) });
    });
}

/// How many frames of this project are kept.
const FRAMES_MAX: usize = 10;

fn panicked(info: &panic::PanicHookInfo<'_>) {
    let location = info.location().map_or_else(|| "?".to_owned(), ToString::to_string);
    let frames = own_frames(&Backtrace::force_capture().to_string());
    let at = now();
    // A panic inside of a note leaves the recording to that note.
    RECORDING.with(|recording| {
        if let Ok(mut recording) = recording.try_borrow_mut() {
            recording.panicked.get_or_insert(Panicked { location, frames, at });
        }
    });
}

/// The frames of a backtrace that are in this project, each as the function and, in brackets, its line.
fn own_frames(backtrace: &str) -> Vec<String> {
    let lines: Vec<&str> = backtrace.lines().map(str::trim).collect();
    let pairs = lines.windows(2).filter_map(|pair| {
        let file = pair[1].strip_prefix("at ")?;
        let file = file.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/")).unwrap_or(file);
        let file = file.strip_prefix("./").unwrap_or(file);
        let ours = ["sim/", "src/"].iter().any(|folder| file.starts_with(folder));
        let machinery =
            ["record.rs", "sweep.rs", "host.rs", "runner.rs"].iter().any(|name| file.contains(name));
        let (_, function) = pair[0].split_once(": ")?;
        let place = file.rsplit_once(':').map_or(file, |(line, _column)| line);
        // The body of an async function has no name of its own.
        let named = !function.starts_with('{');
        let told = || if named { format!("{function} ({place})") } else { place.to_owned() };
        (ours && !machinery).then(told)
    });
    let mut frames: Vec<String> = pairs.collect();
    frames.dedup();
    frames.truncate(FRAMES_MAX);
    frames
}
