//! Damage at rest: outside of the contract, to be named or to be harmless.

use std::path::PathBuf;

use highwater::sim::FaultPlan;
use highwater::{ErrorKind, Opened};

use super::{Rig, commit, get, options, put, story};
use crate::shape::DIRECTORY;
use crate::world::World;

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

/// S9: a checkpoint file is missing, flipped or cut. An older checkpoint and the log give the same state, and the
/// report names what was skipped; or open refuses and names the file. Never other data.
#[test]
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
                        sender.send(opened.report.skipped.len()).expect("the test waits");
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                        assert!(error.path().is_some(), "{error}");
                    }
                }
            });
            skipped += receiver.try_iter().sum::<usize>();
        }
    }
    assert!(skipped > 0, "no checkpoint was ever skipped");
}

/// S10: a segment in the middle of the log is missing, or a byte in it is flipped. Open refuses, names the file, and
/// changes nothing.
#[test]
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
                if flip { disk.scribble(&middle, 4096 + 20, &[0xFF]) } else { disk.remove_at_rest(&middle) }
                    .expect("the segment is there");
            });
            let before = rig.disk.disk().hash();
            let error = rig.open(options(1)).await.expect_err("acknowledged records are gone");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert_eq!(error.path(), Some(&*middle), "{error}");
            assert_eq!(rig.disk.disk().hash(), before, "a refused open changes nothing");
        });
    }
}
