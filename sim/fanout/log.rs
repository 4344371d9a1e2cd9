//! The log alone: appends of many sizes, group commits with writes in flight, rolls, trims, crashes and reopens.

mod pipelines;

use std::fmt;
use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use highwater::env::Tick;
use highwater::sim::{
    Disk, Executor, FaultClass, FaultPlan, LocalFuture, Personality, SimDisk, SimEnv, SimVfs, Simulator,
    Streams, Trace,
};
use highwater::wal::{CoreWal, WalOptions, WalRecord};
use highwater::{Epoch, Error, ErrorKind, Lsn};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::course::{self, Course, OPENS_MAX, Stage};
use super::{
    Cut, Effort, Explored, Explorer, Moment, Recovery, Remains, Shots, Subject, Tally, Work, campaign,
};
use crate::Test;
use crate::explain::record::{self, Event};
use crate::plan::Fate;
use crate::step::Moment as Scope;
use crate::without;
use crate::world::lock;

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![fan_out_of_the_log_passes, a_first_open_may_be_crashed_anywhere,];

const EFFORT: Effort = Effort {
    images: 96,
    nested_images: 6,
    nest_one_in: 16,
    again_one_in: 3,
    run_max: Work::of(6_000, DISK_BYTES_USUAL),
    recovery_max: Work::of(400, DISK_BYTES_USUAL),
};

/// What most disks with a log hold at most.
const DISK_BYTES_USUAL: u64 = 128 << 10;

const DIR: &str = "/log";

type Env = SimEnv<SimVfs>;
type Wal = CoreWal<Env>;

/// I1, I3 and I5 of the log: every crash of a small workload, and every crash of its recovery.
fn fan_out_of_the_log_passes() {
    campaign::run("the log", 50_000, explore_cut);
}

/// An open was killed before the sync of its first frame, the next one built on that frame, which was in the page cache
/// only, and after a power cut every later open refused the log (0x5eed0000, before shapes were drawn as they are now).
fn a_first_open_may_be_crashed_anywhere() {
    let effort = Effort {
        images: 64,
        nested_images: 4,
        nest_one_in: 1,
        again_one_in: 1,
        run_max: Work { states: 5_000, ..Work::UNBOUNDED },
        recovery_max: Work::UNBOUNDED,
    };
    for seed in 0..4 {
        let mut shape = Shape::draw(seed);
        (shape.course.plan, shape.course.lives, shape.course.operations) = (FaultPlan::none(), 1, 0);
        shape.options.write_unit = 4096;
        let (tally, outcome) = explore_shape(seed, &shape, effort);
        assert_eq!(outcome, Ok(()), "seed {seed}, after {} states", tally.states);
    }
}

/// Every crash of what is left of the run of `seed`.
pub(crate) fn explore_cut(seed: u64, cut: &Cut) -> Explored {
    let mut shape = Shape::draw(seed);
    let unfit = shape.on_unfit_device();
    if unfit.is_taken() {
        shape = unfit;
    }
    shape.course.cut(cut);
    let (tally, result) = explore_shape(seed, &shape, EFFORT.within(cut));
    Explored { tally, seen: shape.course.seen(), result }
}

fn explore_shape(seed: u64, shape: &Shape, effort: Effort) -> (Tally, Result<(), String>) {
    let (moments, outcome) = run(seed, shape);
    let refused = shape.options.write_unit < shape.course.personality.write_unit;
    if refused && moments.iter().all(|moment| moment.promise.hashes.is_empty()) {
        return (Tally::default(), outcome);
    }
    let subject = Log { options: shape.options.clone() };
    let mut explorer = Explorer::new(&subject, effort, seed);
    let outcome = outcome.and_then(|()| explorer.all(&moments));
    (explorer.tally, outcome.map_err(|why| format!("{why}\n  {shape}")))
}

/// Everything that a seed decides at the start.
struct Shape {
    course: Course,
    options: WalOptions,
    constant_size: bool,
    /// Trims for every five appends and four syncs.
    trims: u64,
    /// How often an operation is a whole pipeline.
    pipelines: f64,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { course, options, constant_size, trims, pipelines } = self;
        let Course { personality, plan, value_bytes_max, lives, operations, .. } = course;
        write!(
            f,
            "disk: {personality}; faults: {plan}; values: {value_bytes_max} constant={constant_size}; lives: {lives} \
             of {operations} operations, trims: {trims}, pipelines: {pipelines}; {options:?}"
        )
    }
}

impl Shape {
    fn draw(seed: u64) -> Self {
        let streams = Streams::new(seed).fork("fanout.log");
        let mut draws = streams.stream("shape");
        let personality = Personality::draw(&mut draws);
        let classes = [
            FaultClass::WriteBack,
            FaultClass::ShortWrite,
            FaultClass::Interrupted,
            FaultClass::SyncError,
            FaultClass::SyncErrorOnce,
            FaultClass::DirSyncError,
            FaultClass::WriteError,
            FaultClass::Full,
        ];
        let plan = course::plan(&mut draws, &classes, &[0.005, 0.02, 0.1], 0.3);
        let mut options = WalOptions::default();
        options.segment_bytes = *draws.pick(&[16 << 10, 16 << 10, 32 << 10]);
        options.batch_bytes = *draws.pick(&[512, 1024, 4096]);
        options.batches_max = *draws.pick(&[4, 16, 64]);
        options.depth = *draws.pick(&[1, 2, 4, 8]);
        options.read_ahead_bytes = *draws.pick(&[4 << 10, 64 << 10]);
        // 512 on a device of 4,096 is refused, and nothing happens.
        options.write_unit = *draws.pick(&[personality.write_unit, personality.write_unit, 4096, 512]);
        if streams.stream("shape.unit").chance(0.25) {
            options.write_unit = 512;
        }
        options.spare_segments = *draws.pick(&[0, 1, 2]);
        let mut course = Course::new(personality, plan);
        course.value_bytes_max = *draws.pick(&[40, 300, 1500, 3000]);
        let constant_size = draws.chance(0.3);
        course.lives = draws.range(1, 4);
        course.operations = draws.range(4, 40);
        let trims = *draws.pick(&[1, 1, 4]);
        let pipelines = *streams.stream("shape.pipelines").pick(&[0.0, 0.2, 0.5]);
        Self { course, options, constant_size, trims, pipelines }
    }

    /// The same on a device that overwrites more at once than the log does, and may garble all of it. The log refuses
    /// such a device; one that took it would have to survive there.
    fn on_unfit_device(&self) -> Self {
        let personality =
            Personality { write_unit: 4096, power_safe_overwrite: false, ..self.course.personality };
        let course = self.course.on(personality);
        let mut options = self.options.clone();
        options.write_unit = 512;
        Self { course, options, ..*self }
    }

    /// Whether the log opens on this device.
    fn is_taken(&self) -> bool {
        let (streams, executor): (_, Arc<dyn Executor>) = (Streams::new(0), Arc::new(Still));
        let (disk, plan) = (Disk::new(self.course.personality), FaultPlan::none());
        let disk = SimDisk::new(disk, executor.clone(), &streams, plan, Trace::silent());
        let env = SimEnv::new("device", executor, disk.vfs(), &streams);
        at_once(CoreWal::open(env, Path::new(DIR), self.options.clone())).is_ok()
    }
}

/// What was appended and what of it was promised. Records count from zero over all lives; `hashes[n]` is the content
/// of record `n`, which differs from any content that an earlier life gave that number.
#[derive(Clone, Debug, Default)]
struct Promise {
    hashes: Arc<Vec<u64>>,
    /// How many records are promised.
    acked: usize,
    /// How many of the oldest were given up.
    trimmed: usize,
    /// How many of the oldest are never read back again: a trim has returned, or an open without them.
    gone: usize,
    /// The greatest LSN that a trim named.
    trimmed_through: Lsn,
}

/// What a log holds: records from number `first` on.
#[derive(Clone, PartialEq)]
struct Found {
    first: usize,
    hashes: Arc<[u64]>,
}

impl Found {
    fn end(&self) -> usize {
        self.first + self.hashes.len()
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "records {}..{}", self.first, self.end())
    }
}

impl Promise {
    fn keeps(&self, found: &Found) -> Result<(), String> {
        let end = found.end();
        let Self { hashes, acked, trimmed, gone, .. } = self;
        if found.hashes.is_empty() {
            let lost = acked > trimmed;
            return if lost {
                Err(format!("nothing recovered, {acked} promised, {trimmed} trimmed"))
            } else {
                Ok(())
            };
        }
        if found.first > *trimmed || found.first < *gone || end < *acked || end > hashes.len() {
            let issued = hashes.len();
            return Err(format!(
                "{found:?}, but {trimmed} trimmed, {gone} of them gone, {acked} promised, {issued} appended"
            ));
        }
        match found.hashes.iter().zip(&hashes[found.first..end]).position(|(a, b)| a != b) {
            Some(at) => Err(format!("{found:?}: record {} is not what was appended", found.first + at)),
            None => Ok(()),
        }
    }
}

/// The subject: a log under these options.
struct Log {
    options: WalOptions,
}

impl Subject for Log {
    type Promise = Promise;
    type Found = Found;

    fn recover(&self, left: Remains, boot: u64, watch: bool) -> Result<Recovery<Found>, String> {
        let (streams, executor): (_, Arc<dyn Executor>) = (Streams::new(boot), Arc::new(Still));
        let disk = SimDisk::new(left.disk, executor.clone(), &streams, FaultPlan::none(), Trace::silent());
        let shots = Shots::default();
        let _watch = watch.then(|| shots.watch(&disk, None));
        record::follow(&disk, &executor);
        let env = SimEnv::new("recovery", executor, disk.vfs(), &streams);
        let found = at_once(async {
            let opened = CoreWal::open(env, Path::new(DIR), self.options.clone()).await?;
            read_back(&opened.wal).await
        });
        let (found, _) = found.map_err(|error| error.to_string())?;
        let remains = Remains { disk: disk.disk(), store: None };
        Ok(Recovery { found, remains, moments: shots.take() })
    }

    fn judge(&self, promise: &Promise, found: &Found, _: bool) -> Result<(), String> {
        promise.keeps(found)
    }

    fn follows(&self, _: &Found, _: &Found) -> bool {
        true
    }

    /// Not even trimmed records come back once an open has returned without them.
    fn holds(&self, _: &Promise, earlier: &Found, later: &Found) -> bool {
        earlier == later
    }
}

/// Polls a future that has nothing to wait for: the disk has no latency, and the log starts no task.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a recovery waits for something"),
    }
}

/// An executor on which time stands still and nothing is started.
#[derive(Debug)]
struct Still;

impl Executor for Still {
    fn now(&self) -> Tick {
        Tick(0)
    }

    fn sleep(&self, _: Duration) -> LocalFuture {
        Box::pin(std::future::pending())
    }

    fn spawn(&self, name: &str, _: Box<dyn FnOnce() -> LocalFuture + Send>) {
        panic!("the log starts no task, and started {name}");
    }
}

/// Everything in the log, with the LSN of each record.
async fn read_back(wal: &Wal) -> Result<(Found, Vec<Lsn>), Error> {
    let (mut first, mut hashes, mut lsns) = (None, Vec::new(), Vec::new());
    let mut reader = wal.read(None).await?;
    while let Some(frame) = reader.next().await? {
        frame.for_each(|(lsn, record)| {
            first.get_or_insert_with(|| number_of(&record));
            hashes.push(hash_of(&record));
            lsns.push(lsn);
        });
    }
    Ok((Found { first: first.unwrap_or(0), hashes: hashes.into() }, lsns))
}

fn number_of(record: &WalRecord<'_>) -> usize {
    let number = match record {
        WalRecord::Put { key, .. } | WalRecord::Delete { key } => {
            key.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
        }
        WalRecord::EpochEnd { epoch } => Some(epoch.0),
        _ => None,
    };
    number
        .and_then(|number| usize::try_from(number).ok())
        .expect("every record of the workload has its number")
}

fn hash_of(record: &WalRecord<'_>) -> u64 {
    // Key and value apart: a byte at the end of a key is not one at the front of its value.
    let (kind, key, value): (u8, &[u8], &[u8]) = match record {
        WalRecord::Put { key, value } => (0, key, value),
        WalRecord::Delete { key } => (1, key, &[]),
        WalRecord::Clear => (2, &[], &[]),
        WalRecord::EpochEnd { epoch } => (3, &epoch.0.to_le_bytes(), &[]),
        _ => panic!("the workload makes no {record:?}"),
    };
    let of_key = xxh3_64_with_seed(key, key.len() as u64 * 4 + u64::from(kind));
    xxh3_64_with_seed(&xxh3_64(value).to_le_bytes(), of_key)
}

/// One run of the workload.
struct Run<'a> {
    shape: &'a Shape,
    stage: Stage<'a, Promise>,
    executor: Arc<dyn Executor>,
    env: Env,
    lsns: Vec<Lsn>,
}

/// A record of the workload.
struct Drawn {
    number: u64,
    kind: u64,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Drawn {
    fn record(&self) -> WalRecord<'_> {
        match self.kind {
            0 => WalRecord::Delete { key: &self.key },
            1 => WalRecord::EpochEnd { epoch: Epoch(self.number) },
            _ => WalRecord::Put { key: &self.key, value: &self.value },
        }
    }
}

/// Runs the workload of `seed` and returns the moments at which it may crash.
fn run(seed: u64, shape: &Shape) -> (Vec<Moment<Promise>>, Result<(), String>) {
    let means = (Simulator::new(seed), Streams::new(seed).fork("fanout.log"));
    let told = || (shape.to_string(), 1);
    course::run(means, &shape.course, Promise::default(), told, |handle, stage| {
        let executor: Arc<dyn Executor> = Arc::new(handle);
        let env = SimEnv::new("log", executor.clone(), stage.disk.vfs(), &stage.streams);
        Run { shape, stage, executor, env, lsns: Vec::new() }.lives()
    })
}

impl Run<'_> {
    async fn lives(mut self) -> Result<(), String> {
        for life in self.shape.course.lives() {
            record::life(format!("{life} of the run"));
            self.stage.enter(life, Scope::OPEN);
            let Some(wal) = self.open().await? else { continue };
            let mut log = Some(wal);
            for number in self.shape.course.operations() {
                if !self.stage.enter(life, number) {
                    continue;
                }
                let (left, goes_on) = self.operate(log).await;
                log = left;
                if !goes_on {
                    break;
                }
            }
            self.stage.enter(life, Scope::END);
            self.end(log, life + 1 == self.shape.course.lives).await;
        }
        Ok(())
    }

    /// Opens the log and takes stock; `None` when the disk fails too often.
    async fn open(&mut self) -> Result<Option<Wal>, String> {
        for _ in 0..OPENS_MAX {
            let mut options = self.shape.options.clone();
            options.trimmed_through = Some(lock(&self.stage.promise).trimmed_through);
            let opened = CoreWal::open(self.env.clone(), Path::new(DIR), options).await;
            let read = match opened {
                Ok(opened) => read_back(&opened.wal).await.map(|read| (opened.wal, read)),
                Err(error) => Err(error),
            };
            match read {
                Ok((wal, (found, lsns))) => {
                    record::note(|| Event::Opened(record::Opened::saying(&format!("{found:?}"))));
                    self.take_stock(&found, &lsns).map_err(|why| format!("reopened in the run: {why}"))?;
                    return Ok(Some(wal));
                }
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    return Err(format!("an open in the run refused: {error}"));
                }
                Err(_) => self.reboot(),
            }
        }
        Ok(None)
    }

    fn take_stock(&mut self, found: &Found, lsns: &[Lsn]) -> Result<(), String> {
        let mut promise = lock(&self.stage.promise);
        promise.keeps(found)?;
        // Of a log that is empty all was trimmed.
        let first = if found.hashes.is_empty() { promise.acked } else { found.first };
        let end = first + found.hashes.len();
        Arc::make_mut(&mut promise.hashes).truncate(end);
        promise.acked = end;
        promise.gone = promise.gone.max(first);
        self.lsns.truncate(first);
        self.lsns.extend(lsns);
        Ok(())
    }

    /// One operation. Returns the log, if it is still there, and whether it goes on: not when it has failed.
    async fn operate(&mut self, log: Option<Wal>) -> (Option<Wal>, bool) {
        let Some(mut wal) = log else { return (None, false) };
        if self.shape.pipelines > 0.0 && self.stage.draws.chance(self.shape.pipelines) {
            self.shape.course.call("pipeline");
            return match self.pipeline(wal).await {
                Ok(wal) => (Some(wal), true),
                Err(_) => (None, false),
            };
        }
        let draw = self.stage.draws.below(9 + self.shape.trims);
        self.shape.course.call(match draw {
            0..=4 => "append",
            5..=8 => "sync",
            _ => "trim",
        });
        let done = match draw {
            0..=4 => self.append_some(&mut wal),
            5..=8 => self.sync(&mut wal).await,
            _ => self.trim(&mut wal).await,
        };
        let goes_on = self.wait_for_space(done).await.is_ok();
        (Some(wal), goes_on)
    }

    /// Waits for space, if that is what `done` lacked.
    async fn wait_for_space(&self, done: Result<(), Error>) -> Result<(), Error> {
        match done {
            Err(error) if error.kind() == ErrorKind::Full => {
                self.executor.sleep(Duration::from_millis(300)).await;
                Ok(())
            }
            done => done,
        }
    }

    fn append_some(&mut self, wal: &mut Wal) -> Result<(), Error> {
        for _ in 0..self.stage.draws.range(1, 12) {
            let drawn = self.draw_record();
            match wal.append(&drawn.record()) {
                Ok(lsn) => self.appended(&drawn, lsn),
                Err(error) if error.kind() == ErrorKind::Busy => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn draw_record(&mut self) -> Drawn {
        let number = lock(&self.stage.promise).hashes.len() as u64;
        let max = self.shape.course.value_bytes_max;
        let bytes = if self.shape.constant_size { max } else { self.stage.draws.range(0, max) };
        let mut value = vec![0; usize::try_from(bytes).expect("a few thousand")];
        self.stage.draws.fill(&mut value);
        let key = [number.to_le_bytes(), self.stage.draws.bits().to_le_bytes()].concat();
        Drawn { number, kind: self.stage.draws.below(16), key, value }
    }

    fn appended(&mut self, drawn: &Drawn, lsn: Lsn) {
        record::note(|| Event::Appended { core: 0, lsn: lsn.0 });
        Arc::make_mut(&mut lock(&self.stage.promise).hashes).push(hash_of(&drawn.record()));
        self.lsns.push(lsn);
    }

    async fn sync(&mut self, wal: &mut Wal) -> Result<(), Error> {
        let all = lock(&self.stage.promise).hashes.len();
        wal.sync().await?;
        record::note(|| Event::Synced { lsn: self.lsns.last().map_or(0, |lsn| lsn.0) });
        self.acknowledged(all);
        Ok(())
    }

    /// The first `count` records are promised.
    fn acknowledged(&self, count: usize) {
        self.stage.promised(|promise| {
            let is_new = count > promise.acked;
            promise.acked = promise.acked.max(count);
            is_new
        });
    }

    async fn trim(&mut self, wal: &mut Wal) -> Result<(), Error> {
        let Some(through) = self.draw_trim() else { return Ok(()) };
        wal.trim(through).await?;
        let begins = wal.lives().first().expect("the live life is never trimmed").first_lsn;
        lock(&self.stage.promise).gone = self.lsns.partition_point(|lsn| *lsn < begins);
        Ok(())
    }

    /// Gives up some of what is promised, and says through which LSN.
    fn draw_trim(&mut self) -> Option<Lsn> {
        let mut promise = lock(&self.stage.promise);
        let count = self.stage.draws.range(promise.trimmed as u64, promise.acked as u64);
        let count = usize::try_from(count).expect("a count of records");
        let through = self.lsns[count.checked_sub(1)?];
        promise.trimmed = count;
        promise.trimmed_through = promise.trimmed_through.max(through);
        Some(through)
    }

    /// Ends a life, in one of the ways in which lives end.
    async fn end(&mut self, log: Option<Wal>, last: bool) {
        // A pipeline that failed is gone already; its process may go on.
        let Some(mut wal) = log else {
            if !last && self.stage.draws.chance(0.5) {
                self.reboot();
            }
            return;
        };
        match self.stage.draws.below(4) {
            way if way == 0 || without::crash(Fate::Drawn).is_none() => {
                let all = lock(&self.stage.promise).hashes.len();
                if wal.close().await.is_ok() {
                    self.acknowledged(all);
                }
                return;
            }
            1 => drop(wal),
            _ => {
                // The process dies at some moment of a group commit.
                let moment = self.executor.sleep(Duration::from_micros(self.stage.draws.range(1, 3_000)));
                let _ = self.append_some(&mut wal);
                first_of(wal.sync(), moment).await;
                drop(wal);
            }
        }
        if !last {
            self.reboot();
        }
    }

    fn reboot(&mut self) {
        self.stage.crash();
        self.env = self.env.reboot(Arc::clone(&self.executor), self.stage.disk.vfs());
    }
}

/// Completes when either does, and drops both.
async fn first_of<T>(work: impl Future<Output = T>, end: LocalFuture) {
    let (mut work, mut end) = (pin!(work), end);
    poll_fn(|context| {
        if work.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        end.as_mut().poll(context)
    })
    .await;
}
