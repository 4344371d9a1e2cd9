//! Which faults the disk injects, how often, and where; [`Ledger`] has what it did.
//!
//! A class has a rate from never (0) to always (1). A *site* is a class at one directory: before its rate counts, a
//! site must be active, which is decided once per run. So a run concentrates on few places, and two faults in one
//! place become likely.
//!
//! A fault that happened is a [`Firing`]: the how-many-eth question "does this class fire?" since the run entered a
//! scope was answered with yes. What a firing does is drawn from a stream of its own. So a plan can name the firings
//! that happen ([`FaultPlan::only`]), and leaving one out changes nothing about the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::choices::{Choices, Decided};
use super::disk::SyncFate;
use super::ledger::{Injected, Ledger};
use super::rng::{Stream, Streams};
use crate::env::Tick;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FaultClass {
    /// Unsynced changes reach the platter early.
    WriteBack,
    /// A sync of a file fails. What it covered stays pending, or is lost in part, or whole.
    SyncError,
    /// A sync of a file or directory fails, all that it covered is lost, and the next sync says `Ok`.
    SyncErrorOnce,
    /// A sync of a directory fails. What it covered stays pending, or is lost in part, or whole.
    DirSyncError,
    /// A write fails; its bytes may be there.
    WriteError,
    /// A read fails, and would not if tried again.
    ReadError,
    /// A read returns fewer bytes than it could.
    ShortRead,
    /// A write takes fewer bytes than it could.
    ShortWrite,
    /// A call does nothing and wants to be repeated.
    Interrupted,
    /// The device or the quota is full for a while.
    Full,
    /// A call takes very long.
    Stall,
    /// A sync says `Ok` and does nothing; on lying devices only. Out of contract.
    LostSync,
    /// A bit flips at rest. Out of contract.
    BitRot,
    /// A write lands somewhere else. Out of contract.
    MisdirectedWrite,
    /// A read finds the bytes of another place. Out of contract.
    MisdirectedRead,
    /// A sector cannot be read until it is written again. Out of contract.
    LatentSector,
    /// The process died, the page cache survived.
    ProcessCrash,
    /// The power went.
    PowerLoss,
    /// At rest, a file or a directory became that of an earlier boot or of another disk. Out of contract.
    Exchanged,
    /// The locks that processes held are gone, and the processes are not. Out of contract.
    LostLock,
}

impl FaultClass {
    /// Every class with a rate, in the order of [`FaultClass`]: the others are the caller's to make.
    pub const RATED: [Self; 16] = [
        Self::WriteBack,
        Self::SyncError,
        Self::SyncErrorOnce,
        Self::DirSyncError,
        Self::WriteError,
        Self::ReadError,
        Self::ShortRead,
        Self::ShortWrite,
        Self::Interrupted,
        Self::Full,
        Self::Stall,
        Self::LostSync,
        Self::BitRot,
        Self::MisdirectedWrite,
        Self::MisdirectedRead,
        Self::LatentSector,
    ];

    /// Whether a program must survive it without losing anything that it promised.
    pub fn in_contract(self) -> bool {
        !matches!(
            self,
            Self::LostSync
                | Self::BitRot
                | Self::MisdirectedWrite
                | Self::MisdirectedRead
                | Self::LatentSector
                | Self::Exchanged
                | Self::LostLock
        )
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// How long the disk takes, in microseconds, from and to (included). One call in 64 takes ten times as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// A read.
    pub read_us: (u64, u64),
    /// A write.
    pub write_us: (u64, u64),
    /// A sync of a file or directory, or a write with one.
    pub sync_us: (u64, u64),
    /// Everything else.
    pub name_us: (u64, u64),
}

impl Latency {
    /// No call waits, nor lets anybody else go first.
    pub const NONE: Self = Self { read_us: (0, 0), write_us: (0, 0), sync_us: (0, 0), name_us: (0, 0) };

    /// A common flash device.
    pub const FLASH: Self =
        Self { read_us: (40, 120), write_us: (10, 60), sync_us: (150, 1_500), name_us: (5, 40) };
}

/// What one run's disk injects. `Display` gives every rate above zero.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultPlan {
    rates: [f64; FaultClass::RATED.len()],
    /// The chance that a site is active.
    pub site_chance: f64,
    /// Where faults strike: at this path and below. Nowhere else, if given.
    pub focus: Option<PathBuf>,
    /// How long calls take.
    pub latency: Latency,
    /// How much longer a stalled call takes.
    pub stall: Duration,
    /// How long the device stays full once [`FaultClass::Full`] fired.
    pub full_for: Duration,
    only: Option<BTreeSet<Firing>>,
}

/// One answer "yes" to the question whether a class of faults fires: what a run's faults are named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Firing {
    /// The scope that the run was in: [`SimDisk::enter`](super::SimDisk::enter).
    pub scope: u64,
    /// What fires.
    pub class: FaultClass,
    /// How many times the question had been asked of this class in this scope.
    pub number: u64,
}

impl FaultPlan {
    /// No faults and no latency.
    #[must_use]
    pub fn none() -> Self {
        Self {
            rates: [0.0; FaultClass::RATED.len()],
            site_chance: 1.0,
            focus: None,
            latency: Latency::NONE,
            stall: Duration::from_secs(2),
            full_for: Duration::from_millis(500),
            only: None,
        }
    }

    /// Draws one from the streams of a seed: about half of the classes are off, the others rare or frequent.
    /// Classes out of contract take part only `with_out_of_contract`.
    #[must_use]
    pub fn swarm(streams: &Streams, with_out_of_contract: bool) -> Self {
        let mut stream = streams.stream("disk.plan");
        let mut plan = Self::none();
        plan.latency = Latency::FLASH;
        plan.site_chance = *stream.pick(&[0.25, 0.5, 1.0]);
        for class in FaultClass::RATED {
            let on = stream.chance(0.5);
            let rate = *stream.pick(&[0.0003, 0.001, 0.003, 0.01, 0.05]);
            if on && (class.in_contract() || with_out_of_contract) {
                plan.rates[class.index()] = rate;
            }
        }
        plan
    }

    /// The same plan with this rate, from 0 (never) to 1 (always).
    ///
    /// # Panics
    ///
    /// When the rate is no probability, or the class is one that the caller makes (a crash, damage at rest).
    #[must_use]
    pub fn with(mut self, class: FaultClass, rate: f64) -> Self {
        assert!((0.0..=1.0).contains(&rate), "{rate} is no probability");
        assert!(class.index() < self.rates.len(), "{class:?} has no rate");
        self.rates[class.index()] = rate;
        self
    }

    /// The same plan with these faults and no others, whatever the rates say. They do what they do in the run that they
    /// are from ([`Injected::firing`]), as far as the calls are the same: a plan of fewer faults is a simpler story of the
    /// same bug.
    ///
    /// ```
    /// use highwater::sim::{FaultClass, FaultPlan, Firing};
    ///
    /// // The fourth sync of a file since the run began fails, and nothing else does.
    /// let plan = FaultPlan::none().only([Firing { scope: 0, class: FaultClass::SyncError, number: 3 }]);
    /// assert_eq!(plan.firings().count(), 1);
    /// ```
    #[must_use]
    pub fn only(mut self, firings: impl IntoIterator<Item = Firing>) -> Self {
        self.only = Some(firings.into_iter().collect());
        self
    }

    /// The faults that [`FaultPlan::only`] named, in order.
    pub fn firings(&self) -> impl Iterator<Item = Firing> {
        self.only.iter().flatten().copied()
    }

    /// The same plan with this latency.
    #[must_use]
    pub fn with_latency(mut self, latency: Latency) -> Self {
        self.latency = latency;
        self
    }

    /// The rate of a class; zero for those that the caller makes.
    pub fn rate(&self, class: FaultClass) -> f64 {
        self.rates.get(class.index()).copied().unwrap_or(0.0)
    }
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sites={}", self.site_chance)?;
        if let Some(focus) = &self.focus {
            write!(f, " focus={}", focus.display())?;
        }
        for class in FaultClass::RATED {
            if self.rate(class) > 0.0 {
                write!(f, " {class:?}={}", self.rate(class))?;
            }
        }
        for Firing { scope, class, number } in self.firings() {
            write!(f, " {class:?}@{scope:#x}#{number}")?;
        }
        Ok(())
    }
}

/// The plan at work.
pub(super) struct Faults {
    pub(super) plan: FaultPlan,
    pub(super) ledger: Ledger,
    streams: Streams,
    draws: [Option<Stream>; FaultClass::RATED.len()],
    /// What the last firing of each class does.
    details: BTreeMap<FaultClass, (Option<Firing>, Stream)>,
    scope: u64,
    /// How many questions each class was asked in this scope.
    asked: [u64; FaultClass::RATED.len()],
    sites: BTreeMap<(FaultClass, PathBuf), bool>,
    full_until: Option<Tick>,
    /// Whether nothing ever fires any more.
    stopped: bool,
    decided: Decided,
}

impl Faults {
    pub(super) fn new(plan: FaultPlan, streams: Streams) -> Self {
        let stopped = plan.only.is_none() && plan.rates.iter().all(|rate| *rate == 0.0);
        Self {
            plan,
            ledger: Ledger::default(),
            streams,
            draws: [const { None }; FaultClass::RATED.len()],
            details: BTreeMap::new(),
            scope: 0,
            asked: [0; FaultClass::RATED.len()],
            sites: BTreeMap::new(),
            full_until: None,
            stopped,
            decided: Decided,
        }
    }

    /// Ends all faults, also the ones that last.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.full_until = None;
    }

    /// Counts questions from zero again.
    pub(super) fn enter(&mut self, scope: u64) {
        self.scope = scope;
        self.asked = [0; FaultClass::RATED.len()];
    }

    /// Whether a fault of `class` hits a call on something in the directory of `path`.
    #[inline]
    pub(super) fn fires(&mut self, class: FaultClass, path: &Path) -> bool {
        !self.stopped && self.draw(class, path)
    }

    fn draw(&mut self, class: FaultClass, path: &Path) -> bool {
        let rate = self.plan.rate(class);
        if rate == 0.0 && self.plan.only.is_none() {
            return false;
        }
        let asked = &mut self.asked[class.index()];
        let firing = Firing { scope: self.scope, class, number: *asked };
        *asked += 1;
        let fires = if let Some(only) = &self.plan.only {
            only.contains(&firing)
        } else {
            let streams = &self.streams;
            let named = || streams.stream(&format!("disk.fault.{class:?}"));
            let drawn = self.draws[class.index()].get_or_insert_with(named).chance(rate);
            let in_focus = || self.plan.focus.as_ref().is_none_or(|focus| path.starts_with(focus));
            drawn && in_focus() && (self.plan.site_chance >= 1.0 || self.is_active(class, path))
        };
        if fires {
            let Firing { scope, number, .. } = firing;
            let stream = self.streams.stream(&format!("disk.fault.{class:?}.{scope:x}.{number}"));
            self.details.insert(class, (Some(firing), stream));
        }
        fires
    }

    /// The stream that decides what the last fault of `class` does.
    pub(super) fn details(&mut self, class: FaultClass) -> &mut Stream {
        let streams = &self.streams;
        let fresh = || (None, streams.stream(&format!("disk.fault.{class:?}.none")));
        &mut self.details.entry(class).or_insert_with(fresh).1
    }

    /// What decides about a sync that ends like this, where `class` is the fault that made it.
    pub(super) fn choices(&mut self, class: FaultClass, fate: SyncFate) -> &mut dyn Choices {
        match fate {
            SyncFate::Done | SyncFate::Forgotten | SyncFate::FailedStillDirty => &mut self.decided,
            SyncFate::FailedSomeLost | SyncFate::FailedAllLost => self.details(class),
        }
    }

    pub(super) fn record(&mut self, class: FaultClass, target: (&Path, u64), bytes: Range<u64>, at: Tick) {
        self.record_call((class, ""), target, bytes, at);
    }

    pub(super) fn record_call(
        &mut self,
        (class, operation): (FaultClass, &'static str),
        (path, file): (&Path, u64),
        bytes: Range<u64>,
        at: Tick,
    ) {
        let firing = self.details.get(&class).and_then(|(firing, _)| *firing);
        let path = path.to_owned();
        self.ledger.push(Injected { class, operation, path, file, bytes, at, firing });
    }

    /// Something that the caller made: no question was answered with yes.
    pub(super) fn record_made(
        &mut self,
        class: FaultClass,
        (path, file): (&Path, u64),
        bytes: Range<u64>,
        at: Tick,
    ) {
        let (path, operation, firing) = (path.to_owned(), "", None);
        self.ledger.push(Injected { class, operation, path, file, bytes, at, firing });
    }

    /// Whether there is no space now. Space comes back by itself.
    pub(super) fn is_full(&mut self, now: Tick) -> bool {
        if self.full_until.is_some_and(|until| until <= now) {
            self.full_until = None;
        }
        self.full_until.is_some()
    }

    pub(super) fn fill(&mut self, now: Tick) {
        self.full_until = Some(now.after(self.plan.full_for));
    }

    fn is_active(&mut self, class: FaultClass, path: &Path) -> bool {
        let directory = path.parent().unwrap_or(path);
        let (streams, chance) = (&self.streams, self.plan.site_chance);
        *self.sites.entry((class, directory.to_owned())).or_insert_with(|| {
            streams.stream(&format!("disk.site.{class:?}.{}", directory.display())).chance(chance)
        })
    }
}
