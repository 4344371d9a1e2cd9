use std::sync::Arc;
use std::time::Duration;

use super::{ClockFaults, SimClock};
use crate::env::Clock;
use crate::sim::{Executor, Simulator, Streams};

#[test]
fn without_faults_both_clocks_follow_virtual_time() {
    Simulator::new(1)
        .run(async |sim| {
            let clock = SimClock::new(Arc::new(sim.clone()));
            let (tick, wall_ms) = (clock.now(), clock.wall_ms());
            clock.sleep(Duration::from_secs(60)).await;
            assert_eq!(clock.now().since(tick).as_millis(), 60_000);
            assert_eq!(clock.wall_ms() - wall_ms, 60_000);
        })
        .unwrap();
}

#[test]
fn the_wall_clock_jumps_and_freezes() {
    Simulator::new(1)
        .run(async |sim| {
            let clock = SimClock::new(Arc::new(sim.clone()));
            let start_ms = clock.wall_ms();
            clock.jump_wall(-5_000);
            assert_eq!(clock.wall_ms(), start_ms - 5_000);
            clock.toggle_wall_freeze();
            clock.sleep(Duration::from_secs(9)).await;
            assert_eq!(clock.wall_ms(), start_ms - 5_000);
            clock.toggle_wall_freeze();
            assert_eq!(clock.wall_ms(), start_ms + 4_000);
            clock.jump_wall(i64::MIN);
            assert_eq!(clock.wall_ms(), 0, "before 1970 is not representable");
        })
        .unwrap();
}

/// Each fault of the wall clock on its own.
#[test]
fn the_wall_clock_repeats_itself_stands_still_or_turns_back() {
    let faults = |stream: &str, faults: ClockFaults| {
        let mut readings = Vec::new();
        Simulator::new(1)
            .run(async |sim| {
                let stream = Streams::new(1).stream(stream);
                let clock = SimClock::new(Arc::new(sim.clone())).with_faults(faults, stream);
                for _ in 0..200 {
                    readings.push(clock.wall_ms());
                    clock.sleep(Duration::from_millis(3)).await;
                }
            })
            .unwrap();
        let equal = readings.windows(2).filter(|pair| pair[0] == pair[1]).count();
        let backwards = readings.windows(2).filter(|pair| pair[0] > pair[1]).count();
        (equal, backwards)
    };
    let none = ClockFaults::default();
    assert_eq!(faults("none", none), (0, 0));
    let (equal, _) = faults("resolution", ClockFaults { wall_resolution: 0.1, ..none });
    assert!(equal > 0, "equal stamps");
    let (equal, _) = faults("freeze", ClockFaults { wall_freeze: 0.05, ..none });
    assert!(equal > 20, "a frozen clock");
    let (equal, backwards) = faults("jump", ClockFaults { wall_jump: 0.1, ..none });
    assert!(equal == 0 && backwards > 0, "jumps both ways");
}

#[test]
fn a_suspension_is_missing_from_monotonic_time() {
    Simulator::new(1)
        .run(async |sim| {
            let clock = SimClock::new(Arc::new(sim.clone()));
            let start = clock.now();
            let sleep = clock.sleep(Duration::from_secs(1));
            clock.suspend(Duration::from_secs(10));
            clock.suspend(Duration::from_secs(10));
            sim.sleep(Duration::from_secs(15)).await;
            assert_eq!(clock.now(), start);
            sleep.await;
            assert_eq!(clock.now().since(start).as_millis(), 1000);
            assert_eq!(sim.now().since(start).as_secs(), 21);
        })
        .unwrap();
}

/// C1 and C2, under everything at once.
#[test]
fn drawn_faults_never_turn_monotonic_time_back() {
    let faults = ClockFaults {
        wall_jump: 0.2,
        wall_freeze: 0.2,
        wall_resolution: 0.2,
        suspend: 0.3,
        suspend_max: Duration::from_secs(5),
    };
    for seed in 0..50 {
        Simulator::new(seed)
            .run(async |sim| {
                let stream = Streams::new(seed).stream("clock");
                let clock = SimClock::new(Arc::new(sim.clone())).with_faults(faults, stream);
                let mut last = clock.now();
                let (mut backwards, mut equal, mut last_ms) = (0, 0, 0);
                for step in 0..200 {
                    let before = clock.monotonic_ns();
                    clock.sleep(Duration::from_millis(step)).await;
                    assert!(clock.monotonic_ns() >= before + step * 1_000_000);
                    let now = clock.now();
                    assert!(now >= last);
                    last = now;
                    let wall_ms = clock.wall_ms();
                    backwards += u32::from(wall_ms < last_ms);
                    equal += u32::from(wall_ms == last_ms);
                    last_ms = wall_ms;
                }
                assert!(backwards > 0 && equal > 0);
            })
            .unwrap();
    }
}
