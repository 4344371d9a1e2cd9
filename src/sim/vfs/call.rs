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

/// One call, as submitted.
pub(super) struct Call {
    pub(super) number: u64,
    pub(super) operation: &'static str,
    pub(super) path: Arc<Path>,
    pub(super) bytes: Range<u64>,
    pub(super) kind: Kind,
    /// Of the bytes that are to be written.
    pub(super) digest: Option<u64>,
    /// The file or directory, as far as it is known.
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

/// The result of a call's effect.
pub(super) struct Effect<T> {
    pub(super) result: io::Result<T>,
    pub(super) completion: Completion,
}

impl<T> Effect<T> {
    pub(super) fn plain(result: io::Result<T>) -> Self {
        Self { result, completion: Completion::Nothing }
    }
}

impl Call {
    /// Whether a fault of `class` hits this call; if so, the ledger has it.
    pub(super) fn is_hit(&self, state: &mut State, class: FaultClass, now: Tick) -> bool {
        let hit = state.faults.fires(class, &self.path);
        if hit {
            let what = (class, self.operation);
            state.faults.record_call(what, (&self.path, self.target), self.bytes.clone(), now);
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
    /// Begins a call: the process must be alive, and the delays are drawn.
    pub(super) fn submit(
        &self,
        incarnation: u64,
        operation: &'static str,
        kind: Kind,
        path: &Arc<Path>,
        (target, bytes): (u64, Range<u64>),
    ) -> io::Result<Call> {
        let now = self.executor.now();
        let mut state = lock(&self.state);
        if state.incarnation != incarnation {
            state.dead.all += 1;
            state.dead.changes += u64::from(matches!(kind, Kind::Write | Kind::WriteAndSync | Kind::Change));
            return Err(dead());
        }
        state.settle_orphans(now);
        state.calls += 1;
        let mut call = Call {
            number: state.calls,
            operation,
            path: Arc::clone(path),
            bytes,
            kind,
            digest: None,
            target,
            incarnation,
            delays: [Duration::ZERO; 2],
        };
        call.delays = state.delays(&call, now);
        if call.is_hit(&mut state, FaultClass::WriteBack, now) {
            let State { disk, faults, .. } = &mut *state;
            disk.write_back(faults.details(FaultClass::WriteBack));
        }
        state.boundary(&call, Phase::Before, now);
        Ok(call)
    }

    /// Takes a submitted call through effect and completion.
    pub(super) async fn finish<T: Traced>(
        &self,
        call: Call,
        effect: impl FnOnce(&mut State, &Call, Tick) -> Effect<T>,
        complete: impl FnOnce(&mut State, &Call, &T, Tick) -> io::Result<()>,
    ) -> io::Result<T> {
        self.pause(call.delays[0]).await;
        let mut done =
            CompleteOnDrop { shared: self, incarnation: call.incarnation, completion: Completion::Nothing };
        let result = {
            let now = self.executor.now();
            let mut state = self.alive(&call)?;
            let effect = if call.kind != Kind::Look && call.is_hit(&mut state, FaultClass::Interrupted, now) {
                Effect::plain(Err(interrupted(&mut state)))
            } else {
                effect(&mut state, &call, now)
            };
            done.completion = effect.completion;
            state.boundary(&call, Phase::Applied, now);
            effect.result
        };
        self.pause(call.delays[1]).await;
        let now = self.executor.now();
        let result = {
            let mut state = self.alive(&call)?;
            state.settle_orphans(now);
            let result = result.and_then(|value| complete(&mut state, &call, &value, now).map(|()| value));
            std::mem::replace(&mut done.completion, Completion::Nothing).apply(&mut state);
            state.boundary(&call, Phase::After, now);
            result
        };
        self.trace.call(|| CallEvent {
            operation: call.operation,
            path: call.path,
            bytes: call.bytes,
            data: call.digest,
            outcome: result.as_ref().map(Traced::answer).map_err(|error| (error.kind(), error.to_string())),
            at: now,
        });
        result
    }

    pub(super) async fn pause(&self, delay: Duration) {
        if delay > Duration::ZERO {
            self.executor.sleep(delay).await;
        }
    }

    fn alive(&self, call: &Call) -> io::Result<std::sync::MutexGuard<'_, State>> {
        let state = lock(&self.state);
        if state.incarnation == call.incarnation { Ok(state) } else { Err(dead()) }
    }
}

impl State {
    fn delays(&mut self, call: &Call, now: Tick) -> [Duration; 2] {
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

/// A call whose future is dropped after it took effect is complete: the system does not forget it.
struct CompleteOnDrop<'a> {
    shared: &'a Shared,
    incarnation: u64,
    completion: Completion,
}

impl Drop for CompleteOnDrop<'_> {
    fn drop(&mut self) {
        let completion = std::mem::replace(&mut self.completion, Completion::Nothing);
        if matches!(completion, Completion::Nothing) {
            return;
        }
        let mut state = lock(&self.shared.state);
        if state.incarnation == self.incarnation {
            completion.apply(&mut state);
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
