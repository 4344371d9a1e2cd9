//! One behaviour a test.

use super::super::compact::MOVES_MAX;
use super::super::index::Index;
use super::super::slab::{CHUNKS_MAX, CLASSES, Location, Slab, class_of, slot_bytes};
use super::{CoreState, Dice, KeyHasher, KeyRange, Rig, StateConfig, put};
use crate::codec::{Record, RecordKind};
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

#[test]
fn every_size_has_the_smallest_class_that_holds_it() {
    for bytes in 8..=slot_bytes(CLASSES - 1) {
        let class = class_of(bytes);
        assert!(slot_bytes(class) >= bytes, "{bytes} bytes in class {class}");
        assert!(class == 0 || slot_bytes(class - 1) < bytes, "{bytes} bytes in class {class}");
        let padding = slot_bytes(class) - bytes;
        assert!(padding < 16 || padding * 8 < bytes, "{padding} bytes of padding for {bytes}");
        assert_eq!(slot_bytes(class) % 16, 0, "a location can name each slot");
    }
}

#[test]
fn an_entry_that_is_dropped_changes_nothing() {
    let mut rig = Rig::new();
    rig.put(b"balance", b"100");
    let hash = rig.state.hash(b"balance");

    let _ = rig.state.entry(hash); // the log refused the record

    assert_eq!(rig.get(b"balance"), Some(&b"100"[..]));
    rig.state.entry(hash).put(&put(b"balance", b"70"));
    assert_eq!(rig.get(b"balance"), Some(&b"70"[..]));
    assert!(rig.state.entry(hash).delete(b"balance"));
    assert!(rig.state.is_empty());
}

#[test]
fn an_update_that_keeps_its_class_stays_where_it_is() {
    let mut rig = Rig::new();
    for (before, after) in [(100, 101), (1_000, 970), (15_000, 14_900), (100_000, 99_000), (1 << 20, 1 << 20)]
    {
        rig.put(b"key", &vec![1; before]);
        rig.state.settle();
        let memory = rig.state.memory_bytes();
        let place = rig.get(b"key").unwrap().as_ptr();
        rig.put(b"key", &vec![2; after]);
        rig.state.settle();
        assert_eq!(rig.get(b"key").unwrap().as_ptr(), place, "{before} → {after}");
        assert_eq!(rig.state.memory_bytes(), memory);
    }
    rig.assert_invariants();
}

#[test]
fn the_largest_key_and_value_fit() {
    let mut rig = Rig::new();
    let (key, value) = (vec![7; KEY_BYTES_MAX], vec![9; VALUE_BYTES_MAX]);
    rig.put(&key, &value);
    rig.put(b"", b"");
    assert_eq!(rig.get(&key), Some(&value[..]));
    assert_eq!(rig.get(b""), Some(&b""[..]));
    assert_eq!(rig.state.bytes(), (KEY_BYTES_MAX + VALUE_BYTES_MAX) as u64);

    let before = rig.state.memory_bytes();
    assert!(rig.delete(&key));
    assert!(rig.state.memory_bytes() + (VALUE_BYTES_MAX as u64) < before, "a large record goes at once");
    rig.assert_invariants();
}

#[test]
#[should_panic(expected = "left == right")]
fn a_delete_record_is_no_put() {
    CoreState::new(StateConfig::new(KeyHasher::new(0)))
        .put(0, &Record { kind: RecordKind::Delete, key: b"k", value: b"" });
}

#[test]
fn a_state_without_chunks_left_says_so_before_a_put_would_panic() {
    let config = StateConfig { chunks_max: 10, ..StateConfig::new(KeyHasher::new(0)) };
    let mut state = CoreState::new(config);
    let mut dice = Dice(7);
    let mut refused = 0;
    for _ in 0..50_000 {
        let key = [u8::try_from(dice.below(250)).unwrap()];
        let hash = state.hash(&key);
        let value = vec![1; [0, 30, 100, 900, 3_000, 15_000, 20_000, 40_000][dice.below(8)]];
        if dice.below(4) == 0 {
            state.delete(hash, &key);
        } else if state.has_room_for(hash, &put(&key, &value)) {
            state.put(hash, &put(&key, &value));
        } else {
            refused += 1;
        }
    }
    Rig { state }.assert_invariants();
    assert!((5_000..35_000).contains(&refused), "{refused} puts were refused");
}

#[test]
fn a_full_state_takes_what_needs_no_chunk() {
    let config = StateConfig { chunks_max: 3, ..StateConfig::new(KeyHasher::new(0)) };
    let mut state = CoreState::new(config);
    state.put(state.hash(b"large"), &put(b"large", &vec![1; 20_000]));
    state.put(state.hash(b"small"), &put(b"small", b"7"));
    let room = |state: &mut CoreState, key: &[u8], bytes: usize| {
        let hash = state.hash(key);
        state.has_room_for(hash, &put(key, &vec![2; bytes]))
    };
    assert!(
        room(&mut state, b"large", 20_000)
            && room(&mut state, b"large", 40_000)
            && room(&mut state, b"large", 900)
    );
    assert!(
        room(&mut state, b"small", 2) && room(&mut state, b"other", 2),
        "its slot, and the one beside it"
    );
    assert!(!room(&mut state, b"small", 900) && !room(&mut state, b"other", 20_000));
    assert!(state.delete(state.hash(b"large"), b"large"));
    assert!(room(&mut state, b"other", 20_000));
}

#[test]
#[should_panic(expected = "refuse puts")]
fn a_put_into_a_full_state_panics() {
    let config = StateConfig { chunks_max: 2, ..StateConfig::new(KeyHasher::new(0)) };
    let mut state = CoreState::new(config);
    for key in 0..2_u8 {
        state.put(state.hash(&[key]), &put(&[key], &vec![0; 20_000]));
    }
}

#[test]
#[should_panic(expected = "1048576, 0")]
fn a_location_beyond_the_last_chunk_panics() {
    let _ = Location::new(CHUNKS_MAX as usize, 0);
}

#[test]
fn the_last_location_names_its_chunk_and_offset() {
    let location = Location::new(CHUNKS_MAX as usize - 1, 0xfff0);
    assert_eq!(
        (location.raw(), location.chunk(), location.offset()),
        (u32::MAX, CHUNKS_MAX as usize - 1, 0xfff0)
    );
}

/// A put that waits in the ring is there for every reader, and newer than what it replaces.
#[test]
fn a_put_is_seen_before_it_has_reached_its_slot() {
    for ordered in [false, true] {
        let mut rig = Rig::ordered(ordered);
        rig.put(b"balance", b"100");
        rig.state.settle();
        rig.put(b"balance", b"70");
        rig.put(b"balance", b"7");
        rig.put(b"account", b"");
        assert_eq!((rig.get(b"balance"), rig.get(b"account")), (Some(&b"7"[..]), Some(&b""[..])));
        assert_eq!((rig.state.len(), rig.state.bytes()), (2, 15));
        let all: Vec<_> = rig.state.scan(KeyRange::prefix(b"")).collect();
        assert_eq!(all, [(&b"account"[..], &b""[..]), (b"balance", b"7")]);
        assert!(rig.delete(b"balance"));
        assert_eq!((rig.get(b"balance"), rig.state.len()), (None, 1));
        rig.assert_invariants();
    }
}

/// Counters, addresses, padded numbers: keys as programs make them spread over tables and tags as random ones do.
#[test]
fn keys_with_a_pattern_spread_over_all_tables() {
    let patterns: [fn(u64) -> Vec<u8>; 5] = [
        |number| number.to_le_bytes().to_vec(),
        |number| (number << 40).to_le_bytes().to_vec(),
        |number| format!("user/{number:08}").into_bytes(),
        |number| number.to_string().into_bytes(),
        |number| [[0xff; 8], number.swap_bytes().to_le_bytes()].concat(),
    ];
    for (at, pattern) in patterns.into_iter().enumerate() {
        let hasher = KeyHasher::new(0x5eed);
        let mut in_table = vec![0_u32; 1024];
        let mut tags = std::collections::BTreeSet::new();
        for number in 0..100_000 {
            let hash = hasher.hash(&pattern(number));
            in_table[usize::try_from(hash % 1024).unwrap()] += 1;
            tags.insert(hash >> 10 & 0xffff_ffff);
        }
        // 98 on average, with a standard deviation of 10.
        let (least, most) = (in_table.iter().min().unwrap(), in_table.iter().max().unwrap());
        assert!((40..98).contains(least) && (98..160).contains(most), "pattern {at}: {least} to {most}");
        assert!(tags.len() > 99_900, "pattern {at}: {} tags", tags.len());
    }
}

#[test]
fn a_table_grows_alone() {
    let mut index = Index::new();
    let before = index.memory_bytes();
    // The low bits choose the table: all of these share one.
    for key in 0..10_000_u64 {
        index.insert(key.wrapping_mul(0x9e37_79b9_7f4a_7c15) << 10, Location::new(1, 0));
    }
    index.assert_invariants();
    let grown = index.memory_bytes() - before;
    assert!((10_000 * 10..=10_000 * 15).contains(&grown), "{grown} bytes for 10,000 keys");
}

#[test]
fn an_index_gives_its_memory_back() {
    let mut rig = Rig::new();
    let empty = rig.state.memory_bytes();
    for key in 0..100_000_u32 {
        rig.put(&key.to_le_bytes(), b"");
    }
    for key in 0..100_000_u32 {
        assert!(rig.delete(&key.to_le_bytes()));
    }
    // Each table that had a key keeps its least slots: 64 KiB in all.
    let used = empty + 64 * 1024;
    assert!(rig.state.memory_bytes() < used + 128 * 1024, "{empty} → {}", rig.state.memory_bytes());
    rig.assert_invariants();
}

/// S3: a mass delete is paid back in small instalments, and no instalment needs memory.
#[test]
fn compaction_moves_a_few_records_at_a_time_until_it_is_done() {
    let mut slab = Slab::new(CHUNKS_MAX);
    let locations: Vec<_> = (0..20_000_u32)
        .map(|key| {
            let key = key.to_le_bytes();
            let record = put(&key, &[1; 100]);
            let location = slab.allocate(record.encoded_bytes());
            slab.write(location, &record);
            location
        })
        .collect();
    let full = slab.memory_bytes();
    assert!(!slab.needs_compaction());
    let mut kept: Vec<_> = locations.iter().copied().filter(|at| at.raw() / 8 % 4 == 0).collect();
    for location in locations.iter().filter(|at| at.raw() / 8 % 4 != 0) {
        slab.free(*location);
    }

    let (mut calls, mut moves) = (0, 0);
    while slab.needs_compaction() {
        let (moves_before, memory) = (moves, slab.memory_bytes());
        let mut changed = Vec::new();
        slab.compact(|_, from, to| changed.push((from, to)));
        for (from, to) in changed {
            *kept.iter_mut().find(|at| **at == from).expect("only live records move") = to;
            moves += 1;
        }
        assert!(moves - moves_before <= MOVES_MAX && slab.memory_bytes() <= memory);
        calls += 1;
    }

    assert!(slab.memory_bytes() * 2 < full, "{full} → {}", slab.memory_bytes());
    assert!(moves <= 2 * kept.len() && calls < 15_000, "{moves} moves in {calls} calls");
    slab.assert_invariants();
    let mut live: Vec<_> = slab.records().map(|(location, _)| location.raw()).collect();
    let mut kept: Vec<_> = kept.iter().map(|location| location.raw()).collect();
    live.sort_unstable();
    kept.sort_unstable();
    assert_eq!(live, kept);
}
