//! The objects of a simulated store, and how requests change them.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::env::Tick;
use crate::remote::{Created, Listed, PartTag, StoreError, StoreErrorKind, UploadId};

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
    objects: BTreeMap<String, Bytes>,
    /// Per name, its lengths over time; `None` while there is no object.
    history: BTreeMap<String, Vec<(Tick, Option<u64>)>>,
    uploads: BTreeMap<UploadId, Parts>,
    begun: u64,
}

#[derive(Default)]
struct Parts {
    name: String,
    parts: BTreeMap<u32, Bytes>,
}

impl Change {
    /// The operation, and the name that it is about.
    pub(super) fn names(&self) -> (&'static str, String) {
        let (operation, name) = match self {
            Self::Put { name, .. } => ("put", name),
            Self::Create { name, .. } => ("create", name),
            Self::Delete { name } => ("delete", name),
            Self::Begin { name } => ("begin_upload", name),
            Self::Part { name, .. } => ("put_part", name),
            Self::Complete { name, .. } => ("complete_upload", name),
            Self::Abort { name, .. } => ("abort_upload", name),
        };
        (operation, name.clone())
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
            Change::Create { name, .. } if self.objects.contains_key(name) && !create_lies => {
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
                self.uploads.insert(id.clone(), Parts { name: name.clone(), ..Parts::default() });
                Ok(Done::Began(id))
            }
            Change::Part { name, upload, number, body } => {
                let parts = self.upload(name, upload)?;
                parts.parts.insert(*number, body.clone());
                Ok(Done::Part(PartTag(format!("{number}-{}", body.len()))))
            }
            Change::Complete { name, upload, parts } => {
                let body = self.upload(name, upload)?.assemble(parts)?;
                self.uploads.remove(upload);
                self.set(now, name, Some(body));
                Ok(Done::Nothing)
            }
            Change::Abort { upload, .. } => {
                self.uploads.remove(upload);
                Ok(Done::Nothing)
            }
        }
    }

    fn set(&mut self, now: Tick, name: &str, body: Option<Bytes>) {
        let bytes = body.as_ref().map(|body| body.len() as u64);
        match body {
            Some(body) => self.objects.insert(name.to_owned(), body),
            None => self.objects.remove(name),
        };
        self.history.entry(name.to_owned()).or_default().push((now, bytes));
    }

    fn upload(&mut self, name: &str, id: &UploadId) -> Result<&mut Parts, StoreError> {
        let found = self.uploads.get_mut(id).filter(|parts| parts.name == name);
        found.ok_or_else(|| StoreError::new(StoreErrorKind::Refused, "no such upload (simulated)"))
    }

    /// The bytes of an object in `range`.
    pub(super) fn get(&self, name: &str, range: &Range<u64>) -> Option<Bytes> {
        let body = self.objects.get(name)?;
        let clamp = |at: u64| usize::try_from(at.min(body.len() as u64)).unwrap_or(body.len());
        let (begin, end) = (clamp(range.start), clamp(range.end));
        Some(body.slice(begin..end.max(begin)))
    }

    /// The length of an object.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        self.objects.get(name).map(|body| body.len() as u64)
    }

    /// The objects under `prefix`, as they were at `at`.
    pub(super) fn list(&self, prefix: &str, at: Tick) -> Vec<Listed> {
        let under = self.history.range(prefix.to_owned()..).take_while(|(name, _)| name.starts_with(prefix));
        let then = under.filter_map(|(name, lengths)| {
            let bytes = lengths.iter().rev().find(|(since, _)| *since <= at)?.1?;
            Some(Listed { name: name.clone(), bytes })
        });
        then.collect()
    }

    /// All objects.
    pub(super) fn objects(&self) -> BTreeMap<String, Bytes> {
        self.objects.clone()
    }

    /// Uploads that are under way.
    pub(super) fn open_uploads(&self) -> usize {
        self.uploads.len()
    }

    /// Removes an upload.
    pub(super) fn lose_upload(&mut self, id: &UploadId) {
        self.uploads.remove(id);
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
