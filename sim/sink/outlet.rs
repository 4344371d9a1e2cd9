//! An external system that takes rows by two-phase commit, survives every crash of the engine, and answers badly.
//!
//! ```text
//! Outlet (one for all processes) ── client(executor) ──► OutletSink: one per process, holds rows until they are pre-committed
//! ```
//!
//! X1. A request takes effect at one moment between its call and the end of time: at once, or long after its caller was told
//!     that nobody answers, or died. One whose caller dies while it is under way takes effect, or not.
//! X2. A pre-commit of a token below the last that recovered takes no effect, whenever it arrives (K6), nor does one of a
//!     transaction that was there before (K4).
//! X3. Rows have numbers without gaps, per core: what is published twice, never, or in another order is seen in the table alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use highwater::env::Tick;
use highwater::sim::{Executor, Stream, Streams, Trace};
use highwater::sink::{
    Commit, Part, Prepared, Recovered, Sink, SinkError, SinkErrorKind, SinkLife, SinkResult,
};
use highwater::{CoreId, Epoch, FencingToken};

use crate::draw::Draw;
use crate::world::lock;

/// What may go wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SinkFault {
    /// Not done, and said so.
    Unavailable,
    /// Not done, and nobody answers.
    RequestLost,
    /// Done, and nobody answers.
    ReplyLost,
    /// Nobody answers, and it is done later.
    Late,
    /// A transaction that is in doubt is forgotten.
    Forgets,
}

impl SinkFault {
    /// Every one.
    pub(crate) const ALL: [Self; 5] =
        [Self::Unavailable, Self::RequestLost, Self::ReplyLost, Self::Late, Self::Forgets];
}

/// How badly an outlet behaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manners {
    /// The rate of each fault; what is not named is off.
    pub(crate) rates: BTreeMap<SinkFault, f64>,
    /// How long a request takes.
    pub(crate) latency_ms: (u64, u64),
    /// How late one takes effect that was given up.
    pub(crate) late_max: Duration,
    /// Transactions that may be in doubt.
    pub(crate) in_doubt_max: u64,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Outlet {
    shared: Arc<Mutex<State>>,
    trace: Trace,
}

struct State {
    manners: Manners,
    dice: Stream,
    /// What becomes of the requests of callers that are gone.
    orphans: Stream,
    /// What tells the time: that of the client that was made last.
    clock: Option<Arc<dyn Executor>>,
    tables: Tables,
    later: BTreeMap<(Tick, u64), Request>,
    requests: u64,
    /// Nobody is answered before then.
    silent_until: Tick,
    injected: BTreeMap<SinkFault, u64>,
}

/// What the outlet holds.
#[derive(Default)]
struct Tables {
    fence: FencingToken,
    prepared: BTreeMap<Vec<u8>, (Prepared, Vec<u64>)>,
    /// Transactions that ended, for ever (K4).
    ended: BTreeSet<Vec<u8>>,
    /// Those of them that were committed and nobody allowed to forget.
    committed: BTreeMap<Vec<u8>, Epoch>,
    /// The published rows of every core, in order.
    rows: BTreeMap<CoreId, Vec<u64>>,
    /// Rows that were forgotten.
    forgotten: BTreeMap<CoreId, BTreeSet<u64>>,
}

/// What a client asks for.
#[derive(Clone, Debug)]
enum Request {
    Prepare(Prepared, Vec<u64>),
    Commit(Vec<u8>),
    Abort(Vec<u8>),
}

impl Tables {
    fn apply(&mut self, request: &Request) -> SinkResult<Commit> {
        match request {
            Request::Prepare(prepared, rows) => {
                if prepared.token < self.fence {
                    return Err(SinkError::new(SinkErrorKind::Fenced, "a later life has begun"));
                }
                let handle = &prepared.handle;
                if !self.ended.contains(handle) {
                    let there = self.prepared.entry(handle.clone());
                    there.or_insert_with(|| (prepared.clone(), rows.clone()));
                }
                Ok(Commit::Done)
            }
            Request::Commit(handle) => {
                if self.committed.contains_key(handle) {
                    return Ok(Commit::Done);
                }
                let Some((prepared, rows)) = self.prepared.remove(handle) else { return Ok(Commit::Lost) };
                self.rows.entry(prepared.part.core).or_default().extend(rows);
                self.ended.insert(handle.clone());
                self.committed.insert(handle.clone(), prepared.part.epoch);
                Ok(Commit::Done)
            }
            Request::Abort(handle) => {
                self.prepared.remove(handle);
                self.ended.insert(handle.clone());
                Ok(Commit::Done)
            }
        }
    }

    fn forget(&mut self, handle: &[u8]) -> bool {
        let Some((prepared, rows)) = self.prepared.remove(handle) else { return false };
        self.ended.insert(handle.to_vec());
        self.forgotten.entry(prepared.part.core).or_default().extend(rows);
        true
    }
}

impl Outlet {
    /// An empty one, as drawn from streams of `streams`. Every request is part of `trace`.
    pub(crate) fn new(streams: Streams, manners: Manners, trace: Trace) -> Self {
        let state = State {
            manners,
            dice: streams.stream("sink.faults"),
            orphans: streams.stream("sink.orphans"),
            clock: None,
            tables: Tables::default(),
            later: BTreeMap::new(),
            requests: 0,
            silent_until: Tick(0),
            injected: BTreeMap::new(),
        };
        Self { shared: Arc::new(Mutex::new(state)), trace }
    }

    /// The outlet as the process `name` sees it, whose tasks run on `executor`.
    pub(crate) fn client(&self, name: &str, executor: Arc<dyn Executor>) -> OutletSink {
        let rows = Arc::new(Mutex::new(Waiting::default()));
        lock(&self.shared).clock = Some(Arc::clone(&executor));
        OutletSink { outlet: self.clone(), executor, name: name.into(), rows }
    }

    /// Ends all faults. What was given up and has not taken effect still may.
    pub(crate) fn stop_faults(&self) {
        let mut state = lock(&self.shared);
        state.manners.rates.clear();
        state.silent_until = Tick(0);
    }

    /// Faults so far.
    pub(crate) fn injected(&self) -> u64 {
        lock(&self.shared).injected.values().sum()
    }

    /// Whether a request of somebody who was not answered, or is gone, is still to take effect.
    pub(crate) fn is_expected(&self) -> bool {
        !self.caught_up().later.is_empty()
    }

    /// Nobody is answered before `until`, and nothing is done.
    pub(crate) fn silence(&self, until: Tick) {
        lock(&self.shared).silent_until = until;
    }

    /// From now on `fault` strikes at this rate.
    pub(crate) fn set(&self, fault: SinkFault, rate: f64) {
        lock(&self.shared).manners.rates.insert(fault, rate);
    }

    /// Forgets everything that is in doubt now.
    pub(crate) fn expire(&self) {
        let tables = &mut self.caught_up().tables;
        let handles: Vec<Vec<u8>> = tables.prepared.keys().cloned().collect();
        for handle in &handles {
            tables.forget(handle);
        }
    }

    /// Puts a transaction there that this database knows nothing of.
    pub(crate) fn plant(&self, prepared: Prepared) {
        lock(&self.shared).tables.prepared.insert(prepared.handle.clone(), (prepared, vec![u64::MAX]));
    }

    /// What is in doubt now.
    pub(crate) fn prepared(&self) -> Vec<Prepared> {
        self.caught_up().tables.prepared.values().map(|(prepared, _)| prepared.clone()).collect()
    }

    /// The published rows of `core`, in order, and the forgotten ones.
    pub(crate) fn rows(&self, core: CoreId) -> (Vec<u64>, BTreeSet<u64>) {
        let tables = &self.caught_up().tables;
        let rows = tables.rows.get(&core).cloned().unwrap_or_default();
        (rows, tables.forgotten.get(&core).cloned().unwrap_or_default())
    }
}

impl Outlet {
    /// The state now, with what has become due.
    fn caught_up(&self) -> MutexGuard<'_, State> {
        let clock = lock(&self.shared).clock.clone();
        let now = clock.map(|clock| clock.now());
        let mut state = lock(&self.shared);
        if let Some(now) = now {
            state.catch_up(now);
        }
        state
    }
}

/// What is to become of a request.
enum Fate {
    Plain,
    Nothing(SinkErrorKind),
    ReplyLost,
    Late(Tick),
}

impl State {
    fn catch_up(&mut self, now: Tick) {
        while let Some(first) = self.later.first_entry() {
            if first.key().0 > now {
                return;
            }
            let _ = self.tables.apply(&first.remove());
        }
    }

    /// Whether `fault` strikes. Asks the dice once, whatever the rate.
    fn strikes(&mut self, fault: SinkFault) -> bool {
        let rate = self.manners.rates.get(&fault).copied().unwrap_or(0.0);
        let strikes = self.dice.chance(rate);
        if strikes {
            *self.injected.entry(fault).or_default() += 1;
        }
        strikes
    }

    fn fate(&mut self, now: Tick) -> Fate {
        let late = self.dice.moment_behind(now, self.manners.late_max);
        if now < self.silent_until || self.strikes(SinkFault::RequestLost) {
            Fate::Nothing(SinkErrorKind::Unknown)
        } else if self.strikes(SinkFault::Unavailable) {
            Fate::Nothing(SinkErrorKind::Unavailable)
        } else if self.strikes(SinkFault::ReplyLost) {
            Fate::ReplyLost
        } else if self.strikes(SinkFault::Late) {
            Fate::Late(late)
        } else {
            Fate::Plain
        }
    }

    fn latency(&mut self) -> Duration {
        let (lo, hi) = self.manners.latency_ms;
        let ms = self.dice.range(lo, hi);
        Duration::from_millis(if self.dice.below(64) == 0 { ms * 20 } else { ms })
    }
}

/// One process's way to an outlet, and the rows that it holds. Clones share them.
#[derive(Clone)]
pub(crate) struct OutletSink {
    outlet: Outlet,
    executor: Arc<dyn Executor>,
    name: Arc<str>,
    rows: Arc<Mutex<Waiting>>,
}

/// A request whose caller waits. When the caller is dropped before it took effect, it takes effect all the same, at once or
/// later, or never (X1).
struct UnderWay<'a> {
    sink: &'a OutletSink,
    request: Option<Request>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let Some(request) = self.request.take() else { return };
        let now = self.sink.executor.now();
        let mut state = lock(&self.sink.outlet.shared);
        if now < state.silent_until {
            return;
        }
        let longest = state.manners.late_max;
        let late = state.orphans.moment_behind(now, longest);
        let due = match state.orphans.below(3) {
            0 => return,
            1 => now,
            _ => late,
        };
        state.requests += 1;
        let number = state.requests;
        state.later.insert((due, number), request);
    }
}

#[derive(Default)]
struct Waiting {
    life: Option<(FencingToken, u128)>,
    open: BTreeMap<CoreId, Vec<u64>>,
    sealed: BTreeMap<CoreId, (Part, Vec<u64>)>,
}

impl OutletSink {
    /// Writes the row `number` in the open epoch of `core`.
    pub(crate) fn write(&self, core: CoreId, number: u64) {
        lock(&self.rows).open.entry(core).or_default().push(number);
    }

    /// Waits as long as a request takes, and draws what becomes of it.
    async fn begin(&self) -> Fate {
        let latency = lock(&self.outlet.shared).latency();
        self.executor.sleep(latency).await;
        let now = self.executor.now();
        let mut state = lock(&self.outlet.shared);
        state.catch_up(now);
        state.requests += 1;
        state.fate(now)
    }

    async fn request(&self, request: Request) -> SinkResult<Commit> {
        let mut under_way = UnderWay { sink: self, request: Some(request) };
        let fate = self.begin().await;
        let request = under_way.request.take().expect("taken once");
        let now = self.executor.now();
        let outcome = {
            let mut state = lock(&self.outlet.shared);
            match fate {
                Fate::Plain => state.tables.apply(&request),
                Fate::Nothing(kind) => Err(SinkError::new(kind, "simulated")),
                Fate::ReplyLost => {
                    let _ = state.tables.apply(&request);
                    Err(SinkError::new(SinkErrorKind::Unknown, "simulated: the reply was lost"))
                }
                Fate::Late(at) => {
                    let number = state.requests;
                    state.later.insert((at, number), request.clone());
                    Err(SinkError::new(SinkErrorKind::Unknown, "simulated: it is done later"))
                }
            }
        };
        let (operation, handle) = match &request {
            Request::Prepare(prepared, _) => ("prepare", &prepared.handle),
            Request::Commit(handle) => ("commit", handle),
            Request::Abort(handle) => ("abort", handle),
        };
        let handle = handle.escape_ascii();
        self.outlet.trace.event(
            &self.name,
            operation,
            format_args!("{handle}"),
            format_args!("{outcome:?}"),
            now,
        );
        outcome
    }

    /// A request that changes nothing in the tables of rows.
    async fn look<T>(&self, look: impl FnOnce(&mut Tables) -> T) -> SinkResult<T> {
        match self.begin().await {
            Fate::Plain => Ok(look(&mut lock(&self.outlet.shared).tables)),
            Fate::ReplyLost => {
                look(&mut lock(&self.outlet.shared).tables);
                Err(SinkError::new(SinkErrorKind::Unknown, "simulated: the reply was lost"))
            }
            Fate::Nothing(kind) => Err(SinkError::new(kind, "simulated")),
            Fate::Late(_) => Err(SinkError::new(SinkErrorKind::Unknown, "simulated")),
        }
    }
}

impl Sink for OutletSink {
    async fn recover(&self, life: &SinkLife) -> SinkResult<Recovered> {
        *lock(&self.rows) = Waiting { life: Some((life.token, life.timeline.0)), ..Waiting::default() };
        let in_doubt_max = lock(&self.outlet.shared).manners.in_doubt_max;
        self.look(|tables| {
            tables.fence = tables.fence.max(life.token);
            Recovered::new(in_doubt_max).published(tables.committed.values().max().copied())
        })
        .await
    }

    async fn pre_commit(&self, part: Part) -> SinkResult<Option<Vec<u8>>> {
        let (life, rows) = {
            let mut waiting = lock(&self.rows);
            let rows = match waiting.sealed.get(&part.core) {
                Some((sealed, rows)) if *sealed == part => rows.clone(),
                _ => {
                    let rows = waiting.open.remove(&part.core).unwrap_or_default();
                    waiting.sealed.insert(part.core, (part, rows.clone()));
                    rows
                }
            };
            (waiting.life, rows)
        };
        let Some((token, timeline)) = life else { panic!("K: a pre-commit before the life began") };
        if rows.is_empty() {
            return Ok(None);
        }
        let handle = format!("{timeline:x}/{token}/{}/{}", part.epoch, part.core).into_bytes();
        let prepared = Prepared::new(token, part, handle.clone());
        self.request(Request::Prepare(prepared, rows)).await?;
        Ok(Some(handle))
    }

    async fn commit(&self, handle: &[u8]) -> SinkResult<Commit> {
        if lock(&self.outlet.shared).strikes(SinkFault::Forgets) {
            lock(&self.outlet.shared).tables.forget(handle);
        }
        self.request(Request::Commit(handle.to_vec())).await
    }

    async fn abort(&self, handle: &[u8]) -> SinkResult<()> {
        self.request(Request::Abort(handle.to_vec())).await.map(|_| ())
    }

    async fn in_doubt(&self) -> SinkResult<Vec<Prepared>> {
        self.look(|tables| tables.prepared.values().map(|(prepared, _)| prepared.clone()).collect()).await
    }

    async fn forget(&self, through: Epoch) -> SinkResult<()> {
        self.look(|tables| tables.committed.retain(|_, epoch| *epoch > through)).await
    }
}

impl fmt::Debug for OutletSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutletSink({})", self.name)
    }
}
