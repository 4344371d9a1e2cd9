//! Every handle that is not known to be published, and how far the decisions are.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::{InDoubt, SinkStatus, Standing};
use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::ids::{CoreId, Epoch};
use crate::limits::SINK_HANDLE_BYTES_MAX;
use crate::manifest::SinkEntry;
use crate::sink::{Erased, LostPolicy, Part};
use crate::sync::{Mutex, MutexGuard, lock};

/// Records of what was lost that a manifest keeps: the newest.
const LOST_MAX: usize = 1_000;

/// A handle that may be committed: made by [`Ledger::next`] alone, for what is decided (E2).
#[derive(Clone, Debug)]
pub(super) struct Permit {
    pub(super) part: Part,
    pub(super) handle: Vec<u8>,
}

/// A sink that takes part.
pub(super) struct Participant {
    pub(super) name: String,
    pub(super) sink: Arc<dyn Erased>,
    /// Epochs that may be in doubt at a time.
    pub(super) epochs_max: u64,
    /// What it had in doubt at the open and nobody may touch.
    pub(super) unclaimed: Vec<(Part, Vec<u8>)>,
}

/// See the module.
pub(crate) struct Ledger {
    /// By name.
    sinks: Vec<Participant>,
    cores: u16,
    policy: LostPolicy,
    /// A pause behind a pre-commit that failed: callers try again at once.
    pause: Pause,
    state: Mutex<State>,
}

/// See [`Ledger`].
pub(super) type Pause = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()>>> + Send + Sync>;

struct State {
    /// One for each sink.
    sinks: Vec<OfSink>,
    /// Epochs up to this one are decided.
    decided: Epoch,
    /// The newest manifest, landed or not, that lists handles: it has those of the epochs up to this one.
    listed: Epoch,
    /// Of each list that was made and is not decided: its epoch, and per sink the epoch up to which it lists nothing.
    lists: VecDeque<(Epoch, Vec<Epoch>)>,
    lost: Vec<SinkEntry>,
}

#[derive(Default)]
struct OfSink {
    /// What is not published.
    entries: BTreeMap<Part, Entry>,
    /// A core could not end its epoch for want of a decision.
    starved: bool,
    /// No commit comes again for epochs up to this one; and what of that the sink was told.
    forget: Epoch,
    forgotten: Epoch,
    /// Commits that failed so far, and why the last one did, if none has succeeded since.
    failures: u64,
    trouble: Option<String>,
}

struct Entry {
    handle: Vec<u8>,
    /// It was decided when the database was opened (E5).
    first: bool,
}

impl Ledger {
    /// For `sinks`, sorted by name, and what is `known` of them after a recovery, decided up to `decided`. The newest
    /// manifest lists epochs up to `listed`.
    pub(super) fn new(
        (sinks, cores, policy, pause): (Vec<Participant>, u16, LostPolicy, Pause),
        known: Vec<SinkEntry>,
        (decided, listed): (Epoch, Epoch),
    ) -> Self {
        assert!(sinks.is_sorted_by(|a, b| a.name < b.name), "sinks are sorted, each once");
        let mut of_sinks: Vec<OfSink> = sinks.iter().map(|_| OfSink::default()).collect();
        let mut lost = Vec::new();
        for entry in known {
            let index = sinks.binary_search_by(|sink| sink.name.cmp(&entry.name));
            match (entry.handle.clone(), index) {
                (Some(_), _) if entry.lost => lost.push(entry),
                (Some(handle), Ok(index)) => {
                    let part = Part { epoch: entry.epoch, core: entry.core };
                    let first = part.epoch <= decided;
                    of_sinks[index].entries.insert(part, Entry { handle, first });
                }
                _ => {}
            }
        }
        let state = State { sinks: of_sinks, decided, listed, lists: VecDeque::new(), lost };
        Self { sinks, cores, policy, pause, state: Mutex::new(state) }
    }

    /// The sinks, in the order in which a core's handles are.
    pub(super) fn sinks(&self) -> &[Participant] {
        &self.sinks
    }

    pub(super) fn policy(&self) -> LostPolicy {
        self.policy
    }

    /// How many sinks there are.
    pub(crate) fn len(&self) -> usize {
        self.sinks.len()
    }

    /// Asks the `index`-th sink to pre-commit `part`.
    ///
    /// # Errors
    ///
    /// `Busy` when the sink does not answer; `Invalid` when it refuses the rows, or gives a handle that is too long.
    pub(crate) async fn pre_commit(&self, index: usize, part: Part) -> Result<Option<Vec<u8>>> {
        let Participant { name, sink, .. } = &self.sinks[index];
        let handle = match sink.pre_commit(part).await {
            Ok(handle) => handle,
            Err(error) => {
                tracing::debug!(target: "highwater::sink", sink = %name, %error, "pre-commit failed");
                (self.pause)().await;
                return Err(error.of("pre-committing in", name, ErrorKind::Busy));
            }
        };
        tracing::trace!(target: "highwater::sink", sink = %name, %part, rows = handle.is_some(), "pre-committed");
        match &handle {
            Some(handle) if handle.len() > SINK_HANDLE_BYTES_MAX => {
                let bytes = handle.len();
                let what =
                    format!("the handle of sink `{name}` has {bytes} bytes, over {SINK_HANDLE_BYTES_MAX}");
                Err(Error::new(ErrorCode::SinkHandleTooLong, what))
            }
            _ => Ok(handle),
        }
    }

    /// What the end of an epoch says of these handles, one for each sink.
    pub(crate) fn entries(&self, handles: &[Option<Vec<u8>>]) -> Vec<(String, Option<Vec<u8>>)> {
        assert_eq!(handles.len(), self.sinks.len(), "E1: an entry for every sink");
        self.sinks.iter().map(|sink| sink.name.clone()).zip(handles.iter().cloned()).collect()
    }

    /// The end of `part`'s epoch is logged, and carries these handles, one for each sink. Not yet visible to anybody.
    pub(crate) fn enter(&self, part: Part, handles: &[Option<Vec<u8>>]) {
        assert_eq!(handles.len(), self.sinks.len(), "E1: an entry for every sink");
        let mut state = self.state();
        assert!(part.epoch > state.decided, "epoch {} ends, and {} is decided", part.epoch, state.decided);
        for (of_sink, handle) in state.sinks.iter_mut().zip(handles) {
            if let Some(handle) = handle {
                let entry = Entry { handle: handle.clone(), first: false };
                let before = of_sink.entries.insert(part, entry);
                assert!(before.is_none(), "{part} ended twice");
            }
        }
    }

    /// Whether the end of `epoch` would stay within the bounds of every sink (E5, E6).
    ///
    /// # Errors
    ///
    /// `Busy` when not.
    pub(crate) fn check_room(&self, epoch: Epoch) -> Result<()> {
        let mut state = self.state();
        for (sink, of_sink) in self.sinks.iter().zip(&mut state.sinks) {
            let Some((oldest, entry)) = of_sink.entries.first_key_value() else { continue };
            let what = if entry.first {
                "was decided before the open, and is not published yet"
            } else if epoch.0.saturating_sub(oldest.epoch.0) >= sink.epochs_max {
                of_sink.starved = true;
                "is not published yet, and the sink has no room for more in doubt"
            } else {
                continue;
            };
            let what =
                format!("epoch {epoch} cannot end: in sink `{}` epoch {} {what}", sink.name, oldest.epoch);
            return Err(Error::new(ErrorCode::SinkBehind, what));
        }
        Ok(())
    }

    /// Whether a checkpoint is wanted: some sink has much in doubt that is closed, and no manifest lists it.
    pub(crate) fn presses(&self, closed: Epoch) -> bool {
        let state = self.state();
        self.sinks.iter().zip(&state.sinks).any(|(sink, of_sink)| {
            let behind = Part { epoch: state.listed.next(), core: CoreId(0) };
            let oldest = of_sink.entries.range(behind..).next().map(|(part, _)| part.epoch);
            let waits = |oldest: Epoch| of_sink.starved || closed.0 - oldest.0 >= sink.epochs_max / 2;
            oldest.is_some_and(|oldest| oldest <= closed && waits(oldest))
        })
    }

    /// What the manifest of a checkpoint of `epoch`, which is closed and about to be taken, lists (E3).
    pub(crate) fn list(&self, epoch: Epoch) -> Vec<SinkEntry> {
        let mut state = self.state();
        let (mut list, mut nothing_through) = (state.lost.clone(), Vec::new());
        for (sink, of_sink) in self.sinks.iter().zip(&state.sinks) {
            let entry = |part: Part, handle: Option<Vec<u8>>| SinkEntry {
                name: sink.name.clone(),
                epoch: part.epoch,
                core: part.core,
                handle,
                lost: false,
            };
            let last = Part { epoch, core: CoreId(u16::MAX) };
            let entries = of_sink.entries.range(..=last);
            list.extend(entries.map(|(part, of_part)| entry(*part, Some(of_part.handle.clone()))));
            let newest = (0..self.cores).map(|core| Part { epoch, core: CoreId(core) });
            let silent = newest.filter(|part| !of_sink.entries.contains_key(part));
            list.extend(silent.map(|part| entry(part, None)));
            let oldest = of_sink.entries.keys().next().map(|part| part.epoch);
            // A core that runs ahead has entries behind `epoch`; what a slower one still ends in between, this list does not know.
            nothing_through.push(oldest.map_or(epoch, |oldest| epoch.min(Epoch(oldest.0 - 1))));
        }
        let place = |entry: &SinkEntry| (entry.name.clone(), entry.epoch, entry.core);
        list.sort_by_key(place);
        // Where a sink's last epoch was lost, that is its entry.
        list.dedup_by_key(|entry| place(entry));
        // An attempt for the same epoch has failed, if there was one.
        state.lists.retain(|(of, _)| *of != epoch);
        state.lists.push_back((epoch, nothing_through));
        list
    }

    /// A manifest with the list of `epoch` has landed in the local directory: no checkpoint is wanted for it any more.
    pub(crate) fn landed(&self, epoch: Epoch) {
        let mut state = self.state();
        state.listed = state.listed.max(epoch);
        state.sinks.iter_mut().for_each(|of_sink| of_sink.starved = false);
    }

    /// The newest epoch that a manifest in the directory lists.
    pub(crate) fn listed(&self) -> Epoch {
        self.state().listed
    }

    /// A manifest with the list of `epoch`, or a later one, has landed where it counts (E2). Whether that is news.
    pub(crate) fn decide(&self, epoch: Epoch) -> bool {
        let mut state = self.state();
        let state = &mut *state;
        if epoch <= state.decided {
            return false;
        }
        state.decided = epoch;
        while state.lists.front().is_some_and(|(of, _)| *of <= epoch) {
            let Some((_, nothing_through)) = state.lists.pop_front() else { break };
            for (of_sink, through) in state.sinks.iter_mut().zip(nothing_through) {
                of_sink.forget = of_sink.forget.max(through);
            }
        }
        tracing::debug!(target: "highwater::sink", epoch = epoch.0, "decided");
        true
    }

    /// The first of the `index`-th sink's handles that are decided.
    pub(super) fn next(&self, index: usize) -> Option<Permit> {
        let state = self.state();
        let (part, entry) = state.sinks[index].entries.first_key_value()?;
        (part.epoch <= state.decided).then(|| Permit { part: *part, handle: entry.handle.clone() })
    }

    /// The epoch up to which the sink may forget, if it was not told.
    pub(super) fn take_forget(&self, index: usize) -> Option<Epoch> {
        let mut state = self.state();
        let of_sink = &mut state.sinks[index];
        let is_news = of_sink.forget > of_sink.forgotten;
        of_sink.forgotten = of_sink.forget;
        is_news.then_some(of_sink.forget)
    }

    /// The sink has published `part`.
    pub(super) fn published(&self, index: usize, part: Part) {
        let mut state = self.state();
        let of_sink = &mut state.sinks[index];
        assert!(of_sink.entries.remove(&part).is_some(), "{part} was published, and nobody had it in doubt");
        of_sink.trouble = None;
    }

    /// The sink has forgotten `part`, and that is accepted.
    pub(super) fn lost(&self, index: usize, part: Part) {
        let mut state = self.state();
        let state = &mut *state;
        let Some(Entry { handle, .. }) = state.sinks[index].entries.remove(&part) else {
            panic!("{part} was lost, and nobody had it in doubt")
        };
        let (name, handle) = (self.sinks[index].name.clone(), Some(handle));
        state.lost.push(SinkEntry { name, epoch: part.epoch, core: part.core, handle, lost: true });
        let surplus = state.lost.len().saturating_sub(LOST_MAX);
        state.lost.drain(..surplus);
    }

    /// A commit of the sink has failed.
    pub(super) fn failed(&self, index: usize, why: String) {
        let mut state = self.state();
        let of_sink = &mut state.sinks[index];
        of_sink.failures += 1;
        of_sink.trouble = Some(why);
    }

    /// Commits that failed so far.
    pub(crate) fn failures(&self) -> u64 {
        self.state().sinks.iter().map(|of_sink| of_sink.failures).sum()
    }

    /// Everything up to this epoch is decided and published.
    pub(crate) fn published_epoch(&self) -> Epoch {
        let state = self.state();
        (0..self.sinks.len()).map(|index| state.published(index)).min().unwrap_or(state.decided)
    }

    /// What somebody is told who waits for `epoch` since there were `failures`; `None` while there is hope.
    pub(crate) fn outcome(&self, epoch: Epoch, failures: u64) -> Option<Result<()>> {
        if self.published_epoch() >= epoch {
            return Some(Ok(()));
        }
        if self.failures() <= failures {
            return None;
        }
        let state = self.state();
        let mut of_sinks = self.sinks.iter().zip(&state.sinks);
        let (name, trouble) =
            of_sinks.find_map(|(sink, of_sink)| Some((&sink.name, of_sink.trouble.as_ref()?)))?;
        let what = format!(
            "epoch {epoch} is not published in sink `{name}`; the commit goes on, wait again: {trouble}"
        );
        Some(Err(Error::new(ErrorCode::PublishDelayed, what)))
    }

    /// Everything that is not published, sorted.
    pub(crate) fn in_doubt(&self) -> Vec<InDoubt> {
        let state = self.state();
        let mut all = Vec::new();
        for (sink, of_sink) in self.sinks.iter().zip(&state.sinks) {
            let of = |part: Part, handle: &[u8], standing| InDoubt {
                sink: sink.name.clone(),
                epoch: part.epoch,
                core: part.core,
                handle: handle.to_vec(),
                standing,
            };
            all.extend(of_sink.entries.iter().map(|(part, entry)| {
                let decided = part.epoch <= state.decided;
                of(*part, &entry.handle, if decided { Standing::Decided } else { Standing::InDoubt })
            }));
            all.extend(sink.unclaimed.iter().map(|(part, handle)| of(*part, handle, Standing::Unclaimed)));
        }
        let lost = state.lost.iter().map(|entry| InDoubt {
            sink: entry.name.clone(),
            epoch: entry.epoch,
            core: entry.core,
            handle: entry.handle.clone().unwrap_or_default(),
            standing: Standing::Lost,
        });
        all.extend(lost);
        all.sort();
        all
    }

    /// How every sink is doing.
    pub(crate) fn status(&self) -> Vec<SinkStatus> {
        let state = self.state();
        let of_sinks = self.sinks.iter().zip(&state.sinks).enumerate();
        of_sinks
            .map(|(index, (sink, of_sink))| SinkStatus {
                name: sink.name.clone(),
                published: state.published(index),
                pending: of_sink.entries.len(),
                trouble: of_sink.trouble.clone(),
            })
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn published(&self, index: usize) -> Epoch {
        let oldest = self.sinks[index].entries.keys().next();
        oldest.map_or(self.decided, |oldest| self.decided.min(Epoch(oldest.epoch.0 - 1)))
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ledger({:?})", self.status())
    }
}
