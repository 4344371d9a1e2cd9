//! What is measured: one file per peer, behind one small trait per kind of work.
//!
//! ```text
//! LogPeer     W1 W2 W3 W6   append, commit
//! ReplayPeer  W4            reopen, read everything
//! StorePeer   W5            load, checkpoint, recover
//! Map         W7            update, get, one by one or many in a call
//! ```
//!
//! W8, which no peer can do, is in `workload/w8.rs` and `peer/highwater.rs`.

mod batched;
#[cfg(feature = "commonware")]
mod commonware;
#[cfg(feature = "fjall")]
mod fjall;
pub(crate) mod highwater;
#[cfg(feature = "laminar")]
mod laminar;
#[cfg(feature = "okaywal")]
mod okaywal;
#[cfg(feature = "raft-engine")]
mod raft_engine;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod rows;
#[cfg(feature = "sled")]
mod sled;
#[cfg(feature = "walrus")]
mod walrus;

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

pub(crate) use rows::{logs, maps, replays, stores};

use crate::record::{Check, Key};
use crate::workload::Row;

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// What a workload asks of a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogSpec {
    /// How many threads write, each one record per durable commit; more than one is W6.
    pub(crate) writers: usize,
    /// Bytes of every value.
    #[cfg_attr(not(feature = "commonware"), allow(dead_code, reason = "only its journal asks"))]
    pub(crate) value_bytes: usize,
    /// Whether commits are waited for; else it is throughput that counts, and `hand_over` at the end.
    pub(crate) durable: bool,
    /// Records of one commit.
    #[cfg_attr(not(feature = "walrus"), allow(dead_code, reason = "only walrus asks"))]
    pub(crate) per_commit: u64,
    /// Whether everything is read back later, so that nothing may be trimmed or overwritten.
    pub(crate) keep: bool,
}

/// One writer of a log.
pub(crate) trait Log: Send {
    fn append(&mut self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Everything appended is durable when it returns.
    fn commit(&mut self) -> Result<()>;

    /// Everything appended is with the kernel when it returns, or further.
    fn hand_over(&mut self) -> Result<()> {
        self.commit()
    }
}

impl<L: Log + ?Sized> Log for &mut L {
    fn append(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        (**self).append(key, value)
    }

    fn commit(&mut self) -> Result<()> {
        (**self).commit()
    }

    fn hand_over(&mut self) -> Result<()> {
        (**self).hand_over()
    }
}

/// What to do with the writers of a log, as many as were asked for.
pub(crate) type Work<'w> = &'w mut dyn for<'l> FnMut(&mut [Box<dyn Log + 'l>]) -> Result<()>;

/// A writer that stays on the thread that opened it.
pub(crate) trait LocalLog {
    fn append(&mut self, key: &[u8], value: &[u8]) -> Result<()>;
    fn commit(&mut self) -> Result<()>;
    fn hand_over(&mut self) -> Result<()>;
}

/// One that could go elsewhere.
struct Stays<'l>(&'l mut dyn Log);

impl LocalLog for Stays<'_> {
    fn append(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.append(key, value)
    }

    fn commit(&mut self) -> Result<()> {
        self.0.commit()
    }

    fn hand_over(&mut self) -> Result<()> {
        self.0.hand_over()
    }
}

/// What to do with the one writer of a log.
pub(crate) type LocalWork<'w> = &'w mut dyn FnMut(&mut dyn LocalLog) -> Result<()>;

pub(crate) trait LogPeer {
    /// As [`LogPeer::with`], for one writer that stays on its thread.
    fn with_one(&self, dir: &Path, spec: &LogSpec, work: LocalWork<'_>) -> Result<()> {
        self.with(dir, spec, &mut |logs| work(&mut Stays(&mut *logs[0])))
    }

    /// Opens a log in the empty directory `dir`, does `work` with it, and closes it.
    fn with(&self, dir: &Path, spec: &LogSpec, work: Work<'_>) -> Result<()>;
}

/// What a replay gives.
pub(crate) enum Replayed {
    /// Every record was looked at.
    Checked(Check),
    /// Every record is in memory and can be looked at, which is not timed.
    Later(Box<dyn FnOnce() -> Result<Check>>),
}

pub(crate) trait ReplayPeer: LogPeer {
    /// Reopens what `with` wrote in `dir`, and looks at every record.
    fn replay(&self, dir: &Path) -> Result<Replayed>;
}

/// State that is checkpointed and recovered.
pub(crate) trait Store {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()>;

    /// What was put is durable when it returns.
    fn commit(&mut self) -> Result<()>;

    fn checkpoint(&mut self) -> Result<()>;

    /// Whether `key` has `value`.
    fn has(&mut self, key: &[u8], value: &[u8]) -> Result<bool>;

    /// How many keys there are.
    fn count(&mut self) -> Result<u64>;

    fn close(self: Box<Self>) -> Result<()>;
}

pub(crate) trait StorePeer {
    /// Opens or recovers the state in `dir`, which will have about `keys` keys.
    fn open(&self, dir: &Path, keys: u64) -> Result<Box<dyn Store>>;
}

/// State in memory.
pub(crate) trait Map {
    fn update(&mut self, key: &[u8], value: &[u8]) -> Result<()>;

    /// The value's first byte, so that it has to be looked at.
    fn get(&self, key: &[u8]) -> Option<u8>;

    /// How many keys the row hands over in one call, `update_many` and `get_many` if it is more than one.
    fn batch(&self) -> usize {
        1
    }

    fn update_many(&mut self, entries: &[(Key, &[u8])]) -> Result<()> {
        entries.iter().try_for_each(|(key, value)| self.update(key, value))
    }

    /// How many of `keys` have a value; of each the first byte is looked at.
    fn get_many(&self, keys: &[Key]) -> usize {
        keys.iter().filter_map(|key| self.get(key)).map(black_box).count()
    }

    /// Time that updates spent waiting for a disk.
    fn waited(&self) -> Duration {
        Duration::ZERO
    }

    /// Bytes that the state takes, where the map can say so better than the allocator.
    fn memory_bytes(&self) -> Option<u64> {
        None
    }

    /// Whether a value may change its size.
    fn flexible(&self) -> bool {
        true
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

pub(crate) trait MapPeer {
    fn open(&self, dir: &Path, keys: u64) -> Result<Box<dyn Map>>;
}

/// A row of a table and what runs in it.
pub(crate) struct Entry<P: ?Sized> {
    pub(crate) row: Row,
    pub(crate) peer: Box<P>,
}

impl<P: ?Sized> Entry<P> {
    pub(crate) fn new(row: Row, peer: Box<P>) -> Self {
        Self { row, peer }
    }
}

/// Runs `work` with as many writers as are asked for.
#[allow(dead_code, reason = "no such peer may be built")]
pub(crate) fn with_writers<'l, L: Log + 'l>(
    writers: usize,
    make: impl Fn(usize) -> Result<L>,
    work: Work<'_>,
) -> Result<()> {
    let mut logs: Vec<Box<dyn Log + 'l>> = Vec::new();
    for number in 0..writers {
        logs.push(Box::new(make(number)?));
    }
    work(&mut logs)
}
