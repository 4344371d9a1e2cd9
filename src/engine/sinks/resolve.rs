//! What an open does with a transaction that a sink has in doubt: a pure decision, with a row for every case.

use crate::ids::{Epoch, FencingToken};

/// What this database knows of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knowledge {
    /// The manifest lists it, where that decides.
    Decided,
    /// The log of a closed epoch carries it, or a manifest that decides nothing.
    Logged,
    /// Neither.
    None,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is committed, by the sink's thread.
    Commit,
    /// It stays in doubt.
    Keep,
    /// It is aborted: its epoch is written anew.
    Abort,
    /// It is left alone, and shown.
    Unclaimed,
}

/// What is done with a transaction of `token` and `epoch` by an open that took the token `own` and recovered the epoch
/// `recovered`.
pub(super) fn verdict(
    known: Knowledge,
    (token, epoch): (FencingToken, Epoch),
    (own, recovered): (FencingToken, Epoch),
) -> Verdict {
    match (known, token < own, epoch > recovered) {
        (Knowledge::Decided, ..) => Verdict::Commit,
        (Knowledge::Logged, ..) => Verdict::Keep,
        // Whoever wrote it died, or was fenced, before its epoch closed: no manifest can ever list it (E4).
        (Knowledge::None, true, true) => Verdict::Abort,
        // Of an epoch that this history has closed without it: another history's, or published and listed by mistake.
        // Or a later writer's.
        (Knowledge::None, true, false) | (Knowledge::None, false, _) => Verdict::Unclaimed,
    }
}
