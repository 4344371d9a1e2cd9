//! What a user can get wrong, and what a disk can do to a directory: a typed error that names the place and the way
//! out, and nothing on disk has changed.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![expect(clippy::disallowed_methods, reason = "the directory of another program is made by plain calls")]

mod calls;
mod directories;
mod formats;
mod hostile;
#[path = "../hostile/mod.rs"]
mod hostile_tree;
#[path = "../shelf/mod.rs"]
mod shelf;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use highwater::{Engine, EpochMark, Error, ErrorKind, Opened, Options};

/// A directory for one database, and the database in it.
struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

/// Everything below a directory: no bytes for a folder.
type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { path: dir.path().join("data"), _dir: dir }
    }

    fn options(&self) -> Options {
        Options::new(&self.path)
            .cores(2)
            .segment_bytes(16 << 10)
            .batch_bytes(1 << 10)
            .queue_bytes(64 << 10)
            .checkpoint_interval(None)
    }

    /// A closed database with a checkpoint and `epochs` epochs, most of them behind it.
    fn with_epochs(epochs: u64) -> Self {
        let place = Self::new();
        let Opened { engine, mut cores, .. } = Engine::open(place.options()).unwrap();
        for epoch in 1..=epochs {
            for index in 0..20_u64 {
                let key = format!("key/{}", (epoch * 7 + index) % 50);
                let core = engine.core_of(key.as_bytes()).index();
                cores[core].put(key.as_bytes(), &[b'v'; 60]).unwrap();
            }
            let mut ended = None;
            for core in &mut cores {
                ended = Some(core.close_epoch(EpochMark::new().offset("source", epoch)).unwrap());
            }
            engine.wait_durable(ended.unwrap()).unwrap();
            if epoch == 2 {
                engine.checkpoint().unwrap();
            }
        }
        engine.close(cores).unwrap();
        place
    }

    fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path.clone());
                    tree.insert(path, None);
                } else {
                    tree.insert(path.clone(), Some(fs::read(&path).unwrap_or_default()));
                }
            }
        }
        tree
    }

    /// Opens with `options`, expects a refusal of `kind` about `place`, and that nothing has changed.
    fn refuses(&self, options: Options, kind: ErrorKind, place: &str) -> Error {
        let before = self.tree();
        let error = match Engine::open(options) {
            Ok(opened) => panic!("opened: {}", opened.report),
            Err(error) => error,
        };
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{text}");
        assert!(
            error.path().is_some_and(|path| path.ends_with(place)),
            "the error is not about {place}: {text}"
        );
        assert!(self.tree() == before, "a refused open changed the directory: {text}");
        error
    }

    fn epoch(&self) -> u64 {
        let Opened { engine, cores, report, .. } = Engine::open(self.options()).unwrap();
        engine.close(cores).unwrap();
        report.epoch.0
    }

    /// The segments of core 0, ascending.
    fn segments(&self) -> Vec<PathBuf> {
        sorted(&self.path.join("wal/00000"))
    }
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Overwrites a part of the file `path`.
fn edit(path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    edit(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// The text says how to go on.
fn advises(error: &Error, advice: &[&str]) {
    let text = error.to_string();
    assert!(advice.iter().any(|word| text.contains(word)), "no way out is named ({advice:?}): {text}");
}
