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
use crate::limits::{MANIFEST_FILES_MAX, PIN_NAME_BYTES_MAX};

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
    /// `Invalid` when there is no such epoch or pin, when the name is taken or too long, or when pins would hold too many files.
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
                self.check_pinned(kept.checkpoint.files.len())?;
                self.kept.insert(at, kept);
                at
            }
        };
        let pins = &mut self.kept[at].pins;
        pins.push(name.to_owned());
        pins.sort_unstable();
        Ok(epoch)
    }

    /// Whether pins may hold so many files `more`: nothing gives them up to make room.
    fn check_pinned(&self, more: usize) -> Result<()> {
        let held = self.kept.iter().filter(|kept| !kept.pins.is_empty());
        let files = more + held.map(|kept| kept.checkpoint.files.len()).sum::<usize>();
        if files > MANIFEST_FILES_MAX / 2 {
            let what =
                format!("pins would hold {files} files, more than {}: unpin some", MANIFEST_FILES_MAX / 2);
            return Err(Error::new(ErrorCode::ManifestTooLarge, what));
        }
        Ok(())
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

    /// Gives up epochs, the oldest first, until no more than `most` files are named: those that no pin holds, then
    /// fallbacks, and warns of it. Says how many it were. A manifest that cannot be written would let nothing go any more.
    pub(crate) fn give_up_beyond(&mut self, most: usize) -> usize {
        let mut given_up = 0;
        while self.named_files() > most {
            if let Some(oldest) = self.kept.iter().position(|kept| kept.pins.is_empty()) {
                self.kept.remove(oldest);
            } else if let Some(oldest) = self.needless_fallback() {
                self.checkpoints.remove(oldest);
                self.beginning = false;
            } else {
                break;
            }
            given_up += 1;
        }
        if given_up > 0 {
            let least = self.checkpoints.first().map(|checkpoint| checkpoint.epoch.0);
            tracing::warn!(target: "highwater::checkpoint", given_up, ?least, "more is kept than a manifest can name");
        }
        given_up
    }

    /// The oldest checkpoint that is neither the newest nor what is there in its stead when a file of that is damaged.
    fn needless_fallback(&self) -> Option<usize> {
        let newest = self.checkpoints.len().checked_sub(1)?;
        let shares = |checkpoint: &Checkpoint| {
            let is_ours = |file: &CheckpointFile| {
                self.checkpoints[newest].files.iter().any(|ours| ours.name == file.name)
            };
            checkpoint.files.iter().any(is_ours)
        };
        let fallback = self.checkpoints[..newest].iter().rposition(|checkpoint| !shares(checkpoint));
        let fallback = fallback.or(newest.checked_sub(1));
        (0..newest).find(|index| Some(*index) != fallback)
    }

    pub(super) fn named_files(&self) -> usize {
        let kept = self.kept.iter().map(|kept| &kept.checkpoint);
        self.checkpoints.iter().chain(kept).map(|checkpoint| checkpoint.files.len()).sum()
    }
}
