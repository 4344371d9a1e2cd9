//! An object store of one's own: a map that counts what it is asked.

#![allow(dead_code, reason = "each test uses its part of it")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use highwater::remote::{Created, Listed, ObjectStore, PartTag, StoreError, StoreErrorKind, UploadId};

/// A store that is a map.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
pub(crate) struct Inner {
    pub(crate) objects: BTreeMap<String, Bytes>,
    pub(crate) uploads: BTreeMap<UploadId, BTreeMap<u32, Bytes>>,
    begun: u64,
    pub(crate) asked: Asked,
    /// How many of the next requests are refused for now.
    pub(crate) throttle: u64,
}

/// What a shelf was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) requests: u64,
    /// Bytes of bodies that it took.
    pub(crate) took_bytes: u64,
    /// Bytes of bodies that it gave.
    pub(crate) gave_bytes: u64,
}

impl Shelf {
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }

    /// One request.
    fn ask<T>(&self, work: impl FnOnce(&mut Inner) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.with(|inner| {
            inner.asked.requests += 1;
            if inner.throttle > 0 {
                inner.throttle -= 1;
                return Err(StoreError::new(StoreErrorKind::Throttled, "not now"));
            }
            work(inner)
        })
    }
}

fn no_upload() -> StoreError {
    StoreError::new(StoreErrorKind::Refused, "no such upload")
}

impl ObjectStore for Shelf {
    async fn put(&self, name: &str, body: Bytes) -> Result<(), StoreError> {
        self.ask(|inner| {
            inner.asked.took_bytes += body.len() as u64;
            inner.objects.insert(name.to_owned(), body);
            Ok(())
        })
    }

    async fn create(&self, name: &str, body: Bytes) -> Result<Created, StoreError> {
        self.ask(|inner| {
            if inner.objects.contains_key(name) {
                return Ok(Created::Exists);
            }
            inner.asked.took_bytes += body.len() as u64;
            inner.objects.insert(name.to_owned(), body);
            Ok(Created::New)
        })
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        self.ask(|inner| {
            let Some(body) = inner.objects.get(name) else { return Ok(None) };
            let clamp = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(body.len());
            let part = body.slice(clamp(range.start)..clamp(range.end));
            inner.asked.gave_bytes += part.len() as u64;
            Ok(Some(part))
        })
    }

    async fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.ask(|inner| Ok(inner.objects.get(name).map(|body| body.len() as u64)))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.ask(|inner| {
            let under = inner.objects.iter().filter(|(name, _)| name.starts_with(prefix));
            Ok(under.map(|(name, body)| Listed { name: name.clone(), bytes: body.len() as u64 }).collect())
        })
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.ask(|inner| {
            inner.objects.remove(name);
            Ok(())
        })
    }

    async fn begin_upload(&self, _: &str) -> Result<UploadId, StoreError> {
        self.ask(|inner| {
            inner.begun += 1;
            let id = UploadId(inner.begun.to_string());
            inner.uploads.insert(id.clone(), BTreeMap::new());
            Ok(id)
        })
    }

    async fn put_part(
        &self,
        _: &str,
        upload: &UploadId,
        number: u32,
        body: Bytes,
    ) -> Result<PartTag, StoreError> {
        self.ask(|inner| {
            inner.asked.took_bytes += body.len() as u64;
            inner.uploads.get_mut(upload).ok_or_else(no_upload)?.insert(number, body);
            Ok(PartTag(number.to_string()))
        })
    }

    async fn complete_upload(
        &self,
        name: &str,
        upload: &UploadId,
        parts: &[PartTag],
    ) -> Result<(), StoreError> {
        self.ask(|inner| {
            let found = inner.uploads.remove(upload).ok_or_else(no_upload)?;
            assert_eq!(found.len(), parts.len());
            let body: Vec<u8> = found.into_values().flatten().collect();
            inner.objects.insert(name.to_owned(), body.into());
            Ok(())
        })
    }

    async fn abort_upload(&self, _: &str, upload: &UploadId) -> Result<(), StoreError> {
        self.ask(|inner| {
            inner.uploads.remove(upload);
            Ok(())
        })
    }
}
