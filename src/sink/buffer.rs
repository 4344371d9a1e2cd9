//! Rows that wait for the end of their core's epoch, in memory.
//!
//! 1. What was taken for a part stays what that part is, until it is known to be pre-committed: a repeated call finds the same
//!    rows, whatever was written meanwhile.
//! 2. A handle that a part got is what a later call for it gets.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};

use super::Part;
use crate::ids::CoreId;
use crate::sync::unpoisoned;

#[derive(Debug, Default)]
pub(super) struct Buffer {
    cores: Mutex<BTreeMap<CoreId, Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    open: BytesMut,
    /// The part whose rows were taken last, and what has become of it.
    taken: Option<(Part, Taken)>,
}

/// What is to be done for a part.
#[derive(Clone, Debug)]
pub(super) enum Taken {
    /// These rows are to be pre-committed.
    Rows(Bytes),
    /// They are, under this handle; `None`: there were none.
    Done(Option<Vec<u8>>),
}

impl Buffer {
    /// Adds rows to the open epoch of `core`.
    pub(super) fn write(&self, core: CoreId, rows: &[u8]) {
        self.cores().entry(core).or_default().open.extend_from_slice(rows);
    }

    /// The rows of `part`, the same at every call.
    pub(super) fn take(&self, part: Part) -> Taken {
        let mut cores = self.cores();
        let waiting = cores.entry(part.core).or_default();
        match &waiting.taken {
            Some((taken, what)) if *taken == part => what.clone(),
            _ => {
                let rows = waiting.open.split().freeze();
                let what = if rows.is_empty() { Taken::Done(None) } else { Taken::Rows(rows) };
                waiting.taken = Some((part, what.clone()));
                what
            }
        }
    }

    /// `part` is pre-committed under `handle`.
    pub(super) fn done(&self, part: Part, handle: Vec<u8>) {
        self.cores().entry(part.core).or_default().taken = Some((part, Taken::Done(Some(handle))));
    }

    /// Forgets everything: another life begins.
    pub(super) fn clear(&self) {
        self.cores().clear();
    }

    fn cores(&self) -> MutexGuard<'_, BTreeMap<CoreId, Waiting>> {
        unpoisoned(self.cores.lock())
    }
}
