//! Damage at rest: outside of the contract, to be named or to be harmless.

use std::path::{Path, PathBuf};
use std::time::Duration;

use highwater::sim::{Damage, FaultPlan};
use highwater::{ErrorKind, Opened};

use super::{Rig, commit, get, options, put, story};
use crate::Test;
use crate::shape::DIRECTORY;
use crate::world::World;

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![
    a_damaged_checkpoint_is_reported_and_an_older_one_used,
    what_a_rotten_chain_needs_stays_until_it_is_read,
    what_is_left_of_a_trimmed_log_is_no_state,
    a_log_with_a_hole_is_refused_and_left_alone,
    an_epoch_that_another_core_calls_closed_is_missed,
    segments_of_another_future_are_refused,
    manifests_of_an_earlier_boot_do_not_make_leftovers_of_a_later_life,
    the_first_manifest_alone_is_no_beginning_for_a_life_that_has_begun,
    a_damaged_head_is_named_and_the_manifest_before_it_is_not_taken,
    damage_in_a_log_is_named_where_it_is,
    a_segment_of_another_log_is_named_and_never_followed,
];

/// A database with checkpoints, the newest of which shares no file with an older one, and a longer log; closed.
async fn with_checkpoints(rig: &Rig) -> Opened<World> {
    let mut opened = rig.recover(options(1)).await;
    for round in 0..12_u32 {
        put(&mut opened, 0, round % 3, &round.to_le_bytes()).expect("room");
        commit(&mut opened).await.expect("no faults");
        opened.engine.checkpoint_async().await.expect("no faults");
    }
    put(&mut opened, 0, 9, b"in the log").expect("room");
    commit(&mut opened).await.expect("no faults");
    opened
}

/// The files below `folder`, in order.
fn files(rig: &Rig, folder: &str) -> Vec<PathBuf> {
    let folder = PathBuf::from(DIRECTORY).join(folder);
    let tree = rig.disk.disk().tree();
    tree.into_iter()
        .filter(|(path, len)| len.is_some() && path.starts_with(&folder))
        .map(|(path, _)| path)
        .collect()
}

fn read(rig: &Rig, path: &Path) -> Vec<u8> {
    rig.disk.disk().read_file(path).expect("it was listed")
}

/// S9: a checkpoint file is missing, flipped or cut. An older checkpoint and the log give the same state, and the
/// report names what was skipped: the fallback that retention keeps is always there. Never other data.
fn a_damaged_checkpoint_is_reported_and_an_older_one_used() {
    let mut skipped = 0;
    for victim in 0..32 {
        for damage in 0..3 {
            let (sender, receiver) = std::sync::mpsc::channel();
            story(FaultPlan::none(), async move |mut rig| {
                let opened = with_checkpoints(&rig).await;
                rig.kill();
                drop(opened);
                let Some(path) = files(&rig, "f").get(victim).cloned() else { return };
                rig.disk.with_disk(|disk| {
                    let len = disk.read_file(&path).map_or(0, |bytes| bytes.len() as u64);
                    match damage {
                        0 => disk.remove_at_rest(&path),
                        1 => disk.scribble(&path, len / 2, &[0xAA; 3]),
                        _ => disk.scribble(&path, len - 8, &[0; 8]),
                    }
                    .expect("the file is there");
                });
                match rig.open(options(1)).await {
                    Ok(opened) => {
                        assert_eq!(get(&opened, 0, 9).as_deref(), Some(&b"in the log"[..]));
                        assert_eq!(get(&opened, 0, 2).as_deref(), Some(&11_u32.to_le_bytes()[..]));
                        let used = opened.report.checkpoint_epoch;
                        sender.send(opened.report.skipped.len()).expect("the test waits");
                        rig.kill();
                        // It was given up, and the one in its place was not.
                        let again = rig.recover(options(1)).await.report;
                        assert_eq!((again.skipped.len(), again.checkpoint_epoch), (0, used), "{again}");
                    }
                    Err(error) => panic!("one of the checkpoints is damaged, and no other is left: {error}"),
                }
            });
            skipped += receiver.try_iter().sum::<usize>();
        }
    }
    assert!(skipped > 0, "no checkpoint was ever skipped");
}

/// A file of the chain is rotten, which its rewrite finds out. Checkpoints land without a base; what an open can fall back to
/// instead stays, however much log that is.
fn what_a_rotten_chain_needs_stays_until_it_is_read() {
    story(FaultPlan::none(), async |mut rig| {
        let options = || options(1).retain_checkpoints(1).fallback_bytes_max(160 << 10);
        let mut opened = rig.recover(options()).await;
        for round in 0..60_u32 {
            put(&mut opened, 0, round % 7, &round.to_le_bytes()).expect("room");
            commit(&mut opened).await.expect("no faults");
            let taken = opened.engine.checkpoint_async().await.expect("no faults");
            assert_eq!(taken.bases_written, u32::from(round == 0), "round {round}");
            if round == 5 {
                let victim = files(&rig, "f").remove(3);
                rig.disk.with_disk(|disk| disk.scribble(&victim, 120, &[0xAA; 3])).expect("it was listed");
            }
        }
        let log = files(&rig, "wal").len();
        assert!(log > 12, "{log} segments are no more than an open may always fall back to");
        rig.cut_power();
        drop(opened);
        let opened = rig.recover(options()).await;
        assert_eq!((opened.report.epoch.0, opened.report.skipped.len()), (60, 1), "{}", opened.report);
        for round in 53..60_u32 {
            assert_eq!(get(&opened, 0, round % 7).as_deref(), Some(&round.to_le_bytes()[..]));
        }
    });
}

const ROUNDS: u32 = 60;

/// Every checkpoint is damaged, and the logs of the first lives are gone: what the others hold is whole, and no state. Open
/// refuses and names a checkpoint file, and with those whole again everything is back.
fn what_is_left_of_a_trimmed_log_is_no_state() {
    story(FaultPlan::none(), async |mut rig| {
        let options = options(1).segment_bytes(64 << 10);
        let mut opened = rig.recover(options.clone()).await;
        for round in 0..ROUNDS {
            put(&mut opened, 0, round, &[3; 900]).expect("room");
            commit(&mut opened).await.expect("no faults");
            opened.engine.checkpoint_async().await.expect("no faults");
            // A life is a segment: the oldest cut is in the first one of its life, which is there from its beginning.
            rig.kill();
            opened = rig.recover(options.clone()).await;
        }
        let first = files(&rig, "wal").remove(0);
        assert!(!first.ends_with(format!("{:020}", 1)), "the log was trimmed: {}", first.display());
        rig.kill();
        drop(opened);
        let damage = |path: &PathBuf, bytes: &[u8]| {
            rig.disk.with_disk(|disk| disk.scribble(path, 40, bytes)).expect("it was listed");
        };
        let checkpoints: Vec<_> =
            files(&rig, "f").into_iter().map(|path| (read(&rig, &path), path)).collect();
        for (bytes, path) in &checkpoints {
            damage(path, &[!bytes[40]]);
        }
        let error = rig.open(options.clone()).await.expect_err("there is no state");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(checkpoints.iter().any(|(_, path)| error.path() == Some(path)), "{error}");
        for (bytes, path) in &checkpoints {
            damage(path, &bytes[40..41]);
        }
        let opened = rig.recover(options.clone()).await;
        assert_eq!(opened.report.live_keys, u64::from(ROUNDS));
    });
}

/// S10: a segment in the middle of the log is missing, or a byte in it is flipped. Open refuses, names the file, and
/// changes nothing.
fn a_log_with_a_hole_is_refused_and_left_alone() {
    for flip in [false, true] {
        story(FaultPlan::none(), async move |mut rig| {
            let mut opened = rig.recover(options(1)).await;
            for round in 0..60_u32 {
                put(&mut opened, 0, round % 3, &[3; 900]).expect("room");
                commit(&mut opened).await.expect("no faults");
            }
            rig.cut_power();
            drop(opened);
            let segments = files(&rig, "wal");
            assert!(segments.len() > 4, "{segments:?}");
            let middle = segments[segments.len() / 2].clone();
            rig.disk.with_disk(|disk| {
                if flip { disk.scribble(&middle, 8192 + 20, &[0xFF]) } else { disk.remove_at_rest(&middle) }
                    .expect("the segment is there");
            });
            let before = rig.disk.disk().hash();
            let error = rig.open(options(1)).await.expect_err("acknowledged records are gone");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert_eq!(error.path(), Some(&*middle), "{error}");
            let what = if flip { "a frame header whose checksum does not match" } else { "one is missing" };
            assert!(error.to_string().contains(what), "{error}");
            assert_eq!(rig.disk.disk().hash(), before, "a refused open changes nothing");
        });
    }
}

/// The last frame of one log is damaged, and nothing behind it in that log says that it was durable. A frame of the
/// other log does: its closed-through mark. Open refuses; the epoch was acknowledged.
fn an_epoch_that_another_core_calls_closed_is_missed() {
    story(FaultPlan::none(), async move |mut rig| {
        let options = options(2).idle_seal_after(Duration::from_secs(3_600));
        let mut opened = rig.recover(options.clone()).await;
        for core in 0..2 {
            put(&mut opened, core, 1, b"acknowledged").expect("room");
        }
        commit(&mut opened).await.expect("no faults");
        // More than a batch: it is written without an end of the epoch, and says what has closed.
        for number in 2..6 {
            put(&mut opened, 1, number, &[7; 400]).expect("room");
        }
        rig.host.sleep(Duration::from_secs(1)).await;
        rig.kill();
        drop(opened);
        let victim = files(&rig, "wal/00000").into_iter().next().expect("the first segment of core 0");
        rig.disk.with_disk(|disk| {
            let bytes = disk.read_file(&victim).expect("it was listed");
            let last = bytes.iter().rposition(|byte| *byte != 0).expect("a frame");
            disk.scribble(&victim, last as u64, &[!bytes[last]]).expect("it was listed");
        });
        let error = rig.open(options).await.expect_err("an acknowledged epoch is gone");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(
            error.path().is_some_and(|path| path.starts_with(victim.parent().expect("a log"))),
            "{error}"
        );
    });
}

/// Fault 30: two machines went on from copies of one disk, and log files of one came to the other. Database, core, token
/// and numbers are the same. The identity of a life's first segment tells them apart, and the chain every later one.
fn segments_of_another_future_are_refused() {
    for intact in [0, 1] {
        story(FaultPlan::none(), async move |mut rig| {
            let mut opened = rig.recover(options(1)).await;
            put(&mut opened, 0, 1, b"before").expect("room");
            commit(&mut opened).await.expect("no faults");
            rig.kill();
            drop(opened);
            let fork = rig.disk.disk();
            let old = files(&rig, "wal");
            let mut futures = Vec::new();
            for value in [b"theirs", b"ours!!"] {
                rig.disk.with_disk(|disk| *disk = fork.clone());
                let mut opened = rig.recover(options(1)).await;
                for number in 0..4 {
                    put(&mut opened, 0, number, value).expect("room");
                    commit(&mut opened).await.expect("no faults");
                }
                rig.kill();
                drop(opened);
                let of_life = files(&rig, "wal").into_iter().filter(|path| !old.contains(path));
                futures.push(of_life.filter_map(|path| frames(&rig, &path)).collect::<Vec<_>>());
            }
            let ours = futures.pop().expect("two futures");
            let swapped = &futures[0][intact..];
            assert!(swapped.len() > 1 && ours[intact].0 == swapped[0].0, "both took the same numbers");
            for (path, bytes) in swapped {
                rig.disk.with_disk(|disk| disk.scribble(path, 0, bytes)).expect("it was listed");
            }
            let error = rig.open(options(1)).await.expect_err("the files are another's");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert_eq!(error.path(), Some(&*swapped[0].0), "{error}");
        });
    }
}

/// The bytes of the segment `path`, if anything stands behind its header.
fn frames(rig: &Rig, path: &Path) -> Option<(PathBuf, Vec<u8>)> {
    let bytes = rig.disk.disk().read_file(path)?;
    bytes.iter().skip(4096).any(|byte| *byte != 0).then(|| (path.to_owned(), bytes))
}

/// Found by the first sweep of profile damage: the folder of manifests was that of an earlier boot. The segments of
/// the life since then, acknowledged, with marks in them, were taken for leftovers of an interrupted open and removed.
fn manifests_of_an_earlier_boot_do_not_make_leftovers_of_a_later_life() {
    for folder_before_life in [true, false] {
        story(FaultPlan::none(), async move |mut rig| {
            let mut opened = rig.recover(options(2)).await;
            put(&mut opened, 0, 1, b"first").expect("room");
            commit(&mut opened).await.expect("no faults");
            rig.kill();
            drop(opened);
            let before = rig.disk.disk();
            let mut opened = rig.recover(options(2)).await;
            put(&mut opened, 0, 1, b"second").expect("room");
            commit(&mut opened).await.expect("no faults");
            // The mark that says so is written when the log falls idle.
            rig.host.sleep(Duration::from_secs(5)).await;
            rig.kill();
            drop(opened);
            let path = PathBuf::from(DIRECTORY).join("m");
            let damage = if folder_before_life {
                Damage::StaleNames { before }
            } else {
                Damage::Exchanged { with: before, path: path.clone() }
            };
            assert!(rig.disk.damage(&path, &damage).expect("there are manifests") > 0);
            let hash = rig.disk.disk().hash();
            let error = rig.open(options(2)).await.expect_err("acknowledged records would be lost");
            assert_eq!((error.kind(), error.path()), (ErrorKind::Corrupt, Some(&*path)), "{error}");
            assert_eq!(rig.disk.disk().hash(), hash, "a refused open changes nothing");
        });
    }
}

/// All manifests but that of the creation are gone. What the first life wrote says that it had begun, by either sign alone: a
/// record that was durable when another was written, or an epoch that was closed on all cores.
fn the_first_manifest_alone_is_no_beginning_for_a_life_that_has_begun() {
    for closes in [false, true] {
        story(FaultPlan::none(), async move |mut rig| {
            let options = || options(1).idle_seal_after(Duration::from_secs(if closes { 1 } else { 3_600 }));
            let mut opened = rig.recover(options()).await;
            // One frame, so that no later one says that it was durable; or some, and no end of an epoch.
            let (values, bytes) = if closes { (1, 10) } else { (4, 1000) };
            for number in 0..values {
                put(&mut opened, 0, number, &vec![7; bytes]).expect("room");
                rig.host.sleep(Duration::from_millis(100)).await;
            }
            if closes {
                commit(&mut opened).await.expect("no faults");
                rig.host.sleep(Duration::from_secs(5)).await;
            }
            rig.kill();
            drop(opened);
            let manifests = files(&rig, "m");
            assert!(manifests.len() > 1 && manifests[0].ends_with(format!("{:020}", 1)), "{manifests:?}");
            for path in &manifests[1..] {
                rig.disk.with_disk(|disk| disk.remove_at_rest(path)).expect("it was listed");
            }
            let hash = rig.disk.disk().hash();
            let error = rig.open(options()).await.expect_err("a manifest is missing");
            let folder = PathBuf::from(DIRECTORY).join("m");
            assert_eq!((error.kind(), error.path()), (ErrorKind::Corrupt, Some(&*folder)), "{error}");
            assert_eq!(rig.disk.disk().hash(), hash, "a refused open changes nothing");
        });
    }
}

/// The newest manifest is damaged. The one before it is whole and does not know the life in which somebody was told that
/// a change is durable.
fn a_damaged_head_is_named_and_the_manifest_before_it_is_not_taken() {
    story(FaultPlan::none(), async move |mut rig| {
        for value in [b"first", b"again"] {
            let mut opened = rig.recover(options(1)).await;
            put(&mut opened, 0, 1, value).expect("room");
            commit(&mut opened).await.expect("no faults");
            rig.kill();
            drop(opened);
        }
        let head = files(&rig, "m").pop().expect("there are manifests");
        rig.disk.with_disk(|disk| {
            let len = disk.read_file(&head).map_or(0, |bytes| bytes.len() as u64);
            disk.scribble(&head, len / 2, &[0xAA; 3]).expect("the file is there");
        });
        let hash = rig.disk.disk().hash();
        let error = rig.open(options(1)).await.expect_err("the newest manifest is damaged");
        assert_eq!((error.kind(), error.path()), (ErrorKind::Corrupt, Some(&*head)), "{error}");
        assert_eq!(rig.disk.disk().hash(), hash, "a refused open changes nothing");
    });
}

/// Every write unit of every segment is damaged in turn, its header and what is behind it: the first frame, which another
/// segment names, and the last one, which holds no record; and the segment is removed. The first sweep of profile damage
/// found errors that named a neighbour, a later one an error that named the unused segment behind one that was gone. An
/// error names that segment, or the folder that misses it, and no other; or nothing is missing.
fn damage_in_a_log_is_named_where_it_is() {
    let (mut refused, mut missed, mut victim, mut more) = (0, 0, 0, true);
    while more {
        let (sender, receiver) = std::sync::mpsc::channel();
        let (lost, wholes) = std::sync::mpsc::channel();
        story(FaultPlan::none(), async move |mut rig| {
            let mut opened = rig.recover(options(1)).await;
            for round in 0..24_u32 {
                put(&mut opened, 0, round % 3, &round.to_le_bytes()).expect("room");
                commit(&mut opened).await.expect("no faults");
            }
            opened.engine.close_async(opened.cores).await.expect("no faults");
            rig.kill();
            let whole = rig.disk.disk();
            let Some(path) = files(&rig, "wal").get(victim).cloned() else { return };
            for offset in (4096 + 20..20 << 10).step_by(4096) {
                rig.disk.with_disk(|disk| *disk = whole.clone());
                let gone = offset > 16 << 10;
                if gone {
                    rig.disk.with_disk(|disk| disk.remove_at_rest(&path)).expect("the segment is there");
                } else {
                    rig.disk
                        .damage(&path, &Damage::BitRot { offset, mask: 0xFF })
                        .expect("the segment is there");
                }
                match rig.open(options(1)).await {
                    Ok(opened) => {
                        let whole = get(&opened, 0, 2).as_deref() == Some(&23_u32.to_le_bytes()[..]);
                        assert!(whole || gone, "{}, offset {offset}: records are lost", path.display());
                        lost.send(whole).expect("the test waits");
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                        let named = error.path().expect("damage has a place");
                        let named = named == path || (gone && Some(named) == path.parent());
                        assert!(named, "{}, offset {offset}: {error}", path.display());
                        sender.send(()).expect("the test waits");
                    }
                }
                rig.kill();
            }
            sender.send(()).expect("the test waits");
        });
        let told = receiver.try_iter().count();
        more = told > 0;
        refused += told.saturating_sub(1);
        missed += wholes.try_iter().filter(|whole| !whole).count();
        victim += 1;
    }
    // What only the last segment knew.
    assert!(missed <= 1, "{missed} segments are gone, and nobody misses them");
    assert!(victim > 4 && refused > 10, "{refused} refusals over {victim} segments");
}

/// Found by a sweep of profile damage: a segment of another core with the same token says that it follows, and the
/// sound segment before it was blamed for not fitting.
fn a_segment_of_another_log_is_named_and_never_followed() {
    story(FaultPlan::none(), async |mut rig| {
        let mut opened = rig.recover(options(2)).await;
        for round in 0..60_u32 {
            for core in 0..2 {
                put(&mut opened, core, round % 3, &vec![3; 300 + 500 * core]).expect("room");
            }
            commit(&mut opened).await.expect("no faults");
        }
        rig.kill();
        drop(opened);
        let names = |rig: &Rig, core: &str| files(rig, &format!("wal/{core}"));
        let (mine, theirs) = (names(&rig, "00000"), names(&rig, "00001"));
        let common = mine
            .iter()
            .rev()
            .skip(1)
            .find(|path| theirs.iter().any(|one| one.file_name() == path.file_name()));
        let victim = common.expect("both cores have segments of these numbers").clone();
        let from = PathBuf::from(DIRECTORY).join("wal/00001").join(victim.file_name().expect("a name"));
        let with = rig.disk.disk();
        rig.disk.damage(&victim, &Damage::Exchanged { with, path: from }).expect("both are there");
        let error = rig.open(options(2)).await.expect_err("acknowledged records are gone");
        assert_eq!((error.kind(), error.path()), (ErrorKind::Corrupt, Some(&*victim)), "{error}");
    });
}
