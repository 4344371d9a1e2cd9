//! The requests for checkpoints: who asks, what makes one due, and how those who wait are answered.
//!
//! Invariants
//! 1. A request is answered by a checkpoint that began behind it; all that were made before one began share its answer.
//! 2. When the maintenance has ended, whoever still waits is told so.

use std::sync::Arc;
use std::time::Duration;

use event_listener::Event;

use super::growth::Growth;
use super::outlook::Outlook;
use super::pins::Pins;
use super::shared::Shared;
use super::stats::CheckpointStats;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{Epoch, ManifestSeq};
use crate::manifest::Manifest;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, lock};

/// What a checkpoint did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointInfo {
    /// The closed epoch that it holds.
    pub epoch: Epoch,
    /// The manifest whose landing committed it.
    pub manifest: ManifestSeq,
    /// Bytes of the files that it wrote; what it shares with earlier checkpoints is not counted.
    pub bytes_written: u64,
    /// How many files it wrote.
    pub files_written: u32,
    /// How many cores got a new base instead of a delta.
    pub bases_written: u32,
    /// Log records that were compacted into it.
    pub records_read: u64,
}

/// The requests for checkpoints, and their answers.
#[derive(Debug)]
pub(crate) struct Requests {
    state: Mutex<RequestState>,
    pub(super) pins: Pins,
    /// What the logs were given since the last checkpoint.
    pub(super) growth: Growth,
    /// How many bytes of that make a checkpoint due: at most, and now.
    log_bytes_max: u64,
    log_bytes_due: AtomicU64,
    /// Bytes of the newest checkpoint.
    pub(super) load_bytes: AtomicU64,
    pub(super) outlook: Outlook,
    /// The closed epoch at which a checkpoint is due.
    pub(super) epoch_due: AtomicU64,
    stats: Mutex<CheckpointStats>,
    /// Notified when a checkpoint may be due, and when the engine stops.
    pub(super) wanted: Event,
}

#[derive(Debug, Default)]
struct RequestState {
    /// How many checkpoints have been asked for.
    asked: u64,
    /// How many of these have been answered: all that were asked before a checkpoint began share its answer.
    answered: u64,
    answer: Option<Result<CheckpointInfo>>,
    /// Maintenance has ended and answers nobody any more.
    ended: bool,
}

impl Requests {
    /// Requests for an engine with the manifest `head` that takes a checkpoint when its logs have grown by `log_bytes_max`, or by
    /// less if the `outlook` asks for that. What the open had to replay counts: a process that dies again and again takes one
    /// all the same.
    pub(crate) fn new(outlook: Outlook, log_bytes_max: u64, replayed_bytes: u64, head: &Manifest) -> Self {
        let requests = Self {
            state: Mutex::default(),
            pins: Pins::default(),
            growth: Growth::new(replayed_bytes, head.cores),
            log_bytes_max,
            log_bytes_due: AtomicU64::new(log_bytes_max),
            load_bytes: AtomicU64::new(0),
            outlook,
            epoch_due: AtomicU64::new(u64::MAX),
            stats: Mutex::default(),
            wanted: Event::new(),
        };
        requests.landed(head);
        requests
    }

    /// `manifest` is the head now.
    pub(super) fn landed(&self, manifest: &Manifest) {
        self.pins.landed(manifest);
        lock(&self.stats).epoch = manifest.newest_checkpoint().map_or(Epoch(0), |newest| newest.epoch);
        let load_bytes = manifest.load_bytes();
        self.load_bytes.store(load_bytes, Ordering::Relaxed);
        let due = self.outlook.log_bytes_due(self.log_bytes_max, load_bytes);
        self.log_bytes_due.store(due, Ordering::Relaxed);
    }

    /// How the checkpoints went.
    pub(super) fn stats(&self) -> CheckpointStats {
        *lock(&self.stats)
    }

    /// A checkpoint was taken and did `info`, or was tried in vain, and took `took`.
    pub(super) fn count(&self, info: Option<CheckpointInfo>, took: Duration) {
        let mut stats = lock(&self.stats);
        match info {
            Some(info) => {
                stats.taken += 1;
                (stats.last, stats.last_took) = (Some(info), took);
            }
            None => stats.failed += 1,
        }
    }

    /// Asks for a checkpoint and waits for it.
    pub(crate) async fn checkpoint(requests: Arc<Self>, shared: Arc<Shared>) -> Result<CheckpointInfo> {
        let ticket = {
            let mut state = lock(&requests.state);
            state.asked += 1;
            state.asked
        };
        requests.wake();
        shared.until(|| requests.answer(ticket, &shared)).await
    }

    /// A log was given `bytes` more.
    pub(crate) fn log_grew(&self, bytes: u64) {
        let before = self.growth.grew(bytes);
        let due = self.log_bytes_due.load(Ordering::Relaxed);
        if before < due && before + bytes >= due {
            self.wake();
        }
    }

    /// Whether the logs have grown enough for a checkpoint.
    pub(super) fn log_is_due(&self) -> bool {
        self.growth.bytes() >= self.log_bytes_due.load(Ordering::Relaxed)
    }

    /// The epochs up to `closed` are closed.
    pub(crate) fn epochs_closed(&self, closed: Epoch) {
        // A log that has grown in one long epoch waits for its end.
        if self.is_due(closed) || self.log_is_due() {
            self.wake();
        }
    }

    pub(super) fn is_due(&self, closed: Epoch) -> bool {
        closed.0 >= self.epoch_due.load(Ordering::Acquire)
    }

    pub(crate) fn wake(&self) {
        self.wanted.notify(usize::MAX);
    }

    fn answer(&self, ticket: u64, shared: &Shared) -> Option<Result<CheckpointInfo>> {
        let state = lock(&self.state);
        if state.answered >= ticket {
            return Some(match &state.answer {
                Some(Ok(info)) => Ok(*info),
                Some(Err(error)) => Err(error.duplicate()),
                None => Err(Error::new(ErrorCode::EngineClosed, "the checkpoint has no answer")),
            });
        }
        state.ended.then(|| {
            shared.check()?;
            Err(Error::new(ErrorCode::EngineClosed, "the engine was closed before the checkpoint was taken"))
        })
    }

    /// The ticket up to which checkpoints have been asked for and not answered.
    pub(super) fn pending(&self) -> Option<u64> {
        let state = lock(&self.state);
        (state.asked > state.answered).then_some(state.asked)
    }

    /// Answers everybody up to `ticket`.
    pub(super) fn answer_all(&self, ticket: u64, answer: Result<CheckpointInfo>, shared: &Shared) {
        let mut state = lock(&self.state);
        state.answered = ticket;
        state.answer = Some(answer);
        drop(state);
        shared.notify();
    }

    /// Nobody answers any more.
    pub(super) fn end(&self, shared: &Shared) {
        lock(&self.state).ended = true;
        self.pins.end();
        shared.notify();
    }
}
