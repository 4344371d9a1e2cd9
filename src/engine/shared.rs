//! What the handles, the log writers and the maintenance of one engine share: marks, failure, wake-ups.
//!
//! Invariants
//! 1. A core's durable epoch never passes its ended epoch, and neither moves back.
//! 2. The closed epoch is never above the durable epoch of any core, and never moves back.
//! 3. A failure is set once and stays; from then on the closed epoch stands still.

use std::sync::OnceLock;

use event_listener::{Event, EventListener};

use super::counts::Counts;
use super::meters::Meters;
use super::reserve::Space;
use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::ids::{CoreId, Epoch, Lsn, SegmentNo};
use crate::meter::{Begun, Timer};
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{AtomicWaker, Mutex, lock};

/// How the engine is doing; `Engine::health`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// Everything works.
    Healthy,
    /// Everything works, and something holds it up. Space is short, and what was held back for that is given up:
    /// checkpoints are taken as soon as epochs have closed, and only what
    /// [`Options::retain_checkpoints`](crate::Options::retain_checkpoints) and pins ask for is kept; free some. Or a
    /// change was refused because every log buffer waits for the disk, and none has come back since. Or the object
    /// store does not answer, or refuses, and the cores may not go on for ever without it
    /// ([`Remote::epoch_lag_max`](crate::remote::Remote::epoch_lag_max)).
    Throttled,
    /// Nothing more becomes durable. The device is full; free some. Or no core can end its epoch before the object store has come
    /// nearer, and that does not answer, or refuses ([`Engine::remote_status`](crate::Engine::remote_status) says why). Changes
    /// are accepted until the queue or the epoch is full too, reading goes on, and so does everything when space or the store
    /// returns.
    ReadOnly,
    /// A write or sync failed: nothing is acknowledged any more, reading goes on. Reopen the database.
    Failed,
}

/// Marks and wake-ups of one core.
#[derive(Debug, Default)]
pub(crate) struct CoreShared {
    /// The greatest epoch that the core has ended.
    ended: AtomicU64,
    /// The greatest epoch whose end is durable on this core.
    durable: AtomicU64,
    /// Set while the log writer has nothing to do: hand over a half-full batch rather than keep it waiting.
    pub(crate) hungry: AtomicBool,
    /// Wakes the log writer.
    pub(crate) writer: AtomicWaker,
    /// Whether the log stands still because no segment could be prepared.
    pub(crate) full: AtomicBool,
    /// Whether a change was refused for want of a log buffer, and the writer has given none back since.
    pub(crate) refused: AtomicBool,
    /// The greatest LSN that is durable on this core.
    pub(crate) durable_lsn: AtomicU64,
    /// The last record that was too large for a batch of the pool: there is one at a time in front of the disk.
    pub(crate) large_lsn: AtomicU64,
    /// For statistics alone.
    pub(crate) counts: Counts,
}

impl CoreShared {
    /// Whether there may be one more record that is too large for a batch of the pool.
    pub(crate) fn is_large_durable(&self) -> bool {
        self.durable_lsn.load(Ordering::Acquire) >= self.large_lsn.load(Ordering::Acquire)
    }

    /// What is durable on the core: through which record, and through which epoch's end.
    pub(super) fn durable_marks(&self) -> (Lsn, Epoch) {
        let epoch = self.durable.load(Ordering::Acquire);
        (Lsn(self.durable_lsn.load(Ordering::Acquire)), Epoch(epoch))
    }

    /// Whether changes are refused until the disk has taken what is queued.
    fn is_slow(&self) -> bool {
        let waits = || self.counts.queued().handed_lsn > Lsn(self.durable_lsn.load(Ordering::Acquire));
        self.refused.load(Ordering::Acquire) && waits()
    }

    /// The greatest epoch that the core has ended.
    pub(super) fn ended_epoch(&self) -> Epoch {
        Epoch(self.ended.load(Ordering::Acquire))
    }
}

/// What the parts of one engine share.
#[derive(Debug)]
pub(crate) struct Shared {
    cores: Vec<CoreShared>,
    pub(super) meters: Meters,
    closed: AtomicU64,
    requested: AtomicU64,
    pub(super) space: Space,
    failed: AtomicBool,
    failure: OnceLock<Error>,
    stopping: AtomicBool,
    /// Failed or stopping: one mark for what is asked at every put.
    over: AtomicBool,
    /// Parts that still run.
    running: AtomicUsize,
    /// Notified whenever a mark, the failure, the room in a queue or the end of a part changes.
    changed: Event,
    /// Held while marks are published, so that listeners see them in order.
    publish: Mutex<()>,
}

impl Shared {
    /// For an engine that recovered the epoch `recovered`, whose background has `parts` parts, and whose cores `meters` knows.
    pub(crate) fn new(meters: Meters, recovered: Epoch, parts: usize, space: Space) -> Self {
        let core = |log_sync: &Timer| CoreShared {
            ended: AtomicU64::new(recovered.0),
            durable: AtomicU64::new(recovered.0),
            counts: Counts::timed(log_sync.clone()),
            ..CoreShared::default()
        };
        Self {
            cores: meters.log_syncs.iter().map(core).collect(),
            meters,
            closed: AtomicU64::new(recovered.0),
            requested: AtomicU64::new(recovered.0),
            space,
            failed: AtomicBool::new(false),
            failure: OnceLock::new(),
            stopping: AtomicBool::new(false),
            over: AtomicBool::new(false),
            running: AtomicUsize::new(parts),
            changed: Event::new(),
            publish: Mutex::new(()),
        }
    }

    pub(crate) fn core(&self, core: CoreId) -> &CoreShared {
        &self.cores[core.index()]
    }

    pub(crate) fn cores(&self) -> impl Iterator<Item = &CoreShared> {
        self.cores.iter()
    }

    /// The greatest epoch closed on all cores.
    pub(crate) fn closed(&self) -> Epoch {
        Epoch(self.closed.load(Ordering::Acquire))
    }

    /// The epoch that somebody asked the cores to end.
    pub(crate) fn requested(&self) -> Epoch {
        Epoch(self.requested.load(Ordering::Acquire))
    }

    /// Asks every core to end its epochs up to `epoch`.
    pub(crate) fn request(&self, epoch: Epoch) {
        self.requested.fetch_max(epoch.0, Ordering::AcqRel);
    }

    /// The least epoch that any core has ended.
    pub(crate) fn slowest_ended(&self) -> Epoch {
        let ended = self.cores.iter().map(|core| core.ended.load(Ordering::Acquire)).min();
        Epoch(ended.unwrap_or(0))
    }

    /// The core goes on behind `lsn`, which is durable; `segments` hold its log.
    pub(crate) fn begin(&self, core: CoreId, lsn: Lsn, segments: &[SegmentNo]) {
        self.core(core).durable_lsn.store(lsn.0, Ordering::Release);
        self.core(core).counts.begin(lsn);
        self.core(core).counts.log.hold(segments.iter().copied());
    }

    /// `core` has handed the end of `epoch` to its log.
    pub(crate) fn end(&self, core: CoreId, epoch: Epoch) {
        let before = self.core(core).ended.swap(epoch.0, Ordering::AcqRel);
        assert_eq!(before + 1, epoch.0, "core {core} ended epoch {epoch} after {before}");
        // A core that waits for the slowest may go on now.
        self.notify();
    }

    /// The end of `epoch` is durable on `core`: the one place where an epoch becomes closed.
    pub(crate) fn durable(&self, core: CoreId, epoch: Epoch) {
        let publish = lock(&self.publish);
        let of_core = self.core(core);
        let before = of_core.durable.swap(epoch.0, Ordering::AcqRel);
        assert!(before < epoch.0, "core {core}: durable epoch {epoch} after {before}");
        assert!(epoch.0 <= of_core.ended.load(Ordering::Acquire), "invariant 1: core {core}, epoch {epoch}");
        if self.failed() {
            return;
        }
        let closed = self.cores.iter().map(|core| core.durable.load(Ordering::Acquire)).min().unwrap_or(0);
        let was = self.closed.swap(closed, Ordering::AcqRel);
        assert!(was <= closed, "invariant 2: closed epoch {closed} after {was}");
        drop(publish);
        if closed > was {
            tracing::trace!(target: "highwater::engine", closed, "epoch closed");
            self.notify();
        }
    }

    /// Wakes everybody who waits for a change.
    pub(crate) fn notify(&self) {
        self.changed.notify(usize::MAX);
    }

    /// Whether the engine has failed.
    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Whether the engine takes no changes any more, because it failed or was closed; cheap enough for every put.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Ends all acknowledging, for good. The first failure is the one that is told.
    pub(crate) fn fail(&self, error: &Error) {
        let publish = lock(&self.publish);
        tracing::error!(target: "highwater::engine", %error, "engine failed");
        // Whoever was fenced must not be told to open again; what is lost does not come back by it.
        let kind = match error.kind() {
            told @ (ErrorKind::Fenced | ErrorKind::Lost) => told,
            _ => ErrorKind::Failed,
        };
        let _ = self.failure.set(error.duplicate().with_kind(kind));
        self.failed.store(true, Ordering::Release);
        self.over.store(true, Ordering::Release);
        drop(publish);
        for core in &self.cores {
            core.writer.wake();
        }
        self.notify();
    }

    /// # Errors
    ///
    /// The failure, if there is one.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.failed() {
            return Ok(());
        }
        match self.failure.get() {
            Some(error) => Err(error.duplicate()),
            None => Err(Error::new(ErrorCode::EngineFailed, "the engine failed; reopen the database")),
        }
    }

    /// # Errors
    ///
    /// The failure, if there is one; `Invalid` when the engine was closed or dropped: nobody writes any more.
    pub(crate) fn check_open(&self) -> Result<()> {
        self.check()?;
        if self.stopping() {
            let what = "the engine was closed, and takes neither changes nor the ends of epochs: open again";
            return Err(Error::new(ErrorCode::EngineClosed, what));
        }
        Ok(())
    }

    /// What somebody who waits for `epoch` to close is told; `None` while there is hope.
    pub(crate) fn durable_outcome(&self, epoch: Epoch) -> Option<Result<()>> {
        if self.closed() >= epoch {
            return Some(Ok(()));
        }
        if let Err(error) = self.check() {
            return Some(Err(error));
        }
        if self.stopping() {
            return Some(Err(Error::new(
                ErrorCode::EngineClosed,
                format!("the engine was closed before epoch {epoch} was"),
            )));
        }
        self.has_no_space().then(|| {
            let what =
                format!("the device is full: epoch {epoch} becomes durable when space returns, wait again");
            Err(Error::new(ErrorCode::EpochWaitsForSpace, what))
        })
    }

    /// How long `wait`, which somebody waited for an epoch, took, if it came.
    pub(super) fn waited(&self, wait: Begun, outcome: &Result<()>) {
        if outcome.is_ok() {
            self.meters.commit_wait.stop(wait);
        }
    }

    /// How the engine is doing, without its object store.
    pub(crate) fn health(&self) -> Health {
        if self.failed() {
            Health::Failed
        } else if self.has_no_space() {
            Health::ReadOnly
        } else if self.is_full() || self.space.is_short() || self.cores.iter().any(CoreShared::is_slow) {
            Health::Throttled
        } else {
            Health::Healthy
        }
    }

    /// Whether the log of any core waits for space, and nothing is held back.
    fn has_no_space(&self) -> bool {
        self.is_full() && self.space.is_gone()
    }

    /// Whether the log of any core waits for space.
    pub(crate) fn is_full(&self) -> bool {
        self.cores.iter().any(|core| core.full.load(Ordering::Acquire))
    }

    /// Whether the engine is being closed or dropped.
    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Tells every part to finish what it has and end.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.over.store(true, Ordering::Release);
        for core in &self.cores {
            core.writer.wake();
        }
        self.notify();
    }

    /// How many parts of the background have not ended, begun or not.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    /// A part of the background has ended.
    pub(crate) fn part_ended(&self) {
        let before = self.running.fetch_sub(1, Ordering::AcqRel);
        assert!(before > 0, "more parts ended than began");
        self.notify();
    }

    /// Whether every part of the background has ended.
    pub(crate) fn ended(&self) -> bool {
        self.running() == 0
    }

    /// Completes at the next change after this call.
    pub(crate) fn changed(&self) -> EventListener {
        self.changed.listen()
    }

    /// Waits until `ready` holds. It is asked again whenever something changes.
    pub(crate) async fn until<T>(&self, mut ready: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(value) = ready() {
                return value;
            }
            let listener = self.changed.listen();
            if let Some(value) = ready() {
                return value;
            }
            listener.await;
        }
    }
}
