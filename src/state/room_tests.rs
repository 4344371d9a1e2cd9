use super::{Room, chunks_most, chunks_of};
use crate::codec::{Record, RecordKind};
use crate::state::slab::{CLASSES, slot_bytes};
use crate::state::{CoreState, KeyHasher, Load, StateConfig};

#[test]
fn so_many_records_of_a_class_take_no_more_chunks_than_the_bound_says() {
    for class in 0..CLASSES {
        let least_bytes = class.checked_sub(1).map_or(8, |below| slot_bytes(below) + 1) as u64;
        for slots in (0..200).chain([1_000, 10_000, 1_000_000]) {
            let (exact, bound) = (chunks_of(class, slots), chunks_most(slots, slots * least_bytes));
            assert!(exact <= bound, "{slots} slots of class {class}: {exact} chunks, and {bound} at most");
        }
    }
}

/// What finds room in a count finds room in a state, in whatever order it comes.
#[test]
fn records_that_are_said_to_fit_fit() {
    let bytes = |number: u32| [20, 100, 260, 900, 5_000, 13_000, 20_000][number as usize * 31 % 7];
    for chunks_max in [60, 100, 200] {
        let config = StateConfig::new(KeyHasher::new(7)).chunks_max(chunks_max);
        let mut room = Room::new(config);
        let mut state = CoreState::new(config);
        for number in 0_u32.. {
            let key = number.to_le_bytes();
            let value = vec![1; bytes(number)];
            let record = Record { kind: RecordKind::Put, key: &key, value: &value };
            room.take(&record);
            if !room.fits() {
                assert!(number > chunks_max, "only {number} records");
                break;
            }
            let hash = state.hash(&key);
            assert!(state.has_room_for(hash, &record), "record {number} of {chunks_max} chunks");
            state.put(hash, &record);
        }
    }
}

/// What was deleted of a state that was filled in another order than that of its keys emptied chunks there, and only
/// thins them out in one that is loaded in order: what had taken their place found none.
#[test]
fn what_a_state_took_finds_room_when_it_is_rebuilt() {
    const CHUNKS: u32 = 300;
    // More than any class begins with chunks that are not full-sized.
    const MARGIN: u32 = 20;
    let key = |number: u32| number.wrapping_mul(0x9E37_79B1).to_le_bytes();
    let put = |key: &'static [u8], bytes: usize| Record {
        kind: RecordKind::Put,
        key,
        value: Box::leak(vec![1; bytes].into_boxed_slice()),
    };
    let config = StateConfig::new(KeyHasher::new(7));
    let mut state = CoreState::new(config.chunks_max(CHUNKS));
    let mut fill = |first: u32, bytes: usize, deleted: u32| {
        let mut puts: Vec<Record<'static>> = Vec::new();
        for number in 0..deleted {
            let key = key(number);
            assert!(state.delete(state.hash(&key), &key));
        }
        for number in first.. {
            let record = put(Box::leak(Box::new(key(number))), bytes);
            let hash = state.hash(record.key);
            if !state.has_room_for(hash, &record) {
                break;
            }
            state.put(hash, &record);
            puts.push(record);
        }
        puts.sort_by_key(|record| record.key);
        puts
    };
    let base = fill(0, 1_000, 0);
    let deleted = u32::try_from(base.len() * 3 / 20).expect("some thousands");
    let large = fill(1 << 20, 20_000, deleted);
    assert!(large.len() > 2 * MARGIN as usize, "{} large ones", large.len());

    let mut rebuilt = CoreState::new(config.chunks_max(CHUNKS + MARGIN));
    let mut load = Load::new();
    let keys: Vec<[u8; 4]> = (0..deleted).map(key).collect();
    let gone = keys.iter().map(|key| Record { kind: RecordKind::Delete, key, value: b"" });
    for record in base.iter().copied().chain(gone).chain(large) {
        assert!(load.push(&mut rebuilt, record), "no room for what was there");
    }
    assert!(load.apply(&mut rebuilt));
    rebuilt.limit(CHUNKS);
    assert_eq!((rebuilt.len(), rebuilt.bytes()), (state.len(), state.bytes()));
}
