//! The names of things: one type for each, so that no two can be mixed up; those drawn from entropy share one, [`Nonce`].

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "cli", derive(serde::Serialize), serde(transparent))]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id! {
    /// Names a record of one core within one token: dense, ascending, never reused. Zero is "none yet".
    Lsn(u64)
}
id! {
    /// The interval between two barriers. Epochs close in order, over all cores. Zero is "none yet".
    Epoch(u64)
}
id! {
    /// One shard of the database: its own log, its own state, one writer. Counts from zero.
    CoreId(u16)
}
id! {
    /// One file of a core's log. Ascending over the life of the database, with gaps.
    SegmentNo(u64)
}
id! {
    /// Monotone per database, taken by landing an open manifest, stamped in every frame and file name.
    FencingToken(u64)
}
id! {
    /// The number of a manifest; the greatest landed one is the head.
    ManifestSeq(u64)
}
id! {
    /// A hash slot of the key space; the unit of ownership, fixed in number at creation.
    KeyGroup(u16)
}

/// 128 bits of entropy, written in hexadecimal.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(pub u128);

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(feature = "cli")]
impl serde::Serialize for Nonce {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The identity of a database, drawn once at its creation and present in everything it writes.
pub type DatabaseId = Nonce;

/// One unforked history of a database. A restore to the past starts a new one.
pub type TimelineId = Nonce;

impl Lsn {
    /// The LSN after this one.
    #[must_use]
    #[inline]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl SegmentNo {
    /// The segment number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl CoreId {
    /// This core's place in a list with one entry per core.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
