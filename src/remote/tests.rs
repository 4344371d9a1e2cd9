//! Budgets. What the client makes of a store with faults is tried with the simulated one (`sim::store`).

use std::time::Duration;

use super::budget::{Budget, Class};
use super::{StoreError, StoreErrorKind};
use crate::env::Tick;

const SECOND_NS: u64 = 1_000_000_000;

#[test]
fn requests_come_no_faster_than_their_rate_after_a_burst() {
    let budget = Budget::new(Class::File, 100);
    let now = Tick(10 * SECOND_NS);
    let free = (0..1_000).take_while(|_| budget.take(now).is_zero()).count();
    assert_eq!(free, 101, "a second's worth, and the first");
    assert!(budget.take(now) > Duration::from_millis(10));
    assert!(budget.take(Tick(12 * SECOND_NS)).is_zero(), "time fills it");
}

#[test]
fn throttling_halves_the_rate_and_success_brings_it_back() {
    let budget = Budget::new(Class::File, 64);
    for _ in 0..20 {
        budget.throttled();
    }
    let now = Tick(10 * SECOND_NS);
    assert!(budget.take(now).is_zero());
    assert!(budget.take(now).is_zero());
    assert_eq!(budget.take(now), Duration::from_secs(1), "one per second is the slowest");
    for _ in 0..64 {
        budget.succeeded();
    }
    let later = Tick(20 * SECOND_NS);
    assert!((0..64).all(|_| budget.take(later).is_zero()));
}

#[test]
fn a_class_whose_tries_all_fail_runs_out_of_them() {
    let budget = Budget::new(Class::Collect, 100);
    let tries = (0..1_000).take_while(|_| budget.may_retry()).count();
    assert_eq!(tries, 20);
    for _ in 0..10 {
        assert!(!budget.may_retry());
        budget.succeeded();
    }
    assert!(budget.may_retry());
}

#[test]
fn manifests_are_never_kept_waiting() {
    let budget = Budget::new(Class::Manifest, 1);
    budget.throttled();
    assert!((0..1_000).all(|_| budget.take(Tick(0)).is_zero()));
}

/// A part fails for want of space, and its upload is gone by the second try: both are told.
#[test]
fn what_the_first_try_was_told_is_not_lost_behind_the_last() {
    let first = StoreError::new(StoreErrorKind::Unknown, "no space left on device");
    let last = StoreError::new(StoreErrorKind::Refused, "there is no such upload any more");
    let told = last.clone().after(Some(&first));
    assert_eq!(told.kind(), StoreErrorKind::Refused, "what can be done about it, the last one says");
    assert!(told.to_string().starts_with("there is no such upload any more; "), "{told}");
    assert!(told.to_string().ends_with("no space left on device"), "{told}");
    assert_eq!(last.clone().after(Some(&last)), last, "once is enough");
    assert_eq!(last.clone().after(None), last);
}
