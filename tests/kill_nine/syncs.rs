//! Syncs counted per acknowledgement: a build in which one was forgotten fails here, though no kill notices.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use highwater::env::{Blocking, SystemEnv};
use highwater::vfs::SystemVfs;
use highwater::{Backend, DurableWrite, Engine, EpochMark, Opened, Options};

use crate::watched::{Watch, WatchedEnv};

/// A call that has completed.
enum Event {
    /// `durable` when it made itself so.
    Write {
        file: PathBuf,
        data: Bytes,
        durable: bool,
    },
    Sync {
        file: PathBuf,
        covers: usize,
    },
}

/// Every write and sync below, in the order of completion.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<Event>>>);

impl Events {
    fn push(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }

    /// Whether the write that holds `marker` completed, and a sync of its file that began later completed too.
    fn is_durable(&self, marker: &[u8]) -> bool {
        let events = self.0.lock().unwrap();
        let holds = |data: &Bytes| data.windows(marker.len()).any(|window| window == marker);
        let written = events.iter().enumerate().find_map(|(at, event)| match event {
            Event::Write { file, data, durable } if holds(data) => Some((at, file, durable)),
            _ => None,
        });
        let Some((at, written, durable)) = written else { return false };
        let mut later = events.iter();
        *durable
            || later
                .any(|event| matches!(event, Event::Sync { file, covers } if file == written && *covers > at))
    }
}

impl Watch for Events {
    fn begins(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn wrote(&self, file: &Path, data: Bytes, durable: bool) {
        self.push(Event::Write { file: file.to_owned(), data, durable });
    }

    fn synced(&self, file: &Path, since: usize) {
        self.push(Event::Sync { file: file.to_owned(), covers: since });
    }
}

fn options(path: &Path) -> Options {
    Options::new(path).segment_bytes(64 << 10).batch_bytes(4 << 10).queue_bytes(64 << 10)
}

/// The means whose promises are to be looked at: plain calls and io_uring, each with every form of durable write.
fn means() -> Vec<SystemVfs> {
    let forms = [
        DurableWrite::Auto,
        DurableWrite::Cached,
        DurableWrite::CachedDsync,
        DurableWrite::Direct,
        DurableWrite::DirectDsync,
    ];
    let mut means = Vec::new();
    for form in forms {
        means.push(SystemVfs::new(Backend::Std, form).unwrap());
        match SystemVfs::new(Backend::Uring, form) {
            Ok(vfs) => means.push(vfs.pipelined_from(0)),
            Err(error) => println!("NOT RUN: {error}"),
        }
    }
    means
}

/// Write, then sync, then acknowledgement: in that order, for every commit.
#[test]
fn every_acknowledged_commit_is_behind_a_completed_sync() {
    let dir = tempfile::tempdir().unwrap();
    for (number, vfs) in means().into_iter().enumerate() {
        for inline in [false, true] {
            let env = WatchedEnv { vfs, watch: Events::default() };
            let path = dir.path().join(format!("{number}-inline-{inline}"));
            commits_behind_syncs(&env, options(&path).cores(2).inline(inline));
        }
    }
}

fn commits_behind_syncs(env: &WatchedEnv<Events>, options: Options) {
    let Opened { engine, mut cores, .. } = env.block_on(Engine::open_in(env.clone(), options)).unwrap();
    for number in 0..100_u64 {
        let mut markers = Vec::new();
        let mut epoch = None;
        for core in &mut cores {
            // The offset is in the end of the epoch itself: no commit may be acknowledged without it.
            let marker = format!("commit {number} of core {} on {:?}", core.id(), env.vfs);
            let mark =
                EpochMark::new().offset("marker", highwater::Offset::Opaque(marker.clone().into_bytes()));
            epoch = Some(core.close_epoch(mark).unwrap());
            markers.push(marker);
        }
        engine.wait_durable(epoch.unwrap()).unwrap();
        for marker in markers {
            assert!(env.watch.is_durable(marker.as_bytes()), "acknowledged without a sync: {marker}");
        }
    }
    engine.close(cores).unwrap();
}

/// The same from outside of the process, where the device counts its flushes.
#[test]
fn the_device_flushes_at_least_once_per_acknowledged_commit() {
    let dir = tempfile::tempdir().unwrap();
    let device = match Device::of(dir.path()) {
        Ok(device) => device,
        Err(why) => return println!("NOT RUN: {why}"),
    };
    let commits = 50;
    for (number, vfs) in means().into_iter().enumerate() {
        let env = SystemEnv::with(vfs);
        let options = options(&dir.path().join(number.to_string()));
        let Opened { engine, mut cores, .. } = env.block_on(Engine::open_in(env.clone(), options)).unwrap();
        let before = device.flushes();
        for number in 0..commits {
            cores[0].put(b"key", &u64::to_le_bytes(number)).unwrap();
            let epoch = cores[0].close_epoch(EpochMark::new()).unwrap();
            engine.wait_durable(epoch).unwrap();
        }
        let flushes = device.flushes() - before;
        engine.close(cores).unwrap();
        assert!(flushes >= commits, "{commits} commits on {vfs:?}, the device flushed {flushes} times");
    }
}

/// A block device that counts flushes.
struct Device {
    stat: PathBuf,
}

impl Device {
    /// The device of `path`, or why its flushes tell nothing.
    fn of(path: &Path) -> Result<Self, String> {
        let number = std::fs::metadata(path).map_err(|error| error.to_string())?.dev();
        let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00);
        let place = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        let device = std::fs::canonicalize(&place)
            .map_err(|_| format!("{} is on no block device ({major}:{minor})", path.display()))?;
        let whole = if device.join("partition").exists() {
            device.parent().map(Path::to_owned)
        } else {
            Some(device)
        };
        let whole = whole.ok_or("a partition of no device")?;
        let read =
            |name: &str| std::fs::read_to_string(whole.join(name)).unwrap_or_default().trim().to_owned();
        if read("queue/write_cache") != "write back" {
            return Err(format!("{} has no volatile cache: the kernel drops its flushes", whole.display()));
        }
        if read("queue/fua") == "1" {
            return Err(format!("{} makes single writes durable without a flush", whole.display()));
        }
        let device = Self { stat: whole.join("stat") };
        match device.read() {
            Some(_) => Ok(device),
            None => Err(format!("{} does not count flushes", device.stat.display())),
        }
    }

    fn flushes(&self) -> u64 {
        self.read().unwrap()
    }

    /// The sixteenth number: flush requests completed.
    fn read(&self) -> Option<u64> {
        std::fs::read_to_string(&self.stat).ok()?.split_whitespace().nth(15)?.parse().ok()
    }
}
