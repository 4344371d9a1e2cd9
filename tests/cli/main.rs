//! The command-line tool, as a user runs it: every command of docs/operations.md, on a database of its own and on one that the
//! example `flights` left behind when it was killed; both damaged in more than ten ways; directories that somebody has made to
//! do harm; files that a newer build wrote.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![expect(
    clippy::disallowed_methods,
    reason = "another program damages the files, and the tool runs in a process"
)]

#[path = "../../examples/flights/aggregate.rs"]
mod aggregate;
mod damage;
mod flights;
mod hostile;
#[path = "../hostile/mod.rs"]
mod hostile_tree;
#[expect(clippy::print_stderr, reason = "it is a program of its own")]
#[path = "../../examples/flights/job.rs"]
mod job;
mod newer;
mod page;
mod pins;
#[path = "../../examples/flights/protocol.rs"]
mod protocol;
mod sinks;
#[path = "../../examples/flights/source.rs"]
mod source;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use highwater::{CoreHandle, Engine, Epoch, EpochMark, Opened, Options, Route};
use tempfile::TempDir;

/// A folder with a database, and the turn of the test that uses it: between fork and exec a child of another test's
/// would hold the lock of a database that is being closed.
pub(crate) struct Folder {
    folder: TempDir,
    #[expect(dead_code, reason = "it is held")]
    turn: MutexGuard<'static, ()>,
}

impl Folder {
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

static TURN: Mutex<()> = Mutex::new(());

/// A folder with nothing in it.
pub(crate) fn empty() -> Folder {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    Folder { folder: tempfile::tempdir().unwrap(), turn }
}

/// A folder with the database `data`, left behind by an engine that was closed.
pub(crate) fn folder() -> Folder {
    let folder = empty();
    make(&folder.path().join("data"));
    folder
}

/// Two lives of three epochs, of which the last three checkpoints are retained.
pub(crate) fn make(root: &Path) {
    for life in 0..2_u64 {
        let Opened { engine, mut cores, .. } = Engine::open(options(root)).unwrap();
        for round in 0..3_u64 {
            let epoch = life * 3 + round;
            for user in 0..40 {
                let key = format!("user/{:02}", (user + epoch * 5) % 50);
                cores[0].put(key.as_bytes(), format!("visits={epoch}.{user}").as_bytes()).unwrap();
            }
            cores[0].delete(format!("user/{epoch:02}").as_bytes()).unwrap();
            let mark =
                EpochMark::new().offset("orders", 100 * (epoch + 1)).watermark(i64::try_from(epoch).unwrap());
            let closed = cores[0].close_epoch(mark).unwrap();
            engine.wait_durable(closed).unwrap();
            if epoch < 5 {
                engine.checkpoint().unwrap();
            }
        }
        engine.close(cores).unwrap();
    }
}

/// How it was made, and can be opened again.
pub(crate) fn options(root: &Path) -> Options {
    Options::new(root)
        .segment_bytes(64 << 10)
        .batch_bytes(4 << 10)
        .queue_bytes(64 << 10)
        .key_groups(64)
        .retain_checkpoints(3)
        .checkpoint_interval(None)
}

/// Runs the tool in `folder`.
pub(crate) fn highwater(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_highwater")).current_dir(folder).args(arguments).output().unwrap()
}

/// What it printed, its exit code in front.
pub(crate) fn told(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("exit code {:?}\n{out}{err}", output.status.code())
}

/// The files below `path`, in order.
pub(crate) fn files(path: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Copies a folder. A log file that is being prepared there may get its name meanwhile: it holds nothing yet.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in files(from) {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            let copied = fs::copy(&path, &target);
            let is_gone = copied.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
            assert!(copied.is_ok() || is_gone, "{}: {copied:?}", path.display());
        }
    }
}

#[test]
fn commands_work_beside_an_open_engine() {
    let folder = folder();
    let root = folder.path().join("data");
    let opened = Engine::open(options(&root)).unwrap();
    let commands: [&[&str]; 5] = [
        &["verify", "data"],
        &["inspect", "data", "--frames"],
        &["dump", "data"],
        &["gc", "--dry-run", "data"],
        &["backup", "data", "copy"],
    ];
    for command in commands {
        let output = highwater(folder.path(), command);
        assert_eq!(output.status.code(), Some(0), "{command:?}: {}", told(&output));
    }
    opened.engine.close(opened.cores).unwrap();
}

#[test]
fn a_restored_epoch_opens_with_what_it_held() {
    let folder = folder();
    let path = folder.path();
    let dump = |root: &str, epoch: &str| {
        let output = highwater(path, &["dump", root, "--epoch", epoch, "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    for epoch in ["4", "5", "6"] {
        let target = format!("restored-{epoch}");
        let output = highwater(path, &["restore", "data", &target, "--to-epoch", epoch]);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        assert_eq!(dump("data", epoch), dump(&target, epoch));

        let Opened { engine, mut cores, report } = Engine::open(options(&path.join(&target))).unwrap();
        assert_eq!(report.epoch.to_string(), epoch);
        assert_eq!(report.live_keys, dump("data", epoch).len() as u64 - 1);
        let offsets: Vec<_> = report.offsets.values().cloned().collect();
        assert_eq!(offsets, [(100 * report.epoch.0).into()]);
        // And it goes on as any database does.
        cores[0].put(b"user/99", b"new").unwrap();
        let closed = cores[0].close_epoch(EpochMark::new().offset("orders", 1_000)).unwrap();
        assert_eq!(closed.0, report.epoch.0 + 1);
        engine.wait_durable(closed).unwrap();
        engine.checkpoint().unwrap();
        engine.close(cores).unwrap();
        let output = highwater(path, &["verify", &target]);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    }
    let again = highwater(path, &["backup", "data", "restored-4"]);
    assert_eq!(again.status.code(), Some(4), "{}", told(&again));
    let never = highwater(path, &["restore", "data", "never", "--to-epoch", "99"]);
    assert_eq!(never.status.code(), Some(3), "{}", told(&never));
    assert!(!path.join("never").exists());
    let nowhere = highwater(path, &["verify", "never"]);
    let told = String::from_utf8_lossy(&nowhere.stderr);
    assert!(told.starts_with("error[HW-805]: invalid: there is no such folder"), "{told}");
}

#[test]
fn a_backup_has_every_core_and_can_be_moved() {
    let folder = folder();
    let (root, copy) = (folder.path().join("wide"), folder.path().join("copy"));
    let wide = |root: &Path| options(root).cores(3).route(Route::Prefix(1));
    let Opened { engine, mut cores, .. } = Engine::open(wide(&root)).unwrap();
    for (index, core) in cores.iter_mut().enumerate() {
        // One core stays empty.
        let keys = (0..=255_u8).filter(|first| engine.core_of(&[*first]).index() == index && index != 1);
        for first in keys {
            core.put(&[first, 7, 0], &[first; 300]).unwrap();
        }
        let mark = EpochMark::new().offset("log", vec![7; 900 + index]).offset("queue", 5);
        core.close_epoch(mark).unwrap();
    }
    engine.wait_durable(Epoch(1)).unwrap();
    let expected: Vec<Vec<Vec<u8>>> = cores.iter().map(content).collect();
    engine.close(cores).unwrap();

    let output = highwater(folder.path(), &["backup", "wide", "first"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    fs::rename(folder.path().join("first"), &copy).unwrap();
    fs::remove_dir_all(&root).unwrap();
    let Opened { engine, cores, report } = Engine::open(wide(&copy)).unwrap();
    assert_eq!(cores.iter().map(content).collect::<Vec<_>>(), expected);
    assert_eq!((report.epoch, report.offsets.len(), report.replayed_records), (Epoch(1), 6, 0));
    engine.close(cores).unwrap();
}

/// The keys of a core, each with its value behind it.
fn content(core: &CoreHandle) -> Vec<Vec<u8>> {
    core.scan_prefix(b"")
        .map(|entry| entry.map(|(key, value)| [&key[..], &value[..]].concat()).unwrap())
        .collect()
}

#[test]
fn json_is_json() {
    let folder = folder();
    let commands: [&[&str]; 6] = [
        &["inspect", "data", "--json", "--frames"],
        &["verify", "data", "--json", "--digests"],
        &["diff", "data", "4", "6", "--json"],
        &["gc", "--dry-run", "--all", "data", "--json"],
        &["probe", ".", "--json"],
        &["dump", "data", "--json", "--limit", "0", "--core", "7"],
    ];
    for command in commands {
        let output = highwater(folder.path(), command);
        assert_eq!(output.status.code(), Some(0), "{command:?}: {}", told(&output));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap();
    }
}

#[test]
fn exit_codes_are_the_documented_ones() {
    let folder = folder();
    let code = |arguments: &[&str]| highwater(folder.path(), arguments).status.code();
    assert_eq!(code(&["--help"]), Some(0));
    assert_eq!(code(&["completions", "bash"]), Some(0));
    assert_eq!(code(&["nonsense"]), Some(2));
    assert_eq!(code(&["gc", "data"]), Some(2), "there is only the dry run");
    assert_eq!(code(&["verify", "."]), Some(3));
    assert_eq!(code(&["dump", "none"]), Some(3));
    assert_eq!(code(&["dump", "data", "--epoch", "99"]), Some(3));
    assert_eq!(code(&["backup", "data", "none/below"]), Some(4));
}
