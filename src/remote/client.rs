//! Requests as the engine makes them: paced, tried again within bounds, and with an outcome that is never guessed.
//!
//! A conditional put has three outcomes. *Landed*: the object has the name. *Conflict*: another has. *Unknown*: neither is
//! proven. Unknown is no failure: what the object names must not be touched, and the same object is put again later.
//! Whose object has a name is found out by reading it: every body that is created holds a nonce of its own, so equal bytes
//! are this writer's.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::budget::{Budget, Class};
use super::erased::Erased;
use super::traffic::Traffic;
use super::{Created, Listed, PartTag, Remote, StoreError, StoreErrorKind, UploadId};
use crate::env::{Clock, Entropy, nanos};

/// The wait before the second try; it doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// The longest wait between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Bytes asked for at once when an object is read into memory.
const READ_BYTES: u64 = 1 << 20;

/// What became of a conditional put.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The object has the name.
    Landed,
    /// This one has it.
    Conflict(Bytes),
    /// It may have the name, now or later.
    Unknown(StoreError),
}

/// A store with this process's clock, dice and budgets. Clones share the budgets.
#[derive(Clone)]
pub(crate) struct Client<C, N> {
    store: Arc<dyn Erased>,
    budgets: Arc<[Budget; 3]>,
    traffic: Arc<Traffic>,
    clock: C,
    pub(super) entropy: N,
}

impl<C: Clock, N: Entropy> Client<C, N> {
    pub(crate) fn new(remote: &Remote, clock: C, entropy: N) -> Self {
        let budgets = Class::ALL.map(|class| Budget::new(class, remote.requests_per_second));
        let (store, traffic) = (Arc::clone(&remote.store), Arc::default());
        Self { store, budgets: Arc::new(budgets), traffic, clock, entropy }
    }

    /// What was asked of the store, by this client and its clones.
    pub(crate) fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// Creates an object whose body nobody else would write, where nobody's is longer than `bytes_max`.
    ///
    /// # Errors
    ///
    /// It did not land and will not.
    pub(crate) async fn create(
        &self,
        name: &str,
        body: Bytes,
        bytes_max: u64,
    ) -> Result<Outcome, StoreError> {
        assert!(body.len() as u64 <= bytes_max, "{} bytes for {name}", body.len());
        let class = Class::Manifest;
        let mut maybe: Option<StoreError> = None;
        for attempt in 0.. {
            self.pace(class).await;
            let tried = self.store.create(name, body.clone()).await;
            let error = match self.note(class, tried) {
                Ok(Created::New) => {
                    self.traffic.sent(body.len());
                    return Ok(Outcome::Landed);
                }
                // By this one, perhaps: no failure, until what has the name is read.
                Ok(Created::Exists) => {
                    let message = "the name is said to be taken, and what has it cannot be read";
                    StoreError::new(StoreErrorKind::Unknown, message)
                }
                Err(error) => error,
            };
            if error.kind() == StoreErrorKind::Unknown {
                maybe = Some(error.clone());
            }
            // Whatever was said: the name tells. Nothing under it says only that nothing has landed yet.
            match self.read(class, name, bytes_max).await {
                Ok(Some(found)) if found == body => return Ok(Outcome::Landed),
                Ok(Some(found)) => return Ok(Outcome::Conflict(found)),
                Ok(None) | Err(_) => {}
            }
            if !self.again(class, attempt, &error).await {
                return match maybe {
                    Some(error) => Ok(Outcome::Unknown(error)),
                    None => Err(error),
                };
            }
        }
        unreachable!("the tries are counted")
    }

    /// Puts an object under a name that only ever gets these bytes.
    ///
    /// # Errors
    ///
    /// It may be there, now or later.
    pub(crate) async fn put(&self, class: Class, name: &str, body: Bytes) -> Result<(), StoreError> {
        self.retry(class, || self.store.put(name, body.clone())).await?;
        self.traffic.sent(body.len());
        Ok(())
    }

    /// A whole object; if it is longer than `bytes_max`, that much and one byte more.
    ///
    /// # Errors
    ///
    /// The store did not answer.
    pub(crate) async fn read(
        &self,
        class: Class,
        name: &str,
        bytes_max: u64,
    ) -> Result<Option<Bytes>, StoreError> {
        let mut whole = BytesMut::new();
        loop {
            let at = whole.len() as u64;
            let end = (at + READ_BYTES).min(bytes_max + 1);
            let Some(part) = self.get(class, name, at..end).await? else { return Ok(None) };
            whole.extend_from_slice(&part);
            if part.is_empty() || whole.len() as u64 > bytes_max {
                return Ok(Some(whole.freeze()));
            }
        }
    }

    /// Some of an object, from the beginning of `range`: nothing only behind its end. `None` when there is none.
    ///
    /// # Errors
    ///
    /// The store did not answer.
    pub(crate) async fn get(
        &self,
        class: Class,
        name: &str,
        range: std::ops::Range<u64>,
    ) -> Result<Option<Bytes>, StoreError> {
        let got = self.retry(class, || self.store.get(name, range.clone())).await?;
        self.traffic.received(got.as_ref().map_or(0, Bytes::len));
        Ok(got)
    }

    /// The length of an object.
    ///
    /// # Errors
    ///
    /// The store did not answer.
    pub(crate) async fn size(&self, class: Class, name: &str) -> Result<Option<u64>, StoreError> {
        self.retry(class, || self.store.size(name)).await
    }

    /// What is under a prefix, or was.
    ///
    /// # Errors
    ///
    /// The store did not answer.
    pub(crate) async fn list(&self, class: Class, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.retry(class, || self.store.list(prefix)).await
    }

    /// Deletes an object, if it is there.
    ///
    /// # Errors
    ///
    /// It may stay, or vanish later.
    pub(crate) async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.retry(Class::Collect, || self.store.delete(name)).await
    }

    /// Begins an upload in parts.
    ///
    /// # Errors
    ///
    /// The store did not answer.
    pub(crate) async fn begin_upload(&self, name: &str) -> Result<UploadId, StoreError> {
        self.retry(Class::File, || self.store.begin_upload(name)).await
    }

    /// Puts a part.
    ///
    /// # Errors
    ///
    /// The store did not take it; `Refused` when the upload is gone.
    pub(crate) async fn put_part(
        &self,
        name: &str,
        upload: &UploadId,
        number: u32,
        body: Bytes,
    ) -> Result<PartTag, StoreError> {
        let tag = self.retry(Class::File, || self.store.put_part(name, upload, number, body.clone())).await?;
        self.traffic.sent(body.len());
        Ok(tag)
    }

    /// Completes an upload.
    ///
    /// # Errors
    ///
    /// It may be complete, now or later: the length under the name tells.
    pub(crate) async fn complete_upload(
        &self,
        name: &str,
        upload: &UploadId,
        parts: &[PartTag],
    ) -> Result<(), StoreError> {
        self.retry(Class::File, || self.store.complete_upload(name, upload, parts)).await
    }

    /// Gives an upload up, if it can: the store's own rules remove what stays.
    pub(crate) async fn abort_upload(&self, name: &str, upload: &UploadId) {
        self.pace(Class::Collect).await;
        let _ = self.note(Class::Collect, self.store.abort_upload(name, upload).await);
    }

    /// One create without a second try: for the probe.
    pub(super) async fn create_once(&self, name: &str, body: Bytes) -> Result<Created, StoreError> {
        let bytes = body.len();
        let created = self.note(Class::Manifest, self.store.create(name, body).await)?;
        if created == Created::New {
            self.traffic.sent(bytes);
        }
        Ok(created)
    }

    async fn retry<T, Fut: Future<Output = Result<T, StoreError>>>(
        &self,
        class: Class,
        mut request: impl FnMut() -> Fut,
    ) -> Result<T, StoreError> {
        let mut first: Option<StoreError> = None;
        for attempt in 0.. {
            self.pace(class).await;
            let error = match self.note(class, request().await) {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            if !self.again(class, attempt, &error).await {
                return Err(error.after(first.as_ref()));
            }
            first.get_or_insert(error);
        }
        unreachable!("the tries are counted")
    }

    async fn pace(&self, class: Class) {
        let wait = self.budgets[class as usize].take(self.clock.now());
        if !wait.is_zero() {
            self.clock.sleep(wait).await;
        }
    }

    /// Tells the budget how a request went.
    fn note<T>(&self, class: Class, reply: Result<T, StoreError>) -> Result<T, StoreError> {
        let budget = &self.budgets[class as usize];
        self.traffic.request();
        match &reply {
            Ok(_) => budget.succeeded(),
            Err(error) if error.kind() == StoreErrorKind::Throttled => budget.throttled(),
            Err(_) => {}
        }
        reply
    }

    /// Whether a request that came to `error` at its try number `attempt`, from 0, is tried again; then it has waited.
    async fn again(&self, class: Class, attempt: u32, error: &StoreError) -> bool {
        let helps = error.kind() != StoreErrorKind::Refused;
        if !helps || attempt + 1 >= class.tries_max() || !self.budgets[class as usize].may_retry() {
            tracing::debug!(target: "highwater::remote", ?class, attempt, %error, "request given up");
            return false;
        }
        tracing::debug!(target: "highwater::remote", ?class, attempt, %error, "request failed, and is tried again");
        self.clock.sleep(self.backoff(attempt)).await;
        self.traffic.retry();
        true
    }

    /// Doubles from try to try, and is drawn from the upper half, so that those who failed together do not come
    /// back together.
    pub(super) fn backoff(&self, attempt: u32) -> Duration {
        let longest = BACKOFF_MIN.saturating_mul(1 << attempt.min(16)).min(BACKOFF_MAX);
        let half = nanos(longest) / 2;
        Duration::from_nanos(half + self.entropy.bits() % half.max(1))
    }

    /// Waits as before try number `attempt` + 1.
    pub(super) async fn back_off(&self, attempt: u32) {
        self.clock.sleep(self.backoff(attempt)).await;
    }
}

impl<C, N> fmt::Debug for Client<C, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({:?})", self.store)
    }
}
