//! What a database takes of its process: I10.

use std::time::Duration;

use highwater::sim::FaultPlan;
use highwater::{Epoch, EpochMark, ErrorKind, Opened};

use super::{commit, options, put, story};
use crate::Test;
use crate::world::World;

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![
    bases_are_rewritten_by_one_core_at_a_time,
    the_cadence_follows_the_budget,
    a_log_that_is_due_needs_no_more_writes,
    who_waits_for_room_gives_way_to_the_log
];

const CORES: u16 = 8;

/// Whoever rewrites a base opens all files of its chain, and the chains of all cores are as long: at once they are more
/// than a process may have open, and so are they at every later attempt.
fn bases_are_rewritten_by_one_core_at_a_time() {
    story(FaultPlan::none(), async |rig| {
        let mut opened = rig.recover(options(CORES)).await;
        let (mut usual, mut most) = (usize::MAX, 0);
        let mut rewritten = 0;
        for round in 0..40_u32 {
            for core in 0..usize::from(CORES) {
                put(&mut opened, core, round, b"a delta of its own").expect("room");
            }
            commit(&mut opened).await.expect("no faults");
            rig.disk.open_files_max();
            let taken = opened.engine.checkpoint_async().await.expect("no faults");
            let open = rig.disk.open_files_max();
            rewritten += u32::from(taken.bases_written > 0 && round > 0);
            (usual, most) = (usual.min(open), most.max(open));
        }
        assert!(rewritten > 0, "no base was rewritten");
        assert!(most < usual + 2 * CHAIN_FILES, "{most} files open at once, usually {usual}");
    });
}

/// More files than a chain of so small a database ever has.
const CHAIN_FILES: usize = 12;

/// Epochs of some log each, until as much is written as four recoveries of the larger budget may read.
fn the_cadence_follows_the_budget() {
    let none = checkpoints_within(None);
    let some = checkpoints_within(Some(Duration::from_millis(270)));
    let many = checkpoints_within(Some(Duration::from_millis(1)));
    assert_eq!(none, 0, "nobody asked for one");
    assert!((3..=8).contains(&some), "{some} checkpoints");
    assert!((9..=24).contains(&many), "{many} checkpoints: a budget that cannot be met has a bound, too");
}

/// How many checkpoints are taken unasked while four megabytes are written.
fn checkpoints_within(budget: Option<Duration>) -> usize {
    let (sender, receiver) = std::sync::mpsc::channel();
    story(FaultPlan::none(), async move |rig| {
        let options = options(2).queue_bytes(64 << 10);
        let options = match budget {
            Some(budget) => options.max_recovery(budget),
            None => options,
        };
        let mut opened = rig.recover(options).await;
        let mut newest = std::collections::BTreeSet::new();
        for round in 0..128_u32 {
            for core in 0..2 {
                for number in 0..16 {
                    put(&mut opened, core, (round * 16 + number) % 32, &[7; 900]).expect("room");
                }
            }
            commit(&mut opened).await.expect("no faults");
            let forecast = opened.engine.recovery_forecast();
            assert_eq!(forecast.budget, budget);
            let meets =
                budget.is_none_or(|budget| budget < Duration::from_millis(250) || !forecast.exceeds_budget());
            assert!(meets, "{forecast:?}");
            rig.host.sleep(Duration::from_millis(300)).await;
            newest.extend(opened.engine.retained().last().map(|retained| retained.epoch));
        }
        let forecast = opened.engine.recovery_forecast();
        assert_eq!(forecast.log_bytes > 3_000_000, budget.is_none(), "{forecast:?}");
        sender.send(newest.len()).expect("the test waits");
    });
    receiver.recv().expect("the story was told")
}

/// The log becomes due in the middle of an epoch, or right behind a checkpoint, and then nobody writes any more: the checkpoint
/// is taken all the same, and soon.
fn a_log_that_is_due_needs_no_more_writes() {
    for inline in [false, true] {
        story(FaultPlan::none(), async move |rig| {
            let mut opened = rig.recover(options(1).checkpoint_wal_bytes(4 << 10).inline(inline)).await;
            let newest =
                |opened: &Opened<World>| opened.engine.retained().last().map(|retained| retained.epoch);
            let a_while = async || rig.host.sleep(Duration::from_secs(1)).await;
            for number in 0..12 {
                put(&mut opened, 0, number, &[7; 500]).expect("room");
            }
            opened.engine.drive().await;
            a_while().await;
            let in_one_epoch = end(&mut opened).await;
            a_while().await;
            assert_eq!(newest(&opened), Some(in_one_epoch));

            put(&mut opened, 0, 0, b"little").expect("room");
            end(&mut opened).await;
            opened.engine.checkpoint_async().await.expect("no faults");
            for number in 0..12 {
                put(&mut opened, 0, number, &[8; 500]).expect("room");
            }
            let behind_another = end(&mut opened).await;
            assert_ne!(newest(&opened), Some(behind_another), "there was no time for it yet");
            a_while().await;
            assert_eq!(newest(&opened), Some(behind_another));
        });
    }
}

/// Records of any size, and the loop that everybody writes around `Busy`. It span: the log never got a turn to make room.
fn who_waits_for_room_gives_way_to_the_log() {
    story(FaultPlan::none(), async |rig| {
        let mut opened = rig.recover(options(1)).await;
        let (mut busy, mut bytes) = (0, 0);
        for number in 0..200_u32 {
            let value = vec![b'v'; [100, 900, 10, 1_500][number as usize % 4]];
            while let Err(error) = put(&mut opened, 0, number, &value) {
                assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
                busy += 1;
                assert!(busy < 10_000, "ready() returns, and the core is not");
                opened.cores[0].ready().await.expect("no faults");
            }
            bytes += value.len();
        }
        assert!(busy > 0, "a queue of 8 KiB took {bytes} bytes at once");
        commit(&mut opened).await.expect("no faults");
        opened.engine.close_async(opened.cores).await.expect("no faults");
    });
}

/// Ends the epoch and waits for it, whoever writes the log.
async fn end(opened: &mut Opened<World>) -> Epoch {
    let epoch = opened.cores[0].close_epoch(EpochMark::new()).expect("room");
    opened.engine.drive().await;
    opened.engine.durable(epoch).await.expect("no faults");
    epoch
}
