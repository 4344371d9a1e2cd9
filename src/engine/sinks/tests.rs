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

mod ledger {
    use std::sync::Arc;

    use super::super::Standing;
    use super::super::ledger::{Ledger, Participant};
    use crate::ids::{CoreId, Epoch};
    use crate::manifest::SinkEntry;
    use crate::sink::{FileSink, LostPolicy, Part};

    fn participant(name: &str, epochs_max: u64) -> Participant {
        let sink = Arc::new(FileSink::new("nowhere"));
        Participant { name: name.into(), sink, epochs_max, unclaimed: Vec::new() }
    }

    fn ledger(known: Vec<SinkEntry>, decided: u64) -> Ledger {
        let sinks = vec![participant("a", 3), participant("b", 100)];
        let pause = Box::new(|| Box::pin(async {}) as _);
        Ledger::new((sinks, 2, LostPolicy::Accept, pause), known, (Epoch(decided), Epoch(decided)))
    }

    fn part(epoch: u64, core: u16) -> Part {
        Part { epoch: Epoch(epoch), core: CoreId(core) }
    }

    fn handle(text: &str) -> Vec<u8> {
        text.as_bytes().to_vec()
    }

    fn listed(ledger: &Ledger, epoch: u64) -> Vec<(String, u64, u16, bool)> {
        let list = ledger.list(Epoch(epoch)).into_iter();
        list.map(|entry| (entry.name, entry.epoch.0, entry.core.0, entry.handle.is_some())).collect()
    }

    /// R4, R5: the newest epoch is listed whole, the older ones until they are published.
    #[test]
    fn a_manifest_lists_its_epoch_and_what_nobody_knows_to_be_published() {
        let ledger = ledger(Vec::new(), 0);
        ledger.enter(part(1, 0), &[Some(handle("a1")), None]);
        ledger.enter(part(1, 1), &[None, Some(handle("b1"))]);
        ledger.enter(part(2, 0), &[None, None]);
        ledger.enter(part(2, 1), &[None, None]);
        let row = |name: &str, epoch, core, has| (name.to_owned(), epoch, core, has);
        let nothing =
            [row("a", 2, 0, false), row("a", 2, 1, false), row("b", 2, 0, false), row("b", 2, 1, false)];
        let [a0, a1, b0, b1] = nothing.clone();
        assert_eq!(listed(&ledger, 2), [row("a", 1, 0, true), a0, a1, row("b", 1, 1, true), b0, b1]);
        assert!(ledger.next(0).is_none(), "E2: listed is not decided");
        assert!(ledger.decide(Epoch(2)) && !ledger.decide(Epoch(2)));
        assert_eq!(ledger.take_forget(0), None, "a commit of epoch 1 may come again");
        assert_eq!(ledger.published_epoch(), Epoch(0));
        ledger.published(0, ledger.next(0).unwrap().part);
        assert_eq!(ledger.published_epoch(), Epoch(0), "the other sink has not");
        ledger.lost(1, part(1, 1));
        assert_eq!((ledger.published_epoch(), ledger.in_doubt()[0].standing), (Epoch(2), Standing::Lost));
        ledger.enter(part(3, 0), &[None, None]);
        ledger.enter(part(3, 1), &[None, None]);
        assert_eq!(listed(&ledger, 3).len(), 5, "and what was lost stays on record");
        ledger.decide(Epoch(3));
        assert_eq!(ledger.take_forget(0), Some(Epoch(3)));
        assert_eq!(ledger.take_forget(0), None);
    }

    /// One core is two epochs ahead when a checkpoint is taken: the epoch between them is still to end on the other
    /// one, and may be committed again until a list of its own, or a later one, is decided.
    #[test]
    fn a_sink_forgets_no_epoch_that_a_slower_core_has_still_to_end() {
        let ledger = ledger(Vec::new(), 0);
        for core in [0, 1] {
            ledger.enter(part(1, core), &[None, None]);
        }
        ledger.enter(part(2, 0), &[None, None]);
        ledger.enter(part(3, 0), &[Some(handle("ahead")), None]);
        ledger.list(Epoch(1));
        ledger.decide(Epoch(1));
        assert_eq!(ledger.take_forget(0), Some(Epoch(1)));
        ledger.enter(part(2, 1), &[Some(handle("behind")), None]);
        ledger.list(Epoch(2));
        ledger.decide(Epoch(2));
        assert_eq!(ledger.take_forget(0), None, "a commit of epoch 2 may come again");
        assert_eq!(ledger.take_forget(1), Some(Epoch(2)), "the other sink has nothing");
        ledger.published(0, ledger.next(0).unwrap().part);
        ledger.enter(part(3, 1), &[None, None]);
        ledger.list(Epoch(3));
        ledger.decide(Epoch(3));
        assert_eq!(ledger.take_forget(0), Some(Epoch(2)));
    }

    /// A sink that has room for everything says so by the greatest number there is.
    #[test]
    fn a_sink_without_a_bound_holds_nobody_up() {
        let sinks = vec![participant("a", u64::MAX)];
        let pause = Box::new(|| Box::pin(async {}) as _);
        let ledger = Ledger::new((sinks, 1, LostPolicy::Halt, pause), Vec::new(), (Epoch(0), Epoch(0)));
        for epoch in 1..=3 {
            ledger.check_room(Epoch(epoch)).unwrap();
            ledger.enter(part(epoch, 0), &[Some(handle("a"))]);
        }
        ledger.check_room(Epoch(4)).unwrap();
    }

    /// E6, and that the bound can always be left: an epoch that is open somewhere is never too far ahead of itself.
    #[test]
    fn a_core_is_held_up_when_a_sink_is_full_and_a_checkpoint_is_asked_for() {
        let ledger = ledger(Vec::new(), 0);
        for epoch in 1..=3 {
            ledger.check_room(Epoch(epoch)).unwrap();
            ledger.enter(part(epoch, 0), &[Some(handle("a")), None]);
        }
        ledger.check_room(Epoch(1)).unwrap();
        assert!(!ledger.presses(Epoch(0)), "nothing is closed");
        assert!(ledger.check_room(Epoch(4)).is_err());
        assert!(ledger.presses(Epoch(1)), "a core waits");
        ledger.list(Epoch(1));
        ledger.landed(Epoch(1));
        assert!(!ledger.presses(Epoch(1)), "it is listed");
        ledger.decide(Epoch(1));
        assert!(ledger.check_room(Epoch(4)).is_err(), "and not published");
        ledger.published(0, part(1, 0));
        ledger.check_room(Epoch(4)).unwrap();
        ledger.check_room(Epoch(5)).unwrap_err();
    }

    /// E5: what an earlier life has decided goes first.
    #[test]
    fn what_was_decided_before_the_open_is_published_before_anything_is_pre_committed() {
        let entry = |epoch, lost| SinkEntry {
            name: "a".into(),
            epoch: Epoch(epoch),
            core: CoreId(1),
            handle: Some(handle("h")),
            lost,
        };
        let ledger = ledger(vec![entry(3, true), entry(4, false), entry(6, false)], 5);
        assert!(ledger.check_room(Epoch(7)).is_err());
        ledger.failed(0, "no answer".into());
        assert!(
            ledger.outcome(Epoch(4), 0).unwrap().is_err() && ledger.outcome(Epoch(3), 0).unwrap().is_ok()
        );
        let permit = ledger.next(0).unwrap();
        assert_eq!(permit.part, part(4, 1));
        ledger.published(0, permit.part);
        assert!(ledger.next(0).is_none(), "epoch 6 is in doubt");
        ledger.check_room(Epoch(7)).unwrap();
        assert_eq!(ledger.published_epoch(), Epoch(5));
    }
}
