//! Files that the kernel knows in advance, so that an operation need not look its descriptor up.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Arc, Mutex, OnceLock};

use io_uring::Submitter;

use super::shared_sync::SharedSync;
use crate::sync::unpoisoned;
use crate::vfs::StdFile;

/// Most files that one ring knows; a file beyond them is used by its descriptor.
const FILES_MAX: u32 = 64;

/// An open file, and its place in the table of the ring that first wrote to it.
#[derive(Debug)]
pub(in crate::vfs) struct Handle {
    pub(in crate::vfs) file: StdFile,
    place: OnceLock<Option<Place>>,
    pub(super) syncs: SharedSync,
}

impl Handle {
    pub(in crate::vfs) fn new(file: StdFile) -> Arc<Self> {
        Arc::new(Self { file, place: OnceLock::new(), syncs: SharedSync::default() })
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.file.as_fd().as_raw_fd()
    }
}

/// A used place. It is given back wherever the file is closed; the ring clears it when it next looks.
#[derive(Debug)]
struct Place {
    returned: Arc<Mutex<Vec<u32>>>,
    index: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        unpoisoned(self.returned.lock()).push(self.index);
    }
}

/// The table of one ring.
pub(super) struct Table {
    free: Vec<u32>,
    /// Places whose file is closed, and in the kernel still open. Also the identity of this table.
    returned: Arc<Mutex<Vec<u32>>>,
}

impl Table {
    /// An empty table; one without places when the kernel has none to give.
    pub(super) fn new(kernel: &Submitter<'_>) -> Self {
        let free = match kernel.register_files_sparse(FILES_MAX) {
            Ok(()) => (0..FILES_MAX).rev().collect(),
            Err(error) => {
                tracing::debug!(target: "highwater::vfs", %error, "io_uring registers no files");
                Vec::new()
            }
        };
        Self { free, returned: Arc::default() }
    }

    /// The place of `handle` in this table, if it has one or can be given one.
    pub(super) fn place(&mut self, kernel: &Submitter<'_>, handle: &Handle) -> Option<u32> {
        let place = handle.place.get_or_init(|| self.register(kernel, handle.raw_fd())).as_ref()?;
        Arc::ptr_eq(&place.returned, &self.returned).then_some(place.index)
    }

    #[cfg(test)]
    pub(super) fn places_free(&self) -> usize {
        self.free.len()
    }

    fn register(&mut self, kernel: &Submitter<'_>, fd: RawFd) -> Option<Place> {
        self.clear_returned(kernel);
        let index = self.free.pop()?;
        match kernel.register_files_update(index, &[fd]) {
            Ok(1) => Some(Place { returned: Arc::clone(&self.returned), index }),
            outcome => {
                tracing::debug!(target: "highwater::vfs", ?outcome, "io_uring did not register a file");
                self.free.push(index);
                None
            }
        }
    }

    /// Lets the kernel close what was closed here. No operation uses these places: each keeps its [`Handle`].
    pub(super) fn clear_returned(&mut self, kernel: &Submitter<'_>) {
        let returned = {
            let mut returned = unpoisoned(self.returned.lock());
            std::mem::take(&mut *returned)
        };
        for index in returned {
            match kernel.register_files_update(index, &[-1]) {
                Ok(1) => self.free.push(index),
                // The place stays taken; the ring's end closes its file.
                outcome => tracing::debug!(target: "highwater::vfs", ?outcome, "io_uring kept a file open"),
            }
        }
    }
}
