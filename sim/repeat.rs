//! I12: the same seed gives the same trace. On fresh threads of this process, in another process, where addresses and
//! thread ids are others, and in another build of the harness, where the optimizer is.
//!
//! ```text
//! run both ─► digests differ ─► bisect the milestones ─► run both again, with the lines of that stretch kept
//!                                        ▲                              │
//!                                        └──── they parted earlier ◄────┴─► the first event that differs
//! ```
//!
//! A run that differs from itself may part at another event each time, so that what is named is the first difference of
//! two runs that were made for it.

use std::env;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;

use highwater::env::Tick;
use highwater::sim::Trace;

use crate::Test;
use crate::host::Scheduler;
use crate::plan::Plan;
use crate::profile::Profile;
use crate::sweep;
use crate::world::Run;

/// The tests of this module.
pub(crate) const TESTS: &[Test] = tests![the_first_difference_is_named, a_difference_of_lengths_is_named];

/// Events before a difference that are told with it.
const CONTEXT: u64 = 6;
/// How often two runs are made to see again where they part.
const TRIES_MAX: u32 = 8;

/// A story to be repeated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// What runs it.
    pub(crate) scheduler: Scheduler,
    /// The seed.
    pub(crate) seed: u64,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {:#x} on the {} scheduler", self.seed, self.scheduler)
    }
}

/// Where a story is run.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// On a fresh thread of this process.
    Here,
    /// In a process of this program, which is the harness of some build.
    Process(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => f.write_str("this process"),
            Self::Process(program) => write!(f, "a process of {}", program.display()),
        }
    }
}

/// What a run left in its trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// The digest of all events.
    pub(crate) digest: u128,
    /// How many there were.
    pub(crate) events: u64,
    /// The digests on the way there.
    pub(crate) milestones: Vec<u128>,
    /// The lines of the window that was asked for.
    pub(crate) kept: Vec<String>,
}

/// Where two runs of a case part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// How many events are the same; `None` when the difference was seen once and not again.
    pub(crate) event: Option<u64>,
    /// The last of them.
    pub(crate) before: Vec<String>,
    /// The first event that differs, in each run; `None` behind the end of a run.
    pub(crate) lines: [Option<String>; 2],
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(event) = self.event else {
            return write!(f, "the digests differed, and in {TRIES_MAX} more runs they did not");
        };
        writeln!(f, "the first difference is event {event}; before it, in both:")?;
        self.before.iter().try_for_each(|line| writeln!(f, "    {line}"))?;
        let [one, other] = self.lines.each_ref().map(|line| line.as_deref().unwrap_or("(the run is over)"));
        write!(f, "  one:   {one}\n  other: {other}")
    }
}

impl Difference {
    /// A difference that was there once.
    pub(crate) fn seen_once() -> Self {
        Self { event: None, before: Vec::new(), lines: [None, None] }
    }
}

impl Footprint {
    /// What is in `trace` now.
    pub(crate) fn of(trace: &Trace) -> Self {
        let (digest, events) = (trace.digest(), trace.events());
        Self { digest, events, milestones: trace.milestones(), kept: trace.kept() }
    }

    /// As another process reads it: [`Footprint::parse`].
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let milestones = self.milestones.iter().map(|digest| format!("milestone={digest:032x}"));
        let kept = self.kept.iter().map(|line| format!("kept={line}"));
        std::iter::once(digest(self.digest, self.events)).chain(milestones).chain(kept)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut footprint = Self::default();
        let mut whole = false;
        for line in text.lines() {
            if let Some((digest, events)) =
                line.strip_prefix("digest=").and_then(|rest| rest.split_once(" events="))
            {
                footprint.digest = u128::from_str_radix(digest, 16).ok()?;
                footprint.events = events.parse().ok()?;
                whole = true;
            } else if let Some(digest) = line.strip_prefix("milestone=") {
                footprint.milestones.push(u128::from_str_radix(digest, 16).ok()?);
            } else if let Some(kept) = line.strip_prefix("kept=") {
                footprint.kept.push(kept.to_owned());
            }
        }
        whole.then_some(footprint)
    }

    /// How many milestones two runs have in common, found by bisection: digests never meet again.
    fn common(&self, other: &Self) -> usize {
        let pairs: Vec<_> = self.milestones.iter().zip(&other.milestones).collect();
        pairs.partition_point(|(one, other)| one == other)
    }
}

impl Place {
    /// Runs the case, and keeps the lines of the events of `window`.
    ///
    /// # Errors
    ///
    /// A sentence when another process could not do it.
    pub(crate) fn run(&self, case: Case, window: Range<u64>) -> Result<Footprint, String> {
        match self {
            Self::Here => {
                // A store is one more source of choices.
                let with_store = case.seed % 2 == 1;
                let profile = if with_store { Profile::Remote } else { Profile::Forward };
                let run = Run::new(Plan::of(profile, case.seed));
                run.trace.keep(window);
                let outcome = sweep::prepared(case.scheduler, run);
                Ok(Footprint::of(&outcome.run.trace))
            }
            Self::Process(program) => {
                let output = Command::new(program)
                    .args(["trace", &format!("{:#x}", case.seed), "--scheduler", &case.scheduler.to_string()])
                    .args(["--from", &window.start.to_string(), "--to", &window.end.to_string()])
                    .output()
                    .map_err(|error| format!("{}: {error}", program.display()))?;
                let text = String::from_utf8_lossy(&output.stdout);
                Footprint::parse(&text).ok_or_else(|| {
                    let said = String::from_utf8_lossy(&output.stderr);
                    format!("{} does not trace {case} ({}): {said}", program.display(), output.status)
                })
            }
        }
    }
}

/// The line in which a replay tells its digest.
pub(crate) fn digest(digest: u128, events: u64) -> String {
    format!("digest={digest:032x} events={events}")
}

/// This program, to be run in another process.
///
/// # Errors
///
/// A sentence when the system does not say where it is.
pub(crate) fn this_program() -> Result<Place, String> {
    env::current_exe().map(Place::Process).map_err(|error| format!("where is this program: {error}"))
}

/// Runs `case` in both places; where they part, if they do.
///
/// # Errors
///
/// A sentence when a place could not run it.
pub(crate) fn compare(case: Case, one: &Place, other: &Place) -> Result<Option<Difference>, String> {
    first_difference(&mut |window| one.run(case, window), &mut |window| other.run(case, window))
}

/// Makes a run and keeps the lines of a window.
type Runner<'a> = dyn FnMut(Range<u64>) -> Result<Footprint, String> + 'a;

fn first_difference(one: &mut Runner<'_>, other: &mut Runner<'_>) -> Result<Option<Difference>, String> {
    let (mut left, mut right) = (one(0..0)?, other(0..0)?);
    if left == right {
        return Ok(None);
    }
    for _ in 0..TRIES_MAX {
        let from = left.common(&right) as u64 * Trace::milestone_events();
        let window = from.saturating_sub(CONTEXT)..from + Trace::milestone_events();
        (left, right) = (one(window.clone())?, other(window.clone())?);
        if let Some(difference) = in_window(window.start, &left, &right) {
            return Ok(Some(difference));
        }
    }
    Ok(Some(Difference::seen_once()))
}

/// The first line that differs in the windows of two runs that are equal up to there.
fn in_window(start: u64, left: &Footprint, right: &Footprint) -> Option<Difference> {
    let reached = left.common(right) as u64 * Trace::milestone_events() + Trace::milestone_events();
    if left.digest == right.digest || reached <= start {
        return None;
    }
    let count = left.kept.len().max(right.kept.len());
    let at = (0..count).find(|&at| left.kept.get(at) != right.kept.get(at))?;
    let context = usize::try_from(CONTEXT).unwrap_or(usize::MAX);
    let before = left.kept[at.saturating_sub(context)..at].to_vec();
    let lines = [left, right].map(|run| run.kept.get(at).cloned());
    Some(Difference { event: Some(start + at as u64), before, lines })
}

/// Fails unless `seed` leaves the same trace twice here and once in a process of its own.
pub(crate) fn i12_same_seed_same_trace(scheduler: Scheduler, seed: u64) {
    let case = Case { scheduler, seed };
    let elsewhere = this_program().unwrap_or_else(|why| panic!("{why}"));
    for other in [Place::Here, elsewhere] {
        match compare(case, &Place::Here, &other) {
            Ok(None) => {}
            Ok(Some(difference)) => panic!("I12: {case}, in this process and in {other}: {difference}"),
            Err(why) => panic!("{why}"),
        }
    }
}

/// A run of `events` events, the one with number `planted` another than usual.
fn planted(events: u64, planted: Option<u64>) -> impl FnMut(Range<u64>) -> Result<Footprint, String> {
    move |window| {
        let trace = Trace::new();
        trace.keep(window);
        for event in 0..events {
            trace.step(if Some(event) == planted { 99 } else { event % 7 }, Tick(event * 100));
        }
        Ok(Footprint::of(&trace))
    }
}

fn the_first_difference_is_named() {
    const EVENTS: u64 = 10_000;
    for at in [0, 1, 1_023, 1_024, 1_025, 7_000, EVENTS - 1] {
        let found = first_difference(&mut planted(EVENTS, None), &mut planted(EVENTS, Some(at)));
        let difference = found.unwrap_or_else(|why| panic!("{why}")).unwrap_or_else(|| panic!("event {at}"));
        assert_eq!(difference.event, Some(at));
        assert!(difference.lines[1].as_deref().is_some_and(|line| line.ends_with("task 99")), "{difference}");
        assert_eq!(difference.before.len() as u64, at.min(CONTEXT), "{difference}");
    }
    assert_eq!(first_difference(&mut planted(EVENTS, Some(3)), &mut planted(EVENTS, Some(3))), Ok(None));
}

fn a_difference_of_lengths_is_named() {
    let found = first_difference(&mut planted(3_000, None), &mut planted(2_500, None));
    let difference = found.unwrap_or_else(|why| panic!("{why}")).unwrap_or_else(|| panic!("500 events"));
    assert_eq!((difference.event, difference.lines[1].as_deref()), (Some(2_500), None));
}
