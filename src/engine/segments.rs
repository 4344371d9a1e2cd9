//! Log files ahead of need: zeroing one takes longer than a commit should.
//!
//! ```text
//! retired by a checkpoint ─► recycled ─┐
//!                                      ├─► prepared ─► taken by the log writer at its next roll
//! nothing retired ─► made new ─────────┘
//! ```
//!
//! A writer that finds none prepares its own. Numbers ascend over both: one that comes too late is retired unused.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use event_listener::Event;

use super::requests::Requests;
use super::reserve::{Change, Keeper};
use super::shared::Shared;
use crate::env::{Clock, Entropy, Env};
use crate::error::{ErrorKind, Result};
use crate::ids::{CoreId, Nonce, SegmentNo};
use crate::race::race;
use crate::sync::{Mutex, lock};
use crate::turns::{Turn, Turns};
use crate::wal::{LifeStart, LogSpec, Prepared, SegmentHeader, Segments, prepare, recycle, remove_segment};

/// Segments that wait for the writer, per core.
const PREPARED_MIN: usize = 1;

/// Retired segments that wait to be recycled, per core; more are removed.
const SPARE_MAX: usize = 2;

/// How long to wait before a preparation that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// How long to wait before it is looked whether there is room for the reserve again.
const RESERVE_AFTER: Duration = Duration::from_secs(1);

/// The stock of one core.
#[derive(Debug)]
struct Stock {
    next: SegmentNo,
    prepared: VecDeque<Prepared>,
    retired: VecDeque<SegmentNo>,
}

/// The stocks of all cores.
#[derive(Debug)]
pub(crate) struct Supply {
    cores: Vec<Mutex<Stock>>,
    /// Per core, to give names in the directory of its log.
    turns: Vec<Arc<Turns>>,
    /// Notified when a segment was taken or retired, and when the engine stops.
    wanted: Event,
}

impl Supply {
    /// `next` gives, per core, a number above every segment that exists.
    pub(crate) fn new(next: impl IntoIterator<Item = SegmentNo>) -> Arc<Self> {
        let stock = |next| Mutex::new(Stock { next, prepared: VecDeque::new(), retired: VecDeque::new() });
        let cores: Vec<_> = next.into_iter().map(stock).collect();
        let turns = cores.iter().map(|_| Arc::default()).collect();
        Arc::new(Self { cores, turns, wanted: Event::new() })
    }

    fn turns(&self, core: CoreId) -> Arc<Turns> {
        Arc::clone(&self.turns[core.index()])
    }

    /// How many segments of `core` are prepared ahead or wait to be used again.
    pub(crate) fn spare(&self, core: CoreId) -> usize {
        let stock = lock(&self.cores[core.index()]);
        stock.prepared.len() + stock.retired.len()
    }

    fn number(&self, core: CoreId) -> SegmentNo {
        let mut stock = lock(&self.cores[core.index()]);
        let number = stock.next;
        stock.next = number.next();
        number
    }

    /// Segments of `core` whose content nobody needs any more.
    pub(crate) fn retire(&self, core: CoreId, segments: impl IntoIterator<Item = SegmentNo>) {
        lock(&self.cores[core.index()]).retired.extend(segments);
        self.wake();
    }

    pub(crate) fn wake(&self) {
        self.wanted.notify(usize::MAX);
    }

    fn lacks(&self, core: CoreId) -> bool {
        lock(&self.cores[core.index()]).prepared.len() < PREPARED_MIN
    }

    fn pop_retired(&self, core: CoreId) -> Option<SegmentNo> {
        lock(&self.cores[core.index()]).retired.pop_front()
    }

    /// For one that could not be recycled and may be there still. Wakes nobody: it is tried again with whatever comes next.
    fn put_back(&self, core: CoreId, segment: SegmentNo) {
        lock(&self.cores[core.index()]).retired.push_back(segment);
    }

    fn pop_surplus(&self, core: CoreId) -> Option<SegmentNo> {
        let mut stock = lock(&self.cores[core.index()]);
        (stock.retired.len() > SPARE_MAX).then(|| stock.retired.pop_front()).flatten()
    }
}

/// The writer's end of a stock.
pub(crate) struct WriterSegments<N> {
    supply: Arc<Supply>,
    entropy: N,
    core: CoreId,
    last: SegmentNo,
    shared: Arc<Shared>,
    /// Whether nothing was held back any more when the last segment was begun.
    last_resort: bool,
}

impl<N: Entropy> WriterSegments<N> {
    /// For the writer of the log that `life` has begun.
    pub(crate) fn new((supply, shared): (&Arc<Supply>, &Arc<Shared>), entropy: N, life: &LifeStart) -> Self {
        Self {
            supply: Arc::clone(supply),
            entropy,
            core: life.spec.core,
            last: life.cursor.segment,
            shared: Arc::clone(shared),
            last_resort: false,
        }
    }

    /// There was no space for a segment: what is held back is asked for. Whether there was nothing of that left when
    /// the segment was begun; else the next try may find space.
    pub(crate) fn ran_out_of_space(&self) -> bool {
        if self.shared.space.ask() {
            self.supply.wake();
        }
        self.last_resort
    }
}

impl<N: Entropy> Segments for WriterSegments<N> {
    type Turn = Turn;

    async fn turn(&mut self) -> Turn {
        self.supply.turns(self.core).take().await
    }

    fn prepared(&mut self) -> Option<Prepared> {
        let mut stock = lock(&self.supply.cores[self.core.index()]);
        while let Some(prepared) = stock.prepared.pop_front() {
            if prepared.number > self.last {
                self.last = prepared.number;
                drop(stock);
                self.supply.wake();
                return Some(prepared);
            }
            stock.retired.push_back(prepared.number);
        }
        None
    }

    fn fresh(&mut self) -> (SegmentNo, Nonce) {
        self.last = self.supply.number(self.core);
        self.last_resort = self.shared.space.is_gone();
        (self.last, self.entropy.nonce())
    }
}

/// The background task that keeps the stocks filled.
pub(crate) struct Preparer<E: Env> {
    pub(crate) env: E,
    pub(crate) shared: Arc<Shared>,
    pub(crate) supply: Arc<Supply>,
    /// Per core: the log's directory, and what all its segments have in common.
    pub(crate) logs: Vec<(PathBuf, LogSpec)>,
    pub(crate) reserve: Keeper,
    /// Who takes a checkpoint when space is short.
    pub(crate) requests: Arc<Requests>,
}

impl<E: Env> Preparer<E> {
    /// Runs until the engine stops.
    pub(crate) async fn run(mut self) {
        match self.env.vfs() {
            Ok(vfs) => self.work(&vfs).await,
            // The writers prepare their own then: slower, and just as safe.
            Err(error) => {
                self.shared.space.end();
                tracing::warn!(target: "highwater::engine", %error, "no disk for preparing segments");
            }
        }
    }

    async fn work(&mut self, vfs: &E::Vfs) {
        while !self.shared.stopping() {
            let wanted = self.supply.wanted.listen();
            let mut failed = false;
            let given_up = self.reserve.give_up(vfs, &self.shared.space).await;
            self.tell(given_up);
            for (index, (dir, spec)) in self.logs.iter().enumerate() {
                if let Err(error) = self.fill(vfs, dir, spec).await {
                    tracing::debug!(target: "highwater::engine", core = index, %error, "segment not prepared");
                    failed = true;
                }
            }
            if self.shared.stopping() {
                return;
            }
            let nonce = || self.env.entropy().nonce();
            let held = self.reserve.hold(vfs, &self.shared.space, self.shared.is_full(), nonce).await;
            self.tell(held);
            let retry_after = failed.then_some(RETRY_AFTER);
            match retry_after.or_else(|| self.shared.space.is_short().then_some(RESERVE_AFTER)) {
                Some(after) => {
                    race(wanted, self.env.clock().sleep(after)).await;
                }
                None => wanted.await,
            }
        }
    }

    /// Says what has become of the reserve.
    fn tell(&self, change: Change) {
        match change {
            Change::None => return,
            Change::GivenUp => {
                tracing::warn!(target: "highwater::engine", "space is short: the reserve is given up");
            }
            Change::Held => {
                tracing::info!(target: "highwater::engine", "there is space: the reserve is held");
            }
        }
        self.requests.wake();
        self.shared.notify();
    }

    /// Brings the stock of one core to its level, from above and from below.
    async fn fill(&self, vfs: &E::Vfs, dir: &Path, spec: &LogSpec) -> Result<()> {
        let _turn = self.supply.turns(spec.core).take().await;
        let filled = self.prepare_some(vfs, dir, spec).await;
        // Also when that failed: perhaps for lack of the space that these take.
        let removed = self.remove_surplus(vfs, dir, spec.core).await;
        filled.and(removed)
    }

    async fn prepare_some(&self, vfs: &E::Vfs, dir: &Path, spec: &LogSpec) -> Result<()> {
        let core = spec.core;
        while self.supply.lacks(core) && !self.shared.stopping() && !self.shared.failed() {
            let number = self.supply.number(core);
            let header = SegmentHeader { log: *spec, number, identity: self.env.entropy().nonce() };
            let prepared = match self.supply.pop_retired(core) {
                Some(retired) => {
                    let recycled = match recycle(vfs, dir, retired, &header).await {
                        // Its space is what a writer may be waiting for.
                        Err(error) if error.kind() == ErrorKind::Full => {
                            remove_segment(vfs, dir, retired).await.map(|()| None)
                        }
                        recycled => recycled,
                    };
                    recycled.inspect_err(|_| self.supply.put_back(core, retired))?
                }
                None => Some(prepare(vfs, dir, &header).await?),
            };
            if let Some(prepared) = prepared {
                lock(&self.supply.cores[core.index()]).prepared.push_back(prepared);
            }
        }
        Ok(())
    }

    async fn remove_surplus(&self, vfs: &E::Vfs, dir: &Path, core: CoreId) -> Result<()> {
        while let Some(surplus) = self.supply.pop_surplus(core) {
            if let Err(error) = remove_segment(vfs, dir, surplus).await {
                self.supply.put_back(core, surplus);
                return Err(error);
            }
        }
        Ok(())
    }
}
