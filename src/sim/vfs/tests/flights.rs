//! Calls in flight, dead handles, misuse, locks, and looking on.

use std::io::ErrorKind;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use super::rig::{Rig, Seen, poll, read, sectors};
use crate::sim::vfs::is_dead;
use crate::sim::{Crash, DeadCalls, FaultPlan, Latency, Personality, Phase};
use crate::vfs::{File, OpenMode, Vfs};

fn slow() -> FaultPlan {
    FaultPlan::none().with_latency(Latency::FLASH)
}

#[test]
fn handles_can_move_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<crate::sim::SimVfs>();
    is_send::<crate::sim::SimFile>();
    is_send::<crate::sim::SimLock>();
    is_send::<crate::sim::SimDisk>();
}

#[test]
fn a_sync_covers_only_what_had_completed_when_it_began() {
    for seed in 0..32 {
        let rig = Rig::with(Personality::default(), slow(), seed);
        let file = rig.installed("a", &[7; 1024]);
        rig.run(async { file.write_at(0, sectors(1, 1)).await.unwrap() });
        let mut write = pin!(file.write_at(512, sectors(2, 1)));
        assert!(poll(write.as_mut()).is_pending());
        rig.run(file.sync_data()).unwrap();
        let lost = rig.disk.disk().images(0, 0).map(|image| image.read_file("d/a").unwrap());
        for image in lost {
            assert_eq!(&image[..512], [1; 512], "it had completed");
        }
        rig.run(write).unwrap();
        assert!(rig.disk.disk().pending() > 0, "it had not");
    }
}

#[test]
fn writes_in_flight_complete_in_any_order() {
    let mut orders = [0; 2];
    for seed in 0..32 {
        let rig = Rig::with(Personality::default(), slow(), seed);
        let file = rig.installed("a", &[7; 1024]);
        let mut first = pin!(file.write_at(0, sectors(1, 1)));
        let mut second = pin!(file.write_at(512, sectors(2, 1)));
        let order = rig.run(async {
            std::future::poll_fn(|_| match (poll(first.as_mut()), poll(second.as_mut())) {
                (Poll::Pending, Poll::Pending) => Poll::Pending,
                (one, _) => Poll::Ready(usize::from(one.is_pending())),
            })
            .await
        });
        orders[order] += 1;
    }
    assert!(orders[0] > 0 && orders[1] > 0, "{orders:?}");
}

#[test]
fn a_write_whose_future_was_dropped_still_happens() {
    for seed in 0..16 {
        let rig = Rig::with(Personality::default(), slow(), seed);
        let file = rig.installed("a", &[7; 512]);
        {
            let mut write = pin!(file.write_at(0, sectors(1, 1)));
            assert!(poll(write.as_mut()).is_pending());
        }
        assert_eq!(rig.disk.disk().read_file("d/a").unwrap(), [1; 512], "whoever looks on sees it already");
        rig.timers.advance(Duration::from_secs(1));
        assert_eq!(rig.run(read(&file, 0, 512)).unwrap(), vec![1; 512]);
        assert_eq!(rig.disk.writes_in_flight(), 0);
    }
}

#[test]
fn a_dropped_write_may_be_found_in_part_after_power_loss() {
    let mut torn = 0;
    for seed in 0..64 {
        let rig =
            Rig::with(Personality { power_safe_overwrite: true, ..Personality::default() }, slow(), seed);
        let file = rig.installed("a", &[7; 4 * 512]);
        let mut write = Box::pin(file.write_at(0, sectors(1, 4)));
        assert!(poll(write.as_mut()).is_pending());
        drop(write);
        rig.disk.power_loss();
        let bytes = rig.bytes("a").unwrap();
        assert!(bytes.chunks(512).all(|sector| sector == [1; 512] || sector == [7; 512]));
        torn += usize::from(bytes.contains(&1) && bytes.contains(&7));
    }
    assert!(torn > 0);
}

#[test]
fn a_handle_of_a_dead_process_changes_nothing_and_is_counted() {
    let rig = Rig::new(slow());
    let vfs = rig.disk.vfs();
    let file = rig.installed("a", &[7; 512]);
    let mut write = pin!(file.write_at(0, sectors(1, 1)));
    assert!(poll(write.as_mut()).is_pending());
    rig.disk.crash(Crash::Process);
    let before = rig.disk.disk().hash();

    assert!(is_dead(&rig.run(write).unwrap_err()));
    assert_eq!(rig.disk.dead_calls(), DeadCalls::default(), "it was submitted alive");
    assert!(is_dead(&rig.run(file.write_at(0, sectors(3, 1))).unwrap_err()));
    assert!(is_dead(&rig.run(vfs.remove(Path::new("d/a"))).unwrap_err()));
    assert!(is_dead(&rig.run(vfs.list(Path::new("d"))).unwrap_err()));
    assert_eq!(rig.disk.dead_calls(), DeadCalls { all: 3, changes: 2 });
    assert_eq!(rig.disk.disk().hash(), before);
}

#[test]
#[should_panic(expected = "overlaps a write in flight")]
fn overlapping_writes_in_flight_are_misuse() {
    let rig = Rig::new(slow());
    let file = rig.installed("a", &[7; 1024]);
    let mut first = pin!(file.write_at(0, sectors(1, 2)));
    assert!(poll(first.as_mut()).is_pending());
    let _ = rig.run(file.write_at(1023, Bytes::from_static(b"x")));
}

/// What a call would have returned is given back when nobody takes it, wherever the future is dropped.
#[test]
fn a_call_that_nobody_waits_for_holds_nothing() {
    let (mut taken, mut not_yet) = (0, 0);
    for seed in 0..32 {
        let rig = Rig::with(Personality::default(), slow(), seed);
        drop(rig.installed("a", &[7; 4096]));
        let vfs = rig.disk.vfs();
        for dropped_after in [0, 5] {
            let dropped = |mut future: Pin<&mut dyn Future<Output = ()>>| {
                assert!(poll(future.as_mut()).is_pending());
                rig.timers.advance(Duration::from_micros(dropped_after));
                let _ = poll(future);
            };
            let path = Path::new("d/a");
            dropped(pin!(async { drop(vfs.open(path, OpenMode::Write).await) }));
            dropped(pin!(async { drop(vfs.create_new(Path::new("d/b")).await) }));
            dropped(pin!(async { drop(vfs.lock(Path::new("d")).await) }));
            let list = rig.run(vfs.list(Path::new("d"))).unwrap();
            taken += usize::from(list.len() == 2);
            not_yet += usize::from(list.len() == 1);
            for entry in list {
                rig.run(vfs.remove(&Path::new("d").join(entry.name))).unwrap();
            }
            rig.run(vfs.sync_dir(Path::new("d"))).unwrap();
            rig.disk.open_files_max();
            assert_eq!(rig.disk.open_files_max(), 0, "nobody holds a file");
            drop(rig.run(vfs.lock(Path::new("d"))).expect("nobody holds it"));
            drop(rig.installed("a", &[7; 4096]));
        }
    }
    assert!(taken > 0 && not_yet > 0, "{taken} took effect, {not_yet} did not");
}

#[test]
fn a_lock_is_given_up_by_dropping_it_and_by_dying() {
    let rig = Rig::new(FaultPlan::none());
    let path = Path::new("d");
    let vfs = rig.disk.vfs();
    let held = rig.run(vfs.lock(path)).unwrap();
    assert_eq!(rig.run(vfs.lock(path)).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(held);
    let held = rig.run(vfs.lock(path)).unwrap();
    rig.disk.crash(Crash::Process);
    let next = rig.run(rig.disk.vfs().lock(path)).unwrap();
    drop(held);
    assert_eq!(rig.run(rig.disk.vfs().lock(path)).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(next);
    rig.run(rig.disk.vfs().lock(path)).unwrap();
}

/// With what was asked for before, whether or not somebody waits for it still.
#[test]
fn whoever_gets_a_lock_is_told_of_with_the_disk_of_that_moment() {
    let rig = Rig::new(slow());
    let file = rig.installed("a", &[7; 512]);
    let seen: Seen<Option<Vec<u8>>> = Seen::default();
    let list = Arc::clone(&seen);
    rig.disk.on_lock(Box::new(move |disk| crate::sim::lock(&list).push(disk.read_file("d/a"))));
    let vfs = rig.disk.vfs();
    {
        let mut write = pin!(file.write_at(0, sectors(1, 1)));
        assert!(poll(write.as_mut()).is_pending());
    }
    assert_eq!(
        rig.disk.with_disk(|disk| disk.read_file("d/a")).unwrap(),
        [7; 512],
        "it has not happened yet"
    );
    let held = rig.run(vfs.lock(Path::new("d"))).unwrap();
    rig.run(vfs.lock(Path::new("d"))).unwrap_err();
    rig.run(vfs.remove(Path::new("d/a"))).unwrap();
    drop(held);
    drop(rig.run(vfs.lock(Path::new("d"))).unwrap());
    assert_eq!(*crate::sim::lock(&seen), [Some(vec![1; 512]), None]);
}

#[test]
fn an_open_file_outlives_its_name() {
    let rig = Rig::new(FaultPlan::none());
    let file = rig.installed("a", &[7; 512]);
    let vfs = rig.disk.vfs();
    rig.run(async {
        vfs.remove(Path::new("d/a")).await.unwrap();
        vfs.sync_dir(Path::new("d")).await.unwrap();
        assert_eq!(read(&file, 0, 512).await.unwrap(), vec![7; 512]);
        assert_eq!(file.link_count().await.unwrap(), 0);
        assert_eq!(vfs.open(Path::new("d/a"), OpenMode::Read).await.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn every_call_is_seen_before_its_effect_after_it_and_at_its_end() {
    let rig = Rig::new(FaultPlan::none());
    let file = rig.installed("a", &[7; 512]);
    let seen: Seen<(Phase, &'static str, u8)> = Seen::default();
    let list = Arc::clone(&seen);
    rig.disk.on_boundary(Box::new(move |disk, info| {
        let byte = disk.read_file(&info.path).unwrap()[0];
        crate::sim::lock(&list).push((info.phase, info.operation, byte));
    }));
    rig.run(file.write_at(0, sectors(1, 1))).unwrap();
    let expected =
        [(Phase::Before, "write_at", 7), (Phase::Applied, "write_at", 1), (Phase::After, "write_at", 1)];
    assert_eq!(*crate::sim::lock(&seen), expected);
}

#[test]
fn a_write_with_its_own_sync_is_durable_and_no_other_is() {
    let rig = Rig::new(FaultPlan::none());
    let file = rig.installed("a", &[7; 1024]);
    rig.run(async {
        file.write_at(0, sectors(1, 1)).await.unwrap();
        file.write_at_and_sync(512, sectors(2, 4)).await.unwrap();
    });
    let images: Vec<_> =
        rig.disk.disk().images(100, 0).map(|image| image.read_file("d/a").unwrap()).collect();
    assert!(images.len() > 1);
    assert!(images.iter().all(|image| image[512..] == [2; 2048]));
}

#[test]
fn the_same_seed_does_the_same_things() {
    let run = |seed| {
        let streams = crate::sim::rng::Streams::new(seed);
        let personality = Personality::draw(&mut streams.stream("personality"));
        let rig = Rig::with(personality, FaultPlan::swarm(&streams, true), seed);
        for step in 0..200_u64 {
            let name = format!("{}", step % 5);
            rig.run(async {
                let vfs = rig.disk.vfs();
                let path = Path::new("d").join(&name);
                if let Ok(file) = vfs.create_new(&path).await {
                    let _ = file.write_at(step * 100, sectors(1, 3)).await;
                    let _ = file.sync_data().await;
                } else if let Ok(file) = vfs.open(&path, OpenMode::Write).await {
                    let _ = file.write_at(step * 7, sectors(2, 2)).await;
                    let _ = read(&file, 0, 4096).await;
                }
                let _ = vfs.sync_dir(Path::new("d")).await;
                if step % 7 == 0 {
                    let _ = vfs.remove(&path).await;
                }
            });
            if step % 50 == 49 {
                rig.disk.power_loss();
            }
        }
        (rig.trace.digest(), rig.disk.disk().hash(), rig.disk.ledger().entries().len())
    };
    for seed in 0..8 {
        assert_eq!(run(seed), run(seed));
    }
    assert_ne!(run(0), run(1));
}
