//! The images that are always tried, and the edges that no power loss crosses.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;

use crate::sim::disk::{Cover, SyncFate};
use crate::sim::rng::Streams;
use crate::sim::{Crash, Disk, Order, Personality};

fn disk(personality: Personality) -> Disk {
    let mut disk = Disk::new(personality);
    disk.install_dir("d").unwrap();
    disk
}

fn tame() -> Personality {
    Personality { power_safe_overwrite: true, stale_extension: false, ..Personality::default() }
}

fn write(disk: &mut Disk, path: &str, sector: u64, byte: u8, count: usize) {
    let inode = disk.file(Path::new(path)).unwrap();
    let stamp = disk.write(inode, sector * 512, &Bytes::from(vec![byte; count * 512]));
    disk.complete(inode, stamp);
}

fn sync(disk: &mut Disk, path: &str) {
    let inode = disk.file(Path::new(path)).unwrap();
    let began = disk.stamp();
    disk.sync_data(inode, Cover::CompletedBy(began), SyncFate::Done, &mut Streams::new(0).stream("s"));
}

fn sync_dir(disk: &mut Disk, path: &str) {
    let inode = disk.directory(Path::new(path)).unwrap();
    let began = disk.stamp();
    disk.sync_dir(inode, began, SyncFate::Done, &mut Streams::new(0).stream("s"));
}

fn all(disk: &Disk, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    disk.images(100_000, 0).map(|image| image.read_file(path)).collect()
}

#[test]
fn of_a_few_sectors_every_subset_survives() {
    let mut disk = disk(tame());
    disk.install_file("d/a", &[0; 4 * 512]).unwrap();
    write(&mut disk, "d/a", 0, 1, 4);
    assert_eq!(disk.pending(), 4);
    assert_eq!(disk.images(16, 0).count(), 16);
    assert_eq!(all(&disk, "d/a").len(), 16);
}

#[test]
fn an_overwritten_version_can_surface() {
    let mut disk = disk(tame());
    disk.install_file("d/a", &[0; 512]).unwrap();
    write(&mut disk, "d/a", 0, 1, 1);
    write(&mut disk, "d/a", 0, 2, 1);
    let expected: BTreeSet<_> = (0..3_u8).map(|byte| Some(vec![byte; 512])).collect();
    assert_eq!(all(&disk, "d/a"), expected);
}

#[test]
fn two_files_persist_apart_in_whatever_order_they_were_written() {
    let mut disk = disk(tame());
    disk.install_file("d/a", &[0; 512]).unwrap();
    disk.install_file("d/b", &[0; 512]).unwrap();
    write(&mut disk, "d/a", 0, 1, 1);
    write(&mut disk, "d/b", 0, 2, 1);
    let byte = |image: &Disk, path| image.read_file(path).unwrap()[0];
    let found: BTreeSet<_> =
        disk.images(16, 0).map(|image| (byte(&image, "d/a"), byte(&image, "d/b"))).collect();
    assert_eq!(found, BTreeSet::from([(0, 0), (0, 2), (1, 0), (1, 2)]));
}

#[test]
fn length_and_bytes_persist_apart() {
    let mut disk = disk(tame());
    disk.install_file("d/a", &[]).unwrap();
    write(&mut disk, "d/a", 0, 1, 1);
    let expected = BTreeSet::from([Some(vec![]), Some(vec![0; 512]), Some(vec![1; 512])]);
    assert_eq!(all(&disk, "d/a"), expected);
}

#[test]
fn a_longer_file_may_show_stale_bytes_of_another() {
    let mut disk = disk(Personality { stale_extension: true, ..tame() });
    disk.install_file("d/a", &[]).unwrap();
    disk.install_file("d/b", &[9; 512]).unwrap();
    write(&mut disk, "d/a", 0, 1, 1);
    let found = all(&disk, "d/a");
    assert!(found.contains(&Some(vec![9; 512])));
    assert!(found.len() > 4, "noise is among them");
}

#[test]
fn a_cut_may_not_last() {
    let mut disk = disk(tame());
    disk.install_file("d/a", &[7; 1024]).unwrap();
    let inode = disk.file(Path::new("d/a")).unwrap();
    let stamp = disk.set_len(inode, 512);
    disk.complete(inode, stamp);
    let found = all(&disk, "d/a");
    assert!(found.contains(&Some(vec![7; 1024])) && found.contains(&Some(vec![7; 512])));
    sync(&mut disk, "d/a");
    assert_eq!(all(&disk, "d/a"), BTreeSet::from([Some(vec![7; 512])]));
}

#[test]
fn what_was_cut_off_does_not_come_back_when_the_file_grows() {
    let mut disk = disk(tame());
    disk.install_file("d/a", &[7; 2048]).unwrap();
    let inode = disk.file(Path::new("d/a")).unwrap();
    let stamp = disk.set_len(inode, 100);
    disk.complete(inode, stamp);
    sync(&mut disk, "d/a");
    write(&mut disk, "d/a", 3, 1, 1);
    sync(&mut disk, "d/a");
    let expected = [&[7; 100][..], &[0; 1436], &[1; 512]].concat();
    assert_eq!(disk.read_file("d/a"), Some(expected.clone()));
    assert_eq!(all(&disk, "d/a"), BTreeSet::from([Some(expected)]));
}

#[test]
fn a_sync_leaves_the_length_of_a_write_in_flight_to_the_next_sync() {
    let mut disk = disk(tame());
    disk.install_file("d/a", &[7; 512]).unwrap();
    let inode = disk.file(Path::new("d/a")).unwrap();
    write(&mut disk, "d/a", 0, 1, 1);
    let in_flight = disk.write(inode, 512, &Bytes::from(vec![2; 512]));
    sync(&mut disk, "d/a");
    let lens: BTreeSet<_> = all(&disk, "d/a").into_iter().flatten().map(|bytes| bytes.len()).collect();
    assert_eq!(lens, BTreeSet::from([512, 1024]));
    disk.complete(inode, in_flight);
    sync(&mut disk, "d/a");
    assert_eq!(all(&disk, "d/a"), BTreeSet::from([Some([[1; 512], [2; 512]].concat())]));
}

#[test]
fn an_unsafe_overwrite_garbles_its_unit_and_nothing_else() {
    let mut disk = disk(Personality { write_unit: 4096, power_safe_overwrite: false, ..tame() });
    disk.install_file("d/a", &[7; 3 * 4096]).unwrap();
    write(&mut disk, "d/a", 8, 1, 1);
    let mut garbled = 0;
    for image in disk.images(100, 0) {
        let bytes = image.read_file("d/a").unwrap();
        assert_eq!((&bytes[..4096], &bytes[8192..]), (&[7; 4096][..], &[7; 4096][..]));
        garbled += usize::from(bytes[8191] != 7);
    }
    assert!(garbled > 0);
}

#[test]
fn a_synced_file_without_a_synced_name_is_gone_or_whole() {
    let mut disk = disk(tame());
    disk.create_new(Path::new("d/a")).unwrap();
    write(&mut disk, "d/a", 0, 1, 1);
    sync(&mut disk, "d/a");
    assert_eq!(all(&disk, "d/a"), BTreeSet::from([None, Some(vec![1; 512])]));
}

#[test]
fn a_durable_name_may_lead_to_nothing() {
    let mut disk = disk(tame());
    let (_, stamp) = disk.create_new(Path::new("d/a")).unwrap();
    disk.complete_name(stamp);
    write(&mut disk, "d/a", 0, 1, 1);
    sync_dir(&mut disk, "d");
    assert!(all(&disk, "d/a").contains(&Some(vec![])));
}

#[test]
fn a_rename_over_a_file_leaves_the_old_one_or_the_new_one() {
    let mut disk = disk(tame());
    disk.install_file("d/a", b"old").unwrap();
    disk.install_file("d/t", b"new").unwrap();
    disk.rename(Path::new("d/t"), Path::new("d/a")).unwrap();
    let pairs: BTreeSet<_> =
        disk.images(100, 0).map(|image| (image.read_file("d/a"), image.read_file("d/t").is_some())).collect();
    let expected = [(Some(b"old".to_vec()), true), (Some(b"new".to_vec()), false)];
    assert_eq!(pairs, BTreeSet::from(expected));
}

#[test]
fn a_removal_may_overtake_a_rename() {
    let mut disk = disk(tame());
    disk.install_file("d/old", b"old").unwrap();
    disk.install_file("d/t", b"new").unwrap();
    disk.rename(Path::new("d/t"), Path::new("d/m")).unwrap();
    disk.remove(Path::new("d/old")).unwrap();
    let neither = |image: Disk| image.read_file("d/old").is_none() && image.read_file("d/m").is_none();
    assert!(disk.images(100, 0).any(neither));
}

#[test]
fn a_directory_without_a_durable_name_takes_its_files_with_it() {
    let mut disk = disk(tame());
    disk.create_dir(Path::new("d/sub")).unwrap();
    let (_, stamp) = disk.create_new(Path::new("d/sub/a")).unwrap();
    disk.complete_name(stamp);
    sync_dir(&mut disk, "d/sub");
    assert_eq!(all(&disk, "d/sub/a"), BTreeSet::from([None, Some(vec![])]));
}

#[test]
fn an_ordered_disk_leaves_a_prefix() {
    let mut disk = disk(Personality { order: Order::PrefixOrdered, ..tame() });
    disk.install_file("d/a", &[0; 1024]).unwrap();
    disk.install_file("d/b", &[0; 1024]).unwrap();
    for byte in 1..4 {
        write(&mut disk, "d/a", 0, byte, 2);
        write(&mut disk, "d/b", 0, byte, 2);
    }
    for image in disk.images(1000, 1) {
        let (a, b) = (image.read_file("d/a").unwrap(), image.read_file("d/b").unwrap());
        let whole = |bytes: &[u8]| bytes[0] == bytes[1023];
        assert!(whole(&a) || whole(&b), "one write is torn at most");
        let (a, b) = (a[0].max(a[512]), b[0].max(b[512]));
        assert!(a == b || a == b + 1, "{a} {b}");
    }
}

#[test]
fn the_corners_come_first_whatever_the_limit() {
    let mut disk = disk(tame());
    disk.install_file("d/a", &vec![0; 64 * 512]).unwrap();
    for sector in 0..64 {
        write(&mut disk, "d/a", sector, 1, 1);
    }
    let kept: Vec<usize> = disk
        .images(0, 0)
        .map(|image| image.read_file("d/a").unwrap().chunks(512).filter(|sector| sector[0] == 1).count())
        .collect();
    assert_eq!(kept[..4], [64, 0, 1, 2]);
    assert_eq!(kept.iter().filter(|count| **count == 63).count(), 64, "each single one lost");
    assert_eq!(kept.iter().filter(|count| **count == 1).count(), 64, "each single one kept");
    assert_eq!(disk.images(1000, 0).count(), 1000);
}

#[test]
fn equal_images_have_equal_hashes_and_others_differ() {
    let mut disk = disk(tame());
    disk.install_file("d/a", &[0; 2 * 512]).unwrap();
    write(&mut disk, "d/a", 0, 1, 2);
    let images: Vec<Disk> = disk.images(4, 0).collect();
    let hashes: BTreeSet<u128> = images.iter().map(Disk::hash).collect();
    assert_eq!(hashes.len(), 4);
    assert!(hashes.contains(&disk.hash()), "all kept is what the cache has");
    let mut linked = images[0].clone();
    linked.link(Path::new("d/a"), Path::new("d/b")).unwrap();
    assert_ne!(linked.hash(), images[0].hash());
}

#[test]
fn a_copy_of_a_disk_does_not_change_with_it() {
    let mut disk = disk(tame());
    disk.install_file("d/a", &[0; 512]).unwrap();
    let copy = disk.clone();
    write(&mut disk, "d/a", 0, 1, 1);
    disk.remove(Path::new("d/a")).unwrap();
    assert_eq!(copy.read_file("d/a"), Some(vec![0; 512]));
}

#[test]
fn unaligned_writes_tear_at_sectors_and_keep_their_neighbours() {
    let mut disk = disk(tame());
    disk.install_file("d/a", &[7; 1024]).unwrap();
    let inode = disk.file(Path::new("d/a")).unwrap();
    let stamp = disk.write(inode, 500, &Bytes::from_static(&[1; 24]));
    disk.complete(inode, stamp);
    for image in all(&disk, "d/a").into_iter().flatten() {
        assert!(image[..500].iter().chain(&image[524..]).all(|byte| *byte == 7));
        assert!([[1; 12], [7; 12]].contains(&image[500..512].try_into().unwrap()));
    }
    sync(&mut disk, "d/a");
    disk.crash(Crash::Power(&mut Streams::new(0).stream("p")));
    assert_eq!(disk.read_file("d/a").unwrap()[500..524], [1; 24]);
}
