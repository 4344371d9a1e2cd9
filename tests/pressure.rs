//! A real file system that fills up, and has room again. Where none can be mounted the test says that it was not run.

#![expect(clippy::unwrap_used, reason = "a test says what it expects")]
#![expect(clippy::disallowed_methods, reason = "a test fills a device by itself")]
#![expect(clippy::print_stdout, reason = "a test says what it did, and what it could not run")]
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use highwater::env::Blocking;
use highwater::{Backend, Engine, Epoch, EpochMark, ErrorKind, Health, Opened, Options};

/// Of each file system.
const MIB: u64 = 32;

/// How long anything may take that comes by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// A small file system of its own.
struct Mounted {
    at: tempfile::TempDir,
    _image: Option<tempfile::NamedTempFile>,
}

impl Mounted {
    /// None where it cannot be, for a reason that is printed.
    fn new(kind: &str) -> Option<Self> {
        let at = tempfile::tempdir().unwrap();
        let image = (kind != "tmpfs").then(|| tempfile::NamedTempFile::new().unwrap());
        let mounted = match &image {
            None => run("mount", &["-t", "tmpfs", "-o", &format!("size={MIB}m"), "none"], at.path()),
            Some(image) => {
                image.as_file().set_len(MIB << 20).unwrap();
                let path = image.path().to_str().unwrap();
                run(&format!("mkfs.{kind}"), &["-q", "-F"], image.path())
                    .and_then(|()| run("mount", &["-o", "loop", path], at.path()))
            }
        };
        match mounted {
            Ok(()) => Some(Self { at, _image: image }),
            Err(why) => {
                println!("NOT RUN: {kind}: {why}");
                None
            }
        }
    }

    fn ballast(&self) -> PathBuf {
        self.at.path().join("ballast")
    }

    /// Takes all the space that there is, as somebody else would.
    fn fill(&self) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.ballast()).unwrap();
        for bytes in [1 << 20, 64 << 10, 4 << 10] {
            while file.write_all(&vec![0xBB; bytes]).and_then(|()| file.sync_data()).is_ok() {}
        }
    }

    fn empty(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(why) = run("umount", &["-l"], self.at.path()) {
            println!("it stays mounted: {why}");
        }
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> Result<(), String> {
    let output = Command::new(program).args(arguments).arg(path).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {told}")) }
}

fn open(options: &Options) -> Opened {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Engine::open(options.clone()) {
            // The background of the engine before may still hold the lock.
            Err(error) if error.kind() == ErrorKind::Busy && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            opened => return opened.unwrap(),
        }
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A change on each core, whose epoch is durable then; or there was no space for it.
fn round(opened: &mut Opened, number: u64) -> Option<Epoch> {
    for core in 0..opened.cores.len() {
        let key = (0_u64..).map(|salt| format!("{}-{salt}", number % 7).into_bytes());
        let key = key.into_iter().find(|key| opened.engine.core_of(key).index() == core).unwrap();
        if let Err(error) = opened.cores[core].put(&key, &[number.to_le_bytes(); 500].concat()) {
            // Busy: all buffers wait for the log, which tries again with what was given up.
            assert!(matches!(error.kind(), ErrorKind::Full | ErrorKind::Busy), "{error}");
            return None;
        }
    }
    let mut epoch = Epoch(0);
    for core in &mut opened.cores {
        match core.close_epoch(EpochMark::new()) {
            Ok(ended) => epoch = ended,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Full | ErrorKind::Busy), "{error}");
                return None;
            }
        }
    }
    match opened.engine.wait_durable(epoch) {
        Ok(()) => Some(epoch),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Full, "{error}");
            None
        }
    }
}

fn story(device: &Mounted, backend: Backend, inline: bool) {
    let root = device.at.path().join("data");
    let options = Options::new(&root)
        .cores(2)
        .backend(backend)
        .inline(inline)
        .segment_bytes(1 << 20)
        .queue_bytes(512 << 10)
        .batch_bytes(64 << 10)
        .retain_checkpoints(1)
        .checkpoint_interval(None);
    let mut opened = open(&options);
    let healthy = |opened: &Opened| {
        until("it does not become healthy again", || {
            // Inline, nobody else looks whether there is space.
            opened.engine.env().block_on(opened.engine.drive());
            opened.engine.health() == Health::Healthy
        });
        until("nothing is held back", || root.join("RESERVE").exists());
    };
    healthy(&opened);
    let mut number = 0;
    let mut last = Epoch(0);
    let (mut throttled, mut read_only) = (0, 0);
    // Others fill the device, once: the log lets go what a checkpoint holds, for ever.
    device.fill();
    for _ in 0..1_500 {
        number += 1;
        match round(&mut opened, number) {
            Some(epoch) => last = epoch,
            None => std::thread::sleep(Duration::from_millis(1)),
        }
        throttled += u32::from(opened.engine.health() == Health::Throttled);
    }
    assert!(throttled > 0, "space was never short");
    // They take whatever is let go.
    let deadline = Instant::now() + PATIENCE;
    while read_only < 20 {
        device.fill();
        number += 1;
        last = round(&mut opened, number).unwrap_or(last);
        read_only += u32::from(opened.engine.health() == Health::ReadOnly);
        assert!(Instant::now() < deadline, "{:?}", opened.engine.health());
    }
    assert!(opened.engine.durable_epoch() >= last, "what was acknowledged stays so");
    let keys = opened.engine.stats().cores.iter().map(|core| core.state_keys).sum::<u64>();
    assert_eq!(opened.cores.iter().map(|core| core.scan_prefix(b"").count() as u64).sum::<u64>(), keys);
    device.empty();
    healthy(&opened);
    until("an epoch with space", || {
        number += 1;
        round(&mut opened, number).is_some_and(|epoch| {
            last = epoch;
            true
        })
    });
    // A process that ends there leaves a device that can be opened.
    device.fill();
    drop(opened);
    let opened = open(&options);
    assert!(opened.report.epoch >= last, "{}", opened.report);
    assert_eq!(opened.report.live_keys, keys);
    device.empty();
    healthy(&opened);
    opened.engine.close(opened.cores).unwrap();
    println!("    {number} rounds, {throttled} throttled, {read_only} read-only, epoch {last} acknowledged");
}

fn stories(kind: &str) {
    let Some(device) = Mounted::new(kind) else { return };
    for (backend, inline) in [(Backend::Std, false), (Backend::Std, true), (Backend::Auto, false)] {
        println!("  {kind}, {backend:?}, inline {inline}");
        story(&device, backend, inline);
        fs::remove_dir_all(device.at.path().join("data")).unwrap();
    }
}

#[test]
fn a_full_tmpfs_is_left() {
    stories("tmpfs");
}

#[test]
fn a_full_ext4_is_left() {
    stories("ext4");
}
