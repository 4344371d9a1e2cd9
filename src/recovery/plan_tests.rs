use proptest::prelude::*;

use super::*;

/// A core whose log begins after LSN `base` and ends one epoch at each of `ends`.
fn core(base: u64, first_epoch: u64, ends: &[u64], end: u64) -> CoreEvidence {
    CoreEvidence {
        base: Lsn(base),
        end: Lsn(end),
        proven: Lsn(base),
        closed_through: Epoch(0),
        ends: ends.iter().zip(first_epoch..).map(|(lsn, epoch)| (Epoch(epoch), Lsn(*lsn))).collect(),
    }
}

/// Two cores, one an epoch ahead: its extra epoch was closed nowhere else and is discarded whole.
#[test]
fn the_slowest_core_decides() {
    let plan = plan(Epoch(3), &[core(10, 4, &[15, 19], 22), core(7, 4, &[9], 9)]).unwrap();
    assert_eq!(plan.epoch, Epoch(4));
    assert_eq!(plan.cores[0], CorePlan { keep: Lsn(10), cut: Lsn(15), discarded: 7 });
    assert_eq!(plan.cores[1], CorePlan { keep: Lsn(7), cut: Lsn(9), discarded: 0 });
}

/// Nothing closed in this life: it contributes what it carried, and nothing else.
#[test]
fn a_life_without_a_closed_epoch_keeps_its_base() {
    let plan = plan(Epoch(3), &[core(10, 4, &[12], 14), core(7, 4, &[], 8)]).unwrap();
    assert_eq!(plan.epoch, Epoch(3));
    assert_eq!(plan.cores[0], CorePlan { keep: Lsn(10), cut: Lsn(10), discarded: 4 });
    assert_eq!(plan.cores[1], CorePlan { keep: Lsn(7), cut: Lsn(7), discarded: 1 });
}

/// Core 1 says that epoch 5 was closed on all cores; core 0 has lost it, so it lost acknowledged records.
#[test]
fn a_mark_in_another_core_proves_a_loss() {
    let mut witness = core(7, 4, &[8, 9], 9);
    witness.closed_through = Epoch(5);
    let loss = plan(Epoch(3), &[core(10, 4, &[12], 14), witness]).unwrap_err();
    assert_eq!(loss, Loss { core: 0, reaches: Epoch(4), closed: Epoch(5) });
}

/// A closed-through mark proves the records below it on every core, whatever the core's own marks say.
#[test]
fn a_closed_epoch_needs_no_carrying() {
    let mut witness = core(7, 4, &[8, 9], 9);
    witness.closed_through = Epoch(4);
    let plan = plan(Epoch(3), &[core(10, 4, &[12, 14], 14), witness]).unwrap();
    assert_eq!(plan.cores[0], CorePlan { keep: Lsn(12), cut: Lsn(14), discarded: 0 });
    assert_eq!(plan.cores[1], CorePlan { keep: Lsn(8), cut: Lsn(9), discarded: 0 });
}

/// The scan of a log lets none of these through. A plan made of one would lose data in silence.
#[test]
fn evidence_that_contradicts_itself_is_not_planned_with() {
    let before_its_base = core(10, 4, &[], 9);
    let mut unproven = core(10, 4, &[], 12);
    unproven.proven = Lsn(13);
    let skips_an_epoch = core(10, 5, &[12], 12);
    let ends_outside = core(10, 4, &[13], 12);
    for evidence in [before_its_base, unproven, skips_an_epoch, ends_outside] {
        let planned = std::panic::catch_unwind(|| plan(Epoch(3), std::slice::from_ref(&evidence)));
        assert!(planned.is_err(), "{evidence:?}");
    }
}

fn evidence() -> impl Strategy<Value = CoreEvidence> {
    (0..50u64, proptest::collection::vec(1..5u64, 0..6), 0..5u64, 0..30u64, 0..8u64).prop_map(
        |(base, steps, rest, proven, closed)| {
            let ends: Vec<u64> = steps
                .iter()
                .scan(base, |lsn, step| {
                    *lsn += step;
                    Some(*lsn)
                })
                .collect();
            let end = ends.last().copied().unwrap_or(base) + rest;
            let mut core = core(base, 4, &ends, end);
            core.proven = Lsn((base + proven).min(end));
            core.closed_through = Epoch(closed);
            core
        },
    )
}

proptest! {
    #[test]
    fn every_plan_is_one_cut_of_all_cores(cores in proptest::collection::vec(evidence(), 1..5)) {
        match plan(Epoch(3), &cores) {
            Ok(plan) => {
                for (core, planned) in cores.iter().zip(&plan.cores) {
                    prop_assert!(core.base <= planned.keep && planned.keep <= planned.cut);
                    prop_assert!(planned.cut <= core.end && core.closed_through <= plan.epoch);
                    prop_assert_eq!(planned.cut, end_of(Epoch(3), core, plan.epoch));
                }
                let next = plan.epoch.next();
                prop_assert!(
                    cores.iter().any(|core| core.ends.iter().all(|(epoch, _)| *epoch != next)),
                    "epoch {} was closed on all cores too", next
                );
            }
            Err(loss) => {
                prop_assert!(cores.iter().any(|core| core.closed_through == loss.closed));
                prop_assert!(loss.reaches < loss.closed);
            }
        }
    }
}
