use std::io;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::checkpoint::footer::{Footer, GroupDigest};
use crate::checkpoint::reader::verify;
use crate::codec::{Digest, crc};
use crate::error::ErrorKind;
use crate::ids::KeyGroup;

/// Records of a base that take several blocks and more than one read.
fn many() -> Vec<(Vec<u8>, Vec<u8>)> {
    (0..5000_u32).map(|i| (format!("key-{i:06}").into_bytes(), vec![b'v'; 80 + i as usize % 90])).collect()
}

fn write_many(vfs: &MemoryVfs) -> CheckpointFile {
    let many = many();
    let records: Vec<_> = many.iter().map(|(key, value)| put(key, value)).collect();
    write(vfs, header(FileKind::Base, 1, 0, 5), &records)
}

fn small_base(vfs: &MemoryVfs) -> CheckpointFile {
    write(vfs, header(FileKind::Base, 1, 0, 5), &[put(b"", b"empty key"), put(b"a", b""), put(b"b", b"2")])
}

fn small_delta(vfs: &MemoryVfs) -> CheckpointFile {
    write(vfs, header(FileKind::Delta, 2, 5, 7), &[CLEAR, put(b"a", b"1"), delete(b"b")])
}

#[test]
fn a_file_reads_back_as_it_was_written() {
    for short in [false, true] {
        let vfs = disk();
        if short {
            vfs.short();
        }
        let file = write_many(&vfs);
        let read: Model =
            read(&vfs, &file).unwrap().into_iter().map(|(_, key, value)| (key, value)).collect();
        assert_eq!(read, many().into_iter().collect());
        assert_eq!(file.entries, 5000);
        assert_eq!(file.bytes, vfs.bytes(&file_path(root(), &file.name)).len() as u64);
        block_on(verify(&vfs, root(), DATABASE, &file, Some(&grouping()))).unwrap();
    }
}

#[test]
fn a_sealed_file_survives_a_crash() {
    let vfs = disk();
    let file = small_base(&vfs);
    vfs.crash();
    assert_eq!(read(&vfs, &file).unwrap().len(), 3);
}

#[test]
fn an_empty_file_is_a_file() {
    let vfs = disk();
    let base = write(&vfs, header(FileKind::Base, 1, 0, 1), &[]);
    let delta = write(&vfs, header(FileKind::Delta, 2, 0, 1), &[]);
    let cleared = write(&vfs, header(FileKind::Delta, 3, 0, 1), &[CLEAR]);
    assert!(read(&vfs, &base).unwrap().is_empty());
    assert!(read(&vfs, &delta).unwrap().is_empty());
    assert_eq!(read(&vfs, &cleared).unwrap().len(), 1);
}

#[test]
fn a_large_record_has_a_block_of_its_own() {
    let vfs = disk();
    let large = vec![7; 700_000];
    let records = [put(b"a", b"1"), put(b"b", &large), put(b"c", b"3"), put(b"d", &large)];
    let file = write(&vfs, header(FileKind::Base, 1, 0, 1), &records);
    assert_eq!(read(&vfs, &file).unwrap().len(), 4);
    block_on(async {
        let reader = FileReader::open(&vfs, root(), DATABASE, &file).await.unwrap();
        assert_eq!(reader.index().await.unwrap().len(), 4);
    });
}

/// What fills several writes, with records that no write is meant for among them.
#[test]
fn a_file_of_many_writes_reads_back() {
    let vfs = disk();
    let value = |i: usize| {
        vec![u8::try_from(i % 251).unwrap(); if i % 1000 == 999 { 1_500_000 } else { 50 + i % 900 }]
    };
    let many: Vec<_> = (0..6000).map(|i| (format!("key-{i:06}").into_bytes(), value(i))).collect();
    let records: Vec<_> = many.iter().map(|(key, value)| put(key, value)).collect();
    let file = write(&vfs, header(FileKind::Base, 1, 0, 5), &records);
    assert!(file.bytes > 10_000_000, "{} bytes", file.bytes);
    let read: Vec<_> = read(&vfs, &file).unwrap().into_iter().map(|(_, key, value)| (key, value)).collect();
    assert!(read == many);
}

#[test]
fn a_name_is_never_written_twice() {
    let vfs = disk();
    small_base(&vfs);
    let again = block_on(FileWriter::create(&vfs, root(), header(FileKind::Base, 1, 0, 5), Some(grouping())));
    assert_eq!(again.err().unwrap().kind(), ErrorKind::Failed);
    assert!(read(&vfs, &small_base_listing()).is_ok());
}

/// The listing of [`small_base`], which is the same every time: equal input makes equal bytes.
fn small_base_listing() -> CheckpointFile {
    small_base(&disk())
}

fn damaged(vfs: &MemoryVfs, path: &PathBuf, bytes: &[u8], file: &CheckpointFile, what: &str) {
    vfs.plant(path, bytes);
    let error = read(vfs, file).expect_err(what);
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
    assert_eq!(error.path(), Some(path.as_path()), "{what}");
}

#[test]
fn every_flipped_bit_and_every_other_length_is_named_corruption() {
    for make in [small_base, small_delta] {
        let vfs = disk();
        let file = make(&vfs);
        let path = file_path(root(), &file.name);
        let bytes = vfs.bytes(&path);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                damaged(&vfs, &path, &flipped, &file, &format!("byte {at}, bit {bit}"));
            }
            damaged(&vfs, &path, &bytes[..at], &file, &format!("cut at {at}"));
        }
        damaged(&vfs, &path, &[&bytes[..], &[0]].concat(), &file, "one byte more");
        vfs.plant(&path, &bytes);
        assert!(read(&vfs, &file).is_ok());
    }
}

#[test]
fn a_missing_file_and_another_files_bytes_are_corrupt() {
    let vfs = disk();
    let (base, delta) = (small_base(&vfs), small_delta(&vfs));
    let path = file_path(root(), &base.name);
    let other = write(
        &vfs,
        header(FileKind::Base, 9, 0, 5),
        &[put(b"", b"empty key"), put(b"a", b""), put(b"b", b"2")],
    );
    assert_eq!(other.bytes, base.bytes);
    let bytes = vfs.bytes(&file_path(root(), &other.name));
    damaged(&vfs, &path, &bytes, &base, "another file");
    block_on(crate::vfs::Vfs::remove(&vfs, &file_path(root(), &delta.name))).unwrap();
    assert_eq!(read(&vfs, &delta).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_listing_that_disagrees_is_corrupt() {
    let vfs = disk();
    let file = small_base(&vfs);
    let edits: [fn(&mut CheckpointFile); 10] = [
        |file| file.bytes += 1,
        |file| file.crc ^= 1,
        |file| file.entries += 1,
        |file| file.tombstones += 1,
        |file| file.live_bytes -= 1,
        |file| file.digest ^= 1,
        |file| file.core = CoreId(0),
        |file| file.cores = 3,
        |file| file.through_epoch = Epoch(6),
        |file| file.name.kind = FileKind::Delta,
    ];
    for edit in edits {
        let mut listed = file;
        edit(&mut listed);
        assert_eq!(read(&vfs, &listed).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    let elsewhere = block_on(FileReader::open(&vfs, root(), Nonce(1), &file));
    assert_eq!(elsewhere.err().unwrap().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_failing_device_is_no_damage() {
    let vfs = disk();
    let file = write_many(&vfs);
    for reads in 0..6 {
        vfs.fail("read_at", reads, io::ErrorKind::Other, false);
        assert_eq!(read(&vfs, &file).unwrap_err().kind(), ErrorKind::Failed);
    }
}

#[test]
fn a_full_device_gets_its_space_back() {
    for operation in ["write_at", "sync_data"] {
        let vfs = disk();
        let error = block_on(async {
            let mut writer = writer(&vfs, header(FileKind::Base, 1, 0, 5)).await;
            vfs.fail(operation, 0, io::ErrorKind::StorageFull, false);
            let mut result = Ok(());
            for (key, value) in many() {
                result = writer.push(&put(&key, &value)).await;
                if result.is_err() {
                    break;
                }
            }
            let error = match result {
                Ok(()) => writer.finish().await.map(|_| ()).unwrap_err(),
                Err(error) => error,
            };
            writer.abandon().await;
            error
        });
        assert_eq!(error.kind(), ErrorKind::Full);
        assert_eq!(vfs.image().len(), 3, "only folders are left");
    }
}

#[test]
fn the_index_finds_the_block_of_every_key() {
    let vfs = disk();
    let file = write_many(&vfs);
    block_on(async {
        let reader = FileReader::open(&vfs, root(), DATABASE, &file).await.unwrap();
        let index = reader.index().await.unwrap();
        assert!(index.len() > 8, "{} blocks", index.len());
        for (key, value) in many().iter().step_by(37) {
            let block = reader.block(&index, index.block_of(key)).await.unwrap();
            let found = block.entries().find(|entry| entry.record.key == key.as_slice()).unwrap();
            assert_eq!(found.record.value, value.as_slice());
        }
        assert_eq!(index.block_of(b""), 0);
        assert_eq!(index.block_of(b"zzz"), index.len() - 1);
    });
}

/// First keys are cut short in the index; keys that differ only behind the cut are found all the same.
#[test]
fn long_keys_with_a_common_front_are_found() {
    let vfs = disk();
    let key = |i: u32| {
        let mut key = vec![b'k'; 300];
        key.extend_from_slice(format!("{i:05}").as_bytes());
        key
    };
    let keys: Vec<_> = (0..600).map(|i| key(2 * i)).collect();
    let value = vec![0; 500];
    let records: Vec<_> = keys.iter().map(|key| put(key, &value)).collect();
    let file = write(&vfs, header(FileKind::Base, 1, 0, 5), &records);
    block_on(async {
        let reader = FileReader::open(&vfs, root(), DATABASE, &file).await.unwrap();
        let index = reader.index().await.unwrap();
        assert!(index.len() > 4);
        for sought in (0..1200).step_by(7).map(key) {
            let mut found = false;
            for place in index.block_of(&sought)..index.len() {
                let block = reader.block(&index, place).await.unwrap();
                found |= block.entries().any(|entry| entry.record.key == sought);
            }
            assert_eq!(found, keys.contains(&sought));
        }
    });
}

proptest! {
    #[test]
    fn random_bytes_are_no_file(bytes in prop::collection::vec(any::<u8>(), 0..600), keep in 0_usize..200) {
        let vfs = disk();
        let file = small_base(&vfs);
        let path = file_path(root(), &file.name);
        let good = vfs.bytes(&path);
        let mut mixed = good[..keep.min(good.len())].to_vec();
        mixed.extend_from_slice(&bytes);
        let listed = CheckpointFile { bytes: mixed.len() as u64, ..file };
        vfs.plant(&path, &mixed);
        prop_assert_eq!(read(&vfs, &listed).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn the_delta_on_the_format_page_is_real() {
    let vfs = disk();
    let file = write(&vfs, header(FileKind::Delta, 2, 5, 7), &[put(b"a", b"100"), delete(b"b")]);
    crate::manifest::tests::format_page::assert_on_page(&vfs.bytes(&file_path(root(), &file.name)));
}

/// What the format calls zeroes is refused otherwise, also under a checksum that matches.
#[test]
fn a_footer_with_something_in_its_zeroes_is_refused() {
    let group = GroupDigest { group: KeyGroup(1), entries: 1, digest: Digest(7) };
    let footer = Footer {
        entries: 1,
        live_bytes: 9,
        digest: Digest(7),
        key_groups: 4,
        groups: vec![group],
        ..Footer::default()
    };
    let bytes = footer.encode().unwrap().to_vec();
    let read = |bytes: &[u8]| Footer::decode(Path::new("footer"), bytes, crc(5, bytes), 5, 0);
    assert_eq!((read(&bytes).unwrap(), bytes.len()), (footer, 32 + 56));
    for at in (26..32).chain(32 + 52..32 + 56) {
        let mut other = bytes.clone();
        other[at] = 1;
        assert_eq!(read(&other).unwrap_err().kind(), ErrorKind::Corrupt, "byte {at}");
    }
}
