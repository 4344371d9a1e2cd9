//! What the engine and its uploader tell each other: which checkpoint is to go up, and how far the store is.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use event_listener::{Event, EventListener};

use crate::error::{Error, ErrorCode, Result};
use crate::ids::{Epoch, ManifestSeq};
use crate::manifest::{FileName, KeptEpoch, Manifest};
use crate::remote::Traffic;
use crate::sync::unpoisoned;

/// The epochs that a manifest keeps, each with its pins.
pub(super) type Pins = Vec<(Epoch, Vec<String>)>;

/// See [`Pins`].
pub(super) fn pins_of(manifest: &Manifest) -> Pins {
    manifest.kept.iter().map(|kept| (kept.checkpoint.epoch, kept.pins.clone())).collect()
}

/// See the module.
pub(crate) struct Mirror {
    state: Mutex<State>,
    /// Notified when there is something to do, and when the engine stops.
    wanted: Event,
    stopped: Event,
    /// What was asked of the store.
    traffic: Arc<Traffic>,
    /// Tells those who wait for an epoch to look again.
    notify: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    /// The newest local manifest that the uploader has not taken.
    offered: Option<Arc<Manifest>>,
    /// The one that it works on.
    taken: Option<Arc<Manifest>>,
    epoch: Epoch,
    manifest: ManifestSeq,
    /// What the store keeps, as far as it could be brought there.
    pins: Pins,
    /// Attempts that failed so far, and why the last one did, if nothing has landed since.
    failures: u64,
    trouble: Option<Error>,
    stopping: bool,
}

/// How far the object store is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RemoteStatus {
    /// The epoch that a restore from the store would bring back; zero before the first.
    pub epoch: Epoch,
    /// The number of the newest manifest in the store.
    pub manifest: ManifestSeq,
    /// Whether a newer checkpoint waits or is on its way.
    pub pending: bool,
    /// Why the last attempt failed, if none has succeeded since.
    pub trouble: Option<String>,
}

impl Mirror {
    /// For a store whose head is `head`, and of which `traffic` is asked.
    pub(crate) fn new(
        head: &Manifest,
        traffic: Arc<Traffic>,
        notify: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let epoch = head.newest_checkpoint().map_or(Epoch(0), |newest| newest.epoch);
        let state = State { epoch, manifest: head.seq, pins: pins_of(head), ..State::default() };
        Self {
            state: Mutex::new(state),
            wanted: Event::new(),
            stopped: Event::new(),
            traffic,
            notify: Box::new(notify),
        }
    }

    /// A manifest landed locally: its newest checkpoint is to go up, and what is kept, unless the store has it, or will. One that
    /// was offered before and not begun is left out.
    pub(crate) fn offer(&self, manifest: &Manifest) {
        let Some(newest) = manifest.newest_checkpoint() else { return };
        let mut state = self.state();
        let pins = pins_of(manifest);
        // What is on its way will change the store: it is compared with the last of that.
        let last = state.offered.as_ref().or(state.taken.as_ref());
        let is_there = last.map_or(newest.epoch <= state.epoch && pins == state.pins, |last| {
            last.newest_checkpoint().is_some_and(|there| newest.epoch <= there.epoch) && pins == pins_of(last)
        });
        if !is_there {
            state.offered = Some(Arc::new(manifest.clone()));
            drop(state);
            self.wanted.notify(usize::MAX);
        }
    }

    /// The files that are read, or will be: they stay until their checkpoint is in the store.
    pub(crate) fn pinned(&self) -> BTreeSet<FileName> {
        let state = self.state();
        let newest = [&state.offered, &state.taken].into_iter().flatten();
        let files = newest.flat_map(|manifest| {
            let newest = manifest.newest_checkpoint().into_iter().flat_map(|newest| &newest.files);
            newest.chain(manifest.kept.iter().flat_map(KeptEpoch::files))
        });
        files.map(|file| file.name).collect()
    }

    /// What was asked of the store.
    pub(crate) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// How far the store is.
    pub(crate) fn status(&self) -> RemoteStatus {
        let state = self.state();
        RemoteStatus {
            epoch: state.epoch,
            manifest: state.manifest,
            pending: state.offered.is_some() || state.taken.is_some(),
            trouble: state.trouble.as_ref().map(ToString::to_string),
        }
    }

    /// The epoch that the store has.
    pub(crate) fn epoch(&self) -> Epoch {
        self.state().epoch
    }

    /// Whether a checkpoint of `epoch` or a later one is there or on its way.
    pub(crate) fn covers(&self, epoch: Epoch) -> bool {
        let state = self.state();
        let on_its_way = [&state.offered, &state.taken].into_iter().flatten();
        let newest =
            on_its_way.filter_map(|manifest| manifest.newest_checkpoint()).map(|newest| newest.epoch);
        newest.chain([state.epoch]).max() >= Some(epoch)
    }

    /// Attempts that failed so far.
    pub(crate) fn failures(&self) -> u64 {
        self.state().failures
    }

    /// What somebody is told who waits for `epoch` since there were `failures`; `None` while there is hope.
    pub(crate) fn outcome(&self, epoch: Epoch, failures: u64) -> Option<Result<()>> {
        let state = self.state();
        if state.epoch >= epoch {
            return Some(Ok(()));
        }
        let trouble = state.trouble.as_ref().filter(|_| state.failures > failures)?;
        let what =
            format!("epoch {epoch} is not in the object store; the upload goes on, wait again: {trouble}");
        Some(Err(Error::new(ErrorCode::UploadDelayed, what)))
    }

    /// Tells the uploader to end.
    pub(crate) fn stop(&self) {
        self.state().stopping = true;
        self.stopped.notify(usize::MAX);
        (self.notify)();
    }

    /// Completes when the engine stops.
    pub(super) async fn stopped(&self) {
        loop {
            let stopped = self.stopped.listen();
            if self.state().stopping {
                return;
            }
            stopped.await;
        }
    }

    /// Completes at the next offer after this call.
    pub(super) fn wanted(&self) -> EventListener {
        self.wanted.listen()
    }

    /// Takes what is to go up: the newest, or once more what was taken before.
    pub(super) fn take(&self) -> Option<Arc<Manifest>> {
        let mut state = self.state();
        if let Some(offered) = state.offered.take() {
            state.taken = Some(offered);
        }
        state.taken.clone()
    }

    /// What was taken is in the store, as manifest `manifest`; that keeps `pins`.
    pub(super) fn landed(&self, epoch: Epoch, manifest: ManifestSeq, pins: &Pins) {
        let mut state = self.state();
        assert!(epoch >= state.epoch, "the store went from epoch {} to {epoch}", state.epoch);
        (state.epoch, state.manifest, state.trouble) = (epoch, manifest, None);
        state.pins.clone_from(pins);
        let is_in = |waiting: &Arc<Manifest>| {
            let newest = waiting.newest_checkpoint();
            newest.is_none_or(|newest| newest.epoch <= epoch) && pins_of(waiting) == *pins
        };
        if state.taken.as_ref().is_some_and(is_in) {
            state.taken = None;
        }
        drop(state);
        (self.notify)();
    }

    /// An attempt failed; what was taken is tried again.
    pub(super) fn failed(&self, error: Error) {
        let mut state = self.state();
        state.failures += 1;
        state.trouble = Some(error);
        drop(state);
        (self.notify)();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        unpoisoned(self.state.lock())
    }
}

/// How far the cores may be ahead of the store.
#[derive(Clone, Debug)]
pub(crate) struct Lag {
    mirror: Arc<Mirror>,
    epochs_max: u64,
}

impl Lag {
    pub(crate) fn new(mirror: Arc<Mirror>, epochs_max: u64) -> Self {
        Self { mirror, epochs_max }
    }

    /// Whether a core may end `epoch` now.
    pub(crate) fn allows(&self, epoch: Epoch) -> bool {
        epoch.0 <= self.mirror.epoch().0.saturating_add(self.epochs_max)
    }

    /// Whether the last attempt to bring something there has failed.
    pub(crate) fn is_in_trouble(&self) -> bool {
        self.mirror.status().trouble.is_some()
    }

    /// # Errors
    ///
    /// `Busy` while a core may not end `epoch`.
    pub(crate) fn check(&self, epoch: Epoch) -> Result<()> {
        if self.allows(epoch) {
            return Ok(());
        }
        let RemoteStatus { epoch: stored, trouble, .. } = self.mirror.status();
        let trouble = trouble.map_or_else(String::new, |trouble| format!("; {trouble}"));
        let (epoch, max) = (epoch.0, self.epochs_max);
        let what = format!(
            "epoch {epoch} would be more than {max} ahead of the object store, which has epoch {stored} (epoch_lag_max)\
             {trouble}"
        );
        Err(Error::new(ErrorCode::StoreBehind, what))
    }
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mirror({:?})", self.status())
    }
}
