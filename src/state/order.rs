//! The keys of a core in order: what makes a scan of a range cost what the range holds.
//!
//! Keys of up to 22 bytes lie in the tree's nodes, longer ones beside them. Values are looked up by the hash index: a
//! put to a key that is there touches nothing here.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::collections::btree_set;
use std::fmt;
use std::ops::Bound;

/// Longest key that needs no memory of its own, in bytes.
const INLINE_BYTES_MAX: usize = 22;

/// What a key costs in the tree at most, when keys come in order: nodes of eleven are then little more than half full.
const NODE_BYTES_PER_KEY: u64 = 58;

/// What the allocator adds to a key of its own, at most.
const ALLOCATION_BYTES: u64 = 24;

enum OrderKey {
    Inline { bytes: u8, key: [u8; INLINE_BYTES_MAX] },
    Long(Box<[u8]>),
}

const _: () = assert!(size_of::<OrderKey>() == 24, "a key in order is three words");

impl OrderKey {
    fn new(key: &[u8]) -> Self {
        let mut inline = [0; INLINE_BYTES_MAX];
        match (inline.get_mut(..key.len()), u8::try_from(key.len())) {
            (Some(front), Ok(bytes)) => {
                front.copy_from_slice(key);
                Self::Inline { bytes, key: inline }
            }
            _ => Self::Long(key.into()),
        }
    }

    #[inline]
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Inline { bytes, key } => &key[..usize::from(*bytes)],
            Self::Long(key) => key,
        }
    }
}

impl Borrow<[u8]> for OrderKey {
    fn borrow(&self) -> &[u8] {
        self.as_slice()
    }
}

impl PartialEq for OrderKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for OrderKey {}

impl PartialOrd for OrderKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OrderKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

/// A set of keys.
pub(super) struct Order {
    keys: BTreeSet<OrderKey>,
    /// Memory of keys that are too long for a node.
    long_bytes: u64,
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Order({} keys)", self.keys.len())
    }
}

fn long_bytes(key: &[u8]) -> u64 {
    if key.len() > INLINE_BYTES_MAX { key.len() as u64 + ALLOCATION_BYTES } else { 0 }
}

impl Order {
    pub(super) fn new() -> Self {
        Self { keys: BTreeSet::new(), long_bytes: 0 }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Adds a key.
    ///
    /// # Panics
    ///
    /// When it is there already: order and index contradict each other (S6).
    pub(super) fn insert(&mut self, key: &[u8]) {
        assert!(self.keys.insert(OrderKey::new(key)), "a new key is in the order already");
        self.long_bytes += long_bytes(key);
    }

    /// Removes a key.
    ///
    /// # Panics
    ///
    /// When it is not there: order and index contradict each other (S6).
    pub(super) fn remove(&mut self, key: &[u8]) {
        assert!(self.keys.remove(key), "a key is missing in the order");
        self.long_bytes -= long_bytes(key);
    }

    /// The keys from a bound on.
    pub(super) fn range_from(&self, from: Bound<&[u8]>) -> Keys<'_> {
        Keys(self.keys.range::<[u8], _>((from, Bound::Unbounded)))
    }

    /// An upper bound of the memory that the set takes.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.keys.len() as u64 * NODE_BYTES_PER_KEY + self.long_bytes
    }
}

/// Some keys, in order.
pub(super) struct Keys<'a>(btree_set::Range<'a, OrderKey>);

impl fmt::Debug for Keys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl<'a> Iterator for Keys<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(OrderKey::as_slice)
    }
}
