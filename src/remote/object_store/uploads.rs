//! Uploads in parts: by name where the store has names for them, and else by a handle that is kept here.
//!
//! A handle takes parts in their order and each once: a part that failed ends its upload, and the file is sent anew.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};

use super::error::{Effect, told};
use crate::env::{Entropy, StdEntropy};
use crate::remote::{PartTag, StoreError, StoreErrorKind, UploadId};
use crate::sync::unpoisoned;

/// How a store does it.
#[derive(Clone)]
pub(super) enum Multipart {
    #[cfg_attr(not(feature = "cloud"), expect(dead_code, reason = "the stores of the features are such"))]
    ByName(Arc<dyn MultipartStore>),
    ByHandle(Arc<Mutex<BTreeMap<UploadId, Begun>>>),
}

/// An upload that nobody works on.
#[derive(Debug)]
pub(super) struct Begun {
    handle: Box<dyn MultipartUpload>,
    parts: u32,
}

fn gone() -> StoreError {
    StoreError::new(StoreErrorKind::Refused, "there is no such upload any more")
}

fn changed(error: &object_store::Error) -> StoreError {
    told(error, Effect::Changes)
}

impl Multipart {
    #[cfg(feature = "cloud")]
    pub(super) fn by_name(store: Arc<dyn MultipartStore>) -> Self {
        Self::ByName(store)
    }

    pub(super) fn by_handle() -> Self {
        Self::ByHandle(Arc::default())
    }

    pub(super) async fn begin(&self, store: &dyn ObjectStore, path: &Path) -> Result<UploadId, StoreError> {
        match self {
            Self::ByName(multipart) => {
                multipart.create_multipart(path).await.map(UploadId).map_err(|error| changed(&error))
            }
            Self::ByHandle(_) => {
                let handle = store.put_multipart(path).await.map_err(|error| changed(&error))?;
                let id = UploadId(StdEntropy.nonce().to_string());
                self.put_back(&id, Begun { handle, parts: 0 });
                Ok(id)
            }
        }
    }

    pub(super) async fn put_part(
        &self,
        path: &Path,
        (id, number): (&UploadId, u32),
        body: Bytes,
    ) -> Result<PartTag, StoreError> {
        let payload = PutPayload::from_bytes(body);
        match self {
            Self::ByName(multipart) => {
                let put = multipart.put_part(path, &id.0, number as usize, payload).await;
                put.map(|part| PartTag(part.content_id)).map_err(|error| changed(&error))
            }
            Self::ByHandle(_) => {
                let mut begun = self.take(id).filter(|begun| begun.parts == number).ok_or_else(gone)?;
                begun.handle.put_part(payload).await.map_err(|error| changed(&error))?;
                begun.parts += 1;
                self.put_back(id, begun);
                Ok(PartTag(number.to_string()))
            }
        }
    }

    pub(super) async fn complete(
        &self,
        path: &Path,
        id: &UploadId,
        parts: Vec<PartTag>,
    ) -> Result<(), StoreError> {
        let done = match self {
            Self::ByName(multipart) => {
                let parts = parts.into_iter().map(|tag| PartId { content_id: tag.0 }).collect();
                multipart.complete_multipart(path, &id.0, parts).await
            }
            Self::ByHandle(_) => self.take(id).ok_or_else(gone)?.handle.complete().await,
        };
        done.map(drop).map_err(|error| changed(&error))
    }

    pub(super) async fn abort(&self, path: &Path, id: &UploadId) -> Result<(), StoreError> {
        let done = match self {
            Self::ByName(multipart) => multipart.abort_multipart(path, &id.0).await,
            Self::ByHandle(_) => match self.take(id) {
                Some(mut begun) => begun.handle.abort().await,
                None => Ok(()),
            },
        };
        match done {
            Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(changed(&error)),
        }
    }

    /// Whoever works on an upload has it for himself.
    fn take(&self, id: &UploadId) -> Option<Begun> {
        let Self::ByHandle(begun) = self else { return None };
        unpoisoned(begun.lock()).remove(id)
    }

    fn put_back(&self, id: &UploadId, upload: Begun) {
        let Self::ByHandle(begun) = self else { return };
        unpoisoned(begun.lock()).insert(id.clone(), upload);
    }
}

impl fmt::Debug for Multipart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByName(_) => "by name",
            Self::ByHandle(_) => "by handle",
        })
    }
}
