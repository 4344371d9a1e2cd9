//! Formats for ever: what a released version has written, every later build reads.
//!
//! `0.1/NAME.files` is a folder, or an object store, as that version has left it (`archive.rs`), `0.1/NAME.held` what
//! is in it. Both were made by `stories.rs`. Files of a released version are never changed; what a later build writes
//! differently gets a folder of its own, made with `HIGHWATER_GOLDEN=write cargo test --features sim --test golden`.
//! That each structure encodes to the same bytes again is tested in `src/golden.rs`.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![expect(clippy::disallowed_methods, reason = "another program lays the files out")]

mod archive;
mod held;
mod sink;
#[cfg(feature = "sim")]
mod stories;
mod upgrade;

use std::fs;
use std::path::{Path, PathBuf};

use highwater::env::{Blocking, StdEnv};
use highwater::wal::{CoreWal, WalOpened, WalOptions};
use highwater::{Engine, Opened, Options, Proof, Route, VerifyOptions, verify};

use archive::{ALL, Golden, Tree, parse, print};
use held::Held;
use sink::Stand;

/// The folder of a database or log, in the working directory of its writer.
const FOLDER: &str = "data";

/// The one that is no database.
const LOG: &str = "log-alone";

/// The one whose files are the objects of a store.
const STORED: &str = "stored";

/// The one whose checkpoints did not read back.
const GIVEN_UP: &str = "given-up";

/// Those with sinks.
const WITH_SINKS: [&str; 2] = ["three-cores", GIVEN_UP];

/// The one in units that not every device can write: it is opened on a simulated one.
const SMALL_UNITS: &str = "rescaled";

/// How the database `name`, which is at `root`, was opened when it was made: everything in small.
fn options(name: &str, root: &Path) -> Options {
    let options = Options::new(root)
        .segment_bytes(16 << 10)
        .batch_bytes(2 << 10)
        .queue_bytes(64 << 10)
        .key_groups(8)
        .retain_checkpoints(2)
        .fallback_bytes_max(0)
        .checkpoint_interval(None)
        .reserve(false);
    match name {
        "one-core" => options.retain_checkpoints(3),
        "three-cores" => options.cores(3).route(Route::Until(b'/')),
        STORED => options.cores(2).retain_checkpoints(1),
        GIVEN_UP => options.retain_checkpoints(1).fallback_bytes_max(1 << 20),
        SMALL_UNITS => options.cores(3).route(Route::Prefix(2)).write_unit_bytes(512),
        _ => panic!("{name} is no database"),
    }
}

fn with_sinks(options: Options, stand: &Stand) -> Options {
    options.sink("ledger", stand.clone()).sink("mirror", Stand::reachable())
}

fn wal_options() -> WalOptions {
    WalOptions::new().segment_bytes(16 << 10).batch_bytes(2 << 10)
}

/// Those that any device takes.
fn on_any_device() -> impl Iterator<Item = &'static Golden> {
    databases().filter(|golden| golden.name != SMALL_UNITS)
}

/// The directories of databases.
fn databases() -> impl Iterator<Item = &'static Golden> {
    ALL.iter().filter(|golden| ![LOG, STORED].contains(&golden.name))
}

/// Lays `golden` out at `root`.
fn lay_out(golden: &Golden, root: &Path) {
    fs::create_dir(root).unwrap();
    for (path, bytes) in parse(golden.files) {
        match bytes {
            None => fs::create_dir(root.join(path)).unwrap(),
            Some(bytes) => fs::write(root.join(path), bytes).unwrap(),
        }
    }
}

/// What is at `root`.
fn tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let below = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                tree.insert(below, None);
                folders.push(path);
            } else {
                tree.insert(below, Some(fs::read(path).unwrap()));
            }
        }
    }
    tree
}

/// The same, with sinks that can be reached again.
fn at(root: &Path, name: &str, stand: &Stand) -> Options {
    let options = options(name, root);
    if WITH_SINKS.contains(&name) { with_sinks(options, stand) } else { options }
}

/// Opens the database at `root` and says what it holds.
fn open(root: &Path, name: &str) -> (Opened, Held) {
    let stand = Stand::reachable();
    let opened = Engine::open(at(root, name, &stand)).unwrap();
    assert!(opened.report.skipped.is_empty(), "{}", opened.report);
    let mut held = Held::of(&opened);
    if WITH_SINKS.contains(&name) {
        opened.engine.wait_published(opened.report.epoch).unwrap();
        held.published = stand.published();
    }
    (opened, held)
}

#[test]
fn every_golden_directory_is_proven() {
    for golden in databases() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join(FOLDER);
        lay_out(golden, &root);
        let report = verify(&root, VerifyOptions::new()).unwrap();
        assert!(report.is_sound(), "{}: {report}", golden.name);
        let rebuilt = |proof| matches!(proof, Proof::Rebuilt | Proof::FromTheBeginning);
        if golden.name == GIVEN_UP {
            assert!(report.epochs.is_empty(), "no checkpoint is left: {report}");
        } else {
            assert!(report.epochs.iter().any(|epoch| rebuilt(epoch.proof)), "{}: {report}", golden.name);
        }
        assert!(golden.held.contains(&format!("epoch {}\n", report.recoverable_epoch.unwrap())));
        assert!(tree(&root) == parse(golden.files), "{}: a verification changed something", golden.name);
    }
}

#[test]
fn every_golden_directory_opens_with_what_it_held() {
    for golden in on_any_device() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join(FOLDER);
        lay_out(golden, &root);
        let (opened, held) = open(&root, golden.name);
        assert_eq!(held.to_string(), golden.held, "{}", golden.name);
        opened.engine.close(opened.cores).unwrap();
    }
}

#[cfg(feature = "sim")]
#[test]
fn every_golden_directory_opens_on_a_simulated_disk() {
    for golden in databases() {
        assert_eq!(stories::open(golden).to_string(), golden.held, "{}", golden.name);
    }
}

#[cfg(feature = "sim")]
#[test]
fn a_golden_store_is_restored_and_goes_on() {
    for golden in ALL.iter().filter(|golden| golden.name == STORED) {
        assert_eq!(stories::restore(golden).to_string(), golden.held);
    }
}

#[test]
fn a_golden_log_reads_back() {
    for golden in ALL.iter().filter(|golden| golden.name == LOG) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join(FOLDER);
        lay_out(golden, &root);
        let WalOpened { wal, .. } = CoreWal::open_blocking(StdEnv, &root, wal_options()).unwrap();
        assert_eq!(StdEnv.block_on(held::of_log(&wal)), golden.held);
        wal.close_blocking().unwrap();
    }
}

/// Where the golden files of `version` are.
fn home(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version)
}

#[test]
fn no_golden_file_is_forgotten() {
    let mut listed: Vec<_> = ALL
        .iter()
        .flat_map(|golden| {
            ["files", "held"].map(|kind| home(golden.version).join(golden.name).with_extension(kind))
        })
        .collect();
    listed.sort();
    let versions = fs::read_dir(home("")).unwrap().map(|entry| entry.unwrap().path());
    let mut there: Vec<_> = versions
        .filter(|path| path.is_dir())
        .flat_map(|path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()))
        .collect();
    there.sort();
    assert_eq!(there, listed, "tests/golden/archive.rs lists every one");
    let bytes: usize = ALL.iter().map(|golden| golden.files.len() + golden.held.len()).sum();
    assert!(bytes < 300 << 10, "{bytes} bytes");
    for golden in &ALL {
        assert!(print(&parse(golden.files)) == golden.files, "{}", golden.name);
    }
}

/// A test that fails here has found that the engine writes other bytes than it did. If what they mean has changed, that is a new
/// format (docs/format.md, "Versions"). If only what is written when has changed, they are written anew until the version is
/// released, and beside the old ones from then on.
#[cfg(feature = "sim")]
#[test]
fn the_same_story_writes_the_same_bytes() {
    let newest = ALL[ALL.len() - 1].version;
    for golden in ALL.iter().filter(|golden| golden.version == newest) {
        let made = stories::make(golden.name);
        let files = print(&made.tree);
        if std::env::var_os("HIGHWATER_GOLDEN").is_some_and(|value| value == "write") {
            let path = home(newest).join(golden.name);
            fs::write(path.with_extension("files"), &files).unwrap();
            fs::write(path.with_extension("held"), &made.held).unwrap();
            continue;
        }
        assert_eq!(made.held, golden.held, "{}", golden.name);
        let first = files.lines().zip(golden.files.lines()).find(|(new, old)| new != old);
        assert!(files == golden.files, "{} is written differently, first in {first:?}", golden.name);
    }
}
