//! The model of a database: what every core's state is at every epoch that its workload has ended, which of these were
//! acknowledged, and so which states a recovery may return.
//!
//! O1. The floor is the greatest epoch that anybody was told is durable; the ceiling is the greatest that every core
//!     has ended. A recovery returns an epoch between them, both included.
//! O2. After a recovery the epochs above it never happened.
//! O3. Where disks break their word, a recovery may return an older epoch than the floor, but still a closed one, of
//!     this history or of one that was left behind: the model keeps them all.

use std::collections::BTreeMap;
use std::sync::Arc;

use highwater::{FencingToken, Offset};

use crate::explain::record::{self, Event};

/// The keys of one core.
pub(crate) type Keys = BTreeMap<Vec<u8>, Arc<[u8]>>;

/// One core's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CoreModel {
    /// Every key with a value.
    pub(crate) keys: Keys,
    /// The last offset of every source.
    pub(crate) offsets: BTreeMap<String, Offset>,
    /// The last watermark.
    pub(crate) watermark: Option<i64>,
}

/// A change of one core's state.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// A key gets a value.
    Put(Vec<u8>, Arc<[u8]>),
    /// A key loses its value.
    Delete(Vec<u8>),
    /// Every key loses its value.
    Clear,
}

/// What a core says at the end of an epoch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mark {
    /// Sources and how far they were read.
    pub(crate) offsets: Vec<(String, Offset)>,
    /// The core's watermark.
    pub(crate) watermark: Option<i64>,
}

impl CoreModel {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Put(key, value) => {
                self.keys.insert(key.clone(), Arc::clone(value));
            }
            Change::Delete(key) => {
                self.keys.remove(key);
            }
            Change::Clear => self.keys.clear(),
        }
    }

    fn mark(&mut self, mark: &Mark) {
        self.offsets.extend(mark.offsets.iter().cloned());
        self.watermark = mark.watermark.or(self.watermark);
    }

    /// Bytes of all keys and values.
    pub(crate) fn bytes(&self) -> u64 {
        self.keys.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}

/// One core: its state at the last recovered epoch, every epoch that it ended since, and its state now.
#[derive(Clone, Debug, Default)]
struct CoreHistory {
    base: CoreModel,
    ended: Vec<(Vec<Change>, Mark)>,
    open: Vec<Change>,
    live: CoreModel,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Oracle {
    cores: Vec<CoreHistory>,
    base: u64,
    floor: u64,
    /// The greatest epoch that anybody was told is in the object store.
    remote_floor: u64,
    /// Whether the disk was lost, and no open has returned since.
    lost: bool,
    /// Histories that were left behind, each with the epoch that it began with.
    left: Vec<(u64, Vec<CoreHistory>)>,
    /// How often an open returned `Ok`.
    pub(crate) opened: u64,
    /// The token of the last open.
    pub(crate) token: Option<FencingToken>,
    /// The closed epoch when the present engine was seen to have failed.
    pub(crate) failed_at: Option<u64>,
}

impl Oracle {
    /// The model of a database that does not exist yet.
    pub(crate) fn new(cores: u16) -> Self {
        let cores = (0..cores).map(|_| CoreHistory::default()).collect();
        Self {
            cores,
            base: 0,
            floor: 0,
            remote_floor: 0,
            lost: false,
            left: Vec::new(),
            opened: 0,
            token: None,
            failed_at: None,
        }
    }

    /// How many cores there are.
    pub(crate) fn cores(&self) -> usize {
        self.cores.len()
    }

    /// The greatest epoch that must survive.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// The greatest epoch that can survive: the last one that every core has ended.
    pub(crate) fn ceiling(&self) -> u64 {
        ceiling(self.base, &self.cores)
    }

    /// Whether no core has ended an epoch that another has not.
    pub(crate) fn is_level(&self) -> bool {
        self.cores.iter().all(|core| core.ended.len() == self.cores[0].ended.len())
    }

    /// The epoch that was recovered last.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// The epoch that `core` has open.
    pub(crate) fn open_epoch(&self, core: usize) -> u64 {
        self.base + self.cores[core].ended.len() as u64 + 1
    }

    /// How many changes the open epoch of `core` has.
    pub(crate) fn open_changes(&self, core: usize) -> usize {
        self.cores[core].open.len()
    }

    /// The state of `core` now.
    pub(crate) fn live(&self, core: usize) -> &CoreModel {
        &self.cores[core].live
    }

    /// The engine has accepted `change`.
    pub(crate) fn change(&mut self, core: usize, change: Change) {
        let core = &mut self.cores[core];
        core.live.apply(&change);
        core.open.push(change);
    }

    /// The engine has accepted the end of the open epoch of `core`.
    pub(crate) fn end(&mut self, core: usize, mark: Mark) {
        let core = &mut self.cores[core];
        core.live.mark(&mark);
        let changes = std::mem::take(&mut core.open);
        core.ended.push((changes, mark));
    }

    /// Somebody was told that `epoch` is durable.
    pub(crate) fn acknowledge(&mut self, epoch: u64) {
        if epoch > self.floor {
            self.floor = epoch;
            record::note(|| Event::Acknowledged(epoch));
        }
    }

    /// Somebody was told that `epoch` is in the object store.
    pub(crate) fn acknowledge_remote(&mut self, epoch: u64) {
        self.acknowledge(epoch);
        self.remote_floor = self.remote_floor.max(epoch);
    }

    /// The greatest epoch that survives the loss of the disk.
    pub(crate) fn remote_floor(&self) -> u64 {
        self.remote_floor
    }

    /// The disk is gone: what is in the object store survives.
    pub(crate) fn lose_disk(&mut self) {
        (self.floor, self.lost) = (self.remote_floor, true);
    }

    /// Whether the disk is gone, and nothing was restored yet.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// The states of all cores at `epoch`, which lies in this history: behind a lost disk, perhaps before the last recovery.
    pub(crate) fn at(&self, epoch: u64) -> Vec<CoreModel> {
        let before = if self.lost { self.ever(epoch).next() } else { None };
        before
            .or_else(|| states(self.base, &self.cores, epoch))
            .unwrap_or_else(|| panic!("the model has no epoch {epoch}"))
    }

    /// The states of all cores at `epoch` of this history, also of what lies before the last recovery; none if it has no such
    /// epoch.
    pub(crate) fn lineage(&self, epoch: u64) -> Option<Vec<CoreModel>> {
        let present = std::iter::once((self.base, &self.cores));
        let mut parts = present.chain(self.left.iter().rev().map(|(base, cores)| (*base, cores)));
        // What a part has behind the beginning of a later one never happened (O2).
        let (base, cores) = parts.find(|(base, _)| *base <= epoch)?;
        states(base, cores, epoch)
    }

    /// Every state that `epoch` ever had when it was closed, the present history first (O3).
    pub(crate) fn ever(&self, epoch: u64) -> impl Iterator<Item = Vec<CoreModel>> + use<'_> {
        let present = states(self.base, &self.cores, epoch);
        let left = self.left.iter().rev().filter_map(move |(base, cores)| states(*base, cores, epoch));
        present.into_iter().chain(left)
    }

    /// An open has recovered `epoch` with these states: everything after it never happened, and it can never be lost
    /// again.
    pub(crate) fn recovered(&mut self, epoch: u64, states: Vec<CoreModel>, token: FencingToken) {
        let fresh = states.into_iter().map(|state| CoreHistory {
            base: state.clone(),
            live: state,
            ..CoreHistory::default()
        });
        let before = std::mem::replace(&mut self.cores, fresh.collect());
        self.left.push((self.base, before));
        self.base = epoch;
        self.floor = epoch;
        self.lost = false;
        self.opened += 1;
        self.token = Some(token);
        self.failed_at = None;
    }
}

/// The last epoch that all cores of a history have ended.
fn ceiling(base: u64, cores: &[CoreHistory]) -> u64 {
    let ended = cores.iter().map(|core| core.ended.len()).min().unwrap_or(0);
    base + ended as u64
}

/// The states of all cores at `epoch`, if it is in the history.
fn states(base: u64, cores: &[CoreHistory], epoch: u64) -> Option<Vec<CoreModel>> {
    if !(base..=ceiling(base, cores)).contains(&epoch) {
        return None;
    }
    let ended = usize::try_from(epoch - base).expect("a count");
    let at_epoch = |core: &CoreHistory| {
        let mut state = core.base.clone();
        for (changes, mark) in &core.ended[..ended] {
            for change in changes {
                state.apply(change);
            }
            state.mark(mark);
        }
        state
    };
    Some(cores.iter().map(at_epoch).collect())
}
