//! What was injected: every fault of a run, in order, and what it excuses.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::faults::{FaultClass, Firing};
use crate::env::Tick;

/// One fault that was injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected {
    /// What happened.
    pub class: FaultClass,
    /// The name of the call that it hit, as in the traits; empty where the class says it or no call was hit.
    pub operation: &'static str,
    /// A path of the file or directory when it happened; empty for the whole disk.
    pub path: PathBuf,
    /// The number of the file or directory ([`Disk::file_number`](super::Disk::file_number)): names change, it does
    /// not. Zero for the whole disk.
    pub file: u64,
    /// The bytes of the file that it concerns; empty for names and syncs of directories.
    pub bytes: Range<u64>,
    /// When.
    pub at: Tick,
    /// Which question was answered with yes; none for what the caller made, as a crash.
    pub firing: Option<Firing>,
}

/// Every fault of a run, in order. A clone costs a pointer.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: Arc<Vec<Injected>>,
}

impl Ledger {
    pub(super) fn push(&mut self, fault: Injected) {
        Arc::make_mut(&mut self.entries).push(fault);
    }

    /// Every fault, oldest first.
    pub fn entries(&self) -> &[Injected] {
        &self.entries
    }

    /// How many faults of this class there were.
    pub fn count(&self, class: FaultClass) -> usize {
        self.entries.iter().filter(|entry| entry.class == class).count()
    }

    /// The faults that no program must survive unharmed.
    pub fn out_of_contract(&self) -> impl Iterator<Item = &Injected> {
        self.entries.iter().filter(|entry| !entry.class.in_contract())
    }

    /// The faults out of contract that hit the file or directory `path`, something below it, or a directory that
    /// leads to it, by the names that these had when they were hit.
    pub fn touching<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a Injected> {
        self.out_of_contract().filter(move |entry| {
            let named = !entry.path.as_os_str().is_empty();
            named && (entry.path.starts_with(path) || path.starts_with(&entry.path))
        })
    }

    /// Whether a fault out of contract hit any of these bytes of the file with this number.
    pub fn excuses(&self, file: u64, bytes: &Range<u64>) -> bool {
        self.out_of_contract()
            .any(|entry| entry.file == file && entry.bytes.start < bytes.end && bytes.start < entry.bytes.end)
    }
}

/// A ledger of these faults, in their order: for tests of what judges by one.
impl FromIterator<Injected> for Ledger {
    fn from_iter<I: IntoIterator<Item = Injected>>(faults: I) -> Self {
        Self { entries: Arc::new(faults.into_iter().collect()) }
    }
}
