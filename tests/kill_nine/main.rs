//! The promise on the real system: a process that is killed at any moment, again and again, and the syncs behind every
//! acknowledgement.
//!
//! A kill keeps the page cache, so that it alone proves little about syncs: `syncs` counts them, inside the process
//! and on the device.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![expect(clippy::disallowed_methods, reason = "a test of the real system waits for it")]
#![expect(clippy::print_stdout, reason = "a test says what it did not run")]

mod model;
mod syncs;
#[path = "../watched/mod.rs"]
mod watched;

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use highwater::env::{Blocking, SystemEnv};
use highwater::vfs::SystemVfs;
use highwater::{Backend, DurableWrite, Engine, EpochMark, ErrorKind, Offset, Opened, Options};

use model::{Model, Op, mix};

/// The variable that makes this binary the child: it holds the database's directory.
const CHILD: &str = "HIGHWATER_KILL_NINE_DIR";

/// The variable that tells the child its [`Means`].
const MEANS: &str = "HIGHWATER_KILL_NINE_MEANS";

const CORES: u16 = 2;

/// The seed of the moments. The machine adds its own chance.
const SEED: u64 = 0x0009;

/// What the child reaches its disk by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// As `Engine::open` chooses.
    Auto,
    /// Plain calls through the page cache.
    Std,
    /// io_uring for everything, however small.
    Uring,
}

impl Means {
    const ALL: [Self; 3] = [Self::Auto, Self::Std, Self::Uring];

    fn env(self) -> io::Result<SystemEnv> {
        let vfs = match self {
            Self::Auto => SystemVfs::new(Backend::Auto, DurableWrite::Auto),
            Self::Std => SystemVfs::new(Backend::Std, DurableWrite::Cached),
            Self::Uring => {
                SystemVfs::new(Backend::Uring, DurableWrite::Auto).map(|vfs| vfs.pipelined_from(0))
            }
        };
        vfs.map(SystemEnv::with)
    }

    fn of_child() -> Self {
        let name = std::env::var(MEANS).unwrap();
        Self::ALL.into_iter().find(|means| format!("{means:?}") == name).unwrap()
    }
}

fn options(dir: &Path) -> Options {
    Options::new(dir)
        .cores(CORES)
        .segment_bytes(64 << 10)
        .batch_bytes(4 << 10)
        .queue_bytes(64 << 10)
        .checkpoint_wal_bytes(128 << 10)
        .checkpoint_interval(Some(Duration::from_millis(25)))
        .idle_seal_after(Duration::from_millis(2))
        .retain_checkpoints(2)
}

/// Kills, a third of them inside the recovery: what was acknowledged is there, whole, and is the model's.
fn kills_lose_nothing(means: Means, kills: u64) {
    if let Err(error) = means.env() {
        return println!("NOT RUN: {error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let mut model = Model::new();
    let (mut acked, mut in_recovery) = (0, 0);
    for kill in 0..kills {
        let life = Life::run(&path, means, kill);
        if let Some((epoch, digest)) = life.recovered {
            assert!(epoch >= acked, "kill {kill}: epoch {acked} was acknowledged, {epoch} came back");
            assert_eq!(digest, model.digest_at(epoch), "kill {kill}: epoch {epoch} came back changed");
        } else {
            in_recovery += 1;
        }
        acked = life.acked.unwrap_or(acked);
    }
    // By whatever means it was written, every one can read it.
    let Opened { engine, cores, report, .. } = Engine::open(options(&path)).unwrap();
    assert!(report.epoch.0 >= acked);
    assert_eq!(model::digest(&cores), model.digest_at(report.epoch.0));
    engine.close(cores).unwrap();
    println!("{kills} kills, {in_recovery} of them inside a recovery, {acked} epochs acknowledged");
    assert!(in_recovery > 0, "no kill came before an open had returned");
    assert!(
        acked > kills,
        "only {acked} epochs were acknowledged: the lives were too short to prove anything"
    );
}

#[test]
fn sixty_kills_lose_nothing_that_was_acknowledged() {
    kills_lose_nothing(Means::Auto, 60);
}

#[test]
fn kills_lose_nothing_by_plain_calls() {
    kills_lose_nothing(Means::Std, 30);
}

#[test]
fn kills_lose_nothing_by_io_uring() {
    kills_lose_nothing(Means::Uring, 60);
}

/// What one life of the child said before it was killed.
#[derive(Default)]
struct Life {
    recovered: Option<(u64, u64)>,
    acked: Option<u64>,
}

impl Life {
    fn run(path: &Path, means: Means, kill: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_child", "--nocapture"])
            .env(CHILD, path)
            .env(MEANS, format!("{means:?}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut life = Self::default();
        life.read_until(&mut lines, |line| line == "opening");
        let draw = mix(SEED ^ kill << 8);
        // A third of the kills come within the first millisecond of an open, the rest at any time.
        let wait_us = if kill.is_multiple_of(3) { draw % 1_000 } else { draw % 120_000 };
        std::thread::sleep(Duration::from_micros(wait_us));
        end(&mut child);
        life.read_until(&mut lines, |_| false);
        life
    }

    fn read_until(&mut self, lines: &mut BufReader<ChildStdout>, stop: impl Fn(&str) -> bool) {
        let mut line = String::new();
        while lines.read_line(&mut line).unwrap() > 0 {
            // A line that the kill cut off says nothing.
            let Some(whole) = line.strip_suffix('\n') else { return };
            if stop(whole) {
                return;
            }
            let mut words = whole.split(' ');
            match (words.next(), words.next(), words.next()) {
                (Some("recovered"), Some(epoch), Some(digest)) => {
                    self.recovered = Some((epoch.parse().unwrap(), digest.parse().unwrap()));
                    self.acked = Some(epoch.parse().unwrap());
                }
                (Some("acked"), Some(epoch), None) => self.acked = Some(epoch.parse().unwrap()),
                (Some("failed"), ..) => panic!("the child failed: {whole}"),
                _ => {}
            }
            line.clear();
        }
    }
}

/// SIGKILL, and the end of the process.
fn end(child: &mut Child) {
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(!status.success(), "the child ended by itself: {status}");
}

/// The child's part; nothing when the test binary is run by a person.
#[test]
fn the_child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    say("opening");
    let error = work(Path::new(&path)).unwrap_err();
    say(&format!("failed {error}"));
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

/// Works for ever: the parent ends it.
fn work(path: &Path) -> Result<(), highwater::Error> {
    let env = Means::of_child().env().unwrap();
    let Opened { engine, mut cores, report, .. } =
        env.block_on(Engine::open_in(env.clone(), options(path)))?;
    if report.epoch.0 > 0 {
        let offset = &report.offsets[&(highwater::CoreId(0), "epoch".to_owned())];
        assert_eq!(*offset, Offset::Number(report.epoch.0), "the offset of another epoch came back");
    }
    say(&format!("recovered {} {}", report.epoch, model::digest(&cores)));
    loop {
        let epoch = cores[0].open_epoch().0;
        for Op { key, value } in model::ops(epoch) {
            let core = engine.core_of(&key).index();
            loop {
                let done = match &value {
                    Some(value) => cores[core].put(&key, value),
                    None => cores[core].delete(&key),
                };
                match done {
                    Err(error) if error.kind() == ErrorKind::Busy => {
                        env.block_on(cores[core].ready().into_future())?;
                    }
                    done => break done.map(|_| ())?,
                }
            }
        }
        let mut ended = None;
        for core in &mut cores {
            ended = Some(core.close_epoch(EpochMark::new().offset("epoch", epoch))?);
        }
        engine.wait_durable(ended.unwrap())?;
        say(&format!("acked {epoch}"));
        if epoch.is_multiple_of(50) {
            engine.checkpoint()?;
        }
    }
}
