//! What an error may be blamed on. Where faults are in contract, every error of the kinds `Failed` and `Full` has a cause among
//! them: one that was injected since the engine was opened, or one that lasted then. An error without is a bug (I7). Its code
//! says which faults can be its cause: some codes no fault causes, of the store's none is caused by the disk, and the disk's by
//! the disk alone. `Full` is told while the device is full, and not much longer.

use std::time::Duration;

use highwater::env::Tick;
use highwater::sim::{FaultClass, FaultPlan, Injected, SimDisk, SimStore};
use highwater::{Error, ErrorCode, ErrorKind};

use crate::Test;
use crate::plan::Plan;
use crate::profile::Profile;
use crate::world::{Run, lock};

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![
    an_error_without_a_fault_is_a_finding,
    no_fault_causes_what_no_fault_can,
    a_device_is_full_for_a_while_only
];

/// How long behind the end of a shortage somebody may hear of it, beside the calls that stall: the engine looks for space again
/// every 100 ms, and a call may have been answered before.
const FULL_GRACE: Duration = Duration::from_secs(1);

/// What had gone wrong before an open.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Since {
    at: Tick,
    /// Faults of the disk.
    disk: usize,
    store: Beyond,
    sink: Beyond,
}

/// What goes wrong beyond the machine, in the store or in the external system.
#[derive(Clone, Copy, Debug, Default)]
struct Beyond {
    /// Faults so far.
    injected: u64,
    /// Whether one of these lasts: nobody reaches it, or a request of somebody who is gone is on its way there.
    lasts: bool,
}

impl Beyond {
    fn of_store(run: &Run) -> Self {
        let Some(store) = lock(&run.store).clone() else { return Self::default() };
        Self { injected: injected(&store), lasts: store.is_away() || store.image().on_the_way().len() > 0 }
    }

    fn of_sink(run: &Run) -> Self {
        let Some(outlet) = lock(&run.outlet).clone() else { return Self::default() };
        Self { injected: outlet.injected(), lasts: outlet.is_expected() }
    }

    /// Whether something has gone wrong by `now`.
    fn is_worse(self, now: Self) -> bool {
        self.lasts || now.injected > self.injected
    }
}

/// The faults of a store so far.
pub(crate) fn injected(store: &SimStore) -> u64 {
    store.injected().values().sum()
}

impl Since {
    /// Looks at `now`.
    pub(crate) fn look(run: &Run, now: Tick) -> Self {
        let disk = lock(&run.disk).as_ref().map_or(0, |disk| disk.ledger().entries().len());
        Self { at: now, disk, store: Beyond::of_store(run), sink: Beyond::of_sink(run) }
    }

    /// Panics unless something explains `error`, which `what` said.
    pub(crate) fn check(&self, run: &Run, what: &str, error: &Error) {
        let code = error.code();
        assert!(
            self.explains(run, (error.kind(), code), run.now()),
            "I7: nothing has gone wrong that is a cause of {code}, and {what} says: {error}"
        );
    }

    /// Whether there is a cause for an error of this kind and code; of other kinds than `Failed` and `Full` a fault is none.
    fn explains(&self, run: &Run, (kind, code): (ErrorKind, ErrorCode), now: (Tick, Duration)) -> bool {
        if run.plan.damage.is_some() {
            // The lattice judges the others.
            return !is_impossible(code);
        }
        let ledger = lock(&run.disk).as_ref().map(SimDisk::ledger).unwrap_or_default();
        let (before, since) = ledger.entries().split_at(self.disk.min(ledger.entries().len()));
        let faults = &run.plan.faults;
        match kind {
            ErrorKind::Full => causes(FaultClass::Full, code) && is_full(ledger.entries(), faults, now),
            // What has failed says so from then on.
            ErrorKind::Failed => {
                is_caused(since, code)
                    || (causes(FaultClass::Full, code) && is_full(before, faults, (self.at, Duration::ZERO)))
                    || (code == ErrorCode::StoreUnavailable && self.store.is_worse(Beyond::of_store(run)))
                    || (code == ErrorCode::SinkUnavailable && self.sink.is_worse(Beyond::of_sink(run)))
            }
            _ => false,
        }
    }
}

/// Whether one of `hits` may be why something says `code`.
pub(crate) fn is_caused(hits: &[Injected], code: ErrorCode) -> bool {
    hits.iter().any(|hit| causes(hit.class, code))
}

/// Whether a fault of `class` may be why something says `code`. What is not listed no fault of a disk causes that keeps its
/// word: it is misuse, or the engine's own rules are broken.
fn causes(class: FaultClass, code: ErrorCode) -> bool {
    use FaultClass::{DirSyncError, Full, ReadError, SyncError, SyncErrorOnce, WriteError};
    let classes: &[FaultClass] = match code {
        ErrorCode::Io => &[SyncError, SyncErrorOnce, DirSyncError, WriteError, ReadError],
        ErrorCode::LogWriteFailed => &[SyncError, SyncErrorOnce, WriteError],
        ErrorCode::ManifestUnknown => &[SyncErrorOnce, DirSyncError, WriteError],
        ErrorCode::NoSpace
        | ErrorCode::NoSpaceForLog
        | ErrorCode::EpochWaitsForSpace
        | ErrorCode::ClosedWhileFull => &[Full],
        // The sink `files` writes on the disk of the database.
        ErrorCode::SinkUnavailable => &[SyncError, SyncErrorOnce, DirSyncError, WriteError, ReadError, Full],
        _ => &[],
    };
    classes.contains(&class)
}

/// Whether no fault at all causes `code`, be it out of contract.
pub(crate) fn is_impossible(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::StateFull
            | ErrorCode::StateFullAtOpen
            | ErrorCode::DriveDropped
            | ErrorCode::PipelineDropped
            | ErrorCode::ThreadRefused
            | ErrorCode::Panicked
            | ErrorCode::EngineFailed
            | ErrorCode::DiskNotOpened
            | ErrorCode::Unencodable
    )
}

/// Whether somebody may still be told at `now` that the device was full: a stalled call holds everything up, and so
/// does a clock that has stood still.
fn is_full(hits: &[Injected], faults: &FaultPlan, (now, stood_still): (Tick, Duration)) -> bool {
    let times = |class: FaultClass| hits.iter().filter(move |hit| hit.class == class).map(|hit| hit.at);
    let mut stalls: Vec<Tick> = times(FaultClass::Stall).collect();
    stalls.sort_unstable();
    times(FaultClass::Full).filter(|full| *full <= now).any(|full| {
        let over = stalls.partition_point(|stall| stall.after(faults.stall) < full);
        let stalled = faults.stall.saturating_mul(u32::try_from(stalls.len() - over).unwrap_or(u32::MAX));
        let grace = FULL_GRACE.saturating_add(stood_still).saturating_add(stalled);
        full.after(faults.full_for.saturating_add(grace)) >= now
    })
}

fn an_error_without_a_fault_is_a_finding() {
    use ErrorCode::{Io, NoSpace, SinkUnavailable, StoreUnavailable};
    let run = Run::new(Plan::of(Profile::Forward, 1));
    let since = Since::look(&run, Tick(0));
    let failed = |since: Since, code| since.explains(&run, (ErrorKind::Failed, code), Default::default());
    for code in [Io, NoSpace, SinkUnavailable, StoreUnavailable] {
        assert!(
            !failed(since, code) && !since.explains(&run, (ErrorKind::Full, code), Default::default()),
            "{code}"
        );
    }
    let away = Since { store: Beyond { lasts: true, ..Beyond::default() }, ..since };
    assert!(failed(away, StoreUnavailable) && !failed(away, SinkUnavailable));
    assert!(!failed(away, ErrorCode::LogWriteFailed), "the store writes no log");
    assert!(!away.explains(&run, (ErrorKind::Full, StoreUnavailable), Default::default()));
}

fn no_fault_causes_what_no_fault_can() {
    for code in ErrorCode::ALL {
        let classes: Vec<_> = FaultClass::RATED.into_iter().filter(|class| causes(*class, *code)).collect();
        assert!(classes.iter().all(|class| class.in_contract()), "{code}: {classes:?}");
        assert!(classes.is_empty() || !is_impossible(*code), "{code}: {classes:?}");
    }
    assert!(!causes(FaultClass::SyncError, ErrorCode::SegmentExists));
    assert!(!causes(FaultClass::Full, ErrorCode::LogWriteFailed), "the log writes what is there already");
    assert!(!causes(FaultClass::SyncError, ErrorCode::NoSpace) && !causes(FaultClass::Full, ErrorCode::Io));
}

fn a_device_is_full_for_a_while_only() {
    let hit = |class, at_ms: u64| Injected {
        class,
        operation: "write",
        path: "db/f/1".into(),
        file: 1,
        bytes: 0..1,
        at: Tick(at_ms * 1_000_000),
        firing: None,
    };
    let mut faults = FaultPlan::none();
    (faults.full_for, faults.stall) = (Duration::from_millis(500), Duration::from_secs(3));
    let is_full =
        |hits: &[Injected], now_ms: u64| is_full(hits, &faults, (Tick(now_ms * 1_000_000), Duration::ZERO));
    let full = hit(FaultClass::Full, 1_000);
    assert!(!is_full(&[], 1_000) && !is_full(&[hit(FaultClass::WriteError, 1_000)], 1_000));
    assert!(!is_full(std::slice::from_ref(&full), 999), "it is not full before");
    assert!(is_full(std::slice::from_ref(&full), 2_500) && !is_full(std::slice::from_ref(&full), 2_501));
    let stalled = [full, hit(FaultClass::Stall, 1_100)];
    assert!(is_full(&stalled, 5_500) && !is_full(&stalled, 5_501));
}
