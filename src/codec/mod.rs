//! Bytes and nothing else: checksums, the stable hash, explicit little-endian fields. No I/O.

mod epoch_end;
mod fields;
mod record;
#[cfg(test)]
mod tests;

pub(crate) use epoch_end::EpochEnd;
pub(crate) use fields::{Reader, Writer};
pub(crate) use record::{Record, RecordKind, lengths, record_bytes};

use std::ops::Range;

use crate::ids::{CoreId, KeyGroup};

/// CRC-32C (Castagnoli) of `bytes`, continued from `seed`: the salt of what the bytes belong to.
pub(crate) fn crc(seed: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(seed, bytes)
}

/// Puts a checksum right for a fuzz target: writes the crc of `from..at` at `at`, which is inside.
#[cfg(fuzzing)]
pub(crate) fn seal(bytes: &mut [u8], seed: u32, from: usize, at: usize) {
    let sum = crc(seed, &bytes[from..at]);
    bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
}

/// The hash of keys that decides ownership and index place: XXH3-64 with the seed in IDENT. Its value is part of
/// the format (`HASH_ID`).
#[inline]
pub(crate) fn key_hash(seed: u64, key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(key, seed)
}

/// The name of [`key_hash`] in IDENT.
pub(crate) const HASH_ID_XXH3_64: u16 = 1;

/// The group of a key whose route hashes to `hash`, of `groups` groups: the high bits, scaled.
#[inline]
pub(crate) fn key_group(hash: u64, groups: u16) -> KeyGroup {
    let scaled = (u128::from(hash) * u128::from(groups)) >> 64;
    #[expect(clippy::cast_possible_truncation, reason = "scaled < groups ≤ u16::MAX")]
    KeyGroup(scaled as u16)
}

/// The core that owns `group`, of `groups` groups over `cores` cores: each core one run of groups, as long as
/// the others' or longer by one.
///
/// # Panics
///
/// When there are fewer groups than cores, or `group` is none of them.
#[inline]
pub(crate) fn core_of(group: KeyGroup, groups: u16, cores: u16) -> CoreId {
    assert!(0 < cores && cores <= groups && group.0 < groups, "group {group} of {groups} over {cores} cores");
    let core = u32::from(group.0) * u32::from(cores) / u32::from(groups);
    #[expect(clippy::cast_possible_truncation, reason = "core < cores ≤ u16::MAX")]
    CoreId(core as u16)
}

/// The groups that `core` owns.
pub(crate) fn groups_of(core: CoreId, groups: u16, cores: u16) -> Range<u16> {
    let first_of = |core: u32| (core * u32::from(groups)).div_ceil(u32::from(cores));
    #[expect(clippy::cast_possible_truncation, reason = "at most `groups`")]
    let (from, to) = (first_of(u32::from(core.0)) as u16, first_of(u32::from(core.0) + 1) as u16);
    from..to
}

/// The hashes of routes that belong to a run of key groups: what [`key_group`] says, as one comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HashRange {
    first: u64,
    /// How many follow the first.
    span: u64,
}

impl HashRange {
    /// Those of the groups `owned`, of `groups` groups.
    ///
    /// # Panics
    ///
    /// When `owned` is empty or reaches beyond `groups`.
    pub(crate) fn new(owned: &Range<u16>, groups: u16) -> Self {
        assert!(owned.start < owned.end && owned.end <= groups, "groups {owned:?} of {groups}");
        let first_of = |group: u16| (u128::from(group) << 64).div_ceil(u128::from(groups));
        let (first, end) = (first_of(owned.start), first_of(owned.end));
        let narrow = |hash: u128| u64::try_from(hash).expect("a hash of a group there is");
        Self { first: narrow(first), span: narrow(end - 1 - first) }
    }

    /// Whether every hash belongs to it.
    pub(crate) fn is_all(self) -> bool {
        self.span == u64::MAX
    }

    #[inline]
    pub(crate) fn contains(self, hash: u64) -> bool {
        hash.wrapping_sub(self.first) <= self.span
    }
}

/// Order-free digest of a set of entries: the sum modulo 2^128 of a 128-bit hash of each, XXH3-128 without a seed.
/// A sum and not an xor, because an entry that stands twice must not vanish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest(pub(crate) u128);

impl Digest {
    /// Adds the entry `record`, an encoded put.
    pub(crate) fn add(&mut self, record: &[u8]) {
        self.0 = self.0.wrapping_add(xxhash_rust::xxh3::xxh3_128(record));
    }

    /// Adds every entry of `other`.
    pub(crate) fn merge(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }
}
