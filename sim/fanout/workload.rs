//! The work of an engine: epochs over several cores, checkpoints, pins, reopens, whatever a seed draws.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use highwater::sim::{Executor, FaultClass, Handle, Node, Personality, SimEnv, Simulator, Streams};
use highwater::{CoreHandle, Engine, EpochMark, Error, ErrorCode, ErrorKind, Opened, Options};

use super::Moment;
use super::course::{self, Course, OPENS_MAX, Stage};
use super::found::{Found, ROOT, World, pins_of, with_store};
use super::promise::{End, Promise};
use crate::cause;
use crate::decode::{self, CoreState, Flat};
use crate::explain::record::{self, Event};
use crate::plan::Fate;
use crate::step::Moment as Scope;
use crate::without;
use crate::world::lock;

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
            .ordered_index(streams.stream("shape.ordered").chance(0.5))
            .reserve(streams.stream("shape.reserve").chance(0.5));
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

/// Runs the workload of `seed` and returns the moments at which it may crash.
pub(super) fn run(seed: u64, shape: &Shape) -> (Vec<Moment<Promise>>, Result<(), String>) {
    let means = (Simulator::new(seed).steps_max(20_000_000), Streams::new(seed).fork("fanout.engine"));
    let told = || (shape.to_string(), shape.cores);
    course::run(means, &shape.course, Promise::new(shape.cores), told, |handle, stage| {
        let executor: Arc<dyn Executor> = Arc::new(handle.clone());
        let node = handle.node("engine");
        let env = SimEnv::new("engine", Arc::new(node.clone()), stage.disk.vfs(), &stage.streams);
        let now = vec![CoreState::default(); usize::from(shape.cores)];
        let before = Before::default();
        Run { shape, stage, handle, executor, node, env, now, before }.lives()
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
    /// What had gone wrong before the last open.
    before: Before,
}

/// What has gone wrong at some time.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    /// Faults of the disk.
    disk: usize,
    /// Faults of the store.
    store: u64,
    /// Whether one of these lasts: nobody reaches it, or a request is on its way there.
    lasts: bool,
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
                match engine.close_async(&mut cores).await {
                    Ok(()) => self.acknowledged(self.ended()),
                    // A failure promises nothing.
                    Err(error) => self.excused("close", &error)?,
                }
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
            self.before = self.faults();
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
                Err(error) => {
                    self.excused("an open", &error)?;
                    self.reboot();
                }
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
        // Whoever asks is told, also when nobody waits for it.
        self.acknowledged(engine.durable_epoch().0);
        match done {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Busy => {
                self.executor.sleep(Duration::from_millis(20)).await;
                Ok(true)
            }
            Err(error) => self.excused("an operation", &error).map(|()| false),
        }
    }

    /// What has gone wrong so far.
    fn faults(&self) -> Before {
        let disk = self.stage.disk.ledger().entries().len();
        let Some(store) = &self.stage.store else { return Before { disk, ..Before::default() } };
        let lasts = store.is_away() || store.image().on_the_way().len() > 0;
        Before { disk, store: cause::injected(store), lasts }
    }

    /// Whether `error` has a cause that came since the last open began, or lasted then: the disk is never full, and nobody else
    /// writes to the store.
    fn excused(&self, what: &str, error: &Error) -> Result<(), String> {
        let (code, now) = (error.code(), self.faults());
        let of_disk = cause::is_caused(&self.stage.disk.ledger().entries()[self.before.disk..], code);
        let of_store =
            code == ErrorCode::StoreUnavailable && (self.before.lasts || now.store > self.before.store);
        if error.kind() == ErrorKind::Failed && (of_disk || of_store) {
            return Ok(());
        }
        Err(format!(
            "nothing has gone wrong that is a cause of {code}, and {what} in the run says: {error} (I7)"
        ))
    }

    /// How many operations with a store there are for every eleven others.
    fn offsite_operations(&self) -> u64 {
        if self.stage.store.is_some() { 7 } else { 0 }
    }

    async fn offsite(&mut self, engine: &Engine<World>, operation: Offsite) -> Result<(), Error> {
        match operation {
            Offsite::Wait => self.wait_for_store(engine).await,
            Offsite::Pin => self.pin(engine).await,
            Offsite::Rest => {
                self.executor.sleep(Duration::from_millis(self.stage.draws.range(40, 4_000))).await;
                Ok(())
            }
        }
    }

    async fn wait_for_store(&mut self, engine: &Engine<World>) -> Result<(), Error> {
        let ended = self.ended();
        engine.remote_durable(highwater::Epoch(ended)).await?;
        record::note(|| Event::Acknowledged(ended));
        let status = engine.remote_status();
        let all_there = status.is_some_and(|status| !status.pending && status.trouble.is_none());
        self.stage.promised(|promise| {
            let is_new = ended > promise.acked.min(promise.stored)
                || (all_there && promise.stored_pins != promise.pins);
            promise.acked = promise.acked.max(ended);
            promise.stored = promise.stored.max(ended);
            if all_there {
                promise.stored_pins = promise.pins.clone();
            }
            is_new
        });
        Ok(())
    }

    /// Sets a pin, or lets it go. What was asked for and failed is not known.
    async fn pin(&mut self, engine: &Engine<World>) -> Result<(), Error> {
        let name = *self.stage.draws.pick(&["audit", "x"]);
        let set = {
            let mut promise = lock(&self.stage.promise);
            promise.stored_pins.remove(name);
            promise.pins.remove(name).is_some()
        };
        let done = if set {
            engine.unpin_async(name).await.map(|_| ())
        } else {
            engine.pin_async(name, None).await.map(|epoch| {
                self.stage.promised(|promise| promise.pins.insert(name.to_owned(), epoch.0).is_none());
            })
        };
        match done {
            Err(error) if error.code() == ErrorCode::NothingToPin => Ok(()),
            done => done,
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
        record::note(|| Event::Acknowledged(ended));
        self.acknowledged(ended);
        Ok(())
    }

    /// Somebody was told that `epoch` is durable.
    fn acknowledged(&self, epoch: u64) {
        self.stage.promised(|promise| {
            let is_new = epoch > promise.acked;
            promise.acked = promise.acked.max(epoch);
            is_new
        });
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
