//! Crashes at moments that matter.

use std::collections::BTreeSet;

use highwater::EpochMark;
use highwater::sim::FaultPlan;

use super::{commit, get, options, put, story};
use crate::Test;

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![
    an_epoch_that_half_of_the_cores_ended_is_gone_on_all_of_them,
    an_open_that_is_interrupted_at_every_call_recovers_the_same,
    a_checkpoint_that_is_interrupted_at_every_call_counts_whole_or_not_at_all,
    a_commit_survives_the_power_in_every_round,
];

/// S22: the end of an epoch reached half of the cores when the process died, or the power went. The epoch never was.
fn an_epoch_that_half_of_the_cores_ended_is_gone_on_all_of_them() {
    for power in [false, true] {
        story(FaultPlan::none(), async move |mut rig| {
            let mut opened = rig.recover(options(4)).await;
            for core in 0..4 {
                put(&mut opened, core, 1, b"kept").expect("room");
            }
            let kept = commit(&mut opened).await.expect("no faults");
            for core in 0..4 {
                put(&mut opened, core, 1, b"lost").expect("room");
            }
            for core in &mut opened.cores[..2] {
                core.close_epoch(EpochMark::new()).expect("room");
            }
            // Long enough for the two logs to write all of it.
            rig.host.sleep(std::time::Duration::from_secs(5)).await;
            rig.end(power);
            drop(opened);

            let opened = rig.recover(options(4)).await;
            assert_eq!(opened.report.epoch, kept);
            for core in 0..4 {
                assert_eq!(get(&opened, core, 1).as_deref(), Some(&b"kept"[..]), "core {core}");
            }
            assert!(opened.report.discarded_records > 0);
        });
    }
}

/// S17 and S18: recovery is cut off at each of its calls, three times in a row. The state stays what it was.
fn an_open_that_is_interrupted_at_every_call_recovers_the_same() {
    for boundaries in 1.. {
        let (sender, receiver) = std::sync::mpsc::channel();
        story(FaultPlan::none(), async move |mut rig| {
            let mut opened = rig.recover(options(2)).await;
            for round in 0..6_u32 {
                put(&mut opened, 0, round % 3, &[7; 900]).expect("room");
                put(&mut opened, 1, round % 3, &round.to_le_bytes()).expect("room");
                commit(&mut opened).await.expect("no faults");
            }
            put(&mut opened, 0, 0, b"open").expect("room");
            let last = opened.engine.durable_epoch();
            rig.cut_power();
            drop(opened);

            let mut done = false;
            for interruption in 0..3 {
                done |= rig.open_for(options(2), boundaries).await.is_some();
                if interruption == 1 { rig.kill() } else { rig.cut_power() }
            }
            let opened = rig.recover(options(2)).await;
            assert_eq!(opened.report.epoch, last);
            assert_eq!(get(&opened, 0, 0).as_deref(), Some(&[7; 900][..]));
            assert_eq!(get(&opened, 1, 1).as_deref(), Some(&4_u32.to_le_bytes()[..]));
            sender.send(done).expect("the test waits");
        });
        if receiver.recv().expect("the story was told") {
            assert!(boundaries > 50, "an open has more calls than {boundaries}");
            return;
        }
    }
}

/// S5, of what local checkpoints have of it: the process dies, or the power goes, between any two steps of a checkpoint that
/// replaces an older one, from its first read of the log to the removal of the last file that nothing needs. The state
/// stays what it was, and the next checkpoint goes through.
fn a_checkpoint_that_is_interrupted_at_every_call_counts_whole_or_not_at_all() {
    for boundaries in 1.. {
        let done = [false, true].map(|power| interrupted_checkpoint(boundaries, power));
        if done == [true, true] {
            assert!(boundaries > 50, "a checkpoint has more calls than {boundaries}");
            return;
        }
    }
}

/// Whether the checkpoint and what comes after it was done within so many boundaries.
fn interrupted_checkpoint(boundaries: u64, power: bool) -> bool {
    let (sender, receiver) = std::sync::mpsc::channel();
    story(FaultPlan::none(), async move |mut rig| {
        let options = || options(2).retain_checkpoints(1).fallback_bytes_max(0);
        let mut opened = rig.recover(options()).await;
        let mut last = opened.report.epoch;
        for round in 0..6_u32 {
            if round > 0 {
                opened.engine.checkpoint_async().await.expect("no faults");
            }
            put(&mut opened, 0, round % 3, &[7; 900]).expect("room");
            put(&mut opened, 1, round % 3, &round.to_le_bytes()).expect("room");
            last = commit(&mut opened).await.expect("no faults");
        }
        let work = async {
            opened.engine.checkpoint_async().await.expect("no faults");
            // Long enough for what a checkpoint leaves to be done later.
            rig.host.sleep(std::time::Duration::from_secs(5)).await;
        };
        let done = rig.run_for(work, boundaries).await.is_some();
        if power {
            rig.cut_power();
        } else {
            rig.kill();
        }
        drop(opened);

        for checkpoint in [true, false] {
            let opened = rig.recover(options()).await;
            assert_eq!(opened.report.epoch, last, "boundary {boundaries}");
            assert!(opened.report.skipped.is_empty(), "boundary {boundaries}: {:?}", opened.report.skipped);
            for number in 0..3 {
                assert_eq!(get(&opened, 0, number).as_deref(), Some(&[7; 900][..]));
                assert_eq!(get(&opened, 1, number).as_deref(), Some(&(number + 3).to_le_bytes()[..]));
            }
            if checkpoint {
                opened.engine.checkpoint_async().await.expect("no faults");
                rig.cut_power();
            }
        }
        sender.send(done).expect("the test waits");
    });
    receiver.recv().expect("the story was told")
}

/// Acknowledged through many rolls, not a checkpoint in sight: every crash gives back the last commit.
fn a_commit_survives_the_power_in_every_round() {
    /// More frames than a segment has room for.
    const COMMITS: u32 = 10;
    story(FaultPlan::none(), async |mut rig| {
        let mut segments = BTreeSet::new();
        for round in 0..30_u32 {
            let mut opened = rig.recover(options(1)).await;
            let before = round.checked_sub(1).map(|before| before.to_le_bytes().to_vec());
            assert_eq!(get(&opened, 0, 1), before);
            let at_open = rig.segments();
            for _ in 0..COMMITS {
                put(&mut opened, 0, 2, &[7; 900]).expect("room");
                put(&mut opened, 0, 1, &round.to_le_bytes()).expect("room");
                commit(&mut opened).await.expect("no faults");
            }
            let rolled = rig.segments().difference(&at_open).count();
            assert!(rolled >= 2, "round {round}: the log has {rolled} new segments");
            segments.extend(rig.segments());
            put(&mut opened, 0, 1, b"never closed").expect("room");
            rig.cut_power();
        }
        assert!(segments.len() > 60, "{} segments", segments.len());
    });
}
