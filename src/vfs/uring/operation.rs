//! One operation as a future, and what its completion means.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};

use super::ring::{Completion, Held, Request, Ring, SlotId};
use super::table::Handle;
use crate::env::is_driven;

/// How a write becomes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::vfs) enum Durability {
    /// By itself: the write has the flag `RWF_DSYNC`.
    ByFlag,
    /// By an `fdatasync` that is linked behind it.
    ByLink,
    /// By an `fdatasync` for all writes of the file that have completed until then.
    Shared,
}

/// An operation from before its submission to its outcome.
struct Operation {
    ring: Rc<Ring>,
    handle: Arc<Handle>,
    state: State,
    /// Whether the kernel changes something, so that a drop has to wait (R3).
    changes: bool,
}

enum State {
    /// Not polled yet, or no place in the ring was free.
    Waiting(Request),
    InFlight(SlotId),
    Over,
}

impl Operation {
    fn new(ring: Rc<Ring>, handle: &Arc<Handle>, request: Request) -> Self {
        let changes = !matches!(request, Request::Read { .. });
        Self { ring, handle: Arc::clone(handle), state: State::Waiting(request), changes }
    }
}

impl Future for Operation {
    type Output = Completion;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Completion> {
        let this = self.get_mut();
        // A thread that is not driven by who waits in the ring has to wait here.
        let must_wait = !is_driven();
        let slot = loop {
            match std::mem::replace(&mut this.state, State::Over) {
                State::InFlight(slot) => {
                    this.state = State::InFlight(slot);
                    break slot;
                }
                State::Waiting(request) => match this.ring.start(&this.handle, request, context.waker()) {
                    Ok(slot) => this.state = State::InFlight(slot),
                    Err(request) => {
                        this.state = State::Waiting(request);
                        if !must_wait {
                            return Poll::Pending;
                        }
                        this.ring.wait();
                    }
                },
                State::Over => panic!("an operation was polled after its end"),
            }
        };
        if must_wait {
            this.ring.finish(slot);
        }
        match this.ring.take(slot, Some(context.waker())) {
            Some(completion) => {
                this.state = State::Over;
                Poll::Ready(completion)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        let State::InFlight(slot) = self.state else { return };
        if self.changes {
            self.ring.finish(slot);
        }
        self.ring.abandon(slot);
    }
}

impl Ring {
    /// As [`File::read_at`](crate::vfs::File::read_at).
    pub(in crate::vfs) async fn read(
        self: Rc<Self>,
        handle: &Arc<Handle>,
        offset: u64,
        buffer: BytesMut,
    ) -> io::Result<(BytesMut, usize)> {
        let completion = Operation::new(self, handle, Request::Read { offset, buffer }).await;
        let count = counted(completion.result)?;
        match completion.held {
            Held::Read(buffer) => Ok((buffer, count)),
            _ => unreachable!("a read holds the buffer that it filled"),
        }
    }

    /// As [`File::write_at`](crate::vfs::File::write_at).
    pub(in crate::vfs) async fn write(
        self: Rc<Self>,
        handle: &Arc<Handle>,
        offset: u64,
        data: Bytes,
    ) -> io::Result<usize> {
        counted(self.write_once(handle, offset, data, None).await.result)
    }

    /// As [`File::write_at_and_sync`](crate::vfs::File::write_at_and_sync).
    pub(in crate::vfs) async fn write_durably(
        self: Rc<Self>,
        handle: &Arc<Handle>,
        offset: u64,
        data: Bytes,
        durability: Durability,
    ) -> io::Result<usize> {
        let wanted = data.len();
        let completion = Rc::clone(&self).write_once(handle, offset, data, Some(durability)).await;
        let count = counted(completion.result)?;
        // A short write breaks its link, and promises nothing.
        if count < wanted {
            return Ok(count);
        }
        if durability == Durability::Shared {
            // The more have completed, the more the sync covers.
            self.reap();
            handle.syncs.cover(completion.ticket, || handle.file.sync())?;
            return Ok(count);
        }
        match counted(completion.synced) {
            Ok(_) => Ok(count),
            // No sync followed this write for sure (R6).
            Err(error) if did_nothing(&error) => self.sync(handle).await.map(|()| count),
            Err(error) => Err(error),
        }
    }

    /// As [`File::sync_data`](crate::vfs::File::sync_data).
    pub(in crate::vfs) async fn sync(self: Rc<Self>, handle: &Arc<Handle>) -> io::Result<()> {
        let completion = Operation::new(self, handle, Request::Sync).await;
        counted(completion.result).map(drop)
    }

    async fn write_once(
        self: Rc<Self>,
        handle: &Arc<Handle>,
        offset: u64,
        data: Bytes,
        durable: Option<Durability>,
    ) -> Completion {
        let request = Request::Write { offset, data, durable };
        let mut completion = Operation::new(Rc::clone(&self), handle, request).await;
        self.recycle(std::mem::replace(&mut completion.held, Held::Nothing));
        completion
    }
}

/// A result of the kernel: a count, or an error's number below zero.
fn counted(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

/// A sync that was cancelled with its link, or interrupted before it did anything.
fn did_nothing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ECANCELED | libc::EINTR | libc::EAGAIN))
}
