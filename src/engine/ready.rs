//! Waiting until a core can accept a change.
//!
//! What passes by itself is waited for: room in the queue, the slowest core, the object store, the sinks. What only the
//! caller can do is not (see [`CoreHandle::ready`](super::CoreHandle::ready)).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::append::no_space;
use super::drive::Drive;
use super::shared::Shared;
use super::sinks::Ledger;
use crate::error::Result;
use crate::ids::{CoreId, Epoch, Lsn};
use crate::offsite::Lag;
use crate::wal::Pool;

/// Waits until a core can accept a change; from [`CoreHandle::ready`](super::CoreHandle::ready).
#[must_use = "await it, or call `wait`"]
pub struct Ready {
    gate: Gate,
    drive: Arc<Drive>,
}

impl Ready {
    pub(super) fn new(gate: Gate, drive: Arc<Drive>) -> Self {
        Self { gate, drive }
    }

    /// Blocks the thread until the core is ready.
    ///
    /// # Errors
    ///
    /// `Full` when it waits for space on the device: free some and wait again. `Failed`, `Fenced` or `Lost` as
    /// [`CoreHandle`](super::CoreHandle) says. `Invalid` when the engine was closed (HW-819), and for an engine of
    /// [`Engine::open_in`](super::Engine::open_in) (HW-818): await it, or open by
    /// [`Engine::open_blocking_in`](super::Engine::open_blocking_in).
    pub fn wait(self) -> Result<()> {
        let blocker = self.drive.blocker()?;
        self.drive.block_until(blocker, &self.gate.shared, |_| self.gate.outcome())
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").field("core", &self.gate.core).finish_non_exhaustive()
    }
}

impl IntoFuture for Ready {
    type Output = Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.gate.shared.until(|| self.gate.outcome()).await })
    }
}

/// What a core needs before it accepts a change.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) core: CoreId,
    pub(super) shared: Arc<Shared>,
    pub(super) pool: Option<Arc<Pool>>,
    pub(super) large: Option<Lsn>,
    pub(super) lag: Option<Lag>,
    pub(super) ended_min: Epoch,
    pub(super) sinks: Option<Arc<Ledger>>,
    pub(super) epoch: Epoch,
}

impl Gate {
    /// `None` while the caller has to wait.
    fn outcome(&self) -> Option<Result<()>> {
        if let Err(error) = self.shared.check_open() {
            return Some(Err(error));
        }
        let of_core = self.shared.core(self.core);
        let waits_for = |lsn: Lsn| of_core.durable_lsn.load(Ordering::Acquire) < lsn.0;
        if self.pool.as_ref().is_some_and(|pool| !pool.has_room()) || self.large.is_some_and(waits_for) {
            let full = of_core.full.load(Ordering::Acquire);
            return full.then(|| Err(no_space(self.core)));
        }
        if self.sinks.as_ref().is_some_and(|ledger| ledger.check_room(self.epoch).is_err()) {
            return None;
        }
        let stored = self.lag.as_ref().is_none_or(|lag| lag.allows(self.epoch));
        (stored && self.shared.slowest_ended() >= self.ended_min).then_some(Ok(()))
    }
}
