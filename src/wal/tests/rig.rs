//! An environment around the test disk, and short words for what most tests do.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::disk::{Disk, mix};
use crate::env::{Blocking, Clock, Entropy, Env, Spawn, Tick};
use crate::error::{Error, Result};
use crate::ids::Lsn;
use crate::wal::{CoreWal, WalOpened, WalOptions, WalRecord};

/// Polls `future` to its end.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..1_000_000 {
        if let Poll::Ready(out) = future.as_mut().poll(&mut cx) {
            return out;
        }
    }
    panic!("the future never completes");
}

#[derive(Clone)]
pub(super) struct TestEnv {
    pub(super) disk: Disk,
    entropy: Counter,
}

impl std::fmt::Debug for TestEnv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TestEnv")
    }
}

#[derive(Clone)]
pub(super) struct Counter(Arc<AtomicU64>);

impl Entropy for Counter {
    fn bits(&self) -> u64 {
        mix(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Clone)]
pub(super) struct Still;

impl Clock for Still {
    fn now(&self) -> Tick {
        Tick(0)
    }

    fn wall_ms(&self) -> u64 {
        0
    }

    async fn sleep(&self, _: Duration) {}
}

impl Spawn for Still {
    fn spawn<F, Fut>(&self, _: &str, _: F) -> io::Result<()>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn give_way(&self) {}
}

impl Env for TestEnv {
    type Vfs = Disk;
    type InlineVfs = Disk;
    type Clock = Still;
    type Spawn = Still;
    type Entropy = Counter;

    fn vfs(&self) -> io::Result<Disk> {
        Ok(self.disk.clone())
    }

    fn inline_vfs(&self) -> io::Result<Disk> {
        Ok(self.disk.clone())
    }

    fn clock(&self) -> Still {
        Still
    }

    fn spawn(&self) -> Still {
        Still
    }

    fn entropy(&self) -> Counter {
        self.entropy.clone()
    }
}

impl Blocking for TestEnv {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(future)
    }
}

pub(super) const DIR: &str = "/log";

pub(super) fn dir() -> &'static Path {
    Path::new(DIR)
}

pub(super) fn small() -> WalOptions {
    WalOptions {
        segment_bytes: 16 * 1024,
        batch_bytes: 1024,
        write_unit: 512,
        batches_max: 8,
        depth: 1,
        read_ahead_bytes: 8 * 1024,
        ..WalOptions::default()
    }
}

pub(super) type Wal = CoreWal<TestEnv>;

pub(super) fn env(disk: &Disk) -> TestEnv {
    TestEnv { disk: disk.clone(), entropy: Counter(Arc::new(AtomicU64::new(disk.boot() << 20))) }
}

pub(super) fn open(disk: &Disk) -> Result<WalOpened<TestEnv>> {
    open_with(disk, small())
}

pub(super) fn open_with(disk: &Disk, options: WalOptions) -> Result<WalOpened<TestEnv>> {
    CoreWal::open_blocking(env(disk), dir(), options)
}

/// A log on a fresh disk.
pub(super) fn fresh() -> (Disk, Wal) {
    let disk = Disk::default();
    let wal = open(&disk).unwrap().wal;
    (disk, wal)
}

/// Appends the record number `n`: its value says which one it is.
pub(super) fn put(wal: &mut Wal, n: u64) -> Lsn {
    let value = value(n);
    wal.append(&WalRecord::Put { key: b"key", value: &value }).unwrap()
}

/// Values differ in length, and equal numbers have equal values.
pub(super) fn value(n: u64) -> Vec<u8> {
    let mut value = n.to_le_bytes().to_vec();
    value.resize(8 + usize::try_from(mix(n) % 300).unwrap(), b'.');
    value
}

/// The numbers of all records that are read back.
pub(super) fn numbers(wal: &Wal) -> Result<Vec<u64>> {
    let mut out = Vec::new();
    wal.read_blocking(None, |_, _, record| {
        if let WalRecord::Put { value: bytes, .. } = record {
            let n = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            assert_eq!(bytes, value(n), "a record came back changed");
            out.push(n);
        }
    })?;
    Ok(out)
}

/// Opens the log on `disk` and reads all of it.
pub(super) fn recover(disk: &Disk) -> Result<Vec<u64>> {
    let opened = open(disk)?;
    numbers(&opened.wal)
}

/// The segment files, ascending.
pub(super) fn segment_files(disk: &Disk) -> Vec<PathBuf> {
    disk.files().into_iter().filter(|path| path.extension().is_none()).collect()
}

/// That `error` names a file.
pub(super) fn names_a_file(error: &Error) {
    assert!(error.path().is_some(), "{error}");
}
