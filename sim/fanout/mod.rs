//! Crash fan-out: one run, and every disk that a crash at any of its calls may leave.
//!
//! ```text
//! run ──┬─────┬─────┬─────►   a moment = one call took effect, or somebody was told something: a copy-on-write image of the
//!       │     │     │         disk, and what had been promised by then
//!     images of a power cut, image of a process crash
//!       │
//!     recover ──┬────┬────►   moments of the recovery: nested crashes, up to three deep
//!               └ judge: promised ⊆ recovered ⊆ issued, exact content; again after one more power cut
//! ```
//!
//! F1. What is recovered from an image holds everything promised at its moment, and is exact ([`Subject::judge`]).
//! F2. What a recovery returned survives a power cut that loses everything unsynced: it trusts no page cache (I5). The recovery
//!     behind that has a greater token (I8); one inside of another, which has not returned, may have the same.
//! F3. A crash inside a recovery of durable bytes recovers the same again.
//! F4. A power cut never makes an open refuse.
//!
//! An image that was seen before is judged by what was recovered then, and counts once.

mod campaign;
mod course;
mod cut;
mod effort;
pub(crate) mod engine;
mod found;
pub(crate) mod log;
pub(crate) mod offsite;
mod origin;
mod promise;
mod remains;
pub(crate) mod rescale;
mod workload;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) use cut::{Cut, Seen};
pub(crate) use effort::{Effort, Tally, Work};
use highwater::sim::{Aftermath, Crash, Disk, Images, StoreImage, Stream, Streams};
use origin::{Fate, Origin, Place, Step};
use remains::{Outcome, watch};
pub(crate) use remains::{Remains, Shot, Shots};

use crate::explain;
use crate::explain::record::{self, At, Event, Opened};
use crate::without;

/// What a second recovery's identities differ by from the first one's.
const AGAIN: u64 = 1;

/// How many images of a disk, and outcomes of the requests on their way, are corners: nothing lost and everything.
const CORNERS: usize = 2;

/// One in so many moments of a recovery sees its process end, too: what that leaves is recovered twice (F2).
const NESTED_PROCESS_CRASH_ONE_IN: u64 = 8;

/// How deep crashes inside recoveries nest.
const DEPTH_MAX: u32 = 3;

/// A program whose recovery is put to the test.
pub(crate) trait Subject {
    /// What the program had promised at some moment.
    type Promise;
    /// What a recovery returns.
    type Found: Clone + PartialEq + Debug;

    /// Recovers from `remains`, drawing identities from `boot`; watches the recovery's own moments if `watch`.
    fn recover(&self, remains: Remains, boot: u64, watch: bool) -> Result<Recovery<Self::Found>, String>;

    /// Whether what was found keeps the promise and is exact. If the machine was `lost`, it is what was promised of the object
    /// store.
    fn judge(&self, promise: &Self::Promise, found: &Self::Found, lost: bool) -> Result<(), String>;

    /// Whether `later`, recovered from what the recovery of `earlier` left, lost nothing of it and changed nothing.
    fn holds(&self, promise: &Self::Promise, earlier: &Self::Found, later: &Self::Found) -> bool;

    /// Whether `later` is of a life behind that of `earlier`, whose recovery had returned (I8). Logs alone have no tokens.
    fn follows(&self, earlier: &Self::Found, later: &Self::Found) -> bool;
}

/// A recovery that returned.
pub(crate) struct Recovery<F> {
    /// What it returned.
    pub found: F,
    /// What there was as it returned.
    pub remains: Remains,
    /// Its own moments, if they were watched.
    pub moments: Vec<Shot>,
}

/// A moment of the run, and what had been promised by then.
pub(crate) struct Moment<P> {
    /// What there was.
    pub shot: Shot,
    /// The promise.
    pub promise: P,
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
    at: Option<At>,
    /// What became of the disk; none when the machine was lost.
    aftermath: Option<Aftermath>,
    /// What it left.
    remains: Remains,
    boot: u64,
    /// How it came about.
    words: String,
}

/// A moment whose crashes are tried, and what is known of it.
struct Scene<'a, S: Subject> {
    shot: &'a Shot,
    place: Place,
    promise: &'a S::Promise,
    /// The recovery that it is a moment of.
    within: Option<&'a Origin<'a>>,
    /// What that one returned.
    found: Option<&'a S::Found>,
}

impl<'a, S: Subject> Scene<'a, S> {
    fn origin(&self, fate: Fate, landed: &'a str) -> Origin<'a> {
        let (power, lost) = (!matches!(fate, Fate::Process), matches!(fate, Fate::Lost));
        Origin {
            within: self.within,
            step: Step::Crash { place: self.place, call: &self.shot.call, fate, landed },
            power,
            lost: lost || self.within.is_some_and(|within| within.lost),
            depth: self.within.map_or(0, |within| within.depth + 1),
        }
    }

    /// What a recovery must return because the one that it interrupts does (F3): of a lost machine only what its successor found.
    fn expected(&self, origin: &Origin<'_>) -> Option<&'a S::Found> {
        let before = self.within?;
        self.found.filter(|_| before.power && before.lost == origin.lost)
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
            order.into_iter().partition(|number| moments[*number].shot.is_about_names());
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
        let scene = Scene { shot, place: Place::Run(number), promise, within: None, found: None };
        if !without::power_loss() {
            self.power_cuts(&scene, self.effort.images)?;
        }
        if !without::process_crash() {
            self.process_crashes(&scene)?;
        }
        self.losses(&scene)
    }

    /// Cuts the power. Both corners of the disk meet every outcome of the requests on their way, its other images take turns.
    fn power_cuts(&mut self, scene: &Scene<'_, S>, limit: u64) -> Result<(), String> {
        let Shot { remains, at, .. } = scene.shot;
        let (images, outcomes) =
            (remains.disk.images(limit, self.draws.bits()), remains.outcomes(&mut self.draws));
        let (mut images, mut index) = (images, 0);
        while let Some(disk) = images.next() {
            let turn = index % outcomes.len();
            let turns = if index < CORNERS { &outcomes[..] } else { &outcomes[turn..=turn] };
            for Outcome { store, landed } in turns {
                let origin = scene.origin(Fate::Cut(index), landed);
                let left = Remains { disk: disk.clone(), store: store.clone() };
                if let Err(why) = self.image(left, scene.promise, scene.expected(&origin), &origin) {
                    self.keep(Some(*at), told(images.latest(), store.as_ref()), None, &origin);
                    return Err(explained(why, &images));
                }
            }
            index += 1;
        }
        Ok(())
    }

    /// Ends the process.
    fn process_crashes(&mut self, scene: &Scene<'_, S>) -> Result<(), String> {
        let Shot { remains, at, .. } = scene.shot;
        for Outcome { store, landed } in remains.outcomes(&mut self.draws).into_iter().take(CORNERS) {
            let origin = scene.origin(Fate::Process, &landed);
            let mut cached = remains.disk.clone();
            cached.crash(Crash::Process);
            let left = Remains { disk: cached, store: store.clone() };
            let result = self.image(left, scene.promise, None, &origin);
            if result.is_err() {
                let mut cached = remains.disk.clone();
                let aftermath = cached.crash_and_tell(Crash::Process);
                self.keep(Some(*at), told(Some((cached, aftermath)), store.as_ref()), None, &origin);
                return result;
            }
        }
        Ok(())
    }

    /// Loses the machine, where a store outlives it.
    fn losses(&mut self, scene: &Scene<'_, S>) -> Result<(), String> {
        let Shot { remains, at, .. } = scene.shot;
        if remains.store.is_none() {
            return Ok(());
        }
        for Outcome { store, landed } in remains.outcomes(&mut self.draws) {
            let origin = scene.origin(Fate::Lost, &landed);
            let left = Remains { disk: remains.another_disk(), store };
            let kept = left.clone();
            let result = self.image(left, scene.promise, scene.expected(&origin), &origin);
            if result.is_err() {
                self.keep(Some(*at), Some((kept, None)), None, &origin);
                return result;
            }
        }
        Ok(())
    }

    /// Recovers from `left` and judges; `expected` is what an earlier recovery of the same bytes returned.
    fn image(
        &mut self,
        left: Remains,
        promise: &S::Promise,
        expected: Option<&S::Found>,
        origin: &Origin<'_>,
    ) -> Result<(), String> {
        self.tally.images += 1;
        let hash = left.hash();
        // What a process crash leaves differs in what is durable, which the hash does not tell.
        if let Some(found) = self.seen.get(&hash).filter(|_| origin.power) {
            return self.check(promise, expected, found, origin);
        }
        let cuts = !without::power_loss();
        let nest = cuts && origin.depth < DEPTH_MAX && self.draws.below(self.effort.nest_one_in) == 0;
        let boot = self.boot(hash);
        let recovery = self.recover(left, boot, nest, origin)?;
        self.check(promise, expected, &recovery.found, origin)?;
        if cuts && (!origin.power || self.draws.below(self.effort.again_one_in) == 0) {
            self.again(promise, &recovery, boot.wrapping_add(AGAIN), origin)?;
        }
        let before = self.tally;
        for number in self.shuffled(recovery.moments.len()) {
            if self.effort.recovery_max.is_done(before, self.tally) {
                break;
            }
            let (shot, found) = (&recovery.moments[number], Some(&recovery.found));
            let scene = Scene { shot, place: Place::Recovery, promise, within: Some(origin), found };
            self.power_cuts(&scene, self.effort.nested_images)?;
            if !without::process_crash() && self.draws.below(NESTED_PROCESS_CRASH_ONE_IN) == 0 {
                self.process_crashes(&scene)?;
            }
            self.losses(&scene)?;
        }
        if origin.power && self.seen.insert(hash, recovery.found).is_none() {
            self.tally.distinct += 1;
        }
        Ok(())
    }

    /// F2. A machine that was lost may be lost once more.
    fn again(
        &mut self,
        promise: &S::Promise,
        first: &Recovery<S::Found>,
        boot: u64,
        origin: &Origin<'_>,
    ) -> Result<(), String> {
        let Remains { disk, store } = &first.remains;
        let lost = origin.lost && self.draws.chance(0.5);
        // The images begin with "nothing lost" and "everything lost", which are one when nothing is pending.
        let mut images = disk.images(0, 0);
        let disk = images.by_ref().take(2).last().ok_or("a power cut leaves nothing at all")?;
        let disk = if lost { first.remains.another_disk() } else { disk };
        let left = Remains { disk, store: store.as_ref().map(|store| store.settled([])) };
        let again = Origin { within: Some(origin), step: Step::Again { lost }, ..*origin };
        let kept = left.clone();
        let result = match self.recover(left, boot, false, &again) {
            Ok(second) if !self.subject.follows(&first.found, &second.found) => Err(format!(
                "{again}: recovered {:?} at first and then {:?}, of no later token (F2, I8)",
                first.found, second.found
            )),
            Ok(second) if self.subject.holds(promise, &first.found, &second.found) => Ok(()),
            Ok(second) => {
                Err(format!("{again}: recovered {:?} at first and then {:?} (F2)", first.found, second.found))
            }
            Err(why) => Err(why),
        };
        if result.is_err() {
            let aftermath = images.latest().map(|(_, aftermath)| aftermath).filter(|_| !lost);
            self.keep(None, Some((kept, aftermath)), Some(boot), &again);
        }
        result
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
        at: Option<At>,
        left: Option<(Remains, Option<Aftermath>)>,
        boot: Option<u64>,
        origin: &Origin<'_>,
    ) {
        if let Some((remains, aftermath)) = left.filter(|_| record::is_paused()) {
            let boot = boot.unwrap_or_else(|| self.boot(remains.hash()));
            self.crashes.push(Told { at, aftermath, remains, boot, words: origin.step.to_string() });
        }
    }

    /// Tells the crashes that led to a finding, and recovers from each once more.
    fn tell(&mut self) {
        for Told { at, aftermath, remains, boot, words } in self.crashes.drain(..).rev() {
            if let Some(at) = at {
                record::cut(at);
            }
            record::resume();
            match &aftermath {
                Some(aftermath) => record::crash(aftermath),
                None => record::note(|| Event::Over("the machine is lost".to_owned())),
            }
            record::life(format!("recovery from: {words}"));
            let recovered = catch_unwind(AssertUnwindSafe(|| self.subject.recover(remains, boot, false)));
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
        left: Remains,
        boot: u64,
        watch: bool,
        origin: &Origin<'_>,
    ) -> Result<Recovery<S::Found>, String> {
        self.tally.states += 1;
        self.tally.nested += u64::from(origin.depth > 0);
        self.tally.bytes += left.used_bytes();
        let recovered = catch_unwind(AssertUnwindSafe(|| self.subject.recover(left, boot, watch)));
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
        self.subject.judge(promise, found, origin.lost).map_err(|why| format!("{origin}: {why} (F1)"))?;
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

/// What a crash left of the disk, with a store beside it.
fn told(left: Option<(Disk, Aftermath)>, store: Option<&StoreImage>) -> Option<(Remains, Option<Aftermath>)> {
    left.map(|(disk, aftermath)| (Remains { disk, store: store.cloned() }, Some(aftermath)))
}

/// A finding, with what the power cut took that left its image. Of nested ones the innermost comes first.
fn explained(why: String, images: &Images) -> String {
    let Some((_, aftermath)) = images.latest() else { return why };
    format!("{why}\nthe power cut left:\n{}", explain::image(&aftermath))
}
