//! Crash fan-out: one run, and every disk that a crash at any of its calls may leave.
//!
//! ```text
//! run ──┬─────┬─────┬─────►   a moment = one call took effect: a copy-on-write image of the disk, and what had been
//!       │     │     │         promised by then
//!     images of a power cut, image of a process crash
//!       │
//!     recover ──┬────┬────►   moments of the recovery: nested crashes, up to three deep
//!               └ judge: promised ⊆ recovered ⊆ issued, exact content; again after one more power cut
//! ```
//!
//! F1. What is recovered from an image holds everything promised at its moment, and is exact ([`Subject::judge`]).
//! F2. What a recovery returned survives a power cut that loses everything unsynced: it trusts no page cache (I5).
//! F3. A crash inside a recovery of durable bytes recovers the same again.
//! F4. A power cut never makes an open refuse.
//!
//! An image that was seen before is judged by what was recovered then, and counts once.

mod campaign;
mod course;
mod cut;
pub(crate) mod engine;
pub(crate) mod log;
pub(crate) mod rescale;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use cut::{Cut, Seen};
use highwater::sim::{Aftermath, BoundaryInfo, Crash, Disk, Images, Phase, SimDisk, Stream, Streams};

use crate::explain;
use crate::explain::record::{self, Event, Opened};
use crate::without;

/// What a second recovery's identities differ by from the first one's.
const AGAIN: u64 = 1;

/// How deep crashes inside recoveries nest.
const DEPTH_MAX: u32 = 3;

/// A program whose recovery is put to the test.
pub(crate) trait Subject {
    /// What the program had promised at some moment.
    type Promise;
    /// What a recovery returns.
    type Found: Clone + PartialEq + fmt::Debug;

    /// Recovers from `disk`, drawing identities from `boot`; watches the recovery's own moments if `watch`.
    fn recover(&self, disk: Disk, boot: u64, watch: bool) -> Result<Recovery<Self::Found>, String>;

    /// Whether what was found keeps the promise and is exact.
    fn judge(&self, promise: &Self::Promise, found: &Self::Found) -> Result<(), String>;

    /// Whether `later`, recovered from what the recovery of `earlier` left, lost nothing of it and changed nothing.
    fn holds(&self, promise: &Self::Promise, earlier: &Self::Found, later: &Self::Found) -> bool;
}

/// A recovery that returned.
pub(crate) struct Recovery<F> {
    /// What it returned.
    pub found: F,
    /// The disk as it returned.
    pub disk: Disk,
    /// Its own moments, if they were watched.
    pub moments: Vec<Shot>,
}

/// The disk at the moment a call took effect.
#[derive(Clone)]
pub(crate) struct Shot {
    /// The disk.
    pub disk: Disk,
    /// The call, for people.
    pub call: String,
    /// Its number.
    pub number: u64,
}

/// A moment of the run, and what had been promised by then.
pub(crate) struct Moment<P> {
    /// The disk.
    pub shot: Shot,
    /// The promise.
    pub promise: P,
}

/// How many images are tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Images per moment of the run, beside the corners.
    pub images: u64,
    /// Images per moment of a recovery, beside the corners.
    pub nested_images: u64,
    /// One state in so many has its recovery crashed.
    pub nest_one_in: u64,
    /// One state in so many is recovered twice; process crashes always are.
    pub again_one_in: u64,
    /// After so much work the other moments of the run are left out.
    pub run_max: Work,
    /// After so much work the other moments of one recovery are left out, and of the recoveries inside it.
    pub recovery_max: Work,
}

/// How much was recovered. A state costs what its disk holds: without a bound on bytes a few large runs would take
/// the time of all others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Crash states.
    pub states: u64,
    /// Bytes of their disks.
    pub bytes: u64,
}

impl Work {
    const UNBOUNDED: Self = Self { states: u64::MAX, bytes: u64::MAX };

    /// As many states, and the bytes of as many disks of `disk_bytes`.
    const fn of(states: u64, disk_bytes: u64) -> Self {
        Self { states, bytes: states * disk_bytes }
    }

    /// Whether more was done between `before` and `now`.
    fn is_done(self, before: Tally, now: Tally) -> bool {
        now.states - before.states >= self.states || now.bytes - before.bytes >= self.bytes
    }
}

impl Effort {
    /// The same up to the states that `cut` leaves.
    fn within(self, cut: &Cut) -> Self {
        let states = cut.states_max.unwrap_or(self.run_max.states);
        Self { run_max: Work { states, ..self.run_max }, ..self }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Moments of runs.
    pub moments: u64,
    /// Crash images judged.
    pub images: u64,
    /// Crash states recovered: images that were not seen before, and second recoveries.
    pub states: u64,
    /// Those of them inside recoveries.
    pub nested: u64,
    /// Bytes of the disks that were recovered: what a state costs grows with them.
    pub bytes: u64,
    /// Crash states that differ in what a program can read, within their seed; all were recovered.
    pub distinct: u64,
}

impl Tally {
    /// Adds what somebody else did.
    pub(crate) fn add(&mut self, other: Self) {
        self.moments += other.moments;
        self.images += other.images;
        self.states += other.states;
        self.nested += other.nested;
        self.bytes += other.bytes;
        self.distinct += other.distinct;
    }
}

/// What explores all crashes of a seed's run, or of what is left of it.
pub(crate) type Exploration = fn(u64, &Cut) -> Explored;

/// What was explored.
#[derive(Debug)]
pub(crate) struct Explored {
    /// How much it was.
    pub tally: Tally,
    /// What the run did.
    pub seen: Seen,
    /// The first rule that was broken.
    pub result: Result<(), String>,
}

/// Explores `seed`; a panic is a failure like any other.
pub(crate) fn caught(explore: Exploration, seed: u64, cut: &Cut) -> Explored {
    let explored = catch_unwind(AssertUnwindSafe(|| explore(seed, cut)));
    explored.unwrap_or_else(|panic| Explored {
        tally: Tally::default(),
        seen: Seen::default(),
        result: Err(words_of(panic.as_ref())),
    })
}

/// Explores the crashes of one run.
pub(crate) struct Explorer<'a, S: Subject> {
    subject: &'a S,
    effort: Effort,
    seed: u64,
    draws: Stream,
    seen: BTreeMap<u128, S::Found>,
    /// The crashes that led to a finding, the last one first.
    crashes: Vec<Told>,
    /// What was done so far.
    pub tally: Tally,
}

/// A crash that led to a finding, kept to be told.
struct Told {
    /// The call at which it came; what a recovery left has none.
    call: Option<u64>,
    aftermath: Aftermath,
    /// What it left.
    image: Disk,
    boot: u64,
    /// How it came about.
    words: String,
}

/// How an image came about, for people and for what may be expected of it.
struct Origin<'a> {
    within: Option<&'a Origin<'a>>,
    step: Step<'a>,
    power: bool,
    depth: u32,
}

/// The last part of how an image came about. Its text is made when somebody has to read it.
enum Step<'a> {
    Cut { moment: usize, call: &'a str, image: usize },
    Process { moment: usize, call: &'a str },
    Again,
    Nested { call: &'a str, image: usize },
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(within) = self.within {
            write!(f, "{within}, ")?;
        }
        self.step.fmt(f)
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Cut { moment, call, image } => {
                write!(f, "moment {moment} ({call}), power cut, image {image}")
            }
            Step::Process { moment, call } => write!(f, "moment {moment} ({call}), process crash"),
            Step::Again => f.write_str("recovered, then a power cut that loses everything unsynced"),
            Step::Nested { call, image } => write!(f, "in its recovery ({call}), image {image}"),
        }
    }
}

impl<'a, S: Subject> Explorer<'a, S> {
    /// An explorer whose samples come from `seed`.
    pub(crate) fn new(subject: &'a S, effort: Effort, seed: u64) -> Self {
        let draws = Streams::new(seed).stream("fanout.draws");
        let (seen, crashes, tally) = (BTreeMap::new(), Vec::new(), Tally::default());
        Self { subject, effort, seed, draws, seen, crashes, tally }
    }

    /// Tries the crashes at all `moments`, in an order of its own: when the states are used up, no part of the run has
    /// been left out as a rule.
    pub(crate) fn all(&mut self, moments: &[Moment<S::Promise>]) -> Result<(), String> {
        record::pause();
        self.explore(moments).inspect_err(|_| self.tell())
    }

    fn explore(&mut self, moments: &[Moment<S::Promise>]) -> Result<(), String> {
        let order = self.shuffled(moments.len());
        // Few calls are about names, and most of what a recovery relies on is decided between two of them: they take
        // turns with the others.
        let (names, others): (Vec<usize>, Vec<usize>) =
            order.into_iter().partition(|number| is_about_names(&moments[*number].shot.call));
        let (mut names, mut others) = (names.into_iter(), others.into_iter());
        let turns = std::iter::from_fn(|| {
            let turn = [names.next(), others.next()];
            turn.iter().any(Option::is_some).then_some(turn)
        });
        for number in turns.flatten().flatten() {
            if self.effort.run_max.is_done(Tally::default(), self.tally) {
                break;
            }
            self.moment(number, &moments[number])?;
        }
        Ok(())
    }

    fn shuffled(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            let other = self.draws.below(last as u64 + 1);
            order.swap(last, usize::try_from(other).expect("an index"));
        }
        order
    }

    /// Tries the crashes at `moment`; `number` is for people.
    fn moment(&mut self, number: usize, moment: &Moment<S::Promise>) -> Result<(), String> {
        self.tally.moments += 1;
        let Moment { shot, promise } = moment;
        let (count, call) = (if without::power_loss() { 0 } else { usize::MAX }, &shot.call);
        let (mut images, mut index) = (shot.disk.images(self.effort.images, self.draws.bits()), 0);
        while index < count
            && let Some(image) = images.next()
        {
            let step = Step::Cut { moment: number, call, image: index };
            index += 1;
            let origin = Origin { within: None, step, power: true, depth: 0 };
            if let Err(why) = self.image(image, promise, None, &origin) {
                self.keep(Some(shot.number), images.latest(), None, &origin);
                return Err(explained(why, &images));
            }
        }
        if without::process_crash() {
            return Ok(());
        }
        let mut cached = shot.disk.clone();
        cached.crash(Crash::Process);
        let step = Step::Process { moment: number, call };
        let origin = Origin { within: None, step, power: false, depth: 0 };
        let result = self.image(cached, promise, None, &origin);
        if result.is_err() {
            let mut cached = shot.disk.clone();
            let aftermath = cached.crash_and_tell(Crash::Process);
            self.keep(Some(shot.number), Some((cached, aftermath)), None, &origin);
        }
        result
    }

    /// Recovers from `image` and judges; `expected` is what an earlier recovery of the same bytes returned.
    fn image(
        &mut self,
        image: Disk,
        promise: &S::Promise,
        expected: Option<&S::Found>,
        origin: &Origin<'_>,
    ) -> Result<(), String> {
        self.tally.images += 1;
        let hash = image.hash();
        // What a process crash leaves differs in what is durable, which the hash does not tell.
        if let Some(found) = self.seen.get(&hash).filter(|_| origin.power) {
            return self.check(promise, expected, found, origin);
        }
        let cuts = !without::power_loss();
        let nest = cuts && origin.depth < DEPTH_MAX && self.draws.below(self.effort.nest_one_in) == 0;
        let boot = self.boot(hash);
        let recovery = self.recover(image, boot, nest, origin)?;
        self.check(promise, expected, &recovery.found, origin)?;
        if cuts && (!origin.power || self.draws.below(self.effort.again_one_in) == 0) {
            self.again(promise, &recovery, boot.wrapping_add(AGAIN), origin)?;
        }
        let before = self.tally;
        for number in self.shuffled(recovery.moments.len()) {
            if self.effort.recovery_max.is_done(before, self.tally) {
                break;
            }
            self.nested(&recovery.moments[number], promise, &recovery.found, origin)?;
        }
        if origin.power && self.seen.insert(hash, recovery.found).is_none() {
            self.tally.distinct += 1;
        }
        Ok(())
    }

    /// F2.
    fn again(
        &mut self,
        promise: &S::Promise,
        first: &Recovery<S::Found>,
        boot: u64,
        origin: &Origin<'_>,
    ) -> Result<(), String> {
        // The images begin with "nothing lost" and "everything lost", which are one when nothing is pending.
        let mut images = first.disk.images(0, 0);
        let lost = images.by_ref().take(2).last().ok_or("a power cut leaves nothing at all")?;
        let again = Origin { within: Some(origin), step: Step::Again, ..*origin };
        let result = match self.recover(lost, boot, false, &again) {
            Ok(second) if self.subject.holds(promise, &first.found, &second.found) => Ok(()),
            Ok(second) => {
                Err(format!("{again}: recovered {:?} at first and then {:?} (F2)", first.found, second.found))
            }
            Err(why) => Err(why),
        };
        if result.is_err() {
            self.keep(None, images.latest(), Some(boot), &again);
        }
        result
    }

    /// F3.
    fn nested(
        &mut self,
        shot: &Shot,
        promise: &S::Promise,
        found: &S::Found,
        origin: &Origin<'_>,
    ) -> Result<(), String> {
        let expected = origin.power.then_some(found);
        let (mut images, mut index) = (shot.disk.images(self.effort.nested_images, self.draws.bits()), 0);
        while let Some(image) = images.next() {
            let step = Step::Nested { call: &shot.call, image: index };
            index += 1;
            let origin = Origin { within: Some(origin), step, power: true, depth: origin.depth + 1 };
            if let Err(why) = self.image(image, promise, expected, &origin) {
                self.keep(Some(shot.number), images.latest(), None, &origin);
                return Err(explained(why, &images));
            }
        }
        Ok(())
    }

    /// The identities of a recovery depend on what it finds, so that a finding can be told later.
    fn boot(&self, hash: u128) -> u64 {
        let bytes = hash.to_le_bytes();
        let (low, high) = bytes.split_at(8);
        let half = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("half of 16 bytes"));
        self.seed ^ half(low) ^ half(high)
    }

    /// Keeps a crash that led to a finding, if there is somebody to tell.
    fn keep(
        &mut self,
        call: Option<u64>,
        left: Option<(Disk, Aftermath)>,
        boot: Option<u64>,
        origin: &Origin<'_>,
    ) {
        if let Some((image, aftermath)) = left.filter(|_| record::is_paused()) {
            let boot = boot.unwrap_or_else(|| self.boot(image.hash()));
            self.crashes.push(Told { call, aftermath, image, boot, words: origin.step.to_string() });
        }
    }

    /// Tells the crashes that led to a finding, and recovers from each once more.
    fn tell(&mut self) {
        for Told { call, aftermath, image, boot, words } in self.crashes.drain(..).rev() {
            if let Some(call) = call {
                record::cut(call);
            }
            record::resume();
            record::crash(&aftermath);
            record::life(format!("recovery from: {words}"));
            let recovered = catch_unwind(AssertUnwindSafe(|| self.subject.recover(image, boot, false)));
            let recovered = recovered.unwrap_or_else(|panic| Err(words_of(panic.as_ref())));
            record::note(|| match recovered {
                Ok(recovery) => Event::Opened(Opened::saying(&format!("{:?}", recovery.found))),
                Err(why) => Event::Refused(why),
            });
            record::pause();
        }
    }

    fn recover(
        &mut self,
        image: Disk,
        boot: u64,
        watch: bool,
        origin: &Origin<'_>,
    ) -> Result<Recovery<S::Found>, String> {
        self.tally.states += 1;
        self.tally.nested += u64::from(origin.depth > 0);
        self.tally.bytes += image.used_bytes();
        let recovered = catch_unwind(AssertUnwindSafe(|| self.subject.recover(image, boot, watch)));
        recovered
            .unwrap_or_else(|panic| Err(words_of(panic.as_ref())))
            .map_err(|why| format!("{origin}: {why}"))
    }

    fn check(
        &self,
        promise: &S::Promise,
        expected: Option<&S::Found>,
        found: &S::Found,
        origin: &Origin<'_>,
    ) -> Result<(), String> {
        self.subject.judge(promise, found).map_err(|why| format!("{origin}: {why} (F1)"))?;
        match expected {
            Some(expected) if !self.subject.holds(promise, expected, found) => {
                Err(format!("{origin}: recovered {found:?}, the recovery before it {expected:?} (F3)"))
            }
            _ => Ok(()),
        }
    }
}

/// What a panic said.
pub(crate) fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    format!("panic: {}", words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words"))
}

/// Whether a call, as [`watch`] words it, gives, takes or syncs names.
fn is_about_names(call: &str) -> bool {
    let operation = call.split(' ').nth(1).unwrap_or_default();
    ["create_new", "link", "rename", "remove", "sync_dir"].contains(&operation)
}

/// Calls `with` at the moment each call takes effect that may change the disk.
pub(crate) fn watch(disk: &SimDisk, mut with: impl FnMut(Shot) + Send + 'static) {
    disk.on_boundary(Box::new(move |disk: &Disk, info: BoundaryInfo| {
        record::boundary(&info);
        let looks = ["read_at", "len", "link_count", "list", "lock", "free_space", "open"];
        if info.phase == Phase::Applied && !looks.contains(&info.operation) {
            let call = format!("{} {} {}", info.call, info.operation, info.path.display());
            with(Shot { disk: disk.clone(), call, number: info.call });
        }
    }));
}

/// A list of shots that a hook fills.
#[derive(Clone, Default)]
pub(crate) struct Shots(Arc<Mutex<Vec<Shot>>>);

impl Shots {
    /// Watches `disk`.
    pub(crate) fn watch(&self, disk: &SimDisk) {
        let shots = self.clone();
        watch(disk, move |shot| shots.0.lock().unwrap_or_else(PoisonError::into_inner).push(shot));
    }

    /// What was seen.
    pub(crate) fn take(&self) -> Vec<Shot> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A finding, with what the power cut took that left its image. Of nested ones the innermost comes first.
fn explained(why: String, images: &Images) -> String {
    let Some((_, aftermath)) = images.latest() else { return why };
    format!("{why}\nthe power cut left:\n{}", explain::image(&aftermath))
}
