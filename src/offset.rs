//! How far a source was read: what a core records with the end of an epoch and gets back after a crash.

/// A place in a source to read on from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Offset {
    /// A count or an index, such as a partition's next offset.
    Number(u64),
    /// Whatever the source names its places with, at most 1,024 bytes.
    Opaque(Vec<u8>),
}

impl From<u64> for Offset {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<Vec<u8>> for Offset {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Opaque(bytes)
    }
}

impl From<&[u8]> for Offset {
    fn from(bytes: &[u8]) -> Self {
        Self::Opaque(bytes.to_vec())
    }
}
