//! Disks that fail, and disks that are full.

use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use highwater::sim::{Disk, FaultClass, FaultPlan, Personality};
use highwater::{Epoch, EpochMark, ErrorCode, ErrorKind, Health, Opened};

use super::{Rig, commit, get, options, put, story, story_on};
use crate::Test;
use crate::shape::DIRECTORY;
use crate::world::World;

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![
    a_sync_that_failed_is_never_believed_again,
    a_write_that_was_cut_short_is_not_durable_by_itself,
    a_failure_is_told_to_another_write,
    a_full_device_costs_time_and_nothing_else,
    a_checkpoint_without_space_harms_nothing_and_works_later,
    a_checkpoint_that_cannot_be_read_at_the_moment_is_not_given_up,
    a_manifest_that_may_have_landed_keeps_its_number,
    a_second_opener_is_busy_and_the_first_goes_on,
    a_drive_that_is_dropped_half_way_is_heard_of,
    close_waits_for_whoever_drives,
];

/// Opens while nothing fails, commits "kept", then lets `class` fire from now on.
async fn committed(rig: &Rig) -> Opened<World> {
    let mut opened = rig.recover(options(1)).await;
    put(&mut opened, 0, 1, b"kept").expect("room");
    commit(&mut opened).await.expect("no faults yet");
    opened
}

/// S4: a sync fails once, and the page cache calls its pages clean. Whoever syncs again and believes it loses.
fn a_sync_that_failed_is_never_believed_again() {
    for class in [FaultClass::SyncErrorOnce, FaultClass::SyncError, FaultClass::WriteError] {
        // Rare enough for the first open to get through, and sure to come.
        story(FaultPlan::none().with(class, 0.02), async move |mut rig| {
            let mut acknowledged = None;
            for round in 0..200_u32 {
                let Some(mut opened) = rig.open_or_fail(options(1)).await else {
                    rig.cut_power();
                    continue;
                };
                assert!(opened.report.epoch >= acknowledged.unwrap_or_default());
                put(&mut opened, 0, 1, &round.to_le_bytes()).expect("a fresh engine has room");
                let outcome = commit(&mut opened).await;
                match outcome {
                    Ok(epoch) => acknowledged = Some(epoch),
                    Err(error) => {
                        assert_eq!(
                            (error.kind(), opened.engine.health()),
                            (ErrorKind::Failed, Health::Failed)
                        );
                        // Reading goes on, acknowledging does not.
                        assert_eq!(get(&opened, 0, 1).as_deref(), Some(&round.to_le_bytes()[..]));
                        let durable = opened.engine.durable_epoch();
                        rig.host.sleep(Duration::from_secs(10)).await;
                        assert_eq!(opened.engine.durable_epoch(), durable);
                        assert!(put(&mut opened, 0, 1, b"more").is_err());
                    }
                }
                if round % 2 == 0 { rig.kill() } else { rig.cut_power() }
            }
            assert!(rig.disk.ledger().count(class) > 0, "{class:?} never came");
            assert!(acknowledged.is_some());
        });
    }
}

/// Some of several durable writes are cut short, and a sync of their file fails: whoever syncs it beside that hears
/// `Ok`, about pages that are lost. A failure of a write's own sync would be its own; of a sync of the file it is
/// not.
fn a_write_that_was_cut_short_is_not_durable_by_itself() {
    let plan = FaultPlan::none().with(FaultClass::ShortWrite, 0.5).with(FaultClass::SyncErrorOnce, 0.01);
    durable_writes_under_way(Personality { failures_are_own: true, ..Personality::default() }, plan);
}

/// The page cache tells one of several durable writes that a page was lost, and not always the one whose page it was.
fn a_failure_is_told_to_another_write() {
    let plan = FaultPlan::none().with(FaultClass::SyncErrorOnce, 0.01);
    durable_writes_under_way(Personality { failures_are_own: false, ..Personality::default() }, plan);
}

/// Lives with as many durable writes under way in one file as may be, until they fail: nothing is acknowledged that a
/// power loss takes.
fn durable_writes_under_way(personality: Personality, plan: FaultPlan) {
    let disk = Disk::new(Personality { depth_max: 8, ..personality });
    story_on(disk, plan, async |mut rig| {
        let options = || options(1).depth(8).batch_bytes(4096).queue_bytes(32 << 10).segment_bytes(128 << 10);
        let (mut acknowledged, mut failed) = (Epoch(0), 0);
        for _ in 0..120 {
            let Some(mut opened) = rig.open_or_fail(options()).await else {
                rig.cut_power();
                continue;
            };
            assert!(opened.report.epoch >= acknowledged, "{} of {acknowledged}", opened.report);
            for number in 0..150 {
                // Without waiting; what finds no room is left out. Frames are full of records: what is lost behind
                // them would only be padding.
                if put(&mut opened, 0, number, &[7; 3500]).is_ok() {
                    let _ = opened.cores[0].close_epoch(EpochMark::new());
                }
                rig.host.sleep(Duration::from_micros(100)).await;
                acknowledged = acknowledged.max(opened.engine.durable_epoch());
            }
            failed += u32::from(opened.engine.health() == Health::Failed);
            rig.cut_power();
        }
        assert!(failed > 10, "{failed} lives failed");
    });
}

/// S14: the device is full at any write. What was promised is kept, and when space returns the engine goes on by
/// itself.
fn a_full_device_costs_time_and_nothing_else() {
    let mut plan = FaultPlan::none().with(FaultClass::Full, 0.02);
    plan.full_for = Duration::from_millis(300);
    story(plan, async |mut rig| {
        let mut acknowledged = None;
        for _ in 0..40_u32 {
            let Some(mut opened) = rig.open_or_fail(options(1)).await else {
                rig.host.sleep(Duration::from_millis(400)).await;
                continue;
            };
            assert!(opened.report.epoch >= acknowledged.unwrap_or_default());
            for round in 0..20_u32 {
                if put(&mut opened, 0, round, &[1; 600]).is_ok()
                    && let Ok(epoch) = commit(&mut opened).await
                {
                    acknowledged = Some(epoch);
                }
                rig.host.sleep(Duration::from_millis(100)).await;
            }
            rig.cut_power();
        }
        assert!(rig.disk.ledger().count(FaultClass::Full) > 5);
        rig.disk.stop_faults();
        let mut opened = rig.recover(options(1)).await;
        assert!(opened.report.epoch >= acknowledged.unwrap_or_default());
        put(&mut opened, 0, 1, b"space").expect("room");
        commit(&mut opened).await.expect("space");
        assert_eq!(opened.engine.health(), Health::Healthy);
    });
}

/// S3: there is no space for a checkpoint or its manifest, then there is.
fn a_checkpoint_without_space_harms_nothing_and_works_later() {
    let mut plan = FaultPlan::none().with(FaultClass::Full, 0.2);
    plan.full_for = Duration::from_millis(5);
    plan.site_chance = 1.0;
    story(plan, async |mut rig| {
        let mut opened = loop {
            if let Some(opened) = rig.open_or_fail(options(1)).await {
                break opened;
            }
        };
        let (mut landed, mut refused) = (0, 0);
        for round in 0..60_u32 {
            let put = put(&mut opened, 0, round % 5, &round.to_le_bytes());
            let committed = commit(&mut opened).await;
            match opened.engine.checkpoint_async().await {
                Ok(_) => landed += 1,
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::Full | ErrorKind::Failed), "{error}");
                    refused += 1;
                }
            }
            rig.host.sleep(Duration::from_millis(20)).await;
            if put.is_err() || committed.is_err() || round % 20 == 19 {
                rig.cut_power();
                opened = loop {
                    if let Some(opened) = rig.open_or_fail(options(1)).await {
                        break opened;
                    }
                };
            }
        }
        assert!(landed > 0 && refused > 0, "{landed} checkpoints landed, {refused} were refused");
    });
}

/// The sync of a manifest's name fails: it may have landed, and the next one takes another number. With the same it
/// would meet the first, and its writer would take itself for overtaken. What it names stays, for it may be found.
fn a_manifest_that_may_have_landed_keeps_its_number() {
    let mut plan = FaultPlan::none().with(FaultClass::DirSyncError, 0.3);
    plan.focus = Some(Path::new(DIRECTORY).join("m"));
    story(plan, async |mut rig| {
        let (mut acknowledged, mut landed, mut unknown) = (Epoch(0), 0, 0);
        for life in 0..40_u32 {
            let Some(mut opened) = rig.open_or_fail(options(1)).await else {
                rig.cut_power();
                continue;
            };
            assert!(opened.report.epoch >= acknowledged, "{} of {acknowledged}", opened.report);
            assert!(
                opened.report.skipped.is_empty(),
                "files of what has landed after all: {}",
                opened.report
            );
            for round in 0..6_u32 {
                put(&mut opened, 0, round, &life.to_le_bytes()).expect("room");
                acknowledged = commit(&mut opened).await.expect("logs do not fail");
                match opened.engine.checkpoint_async().await {
                    Ok(_) => landed += 1,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Failed, "{error}");
                        unknown += 1;
                    }
                }
            }
            if life % 2 == 0 { rig.kill() } else { rig.cut_power() }
        }
        assert!(landed > 20 && unknown > 20, "{landed} manifests landed, of {unknown} nobody knows");
    });
}

/// Damage lets an open take an older checkpoint; a device that does not answer does not: nobody knows what it would say.
fn a_checkpoint_that_cannot_be_read_at_the_moment_is_not_given_up() {
    let mut plan = FaultPlan::none().with(FaultClass::ReadError, 0.6);
    plan.focus = Some(Path::new(DIRECTORY).join("f"));
    story(plan, async |mut rig| {
        let mut opened = committed(&rig).await;
        let mut checkpointed = opened.report.epoch;
        for round in 0..4_u32 {
            put(&mut opened, 0, round, &round.to_le_bytes()).expect("room");
            commit(&mut opened).await.expect("nothing but reads fails");
            checkpointed = opened.engine.checkpoint_async().await.map_or(checkpointed, |taken| taken.epoch);
        }
        let (mut opens, mut refused) = (0, 0);
        while opens < 10 {
            rig.kill();
            match rig.open(options(1)).await {
                Ok(reopened) => {
                    assert!(reopened.report.skipped.is_empty(), "{}", reopened.report);
                    assert_eq!(reopened.report.checkpoint_epoch, checkpointed);
                    opens += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Failed, "{error}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 0, "every read got through");
    });
}

/// E1: one owner at a time; the second is told so, and harms nothing.
fn a_second_opener_is_busy_and_the_first_goes_on() {
    story(FaultPlan::none(), async |mut rig| {
        let mut first = committed(&rig).await;
        let second = rig.open(options(1)).await.expect_err("it is open");
        assert_eq!(second.kind(), ErrorKind::Busy);
        put(&mut first, 0, 2, b"more").expect("room");
        commit(&mut first).await.expect("no faults");
        rig.kill();
        let third = rig.recover(options(1)).await;
        assert_eq!(get(&third, 0, 2).as_deref(), Some(&b"more"[..]));
    });
}

/// A database whose log is inline, and an epoch that has ended and that nobody has written yet.
async fn unwritten(rig: &Rig) -> (Opened<World>, Epoch) {
    let mut opened = rig.recover(options(1).inline(true)).await;
    put(&mut opened, 0, 1, b"value").expect("room");
    let epoch = opened.cores[0].close_epoch(EpochMark::new()).expect("room");
    (opened, epoch)
}

/// The log went with the drive: its epoch never became durable, and `close` never came back.
fn a_drive_that_is_dropped_half_way_is_heard_of() {
    story(FaultPlan::none(), async |rig| {
        let (opened, epoch) = unwritten(&rig).await;
        let dropped = rig.run_for(opened.engine.drive(), 1).await;
        assert!(dropped.is_none(), "the drive was not half-way");
        opened.engine.drive().await;
        let lost = opened.engine.durable(epoch).await.expect_err("nobody knows what is on the disk");
        assert_eq!((lost.kind(), lost.code()), (ErrorKind::Failed, ErrorCode::DriveDropped), "{lost}");
        let closed = opened.engine.close_async(opened.cores).await.expect_err("it has failed");
        assert_eq!(closed.code(), ErrorCode::DriveDropped, "{closed}");
    });
    story(FaultPlan::none(), async |rig| {
        let (mut opened, epoch) = unwritten(&rig).await;
        let dropped = rig.run_for(opened.engine.close_async(&mut opened.cores), 1).await;
        assert!(dropped.is_none(), "the close was not half-way");
        let closed = opened.engine.close_async(&mut opened.cores).await.expect_err("it was not closed");
        assert_eq!(closed.code(), ErrorCode::DriveDropped, "{closed}");
        drop(opened);
        let opened = rig.recover(options(1).inline(true)).await;
        assert!(opened.report.epoch <= epoch);
    });
}

/// It passed over the log that another task was writing, and waited for its end for ever.
fn close_waits_for_whoever_drives() {
    story(FaultPlan::none(), async |rig| {
        let (mut opened, epoch) = unwritten(&rig).await;
        let Opened { engine, cores, .. } = &mut opened;
        {
            let (mut drive, mut close) = (pin!(engine.drive()), pin!(engine.close_async(cores)));
            let mut driven = false;
            let both = poll_fn(|context| {
                driven = driven || drive.as_mut().poll(context).is_ready();
                close.as_mut().poll(context)
            });
            both.await.expect("no faults");
        }
        assert_eq!(engine.durable_epoch(), epoch);
    });
}
