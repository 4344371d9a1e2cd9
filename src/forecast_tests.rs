use super::*;

const MB: u64 = 1_000_000;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

#[test]
fn a_measured_recovery_is_predicted_to_take_what_it_took() {
    let volume = Volume { load_bytes: 400 * MB, log_bytes: 100 * MB };
    let measured = Measured { loading: seconds(2.0), replaying: seconds(4.0), rest: seconds(0.5) };
    let rates = Rates::default().learn(volume, measured);
    assert_eq!(rates.predict(volume), seconds(6.5));
    let twice = Volume { load_bytes: 800 * MB, log_bytes: 0 };
    assert_eq!(rates.predict(twice), seconds(4.5));
}

#[test]
fn the_newest_measurement_counts_for_half() {
    let volume = Volume { load_bytes: 100 * MB, log_bytes: 0 };
    let took = |loading| Measured { loading: seconds(loading), ..Measured::default() };
    let rates = Rates::default().learn(volume, took(1.0)).learn(volume, took(0.5));
    assert_eq!(rates.load_bytes_per_s, 150 * MB);
    assert_eq!(rates.replay_bytes_per_s, 0, "of that nothing is known");
}

#[test]
fn what_is_too_small_or_took_no_time_teaches_nothing() {
    let small = Volume { load_bytes: 1_000, log_bytes: 1_000 };
    let took = Measured { loading: seconds(9.0), replaying: seconds(9.0), rest: seconds(9.0) };
    assert_eq!(Rates::default().learn(small, took), Rates::default());
    let large = Volume { load_bytes: 100 * MB, log_bytes: 100 * MB };
    let rates = Rates::default().learn(large, Measured::default());
    assert_eq!((rates.load_bytes_per_s, rates.replay_bytes_per_s), (0, 0));
    assert!(rates.predict(large) > seconds(1.0), "guesses");
}

#[test]
fn the_cadence_follows_the_budget_and_what_is_to_be_loaded() {
    let rates = Rates { fixed_us: 1_000_000, load_bytes_per_s: 100 * MB, replay_bytes_per_s: 50 * MB };
    assert_eq!(rates.log_bytes_due(seconds(5.0), 0), 100 * MB);
    assert_eq!(rates.log_bytes_due(seconds(5.0), 200 * MB), 50 * MB);
    assert_eq!(rates.log_bytes_due(seconds(5.0), 400 * MB), LOG_BYTES_MIN, "F3");
    assert_eq!(rates.log_bytes_due(seconds(0.1), u64::MAX), LOG_BYTES_MIN);
    assert_eq!(rates.load_bytes_max(seconds(5.0)), 200 * MB);
    assert_eq!(rates.load_bytes_max(seconds(0.5)), 0);
    // At the moment at which a checkpoint is due, the prediction is within the budget.
    for load_bytes in [0, 10 * MB, 300 * MB] {
        let log_bytes = rates.log_bytes_due(seconds(5.0), load_bytes);
        assert!(rates.predict(Volume { load_bytes, log_bytes }) < seconds(5.0));
    }
}

/// Four cores rebuild for 3 s, a quarter of that loading; before it 1 s of looking, and behind it 2 s of other things.
#[test]
fn the_parts_of_a_recovery_add_up() {
    let each = Parts { loading: seconds(2.0), replaying: seconds(6.0) };
    let measured = Measured::of(each, seconds(3.0), seconds(1.0), seconds(6.0));
    assert_eq!(
        measured,
        Measured { loading: seconds(0.75), replaying: seconds(2.25 + 1.0), rest: seconds(2.0) }
    );
}

#[test]
fn a_recovery_that_rebuilt_nothing_was_all_the_rest() {
    let second = seconds(1.0);
    let measured = Measured::of(Parts::default(), Duration::ZERO, Duration::ZERO, second);
    assert_eq!(measured, Measured { rest: second, ..Measured::default() });
}
