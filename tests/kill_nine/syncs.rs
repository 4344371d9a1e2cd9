//! Syncs counted per acknowledgement: a build in which one was forgotten fails here, though no kill notices.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use highwater::env::{Blocking, Env, StdEnv, SystemEnv};
use highwater::vfs::{Entry, File, OpenMode, SystemVfs, Vfs};
use highwater::{Backend, DurableWrite, Engine, EpochMark, Opened, Options};

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

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
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

#[derive(Clone)]
struct CountingEnv {
    vfs: SystemVfs,
    events: Events,
}

impl std::fmt::Debug for CountingEnv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CountingEnv")
    }
}

impl Env for CountingEnv {
    type Vfs = CountingVfs;
    type InlineVfs = CountingVfs;
    type Clock = <StdEnv as Env>::Clock;
    type Spawn = <StdEnv as Env>::Spawn;
    type Entropy = <StdEnv as Env>::Entropy;

    fn vfs(&self) -> io::Result<CountingVfs> {
        Ok(CountingVfs(self.vfs, self.events.clone()))
    }

    fn inline_vfs(&self) -> io::Result<CountingVfs> {
        self.vfs()
    }

    fn clock(&self) -> Self::Clock {
        StdEnv.clock()
    }

    fn spawn(&self) -> Self::Spawn {
        StdEnv.spawn()
    }

    fn entropy(&self) -> Self::Entropy {
        StdEnv.entropy()
    }
}

impl Blocking for CountingEnv {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        StdEnv.block_on(future)
    }
}

#[derive(Clone)]
struct CountingVfs(SystemVfs, Events);

struct CountingFile {
    inner: <SystemVfs as Vfs>::File,
    path: PathBuf,
    events: Events,
}

impl CountingVfs {
    fn wrap(&self, path: &Path, inner: <SystemVfs as Vfs>::File) -> CountingFile {
        CountingFile { inner, path: path.to_owned(), events: self.1.clone() }
    }
}

impl Vfs for CountingVfs {
    type File = CountingFile;
    type Lock = <SystemVfs as Vfs>::Lock;

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<CountingFile> {
        Ok(self.wrap(path, self.0.open(path, mode).await?))
    }

    async fn create_new(&self, path: &Path) -> io::Result<CountingFile> {
        Ok(self.wrap(path, self.0.create_new(path).await?))
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir(path).await
    }

    async fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.link(from, to).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path).await
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.0.list(path).await
    }

    async fn lock(&self, path: &Path) -> io::Result<Self::Lock> {
        self.0.lock(path).await
    }

    async fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.0.free_space(path).await
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path).await
    }
}

impl File for CountingFile {
    async fn len(&self) -> io::Result<u64> {
        self.inner.len().await
    }

    async fn link_count(&self) -> io::Result<u64> {
        self.inner.link_count().await
    }

    async fn read_at(&self, offset: u64, buffer: BytesMut) -> io::Result<(BytesMut, usize)> {
        self.inner.read_at(offset, buffer).await
    }

    async fn write_at(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        let count = self.inner.write_at(offset, data.clone()).await?;
        self.events.push(Event::Write { file: self.path.clone(), data: data.slice(..count), durable: false });
        Ok(count)
    }

    async fn write_at_and_sync(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        let count = self.inner.write_at_and_sync(offset, data.clone()).await?;
        let durable = count == data.len();
        self.events.push(Event::Write { file: self.path.clone(), data: data.slice(..count), durable });
        Ok(count)
    }

    async fn sync_data(&self) -> io::Result<()> {
        let covers = self.events.count();
        self.inner.sync_data().await?;
        self.events.push(Event::Sync { file: self.path.clone(), covers });
        Ok(())
    }

    async fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.inner.allocate(bytes).await
    }

    async fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.inner.set_len(bytes).await
    }

    fn depth_max(&self) -> usize {
        self.inner.depth_max()
    }

    fn failures_are_own(&self) -> bool {
        self.inner.failures_are_own()
    }

    fn write_unit(&self) -> u32 {
        self.inner.write_unit()
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
            let env = CountingEnv { vfs, events: Events::default() };
            let path = dir.path().join(format!("{number}-inline-{inline}"));
            commits_behind_syncs(&env, options(&path).cores(2).inline(inline));
        }
    }
}

fn commits_behind_syncs(env: &CountingEnv, options: Options) {
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
            assert!(env.events.is_durable(marker.as_bytes()), "acknowledged without a sync: {marker}");
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
        let Opened { engine, mut cores, .. } = env.block_on(Engine::open_in(env, options)).unwrap();
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
