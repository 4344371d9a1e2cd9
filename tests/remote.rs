//! An object store of one's own, and the blocking calls: what a program with threads does.

#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use highwater::remote::{
    Created, Listed, ObjectStore, PartTag, Remote, StoreError, StoreErrorKind, UploadId,
};
use highwater::{Engine, EpochMark, ErrorKind, Opened, Options};

/// A store that is a map.
#[derive(Clone, Debug, Default)]
struct Shelf(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<String, Bytes>,
    uploads: BTreeMap<UploadId, BTreeMap<u32, Bytes>>,
    begun: u64,
}

impl Shelf {
    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }
}

fn no_upload() -> StoreError {
    StoreError::new(StoreErrorKind::Refused, "no such upload")
}

impl ObjectStore for Shelf {
    async fn put(&self, name: &str, body: Bytes) -> Result<(), StoreError> {
        self.with(|inner| inner.objects.insert(name.to_owned(), body));
        Ok(())
    }

    async fn create(&self, name: &str, body: Bytes) -> Result<Created, StoreError> {
        self.with(|inner| {
            if inner.objects.contains_key(name) {
                return Ok(Created::Exists);
            }
            inner.objects.insert(name.to_owned(), body);
            Ok(Created::New)
        })
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        Ok(self.with(|inner| {
            let body = inner.objects.get(name)?;
            let clamp = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(body.len());
            Some(body.slice(clamp(range.start)..clamp(range.end)))
        }))
    }

    async fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.with(|inner| inner.objects.get(name).map(|body| body.len() as u64)))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        Ok(self.with(|inner| {
            let under = inner.objects.iter().filter(|(name, _)| name.starts_with(prefix));
            under.map(|(name, body)| Listed { name: name.clone(), bytes: body.len() as u64 }).collect()
        }))
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.with(|inner| inner.objects.remove(name));
        Ok(())
    }

    async fn begin_upload(&self, _: &str) -> Result<UploadId, StoreError> {
        Ok(self.with(|inner| {
            inner.begun += 1;
            let id = UploadId(inner.begun.to_string());
            inner.uploads.insert(id.clone(), BTreeMap::new());
            id
        }))
    }

    async fn put_part(
        &self,
        _: &str,
        upload: &UploadId,
        number: u32,
        body: Bytes,
    ) -> Result<PartTag, StoreError> {
        self.with(|inner| {
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
        self.with(|inner| {
            let found = inner.uploads.remove(upload).ok_or_else(no_upload)?;
            assert_eq!(found.len(), parts.len());
            let body: Vec<u8> = found.into_values().flatten().collect();
            inner.objects.insert(name.to_owned(), body.into());
            Ok(())
        })
    }

    async fn abort_upload(&self, _: &str, upload: &UploadId) -> Result<(), StoreError> {
        self.with(|inner| inner.uploads.remove(upload));
        Ok(())
    }
}

fn options(dir: &tempfile::TempDir, shelf: &Shelf) -> Options {
    Options::new(dir.path().join("data"))
        .cores(2)
        .segment_bytes(64 << 10)
        .batch_bytes(8 << 10)
        .remote(Remote::new(shelf.clone()).part_bytes(10_000))
}

/// Puts a value under each of many keys, and ends the epoch on every core.
fn fill(opened: &mut Opened, value: &[u8]) -> highwater::Epoch {
    for number in 0..2_000_u32 {
        let key = number.to_le_bytes();
        let core = opened.engine.core_of(&key).index();
        while let Err(error) = opened.cores[core].put(&key, value) {
            assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
            std::thread::yield_now();
        }
    }
    let ended =
        opened.cores.iter_mut().map(|core| core.close_epoch(EpochMark::new().offset("log", 7)).unwrap());
    ended.max().unwrap()
}

#[test]
fn a_directory_that_is_gone_comes_back_in_another_place() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let shelf = Shelf::default();
    let mut opened = Engine::open(options(&first, &shelf)).unwrap();
    let epoch = fill(&mut opened, b"one hundred");
    opened.engine.wait_remote(epoch).unwrap();
    assert_eq!(opened.engine.remote_status().unwrap().epoch, epoch);

    // The first process has lost its disk, and does not know that it is over.
    let restored = Engine::open(options(&second, &shelf)).unwrap();
    assert!(restored.report.restored);
    assert_eq!((restored.report.epoch, restored.report.live_records), (epoch, 2_000));
    for number in 0..2_000_u32 {
        let key = number.to_le_bytes();
        let core = &restored.cores[restored.engine.core_of(&key).index()];
        assert_eq!(core.get(&key).unwrap().as_deref(), Some(&b"one hundred"[..]));
    }

    let epoch = fill(&mut opened, b"nothing of this");
    let fenced = opened.engine.wait_remote(epoch).unwrap_err();
    assert_eq!(fenced.kind(), ErrorKind::Fenced, "{fenced}");
    assert!(shelf.with(|inner| inner.uploads.is_empty()));
    restored.engine.close(restored.cores).unwrap();
}
