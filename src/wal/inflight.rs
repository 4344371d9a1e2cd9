//! Several writes in flight, completed in any order, acknowledged in one.
//!
//! ```text
//! submitted ──write completes──► written ──────┐ in submission order
//!             a durable write, nothing unsynced before it ──► durable, acknowledged
//!             else ──► unsynced ──a sync that began behind it──► durable, acknowledged
//! ```
//!
//! 1. Frames leave the ring in submission order, whatever order their writes complete in.
//! 2. A sync covers exactly the frames that had left the ring when it began.
//! 3. A durable write is acknowledged by itself only when everything before it is durable already, and when it took all
//!    of its frame at once: the rest of one that was cut short waits for a sync like any other.
//! 4. A sync is begun for what the feed demands, when all of that has been written: not for each frame of it. What is
//!    demanded later waits for the next one, so that a stream of demands puts no sync off.
//! 5. No two syncs of the file run at a time, those of durable writes included, unless the file says that failures are
//!    own: else the one that fails may be told of it late, and another not at all (promise 5 of [`crate::vfs`]).
//!
//! The slots are a ring in submission order. They live inside one drive and borrow the segment's file; each is
//! pinned once and used for write after write, so that a write costs no allocation. A frame's memory goes back to its
//! pool when it has been written.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::ids::{Epoch, Lsn};
use crate::meter::Timer;
use crate::vfs::{File, Vfs, retry, write_all_at, write_all_durably};
use crate::wal::desk::{Desk, Submitted};
use crate::wal::log::{CoreLog, Feed, Segments};

/// Epoch ends that wait for a sync before one is begun that nobody demanded: memory is bounded.
const UNSYNCED_EPOCHS_MAX: usize = 4096;

struct Slot<Fut> {
    /// The write, which tells whether it made itself durable; `None` once it has completed.
    write: Pin<Box<Option<Fut>>>,
    /// The frame; `None` in a free slot.
    frame: Option<Submitted>,
}

/// A ring of writes.
struct Ring<Fut> {
    slots: Vec<Slot<Fut>>,
    oldest: usize,
    used: usize,
}

impl<Fut: Future<Output = io::Result<bool>>> Ring<Fut> {
    fn new(depth: usize) -> Self {
        let slots = (0..depth).map(|_| Slot { write: Box::pin(None), frame: None }).collect();
        Self { slots, oldest: 0, used: 0 }
    }

    fn is_empty(&self) -> bool {
        self.used == 0
    }

    fn has_room(&self) -> bool {
        self.used < self.slots.len()
    }

    fn push(&mut self, frame: Submitted, write: Fut) {
        assert!(self.has_room(), "{} writes in flight already", self.used);
        let at = (self.oldest + self.used) % self.slots.len();
        let slot = &mut self.slots[at];
        assert!(slot.frame.is_none() && slot.write.is_none(), "a slot in use");
        slot.frame = Some(frame);
        slot.write.as_mut().set(Some(write));
        self.used += 1;
    }

    /// Polls every write; the first failure with its offset, if there is one.
    fn poll(&mut self, cx: &mut Context<'_>) -> Result<(), (u64, io::Error)> {
        for step in 0..self.used {
            let at = (self.oldest + step) % self.slots.len();
            let slot = &mut self.slots[at];
            let Some(write) = slot.write.as_mut().as_pin_mut() else { continue };
            let Poll::Ready(result) = write.poll(cx) else { continue };
            slot.write.as_mut().set(None);
            let frame = slot.frame.as_mut().expect("a used slot has its frame");
            let durable = result.map_err(|error| (frame.offset, error))?;
            assert!(frame.durably || !durable, "a plain write at {} calls itself durable", frame.offset);
            frame.durably = durable;
        }
        Ok(())
    }

    /// The oldest frame, if its write has completed.
    fn pop_completed(&mut self) -> Option<Submitted> {
        if self.used == 0 || self.slots[self.oldest].write.is_some() {
            return None;
        }
        let frame = self.slots[self.oldest].frame.take().expect("a used slot has its frame");
        self.oldest = (self.oldest + 1) % self.slots.len();
        self.used -= 1;
        Some(frame)
    }

    /// Whether every write in flight makes itself durable.
    fn all_durable(&self) -> bool {
        self.slots.iter().filter_map(|slot| slot.frame.as_ref()).all(|frame| frame.durably)
    }
}

/// Frames that were written and wait for a sync, in order and without gaps, as far as they matter still.
pub(super) struct Unsynced {
    /// Where the first of them lies.
    offset: u64,
    pub(super) last_lsn: Lsn,
    /// The most that any of them states as durable and as closed: proven once they are durable.
    pub(super) mark: Lsn,
    pub(super) epoch: Epoch,
    pub(super) epochs: Vec<(Epoch, Lsn)>,
}

impl Unsynced {
    fn add(unsynced: &mut Option<Self>, frame: &Submitted) {
        let all = unsynced.get_or_insert_with(|| Self {
            offset: frame.offset,
            last_lsn: Lsn(0),
            mark: Lsn(0),
            epoch: Epoch(0),
            epochs: Vec::new(),
        });
        assert!(frame.last_lsn() > all.last_lsn, "{} written after {}", frame.last_lsn(), all.last_lsn);
        all.last_lsn = frame.last_lsn();
        all.mark = all.mark.max(frame.mark);
        all.epoch = all.epoch.max(frame.epoch);
        all.epochs.extend_from_slice(frame.epochs());
    }
}

/// Why no further batch is started.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Drain {
    /// The feed ended the drive.
    Stop,
    /// The held batch needs the next segment.
    Roll,
}

/// Everything in flight in one segment: `W` is a write, `S` a sync.
struct Flight<W, S> {
    ring: Ring<W>,
    /// Written, and not covered by the sync under way.
    unsynced: Option<Unsynced>,
    /// What the sync under way covers.
    syncing: Option<Unsynced>,
    sync: Pin<Box<Option<S>>>,
    /// The next sync waits until everything through this LSN is written (invariant 4).
    goal: Option<Lsn>,
    drain: Option<Drain>,
    /// What the file says of itself.
    failures_are_own: bool,
}

type Failure = (u64, io::Error);

impl<W: Future<Output = io::Result<bool>>, S: Future<Output = io::Result<()>>> Flight<W, S> {
    fn new(depth: usize, failures_are_own: bool) -> Self {
        let (ring, sync) = (Ring::new(depth), Box::pin(None));
        Self { ring, unsynced: None, syncing: None, sync, goal: None, drain: None, failures_are_own }
    }

    /// Whether the next write may make itself durable: nothing that was submitted waits for a sync, and no sync runs that
    /// it could disturb (invariant 5).
    fn is_settled(&self) -> bool {
        let alone = self.failures_are_own || self.ring.is_empty();
        alone && self.unsynced.is_none() && self.syncing.is_none() && self.ring.all_durable()
    }

    /// Submits what the feed has, as far as there is room.
    fn fill(
        &mut self,
        desk: &mut Desk,
        feed: &mut impl Feed,
        cx: &mut Context<'_>,
        start: impl Fn(&Submitted) -> W,
    ) {
        while self.drain.is_none() && self.ring.has_room() {
            let batch = match desk.held.take() {
                Some(batch) => Poll::Ready(Some(batch)),
                None => feed.poll_batch(cx),
            };
            match batch {
                Poll::Pending => break,
                Poll::Ready(None) => self.drain = Some(Drain::Stop),
                Poll::Ready(Some(batch)) => {
                    desk.accept(&batch);
                    if !desk.fits(&batch) {
                        desk.held = Some(batch);
                        self.drain = Some(Drain::Roll);
                        break;
                    }
                    let mut frame = desk.submit(batch, feed);
                    frame.durably = frame.last_lsn() <= feed.demanded() && self.is_settled();
                    let write = start(&frame);
                    self.ring.push(frame, write);
                }
            }
        }
    }

    /// Takes in what was written (invariants 1 and 3). Whether there was something.
    fn land(&mut self, desk: &mut Desk, feed: &mut impl Feed) -> bool {
        let mut progress = false;
        while let Some(frame) = self.ring.pop_completed() {
            progress = true;
            let lsn = frame.last_lsn();
            if frame.durably && self.unsynced.is_none() && self.syncing.is_none() {
                desk.complete(&frame, feed);
            } else {
                Unsynced::add(&mut self.unsynced, &frame);
            }
            // Its memory first: whoever waits for some is told now.
            drop(frame);
            feed.written(lsn);
        }
        progress
    }

    /// Begins a sync if one is due, and takes in one that has ended. Whether something became durable.
    fn settle(
        &mut self,
        desk: &mut Desk,
        feed: &mut impl Feed,
        cx: &mut Context<'_>,
        sync: impl Fn() -> S,
    ) -> Result<bool, Failure> {
        if self.syncing.is_none() && self.is_due(desk, feed) {
            self.syncing = self.unsynced.take();
            self.goal = None;
            self.sync.as_mut().set(Some(sync()));
        }
        let Some(under_way) = self.sync.as_mut().as_pin_mut() else { return Ok(false) };
        let Poll::Ready(result) = under_way.poll(cx) else { return Ok(false) };
        self.sync.as_mut().set(None);
        let covered = self.syncing.take().expect("a sync covers something");
        result.map_err(|error| (covered.offset, error))?;
        desk.complete_all(&covered, feed);
        Ok(true)
    }

    /// Whether everything has been written that the next sync is for.
    fn is_due(&mut self, desk: &Desk, feed: &impl Feed) -> bool {
        let Some(unsynced) = &self.unsynced else { return false };
        let crowded = unsynced.epochs.len() >= UNSYNCED_EPOCHS_MAX;
        let demanded = if self.drain.is_some() || crowded { desk.marks.submitted } else { feed.demanded() };
        if self.goal.is_none() && demanded > desk.marks.durable {
            self.goal = Some(demanded.min(desk.marks.submitted));
        }
        self.goal.is_some_and(|goal| unsynced.last_lsn >= goal)
    }

    fn is_empty(&self) -> bool {
        self.ring.is_empty() && self.unsynced.is_none() && self.syncing.is_none()
    }
}

/// Writes a frame, durably if it is to; whether it is durable now.
async fn write(file: &impl File, time: &Timer, frame: (u64, Bytes, bool)) -> io::Result<bool> {
    let (offset, bytes, durably) = frame;
    if durably {
        let begun = time.start();
        let durable = write_all_durably(file, offset, bytes).await?;
        time.stop(begun);
        return Ok(durable);
    }
    write_all_at(file, offset, bytes).await?;
    Ok(false)
}

/// Makes what was written durable.
async fn sync(file: &impl File, time: &Timer) -> io::Result<()> {
    let begun = time.start();
    retry(|| file.sync_data()).await?;
    time.stop(begun);
    Ok(())
}

impl<V: Vfs> CoreLog<V> {
    /// Drives with up to `depth` writes in flight.
    pub(super) async fn run_pipelined(
        &mut self,
        feed: &mut impl Feed,
        segments: &mut impl Segments,
    ) -> Result<()> {
        loop {
            match self.fill_segment(feed).await? {
                Drain::Stop => return Ok(()),
                Drain::Roll => self.roll(feed.closed_through(), segments).await?,
            }
        }
    }

    /// Drives until the segment is full or the feed ends, and everything in flight is done and durable.
    async fn fill_segment(&mut self, feed: &mut impl Feed) -> Result<Drain> {
        let Self { file, desk, depth, .. } = self;
        let file = &*file;
        let time = desk.tally.sync_time.clone();
        let start = |frame: &Submitted| write(file, &time, (frame.offset, frame.bytes(), frame.durably));
        let sync = || sync(file, &time);
        let mut flight = Flight::new(*depth, file.failures_are_own());
        let ended = std::future::poll_fn(|cx| {
            loop {
                flight.fill(desk, feed, cx, start);
                // Nothing behind or before a failed one is acknowledged any more: a sync that failed may have been
                // the one that covered an earlier write (invariant 3 of `log`).
                if let Err(failure) = flight.ring.poll(cx) {
                    return Poll::Ready(Err(failure));
                }
                let mut progress = flight.land(desk, feed);
                match flight.settle(desk, feed, cx, sync) {
                    Ok(synced) => progress |= synced,
                    Err(failure) => return Poll::Ready(Err(failure)),
                }
                match flight.drain {
                    Some(why) if flight.is_empty() => return Poll::Ready(Ok(why)),
                    _ if progress => {}
                    _ => return Poll::Pending,
                }
            }
        })
        .await;
        drop(flight);
        ended.map_err(|(offset, source): Failure| -> Error { self.write_failed(offset, source) })
    }
}
