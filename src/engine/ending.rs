//! The end of a core's epoch: its sinks pre-commit, then the log gets the mark that carries their handles.
//!
//! ```text
//! open ──checks, room in the sinks──► ending: no more changes ──every sink has pre-committed──► logged, the next one is open
//!                                        └── a sink or the log is busy: call again
//! ```
//!
//! A core without sinks is never seen ending.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;

use super::core::CoreHandle;
use super::mark::EpochMark;
use crate::codec::record_bytes;
use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::ids::Epoch;
use crate::limits::OFFSETS_MAX;
use crate::sink::Part;

impl CoreHandle {
    /// Ends this core's epoch with its source offsets and watermark, and begins the next. The epoch closes when every
    /// core has ended it and all of it is durable: `Engine::wait_durable`.
    ///
    /// With sinks ([`Options::sink`](crate::Options::sink)) it has them pre-commit what the core has given them, which blocks the
    /// thread.
    ///
    /// # Errors
    ///
    /// `Invalid` when a name, an offset or their number is over its limit, when they are more than a segment
    /// takes, or when a sink refuses its rows; `Busy` also when this core is
    /// `epoch_skew_max` ahead of the slowest, `epoch_lag_max` of [`Remote`](crate::remote::Remote) ahead of the object store, or
    /// too far ahead of what its sinks have published, and when a sink does not answer; `Full`, `Failed`, `Fenced`, `Lost` and
    /// HW-819 as [`CoreHandle`] says. Then the epoch is still open; but with sinks it may be [ending](CoreHandle::is_ending).
    /// `Invalid` also with sinks for an engine of [`Engine::open_in`](crate::Engine::open_in) (HW-818): use
    /// [`CoreHandle::close_epoch_async`], or open by [`Engine::open_blocking_in`](crate::Engine::open_blocking_in).
    pub fn close_epoch(&mut self, mark: EpochMark) -> Result<Epoch> {
        if self.sinks.is_none() {
            return self.log_end(mark);
        }
        let drive = Arc::clone(&self.drive);
        let blocker = drive.blocker()?;
        let mut ended = Err(Error::new(ErrorCode::CannotBlock, "a blocker returned before its future"));
        blocker.block(pin!(async { ended = self.close_epoch_async(mark).await }));
        ended
    }

    /// [`CoreHandle::close_epoch`] for async programs and simulations. If the future is dropped, the epoch has not ended,
    /// and the call can be made again.
    ///
    /// # Errors
    ///
    /// As [`CoreHandle::close_epoch`].
    pub async fn close_epoch_async(&mut self, mark: EpochMark) -> Result<Epoch> {
        self.pre_commit(&mark).await?;
        self.log_end(mark)
    }

    /// Whether the end of the epoch has begun and a sink or the log was busy: the core takes no change (`Busy`) before it
    /// has ended. Call [`CoreHandle::close_epoch`] again, with the same mark; rows that the sinks are given meanwhile
    /// belong to the next epoch.
    pub fn is_ending(&self) -> bool {
        self.log.is_frozen()
    }

    /// Ends the epoch and waits until it is durable: a commit of a single-core database. Blocks the thread.
    ///
    /// # Errors
    ///
    /// As [`CoreHandle::close_epoch`]; then the epoch has not ended. `Invalid` also with more than one core (HW-817:
    /// the others have to end the epoch too), and for an engine of [`Engine::open_in`](crate::Engine::open_in)
    /// (HW-818): open by [`Engine::open_blocking_in`](crate::Engine::open_blocking_in).
    ///
    /// When the wait fails, the epoch *has* ended, and its records stay in the state. `Full` with the code HW-203: the device is
    /// full, and the epoch becomes durable when it has space again. Free some and wait for it by
    /// [`Engine::wait_durable`](crate::Engine::wait_durable); it is the one before [`CoreHandle::open_epoch`].
    /// `Failed`, `Fenced` or `Lost`: it does not become durable any more; the next open tells how far it got.
    /// `Invalid` with HW-819 when the engine was closed meanwhile.
    pub fn commit(&mut self) -> Result<Epoch> {
        self.commit_with(EpochMark::new())
    }

    /// [`CoreHandle::commit`] with source offsets and a watermark.
    ///
    /// # Errors
    ///
    /// As [`CoreHandle::commit`].
    pub fn commit_with(&mut self, mark: EpochMark) -> Result<Epoch> {
        if self.shared.cores().count() > 1 {
            return Err(Error::new(
                ErrorCode::CommitOfMany,
                "commit is for one core: use close_epoch on each core, then wait_durable",
            ));
        }
        let core = self.core.0;
        let _commit = tracing::trace_span!(target: "highwater::engine", "commit", core).entered();
        let drive = Arc::clone(&self.drive);
        let blocker = drive.blocker()?;
        let epoch = self.close_epoch(mark)?;
        let wait = self.shared.meters.commit_wait.start();
        let outcome = drive.block_until(blocker, &self.shared, |shared| shared.durable_outcome(epoch));
        self.shared.waited(wait, &outcome);
        outcome.map(|()| epoch)
    }

    /// Has every sink pre-commit the open epoch, those that have not. Nothing begins that could not end.
    async fn pre_commit(&mut self, mark: &EpochMark) -> Result<()> {
        let Some(ledger) = self.sinks.clone() else { return Ok(()) };
        // Once it is closed, the sinks may belong to the next life.
        self.shared.check_open()?;
        if !self.is_ending() {
            self.check_end(mark)?;
            ledger.check_room(self.epoch)?;
        }
        let part = Part { epoch: self.epoch, core: self.core };
        // From the first call on a sink may have drawn the line: what comes now is the next epoch's.
        self.log.freeze();
        while self.handles.len() < ledger.len() {
            let handle = ledger.pre_commit(self.handles.len(), part).await;
            if let Err(fenced) = &handle
                && fenced.kind() == ErrorKind::Fenced
            {
                self.shared.fail(fenced);
            }
            self.handles.push(handle?);
        }
        Ok(())
    }

    /// # Errors
    ///
    /// `Invalid` or `Busy`: the epoch cannot end with this mark, or not yet.
    fn check_end(&self, mark: &EpochMark) -> Result<BTreeSet<String>> {
        let names = self.check_names(mark)?;
        let (epoch, slowest) = (self.epoch, self.shared.slowest_ended());
        if epoch.0 > slowest.0.saturating_add(self.limits.epoch_skew_max) {
            return Err(Error::new(
                ErrorCode::EpochSkew,
                format!("core {} would end epoch {epoch} while the slowest has ended {slowest}", self.id()),
            ));
        }
        if let Some(lag) = &self.lag {
            self.shared.check()?;
            lag.check(epoch)?;
        }
        mark.check()?;
        Ok(names)
    }

    /// Logs the end of the epoch, with the handles of its sinks (E1 of `sinks`).
    fn log_end(&mut self, mark: EpochMark) -> Result<Epoch> {
        self.shared.check_open()?;
        let epoch = self.epoch;
        self.state.settle();
        let names = self.check_end(&mark)?;
        let sinks = self.sinks.as_ref().map(|ledger| ledger.entries(&self.handles)).unwrap_or_default();
        let end = mark.into_epoch_end(epoch, self.token, sinks);
        let mut value = std::mem::take(&mut self.scratch);
        value.clear();
        end.encode(&mut value);
        let fits = self.check_record("end of the epoch", record_bytes(0, value.len()));
        let logged = fits.and_then(|()| self.log.append_end(&value));
        self.scratch = value;
        logged?;
        self.offset_names = names;
        self.epoch = epoch.next();
        if let Some(ledger) = &self.sinks {
            ledger.enter(Part { epoch, core: self.core }, &self.handles);
            self.handles.clear();
            self.log.thaw();
        }
        // The end is announced before the log writer can see it: invariant 1 of `shared`.
        self.shared.core(self.core).counts.state(&self.state);
        self.shared.end(self.core, epoch);
        self.log.hand_over();
        Ok(epoch)
    }

    /// The names of all sources after `mark`, if they are not too many.
    fn check_names(&self, mark: &EpochMark) -> Result<BTreeSet<String>> {
        let mut names = self.offset_names.clone();
        names.extend(mark.names().map(str::to_owned));
        if names.len() > OFFSETS_MAX {
            return Err(Error::new(
                ErrorCode::TooManyOffsets,
                format!(
                    "core {} would keep the offsets of {} sources, over the limit of {OFFSETS_MAX}",
                    self.id(),
                    names.len()
                ),
            ));
        }
        Ok(names)
    }
}
