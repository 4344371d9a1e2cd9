use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use super::{Simulator, Stuck};
use crate::env::Tick;
use crate::sim::{Executor, Handle, LocalFuture, Stream, Streams, Tape, Trace, lock, yield_now};

/// Collects what tasks write, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn write(&self, line: impl Into<String>) {
        lock(&self.0).push(line.into());
    }

    fn lines(&self) -> Vec<String> {
        lock(&self.0).clone()
    }
}

fn spawn<F, Fut>(executor: &impl Executor, name: &str, make: F)
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    executor.spawn(name, Box::new(move || Box::pin(make()) as LocalFuture));
}

/// Three workers that take turns at random; returns who ran when.
async fn take_turns(sim: Handle) -> Vec<String> {
    let log = Log::default();
    for name in ["a", "b", "c"] {
        let (log, executor) = (log.clone(), sim.clone());
        spawn(&sim, name, async move || {
            for turn in 0..20 {
                log.write(format!("{name}{turn} at {}", executor.now().0));
                if turn % 7 == 6 {
                    executor.sleep(Duration::from_millis(turn)).await;
                }
                yield_now().await;
            }
        });
    }
    sim.sleep(Duration::from_secs(1)).await;
    assert_eq!(log.lines().len(), 60, "a second is enough for everybody");
    log.lines()
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let trace = Trace::new();
        let lines = Simulator::new(seed).trace(trace.clone()).run(take_turns).unwrap();
        (trace.digest(), lines)
    };
    let mut runs: Vec<_> = (0..50).map(run).collect();
    assert!((0..50).zip(&runs).all(|(seed, first)| run(seed) == *first));
    runs.sort();
    runs.dedup();
    assert_eq!(runs.len(), 50, "every seed is another schedule");
}

#[test]
fn a_tape_replays_the_run_it_recorded() {
    let tape = Tape::default();
    let seeded: Stream = Streams::new(3).stream("schedule");
    let recorded = Simulator::with_choices(tape.record(seeded)).run(take_turns).unwrap();
    assert!(tape.choices().len() > 40);
    let replayed = Simulator::with_choices(tape.replay()).run(take_turns).unwrap();
    assert_eq!(recorded, replayed);

    // A cut tape, or one with choices that do not fit, still is a run.
    let cut = Tape::new(vec![7, u32::MAX, 0, 1]);
    let once = Simulator::with_choices(cut.replay()).run(take_turns).unwrap();
    assert_eq!(once, Simulator::with_choices(cut.replay()).run(take_turns).unwrap());
}

/// The default must starve nobody, or a shrunk schedule would hang where the seed's did not.
#[test]
fn on_an_empty_tape_tasks_take_turns_in_order_of_arrival() {
    let turns = Simulator::with_choices(Tape::default().replay()).run(async |sim| {
        let log = Log::default();
        for name in ["a", "b", "c"] {
            let log = log.clone();
            sim.spawn(name, async move || {
                for turn in 0..3 {
                    log.write(format!("{name}{turn}"));
                    yield_now().await;
                }
            });
        }
        sim.sleep(Duration::from_secs(1)).await;
        log.lines()
    });
    assert_eq!(turns.unwrap(), ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]);
}

#[test]
fn time_jumps_to_the_next_timer_when_nothing_is_ready() {
    let (woken, end) = Simulator::new(1)
        .run(async |sim| {
            let log = Log::default();
            for seconds in [3600, 5, 86_400] {
                let (log, executor) = (log.clone(), sim.clone());
                spawn(&sim, "sleeper", async move || {
                    executor.sleep(Duration::from_secs(seconds)).await;
                    assert!(executor.now() >= Tick(seconds * 1_000_000_000));
                    log.write(seconds.to_string());
                });
            }
            sim.sleep(Duration::from_secs(100_000)).await;
            (log.lines(), sim.now())
        })
        .unwrap();
    assert_eq!(woken, ["5", "3600", "86400"]);
    assert_eq!(end.since(Tick(0)).as_secs(), 100_000);
}

#[test]
fn a_deadlock_names_those_who_wait() {
    let stuck = Simulator::new(1).run(async |sim| {
        let node = sim.node("engine");
        spawn(&node, "ring-1", async || std::future::pending().await);
        spawn(&node, "done", async || ());
        std::future::pending::<()>().await;
    });
    let waiting = vec!["root/root".to_owned(), "engine/ring-1".to_owned()];
    assert_eq!(stuck, Err(Stuck::Deadlock { waiting }));
    assert_eq!(
        stuck.unwrap_err().to_string(),
        "deadlock: nothing is ready and no timer runs; waiting: root/root, engine/ring-1"
    );
}

/// A timeout that was not needed must not keep a deadlock from being seen.
#[test]
fn a_dropped_sleep_is_no_timer() {
    let stuck = Simulator::new(1).run(async |sim| {
        let mut sleep = sim.sleep(Duration::from_secs(1));
        poll_fn(|context| {
            assert!(sleep.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(sleep);
        std::future::pending::<()>().await;
    });
    assert!(matches!(stuck, Err(Stuck::Deadlock { .. })));
}

#[test]
fn limits_end_a_livelock() {
    let busy = async |sim: Handle| {
        let _keep = sim.clone();
        loop {
            yield_now().await;
        }
    };
    let steps: Result<(), _> = Simulator::new(1).steps_max(1000).run(busy);
    assert!(matches!(steps, Err(Stuck::Steps { steps: 1000, .. })));

    let time: Result<(), _> = Simulator::new(1).time_max(Duration::from_millis(1)).run(busy);
    assert!(matches!(time, Err(Stuck::Time { .. })));

    let asleep = Simulator::new(1)
        .time_max(Duration::from_secs(60))
        .run(async |sim| sim.sleep(Duration::from_secs(61)).await);
    assert!(matches!(asleep, Err(Stuck::Time { .. })));
}

/// Writes down that it was dropped.
struct DropProbe(Log, &'static str);

impl Drop for DropProbe {
    fn drop(&mut self) {
        self.0.write(format!("{} dropped", self.1));
    }
}

#[test]
fn a_killed_node_takes_no_further_step() {
    for seed in 0..100 {
        let log = Log::default();
        let written = log.clone();
        Simulator::new(seed)
            .run(async move |sim| {
                let node = sim.node("engine");
                for name in ["one", "two"] {
                    let (log, executor) = (log.clone(), node.clone());
                    spawn(&node, name, async move || {
                        let _probe = DropProbe(log.clone(), name);
                        loop {
                            log.write("step");
                            executor.sleep(Duration::from_micros(1)).await;
                        }
                    });
                }
                sim.sleep(Duration::from_millis(1)).await;
                node.kill();
                log.write("killed");
                let (unborn, executor) = (log.clone(), node.clone());
                spawn(&executor, "late", async move || unborn.write("step of the dead"));
                node.resume();

                let reborn = sim.node("engine");
                let second = log.clone();
                spawn(&reborn, "one", async move || second.write("second life"));
                sim.sleep(Duration::from_secs(1)).await;
                assert!(node.is_dead() && !reborn.is_dead());
            })
            .unwrap();
        let lines = written.lines();
        let killed = lines.iter().position(|line| line == "killed").unwrap();
        assert!(killed > 100);
        // Destructors run before anybody else takes a step, the new life included.
        assert_eq!(lines[killed + 1..], ["one dropped", "two dropped", "second life"]);
    }
}

#[test]
fn a_task_that_kills_its_own_node_finishes_its_step() {
    let log = Log::default();
    let written = log.clone();
    Simulator::new(9)
        .run(async move |sim| {
            let node = sim.node("engine");
            let own = node.clone();
            spawn(&node, "suicide", async move || {
                own.kill();
                log.write("last words");
                yield_now().await;
                log.write("beyond death");
            });
            sim.sleep(Duration::from_secs(1)).await;
        })
        .unwrap();
    assert_eq!(written.lines(), ["last words"]);
}

#[test]
fn a_paused_node_misses_time_and_goes_on() {
    let steps = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&steps);
    Simulator::new(4)
        .run(async move |sim| {
            let node = sim.node("zombie");
            let executor = node.clone();
            spawn(&node, "beat", async move || {
                loop {
                    executor.sleep(Duration::from_millis(1)).await;
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            });
            sim.sleep(Duration::from_millis(100)).await;
            node.pause();
            let before = steps.load(Ordering::Relaxed);
            assert!((90..=100).contains(&before), "{before}");
            sim.sleep(Duration::from_millis(100)).await;
            assert_eq!(steps.load(Ordering::Relaxed), before);
            node.resume();
            sim.sleep(Duration::from_millis(100)).await;
            assert!(steps.load(Ordering::Relaxed) > before + 90);
        })
        .unwrap();
}

#[test]
fn a_waker_works_from_another_thread() {
    let waker_slot = Arc::new(Mutex::new(None));
    let done = Simulator::new(5).run(async |sim| {
        let slot = Arc::clone(&waker_slot);
        spawn(&sim, "waiter", async move || {
            poll_fn(|context| {
                *lock(&slot) = Some(context.waker().clone());
                Poll::<()>::Pending
            })
            .await;
        });
        while lock(&waker_slot).is_none() {
            yield_now().await;
        }
        let waker = lock(&waker_slot).take().unwrap();
        std::thread::scope(|scope| scope.spawn(|| waker.wake()).join()).unwrap();
        while lock(&waker_slot).is_none() {
            yield_now().await;
        }
    });
    assert_eq!(done, Ok(()));
    // A waker may outlive its run.
    lock(&waker_slot).take().unwrap().wake();
}

#[test]
fn nothing_outlives_a_run() {
    let owned = Arc::new(());
    let held = Arc::clone(&owned);
    Simulator::new(6)
        .run(async move |sim| {
            let node = sim.node("engine");
            for _ in 0..3 {
                let (held, executor, keep) = (Arc::clone(&held), node.clone(), sim.clone());
                spawn(&node, "sleeper", async move || {
                    let _keep = (held, keep);
                    executor.sleep(Duration::MAX).await;
                });
            }
            let unborn = Arc::clone(&held);
            sim.sleep(Duration::from_millis(1)).await;
            spawn(&node, "unborn", async move || drop(unborn));
        })
        .unwrap();
    assert_eq!(Arc::strong_count(&owned), 1);
}

/// Futures of the root may borrow and need not be `Send`.
#[test]
fn the_root_future_may_borrow() {
    let seen = RefCell::new(Vec::new());
    let local = Rc::new(7);
    Simulator::new(1)
        .run(async |sim| {
            sim.sleep(Duration::from_secs(1)).await;
            seen.borrow_mut().push(*local);
        })
        .unwrap();
    assert_eq!(*seen.borrow(), [7]);
}
