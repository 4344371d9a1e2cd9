//! The objects of a simulated store, and how requests change them.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_128;

use crate::env::Tick;
use crate::remote::{Created, Listed, PartTag, StoreError, StoreErrorKind, UploadId};

/// Room for what stands for the objects of most stores.
const HASHED_BYTES_USUAL: usize = 4096;

/// A request that changes something.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Put { name: String, body: Bytes },
    Create { name: String, body: Bytes },
    Delete { name: String },
    Begin { name: String },
    Part { name: String, upload: UploadId, number: u32, body: Bytes },
    Complete { name: String, upload: UploadId, parts: Vec<PartTag> },
    Abort { name: String, upload: UploadId },
}

/// What a change came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Nothing,
    Created(Created),
    Began(UploadId),
    Part(PartTag),
}

/// An answer, in short: for the trace.
pub(super) trait Answer {
    fn brief(&self) -> String;
}

impl Answer for Done {
    fn brief(&self) -> String {
        format!("{self:?}")
    }
}

impl Answer for Option<u64> {
    fn brief(&self) -> String {
        format!("{self:?}")
    }
}

impl Answer for Option<Bytes> {
    fn brief(&self) -> String {
        match self {
            None => "nothing".to_owned(),
            Some(bytes) => {
                format!("{} bytes, {:016x}", bytes.len(), xxhash_rust::xxh3::xxh3_64(bytes))
            }
        }
    }
}

impl Answer for Vec<Listed> {
    fn brief(&self) -> String {
        let names: Vec<String> =
            self.iter().map(|listed| format!("{}:{}", listed.name, listed.bytes)).collect();
        format!("{} names, {:016x}", self.len(), xxhash_rust::xxh3::xxh3_64(names.join(" ").as_bytes()))
    }
}

/// Objects, uploads, and how long ago each object was what.
#[derive(Default)]
pub(super) struct Bucket {
    /// Shared with the copies of this bucket until one of them changes.
    objects: Arc<BTreeMap<Arc<str>, Object>>,
    /// Per name that was changed, its lengths over time; `None` while there is no object.
    history: BTreeMap<String, Vec<(Tick, Option<u64>)>>,
    uploads: Arc<BTreeMap<UploadId, Parts>>,
    begun: u64,
}

#[derive(Clone)]
struct Object {
    body: Bytes,
    digest: u128,
}

#[derive(Clone, Default)]
struct Parts {
    name: String,
    parts: BTreeMap<u32, Bytes>,
}

impl Change {
    /// The operation, and the name that it is about.
    pub(super) fn names(&self) -> (&'static str, &str) {
        let (operation, name) = match self {
            Self::Put { name, .. } => ("put", name),
            Self::Create { name, .. } => ("create", name),
            Self::Delete { name } => ("delete", name),
            Self::Begin { name } => ("begin_upload", name),
            Self::Part { name, .. } => ("put_part", name),
            Self::Complete { name, .. } => ("complete_upload", name),
            Self::Abort { name, .. } => ("abort_upload", name),
        };
        (operation, name)
    }
}

impl Bucket {
    /// Applies `change` at `now`. If creates lie, a name that is taken is free.
    pub(super) fn apply(
        &mut self,
        now: Tick,
        change: &Change,
        create_lies: bool,
    ) -> Result<Done, StoreError> {
        match change {
            Change::Put { name, body } => {
                self.set(now, name, Some(body.clone()));
                Ok(Done::Nothing)
            }
            Change::Create { name, .. } if self.objects.contains_key(name.as_str()) && !create_lies => {
                Ok(Done::Created(Created::Exists))
            }
            Change::Create { name, body } => {
                self.set(now, name, Some(body.clone()));
                Ok(Done::Created(Created::New))
            }
            Change::Delete { name } => {
                self.set(now, name, None);
                Ok(Done::Nothing)
            }
            Change::Begin { name } => {
                self.begun += 1;
                let id = UploadId(format!("upload-{}", self.begun));
                let parts = Parts { name: name.clone(), ..Parts::default() };
                Arc::make_mut(&mut self.uploads).insert(id.clone(), parts);
                Ok(Done::Began(id))
            }
            Change::Part { name, upload, number, body } => {
                let parts = self.upload(name, upload)?;
                parts.parts.insert(*number, body.clone());
                Ok(Done::Part(PartTag(format!("{number}-{}", body.len()))))
            }
            Change::Complete { name, upload, parts } => {
                let body = self.upload(name, upload)?.assemble(parts)?;
                self.lose_upload(upload);
                self.set(now, name, Some(body));
                Ok(Done::Nothing)
            }
            Change::Abort { upload, .. } => {
                self.lose_upload(upload);
                Ok(Done::Nothing)
            }
        }
    }

    fn set(&mut self, now: Tick, name: &str, body: Option<Bytes>) {
        let bytes = body.as_ref().map(|body| body.len() as u64);
        let objects = Arc::make_mut(&mut self.objects);
        match body {
            Some(body) => {
                let digest = xxh3_128(&body);
                objects.insert(name.into(), Object { body, digest });
            }
            None => drop(objects.remove(name)),
        }
        self.history.entry(name.to_owned()).or_default().push((now, bytes));
    }

    fn upload(&mut self, name: &str, id: &UploadId) -> Result<&mut Parts, StoreError> {
        let found = Arc::make_mut(&mut self.uploads).get_mut(id).filter(|parts| parts.name == name);
        found.ok_or_else(|| StoreError::new(StoreErrorKind::Refused, "no such upload (simulated)"))
    }

    /// A copy that has always been as this one is now.
    pub(super) fn at_rest(&self) -> Self {
        let (objects, uploads) = (Arc::clone(&self.objects), Arc::clone(&self.uploads));
        Self { objects, history: BTreeMap::new(), uploads, begun: self.begun }
    }

    /// The bytes of an object in `range`.
    pub(super) fn get(&self, name: &str, range: &Range<u64>) -> Option<Bytes> {
        let body = &self.objects.get(name)?.body;
        let clamp = |at: u64| usize::try_from(at.min(body.len() as u64)).unwrap_or(body.len());
        let (begin, end) = (clamp(range.start), clamp(range.end));
        Some(body.slice(begin..end.max(begin)))
    }

    /// The length of an object.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        self.objects.get(name).map(|object| object.body.len() as u64)
    }

    /// The objects under `prefix`, as they were at `at`.
    pub(super) fn list(&self, prefix: &str, at: Tick) -> Vec<Listed> {
        let under = |name: &str| name.starts_with(prefix);
        let behind = (Bound::Included(prefix), Bound::Unbounded);
        let now = self.objects.range::<str, _>(behind).take_while(|(name, _)| under(name));
        let mut then: BTreeMap<&str, u64> =
            now.map(|(name, object)| (&**name, object.body.len() as u64)).collect();
        for (name, lengths) in self.history.range::<str, _>(behind).take_while(|(name, _)| under(name)) {
            match lengths.iter().rev().find(|(since, _)| *since <= at).and_then(|(_, bytes)| *bytes) {
                Some(bytes) => then.insert(name, bytes),
                None => then.remove(name.as_str()),
            };
        }
        then.into_iter().map(|(name, bytes)| Listed { name: name.to_owned(), bytes }).collect()
    }

    /// All objects, by name.
    pub(super) fn objects(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.objects.iter().map(|(name, object)| (&**name, &object.body))
    }

    /// A digest of all objects.
    pub(super) fn hash(&self) -> u128 {
        let mut text = Vec::with_capacity(HASHED_BYTES_USUAL);
        for (name, object) in &*self.objects {
            text.extend_from_slice(&(name.len() as u64).to_le_bytes());
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(&object.digest.to_le_bytes());
        }
        xxh3_128(&text)
    }

    /// Uploads that are under way.
    pub(super) fn open_uploads(&self) -> usize {
        self.uploads.len()
    }

    /// Removes an upload.
    pub(super) fn lose_upload(&mut self, id: &UploadId) {
        Arc::make_mut(&mut self.uploads).remove(id);
    }
}

impl Parts {
    fn assemble(&self, tags: &[PartTag]) -> Result<Bytes, StoreError> {
        let mut body = BytesMut::new();
        for (number, tag) in (0..).zip(tags) {
            let part = self.parts.get(&number).filter(|part| tag.0 == format!("{number}-{}", part.len()));
            let missing = || StoreError::new(StoreErrorKind::Refused, "a part is missing (simulated)");
            body.extend_from_slice(part.ok_or_else(missing)?);
        }
        Ok(body.freeze())
    }
}
