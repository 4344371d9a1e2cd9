//! One sync for every write of a file that has completed: what makes several writes in flight durable together.
//!
//! The sync is a plain call on the ring's thread. It waits for the device and for nobody else's turn, while the writes
//! that are still in flight go on; what completes meanwhile is covered by the next one.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::unpoisoned;

/// How far a file's writes have come.
#[derive(Debug, Default)]
pub(super) struct SharedSync {
    /// Completions seen. A write's own number is its ticket.
    completed: AtomicU64,
    state: Mutex<Synced>,
}

#[derive(Debug, Default)]
struct Synced {
    /// A sync that began after the completion with this ticket was successful.
    through: u64,
    /// A sync failed: no later one proves anything (promise 3 of `vfs`).
    failed: Option<i32>,
}

impl SharedSync {
    /// Counts a completed write and gives it its ticket.
    pub(super) fn complete(&self) -> u64 {
        self.completed.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Returns once a successful `sync` has begun after the completion of `ticket`: one of somebody else, or one here.
    ///
    /// # Errors
    ///
    /// That of the sync, and from then on for every ticket that was not covered before.
    pub(super) fn cover(&self, ticket: u64, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = unpoisoned(self.state.lock());
        if state.through >= ticket {
            return Ok(());
        }
        if let Some(error) = state.failed {
            return Err(io::Error::from_raw_os_error(error));
        }
        let through = self.completed.load(Ordering::Acquire);
        assert!(through >= ticket, "ticket {ticket} after {through} completions");
        match sync() {
            Ok(()) => {
                state.through = through;
                Ok(())
            }
            Err(error) => {
                state.failed = Some(error.raw_os_error().unwrap_or(libc::EIO));
                Err(error)
            }
        }
    }
}
