//! A simulated store at one moment.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::bucket::{Bucket, Change};
use crate::env::Tick;

/// A simulated object store at one moment: its objects, its uploads, and the requests on their way, of which each may take
/// effect or not (B1, B3).
///
/// A plain value; [`SimStore::from_image`](super::SimStore::from_image) puts it to use. A clone costs what its pointers do, and
/// the first change of a copy a table of names: keep one at every request, if you like.
pub struct StoreImage {
    bucket: Bucket,
    on_the_way: Vec<Arc<Change>>,
}

/// A request that has taken effect.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoreEffect {
    /// The number of the request, in order of its making.
    pub request: u64,
    /// What it was, as in the trait.
    pub operation: &'static str,
    /// The name of the object.
    pub name: String,
    /// When.
    pub at: Tick,
}

/// What [`SimStore::on_effect`](super::SimStore::on_effect) calls.
pub type StoreHook = Box<dyn FnMut(StoreImage, &StoreEffect) + Send>;

impl StoreImage {
    pub(super) fn new(bucket: &Bucket, on_the_way: Vec<Arc<Change>>) -> Self {
        Self { bucket: bucket.at_rest(), on_the_way }
    }

    /// An empty store.
    #[must_use]
    pub fn empty() -> Self {
        Self { bucket: Bucket::default(), on_the_way: Vec::new() }
    }

    /// The requests on their way, in the order in which they were made: operation and name.
    pub fn on_the_way(&self) -> impl ExactSizeIterator<Item = (&'static str, &str)> {
        self.on_the_way.iter().map(|change| change.names())
    }

    /// The same store when of the requests on their way those with the numbers in `landing` have taken effect, one after the
    /// other, and the others never will.
    ///
    /// # Panics
    ///
    /// When there is no request with one of these numbers.
    #[must_use]
    pub fn settled(&self, landing: impl IntoIterator<Item = usize>) -> Self {
        let mut bucket = self.bucket.at_rest();
        for number in landing {
            let _ = bucket.apply(Tick(0), &self.on_the_way[number], false);
        }
        Self { bucket: bucket.at_rest(), on_the_way: Vec::new() }
    }

    /// The objects, by name.
    pub fn objects(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.bucket.objects()
    }

    /// The bytes of an object.
    pub fn object(&self, name: &str) -> Option<Bytes> {
        self.bucket.get(name, &(0..u64::MAX))
    }

    /// A digest of what a program can read from this store: names and bytes.
    pub fn hash(&self) -> u128 {
        self.bucket.hash()
    }

    /// Bytes of all objects.
    pub fn used_bytes(&self) -> u64 {
        self.objects().map(|(_, body)| body.len() as u64).sum()
    }

    pub(super) fn into_bucket(self) -> Bucket {
        self.bucket
    }
}

impl Clone for StoreImage {
    fn clone(&self) -> Self {
        Self::new(&self.bucket, self.on_the_way.clone())
    }
}

impl fmt::Debug for StoreImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.objects().map(|(name, _)| name).collect();
        write!(f, "StoreImage({names:?}, {} on the way)", self.on_the_way.len())
    }
}
