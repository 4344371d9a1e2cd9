//! One process's way to the store: the request, its latency there and back, and the answer that its caller is told.
//!
//! A caller that is dropped takes nothing back (B3): what was on its way may still take effect.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::bucket::{Answer, Change, Done};
use super::{Fate, SimStore, State, StoreFault};
use crate::env::{Tick, nanos};
use crate::remote::{Created, Listed, ObjectStore, PartTag, StoreError, StoreErrorKind, UploadId};
use crate::sim::executor::Executor;
use crate::sim::lock;

/// One process's way to the store.
#[derive(Clone)]
pub struct StoreClient {
    store: SimStore,
    executor: Arc<dyn Executor>,
    name: Arc<str>,
}

impl fmt::Debug for StoreClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreClient({})", self.name)
    }
}

impl StoreClient {
    pub(super) fn new(store: SimStore, executor: Arc<dyn Executor>, name: &str) -> Self {
        Self { store, executor, name: name.into() }
    }

    /// Makes a request that changes something.
    async fn change(&self, change: Change) -> Result<Done, StoreError> {
        let creates = matches!(change, Change::Create { .. });
        let change = Arc::new(change);
        let (request, latency, fate) = self.begin(true, creates);
        lock(&self.store.shared).on_the_way.insert(request, Arc::clone(&change));
        let arrives = !matches!(fate, Fate::Nothing(_) | Fate::FalseConflict);
        let on_the_way = OnTheWay { client: self, request, arrives };
        self.executor.sleep(latency).await;
        let now = self.executor.now();
        let outcome = {
            let mut state = lock(&self.store.shared);
            state.catch_up(now);
            state.on_the_way.remove(&request);
            match fate {
                Fate::Plain => state.effect(request, now, &change),
                Fate::Nothing(kind) => Err(simulated(kind)),
                Fate::ReplyLost => {
                    let _ = state.effect(request, now, &change);
                    Err(simulated(StoreErrorKind::Unknown))
                }
                Fate::Late(due) => {
                    state.later.insert((due, request), Arc::clone(&change));
                    Err(simulated(StoreErrorKind::Unknown))
                }
                Fate::Twice => {
                    let _ = state.effect(request, now, &change);
                    state.effect(request, now, &change)
                }
                Fate::FalseConflict => Ok(Done::Created(Created::Exists)),
            }
        };
        drop(on_the_way);
        let (operation, name) = change.names();
        self.told(operation, name, &outcome);
        self.end().await;
        outcome
    }

    /// Makes a request that changes nothing.
    async fn look<T: Answer>(
        &self,
        (operation, name): (&'static str, &str),
        answer: impl FnOnce(&mut State, Tick) -> T,
    ) -> Result<T, StoreError> {
        let (_, latency, fate) = self.begin(false, false);
        self.executor.sleep(latency).await;
        let now = self.executor.now();
        let outcome = if let Fate::Nothing(kind) = fate {
            Err(simulated(kind))
        } else {
            let mut state = lock(&self.store.shared);
            state.catch_up(now);
            Ok(answer(&mut state, now))
        };
        self.told(operation, name, &outcome);
        self.end().await;
        outcome
    }

    /// The number of the next request, how long its way takes, and what becomes of it.
    fn begin(&self, changes: bool, creates: bool) -> (u64, Duration, Fate) {
        let mut state = lock(&self.store.shared);
        state.requests += 1;
        let latency = state.latency();
        (state.requests, latency, state.fate(self.executor.now(), changes, creates))
    }

    /// The way back.
    async fn end(&self) {
        let latency = lock(&self.store.shared).latency();
        self.executor.sleep(latency).await;
    }

    fn told<T: Answer>(&self, operation: &'static str, name: &str, outcome: &Result<T, StoreError>) {
        if self.store.trace.is_silent() {
            return;
        }
        let now = self.executor.now();
        match outcome {
            Ok(answer) => {
                let answer = answer.brief();
                self.store.trace.event(
                    &self.name,
                    operation,
                    format_args!("{name}"),
                    format_args!("{answer}"),
                    now,
                );
            }
            Err(error) => self.store.trace.event(
                &self.name,
                operation,
                format_args!("{name}"),
                format_args!("{error}"),
                now,
            ),
        }
    }

    /// A store's own rules may remove an upload that nobody has completed.
    fn lose_upload(&self, upload: &UploadId) {
        let mut state = lock(&self.store.shared);
        if state.strikes(StoreFault::UploadLost) {
            state.bucket.lose_upload(upload);
        }
    }
}

impl ObjectStore for StoreClient {
    async fn put(&self, name: &str, body: Bytes) -> Result<(), StoreError> {
        self.change(Change::Put { name: name.to_owned(), body }).await.map(drop)
    }

    async fn create(&self, name: &str, body: Bytes) -> Result<Created, StoreError> {
        match self.change(Change::Create { name: name.to_owned(), body }).await? {
            Done::Created(created) => Ok(created),
            Done::Nothing | Done::Began(_) | Done::Part(_) => unreachable!("a create is answered as one"),
        }
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        let answer = |state: &mut State, _: Tick| {
            let short = state.strikes(StoreFault::ShortGet);
            let part = state.dice.bits();
            state.bucket.get(name, &range).map(|bytes| match bytes.len() {
                length @ 2.. if short => {
                    let kept = 1 + usize::try_from(part % (length as u64 - 1)).unwrap_or(0);
                    bytes.slice(..kept)
                }
                _ => bytes,
            })
        };
        self.look(("get", name), answer).await
    }

    async fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.look(("size", name), |state, _| state.bucket.size(name)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let answer = |state: &mut State, now: Tick| {
            let stale = state.strikes(StoreFault::StaleList);
            let longest_ns = nanos(state.faults.stale_max);
            let age = state.dice.range(0, longest_ns);
            let at = if stale { Tick(now.0.saturating_sub(age)) } else { now };
            state.bucket.list(prefix, at)
        };
        self.look(("list", prefix), answer).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.change(Change::Delete { name: name.to_owned() }).await.map(drop)
    }

    async fn begin_upload(&self, name: &str) -> Result<UploadId, StoreError> {
        match self.change(Change::Begin { name: name.to_owned() }).await? {
            Done::Began(id) => Ok(id),
            Done::Nothing | Done::Created(_) | Done::Part(_) => unreachable!("a begin is answered as one"),
        }
    }

    async fn put_part(
        &self,
        name: &str,
        upload: &UploadId,
        number: u32,
        body: Bytes,
    ) -> Result<PartTag, StoreError> {
        self.lose_upload(upload);
        let change = Change::Part { name: name.to_owned(), upload: upload.clone(), number, body };
        match self.change(change).await? {
            Done::Part(tag) => Ok(tag),
            Done::Nothing | Done::Created(_) | Done::Began(_) => unreachable!("a part is answered as one"),
        }
    }

    async fn complete_upload(
        &self,
        name: &str,
        upload: &UploadId,
        parts: &[PartTag],
    ) -> Result<(), StoreError> {
        self.lose_upload(upload);
        let change =
            Change::Complete { name: name.to_owned(), upload: upload.clone(), parts: parts.to_vec() };
        self.change(change).await.map(drop)
    }

    async fn abort_upload(&self, name: &str, upload: &UploadId) -> Result<(), StoreError> {
        self.change(Change::Abort { name: name.to_owned(), upload: upload.clone() }).await.map(drop)
    }
}

/// A request whose caller waits. When the caller is dropped before it took effect, it takes effect all the same, at once or
/// later, or never (B3).
struct OnTheWay<'a> {
    client: &'a StoreClient,
    request: u64,
    /// Whether it gets there.
    arrives: bool,
}

impl Drop for OnTheWay<'_> {
    fn drop(&mut self) {
        let now = self.client.executor.now();
        let mut state = lock(&self.client.store.shared);
        // Whoever was answered has taken it off the way.
        let Some(change) = state.on_the_way.remove(&self.request) else { return };
        if !self.arrives {
            return;
        }
        let longest = state.faults.late_max;
        let late = state.orphans.moment_behind(now, longest);
        let due = match state.orphans.below(3) {
            0 => return,
            1 => now,
            _ => late,
        };
        state.later.insert((due, self.request), change);
    }
}

fn simulated(kind: StoreErrorKind) -> StoreError {
    let message = match kind {
        StoreErrorKind::Throttled => "slow down (simulated)",
        StoreErrorKind::Unavailable => "not reached (simulated)",
        StoreErrorKind::Unknown => "no reply (simulated)",
        StoreErrorKind::Refused => "refused (simulated)",
    };
    StoreError::new(kind, message)
}
