//! A log as its user sees it.

use super::disk::{Disk, Unsynced};
use super::rig::{Wal, segment_files, value};
use super::rig::{block_on, dir, env, fresh, names_a_file, numbers, open, open_with, put, recover, small};
use crate::error::{ErrorCode, ErrorKind};
use crate::ids::{CoreId, Epoch, Lsn, Nonce, SegmentNo};
use crate::vfs::Vfs;
use crate::wal::{
    CoreWal, Cut, LogId, LogTail, MergedLog, SegmentState, WalOptions, WalReader, WalRecord, merged, segments,
};

#[test]
fn what_was_synced_is_read_back_after_a_close() {
    let (disk, mut wal) = fresh();
    for n in 0..100 {
        put(&mut wal, n);
        if n % 7 == 0 {
            wal.sync_blocking().unwrap();
        }
    }
    assert_eq!(wal.close_blocking().unwrap(), Lsn(100));
    let opened = open(&disk).unwrap();
    assert_eq!(opened.report.scan.prefix_end, Lsn(100));
    assert_eq!(opened.report.scan.proven, Lsn(100), "a closed log has proof of everything");
    assert_eq!(opened.report.carried, 0);
    assert_eq!(numbers(&opened.wal).unwrap(), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_log_lives_through_many_opens() {
    let disk = Disk::default();
    for life in 0..6 {
        let mut wal = open(&disk).unwrap().wal;
        assert_eq!(numbers(&wal).unwrap(), (0..life * 10).collect::<Vec<_>>());
        for n in 0..10 {
            put(&mut wal, life * 10 + n);
        }
        wal.sync_blocking().unwrap();
        // Dropped without a close: what is above the last mark is carried by the next open.
    }
    let opened = open(&disk).unwrap();
    assert!(opened.report.carried > 0);
    assert_eq!(opened.wal.lives().len(), 7);
}

#[test]
fn a_record_larger_than_a_batch_has_a_batch_of_its_own() {
    let (disk, mut wal) = fresh();
    let large = vec![7; 6000];
    wal.append(&WalRecord::Put { key: b"a", value: b"small" }).unwrap();
    wal.append(&WalRecord::Put { key: b"b", value: &large }).unwrap();
    wal.append(&WalRecord::Delete { key: b"a" }).unwrap();
    assert_eq!(wal.sync_blocking().unwrap(), Lsn(3));
    drop(wal);
    let wal = open(&disk).unwrap().wal;
    let mut seen = Vec::new();
    wal.read_blocking(None, |_, _, record| {
        seen.push(match record {
            WalRecord::Put { value, .. } => value.len(),
            _ => 0,
        });
    })
    .unwrap();
    assert_eq!(seen, [5, 6000, 0]);
}

#[test]
fn a_record_larger_than_a_segment_is_refused_before_anything_is_promised() {
    let (_, mut wal) = fresh();
    let huge = vec![0; 16 * 1024];
    let error = wal.append(&WalRecord::Put { key: b"k", value: &huge }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(put(&mut wal, 1), Lsn(1));
}

#[test]
fn appends_without_a_sync_end_in_busy_and_not_in_memory() {
    let (_, mut wal) = fresh();
    let value = value(1);
    let error = loop {
        if let Err(error) = wal.append(&WalRecord::Put { key: b"k", value: &value }) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::Busy);
    let mark = wal.sync_blocking().unwrap();
    assert_eq!(mark.next(), wal.next_lsn());
    put(&mut wal, 2);
}

#[test]
fn a_second_opener_is_told_that_the_log_is_in_use() {
    let (disk, _wal) = fresh();
    assert_eq!(open(&disk).unwrap_err().kind(), ErrorKind::Busy);
}

#[test]
fn a_roll_seals_the_segment_before() {
    let (disk, mut wal) = fresh();
    for n in 0..200 {
        put(&mut wal, n);
        wal.sync_blocking().unwrap();
    }
    let stats = block_on(segments(&disk, dir())).unwrap();
    assert!(stats.len() > 3, "{} segments", stats.len());
    let (last, before) = stats.split_last().unwrap();
    assert_eq!(last.state, SegmentState::Last);
    assert!(before.iter().all(|one| one.state == SegmentState::Sealed));
    assert!(before.iter().all(|one| Some(one.durable_through) == one.last_lsn), "each ends with its seal");
    assert_eq!(stats.iter().map(|one| one.records).sum::<u64>(), 200);
    drop(wal);
    assert_eq!(recover(&disk).unwrap().len(), 200);
}

#[test]
fn trimmed_segments_are_gone_and_used_again() {
    let (disk, mut wal) = fresh();
    for n in 0..400 {
        put(&mut wal, n);
        wal.sync_blocking().unwrap();
        if n % 50 == 49 {
            wal.trim_blocking(Lsn(n - 20)).unwrap();
        }
    }
    assert!(segment_files(&disk).len() <= 5, "{:?}", segment_files(&disk));
    let kept = numbers(&wal).unwrap();
    assert!(kept.len() < 150 && *kept.first().unwrap() <= 379, "{kept:?}");
    assert_eq!(kept, (kept[0]..400).collect::<Vec<_>>());
    drop(wal);
    assert_eq!(recover(&disk.crash(Unsynced::Lost)).unwrap(), kept);
    assert_eq!(recover(&disk).unwrap(), kept);
}

#[test]
fn a_recycled_segment_never_replays_its_earlier_records() {
    let (disk, mut wal) = fresh();
    let equal = |wal: &mut CoreWal<_>, n: u64| {
        // Equal sizes, so that old frames stand exactly where new ones would.
        let value = n.to_le_bytes();
        wal.append(&WalRecord::Put { key: b"k", value: &value }).unwrap();
        wal.sync_blocking().unwrap();
    };
    for n in 0..120 {
        equal(&mut wal, n);
        wal.trim_blocking(wal.high_water()).unwrap();
    }
    let mark = wal.high_water();
    drop(wal);
    let opened = open(&disk).unwrap();
    assert_eq!(opened.report.scan.prefix_end, mark);
    assert!(
        matches!(opened.report.scan.tail, LogTail::Residue | LogTail::Clean),
        "{:?}",
        opened.report.scan.tail
    );
}

/// The log itself says where it begins; the caller may know it too.
#[test]
fn a_missing_beginning_is_refused() {
    let (disk, mut wal) = fresh();
    for n in 0..200 {
        put(&mut wal, n);
        wal.sync_blocking().unwrap();
    }
    let whole = disk.image();
    wal.trim_blocking(Lsn(100)).unwrap();
    drop(wal);
    for disk in [whole, disk] {
        let first = segment_files(&disk)[0].clone();
        disk.delete(&first);
        for trimmed_through in [None, Some(Lsn(100))] {
            let error = open_with(&disk, WalOptions { trimmed_through, ..small() }).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert_eq!(error.path(), Some(first.as_path()), "{error}");
        }
    }
}

#[test]
fn a_caller_who_trimmed_less_than_the_log_says_is_told() {
    let (disk, mut wal) = fresh();
    for n in 0..200 {
        put(&mut wal, n);
        wal.sync_blocking().unwrap();
    }
    wal.trim_blocking(Lsn(100)).unwrap();
    drop(wal);
    let options = |through| WalOptions { trimmed_through: Some(Lsn(through)), ..small() };
    let error = open_with(&disk, options(10)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    names_a_file(&error);
    open_with(&disk, options(100)).unwrap();
}

#[test]
fn cores_merge_by_epoch_then_core() {
    let disk = Disk::default();
    let mut logs = Vec::new();
    for core in 0..2_u64 {
        let dir = std::path::PathBuf::from(format!("/core{core}"));
        let core_id = CoreId(u16::try_from(core).unwrap());
        let options = WalOptions { core: core_id, database: Some(Nonce(9)), ..small() };
        let mut wal = CoreWal::open_blocking(env(&disk), &dir, options).unwrap().wal;
        disk.unlock();
        for epoch in 1..=30_u64 {
            for _ in 0..=core + epoch % 3 {
                let value = epoch.to_le_bytes();
                wal.append(&WalRecord::Put { key: b"k", value: &value }).unwrap();
            }
            wal.append(&WalRecord::EpochEnd { epoch: Epoch(epoch) }).unwrap();
            wal.sync_blocking().unwrap();
        }
        assert_eq!(wal.id(), LogId { database: Nonce(9), core: core_id });
        logs.push(MergedLog { dir, log: wal.id(), lives: wal.lives().to_vec(), cut: None });
    }
    let mut reader = block_on(merged(&disk, logs, 4096)).unwrap();
    let (mut last, mut count) = ((Epoch(0), CoreId(0), Lsn(0)), 0);
    while let Some(one) = block_on(reader.next()).unwrap() {
        let place = (one.epoch, one.core, one.lsn);
        assert!(place > last, "{place:?} after {last:?}");
        last = place;
        count += 1;
        if let WalRecord::Put { value, .. } = one.record {
            assert_eq!(value, one.epoch.0.to_le_bytes(), "a record in the epoch that wrote it");
        }
    }
    // Of core 0 one, two or three records for each epoch, of core 1 one more, and two ends.
    assert_eq!((last.0, count), (Epoch(30), 30 * 2 + 30 * 3 + 30 * 2));
}

/// The whole log that `wal` writes, for a reader of its own.
fn all_of(wal: &Wal) -> MergedLog {
    MergedLog { dir: dir().to_path_buf(), log: wal.id(), lives: wal.lives().to_vec(), cut: None }
}

/// Whoever makes up a log is told so, and nothing panics.
#[test]
fn lives_out_of_order_are_refused() {
    let (disk, mut wal) = fresh();
    put(&mut wal, 0);
    wal.close_blocking().unwrap();
    let mut log = all_of(&open(&disk).unwrap().wal);
    log.lives.reverse();
    assert_eq!(log.lives.len(), 2);
    let alone = block_on(WalReader::open(&disk, &log, 4096)).unwrap_err();
    let among = block_on(merged(&disk, vec![log], 4096)).unwrap_err();
    for refused in [alone, among] {
        assert_eq!((refused.code(), refused.path()), (ErrorCode::BadOption, Some(dir())), "{refused}");
    }
}

/// What was read ahead was held against what the writer had proven since: a sound log was called corrupt.
#[test]
fn a_log_is_read_beside_its_writer() {
    for (read_ahead_bytes, more) in
        [512, 4096, 1 << 20].into_iter().flat_map(|bytes| [(bytes, 2), (bytes, 60)])
    {
        let (disk, mut wal) = fresh();
        let mut written = 0;
        let mut write = |count| {
            for _ in 0..count {
                put(&mut wal, written);
                wal.sync_blocking().unwrap();
                written += 1;
            }
            (all_of(&wal), written)
        };
        // Wherever the log stands in a segment.
        for _ in 0..40 {
            let (log, before) = write(1);
            let mut reader = block_on(WalReader::open(&disk, &log, read_ahead_bytes)).unwrap();
            for _ in 0..before {
                assert!(block_on(reader.next()).unwrap().is_some());
            }
            write(more);
            while block_on(reader.next()).unwrap().is_some() {}
            assert!(reader.scan().prefix_end >= Lsn(before));
        }
    }
}

/// The front of a segment was read before its first frame was there, and that of the next one behind it: a sound log was
/// said to miss a segment.
#[test]
fn a_segment_that_begins_while_its_followers_are_looked_for_is_not_missing() {
    let (disk, mut wal) = fresh();
    for n in 0..200 {
        put(&mut wal, n);
        wal.sync_blocking().unwrap();
    }
    let log = all_of(&wal);
    let [_, second, third, ..] = &segment_files(&disk)[..] else { panic!("too few segments") };
    disk.delay(second, 4096, 512, third);
    let mut reader = block_on(WalReader::open(&disk, &log, 4096)).unwrap();
    while block_on(reader.next()).unwrap().is_some() {}
    assert_eq!(reader.scan().records, 200);
}

/// A log that somebody goes on from elsewhere counts up to its ceiling: what is gone behind that is not missed, and below
/// it the first that lacks is named.
#[test]
fn a_gap_is_missed_below_the_ceiling_only() {
    let (disk, mut wal) = fresh();
    for n in 0..200 {
        put(&mut wal, n);
        wal.sync_blocking().unwrap();
    }
    let log = all_of(&wal);
    drop(wal);
    let all = block_on(segments(&disk, dir())).unwrap();
    assert!(all.len() > 3, "{} segments", all.len());
    let last = all[1].last_lsn.unwrap();
    disk.delete(&segment_files(&disk)[2]);
    let read = |disk: &Disk, ceiling| {
        let mut log = log.clone();
        log.lives.last_mut().unwrap().ceiling = Some(ceiling);
        let mut reader = block_on(WalReader::open(disk, &log, 4096)).unwrap();
        while block_on(reader.next())?.is_some() {}
        Ok::<_, crate::Error>(reader.scan().prefix_end)
    };
    for ceiling in 1..=last.0 {
        assert_eq!(read(&disk, Lsn(ceiling)).unwrap(), Lsn(ceiling));
    }
    let missing = read(&disk, last.next()).unwrap_err();
    assert_eq!(missing.code(), ErrorCode::SegmentMissing, "{missing}");
    // Damage before it is what reading meets first.
    let path = segment_files(&disk)[1].clone();
    disk.edit(&path, |bytes| bytes[4096 + 3 * 512] ^= 1);
    let damaged = read(&disk, last.next()).unwrap_err();
    assert_eq!((damaged.code(), damaged.path()), (ErrorCode::LogDamaged, Some(path.as_path())), "{damaged}");
}

/// Records behind the cut of the only checkpoint were of epoch 1, and the first in order.
#[test]
fn records_behind_a_cut_are_of_the_epoch_that_was_open() {
    let (disk, mut wal) = fresh();
    let mut cut = None;
    for epoch in 1..=9 {
        for _ in 0..3 {
            put(&mut wal, epoch);
        }
        let lsn = wal.append(&WalRecord::EpochEnd { epoch: Epoch(epoch) }).unwrap();
        wal.sync_blocking().unwrap();
        cut = Some(Cut { segment: SegmentNo(segment_files(&disk).len() as u64), lsn });
    }
    for _ in 0..3 {
        put(&mut wal, 10);
    }
    wal.sync_blocking().unwrap();
    let logs = vec![MergedLog { cut, ..all_of(&wal) }];
    let mut reader = block_on(merged(&disk, logs, 4096)).unwrap();
    let mut epochs = Vec::new();
    while let Some(one) = block_on(reader.next()).unwrap() {
        epochs.push(one.epoch);
    }
    assert_eq!(epochs, [Epoch(10); 3]);
}

#[test]
fn short_transfers_change_nothing() {
    let disk = Disk::default();
    disk.shorten();
    let mut wal = open(&disk).unwrap().wal;
    for n in 0..60 {
        put(&mut wal, n);
        put(&mut wal, n + 1000);
        wal.sync_blocking().unwrap();
    }
    drop(wal);
    assert_eq!(recover(&disk.crash(Unsynced::Lost)).unwrap().len(), 120);
}

#[test]
fn foreign_names_are_left_alone() {
    let (disk, wal) = fresh();
    drop(wal);
    let notes = dir().join("notes.txt");
    block_on(disk.create_new(&notes)).unwrap();
    open(&disk).unwrap();
    assert!(disk.files().contains(&notes));
}

/// They were found out by a panic once the new life was on disk, or by all of the memory.
#[test]
fn options_outside_their_limits_are_refused_before_anything_is_touched() {
    let bad = [
        WalOptions { depth: 0, ..small() },
        WalOptions { depth: usize::MAX, ..small() },
        WalOptions { batches_max: 0, ..small() },
        WalOptions { batches_max: usize::MAX, ..small() },
        WalOptions { batch_bytes: 0, ..small() },
        WalOptions { segment_bytes: 0, ..small() },
        WalOptions { segment_bytes: u64::MAX, ..small() },
        WalOptions { write_unit: 1024, ..small() },
    ];
    for options in bad {
        let disk = Disk::default();
        let told = format!("{options:?}");
        assert_eq!(open_with(&disk, options).unwrap_err().kind(), ErrorKind::Invalid, "{told}");
        assert_eq!(disk.changes(), 0, "{told}");
    }
    let most = usize::MAX;
    let wide = WalOptions { batch_bytes: most, read_ahead_bytes: most, spare_segments: most, ..small() };
    let narrow = WalOptions { depth: 1, batches_max: 1, batch_bytes: 1, read_ahead_bytes: 0, ..small() };
    for options in [wide, narrow] {
        let disk = Disk::default();
        let mut wal = open_with(&disk, options.clone()).unwrap().wal;
        put(&mut wal, 0);
        wal.sync_blocking().unwrap();
        drop(wal);
        assert_eq!(numbers(&open_with(&disk, options).unwrap().wal).unwrap(), [0]);
    }
}
