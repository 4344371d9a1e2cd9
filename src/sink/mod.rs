//! Sinks: external systems that see every row of a database's output once, by two-phase commit.
//!
//! ```text
//! program ─ rows of a core ─► Sink                                        buffered, or in an open transaction
//! end of epoch E:   pre_commit(E, core) ─► handle     durable in the external system, and visible to nobody
//!                   EpochEnd(E) with the handle ─► the core's log
//! checkpoint ≥ E:   the manifest lists the handle     landed: decided
//!                   commit(handle) ─► published       again and again, until it is
//! ```
//!
//! | a crash | finds the transaction | and it is |
//! |--|--|--|
//! | before the end of E is durable on all cores | unknown, of an epoch above the recovered one | aborted; its rows come again |
//! | before a manifest that lists it landed | in a log: in doubt | left alone, and committed when the next manifest has landed |
//! | after | in the manifest: decided | committed, also if it had been before |
//!
//! What whoever writes a sink must keep
//!
//! K1. What `pre_commit` returned survives any crash of this process and of the external system, and nobody sees it.
//! K2. A handle names one transaction for ever: `in_doubt` lists it with the same bytes, and no other ever has them.
//! K3. `pre_commit` of a part that succeeded before gives the same handle, and changes nothing. So a call may be repeated
//!     after any error, and after its future was dropped.
//! K4. `commit` and `abort` may be repeated. A transaction that was committed or aborted never comes back to be in
//!     doubt, not even by a request that was under way meanwhile.
//! K5. `commit` says [`Commit::Lost`] only if the transaction was neither committed nor will ever be: not when nobody
//!     answers.
//! K6. `recover` ends the lives before: rows that they had not pre-committed are gone, and a `pre_commit` of theirs that is
//!     still under way, or comes later, should fail as [`SinkErrorKind::Fenced`]. (Where it cannot be stopped, it
//!     stays in doubt and is seen by nobody.)
//! K7. Every call returns, if only with [`SinkErrorKind::Unknown`].
//!
//! [`FileSink`] writes files, `PostgresSink` (feature `postgres`) prepared transactions. docs/sinks.md tells more.

mod buffer;
mod erased;
mod file;
#[cfg(feature = "postgres")]
mod postgres;

#[cfg(test)]
mod tests;

pub(crate) use erased::Erased;
pub use file::{FileSink, Published};
#[cfg(feature = "postgres")]
pub use postgres::PostgresSink;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::error::{Error, ErrorCode, ErrorKind};
use crate::ids::{CoreId, DatabaseId, Epoch, FencingToken, TimelineId};

/// The life of a database that a sink is to work for: from one open to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SinkLife {
    /// The name under which the sink was given to [`Options::sink`](crate::Options::sink).
    pub name: String,
    /// Whose rows they are. Transactions of other databases and timelines are not this life's business.
    pub database: DatabaseId,
    /// See [`SinkLife::database`]. A restore to the past has a timeline of its own.
    pub timeline: TimelineId,
    /// Greater than that of every life before: what is pre-committed is to carry it.
    pub token: FencingToken,
    /// How many cores write rows.
    pub cores: u16,
    /// The epoch that was recovered: the next rows are of the one behind it.
    pub epoch: Epoch,
}

/// What one core has written in one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// The epoch, which ends.
    pub epoch: Epoch,
    /// The core.
    pub core: CoreId,
}

/// A transaction as the external system lists it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Prepared {
    /// The token of the life that pre-committed it.
    pub token: FencingToken,
    /// What it holds.
    pub part: Part,
    /// As `pre_commit` returned it.
    pub handle: Vec<u8>,
}

impl Prepared {
    /// The transaction `handle`, which the life of `token` pre-committed for `part`.
    pub fn new(token: FencingToken, part: Part, handle: Vec<u8>) -> Self {
        Self { token, part, handle }
    }
}

/// What a sink says when a life begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// The greatest epoch of which this database and timeline have ever published anything, if it is known: an open that
    /// recovers less is refused, or rows would be seen twice.
    pub published: Option<Epoch>,
    /// How many transactions the sink can have in doubt at a time.
    pub in_doubt_max: u64,
}

impl Recovered {
    /// A sink that can have `in_doubt_max` transactions in doubt at a time, and does not know what it has published.
    pub fn new(in_doubt_max: u64) -> Self {
        Self { published: None, in_doubt_max }
    }

    /// One that knows: the greatest epoch of which anything was published, if anything was.
    #[must_use]
    pub fn published(self, published: Option<Epoch>) -> Self {
        Self { published, ..self }
    }
}

/// What a commit came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The rows are there, by this call or an earlier one.
    Done,
    /// The external system has forgotten the transaction: the rows are not there, and never will be.
    Lost,
}

/// What the engine does about [`Commit::Lost`]: [`Options::on_lost`](crate::Options::on_lost).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostPolicy {
    /// It fails, with the kind [`Lost`](ErrorKind::Lost), and does so after every open, until somebody decides otherwise.
    #[default]
    Halt,
    /// It goes on without these rows. The manifest keeps a record, and [`Engine::in_doubt`](crate::Engine::in_doubt)
    /// shows it.
    Accept,
}

/// What is known of a call that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SinkErrorKind {
    /// Not done: the external system could not be reached, or said so.
    Unavailable,
    /// Done or not done, now or later: the reply was lost.
    Unknown,
    /// Not done: a later life of the database has begun there.
    Fenced,
    /// Not done, and trying again does not help: rows that it does not take, no permission, a bad setting.
    Refused,
}

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SinkError {
    kind: SinkErrorKind,
    message: String,
}

/// A `Result` of a sink.
pub type SinkResult<T> = Result<T, SinkError>;

/// An external system that takes rows by two-phase commit. See the module for what it must keep.
///
/// The engine calls `recover`, `in_doubt` and `abort` while it opens, `pre_commit` where a core ends its epoch, and
/// `commit` and `forget` on a thread of the sink's own. How rows get in is the sink's own affair. Calls may overlap, and a
/// future may be dropped before it completes: that is as if its reply were lost. A sink that needs a runtime brings
/// it along; the futures need not be `Send`.
pub trait Sink: fmt::Debug + Send + Sync + 'static {
    /// Begins the life `life`, and ends those before it (K6).
    ///
    /// # Errors
    ///
    /// As [`SinkErrorKind`] says. The open fails.
    fn recover(&self, life: &SinkLife) -> impl Future<Output = SinkResult<Recovered>>;

    /// Makes the rows of `part` durable and ready to be published, and nothing of them visible (K1 to K3); `None` if there
    /// are none. Rows written from now on belong to the core's next epoch.
    ///
    /// # Errors
    ///
    /// As [`SinkErrorKind`] says. The epoch has not ended; the call is repeated.
    fn pre_commit(&self, part: Part) -> impl Future<Output = SinkResult<Option<Vec<u8>>>>;

    /// Publishes what was pre-committed, of this life or an earlier one (K4, K5).
    ///
    /// # Errors
    ///
    /// As [`SinkErrorKind`] says. The call is repeated, whatever the kind.
    fn commit(&self, handle: &[u8]) -> impl Future<Output = SinkResult<Commit>>;

    /// Gives up what an earlier life pre-committed; a transaction that is not there any more is fine.
    ///
    /// # Errors
    ///
    /// As [`SinkErrorKind`] says. The open fails, and the next one does it again.
    fn abort(&self, handle: &[u8]) -> impl Future<Output = SinkResult<()>>;

    /// What this database and timeline have pre-committed that is neither committed nor aborted.
    ///
    /// # Errors
    ///
    /// As [`SinkErrorKind`] says. The open fails.
    fn in_doubt(&self) -> impl Future<Output = SinkResult<Vec<Prepared>>>;

    /// No commit comes again for an epoch up to `through`: what serves only to recognise one can go. Done or not, nothing
    /// depends on it.
    ///
    /// # Errors
    ///
    /// As [`SinkErrorKind`] says. It is not repeated; the next one covers it.
    fn forget(&self, through: Epoch) -> impl Future<Output = SinkResult<()>>;
}

/// A sink and its name: what the options hold.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) sink: Arc<dyn Erased>,
}

impl SinkLife {
    /// A first life of one core, for tests of sinks; the fields can be set. Databases make their own.
    pub fn new(name: impl Into<String>, database: DatabaseId, timeline: TimelineId) -> Self {
        let (token, cores, epoch) = (FencingToken(1), 1, Epoch(0));
        Self { name: name.into(), database, timeline, token, cores, epoch }
    }
}

impl SinkError {
    /// An error of `kind`; `message` says what the external system said.
    pub fn new(kind: SinkErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What is known of the call.
    pub fn kind(&self) -> SinkErrorKind {
        self.kind
    }

    /// The same as an error of this crate: `Invalid` for what is refused, `Fenced` for a life that is over, else `unless`.
    pub(crate) fn of(&self, doing: &str, sink: &str, unless: ErrorKind) -> Error {
        let (code, kind) = match self.kind {
            SinkErrorKind::Refused => (ErrorCode::SinkRefused, ErrorKind::Invalid),
            SinkErrorKind::Fenced => (ErrorCode::SinkFenced, ErrorKind::Fenced),
            SinkErrorKind::Unavailable | SinkErrorKind::Unknown => (ErrorCode::SinkUnavailable, unless),
        };
        Error::new(code, format!("{doing} the sink `{sink}`: {self}")).with_kind(kind)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}, core {}", self.epoch, self.core)
    }
}
