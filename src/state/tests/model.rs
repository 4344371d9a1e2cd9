//! The state against an ordered map, over random operations.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

use proptest::collection::vec;
use proptest::prelude::*;

use super::{KeyRange, Rig};

#[derive(Clone, Debug)]
enum Op {
    Put {
        key: u16,
        bytes: usize,
    },
    Delete {
        key: u16,
    },
    /// Deletes every key whose number leaves `rest` modulo 3.
    DeleteMany {
        rest: u16,
    },
    /// Puts keys 0..count, each of its own size: pulls records through the classes.
    PutMany {
        count: u16,
        bytes: usize,
    },
    Scan {
        prefix: u8,
    },
    /// Both ends by the number of a key; the low bits of `kinds` say what kind of bound each is.
    Range {
        from: u16,
        to: u16,
        kinds: u8,
    },
    Clear,
}

fn any_bytes() -> impl Strategy<Value = usize> {
    prop_oneof![
        8 => 0..300_usize,
        3 => 0..20_000_usize,
        1 => 0..200_000_usize,
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => (0..300_u16, any_bytes()).prop_map(|(key, bytes)| Op::Put { key, bytes }),
        10 => (0..300_u16).prop_map(|key| Op::Delete { key }),
        2 => (0..3_u16).prop_map(|rest| Op::DeleteMany { rest }),
        2 => (0..300_u16, 0..600_usize).prop_map(|(count, bytes)| Op::PutMany { count, bytes }),
        3 => any::<u8>().prop_map(|prefix| Op::Scan { prefix: prefix % 4 }),
        3 => (0..300_u16, 0..300_u16, any::<u8>()).prop_map(|(from, to, kinds)| Op::Range { from, to, kinds }),
        1 => Just(Op::Clear),
    ]
}

/// Keys of one to some hundred bytes, in a few families by their first byte.
fn key_of(number: u16) -> Vec<u8> {
    let mut key = vec![u8::try_from(number % 4).unwrap()];
    key.extend_from_slice(&number.to_le_bytes());
    key.resize(3 + usize::from(number % 7) * 20, 0xa5);
    key
}

fn value_of(seed: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from((at * 31 + seed * 7) % 251).unwrap()).collect()
}

fn bound(kind: u8, key: &[u8]) -> Bound<&[u8]> {
    match kind % 4 {
        0 => Bound::Unbounded,
        1 => Bound::Excluded(key),
        _ => Bound::Included(key),
    }
}

/// Runs `ops` on both and compares after each.
fn agree(narrow: fn(u64) -> u64, ops: &[Op]) {
    agree_with(Rig::with_hash(narrow), ops);
}

fn agree_with(mut rig: Rig, ops: &[Op]) {
    let mut model = BTreeMap::<Vec<u8>, Vec<u8>>::new();
    for (step, op) in ops.iter().enumerate() {
        match *op {
            Op::Put { key, bytes } => {
                let (key, value) = (key_of(key), value_of(step, bytes));
                rig.put(&key, &value);
                model.insert(key, value);
            }
            Op::Delete { key } => {
                let key = key_of(key);
                assert_eq!(rig.delete(&key), model.remove(&key).is_some());
            }
            Op::DeleteMany { rest } => {
                for key in (0..300).filter(|number| number % 3 == rest).map(key_of) {
                    assert_eq!(rig.delete(&key), model.remove(&key).is_some());
                }
            }
            Op::PutMany { count, bytes } => {
                for number in 0..count {
                    let (key, value) = (key_of(number), value_of(step, bytes + usize::from(number)));
                    rig.put(&key, &value);
                    model.insert(key, value);
                }
            }
            Op::Scan { prefix } => {
                let found: Vec<_> = rig.state.scan(KeyRange::prefix(&[prefix])).collect();
                let wanted = model.iter().filter(|(key, _)| key[0] == prefix);
                let wanted: Vec<_> = wanted.map(|(key, value)| (&key[..], &value[..])).collect();
                assert_eq!(found, wanted);
            }
            Op::Range { from, to, kinds } => {
                let ends = [key_of(from), key_of(to)];
                let (low, high) = (ends.iter().min().unwrap(), ends.iter().max().unwrap());
                let (from, to) = (bound(kinds, low), bound(kinds >> 2, high));
                let found: Vec<_> = rig.state.scan(KeyRange::new(from, to)).collect();
                // An ordered map refuses a range that is empty by its bounds.
                let wanted = model.iter().map(|(key, value)| (&key[..], &value[..]));
                let wanted: Vec<_> =
                    wanted.filter(|(key, _)| RangeBounds::<[u8]>::contains(&(from, to), *key)).collect();
                assert_eq!(found, wanted);
            }
            Op::Clear => {
                rig.state.clear();
                model.clear();
            }
        }
        assert_eq!(rig.state.len(), model.len());
        let number = u16::try_from(step % 300).unwrap();
        assert_eq!(rig.get(&key_of(number)), model.get(&key_of(number)).map(Vec::as_slice));
    }
    rig.assert_invariants();
    let all: Vec<_> = rig.state.scan(KeyRange::prefix(b"")).collect();
    assert_eq!(all, model.iter().map(|(key, value)| (&key[..], &value[..])).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_operations_leave_what_an_ordered_map_holds(ops in vec(any_op(), 1..120)) {
        agree(|hash| hash, &ops);
    }

    #[test]
    fn so_they_do_with_an_ordered_index(ops in vec(any_op(), 1..120)) {
        agree_with(Rig::ordered(true), &ops);
    }

    /// Sixteen hashes for all keys: every search passes strangers with its own tag.
    #[test]
    fn keys_that_share_a_hash_stay_apart(ops in vec(any_op(), 1..60)) {
        agree(|hash| hash & 0x0f0, &ops);
    }

    /// Tags at the very end of the hash range: every run wraps around the end of its table.
    #[test]
    fn runs_wrap_around_the_end_of_a_table(ops in vec(any_op(), 1..60)) {
        agree(|hash| hash & 0x7 | !0x3ff, &ops);
    }
}
