//! Reading many keys, in key order: below a prefix, or between two bounds.

use std::iter::Peekable;
use std::ops::Bound;
use std::vec;

use super::CoreState;
use super::order::Keys;
use super::records::Records;

type Pair<'a> = (&'a [u8], &'a [u8]);

/// A range of keys. An empty one holds no key at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyRange<'a> {
    from: Bound<&'a [u8]>,
    to: To<'a>,
}

#[derive(Clone, Copy, Debug)]
enum To<'a> {
    Bound(Bound<&'a [u8]>),
    /// The last key with this prefix.
    Prefix(&'a [u8]),
}

impl<'a> KeyRange<'a> {
    /// From one bound to another.
    pub(crate) fn new(from: Bound<&'a [u8]>, to: Bound<&'a [u8]>) -> Self {
        Self { from, to: To::Bound(to) }
    }

    /// The keys that begin with `prefix`.
    pub(crate) fn prefix(prefix: &'a [u8]) -> Self {
        Self { from: Bound::Included(prefix), to: To::Prefix(prefix) }
    }

    fn begins_by(&self, key: &[u8]) -> bool {
        match self.from {
            Bound::Included(from) => key >= from,
            Bound::Excluded(from) => key > from,
            Bound::Unbounded => true,
        }
    }

    fn ends_behind(&self, key: &[u8]) -> bool {
        match self.to {
            To::Bound(Bound::Included(to)) => key <= to,
            To::Bound(Bound::Excluded(to)) => key < to,
            To::Bound(Bound::Unbounded) => true,
            To::Prefix(prefix) => key.starts_with(prefix),
        }
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.begins_by(key) && self.ends_behind(key)
    }
}

/// Entries in key order, borrowed from the state.
#[derive(Debug)]
pub(crate) struct Scan<'a, 'r> {
    settled: Peekable<Settled<'a, 'r>>,
    /// What stands in front of that: newer, and in order.
    pending: Peekable<vec::IntoIter<Pair<'a>>>,
}

/// What the records hold of a range.
#[derive(Debug)]
enum Settled<'a, 'r> {
    /// Collected and sorted.
    Sorted(vec::IntoIter<Pair<'a>>),
    /// From the ordered index.
    InOrder { keys: Keys<'a>, records: &'a Records, range: KeyRange<'r> },
}

impl<'a> Iterator for Settled<'a, '_> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Sorted(entries) => entries.next(),
            Self::InOrder { keys, records, range } => {
                let key = keys.next().filter(|key| range.ends_behind(key))?;
                let value = records.get(records.hash(key), key);
                Some((key, value.expect("S6: a key in the order has a record")))
            }
        }
    }
}

impl<'a> Iterator for Scan<'a, '_> {
    /// Key and value.
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some((newer, _)) = self.pending.peek() else { return self.settled.next() };
        match self.settled.peek() {
            Some((key, _)) if key < newer => self.settled.next(),
            Some((key, _)) if key == newer => {
                self.settled.next();
                self.pending.next()
            }
            _ => self.pending.next(),
        }
    }
}

impl CoreState {
    /// The entries whose keys lie in `range`, in key order.
    ///
    /// Without an ordered index it reads every record once, in memory order, and sorts what matches: 32 bytes of memory
    /// per match.
    pub(crate) fn scan<'r>(&self, range: KeyRange<'r>) -> Scan<'_, 'r> {
        let newest = self.pending.newest().map(|(_, stored)| (stored.key(), stored.value()));
        let mut pending: Vec<_> = newest.filter(|(key, _)| range.contains(key)).collect();
        pending.sort_unstable_by_key(|(key, _)| *key);
        Scan { settled: self.records.scan(range).peekable(), pending: pending.into_iter().peekable() }
    }
}

impl Records {
    fn scan<'r>(&self, range: KeyRange<'r>) -> Settled<'_, 'r> {
        if let Some(order) = &self.order {
            return Settled::InOrder { keys: order.range_from(range.from), records: self, range };
        }
        let mut matches: Vec<_> = self
            .slab
            .records()
            .map(|(location, _)| (self.slab.key(location), self.slab.value(location)))
            .filter(|(key, _)| range.contains(key))
            .collect();
        matches.sort_unstable_by_key(|(key, _)| *key);
        Settled::Sorted(matches.into_iter())
    }
}
