//! What is told of a crash is what the disk holds afterwards.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::sim::disk::{Cover, SyncFate};
use crate::sim::rng::Streams;
use crate::sim::{Aftermath, Crash, Disk, Personality, SectorFate};

const SECTORS: usize = 4;

/// A file of nines, overwritten with ones and then with twos in its middle sectors.
fn overwritten() -> Disk {
    let mut disk = Disk::new(Personality { stale_extension: false, ..Personality::default() });
    disk.install_file("a", &[9; SECTORS * 512]).unwrap();
    write(&mut disk, 1, 1);
    write(&mut disk, 1, 2);
    write(&mut disk, 2, 2);
    disk
}

fn write(disk: &mut Disk, sector: u64, byte: u8) {
    let inode = disk.file(Path::new("a")).unwrap();
    let stamp = disk.write(inode, sector * 512, &Bytes::from(vec![byte; 512]));
    disk.complete(inode, stamp);
}

/// The fate of each sector of the only file that is told of.
fn fates(told: &Aftermath) -> Vec<SectorFate> {
    let [file] = &told.files[..] else { panic!("one file is undecided: {told:?}") };
    file.sectors.iter().flat_map(|(run, fate)| run.clone().map(|_| *fate)).collect()
}

/// What the bytes of a sector say about its fate.
fn seen(sector: u64, bytes: &[u8]) -> SectorFate {
    let (front, back) = bytes.split_at(256);
    let all = |part: &[u8], byte: u8| part.iter().all(|found| *found == byte);
    match sector {
        0 | 3 => SectorFate::Durable,
        _ if all(bytes, 9) => SectorFate::Old,
        _ if all(bytes, 2) => SectorFate::New,
        _ if all(bytes, 1) => SectorFate::Between,
        _ if all(front, 2) && all(back, 9) => SectorFate::Torn,
        _ => SectorFate::Garbage,
    }
}

#[test]
fn every_image_is_told_as_it_is() {
    let disk = overwritten();
    let mut images = disk.images(1_000, 0);
    assert!(images.latest().is_none());
    let mut count = 0;
    while let Some(image) = images.next() {
        let bytes = image.read_file("a").unwrap();
        let expected: Vec<_> =
            (0_u64..).zip(bytes.chunks(512)).map(|(at, sector)| seen(at, sector)).collect();
        assert_eq!(fates(&images.latest().unwrap().1), expected);
        count += 1;
    }
    // Old, between, new, torn and garbage for one sector; for the other one all but the one in between.
    assert_eq!(count, 5 * 4);
}

/// E1 of whoever records: to ask is to change nothing.
#[test]
fn a_crash_that_is_told_of_is_the_same_crash() {
    for seed in 0..50 {
        let (mut quiet, mut asked) = (overwritten(), overwritten());
        quiet.crash(Crash::Power(&mut Streams::new(seed).stream("crash")));
        let told = asked.crash_and_tell(Crash::Power(&mut Streams::new(seed).stream("crash")));
        assert!(told.power);
        assert_eq!(quiet.hash(), asked.hash());
    }
}

#[test]
fn names_that_vanish_and_come_back_are_told() {
    let mut disk = Disk::new(Personality::default());
    disk.install_file("old", b"old").unwrap();
    let removed = disk.remove(Path::new("old")).unwrap();
    disk.complete_name(removed);
    let (_, made) = disk.create_new(Path::new("new")).unwrap();
    disk.complete_name(made);
    let told = disk.crash_and_tell(Crash::AllLost);
    assert_eq!(told.vanished, [PathBuf::from("new")]);
    assert_eq!(told.came_back, [PathBuf::from("old")]);
    assert!(told.names.iter().all(|name| !name.kept), "{told:?}");
}

/// The trap of failed syncs: reads show the new bytes until the power goes.
#[test]
fn what_a_failed_sync_lost_is_a_ghost() {
    let mut disk = overwritten();
    let inode = disk.file(Path::new("a")).unwrap();
    let began = disk.stamp();
    let mut draws = Streams::new(0).stream("sync");
    disk.sync_data(inode, Cover::CompletedBy(began), SyncFate::FailedAllLost, &mut draws);
    let told = disk.crash_and_tell(Crash::AllLost);
    let [durable, ghost] = [SectorFate::Durable, SectorFate::Ghost];
    assert_eq!(fates(&told), [durable, ghost, ghost, durable]);
}

#[test]
fn a_process_crash_leaves_everything_unsynced() {
    let told = overwritten().crash_and_tell(Crash::Process);
    assert!(!told.power && told.vanished.is_empty());
    let [durable, unsynced] = [SectorFate::Durable, SectorFate::Unsynced];
    assert_eq!(fates(&told), [durable, unsynced, unsynced, durable]);
}
