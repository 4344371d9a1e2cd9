//! The object store of a run: every checkpoint goes there, and some lives end with the loss of the disk.
//!
//! S1. A recovery on an empty disk gives exactly an epoch of the history, at or above the last one that anybody was told is
//!     in the store (I1 at level remote).
//! S2. What the store's head names is in the store, whole; so says the decoder that shares no code with the engine (I6).
//! S3. Without faults every closed epoch gets there (I11).
//! S4. No core ends an epoch that is further ahead of the store than the plan allows (I10).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use highwater::remote::Remote;
use highwater::sim::{Executor, SimStore, StoreFault, StoreFaults, StoreImage, Stream, Streams, Trace};
use serde::{Deserialize, Serialize};

use crate::draw::Draw;
use crate::shape::DIRECTORY;
use crate::stored::{Stored, Sums};
use crate::world::{Run, lock};

/// What a plan says of the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemotePlan {
    /// The rates of its faults, by name; the others are off.
    pub(crate) rates: BTreeMap<String, f64>,
    /// See [`StoreFaults`], here and below.
    pub(crate) latency_ms: (u64, u64),
    /// How late requests take effect.
    pub(crate) late_max_ms: u64,
    /// How long outages are.
    pub(crate) outage_max_ms: u64,
    /// How old listings are.
    pub(crate) stale_max_ms: u64,
    /// See [`Remote`], here and below.
    pub(crate) part_bytes: usize,
    /// Files on their way.
    pub(crate) parallel: usize,
    /// Manifests for one boundary mark.
    pub(crate) stride: u32,
    /// The lives behind which the disk is lost.
    pub(crate) lost: BTreeSet<u32>,
    /// Epochs that the cores may be ahead. Plans of before there was a bound have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lag: Option<u64>,
}

impl RemotePlan {
    /// A store without faults, and a disk that stays.
    pub(crate) fn plain() -> Self {
        Self {
            rates: BTreeMap::new(),
            latency_ms: (0, 0),
            late_max_ms: 1_000,
            outage_max_ms: 1_000,
            stale_max_ms: 1_000,
            part_bytes: 4_096,
            parallel: 1,
            stride: 2,
            lost: BTreeSet::new(),
            lag: None,
        }
    }

    /// Draws one for a run of lives with these numbers.
    pub(crate) fn draw(streams: Streams, lives: impl Iterator<Item = u32>) -> Self {
        let faults = StoreFaults::swarm(&streams);
        let mut stream = streams.stream("plan.remote");
        let quiet = stream.chance(0.2);
        let on = StoreFault::ALL.into_iter().filter(|fault| !quiet && faults.rate(*fault) > 0.0);
        let lost_chance = *stream.pick(&[0.2, 0.5, 1.0]);
        Self {
            rates: on.map(|fault| (format!("{fault:?}"), faults.rate(fault))).collect(),
            latency_ms: *stream.pick(&[(0, 0), (0, 2), (1, 20)]),
            late_max_ms: stream.scale(1, 60_000),
            outage_max_ms: stream.scale(1_000, 100_000),
            stale_max_ms: stream.scale(1, 60_000),
            part_bytes: *stream.pick(&[100, 1_000, 1 << 20]),
            parallel: *stream.pick(&[1, 2, 4]),
            stride: *stream.pick(&[1, 1, 2, 3, 256]),
            lost: lives.filter(|_| stream.chance(lost_chance)).collect(),
            lag: *streams.stream("plan.remote.lag").pick(&[None, None, Some(1), Some(2), Some(5), Some(20)]),
        }
    }

    /// The same with a store that does everything right.
    pub(crate) fn tame(&self) -> Self {
        let Self { part_bytes, parallel, stride, lost, lag, .. } = self.clone();
        Self { part_bytes, parallel, stride, lost, lag, ..Self::plain() }
    }

    /// The store, for all processes of a run; its faults are drawn from `streams`.
    pub(crate) fn store(&self, streams: Streams, trace: Trace) -> SimStore {
        let mut faults = StoreFaults::none().with_latency_ms(self.latency_ms.0, self.latency_ms.1);
        faults.late_max = Duration::from_millis(self.late_max_ms);
        faults.outage_max = Duration::from_millis(self.outage_max_ms);
        faults.stale_max = Duration::from_millis(self.stale_max_ms);
        for fault in StoreFault::ALL {
            let rate = self.rates.get(&format!("{fault:?}")).copied().unwrap_or(0.0);
            faults = faults.with(fault, rate);
        }
        SimStore::new(&streams, faults, trace)
    }

    /// The option of a life.
    pub(crate) fn option(&self, store: &SimStore, executor: Arc<dyn Executor>) -> Remote {
        let remote = Remote::new(store.client("engine", executor))
            .part_bytes(self.part_bytes)
            .parallel(self.parallel)
            .boundary_stride(self.stride);
        match self.lag {
            Some(epochs) => remote.epoch_lag_max(epochs),
            None => remote,
        }
    }
}

impl fmt::Display for RemotePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rates, latency_ms, part_bytes, parallel, stride, lost, .. } = self;
        write!(f, "store:  {rates:?} latency={latency_ms:?}ms late={}ms ", self.late_max_ms)?;
        write!(f, "outage={}ms stale={}ms ", self.outage_max_ms, self.stale_max_ms)?;
        write!(f, "part={part_bytes} parallel={parallel} stride={stride}; disk lost behind lives {lost:?}")?;
        self.lag.map_or(Ok(()), |epochs| write!(f, "; {epochs} epochs ahead at most"))
    }
}

/// Whether a wait for the store comes with this step.
pub(crate) fn waits(stream: &mut Stream) -> bool {
    stream.chance(0.5)
}

/// S4, of a core that has just ended `epoch`.
pub(crate) fn check_lag(run: &Run, epoch: u64) {
    let Some(lag) = run.plan.remote.as_ref().and_then(|plan| plan.lag) else { return };
    let Some((_, stored)) = found(run) else { return };
    let stored = stored.epoch();
    assert!(epoch <= stored + lag, "I10: epoch {epoch} has ended, and the store has epoch {stored}");
}

/// What the store of `run` holds, if it has one.
fn found(run: &Run) -> Option<(StoreImage, Stored)> {
    let image = lock(&run.store).as_ref()?.image();
    let stored = Stored::read(&image).unwrap_or_else(|why| panic!("I6: {why}"));
    Some((image, stored.unwrap_or_else(|| panic!("I6: the store holds no database"))))
}

/// S2, of a run that has ended with its database closed and opened once more.
pub(crate) fn check_store(run: &Run) {
    let Some((image, stored)) = found(run) else { return };
    stored.check(&image, &mut Sums::default()).unwrap_or_else(|why| panic!("{why}"));
    let Some(disk) = &*lock(&run.disk) else { return };
    let ident = disk.disk().read_file(format!("{DIRECTORY}/IDENT"));
    let ident = ident.unwrap_or_else(|| panic!("IDENT is gone"));
    let timeline = u128::from_le_bytes(ident[32..48].try_into().expect("16 bytes"));
    assert!(stored.head.is_some(), "I6: the store has no manifest");
    assert_eq!(stored.timeline, timeline, "I8: the store's head is of another directory");
    let (newest, floor) = (stored.epoch(), lock(&run.oracle).remote_floor());
    assert!(newest >= floor, "I1: the store has epoch {newest}, and {floor} was said to be there");
}
