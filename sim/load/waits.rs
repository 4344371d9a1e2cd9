//! Who waits for an epoch or a checkpoint: in the background, or in the end, when nothing is wrong any more.

use std::sync::Arc;

use highwater::env::{Env, Spawn};
use highwater::{Epoch, Error, ErrorCode, ErrorKind, Standing};

use super::User;
use crate::cause::Since;
use crate::lattice;
use crate::remote;
use crate::world::{Run, lock};

/// How often the store or the sinks are waited for, when nothing is wrong with them.
const TRIES_MAX: u32 = 20;

impl User {
    pub(super) fn wait_in_background(&mut self) {
        let epoch = Epoch(lock(&self.run.oracle).ceiling());
        let (durable, run) = (self.engine.durable(epoch), Arc::clone(&self.run));
        let (opened, since) = (lock(&run.oracle).opened, self.since);
        let spawned = self.engine.env().spawn().spawn("waiter", move || async move {
            match durable.await {
                // A task of this engine may take its step when the next engine is open: its epochs are others.
                Ok(()) if lock(&run.oracle).opened == opened => lock(&run.oracle).acknowledge(epoch.0),
                Ok(()) => {}
                Err(error) => check_background(&run, since, &error),
            }
        });
        assert!(spawned.is_ok(), "a simulated task starts");
    }

    /// Somebody waits in the background for the last epoch to be in the object store, if there is one.
    pub(super) fn wait_for_the_store(&mut self) {
        if self.run.plan.remote.is_none() || !remote::waits(&mut self.stream) {
            return;
        }
        let epoch = Epoch(lock(&self.run.oracle).ceiling());
        let (stored, run) = (self.engine.remote_durable(epoch), Arc::clone(&self.run));
        let (opened, since) = (lock(&run.oracle).opened, self.since);
        let spawned = self.engine.env().spawn().spawn("remote-waiter", move || async move {
            match stored.await {
                Ok(()) if lock(&run.oracle).opened == opened => {
                    lock(&run.oracle).acknowledge_remote(epoch.0);
                    run.count(|tally| tally.stored += 1);
                }
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Busy => {}
                Err(error) => check_background(&run, since, &error),
            }
        });
        assert!(spawned.is_ok(), "a simulated task starts");
    }

    /// Without faults the last epoch gets into the store (I11).
    pub(crate) async fn reach_the_store(&mut self) {
        if self.run.plan.remote.is_none() {
            return;
        }
        let epoch = Epoch(lock(&self.run.oracle).ceiling());
        for _ in 0..TRIES_MAX {
            match self.engine.remote_durable(epoch).await {
                Ok(()) => return lock(&self.run.oracle).acknowledge_remote(epoch.0),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Busy, "I11: without faults: {error}"),
            }
        }
        panic!("I11: epoch {epoch} does not get into the store");
    }

    /// Without faults everything is published (I11).
    pub(crate) async fn publish_everything(&mut self) {
        if self.sinks.is_none() {
            return;
        }
        let epoch = Epoch(lock(&self.run.oracle).ceiling());
        for _ in 0..TRIES_MAX {
            match self.engine.published(epoch).await {
                Ok(()) => {
                    assert!(self.engine.published_epoch() >= epoch);
                    let behind = self.engine.in_doubt().into_iter().find(|left| left.epoch <= epoch);
                    return assert!(
                        behind.is_none_or(|left| left.standing == Standing::Lost),
                        "I9: in doubt"
                    );
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Busy, "I11: without faults: {error}"),
            }
        }
        panic!("I11: epoch {epoch} is not published");
    }

    pub(super) fn checkpoint_in_background(&mut self) {
        let (checkpoint, run, since) = (self.engine.checkpoint_async(), Arc::clone(&self.run), self.since);
        let spawned = self.engine.env().spawn().spawn("checkpointer", move || async move {
            match checkpoint.await {
                Ok(_) => run.count(|tally| tally.checkpoints += 1),
                Err(error) if lattice::excuses_checkpoint(&run, &error) => {}
                Err(error) => check_background(&run, since, &error),
            }
        });
        assert!(spawned.is_ok(), "a simulated task starts");
    }
}

/// Errors that somebody who waits in the background may be told.
pub(crate) fn check_background(run: &Run, since: Since, error: &Error) {
    match error.kind() {
        ErrorKind::Failed | ErrorKind::Full => since.check(run, "a wait in the background", error),
        _ => assert_eq!(error.code(), ErrorCode::EngineClosed, "a wait in the background: {error}"),
    }
}
