//! The whole engine: epochs over several cores, checkpoints, retention, reopens. What a recovery finds is also compared
//! with what the independent decoder says about the same bytes (I3, I4, I6).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater::sim::{
    Disk, Executor, FaultClass, FaultPlan, Handle, Node, Personality, SimDisk, SimEnv, SimStore, SimVfs,
    Simulator, StoreFaults, Streams, Trace,
};
use highwater::{
    CoreHandle, Engine, EpochMark, Error, ErrorKind, Offset, Opened, Options, RecoveryReport, VerifyOptions,
};

use super::course::{self, Course, OPENS_MAX, Stage, lock};
use super::{
    Cut, Effort, Explored, Explorer, Moment, Recovery, Remains, Shots, Subject, Tally, Work, campaign,
};
use crate::Test;
use crate::audit;
use crate::decode::{self, CoreState, Database, Flat, FlatState, Flattener, Memo};
use crate::explain::record::{self, Event};
use crate::plan::Fate;
use crate::remote::RemotePlan;
use crate::step::Moment as Scope;
use crate::without;

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![fan_out_of_the_engine_passes, a_creation_may_be_crashed_anywhere,];

const EFFORT: Effort = Effort {
    images: 24,
    nested_images: 3,
    nest_one_in: 60,
    again_one_in: 6,
    run_max: Work::of(3_000, DISK_BYTES_USUAL),
    recovery_max: Work::of(300, DISK_BYTES_USUAL),
};

/// What most disks with a database hold at most.
const DISK_BYTES_USUAL: u64 = 256 << 10;

const ROOT: &str = "/data";

pub(super) type World = SimEnv<SimVfs>;

/// I1, I3, I4, I5 and I6 of the engine: every crash of a small workload, and some crashes of its recovery.
fn fan_out_of_the_engine_passes() {
    campaign::run("the engine", 10_000, explore_cut);
}

/// A creation was killed between the link of the first manifest and the sync of its folder, the next open made log
/// files on the strength of a name in the page cache, and after a power cut there was data without a manifest (0x1009).
fn a_creation_may_be_crashed_anywhere() {
    let effort = Effort {
        images: 8,
        nested_images: 1,
        nest_one_in: 6,
        again_one_in: 1,
        run_max: Work { states: 5_000, ..Work::UNBOUNDED },
        recovery_max: Work::UNBOUNDED,
    };
    for seed in 0..2 {
        let mut shape = Shape::draw(seed);
        (shape.course.plan, shape.course.lives, shape.course.operations) = (FaultPlan::none(), 1, 0);
        (shape.cores, shape.options) = (1, shape.options.cores(1));
        let (tally, outcome) = explore_shape(seed, &shape, effort);
        assert_eq!(outcome, Ok(()), "seed {seed}, after {} states", tally.states);
    }
}

/// Every crash of what is left of the run of `seed`.
pub(crate) fn explore_cut(seed: u64, cut: &Cut) -> Explored {
    let mut shape = Shape::draw(seed);
    shape.course.cut(cut);
    let (tally, result) = explore_shape(seed, &shape, EFFORT.within(cut));
    Explored { tally, seen: shape.course.seen(), result }
}

fn explore_shape(seed: u64, shape: &Shape, effort: Effort) -> (Tally, Result<(), String>) {
    let (moments, outcome) = run(seed, shape);
    let (memo, images) = (Mutex::default(), AtomicU64::new(0));
    let subject = Whole { options: shape.options.clone(), cores: shape.cores, memo, images };
    let mut explorer = Explorer::new(&subject, effort, seed);
    let outcome = outcome.and_then(|()| explorer.all(&moments));
    (explorer.tally, outcome.map_err(|why| format!("{why}\n  {shape}")))
}

/// Everything that a seed decides at the start.
pub(super) struct Shape {
    pub(super) course: Course,
    pub(super) options: Options,
    pub(super) cores: u16,
    /// Of so many more than eleven operations, each is a checkpoint.
    checkpoints: u64,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { course, options, cores, checkpoints } = self;
        let Course { personality, plan, value_bytes_max, lives, operations, .. } = course;
        write!(
            f,
            "disk: {personality}; faults: {plan}; {cores} cores, values: {value_bytes_max}; lives: {lives} of \
             {operations} operations, {checkpoints} weighs a checkpoint; {options:?}"
        )?;
        course.remote.as_ref().map_or(Ok(()), |remote| write!(f, "; {remote}"))
    }
}

impl Shape {
    pub(super) fn draw(seed: u64) -> Self {
        let streams = Streams::new(seed).fork("fanout.engine");
        let mut draws = streams.stream("shape");
        let personality = Personality::draw(&mut draws);
        let classes = [
            FaultClass::WriteBack,
            FaultClass::ShortWrite,
            FaultClass::SyncErrorOnce,
            FaultClass::DirSyncError,
        ];
        let plan = course::plan(&mut draws, &classes, &[0.003, 0.02], 0.25);
        let cores = *draws.pick(&[1, 2, 2, 3]);
        let options = Options::new(ROOT)
            .cores(cores)
            .segment_bytes(*draws.pick(&[16 << 10, 32 << 10]))
            .batch_bytes(*draws.pick(&[512, 1024, 2048]))
            .queue_bytes(16 << 10)
            .depth(*draws.pick(&[1, 2, 4]))
            .idle_seal_after(Duration::from_millis(draws.range(1, 20)))
            .checkpoint_interval(None)
            .checkpoint_wal_bytes(*draws.pick(&[4 << 10, 1 << 30]))
            .retain_checkpoints(usize::from(*draws.pick(&[1_u8, 2, 3])))
            .key_groups(*draws.pick(&[8, 64]))
            .write_unit_bytes(*draws.pick(&[personality.write_unit, 4096]))
            .fallback_bytes_max(*streams.stream("shape.fallback").pick(&[0, 0, 64 << 10, 1 << 30]))
            .ordered_index(streams.stream("shape.ordered").chance(0.5));
        let options = match *streams.stream("shape.history").pick(&[0, 0, 1, 2]) {
            0 => options,
            epochs => options.keep_history(epochs, 2),
        };
        // A chain of deltas has to grow before a base replaces it and its files are retired.
        let checkpoints = *draws.pick(&[1, 1, 12]);
        let mut course = Course::new(personality, plan);
        course.value_bytes_max = *draws.pick(&[20, 200, 1500]);
        course.lives = draws.range(1, 4);
        course.operations = draws.range(4, if checkpoints > 1 { 120 } else { 40 });
        Self { course, options, cores, checkpoints }
    }
}

/// What every core said at each end of an epoch, and how many of these ends were promised on all cores.
#[derive(Clone, Debug)]
pub(super) struct Promise {
    ends: Vec<Arc<Vec<End>>>,
    pub(super) acked: u64,
    /// With an object store, from here on. The epoch that it was said to hold.
    pub(super) stored: u64,
    /// The greatest token that an open has returned.
    pub(super) token: u64,
    /// The pins that somebody was told, with their epochs.
    pub(super) pins: BTreeMap<String, u64>,
    /// Those of them that the store has.
    pub(super) stored_pins: BTreeMap<String, u64>,
}

/// One core at the end of an epoch.
#[derive(Clone, Debug, Default)]
pub(super) struct End {
    pub(super) flat: Flat,
    pub(super) watermark: Option<i64>,
}

/// What a recovery returned.
#[derive(Clone, PartialEq)]
pub(super) struct Found {
    pub(super) epoch: u64,
    state: FlatState,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: usize = self.state.state().cores.iter().map(|core| core.values.len()).sum();
        write!(f, "epoch {} with {keys} keys", self.epoch)
    }
}

impl Found {
    /// What an open returned.
    pub(super) fn of(opened: &Opened<World>) -> Result<Self, Error> {
        let Opened { cores, report, .. } = opened;
        Ok(Self { epoch: report.epoch.0, state: export(cores, report)? })
    }
}

impl Promise {
    fn new(cores: u16) -> Self {
        let beginning = Arc::new(vec![End::default()]);
        let (pins, stored_pins) = (BTreeMap::new(), BTreeMap::new());
        Self { ends: vec![beginning; usize::from(cores)], acked: 0, stored: 0, token: 0, pins, stored_pins }
    }

    /// The state at the end of `epoch`, which every core has ended.
    pub(super) fn state_at(&self, epoch: u64) -> Option<Vec<&End>> {
        let index = usize::try_from(epoch).ok()?;
        self.ends.iter().map(|ends| ends.get(index)).collect()
    }

    /// Whether an open with `token` that has found `pins` lets everybody go on; behind the loss of a machine with what the store
    /// was said to have.
    pub(super) fn holds(&self, token: u64, pins: &BTreeMap<String, u64>, lost: bool) -> Result<(), String> {
        if token <= self.token {
            return Err(format!("I8: token {token} is not above {}", self.token));
        }
        let told = if lost { &self.stored_pins } else { &self.pins };
        match told.iter().find(|(name, epoch)| pins.get(*name) != Some(epoch)) {
            Some((name, epoch)) => Err(format!("pin {name} of epoch {epoch} is gone: {pins:?} (I6)")),
            None => Ok(()),
        }
    }

    /// Whether `found` is exact, and not below epoch `promised`.
    pub(super) fn keeps(&self, found: &Found, promised: u64) -> Result<(), String> {
        let Found { epoch, state } = found;
        if *epoch < promised {
            return Err(format!("recovered epoch {epoch}, and {promised} was promised"));
        }
        let Some(expected) = self.state_at(*epoch) else {
            return Err(format!("recovered epoch {epoch}, which no core or not every core has ended"));
        };
        let watermark = expected.first().and_then(|end| end.watermark);
        if expected.iter().map(|end| &end.flat).eq(&state.cores) && watermark == state.watermark {
            return Ok(());
        }
        let cores = expected.into_iter().map(|end| end.flat.clone()).collect();
        let expected = FlatState { cores, watermark };
        Err(format!("epoch {epoch} came back changed: {}", expected.difference(state)))
    }
}

/// Images from one to the next that is verified too.
pub(super) const VERIFIED_EVERY: u64 = 8;

/// The subject: a database under these options.
struct Whole {
    options: Options,
    cores: u16,
    memo: Mutex<Memo>,
    /// How many images there were.
    images: AtomicU64,
}

impl Subject for Whole {
    type Promise = Promise;
    type Found = Found;

    fn recover(&self, left: Remains, boot: u64, watch: bool) -> Result<Recovery<Found>, String> {
        let decoded = decoded(&left.disk, &mut lock(&self.memo))?;
        let verified = self.perhaps_verified(&left.disk)?;
        let mut recovery = recovered(left, (boot, watch), (self.options.clone(), None), Found::of)?;
        if let Some(epoch) = verified.filter(|epoch| *epoch != recovery.found.epoch) {
            return Err(format!("verify says epoch {epoch}, recovered {:?}", recovery.found));
        }
        compare(decoded.as_ref(), &mut recovery.found, self.cores, &mut lock(&self.memo))?;
        Ok(recovery)
    }

    fn judge(&self, promise: &Promise, found: &Found, _: bool) -> Result<(), String> {
        promise.keeps(found, promise.acked)
    }

    fn holds(&self, _: &Promise, earlier: &Found, later: &Found) -> bool {
        earlier == later
    }
}

impl Whole {
    /// What `highwater::verify` says is recovered, of some images.
    fn perhaps_verified(&self, image: &Disk) -> Result<Option<u64>, String> {
        let due = self.images.fetch_add(1, Ordering::Relaxed).is_multiple_of(VERIFIED_EVERY);
        if due { verified(image) } else { Ok(None) }
    }
}

/// How long an engine with a store goes on for behind some of its opens: it looks for orphans then.
const GOES_ON_FOR: Duration = Duration::from_secs(2);

/// One in so many does.
const GOES_ON_ONE_IN: u64 = 4;

/// Opens what is `left` under these options, with the store if the run has one, and returns what `export` makes of it.
pub(super) fn recovered<F>(
    left: Remains,
    (boot, watch): (u64, bool),
    (options, remote): (Options, Option<&RemotePlan>),
    export: impl FnOnce(&Opened<World>) -> Result<F, Error>,
) -> Result<Recovery<F>, String> {
    let recovered = Simulator::new(boot).steps_max(2_000_000).run(|handle: Handle| async move {
        let executor: Arc<dyn Executor> = Arc::new(handle);
        let streams = Streams::new(boot);
        let disk = SimDisk::new(left.disk, executor.clone(), &streams, FaultPlan::none(), Trace::silent());
        let from = |image| SimStore::from_image(image, &streams, StoreFaults::none(), Trace::silent());
        let store = left.store.map(from);
        let shots = Shots::default();
        let _watch = watch.then(|| shots.watch(&disk, store.as_ref()));
        record::follow(&disk, &executor);
        let env = SimEnv::new("recovery", executor.clone(), disk.vfs(), &streams);
        let options = with_store(options, remote, store.as_ref(), &executor);
        let opened = Engine::open_in(env, options).await?;
        let found = export(&opened)?;
        if store.is_some() && boot.is_multiple_of(GOES_ON_ONE_IN) {
            executor.sleep(GOES_ON_FOR).await;
        }
        let remains = Remains { disk: disk.disk(), store: store.as_ref().map(SimStore::image) };
        Ok::<_, Error>(Recovery { found, remains, moments: shots.take() })
    });
    recovered.map_err(|stuck| format!("the recovery is stuck: {stuck}"))?.map_err(|error| error.to_string())
}

/// `options` with the store of a run, if it has one, for a process that runs on `executor`.
fn with_store(
    options: Options,
    remote: Option<&RemotePlan>,
    store: Option<&SimStore>,
    executor: &Arc<dyn Executor>,
) -> Options {
    match (remote, store) {
        (Some(remote), Some(store)) => options.remote(remote.option(store, Arc::clone(executor))),
        _ => options,
    }
}

/// What `highwater::verify` says is recovered: it finds nothing wrong where disks keep their word.
pub(super) fn verified(image: &Disk) -> Result<Option<u64>, String> {
    match audit::verify(image.clone(), ROOT, VerifyOptions::new()) {
        Ok(report) if report.is_sound() => Ok(report.recoverable_epoch.map(|epoch| epoch.0)),
        Ok(report) => Err(format!("verify: {report}")),
        // Its creation was interrupted.
        Err(error) if error.kind() == ErrorKind::Invalid => Ok(None),
        Err(error) => Err(format!("verify: {error}")),
    }
}

/// What the independent decoder makes of the bytes; none when the database has not been created yet.
pub(super) fn decoded(image: &Disk, memo: &mut Memo) -> Result<Option<Database>, String> {
    let files = memo.files_of(image, ROOT);
    if !files.keys().any(|path| path.starts_with("m/") && path.rsplit('.').next() != Some("tmp")) {
        return Ok(None);
    }
    Database::read(&files, memo).map(Some).map_err(|why| format!("the decoder: {why}"))
}

/// Whether the decoder finds the same. If so, `found` shares its memory from now on.
pub(super) fn compare(
    decoded: Option<&Database>,
    found: &mut Found,
    cores: u16,
    memo: &mut Memo,
) -> Result<(), String> {
    let Some(decoded) = decoded else {
        return if found.epoch == 0 {
            Ok(())
        } else {
            Err(format!("{found:?} of a database that was not there"))
        };
    };
    if decoded.recovered_epoch() != found.epoch {
        return Err(format!("recovered {found:?}, the decoder finds epoch {}", decoded.recovered_epoch()));
    }
    let mut state = decoded.state_at(found.epoch, memo).map_err(|why| format!("the decoder: {why}"))?;
    // A database that was created and never opened has no cores yet.
    state.cores.resize(usize::from(cores), Flat::default());
    if state != found.state {
        let what = state.difference(&found.state);
        return Err(format!("epoch {}: the decoder finds another state: {what}", found.epoch));
    }
    found.state = state;
    Ok(())
}

/// A report has the least watermark only: that is what is compared.
fn export<'a>(
    cores: impl IntoIterator<Item = &'a CoreHandle>,
    report: &RecoveryReport,
) -> Result<FlatState, Error> {
    let mut state = FlatState { cores: Vec::new(), watermark: report.watermark };
    for core in cores {
        let mut flat = Flattener::default();
        for entry in core.scan_prefix(b"") {
            let (key, value) = entry?;
            flat.key(&key, &value);
        }
        for ((_, name), offset) in report.offsets.iter().filter(|((of, _), _)| *of == core.id()) {
            flat.offset(name, &plain(offset));
        }
        state.cores.push(flat.end());
    }
    Ok(state)
}

pub(super) fn plain(offset: &Offset) -> decode::Offset {
    match offset {
        Offset::Number(number) => decode::Offset::Number(*number),
        Offset::Opaque(bytes) => decode::Offset::Opaque(bytes.clone()),
    }
}

/// Runs the workload of `seed` and returns the moments at which it may crash.
pub(super) fn run(seed: u64, shape: &Shape) -> (Vec<Moment<Promise>>, Result<(), String>) {
    let means = (Simulator::new(seed).steps_max(20_000_000), Streams::new(seed).fork("fanout.engine"));
    let told = || (shape.to_string(), shape.cores);
    course::run(means, &shape.course, Promise::new(shape.cores), told, |handle, stage| {
        let executor: Arc<dyn Executor> = Arc::new(handle.clone());
        let node = handle.node("engine");
        let env = SimEnv::new("engine", Arc::new(node.clone()), stage.disk.vfs(), &stage.streams);
        let now = vec![CoreState::default(); usize::from(shape.cores)];
        Run { shape, stage, handle, executor, node, env, now }.lives()
    })
}

/// An operation of a database with an object store.
#[derive(Clone, Copy)]
enum Offsite {
    Wait,
    Pin,
    Rest,
}

impl Offsite {
    fn of(draw: u64) -> Self {
        match draw {
            0..=3 => Self::Wait,
            4..=5 => Self::Pin,
            _ => Self::Rest,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait-for-store",
            Self::Pin => "pin",
            Self::Rest => "rest",
        }
    }
}

/// The pins that an open has found, with their epochs.
pub(super) fn pins_of(opened: &Opened<World>) -> BTreeMap<String, u64> {
    let retained = opened.engine.retained().into_iter();
    retained.flat_map(|one| one.pins.into_iter().map(move |pin| (pin, one.epoch.0))).collect()
}

/// One run of the workload.
struct Run<'a> {
    shape: &'a Shape,
    stage: Stage<'a, Promise>,
    handle: Handle,
    executor: Arc<dyn Executor>,
    node: Node,
    env: World,
    /// What the cores hold now.
    now: Vec<CoreState>,
}

impl Run<'_> {
    async fn lives(mut self) -> Result<(), String> {
        for life in self.shape.course.lives() {
            record::life(format!("{life} of the run"));
            self.stage.enter(life, Scope::OPEN);
            let Some((engine, mut cores)) = self.open().await? else { continue };
            for number in self.shape.course.operations() {
                if self.stage.enter(life, number) && !self.operate(&engine, &mut cores).await? {
                    break;
                }
            }
            self.stage.enter(life, Scope::END);
            if self.stage.draws.chance(0.3) || without::crash(Fate::Drawn).is_none() {
                cores.iter_mut().for_each(CoreHandle::discard_open);
                // A failure or a full disk at close promises nothing.
                let _ = engine.close_async(&mut cores).await;
            }
            drop((engine, cores));
            self.reboot();
            if self.stage.loses(life) {
                let mut promise = lock(&self.stage.promise);
                promise.acked = promise.stored;
                promise.pins = promise.stored_pins.clone();
            }
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<Option<(Engine<World>, Vec<CoreHandle>)>, String> {
        for _ in 0..OPENS_MAX {
            let executor: Arc<dyn Executor> = Arc::new(self.node.clone());
            let (options, remote) = (self.shape.options.clone(), self.shape.course.remote.as_ref());
            let options = with_store(options, remote, self.stage.store.as_ref(), &executor);
            match Engine::open_in(self.env.clone(), options).await {
                Ok(opened) => {
                    let Opened { cores, report, .. } = &opened;
                    record::note(|| Event::Opened(record::Opened::of(report, cores.len(), None)));
                    self.take_stock(&opened).map_err(|why| format!("reopened in the run: {why}"))?;
                    let Opened { engine, cores, .. } = opened;
                    return Ok(Some((engine, cores)));
                }
                // Nobody else writes to the store.
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Fenced) => {
                    return Err(format!("an open in the run refused: {error}"));
                }
                Err(_) => self.reboot(),
            }
        }
        Ok(None)
    }

    fn take_stock(&mut self, opened: &Opened<World>) -> Result<(), String> {
        let found = Found::of(opened).map_err(|error| error.to_string())?;
        let (token, pins) = (opened.report.token.0, pins_of(opened));
        let mut promise = lock(&self.stage.promise);
        promise.keeps(&found, promise.acked)?;
        promise.holds(token, &pins, false)?;
        promise.acked = found.epoch;
        promise.token = token;
        promise.stored_pins.retain(|name, epoch| pins.get(name) == Some(epoch));
        promise.pins = pins;
        let count = usize::try_from(found.epoch).map_err(|error| error.to_string())? + 1;
        for ends in &mut promise.ends {
            Arc::make_mut(ends).truncate(count);
        }
        self.now = found.state.state().cores;
        Ok(())
    }

    /// One operation; false when the engine has failed.
    async fn operate(&mut self, engine: &Engine<World>, cores: &mut [CoreHandle]) -> Result<bool, String> {
        let (checkpoints, offsite) = (self.shape.checkpoints, self.offsite_operations());
        let draw = self.stage.draws.below(11 + checkpoints + offsite);
        let offsite = draw.checked_sub(11 + checkpoints).map(Offsite::of);
        self.shape.course.call(match (draw, offsite) {
            (_, Some(operation)) => operation.name(),
            (0..=4, _) => "change",
            (5..=7, _) => "end-epoch",
            (8..=9, _) => "wait",
            (10, _) => "pause",
            _ => "checkpoint",
        });
        let done = match (draw, offsite) {
            (_, Some(operation)) => self.offsite(engine, operation).await,
            (0..=4, _) => self.change_some(engine, cores),
            (5..=7, _) => self.end_epoch(cores),
            (8..=9, _) => self.wait(engine).await,
            (10, _) => {
                self.executor.sleep(Duration::from_millis(self.stage.draws.range(1, 40))).await;
                Ok(())
            }
            _ => engine.checkpoint_async().await.map(|_| ()),
        };
        match done {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::Busy | ErrorKind::Full) => {
                self.executor.sleep(Duration::from_millis(20)).await;
                Ok(true)
            }
            // Nobody else writes to the store.
            Err(error) if error.kind() == ErrorKind::Fenced => Err(format!("in the run: {error}")),
            Err(_) => Ok(false),
        }
    }

    /// How many operations with a store there are for every eleven others.
    fn offsite_operations(&self) -> u64 {
        if self.stage.store.is_some() { 7 } else { 0 }
    }

    async fn offsite(&mut self, engine: &Engine<World>, operation: Offsite) -> Result<(), Error> {
        match operation {
            Offsite::Wait => self.wait_for_store(engine).await,
            Offsite::Pin => {
                self.pin(engine).await;
                Ok(())
            }
            Offsite::Rest => {
                self.executor.sleep(Duration::from_millis(self.stage.draws.range(40, 4_000))).await;
                Ok(())
            }
        }
    }

    async fn wait_for_store(&mut self, engine: &Engine<World>) -> Result<(), Error> {
        let ended = self.ended();
        engine.remote_durable(highwater::Epoch(ended)).await?;
        let mut promise = lock(&self.stage.promise);
        promise.acked = promise.acked.max(ended);
        promise.stored = promise.stored.max(ended);
        record::note(|| Event::Acknowledged(ended));
        let status = engine.remote_status();
        if status.is_some_and(|status| !status.pending && status.trouble.is_none()) {
            promise.stored_pins = promise.pins.clone();
        }
        Ok(())
    }

    /// Sets a pin, or lets it go. What was asked for and failed is not known.
    async fn pin(&mut self, engine: &Engine<World>) {
        let name = *self.stage.draws.pick(&["audit", "x"]);
        let set = {
            let mut promise = lock(&self.stage.promise);
            promise.stored_pins.remove(name);
            promise.pins.remove(name).is_some()
        };
        if set {
            let _ = engine.unpin_async(name).await;
        } else if let Ok(epoch) = engine.pin_async(name, None).await {
            lock(&self.stage.promise).pins.insert(name.to_owned(), epoch.0);
        }
    }

    fn change_some(&mut self, engine: &Engine<World>, cores: &mut [CoreHandle]) -> Result<(), Error> {
        for _ in 0..self.stage.draws.range(1, 10) {
            let key = self.stage.draws.below(24).to_le_bytes();
            let core = engine.core_of(&key).index();
            match self.stage.draws.below(40) {
                0 => {
                    let lsn = cores[core].clear()?;
                    record::note(|| Event::Appended { core, lsn: lsn.0 });
                    self.now[core].values.clear();
                }
                1..=8 => {
                    let lsn = cores[core].delete(&key)?;
                    record::note(|| Event::Appended { core, lsn: lsn.0 });
                    self.now[core].values.remove(&key[..]);
                }
                _ => {
                    let bytes = self.stage.draws.range(0, self.shape.course.value_bytes_max);
                    let mut value = vec![0; usize::try_from(bytes).expect("a few thousand")];
                    self.stage.draws.fill(&mut value);
                    let lsn = cores[core].put(&key, &value)?;
                    record::note(|| Event::Appended { core, lsn: lsn.0 });
                    self.now[core].values.insert(key.to_vec(), value);
                }
            }
        }
        Ok(())
    }

    /// Ends the epoch on all cores, or leaves one behind.
    fn end_epoch(&mut self, cores: &mut [CoreHandle]) -> Result<(), Error> {
        let laggard = self.stage.draws.chance(0.1).then(|| self.stage.draws.below(cores.len() as u64));
        let behind: BTreeSet<_> = laggard.into_iter().collect();
        for (index, core) in
            cores.iter_mut().enumerate().filter(|(index, _)| !behind.contains(&(*index as u64)))
        {
            let number = self.stage.draws.bits();
            let mut mark = EpochMark::new().offset("source", number);
            let watermark = i64::try_from(number >> 2).expect("62 bits");
            if index == 0 {
                mark = mark.watermark(watermark);
            }
            // What ends may be found from the call on.
            let mut state = self.now[index].clone();
            state.offsets.insert("source".to_owned(), decode::Offset::Number(number));
            if index == 0 && cores_have_one_watermark(self.shape.cores) {
                state.watermark = Some(watermark);
            }
            let epoch = core.close_epoch(mark)?;
            record::note(|| Event::Ended { core: index, epoch: epoch.0 });
            let end = End { flat: Flat::of(&state), watermark: state.watermark };
            self.now[index] = state;
            Arc::make_mut(&mut lock(&self.stage.promise).ends[index]).push(end);
        }
        Ok(())
    }

    async fn wait(&mut self, engine: &Engine<World>) -> Result<(), Error> {
        let ended = self.ended();
        engine.durable(highwater::Epoch(ended)).await?;
        let mut promise = lock(&self.stage.promise);
        promise.acked = promise.acked.max(ended);
        record::note(|| Event::Acknowledged(ended));
        Ok(())
    }

    /// The last epoch that every core has ended.
    fn ended(&self) -> u64 {
        lock(&self.stage.promise).ends.iter().map(|ends| ends.len() as u64 - 1).min().unwrap_or(0)
    }

    fn reboot(&mut self) {
        self.node.kill();
        self.stage.crash();
        self.node = self.handle.node("engine");
        self.env = self.env.reboot(Arc::new(self.node.clone()), self.stage.disk.vfs());
    }
}

/// Only the first core sets a watermark: with others beside it the least one is none.
fn cores_have_one_watermark(cores: u16) -> bool {
    cores == 1
}
