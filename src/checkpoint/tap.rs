//! What a log was given, kept in memory for the next checkpoint: reading it back from the disk is what a checkpoint
//! would spend most of its time with.
//!
//! ```text
//! log writer ─ offer ─► bytes of batches, one behind the other ─ take ─► follower
//! ```
//!
//! 1. What is held is a run of the log's records without a gap, encoded as they are logged.
//! 2. It is bounded. What finds no room is not kept, and whoever follows the log reads that from the disk.
//! 3. A record that is held may not be durable yet, and may never become so: only who knows that its epoch is closed
//!    may use it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::ids::Lsn;
use crate::sync::unpoisoned;

/// A tap makes itself heard once it holds this part of its room.
const HEARD_PART: usize = 16;

/// Where the writer of one core's log leaves what it writes.
#[derive(Debug)]
pub(crate) struct Tap {
    held: Mutex<Held>,
    /// How many batches the log has been given.
    offered: AtomicU64,
    bytes_max: usize,
}

/// Encoded records with the LSNs from `first` to `next`.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    pub(super) first: Lsn,
    pub(super) next: Lsn,
}

impl Tap {
    /// A tap that holds at most `bytes_max` bytes of records.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { held: Mutex::default(), offered: AtomicU64::new(0), bytes_max }
    }

    /// The log has been given the records of `payload`, from LSN `first` to before `next`. Tells whether it is time to
    /// take what is held.
    pub(crate) fn offer(&self, first: Lsn, next: Lsn, payload: &[u8]) -> bool {
        self.offered.fetch_add(1, Ordering::Relaxed);
        let mut held = self.lock();
        let is_empty = held.bytes.is_empty();
        let follows = is_empty || held.next == first;
        if !follows || held.bytes.len() + payload.len() > self.bytes_max {
            return false;
        }
        if is_empty {
            held.first = first;
        }
        held.bytes.extend_from_slice(payload);
        held.next = next;
        assert!(held.first < held.next, "records {} to {}", held.first, held.next);
        let heard = self.bytes_max / HEARD_PART;
        held.bytes.len() >= heard && held.bytes.len() - payload.len() < heard
    }

    /// How many batches the log has been given: whether it is being written.
    pub(super) fn offered(&self) -> u64 {
        self.offered.load(Ordering::Relaxed)
    }

    /// Takes what is held, perhaps nothing, and leaves the memory of `spare`.
    pub(super) fn take(&self, mut spare: Vec<u8>) -> Held {
        spare.clear();
        let mut held = self.lock();
        std::mem::replace(&mut held, Held { bytes: spare, ..Held::default() })
    }

    /// Exchanges what is held for the memory of `spare`, if it begins with LSN `first`; returns the LSN behind it then.
    pub(super) fn take_from(&self, first: Lsn, spare: &mut Vec<u8>) -> Option<Lsn> {
        spare.clear();
        let mut held = self.lock();
        if held.bytes.is_empty() || held.first != first {
            return None;
        }
        std::mem::swap(&mut held.bytes, spare);
        held.first = held.next;
        Some(held.next)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        unpoisoned(self.held.lock())
    }
}
