//! Which checkpoints stay: a pure decision.
//!
//! A recovery that finds a rotten file falls back to an older checkpoint and replays more of the log, which costs time
//! and no data. That works only with a checkpoint that shares no file with the newest, and with the log from its
//! cut. So besides the newest few, the newest such *fallback* stays. Before any other exists, the empty beginning is
//! the fallback, and the whole log stays.
//!
//! Invariants
//! 1. The newest checkpoint always stays.
//! 2. The fallback stays, unless the log that it holds back is larger than the bound.

use std::collections::BTreeSet;

use crate::manifest::FileName;

/// What the decision looks at, per checkpoint, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Its files.
    pub(crate) files: BTreeSet<FileName>,
    /// Bytes of log that must be kept if recovery is to replay from its cut.
    pub(crate) log_bytes: u64,
}

/// What stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Whether each candidate stays, oldest first.
    pub(crate) checkpoints: Vec<bool>,
    /// Whether the log stays from its beginning.
    pub(crate) beginning: bool,
}

/// The bounds, from the options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How many of the newest checkpoints stay whatever they share.
    pub(crate) newest: usize,
    /// Most bytes of log that the fallback may hold back.
    pub(crate) fallback_log_bytes: u64,
}

/// Decides over `candidates`, the last of which is the newest. `beginning_log_bytes` is the size of the whole log, if
/// nothing of it has been dropped yet.
pub(crate) fn retain(candidates: &[Candidate], beginning_log_bytes: Option<u64>, bounds: Bounds) -> Kept {
    let Some(newest) = candidates.last() else {
        return Kept { checkpoints: Vec::new(), beginning: beginning_log_bytes.is_some() };
    };
    let first_of_newest = candidates.len().saturating_sub(bounds.newest.max(1));
    let mut checkpoints: Vec<bool> = (0..candidates.len()).map(|index| index >= first_of_newest).collect();
    let fallback = candidates.iter().rposition(|candidate| candidate.files.is_disjoint(&newest.files));
    if let Some(index) = fallback
        && candidates[index].log_bytes <= bounds.fallback_log_bytes
    {
        checkpoints[index] = true;
    }
    let beginning =
        fallback.is_none() && beginning_log_bytes.is_some_and(|bytes| bytes <= bounds.fallback_log_bytes);
    assert!(checkpoints.last() == Some(&true), "invariant 1");
    Kept { checkpoints, beginning }
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
