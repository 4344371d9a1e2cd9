//! The decisions, without an engine around them.

use super::resolve::{Knowledge, Verdict, verdict};
use crate::ids::{Epoch, FencingToken};

/// Every case has its row, and only what nobody can ever decide is aborted.
#[test]
fn an_open_aborts_only_what_nobody_knows_and_nobody_will_decide() {
    let (own, recovered) = (FencingToken(7), Epoch(20));
    let mut aborted = Vec::new();
    for known in [Knowledge::Decided, Knowledge::Logged, Knowledge::None] {
        for token in 6..=8 {
            for epoch in 19..=21 {
                let transaction = (FencingToken(token), Epoch(epoch));
                let verdict = verdict(known, transaction, (own, recovered));
                match known {
                    Knowledge::Decided => assert_eq!(verdict, Verdict::Commit, "only forward"),
                    Knowledge::Logged => assert_eq!(verdict, Verdict::Keep, "the next manifest decides it"),
                    Knowledge::None => {
                        assert!(
                            matches!(verdict, Verdict::Abort | Verdict::Unclaimed),
                            "nothing is committed"
                        );
                    }
                }
                if verdict == Verdict::Abort {
                    aborted.push((known, token, epoch));
                }
            }
        }
    }
    assert_eq!(aborted, [(Knowledge::None, 6, 21)]);
}
