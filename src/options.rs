//! What a user may choose at open. Every field has a default that suits a durable local database.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorCode, Result};
use crate::limits::{
    CHECKPOINT_MEMORY_BYTES_MAX, CORES_MAX, DEPTH_MAX, FRAME_HEADER_BYTES, KEY_GROUPS_MAX, QUEUE_BYTES_MAX,
    RECORD_HEADER_BYTES, RETAINED_MAX, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SINK_NAME_BYTES_MAX, SINKS_MAX,
    SPANS_MAX, STATE_CHUNKS_MAX, WRITE_UNIT_BYTES_MAX,
};
use crate::remote::Remote;
use crate::route::Route;
use crate::sink::{LostPolicy, Named, Sink};

/// Where a database in memory lies, in a file system of its own.
const MEMORY_ROOT: &str = "/memory";

/// Which production disk backend to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// The best that this machine offers: io_uring if it works here, plain calls if not, which is logged.
    #[default]
    Auto,
    /// Plain system calls.
    Std,
    /// Linux's io_uring: several operations in flight per thread. `Unsupported` where it does not work.
    Uring,
    /// The memory of this process: no file, no system call. The database goes with its engine
    /// ([`Options::in_memory`]), and its path means nothing.
    Memory,
}

/// How a durable write is done. All forms are equally durable; which one is fast depends on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DurableWrite {
    /// What fits the device: past the page cache where the file system allows it, and else [`DurableWrite::Cached`].
    /// Writes in flight together on a device that flushes its cache for each of them share the flush.
    #[default]
    Auto,
    /// Into the page cache, then `fdatasync`.
    Cached,
    /// Into the page cache with the flag `RWF_DSYNC`: only what was written is made durable. In flight through io_uring it
    /// is [`DurableWrite::Cached`]: of several syncs that run through the cache at a time, one may never hear of a failure.
    CachedDsync,
    /// Past the page cache (`O_DIRECT`), then `fdatasync`.
    Direct,
    /// Past the page cache with the flag `RWF_DSYNC`: one command of a device that can force a write through its cache.
    DirectDsync,
}

/// How a database is opened. There are three ways to begin, and every option can be changed then:
///
/// | | begins with | what was waited for survives |
/// |--|--|--|
/// | [`Options::in_memory`] | nothing, each time | nothing: it goes with the engine |
/// | [`Options::durable`] | what is in the directory | crashes of the process and of the machine |
/// | either, and [`Options::remote`] | the directory, or the object store if that is empty | with `wait_remote`, the loss of the machine too |
///
/// `key_groups`, `route` and `write_unit_bytes` belong to the data: they are fixed at creation, and an open that asks for
/// others is refused. All other options may change from one open to the next; another number of `cores` divides the keys anew.
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    pub(crate) path: PathBuf,
    pub(crate) cores: u16,
    pub(crate) backend: Backend,
    pub(crate) durable_write: DurableWrite,
    pub(crate) inline: bool,
    pub(crate) segment_bytes: u64,
    pub(crate) batch_bytes: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) depth: usize,
    pub(crate) epoch_bytes_max: u64,
    pub(crate) epoch_skew_max: u64,
    pub(crate) idle_seal_after: Duration,
    pub(crate) checkpoint_interval: Option<Duration>,
    pub(crate) checkpoint_wal_bytes: u64,
    pub(crate) checkpoint_memory_bytes: usize,
    pub(crate) retain_checkpoints: usize,
    pub(crate) history: Option<(u64, usize)>,
    pub(crate) max_recovery: Option<Duration>,
    pub(crate) fallback_bytes_max: u64,
    pub(crate) reserve: bool,
    pub(crate) ordered_index: bool,
    /// Most chunks of a core's state: fewer in tests.
    pub(crate) state_chunks_max: u32,
    pub(crate) key_groups: u16,
    pub(crate) route: Route,
    pub(crate) write_unit_bytes: u32,
    pub(crate) remote: Option<Remote>,
    pub(crate) sinks: Vec<Named>,
    pub(crate) on_lost: LostPolicy,
}

impl Options {
    /// A database in the memory of this process, with one core: no file, no system call. It begins empty and goes
    /// with its engine.
    ///
    /// It is the engine that runs on disks, over a [`MemoryVfs`](crate::vfs::MemoryVfs) of its own, so that
    /// everything works as it does there: epochs, checkpoints, sinks, pins. Nobody waits for a device: it is
    /// [`inline`](Options::inline), and a wait for an epoch returns at once. Beside the state it takes memory for the
    /// newest checkpoint, another copy of the state, and for the log since then. [`Options::remote`] makes the object
    /// store the only place where it lasts.
    pub fn in_memory() -> Self {
        Self {
            backend: Backend::Memory,
            inline: true,
            segment_bytes: 8 << 20,
            checkpoint_wal_bytes: 64 << 20,
            retain_checkpoints: 1,
            fallback_bytes_max: 0,
            reserve: false,
            ..Self::new(MEMORY_ROOT)
        }
    }

    /// A database in the directory `path`, with one core: the same as [`Options::new`].
    pub fn durable(path: impl AsRef<Path>) -> Self {
        Self::new(path)
    }

    /// Defaults for a database in the directory `path`, with one core.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            cores: 1,
            backend: Backend::Auto,
            durable_write: DurableWrite::Auto,
            inline: false,
            segment_bytes: 32 << 20,
            batch_bytes: 256 << 10,
            queue_bytes: 16 << 20,
            depth: 2,
            epoch_bytes_max: 1 << 30,
            epoch_skew_max: 16,
            idle_seal_after: Duration::from_millis(50),
            checkpoint_interval: Some(Duration::from_secs(60)),
            checkpoint_wal_bytes: 256 << 20,
            checkpoint_memory_bytes: 256 << 20,
            retain_checkpoints: 2,
            history: None,
            max_recovery: None,
            fallback_bytes_max: 1 << 30,
            reserve: true,
            ordered_index: false,
            state_chunks_max: STATE_CHUNKS_MAX,
            key_groups: 1024,
            route: Route::WholeKey,
            write_unit_bytes: WRITE_UNIT_BYTES_MAX,
            remote: None,
            sinks: Vec::new(),
            on_lost: LostPolicy::Halt,
        }
    }

    /// How many cores share the key space, each with its own handle and log. Default 1. At an open of a database that has
    /// another number, its keys are divided anew: that rewrites the state, and keeps no epoch but the recovered one.
    /// At most 256, and never more than the [`key_groups`](Options::key_groups) that the database was created with.
    pub fn cores(mut self, cores: u16) -> Self {
        self.cores = cores;
        self
    }

    /// The disk backend. Default [`Backend::Auto`].
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// How durable writes of the log are done. Default [`DurableWrite::Auto`]; like the backend it has a meaning only
    /// for [`Engine::open`](crate::Engine::open), which makes its own environment.
    pub fn durable_write(mut self, form: DurableWrite) -> Self {
        self.durable_write = form;
        self
    }

    /// Whether the waiting caller writes its own log instead of a background thread: the lowest latency for one
    /// commit at a time. Default off.
    ///
    /// Then there is one write in flight, whatever [`Options::depth`] says, and no thread that would notice that the log is idle:
    /// [`Options::idle_seal_after`] has no effect, the marks are written with the next frame, when a segment is full and when the
    /// database is closed.
    pub fn inline(mut self, inline: bool) -> Self {
        self.inline = inline;
        self
    }

    /// Bytes of one log file: a multiple of 4,096 from 16 KiB to 1 GiB. Default 32 MiB. A record must fit into half of it.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Bytes of one log buffer: the most that is copied before the log thread sees it. Default 256 KiB; at least 512, and
    /// no more than the largest record, which half of [`Options::segment_bytes`] takes.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// Bytes of all log buffers of one core. When they wait for the disk, `put` is `Busy`. Default 16 MiB, at most
    /// 4 GiB.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// Durable writes in flight per core, where the backend can do more than one. Default 2, at most 1,024; always one with
    /// [`Options::inline`].
    pub fn depth(mut self, depth: usize) -> Self {
        self.depth = depth;
        self
    }

    /// Most bytes of records in one open epoch of one core; `put` is `Busy` beyond. Default 1 GiB.
    pub fn epoch_bytes_max(mut self, bytes: u64) -> Self {
        self.epoch_bytes_max = bytes;
        self
    }

    /// How many epochs one core may be ahead of the slowest; `close_epoch` is `Busy` beyond. Default 16; `u64::MAX`
    /// is no bound.
    pub fn epoch_skew_max(mut self, epochs: u64) -> Self {
        self.epoch_skew_max = epochs;
        self
    }

    /// How long a core's log may be idle before the marks of what is durable are written once more, so that even
    /// damage to the very last frame can be told from a torn write. Default 50 ms. No effect with [`Options::inline`].
    pub fn idle_seal_after(mut self, after: Duration) -> Self {
        self.idle_seal_after = after;
        self
    }

    /// How often a checkpoint is taken when epochs have closed; `None` takes none by time. After failures the wait is
    /// longer, if it was below 3.2 s. Default 60 s.
    pub fn checkpoint_interval(mut self, interval: Option<Duration>) -> Self {
        self.checkpoint_interval = interval;
        self
    }

    /// How many bytes the logs may grow before a checkpoint is taken. Default 256 MiB.
    pub fn checkpoint_wal_bytes(mut self, bytes: u64) -> Self {
        self.checkpoint_wal_bytes = bytes;
        self
    }

    /// How long a recovery may take. Checkpoints are then taken, and bases rewritten, often enough to keep
    /// [`Engine::recovery_forecast`](crate::Engine::recovery_forecast) below it, besides what the other options ask
    /// for; a budget that is too small for the state is not met, and costs a bounded number of checkpoints. Default
    /// none.
    pub fn max_recovery(mut self, budget: Duration) -> Self {
        self.max_recovery = Some(budget);
        self
    }

    /// Memory in which the log of one core is compacted for the next checkpoint, while it is written: it may be in use
    /// between two checkpoints. With little of it a checkpoint reads the log back and writes more files. Default 256 MiB, at
    /// most 2.5 GiB.
    pub fn checkpoint_memory_bytes(mut self, bytes: usize) -> Self {
        self.checkpoint_memory_bytes = bytes;
        self
    }

    /// How many checkpoints are kept. Default 2: the newest and one to fall back to. At most 1,000.
    pub fn retain_checkpoints(mut self, count: usize) -> Self {
        self.retain_checkpoints = count;
        self
    }

    /// Besides, of every `epochs` epochs in a row the first that has a checkpoint is kept, for the newest `count` such
    /// spans: its files, not the log behind it, so that it can be restored into another directory
    /// ([`Engine::retained`](crate::Engine::retained)). All that is kept may name 400,000 files; beyond, the oldest epochs
    /// are given up, with a warning. Default none, at most 10,000.
    pub fn keep_history(mut self, epochs: u64, count: usize) -> Self {
        self.history = Some((epochs, count));
        self
    }

    /// Most bytes of log that are kept only so that recovery can fall back to a checkpoint which shares no file with
    /// the newest. Beyond, that fallback is given up first. Default 1 GiB.
    pub fn fallback_bytes_max(mut self, bytes: u64) -> Self {
        self.fallback_bytes_max = bytes;
        self
    }

    /// Whether space for a log file of each core is held back, so that a device that has run full can still be left: with it the
    /// cores go on to the next checkpoint, which lets older files go, and an open has what it needs. Default on, but
    /// not in memory.
    pub fn reserve(mut self, held: bool) -> Self {
        self.reserve = held;
        self
    }

    /// Whether each core keeps its keys in order, too: a scan of a prefix or a range then costs what it returns, and not
    /// a pass over all keys. It takes up to 58 bytes of memory per key (24 more and its length for a key over 22 bytes),
    /// and time when a key comes or goes, none when a value changes. Default off.
    pub fn ordered_index(mut self, ordered: bool) -> Self {
        self.ordered_index = ordered;
        self
    }

    /// Slots of the key space, fixed at creation: at least as many as [`cores`](Options::cores), at most 32,768. Default
    /// 1,024.
    pub fn key_groups(mut self, groups: u16) -> Self {
        self.key_groups = groups;
        self
    }

    /// Which part of a key decides its core, fixed at creation. Default the whole key.
    pub fn route(mut self, route: Route) -> Self {
        self.route = route;
        self
    }

    /// The unit that the device overwrites without touching its neighbours, 512 or 4,096, fixed at creation.
    /// Default 4,096, which is right for both kinds.
    pub fn write_unit_bytes(mut self, bytes: u32) -> Self {
        self.write_unit_bytes = bytes;
        self
    }

    /// An object store that every checkpoint is copied to, so that the database outlives its machine: an open of an empty
    /// directory restores what the store holds, and takes the database over from whoever had it
    /// ([`Engine::wait_remote`](crate::Engine::wait_remote) says from when on an epoch is safe there). An open needs the store to
    /// answer; afterwards the database works on without it. Default none.
    pub fn remote(mut self, remote: Remote) -> Self {
        self.remote = Some(remote);
        self
    }

    /// A sink that sees every row that the program gives it once, whatever crashes: what a core gives it in an epoch is
    /// pre-committed when the core ends the epoch, and published when a checkpoint holds it
    /// ([`Engine::wait_published`](crate::Engine::wait_published)). How often checkpoints are taken is how soon rows are
    /// seen. `name` is kept in the database: a sink stays under its name, and with all of them, until everything is
    /// published. It has at most 255 bytes, and no other sink has it. Default none, at most 64.
    pub fn sink(mut self, name: impl Into<String>, sink: impl Sink) -> Self {
        self.sinks.push(Named { name: name.into(), sink: Arc::new(sink) });
        self
    }

    /// What is done when a sink has forgotten what was decided. Default [`LostPolicy::Halt`].
    pub fn on_lost(mut self, policy: LostPolicy) -> Self {
        self.on_lost = policy;
        self
    }

    /// In memory there is one place, whatever path was given.
    pub(crate) fn placed(mut self) -> Self {
        if self.backend == Backend::Memory {
            self.path = MEMORY_ROOT.into();
        }
        self
    }

    /// Bytes of the largest record, header included, that these options can log.
    pub(crate) fn record_bytes_max(&self) -> u64 {
        // A segment's header, its first frame and its seal each take units of their own.
        let taken = u64::from(WRITE_UNIT_BYTES_MAX) + 2 * u64::from(self.write_unit_bytes);
        (self.segment_bytes / 2).min(self.segment_bytes - taken) - FRAME_HEADER_BYTES as u64
    }

    /// How many log buffers one core owns.
    pub(crate) fn batches(&self) -> usize {
        (self.queue_bytes / self.batch_bytes).max(3)
    }

    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::new(ErrorCode::BadOption, what));
        if self.cores == 0 || self.cores > CORES_MAX {
            return refuse(format!("cores({}) must lie between 1 and {CORES_MAX}", self.cores));
        }
        if self.key_groups < self.cores || self.key_groups > KEY_GROUPS_MAX {
            let (groups, cores) = (self.key_groups, self.cores);
            return refuse(format!(
                "key_groups({groups}) must lie between cores ({cores}) and {KEY_GROUPS_MAX}"
            ));
        }
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes)
            || !self.segment_bytes.is_multiple_of(u64::from(WRITE_UNIT_BYTES_MAX))
        {
            return refuse(format!(
                "segment_bytes({}) must be a multiple of {WRITE_UNIT_BYTES_MAX} between {SEGMENT_BYTES_MIN} and \
                 {SEGMENT_BYTES_MAX}",
                self.segment_bytes
            ));
        }
        if self.write_unit_bytes != 512 && self.write_unit_bytes != 4096 {
            return refuse(format!("write_unit_bytes({}) must be 512 or 4096", self.write_unit_bytes));
        }
        if self.batch_bytes < 512 || self.batch_bytes as u64 > self.record_bytes_max() {
            return refuse(format!(
                "batch_bytes({}) must lie between 512 and {} (the largest record of a segment)",
                self.batch_bytes,
                self.record_bytes_max()
            ));
        }
        self.check_counts()?;
        if let Some(remote) = &self.remote {
            remote.check()?;
        }
        let names: BTreeSet<&str> = self.sinks.iter().map(|sink| sink.name.as_str()).collect();
        if names.len() < self.sinks.len() || names.len() > SINKS_MAX {
            return refuse(format!(
                "{} sinks: at most {SINKS_MAX}, each with a name of its own",
                self.sinks.len()
            ));
        }
        if let Some(name) = names.iter().find(|name| name.len() > SINK_NAME_BYTES_MAX) {
            return refuse(format!(
                "the sink name of {} bytes is over the limit of {SINK_NAME_BYTES_MAX}",
                name.len()
            ));
        }
        self.route.check()
    }

    /// What is counted, and would be none or without end.
    fn check_counts(&self) -> Result<()> {
        for (name, value) in [
            ("epoch_skew_max", self.epoch_skew_max),
            ("epoch_bytes_max", self.epoch_bytes_max),
            ("keep_history", self.history.map_or(1, |(epochs, count)| epochs.min(count as u64))),
            ("depth", self.depth as u64),
            ("retain_checkpoints", self.retain_checkpoints as u64),
            ("checkpoint_memory_bytes", self.checkpoint_memory_bytes as u64),
        ] {
            if value == 0 {
                return Err(Error::new(ErrorCode::BadOption, format!("{name}(0) must be at least 1")));
            }
        }
        for (name, value, most) in [
            ("queue_bytes", self.queue_bytes as u64, QUEUE_BYTES_MAX),
            ("depth", self.depth as u64, DEPTH_MAX),
            ("checkpoint_memory_bytes", self.checkpoint_memory_bytes as u64, CHECKPOINT_MEMORY_BYTES_MAX),
            ("retain_checkpoints", self.retain_checkpoints as u64, RETAINED_MAX),
            ("keep_history", self.history.map_or(1, |(_, count)| count as u64), SPANS_MAX),
        ] {
            if value > most {
                return Err(Error::new(
                    ErrorCode::BadOption,
                    format!("{name}({value}) must be at most {most}"),
                ));
            }
        }
        Ok(())
    }
}

const _: () = assert!(RECORD_HEADER_BYTES < 512, "the smallest batch holds a record");
