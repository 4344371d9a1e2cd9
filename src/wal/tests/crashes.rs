//! Power cuts and failing devices: what was promised is there, and nothing is promised after a failure.

use std::future::Future;
use std::io::ErrorKind as Io;

use super::disk::{Disk, Unsynced, mix};
use super::rig::{Wal, fresh, numbers, open, open_with, put, recover, segment_files, small, value};
use crate::error::{ErrorKind, Result};
use crate::ids::Lsn;
use crate::wal::{LogTail, WalOptions, WalRecord};

const CRASHES: [Unsynced; 5] =
    [Unsynced::Lost, Unsynced::Kept, Unsynced::Mixed(1), Unsynced::Mixed(2), Unsynced::Mixed(0x5eed)];

/// Appends the numbers `from..to` and syncs every third; returns how many were promised, and how many issued.
fn work(wal: &mut Wal, from: u64, to: u64) -> (u64, u64) {
    let mut promised = from;
    let mut issued = from;
    for n in from..to {
        put(wal, n);
        issued = n + 1;
        if n % 3 == 2 {
            if wal.sync_blocking().is_err() {
                break;
            }
            promised = n + 1;
        }
    }
    (promised, issued)
}

/// Recovery after a crash: at least what was promised, at most what was issued, and exactly a prefix.
fn check(recovered: &Result<Vec<u64>>, promised: u64, issued: u64, story: &str) -> u64 {
    let recovered = recovered.as_ref().unwrap_or_else(|error| panic!("{story}: {error}"));
    let count = recovered.len() as u64;
    assert_eq!(*recovered, (0..count).collect::<Vec<_>>(), "{story}: not a prefix");
    assert!(count >= promised, "{story}: {count} of {promised} promised");
    assert!(count <= issued, "{story}: {count} of {issued} issued");
    count
}

#[test]
fn a_crash_at_every_change_keeps_what_was_promised() {
    let (disk, mut wal) = fresh();
    let begin = disk.changes();
    work(&mut wal, 0, 120);
    let end = disk.changes();
    for at in begin..end {
        let (disk, mut wal) = fresh();
        disk.crash_at(at);
        let (promised, issued) = work(&mut wal, 0, 120);
        for crash in CRASHES {
            check(&recover(&disk.crash(crash)), promised, issued, &format!("{crash:?} at {at}"));
        }
    }
}

/// The disk after a crash in which `records` were written and some of them are carried by the next open.
fn with_tail() -> (Disk, u64, u64) {
    let (disk, mut wal) = fresh();
    let (promised, issued) = work(&mut wal, 0, 30);
    (disk.crash(Unsynced::Kept), promised, issued)
}

#[test]
fn a_crash_at_every_change_of_recovery_recovers_no_less() {
    let (disk, ..) = with_tail();
    let begin = disk.changes();
    open(&disk).unwrap();
    let end = disk.changes();
    assert!(end > begin + 8, "recovery changes the disk {} times", end - begin);
    for at in begin..end {
        for crash in CRASHES {
            let (disk, promised, issued) = with_tail();
            disk.crash_at(at);
            assert!(open(&disk).is_err(), "change {at} is never made");
            let disk = disk.crash(crash);
            let story = format!("{crash:?} at {at} of recovery");
            let first = check(&recover(&disk), promised, issued, &story);
            let again = check(&recover(&disk.crash(Unsynced::Lost)), first, issued, &story);
            assert_eq!(first, again, "{story}: the second recovery differs");
        }
    }
}

#[test]
fn crashes_inside_recoveries_nest() {
    for seed in 0..40 {
        let (mut disk, mut promised, issued) = with_tail();
        for depth in 0..4 {
            disk.crash_at(disk.changes() + mix(seed * 7 + depth) % 16);
            if let Ok(opened) = open(&disk) {
                promised = promised.max(numbers(&opened.wal).unwrap().len() as u64);
            }
            disk = disk.crash(Unsynced::Mixed(seed * 31 + depth));
        }
        check(&recover(&disk), promised, issued, &format!("seed {seed}"));
    }
}

#[test]
fn work_after_a_recovery_follows_what_was_recovered() {
    for seed in 0..60 {
        let (mut disk, mut wal) = fresh();
        let (mut promised, mut issued) = (0, 0);
        for round in 0..4 {
            disk.crash_at(disk.changes() + 5 + mix(seed * 11 + round) % 60);
            (promised, issued) = match work(&mut wal, issued, issued + 60) {
                (newly, all) if newly > promised => (newly, all),
                (_, all) => (promised, all),
            };
            disk = disk.crash(Unsynced::Mixed(seed + round * 977));
            let opened = open(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            wal = opened.wal;
            issued = check(&numbers(&wal), promised, issued, &format!("seed {seed} round {round}"));
            promised = issued;
        }
    }
}

#[test]
fn nothing_is_acknowledged_after_a_failed_write() {
    let (disk, mut wal) = fresh();
    let begin = disk.changes();
    work(&mut wal, 0, 60);
    let end = disk.changes();
    for at in begin..end {
        let (disk, mut wal) = fresh();
        disk.fail_at(at, Io::Other);
        let (promised, issued) = work(&mut wal, 0, 60);
        if wal.sync_blocking().is_ok() {
            continue;
        }
        let mark = wal.high_water();
        assert_eq!(wal.sync_blocking().unwrap_err().kind(), ErrorKind::Failed, "a second sync at {at}");
        let error = wal.append(&WalRecord::Clear).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed);
        assert_eq!((wal.high_water(), mark), (mark, Lsn(promised)), "the mark moved after a failure at {at}");
        drop(wal);
        check(&recover(&disk.crash(Unsynced::Lost)), promised, issued, &format!("lost, {at}"));
        check(&recover(&disk.crash(Unsynced::Kept)), promised, issued, &format!("kept, {at}"));
    }
}

#[test]
fn a_full_device_delays_a_roll_and_loses_nothing() {
    let (disk, mut wal) = fresh();
    let mut n = 0;
    let segments = segment_files(&disk).len();
    while segment_files(&disk).len() == segments {
        put(&mut wal, n);
        n += 1;
        wal.sync_blocking().unwrap();
    }
    // A full device still takes writes into a segment whose zeroes were written: only preparing is refused.
    let rolled = segment_files(&disk).len();
    loop {
        disk.set_creation_full(true);
        put(&mut wal, n);
        n += 1;
        if let Err(error) = wal.sync_blocking() {
            assert_eq!(error.kind(), ErrorKind::Full);
            break;
        }
    }
    assert_eq!(segment_files(&disk).len(), rolled);
    assert_eq!(wal.high_water(), Lsn(n - 1));
    assert_eq!(wal.sync_blocking().unwrap_err().kind(), ErrorKind::Full, "still full");
    put(&mut wal, n);
    n += 1;
    disk.set_creation_full(false);
    assert_eq!(wal.sync_blocking().unwrap(), Lsn(n));
    drop(wal);
    assert_eq!(recover(&disk.crash(Unsynced::Lost)).unwrap().len() as u64, n);
}

#[test]
fn a_full_device_leaves_no_temporary_file() {
    let (disk, wal) = fresh();
    drop(wal);
    disk.set_full(true);
    assert_eq!(open(&disk).unwrap_err().kind(), ErrorKind::Full);
    assert!(disk.files().iter().all(|path| path.extension().is_none()), "{:?}", disk.files());
    disk.set_full(false);
    open(&disk).unwrap();
}

#[test]
fn a_read_error_is_neither_corruption_nor_the_end_of_the_log() {
    let (disk, mut wal) = fresh();
    work(&mut wal, 0, 20);
    drop(wal);
    disk.fail_reads(true);
    assert_eq!(open(&disk).unwrap_err().kind(), ErrorKind::Failed);
    disk.fail_reads(false);
    assert_eq!(recover(&disk).unwrap().len(), 18);
}

/// A killed process leaves the page cache behind: what a recovery reads there may never have reached the platter.
#[test]
fn what_a_recovery_believed_survives_the_next_power_cut() {
    let (disk, mut wal) = fresh();
    let begin = disk.changes();
    work(&mut wal, 0, 60);
    let end = disk.changes();
    for at in begin..end {
        let (disk, mut wal) = fresh();
        disk.crash_at(at);
        let (promised, issued) = work(&mut wal, 0, 60);
        drop(wal);
        disk.restart();
        let first = check(&recover(&disk), promised, issued, &format!("killed at {at}"));
        let again = check(&recover(&disk.crash(Unsynced::Lost)), first, issued, &format!("cut after {at}"));
        assert_eq!(first, again, "killed at {at}");
    }
}

/// Several writes in flight: a crash leaves any of them, and valid frames behind a hole are ordinary.
#[test]
fn a_crash_with_writes_in_flight_keeps_a_prefix() {
    let options = || WalOptions { depth: 4, batch_bytes: 400, ..small() };
    let mut torn = 0;
    for seed in 0..80 {
        let disk = Disk::default();
        let mut wal = open_with(&disk, options()).unwrap().wal;
        let (mut promised, mut issued) = (0, 0);
        for _ in 0..2 + mix(seed) % 5 {
            issued = fill(&mut wal, issued);
            wal.sync_blocking().unwrap();
            promised = issued;
        }
        issued = fill(&mut wal, issued);
        disk.hold_writes();
        {
            let mut sync = std::pin::pin!(wal.sync());
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(sync.as_mut().poll(&mut cx).is_pending());
            let held = disk.held();
            assert!(held.len() > 1, "writes in flight");
            disk.release(held[usize::try_from(mix(seed ^ 9)).unwrap() % held.len()]);
            let _ = sync.as_mut().poll(&mut cx);
        }
        promised = promised.max(wal.high_water().0);
        let disk = disk.crash(Unsynced::Mixed(seed));
        let opened = open_with(&disk, options()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        torn += u32::from(opened.report.scan.tail == LogTail::Torn);
        check(&numbers(&opened.wal), promised, issued, &format!("seed {seed}"));
    }
    assert!(torn > 10, "{torn} torn tails in 80 crashes");
}

/// Appends until every batch is full; returns how many records the log has then.
fn fill(wal: &mut Wal, from: u64) -> u64 {
    let mut n = from;
    while wal.append(&WalRecord::Put { key: b"key", value: &value(n) }).is_ok() {
        n += 1;
    }
    n
}

/// One unproven frame that only several of the new, smaller segments can carry.
#[test]
fn a_carry_over_several_segments_may_be_interrupted_anywhere() {
    let large = WalOptions { segment_bytes: 128 * 1024, batch_bytes: 100 * 1024, ..small() };
    let unproven = || {
        let disk = Disk::default();
        let mut wal = open_with(&disk, large.clone()).unwrap().wal;
        for n in 0..200 {
            put(&mut wal, n);
        }
        wal.sync_blocking().unwrap();
        drop(wal);
        disk
    };
    let disk = unproven();
    let begin = disk.changes();
    let mut opened = open(&disk).unwrap();
    assert_eq!(opened.report.carried, 200);
    assert!(segment_files(&disk).len() > 3, "{:?}", segment_files(&disk));
    let end = disk.changes();
    // Trimmed down to its newest segments the log is still found, also where those hold carried records only.
    let mut trims = 0;
    for lsn in 201..=400 {
        if opened.wal.trim_blocking(Lsn(lsn)).unwrap() > 0 {
            trims += 1;
            let found = recover(&disk.image()).unwrap();
            assert!(found.last() == Some(&199), "trimmed through {lsn}: {found:?}");
            assert_eq!(found, numbers(&opened.wal).unwrap(), "trimmed through {lsn}");
        }
    }
    assert!(trims > 2, "{trims} trims");
    for at in begin..end {
        let disk = unproven();
        disk.crash_at(at);
        assert!(open(&disk).is_err());
        for crash in [Unsynced::Lost, Unsynced::Kept, Unsynced::Mixed(at)] {
            check(&recover(&disk.crash(crash)), 200, 200, &format!("{crash:?} at {at}"));
        }
    }
}

#[test]
fn a_record_that_no_longer_fits_is_refused_and_kept() {
    let disk = Disk::default();
    let large = WalOptions { segment_bytes: 128 * 1024, ..small() };
    let mut wal = open_with(&disk, large.clone()).unwrap().wal;
    wal.append(&WalRecord::Put { key: b"k", value: &vec![1; 50_000] }).unwrap();
    wal.sync_blocking().unwrap();
    drop(wal);
    assert_eq!(open(&disk).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(open_with(&disk, large).unwrap().report.carried, 1);
}

/// Appends records of one size, so that old frames of a recycled segment stand exactly where new ones would; trims
/// as it goes. Returns how many were promised, how many issued, and through which number was trimmed.
fn work_and_trim(wal: &mut Wal, count: u64) -> (u64, u64, u64) {
    let (mut promised, mut issued, mut trimmed) = (0, 0, 0);
    for n in 0..count {
        if wal.append(&WalRecord::Put { key: b"key", value: &n.to_le_bytes() }).is_err() {
            break;
        }
        issued = n + 1;
        if wal.sync_blocking().is_err() {
            break;
        }
        promised = n + 1;
        if n % 10 == 9 {
            trimmed = n - 5;
            if wal.trim_blocking(Lsn(trimmed)).is_err() {
                break;
            }
        }
    }
    (promised, issued, trimmed)
}

#[test]
fn a_crash_at_every_change_of_trimming_and_recycling_loses_only_what_was_trimmed() {
    let (disk, mut wal) = fresh();
    let begin = disk.changes();
    work_and_trim(&mut wal, 90);
    let end = disk.changes();
    for at in begin..end {
        let (disk, mut wal) = fresh();
        disk.crash_at(at);
        let (promised, issued, trimmed) = work_and_trim(&mut wal, 90);
        for crash in CRASHES {
            let story = format!("{crash:?} at {at}");
            let opened = open(&disk.crash(crash)).unwrap_or_else(|error| panic!("{story}: {error}"));
            let mut found = Vec::new();
            let read = opened.wal.read_blocking(None, |_, _, record| {
                let WalRecord::Put { value, .. } = record else { panic!("{record:?}") };
                found.push(u64::from_le_bytes(value.try_into().unwrap()));
            });
            read.unwrap_or_else(|error| panic!("{story}: {error}"));
            let first = found.first().copied().unwrap_or(promised);
            assert!(first <= trimmed, "{story}: begins with {first}, trimmed through {trimmed}");
            let end = first + found.len() as u64;
            assert_eq!(found, (first..end).collect::<Vec<_>>(), "{story}");
            assert!(end >= promised && end <= issued, "{story}: ends at {end} of {promised}..{issued}");
        }
    }
}

/// A disk, booted `boots` times, on which the first open of a log ended when its first segment had its name.
fn given_up(boots: u64) -> Disk {
    let at = |change| {
        let disk = Disk::default();
        (1..boots).for_each(|_| _ = disk.boot());
        disk.crash_at(change);
        assert!(open(&disk).is_err(), "the log has begun before its first segment had a name");
        disk.restart();
        (!segment_files(&disk).is_empty()).then_some(disk)
    };
    (1..).find_map(at).expect("a first segment has a name in the end")
}

/// A first open gave its segment up, for the directory could not be synced. The next one chose another identity, and
/// removed what it had prepared, which the power cut undid for the wrong one: the log refused the older segment as
/// another's (0x2026112305dd3).
#[test]
fn a_first_segment_that_was_given_up_may_come_back_beside_the_log() {
    let older = given_up(1);
    let first = segment_files(&older).pop().unwrap();
    let older = older.read_file(&first);
    let disk = given_up(2);
    assert!(disk.read_file(&first) != older, "two logs with one identity");
    let mut wal = open(&disk).unwrap().wal;
    assert!(!segment_files(&disk).contains(&first), "the open begins with a segment of its own");
    work(&mut wal, 0, 30);
    let told = numbers(&wal).unwrap();
    drop(wal);
    disk.bring_back(&first, older.clone());
    assert_eq!(recover(&disk).unwrap(), told);
    assert!(!segment_files(&disk).contains(&first), "leftovers are removed");

    // With no frame anywhere, each is as good as the other.
    let disk = given_up(2);
    let change = disk.changes();
    disk.crash_at(change + 6);
    assert!(open(&disk).is_err());
    disk.restart();
    assert_eq!(segment_files(&disk).len(), 2, "the story is another one");
    disk.bring_back(&first, older);
    assert!(recover(&disk).unwrap().is_empty());
    assert_eq!(segment_files(&disk).len(), 1);
}
