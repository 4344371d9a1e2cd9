use proptest::prelude::*;

use super::*;
use crate::checkpoint::delta::{DeltaBuilder, Pushed};

#[derive(Clone, Debug)]
enum Change {
    Put(u8, Vec<u8>),
    Delete(u8),
    Clear,
    EpochEnd,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        20 => (any::<u8>(), prop::collection::vec(any::<u8>(), 0..60)).prop_map(|(k, v)| Change::Put(k, v)),
        6 => any::<u8>().prop_map(Change::Delete),
        1 => Just(Change::Clear),
        1 => Just(Change::EpochEnd),
    ];
    prop::collection::vec(change, 0..400)
}

/// Keys of several lengths, with common fronts and an empty one among them.
fn key_of(seed: u8) -> Vec<u8> {
    match seed {
        0 => Vec::new(),
        1..80 => vec![b'k'; usize::from(seed % 20)],
        _ => [b"common-front-", &[seed][..]].concat(),
    }
}

/// Files of `changes` within `budget`, and how many parts there were.
fn deltas(vfs: &MemoryVfs, changes: &[Change], budget: usize) -> Vec<CheckpointFile> {
    let mut builder = DeltaBuilder::new(budget);
    let mut files = Vec::new();
    let flush = |builder: &mut DeltaBuilder, files: &mut Vec<CheckpointFile>| {
        let header = header(FileKind::Delta, 10 + u32::try_from(files.len()).unwrap(), 0, 4);
        let written = block_on(async { builder.write(writer(vfs, header).await).await.unwrap() });
        assert!(builder.is_empty());
        files.push(sealed(vfs, written));
    };
    for change in changes {
        let key;
        let record = match change {
            Change::Put(seed, value) => {
                key = key_of(*seed);
                put(&key, value)
            }
            Change::Delete(seed) => {
                key = key_of(*seed);
                delete(&key)
            }
            Change::Clear => CLEAR,
            Change::EpochEnd => Record { kind: RecordKind::EpochEnd, key: &[], value: b"end" },
        };
        if builder.push(&record) == Pushed::Full {
            assert!(!builder.is_empty());
            flush(&mut builder, &mut files);
            assert_eq!(builder.push(&record), Pushed::Taken);
        }
        assert!(builder.held_bytes() <= budget);
    }
    if !builder.is_empty() {
        flush(&mut builder, &mut files);
    }
    files
}

fn apply(model: &mut Model, changes: &[Change]) {
    for change in changes {
        match change {
            Change::Put(seed, value) => drop(model.insert(key_of(*seed), value.clone())),
            Change::Delete(seed) => drop(model.remove(&key_of(*seed))),
            Change::Clear => model.clear(),
            Change::EpochEnd => {}
        }
    }
}

proptest! {
    /// Base plus deltas is the model, for any budget, and the files hold each key once.
    #[test]
    fn the_delta_of_a_range_is_the_models_difference(
        before in changes(),
        range in changes(),
        budget in prop_oneof![Just(300_usize), Just(2000), Just(1 << 20)],
    ) {
        let vfs = disk();
        let mut model = Model::new();
        apply(&mut model, &before);
        let records: Vec<_> = model.iter().map(|(key, value)| put(key, value)).collect();
        let mut chain = vec![write(&vfs, header(FileKind::Base, 1, 0, 1), &records)];
        chain.extend(deltas(&vfs, &range, budget));
        apply(&mut model, &range);
        prop_assert_eq!(restore(&vfs, &chain), model);
        if budget == 1 << 20 {
            prop_assert!(chain.len() <= 2);
        }
    }
}

/// A thousand writes of one key fit a budget that holds ten: only the last of them matters.
#[test]
fn superseded_records_take_no_room() {
    let vfs = disk();
    let changes: Vec<_> = (0..1000_u32).map(|i| Change::Put(200, i.to_le_bytes().to_vec())).collect();
    let files = deltas(&vfs, &changes, 512);
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].entries, 1);
    assert_eq!(restore(&vfs, &files)[&key_of(200)], 999_u32.to_le_bytes());
}

/// Behind a Clear there is nothing left to hide.
#[test]
fn deletes_after_a_clear_are_left_out() {
    let vfs = disk();
    let changes = [
        Change::Put(90, b"old".to_vec()),
        Change::Clear,
        Change::Put(91, b"new".to_vec()),
        Change::Delete(91),
        Change::Delete(92),
        Change::Put(93, b"kept".to_vec()),
    ];
    let files = deltas(&vfs, &changes, 1 << 16);
    assert_eq!((files.len(), files[0].entries, files[0].tombstones), (1, 1, 0));
}

#[test]
fn a_record_beyond_the_budget_is_taken_alone() {
    let mut builder = DeltaBuilder::new(100);
    let value = vec![1; 1000];
    assert_eq!(builder.push(&put(b"a", &value)), Pushed::Taken);
    assert_eq!(builder.push(&put(b"b", b"")), Pushed::Full);
    assert_eq!(builder.push(&CLEAR), Pushed::Taken);
    assert_eq!(builder.push(&put(b"b", b"")), Pushed::Taken);
}

/// A delta that could not be written is still held, and a new attempt writes the same.
#[test]
fn a_failed_write_loses_nothing() {
    let vfs = disk();
    let mut builder = DeltaBuilder::new(1 << 16);
    for key in [b"c", b"a", b"b", b"a"] {
        assert_eq!(builder.push(&put(key, b"v")), Pushed::Taken);
    }
    let written = block_on(async {
        let first = writer(&vfs, header(FileKind::Delta, 1, 0, 1)).await;
        vfs.fail("sync_data", 0, std::io::ErrorKind::StorageFull, false);
        assert_eq!(builder.write(first).await.unwrap_err().kind(), crate::ErrorKind::Full);
        vfs.fail("none", 0, std::io::ErrorKind::Other, false);
        assert_eq!(builder.push(&put(b"d", b"v")), Pushed::Taken);
        builder.write(writer(&vfs, header(FileKind::Delta, 2, 0, 1)).await).await.unwrap()
    });
    assert_eq!(sealed(&vfs, written).entries, 4);
}
