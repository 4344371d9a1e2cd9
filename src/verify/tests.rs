//! What only a wrong file shows whose every byte is as it was written.

use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{DamageKind, Proof, VerifyOptions, VerifyReport, verify};
use crate::checkpoint::FileReader;
use crate::checkpoint::block::Block;
use crate::checkpoint::file::Header;
use crate::checkpoint::writer::{FileWriter, seal};
use crate::codec::{Record, RecordKind, key_group, key_hash};
use crate::env::{Blocking, Entropy, Env, StdEnv};
use crate::ids::CoreId;
use crate::manifest::first_life::log_dir;
use crate::manifest::ident::{self, Ident};
use crate::manifest::store::{self, Head};
use crate::manifest::{Author, Checkpoint, FileName};
use crate::vfs::StdVfs;
use crate::wal::frame::{FrameHeader, FrameKind, chain_after};
use crate::wal::{SegmentHeader, segment_numbers, segment_path};
use crate::{Engine, EpochMark, Opened, Options};

/// Three epochs with a checkpoint each; the second one puts the keys 10 to 19 and deletes 3.
fn database(root: &Path) {
    let options = Options::new(root)
        .segment_bytes(64 << 10)
        .batch_bytes(4 << 10)
        .queue_bytes(64 << 10)
        .retain_checkpoints(10)
        .checkpoint_interval(None);
    let Opened { engine, mut cores, .. } = Engine::open(options).unwrap();
    for epoch in 0..3_u8 {
        for key in 10 * epoch..10 * epoch + 10 {
            cores[0].put(&[key], &[epoch; 20]).unwrap();
        }
        if epoch == 1 {
            cores[0].delete(&[3]).unwrap();
        }
        let closed = cores[0].close_epoch(EpochMark::new().offset("source", u64::from(epoch))).unwrap();
        engine.wait_durable(closed).unwrap();
        engine.checkpoint().unwrap();
    }
    engine.close(cores).unwrap();
}

async fn head(root: &Path) -> (Ident, Head) {
    let ident = ident::read(&StdVfs, root).await.unwrap().unwrap();
    (ident, store::head(&StdVfs, root, ident.database).await.unwrap().unwrap())
}

/// A record as bytes that live.
type Owned = (RecordKind, Vec<u8>, Vec<u8>);

/// Writes the delta of epoch 2 again, as `change` makes it, and lands a manifest that names it instead.
async fn rewrite(root: &Path, change: impl Fn(&mut Vec<Owned>)) {
    let (ident, head) = head(root).await;
    let old = *head.manifest.checkpoints[1].files.last().unwrap();
    let mut records: Vec<Owned> = Vec::new();
    let take = |block: &Block| {
        let owned = |record: &Record<'_>| (record.kind, record.key.to_vec(), record.value.to_vec());
        records.extend(block.entries().map(|entry| owned(&entry.record)));
    };
    let reader = FileReader::open(&StdVfs, root, ident.database, &old).await.unwrap();
    reader.load(take).await.unwrap();
    change(&mut records);
    let name = FileName { uuid: StdEnv.entropy().nonce(), ..old.name };
    let header = Header {
        database: ident.database,
        name,
        core: old.core,
        cores: old.cores,
        from_epoch: old.from_epoch,
        through_epoch: old.through_epoch,
    };
    let mut writer = FileWriter::create(&StdVfs, root, header, None).await.unwrap();
    for (kind, key, value) in &records {
        writer.push(&Record { kind: *kind, key, value }).await.unwrap();
    }
    let written = writer.finish().await.unwrap();
    let new = seal(&StdVfs, root, vec![written]).await.unwrap().remove(0);
    let mut next = head.manifest.successor(head.crc, StdEnv.entropy().nonce(), Author::Checkpoint);
    for checkpoint in &mut next.checkpoints {
        for file in checkpoint.files.iter_mut().filter(|file| file.name == old.name) {
            *file = new;
        }
    }
    next.retire_files_of(&head.manifest);
    store::land(&StdVfs, root, &next).await.unwrap();
}

/// What is found after the delta of epoch 2 was changed.
fn after(change: impl Fn(&mut Vec<Owned>)) -> (VerifyReport, Ident) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    database(&root);
    assert!(verify(&root, VerifyOptions::new()).unwrap().is_sound());
    StdEnv.block_on(rewrite(&root, change));
    let (ident, _) = StdEnv.block_on(head(&root));
    // In parts and in one go.
    let report = verify(&root, VerifyOptions::new()).unwrap();
    let poor = verify(&root, VerifyOptions::new().memory_bytes(0)).unwrap();
    assert_eq!((&poor.damage, &poor.epochs), (&report.damage, &report.epochs));
    (report, ident)
}

/// The one divergence is of `key`, which the log wrote at `lsn`.
fn assert_diverges((report, ident): &(VerifyReport, Ident), key: u8, lsn: Option<u64>, what: &str) {
    let [damage] = &report.damage[..] else { panic!("one piece of damage:\n{report}") };
    assert_eq!(damage.kind, DamageKind::Diverges, "{report}");
    assert_eq!(damage.epoch.map(|epoch| epoch.0), Some(2), "{report}");
    assert_eq!(damage.lsn.map(|lsn| lsn.0), lsn, "{report}");
    let group = key_group(key_hash(ident.hash_seed, &[key]), ident.key_groups);
    assert_eq!(damage.key_group, Some(group), "{report}");
    assert!(damage.what.contains(what), "{report}");
    let proofs: Vec<Proof> = report.epochs.iter().map(|epoch| epoch.proof).collect();
    assert_eq!(proofs, [Proof::FromTheBeginning, Proof::Damaged, Proof::FilesOnly]);
}

/// Adds a frame to the log that was closed, as its writer would have, had it gone on.
#[expect(clippy::disallowed_methods, reason = "what no engine writes is written by plain calls")]
fn write_behind_the_end(root: &Path) {
    let dir = log_dir(root, CoreId(0));
    let (mut at, mut last) = (0, None);
    let path = StdEnv.block_on(segment_numbers(&StdVfs, &dir)).unwrap().into_iter().find_map(|number| {
        let path = segment_path(&dir, number);
        let bytes = std::fs::read(&path).unwrap();
        let (header, salt) = SegmentHeader::decode(&bytes, &path).unwrap();
        let unit = usize::try_from(header.log.unit()).unwrap();
        at = 4096;
        while let Ok((frame, header_crc)) = FrameHeader::decode(salt, at as u64, &bytes[at..]) {
            at += (frame.frame_bytes as usize).next_multiple_of(unit);
            last = Some((frame, header_crc, salt));
        }
        last.is_some_and(|(frame, ..)| frame.kind == FrameKind::Close).then_some(path)
    });
    let (close, header_crc, salt) = last.unwrap();
    let seal = FrameHeader { kind: FrameKind::Seal, chain: chain_after(close.chain, header_crc), ..close };
    let file = std::fs::OpenOptions::new().write(true).open(path.unwrap()).unwrap();
    file.write_all_at(&seal.encode(salt, at as u64).0, at as u64).unwrap();
}

#[test]
fn a_frame_behind_the_last_one_of_a_closed_log_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    database(&root);
    write_behind_the_end(&root);
    let report = verify(&root, VerifyOptions::new()).unwrap();
    let [damage] = &report.damage[..] else { panic!("one piece of damage:\n{report}") };
    assert_eq!(damage.kind, DamageKind::Damaged, "{report}");
    assert!(damage.what.contains("behind the last one of its life"), "{report}");
}

// Epoch 1 is LSN 1 to 11, of which the last is its end; epoch 2 puts 10 to 19 at LSN 12 to 21 and deletes 3 at 22.

#[test]
fn a_wrong_value_is_named_with_its_key_group_and_lsn() {
    let found = after(|records| {
        for (_, key, value) in records.iter_mut() {
            if key[0] == 14 || key[0] == 17 {
                value[5] ^= 1;
            }
        }
    });
    assert_diverges(
        &found,
        14,
        Some(16),
        "2 keys diverge, first \"\\x0e\": the files and the log have different values",
    );
}

#[test]
fn a_forgotten_put_is_named() {
    let found = after(|records| records.retain(|(_, key, _)| key[0] != 19));
    assert_diverges(&found, 19, Some(21), "the files have no value, the log has a value");
}

#[test]
fn a_forgotten_delete_is_found_in_what_both_sides_share() {
    let found = after(|records| records.retain(|(kind, ..)| *kind != RecordKind::Delete));
    assert_diverges(&found, 3, Some(22), "the files have a value, the log has no value");
}

#[test]
fn a_put_that_nobody_made_is_named_without_an_lsn() {
    let found = after(|records| records.push((RecordKind::Put, vec![200], vec![1])));
    assert_diverges(&found, 200, None, "the files have a value, the log has no value");
}

#[test]
fn a_clear_that_nobody_made_is_found() {
    let found = after(|records| {
        records.retain(|(kind, ..)| *kind == RecordKind::Put);
        records.insert(0, (RecordKind::Clear, Vec::new(), Vec::new()));
    });
    let (report, _) = &found;
    assert!(report.damage[0].what.starts_with("9 keys diverge"), "keys 0 to 9 but 3 are gone:\n{report}");
}

#[test]
fn a_delete_of_nothing_changes_nothing() {
    let (report, _) = after(|records| {
        records.push((RecordKind::Delete, vec![200], Vec::new()));
    });
    assert!(report.is_sound(), "{report}");
}

/// Epoch 2 is found damaged, in a word on `what`, after `change` was made to what the manifest says of its checkpoint.
fn assert_marks_diverge(what: &str, change: impl Fn(&mut Checkpoint)) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    database(&root);
    StdEnv.block_on(async {
        let (_, head) = head(&root).await;
        let mut next = head.manifest.successor(head.crc, StdEnv.entropy().nonce(), Author::Checkpoint);
        change(&mut next.checkpoints[1]);
        store::land(&StdVfs, &root, &next).await.unwrap();
    });
    let report = verify(&root, VerifyOptions::new()).unwrap();
    assert_eq!(report.damage[0].epoch.map(|epoch| epoch.0), Some(2), "{report}");
    assert!(report.damage[0].what.contains(what), "{report}");
}

#[test]
fn offsets_that_the_log_does_not_have_are_found() {
    assert_marks_diverge("offsets", |checkpoint| checkpoint.offsets[0].2 = 77.into());
}

#[test]
fn offsets_that_came_from_nowhere_are_found() {
    assert_marks_diverge("inherited", |checkpoint| {
        checkpoint.inherited.push((CoreId(7), "gone".to_owned(), 7.into()));
    });
}
