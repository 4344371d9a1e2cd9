//! Opens that a database makes hard: states as large as they can be, manifests that contradict the logs.

#![expect(clippy::disallowed_methods, reason = "files are laid there, and told apart, by plain calls")]

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::engine::{Engine, Opened};
use crate::error::ErrorCode;
use crate::ids::Epoch;
use crate::manifest::{Manifest, decode, encode_object};
use crate::options::Options;

/// A record of so many bytes takes a chunk of its own.
const LARGE_BYTES: usize = 17_000;

/// Large records that a core can hold.
const ROOM: u32 = 39;

fn options(dir: &Path, cores: u16) -> Options {
    let mut options = Options::new(dir)
        .cores(cores)
        .segment_bytes(1 << 20)
        .batch_bytes(64 << 10)
        .checkpoint_interval(None)
        .reserve(true);
    options.state_chunks_max = ROOM + 1;
    options
}

/// Ascending, as the numbers are.
fn key(number: u32) -> [u8; 6] {
    *format!("{number:06}").as_bytes().first_chunk().unwrap()
}

fn put(opened: &mut Opened, number: u32) -> crate::Result<crate::Lsn> {
    let core = opened.engine.core_of(&key(number)).index();
    opened.cores[core].put(&key(number), &vec![7; LARGE_BYTES])
}

fn end(opened: &mut Opened) {
    let mut ended = Epoch(0);
    for core in &mut opened.cores {
        ended = core.close_epoch(crate::EpochMark::new()).unwrap();
    }
    opened.engine.wait_durable(ended).unwrap();
}

fn assert_holds(opened: &Opened, mut numbers: impl Iterator<Item = u32>) {
    assert!(numbers.all(|number| {
        let core = opened.engine.core_of(&key(number)).index();
        opened.cores[core].get(&key(number)).unwrap().is_some()
    }));
}

/// The numbers of the log files of core 0, each with its inode.
fn segments(dir: &Path) -> Vec<(u64, u64)> {
    let names = std::fs::read_dir(dir.join("wal/00000")).unwrap().map(|entry| entry.unwrap());
    let mut segments: Vec<_> = names
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.metadata().ok()?.ino())))
        .collect();
    segments.sort_unstable();
    segments
}

/// A log file that was prepared for nothing is what the next life begins in, unless the one that it was prepared for was
/// interrupted: somebody's write to it may still be on its way.
#[test]
fn an_open_behind_a_close_begins_in_the_log_file_that_was_not_needed() {
    for closes in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("db");
        // Nobody but the caller writes the log: dropped, it is as a crash leaves it.
        let Opened { engine, mut cores, .. } = Engine::open(options(&dir, 1).inline(true)).unwrap();
        engine.wait_durable(cores[0].close_epoch(crate::EpochMark::new()).unwrap()).unwrap();
        let spare = loop {
            if let [_, spare] = segments(&dir)[..] {
                break spare;
            }
            std::thread::yield_now();
        };
        if closes {
            engine.close(cores).unwrap();
        } else {
            drop((engine, cores));
        }
        let before = segments(&dir);
        // Threads of the engine that was dropped end when they get to it.
        let Opened { engine, cores, report, .. } = loop {
            match Engine::open(options(&dir, 1)) {
                Err(error) if error.code() == ErrorCode::DatabaseOpen => std::thread::yield_now(),
                opened => break opened.unwrap(),
            }
        };
        assert_eq!(report.epoch, Epoch(1));
        let after = segments(&dir);
        let first = after.iter().find(|(number, _)| *number > spare.0).unwrap();
        assert_eq!(first.1 == spare.1, closes, "{before:?} and {after:?}");
        engine.close(cores).unwrap();
    }
}

/// What two cores hold is more than one can: with one the open is refused, and with two it works as before.
#[test]
fn keys_are_not_divided_among_cores_that_have_no_room_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("db");
    let mut opened = Engine::open(options(&dir, 2)).unwrap();
    (0..ROOM + 8).for_each(|number| assert!(put(&mut opened, number).unwrap().0 > 0));
    end(&mut opened);
    opened.engine.close(opened.cores).unwrap();
    std::fs::write(dir.join("RESERVE"), [0; 4_096]).unwrap();

    let refused = Engine::open(options(&dir, 1)).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::StateFullAtOpen, "{refused}");
    assert!(dir.join("RESERVE").exists(), "space on the device would not help");

    for cores in [2, 3] {
        let opened = Engine::open(options(&dir, cores)).unwrap();
        assert_holds(&opened, 0..ROOM + 8);
        opened.engine.close(opened.cores).unwrap();
    }
}

/// A full state gives some keys up for others that stand in front of them. The checkpoint has the others first.
#[test]
fn a_state_that_stayed_full_is_loaded_again() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("db");
    let mut opened = Engine::open(options(&dir, 1)).unwrap();
    (100..100 + ROOM).for_each(|number| assert!(put(&mut opened, number).unwrap().0 > 0));
    assert_eq!(put(&mut opened, 1_000).unwrap_err().code(), ErrorCode::StateFull);
    end(&mut opened);
    opened.engine.checkpoint().unwrap();
    for number in 0..3 {
        opened.cores[0].delete(&key(100 + ROOM - 1 - number)).unwrap();
        put(&mut opened, number).unwrap();
    }
    end(&mut opened);
    let info = opened.engine.checkpoint().unwrap();
    assert_eq!((info.files_written, info.bases_written), (1, 0), "a delta");
    opened.engine.close(opened.cores).unwrap();

    let opened = Engine::open(options(&dir, 1)).unwrap();
    assert_eq!(opened.report.replayed_records, 0, "it is in the checkpoint");
    assert_holds(&opened, (0..3).chain(100..100 + ROOM - 3));
}

/// The newest manifest of the database in `dir`, and its file.
fn head_of(dir: &Path) -> (PathBuf, Manifest) {
    let files = std::fs::read_dir(dir.join("m")).unwrap().map(|entry| entry.unwrap().path());
    let head = files.max().unwrap();
    let (manifest, _) = decode(&head, &std::fs::read(&head).unwrap()).unwrap();
    (head, manifest)
}

/// Lists of one manifest that contradict each other, with all checksums right.
#[test]
fn a_manifest_of_two_widths_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("db");
    let mut opened = Engine::open(options(&dir, 2)).unwrap();
    put(&mut opened, 1).unwrap();
    end(&mut opened);
    opened.engine.close(opened.cores).unwrap();
    let opened = Engine::open(options(&dir, 2)).unwrap();
    opened.engine.close(opened.cores).unwrap();
    let (head, manifest) = head_of(&dir);
    assert_eq!(manifest.lives.len(), 2);
    let mut forged = manifest.clone();
    forged.lives[0].cores.truncate(1);
    std::fs::write(&head, encode_object(&forged).unwrap().0).unwrap();
    let refused = Engine::open(options(&dir, 2)).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::ManifestDamaged, "{refused}");
    std::fs::write(&head, encode_object(&manifest).unwrap().0).unwrap();
    assert_holds(&Engine::open(options(&dir, 2)).unwrap(), 1..2);
}

/// A life counts up to its ceiling, and ends no epoch there behind the one that is recovered.
#[test]
fn a_ceiling_that_lies_behind_the_recovered_epoch_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("db");
    let mut opened = Engine::open(options(&dir, 2)).unwrap();
    (0..2).for_each(|_| end(&mut opened));
    let ended = opened.cores[0].close_epoch(crate::EpochMark::new()).unwrap();
    while opened.engine.stats().cores[0].durable_epoch < ended {
        std::thread::yield_now();
    }
    drop(opened);
    let opened = loop {
        match Engine::open(options(&dir, 2)) {
            Err(error) if error.code() == ErrorCode::DatabaseOpen => std::thread::yield_now(),
            opened => break opened.unwrap(),
        }
    };
    opened.engine.close(opened.cores).unwrap();
    let (head, mut manifest) = head_of(&dir);
    assert_eq!((manifest.recovered_epoch, ended), (Epoch(2), Epoch(3)));
    let ceiling = manifest.lives[0].cores[0].ceiling.as_mut().unwrap();
    *ceiling = ceiling.next();
    std::fs::write(&head, encode_object(&manifest).unwrap().0).unwrap();
    let refused = Engine::open(options(&dir, 2)).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::EpochEndDamaged, "{refused}");
}
