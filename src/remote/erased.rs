//! [`ObjectStore`] behind a pointer, so that options have no type parameter: a request to a store takes milliseconds, and
//! a boxed future does not matter.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;

use bytes::Bytes;

use super::{Created, Listed, ObjectStore, PartTag, StoreError, UploadId};

/// What a request comes to.
type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + 'a>>;

pub(crate) trait Erased: fmt::Debug + Send + Sync {
    fn put<'a>(&'a self, name: &'a str, body: Bytes) -> Reply<'a, ()>;
    fn create<'a>(&'a self, name: &'a str, body: Bytes) -> Reply<'a, Created>;
    fn get<'a>(&'a self, name: &'a str, range: Range<u64>) -> Reply<'a, Option<Bytes>>;
    fn size<'a>(&'a self, name: &'a str) -> Reply<'a, Option<u64>>;
    fn list<'a>(&'a self, prefix: &'a str) -> Reply<'a, Vec<Listed>>;
    fn delete<'a>(&'a self, name: &'a str) -> Reply<'a, ()>;
    fn begin_upload<'a>(&'a self, name: &'a str) -> Reply<'a, UploadId>;
    fn put_part<'a>(
        &'a self,
        name: &'a str,
        id: &'a UploadId,
        number: u32,
        body: Bytes,
    ) -> Reply<'a, PartTag>;
    fn complete_upload<'a>(&'a self, name: &'a str, id: &'a UploadId, parts: &'a [PartTag]) -> Reply<'a, ()>;
    fn abort_upload<'a>(&'a self, name: &'a str, id: &'a UploadId) -> Reply<'a, ()>;
}

impl<S: ObjectStore> Erased for S {
    fn put<'a>(&'a self, name: &'a str, body: Bytes) -> Reply<'a, ()> {
        Box::pin(ObjectStore::put(self, name, body))
    }

    fn create<'a>(&'a self, name: &'a str, body: Bytes) -> Reply<'a, Created> {
        Box::pin(ObjectStore::create(self, name, body))
    }

    fn get<'a>(&'a self, name: &'a str, range: Range<u64>) -> Reply<'a, Option<Bytes>> {
        Box::pin(ObjectStore::get(self, name, range))
    }

    fn size<'a>(&'a self, name: &'a str) -> Reply<'a, Option<u64>> {
        Box::pin(ObjectStore::size(self, name))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Reply<'a, Vec<Listed>> {
        Box::pin(ObjectStore::list(self, prefix))
    }

    fn delete<'a>(&'a self, name: &'a str) -> Reply<'a, ()> {
        Box::pin(ObjectStore::delete(self, name))
    }

    fn begin_upload<'a>(&'a self, name: &'a str) -> Reply<'a, UploadId> {
        Box::pin(ObjectStore::begin_upload(self, name))
    }

    fn put_part<'a>(
        &'a self,
        name: &'a str,
        id: &'a UploadId,
        number: u32,
        body: Bytes,
    ) -> Reply<'a, PartTag> {
        Box::pin(ObjectStore::put_part(self, name, id, number, body))
    }

    fn complete_upload<'a>(&'a self, name: &'a str, id: &'a UploadId, parts: &'a [PartTag]) -> Reply<'a, ()> {
        Box::pin(ObjectStore::complete_upload(self, name, id, parts))
    }

    fn abort_upload<'a>(&'a self, name: &'a str, id: &'a UploadId) -> Reply<'a, ()> {
        Box::pin(ObjectStore::abort_upload(self, name, id))
    }
}
