use super::{Room, chunks_most, chunks_of};
use crate::codec::{Record, RecordKind};
use crate::state::slab::{CLASSES, slot_bytes};
use crate::state::{CoreState, KeyHasher, StateConfig};

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
