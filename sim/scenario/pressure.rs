//! A device that fills up, by whoever's hand, and has room again: S14, and the reserve.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use highwater::sim::{Disk, FaultPlan, Personality};
use highwater::vfs::{File, OpenMode, Vfs};
use highwater::{Epoch, ErrorKind, Health, Opened, Options};

use super::{Rig, commit, get, options, put, story_on};
use crate::Test;
use crate::shape::DIRECTORY;
use crate::world::World;

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![
    a_full_device_is_left_with_what_was_held_back,
    what_an_open_could_fall_back_to_goes_first,
    a_checkpoint_that_finds_no_space_gives_up_what_was_held_back,
    a_checkpoint_that_finds_no_space_leaves_nothing,
    checkpoints_that_find_no_space_are_tried_less_and_less_often,
    a_base_that_finds_no_space_keeps_no_log,
    a_device_that_stays_full_is_read_and_nothing_is_lost,
    a_full_device_is_opened,
    without_a_reserve_a_full_device_is_waited_for,
];

const DISK_BYTES: u64 = 2 << 20;

/// What others have on the device.
const BALLAST: &str = "/ballast";

/// Runs the story that `body` makes of a rig with a small disk.
fn story<Fut: Future<Output = ()> + 'static>(body: impl FnOnce(Rig) -> Fut) {
    story_on(Disk::new(Personality::default()).with_capacity(DISK_BYTES), FaultPlan::none(), body);
}

fn frugal() -> Options {
    options(1).retain_checkpoints(1).fallback_bytes_max(0)
}

/// Fills what is left of the device, as somebody else would.
async fn fill(rig: &Rig) {
    let vfs = rig.disk.vfs();
    let file = match vfs.create_new(Path::new(BALLAST)).await {
        Ok(file) => file,
        Err(_) => vfs.open(Path::new(BALLAST), OpenMode::Write).await.expect("it is there"),
    };
    let mut offset = file.len().await.expect("no faults");
    while let Ok(count) = file.write_at(offset, Bytes::from_static(&[0xBB; 4096])).await {
        offset += count as u64;
    }
    assert!(rig.disk.free_bytes() < 4096, "{} bytes are free", rig.disk.free_bytes());
}

async fn empty(rig: &Rig) {
    rig.disk.vfs().remove(Path::new(BALLAST)).await.expect("it is there");
}

fn is_held(rig: &Rig) -> bool {
    let path = PathBuf::from(DIRECTORY).join("RESERVE");
    rig.disk
        .disk()
        .tree()
        .into_iter()
        .any(|(found, len)| found == path && len.is_some_and(|len| len >= 16 << 10))
}

/// One change on each core and the end of their epoch, durable; whether there was space for that.
async fn round(opened: &mut Opened<World>, number: u32) -> bool {
    for core in 0..opened.cores.len() {
        if let Err(error) = put(opened, core, number % 5, &[u8::try_from(number % 251).unwrap_or(0); 900]) {
            assert_eq!(error.kind(), ErrorKind::Full, "{error}");
            return false;
        }
    }
    match commit(opened).await {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Full, "{error}");
            false
        }
    }
}

async fn until(rig: &Rig, opened: &Opened<World>, health: Health) {
    for _ in 0..100 {
        if opened.engine.health() == health {
            return;
        }
        rig.host.sleep(Duration::from_millis(100)).await;
    }
    panic!("it stays {:?} and does not become {health:?}", opened.engine.health());
}

/// Others fill the device. With what was held back the cores go on, checkpoints let the log behind them go, and that
/// is enough for ever. When there is room, some is held back again.
fn a_full_device_is_left_with_what_was_held_back() {
    for cores in [1, 3] {
        left_with_what_was_held_back(move || frugal().cores(cores));
    }
}

/// The same where an open could fall back behind the newest checkpoint: that holds all of the log back, and is not
/// worth a standstill.
fn what_an_open_could_fall_back_to_goes_first() {
    left_with_what_was_held_back(|| frugal().fallback_bytes_max(1 << 30));
}

fn left_with_what_was_held_back(options: impl Fn() -> Options + 'static) {
    story(async move |mut rig| {
        let mut opened = rig.recover(options()).await;
        rig.host.sleep(Duration::from_secs(1)).await;
        assert!(is_held(&rig) && opened.engine.health() == Health::Healthy);
        for number in 0..30 {
            assert!(round(&mut opened, number).await, "there is space");
        }
        fill(&rig).await;
        let (mut refused, mut throttled) = (0_u32, 0_u32);
        for number in 30..400 {
            if !round(&mut opened, number).await {
                refused += 1;
                rig.host.sleep(Duration::from_millis(200)).await;
            }
            throttled += u32::from(opened.engine.health() == Health::Throttled);
        }
        // Each time the log has filled what there is, until a checkpoint has let it go.
        assert!(throttled > 3, "throttled {throttled} times");
        assert_eq!(refused, 0, "of 370 rounds so many found no space");
        empty(&rig).await;
        until(&rig, &opened, Health::Healthy).await;
        assert!(is_held(&rig));
        rig.cut_power();
        drop(opened);
        let opened = rig.recover(options()).await;
        assert_eq!(opened.report.epoch.0, 400);
    });
}

/// The log has room in the file that it has begun, a checkpoint has none: the next one has.
fn a_checkpoint_that_finds_no_space_gives_up_what_was_held_back() {
    story(async |rig| {
        let mut opened = rig.recover(frugal()).await;
        rig.host.sleep(Duration::from_secs(1)).await;
        assert!(is_held(&rig));
        assert!(round(&mut opened, 0).await, "there is space");
        fill(&rig).await;
        let refused = opened.engine.checkpoint_async().await.expect_err("there is no space");
        assert_eq!(refused.kind(), ErrorKind::Full, "{refused}");
        until(&rig, &opened, Health::Throttled).await;
        let taken = opened.engine.checkpoint_async().await.expect("what was held back is enough for that");
        assert_eq!(taken.epoch.0, 1);
        empty(&rig).await;
        until(&rig, &opened, Health::Healthy).await;
        assert!(is_held(&rig));
    });
}

/// Fills the device but for so many bytes.
async fn fill_but(rig: &Rig, bytes: u64) {
    fill(rig).await;
    let file = rig.disk.vfs().open(Path::new(BALLAST), OpenMode::Write).await.expect("it is there");
    let left = file.len().await.expect("no faults") - bytes;
    file.set_len(left).await.expect("it becomes shorter");
}

fn checkpoint_files(rig: &Rig) -> Vec<PathBuf> {
    let folder = PathBuf::from(DIRECTORY).join("f");
    let tree = rig.disk.disk().tree().into_iter();
    tree.filter(|(path, len)| len.is_some() && path.starts_with(&folder)).map(|(path, _)| path).collect()
}

/// There is room for the files of some cores and not of all: no try takes anything from the next.
fn a_checkpoint_that_finds_no_space_leaves_nothing() {
    story(async |mut rig| {
        let options = || frugal().cores(3).reserve(false);
        let mut opened = rig.recover(options()).await;
        assert!(round(&mut opened, 0).await);
        opened.engine.checkpoint_async().await.expect("there is space");
        let mut epoch = Epoch(0);
        for number in 0..3 {
            for core in 0..3 {
                put(&mut opened, core, number, &[7; 3000]).expect("there is space");
            }
            epoch = commit(&mut opened).await.expect("there is space");
        }
        rig.host.sleep(Duration::from_secs(1)).await;
        fill_but(&rig, 24 << 10).await;
        let (before, free) = (checkpoint_files(&rig), rig.disk.free_bytes());
        for _ in 0..5 {
            let refused = opened.engine.checkpoint_async().await.expect_err("there is too little space");
            assert_eq!(refused.kind(), ErrorKind::Full, "{refused}");
            assert_eq!(checkpoint_files(&rig), before);
            assert_eq!(rig.disk.free_bytes(), free);
        }
        empty(&rig).await;
        let taken = opened.engine.checkpoint_async().await.expect("there is space");
        assert_eq!(taken.epoch, epoch);
        rig.cut_power();
        drop(opened);
        assert_eq!(rig.recover(options()).await.report.epoch, epoch);
    });
}

/// Each try takes for a while what the logs may be waiting for. An interval that is shorter than the wait changes nothing.
fn checkpoints_that_find_no_space_are_tried_less_and_less_often() {
    for interval in [Duration::from_millis(16), Duration::from_secs(1)] {
        story(async move |rig| {
            let mut opened = rig.recover(frugal().reserve(false).checkpoint_interval(Some(interval))).await;
            assert!(round(&mut opened, 0).await, "there is space");
            rig.host.sleep(Duration::from_secs(3)).await;
            let before = opened.engine.stats().checkpoints;
            assert!(before.taken > 0 && before.failed == 0, "{before:?}");
            fill(&rig).await;
            assert!(round(&mut opened, 1).await, "the log has room in the file that it has begun");
            rig.host.sleep(Duration::from_secs(20)).await;
            let failed = opened.engine.stats().checkpoints.failed;
            // After 0.1, 0.2, 0.4, 0.8, 1.6 and then every 3.2 seconds.
            assert!((5..=12).contains(&failed), "{failed} tries in 20 s, one wanted every {interval:?}");
            empty(&rig).await;
            rig.host.sleep(Duration::from_secs(4)).await;
            assert_eq!(opened.engine.stats().checkpoints.taken, before.taken + 1);
        });
    }
}

/// A base is due, and there is room for what has changed and not for all of it. The checkpoint lands without it, and
/// the log behind it is let go; with room the base is written by some later one.
fn a_base_that_finds_no_space_keeps_no_log() {
    story(async |mut rig| {
        let options = || frugal().reserve(false);
        let mut opened = rig.recover(options()).await;
        for number in 10..40 {
            put(&mut opened, 0, number, &[7; 2000]).expect("there is space");
            commit(&mut opened).await.expect("there is space");
        }
        for number in 0..9 {
            assert!(round(&mut opened, number).await);
            let taken = opened.engine.checkpoint_async().await.expect("there is space");
            assert_eq!(taken.bases_written, u32::from(number == 0));
        }
        assert!(round(&mut opened, 9).await);
        rig.host.sleep(Duration::from_secs(1)).await;
        fill_but(&rig, 24 << 10).await;
        let (files, free) = (checkpoint_files(&rig).len(), rig.disk.free_bytes());
        let taken = opened.engine.checkpoint_async().await.expect("what has changed has room");
        assert_eq!((taken.files_written, taken.bases_written), (1, 0));
        assert_eq!(checkpoint_files(&rig).len(), files + 1, "nothing is left of the base");
        assert!(free - rig.disk.free_bytes() < 16 << 10);
        assert_eq!(opened.engine.health(), Health::Healthy);
        empty(&rig).await;
        let mut bases = 0;
        for number in 10..15 {
            assert!(round(&mut opened, number).await);
            bases += opened.engine.checkpoint_async().await.expect("there is space").bases_written;
        }
        assert!(bases > 0, "the base is forgotten");
        rig.cut_power();
        drop(opened);
        assert_eq!(rig.recover(options()).await.report.live_keys, 35);
    });
}

/// Whatever is given up, others take it. Reading goes on, what was accepted waits, and all of it is there when there is room.
fn a_device_that_stays_full_is_read_and_nothing_is_lost() {
    story(async |mut rig| {
        let mut opened = rig.recover(frugal()).await;
        rig.host.sleep(Duration::from_secs(1)).await;
        let mut last = None;
        for cycle in 0..4 {
            let mut seen = Vec::new();
            for number in 0..200 {
                fill(&rig).await;
                if round(&mut opened, number).await {
                    last = Some(number);
                }
                let health = opened.engine.health();
                if seen.last() != Some(&health) {
                    seen.push(health);
                }
                if health == Health::ReadOnly {
                    break;
                }
            }
            assert_eq!(seen.last(), Some(&Health::ReadOnly), "cycle {cycle}: {seen:?}");
            assert!(!is_held(&rig));
            // Accepted until the queue is full, and not a byte more.
            let mut accepted = None;
            for number in 1000..2000 {
                match put(&mut opened, 0, 9, &u32::to_le_bytes(number)) {
                    Ok(()) => accepted = Some(number),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Full, "{error}");
                        break;
                    }
                }
            }
            let accepted = accepted.expect("the queue has room");
            assert!(accepted < 1999, "a bounded queue refuses at some time");
            assert_eq!(get(&opened, 0, 9).as_deref(), Some(&accepted.to_le_bytes()[..]));
            for _ in 0..100 {
                rig.host.sleep(Duration::from_millis(100)).await;
                fill(&rig).await;
            }
            assert_eq!(opened.engine.health(), Health::ReadOnly);
            empty(&rig).await;
            until(&rig, &opened, Health::Healthy).await;
            assert!(is_held(&rig), "cycle {cycle}");
            commit(&mut opened).await.expect("there is space");
            if cycle == 2 {
                rig.cut_power();
                drop(opened);
                opened = rig.recover(frugal()).await;
                assert_eq!(get(&opened, 0, 9).as_deref(), Some(&accepted.to_le_bytes()[..]));
                rig.host.sleep(Duration::from_secs(1)).await;
            }
        }
        let last = last.expect("there was space");
        assert!(get(&opened, 0, last % 5).is_some());
    });
}

/// A process ended on a device that others have filled: the next one has what an open needs.
fn a_full_device_is_opened() {
    story(async |mut rig| {
        let mut opened = rig.recover(frugal()).await;
        for number in 0..20 {
            assert!(round(&mut opened, number).await, "there is space");
        }
        rig.host.sleep(Duration::from_secs(1)).await;
        fill(&rig).await;
        rig.kill();
        drop(opened);
        for _ in 0..5 {
            let mut opened = rig.recover(frugal()).await;
            assert_eq!(opened.report.live_keys, 5);
            assert!(round(&mut opened, 3).await, "what was held back is enough for that");
            rig.host.sleep(Duration::from_secs(5)).await;
            assert_eq!(opened.engine.health(), Health::Throttled);
            rig.kill();
            drop(opened);
        }
        empty(&rig).await;
        let opened = rig.recover(frugal()).await;
        until(&rig, &opened, Health::Healthy).await;
    });
}

/// Nothing is held back where that is asked for: then there is no warning, and no way out but room. That is seen at
/// once, also by a log that is never idle.
fn without_a_reserve_a_full_device_is_waited_for() {
    for idle_seal_after in [Duration::from_millis(50), Duration::from_secs(3_600)] {
        story(async move |mut rig| {
            let options = || frugal().idle_seal_after(idle_seal_after);
            let opened = rig.recover(options()).await;
            rig.host.sleep(Duration::from_secs(1)).await;
            assert!(is_held(&rig));
            rig.kill();
            drop(opened);
            let mut opened = rig.recover(options().reserve(false)).await;
            rig.host.sleep(Duration::from_secs(1)).await;
            assert!(!is_held(&rig), "what an earlier engine held back is let go");
            fill(&rig).await;
            let mut number = 0;
            while round(&mut opened, number).await {
                assert_eq!(opened.engine.health(), Health::Healthy);
                number += 1;
            }
            assert_eq!(opened.engine.health(), Health::ReadOnly);
            empty(&rig).await;
            until(&rig, &opened, Health::Healthy).await;
            assert!(round(&mut opened, number).await);
        });
    }
}
