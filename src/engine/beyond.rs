//! Waiting for an epoch beyond this machine's disk: until it is in the object store, until its rows are published.
//!
//! Both waits go the same way:
//!
//! ```text
//! failures before ─► the epoch is durable ─► a checkpoint, if none holds it ─► what the store or the sinks came to
//! ```
//!
//! A failure counts if it came behind the first step: what was in trouble already may be over it by now.

use std::sync::Arc;

use super::requests::Requests;
use super::shared::Shared;
use super::sinks::Ledger;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::Epoch;
use crate::offsite::Mirror;

/// An epoch that is waited for, and what brings it on its way.
pub(super) struct Wait {
    pub(super) epoch: Epoch,
    pub(super) shared: Arc<Shared>,
    pub(super) requests: Arc<Requests>,
}

impl Wait {
    /// Until the epoch is in the object store.
    pub(super) async fn uploaded(self, mirror: Option<Arc<Mirror>>) -> Result<()> {
        let Some(mirror) = mirror else {
            return Err(Error::new(
                ErrorCode::NoStore,
                "there is no object store: open the database with Options::remote",
            ));
        };
        let epoch = self.epoch;
        let failures = mirror.failures();
        if mirror.epoch() >= epoch {
            return Ok(());
        }
        let is_held = || mirror.covers(epoch);
        let outcome = || mirror.outcome(epoch, failures);
        self.through(is_held, outcome, "uploaded").await
    }

    /// Until the sinks show what they were given through the epoch. Where there is an object store, its troubles are theirs.
    pub(super) async fn published(
        self,
        ledger: Option<Arc<Ledger>>,
        mirror: Option<Arc<Mirror>>,
    ) -> Result<()> {
        let Some(ledger) = ledger else {
            return Err(Error::new(
                ErrorCode::NoSink,
                "there is no sink: open the database with Options::sink",
            ));
        };
        let epoch = self.epoch;
        let failures = ledger.failures();
        let uploads = mirror.as_ref().map_or(0, |mirror| mirror.failures());
        let is_held = || ledger.listed() >= epoch;
        let outcome = || {
            let uploaded = || mirror.as_ref()?.outcome(epoch, uploads).filter(Result::is_err);
            ledger.outcome(epoch, failures).or_else(uploaded)
        };
        self.through(is_held, outcome, "published").await
    }

    /// The steps behind the first, for a checkpoint that `is_held` knows of and an `outcome` that is there when it is
    /// known. `done` is what the epoch would have been.
    async fn through(
        self,
        is_held: impl Fn() -> bool,
        outcome: impl Fn() -> Option<Result<()>>,
        done: &'static str,
    ) -> Result<()> {
        let Self { epoch, shared, requests } = self;
        shared.until(|| shared.durable_outcome(epoch)).await?;
        if !is_held() {
            Requests::checkpoint(requests, Arc::clone(&shared)).await?;
        }
        let closed = || {
            let what = format!("the engine was closed before epoch {epoch} was {done}");
            Error::new(ErrorCode::EngineClosed, what)
        };
        let outcome = || {
            let failed = || shared.check().err().map(Err);
            outcome().or_else(failed).or_else(|| shared.stopping().then(|| Err(closed())))
        };
        shared.until(outcome).await
    }
}
