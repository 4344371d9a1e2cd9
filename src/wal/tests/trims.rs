//! Trims that fail, that a crash undoes, and that no crash may undo in part.

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Waker};

use super::disk::{Disk, Unsynced};
use super::rig::{Wal, block_on, dir, fresh, numbers, open, open_with, put, recover, segment_files, small};
use crate::error::ErrorKind;
use crate::ids::Lsn;
use crate::wal::{SegmentState, WalOptions, segments};

/// Appends the numbers `from..to`, each synced.
fn append(wal: &mut Wal, from: u64, to: u64) {
    for n in from..to {
        put(wal, n);
        wal.sync_blocking().unwrap();
    }
}

fn no_spares() -> WalOptions {
    WalOptions { spare_segments: 0, ..small() }
}

/// A trim's removals were in the page cache only when the syncs of the directory failed, and were called clean. The log was
/// opened again in the same boot and trimmed further, durably. Then the power went, brought the first segments back in
/// front of the gap that the second trim had left, and the log was refused.
#[test]
fn a_segment_that_comes_back_in_front_of_a_gap_is_a_leftover() {
    let disk = Disk::default();
    let mut wal = open_with(&disk, no_spares()).unwrap().wal;
    append(&mut wal, 0, 150);
    let before = segment_files(&disk);
    disk.fail_dir_syncs(true);
    // What fails here and what does not is not the point.
    let _ = wal.trim_blocking(Lsn(40));
    drop(wal);
    assert!(open_with(&disk, no_spares()).is_err(), "the directory cannot be synced");
    disk.fail_dir_syncs(false);
    let mut wal = open_with(&disk, no_spares()).unwrap().wal;
    let next = numbers(&wal).unwrap().last().unwrap() + 1;
    assert_eq!(next, 150);
    wal.trim_blocking(Lsn(110)).unwrap();
    // A roll syncs the directory once more.
    append(&mut wal, 150, 250);
    let kept = numbers(&wal).unwrap();
    drop(wal);
    let cut = disk.crash(Unsynced::Lost);
    let back: Vec<PathBuf> = segment_files(&cut).into_iter().filter(|path| before.contains(path)).collect();
    let gap = back.contains(&before[0]) && back.len() < before.len() - 1;
    assert!(gap, "the story is another one: {back:?} of {before:?}");
    assert_eq!(recover(&cut).unwrap(), kept);
    assert!(!segment_files(&cut).contains(&before[0]), "leftovers are removed");
}

/// A life prepared a segment for its next roll and never used it. A later life trimmed every used segment of the first one,
/// and a power cut undid the removal of the prepared one. The next open followed the link to the first life, found
/// nothing of it but a segment without a first frame, and refused the log (0x3000c).
#[test]
fn a_life_of_which_only_an_unused_segment_comes_back_was_trimmed() {
    let (disk, mut wal) = fresh();
    append(&mut wal, 0, 150);
    wal.trim_blocking(Lsn(40)).unwrap();
    let prepared = segment_files(&disk).pop().unwrap();
    let last = block_on(segments(&disk, dir())).unwrap().pop().unwrap();
    assert_eq!(last.state, SegmentState::Prepared, "the trim kept a spare segment");
    let bytes = disk.read_file(&prepared);
    let of_first_life: Vec<(PathBuf, Vec<u8>)> =
        segment_files(&disk).into_iter().map(|path| (path.clone(), disk.read_file(&path))).collect();
    drop(wal);

    let mut wal = open(&disk).unwrap().wal;
    assert!(!segment_files(&disk).contains(&prepared), "the second life removes what nobody used");
    append(&mut wal, 150, 160);
    wal.trim_blocking(Lsn(150)).unwrap();
    assert_eq!(wal.lives().len(), 1, "of the first life nothing is needed");
    let left = numbers(&wal).unwrap();
    drop(wal);

    let disk = disk.crash(Unsynced::Kept);
    assert!(segment_files(&disk).iter().all(|path| *path > prepared), "nothing of the first life is there");
    disk.bring_back(&prepared, bytes);
    assert_eq!(recover(&disk.image()).unwrap(), left);
    // And so with each other segment of it, and with all of them.
    for (path, bytes) in of_first_life {
        let one = disk.image();
        one.bring_back(&path, bytes.clone());
        assert_eq!(recover(&one).unwrap(), left, "{}", path.display());
        disk.bring_back(&path, bytes);
    }
    assert_eq!(recover(&disk).unwrap(), left);
}

#[test]
fn a_crash_at_every_change_of_a_trim_keeps_all_or_what_is_left() {
    let log = || {
        let disk = Disk::default();
        let mut wal = open_with(&disk, no_spares()).unwrap().wal;
        append(&mut wal, 0, 150);
        (disk, wal)
    };
    let (disk, mut wal) = log();
    let begin = disk.changes();
    wal.trim_blocking(Lsn(110)).unwrap();
    let left = numbers(&wal).unwrap();
    let end = disk.changes();
    assert!(end - begin > 3, "{} changes", end - begin);
    for at in begin..end {
        for crash in [Unsynced::Lost, Unsynced::Kept].into_iter().chain((0..20).map(Unsynced::Mixed)) {
            let (disk, mut wal) = log();
            disk.crash_at(at);
            assert!(wal.trim_blocking(Lsn(110)).is_err());
            let found =
                recover(&disk.crash(crash)).unwrap_or_else(|error| panic!("{crash:?} at {at}: {error}"));
            assert!(found == left || (at == begin && found.len() == 150), "{crash:?} at {at}: {found:?}");
        }
    }
}

#[test]
fn what_a_failed_trim_leaves_is_removed_by_the_next_one() {
    let disk = Disk::default();
    let mut wal = open_with(&disk, no_spares()).unwrap().wal;
    append(&mut wal, 0, 150);
    let before = segment_files(&disk);
    // The floor is stated, the first removal fails.
    disk.fail_at(disk.changes() + 1, std::io::ErrorKind::Other);
    assert_eq!(wal.trim_blocking(Lsn(110)).unwrap_err().kind(), ErrorKind::Failed);
    assert_eq!(segment_files(&disk), before);
    assert_eq!(wal.trim_blocking(Lsn(110)).unwrap(), 0, "they were given up before");
    let left = numbers(&wal).unwrap();
    append(&mut wal, 150, 160);
    drop(wal);
    let all: Vec<u64> = left.into_iter().chain(150..160).collect();
    assert_eq!(recover(&disk).unwrap(), all);
    assert!(before.iter().filter(|path| segment_files(&disk).contains(path)).count() < before.len() / 2);
}

/// A floor takes a write unit. When a segment has none left, the next one states it.
#[test]
fn a_full_segment_passes_the_floor_on() {
    let (disk, mut wal) = fresh();
    append(&mut wal, 0, 150);
    let mut trimmed = Vec::new();
    for lsn in 1..=150 {
        if wal.trim_blocking(Lsn(lsn)).unwrap() > 0 {
            trimmed.push(lsn);
        }
        let kept = numbers(&wal).unwrap();
        assert_eq!(recover(&disk.image()).unwrap(), kept, "trimmed through {lsn}");
        assert_eq!(recover(&disk.crash(Unsynced::Lost)).unwrap(), kept, "trimmed through {lsn}");
    }
    assert!(trimmed.len() > 2, "{trimmed:?}");
}

#[test]
fn a_trim_without_space_for_its_floor_gives_nothing_up() {
    for records in 100..200 {
        let disk = Disk::default();
        let mut wal = open_with(&disk, no_spares()).unwrap().wal;
        append(&mut wal, 0, records);
        disk.set_creation_full(true);
        let mut full = false;
        for lsn in 1..=records {
            match wal.trim_blocking(Lsn(lsn)) {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Full);
                    full = true;
                    let kept = numbers(&wal).unwrap();
                    assert_eq!(recover(&disk.image()).unwrap_err().kind(), ErrorKind::Full);
                    disk.set_creation_full(false);
                    assert_eq!(recover(&disk.image()).unwrap(), kept);
                    assert!(wal.trim_blocking(Lsn(lsn)).unwrap() > 0);
                    break;
                }
            }
        }
        if full {
            return;
        }
    }
    panic!("no count of records leaves a segment full");
}

/// An open restates the floor that it found, also where that was in the page cache only.
#[test]
fn a_floor_that_a_killed_process_left_unsynced_is_made_durable_before_it_is_used() {
    let log = || {
        let disk = Disk::default();
        let mut wal = open_with(&disk, no_spares()).unwrap().wal;
        append(&mut wal, 0, 150);
        disk.crash_at(disk.changes());
        assert!(wal.trim_blocking(Lsn(110)).is_err(), "killed in the write of the floor");
        drop(wal);
        disk.restart();
        disk
    };
    let disk = log();
    let begin = disk.changes();
    let left = recover(&disk).unwrap();
    assert!(left[0] > 50, "{left:?}");
    for at in begin..disk.changes() {
        for crash in (0..20).map(Unsynced::Mixed) {
            let disk = log();
            disk.crash_at(at);
            let _ = open(&disk);
            let found =
                recover(&disk.crash(crash)).unwrap_or_else(|error| panic!("{crash:?} at {at}: {error}"));
            assert!(found == left || found.len() == 150, "{crash:?} at {at}: {found:?}");
        }
    }
    assert_eq!(recover(&disk.crash(Unsynced::Lost)).unwrap(), left);
}

/// A trim was dropped while it wrote the floor. The next one took the floor for stated, and removed what lies below, durably.
/// Then the power went, the floor was on no disk, and the log was refused: its first segments were missing.
#[test]
fn a_trim_after_one_that_was_dropped_gives_nothing_up() {
    for records in 140..150 {
        // Some of them leave no room for the floor: it is to be stated by the next segment.
        let (disk, mut wal) = fresh();
        append(&mut wal, 0, records);
        let before = segment_files(&disk);
        disk.hold_writes();
        let polled = pin!(wal.trim(Lsn(110))).poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "it writes the floor");
        disk.stop_holding();
        assert_eq!(wal.trim_blocking(Lsn(110)).unwrap_err().kind(), ErrorKind::Failed);
        assert!(before.iter().all(|path| segment_files(&disk).contains(path)));
        drop(wal);
        assert_eq!(recover(&disk.crash(Unsynced::Lost)).unwrap(), (0..records).collect::<Vec<_>>());
    }
}

/// A segment that cannot be used again, for lack of space or whatever reason, is removed: that is what a trim is for.
#[test]
fn a_trim_removes_what_it_cannot_recycle() {
    for kind in [std::io::ErrorKind::StorageFull, std::io::ErrorKind::Other] {
        // The floor is stated, then the first segment gets another name, which is synced, and so on.
        for at in 1..=5 {
            let (disk, mut wal) = fresh();
            append(&mut wal, 0, 150);
            let before = segment_files(&disk);
            disk.fail_at(disk.changes() + at, kind);
            let trimmed = wal.trim_blocking(Lsn(110)).unwrap();
            let after = segment_files(&disk);
            assert!(trimmed > 2 && before[..trimmed].iter().all(|path| !after.contains(path)), "{after:?}");
            assert_eq!(disk.files(), after, "nothing else is left behind");
            let left = numbers(&wal).unwrap();
            drop(wal);
            assert_eq!(recover(&disk.crash(Unsynced::Lost)).unwrap(), left);
        }
    }
}
