use super::Growth;
use crate::ids::{CoreId, Epoch};

/// One core is three epochs ahead, and in the middle of a fourth.
#[test]
fn a_checkpoint_takes_only_what_it_holds_off_the_count() {
    let growth = Growth::new(1_000, 2);
    let mut given = [0; 2];
    let mut grow = |core: u16, bytes: u64, end: Option<u64>, closed: u64| {
        growth.grew(bytes);
        let given = &mut given[usize::from(core)];
        *given += bytes;
        if let Some(epoch) = end {
            growth.ended(CoreId(core), Epoch(epoch), *given, Epoch(closed));
        }
    };
    for epoch in 1..=3 {
        grow(0, 10, Some(epoch), 0);
    }
    grow(0, 10, None, 0);
    grow(1, 5, Some(1), 0);
    assert_eq!(growth.bytes(), 1_045);
    let (epoch, through) = growth.through(|| Epoch(1));
    assert_eq!((epoch, through), (Epoch(1), 1_015));
    grow(1, 5, Some(2), 1);
    growth.held(through);
    assert_eq!(growth.bytes(), 35, "three epochs of core 0 in part, and one of core 1");
    let (_, through) = growth.through(|| Epoch(2));
    growth.held(through);
    assert_eq!(growth.bytes(), 20);
}

/// However many epochs close between two checkpoints.
#[test]
fn ends_of_epochs_that_are_closed_take_no_memory() {
    let growth = Growth::new(0, 1);
    for epoch in 1..10_000 {
        growth.grew(1);
        growth.ended(CoreId(0), Epoch(epoch), epoch, Epoch(epoch - 1));
    }
    assert!(super::lock(&growth.marks).ends[0].len() < 4);
    assert_eq!(growth.through(|| Epoch(9_998)), (Epoch(9_998), 9_998));
}
