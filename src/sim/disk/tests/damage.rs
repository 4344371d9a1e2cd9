//! Each kind of damage at rest: what it changes, what it leaves alone, and that no crash undoes it.

use std::io::ErrorKind;
use std::path::Path;

use crate::sim::rng::Streams;
use crate::sim::{Crash, Damage, Disk, FaultClass, Hit, Personality};

/// A disk with the files `d/a` (`a` four times 512) and `d/sub/b`.
fn disk() -> Disk {
    let mut disk = Disk::new(Personality::default());
    disk.install_dir("d/sub").unwrap();
    disk.install_file("d/a", &[b'a'; 4 * 512]).unwrap();
    disk.install_file("d/sub/b", b"b").unwrap();
    disk
}

fn paths(hits: &[Hit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.path.to_str().unwrap()).collect()
}

fn power_loss(disk: &mut Disk) {
    disk.crash(Crash::Power(&mut Streams::new(1).stream("crash")));
}

#[test]
fn rot_flips_the_bits_it_names_for_good() {
    let mut disk = disk();
    let number = disk.file_number("d/a").unwrap();
    let hits = disk.damage("d/a", &Damage::BitRot { offset: 700, mask: 0b101 }).unwrap();
    assert_eq!(hits, [Hit { path: "d/a".into(), file: number, bytes: 700..701 }]);
    power_loss(&mut disk);
    let bytes = disk.read_file("d/a").unwrap();
    let different: Vec<_> = bytes.iter().enumerate().filter(|(_, byte)| **byte != b'a').collect();
    assert_eq!(different, [(700, &(b'a' ^ 0b101))]);
    assert_eq!(disk.damage("d/a", &Damage::BitRot { offset: 700, mask: 0 }).unwrap(), []);
}

#[test]
fn a_latent_sector_is_lost_to_reads_and_its_neighbours_are_not() {
    let mut disk = disk();
    let hits = disk.damage("d/a", &Damage::LatentSector { sector: 2 }).unwrap();
    assert_eq!(hits[0].bytes, 1024..1536);
    power_loss(&mut disk);
    let inode = disk.file(Path::new("d/a")).unwrap();
    assert_eq!(disk.bad_sector(inode, &(0..1024)), None);
    assert_eq!(disk.bad_sector(inode, &(1000..1025)), Some(2));
}

#[test]
fn an_earlier_file_comes_back_whole() {
    let mut disk = disk();
    let before = disk.clone();
    disk.scribble("d/a", 0, b"newer").unwrap();
    let number = disk.file_number("d/a").unwrap();
    let swap = Damage::Exchanged { with: before.clone(), path: "d/a".into() };
    let hits = disk.damage("d/a", &swap).unwrap();
    assert_eq!((paths(&hits), hits[0].bytes.clone()), (vec!["d/a"], 0..4 * 512));
    assert_ne!(hits[0].file, number, "it is another file under the old name");
    power_loss(&mut disk);
    assert_eq!(disk.hash(), before.hash());
    assert_eq!(disk.damage("d/a", &swap).unwrap(), [], "an equal file is no damage");
}

#[test]
fn an_earlier_directory_comes_back_with_everything_below_it() {
    let mut disk = disk();
    let before = disk.clone();
    disk.scribble("d/sub/b", 0, b"B").unwrap();
    disk.remove_at_rest("d/a").unwrap();
    disk.install_file("d/c", b"c").unwrap();
    let hits = disk.damage("d", &Damage::Exchanged { with: before.clone(), path: "d".into() }).unwrap();
    assert_eq!(paths(&hits), ["d/a", "d/c", "d/sub/b"]);
    power_loss(&mut disk);
    assert_eq!(disk.hash(), before.hash());
}

#[test]
fn what_the_other_disk_lacks_is_gone() {
    let mut disk = disk();
    let empty = Disk::new(Personality::default());
    let hits = disk.damage("d/a", &Damage::Exchanged { with: empty, path: "d/a".into() }).unwrap();
    assert_eq!(paths(&hits), ["d/a"]);
    power_loss(&mut disk);
    assert_eq!(disk.read_file("d/a"), None);
    assert_eq!(disk.read_file("d/sub/b").as_deref(), Some(&b"b"[..]));
}

#[test]
fn a_file_of_another_disk_may_come_from_another_place() {
    let mut disk = disk();
    let mut other = Disk::new(Personality::default());
    other.install_file("elsewhere", b"theirs").unwrap();
    disk.damage("d/a", &Damage::Exchanged { with: other, path: "elsewhere".into() }).unwrap();
    assert_eq!(disk.read_file("d/a").as_deref(), Some(&b"theirs"[..]));
}

#[test]
fn stale_names_lead_to_the_bytes_of_today_or_to_those_of_then() {
    let mut disk = disk();
    disk.install_file("d/gone", b"gone").unwrap();
    let before = disk.clone();
    disk.remove_at_rest("d/gone").unwrap();
    disk.crash(Crash::Process);
    disk.collect(|_| false);
    disk.scribble("d/a", 0, b"newer").unwrap();
    disk.install_file("d/young", b"young").unwrap();
    let hits = disk.damage("d", &Damage::StaleNames { before }).unwrap();
    assert_eq!(paths(&hits), ["d/gone", "d/young"]);
    power_loss(&mut disk);
    assert_eq!(disk.read_file("d/gone").as_deref(), Some(&b"gone"[..]));
    assert_eq!(disk.read_file("d/young"), None);
    assert!(disk.read_file("d/a").unwrap().starts_with(b"newer"), "names are stale, bytes are not");
}

#[test]
fn a_pending_name_does_not_undo_damage() {
    let mut disk = disk();
    let before = disk.clone();
    disk.rename(Path::new("d/a"), Path::new("d/z")).unwrap();
    disk.damage("d", &Damage::StaleNames { before: before.clone() }).unwrap();
    for image in disk.images(100, 1) {
        assert_eq!(image.hash(), before.hash());
    }
}

#[test]
fn damage_needs_something_to_damage() {
    let mut disk = disk();
    let rot = Damage::BitRot { offset: 0, mask: 1 };
    assert_eq!(disk.damage("d/none", &rot).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(disk.damage("d", &rot).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(rot.class(), FaultClass::BitRot);
    assert!(!Damage::StaleNames { before: disk }.class().in_contract());
}
