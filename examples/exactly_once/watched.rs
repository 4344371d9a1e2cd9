//! A sink that says where it is: at the moment that the parent asked for, the job says so and goes no further.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use highwater::Epoch;
use highwater::sink::{Commit, Part, Prepared, Recovered, Sink, SinkLife, SinkResult};

/// A moment of the protocol at which a job can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The open has called the sink for the first time.
    Recovering,
    /// The open knows what is in doubt.
    Listed,
    /// It is about to abort what nobody will decide.
    BeforeAbort,
    /// The sink has aborted, and nobody has been told.
    AfterAbort,
    /// A core is about to end its epoch.
    BeforePreCommit,
    /// The rows are in doubt, and no log knows their handle.
    AfterPreCommit,
    /// The handle is in the log of one core.
    Ended,
    /// The epoch has closed: the handles are durable on all cores, and nothing is decided.
    Durable,
    /// A checkpoint has been asked for: the manifest is being made.
    Deciding,
    /// It has landed, and nothing is committed yet.
    BeforeCommit,
    /// The sink has committed, and nobody has been told.
    AfterCommit,
    /// Everything is committed, and no manifest says so.
    Published,
}

impl Phase {
    /// Every one, in the order of an epoch.
    pub(crate) const ALL: [Self; 12] = [
        Self::Recovering,
        Self::Listed,
        Self::BeforeAbort,
        Self::AfterAbort,
        Self::BeforePreCommit,
        Self::AfterPreCommit,
        Self::Ended,
        Self::Durable,
        Self::Deciding,
        Self::BeforeCommit,
        Self::AfterCommit,
        Self::Published,
    ];
}

/// Where a job stops: at the `count`-th time that it comes to `phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    /// The moment.
    pub(crate) phase: Phase,
    /// How often it comes to it, this time included.
    pub(crate) count: u64,
}

impl Stop {
    /// As an argument of a process.
    pub(crate) fn to_word(self) -> String {
        format!("{:?}:{}", self.phase, self.count)
    }

    /// What [`Stop::to_word`] wrote.
    pub(crate) fn of_word(word: &str) -> Option<Self> {
        let (phase, count) = word.split_once(':')?;
        let phase = Phase::ALL.into_iter().find(|known| format!("{known:?}") == phase)?;
        Some(Self { phase, count: count.parse().ok()? })
    }
}

/// Watches for the moment. Clones watch together.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    stop: Option<Stop>,
    seen: Arc<AtomicU64>,
}

impl Watch {
    /// For a job that is to stop at `stop`, or never.
    pub(crate) fn new(stop: Option<Stop>) -> Self {
        Self { stop, seen: Arc::default() }
    }

    /// The job is at `phase`. If that is the moment, this call does not return: the parent kills the process.
    pub(crate) fn at(&self, phase: Phase) {
        let Some(stop) = self.stop.filter(|stop| stop.phase == phase) else { return };
        if self.seen.fetch_add(1, Ordering::SeqCst) + 1 < stop.count {
            return;
        }
        println!("at {}", stop.to_word());
        loop {
            thread::park();
        }
    }
}

/// A sink between the engine and the real one.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    /// The real one.
    pub(crate) sink: S,
    /// Who watches.
    pub(crate) watch: Watch,
}

impl<S: Sink> Sink for Watched<S> {
    async fn recover(&self, life: &SinkLife) -> SinkResult<Recovered> {
        self.watch.at(Phase::Recovering);
        self.sink.recover(life).await
    }

    async fn pre_commit(&self, part: Part) -> SinkResult<Option<Vec<u8>>> {
        self.watch.at(Phase::BeforePreCommit);
        let handle = self.sink.pre_commit(part).await?;
        self.watch.at(Phase::AfterPreCommit);
        Ok(handle)
    }

    async fn commit(&self, handle: &[u8]) -> SinkResult<Commit> {
        self.watch.at(Phase::BeforeCommit);
        let outcome = self.sink.commit(handle).await?;
        self.watch.at(Phase::AfterCommit);
        Ok(outcome)
    }

    async fn abort(&self, handle: &[u8]) -> SinkResult<()> {
        self.watch.at(Phase::BeforeAbort);
        self.sink.abort(handle).await?;
        self.watch.at(Phase::AfterAbort);
        Ok(())
    }

    async fn in_doubt(&self) -> SinkResult<Vec<Prepared>> {
        let listed = self.sink.in_doubt().await?;
        self.watch.at(Phase::Listed);
        Ok(listed)
    }

    async fn forget(&self, through: Epoch) -> SinkResult<()> {
        self.sink.forget(through).await
    }
}
