//! The bytes of a simulated disk.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_64;

use super::call::{Call, Completion, Effect, Kind, Request, full};
use super::{Flight, Inode, Shared, State, device_error, lock};
use crate::env::Tick;
use crate::sim::choices::Choices;
use crate::sim::disk::{Cover, Stamp, SyncFate};
use crate::sim::faults::FaultClass;
use crate::sim::trace::{Answer, Traced};
use crate::vfs::{File, OpenMode};

/// What a buffer holds behind the bytes that were read.
const GARBAGE: u8 = 0xdb;

/// An open file of a [`SimDisk`](super::SimDisk).
pub struct SimFile {
    shared: Arc<Shared>,
    incarnation: u64,
    inode: Inode,
    path: Arc<Path>,
    mode: OpenMode,
}

/// The bytes that a write took, and what syncs with them.
struct Taken {
    data: Bytes,
    stamp: Option<Stamp>,
    /// The digest of the bytes, if the call knows it.
    digest: Option<u64>,
}

impl Traced for Taken {
    fn answer(&self) -> Answer {
        Answer::Content(self.data.len() as u64, self.digest.unwrap_or_else(|| digest(&self.data)))
    }
}

/// The digest of bytes that are written. Most of them are the zeroes of a fresh log file, in few lengths.
fn digest(data: &[u8]) -> u64 {
    const PAGE: usize = 4096;
    const PAGES_MAX: usize = 16;
    static ZEROES: [u8; PAGES_MAX * PAGE] = [0; PAGES_MAX * PAGE];
    static OF_ZEROES: [OnceLock<u64>; PAGES_MAX + 1] = [const { OnceLock::new() }; PAGES_MAX + 1];
    let (pages, whole) = (data.len() / PAGE, data.len().is_multiple_of(PAGE));
    if whole && pages <= PAGES_MAX && *data == ZEROES[..data.len()] {
        return *OF_ZEROES[pages].get_or_init(|| xxh3_64(data));
    }
    xxh3_64(data)
}

/// Bytes that were read.
struct Found {
    buffer: BytesMut,
    count: usize,
}

impl Traced for Found {
    fn answer(&self) -> Answer {
        Answer::Content(self.count as u64, xxh3_64(&self.buffer[..self.count]))
    }
}

impl SimFile {
    pub(super) fn new(
        shared: Arc<Shared>,
        incarnation: u64,
        inode: Inode,
        path: Arc<Path>,
        mode: OpenMode,
    ) -> Self {
        Self { shared, incarnation, inode, path, mode }
    }

    fn request(&self, operation: &'static str, kind: Kind, bytes: Range<u64>) -> io::Result<Request<'_>> {
        if self.mode == OpenMode::Read && matches!(kind, Kind::Write | Kind::WriteAndSync | Kind::Change) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file is open for reading"));
        }
        let (path, incarnation, target) = (&self.path, self.incarnation, self.inode.number());
        Ok(Request { operation, kind, path, bytes, digest: None, target, incarnation })
    }

    async fn look<T: Traced>(
        &self,
        operation: &'static str,
        look: impl FnOnce(&State) -> T,
    ) -> io::Result<T> {
        let request = self.request(operation, Kind::Look, 0..0)?;
        let effect = |state: &mut State, _: &Call<'_>, (), _| Effect::plain(Ok(look(state)));
        self.shared.perform(request, |_, _| (), effect, |_, _, _, _| Ok(())).await
    }

    async fn write(
        &self,
        operation: &'static str,
        kind: Kind,
        offset: u64,
        data: Bytes,
    ) -> io::Result<usize> {
        assert!(!data.is_empty(), "a write of no bytes at offset {offset}");
        let whole = data.len();
        let mut request = self.request(operation, kind, offset..offset + whole as u64)?;
        request.digest = (!self.shared.trace.is_silent()).then(|| digest(&data));
        let flight = Cell::new(None);
        let begin = |state: &mut State, call: &Call<'_>| {
            self.check_overlap(state, &call.bytes);
            // Without a delay there is no flight to speak of.
            if !call.is_instant() {
                flight.set(Some(InFlight::take_off(self, state, call, data.clone())));
            }
            data
        };
        let effect =
            |state: &mut State, call: &Call<'_>, data, now| write_effect(state, call, self.inode, data, now);
        let complete = |state: &mut State, call: &Call<'_>, taken: &Taken, now| match taken.stamp {
            Some(stamp) if kind == Kind::WriteAndSync && taken.data.len() == whole => {
                sync(state, call, self.inode, Cover::One(stamp), now)
            }
            _ => Ok(()),
        };
        let result = self.shared.perform(request, begin, effect, complete).await;
        if let Some(flight) = flight.take() {
            flight.land();
        }
        result.map(|taken| taken.data.len())
    }

    /// Panics when a write to `bytes` overlaps one that is in flight (V4).
    fn check_overlap(&self, state: &State, bytes: &Range<u64>) {
        for other in state.flights.values().filter(|other| other.inode == self.inode) {
            let has = other.bytes();
            assert!(
                has.end <= bytes.start || bytes.end <= has.start,
                "{self}: a write to {bytes:?} overlaps a write in flight to {has:?}"
            );
        }
    }

    /// A change of the length. Cutting through a write in flight is misuse.
    async fn resize(
        &self,
        operation: &'static str,
        bytes: u64,
        change: impl FnOnce(&mut State, &Call<'_>, Tick) -> io::Result<Stamp>,
    ) -> io::Result<()> {
        let request = self.request(operation, Kind::Change, 0..bytes)?;
        let inode = self.inode;
        let effect = |state: &mut State, call: &Call<'_>, (), now| match change(state, call, now) {
            Ok(stamp) => Effect::completing(Ok(()), Completion::Bytes(inode, stamp)),
            Err(error) => Effect::plain(Err(error)),
        };
        self.shared.perform(request, |_, _| (), effect, |_, _, (), _| Ok(())).await
    }
}

impl File for SimFile {
    async fn len(&self) -> io::Result<u64> {
        self.look("len", |state| state.disk.len(self.inode)).await
    }

    async fn link_count(&self) -> io::Result<u64> {
        self.look("link_count", |state| state.disk.link_count(self.inode)).await
    }

    async fn read_at(&self, offset: u64, buffer: BytesMut) -> io::Result<(BytesMut, usize)> {
        let request = self.request("read_at", Kind::Read, offset..offset + buffer.len() as u64)?;
        let effect = |state: &mut State, call: &Call<'_>, (), now| {
            Effect::plain(read_effect(state, call, self.inode, buffer, now))
        };
        let found = self.shared.perform(request, |_, _| (), effect, |_, _, _, _| Ok(())).await?;
        Ok((found.buffer, found.count))
    }

    async fn write_at(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        self.write("write_at", Kind::Write, offset, data).await
    }

    async fn write_at_and_sync(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        self.write("write_at_and_sync", Kind::WriteAndSync, offset, data).await
    }

    async fn sync_data(&self) -> io::Result<()> {
        let request = self.request("sync_data", Kind::Sync, 0..0)?;
        let effect = |state: &mut State, call: &Call<'_>, began, now| {
            Effect::plain(sync(state, call, self.inode, Cover::CompletedBy(began), now))
        };
        self.shared.perform(request, |state, _| state.disk.stamp(), effect, |_, _, (), _| Ok(())).await
    }

    async fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.resize("allocate", bytes, |state, call, now| {
            let needed = state.disk.space_needed(self.inode, &(0..bytes));
            if needed > 0 {
                if let Some(error) = call.is_full(state, now) {
                    return Err(error);
                }
                if needed > state.free_bytes() {
                    return Err(full(false));
                }
            }
            Ok(state.disk.allocate(self.inode, bytes))
        })
        .await
    }

    async fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.resize("set_len", bytes, |state, _, _| {
            let cut = state.flights.values().find(|one| one.inode == self.inode && one.bytes().end > bytes);
            if let Some(cut) = cut {
                panic!("{}: a cut to {bytes} bytes through a write in flight at {:?}", self, cut.bytes());
            }
            Ok(state.disk.set_len(self.inode, bytes))
        })
        .await
    }

    fn depth_max(&self) -> usize {
        usize::from(lock(&self.shared.state).disk.personality().depth_max)
    }

    fn write_unit(&self) -> u32 {
        lock(&self.shared.state).disk.personality().write_unit
    }

    fn failures_are_own(&self) -> bool {
        lock(&self.shared.state).disk.personality().failures_are_own
    }
}

/// The hold of a future on its write in flight. Dropped early, it leaves the write to take effect alone (V2).
struct InFlight<'a> {
    file: &'a SimFile,
    number: u64,
    delays: [Duration; 2],
    landed: bool,
}

impl<'a> InFlight<'a> {
    fn take_off(file: &'a SimFile, state: &mut State, call: &Call<'_>, data: Bytes) -> Self {
        state.hold(file.inode);
        let (inode, offset) = (file.inode, call.bytes.start);
        let flight = Flight { inode, offset, data, stamp: None, orphaned: None };
        state.flights.insert(call.number, flight);
        Self { file, number: call.number, delays: call.delays, landed: false }
    }

    fn land(mut self) {
        self.landed = true;
        self.leave(&mut lock(&self.file.shared.state));
    }

    fn leave(&self, state: &mut State) {
        if state.flights.remove(&self.number).is_some() {
            state.let_go(self.file.inode);
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.landed {
            return;
        }
        let now = self.file.shared.executor.now();
        let mut state = lock(&self.file.shared.state);
        match state.flights.get_mut(&self.number) {
            Some(flight) if flight.stamp.is_none() => {
                let effect = now.after(self.delays[0]);
                flight.orphaned = Some((effect, effect.after(self.delays[1])));
            }
            Some(_) => self.leave(&mut state),
            None => {}
        }
    }
}

fn write_effect(
    state: &mut State,
    call: &Call<'_>,
    inode: Inode,
    mut data: Bytes,
    now: Tick,
) -> Effect<Taken> {
    let offset = call.bytes.start;
    if call.is_hit(state, FaultClass::WriteError, now) {
        let landed = state.faults.details(FaultClass::WriteError).choose(2) == 1;
        let stamp = landed.then(|| state.write(call.number, inode, offset, &data));
        let completion = stamp.map_or(Completion::Nothing, |stamp| Completion::Bytes(inode, stamp));
        return Effect::completing(Err(device_error("write")), completion);
    }
    if state.disk.space_needed(inode, &call.bytes) > 0 {
        if let Some(error) = call.is_full(state, now) {
            return Effect::plain(Err(error));
        }
        match state.disk.room_for(inode, &call.bytes, state.free_bytes()) {
            0 => return Effect::plain(Err(full(false))),
            room => data.truncate(room),
        }
    }
    if data.len() > 1 && call.is_hit(state, FaultClass::ShortWrite, now) {
        let longest = data.len() as u64 - 1;
        let count = state.faults.details(FaultClass::ShortWrite).range(1, longest);
        data.truncate(usize::try_from(count).expect("below a length"));
    }
    if state.faults.fires(FaultClass::MisdirectedWrite, call.path)
        && misdirect(state, call, inode, &data, now)
    {
        return Effect::plain(Ok(Taken { data, stamp: None, digest: None }));
    }
    let stamp = state.write(call.number, inode, offset, &data);
    let whole = offset + data.len() as u64 == call.bytes.end;
    let taken = Taken { data, stamp: Some(stamp), digest: call.digest.filter(|_| whole) };
    Effect::completing(Ok(taken), Completion::Bytes(inode, stamp))
}

/// Lets a write land in the wrong place; false if there is no place that has bytes.
fn misdirect(state: &mut State, call: &Call<'_>, inode: Inode, data: &Bytes, now: Tick) -> bool {
    let files = state.disk.files_with_bytes();
    if files.is_empty() {
        return false;
    }
    let draws = state.faults.details(FaultClass::MisdirectedWrite);
    let victim = *draws.pick(&files);
    let sectors = state.disk.len(victim).div_ceil(512);
    let offset = draws.below(sectors) * 512;
    if victim == inode && offset == call.bytes.start {
        return false;
    }
    let hit = state.disk.misdirect(victim, offset, data);
    let path = state.disk.path_of(victim).unwrap_or_default();
    let class = FaultClass::MisdirectedWrite;
    state.faults.record(class, (&path, victim.number()), hit, now);
    state.faults.record(class, (call.path, inode.number()), call.bytes.clone(), now);
    true
}

fn read_effect(
    state: &mut State,
    call: &Call<'_>,
    inode: Inode,
    mut buffer: BytesMut,
    now: Tick,
) -> io::Result<Found> {
    if call.is_hit(state, FaultClass::ReadError, now) {
        return Err(device_error("read"));
    }
    let offset = call.bytes.start;
    let end = state.disk.len(inode).min(call.bytes.end);
    let mut count = 0;
    if offset < end {
        let from = damage(state, call, inode, &(offset..end), now)?;
        let wanted = usize::try_from(end - offset).expect("at most the length of a buffer");
        count = state.disk.read(inode, from, &mut buffer[..wanted]);
        if count > 1 && call.is_hit(state, FaultClass::ShortRead, now) {
            let short = state.faults.details(FaultClass::ShortRead).range(1, count as u64 - 1);
            count = usize::try_from(short).expect("below a length");
        }
    }
    // Whoever looks at more than was read shall notice.
    buffer[count..].fill(GARBAGE);
    Ok(Found { buffer, count })
}

/// Lets faults out of contract hit a read of `bytes`. Returns where the bytes come from.
fn damage(
    state: &mut State,
    call: &Call<'_>,
    inode: Inode,
    bytes: &Range<u64>,
    now: Tick,
) -> io::Result<u64> {
    let target = (&**call.path, inode.number());
    if state.faults.fires(FaultClass::LatentSector, call.path) {
        let at = state.faults.details(FaultClass::LatentSector).range(bytes.start, bytes.end - 1);
        let sector = at / 512;
        state.disk.mark_bad(inode, sector);
        state.faults.record(FaultClass::LatentSector, target, sector * 512..(sector + 1) * 512, now);
    }
    if let Some(sector) = state.disk.bad_sector(inode, bytes) {
        return Err(device_error(&format!("sector {sector} cannot be read")));
    }
    if state.faults.fires(FaultClass::BitRot, call.path) {
        let draws = state.faults.details(FaultClass::BitRot);
        let at = draws.range(bytes.start, bytes.end - 1);
        let mask = 1 << draws.below(8);
        state.disk.rot(inode, at, mask);
        state.faults.record(FaultClass::BitRot, target, at..at + 1, now);
    }
    if state.faults.fires(FaultClass::MisdirectedRead, call.path) {
        let sectors = state.disk.len(inode).div_ceil(512);
        let from = state.faults.details(FaultClass::MisdirectedRead).below(sectors) * 512;
        state.faults.record(FaultClass::MisdirectedRead, target, bytes.clone(), now);
        return Ok(from);
    }
    Ok(bytes.start)
}

fn sync(state: &mut State, call: &Call<'_>, inode: Inode, cover: Cover, now: Tick) -> io::Result<()> {
    let (fate, class) = sync_fate(state, call, FaultClass::SyncError, now);
    // A sync through the page cache is one of the whole file: what fails then fails for all writes that are under way.
    let cover = match (fate, cover) {
        (SyncFate::FailedSomeLost | SyncFate::FailedAllLost, Cover::One(_))
            if !state.disk.personality().failures_are_own =>
        {
            Cover::Everything
        }
        _ => cover,
    };
    let State { disk, faults, .. } = state;
    disk.sync_data(inode, cover, fate, faults.choices(class, fate));
    match fate {
        SyncFate::Done | SyncFate::Forgotten => Ok(()),
        _ => Err(device_error("sync")),
    }
}

/// What becomes of a sync, and the class of fault that decided it; `class` is the one that may make it fail in any way.
pub(super) fn sync_fate(
    state: &mut State,
    call: &Call<'_>,
    class: FaultClass,
    now: Tick,
) -> (SyncFate, FaultClass) {
    if state.disk.personality().lying && state.faults.fires(FaultClass::LostSync, call.path) {
        // Whatever the file holds may be what was forgotten.
        let what = (FaultClass::LostSync, call.operation);
        state.faults.record_call(what, (call.path, call.target), 0..u64::MAX, now);
        return (SyncFate::Forgotten, FaultClass::LostSync);
    }
    if call.is_hit(state, FaultClass::SyncErrorOnce, now) {
        return (SyncFate::FailedAllLost, FaultClass::SyncErrorOnce);
    }
    if call.is_hit(state, class, now) {
        let fates = [SyncFate::FailedStillDirty, SyncFate::FailedSomeLost, SyncFate::FailedAllLost];
        return (*state.faults.details(class).pick(&fates), class);
    }
    (SyncFate::Done, class)
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        if state.incarnation == self.incarnation {
            state.let_go(self.inode);
        }
    }
}

impl fmt::Display for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({} of process {})", self.path.display(), self.incarnation)
    }
}
