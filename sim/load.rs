//! The workload of one life: operations drawn from the plan, done to the engine and to the model alike.
//!
//! One task works for all cores: between two awaits nothing else happens anyway. Who waits for an epoch or a
//! checkpoint in the background is a task of its own.

mod accounts;
mod several;
mod waits;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use highwater::sim::{Executor, Stream, Streams};
use highwater::{CoreHandle, CoreId, Engine, Epoch, EpochMark, Error, ErrorKind, Health, Offset};

use crate::cause::Since;
use crate::check;
use crate::draw::Draw;
use crate::explain::record::{self, Event};
use crate::oracle::{Change, Mark};
use crate::pins;
use crate::remote;
use crate::shape::Tuning;
use crate::sink::{self, Sinks};
use crate::step::{Len, Moment, Op, Step};
use crate::story::LAST;
use crate::world::{Run, World, lock};

/// How often an operation that has to be done is tried, with up to [`PATIENCE`] in between.
const TRIES_MAX: u32 = 2_000;
/// The same where a store that loses every upload, or checkpoints that do not land and so decide nothing of the sinks, may
/// hold the end of an epoch up for good: the life goes on without.
const TRIES_AT_THE_BOUND: u32 = 400;
/// The longest wait between two tries.
const PATIENCE: Duration = Duration::from_millis(20);

pub(crate) use accounts::{DEPOSIT, account_balance};

/// Why a workload ends before its operations are done.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The engine has failed.
    Failed(Error),
    /// An operation that had to be done could not be: the open epoch has no room. The life is given up.
    NoRoom,
}

/// Somebody who uses an open engine.
pub(crate) struct User {
    /// What everybody shares.
    pub(crate) run: Arc<Run>,
    /// The engine.
    pub(crate) engine: Engine<World>,
    /// Its cores.
    pub(crate) cores: Vec<CoreHandle>,
    executor: Arc<dyn Executor>,
    stream: Stream,
    tuning: Tuning,
    life: u32,
    step: u32,
    keys: Vec<Vec<Vec<u8>>>,
    accounts: Vec<Vec<u8>>,
    sinks: Option<Sinks>,
    /// What had gone wrong before the engine was opened.
    pub(crate) since: Since,
    /// Rows that every core has written.
    rows: Vec<u64>,
}

/// Completes with the first future, or with `None` when `limit` has passed.
pub(crate) async fn within<T>(
    executor: &dyn Executor,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = pin!(future);
    let mut sleep = executor.sleep(limit);
    poll_fn(|context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        sleep.as_mut().poll(context).map(|()| None)
    })
    .await
}

impl User {
    /// A user of `engine` in the `life`-th life.
    pub(crate) fn new(
        run: &Arc<Run>,
        (engine, cores, sinks): (Engine<World>, Vec<CoreHandle>, Option<Sinks>),
        executor: Arc<dyn Executor>,
        (life, tuning): (u32, &Tuning),
    ) -> Self {
        let (run, tuning, since) = (Arc::clone(run), tuning.clone(), run.since());
        let stream = Streams::new(run.plan.seed).stream(&format!("user/{life}"));
        let mut user = Self {
            run,
            engine,
            cores,
            executor,
            stream,
            tuning,
            life,
            step: Moment::OPEN,
            keys: Vec::new(),
            accounts: Vec::new(),
            sinks,
            since,
            rows: Vec::new(),
        };
        user.rows = (0..user.cores.len()).map(|core| sink::count(&user.run, core)).collect();
        user.keys = user.owned_keys();
        user.accounts = user.owned_accounts();
        user
    }

    /// The keys of the plan, by owner.
    fn owned_keys(&self) -> Vec<Vec<Vec<u8>>> {
        let mut keys = vec![Vec::new(); self.cores.len()];
        for number in 0..self.run.plan.load.keys * self.cores.len() as u64 {
            let long = if number % 7 == 3 { "/with/a/longer/name" } else { "" };
            let key = format!("{number:04}{long}").into_bytes();
            keys[self.engine.core_of(&key).index()].push(key);
        }
        keys
    }

    /// A key of its own for `core`. The route may look at the first four bytes only.
    fn owned(&self, name: &str, core: usize) -> Vec<u8> {
        // With a prefix route all keys of one name live on one core: the number comes first there.
        (0..1_000_000_u32)
            .flat_map(|number| [format!("{name}{number}"), format!("{number:03}{name}")])
            .map(String::into_bytes)
            .find(|key| self.engine.core_of(key).index() == core)
            .unwrap_or_else(|| panic!("core {core} owns no key"))
    }

    /// Does these steps, each with a stream of its own.
    ///
    /// # Errors
    ///
    /// [`Stop`] when it ended before that.
    pub(crate) async fn work(&mut self, steps: &[Step]) -> Result<(), Stop> {
        self.open_accounts().await?;
        let streams = Streams::new(self.run.plan.seed).fork(&format!("user/{}", self.life));
        for step in steps {
            self.step = step.number;
            self.stream = streams.stream(&format!("{}", step.number));
            self.run.enter(Moment { life: self.life, step: step.number });
            self.run.count(|tally| tally.operations += 1);
            lock(&self.run.coverage).operation(step.op);
            self.operate(step).await?;
            self.look();
            if step.pause_us > 0 {
                self.executor.sleep(Duration::from_micros(step.pause_us)).await;
            }
        }
        Ok(())
    }

    async fn operate(&mut self, step: &Step) -> Result<(), Stop> {
        let core = self.core(step.core);
        self.write_rows(core);
        match step.op {
            Op::Put if self.stream.chance(0.2) => self.put_many(core, step).await,
            Op::Put => {
                let Some(key) = self.key(core, step.key) else { return Ok(()) };
                let value = self.value(step.len, key.len());
                self.attempt(core, Change::Put(key, value)).await
            }
            Op::Delete => match self.key(core, step.key) {
                Some(key) => self.attempt(core, Change::Delete(key)).await,
                None => Ok(()),
            },
            Op::Get if self.stream.chance(0.2) => {
                self.get_many(core, step);
                Ok(())
            }
            Op::Get => {
                if let Some(key) = self.key(core, step.key) {
                    self.get(core, &key);
                }
                Ok(())
            }
            Op::Scan => {
                check::i4_core_is_the_model(&self.cores[core], lock(&self.run.oracle).live(core));
                self.ranges(core, step);
                Ok(())
            }
            Op::Clear => self.clear(core).await,
            Op::Transfer => self.transfer(core, self.core(step.key)).await,
            Op::EndOne => self.end(core).await.map(|_| ()),
            Op::EndAll => self.end_all().await,
            Op::Await => {
                self.wait_in_background();
                self.wait_for_the_store();
                Ok(())
            }
            Op::Commit => self.commit().await,
            Op::Checkpoint => {
                self.checkpoint_in_background();
                if self.tuning.pins {
                    let streams =
                        Streams::new(self.run.plan.seed).fork(&format!("user/{}/{}", self.life, step.number));
                    pins::perhaps(&self.run, &self.engine, streams);
                }
                self.wait_for_the_store();
                Ok(())
            }
        }
    }

    /// Writes some rows of `core` to the sinks, if there are any.
    fn write_rows(&mut self, core: usize) {
        let Some(sinks) = &self.sinks else { return };
        for _ in 0..sinks.some(&mut self.stream) {
            self.rows[core] += 1;
            sinks.write(core, self.rows[core]);
        }
    }

    /// The core that a step means.
    fn core(&self, number: u64) -> usize {
        usize::try_from(number % self.cores.len() as u64).unwrap_or(0)
    }

    /// The key that a step means, if its core has any.
    fn key(&self, core: usize, number: u64) -> Option<Vec<u8>> {
        let keys = &self.keys[core];
        (!keys.is_empty()).then(|| keys[usize::try_from(number % keys.len() as u64).unwrap_or(0)].clone())
    }

    /// A value that no other step of the run writes, as far as its length allows.
    fn value(&self, len: Len, key_bytes: usize) -> Arc<[u8]> {
        let longest = self.run.plan.value_bytes_max(key_bytes);
        let len = match len {
            Len::Bytes(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX).min(longest),
            Len::Below(bytes) => longest.saturating_sub(usize::try_from(bytes).unwrap_or(0)),
        };
        lock(&self.run.coverage).value(len);
        let stamp = format!("{}.{} ", self.life_name(), self.step);
        let mut value = stamp.as_bytes().repeat(len.div_ceil(stamp.len()));
        value.truncate(len);
        value.into()
    }

    /// The life, as values name it.
    fn life_name(&self) -> String {
        if self.life == LAST { "last".to_owned() } else { self.life.to_string() }
    }

    fn get(&self, core: usize, key: &[u8]) {
        let oracle = lock(&self.run.oracle);
        let found = self.cores[core].get(key).unwrap_or_else(|error| panic!("I4: get: {error}"));
        let wanted = oracle.live(core).keys.get(key);
        assert_eq!(found.as_deref(), wanted.map(|value| &value[..]), "I4: get \"{}\"", key.escape_ascii());
    }

    /// Tries to make a change; a core that is not ready is waited for, or left alone.
    async fn attempt(&mut self, core: usize, change: Change) -> Result<(), Stop> {
        let tries = *self.stream.pick(&[1, 2, 8]);
        for _ in 0..tries {
            match self.change(core, &change) {
                Ok(()) => return Ok(()),
                Err(error) => self.make_room(core, error).await?,
            }
        }
        Ok(())
    }

    /// Makes a change that has to be made in this epoch.
    async fn insist(&mut self, core: usize, change: Change) -> Result<(), Stop> {
        let epoch = self.cores[core].open_epoch();
        for _ in 0..TRIES_MAX {
            match self.change(core, &change) {
                Ok(()) => return Ok(()),
                Err(error) => self.wait(core, error).await?,
            }
            assert_eq!(self.cores[core].open_epoch(), epoch, "nobody else ends epochs");
        }
        Err(Stop::NoRoom)
    }

    fn change(&mut self, core: usize, change: &Change) -> Result<(), Error> {
        let handle = &mut self.cores[core];
        let done = match change {
            Change::Put(key, value) => handle.put(key, value),
            Change::Delete(key) => handle.delete(key),
            Change::Clear => handle.clear(),
        };
        let lsn = done?;
        self.run.trace.mix("change: core, LSN", core as u64, lsn.0);
        record::note(|| Event::Appended { core, lsn: lsn.0 });
        lock(&self.run.oracle).change(core, change.clone());
        Ok(())
    }

    /// What a program does about an error of a change: it ends epochs, waits, or stops.
    async fn make_room(&mut self, core: usize, error: Error) -> Result<(), Stop> {
        if error.kind() == ErrorKind::Busy && self.stream.chance(0.3) {
            let slowest = (0..self.cores.len()).min_by_key(|core| self.cores[*core].open_epoch().0);
            return self.end(slowest.unwrap_or(core)).await.map(|_| ());
        }
        self.wait(core, error).await
    }

    /// Waits a little for `core`, unless `error` says that this is in vain.
    async fn wait(&mut self, core: usize, error: Error) -> Result<(), Stop> {
        match error.kind() {
            ErrorKind::Busy => {
                if self.tuning.inline {
                    self.engine.drive().await;
                }
                let patience = Duration::from_micros(self.stream.scale(50, 20_000));
                if self.stream.chance(0.8) {
                    let ready = self.cores[core].ready();
                    if let Some(Err(error)) = within(&*self.executor, patience, ready.into_future()).await {
                        assert!(
                            matches!(error.kind(), ErrorKind::Failed | ErrorKind::Full),
                            "ready: {error}"
                        );
                        self.since.check(&self.run, "ready", &error);
                    }
                } else {
                    self.executor.sleep(patience).await;
                }
                Ok(())
            }
            ErrorKind::Full => {
                self.since.check(&self.run, "a change", &error);
                // Space is looked for again in the background, or by whoever drives.
                self.executor.sleep(PATIENCE).await;
                if self.tuning.inline {
                    self.engine.drive().await;
                }
                Ok(())
            }
            ErrorKind::Failed => {
                assert_eq!(self.engine.health(), Health::Failed, "a change said: {error}");
                self.since.check(&self.run, "a change", &error);
                Err(Stop::Failed(error))
            }
            kind => panic!("a right call got {kind}: {error}"),
        }
    }

    fn some_mark(&mut self, core: usize) -> Mark {
        let mut mark = Mark::default();
        if self.stream.chance(0.5) {
            let name = *self.stream.pick(&["orders", "clicks", ""]);
            let offset = if self.stream.chance(0.7) {
                Offset::Number(self.stream.bits())
            } else {
                let mut bytes = vec![0; usize::try_from(self.stream.below(200)).unwrap_or(0)];
                self.stream.fill(&mut bytes);
                Offset::Opaque(bytes)
            };
            mark.offsets.push((name.to_owned(), offset));
        }
        if self.stream.chance(0.4) {
            let before = lock(&self.run.oracle).live(core).watermark.unwrap_or(-1_000);
            let by = i64::try_from(self.stream.below(50)).unwrap_or(0);
            mark.watermark = Some(before + by);
        }
        if self.sinks.is_some() {
            mark.offsets.push((sink::ROWS.to_owned(), Offset::Number(self.rows[core])));
        }
        mark
    }

    /// Ends the epoch of `core`; whether it did.
    async fn end(&mut self, core: usize) -> Result<bool, Stop> {
        let mark = self.some_mark(core);
        let mut said = EpochMark::new();
        for (name, offset) in &mark.offsets {
            said = said.offset(name.clone(), offset.clone());
        }
        if let Some(watermark) = mark.watermark {
            said = said.watermark(watermark);
        }
        match self.end_epoch(core, said).await? {
            Ok(epoch) => {
                remote::check_lag(&self.run, epoch.0);
                let mut oracle = lock(&self.run.oracle);
                assert_eq!(epoch.0, oracle.open_epoch(core), "I3: epochs are counted");
                lock(&self.run.coverage).epoch(oracle.open_changes(core));
                let before = oracle.ceiling();
                oracle.end(core, mark);
                let closed = oracle.ceiling() - before;
                drop(oracle);
                record::note(|| Event::Ended { core, epoch: epoch.0 });
                self.run.count(|tally| tally.epochs += closed);
                self.run.trace.mix("end: core, epoch", core as u64, epoch.0);
                Ok(true)
            }
            Err(error) => {
                self.wait(core, error).await?;
                Ok(false)
            }
        }
    }

    /// Has the engine end the epoch of `core`. What has begun to end is ended, whatever the sinks say.
    async fn end_epoch(&mut self, core: usize, mark: EpochMark) -> Result<Result<Epoch, Error>, Stop> {
        if self.sinks.is_none() {
            return Ok(self.cores[core].close_epoch(mark));
        }
        for _ in 0..TRIES_MAX {
            match self.cores[core].close_epoch_async(mark.clone()).await {
                Err(error) if self.cores[core].is_ending() => self.wait(core, error).await?,
                ended => return Ok(ended),
            }
        }
        Err(Stop::NoRoom)
    }

    /// Ends the requested epoch on every core that has not, slowest first.
    async fn end_all(&mut self) -> Result<(), Stop> {
        let wanted = self.engine.request_epoch();
        let lag = self.run.plan.remote.as_ref().is_some_and(|plan| plan.lag.is_some());
        let bounded = lag || self.sinks.is_some();
        let tries = if bounded { TRIES_AT_THE_BOUND } else { TRIES_MAX };
        for core in 0..self.cores.len() {
            let mut left = tries;
            while self.cores[core].epoch_requested().is_some_and(|requested| requested >= wanted) {
                if left == 0 {
                    // What holds one core up holds up the others.
                    return Ok(());
                }
                left -= 1;
                self.end(core).await?;
            }
        }
        Ok(())
    }

    /// Ends an epoch everywhere and waits for it, in vain if the engine fails.
    pub(crate) async fn commit(&mut self) -> Result<(), Stop> {
        self.end_all().await?;
        let epoch = Epoch(lock(&self.run.oracle).ceiling());
        for _ in 0..TRIES_MAX {
            if self.tuning.inline {
                self.engine.drive().await;
            }
            match within(&*self.executor, PATIENCE, self.engine.durable(epoch)).await {
                Some(Ok(())) => {
                    lock(&self.run.oracle).acknowledge(epoch.0);
                    return Ok(());
                }
                Some(Err(error)) => self.wait(0, error).await?,
                None => {}
            }
        }
        Ok(())
    }

    /// Ends epochs where they are missing, until no core is ahead of another; as far as sinks and store let it.
    pub(crate) async fn catch_up(&mut self) -> Result<(), Stop> {
        for _ in 0..self.tuning.epoch_skew_max {
            if lock(&self.run.oracle).is_level() {
                break;
            }
            self.commit().await?;
        }
        Ok(())
    }

    /// Lets virtual time pass.
    pub(crate) async fn pause(&self, duration: Duration) {
        self.executor.sleep(duration).await;
    }

    /// Looks at what the engine says of itself.
    pub(crate) fn look(&mut self) {
        let failed = self.engine.health() == Health::Failed;
        let durable = self.engine.durable_epoch().0;
        let mut oracle = lock(&self.run.oracle);
        check::i2_marks_are_in_order(&mut oracle, durable, failed);
        let core = usize::try_from(self.stream.below(self.cores.len() as u64)).unwrap_or(0);
        check::i10_memory_is_bounded(&self.cores[core], oracle.live(core));
    }

    /// Every core shows what the model holds, also after a failure.
    pub(crate) fn read_everything(&self) {
        let oracle = lock(&self.run.oracle);
        for (index, core) in self.cores.iter().enumerate() {
            check::i4_core_is_the_model(core, oracle.live(index));
            assert_eq!(self.engine.core_of(&self.accounts[index]), CoreId(u16::try_from(index).unwrap_or(0)));
        }
    }
}
