//! The stores that the crate [`object_store`](https://docs.rs/object_store) knows: S3, Azure, Google Cloud Storage, a local
//! directory, and whatever else implements its trait.
//!
//! ```text
//! place.rs     a URL and options become a store
//! thread.rs    the thread whose tokio polls its requests
//! error.rs     what its errors say: done, not done, or nobody knows
//! uploads.rs   uploads in parts
//! ```

mod error;
mod place;
mod thread;
mod uploads;

use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, ObjectStore as Foreign, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};

use self::error::{Effect, may_be_behind_the_end, told, unheard};
use self::place::{Place, find};
use self::thread::Thread;
use self::uploads::Multipart;
use super::{Created, Listed, ObjectStore, PartTag, Remote, StoreError, StoreErrorKind, UploadId};
use crate::error::{Error, ErrorCode, Result as OpenResult};

/// The longest time of one request, whatever the client of the store allows.
const REQUEST_MAX: Duration = Duration::from_secs(120);

type Reply<T> = Result<T, StoreError>;

/// A bucket, container or directory, or a part of one: the [`ObjectStore`] of one database, which [`Remote::new`] takes.
/// Without options, [`Remote::at`] is shorter.
///
/// ```no_run
/// use highwater::remote::{Bucket, Remote};
/// use highwater::{Engine, Options};
///
/// # fn main() -> Result<(), highwater::Error> {
/// let bucket = Bucket::at("s3://backups/orders-3", [("region", "eu-central-1")])?;
/// let opened = Engine::open(Options::new("data").remote(Remote::new(bucket)))?;
/// # Ok(())
/// # }
/// ```
///
/// It has a thread of its own, which ends when the last clone is dropped. Requests that are given up are cancelled,
/// but for those to a directory: a call of the system that has begun goes on to its end.
#[derive(Clone)]
pub struct Bucket(Arc<Inner>);

struct Inner {
    thread: Thread,
    store: Arc<dyn Foreign>,
    multipart: Multipart,
    prefix: Path,
}

impl Bucket {
    /// The place that `url` names: `s3://bucket/prefix` (feature `s3`), `az://container/prefix` (feature `azure`),
    /// `gs://bucket/prefix` (feature `gcs`), or `file:///directory`. Nothing is sent yet.
    ///
    /// Credentials, region, endpoint and whatever else the store wants come from the environment, under the names that
    /// its own tools use (`AWS_ACCESS_KEY_ID`, `AZURE_STORAGE_ACCOUNT_NAME`, `GOOGLE_SERVICE_ACCOUNT`, …), and from
    /// `options`, which count more: `("endpoint", "http://127.0.0.1:8333")`, `("allow_http", "true")`,
    /// `("timeout", "60s")`. They are those of the crate `object_store`, without the prefix `aws_`, `azure_` or `google_`
    /// or with it.
    ///
    /// # Errors
    ///
    /// `Invalid`: this is no such URL, or the store does not know an option or lacks one. `Unsupported`: this build lacks
    /// the feature. `Failed`: the system gives no thread.
    pub fn at<K: Into<String>, V: Into<String>>(
        url: &str,
        options: impl IntoIterator<Item = (K, V)>,
    ) -> OpenResult<Self> {
        let options: Vec<_> = options.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self::new(find(url, &options)?)
    }

    /// A store that the program has made itself, and the prefix of this database in it, perhaps empty.
    ///
    /// Its conditional put (`PutMode::Create`) must create a name once. Whether it retries by itself does not matter. A
    /// file in parts whose part fails is sent from the beginning.
    ///
    /// # Errors
    ///
    /// `Invalid`: the prefix is none. `Failed`: the system gives no thread.
    pub fn of(store: Arc<dyn Foreign>, prefix: &str) -> OpenResult<Self> {
        let prefix = Path::parse(prefix).map_err(|error| {
            Error::new(ErrorCode::StoreUrl, format!("this is no prefix in an object store: {error}"))
        })?;
        Self::new(Place { store, multipart: Multipart::by_handle(), prefix })
    }

    fn new(place: Place) -> OpenResult<Self> {
        let Place { store, multipart, prefix } = place;
        let thread = Thread::start().map_err(|error| {
            let what = format!("starting the thread of the object store: {error}; free some and try again");
            Error::new(ErrorCode::ThreadRefused, what)
        })?;
        Ok(Self(Arc::new(Inner { thread, store, multipart, prefix })))
    }

    /// The path of an object.
    fn path(&self, name: &str) -> Reply<Path> {
        let prefix = &self.0.prefix;
        let whole = if prefix.as_ref().is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        Path::parse(whole).map_err(|error| StoreError::new(StoreErrorKind::Refused, error.to_string()))
    }

    /// Makes a request on the thread.
    async fn ask<T, Fut>(&self, effect: Effect, request: impl FnOnce(Arc<dyn Foreign>) -> Fut) -> Reply<T>
    where
        T: Send + 'static,
        Fut: Future<Output = Reply<T>> + Send + 'static,
    {
        let reply = self.0.thread.run(REQUEST_MAX, request(Arc::clone(&self.0.store))).await;
        reply.unwrap_or_else(|why| Err(unheard(why, effect)))
    }

    /// Makes a request that is part of an upload.
    async fn upload<T, Fut>(&self, request: impl FnOnce(Multipart, Arc<dyn Foreign>) -> Fut) -> Reply<T>
    where
        T: Send + 'static,
        Fut: Future<Output = Reply<T>> + Send + 'static,
    {
        let multipart = self.0.multipart.clone();
        self.ask(Effect::Changes, |store| request(multipart, store)).await
    }
}

impl Remote {
    /// [`Remote::new`] of [`Bucket::at`], with nothing but the environment.
    ///
    /// ```no_run
    /// use highwater::remote::Remote;
    /// use highwater::{Engine, Options};
    ///
    /// # fn main() -> highwater::Result<()> {
    /// let opened = Engine::open(Options::new("data").remote(Remote::at("s3://backups/orders-3")?))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Bucket::at`].
    pub fn at(url: &str) -> OpenResult<Self> {
        Ok(Self::new(Bucket::at(url, [] as [(&str, &str); 0])?))
    }
}

impl ObjectStore for Bucket {
    async fn put(&self, name: &str, body: Bytes) -> Reply<()> {
        let path = self.path(name)?;
        let put = |store: Arc<dyn Foreign>| async move {
            let put = store.put(&path, PutPayload::from_bytes(body)).await;
            put.map(drop).map_err(|error| told(&error, Effect::Changes))
        };
        self.ask(Effect::Changes, put).await
    }

    async fn create(&self, name: &str, body: Bytes) -> Reply<Created> {
        let path = self.path(name)?;
        let create = |store: Arc<dyn Foreign>| async move {
            let options = PutOptions::from(PutMode::Create);
            match store.put_opts(&path, PutPayload::from_bytes(body), options).await {
                Ok(_) => Ok(Created::New),
                // Status 409 is among these, and then perhaps nothing has the name; older Azure says the second.
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                    Ok(Created::Exists)
                }
                Err(error) => Err(told(&error, Effect::Changes)),
            }
        };
        self.ask(Effect::Changes, create).await
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Reply<Option<Bytes>> {
        let path = self.path(name)?;
        self.ask(Effect::Reads, |store| async move { get(&*store, &path, range).await }).await
    }

    async fn size(&self, name: &str) -> Reply<Option<u64>> {
        let path = self.path(name)?;
        self.ask(Effect::Reads, |store| async move { size(&*store, &path).await }).await
    }

    async fn list(&self, prefix: &str) -> Reply<Vec<Listed>> {
        let folder = match prefix.rsplit_once('/') {
            Some((folder, _)) => self.path(folder)?,
            None => self.0.prefix.clone(),
        };
        let (root, prefix) = (self.0.prefix.clone(), prefix.to_owned());
        self.ask(Effect::Reads, |store| async move { list(&*store, &root, &folder, &prefix).await }).await
    }

    async fn delete(&self, name: &str) -> Reply<()> {
        let path = self.path(name)?;
        let delete = |store: Arc<dyn Foreign>| async move {
            match store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(told(&error, Effect::Changes)),
            }
        };
        self.ask(Effect::Changes, delete).await
    }

    async fn begin_upload(&self, name: &str) -> Reply<UploadId> {
        let path = self.path(name)?;
        self.upload(|multipart, store| async move { multipart.begin(&*store, &path).await }).await
    }

    async fn put_part(&self, name: &str, upload: &UploadId, number: u32, body: Bytes) -> Reply<PartTag> {
        let (path, id) = (self.path(name)?, upload.clone());
        self.upload(|multipart, _| async move { multipart.put_part(&path, (&id, number), body).await }).await
    }

    async fn complete_upload(&self, name: &str, upload: &UploadId, parts: &[PartTag]) -> Reply<()> {
        let (path, id, parts) = (self.path(name)?, upload.clone(), parts.to_vec());
        self.upload(|multipart, _| async move { multipart.complete(&path, &id, parts).await }).await
    }

    async fn abort_upload(&self, name: &str, upload: &UploadId) -> Reply<()> {
        let (path, id) = (self.path(name)?, upload.clone());
        self.upload(|multipart, _| async move { multipart.abort(&path, &id).await }).await
    }
}

async fn get(store: &dyn Foreign, path: &Path, range: Range<u64>) -> Reply<Option<Bytes>> {
    if range.is_empty() {
        return Ok(size(store, path).await?.map(|_| Bytes::new()));
    }
    let begin = range.start;
    let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
    let read = async { store.get_opts(path, options).await?.bytes().await };
    match read.await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) if may_be_behind_the_end(&error) => match size(store, path).await? {
            Some(bytes) if bytes > begin => Err(told(&error, Effect::Reads)),
            found => Ok(found.map(|_| Bytes::new())),
        },
        Err(error) => Err(told(&error, Effect::Reads)),
    }
}

async fn size(store: &dyn Foreign, path: &Path) -> Reply<Option<u64>> {
    match store.head(path).await {
        Ok(found) => Ok(Some(found.size)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(told(&error, Effect::Reads)),
    }
}

/// The objects below `folder` whose names, as they are below `root`, begin with `prefix`.
async fn list(store: &dyn Foreign, root: &Path, folder: &Path, prefix: &str) -> Reply<Vec<Listed>> {
    let mut stream = store.list(Some(folder));
    let mut found = Vec::new();
    while let Some(object) = poll_fn(|context| Pin::new(&mut stream).poll_next(context)).await {
        let object = object.map_err(|error| told(&error, Effect::Reads))?;
        let whole = object.location.as_ref();
        let name = if root.as_ref().is_empty() {
            Some(whole)
        } else {
            whole.strip_prefix(root.as_ref()).and_then(|rest| rest.strip_prefix('/'))
        };
        if let Some(name) = name.filter(|name| name.starts_with(prefix)) {
            found.push(Listed { name: name.to_owned(), bytes: object.size });
        }
    }
    found.sort();
    Ok(found)
}

/// Where it is: neither options nor credentials.
impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({}, \"{}\")", self.0.store, self.0.prefix)
    }
}
