use std::collections::BTreeSet;

use super::{Shrinker, caught, minimize};
use crate::sim::{Deviation, Streams, Tape};

#[test]
fn only_what_the_failure_needs_is_kept() {
    let items: Vec<u32> = (0..1_000).collect();
    assert!(minimize(&items, |_| true).is_empty());
    assert_eq!(minimize(&items, |kept| kept.contains(&999)), [999]);
    assert_eq!(minimize(&items, |kept| kept.len() >= 3).len(), 3);
    assert!(minimize::<u32>(&[], |_| true).is_empty());
    assert_eq!(minimize(&[1], |kept| kept == [1]), [1]);
}

/// Failures of every shape over few items: the result fails, and without any one of its items it does not.
#[test]
fn the_result_is_one_minimal_whatever_fails() {
    let mut stream = Streams::new(0x5eed).stream("shapes");
    for _ in 0..300 {
        let count = stream.range(1, 12);
        let items: Vec<u64> = (0..count).collect();
        // Not monotone: any set of subsets may fail, the whole among them.
        let salt = stream.bits();
        let fails = |kept: &[u64]| {
            let bits = kept.iter().fold(0_u64, |bits, item| bits | 1 << item);
            kept.len() == items.len() || Streams::new(salt ^ bits).stream("fails").chance(0.3)
        };
        let least = minimize(&items, fails);
        assert!(fails(&least));
        for without in 0..least.len() {
            let mut rest = least.clone();
            rest.remove(without);
            assert!(!fails(&rest), "{least:?} is not minimal");
        }
    }
}

#[test]
fn no_list_is_tried_twice_and_the_order_of_tries_is_fixed() {
    let items: Vec<u32> = (0..40).collect();
    let tries = || {
        let mut tried = Vec::new();
        let least = minimize(&items, |kept| {
            tried.push(kept.to_vec());
            kept.contains(&3) && kept.contains(&29) && kept.contains(&30)
        });
        assert_eq!(least, [3, 29, 30]);
        tried
    };
    let tried = tries();
    assert_eq!(tried, tries());
    assert_eq!(tried.iter().collect::<BTreeSet<_>>().len(), tried.len());
    assert!(tried.len() < 60, "{} tries", tried.len());
}

#[test]
fn a_shrinker_without_tries_says_so_and_returns_what_still_fails() {
    let items: Vec<u32> = (0..64).collect();
    let mut shrinker = Shrinker::new().tries_max(5);
    let least = shrinker.minimize(&items, |kept| kept.contains(&0) && kept.contains(&63));
    assert!(least.contains(&0) && least.contains(&63));
    assert!(least.len() > 2);
    assert_eq!(shrinker.tries(), 5);
    assert!(shrinker.is_exhausted());

    let mut shrinker = Shrinker::new();
    assert_eq!(shrinker.minimize(&items, |kept| kept.contains(&5)), [5]);
    assert!(!shrinker.is_exhausted());
}

#[test]
fn a_number_ends_where_one_less_passes() {
    for least in [0, 1, 2, 17, 999, 1_000] {
        let mut shrinker = Shrinker::new();
        assert_eq!(shrinker.minimize_number(1_000, |number| number >= least), least);
        assert!(shrinker.tries() <= 24, "{} tries", shrinker.tries());
    }
    assert_eq!(Shrinker::new().minimize_number(0, |_| panic!("nothing is below zero")), 0);
}

#[test]
fn a_tape_keeps_the_deviations_that_matter_as_small_as_they_may_be() {
    let mut stream = Streams::new(1).stream("tape");
    let tape = Tape::new((0..500).map(|_| u32::try_from(stream.below(5)).unwrap()).collect());
    let big: Vec<u64> = tape
        .deviations()
        .iter()
        .filter(|deviation| deviation.choice >= 3)
        .map(|deviation| deviation.at)
        .collect();
    let (first, second) = (big[10], big[20]);
    let fails = |tape: &Tape| {
        let at =
            |place| tape.deviations().iter().find(|found| found.at == place).map_or(0, |found| found.choice);
        at(first) >= 2 && at(second) >= 1
    };
    let least = Shrinker::new().minimize_tape(&tape, fails);
    let expected = [Deviation { at: first, choice: 2 }, Deviation { at: second, choice: 1 }];
    assert_eq!(least.deviations(), expected);
    assert_eq!(least.choices().len() as u64, second + 1);
}

#[test]
fn a_panic_is_told_by_its_message() {
    assert_eq!(caught(|| 7), Ok(7));
    assert_eq!(caught(|| panic!("lost: {}", 3)), Err::<(), _>("lost: 3".to_owned()));
    assert_eq!(caught(|| panic!("lost")), Err::<(), _>("lost".to_owned()));
    assert_eq!(caught(|| std::panic::panic_any(3)), Err::<(), _>("a panic without words".to_owned()));
}
