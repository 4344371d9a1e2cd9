use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::checkpoint::merge::{distribute, distribute_in_passes, merge, merge_in_passes};
use crate::checkpoint::reader::verify;
use crate::codec::Digest;
use crate::error::ErrorKind;

/// Keys of one delta, each with its value or its deletion, and whether a Clear comes first.
type DeltaModel = (bool, BTreeMap<Vec<u8>, Option<Vec<u8>>>);

fn small_key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0_u8..4, 0..4)
}

fn delta_model() -> impl Strategy<Value = DeltaModel> {
    let value = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..40));
    (prop::bool::weighted(0.1), prop::collection::btree_map(small_key(), value, 0..60))
}

fn write_delta(vfs: &MemoryVfs, attempt: u32, from: u64, (clears, changes): &DeltaModel) -> CheckpointFile {
    let mut records = Vec::new();
    if *clears {
        records.push(CLEAR);
    }
    records.extend(changes.iter().map(|(key, value)| match value {
        Some(value) => put(key, value),
        None => delete(key),
    }));
    write(vfs, header(FileKind::Delta, attempt, from, from + 1), &records)
}

fn merged(vfs: &MemoryVfs, chain: &[CheckpointFile]) -> crate::Result<CheckpointFile> {
    let through = chain.last().unwrap().through_epoch.0;
    let target = header(FileKind::Base, 99, 0, through);
    block_on(merge(vfs, root(), chain, || target, (grouping(), Pace::default())))
        .map(|written| sealed(vfs, written))
}

/// The same with so few files open.
fn in_passes(vfs: &MemoryVfs, chain: &[CheckpointFile], files_max: usize) -> crate::Result<CheckpointFile> {
    let through = chain.last().unwrap().through_epoch.0;
    let attempt = Cell::new(100);
    let target = || header(FileKind::Base, attempt.replace(attempt.get() + 1), 0, through);
    let chain = (chain, files_max);
    block_on(merge_in_passes(vfs, root(), chain, target, (grouping(), Pace::default())))
        .map(|written| sealed(vfs, written))
}

proptest! {
    /// The new base alone restores what the chain restored, with right counts and digests.
    #[test]
    fn a_merge_is_the_chain_replayed(
        base in prop::option::of(prop::collection::btree_map(small_key(), prop::collection::vec(any::<u8>(), 0..40), 0..60)),
        deltas in prop::collection::vec(delta_model(), 1..12),
        short in any::<bool>(),
    ) {
        let vfs = disk();
        if short {
            vfs.short();
        }
        let mut chain = Vec::new();
        if let Some(base) = &base {
            let records: Vec<_> = base.iter().map(|(key, value)| put(key, value)).collect();
            chain.push(write(&vfs, header(FileKind::Base, 0, 0, 1), &records));
        }
        for (place, delta) in (0_u32..).zip(&deltas) {
            chain.push(write_delta(&vfs, place + 1, u64::from(place) + u64::from(base.is_some()), delta));
        }
        let expected = restore(&vfs, &chain);
        let file = merged(&vfs, &chain).unwrap();
        prop_assert_eq!(restore(&vfs, &[file]), expected.clone());
        let before = vfs.image();
        let short = in_passes(&vfs, &chain, 3).unwrap();
        prop_assert_eq!(restore(&vfs, &[short]), expected.clone());
        prop_assert_eq!(vfs.image().len(), before.len() + 1, "the bases between stay");
        prop_assert_eq!((file.entries, file.tombstones), (expected.len() as u64, 0));
        prop_assert_eq!(file.through_epoch, chain.last().unwrap().through_epoch);

        let mut digest = Digest::default();
        for (key, value) in &expected {
            let record = put(key, value);
            let mut encoded = vec![0; record.encoded_bytes()];
            record.encode(&mut encoded);
            digest.add(&encoded);
        }
        prop_assert_eq!(file.digest, digest.0);
        block_on(verify(&vfs, root(), DATABASE, &file, Some(&grouping()))).unwrap();
    }
}

/// Equal chains make equal files, but for the identity in their headers and what it salts.
#[test]
fn the_digests_of_the_groups_add_up_and_do_not_depend_on_the_chain() {
    let vfs = disk();
    let base = write(&vfs, header(FileKind::Base, 0, 0, 1), &[put(b"a", b"1"), put(b"b", b"2")]);
    let delta = write(&vfs, header(FileKind::Delta, 1, 1, 2), &[delete(b"a"), put(b"c", b"3")]);
    let whole = write(&vfs, header(FileKind::Base, 2, 0, 2), &[put(b"b", b"2"), put(b"c", b"3")]);
    let merged = merged(&vfs, &[base, delta]).unwrap();
    let footer = |file: &CheckpointFile| {
        block_on(FileReader::open(&vfs, root(), DATABASE, file)).unwrap().footer().clone()
    };
    assert_eq!(footer(&merged), footer(&whole));
    assert_eq!(footer(&whole).groups.iter().map(|group| group.entries).sum::<u64>(), 2);
}

/// Files before a Clear are void, and their damage is nobody's.
#[test]
fn what_a_clear_voids_is_not_read() {
    let vfs = disk();
    let base = write(&vfs, header(FileKind::Base, 0, 0, 1), &[put(b"a", b"1")]);
    let delta = write(&vfs, header(FileKind::Delta, 1, 1, 2), &[CLEAR, put(b"c", b"3")]);
    let mut bytes = vfs.bytes(&file_path(root(), &base.name));
    bytes[96 + 20] ^= 1;
    vfs.plant(file_path(root(), &base.name), &bytes);
    let merged = merged(&vfs, &[base, delta]).unwrap();
    assert_eq!(restore(&vfs, &[merged]).into_keys().collect::<Vec<_>>(), [b"c".to_vec()]);
}

#[test]
fn a_damaged_input_leaves_no_base() {
    let vfs = disk();
    let base = write(&vfs, header(FileKind::Base, 0, 0, 1), &[put(b"a", b"1")]);
    let delta = write(&vfs, header(FileKind::Delta, 1, 1, 2), &[put(b"c", b"3")]);
    let path = file_path(root(), &delta.name);
    let mut bytes = vfs.bytes(&path);
    bytes[96 + 20] ^= 1;
    vfs.plant(&path, &bytes);
    let before = vfs.image();
    let error = merged(&vfs, &[base, delta]).unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Corrupt, Some(path.as_path())));
    assert_eq!(vfs.image(), before);
}

/// A base whose groups were digested under another seed or count is not the state it claims to be.
#[test]
fn a_wrong_group_digest_is_found() {
    let vfs = disk();
    let base = write(&vfs, header(FileKind::Base, 0, 0, 1), &[put(b"a", b"1"), put(b"b", b"2")]);
    let other = Grouping::of(8, Route::WholeKey, GROUPS);
    let error = block_on(verify(&vfs, root(), DATABASE, &base, Some(&other))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

/// From two cores to three: each new core takes its keys from both chains, deletes and a Clear included.
#[test]
fn a_new_count_of_cores_divides_the_chains_anew() {
    let vfs = disk();
    let of_core = |core, cores, header: Header| Header { core: CoreId(core), cores, ..header };
    let old = [
        write(&vfs, of_core(0, 2, header(FileKind::Base, 0, 0, 1)), &[put(b"a", b"1"), put(b"b", b"2")]),
        write(&vfs, of_core(0, 2, header(FileKind::Delta, 1, 1, 2)), &[delete(b"a"), put(b"d", b"4")]),
        write(&vfs, of_core(1, 2, header(FileKind::Base, 2, 0, 1)), &[put(b"x", b"5")]),
        write(
            &vfs,
            of_core(1, 2, header(FileKind::Delta, 3, 1, 2)),
            &[CLEAR, put(b"y", b"6"), put(b"z", b"7")],
        ),
    ];
    let owner = |key: &[u8]| CoreId(u16::from(key[0] % 3));
    let targets: Vec<_> =
        (0..3).map(|core| of_core(core, 3, header(FileKind::Base, 10 + u32::from(core), 0, 2))).collect();
    let chains = [old[..2].to_vec(), old[2..].to_vec()];
    let how = (grouping(), Pace::default());
    let bases = block_on(distribute(&vfs, root(), &chains, &targets, how, owner)).unwrap();
    let bases: Vec<_> = bases.into_iter().map(|base| sealed(&vfs, base)).collect();

    // With fewer files open it takes two passes and makes the same.
    let others: Vec<_> =
        (0..3).map(|core| of_core(core, 3, header(FileKind::Base, 20 + u32::from(core), 0, 2))).collect();
    let how = (grouping(), Pace::default());
    let again = block_on(distribute_in_passes(&vfs, root(), &chains, (&others, 2), how, owner)).unwrap();
    let again: Vec<_> = again.into_iter().map(|base| sealed(&vfs, base)).collect();
    assert_eq!(again.len(), bases.len());
    for (base, again) in bases.iter().zip(&again) {
        assert_eq!((base.core, restore(&vfs, &[*base])), (again.core, restore(&vfs, &[*again])));
    }
    for base in &bases {
        assert!(restore(&vfs, &[*base]).keys().all(|key| owner(key) == base.core));
    }
    let keys: Vec<_> = restore(&vfs, &bases).into_keys().collect();
    assert_eq!(keys, [b"b", b"d", b"y", b"z"]);
}
