//! The seam to an object store, where checkpoints go that must outlive their machine.
//!
//! ```text
//! ObjectStore   what a backend implements: put, create, get, list, delete, uploads in parts
//! Remote        a store and how it is used: what `Options::remote` takes
//! Client        requests with retries, budgets and outcomes: the only caller of a store     client.rs, budget.rs
//! Bucket        a backend: S3, Azure, Google Cloud, a directory; features of the same names  object_store/
//! ```
//!
//! What a store must keep
//!
//! R1. An object is whole or not there: a name never shows a part of what was put.
//! R2. A call that returned is seen by every later `get` and `size` of that name, from wherever. A `list` may be older.
//! R3. `create` makes a name once: of all the creates of a name that is never deleted, one makes it.
//! R4. A call returns, if only with [`StoreErrorKind::Unknown`] when the store does not answer. A request that was
//!     given up so may still take effect, later, and after its process has died.
//!
//! Nothing else is relied on: neither the order of requests nor their time, neither versions nor metadata. Whether a
//! create is a create is tried at every open.

mod budget;
mod client;
mod erased;
#[cfg(feature = "object-store")]
mod object_store;
mod probe;
mod traffic;

#[cfg(test)]
mod tests;

pub(crate) use budget::Class;
pub(crate) use client::{Client, Outcome};
#[cfg(feature = "object-store")]
pub use object_store::Bucket;
pub(crate) use traffic::Traffic;

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use self::erased::Erased;
use crate::error::{Error, ErrorCode};
use crate::limits::TRANSFERS_MAX;

/// What a conditional put did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The name was free and is taken now, by this object.
    New,
    /// The name is taken: by somebody else's object, or by this one, when an earlier try of the same request had got
    /// through. Some stores say so, too, when two requests met and neither took effect: only a read tells.
    Exists,
}

/// What is known of a request that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Not done: the store asks for fewer requests.
    Throttled,
    /// Not done: the store could not be reached, or said so.
    Unavailable,
    /// Done or not done, now or later: the reply was lost, or tells neither.
    Unknown,
    /// Not done, and trying again does not help: no permission, no such bucket, no such upload, a bad request.
    Refused,
}

/// Why a request did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
}

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The object's name, whole.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Names an upload in parts that was begun.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UploadId(pub String);

/// What the store wants to be told of a part when its upload is completed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartTag(pub String);

/// A place for named objects that survives the machine.
///
/// Names are ASCII letters, digits, and `/ - .`, relative to whatever the store was made with. Calls may overlap. A
/// backend does not retry a `create` by itself if it can help it, and bounds the time of every call.
///
/// Calls are made on threads of the engine, and one more while it opens. A backend that needs a runtime of its own
/// brings it along: the futures need not be `Send`, and are polled by no runtime in particular.
pub trait ObjectStore: fmt::Debug + Send + Sync + 'static {
    /// Puts an object, also in the place of another.
    ///
    /// # Errors
    ///
    /// As [`StoreErrorKind`] says. After `Unknown` the object may appear later.
    fn put(&self, name: &str, body: Bytes) -> impl Future<Output = Result<(), StoreError>>;

    /// Puts an object if there is none of that name: of several at the same time, one succeeds.
    ///
    /// # Errors
    ///
    /// As [`StoreErrorKind`] says. After `Unknown` the object may appear later, unless another takes the name.
    fn create(&self, name: &str, body: Bytes) -> impl Future<Output = Result<Created, StoreError>>;

    /// The bytes of an object in `range`, which ends where the object does if that is earlier; perhaps fewer, from
    /// the front, but not none of some. `None` when there is no such object.
    ///
    /// # Errors
    ///
    /// As [`StoreErrorKind`] says.
    fn get(&self, name: &str, range: Range<u64>) -> impl Future<Output = Result<Option<Bytes>, StoreError>>;

    /// The length of an object; `None` when there is none of that name.
    ///
    /// # Errors
    ///
    /// As [`StoreErrorKind`] says.
    fn size(&self, name: &str) -> impl Future<Output = Result<Option<u64>, StoreError>>;

    /// The objects whose names begin with `prefix`, by name, as they were at some moment that may be long past.
    ///
    /// # Errors
    ///
    /// As [`StoreErrorKind`] says.
    fn list(&self, prefix: &str) -> impl Future<Output = Result<Vec<Listed>, StoreError>>;

    /// Deletes an object; no object of that name is fine.
    ///
    /// # Errors
    ///
    /// As [`StoreErrorKind`] says. After `Unknown` the object may vanish later.
    fn delete(&self, name: &str) -> impl Future<Output = Result<(), StoreError>>;

    /// Begins an upload in parts. Nothing has the name before it is completed.
    ///
    /// # Errors
    ///
    /// As [`StoreErrorKind`] says. After `Unknown` an upload may stay behind that nobody can name.
    fn begin_upload(&self, name: &str) -> impl Future<Output = Result<UploadId, StoreError>>;

    /// Puts part `number`, from 0, of an upload. Every part but the last is at least 5 MiB long in most stores.
    ///
    /// # Errors
    ///
    /// As [`StoreErrorKind`] says; `Refused` when there is no such upload (any more).
    fn put_part(
        &self,
        name: &str,
        upload: &UploadId,
        number: u32,
        body: Bytes,
    ) -> impl Future<Output = Result<PartTag, StoreError>>;

    /// Makes the object of the parts, in their order; also in the place of another.
    ///
    /// # Errors
    ///
    /// As [`StoreErrorKind`] says; `Refused` when there is no such upload (any more): it may have been completed by an
    /// earlier try.
    fn complete_upload(
        &self,
        name: &str,
        upload: &UploadId,
        parts: &[PartTag],
    ) -> impl Future<Output = Result<(), StoreError>>;

    /// Gives an upload up; none of that name is fine.
    ///
    /// # Errors
    ///
    /// As [`StoreErrorKind`] says.
    fn abort_upload(&self, name: &str, upload: &UploadId) -> impl Future<Output = Result<(), StoreError>>;
}

/// An object store, and how a database uses it: [`Options::remote`](crate::Options::remote).
#[derive(Clone, Debug)]
#[must_use]
pub struct Remote {
    pub(crate) store: Arc<dyn Erased>,
    pub(crate) part_bytes: usize,
    pub(crate) parallel: usize,
    pub(crate) boundary_stride: u32,
    pub(crate) requests_per_second: u32,
    pub(crate) epoch_lag_max: Option<u64>,
}

impl Remote {
    /// Uses `store`, which holds this database and nothing else.
    pub fn new(store: impl ObjectStore) -> Self {
        Self {
            store: Arc::new(store),
            part_bytes: 8 << 20,
            parallel: 4,
            boundary_stride: 256,
            requests_per_second: 500,
            epoch_lag_max: None,
        }
    }

    /// Longer files go up in parts of this many bytes, which are held in memory while they do. Default 8 MiB; most stores
    /// want 5 MiB or more.
    pub fn part_bytes(mut self, bytes: usize) -> Self {
        self.part_bytes = bytes;
        self
    }

    /// How many files are on their way at once. Default 4, at most 1,024.
    pub fn parallel(mut self, files: usize) -> Self {
        self.parallel = files;
        self
    }

    /// How many manifests stay before the older ones are removed, at most twice as many. It is fixed when a database
    /// first meets its store. Default 256.
    pub fn boundary_stride(mut self, manifests: u32) -> Self {
        self.boundary_stride = manifests;
        self
    }

    /// Most requests per second for files; a tenth of that for removals. A store that throttles gets fewer. Default 500.
    pub fn requests_per_second(mut self, requests: u32) -> Self {
        self.requests_per_second = requests;
        self
    }

    /// How many epochs the cores may be ahead of the store: what a lost machine may lose, with the epoch that is
    /// open. A core that would be further ahead is told `Busy` by `close_epoch`, and
    /// [`CoreHandle::ready`](crate::CoreHandle::ready) waits until the store has come nearer. Checkpoints are then
    /// taken as often as that needs, at half the bound and at most ten a second. At least 1. Default: no bound, a
    /// store that is away stops nobody.
    pub fn epoch_lag_max(mut self, epochs: u64) -> Self {
        self.epoch_lag_max = Some(epochs);
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        for (name, value) in [
            ("part_bytes", self.part_bytes),
            ("parallel", self.parallel),
            ("boundary_stride", self.boundary_stride as usize),
            ("requests_per_second", self.requests_per_second as usize),
            ("epoch_lag_max", usize::from(self.epoch_lag_max != Some(0))),
        ] {
            if value == 0 {
                return Err(Error::new(
                    ErrorCode::BadOption,
                    format!("{name}(0) of the remote must be at least 1"),
                ));
            }
        }
        if self.parallel as u64 > TRANSFERS_MAX {
            return Err(Error::new(
                ErrorCode::BadOption,
                format!("parallel({}) of the remote must be at most {TRANSFERS_MAX}", self.parallel),
            ));
        }
        Ok(())
    }
}

impl StoreError {
    /// An error of `kind`; `message` says what the store said.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What is known of the request.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// The same error of a request whose first try came to `first`: what a later try is told may be but a
    /// consequence, as an upload that is gone because a part of it failed.
    pub(crate) fn after(mut self, first: Option<&Self>) -> Self {
        if let Some(first) = first.filter(|first| first.message != self.message) {
            self.message = format!("{}; the first of several tries: {}", self.message, first.message);
        }
        self
    }

    /// The same as an error of this crate: `Invalid` for what is refused, else `Failed`.
    pub(crate) fn of(&self, doing: &str, name: &str) -> Error {
        let code = match self.kind {
            StoreErrorKind::Refused => ErrorCode::StoreRefused,
            StoreErrorKind::Throttled | StoreErrorKind::Unavailable | StoreErrorKind::Unknown => {
                ErrorCode::StoreUnavailable
            }
        };
        Error::new(code, format!("{doing} in the object store: {self}")).at(name.as_ref())
    }
}
