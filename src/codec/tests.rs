//! What is written is read back, and bytes that nobody wrote are refused without a panic.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{Digest, EpochEnd, Reader, Record, RecordKind, Writer, core_of, groups_of, key_group};
use crate::ids::{CoreId, Epoch, FencingToken, KeyGroup};
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::offset::Offset;
use crate::route::Route;

fn any_kind() -> impl Strategy<Value = RecordKind> {
    prop_oneof![
        Just(RecordKind::Put),
        Just(RecordKind::Delete),
        Just(RecordKind::Clear),
        Just(RecordKind::EpochEnd)
    ]
}

fn any_epoch_end() -> impl Strategy<Value = EpochEnd> {
    let offset = prop_oneof![
        any::<u64>().prop_map(Offset::Number),
        vec(any::<u8>(), 0..=1024).prop_map(Offset::Opaque)
    ];
    let offsets = vec((".{0,20}", offset), 0..8);
    let sinks = vec((".{0,20}", option::of(vec(any::<u8>(), 0..200))), 0..4);
    (any::<u64>(), any::<u64>(), any::<Option<i64>>(), offsets, sinks).prop_map(
        |(epoch, token, watermark, offsets, sinks)| EpochEnd {
            epoch: Epoch(epoch),
            token: FencingToken(token),
            watermark,
            offsets,
            sinks,
        },
    )
}

proptest! {
    #[test]
    fn a_record_reads_back_and_leaves_the_rest(
        kind in any_kind(), key in vec(any::<u8>(), 0..300), value in vec(any::<u8>(), 1..300), rest in vec(any::<u8>(), 0..20),
    ) {
        let (key, value) = match kind {
            RecordKind::Put => (&key[..], &value[..]),
            RecordKind::Delete => (&key[..], &[][..]),
            RecordKind::Clear => (&[][..], &[][..]),
            RecordKind::EpochEnd => (&[][..], &value[..]),
        };
        let record = Record { kind, key, value };
        let mut bytes = vec![0; record.encoded_bytes()];
        record.encode(&mut bytes);
        bytes.extend_from_slice(&rest);
        prop_assert_eq!(Record::decode(&bytes), Some((record, &rest[..])));
        for end in 0..record.encoded_bytes() {
            prop_assert_eq!(Record::decode(&bytes[..end]), None);
        }
    }

    #[test]
    fn a_record_that_decodes_encodes_to_the_same_bytes(mut bytes in vec(any::<u8>(), 0..200), likely in any::<bool>()) {
        if likely && bytes.len() > 8 {
            bytes[1..4].fill(0);
            bytes[5] = 0;
            bytes[6] &= 7;
            bytes[7] = 0;
        }
        if let Some((record, rest)) = Record::decode(&bytes) {
            let mut again = vec![0; record.encoded_bytes()];
            record.encode(&mut again);
            again.extend_from_slice(rest);
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn fields_read_back_in_order(a in any::<u8>(), b in any::<u16>(), c in any::<u32>(), d in any::<u64>(), e in any::<i64>(), f in any::<u128>()) {
        let mut bytes = Vec::new();
        Writer(&mut bytes).u8(a).u16(b).u32(c).u64(d).i64(e).u128(f).bytes(b"end");
        prop_assert_eq!(bytes.len(), 1 + 2 + 4 + 8 + 8 + 16 + 3);
        let mut from = Reader(&bytes);
        prop_assert_eq!((from.u8(), from.u16(), from.u32()), (Some(a), Some(b), Some(c)));
        prop_assert_eq!((from.u64(), from.i64(), from.u128()), (Some(d), Some(e), Some(f)));
        prop_assert_eq!(from.u32(), None, "three bytes are no four, and stay");
        prop_assert_eq!(from.bytes(3), Some(&b"end"[..]));
        prop_assert!(from.is_empty());
    }

    #[test]
    fn an_epoch_end_reads_back(mark in any_epoch_end()) {
        let mut bytes = Vec::new();
        mark.encode(&mut bytes);
        prop_assert_eq!(EpochEnd::decode(&bytes), Some(mark));
        for end in 0..bytes.len() {
            prop_assert_eq!(EpochEnd::decode(&bytes[..end]), None, "cut at {}", end);
        }
        bytes.push(0);
        prop_assert_eq!(EpochEnd::decode(&bytes), None, "nothing may follow");
    }

    #[test]
    fn a_damaged_epoch_end_is_refused_or_spelled_the_same(mark in any_epoch_end(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = Vec::new();
        mark.encode(&mut bytes);
        *at.get_mut(&mut bytes) = byte;
        if let Some(read) = EpochEnd::decode(&bytes) {
            let mut again = Vec::new();
            read.encode(&mut again);
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = EpochEnd::decode(&bytes);
        let _ = Record::decode(&bytes);
    }

    #[test]
    fn groups_rise_with_the_hash_and_stay_in_range(a in any::<u64>(), b in any::<u64>(), groups in 1..=32_768_u16) {
        let (low, high) = (key_group(a.min(b), groups), key_group(a.max(b), groups));
        prop_assert!(low <= high && high.0 < groups);
        prop_assert_eq!(key_group(u64::MAX, groups).0, groups - 1);
    }

    #[test]
    fn every_core_owns_one_run_of_groups(cores in 1..=256_u16, more in 0..4000_u16) {
        let groups = cores + more;
        let owners: Vec<CoreId> = (0..groups).map(|group| core_of(KeyGroup(group), groups, cores)).collect();
        prop_assert!(owners.is_sorted());
        let mut owned = vec![0_u16; usize::from(cores)];
        for (group, owner) in (0..groups).zip(owners) {
            owned[owner.index()] += 1;
            prop_assert!(groups_of(owner, groups, cores).contains(&group));
        }
        let (least, most) = (owned.iter().min().unwrap(), owned.iter().max().unwrap());
        prop_assert!(*least >= 1 && most - least <= 1, "{:?}", owned);
    }

    #[test]
    fn a_digest_knows_the_entries_and_how_often_but_not_their_order(
        entries in vec(vec(any::<u8>(), 0..20), 1..20), seed in any::<u64>(), twice in any::<prop::sample::Index>(),
    ) {
        let mut shuffled = entries.clone();
        shuffled.sort_by_key(|entry| xxhash_rust::xxh3::xxh3_64_with_seed(entry, seed));
        prop_assert_eq!(digest(&entries), digest(&shuffled));

        let (front, back) = entries.split_at(twice.index(entries.len()));
        let mut merged = digest(front);
        merged.merge(digest(back));
        prop_assert_eq!(merged, digest(&entries));

        let entry = twice.get(&entries).clone();
        let mut more = entries.clone();
        more.extend([entry.clone(), entry]);
        prop_assert_ne!(digest(&more), digest(&entries), "two more of the same do not cancel out");
    }

    #[test]
    fn a_route_is_a_front_part_of_the_key(key in vec(any::<u8>(), 0..40), bytes in 0..50_u16, delimiter in any::<u8>()) {
        for route in [Route::WholeKey, Route::Prefix(bytes), Route::Until(delimiter)] {
            prop_assert!(key.starts_with(route.of(&key)));
            prop_assert_eq!(route.of(route.of(&key)), route.of(&key));
        }
    }
}

fn digest(entries: &[Vec<u8>]) -> Digest {
    let mut digest = Digest::default();
    for entry in entries {
        digest.add(entry);
    }
    digest
}

#[test]
fn a_record_over_a_limit_is_refused() {
    for (value_bytes, key_bytes) in [(VALUE_BYTES_MAX + 1, 0), (0, KEY_BYTES_MAX + 1)] {
        let mut bytes = vec![0; 8 + key_bytes + value_bytes];
        bytes[..4].copy_from_slice(&u32::try_from(value_bytes).unwrap().to_le_bytes());
        bytes[4..6].copy_from_slice(&u16::try_from(key_bytes).unwrap().to_le_bytes());
        bytes[6] = RecordKind::Put as u8;
        assert_eq!(Record::decode(&bytes), None);
    }
}

#[test]
fn zeroes_are_no_record_and_no_mark_with_sinks() {
    assert_eq!(Record::decode(&[0; 64]), None);
    assert_eq!(
        EpochEnd::decode(&[0; 28]),
        Some(EpochEnd::default()),
        "28 zeroes are epoch 0, which nobody writes"
    );
    let mut listed = [0; 30];
    listed[16] = 2;
    assert_eq!(EpochEnd::decode(&listed), None, "sinks are listed, and there are none");
}

#[test]
fn a_route_ends_where_it_says() {
    assert_eq!(Route::WholeKey.of(b"user/7"), b"user/7");
    assert_eq!(Route::Prefix(4).of(b"user/7"), b"user");
    assert_eq!(Route::Prefix(4).of(b"us"), b"us");
    assert_eq!(Route::Until(b'/').of(b"user/7/x"), b"user");
    assert_eq!(Route::Until(b'/').of(b"/x"), b"");
    assert_eq!(Route::Until(b'/').of(b"user"), b"user");
}

#[test]
fn an_integer_literal_is_an_offset() {
    fn offset(offset: impl Into<Offset>) -> Offset {
        offset.into()
    }
    assert_eq!(offset(42), Offset::Number(42));
    assert_eq!(offset(&b"lsn"[..]), Offset::Opaque(b"lsn".to_vec()));
}
