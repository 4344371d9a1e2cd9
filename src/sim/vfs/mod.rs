//! The simulated disk as a file system: what takes time, fails, dies and is watched.
//!
//! ```text
//! submit ─ delay ─► effect (in the cache, on the platter for syncs) ─ delay ─► complete ─► the caller's future
//!    └ Boundary::Before            └ Boundary::Applied                    └ Boundary::After
//! ```
//!
//! V1. Calls in flight take effect and complete in any order. A sync covers what had completed when it was submitted.
//! V2. A write is done once it is submitted: its future may be dropped and it still takes effect. At a crash it may be
//!     found in part.
//! V3. A handle belongs to the process that opened it. After a crash every call on it is an error that
//!     changes nothing and is counted.
//! V4. Misuse panics: writes in flight that overlap, a cut through a write in flight.

mod call;
mod file;
mod names;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::disk::{Aftermath, Crash, Damage, Disk, Inode, Stamp};
use super::executor::Executor;
use super::faults::{FaultClass, FaultPlan, Faults};
use super::ledger::Ledger;
use super::lock;
use super::rng::{Stream, Streams};
use super::trace::Trace;
use crate::env::Tick;
pub use file::SimFile;
pub use names::{SimLock, SimVfs};

/// The moments of a call at which the disk can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Submitted; nothing has happened yet.
    Before,
    /// It took effect; the caller does not know yet.
    Applied,
    /// The caller is about to know the result.
    After,
}

/// Where a run stands when its disk is looked at.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BoundaryInfo {
    /// The number of the call, in order of submission.
    pub call: u64,
    /// The name of the call, as in the traits.
    pub operation: &'static str,
    /// The path that it was given, or that its file was opened by.
    pub path: Arc<Path>,
    /// The bytes of the file that it concerns; empty for names and syncs.
    pub bytes: Range<u64>,
    /// Which moment of the call.
    pub phase: Phase,
    /// When.
    pub at: Tick,
}

/// What [`SimDisk::on_boundary`] calls.
pub type BoundaryHook = Box<dyn FnMut(&Disk, BoundaryInfo) + Send>;

/// What [`SimDisk::on_crash`] calls.
pub type CrashHook = Box<dyn FnMut(&Aftermath) + Send>;

/// What [`SimDisk::on_lock`] calls.
pub type LockHook = Box<dyn FnMut(Disk) + Send>;

/// What dead handles tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadCalls {
    /// All calls.
    pub all: u64,
    /// Calls that would have changed the disk: from a program that stops when it dies, none.
    pub changes: u64,
}

/// A simulated disk in use: makes the file systems of its processes, and ends them. Clones share it.
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    executor: Arc<dyn Executor>,
    trace: Trace,
}

struct State {
    disk: Disk,
    faults: Faults,
    latency: Stream,
    crashes: Stream,
    incarnation: u64,
    calls: u64,
    flights: BTreeMap<u64, Flight>,
    /// Files that somebody holds, each as often as it is held.
    open: Vec<Inode>,
    /// How many those were at most.
    open_max: usize,
    locked: BTreeSet<Inode>,
    dead: DeadCalls,
    hook: Option<BoundaryHook>,
    /// The machine's own, beside that of the simulation.
    machine: Option<BoundaryHook>,
    crash_hook: Option<CrashHook>,
    lock_hook: Option<LockHook>,
}

/// A write between submission and completion.
struct Flight {
    inode: Inode,
    offset: u64,
    data: Bytes,
    /// Its change of the disk, once it took effect.
    stamp: Option<Stamp>,
    /// When it takes effect and completes, if nobody waits for it any more.
    orphaned: Option<(Tick, Tick)>,
}

impl Flight {
    fn bytes(&self) -> Range<u64> {
        self.offset..self.offset + self.data.len() as u64
    }
}

impl SimDisk {
    /// Puts `disk` to use, with the faults of `plan` drawn from `streams`.
    #[must_use]
    pub fn new(
        disk: Disk,
        executor: Arc<dyn Executor>,
        streams: &Streams,
        plan: FaultPlan,
        trace: Trace,
    ) -> Self {
        let state = State {
            disk,
            faults: Faults::new(plan, *streams),
            latency: streams.stream("disk.latency"),
            crashes: streams.stream("disk.crash"),
            incarnation: 0,
            calls: 0,
            flights: BTreeMap::new(),
            open: Vec::new(),
            open_max: 0,
            locked: BTreeSet::new(),
            dead: DeadCalls::default(),
            hook: None,
            machine: None,
            crash_hook: None,
            lock_hook: None,
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), executor, trace }) }
    }

    /// The file system of the process that runs now. It dies at the next crash.
    #[must_use]
    pub fn vfs(&self) -> SimVfs {
        let incarnation = lock(&self.shared.state).incarnation;
        SimVfs::new(Arc::clone(&self.shared), incarnation)
    }

    /// Ends the process. Writes in flight may be found in part, those of a process crash at least up to some byte.
    pub fn crash(&self, crash: Crash<'_>) {
        let now = self.shared.executor.now();
        let mut state = lock(&self.shared.state);
        let class = match crash {
            Crash::Process => FaultClass::ProcessCrash,
            Crash::Power(_) | Crash::AllLost => FaultClass::PowerLoss,
        };
        state.land_flights(class == FaultClass::PowerLoss);
        let State { disk, crash_hook, .. } = &mut *state;
        match crash_hook {
            Some(hook) => hook(&disk.crash_and_tell(crash)),
            None => disk.crash(crash),
        }
        state.end_process();
        state.faults.record_made(class, (Path::new(""), 0), 0..0, now);
        if !self.shared.trace.is_silent() {
            let (class, hash) = (format_args!("{class:?}"), state.disk.hash());
            self.shared.trace.event("disk", "crash", class, format_args!("{hash:032x}"), now);
        }
    }

    /// Cuts the power, with one legal outcome drawn from the stream `disk.crash`.
    pub fn power_loss(&self) {
        let seed = lock(&self.shared.state).crashes.bits();
        let mut draws = Streams::new(seed).stream("disk.crash");
        self.crash(Crash::Power(&mut draws));
    }

    /// A copy of the disk. Writes that nobody waits for any more have taken effect in it, also those that have yet to on
    /// the disk itself: whoever compares two copies sees what was asked for between them.
    pub fn disk(&self) -> Disk {
        lock(&self.shared.state).copy()
    }

    /// Damages what is at `path` while nobody runs, and puts into the ledger what is different now. Returns the count
    /// of those files.
    ///
    /// # Errors
    ///
    /// As [`Disk::damage`].
    pub fn damage(&self, path: impl AsRef<Path>, damage: &Damage) -> io::Result<usize> {
        let now = self.shared.executor.now();
        let mut state = lock(&self.shared.state);
        let hits = state.disk.damage(path, damage)?;
        for hit in &hits {
            let (class, bytes) = (damage.class(), hit.bytes.clone());
            state.faults.record_made(class, (&hit.path, hit.file), bytes.clone(), now);
            self.shared.trace.event(
                "disk",
                "damage",
                format_args!("{class:?}"),
                format_args!("{} {bytes:?}", hit.path.display()),
                now,
            );
        }
        Ok(hits.len())
    }

    /// Takes every lock away from its holder, who does not notice: as when a network file system forgets, or a
    /// directory is moved away and back. The ledger has it.
    pub fn lose_locks(&self) {
        let now = self.shared.executor.now();
        let mut state = lock(&self.shared.state);
        state.locked.clear();
        state.faults.record_made(FaultClass::LostLock, (Path::new(""), 0), 0..0, now);
    }

    /// Lets `change` work on the disk directly: files from elsewhere, damage that no ledger has to know of.
    pub fn with_disk<T>(&self, change: impl FnOnce(&mut Disk) -> T) -> T {
        change(&mut lock(&self.shared.state).disk)
    }

    /// Calls `hook` at every boundary of every call from now on, instead of an earlier one, with the disk as it is
    /// there. It must not call back.
    pub fn on_boundary(&self, hook: BoundaryHook) {
        lock(&self.shared.state).hook = Some(hook);
    }

    /// [`SimDisk::on_boundary`] for the machine that owns the disk.
    pub(in crate::sim) fn watch(&self, hook: BoundaryHook) {
        lock(&self.shared.state).machine = Some(hook);
    }

    /// Enters a scope: from now on faults are counted from zero again ([`Firing`](super::Firing)). A program that enters
    /// one before each of its steps keeps the names of its faults when another step is left out.
    pub fn enter(&self, scope: u64) {
        lock(&self.shared.state).faults.enter(scope);
    }

    /// Calls `hook` at every crash from now on, with what it decided. It must not call back.
    pub fn on_crash(&self, hook: CrashHook) {
        lock(&self.shared.state).crash_hook = Some(hook);
    }

    /// Calls `hook` whenever a process gets the lock of a directory from now on, with a copy of the disk as it is then
    /// ([`SimDisk::disk`]). It must not call back.
    pub fn on_lock(&self, hook: LockHook) {
        lock(&self.shared.state).lock_hook = Some(hook);
    }

    /// Ends all faults. Latency stays.
    pub fn stop_faults(&self) {
        lock(&self.shared.state).faults.stop();
    }

    /// The faults so far.
    pub fn ledger(&self) -> Ledger {
        lock(&self.shared.state).faults.ledger.clone()
    }

    /// What handles of dead processes tried.
    pub fn dead_calls(&self) -> DeadCalls {
        lock(&self.shared.state).dead
    }

    /// How many files were open at once, at most, since this was last asked.
    pub fn open_files_max(&self) -> usize {
        let state = &mut *lock(&self.shared.state);
        std::mem::replace(&mut state.open_max, state.open.len())
    }

    /// Bytes that files may still take up. A file that is open takes up its own, whether or not it has a name.
    pub fn free_bytes(&self) -> u64 {
        lock(&self.shared.state).free_bytes()
    }

    #[cfg(test)]
    fn writes_in_flight(&self) -> usize {
        lock(&self.shared.state).flights.len()
    }
}

impl State {
    /// What the writes in flight did when the process ended.
    fn land_flights(&mut self, power: bool) {
        for (_, flight) in std::mem::take(&mut self.flights) {
            if flight.stamp.is_some() {
                continue;
            }
            let len = flight.data.len() as u64;
            let taken = if power { len } else { self.crashes.range(0, len) };
            if taken > 0 {
                let taken = usize::try_from(taken).expect("at most a length");
                self.disk.write(flight.inode, flight.offset, &flight.data.slice(..taken));
            }
        }
    }

    fn end_process(&mut self) {
        self.incarnation += 1;
        self.flights.clear();
        self.locked.clear();
        self.open.clear();
    }

    /// Lets the writes that nobody waits for take effect and complete when their time has come.
    fn settle_orphans(&mut self, now: Tick) {
        if self.flights.is_empty() {
            return;
        }
        let due: Vec<u64> = self
            .flights
            .iter()
            .filter(|(_, flight)| flight.orphaned.is_some_and(|(effect, _)| effect <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let flight = self.flights.get_mut(&id).expect("listed above");
            let (inode, done) = (flight.inode, flight.orphaned.is_some_and(|(_, done)| done <= now));
            let stamp = match flight.stamp {
                Some(stamp) => stamp,
                None => self.disk.write(inode, flight.offset, &flight.data),
            };
            flight.stamp = Some(stamp);
            if done {
                self.flights.remove(&id);
                self.disk.complete(inode, stamp);
                self.let_go(inode);
            }
        }
    }

    /// A write in flight takes effect.
    fn write(&mut self, flight: u64, inode: Inode, offset: u64, data: &Bytes) -> Stamp {
        let stamp = self.disk.write(inode, offset, data);
        if let Some(flight) = self.flights.get_mut(&flight) {
            flight.stamp = Some(stamp);
        }
        stamp
    }

    /// Finds a file and holds it from now on, whatever becomes of its name before the caller knows.
    fn open(&mut self, path: &Path) -> io::Result<Inode> {
        let inode = self.disk.file(path)?;
        self.hold(inode);
        Ok(inode)
    }

    /// See [`SimDisk::disk`].
    fn copy(&self) -> Disk {
        let mut disk = self.disk.clone();
        let on_their_way = self.flights.values().filter(|one| one.orphaned.is_some() && one.stamp.is_none());
        for flight in on_their_way {
            disk.write(flight.inode, flight.offset, &flight.data);
        }
        disk
    }

    /// Gives a process the lock of a directory.
    fn lock(&mut self, directory: Inode) {
        self.locked.insert(directory);
        if let Some(mut hook) = self.lock_hook.take() {
            hook(self.copy());
            self.lock_hook = Some(hook);
        }
    }

    /// Bytes that files may still take up. A file that is open takes up its own, whether or not it has a name.
    fn free_bytes(&self) -> u64 {
        self.disk.free_bytes_beside(|inode| self.open.contains(&inode))
    }

    fn hold(&mut self, inode: Inode) {
        self.open.push(inode);
        self.open_max = self.open_max.max(self.open.len());
    }

    fn let_go(&mut self, inode: Inode) {
        if let Some(at) = self.open.iter().rposition(|open| *open == inode) {
            self.open.swap_remove(at);
        }
    }

    #[inline]
    fn boundary(&mut self, call: &call::Call<'_>, phase: Phase, at: Tick) {
        for hook in [&mut self.hook, &mut self.machine].into_iter().flatten() {
            let path = Arc::clone(call.path);
            let (operation, bytes) = (call.operation, call.bytes.clone());
            hook(&self.disk, BoundaryInfo { call: call.number, operation, path, bytes, phase, at });
        }
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimDisk({})", lock(&self.shared.state).disk.personality())
    }
}

#[derive(Debug)]
struct Dead;

impl fmt::Display for Dead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the process that made this handle has crashed")
    }
}

impl std::error::Error for Dead {}

/// Whether a call failed because its process is dead: the error that no program of the next process ever sees.
#[cfg(test)]
pub(in crate::sim) fn is_dead(error: &io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<Dead>()).is_some()
}

fn dead() -> io::Error {
    io::Error::other(Dead)
}

fn device_error(what: &str) -> io::Error {
    io::Error::other(format!("input/output error: {what} (simulated)"))
}
