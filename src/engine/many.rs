//! Many keys in one call: the reads that finding them takes from memory overlap.
//!
//! A `put` among others does so by itself (`state/pending.rs`), a `get` cannot: it has to return before the next one is
//! known.
//!
//! 1. Of a call that fails, the entries in front of the one that failed have been put and logged, and no other.
//! 2. Keys and values that break a limit are found before anything is put.

use std::fmt;
use std::ops::Range;

use super::core::CoreHandle;
use super::entry::Value;
use crate::error::{Error, Result};
use crate::ids::Lsn;

/// Keys under way in [`CoreHandle::get_many`].
const UNDER_WAY: usize = 16;

/// After so many more keys, what the index says is there.
const INDEX_KEYS: usize = 8;

/// Bytes of a record that are asked for: header, key, and a short value.
const RECORD_BYTES: usize = 128;

/// Why [`CoreHandle::put_many`] stopped, and where: the first `applied` entries have been put.
///
/// After `Busy`, wait and go on with the rest: `&entries[error.applied..]`.
#[derive(Debug)]
#[non_exhaustive]
pub struct PutManyError {
    /// How many entries have been put: those in front of the one that failed.
    pub applied: usize,
    /// What [`CoreHandle::put`] said about the next one.
    pub error: Error,
}

impl fmt::Display for PutManyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries were put, then: {}", self.applied, self.error)
    }
}

impl std::error::Error for PutManyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// For callers that end the epoch or the program anyway.
impl From<PutManyError> for Error {
    fn from(failed: PutManyError) -> Self {
        failed.error
    }
}

impl CoreHandle {
    /// Sets each key of `entries` to its value, in order. Returns the LSNs of the changes.
    ///
    /// # Errors
    ///
    /// As [`CoreHandle::put`]. With `Invalid` nothing has been put, whichever entry is wrong; with `Busy`, `Full` and
    /// `Failed` the entries before [`PutManyError::applied`] have been put, and belong to the open epoch like any other.
    pub fn put_many<K, V>(&mut self, entries: &[(K, V)]) -> std::result::Result<Range<Lsn>, PutManyError>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let first = self.next_lsn();
        for (key, value) in entries {
            let checked = self.check_put(key.as_ref(), value.as_ref());
            checked.map_err(|error| PutManyError { applied: 0, error })?;
        }
        for (applied, (key, value)) in entries.iter().enumerate() {
            let key = key.as_ref();
            let put = self.put_checked(self.state().hash(key), key, value.as_ref());
            put.map_err(|error| PutManyError { applied, error })?;
        }
        Ok(first..self.next_lsn())
    }

    /// The value of each of `keys`, if it has one, in their order: what [`CoreHandle::get`] would say. Keys are taken up
    /// to 16 ahead of what has been returned.
    ///
    /// # Errors
    ///
    /// Each item as [`CoreHandle::get`]; the others are not concerned.
    pub fn get_many<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> impl Iterator<Item = Result<Option<Value<'_>>>> {
        GetMany {
            core: self,
            keys: keys.into_iter(),
            under_way: std::array::from_fn(|_| None),
            came: 0,
            left: 0,
        }
    }
}

/// A key with its hash, if it is this core's.
struct Wanted<K> {
    key: K,
    hash: Result<u64>,
}

struct GetMany<'a, I: Iterator> {
    core: &'a CoreHandle,
    keys: I,
    under_way: [Option<Wanted<I::Item>>; UNDER_WAY],
    came: usize,
    left: usize,
}

impl<I: Iterator<Item: AsRef<[u8]>>> GetMany<'_, I> {
    /// Takes the next key, if there is one, and asks for what finding it needs.
    #[inline]
    fn take(&mut self) -> bool {
        let Some(key) = self.keys.next() else { return false };
        let hash = self.core.check_key(key.as_ref());
        if let Ok(hash) = &hash {
            self.core.state().prefetch_place(*hash);
        }
        self.under_way[self.came % UNDER_WAY] = Some(Wanted { key, hash });
        self.came += 1;
        true
    }

    /// Asks for the record of the key that came `INDEX_KEYS` before the last one.
    #[inline]
    fn follow(&self) {
        let Some(number) = self.came.checked_sub(INDEX_KEYS + 1) else { return };
        if let Some(Some(Wanted { hash: Ok(hash), .. })) = self.under_way.get(number % UNDER_WAY) {
            self.core.state().prefetch_record(*hash, RECORD_BYTES);
        }
    }
}

impl<'a, I: Iterator<Item: AsRef<[u8]>>> Iterator for GetMany<'a, I> {
    type Item = Result<Option<Value<'a>>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while self.came - self.left < UNDER_WAY && self.take() {
            self.follow();
        }
        let Wanted { key, hash } = self.under_way[self.left % UNDER_WAY].take()?;
        self.left += 1;
        Some(hash.map(|hash| self.core.state().get(hash, key.as_ref()).map(Value)))
    }
}
