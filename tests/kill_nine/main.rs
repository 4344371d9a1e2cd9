//! The promise on the real system: a process that is killed at any moment, again and again, and the syncs behind every
//! acknowledgement.
//!
//! A kill keeps the page cache, so that it alone proves little about syncs: `syncs` counts them, inside the process
//! and on the device.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![expect(clippy::disallowed_methods, reason = "a test of the real system waits for it")]

mod model;
mod syncs;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use highwater::{Engine, EpochMark, ErrorKind, Offset, Opened, Options};

use model::{Model, Op, mix};

/// The variable that makes this binary the child: it holds the database's directory.
const CHILD: &str = "HIGHWATER_KILL_NINE_DIR";

const CORES: u16 = 2;

const KILLS: u64 = 60;

/// The seed of the moments. The machine adds its own chance.
const SEED: u64 = 0x0009;

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

/// Sixty kills, a third of them inside the recovery: what was acknowledged is there, whole, and is the model's.
#[test]
fn sixty_kills_lose_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let mut model = Model::new();
    let (mut acked, mut in_recovery) = (0, 0);
    for kill in 0..KILLS {
        let life = Life::run(&path, kill);
        if let Some((epoch, digest)) = life.recovered {
            assert!(epoch >= acked, "kill {kill}: epoch {acked} was acknowledged, {epoch} came back");
            assert_eq!(digest, model.digest_at(epoch), "kill {kill}: epoch {epoch} came back changed");
        } else {
            in_recovery += 1;
        }
        acked = life.acked.unwrap_or(acked);
    }
    let Opened { engine, cores, report, .. } = open(&path);
    assert!(report.epoch.0 >= acked);
    assert_eq!(model::digest(&cores), model.digest_at(report.epoch.0));
    engine.close(cores).unwrap();
    println!("{KILLS} kills, {in_recovery} of them inside a recovery, {acked} epochs acknowledged");
    assert!(in_recovery > 0, "no kill came before an open had returned");
    assert!(
        acked > KILLS,
        "only {acked} epochs were acknowledged: the lives were too short to prove anything"
    );
}

fn open(path: &Path) -> Opened {
    Engine::open(options(path)).unwrap()
}

/// What one life of the child said before it was killed.
#[derive(Default)]
struct Life {
    recovered: Option<(u64, u64)>,
    acked: Option<u64>,
}

impl Life {
    fn run(path: &Path, kill: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_child", "--nocapture"])
            .env(CHILD, path)
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
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

/// Works for ever: the parent ends it.
fn work(path: &Path) -> Result<(), highwater::Error> {
    let Opened { engine, mut cores, report, .. } = Engine::open(options(path))?;
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
                    Err(error) if error.kind() == ErrorKind::Busy => cores[core].ready().wait()?,
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
