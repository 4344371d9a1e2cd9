//! Where a trial puts its database.

use std::sync::atomic::{AtomicU32, Ordering};

use highwater::env::{Blocking, StdEnv};
use highwater::remote::{Bucket, Remote};

/// A store: its URL, and the options that it is opened with.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) options: Vec<(String, String)>,
}

impl Place {
    /// The place of one trial in this one, which no other trial and no other run has.
    pub(crate) fn fresh(&self) -> Self {
        static PLACES: AtomicU32 = AtomicU32::new(0);
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        let number = PLACES.fetch_add(1, Ordering::Relaxed);
        let url = format!("{}/{now:x}-{}-{number}", self.url, std::process::id());
        Self { url, options: self.options.clone() }
    }

    pub(crate) fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn bucket(&self) -> Bucket {
        Bucket::at(&self.url, self.options.clone()).unwrap()
    }

    pub(crate) fn remote(&self) -> Remote {
        Remote::new(self.bucket())
    }
}

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    StdEnv.block_on(future)
}
