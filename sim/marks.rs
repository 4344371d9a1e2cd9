//! Must-hit marks: the engine's own `tracing` events, counted per thread. A sweep that never met one of them proved
//! less than it seems to.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};

use crate::explain::record::{self, Event, Told};

/// How many of the last events are kept for people.
const LINES_MAX: usize = 20;

/// What happened on one thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    counts: BTreeMap<String, u64>,
    lines: VecDeque<String>,
    /// Where the fields of an event are written.
    fields: String,
}

thread_local! {
    static MARKS: RefCell<Marks> = RefCell::default();
}

impl Marks {
    /// How often the event `mark` ("target: message", the target without its prefix) was seen.
    pub(crate) fn count(&self, mark: &str) -> u64 {
        self.counts.get(mark).copied().unwrap_or(0)
    }

    /// Every mark and how often it was seen.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(mark, count)| (mark.as_str(), *count))
    }

    /// The last events, with their fields, oldest first.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Counts an event and keeps its line. A run has hundreds: strings are used again.
    fn event(&mut self, target: &str, event: &tracing::Event<'_>) {
        let mut mark = match self.lines.len() {
            LINES_MAX => self.lines.pop_front().unwrap_or_default(),
            _ => String::new(),
        };
        mark.clear();
        mark.push_str(target);
        mark.push_str(": ");
        self.fields.clear();
        event.record(&mut Text { mark: &mut mark, fields: &mut self.fields });
        match self.counts.get_mut(&mark) {
            Some(count) => *count += 1,
            None => _ = self.counts.insert(mark.clone(), 1),
        }
        mark.push_str(&self.fields);
        self.lines.push_back(mark);
    }

    /// Adds what another thread has seen.
    pub(crate) fn add(&mut self, other: &Self) {
        for (mark, count) in &other.counts {
            *self.counts.entry(mark.clone()).or_default() += count;
        }
    }
}

/// Starts counting on every thread of the process. The first call does it.
pub(crate) fn install() {
    // A second call finds the subscriber that the first one installed.
    let _ = tracing::subscriber::set_global_default(Counter);
}

/// What this thread has seen since the last call.
pub(crate) fn take() -> Marks {
    MARKS.take()
}

struct Counter;

impl Subscriber for Counter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The marks of every single frame are for a recording only.
        let frame = *metadata.level() == Level::TRACE && metadata.target() == "highwater::wal";
        metadata.is_event() && metadata.target().starts_with("highwater::") && (!frame || record::is_on())
    }

    /// Asked for every event: whether a thread records changes.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.target().starts_with("highwater::") { Interest::sometimes() } else { Interest::never() }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let target = event.metadata().target().trim_start_matches("highwater::");
        record::note(|| {
            let mut told = Told { target, message: String::new(), fields: Vec::new() };
            event.record(&mut told);
            Event::Engine(told)
        });
        // A thread that is ending has nobody left to tell.
        let _ = MARKS.try_with(|marks| marks.borrow_mut().event(target, event));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields.push((name, format!("{value:?}"))),
        }
    }
}

/// The text of an event: its mark, and in another place its fields.
struct Text<'a> {
    mark: &'a mut String,
    fields: &'a mut String,
}

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.mark, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
