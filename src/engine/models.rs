//! Every order of the steps by which an acknowledgement comes about, as far as a few forced switches of a thread
//! lead: tests under a model checker (`.ci/nightly`). A wake-up that is lost is a deadlock there. The queue between
//! handle and writer is not modelled: its steps are taken at once.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::thread;

use super::append::Appender;
use super::drive::{Blocker, Drive, InlineLog};
use super::meters::Meters;
use super::outlook::Outlook;
use super::requests::Requests;
use super::reserve::Space;
use super::shared::Shared;
use super::writer::{Patience, QueueFeed};
use crate::checkpoint::Tap;
use crate::codec::{Record, RecordKind};
use crate::error::{Error, ErrorCode};
use crate::forecast::Rates;
use crate::ids::{CoreId, DatabaseId, Epoch, Lsn, Nonce, TimelineId};
use crate::manifest::Manifest;
use crate::meter::Timer;
use crate::turns::Turns;
use crate::wal::{Batch, Feed, Pool};

/// Runs `model` in every order that up to `switches` forced switches make, or as many as `LOOM_MAX_PREEMPTIONS` says.
fn explore(switches: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(builder.preemption_bound.unwrap_or(switches));
    builder.check(model);
}

fn shared(cores: usize) -> Arc<Shared> {
    let meters = Meters { log_syncs: vec![Timer::default(); cores], ..Meters::default() };
    Arc::new(Shared::new(meters, Epoch(0), 1, Space::new(false)))
}

/// A core ends its first epoch, and its log makes that durable.
fn close(shared: &Shared, core: u16) {
    shared.end(CoreId(core), Epoch(1));
    shared.durable(CoreId(core), Epoch(1));
}

#[test]
fn an_epoch_is_closed_behind_the_last_core_and_who_waits_hears_of_it() {
    explore(2, || {
        let shared = shared(2);
        let cores = [0, 1].map(|core| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || close(&shared, core))
        });
        let outcome = block_on(shared.until(|| shared.durable_outcome(Epoch(1))));
        assert!(outcome.is_ok());
        assert_eq!((shared.closed(), shared.slowest_ended()), (Epoch(1), Epoch(1)));
        for core in cores {
            core.join().unwrap();
        }
    });
}

#[test]
fn nothing_is_acknowledged_behind_a_failure() {
    explore(2, || {
        let shared = shared(1);
        let core = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || close(&shared, 0))
        };
        let failing = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.fail(&Error::new(ErrorCode::LogWriteFailed, "a sync")))
        };
        let acknowledged = block_on(shared.until(|| shared.durable_outcome(Epoch(1)))).is_ok();
        if shared.failed() {
            let closed = shared.closed();
            assert!(shared.check().is_err(), "whoever sees the failure is told which");
            core.join().unwrap();
            assert_eq!(shared.closed(), closed, "an epoch was closed behind the failure");
            assert!(closed == Epoch(1) || !acknowledged);
        } else {
            assert!(acknowledged);
            core.join().unwrap();
        }
        failing.join().unwrap();
    });
}

#[test]
fn who_waits_for_an_engine_that_is_dropped_is_told() {
    explore(3, || {
        let shared = shared(1);
        let dropped = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.stop();
                shared.part_ended();
            })
        };
        assert!(block_on(shared.until(|| shared.durable_outcome(Epoch(1)))).is_err());
        block_on(shared.until(|| shared.ended().then_some(())));
        dropped.join().unwrap();
    });
}

/// An inline log whose device is at once durable.
struct Instant {
    shared: Arc<Shared>,
    durable: Epoch,
}

impl InlineLog for Instant {
    fn drive(&mut self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async {
            let ended = self.shared.core(CoreId(0)).ended_epoch();
            if ended > self.durable {
                self.durable = ended;
                self.shared.durable(CoreId(0), ended);
            }
        })
    }

    fn finish(&mut self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        self.drive()
    }
}

struct Modelled;

impl Blocker for Modelled {
    fn block(&self, future: Pin<&mut dyn Future<Output = ()>>) {
        block_on(future);
    }
}

#[test]
fn an_inline_log_is_driven_by_whoever_waits() {
    explore(3, || {
        let shared = shared(1);
        let log = Instant { shared: Arc::clone(&shared), durable: Epoch(0) };
        let drive = Arc::new(Drive::new(vec![Box::new(log)]));
        let other = {
            let (shared, drive) = (Arc::clone(&shared), Arc::clone(&drive));
            thread::spawn(move || {
                drive.block_until(&Modelled, &shared, |shared| shared.durable_outcome(Epoch(1))).unwrap();
            })
        };
        shared.end(CoreId(0), Epoch(1));
        drive.block_until(&Modelled, &shared, |shared| shared.durable_outcome(Epoch(1))).unwrap();
        other.join().unwrap();
    });
}

#[test]
fn a_turn_is_taken_by_one_at_a_time() {
    explore(3, || {
        let turns = Arc::new(Turns::default());
        let count = Arc::new(UnsafeCell::new(0));
        let work = |turns: Arc<Turns>, count: Arc<UnsafeCell<u32>>| {
            let _turn = block_on(turns.take());
            // The checker panics when two are in here at once.
            count.with_mut(|count| assert!(!count.is_null()));
        };
        let other = {
            let (turns, count) = (Arc::clone(&turns), Arc::clone(&count));
            thread::spawn(move || work(turns, count))
        };
        work(turns, count);
        other.join().unwrap();
    });
}

/// How much a batch of the queue holds: more than any model appends.
const BATCH_BYTES: usize = 1 << 10;

/// A log writer that never counts as idle, or always does.
struct Idle(bool);

impl Patience for Idle {
    fn poll_over(&mut self, _: &mut Context<'_>) -> Poll<()> {
        if self.0 { Poll::Ready(()) } else { Poll::Pending }
    }

    fn renew(&mut self) {}
}

#[test]
fn a_batch_that_is_handed_over_wakes_its_writer() {
    for idle in [false, true] {
        explore(3, move || handed_over(idle));
    }
}

fn handed_over(idle: bool) {
    let shared = shared(1);
    let (producer, pool, mut feed) = queue(&shared, idle);
    let handle = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let mut appender = Appender::new(CoreId(0), shared, (producer, pool), Lsn(1), 1 << 20);
            appender.append(&Record { kind: RecordKind::Put, key: b"key", value: b"value" }).unwrap();
            appender.hand_over();
        })
    };
    let batch = next_batch(&mut feed);
    assert_eq!((batch.first_lsn(), batch.next_lsn()), (Lsn(1), Lsn(2)));
    handle.join().unwrap();
}

/// Both ends of a queue of one core.
fn queue(shared: &Arc<Shared>, idle: bool) -> (rtrb::Producer<Batch>, Arc<Pool>, QueueFeed<Idle>) {
    let (producer, queue) = rtrb::RingBuffer::new(3);
    let mut head = Manifest::create(DatabaseId::default(), TimelineId::default(), Nonce::default());
    head.cores = 1;
    let outlook = Outlook { rates: Rates::default(), budget: None };
    let feed = QueueFeed {
        core: CoreId(0),
        shared: Arc::clone(shared),
        requests: Arc::new(Requests::new(outlook, u64::MAX, 0, &head)),
        tap: Arc::new(Tap::new(1 << 10)),
        queue,
        patience: Idle(idle),
        given: 0,
    };
    (producer, Pool::new(2, BATCH_BYTES), feed)
}

fn next_batch(feed: &mut QueueFeed<Idle>) -> Batch {
    loop {
        match block_on(poll_fn(|context| feed.poll_batch(context))) {
            Some(batch) => return batch,
            // It counts as idle: the writer sleeps until there is something.
            None => block_on(feed.asleep()),
        }
    }
}
