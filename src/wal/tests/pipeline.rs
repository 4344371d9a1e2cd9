//! Appending without waiting: what is written, what is durable, and what is promised when.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::disk::{Disk, Unsynced};
use super::rig::{TestEnv, block_on, fresh, numbers, open, open_with, recover, small, value};
use crate::error::{Error, ErrorKind};
use crate::ids::{Epoch, Lsn};
use crate::wal::{Pipeline, WalOptions, WalRecord};

fn put(pipeline: &mut Pipeline<TestEnv>, n: u64) -> Lsn {
    let value = value(n);
    pipeline.append_blocking(&WalRecord::Put { key: b"key", value: &value }).unwrap()
}

fn piped(options: WalOptions) -> (Disk, Pipeline<TestEnv>) {
    let disk = Disk::default();
    let pipeline = open_with(&disk, options).unwrap().wal.pipeline().unwrap();
    (disk, pipeline)
}

/// The numbers from zero.
fn first(count: u64) -> Vec<u64> {
    (0..count).collect()
}

#[test]
fn what_is_handed_over_survives_the_process_and_not_the_power() {
    let (disk, mut pipeline) = piped(small());
    let last = (0..20).map(|n| put(&mut pipeline, n)).last().unwrap();
    assert_eq!(pipeline.submit().unwrap(), last);
    pipeline.wait_written_blocking(last).unwrap();
    assert_eq!(pipeline.written(), last);
    assert_eq!(pipeline.high_water(), Lsn(0), "nobody asked for durability, and no segment was left");
    assert_eq!(recover(&disk.crash(Unsynced::Lost)).unwrap(), first(0));
    let kept = disk.image();
    kept.restart();
    assert_eq!(recover(&kept).unwrap(), first(20));
}

#[test]
fn a_commit_that_was_waited_for_survives_the_power() {
    let (disk, mut pipeline) = piped(small());
    for n in 0..5 {
        put(&mut pipeline, n);
    }
    let five = pipeline.commit().unwrap();
    for n in 5..9 {
        put(&mut pipeline, n);
    }
    pipeline.wait_blocking(five).unwrap();
    assert!(pipeline.high_water() >= five);
    let recovered = recover(&disk.crash(Unsynced::Lost)).unwrap();
    assert!(recovered.len() >= 5 && recovered == first(recovered.len() as u64), "{recovered:?}");
}

#[test]
fn every_crash_of_a_pipeline_keeps_what_it_called_durable() {
    let run = |crash_at: Option<u64>| {
        let (disk, wal) = fresh();
        let begin = disk.changes();
        if let Some(at) = crash_at {
            disk.crash_at(at);
        }
        let (mut issued, mut promised) = (0, 0);
        let mut pipeline = wal.pipeline().unwrap();
        for n in 0..150 {
            let value = value(n);
            if pipeline.append_blocking(&WalRecord::Put { key: b"key", value: &value }).is_err() {
                break;
            }
            issued = n + 1;
            let stepped = match n % 7 {
                2 => pipeline.submit().map(drop),
                4 => pipeline.commit().map(drop),
                6 => pipeline.wait_blocking(Lsn(n - 1)),
                _ => Ok(()),
            };
            promised = pipeline.high_water().0;
            if stepped.is_err() {
                break;
            }
        }
        (disk, begin, issued, promised)
    };
    let (disk, begin, ..) = run(None);
    for at in begin..disk.changes() {
        let (disk, _, issued, promised) = run(Some(at));
        for crash in [Unsynced::Lost, Unsynced::Kept, Unsynced::Mixed(1), Unsynced::Mixed(0x5eed)] {
            let recovered =
                recover(&disk.crash(crash)).unwrap_or_else(|error| panic!("{crash:?} at {at}: {error}"));
            let count = recovered.len() as u64;
            assert_eq!(recovered, first(count), "{crash:?} at {at}: not a prefix");
            assert!(
                (promised..=issued).contains(&count),
                "{crash:?} at {at}: {count} of {promised}..={issued}"
            );
        }
    }
}

#[test]
fn a_sync_does_not_cover_what_was_in_flight_when_it_began() {
    let options = WalOptions { depth: 4, ..small() };
    let (disk, mut pipeline) = piped(options);
    disk.hold_writes();
    let poll = |pipeline: &mut Pipeline<TestEnv>, lsn| {
        pin!(pipeline.wait(lsn)).poll(&mut Context::from_waker(Waker::noop())).map(Result::unwrap)
    };
    // Written, and durability of it is not wanted.
    let one = put(&mut pipeline, 0);
    pipeline.submit().unwrap();
    assert!(pin!(pipeline.wait_written(one)).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let write = disk.held()[0];
    disk.release(write);
    // Now it is; the next write is submitted while its sync is under way.
    assert_eq!(poll(&mut pipeline, one), Poll::Pending);
    assert_eq!(disk.held().len(), 2, "a sync");
    let two = put(&mut pipeline, 1);
    assert_eq!(poll(&mut pipeline, two), Poll::Pending);
    let held = disk.held();
    assert_eq!(held.len(), 3, "and a write");
    disk.release(held[2]);
    assert_eq!(poll(&mut pipeline, two), Poll::Pending);
    assert_eq!((pipeline.written(), pipeline.high_water()), (two, Lsn(0)));
    disk.release(held[1]);
    assert_eq!(poll(&mut pipeline, two), Poll::Pending);
    assert_eq!(pipeline.high_water(), one, "the first sync covers the first write");
    let sync = disk.held()[3];
    disk.release(sync);
    assert_eq!(poll(&mut pipeline, two), Poll::Ready(()));
}

#[test]
fn a_failed_sync_ends_acknowledgement_for_good() {
    let (disk, mut pipeline) = piped(small());
    let one = put(&mut pipeline, 0);
    pipeline.submit().unwrap();
    pipeline.wait_written_blocking(one).unwrap();
    disk.fail_at(disk.changes(), std::io::ErrorKind::Other);
    assert_eq!(pipeline.wait_blocking(one).unwrap_err().kind(), ErrorKind::Failed);
    assert_eq!(pipeline.high_water(), Lsn(0));
    assert_eq!(pipeline.wait_blocking(one).unwrap_err().kind(), ErrorKind::Failed);
    let value = value(1);
    let append = pipeline.append_blocking(&WalRecord::Put { key: b"key", value: &value });
    assert!(append.is_ok_and(|_| pipeline.commit().is_err()) || pipeline.submit().is_err());
    assert_eq!(pipeline.finish_blocking().unwrap_err().kind(), ErrorKind::Failed);
}

#[test]
fn a_full_device_holds_a_pipeline_up_until_space_returns() {
    let (disk, mut pipeline) = piped(small());
    disk.set_creation_full(true);
    let mut count = 0;
    let error = loop {
        let value = value(count);
        match pipeline.append_blocking(&WalRecord::Put { key: b"key", value: &value }) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Full);
    assert_eq!(pipeline.sync_blocking().unwrap_err().kind(), ErrorKind::Full);
    disk.set_creation_full(false);
    pipeline.sync_blocking().unwrap();
    put(&mut pipeline, count);
    let wal = pipeline.finish_blocking().unwrap();
    assert_eq!(numbers(&wal).unwrap(), first(count + 1));
}

#[test]
fn the_log_goes_on_where_its_pipeline_ended() {
    let (disk, mut wal) = fresh();
    super::rig::put(&mut wal, 0);
    let mut pipeline = wal.pipeline().unwrap();
    put(&mut pipeline, 1);
    assert_eq!(pipeline.next_lsn(), Lsn(3));
    let trimmed = pipeline.trim_blocking(Lsn(0)).unwrap();
    assert_eq!(trimmed, 0);
    put(&mut pipeline, 2);
    let mut wal = pipeline.finish_blocking().unwrap();
    assert_eq!(wal.high_water(), Lsn(3));
    super::rig::put(&mut wal, 3);
    wal.close_blocking().unwrap();
    assert_eq!(recover(&disk).unwrap(), first(4));
}

#[test]
fn records_larger_than_a_batch_go_through() {
    let (disk, mut pipeline) = piped(small());
    let value = vec![7; 3000];
    for _ in 0..20 {
        pipeline.append_blocking(&WalRecord::Put { key: b"large", value: &value }).unwrap();
    }
    let last = pipeline.commit().unwrap();
    pipeline.wait_blocking(last).unwrap();
    drop(pipeline);
    let wal = open(&disk.crash(Unsynced::Lost)).unwrap().wal;
    let mut count = 0;
    wal.read_blocking(None, |_, _, _| count += 1).unwrap();
    assert_eq!(count, 20);
}

#[test]
fn an_lsn_that_was_not_given_out_is_not_waited_for() {
    let (_disk, mut pipeline) = piped(small());
    put(&mut pipeline, 0);
    assert_eq!(block_on(pipeline.wait(Lsn(2))).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(block_on(pipeline.wait_written(Lsn(2))).unwrap_err().kind(), ErrorKind::Invalid);
}

/// A batch takes 64 epoch ends, however small they are. The 65th, when a commit was made of each, was tried again for
/// ever: the batch had bytes left.
#[test]
fn more_epochs_end_than_one_batch_takes() {
    let (disk, mut pipeline) =
        piped(WalOptions { batch_bytes: 64 << 10, segment_bytes: 256 << 10, ..small() });
    for epoch in 1..=200 {
        let lsn = pipeline.append_blocking(&WalRecord::EpochEnd { epoch: Epoch(epoch) }).unwrap();
        assert_eq!(pipeline.commit().unwrap(), lsn);
        assert_eq!(lsn, Lsn(epoch));
    }
    pipeline.wait_blocking(Lsn(200)).unwrap();
    drop(pipeline);
    let wal = open(&disk.crash(Unsynced::Lost)).unwrap().wal;
    let mut epochs = Vec::new();
    wal.read_blocking(None, |_, _, record| {
        if let WalRecord::EpochEnd { epoch } = record {
            epochs.push(epoch.0);
        }
    })
    .unwrap();
    assert_eq!(epochs, (1..=200).collect::<Vec<_>>());
}

/// What every call says from now on: `Failed`, and nothing panics.
fn has_failed(mut pipeline: Pipeline<TestEnv>) {
    let failed = |error: Error| assert_eq!(error.kind(), ErrorKind::Failed, "{error}");
    failed(pipeline.commit().unwrap_err());
    failed(pipeline.submit().unwrap_err());
    let value = value(1);
    let appended = pipeline.append_blocking(&WalRecord::Put { key: b"key", value: &value });
    let next = pipeline.next_lsn();
    let last = appended.unwrap_or(Lsn(next.0 - 1));
    if last > pipeline.high_water() {
        failed(pipeline.wait_blocking(last).unwrap_err());
    }
    failed(pipeline.commit().unwrap_err());
    failed(pipeline.trim_blocking(Lsn(110)).unwrap_err());
    failed(pipeline.finish_blocking().unwrap_err());
}

/// The trim of a pipeline failed, and with it the log. Afterwards a commit said that all was well, and the end of the
/// pipeline panicked.
#[test]
fn a_pipeline_whose_trim_failed_says_so_for_good() {
    let (disk, mut pipeline) = piped(small());
    for n in 0..150 {
        put(&mut pipeline, n);
        pipeline.sync_blocking().unwrap();
    }
    disk.fail_at(disk.changes(), std::io::ErrorKind::Other);
    assert_eq!(pipeline.trim_blocking(Lsn(110)).unwrap_err().kind(), ErrorKind::Failed);
    assert_eq!(pipeline.high_water(), Lsn(150));
    has_failed(pipeline);
    assert_eq!(recover(&disk.crash(Unsynced::Lost)).unwrap(), first(150));
}

#[test]
fn a_pipeline_whose_trim_was_dropped_says_so_for_good() {
    let (disk, mut pipeline) = piped(small());
    for n in 0..150 {
        put(&mut pipeline, n);
        pipeline.sync_blocking().unwrap();
    }
    disk.hold_writes();
    let polled = pin!(pipeline.trim(Lsn(110))).poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    disk.stop_holding();
    has_failed(pipeline);
    assert_eq!(recover(&disk.crash(Unsynced::Lost)).unwrap(), first(150));
}
