//! What nobody needs goes, and what is counted is there.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use highwater::sim::{FaultClass, FaultPlan, Firing};
use highwater::{Opened, Options, SegmentNo, Tail};

use super::{Rig, commit, get, options, put, story};
use crate::Test;
use crate::shape::DIRECTORY;
use crate::world::World;

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![
    every_file_of_a_log_holds_some_of_it_or_is_a_spare_one,
    a_process_that_dies_in_every_open_fills_no_disk,
    a_directory_that_cannot_be_synced_fills_no_disk,
    a_removal_that_is_undone_brings_back_no_life,
    what_was_written_and_not_proven_is_written_once_more,
    a_torn_tail_is_told_with_its_place,
];

/// No checkpoint is kept but the newest, and no log before it.
fn frugal() -> Options {
    options(1).retain_checkpoints(1).fallback_bytes_max(0)
}

/// The files of the log of the only core.
fn segments(rig: &Rig) -> Vec<PathBuf> {
    files(rig, "wal/00000")
}

/// The files below `folder`.
fn files(rig: &Rig, folder: &str) -> Vec<PathBuf> {
    let folder = PathBuf::from(DIRECTORY).join(folder);
    let tree = rig.disk.disk().tree();
    let files = tree.into_iter().filter(|(path, len)| len.is_some() && path.starts_with(&folder));
    files.map(|(path, _)| path).collect()
}

/// The manifests that have landed.
fn landed(rig: &Rig) -> Vec<PathBuf> {
    files(rig, "m").into_iter().filter(|path| path.extension().is_none()).collect()
}

/// Waits until nothing is prepared or removed any more, and compares.
async fn every_file_is_accounted_for(rig: &Rig, opened: &Opened<World>) {
    rig.host.sleep(Duration::from_secs(20)).await;
    let core = opened.engine.stats().cores[0];
    let files = segments(rig);
    assert_eq!(core.segments + core.spare_segments, files.len() as u64, "{core:?}, {files:?}");
}

/// Of each of many lives some log is left, and goes with the checkpoints that need it; whatever a life of which no manifest
/// knows any more has left goes with the next open.
fn every_file_of_a_log_holds_some_of_it_or_is_a_spare_one() {
    story(FaultPlan::none(), async |mut rig| {
        let mut most = 0;
        for life in 0..24_u32 {
            let opens = rig.open_for(frugal(), u64::from(life) * 37 % 400).await;
            if opens.is_none() {
                if life % 2 == 0 { rig.kill() } else { rig.cut_power() }
            }
            drop(opens);
            rig.kill();
            let mut opened = rig.recover(frugal()).await;
            every_file_is_accounted_for(&rig, &opened).await;
            for round in 0..10 + life % 3 {
                put(&mut opened, 0, round % 3, &[7; 900]).expect("room");
                commit(&mut opened).await.expect("no faults");
            }
            every_file_is_accounted_for(&rig, &opened).await;
            most = most.max(opened.engine.stats().cores[0].segments);
            if life % 4 == 3 {
                opened.engine.checkpoint_async().await.expect("no faults");
                every_file_is_accounted_for(&rig, &opened).await;
                assert_eq!(opened.engine.stats().cores[0].segments, 1, "a checkpoint holds all before");
            }
            rig.kill();
            drop(opened);
        }
        assert!(most > 8, "{most} files");
    });
}

/// Whichever call of an open a process dies at before its manifest has landed, again and again: what it leaves is removed by the
/// next one.
fn a_process_that_dies_in_every_open_fills_no_disk() {
    story(FaultPlan::none(), async |mut rig| {
        let mut opened = rig.recover(frugal()).await;
        put(&mut opened, 0, 1, b"kept").expect("room");
        commit(&mut opened).await.expect("no faults");
        rig.kill();
        drop(opened);
        let (manifests, mut landing) = (landed(&rig), 0);
        while landed(&rig) == manifests {
            landing += 1;
            let opened = rig.open_for(frugal(), landing).await;
            rig.kill();
            drop(opened);
        }
        // Latencies are drawn: some opens are longer than that one.
        let (before, manifests, mut most) = (segments(&rig), landed(&rig), 0);
        for open in 0..500 {
            let opened = rig.open_for(frugal(), 1 + open % (landing * 4 / 5)).await;
            rig.kill();
            drop(opened);
            most = most.max(segments(&rig).iter().filter(|path| !before.contains(path)).count());
        }
        assert_eq!(landed(&rig), manifests);
        // The one that says which token was used, and the one that an open was making.
        assert!((1..=2).contains(&most), "{most} files that were not there: {:?}", segments(&rig));
    });
}

/// The sync of a log's directory fails, nearly each time. Segments ahead of need are tried again, every one with a new number:
/// what has no durable name does not stay.
fn a_directory_that_cannot_be_synced_fills_no_disk() {
    let mut plan = FaultPlan::none().with(FaultClass::DirSyncError, 0.97);
    plan.site_chance = 1.0;
    plan.focus = Some(PathBuf::from(DIRECTORY).join("wal/00000"));
    story(plan, async |mut rig| {
        let (mut tries, mut most) = (0, 0);
        for _ in 0..5 {
            let opened = loop {
                if let Some(opened) = rig.open_or_fail(frugal()).await {
                    break opened;
                }
            };
            for _ in 0..30 {
                most = most.max(segments(&rig).len());
                rig.host.sleep(Duration::from_millis(100)).await;
            }
            rig.kill();
            drop(opened);
            tries = rig.disk.ledger().count(FaultClass::DirSyncError);
        }
        assert!(tries > 50, "{tries} syncs failed");
        assert!(most <= 4, "{most} files after {tries} syncs that failed");
    });
}

/// The sync number `number` of the scope `scope` fails, and what it covered is lost.
fn failed_sync(scope: u64, number: u64) -> FaultPlan {
    FaultPlan::none().only([Firing { scope, class: FaultClass::SyncErrorOnce, number }])
}

/// The power goes while an open carries records that only the page cache had, into several segments. They are gone, and its
/// segments are not: the next open removes these, and one of its syncs fails, perhaps that of their folder. The one behind that
/// sees what the cache shows, and writes. Then the power goes again, and what was removed in the cache alone is back.
fn a_removal_that_is_undone_brings_back_no_life() {
    const RUNNING: u64 = 1;
    let (undone, landed_at) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(u64::MAX)));
    for calls in 1.. {
        let (undone, landed_at) = (Arc::clone(&undone), Arc::clone(&landed_at));
        if landed_at.load(Ordering::SeqCst) < calls {
            break;
        }
        story(FaultPlan::none(), async move |mut rig| {
            rig.fail(failed_sync(RUNNING, 0));
            let mut opened = rig.recover(options(1).batch_bytes(4000)).await;
            rig.host.sleep(Duration::from_secs(1)).await;
            let (before, manifests) = (segments(&rig), landed(&rig));
            rig.disk.enter(RUNNING);
            for number in 0..24 {
                put(&mut opened, 0, number, &[7; 60]).expect("room");
            }
            commit(&mut opened).await.expect_err("the sync of its only write fails");
            rig.kill();
            drop(opened);
            let cut_off = rig.open_for(options(1), calls).await;
            rig.cut_power();
            drop(cut_off);
            if landed(&rig) != manifests {
                landed_at.store(calls, Ordering::SeqCst);
                return;
            }
            let is_new = |path: &PathBuf| !before.contains(path) && path.extension().is_none();
            let left: Vec<_> = segments(&rig).into_iter().filter(is_new).collect();
            if left.len() < 2 {
                return;
            }
            let machine = rig.disk.disk();
            for number in 0..16 {
                rig.fail_on(machine.clone(), failed_sync(0, number));
                drop(rig.open_or_fail(options(1)).await);
                rig.kill();
                rig.fail(FaultPlan::none());
                let gone: Vec<_> = left.iter().filter(|path| !segments(&rig).contains(path)).collect();
                let mut opened = rig.recover(options(1)).await;
                put(&mut opened, 0, 0, b"more").expect("room");
                let epoch = commit(&mut opened).await.expect("its sync is behind it");
                rig.cut_power();
                drop(opened);
                let back = gone.iter().filter(|path| segments(&rig).contains(path)).count();
                undone.fetch_add(back as u64, Ordering::SeqCst);
                let opened = rig.recover(options(1)).await;
                assert!(opened.report.epoch >= epoch, "{} of {epoch}", opened.report);
                assert_eq!(get(&opened, 0, 0).as_deref(), Some(&b"more"[..]));
                rig.kill();
                drop(opened);
            }
        });
    }
    assert!(undone.load(Ordering::SeqCst) > 0, "no removal was undone");
}

/// A process dies when nothing that it wrote was called durable yet. What a recovery finds of that is in the page cache alone,
/// perhaps: it is written and synced once more, to the record, and not again by the next one.
fn what_was_written_and_not_proven_is_written_once_more() {
    story(FaultPlan::none(), async |mut rig| {
        let options = || options(1).idle_seal_after(Duration::from_secs(3_600));
        let mut opened = rig.recover(options()).await;
        for number in 0..5 {
            put(&mut opened, 0, number, b"value").expect("room");
        }
        commit(&mut opened).await.expect("no faults");
        rig.kill();
        drop(opened);
        for life in 0..3 {
            let opened = rig.recover(options()).await;
            assert_eq!(
                (opened.report.live_keys, opened.report.carried_records),
                (5, if life == 0 { 6 } else { 0 })
            );
            // So that the manifest of this life is the one that counts.
            rig.host.sleep(Duration::from_secs(1)).await;
            rig.cut_power();
            drop(opened);
        }
    });
}

/// The power goes with several writes on their way, of which a later one gets through and an earlier one does not.
fn a_torn_tail_is_told_with_its_place() {
    story(FaultPlan::none(), async |mut rig| {
        let options = || options(1).depth(4).write_unit_bytes(512);
        let mut torn = 0;
        for life in 0..120_u64 {
            let mut opened = rig.recover(options()).await;
            let before = opened.report.tails.clone();
            if let [Tail::Torn { segment, offset, first_lost, .. }] = before[..] {
                torn += 1;
                assert!(segment > SegmentNo(0), "{segment:?}");
                assert!(offset >= 4096 && offset.is_multiple_of(512), "offset {offset}");
                assert!(first_lost <= opened.engine.stats().cores[0].appended_lsn.next(), "{first_lost:?}");
            }
            let work = async {
                for number in 0..40 {
                    let _ = put(&mut opened, 0, number, &[9; 700]);
                    if number % 8 == 7 {
                        let _ = opened.cores[0].close_epoch(highwater::EpochMark::new());
                    }
                    rig.host.sleep(Duration::from_micros(20)).await;
                }
            };
            rig.run_for(work, 10 + life % 30).await;
            rig.cut_power();
            drop(opened);
        }
        assert!(torn > 3, "{torn} torn tails");
    });
}
