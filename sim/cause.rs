//! What an error may be blamed on. Where faults are in contract, every error of the kinds `Failed` and `Full` has a cause among
//! them: one that was injected since the engine was opened, or one that lasted then. An error without is a bug (I7).

use highwater::env::Tick;
use highwater::sim::{FaultClass, SimDisk, SimStore};
use highwater::{Error, ErrorKind};

use crate::Test;
use crate::plan::Plan;
use crate::profile::Profile;
use crate::sink::Outlet;
use crate::world::{Run, lock};

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![an_error_without_a_fault_is_a_finding];

/// What had gone wrong before an open.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Since {
    at: Tick,
    /// Faults of the disk.
    disk: usize,
    /// Faults of the store and of the external system.
    others: u64,
    /// Whether one of these lasts: nobody reaches it, or a request of somebody who is gone is on its way there.
    lasts: bool,
}

impl Since {
    /// Looks at `now`.
    pub(crate) fn look(run: &Run, now: Tick) -> Self {
        let disk = lock(&run.disk).as_ref().map_or(0, |disk| disk.ledger().entries().len());
        let (store, outlet) = (lock(&run.store).clone(), lock(&run.outlet).clone());
        let away = |store: &SimStore| store.is_away() || store.image().on_the_way().len() > 0;
        let lasts = store.as_ref().is_some_and(away) || outlet.as_ref().is_some_and(Outlet::is_expected);
        Self { at: now, disk, others: others(run), lasts }
    }

    /// Panics unless something explains `error`, which `what` said.
    pub(crate) fn check(&self, run: &Run, what: &str, error: &Error) {
        assert!(self.explains(run, error.kind()), "I7: nothing has gone wrong, and {what} says: {error}");
    }

    /// Whether there is a cause for an error of this kind; of other kinds than `Failed` and `Full` a fault is none.
    fn explains(&self, run: &Run, kind: ErrorKind) -> bool {
        if run.plan.damage.is_some() {
            // The lattice judges these.
            return true;
        }
        let disk: Option<SimDisk> = lock(&run.disk).clone();
        let ledger = disk.map(|disk| disk.ledger()).unwrap_or_default();
        let full_for_ns = u64::try_from(run.plan.faults.full_for.as_nanos()).unwrap_or(u64::MAX);
        let (before, since) = ledger.entries().split_at(self.disk.min(ledger.entries().len()));
        let is_full = before
            .iter()
            .any(|hit| hit.class == FaultClass::Full && hit.at.0.saturating_add(full_for_ns) >= self.at.0);
        let hit =
            (is_full && causes(FaultClass::Full, kind)) || since.iter().any(|hit| causes(hit.class, kind));
        hit || (kind == ErrorKind::Failed && (self.lasts || others(run) > self.others))
    }
}

/// Whether a fault of `class` may be why something says `kind`.
fn causes(class: FaultClass, kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Full => class == FaultClass::Full,
        ErrorKind::Failed => matches!(
            class,
            FaultClass::SyncError
                | FaultClass::SyncErrorOnce
                | FaultClass::DirSyncError
                | FaultClass::WriteError
                | FaultClass::ReadError
                | FaultClass::Full
        ),
        _ => false,
    }
}

/// Faults of the store and of the external system so far.
fn others(run: &Run) -> u64 {
    let store: u64 = lock(&run.store).as_ref().map_or(0, |store| store.injected().values().sum());
    store + lock(&run.outlet).as_ref().map_or(0, Outlet::injected)
}

fn an_error_without_a_fault_is_a_finding() {
    let run = Run::new(Plan::of(Profile::Forward, 1));
    let since = Since::look(&run, Tick(0));
    assert!(!since.explains(&run, ErrorKind::Failed) && !since.explains(&run, ErrorKind::Full));
    let lasting = Since { lasts: true, ..since };
    assert!(lasting.explains(&run, ErrorKind::Failed) && !lasting.explains(&run, ErrorKind::Full));
    for class in FaultClass::RATED {
        use FaultClass::{DirSyncError, Full, ReadError, SyncError, SyncErrorOnce, WriteError};
        let fails = [SyncError, SyncErrorOnce, DirSyncError, WriteError, ReadError, Full].contains(&class);
        assert_eq!(causes(class, ErrorKind::Failed), fails, "{class:?}");
        assert_eq!(causes(class, ErrorKind::Full), class == Full, "{class:?}");
        assert!(!causes(class, ErrorKind::Corrupt), "{class:?}");
    }
}
