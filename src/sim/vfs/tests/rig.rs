//! A small scheduler for the tests: polls its one future, and jumps to the next timer when it waits.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::env::Tick;
use crate::sim::executor::{Executor, LocalFuture};
use crate::sim::rng::Streams;
use crate::sim::trace::Trace;
use crate::sim::{Disk, FaultPlan, Personality, SimDisk, SimFile, lock};
use crate::vfs::{File, Vfs};

/// Virtual time, moved by hand or by waiting.
#[derive(Default)]
pub(super) struct Timers {
    now: Mutex<u64>,
    due: Mutex<Vec<u64>>,
}

impl Timers {
    pub(super) fn advance(&self, by: Duration) {
        *lock(&self.now) += u64::try_from(by.as_nanos()).unwrap();
    }

    fn jump(&self) {
        let mut due = lock(&self.due);
        let next = due.iter().copied().min().expect("somebody waits for time");
        due.retain(|at| *at != next);
        let mut now = lock(&self.now);
        *now = (*now).max(next);
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Timers")
    }
}

#[derive(Clone, Debug)]
struct Wall(Arc<Timers>);

struct Sleep {
    timers: Arc<Timers>,
    until: u64,
    listed: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if *lock(&self.timers.now) >= self.until {
            return Poll::Ready(());
        }
        if !self.listed {
            self.listed = true;
            lock(&self.timers.due).push(self.until);
        }
        Poll::Pending
    }
}

impl Executor for Wall {
    fn now(&self) -> Tick {
        Tick(*lock(&self.0.now))
    }

    fn sleep(&self, duration: Duration) -> LocalFuture {
        let until = *lock(&self.0.now) + u64::try_from(duration.as_nanos()).unwrap();
        Box::pin(Sleep { timers: Arc::clone(&self.0), until, listed: false })
    }

    fn spawn(&self, _: &str, _: Box<dyn FnOnce() -> LocalFuture + Send>) {
        unreachable!("the disk starts no tasks")
    }
}

/// A disk with the directory `d`, and the means to use it.
pub(super) struct Rig {
    pub(super) disk: SimDisk,
    pub(super) timers: Arc<Timers>,
    pub(super) trace: Trace,
}

impl Rig {
    pub(super) fn new(plan: FaultPlan) -> Self {
        Self::with(Personality::default(), plan, 7)
    }

    pub(super) fn with(personality: Personality, plan: FaultPlan, seed: u64) -> Self {
        let mut disk = Disk::new(personality);
        disk.install_dir("d").unwrap();
        Self::on(disk, plan, seed)
    }

    pub(super) fn on(disk: Disk, plan: FaultPlan, seed: u64) -> Self {
        let timers = Arc::new(Timers::default());
        let trace = Trace::new();
        let executor = Arc::new(Wall(Arc::clone(&timers)));
        let disk = SimDisk::new(disk, executor, &Streams::new(seed), plan, trace.clone());
        Self { disk, timers, trace }
    }

    pub(super) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(value) = poll(future.as_mut()) {
                return value;
            }
            self.timers.jump();
        }
    }

    /// A new file `d/name` whose name is durable.
    pub(super) fn file(&self, name: &str) -> SimFile {
        let vfs = self.disk.vfs();
        self.run(async {
            let file = vfs.create_new(&Path::new("d").join(name)).await.unwrap();
            vfs.sync_dir(Path::new("d")).await.unwrap();
            file
        })
    }

    /// A file whose name and bytes are durable, whatever the faults.
    pub(super) fn installed(&self, name: &str, bytes: &[u8]) -> SimFile {
        let path = Path::new("d").join(name);
        self.disk.with_disk(|disk| disk.install_file(&path, bytes)).unwrap();
        self.run(self.disk.vfs().open(&path, crate::vfs::OpenMode::Write)).unwrap()
    }

    pub(super) fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.disk.disk().read_file(Path::new("d").join(name))
    }
}

/// One poll.
pub(super) fn poll<T>(future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

pub(super) fn sectors(byte: u8, count: usize) -> Bytes {
    Bytes::from(vec![byte; count * 512])
}

pub(super) async fn read(file: &SimFile, offset: u64, len: usize) -> std::io::Result<Vec<u8>> {
    let (buffer, count) = file.read_at(offset, BytesMut::zeroed(len)).await?;
    Ok(buffer[..count].to_vec())
}

/// A shared list, for hooks.
pub(super) type Seen<T> = Arc<Mutex<Vec<T>>>;
