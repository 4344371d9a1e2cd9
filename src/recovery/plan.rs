//! Which epoch is recovered, and which records of the old life still count: a pure decision over what the logs show.
//!
//! ```text
//!            base ─────── proven ────────── cut ─────────── end
//! core 0   ──────────────────┼───────────────┼───────────────┤
//!            kept in place   │    carried    │   discarded
//! ```
//!
//! `base` is what the life began with (its carried records), `proven` the greatest LSN that some mark proves durable,
//! `cut` the end of the recovered epoch, `end` the last readable record without a gap.
//!
//! Invariants
//! 1. The recovered epoch is the greatest that is closed on all cores, and never below any closed-through mark.
//! 2. What is kept in place is proven durable; what counts but is not proven is carried.

use crate::ids::{Epoch, Lsn};

/// What the log of one core shows of the life that was interrupted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CoreEvidence {
    /// The last LSN that the life carried over from before it; every record up to it counts.
    pub(crate) base: Lsn,
    /// The last LSN without a gap before it.
    pub(crate) end: Lsn,
    /// The greatest LSN that a mark in this core's log proves durable.
    pub(crate) proven: Lsn,
    /// The greatest closed-through mark in this core's log.
    pub(crate) closed_through: Epoch,
    /// The epochs that end between `base` and `end`, in order.
    pub(crate) ends: Vec<(Epoch, Lsn)>,
}

/// How far the log of one core counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CorePlan {
    /// The last LSN that stays where it is: the ceiling of the old life.
    pub(crate) keep: Lsn,
    /// The last LSN that counts; those above `keep` are carried.
    pub(crate) cut: Lsn,
    /// Readable records above the cut.
    pub(crate) discarded: u64,
}

/// The decision for all cores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The epoch that is recovered.
    pub(crate) epoch: Epoch,
    /// One entry per core.
    pub(crate) cores: Vec<CorePlan>,
}

/// A core whose log ends before an epoch that was closed on all cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    /// Index of the core.
    pub(crate) core: usize,
    /// The last epoch that its log still holds.
    pub(crate) reaches: Epoch,
    /// The epoch that some mark says was closed on all cores.
    pub(crate) closed: Epoch,
}

/// Decides what is recovered of a life that began after epoch `base_epoch`.
///
/// # Errors
///
/// The first core that lost a record which some mark proves durable.
///
/// # Panics
///
/// When the evidence contradicts itself: the scan of a log makes sure that it does not.
pub(crate) fn plan(base_epoch: Epoch, cores: &[CoreEvidence]) -> Result<Plan, Loss> {
    assert!(!cores.is_empty(), "a database has a core");
    let last_end = |core: &CoreEvidence| core.ends.last().map_or(base_epoch, |(epoch, _)| *epoch);
    let closed = cores.iter().map(|core| core.closed_through).max().unwrap_or(base_epoch).max(base_epoch);
    for (index, core) in cores.iter().enumerate() {
        check(base_epoch, core);
        if last_end(core) < closed {
            return Err(Loss { core: index, reaches: last_end(core), closed });
        }
    }
    let epoch = cores.iter().map(last_end).min().unwrap_or(base_epoch);
    assert!(epoch >= closed, "invariant 1: recovering {epoch} below the closed epoch {closed}");
    let cores = cores
        .iter()
        .map(|core| {
            let cut = end_of(base_epoch, core, epoch);
            let proven = core.proven.max(end_of(base_epoch, core, closed));
            CorePlan { keep: proven.min(cut), cut, discarded: core.end.0 - cut.0 }
        })
        .collect();
    Ok(Plan { epoch, cores })
}

/// The LSN at which `epoch` ends on `core`.
fn end_of(base_epoch: Epoch, core: &CoreEvidence, epoch: Epoch) -> Lsn {
    if epoch == base_epoch {
        return core.base;
    }
    let found = core.ends.iter().find(|(of, _)| *of == epoch);
    let (_, lsn) = found.unwrap_or_else(|| panic!("epoch {epoch} ends nowhere in {:?}", core.ends));
    *lsn
}

fn check(base_epoch: Epoch, core: &CoreEvidence) {
    assert!(core.base <= core.end, "a log ends at {}, before its base {}", core.end, core.base);
    assert!(core.proven <= core.end, "a log ends at {}, below its proven {}", core.end, core.proven);
    let mut expected = base_epoch.next();
    for (epoch, lsn) in &core.ends {
        assert_eq!(*epoch, expected, "epochs end in order, each once");
        assert!((core.base..=core.end).contains(lsn), "epoch {epoch} ends at {lsn}, outside the log");
        expected = expected.next();
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
