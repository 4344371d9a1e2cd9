use std::path::Path;

use proptest::prelude::*;

use super::samples;
use crate::error::ErrorKind;
use crate::ids::{CoreId, Epoch, FencingToken, Lsn, ManifestSeq, Nonce, SegmentNo};
use crate::manifest::check::Flaw;
use crate::manifest::codec::{decode, encode};
use crate::manifest::{Author, Cut, FileKind, FileName, Manifest};

fn path() -> &'static Path {
    Path::new("m/9")
}

#[test]
fn a_manifest_reads_back_as_it_was_written() {
    let created = Manifest::create(samples::DATABASE, samples::TIMELINE, Nonce(5));
    for manifest in [samples::manifest(), samples::keeper(), samples::decider(), created] {
        let encoded = encode(&manifest).unwrap();
        let (read, crc) = decode(path(), &encoded.bytes).unwrap();
        assert_eq!(read, manifest);
        assert_eq!(crc, encoded.crc);
    }
}

#[test]
fn equal_manifests_have_equal_bytes() {
    let encoded = encode(&samples::manifest()).unwrap();
    assert_eq!(encoded.bytes, encode(&samples::manifest()).unwrap().bytes);
    assert_eq!(encoded.bytes, encode(&decode(path(), &encoded.bytes).unwrap().0).unwrap().bytes);
}

#[test]
fn every_flipped_bit_is_named_corruption() {
    let bytes = encode(&samples::keeper()).unwrap().bytes;
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let error = decode(path(), &damaged).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}, bit {bit}: {error}");
            assert_eq!(error.path(), Some(path()));
        }
    }
}

#[test]
fn a_shortened_or_extended_file_is_corrupt() {
    let bytes = encode(&samples::manifest()).unwrap().bytes;
    for length in 0..bytes.len() {
        assert_eq!(decode(path(), &bytes[..length]).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    let extended = [&bytes[..], &[0]].concat();
    assert_eq!(decode(path(), &extended).unwrap_err().kind(), ErrorKind::Corrupt);
}

/// Repairs both crcs, as one who means harm would.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let body_crc = crate::codec::crc(0, &bytes[48..]);
    bytes[16..20].copy_from_slice(&body_crc.to_le_bytes());
    let header_crc = crate::codec::crc(0, &bytes[..44]);
    bytes[44..48].copy_from_slice(&header_crc.to_le_bytes());
    bytes
}

#[test]
fn damage_behind_a_valid_checksum_neither_panics_nor_breaks_a_rule() {
    for sample in [samples::keeper(), samples::decider()] {
        let bytes = encode(&sample).unwrap().bytes;
        for at in 48..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                if let Ok((manifest, _)) = decode(path(), &resealed(damaged)) {
                    assert_eq!(manifest.check(), Ok(()));
                }
            }
        }
    }
}

#[test]
fn a_newer_format_is_unsupported_and_not_corrupt() {
    let mut bytes = encode(&samples::manifest()).unwrap().bytes;
    bytes[8] = 2;
    let error = decode(path(), &resealed(bytes)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("format 2"), "{error}");
}

proptest! {
    #[test]
    fn random_bytes_are_no_manifest(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(decode(path(), &bytes).is_err());
        let mut dressed = b"HWMANIF\0\x01\0\0\0".to_vec();
        let body_bytes = u32::try_from(bytes.len()).unwrap();
        dressed.extend_from_slice(&body_bytes.to_le_bytes());
        dressed.extend_from_slice(&[0; 32]);
        dressed.extend_from_slice(&bytes);
        let dressed = resealed(dressed);
        prop_assert!(decode(path(), &dressed).is_err());
    }
}

/// One edit, and the rule that it breaks.
type Breach = (fn(&mut Manifest), fn(Flaw) -> bool);

#[test]
fn every_broken_rule_is_found() {
    let breaches: &[Breach] = &[
        (|m| m.seq = ManifestSeq(8), |f| matches!(f, Flaw::Sequence(8))),
        (|m| m.previous = None, |f| matches!(f, Flaw::Sequence(9))),
        (|m| m.token = FencingToken(0), |f| matches!(f, Flaw::Creation)),
        (|m| m.author = Author::Create, |f| matches!(f, Flaw::Creation)),
        (|m| m.lives.clear(), |f| matches!(f, Flaw::Creation)),
        (|m| m.cores = 3, |f| matches!(f, Flaw::CurrentLife)),
        (|m| m.recovered_epoch = Epoch(5), |f| matches!(f, Flaw::CurrentLife)),
        (|m| m.lives[0].cores.clear(), |f| matches!(f, Flaw::Cores(0))),
        (|m| m.lives[0].token = FencingToken(2), |f| matches!(f, Flaw::LifeOrder(_))),
        (|m| m.lives[0].recovered_epoch = Epoch(7), |f| matches!(f, Flaw::LifeOrder(_))),
        (|m| m.lives[0].cores[1].ceiling = None, |f| matches!(f, Flaw::Ceiling { core: 1, .. })),
        (|m| m.lives[1].cores[0].ceiling = Some(Lsn(60)), |f| matches!(f, Flaw::Ceiling { core: 0, .. })),
        (|m| m.lives[0].cores[0].ceiling = Some(Lsn(51)), |f| matches!(f, Flaw::Ceiling { .. })),
        (|m| m.lives[1].cores[0].first_segment = SegmentNo(1), |f| matches!(f, Flaw::Ceiling { .. })),
        (|m| m.wal_floor.truncate(1), |f| matches!(f, Flaw::FloorCount { floors: 1, cores: 2 })),
        (|m| m.wal_floor[1] = SegmentNo(4), |f| matches!(f, Flaw::FloorTooHigh(1))),
        (|m| m.checkpoints.swap(0, 1), |f| matches!(f, Flaw::FloorTooHigh(_) | Flaw::CheckpointOrder(_))),
        (|m| m.checkpoints[1].token = FencingToken(3), |f| matches!(f, Flaw::CheckpointOrder(_))),
        (|m| m.checkpoints[1].cuts[0].token = FencingToken(3), |f| matches!(f, Flaw::CutLife(_))),
        (|m| m.checkpoints[1].cuts.truncate(1), |f| matches!(f, Flaw::CutLife(_))),
        (|m| m.checkpoints[1].watermarks.truncate(1), |f| matches!(f, Flaw::CheckpointCores { .. })),
        (|m| m.checkpoints[1].files.rotate_left(1), |f| matches!(f, Flaw::FileChain { .. })),
        (|m| m.checkpoints[1].files[2].from_epoch = Epoch(5), |f| matches!(f, Flaw::FileChain { .. })),
        (|m| m.checkpoints[1].files[3].through_epoch = Epoch(7), |f| matches!(f, Flaw::FileChain { .. })),
        (|m| m.checkpoints[1].files[0].core = CoreId(2), |f| matches!(f, Flaw::FileChain { .. })),
        (|m| m.checkpoints[1].files[0].cores = 3, |f| matches!(f, Flaw::FileCores(_))),
        (|m| m.checkpoints[1].files[0].tombstones = 1, |f| matches!(f, Flaw::FileCounts(_))),
        (|m| m.checkpoints[1].files[0].live_bytes = 5000, |f| matches!(f, Flaw::FileCounts(_))),
        (|m| m.checkpoints[1].files[3] = m.checkpoints[1].files[2], |f| matches!(f, Flaw::FileTwice(_))),
        (|m| m.checkpoints[1].offsets.swap(0, 1), |f| matches!(f, Flaw::Offsets(_))),
        (|m| m.checkpoints[1].sinks.swap(0, 1), |f| matches!(f, Flaw::Sinks(_))),
        (|m| m.checkpoints[1].sinks.swap(1, 2), |f| matches!(f, Flaw::Sinks(_))),
        (|m| m.checkpoints[1].sinks[0].handle = None, |f| matches!(f, Flaw::Sinks(_))),
        (|m| m.checkpoints[1].sinks[1].core = CoreId(u16::MAX), |f| matches!(f, Flaw::Sinks(_))),
        (|m| m.retired.push(m.checkpoints[1].files[0].name), |f| matches!(f, Flaw::Retired)),
        (|m| m.retired.push(m.retired[0]), |f| matches!(f, Flaw::Retired)),
        (|m| m.retired.push(m.kept[0].checkpoint.files[0].name), |f| matches!(f, Flaw::Retired)),
        (|m| m.kept.swap(0, 1), |f| matches!(f, Flaw::Kept(_))),
        (|m| m.kept[1].checkpoint.token = FencingToken(3), |f| matches!(f, Flaw::Kept(_))),
        (|m| m.kept[1].checkpoint.watermarks.clear(), |f| matches!(f, Flaw::Kept(_))),
        (|m| m.kept[0].checkpoint.cuts.push(Cut::default()), |f| matches!(f, Flaw::Kept(_))),
        (|m| m.kept[0].checkpoint.sinks = m.checkpoints[0].sinks.clone(), |f| matches!(f, Flaw::Kept(_))),
        (|m| m.kept[0].checkpoint.files[0].core = CoreId(2), |f| matches!(f, Flaw::FileChain { .. })),
        (|m| m.kept[0].checkpoint.offsets.swap(0, 1), |f| matches!(f, Flaw::Offsets(_))),
        (|m| m.kept[0].pins.swap(0, 1), |f| matches!(f, Flaw::Pins(_))),
        (|m| m.kept[1].pins.push("audit".into()), |f| matches!(f, Flaw::Pins(_))),
        (|m| m.kept[1].pins.push(String::new()), |f| matches!(f, Flaw::Pins(_))),
    ];
    assert_eq!(samples::keeper().check(), Ok(()));
    for (index, (edit, expected)) in breaches.iter().enumerate() {
        let mut manifest = samples::keeper();
        edit(&mut manifest);
        let flaw = manifest.check().expect_err(&format!("breach {index} was not found"));
        assert!(expected(flaw), "breach {index}: {flaw:?}");
    }
}

#[test]
fn a_successor_keeps_everything_but_its_place() {
    let manifest = samples::manifest();
    let next = manifest.successor(0x77, Nonce(1), Author::Retire);
    assert_eq!(next.check(), Ok(()));
    assert_eq!((next.seq, next.previous), (ManifestSeq(10), Some((ManifestSeq(9), 0x77))));
    assert_eq!(next.checkpoints, manifest.checkpoints);
}

#[test]
fn trimming_forgets_lives_and_segments_behind_the_oldest_cut() {
    let mut manifest = samples::manifest();
    manifest.checkpoints.remove(0);
    manifest.trim();
    assert_eq!(manifest.wal_floor, [SegmentNo(5); 2]);
    assert_eq!(manifest.lives.len(), 2, "the cut lies in the first life");

    for cut in &mut manifest.checkpoints[0].cuts {
        *cut = Cut { token: FencingToken(2), segment: SegmentNo(8), lsn: Lsn(70) };
    }
    manifest.trim();
    assert_eq!(manifest.lives.len(), 1);
    assert_eq!(manifest.wal_floor, [SegmentNo(8); 2]);
    assert_eq!(manifest.check(), Ok(()));
}

/// From two cores to three: replay from a checkpoint of two reads the third core's log from its beginning, and a
/// checkpoint of three has a cut there.
#[test]
fn the_floor_of_a_new_core_is_where_its_log_begins() {
    let mut manifest = samples::manifest();
    manifest.cores = 3;
    let mut third = manifest.lives[1].cores[1];
    third.first_segment = SegmentNo(10);
    manifest.lives[1].cores.push(third);
    manifest.trim();
    assert_eq!(manifest.wal_floor, [SegmentNo(3), SegmentNo(3), SegmentNo(10)]);
    assert_eq!(manifest.check(), Ok(()));

    let mut wider = manifest.checkpoints[1].clone();
    wider.epoch = Epoch(8);
    wider.files.clear();
    wider.cuts =
        [9, 9, 12].map(|n| Cut { token: FencingToken(2), segment: SegmentNo(n), lsn: Lsn(90) }).to_vec();
    wider.watermarks.push(None);
    manifest.checkpoints.push(wider);
    manifest.trim();
    assert_eq!(manifest.wal_floor, [SegmentNo(3), SegmentNo(3), SegmentNo(10)]);
    assert_eq!(manifest.check(), Ok(()));
    manifest.checkpoints.drain(..2);
    manifest.trim();
    assert_eq!(manifest.wal_floor, [SegmentNo(9), SegmentNo(9), SegmentNo(12)]);
    assert_eq!(manifest.check(), Ok(()));
}

#[test]
fn a_file_name_parses_only_as_it_is_printed() {
    let name = samples::file(FileKind::Base, 3, 17, 0, 1).name;
    let text = name.to_string();
    assert_eq!(text, "0000000000000002-00000011-00000000000000110000000000000003.base");
    assert_eq!(FileName::parse(&text), Some(name));
    let strange = [
        text.to_uppercase(),
        text.replace(".base", ".tmp"),
        text.replace(".base", ".base.base"),
        text.replace('-', "_"),
        format!("../{text}"),
        format!("{text}\0"),
        text[1..].to_owned(),
        format!("+{}", &text[1..]),
        String::new(),
    ];
    for name in strange {
        assert_eq!(FileName::parse(&name), None, "{name}");
    }
}
