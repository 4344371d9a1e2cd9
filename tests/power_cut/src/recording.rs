//! What happened, in one order: to the device, to the file system on it, and to who relies on both.
//!
//! R1. An event's place in the recording is its time. A cut at `n` is a power loss when `events[..n]` had happened.
//! R2. The device has what it was given at once, and keeps through a power loss what a flush covers: the writes that had
//!     completed, as far as the device told, when the flush came.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use highwater::sim::Act;

use crate::blocks::Blocks;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The device was given bytes: a write of its own number.
    Written { write: u64, offset: u64, data: Bytes },
    /// That write completed.
    Completed { write: u64 },
    /// The device was told to keep what had completed.
    Flushed,
    /// A program opened `path` as its file number `file`; it may have made it just before.
    Opened { file: u64, path: PathBuf },
    /// A call began, about files of the numbers above.
    Began { call: u64, act: Act },
    /// It went well; a write took so many bytes.
    Ended { call: u64, taken: usize },
    /// Somebody was told that this epoch is durable.
    Acknowledged { epoch: u64 },
}

/// A device in use, and its history since it was installed.
#[derive(Default)]
pub(crate) struct Recording {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    now: Blocks,
    events: Vec<Event>,
    writes: u64,
    calls: u64,
}

impl Recording {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew, with a device that holds `blocks`.
    pub(crate) fn install(&self, blocks: Blocks) {
        *self.state() = State { now: blocks, ..State::default() };
    }

    /// How much has happened.
    pub(crate) fn len(&self) -> usize {
        self.state().events.len()
    }

    /// Takes what has happened since the last [`Recording::install`].
    pub(crate) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.state().events)
    }

    pub(crate) fn push(&self, event: Event) {
        self.state().events.push(event);
    }

    /// A number that no call and no file has.
    pub(crate) fn number(&self) -> u64 {
        let mut state = self.state();
        state.calls += 1;
        state.calls
    }

    pub(crate) fn device_bytes(&self) -> u64 {
        self.state().now.bytes()
    }

    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) {
        self.state().now.read(offset, into);
    }

    /// The device is given bytes; returns the number of the write.
    pub(crate) fn written(&self, offset: u64, data: &[u8]) -> u64 {
        let data = Bytes::copy_from_slice(data);
        let mut state = self.state();
        state.now.write(offset, &data);
        state.writes += 1;
        let write = state.writes;
        state.events.push(Event::Written { write, offset, data });
        write
    }
}
