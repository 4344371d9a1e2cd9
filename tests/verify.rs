//! Verification of real databases: what it proves, what damage it names, and that it changes nothing.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![expect(clippy::disallowed_methods, reason = "another program damages the files")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use highwater::{
    DamageKind, Engine, EpochMark, ErrorKind, Opened, Options, Proof, VerifyOptions, VerifyReport, verify,
};

/// A database of two lives on two cores with several retained epochs and some log behind the last.
fn database(root: &Path) {
    for life in 0..2_u64 {
        let options = Options::new(root)
            .cores(2)
            .segment_bytes(64 << 10)
            .batch_bytes(4 << 10)
            .queue_bytes(64 << 10)
            .retain_checkpoints(20)
            .checkpoint_interval(None);
        let Opened { engine, mut cores, .. } = Engine::open(options).unwrap();
        for round in 0..6_u64 {
            for number in 0..200_u64 {
                let key = format!("key {:03}", (number * 7 + round * 31) % 400);
                let core = &mut cores[engine.core_of(key.as_bytes()).index()];
                if (number + round) % 9 == 0 {
                    core.delete(key.as_bytes()).unwrap();
                } else {
                    core.put(key.as_bytes(), format!("{life} {round} {number}").repeat(4).as_bytes())
                        .unwrap();
                }
            }
            if (life, round) == (1, 2) {
                cores[0].clear().unwrap();
                cores[0].put_owned_key(&engine);
            }
            let mut epoch = None;
            for core in &mut cores {
                let mark = EpochMark::new()
                    .offset("orders", life * 100 + round)
                    .watermark(i64::try_from(round).unwrap());
                epoch = Some(core.close_epoch(mark).unwrap());
            }
            engine.wait_durable(epoch.unwrap()).unwrap();
            if round < 5 {
                engine.checkpoint().unwrap();
            }
        }
        engine.close(cores).unwrap();
    }
}

trait Owned {
    fn put_owned_key<E>(&mut self, engine: &E);
}

impl Owned for highwater::CoreHandle {
    fn put_owned_key<E>(&mut self, _: &E) {
        // Whatever key it owns.
        for number in 0..100_u64 {
            if self.put(&number.to_le_bytes(), b"after the clear").is_ok() {
                return;
            }
        }
    }
}

fn options() -> VerifyOptions {
    VerifyOptions::new().state_digests(true)
}

fn files(root: &Path, folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn tree(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn names(report: &VerifyReport, path: &Path, root: &Path) -> bool {
    report.damage.iter().any(|damage| root.join(&damage.path) == path)
}

#[test]
fn every_retained_epoch_is_rebuilt_twice() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    database(&root);
    let before = tree(&root);
    let report = verify(&root, options()).unwrap();
    assert!(report.is_sound(), "{report}");
    assert_eq!(before, tree(&root), "nothing is changed");
    assert!(report.epochs.len() >= 10, "{report}");
    let proofs: Vec<Proof> = report.epochs.iter().map(|epoch| epoch.proof).collect();
    assert!(proofs[1..].iter().all(|proof| *proof == Proof::Rebuilt), "{report}");
    assert_eq!(report.recoverable_epoch.unwrap().0, 12);

    // With hardly any memory the log is read in parts, and the result is the same.
    let poor = verify(&root, options().memory_bytes(1)).unwrap();
    assert_eq!((&poor.epochs, poor.is_sound()), (&report.epochs, true), "{poor}");
    let opened = Engine::open(Options::new(&root).cores(2)).unwrap();
    assert_eq!(opened.report.epoch, report.recoverable_epoch.unwrap());
}

#[test]
fn damage_is_named_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    database(&root);
    let mut damaged = Vec::new();
    damaged.push((root.join("IDENT"), 20));
    let manifests = files(&root, "m");
    damaged.push((manifests[manifests.len() - 1].clone(), 60));
    for file in files(&root, "f") {
        let length = fs::read(&file).unwrap().len();
        damaged.extend([0, 97, 130, length / 2, length - 1].map(|at| (file.clone(), at)));
    }
    let segments = files(&root, "wal/00001");
    damaged.push((segments[0].clone(), 9));
    damaged.push((segments[0].clone(), 8192 + 70));
    for (path, at) in damaged {
        let before = fs::read(&path).unwrap();
        flip(&path, at);
        let report = verify(&root, options()).unwrap();
        assert!(names(&report, &path, &root), "{} at {at}:\n{report}", path.display());
        fs::write(&path, before).unwrap();
    }
    for path in files(&root, "f").into_iter().chain([root.join("IDENT"), segments[0].clone()]) {
        let before = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let report = verify(&root, options()).unwrap();
        assert!(names(&report, &path, &root), "{} is gone:\n{report}", path.display());
        assert!(report.damage.iter().any(|damage| damage.kind == DamageKind::Missing), "{report}");
        fs::write(&path, before).unwrap();
    }
    assert!(verify(&root, options()).unwrap().is_sound());
}

#[test]
fn what_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(verify(folder.path(), options()).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(verify(folder.path().join("none"), options()).unwrap_err().kind(), ErrorKind::Invalid);
}

/// Sets the flag, also when a test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Two cores commit without a pause, and checkpoints are taken, while the database is verified again and again: until some
/// of both have gone on, however slow the disk is.
#[test]
fn a_database_that_is_being_written_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    database(&root);
    let options = Options::new(&root).cores(2).segment_bytes(64 << 10).batch_bytes(4 << 10);
    let options = options.queue_bytes(64 << 10).checkpoint_interval(None);
    let Opened { engine, mut cores, .. } = Engine::open(options).unwrap();
    let (ended, first) = (AtomicBool::new(false), engine.durable_epoch());
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for commits in 1_u64.. {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let mut epoch = None;
                for core in &mut cores {
                    let key = (0..).map(|number| format!("{commits}/{number}").into_bytes());
                    let own = key.take(64).find(|key| engine.core_of(key) == core.id()).unwrap();
                    core.put(&own, &[7; 500]).unwrap();
                    epoch = Some(core.close_epoch(EpochMark::new()).unwrap());
                }
                engine.wait_durable(epoch.unwrap()).unwrap();
                if commits.is_multiple_of(40) {
                    engine.checkpoint().unwrap();
                }
            }
        });
        let ends = Ends(&ended);
        let mut rounds = 0;
        while rounds < 20 || engine.durable_epoch().0 < first.0 + 100 {
            assert!(!writer.is_finished(), "the writer failed");
            rounds += 1;
            let before = engine.durable_epoch();
            match verify(&root, self::options()) {
                Ok(report) => {
                    assert!(report.is_sound(), "{report}");
                    assert!(report.recoverable_epoch >= Some(before), "{before} was durable: {report}");
                }
                // Checkpoints landed faster than it could read.
                Err(error) => assert_eq!(error.kind(), ErrorKind::Busy, "{error}"),
            }
        }
        drop(ends);
        writer.join().unwrap();
    });
    engine.close(cores).unwrap();
}
