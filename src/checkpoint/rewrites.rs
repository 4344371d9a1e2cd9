//! When chains may be rewritten, and what is known of chains that could not be.
//!
//! A rewrite that fails leaves its chain as good as it was: the checkpoint lands without the base, so that the log is let go,
//! and it is tried again after a while.
//!
//! 1. A rewrite that found no room, or a file that cannot be read, does not fail a checkpoint.
//! 2. While a file of the newest checkpoint is known to be unreadable, what an open can fall back to stays.

use std::collections::BTreeSet;

use crate::ids::CoreId;

/// What became of the rewrite of one core's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rewrite {
    /// None was due, or it was no time for one.
    NotTried,
    /// The chain is one base.
    Done,
    /// The base could not be written.
    Failed,
    /// A file of the chain cannot be read.
    Unreadable,
}

/// Attempts that pass over a rewrite double with each failure, this often.
const DOUBLINGS_MAX: u32 = 6;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Rewrites {
    /// How many attempts in a row had one that failed.
    failures: u32,
    /// The next attempt that may rewrite.
    next_attempt: u32,
    /// Whose chains have a file that cannot be read.
    unreadable: BTreeSet<CoreId>,
}

impl Rewrites {
    /// Whether `attempt` may rewrite chains.
    pub(super) fn may(&self, attempt: u32) -> bool {
        attempt >= self.next_attempt
    }

    /// Whether the newest checkpoint may be of no use to an open.
    pub(super) fn is_in_doubt(&self) -> bool {
        !self.unreadable.is_empty()
    }

    /// Takes down what became of the rewrites of `attempt`, core by core.
    pub(super) fn note(&mut self, attempt: u32, of_cores: impl IntoIterator<Item = Rewrite>) {
        let (mut any_done, mut any_failed) = (false, false);
        for (core, rewrite) in (0..).map(CoreId).zip(of_cores) {
            match rewrite {
                Rewrite::NotTried => {}
                Rewrite::Done => {
                    any_done = true;
                    self.unreadable.remove(&core);
                }
                Rewrite::Failed => any_failed = true,
                Rewrite::Unreadable => {
                    any_failed = true;
                    self.unreadable.insert(core);
                }
            }
        }
        if any_failed {
            self.next_attempt =
                attempt.saturating_add(1 << self.failures.min(DOUBLINGS_MAX)).saturating_add(1);
            self.failures = self.failures.saturating_add(1);
        } else if any_done {
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewrite_that_fails_is_tried_again_ever_later() {
        let mut rewrites = Rewrites::default();
        let mut tried = Vec::new();
        for attempt in 1..40 {
            if rewrites.may(attempt) {
                tried.push(attempt);
                rewrites.note(attempt, [Rewrite::NotTried, Rewrite::Failed]);
            } else {
                rewrites.note(attempt, [Rewrite::NotTried, Rewrite::NotTried]);
            }
        }
        assert_eq!(tried, [1, 3, 6, 11, 20, 37]);
        rewrites.note(70, [Rewrite::NotTried, Rewrite::Done]);
        assert!(rewrites.may(71));
    }

    #[test]
    fn a_chain_is_in_doubt_until_it_is_rewritten() {
        let mut rewrites = Rewrites::default();
        rewrites.note(1, [Rewrite::Unreadable, Rewrite::Failed]);
        assert!(rewrites.is_in_doubt());
        rewrites.note(3, [Rewrite::NotTried, Rewrite::Done]);
        assert!(rewrites.is_in_doubt(), "that was another core's");
        rewrites.note(6, [Rewrite::Done, Rewrite::NotTried]);
        assert!(!rewrites.is_in_doubt());
    }
}
