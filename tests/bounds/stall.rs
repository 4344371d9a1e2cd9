//! A disk that stands still when it is told to: writes and syncs wait until it is released.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use highwater::vfs::SystemVfs;
use highwater::{Backend, DurableWrite};

use crate::watched::{Watch, WatchedEnv};

/// What stops the disk. Clones stop the same one.
#[derive(Clone, Default)]
pub(crate) struct Stall {
    stands_still: Arc<Mutex<bool>>,
    released: Arc<Condvar>,
}

impl Stall {
    /// The real world with a disk that this stops.
    pub(crate) fn env(&self) -> WatchedEnv<Self> {
        let vfs = SystemVfs::new(Backend::Std, DurableWrite::Cached).unwrap();
        WatchedEnv { vfs, watch: self.clone() }
    }

    /// From now on no write and no sync begins.
    pub(crate) fn begin(&self) {
        *self.stands_still.lock().unwrap() = true;
    }

    /// The writes and syncs that wait go on.
    pub(crate) fn release(&self) {
        *self.stands_still.lock().unwrap() = false;
        self.released.notify_all();
    }
}

impl Watch for Stall {
    /// Blocks the thread, which is a background thread of the engine, while the disk stands still.
    fn begins(&self) -> usize {
        let stands_still = self.stands_still.lock().unwrap();
        drop(self.released.wait_while(stands_still, |stands_still| *stands_still).unwrap());
        0
    }

    fn wrote(&self, _: &Path, _: Bytes, _: bool) {}

    fn synced(&self, _: &Path, _: usize) {}
}
