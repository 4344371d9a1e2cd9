//! The ring: operations go in, completions come out, and in between the slots own what the kernel uses.
//!
//! ```text
//! slot   free ──start──► in flight ──all completions──► done ──take──► free
//!                            └──abandon──► in flight, nobody waits ──all completions──► free
//! ```
//!
//! The bound is on what is in flight. What is done makes room, also while nobody takes it: its future may be polled
//! again only after another one, which found no room, has completed.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use io_uring::types::{CancelBuilder, Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::chunks::{CHUNK_BYTES, Chunk, Chunks};
use super::operation::Durability;
use super::setup;
use super::table::{Handle, Table};

/// The length of the submission queue: every operation in flight with its sync linked behind.
const ENTRIES: u32 = 64;

/// Most operations in flight.
pub(super) const IN_FLIGHT_MAX: u32 = ENTRIES / 2;

/// The name of the poll that a [`Bell`](super::Bell) completes.
const BELL: u64 = u64::MAX;

/// The most bytes of one operation; the rest is a short count's.
const OPERATION_BYTES_MAX: usize = 1 << 30;

/// What an operation is to do.
pub(super) enum Request {
    Read { offset: u64, buffer: BytesMut },
    Write { offset: u64, data: Bytes, durable: Option<Durability> },
    Sync,
}

/// What has to stay where it is until the kernel is done.
pub(super) enum Held {
    Nothing,
    Read(BytesMut),
    Write(#[expect(dead_code, reason = "held for the kernel")] Bytes),
    Chunk(Chunk),
}

/// What the kernel said about an operation.
pub(super) struct Completion {
    pub(super) held: Held,
    pub(super) result: i32,
    /// Of the linked sync; zero when there was none.
    pub(super) synced: i32,
    /// The number of a write among the completed ones of its file.
    pub(super) ticket: u64,
}

/// A slot's number, for whoever waits for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotId(u32);

struct Slot {
    held: Held,
    /// Open until the kernel is done with it. `None` in a free slot.
    handle: Option<Arc<Handle>>,
    /// Completions that are still to come.
    due: u8,
    result: i32,
    synced: i32,
    ticket: u64,
    waker: Option<Waker>,
    abandoned: bool,
}

impl Slot {
    const FREE: Self = Self {
        held: Held::Nothing,
        handle: None,
        due: 0,
        result: 0,
        synced: 0,
        ticket: 0,
        waker: None,
        abandoned: false,
    };
}

/// One thread's ring.
pub(in crate::vfs) struct Ring {
    inner: RefCell<Inner>,
}

struct Inner {
    ring: IoUring,
    /// One for each operation that is in flight, or done and not taken.
    slots: Vec<Slot>,
    free: Vec<u32>,
    in_flight: u32,
    in_flight_max: u32,
    /// Those that found no room.
    waiting: Vec<Waker>,
    chunks: Chunks,
    table: Table,
    bell_armed: bool,
    /// To be woken when nothing is borrowed any more.
    woken: Vec<Waker>,
}

impl Ring {
    /// A ring for the calling thread, with the flags that this kernel has.
    pub(super) fn new() -> io::Result<Self> {
        let ring = setup::build(ENTRIES)?;
        Ok(Self::over(ring, IN_FLIGHT_MAX))
    }

    /// A ring over `ring` with at most `in_flight_max` operations in flight.
    pub(super) fn over(ring: IoUring, in_flight_max: u32) -> Self {
        let table = Table::new(&ring.submitter());
        let inner = Inner {
            ring,
            slots: Vec::new(),
            free: Vec::new(),
            in_flight: 0,
            in_flight_max,
            waiting: Vec::new(),
            chunks: Chunks::default(),
            table,
            bell_armed: false,
            woken: Vec::new(),
        };
        Self { inner: RefCell::new(inner) }
    }

    /// Whether no operation is in flight.
    pub(in crate::vfs) fn is_idle(&self) -> bool {
        self.inner.borrow().in_flight == 0
    }

    /// Begins an operation on `handle`, or gives the request back: then `waker` is woken when it may be tried again.
    pub(super) fn start(
        &self,
        handle: &Arc<Handle>,
        request: Request,
        waker: &Waker,
    ) -> Result<SlotId, Request> {
        let started = {
            let mut inner = self.inner.borrow_mut();
            if inner.has_room() {
                Ok(inner.start(handle, request, waker))
            } else {
                if !inner.waiting.iter().any(|waiting| waiting.will_wake(waker)) {
                    inner.waiting.push(waker.clone());
                }
                Err(request)
            }
        };
        // What was in the page cache is done already.
        self.reap();
        started
    }

    /// The outcome of `slot`, which is free then; else `waker` is woken when there is one.
    pub(super) fn take(&self, slot: SlotId, waker: Option<&Waker>) -> Option<Completion> {
        let (completion, replaced) = {
            let mut inner = self.inner.borrow_mut();
            let of_slot = &mut inner.slots[slot.0 as usize];
            assert!(of_slot.handle.is_some() && !of_slot.abandoned, "a slot that nobody has");
            if of_slot.due > 0 {
                let replaced = waker.map(|waker| of_slot.waker.replace(waker.clone()));
                (None, replaced.flatten())
            } else {
                (Some(inner.release(slot)), None)
            }
        };
        drop(replaced);
        self.wake();
        completion
    }

    /// Nobody waits for `slot` any more.
    pub(super) fn abandon(&self, slot: SlotId) {
        let held = {
            let mut inner = self.inner.borrow_mut();
            let of_slot = &mut inner.slots[slot.0 as usize];
            assert!(of_slot.handle.is_some() && !of_slot.abandoned, "a slot that nobody has");
            if of_slot.due > 0 {
                of_slot.abandoned = true;
                return;
            }
            inner.release(slot)
        };
        self.recycle(held.held);
        self.wake();
    }

    /// Waits until the kernel is done with `slot`.
    pub(super) fn finish(&self, slot: SlotId) {
        while self.inner.borrow().slots[slot.0 as usize].due > 0 {
            self.wait();
        }
    }

    /// Gives back a chunk that a completion held.
    pub(super) fn recycle(&self, held: Held) {
        if let Held::Chunk(chunk) = held {
            self.inner.borrow_mut().chunks.put(chunk);
        }
    }

    /// Has `bell` end the next [`Ring::wait`].
    pub(super) fn arm(&self, bell: std::os::fd::RawFd) {
        let mut inner = self.inner.borrow_mut();
        if !inner.bell_armed && !inner.ring.submission().is_full() {
            let poll = opcode::PollAdd::new(Fd(bell), POLLIN).build().user_data(BELL);
            inner.push(&poll);
            inner.bell_armed = true;
        }
    }

    /// Whether a bell rang and is to be silenced.
    pub(super) fn bell_rang(&self) -> bool {
        !self.inner.borrow().bell_armed
    }

    /// Waits for a completion and takes it in.
    pub(super) fn wait(&self) {
        self.enter(None);
        self.reap();
    }

    /// Submits what is queued, and waits for a completion, at most for `timeout`.
    ///
    /// # Panics
    ///
    /// When the kernel refuses the ring: then what is in flight can never be known.
    pub(super) fn enter(&self, timeout: Option<Duration>) {
        let entered = {
            let inner = self.inner.borrow();
            let timespec = timeout.map(Timespec::from);
            match &timespec {
                None => inner.ring.submit_and_wait(1),
                Some(timespec) => {
                    let arguments = SubmitArgs::new().timespec(timespec);
                    inner.ring.submitter().submit_with_args(1, &arguments)
                }
            }
        };
        if let Err(error) = entered {
            assert!(passes(&error), "io_uring_enter: {error}");
        }
    }

    /// Takes in what has completed, without waiting.
    pub(super) fn reap(&self) {
        self.inner.borrow_mut().reap();
        self.wake();
    }

    /// How many more files it could know.
    #[cfg(test)]
    pub(super) fn places_free(&self) -> usize {
        self.inner.borrow().table.places_free()
    }

    fn wake(&self) {
        while !self.inner.borrow().woken.is_empty() {
            let mut woken = std::mem::take(&mut self.inner.borrow_mut().woken);
            woken.drain(..).for_each(Waker::wake);
            // The vector goes back for its capacity, unless somebody was woken meanwhile.
            let mut inner = self.inner.borrow_mut();
            if inner.woken.is_empty() {
                inner.woken = woken;
            }
        }
    }
}

/// Data to read.
const POLLIN: u32 = libc::POLLIN as u32;

impl Drop for Ring {
    /// Memory goes only when the kernel is done with it. By R3 only reads can be in flight here.
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        if inner.slots.iter().any(|slot| slot.due > 0) {
            // Sooner, if the kernel can: nobody wants them any more.
            let _ = inner.ring.submitter().register_sync_cancel(None, CancelBuilder::any());
        }
        while inner.slots.iter().any(|slot| slot.due > 0) {
            let entered = inner.ring.submit_and_wait(1);
            inner.reap();
            if entered.is_err_and(|error| !passes(&error)) {
                // The kernel may still use it: lost, and harmless.
                std::mem::forget(std::mem::take(&mut inner.slots));
            }
        }
    }
}

impl Inner {
    fn has_room(&mut self) -> bool {
        let queue = self.ring.submission();
        self.in_flight < self.in_flight_max && queue.capacity() - queue.len() >= 2
    }

    /// A free slot's index.
    fn free_slot(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::FREE);
            u32::try_from(self.slots.len() - 1).expect("fewer operations than a u32 counts")
        })
    }

    fn start(&mut self, handle: &Arc<Handle>, request: Request, waker: &Waker) -> SlotId {
        let index = self.free_slot();
        self.in_flight += 1;
        assert!(self.in_flight <= self.in_flight_max, "{} operations in flight", self.in_flight);
        let place = match &request {
            Request::Write { .. } => self.table.place(&self.ring.submitter(), handle),
            _ => None,
        };
        let (fd, known) = match place {
            Some(place) => (Fd(place.cast_signed()), squeue::Flags::FIXED_FILE),
            None => (Fd(handle.raw_fd()), squeue::Flags::empty()),
        };
        let name = u64::from(index) << 1;
        let mut linked = false;
        let slot = &mut self.slots[index as usize];
        assert!(slot.due == 0 && slot.handle.is_none(), "slot {index} is in use");
        let entry = match request {
            Request::Read { offset, mut buffer } => {
                let (to, bytes) = (buffer.as_mut_ptr(), operation_bytes(buffer.len()));
                slot.held = Held::Read(buffer);
                opcode::Read::new(fd, to, bytes).offset(offset).build()
            }
            Request::Sync => {
                slot.held = Held::Nothing;
                opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build()
            }
            Request::Write { offset, data, durable } => {
                linked = matches!(durable, Some(Durability::ByLink));
                let flags = if matches!(durable, Some(Durability::ByFlag)) { libc::RWF_DSYNC } else { 0 };
                let (held, write) = self.write(fd, offset, data, flags);
                self.slots[index as usize].held = held;
                write
            }
        };
        let slot = &mut self.slots[index as usize];
        slot.handle = Some(Arc::clone(handle));
        slot.due = if linked { 2 } else { 1 };
        slot.synced = 0;
        slot.waker = Some(waker.clone());
        slot.abandoned = false;
        if linked {
            self.push(&entry.flags(known | squeue::Flags::IO_LINK).user_data(name));
            let sync = opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build();
            self.push(&sync.flags(known).user_data(name | 1));
        } else {
            self.push(&entry.flags(known).user_data(name));
        }
        self.submit(index);
        SlotId(index)
    }

    fn write(&mut self, fd: Fd, offset: u64, data: Bytes, flags: i32) -> (Held, squeue::Entry) {
        let bytes = operation_bytes(data.len());
        let small = data.len() <= CHUNK_BYTES;
        if let Some(mut chunk) = small.then(|| self.chunks.take(&self.ring.submitter())).flatten() {
            chunk.fill(&data);
            let from = chunk.as_ptr();
            let entry = match chunk.registered(&self.chunks) {
                Some(known) => {
                    opcode::WriteFixed::new(fd, from, bytes, known).offset(offset).rw_flags(flags).build()
                }
                None => opcode::Write::new(fd, from, bytes).offset(offset).rw_flags(flags).build(),
            };
            return (Held::Chunk(chunk), entry);
        }
        let from = data.as_ptr();
        (Held::Write(data), opcode::Write::new(fd, from, bytes).offset(offset).rw_flags(flags).build())
    }

    #[expect(unsafe_code, reason = "the kernel is told of memory by its address")]
    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the memory that `entry` names belongs to a slot that is in flight until its completion was seen
        // (R2): `start` puts it there, and only `release` and the end of the ring take it out, after `due` came to
        // zero. It lies on the heap or is static, so that moving its owner leaves it where it is. A bell's entry
        // names no memory.
        let pushed = unsafe { self.ring.submission().push(entry) };
        assert!(pushed.is_ok(), "the submission queue has room");
    }

    /// Hands the queue to the kernel. What it does not take now stays queued for the next call.
    fn submit(&mut self, started: u32) {
        if let Err(error) = self.ring.submit() {
            assert!(passes(&error), "io_uring_enter: {error}");
        }
        let slot = &mut self.slots[started as usize];
        if slot.due == 2 && !self.ring.submission().is_empty() {
            // The kernel may have taken the write and not the sync: then no link joins them (R6).
            slot.synced = -libc::ECANCELED;
        }
    }

    fn reap(&mut self) {
        loop {
            let needs_kernel = {
                let queue = self.ring.submission();
                queue.taskrun() || queue.cq_overflow()
            };
            if needs_kernel && let Err(error) = self.ring.submit() {
                assert!(passes(&error), "io_uring_enter: {error}");
            }
            let mut any = false;
            while let Some(entry) = self.next_completion() {
                any = true;
                self.complete(entry.user_data(), entry.result());
            }
            if !any || !needs_kernel {
                return;
            }
        }
    }

    fn next_completion(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    fn complete(&mut self, name: u64, result: i32) {
        if name == BELL {
            self.bell_armed = false;
            return;
        }
        let index = u32::try_from(name >> 1).expect("a name is a slot's number");
        let slot = &mut self.slots[index as usize];
        assert!(slot.due > 0, "slot {index} completes once too often");
        slot.due -= 1;
        if name & 1 == 0 {
            slot.result = result;
            let handle = slot.handle.as_ref().expect("a slot in flight has its file");
            slot.ticket = handle.syncs.complete();
        } else if slot.synced == 0 {
            slot.synced = result;
        }
        if slot.due > 0 {
            return;
        }
        let abandoned = slot.abandoned;
        self.woken.extend(slot.waker.take().filter(|_| !abandoned));
        self.in_flight -= 1;
        // All of them: one that is woken may not want it any more.
        self.woken.append(&mut self.waiting);
        if abandoned && let Held::Chunk(chunk) = self.release(SlotId(index)).held {
            self.chunks.put(chunk);
        }
    }

    /// Frees a slot that the kernel is done with.
    fn release(&mut self, id: SlotId) -> Completion {
        let slot = &mut self.slots[id.0 as usize];
        assert!(slot.due == 0, "slot {} is freed in flight", id.0);
        slot.handle = None;
        slot.waker = None;
        let held = std::mem::replace(&mut slot.held, Held::Nothing);
        let completion = Completion { held, result: slot.result, synced: slot.synced, ticket: slot.ticket };
        self.free.push(id.0);
        self.table.clear_returned(&self.ring.submitter());
        completion
    }
}

fn operation_bytes(bytes: usize) -> u32 {
    u32::try_from(bytes.min(OPERATION_BYTES_MAX)).expect("OPERATION_BYTES_MAX fits")
}

/// Errors of `io_uring_enter` that leave everything as it was: a timeout, a signal, completions to fetch first, memory
/// that the kernel lacks at the moment.
fn passes(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN))
}
