//! A simulated object store: what R1 to R4 of [`crate::remote`] allow, and stores that break them.
//!
//! ```text
//! SimStore (one for all machines) ── client(executor) ──► StoreClient, an ObjectStore: one per process
//! StoreClient a request, its way there and back, and its fate          client.rs
//! Bucket      objects and uploads; applies requests                    bucket.rs
//! StoreImage  a store at one moment, with the requests on their way    image.rs
//! StoreFaults how often what goes wrong                                faults.rs
//! ```
//!
//! B1. A request takes effect at one moment between its call and the end of time: at once, later while its caller waits,
//!     or long after the caller was told `Unknown` and is perhaps dead.
//! B2. `get`, `size` and the condition of `create` see every effect so far. A `list` may see any earlier moment.
//! B3. A process that dies takes back nothing: a request of its that was under way takes effect, or not.

mod bucket;
mod client;
mod faults;
mod image;

#[cfg(test)]
mod tests;

pub use client::StoreClient;
pub use faults::{StoreFault, StoreFaults};
pub use image::{StoreEffect, StoreHook, StoreImage};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use self::bucket::{Bucket, Change, Done};
use super::executor::Executor;
use super::lock;
use super::rng::{Stream, Streams};
use super::trace::Trace;
use crate::env::Tick;
use crate::remote::{StoreError, StoreErrorKind};

/// A simulated object store, for all processes of a simulation.
#[derive(Clone)]
pub struct SimStore {
    shared: Arc<Mutex<State>>,
    trace: Trace,
}

struct State {
    bucket: Bucket,
    faults: StoreFaults,
    dice: Stream,
    latency: Stream,
    /// What becomes of the requests of callers that are gone.
    orphans: Stream,
    /// What tells the time: that of the client that was made last.
    clock: Option<Arc<dyn Executor>>,
    /// Effects that come later, by when, and by the number of the request.
    later: BTreeMap<(Tick, u64), Arc<Change>>,
    /// Requests that have not taken effect, and whose callers wait.
    on_the_way: BTreeMap<u64, Arc<Change>>,
    /// Requests so far.
    requests: u64,
    injected: BTreeMap<StoreFault, u64>,
    /// Until when nothing is reached.
    gone_until: Tick,
    /// Until when no reply comes.
    dark_until: Tick,
    hook: Option<StoreHook>,
}

/// What one request is going to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Takes effect, and says so.
    Plain,
    /// Says this, and has no effect.
    Nothing(StoreErrorKind),
    /// Takes effect, and the reply is lost.
    ReplyLost,
    /// Is given up, and takes effect then.
    Late(Tick),
    /// Takes effect twice, because something between here and there tried again; the second answer is told.
    Twice,
    /// Is told that another has the name. Nothing has happened.
    FalseConflict,
}

impl SimStore {
    /// An empty store that does what `faults` says, as drawn from streams of `streams`. Every request is part of
    /// `trace`.
    pub fn new(streams: &Streams, faults: StoreFaults, trace: Trace) -> Self {
        Self::from_image(StoreImage::empty(), streams, faults, trace)
    }

    /// The same with what `image` holds. What is on its way there never takes effect: [`StoreImage::settled`] decides.
    pub fn from_image(image: StoreImage, streams: &Streams, faults: StoreFaults, trace: Trace) -> Self {
        let state = State {
            bucket: image.into_bucket(),
            faults,
            dice: streams.stream("store.faults"),
            latency: streams.stream("store.latency"),
            orphans: streams.stream("store.orphans"),
            clock: None,
            later: BTreeMap::new(),
            on_the_way: BTreeMap::new(),
            requests: 0,
            injected: BTreeMap::new(),
            gone_until: Tick(0),
            dark_until: Tick(0),
            hook: None,
        };
        Self { shared: Arc::new(Mutex::new(state)), trace }
    }

    /// The store as it is now, also with what has become due and nobody has met yet.
    pub fn image(&self) -> StoreImage {
        let clock = lock(&self.shared).clock.clone();
        let now = clock.map(|clock| clock.now());
        lock(&self.shared).image(now)
    }

    /// Calls `hook` whenever a request has changed something, from now on, instead of an earlier one, with the store as it is
    /// then. It must not call back.
    pub fn on_effect(&self, hook: StoreHook) {
        lock(&self.shared).hook = Some(hook);
    }

    /// Draws faults and latencies from streams of `streams` from now on. A program that does so before each of its
    /// steps keeps the faults of the others when one is left out.
    pub fn draw_from(&self, streams: &Streams) {
        let mut state = lock(&self.shared);
        (state.dice, state.latency) = (streams.stream("store.faults"), streams.stream("store.latency"));
        state.orphans = streams.stream("store.orphans");
    }

    /// The store as the process `name` sees it, whose tasks run on `executor`.
    pub fn client(&self, name: &str, executor: Arc<dyn Executor>) -> StoreClient {
        lock(&self.shared).clock = Some(Arc::clone(&executor));
        StoreClient::new(self.clone(), executor, name)
    }

    /// Ends all faults. What was given up and has not taken effect still may.
    pub fn stop_faults(&self) {
        let mut state = lock(&self.shared);
        let latency_ms = state.faults.latency_ms;
        state.faults = StoreFaults::none().with_latency_ms(latency_ms.0, latency_ms.1);
        (state.gone_until, state.dark_until) = (Tick(0), Tick(0));
    }

    /// Nobody reaches the store before `until`.
    pub fn unplug(&self, until: Tick) {
        lock(&self.shared).gone_until = until;
    }

    /// Whether nobody reaches it now, or no reply comes.
    pub fn is_away(&self) -> bool {
        let clock = lock(&self.shared).clock.clone();
        let now = clock.map_or(Tick(0), |clock| clock.now());
        let state = lock(&self.shared);
        now < state.gone_until.max(state.dark_until)
    }

    /// What was injected, how often.
    pub fn injected(&self) -> BTreeMap<StoreFault, u64> {
        lock(&self.shared).injected.clone()
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        lock(&self.shared).requests
    }

    /// The objects as they are now, by name: what an oracle looks at.
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        self.image().objects().map(|(name, body)| (name.to_owned(), body.clone())).collect()
    }

    /// Puts or removes an object behind everybody's back: damage, or what somebody left there.
    pub fn tamper(&self, name: &str, body: Option<Bytes>) {
        let mut state = lock(&self.shared);
        let change = match body {
            Some(body) => Change::Put { name: name.to_owned(), body },
            None => Change::Delete { name: name.to_owned() },
        };
        let lies = state.faults.create_lies;
        let _ = state.bucket.apply(Tick(0), &change, lies);
    }

    /// Uploads in parts that were begun and neither completed nor given up.
    pub fn open_uploads(&self) -> usize {
        lock(&self.shared).bucket.open_uploads()
    }
}

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimStore({} requests)", self.requests())
    }
}

impl State {
    /// Applies what has become due.
    fn catch_up(&mut self, now: Tick) {
        while let Some(first) = self.later.first_entry() {
            if first.key().0 > now {
                return;
            }
            let ((at, request), change) = first.remove_entry();
            let _ = self.effect(request, at, &change);
        }
    }

    /// Request number `request` takes effect.
    fn effect(&mut self, request: u64, now: Tick, change: &Change) -> Result<Done, StoreError> {
        let done = self.bucket.apply(now, change, self.faults.create_lies);
        if let Some(mut hook) = self.hook.take() {
            let (operation, name) = change.names();
            let effect = StoreEffect { request, operation, name: name.to_owned(), at: now };
            hook(self.image(None), &effect);
            self.hook = Some(hook);
        }
        done
    }

    /// The store as it is, or as it is `now` with what has become due. The hook hears of that when the next request comes.
    fn image(&self, now: Option<Tick>) -> StoreImage {
        let is_due = |at: Tick| now.is_some_and(|now| at <= now);
        let later = self.later.iter().filter(|((at, _), _)| !is_due(*at));
        let later = later.map(|((_, request), change)| (*request, change));
        let mut all: Vec<(u64, &Arc<Change>)> =
            later.chain(self.on_the_way.iter().map(|(request, change)| (*request, change))).collect();
        all.sort_unstable_by_key(|(request, _)| *request);
        let due = self.later.iter().filter(|((at, _), _)| is_due(*at));
        let mut bucket = self.bucket.at_rest();
        for ((at, _), change) in due {
            let _ = bucket.apply(*at, change, self.faults.create_lies);
        }
        StoreImage::new(&bucket, all.into_iter().map(|(_, change)| Arc::clone(change)).collect())
    }

    /// Whether `fault` strikes. Asks the dice once, whatever the rate.
    fn strikes(&mut self, fault: StoreFault) -> bool {
        let strikes = self.dice.chance(self.faults.rate(fault));
        if strikes {
            *self.injected.entry(fault).or_default() += 1;
        }
        strikes
    }

    fn latency(&mut self) -> Duration {
        let (lo, hi) = self.faults.latency_ms;
        let ms = self.latency.range(lo, hi);
        let slow = self.latency.below(64) == 0;
        Duration::from_millis(if slow { ms * 10 } else { ms })
    }

    /// What becomes of a request whose reply is lost anyway.
    fn fate_in_the_dark(&mut self, now: Tick, changes: bool) -> Fate {
        let late = self.dice.moment_behind(now, self.faults.late_max);
        match self.dice.below(3) {
            0 if changes => Fate::ReplyLost,
            1 if changes => Fate::Late(late),
            _ => Fate::Nothing(StoreErrorKind::Unknown),
        }
    }

    /// What becomes of a request that changes something, or of one that does not.
    fn fate(&mut self, now: Tick, changes: bool, creates: bool) -> Fate {
        if now < self.gone_until {
            return Fate::Nothing(StoreErrorKind::Unavailable);
        }
        if self.strikes(StoreFault::Outage) {
            self.dark_until = self.dice.moment_behind(now, self.faults.outage_max);
        }
        if now < self.dark_until {
            return self.fate_in_the_dark(now, changes);
        }
        if self.strikes(StoreFault::Throttled) {
            return Fate::Nothing(StoreErrorKind::Throttled);
        }
        if self.strikes(StoreFault::Unavailable) {
            return Fate::Nothing(StoreErrorKind::Unavailable);
        }
        if self.strikes(StoreFault::RequestLost) {
            return Fate::Nothing(StoreErrorKind::Unknown);
        }
        if changes && self.strikes(StoreFault::ReplyLost) {
            return Fate::ReplyLost;
        }
        if changes && self.strikes(StoreFault::Late) {
            return Fate::Late(self.dice.moment_behind(now, self.faults.late_max));
        }
        if creates && self.strikes(StoreFault::TriedTwice) {
            return Fate::Twice;
        }
        if creates && self.strikes(StoreFault::FalseConflict) {
            return Fate::FalseConflict;
        }
        Fate::Plain
    }
}
