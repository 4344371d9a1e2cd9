//! Which faults the disk injects, how often, where, and what it did.
//!
//! A class has a rate from never (0) to always (1). A *site* is a class at one directory: before its rate counts, a
//! site must be active, which is decided once per run. So a run concentrates on few places, and two faults in one
//! place become likely.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
}

impl FaultClass {
    /// Every class with a rate, in the order of [`FaultClass`]: crashes are the caller's to make.
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
    /// How long calls take.
    pub latency: Latency,
    /// How much longer a stalled call takes.
    pub stall: Duration,
    /// How long the device stays full once [`FaultClass::Full`] fired.
    pub full_for: Duration,
}

impl FaultPlan {
    /// No faults and no latency.
    #[must_use]
    pub fn none() -> Self {
        Self {
            rates: [0.0; FaultClass::RATED.len()],
            site_chance: 1.0,
            latency: Latency::NONE,
            stall: Duration::from_secs(2),
            full_for: Duration::from_millis(500),
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
    /// When the rate is no probability, or the class is one that the caller makes (a crash).
    #[must_use]
    pub fn with(mut self, class: FaultClass, rate: f64) -> Self {
        assert!((0.0..=1.0).contains(&rate), "{rate} is no probability");
        assert!(class.index() < self.rates.len(), "{class:?} has no rate");
        self.rates[class.index()] = rate;
        self
    }

    /// The same plan with this latency.
    #[must_use]
    pub fn with_latency(mut self, latency: Latency) -> Self {
        self.latency = latency;
        self
    }

    /// The rate of a class; zero for crashes.
    pub fn rate(&self, class: FaultClass) -> f64 {
        self.rates.get(class.index()).copied().unwrap_or(0.0)
    }
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sites={}", self.site_chance)?;
        for class in FaultClass::RATED {
            if self.rate(class) > 0.0 {
                write!(f, " {class:?}={}", self.rate(class))?;
            }
        }
        Ok(())
    }
}

/// One fault that was injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected {
    /// What happened.
    pub class: FaultClass,
    /// A path of the file or directory when it happened; empty for the whole disk.
    pub path: PathBuf,
    /// The number of the file or directory ([`Disk::file_number`](super::Disk::file_number)): names change, it does
    /// not. Zero for the whole disk.
    pub file: u64,
    /// The bytes of the file that it concerns; empty for names and syncs of directories.
    pub bytes: Range<u64>,
    /// When.
    pub at: Tick,
}

/// Every fault of a run, in order.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: Vec<Injected>,
}

impl Ledger {
    /// Every fault, oldest first.
    pub fn entries(&self) -> &[Injected] {
        &self.entries
    }

    /// How many faults of this class there were.
    pub fn count(&self, class: FaultClass) -> usize {
        self.entries.iter().filter(|entry| entry.class == class).count()
    }

    /// The faults that no program must survive unharmed.
    pub fn out_of_contract(&self) -> impl Iterator<Item = &Injected> {
        self.entries.iter().filter(|entry| !entry.class.in_contract())
    }

    /// Whether a fault out of contract hit any of these bytes of the file with this number.
    pub fn excuses(&self, file: u64, bytes: &Range<u64>) -> bool {
        self.out_of_contract()
            .any(|entry| entry.file == file && entry.bytes.start < bytes.end && bytes.start < entry.bytes.end)
    }
}

/// The plan at work.
pub(super) struct Faults {
    pub(super) plan: FaultPlan,
    pub(super) ledger: Ledger,
    streams: Streams,
    draws: BTreeMap<FaultClass, Stream>,
    sites: BTreeMap<(FaultClass, PathBuf), bool>,
    full_until: Option<Tick>,
    stopped: bool,
}

impl Faults {
    pub(super) fn new(plan: FaultPlan, streams: Streams) -> Self {
        Self {
            plan,
            ledger: Ledger::default(),
            streams,
            draws: BTreeMap::new(),
            sites: BTreeMap::new(),
            full_until: None,
            stopped: false,
        }
    }

    /// Ends all faults, also the ones that last.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.full_until = None;
    }

    /// Whether a fault of `class` hits a call on something in the directory of `path`.
    pub(super) fn fires(&mut self, class: FaultClass, path: &Path) -> bool {
        let rate = self.plan.rate(class);
        if self.stopped || rate == 0.0 {
            return false;
        }
        let streams = &self.streams;
        let stream =
            self.draws.entry(class).or_insert_with(|| streams.stream(&format!("disk.fault.{class:?}")));
        stream.chance(rate) && (self.plan.site_chance >= 1.0 || self.is_active(class, path))
    }

    /// The stream that decides what a fault of `class` does.
    pub(super) fn details(&mut self, class: FaultClass) -> &mut Stream {
        let streams = &self.streams;
        self.draws.entry(class).or_insert_with(|| streams.stream(&format!("disk.fault.{class:?}")))
    }

    pub(super) fn record(&mut self, class: FaultClass, target: (&Path, u64), bytes: Range<u64>, at: Tick) {
        self.ledger.entries.push(Injected { class, path: target.0.to_owned(), file: target.1, bytes, at });
    }

    /// Whether there is no space now. Space comes back by itself.
    pub(super) fn is_full(&mut self, now: Tick) -> bool {
        if self.full_until.is_some_and(|until| until <= now) {
            self.full_until = None;
        }
        self.full_until.is_some()
    }

    pub(super) fn fill(&mut self, now: Tick) {
        let for_ns = u64::try_from(self.plan.full_for.as_nanos()).unwrap_or(u64::MAX);
        self.full_until = Some(Tick(now.0.saturating_add(for_ns)));
    }

    fn is_active(&mut self, class: FaultClass, path: &Path) -> bool {
        let directory = path.parent().unwrap_or(path);
        let (streams, chance) = (&self.streams, self.plan.site_chance);
        *self.sites.entry((class, directory.to_owned())).or_insert_with(|| {
            streams.stream(&format!("disk.site.{class:?}.{}", directory.display())).chance(chance)
        })
    }
}
