use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;

use super::{StdClock, StdEntropy, StdEnv, StdSpawn, block_on, timers};
use crate::env::{Blocking, Clock, Entropy, Spawn};

const MS: Duration = Duration::from_millis(1);

/// A flag that a future can wait for.
#[derive(Default)]
struct Flag {
    set: AtomicBool,
    waker: AtomicWaker,
}

impl Flag {
    fn set(&self) {
        self.set.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    async fn wait(&self) {
        poll_fn(|context| {
            self.waker.register(context.waker());
            if self.set.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// True when `wanted` completes before `timeout`.
async fn or_timeout(wanted: impl Future<Output = ()>, timeout: Duration) -> bool {
    let (mut wanted, mut sleep) = (pin!(wanted), pin!(StdClock.sleep(timeout)));
    poll_fn(|context| {
        if wanted.as_mut().poll(context).is_ready() {
            return Poll::Ready(true);
        }
        sleep.as_mut().poll(context).map(|()| false)
    })
    .await
}

#[test]
fn a_sleep_takes_its_time_and_parks() {
    let polls = AtomicU32::new(0);
    let before = Instant::now();
    StdEnv.block_on(async {
        let mut sleep = pin!(StdClock.sleep(30 * MS));
        poll_fn(|context| {
            polls.fetch_add(1, Ordering::Relaxed);
            sleep.as_mut().poll(context)
        })
        .await;
    });
    assert!(before.elapsed() >= 30 * MS);
    assert!(polls.into_inner() < 10, "no busy waiting");
}

#[test]
fn a_wake_from_another_thread_ends_the_park() {
    let flag = Arc::new(Flag::default());
    let setter = Arc::clone(&flag);
    let handle = thread::spawn(move || {
        StdEnv.block_on(StdClock.sleep(5 * MS));
        setter.set();
    });
    assert!(StdEnv.block_on(or_timeout(flag.wait(), Duration::from_secs(60))));
    handle.join().unwrap();
}

#[test]
fn the_timeout_wins_when_nobody_wakes() {
    assert!(!StdEnv.block_on(or_timeout(pending(), 5 * MS)));
    assert!(!StdEnv.block_on(or_timeout(StdClock.sleep(Duration::MAX), 5 * MS)));
}

#[test]
fn unused_timeouts_leave_no_timers() {
    StdEnv.block_on(async {
        for _ in 0..1000 {
            // Ready at the second poll, so that the timer is registered.
            let mut polled = false;
            let second_poll = poll_fn(|context| {
                context.waker().wake_by_ref();
                if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
            });
            assert!(or_timeout(second_poll, Duration::from_secs(3600)).await);
        }
    });
    assert_eq!(block_on::timers_waiting(), 0);
}

#[test]
fn calls_nest() {
    let flag = Arc::new(Flag::default());
    StdEnv.block_on(async {
        let mut outer = pin!(StdClock.sleep(10 * MS));
        let polled_once = poll_fn(|context| Poll::Ready(outer.as_mut().poll(context).is_pending())).await;
        assert!(polled_once);
        // The inner call sees the outer timer become due while it parks.
        StdEnv.block_on(StdClock.sleep(30 * MS));
        outer.await;
        let setter = Arc::clone(&flag);
        StdSpawn.spawn("setter", async move || setter.set()).unwrap();
        flag.wait().await;
    });
}

#[test]
fn a_future_that_wakes_itself_does_not_starve_timers() {
    let timed_out = StdEnv.block_on(or_timeout(
        poll_fn(|context| {
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        }),
        5 * MS,
    ));
    assert!(!timed_out);
}

#[test]
fn a_spawned_future_runs_on_a_thread_of_that_name() {
    let (sender, receiver) = mpsc::channel();
    let spawned = StdSpawn.spawn("core-7", async move || {
        StdClock.sleep(MS).await;
        sender.send(thread::current().name().map(str::to_owned)).unwrap();
    });
    spawned.unwrap();
    assert_eq!(receiver.recv().unwrap().as_deref(), Some("core-7"));
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// An executor that knows nothing of our timers, as an async program's does.
fn foreign_block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return result;
        }
        thread::park();
    }
}

#[test]
fn sleeps_work_under_a_foreign_executor() {
    let before = Instant::now();
    foreign_block_on(async {
        assert!(!or_timeout(StdClock.sleep(Duration::from_secs(3600)), 20 * MS).await);
        StdClock.sleep(10 * MS).await;
    });
    assert!(before.elapsed() >= 30 * MS);
    timers::assert_none_after(Duration::from_secs(1800));
}

/// A future may be polled here, then there; the sleep follows it.
#[test]
fn a_sleep_may_move_between_executors() {
    let mut sleep = Box::pin(StdClock.sleep(30 * MS));
    let pending_here =
        StdEnv.block_on(poll_fn(|context| Poll::Ready(sleep.as_mut().poll(context).is_pending())));
    assert!(pending_here);
    let mut sleep = thread::spawn(move || {
        let waker = Waker::noop();
        assert!(sleep.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
        sleep
    })
    .join()
    .unwrap();
    StdEnv.block_on(sleep.as_mut());
}

#[test]
fn clocks_and_entropy_move() {
    let tick = StdClock.now();
    StdEnv.block_on(StdClock.sleep(2 * MS));
    assert!(StdClock.now().since(tick) >= 2 * MS);
    assert!(StdClock.wall_ms() > 1_600_000_000_000);
    assert_ne!(StdEntropy.nonce(), StdEntropy.nonce());
}
