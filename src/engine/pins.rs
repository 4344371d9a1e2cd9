//! Which epochs are retained, and holding on to some: what programs ask for, and the maintenance answers by a manifest.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Engine;
use super::requests::Requests;
use super::shared::Shared;
use crate::env::{Blocking, Env};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::Epoch;
use crate::manifest::Manifest;
use crate::manifest::kept::Edit;
use crate::sync::{Mutex, lock};

/// An epoch whose state is in files, and can be restored into a directory of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetainedEpoch {
    /// Which one.
    pub epoch: Epoch,
    /// Bytes of its files; epochs share some of them.
    pub bytes: u64,
    /// The pins that hold it, sorted.
    pub pins: Vec<String>,
    /// Whether a recovery may begin with it: then the log behind it is kept, too, and leads to later epochs.
    pub recovers: bool,
    /// Whether its files are in the object store alone.
    pub away: bool,
}

impl RetainedEpoch {
    /// What `manifest` retains, oldest first.
    pub(crate) fn all_of(manifest: &Manifest) -> Vec<Self> {
        let checkpoints = manifest.checkpoints.iter().map(|of| (of.epoch, of.file_bytes()));
        let kept = manifest.kept.iter().map(|kept| Self {
            epoch: kept.checkpoint.epoch,
            bytes: kept.checkpoint.file_bytes(),
            pins: kept.pins.clone(),
            recovers: false,
            away: kept.away,
        });
        Self::joined(checkpoints, kept)
    }

    /// Those that a recovery may begin with, each with its bytes, and those that are `kept`, oldest first.
    pub(crate) fn joined(
        checkpoints: impl Iterator<Item = (Epoch, u64)>,
        kept: impl Iterator<Item = Self>,
    ) -> Vec<Self> {
        let here = |(epoch, bytes)| Self { epoch, bytes, pins: Vec::new(), recovers: true, away: false };
        let mut all: BTreeMap<Epoch, Self> = checkpoints.map(here).map(|one| (one.epoch, one)).collect();
        for kept in kept {
            let recovers = all.contains_key(&kept.epoch);
            all.insert(kept.epoch, Self { recovers, away: kept.away && !recovers, ..kept });
        }
        all.into_values().collect()
    }
}

/// What is asked of the pins, and what is retained.
#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    wishes: VecDeque<Arc<Wish>>,
    retained: Vec<RetainedEpoch>,
    /// Nobody answers any more.
    ended: bool,
}

/// Something asked for.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) edit: Edit,
    answer: Mutex<Option<Result<Epoch>>>,
}

impl Pins {
    /// The next thing to do.
    pub(crate) fn next(&self) -> Option<Arc<Wish>> {
        lock(&self.0).wishes.pop_front()
    }

    /// `manifest` is the head now.
    pub(crate) fn landed(&self, manifest: &Manifest) {
        lock(&self.0).retained = RetainedEpoch::all_of(manifest);
    }

    /// Nothing is answered any more; the caller notifies those who wait.
    pub(crate) fn end(&self) {
        let mut state = lock(&self.0);
        state.ended = true;
        state.wishes.clear();
    }

    fn ended(&self) -> bool {
        lock(&self.0).ended
    }

    fn ask(&self, edit: Edit) -> Arc<Wish> {
        let wish = Arc::new(Wish { edit, answer: Mutex::default() });
        let mut state = lock(&self.0);
        if !state.ended {
            state.wishes.push_back(Arc::clone(&wish));
        }
        wish
    }
}

impl Wish {
    /// The caller notifies those who wait.
    pub(crate) fn tell(&self, answer: Result<Epoch>) {
        *lock(&self.answer) = Some(answer);
    }
}

fn closed() -> Error {
    Error::new(ErrorCode::EngineClosed, "the engine was closed before the pin was set or let go")
}

/// Asks, and waits for the answer.
async fn ask(requests: Arc<Requests>, shared: Arc<Shared>, edit: Edit) -> Result<Epoch> {
    let wish = requests.pins.ask(edit);
    requests.wake();
    let answer = || {
        // What has no answer when the part ends that gives them gets none.
        let ended = requests.pins.ended();
        lock(&wish.answer).take().or_else(|| ended.then(|| shared.check().and(Err(closed()))))
    };
    shared.until(answer).await
}

impl<E: Env> Engine<E> {
    /// The epochs whose state is in files, oldest first: those that a recovery may begin with, and those that a pin or
    /// [`Options::keep_history`](crate::Options::keep_history) keeps.
    pub fn retained(&self) -> Vec<RetainedEpoch> {
        lock(&self.requests.pins.0).retained.clone()
    }

    /// Holds `epoch`, or that of the newest checkpoint, under `name`, of 1 to 255 bytes, until [`Engine::unpin_async`]:
    /// its files stay, whatever is retained else, across opens and changes of the number of cores, so that it can be
    /// restored into another directory (`highwater restore`). The log behind it does not stay. Completes with the epoch
    /// when a manifest has it. With [`Options::remote`](crate::Options::remote) the pin and its files go to the store with
    /// the next upload, and come back with a restore from there. To set a pin again where it is does nothing.
    ///
    /// # Errors
    ///
    /// `Invalid` when the epoch is none of [`Engine::retained`], or the pin holds another, or when pins would hold more
    /// than 200,000 files: unpin some. Also when the name is empty or too long (HW-821), when there is no checkpoint yet
    /// (HW-822: take one), and when the engine was closed before (HW-819). `Full` or `Failed`: the pin may be set or not;
    /// ask [`Engine::retained`] after the next open, or set it again. `Fenced` when somebody else has written to the
    /// directory: stop this one.
    pub fn pin_async(
        &self,
        name: impl Into<String>,
        epoch: impl Into<Option<Epoch>>,
    ) -> impl Future<Output = Result<Epoch>> + Send + 'static {
        let edit = Edit::Pin { name: name.into(), epoch: epoch.into() };
        ask(Arc::clone(&self.requests), Arc::clone(&self.shared), edit)
    }

    /// Lets pin `name` go, and completes with the epoch that it held. Files that nothing else needs go with the next
    /// checkpoint.
    ///
    /// # Errors
    ///
    /// `Invalid` when there is no such pin, and when the engine was closed before (HW-819). `Full` or `Failed`: the pin
    /// may be there or not. `Fenced` when somebody else has written to the directory: stop this one.
    pub fn unpin_async(
        &self,
        name: impl Into<String>,
    ) -> impl Future<Output = Result<Epoch>> + Send + 'static {
        let edit = Edit::Unpin { name: name.into() };
        ask(Arc::clone(&self.requests), Arc::clone(&self.shared), edit)
    }
}

impl<E: Blocking> Engine<E> {
    /// [`Engine::pin_async`], blocking.
    ///
    /// # Errors
    ///
    /// As [`Engine::pin_async`].
    pub fn pin(&self, name: impl Into<String>, epoch: impl Into<Option<Epoch>>) -> Result<Epoch> {
        self.env.block_on(self.pin_async(name, epoch))
    }

    /// [`Engine::unpin_async`], blocking.
    ///
    /// # Errors
    ///
    /// As [`Engine::unpin_async`].
    pub fn unpin(&self, name: impl Into<String>) -> Result<Epoch> {
        self.env.block_on(self.unpin_async(name))
    }
}
