//! Several durable writes in flight, completed in any order, acknowledged in one.
//!
//! The slots are a ring in submission order. They live inside one drive and borrow the segment's file; each is
//! pinned once and used for write after write, so that a write costs no allocation.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::{Error, Result};
use crate::vfs::{Vfs, write_all_and_sync};
use crate::wal::log::{CoreLog, Feed, Segments, Submitted};

struct Slot<Fut> {
    /// The write; `None` once it has completed.
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

impl<Fut: Future<Output = io::Result<()>>> Ring<Fut> {
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
            let offset = slot.frame.as_ref().expect("a used slot has its frame").offset;
            result.map_err(|error| (offset, error))?;
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
}

/// Why no further batch is started.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Drain {
    /// The feed ended the drive.
    Stop,
    /// The held batch needs the next segment.
    Roll,
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

    /// Drives until the segment is full or the feed ends, and everything in flight is done.
    async fn fill_segment(&mut self, feed: &mut impl Feed) -> Result<Drain> {
        let Self { file, desk, depth, .. } = self;
        let start = |frame: &Submitted| write_all_and_sync(&*file, frame.offset, frame.bytes());
        let mut ring = Ring::new(*depth);
        let mut drain = None;
        let ended = std::future::poll_fn(|cx| {
            loop {
                let mut progress = false;
                while drain.is_none() && ring.has_room() {
                    let batch = match desk.held.take() {
                        Some(batch) => Poll::Ready(Some(batch)),
                        None => feed.poll_batch(cx),
                    };
                    match batch {
                        Poll::Pending => break,
                        Poll::Ready(None) => drain = Some(Drain::Stop),
                        Poll::Ready(Some(batch)) => {
                            desk.accept(&batch);
                            if !desk.fits(&batch) {
                                desk.held = Some(batch);
                                drain = Some(Drain::Roll);
                                break;
                            }
                            let frame = desk.submit(batch, feed);
                            let write = start(&frame);
                            ring.push(frame, write);
                        }
                    }
                }
                if let Err(failure) = ring.poll(cx) {
                    // Nothing behind or before it is acknowledged any more: a sync that failed may have been the
                    // one that covered an earlier write (invariant 3 of `log`).
                    return Poll::Ready(Err(failure));
                }
                while let Some(frame) = ring.pop_completed() {
                    desk.complete(&frame, feed);
                    progress = true;
                }
                match drain {
                    Some(why) if ring.is_empty() => return Poll::Ready(Ok(why)),
                    _ if progress => {}
                    _ => return Poll::Pending,
                }
            }
        })
        .await;
        drop(ring);
        ended.map_err(|(offset, source): (u64, io::Error)| -> Error { self.write_failed(offset, source) })
    }
}
