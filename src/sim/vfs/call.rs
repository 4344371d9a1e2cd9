//! The life of one call, the same for all: submit, take effect, complete.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Phase, Shared, State, dead, lock};
use crate::env::Tick;
use crate::sim::disk::{Inode, Stamp};
use crate::sim::faults::FaultClass;
use crate::sim::trace::{CallEvent, Traced};

/// What kind of work a call is: how long it takes, and whether it changes the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    WriteAndSync,
    Sync,
    /// Looks for names.
    Find,
    /// Asks for what the kernel knows, or takes a lock: never interrupted.
    Look,
    /// Changes names or lengths.
    Change,
}

/// One call, as a program makes it.
pub(super) struct Request<'a> {
    pub(super) operation: &'static str,
    pub(super) kind: Kind,
    pub(super) path: &'a Arc<Path>,
    pub(super) bytes: Range<u64>,
    /// Of the bytes that are to be written.
    pub(super) digest: Option<u64>,
    /// The file or directory, as far as it is known.
    pub(super) target: u64,
    pub(super) incarnation: u64,
}

/// One call, as submitted.
pub(super) struct Call<'a> {
    pub(super) number: u64,
    pub(super) operation: &'static str,
    pub(super) path: &'a Arc<Path>,
    pub(super) bytes: Range<u64>,
    pub(super) kind: Kind,
    pub(super) digest: Option<u64>,
    pub(super) target: u64,
    incarnation: u64,
    /// From submission to effect, and from there to completion.
    pub(super) delays: [Duration; 2],
}

/// What becomes complete with the call.
pub(super) enum Completion {
    Nothing,
    Name(Stamp),
    Bytes(Inode, Stamp),
}

/// What has to be given back if nobody is there to take the result.
pub(super) enum Undo {
    Nothing,
    /// A file is held no longer.
    LetGo(Inode),
    /// A directory is locked no longer.
    Unlock(Inode),
}

/// The result of a call's effect.
pub(super) struct Effect<T> {
    pub(super) result: io::Result<T>,
    pub(super) completion: Completion,
    undo: Undo,
}

impl<T> Effect<T> {
    pub(super) fn plain(result: io::Result<T>) -> Self {
        Self::completing(result, Completion::Nothing)
    }

    pub(super) fn completing(result: io::Result<T>, completion: Completion) -> Self {
        Self { result, completion, undo: Undo::Nothing }
    }

    /// The same for a result that holds something.
    pub(super) fn or_undone(self, undo: impl FnOnce(&T) -> Undo) -> Self {
        let undo = self.result.as_ref().map_or(Undo::Nothing, undo);
        Self { undo, ..self }
    }
}

impl Call<'_> {
    /// Whether nothing can happen between its submission and its completion.
    pub(super) fn is_instant(&self) -> bool {
        self.delays == [Duration::ZERO; 2]
    }

    /// Whether a fault of `class` hits this call; if so, the ledger has it.
    pub(super) fn is_hit(&self, state: &mut State, class: FaultClass, now: Tick) -> bool {
        let hit = state.faults.fires(class, self.path);
        if hit {
            let what = (class, self.operation);
            state.faults.record_call(what, (self.path, self.target), self.bytes.clone(), now);
        }
        hit
    }

    /// No space, because the plan says so now or said so lately.
    pub(super) fn is_full(&self, state: &mut State, now: Tick) -> Option<io::Error> {
        if !state.faults.is_full(now) {
            if !self.is_hit(state, FaultClass::Full, now) {
                return None;
            }
            state.faults.fill(now);
        }
        let quota = state.faults.details(FaultClass::Full).chance(0.25);
        Some(full(quota))
    }
}

pub(super) fn full(quota: bool) -> io::Error {
    let (kind, what) = if quota {
        (io::ErrorKind::QuotaExceeded, "disk quota exceeded (simulated)")
    } else {
        (io::ErrorKind::StorageFull, "no space left on device (simulated)")
    };
    io::Error::new(kind, what)
}

impl Shared {
    /// Takes a call from submission through effect and completion. `begin` sees it submitted, and `effect` gets what
    /// it returned.
    pub(super) async fn perform<T: Traced, B>(
        &self,
        request: Request<'_>,
        begin: impl FnOnce(&mut State, &Call<'_>) -> B,
        effect: impl FnOnce(&mut State, &Call<'_>, B, Tick) -> Effect<T>,
        complete: impl FnOnce(&mut State, &Call<'_>, &T, Tick) -> io::Result<()>,
    ) -> io::Result<T> {
        let (call, begun) = {
            let now = self.executor.now();
            let mut state = lock(&self.state);
            let call = state.submit(request, now)?;
            let begun = begin(&mut state, &call);
            if call.is_instant() {
                let Effect { result, completion, .. } = state.take_effect(&call, begun, effect, now);
                let result = state.complete(&call, result, completion, complete, now);
                drop(state);
                self.trace(&call, &result, now);
                return result;
            }
            (call, begun)
        };
        self.pause(call.delays[0]).await;
        let (completion, undo) = (Completion::Nothing, Undo::Nothing);
        let mut done = Dropped { shared: self, incarnation: call.incarnation, completion, undo };
        let result = {
            let now = self.executor.now();
            let mut state = self.alive(&call)?;
            let effect = state.take_effect(&call, begun, effect, now);
            (done.completion, done.undo) = (effect.completion, effect.undo);
            effect.result
        };
        self.pause(call.delays[1]).await;
        let now = self.executor.now();
        let (result, late) = {
            let mut state = self.alive(&call)?;
            state.settle_orphans(now);
            let completion = std::mem::replace(&mut done.completion, Completion::Nothing);
            done.undo = Undo::Nothing;
            let result = state.complete(&call, result, completion, complete, now);
            let late = if result.is_err() { state.lateness(&call) } else { Duration::ZERO };
            (result, late)
        };
        self.trace(&call, &result, now);
        self.pause(late).await;
        result
    }

    fn trace<T: Traced>(&self, call: &Call<'_>, result: &io::Result<T>, at: Tick) {
        self.trace.call(|| CallEvent {
            operation: call.operation,
            path: Arc::clone(call.path),
            bytes: call.bytes.clone(),
            data: call.digest,
            outcome: result.as_ref().map(Traced::answer).map_err(|error| (error.kind(), error.to_string())),
            at,
        });
    }

    pub(super) async fn pause(&self, delay: Duration) {
        if delay > Duration::ZERO {
            self.executor.sleep(delay).await;
        }
    }

    fn alive(&self, call: &Call<'_>) -> io::Result<std::sync::MutexGuard<'_, State>> {
        let state = lock(&self.state);
        if state.incarnation == call.incarnation { Ok(state) } else { Err(dead()) }
    }
}

impl State {
    /// Begins a call: the process must be alive, and the delays are drawn.
    fn submit<'a>(&mut self, request: Request<'a>, now: Tick) -> io::Result<Call<'a>> {
        let Request { operation, kind, path, bytes, digest, target, incarnation } = request;
        if self.incarnation != incarnation {
            self.dead.all += 1;
            self.dead.changes += u64::from(matches!(kind, Kind::Write | Kind::WriteAndSync | Kind::Change));
            return Err(dead());
        }
        self.settle_orphans(now);
        self.calls += 1;
        let (number, delays) = (self.calls, [Duration::ZERO; 2]);
        let mut call = Call { number, operation, path, bytes, kind, digest, target, incarnation, delays };
        call.delays = self.delays(&call, now);
        if call.is_hit(self, FaultClass::WriteBack, now) {
            let Self { disk, faults, .. } = self;
            disk.write_back(faults.details(FaultClass::WriteBack));
        }
        self.boundary(&call, Phase::Before, now);
        Ok(call)
    }

    fn take_effect<T, B>(
        &mut self,
        call: &Call<'_>,
        begun: B,
        effect: impl FnOnce(&mut Self, &Call<'_>, B, Tick) -> Effect<T>,
        now: Tick,
    ) -> Effect<T> {
        let effect = if call.kind != Kind::Look && call.is_hit(self, FaultClass::Interrupted, now) {
            Effect::plain(Err(interrupted(self)))
        } else {
            effect(self, call, begun, now)
        };
        self.boundary(call, Phase::Applied, now);
        effect
    }

    fn complete<T>(
        &mut self,
        call: &Call<'_>,
        result: io::Result<T>,
        completion: Completion,
        complete: impl FnOnce(&mut Self, &Call<'_>, &T, Tick) -> io::Result<()>,
        now: Tick,
    ) -> io::Result<T> {
        let result = result.and_then(|value| complete(self, call, &value, now).map(|()| value));
        completion.apply(self);
        self.boundary(call, Phase::After, now);
        result
    }

    /// How long the news of a failure are under way: calls that ended later may be known earlier.
    fn lateness(&mut self, call: &Call<'_>) -> Duration {
        let (lo, hi) = self.faults.plan.latency.sync_us;
        if !matches!(call.kind, Kind::Sync | Kind::WriteAndSync) || hi == 0 || self.latency.chance(0.5) {
            return Duration::ZERO;
        }
        Duration::from_micros(self.latency.range(lo, hi))
    }

    fn delays(&mut self, call: &Call<'_>, now: Tick) -> [Duration; 2] {
        let latency = self.faults.plan.latency;
        let (lo, hi) = match call.kind {
            Kind::Read => latency.read_us,
            Kind::Write => latency.write_us,
            Kind::Sync | Kind::WriteAndSync => latency.sync_us,
            Kind::Find | Kind::Look | Kind::Change => latency.name_us,
        };
        let mut total = Duration::ZERO;
        if hi > 0 {
            let us = self.latency.range(lo, hi);
            total = Duration::from_micros(if self.latency.below(64) == 0 { us * 10 } else { us });
        }
        if call.is_hit(self, FaultClass::Stall, now) {
            total += self.faults.plan.stall;
        }
        if total.is_zero() {
            return [Duration::ZERO; 2];
        }
        // The effect comes at once, at the end, or in between.
        match self.latency.below(3) {
            0 => [Duration::ZERO, total],
            1 => [total, Duration::ZERO],
            _ => [total / 2, total / 2],
        }
    }
}

impl Completion {
    fn apply(self, state: &mut State) {
        match self {
            Self::Nothing => {}
            Self::Name(stamp) => state.disk.complete_name(stamp),
            Self::Bytes(inode, stamp) => state.disk.complete(inode, stamp),
        }
    }
}

impl Undo {
    fn apply(self, state: &mut State) {
        match self {
            Self::Nothing => {}
            Self::LetGo(inode) => state.let_go(inode),
            Self::Unlock(inode) => {
                state.locked.remove(&inode);
            }
        }
    }
}

/// A call whose future is dropped after it took effect is complete, for the system does not forget it; and what its result would
/// have held is given back, as by a process that closes at once what it opened.
struct Dropped<'a> {
    shared: &'a Shared,
    incarnation: u64,
    completion: Completion,
    undo: Undo,
}

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        let completion = std::mem::replace(&mut self.completion, Completion::Nothing);
        let undo = std::mem::replace(&mut self.undo, Undo::Nothing);
        if matches!((&completion, &undo), (Completion::Nothing, Undo::Nothing)) {
            return;
        }
        let mut state = lock(&self.shared.state);
        if state.incarnation == self.incarnation {
            completion.apply(&mut state);
            undo.apply(&mut state);
        }
    }
}

fn interrupted(state: &mut State) -> io::Error {
    // A cancelled operation did nothing, like an interrupted one: a backend reports both the same way.
    let (kind, what) = *state.faults.details(FaultClass::Interrupted).pick(&[
        (io::ErrorKind::Interrupted, "interrupted (simulated)"),
        (io::ErrorKind::WouldBlock, "try again (simulated)"),
        (io::ErrorKind::Interrupted, "cancelled (simulated)"),
    ]);
    io::Error::new(kind, what)
}
