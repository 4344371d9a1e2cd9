//! The state machine of group commit, write by write.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::disk::Disk;
use super::rig::{block_on, dir};
use crate::codec::{Record, RecordKind};
use crate::error::ErrorKind;
use crate::ids::{CoreId, Epoch, FencingToken, Lsn, Nonce, SegmentNo};
use crate::vfs::Vfs;
use crate::wal::batch::{Batch, EPOCHS_MAX, Pool};
use crate::wal::epoch_end;
use crate::wal::frame::Predecessor;
use crate::wal::life::{LifeBuilder, LifeSpec};
use crate::wal::log::{CoreLog, Feed, Segments};
use crate::wal::segment::{LogSpec, Prepared};

/// Batches that a test queues, and what the log tells.
#[derive(Default)]
struct Script {
    batches: VecDeque<Batch>,
    /// Whether the drive goes on when the queue is empty.
    waits: bool,
    /// All, if it does not say.
    demanded: Option<Lsn>,
    written: Lsn,
    told: Vec<Lsn>,
    epochs: Vec<(Epoch, Lsn)>,
}

impl Feed for Script {
    fn poll_batch(&mut self, _: &mut Context<'_>) -> Poll<Option<Batch>> {
        match self.batches.pop_front() {
            None if self.waits => Poll::Pending,
            batch => Poll::Ready(batch),
        }
    }

    fn try_batch(&mut self) -> Option<Batch> {
        self.batches.pop_front()
    }

    fn closed_through(&self) -> Epoch {
        Epoch(0)
    }

    fn demanded(&self) -> Lsn {
        self.demanded.unwrap_or(Lsn(u64::MAX))
    }

    fn written(&mut self, lsn: Lsn) {
        assert!(self.written < lsn, "written through {lsn} after {}", self.written);
        self.written = lsn;
    }

    fn durable(&mut self, lsn: Lsn, epochs: &[(Epoch, Lsn)]) {
        assert!(self.told.last().is_none_or(|last| *last < lsn), "told {lsn} after {:?}", self.told);
        self.told.push(lsn);
        self.epochs.extend_from_slice(epochs);
    }
}

struct Numbers(u64);

impl Segments for Numbers {
    type Turn = ();

    async fn turn(&mut self) {}

    fn prepared(&mut self) -> Option<Prepared> {
        None
    }

    fn fresh(&mut self) -> (SegmentNo, Nonce) {
        self.0 += 1;
        (SegmentNo(self.0), Nonce(u128::from(self.0)))
    }
}

fn spec() -> LogSpec {
    LogSpec {
        database: Nonce(1),
        core: CoreId(3),
        token: FencingToken(1),
        write_unit: 512,
        segment_bytes: 64 * 1024,
    }
}

fn log(disk: &Disk, depth: usize) -> CoreLog<Disk> {
    block_on(async {
        disk.create_dir(dir()).await.unwrap();
        let life = LifeSpec {
            log: spec(),
            segment: SegmentNo(1),
            identity: Nonce(77),
            first_lsn: Lsn(1),
            closed_through: Epoch(0),
            floor: SegmentNo(0),
            predecessor: Predecessor::default(),
        };
        let builder = LifeBuilder::begin(disk.clone(), dir(), life, 4096, None).await.unwrap();
        let start = builder.finish(&mut Numbers(1)).await.unwrap();
        CoreLog::resume(disk.clone(), dir(), &start, depth).await.unwrap()
    })
}

/// A batch of one record that starts at `lsn`, large enough not to be coalesced when `large`.
fn batch(pool: &Arc<Pool>, lsn: u64, large: bool) -> Batch {
    let mut batch = pool.take(Lsn(lsn)).unwrap();
    let value = vec![1; if large { 900 } else { 20 }];
    let record = Record { kind: RecordKind::Put, key: b"k", value: &value };
    assert_eq!(batch.append(&record), Some(Lsn(lsn)));
    batch
}

fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn writes_that_complete_out_of_order_are_acknowledged_in_order() {
    let disk = Disk::default();
    let mut log = log(&disk, 4);
    let pool = Pool::new(8, 1000);
    let mut feed =
        Script { batches: (1..=4).map(|lsn| batch(&pool, lsn, true)).collect(), ..Script::default() };
    disk.hold_writes();
    let mut numbers = Numbers(1);
    {
        let mut drive = pin!(log.run(&mut feed, &mut numbers));
        assert!(poll(drive.as_mut()).is_pending());
        let held = disk.held();
        assert_eq!(held.len(), 4, "four writes in flight");
        for ticket in [held[3], held[1], held[2]] {
            disk.release(ticket);
            assert!(poll(drive.as_mut()).is_pending());
        }
        disk.release(held[0]);
        assert!(matches!(poll(drive), Poll::Ready(Ok(()))));
    }
    assert_eq!(feed.told, [Lsn(1), Lsn(2), Lsn(3), Lsn(4)]);
    assert_eq!(log.marks().acknowledged, Lsn(4));
}

#[test]
fn nothing_behind_a_hole_is_acknowledged() {
    let disk = Disk::default();
    let mut log = log(&disk, 4);
    let pool = Pool::new(8, 1000);
    let mut feed =
        Script { batches: (1..=4).map(|lsn| batch(&pool, lsn, true)).collect(), ..Script::default() };
    disk.hold_writes();
    let mut numbers = Numbers(1);
    {
        let mut drive = pin!(log.run(&mut feed, &mut numbers));
        assert!(poll(drive.as_mut()).is_pending());
        let held = disk.held();
        disk.release(held[0]);
        assert!(poll(drive.as_mut()).is_pending());
        disk.release(held[3]);
        disk.release(held[2]);
        assert!(poll(drive.as_mut()).is_pending());
        disk.release_as_failed(held[1]);
        assert!(matches!(poll(drive), Poll::Ready(Err(_))));
    }
    assert_eq!(feed.told, [Lsn(1)]);
    assert_eq!(log.marks().acknowledged, Lsn(1));
    let error = block_on(log.run(&mut Script::default(), &mut numbers)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert_eq!(block_on(log.seal(Epoch(9))).unwrap_err().kind(), ErrorKind::Failed);
}

#[test]
fn a_failure_of_a_later_write_ends_acknowledgement_of_earlier_ones_too() {
    let disk = Disk::default();
    let mut log = log(&disk, 2);
    let pool = Pool::new(8, 1000);
    let mut feed =
        Script { batches: (1..=2).map(|lsn| batch(&pool, lsn, true)).collect(), ..Script::default() };
    disk.hold_writes();
    let mut numbers = Numbers(1);
    {
        let mut drive = pin!(log.run(&mut feed, &mut numbers));
        assert!(poll(drive.as_mut()).is_pending());
        let held = disk.held();
        disk.release_as_failed(held[1]);
        assert!(matches!(poll(drive), Poll::Ready(Err(_))));
    }
    assert!(feed.told.is_empty());
}

#[test]
fn what_is_queued_goes_into_one_frame() {
    let disk = Disk::default();
    let mut log = log(&disk, 1);
    let pool = Pool::new(16, 1000);
    let mut feed =
        Script { batches: (1..=10).map(|lsn| batch(&pool, lsn, false)).collect(), ..Script::default() };
    let before = disk.changes();
    block_on(log.run(&mut feed, &mut Numbers(1))).unwrap();
    assert_eq!(feed.told, [Lsn(10)], "ten batches, one acknowledgement");
    assert_eq!(disk.changes() - before, 1, "ten batches, one durable write");
    for lsn in 11..=26 {
        // Every batch of the pool is back.
        drop(batch(&pool, lsn, false));
    }
}

#[test]
fn epoch_ends_are_told_in_order_and_bounded_in_a_frame() {
    let disk = Disk::default();
    let mut log = log(&disk, 2);
    let pool = Pool::new(4, 8192);
    let mut feed = Script::default();
    let mut open = pool.take(Lsn(1)).unwrap();
    let mut lsn = Lsn(1);
    for epoch in 1..=100 {
        let mark = epoch_end::bare(Epoch(epoch), FencingToken(1));
        let record = Record { kind: RecordKind::EpochEnd, key: &[], value: &mark };
        if open.append(&record).is_none() {
            assert_eq!(usize::try_from(open.records()).unwrap(), EPOCHS_MAX);
            let fresh = pool.take(lsn).unwrap();
            feed.batches.push_back(std::mem::replace(&mut open, fresh));
            open.append(&record).unwrap();
        }
        lsn = lsn.next();
    }
    feed.batches.push_back(open);
    block_on(log.run(&mut feed, &mut Numbers(1))).unwrap();
    let expected: Vec<_> = (1..=100).map(|n| (Epoch(n), Lsn(n))).collect();
    assert_eq!(feed.epochs, expected);
}

#[test]
fn a_drive_that_is_dropped_half_way_poisons_the_log() {
    let disk = Disk::default();
    let mut log = log(&disk, 2);
    let pool = Pool::new(8, 1000);
    let mut feed = Script { waits: true, ..Script::default() };
    feed.batches.push_back(batch(&pool, 1, true));
    disk.hold_writes();
    let mut numbers = Numbers(1);
    {
        let mut drive = pin!(log.run(&mut feed, &mut numbers));
        assert!(poll(drive.as_mut()).is_pending());
    }
    let error = block_on(log.run(&mut Script::default(), &mut numbers)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert!(feed.told.is_empty());
}

#[test]
fn a_seal_is_written_once_and_only_when_the_marks_are_stale() {
    let disk = Disk::default();
    let mut log = log(&disk, 1);
    let pool = Pool::new(8, 1000);
    assert!(!block_on(log.seal(Epoch(0))).unwrap());
    let mut feed = Script { batches: VecDeque::from([batch(&pool, 1, true)]), ..Script::default() };
    block_on(log.run(&mut feed, &mut Numbers(1))).unwrap();
    assert!(block_on(log.seal(Epoch(0))).unwrap());
    assert!(!block_on(log.seal(Epoch(0))).unwrap());
    assert!(block_on(log.seal(Epoch(1))).unwrap(), "an epoch has closed since");
}

#[test]
#[should_panic(expected = "behind its last frame")]
fn a_log_that_was_closed_is_not_written() {
    let disk = Disk::default();
    let mut log = log(&disk, 1);
    block_on(log.close(Epoch(0))).unwrap();
    let _ = block_on(log.seal(Epoch(1)));
}

#[test]
fn a_pool_is_bounded_and_its_batches_come_back_without_an_allocation() {
    let pool = Pool::new(2, 1000);
    let first = pool.take(Lsn(1)).unwrap();
    let second = pool.take(Lsn(1)).unwrap();
    assert!(pool.take(Lsn(1)).is_none());
    drop(first);
    let mut again = pool.take(Lsn(5)).unwrap();
    assert_eq!(again.first_lsn(), Lsn(5));
    again.append(&Record { kind: RecordKind::Clear, key: &[], value: &[] }).unwrap();
    let frozen = again.freeze(&[0; 64], 512);
    let bytes = frozen.bytes();
    let place = bytes.as_ptr();
    assert_eq!(place.align_offset(4096), 0, "aligned for direct I/O");
    assert_eq!(bytes.len(), 512);
    drop(bytes);
    drop(frozen);
    let mut third = pool.take(Lsn(6)).unwrap();
    third.append(&Record { kind: RecordKind::Clear, key: &[], value: &[] }).unwrap();
    assert_eq!(third.freeze(&[0; 64], 512).bytes().as_ptr(), place, "the same memory");
    drop(second);
}

#[test]
fn a_buffer_that_the_backend_still_holds_is_not_used_again() {
    let pool = Pool::new(1, 1000);
    let mut batch = pool.take(Lsn(1)).unwrap();
    batch.append(&Record { kind: RecordKind::Clear, key: &[], value: &[] }).unwrap();
    let frozen = batch.freeze(&[0; 64], 512);
    let in_flight = frozen.bytes();
    drop(frozen);
    let mut other = pool.take(Lsn(2)).unwrap();
    other.append(&Record { kind: RecordKind::Put, key: b"k", value: b"v" }).unwrap();
    assert_ne!(other.payload().as_ptr(), in_flight[64..].as_ptr());
    assert_eq!(in_flight.len(), 512);
}

#[test]
fn a_log_at_rest_may_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let disk = Disk::default();
    is_send(&log(&disk, 1));
}
