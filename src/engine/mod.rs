//! The engine: handles for the cores, and everything that works behind them.
//!
//! ```text
//! Ring 0   core.rs         one handle per core, on the caller's threads
//!          entry.rs        the keys and values that it lends
//!          many.rs         many keys in one call
//!          append.rs       its end of the log
//!          ready.rs        waiting until it can accept a change
//!          ending.rs       the end of an epoch; mark.rs is what the core says there
//!          closing.rs      which handles a database is closed with
//! Ring 1   writer.rs       one log writer per core: a thread of its own, or the caller (drive.rs)
//!          segments.rs     prepares log files ahead of need
//!          reserve.rs      holds space back, so that a full device can be left
//!          maintenance.rs  checkpoints, retention, removal of what is no longer needed
//!          requests.rs     who asks for a checkpoint; growth.rs is what the logs have grown since the last one
//!          pins.rs         holding on to epochs
//!          outlook.rs      how long a recovery would take
//!          offsite.rs      what an open has to do with an object store
//!          sinks/          two-phase commit with external systems: a thread for each of them
//!          beyond.rs       waiting until an epoch is in the object store, or published by the sinks
//!          shared.rs       the marks that join them
//!          meters/         how long they take, and what a recorder is told
//!          stats.rs        what all of them have done; counts.rs is where they leave it
//! ```
//!
//! `open.rs` recovers the database, `rescale.rs` gives it another number of cores, `start.rs` starts them all; `models.rs`
//! tries the orders in which their threads may hear of each other. Nothing here does I/O in `Drop`: dropping an engine
//! tells the background to end, and what was not waited for may be lost, as in a crash.

mod append;
mod beyond;
mod closing;
mod core;
mod counts;
mod drive;
mod ending;
mod entry;
mod growth;
mod maintenance;
mod many;
mod mark;
mod meters;
#[cfg(all(test, loom))]
mod models;
mod offsite;
mod open;
mod outlook;
mod pins;
mod ready;
mod requests;
mod rescale;
mod reserve;
mod segments;
mod shared;
mod sinks;
mod start;
mod stats;
mod writer;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub use self::core::CoreHandle;
pub use entry::{Key, Value};
pub use many::PutManyError;
pub use mark::EpochMark;
pub use open::Opened;
pub use outlook::RecoveryForecast;
pub use pins::RetainedEpoch;
pub use ready::Ready;
pub use requests::CheckpointInfo;
pub use shared::Health;
pub use sinks::{InDoubt, SinkStatus, Standing};
pub use stats::{CheckpointStats, CoreStats, EngineStats, RemoteStats};

use tracing::Instrument;

use self::core::Ownership;
use crate::codec::{core_of, key_group};
use crate::env::{Blocking, Env, SystemEnv};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{CoreId, DatabaseId, Epoch, FencingToken};
use crate::offsite::{Lag, Mirror, RemoteStatus};
use crate::options::Options;
use crate::recovery::RecoveryReport;
use beyond::Wait;
use drive::{Drive, EnvBlocker};
use requests::Requests;
use segments::Supply;
use shared::Shared;
use sinks::Ledger;

/// An open database. Its [`CoreHandle`]s do the work; the engine is what they have in common.
pub struct Engine<E: Env = SystemEnv> {
    env: E,
    shared: Arc<Shared>,
    drive: Arc<Drive>,
    requests: Arc<Requests>,
    supply: Arc<Supply>,
    mirror: Option<Arc<Mirror>>,
    lag: Option<Lag>,
    ledger: Option<Arc<Ledger>>,
    identity: Identity,
    recovered: RecoveredAt,
}

/// What the open recovered.
#[derive(Clone, Copy, Debug)]
struct RecoveredAt {
    epoch: Epoch,
    took: Duration,
}

impl RecoveredAt {
    fn of(report: &RecoveryReport) -> Self {
        Self { epoch: report.epoch, took: report.took }
    }
}

/// Who the database is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) database: DatabaseId,
    pub(crate) token: FencingToken,
    pub(crate) cores: u16,
    pub(crate) ownership: Ownership,
}

impl<E: Env> fmt::Debug for Engine<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("identity", &self.identity)
            .field("closed", &self.shared.closed())
            .field("health", &self.shared.health())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens the database in the directory of `options`: creates it, or recovers the last closed epoch. Blocks.
    ///
    /// # Errors
    ///
    /// * `Busy`: another process, or another engine in this one, has it open: close it there. Or others create or restore
    ///   it (HW-102), or write to its object store (HW-103), at this moment: open again.
    /// * `Invalid`: the options contradict themselves or what the database was created with, or the directory holds
    ///   something else. Or the object store or a sink refuses, or holds what belongs to another database.
    /// * `Unsupported`: the format is newer than this build, or the backend that was asked for does not work here. The
    ///   device overwrites more at once than the database was made for (HW-703): move it to another. The object store does
    ///   not keep what is asked of one (HW-704): use another.
    /// * `Corrupt`: the disk contradicts what was promised. Nothing was changed; the text names file and offset. With an
    ///   object store or sinks also: what they have contradicts it.
    /// * `Full`: there is no space for the first log files: free some. Or a core has more records than its state holds,
    ///   also with as few cores as are asked for (HW-206): open with more.
    /// * `Failed`: an I/O error; the text names file and operation. Or the object store or a sink does not answer. Nothing
    ///   is lost: open again.
    /// * `Fenced`: another directory has taken the database over ([`Options::remote`]), or a sink belongs to a later life
    ///   of it (HW-304): stop this one.
    pub fn open(options: Options) -> Result<Opened> {
        let options = options.placed();
        let env = SystemEnv::new(options.backend, options.durable_write)
            .map_err(|error| Error::new(ErrorCode::BackendMissing, error.to_string()))?;
        Self::open_blocking_in(env, options)
    }
}

impl<E: Env> Engine<E> {
    /// [`Engine::open`] over any environment: for async programs and simulations. Its handles do not block their thread
    /// (HW-818); those of [`Engine::open_blocking_in`] do.
    ///
    /// # Errors
    ///
    /// As [`Engine::open`].
    pub async fn open_in(env: E, options: Options) -> Result<Opened<E>> {
        let span = tracing::debug_span!(target: "highwater::engine", "open", path = %options.path.display());
        open::open(env, options).instrument(span).await
    }

    /// The core that owns `key`: the one handle that takes it.
    pub fn core_of(&self, key: &[u8]) -> CoreId {
        let Identity { ownership, cores, .. } = &self.identity;
        let group = key_group(ownership.hash(key), ownership.key_groups);
        core_of(group, ownership.key_groups, *cores)
    }

    /// How many cores the database has.
    pub fn cores(&self) -> u16 {
        self.identity.cores
    }

    /// The identity that the database was given at its creation.
    pub fn database_id(&self) -> DatabaseId {
        self.identity.database
    }

    /// The fencing token that this open took.
    pub fn token(&self) -> FencingToken {
        self.identity.token
    }

    /// The greatest epoch that is closed: durable on every core, recovered after any crash.
    pub fn durable_epoch(&self) -> Epoch {
        self.shared.closed()
    }

    /// Completes when `epoch` is closed. With `Options::inline` somebody has to call [`Engine::drive`] meanwhile.
    ///
    /// # Errors
    ///
    /// `Full` when it waits for space on the device (HW-203): free some and wait again. `Failed`, `Fenced` or `Lost` when it cannot
    /// close any more, as [`Engine::check`] says; `Invalid` when the engine was closed before (HW-819).
    pub fn durable(&self, epoch: Epoch) -> impl Future<Output = Result<()>> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move {
            let wait = shared.meters.commit_wait.start();
            let outcome = shared.until(|| shared.durable_outcome(epoch)).await;
            shared.waited(wait, &outcome);
            outcome
        }
    }

    /// With `Options::inline`: writes what the cores have handed over and makes it durable, on the calling task. Does
    /// nothing otherwise, and nothing for a core whose log another task is writing at the moment.
    ///
    /// If the future is dropped half-way (by a timeout, say), nobody knows what of its writes is on the disk: whoever drives next
    /// finds the log poisoned, and the engine `Failed` (HW-604).
    pub async fn drive(&self) {
        self.drive.run(&self.shared).await;
    }

    /// Asks all cores to end their epoch: [`CoreHandle::epoch_requested`] tells them. Returns the epoch that will have
    /// closed when they have.
    pub fn request_epoch(&self) -> Epoch {
        let epoch = self.shared.slowest_ended().next();
        self.shared.request(epoch);
        epoch
    }

    /// How the engine is doing.
    pub fn health(&self) -> Health {
        // A bound that is reached while the store works is reached all the time, if it is a small one.
        let troubled = self.lag.as_ref().filter(|lag| lag.is_in_trouble());
        let may_end = |lag: &Lag| lag.allows(self.shared.slowest_ended().next());
        match (self.shared.health(), troubled) {
            (Health::Healthy | Health::Throttled, Some(lag)) if !may_end(lag) => Health::ReadOnly,
            (Health::Healthy, Some(_)) => Health::Throttled,
            (health, _) => health,
        }
    }

    /// The failure that stopped the engine, if there was one.
    ///
    /// # Errors
    ///
    /// That failure: `Failed`, reopen the database; `Fenced` when another directory has taken it over; `Lost` when a sink has
    /// forgotten what was decided.
    pub fn check(&self) -> Result<()> {
        self.shared.check()
    }

    /// Takes a checkpoint of the last closed epoch, beside the running cores, and completes when it is committed.
    ///
    /// # Errors
    ///
    /// `Full` when there is no space for it: the database goes on without. `Corrupt` when the log or an older checkpoint
    /// cannot be read back as it was written. `Failed` when a write or sync failed; an open database stays usable, its
    /// logs grow until a checkpoint succeeds. `Fenced` when somebody else has written to the directory: stop this one.
    /// `Invalid` when the engine was closed before (HW-819).
    pub fn checkpoint_async(&self) -> impl Future<Output = Result<CheckpointInfo>> + Send + 'static {
        Requests::checkpoint(Arc::clone(&self.requests), Arc::clone(&self.shared))
    }

    /// Completes when `epoch` is in the object store of [`Options::remote`]: when the machine is lost, a restore brings
    /// back this epoch or a later one. Asks for a checkpoint if none on its way holds the epoch.
    ///
    /// # Errors
    ///
    /// `Busy` when an upload failed meanwhile: it is tried again without being asked, so wait again. `Fenced` when another
    /// writer has taken the database over: nothing of this one gets there any more. `Invalid` without a store. Else as
    /// [`Engine::durable`] and [`Engine::checkpoint_async`].
    pub fn remote_durable(&self, epoch: Epoch) -> impl Future<Output = Result<()>> + Send + 'static {
        self.wait_for(epoch).uploaded(self.mirror.clone())
    }

    /// How far the object store is; `None` without [`Options::remote`].
    pub fn remote_status(&self) -> Option<RemoteStatus> {
        self.mirror.as_ref().map(|mirror| mirror.status())
    }

    /// Completes when everything that the sinks were given through `epoch` is published there: decided by a manifest, and
    /// committed. Asks for a checkpoint if none has listed it. With [`Options::remote`] the manifest in the object store decides.
    ///
    /// # Errors
    ///
    /// `Busy` when a sink or the object store did not do its part meanwhile: it is tried again without being asked, so wait
    /// again. `Lost` when a sink has forgotten what was decided. `Invalid` without sinks. Else as [`Engine::durable`],
    /// [`Engine::checkpoint_async`] and [`Engine::remote_durable`].
    pub fn published(&self, epoch: Epoch) -> impl Future<Output = Result<()>> + Send + 'static {
        self.wait_for(epoch).published(self.ledger.clone(), self.mirror.clone())
    }

    /// Everything that the sinks were given through this epoch is published; the durable epoch without sinks.
    pub fn published_epoch(&self) -> Epoch {
        self.ledger.as_ref().map_or_else(|| self.durable_epoch(), |ledger| ledger.published_epoch())
    }

    /// Every transaction of a sink that is pre-committed and not published, with what is to become of it. Epochs that have not
    /// closed are among them, from the moment at which a core has ended its part.
    pub fn in_doubt(&self) -> Vec<InDoubt> {
        self.ledger.as_ref().map(|ledger| ledger.in_doubt()).unwrap_or_default()
    }

    /// How every sink is doing, by name.
    pub fn sinks(&self) -> Vec<SinkStatus> {
        self.ledger.as_ref().map(|ledger| ledger.status()).unwrap_or_default()
    }

    /// Closes the database: everything handed over becomes durable, the marks are written once more, the lock is
    /// given up. The next open replays what the last checkpoint does not hold.
    ///
    /// # Errors
    ///
    /// * `Invalid` while an epoch is open with records in it (HW-820): on a core that has not ended it, or on one that has while
    ///   another has not. End it on every core, or call [`CoreHandle::discard_open`]. Also when `cores` are not all cores
    ///   of this engine, each once (HW-837). Then, if `cores` was lent and not given, everything goes on as before.
    /// * `Full` when the device is full: the last epochs are lost (HW-204), and the engine is closed. Free some, open again, and
    ///   read the sources again.
    /// * `Failed`, `Fenced` or `Lost` when the engine has failed, as [`Engine::check`] says; it is closed. Open again after
    ///   `Failed`; look into the others first.
    pub async fn close_async<C: AsMut<[CoreHandle]>>(&self, mut cores: C) -> Result<()> {
        closing::check(&self.shared, cores.as_mut())?;
        self.stop();
        self.drive.finish(&self.shared).await;
        self.shared.until(|| self.shared.ended().then_some(())).await;
        self.shared.check()?;
        let (ended, closed) = (self.shared.slowest_ended(), self.shared.closed());
        if closed < ended {
            let what =
                format!("the device is full: epoch {closed} is durable, epochs up to {ended} are lost");
            return Err(Error::new(ErrorCode::ClosedWhileFull, what));
        }
        Ok(())
    }

    fn wait_for(&self, epoch: Epoch) -> Wait {
        Wait { epoch, shared: Arc::clone(&self.shared), requests: Arc::clone(&self.requests) }
    }

    fn stop(&self) {
        start::stop(&self.shared, &self.requests, &self.supply, self.mirror.as_deref());
    }

    /// The environment.
    pub fn env(&self) -> &E {
        &self.env
    }
}

impl<E: Blocking> Engine<E> {
    /// [`Engine::open`] over any environment whose callers may block: [`CoreHandle::commit`], [`Ready::wait`] and, with
    /// sinks, [`CoreHandle::close_epoch`] work as there.
    ///
    /// # Errors
    ///
    /// As [`Engine::open`].
    pub fn open_blocking_in(env: E, options: Options) -> Result<Opened<E>> {
        let opened = env.block_on(Self::open_in(env.clone(), options))?;
        opened.engine.drive.allow_blocking(Arc::new(EnvBlocker(env)));
        Ok(opened)
    }

    /// Blocks until `epoch` is closed: durable on every core, recovered after any crash.
    ///
    /// # Errors
    ///
    /// As [`Engine::durable`].
    pub fn wait_durable(&self, epoch: Epoch) -> Result<()> {
        let blocker = EnvBlocker(self.env.clone());
        let wait = self.shared.meters.commit_wait.start();
        let outcome = self.drive.block_until(&blocker, &self.shared, |shared| shared.durable_outcome(epoch));
        self.shared.waited(wait, &outcome);
        outcome
    }

    /// [`Engine::remote_durable`], blocking.
    ///
    /// # Errors
    ///
    /// As [`Engine::remote_durable`].
    pub fn wait_remote(&self, epoch: Epoch) -> Result<()> {
        self.wait_durable(epoch)?;
        self.env.block_on(self.remote_durable(epoch))
    }

    /// [`Engine::published`], blocking.
    ///
    /// # Errors
    ///
    /// As [`Engine::published`].
    pub fn wait_published(&self, epoch: Epoch) -> Result<()> {
        self.wait_durable(epoch)?;
        self.env.block_on(self.published(epoch))
    }

    /// [`Engine::checkpoint_async`], blocking.
    ///
    /// # Errors
    ///
    /// As [`Engine::checkpoint_async`].
    pub fn checkpoint(&self) -> Result<CheckpointInfo> {
        self.env.block_on(self.checkpoint_async())
    }

    /// [`Engine::close_async`], blocking.
    ///
    /// # Errors
    ///
    /// As [`Engine::close_async`].
    pub fn close<C: AsMut<[CoreHandle]>>(&self, cores: C) -> Result<()> {
        self.env.block_on(self.close_async(cores))
    }
}

impl<E: Env> Drop for Engine<E> {
    fn drop(&mut self) {
        self.stop();
    }
}
