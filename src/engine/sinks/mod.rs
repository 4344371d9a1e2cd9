//! Two-phase commit with the database's sinks: what is in doubt, what is decided, and who publishes it.
//!
//! ```text
//! pre-committed ──EpochEnd logged──► in doubt ──a manifest that lists it landed──► decided ──commit──► published
//!       │                                │                                            └─forgotten─► lost
//!       └─crash: aborted by the next open └─crash: in doubt again, listed by the log
//! ```
//!
//! ```text
//! ledger.rs      every handle that is not published, and how far the decisions are
//! opening.rs     what an open does with what it finds in the sinks; resolve.rs, a pure function, says what
//! committer.rs   the thread of a sink: publishes what is decided, in order, until it is
//! ```
//!
//! E1. The end of an epoch is logged only with an entry for every sink: its handle, or that there is none.
//! E2. Decided is what a manifest lists that has landed for good: the local one; with an object store the one there,
//!     because that is what a successor begins from. Nothing else leads to a commit.
//! E3. Behind a decision there is only forward: every manifest lists a handle until the sink has published it. (The
//!     one of an open that falls back behind every checkpoint that listed it carries what was decided by itself:
//!     docs/adr/0021.)
//! E4. An open aborts only what no log and no manifest knows, of an earlier token and an epoch above the recovered one.
//! E5. What was decided before an open is published before the next rows are pre-committed.
//! E6. What is in doubt is bounded: a core that is too far ahead of what is published cannot end its epoch.

mod committer;
mod ledger;
mod opening;
mod resolve;

#[cfg(test)]
mod tests;

pub(crate) use committer::Committer;
pub(crate) use ledger::Ledger;
pub(crate) use opening::{Beginning, begin};

use crate::ids::{CoreId, Epoch};

/// How a transaction of a sink stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Standing {
    /// Its epoch has ended, and no manifest has decided it: it is committed when one has, also after a crash.
    InDoubt,
    /// A manifest has decided it: it is being committed, for as long as that takes.
    Decided,
    /// The sink has forgotten it, and [`LostPolicy::Accept`](crate::sink::LostPolicy::Accept) let it go.
    Lost,
    /// The sink lists it, and this database neither knows it nor may abort it: another copy of the database made it, or a writer
    /// that was fenced. Somebody has to decide by hand.
    Unclaimed,
}

/// A transaction that is not published; from [`Engine::in_doubt`](crate::Engine::in_doubt).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct InDoubt {
    /// The sink, as the options name it.
    pub sink: String,
    /// The epoch of its rows.
    pub epoch: Epoch,
    /// Who wrote them.
    pub core: CoreId,
    /// What the sink calls it.
    pub handle: Vec<u8>,
    /// How it stands.
    pub standing: Standing,
}

/// How a sink is doing; from [`Engine::sinks`](crate::Engine::sinks) and [`Engine::stats`](crate::Engine::stats).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SinkStatus {
    /// The sink, as the options name it.
    pub name: String,
    /// Everything up to this epoch is decided and published.
    pub published: Epoch,
    /// Transactions that are in doubt or being committed.
    pub pending: usize,
    /// Why the last commit failed, if none has succeeded since. It is tried again.
    pub trouble: Option<String>,
}
