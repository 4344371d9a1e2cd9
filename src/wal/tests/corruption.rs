//! Damage at rest: named with its place, or harmless, or only above all proof. Never wrong data.

use super::disk::{Disk, Unsynced};
use super::rig::{fresh, names_a_file, open, put, recover, segment_files};
use crate::codec::crc;
use crate::error::ErrorKind;
use crate::wal::LogTail;

/// A log of `count` records, closed or not, and how many of them are proven durable.
fn log_of(count: u64, close: bool) -> (Disk, u64) {
    let (disk, mut wal) = fresh();
    for n in 0..count {
        put(&mut wal, n);
        wal.sync_blocking().unwrap();
    }
    if close {
        wal.close_blocking().unwrap();
        return (disk, count);
    }
    drop(wal);
    // The last frame's own record is above its own mark.
    (disk, count - 1)
}

/// What an open makes of a damaged disk: `Corrupt` with a file, or a prefix that lacks nothing proven.
fn judge(disk: &Disk, all: u64, proven: u64, story: &str) -> bool {
    let before: Vec<_> = disk.files().iter().map(|path| (path.clone(), disk.read_file(path))).collect();
    match recover(disk) {
        Ok(found) => {
            let count = found.len() as u64;
            assert_eq!(found, (0..count).collect::<Vec<_>>(), "{story}: wrong data");
            assert!(count >= proven && count <= all, "{story}: {count} records, {proven} proven");
            true
        }
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{story}: {error}");
            names_a_file(&error);
            let after: Vec<_> =
                disk.files().iter().map(|path| (path.clone(), disk.read_file(path))).collect();
            assert!(before == after, "{story}: a refusal changed the disk");
            false
        }
    }
}

fn flip_everywhere(close: bool) {
    let (disk, proven) = log_of(60, close);
    let files = segment_files(&disk);
    assert!(files.len() >= 2, "{files:?}");
    let (mut refused, mut harmless) = (0, 0);
    for path in files {
        let bytes = disk.read_file(&path);
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for at in (0..used).chain((used..bytes.len()).step_by(61)) {
            let damaged = disk.image();
            damaged.edit(&path, |bytes| bytes[at] ^= 1 << (at % 8));
            let story = format!("{} byte {at}", path.display());
            if judge(&damaged, 60, proven, &story) { harmless += 1 } else { refused += 1 }
        }
    }
    assert!(refused > 1000 && harmless > 1000, "{refused} refused, {harmless} harmless");
}

#[test]
fn a_flip_of_any_byte_of_a_closed_log_is_refused_or_harmless() {
    flip_everywhere(true);
}

#[test]
fn a_flip_of_any_byte_of_an_open_log_loses_at_most_its_last_frame() {
    flip_everywhere(false);
}

/// An open log is searched to its end for proof of more; of one that was closed, nothing can stand there.
#[test]
fn behind_the_last_frame_of_a_closed_log_nothing_is_looked_at() {
    for close in [true, false] {
        let (disk, _) = log_of(60, close);
        let path = segment_files(&disk).pop().unwrap();
        disk.edit(&path, |bytes| {
            let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
            bytes[last.next_multiple_of(512)..].fill(0xa5);
        });
        let tail = open(&disk).unwrap().report.scan.tail;
        assert_eq!(tail, if close { LogTail::Clean } else { LogTail::Residue });
    }
}

#[test]
fn a_file_cut_at_any_sector_is_refused() {
    for close in [true, false] {
        let (disk, proven) = log_of(60, close);
        for path in segment_files(&disk) {
            for bytes in (0..disk.read_file(&path).len()).step_by(512) {
                let damaged = disk.image();
                damaged.edit(&path, |content| content.truncate(bytes));
                assert!(!judge(&damaged, 60, proven, &format!("{} cut at {bytes}", path.display())));
            }
        }
    }
}

#[test]
fn a_sector_of_zeroes_or_of_another_place_is_refused_or_loses_only_the_last_frame() {
    let (disk, proven) = log_of(60, false);
    for path in segment_files(&disk) {
        for at in (0..disk.read_file(&path).len()).step_by(512) {
            let story = format!("{} sector at {at}", path.display());
            let zeroed = disk.image();
            zeroed.edit(&path, |bytes| bytes[at..at + 512].fill(0));
            judge(&zeroed, 60, proven, &story);
            let misplaced = disk.image();
            misplaced.edit(&path, |bytes| {
                let from = (at + 1024) % bytes.len();
                bytes.copy_within(from..from + 512, at);
            });
            judge(&misplaced, 60, proven, &story);
        }
    }
}

#[test]
fn a_file_that_grew_is_read_as_it_was() {
    let (disk, _) = log_of(20, false);
    let path = segment_files(&disk).pop().unwrap();
    disk.edit(&path, |bytes| bytes.resize(64 * 1024, 0xff));
    assert_eq!(recover(&disk).unwrap().len(), 20);
}

#[test]
fn a_missing_middle_segment_is_refused() {
    let (disk, mut wal) = fresh();
    for n in 0..200 {
        put(&mut wal, n);
        wal.sync_blocking().unwrap();
    }
    drop(wal);
    let files = segment_files(&disk);
    for path in &files[1..files.len() - 1] {
        let damaged = disk.image();
        damaged.delete(path);
        assert!(!judge(&damaged, 200, 200, &format!("{} deleted", path.display())));
    }
}

#[test]
fn a_missing_last_segment_loses_only_what_no_other_segment_proves() {
    let (disk, mut wal) = fresh();
    for n in 0..200 {
        put(&mut wal, n);
        wal.sync_blocking().unwrap();
    }
    drop(wal);
    let files = segment_files(&disk);
    disk.delete(files.last().unwrap());
    let found = recover(&disk).unwrap();
    assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>());
    assert!(found.len() > 100);
}

#[test]
fn a_segment_of_another_log_is_refused() {
    let (disk, proven) = log_of(60, true);
    let other = Disk::default();
    other.boot();
    drop(open(&other).unwrap());
    let path = segment_files(&disk)[0].clone();
    let foreign = other.read_file(&path);
    assert!(foreign != disk.read_file(&path), "two logs with one identity");
    disk.edit(&path, |bytes| *bytes = foreign);
    assert!(!judge(&disk, 60, proven, "exchanged"));
}

#[test]
fn a_copy_of_an_older_state_of_the_newest_segment_is_an_older_prefix_or_refused() {
    let (disk, mut wal) = fresh();
    let mut states = Vec::new();
    for n in 0..20 {
        put(&mut wal, n);
        wal.sync_blocking().unwrap();
        states.push(disk.crash(Unsynced::Lost));
    }
    for (n, state) in states.iter().enumerate() {
        let opened = open(state).unwrap();
        assert_eq!(opened.report.scan.records, n as u64 + 1);
    }
}

/// Replaces the frame header at `offset` of the newest segment by `change` of it, with a right checksum.
fn forge(disk: &Disk, offset: usize, change: impl FnOnce(&mut [u8])) {
    let path = segment_files(disk).pop().unwrap();
    disk.edit(&path, |bytes| {
        let salt = u32::from_le_bytes(bytes[124..128].try_into().unwrap());
        let header = &mut bytes[offset..offset + 64];
        change(header);
        let seed = crc(salt, &(offset as u64).to_le_bytes());
        let header_crc = crc(seed, &header[..60]);
        header[60..64].copy_from_slice(&header_crc.to_le_bytes());
    });
}

#[test]
fn lengths_and_counts_with_right_checksums_are_bounded_all_the_same() {
    for length in [0, 1, 63, 64, 65, 12_288, 1 << 20, u32::MAX] {
        let (disk, _) = log_of(5, false);
        forge(&disk, 4608, |header| header[0..4].copy_from_slice(&length.to_le_bytes()));
        assert!(!judge(&disk, 5, 4, &format!("frame of {length} bytes")));
    }
    for count in [0, 2, u32::MAX] {
        let (disk, _) = log_of(5, false);
        forge(&disk, 4608, |header| header[48..52].copy_from_slice(&count.to_le_bytes()));
        assert!(!judge(&disk, 5, 4, &format!("{count} records")));
    }
    for lsn in [0, 2, u64::MAX] {
        let (disk, _) = log_of(5, false);
        forge(&disk, 4608, |header| header[24..32].copy_from_slice(&lsn.to_le_bytes()));
        assert!(!judge(&disk, 5, 4, &format!("first LSN {lsn}")));
    }
    for mark in [1, 5, u64::MAX] {
        let (disk, _) = log_of(5, false);
        forge(&disk, 4608, |header| header[32..40].copy_from_slice(&mark.to_le_bytes()));
        assert!(!judge(&disk, 5, 4, &format!("durable-through {mark}")));
    }
}
