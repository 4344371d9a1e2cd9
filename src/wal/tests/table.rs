//! The table that tells a torn tail from corruption is total, and says what the module promises.

use crate::wal::tail::{Next, Place, Reach, Verdict, judge};

const NEXTS: [Next; 9] = [
    Next::Valid,
    Next::Zero,
    Next::BadHeader,
    Next::BadPayload,
    Next::WrongChain,
    Next::WrongLsn,
    Next::Foreign,
    Next::Beyond,
    Next::SegmentEnd,
];
const REACHES: [Reach; 2] = [Reach::Short, Reach::Met];
const PLACES: [Place; 3] = [Place::Start, Place::Last, Place::Sealed];

/// The rows of the table in the module's documentation, as predicates written apart from the `match`.
fn rows(next: Next, reach: Reach, place: Place) -> Vec<Verdict> {
    let contradicts = matches!(next, Next::WrongChain | Next::WrongLsn | Next::Foreign | Next::Beyond);
    let absent = matches!(next, Next::Zero | Next::BadHeader | Next::BadPayload | Next::SegmentEnd);
    let begun = matches!(next, Next::BadHeader | Next::BadPayload);
    let met = reach == Reach::Met;
    let rows = [
        (next == Next::Valid, Verdict::Replay),
        (contradicts, Verdict::Corrupt),
        (absent && place == Place::Start, Verdict::Corrupt),
        (absent && place != Place::Start && !met, Verdict::Corrupt),
        (absent && place == Place::Last && met && !begun, Verdict::End),
        (absent && place == Place::Last && met && begun, Verdict::Torn),
        (absent && place == Place::Sealed && met, Verdict::NextSegment),
    ];
    rows.into_iter().filter_map(|(applies, verdict)| applies.then_some(verdict)).collect()
}

#[test]
fn exactly_one_row_answers_every_combination() {
    let mut combinations = 0;
    for next in NEXTS {
        for reach in REACHES {
            for place in PLACES {
                let answers = rows(next, reach, place);
                assert_eq!(answers, [judge(next, reach, place)], "{next:?} {reach:?} {place:?}");
                combinations += 1;
            }
        }
    }
    assert_eq!(combinations, NEXTS.len() * REACHES.len() * PLACES.len());
}

#[test]
fn nothing_is_cut_below_the_evidence() {
    for next in NEXTS.into_iter().filter(|next| *next != Next::Valid) {
        for place in PLACES {
            assert_eq!(judge(next, Reach::Short, place), Verdict::Corrupt);
        }
    }
}
