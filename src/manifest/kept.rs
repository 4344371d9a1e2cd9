//! Epochs that are kept for themselves: because a pin holds them, or as the first of a span of epochs.
//!
//! A recovery begins with none of them. Their files stay, the log behind them does not, so that one which is kept for months
//! costs what it holds and no more. They are there to be restored into a directory of their own.
//!
//! K1. What is kept was a retained checkpoint, or kept, in the manifest before: no file that a landed manifest has given up
//!     is ever named again.
//! K2. A pin holds one epoch. An epoch may have several pins.
//! K3. A pin goes when its owner lets go, and by nothing else: not by retention, an open, another number of cores, or an
//!     empty directory that takes the database over from its object store.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checkpoint, CheckpointFile, FileName, Manifest};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::Epoch;
use crate::limits::PIN_NAME_BYTES_MAX;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptEpoch {
    /// Without cuts, for no log leads on from it, and without sinks, which another timeline has no part in.
    pub(crate) checkpoint: Checkpoint,
    /// The pins that hold it, sorted; none if it is there for its span.
    pub(crate) pins: Vec<String>,
    /// Whether its files are in the object store, and not in the directory.
    pub(crate) away: bool,
}

/// What somebody wants of the pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// Hold `epoch`, or that of the newest checkpoint.
    Pin { name: String, epoch: Option<Epoch> },
    /// Let go.
    Unpin { name: String },
}

/// How many spans of so many epochs keep one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spans {
    pub(crate) epochs: u64,
    pub(crate) count: usize,
}

impl KeptEpoch {
    fn of(checkpoint: &Checkpoint) -> Self {
        let checkpoint = Checkpoint { cuts: Vec::new(), sinks: Vec::new(), ..checkpoint.clone() };
        Self { checkpoint, pins: Vec::new(), away: false }
    }

    /// The files that the directory must have for it.
    pub(crate) fn files(&self) -> impl Iterator<Item = &CheckpointFile> {
        self.checkpoint.files.iter().filter(|_| !self.away)
    }
}

impl Manifest {
    /// Does what `edit` wants; the epoch that the pin holds now, or held. What no pin holds any more goes with the next
    /// checkpoint.
    ///
    /// # Errors
    ///
    /// `Invalid` when there is no such epoch or pin, or when the name is taken or too long.
    pub(crate) fn edit_pins(&mut self, edit: &Edit) -> Result<Epoch> {
        match edit {
            Edit::Pin { name, epoch } => self.pin(name, *epoch),
            Edit::Unpin { name } => self.unpin(name),
        }
    }

    fn pin(&mut self, name: &str, epoch: Option<Epoch>) -> Result<Epoch> {
        if name.is_empty() || name.len() > PIN_NAME_BYTES_MAX {
            let (bytes, max) = (name.len(), PIN_NAME_BYTES_MAX);
            return Err(Error::new(
                ErrorCode::PinNameTooLong,
                format!("a pin's name has 1 to {max} bytes, this one has {bytes}"),
            ));
        }
        let newest = self.newest_checkpoint().map(|newest| newest.epoch);
        let Some(epoch) = epoch.or(newest) else {
            return Err(Error::new(
                ErrorCode::NothingToPin,
                "there is nothing to pin: take a checkpoint first",
            ));
        };
        if let Some(held) = self.pinned(name) {
            return if held == epoch {
                Ok(epoch)
            } else {
                let what = format!("pin \"{name}\" holds epoch {held}: unpin it first, or take another name");
                Err(Error::new(ErrorCode::PinTaken, what))
            };
        }
        let at = match self.kept.binary_search_by_key(&epoch, |kept| kept.checkpoint.epoch) {
            Ok(at) => at,
            Err(at) => {
                let retained = self.checkpoints.iter().rfind(|checkpoint| checkpoint.epoch == epoch);
                let kept = retained.map(KeptEpoch::of).ok_or_else(|| self.not_retained(epoch))?;
                self.kept.insert(at, kept);
                at
            }
        };
        let pins = &mut self.kept[at].pins;
        pins.push(name.to_owned());
        pins.sort_unstable();
        Ok(epoch)
    }

    fn unpin(&mut self, name: &str) -> Result<Epoch> {
        let held = self
            .pinned(name)
            .ok_or_else(|| Error::new(ErrorCode::NoSuchPin, format!("there is no pin \"{name}\"")))?;
        for kept in &mut self.kept {
            kept.pins.retain(|pin| pin != name);
        }
        Ok(held)
    }

    /// The epoch that pin `name` holds.
    pub(crate) fn pinned(&self, name: &str) -> Option<Epoch> {
        let of_name = |kept: &&KeptEpoch| kept.pins.iter().any(|pin| pin == name);
        self.kept.iter().find(of_name).map(|kept| kept.checkpoint.epoch)
    }

    /// The newest kept epoch of every file that no retained checkpoint needs.
    pub(crate) fn keepers(&self) -> BTreeMap<FileName, Epoch> {
        let of_kept = |kept| KeptEpoch::files(kept).map(|file| (file.name, kept.checkpoint.epoch));
        let mut keepers: BTreeMap<FileName, Epoch> = self.kept.iter().flat_map(of_kept).collect();
        for file in self.checkpoints.iter().flat_map(|checkpoint| &checkpoint.files) {
            keepers.remove(&file.name);
        }
        keepers
    }

    /// Every epoch that can be pinned, ascending.
    pub(crate) fn retained_epochs(&self) -> BTreeSet<Epoch> {
        let kept = self.kept.iter().map(|kept| kept.checkpoint.epoch);
        self.checkpoints.iter().map(|checkpoint| checkpoint.epoch).chain(kept).collect()
    }

    fn not_retained(&self, epoch: Epoch) -> Error {
        let there: Vec<String> = self.retained_epochs().iter().map(ToString::to_string).collect();
        Error::new(
            ErrorCode::EpochNotRetained,
            format!("epoch {epoch} is not retained: only {} are", there.join(", ")),
        )
    }

    /// Keeps the newest checkpoint if it is the first of its span, and what pins hold, and of the newest spans the first. An
    /// epoch is as good as another for that, so what was kept once stays until its span is over the count.
    pub(crate) fn keep_spans(&mut self, spans: Option<Spans>) {
        let Some(Spans { epochs, count }) = spans else {
            return self.kept.retain(|kept| !kept.pins.is_empty());
        };
        assert!(epochs > 0, "a span has epochs");
        let span = |kept: &KeptEpoch| kept.checkpoint.epoch.0 / epochs;
        if let Some(newest) = self.newest_checkpoint().map(KeptEpoch::of)
            && self.kept.last().is_none_or(|last| span(last) < span(&newest))
        {
            self.kept.push(newest);
        }
        let mut firsts: Vec<Epoch> = Vec::new();
        let mut last = None;
        for kept in &self.kept {
            if last.replace(span(kept)) != Some(span(kept)) {
                firsts.push(kept.checkpoint.epoch);
            }
        }
        firsts.drain(..firsts.len().saturating_sub(count));
        self.kept.retain(|kept| !kept.pins.is_empty() || firsts.contains(&kept.checkpoint.epoch));
    }
}
