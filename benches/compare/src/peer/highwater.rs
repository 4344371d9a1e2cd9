//! highwater itself, at the two layers that the workloads name: `wal::CoreWal`, and the engine, inline or with a
//! thread of its own for the log.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use highwater::env::{Blocking, Env, SystemEnv};
use highwater::wal::{
    CoreWal, Life, LogId, MergedLog, Pipeline, WalOpened, WalOptions, WalReader, WalRecord,
};
use highwater::{
    Backend, CoreHandle, DurableWrite, Engine, Epoch, EpochMark, ErrorKind, Lsn, Opened, Options,
};

use super::{
    LocalLog, LocalWork, Log, LogPeer, LogSpec, Map, MapPeer, ReplayPeer, Replayed, Result, Store, StorePeer,
    Work,
};
use crate::meter::{Latencies, Meter, Span};
use crate::record::{Check, Key, VALUE_BYTES, Values, key};

/// The environment of logs that are opened without an engine: the one that an engine picks.
fn log_env() -> Result<SystemEnv> {
    Ok(SystemEnv::new(Backend::Auto, DurableWrite::Auto)?)
}

/// Checkpoints are taken when asked for and at no other time.
fn options(dir: &Path) -> Options {
    Options::new(dir.join("data")).checkpoint_interval(None).checkpoint_wal_bytes(u64::MAX)
}

/// `change`, and again when there is room for it. The time of waiting is added to `waited`.
fn patiently<T>(
    core: &mut CoreHandle,
    waited: &mut Duration,
    mut change: impl FnMut(&mut CoreHandle) -> highwater::Result<T>,
) -> Result<T> {
    loop {
        match change(core) {
            Err(error) if error.kind() == ErrorKind::Busy => {
                let start = Instant::now();
                core.ready().wait()?;
                *waited += start.elapsed();
            }
            outcome => return Ok(outcome?),
        }
    }
}

/// An engine with one core.
struct Single {
    engine: Engine,
    core: CoreHandle,
    waited: Duration,
}

impl Single {
    fn open(options: Options) -> Result<Self> {
        let Opened { engine, cores, .. } = Engine::open(options)?;
        let core = cores.into_iter().next().ok_or("an engine without a core")?;
        Ok(Self { engine, core, waited: Duration::ZERO })
    }

    fn close(self) -> Result<()> {
        Ok(self.engine.close([self.core])?)
    }
}

impl Log for Single {
    fn append(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        patiently(&mut self.core, &mut self.waited, |core| core.put(key, value)).map(drop)
    }

    fn commit(&mut self) -> Result<()> {
        self.core.commit()?;
        Ok(())
    }
}

/// How an engine's log is moved along.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// By the caller who waits.
    Inline,
    /// By a thread of its own.
    Threaded,
}

impl Mode {
    fn options(self, dir: &Path) -> Options {
        options(dir).inline(matches!(self, Self::Inline))
    }
}

/// One single-core database per writer.
impl LogPeer for Mode {
    fn with(&self, dir: &Path, spec: &LogSpec, work: Work<'_>) -> Result<()> {
        let mut databases = Vec::new();
        for number in 0..spec.writers {
            let dir = dir.join(format!("writer-{number}"));
            std::fs::create_dir(&dir)?;
            databases.push(Single::open(self.options(&dir))?);
        }
        let mut logs: Vec<Box<dyn Log + '_>> = Vec::new();
        for database in &mut databases {
            logs.push(Box::new(database));
        }
        work(&mut logs)?;
        drop(logs);
        databases.into_iter().try_for_each(Single::close)
    }
}

/// Reopened into live state: the engine's own recovery, verified and inserted.
impl ReplayPeer for Mode {
    fn replay(&self, dir: &Path) -> Result<Replayed> {
        let database = Single::open(self.options(&dir.join("writer-0")))?;
        // A scan sorts all keys: it is not part of an open.
        Ok(Replayed::Later(Box::new(move || {
            let mut found = Check::default();
            for record in database.core.scan_prefix(b"") {
                let (key, value) = record?;
                found.add(&key, &value);
            }
            database.close()?;
            Ok(found)
        })))
    }
}

/// Commits of many records that are not waited for one by one: up to `in_flight` are under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pipelined {
    pub(crate) in_flight: usize,
}

struct PipelinedLog {
    single: Single,
    under_way: VecDeque<Epoch>,
    in_flight: usize,
}

impl Log for PipelinedLog {
    fn append(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.single.append(key, value)
    }

    /// The commit that is waited for is an earlier one.
    fn commit(&mut self) -> Result<()> {
        let Single { engine, core, waited } = &mut self.single;
        self.under_way.push_back(patiently(core, waited, |core| core.close_epoch(EpochMark::new()))?);
        if self.under_way.len() > self.in_flight {
            let oldest = self.under_way.pop_front().ok_or("no epoch is under way")?;
            engine.wait_durable(oldest)?;
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<()> {
        let Some(last) = self.under_way.drain(..).next_back() else { return Ok(()) };
        Ok(self.single.engine.wait_durable(last)?)
    }
}

impl LogPeer for Pipelined {
    fn with(&self, dir: &Path, _spec: &LogSpec, work: Work<'_>) -> Result<()> {
        let single = Single::open(Mode::Threaded.options(dir))?;
        let mut log = PipelinedLog { single, under_way: VecDeque::new(), in_flight: self.in_flight };
        work(&mut [Box::new(&mut log)])?;
        log.hand_over()?;
        log.single.close()
    }
}

/// `wal::CoreWal`, trimmed and recycled behind the writer.
#[derive(Debug, Default)]
pub(crate) struct Wal {
    /// What a reader has to be told about the log that was written last.
    written: RefCell<Option<(LogId, Vec<Life>)>>,
}

/// Segments of a pipeline that is committed, and of one that is not: large enough that leaving one costs little.
const PIPED_SEGMENT_BYTES: u64 = 32 << 20;
const UNSYNCED_SEGMENT_BYTES: u64 = 256 << 20;

/// Writes in flight of one that is not committed.
const UNSYNCED_DEPTH: usize = 8;

fn wal_options() -> WalOptions {
    WalOptions::new().spare_segments(2)
}

fn open_wal(dir: &Path, options: WalOptions) -> Result<CoreWal<SystemEnv>> {
    let WalOpened { wal, .. } = CoreWal::open_blocking(log_env()?, dir.join("log"), options)?;
    Ok(wal)
}

/// Half of the least segment: every segment is given up soon after it was left.
const TRIM_BYTES: u64 = 8 << 20;

struct WalLog {
    wal: CoreWal<SystemEnv>,
    /// Bytes of records since the last trim; `None` when nothing may be trimmed.
    untrimmed: Option<u64>,
}

impl Log for WalLog {
    fn append(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let record = WalRecord::Put { key, value };
        if let Some(bytes) = &mut self.untrimmed {
            *bytes += (key.len() + value.len()) as u64;
        }
        match self.wal.append(&record) {
            Err(error) if error.kind() == ErrorKind::Busy => {
                self.commit()?;
                self.wal.append(&record)?;
            }
            outcome => {
                outcome?;
            }
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        let durable = self.wal.sync_blocking()?;
        if let Some(bytes) = self.untrimmed.as_mut().filter(|bytes| **bytes >= TRIM_BYTES) {
            *bytes = 0;
            self.wal.trim_blocking(durable)?;
        }
        Ok(())
    }
}

impl LogPeer for Wal {
    fn with(&self, dir: &Path, spec: &LogSpec, work: Work<'_>) -> Result<()> {
        let mut log = WalLog { wal: open_wal(dir, wal_options())?, untrimmed: (!spec.keep).then_some(0) };
        work(&mut [Box::new(&mut log)])?;
        *self.written.borrow_mut() = Some((log.wal.id(), log.wal.lives().to_vec()));
        log.wal.close_blocking()?;
        Ok(())
    }
}

/// `wal::CoreWal` as a pipeline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piped {
    pub(crate) background: bool,
    /// Commits that are not waited for.
    pub(crate) in_flight: usize,
}

struct PipedLog {
    pipeline: Pipeline<SystemEnv>,
    in_flight: usize,
    under_way: VecDeque<Lsn>,
    untrimmed: u64,
    trim_bytes: u64,
}

impl Piped {
    fn open(self, dir: &Path, durable: bool) -> Result<PipedLog> {
        let mut options = wal_options();
        options.segment_bytes = PIPED_SEGMENT_BYTES;
        if !durable {
            options.segment_bytes = UNSYNCED_SEGMENT_BYTES;
            options.depth = UNSYNCED_DEPTH;
        }
        let trim_bytes = options.segment_bytes;
        let wal = open_wal(dir, options)?;
        let pipeline = if self.background { wal.pipeline_in_background()? } else { wal.pipeline()? };
        let (in_flight, under_way) = (self.in_flight, VecDeque::new());
        Ok(PipedLog { pipeline, in_flight, under_way, untrimmed: 0, trim_bytes })
    }
}

impl PipedLog {
    fn trim(&mut self) -> Result<()> {
        self.untrimmed = 0;
        let through = self.pipeline.high_water();
        self.pipeline.trim_blocking(through)?;
        Ok(())
    }
}

impl LocalLog for PipedLog {
    #[inline]
    fn append(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.untrimmed += (key.len() + value.len()) as u64;
        self.pipeline.append_blocking(&WalRecord::Put { key, value })?;
        if self.untrimmed >= self.trim_bytes { self.trim() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<()> {
        self.under_way.push_back(self.pipeline.commit()?);
        if self.under_way.len() > self.in_flight {
            let oldest = self.under_way.pop_front().ok_or("no commit is under way")?;
            self.pipeline.wait_blocking(oldest)?;
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<()> {
        let last = self.pipeline.submit()?;
        Ok(self.pipeline.wait_written_blocking(last)?)
    }
}

/// A pipeline stays on its thread, and has one writer.
impl LogPeer for Piped {
    fn with(&self, _: &Path, _: &LogSpec, _: Work<'_>) -> Result<()> {
        Err("a pipeline is for one thread".into())
    }

    fn with_one(&self, dir: &Path, spec: &LogSpec, work: LocalWork<'_>) -> Result<()> {
        let mut log = self.open(dir, spec.durable)?;
        work(&mut log)?;
        log.pipeline.finish_blocking()?.close_blocking()?;
        Ok(())
    }
}

fn add(found: &mut Check, record: &WalRecord<'_>) {
    if let WalRecord::Put { key, value } = record {
        found.add(key, value);
    }
}

/// One pass of `WalReader`: borrowed records in constant memory.
impl ReplayPeer for Wal {
    fn replay(&self, dir: &Path) -> Result<Replayed> {
        let (id, lives) = self.written.borrow().clone().ok_or("nothing was written")?;
        let env = log_env()?;
        env.block_on(async {
            let ahead = WalOptions::default().read_ahead_bytes;
            let log = MergedLog { dir: dir.join("log"), log: id, lives, cut: None };
            let mut reader = WalReader::open(&env.vfs()?, &log, ahead).await?;
            let mut found = Check::default();
            while let Some(frame) = reader.next().await? {
                frame.for_each(|(_, record)| add(&mut found, &record));
            }
            Ok(Replayed::Checked(found))
        })
    }
}

/// `CoreWal` reopened, which verifies the whole log, and then read from it: two passes.
#[derive(Debug, Default)]
pub(crate) struct ReopenedWal(Wal);

impl LogPeer for ReopenedWal {
    fn with(&self, dir: &Path, spec: &LogSpec, work: Work<'_>) -> Result<()> {
        self.0.with(dir, spec, work)
    }
}

impl ReplayPeer for ReopenedWal {
    fn replay(&self, dir: &Path) -> Result<Replayed> {
        let mut found = Check::default();
        open_wal(dir, wal_options())?.read_blocking(None, |_, _, record| add(&mut found, &record))?;
        Ok(Replayed::Checked(found))
    }
}

/// The engine with its checkpoints, over `cores` cores driven by one thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checkpointed {
    pub(crate) cores: u16,
}

struct Database {
    engine: Engine,
    cores: Vec<CoreHandle>,
    waited: Duration,
}

impl StorePeer for Checkpointed {
    fn open(&self, dir: &Path, _keys: u64) -> Result<Box<dyn Store>> {
        let Opened { engine, cores, .. } = Engine::open(options(dir).cores(self.cores))?;
        Ok(Box::new(Database { engine, cores, waited: Duration::ZERO }))
    }
}

impl Store for Database {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let owner = self.engine.core_of(key).index();
        patiently(&mut self.cores[owner], &mut self.waited, |core| core.put(key, value)).map(drop)
    }

    fn commit(&mut self) -> Result<()> {
        let mut ended = Epoch::default();
        for core in &mut self.cores {
            ended = patiently(core, &mut self.waited, |core| core.close_epoch(EpochMark::new()))?;
        }
        Ok(self.engine.wait_durable(ended)?)
    }

    fn checkpoint(&mut self) -> Result<()> {
        self.engine.checkpoint()?;
        Ok(())
    }

    fn has(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        let owner = self.engine.core_of(key).index();
        Ok(self.cores[owner].get(key)?.as_deref() == Some(value))
    }

    fn count(&mut self) -> Result<u64> {
        Ok(self.cores.iter().map(|core| core.len() as u64).sum())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.engine.close(self.cores)?)
    }
}

/// The state of one core, with everything that an update entails: record, log, epochs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LiveState {
    /// Whether keys are kept in order, too.
    pub(crate) ordered: bool,
    /// Keys of one call.
    pub(crate) batch: usize,
}

/// Updates of one epoch, or a few more where a batch does not end there.
const EPOCH_UPDATES: usize = 10_000;

struct StateMap {
    single: Single,
    batch: usize,
    /// Updates of the open epoch.
    updates: usize,
}

impl StateMap {
    fn updated(&mut self, count: usize) -> Result<()> {
        self.updates += count;
        if self.updates >= EPOCH_UPDATES {
            let Single { core, waited, .. } = &mut self.single;
            patiently(core, waited, |core| core.close_epoch(EpochMark::new()))?;
            self.updates = 0;
        }
        Ok(())
    }
}

impl MapPeer for LiveState {
    fn open(&self, dir: &Path, _keys: u64) -> Result<Box<dyn Map>> {
        let options = Mode::Threaded.options(dir).ordered_index(self.ordered);
        Ok(Box::new(StateMap { single: Single::open(options)?, batch: self.batch, updates: 0 }))
    }
}

impl Map for StateMap {
    fn update(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let Single { core, waited, .. } = &mut self.single;
        patiently(core, waited, |core| core.put(key, value))?;
        self.updated(1)
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn update_many(&mut self, entries: &[(Key, &[u8])]) -> Result<()> {
        let Single { core, waited, .. } = &mut self.single;
        let mut applied = 0;
        patiently(core, waited, |core| {
            core.put_many(&entries[applied..]).map_err(|stopped| {
                applied += stopped.applied;
                stopped.error
            })
        })?;
        self.updated(entries.len())
    }

    fn get_many(&self, keys: &[Key]) -> usize {
        let values = self.single.core.get_many(keys);
        values.filter_map(|value| value.ok().flatten()?.first().copied()).map(black_box).count()
    }

    fn get(&self, key: &[u8]) -> Option<u8> {
        self.single.core.get(key).ok().flatten().and_then(|value| value.first().copied())
    }

    fn waited(&self) -> Duration {
        self.single.waited
    }

    fn memory_bytes(&self) -> Option<u64> {
        Some(self.single.core.memory_bytes())
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        self.single.core.commit()?;
        self.single.close()
    }
}

/// What W8 does: `commits` commits of one record, of which the first `warm_up` are not counted, with up to `depth`
/// unacknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PipelineSpec {
    pub(crate) depth: usize,
    pub(crate) warm_up: u64,
    pub(crate) commits: u64,
}

/// W8 with the engine: every record an epoch of its own.
pub(crate) fn pipeline_engine(dir: &Path, mode: Mode, spec: PipelineSpec) -> Result<(Latencies, Span)> {
    let Single { engine, mut core, mut waited } = Single::open(mode.options(dir))?;
    let values = Values::new();
    let mut latencies = Latencies::with_capacity(spec.commits as usize);
    let mut under_way: VecDeque<(Epoch, Instant)> = VecDeque::with_capacity(spec.depth);
    let mut meter = Meter::start();
    for number in 0..spec.warm_up + spec.commits {
        if number == spec.warm_up {
            latencies = Latencies::with_capacity(spec.commits as usize);
            meter = Meter::start();
        }
        while let Some((oldest, _)) = under_way.front().filter(|_| under_way.len() >= spec.depth) {
            engine.wait_durable(*oldest)?;
            acknowledge(&mut under_way, engine.durable_epoch(), &mut latencies);
        }
        let issued = Instant::now();
        let (key, value) = (key(number), values.of(number, 0, VALUE_BYTES));
        patiently(&mut core, &mut waited, |core| core.put(&key, value))?;
        let epoch = patiently(&mut core, &mut waited, |core| core.close_epoch(EpochMark::new()))?;
        under_way.push_back((epoch, issued));
    }
    if let Some((last, _)) = under_way.back() {
        engine.wait_durable(*last)?;
        acknowledge(&mut under_way, engine.durable_epoch(), &mut latencies);
    }
    let span = meter.stop();
    engine.close([core])?;
    Ok((latencies, span))
}

fn acknowledge<T: PartialOrd + Copy>(
    under_way: &mut VecDeque<(T, Instant)>,
    through: T,
    latencies: &mut Latencies,
) {
    let now = Instant::now();
    while let Some((_, issued)) = under_way.pop_front_if(|(commit, _)| *commit <= through) {
        latencies.add(now - issued);
    }
}

/// W8 with `CoreWal` as a pipeline.
pub(crate) fn pipeline_wal(dir: &Path, background: bool, spec: PipelineSpec) -> Result<(Latencies, Span)> {
    let mut log = Piped { background, in_flight: 0 }.open(dir, true)?;
    let values = Values::new();
    let mut latencies = Latencies::with_capacity(spec.commits as usize);
    let mut under_way: VecDeque<(Lsn, Instant)> = VecDeque::with_capacity(spec.depth);
    let mut meter = Meter::start();
    for number in 0..spec.warm_up + spec.commits {
        if number == spec.warm_up {
            latencies = Latencies::with_capacity(spec.commits as usize);
            meter = Meter::start();
        }
        while let Some((oldest, _)) = under_way.front().filter(|_| under_way.len() >= spec.depth) {
            log.pipeline.wait_blocking(*oldest)?;
            acknowledge(&mut under_way, log.pipeline.high_water(), &mut latencies);
        }
        let issued = Instant::now();
        log.append(&key(number), values.of(number, 0, VALUE_BYTES))?;
        under_way.push_back((log.pipeline.commit()?, issued));
    }
    log.pipeline.sync_blocking()?;
    acknowledge(&mut under_way, log.pipeline.high_water(), &mut latencies);
    let span = meter.stop();
    log.pipeline.finish_blocking()?.close_blocking()?;
    Ok((latencies, span))
}
