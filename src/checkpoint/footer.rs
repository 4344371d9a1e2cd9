//! What a checkpoint file says about its contents: counts, so that a restore allocates once, and digests.

use std::path::Path;

use rkyv::rancor;
use rkyv::rend::{u16_le, u64_le};
use rkyv::util::AlignedVec;
use rkyv::{Archive, Serialize};

use crate::codec::{Digest, crc};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::KeyGroup;
use crate::limits::KEY_GROUPS_MAX;
use crate::manifest::layout;

/// The digest of one key group's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupDigest {
    pub(crate) group: KeyGroup,
    pub(crate) entries: u64,
    pub(crate) digest: Digest,
}

/// The counts and digests of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    /// Count of puts.
    pub(crate) entries: u64,
    /// Count of deletes.
    pub(crate) tombstones: u64,
    /// Bytes of the encoded puts.
    pub(crate) live_bytes: u64,
    /// Over the puts.
    pub(crate) digest: Digest,
    /// Whether the file opens with a Clear.
    pub(crate) clears: bool,
    /// Count of key groups that `groups` was made with; zero when it was not made.
    pub(crate) key_groups: u16,
    /// In a base: the groups that have entries, ascending.
    pub(crate) groups: Vec<GroupDigest>,
}

#[derive(Archive, Serialize)]
struct WireFooter {
    digest: [u8; 16],
    entries: u64_le,
    tombstones: u64_le,
    live_bytes: u64_le,
    groups: Vec<WireGroup>,
    key_groups: u16_le,
    clears: u16_le,
    zero: [u8; 4],
}

#[derive(Archive, Serialize)]
struct WireGroup {
    digest: [u8; 16],
    entries: u64_le,
    group: u16_le,
    zero: [u8; 6],
}

layout! {
    ArchivedWireFooter: 56, 8;
    ArchivedWireGroup: 32, 8;
}

/// Longest footer: one with every group.
pub(super) const FOOTER_BYTES_MAX: u32 = 64 + 32 * (KEY_GROUPS_MAX as u32);

impl Footer {
    /// The bytes.
    ///
    /// # Errors
    ///
    /// `Failed` when the serializer does; it has no cause to.
    pub(super) fn encode(&self) -> Result<AlignedVec> {
        let group = |group: &GroupDigest| WireGroup {
            digest: group.digest.0.to_le_bytes(),
            entries: u64_le::from_native(group.entries),
            group: u16_le::from_native(group.group.0),
            zero: [0; 6],
        };
        let wire = WireFooter {
            digest: self.digest.0.to_le_bytes(),
            entries: u64_le::from_native(self.entries),
            tombstones: u64_le::from_native(self.tombstones),
            live_bytes: u64_le::from_native(self.live_bytes),
            groups: self.groups.iter().map(group).collect(),
            key_groups: u16_le::from_native(self.key_groups),
            clears: u16_le::from_native(u16::from(self.clears)),
            zero: [0; 4],
        };
        rkyv::to_bytes::<rancor::Error>(&wire)
            .map_err(|error| Error::new(ErrorCode::Unencodable, format!("a footer: {error}")))
    }

    /// The footer in `bytes`, at `offset` of the file `path`.
    ///
    /// # Errors
    ///
    /// `Corrupt`.
    pub(super) fn decode(
        path: &Path,
        bytes: &[u8],
        expected_crc: u32,
        salt: u32,
        offset: u64,
    ) -> Result<Self> {
        let bad = |what: String| {
            Error::corrupt(ErrorCode::CheckpointDamaged, path, format!("offset {offset}: {what}"))
        };
        if crc(salt, bytes) != expected_crc {
            return Err(bad("the footer is damaged".into()));
        }
        let mut aligned: AlignedVec = AlignedVec::with_capacity(bytes.len());
        aligned.extend_from_slice(bytes);
        let wire = rkyv::access::<ArchivedWireFooter, rancor::Error>(&aligned)
            .map_err(|error| bad(format!("the footer is not laid out as one: {error}")))?;
        let footer = Self::from_wire(wire);
        let zero = wire.zero == [0; 4] && wire.groups.iter().all(|group| group.zero == [0; 6]);
        if !zero {
            return Err(bad("bytes of the footer that must be zero are not".into()));
        }
        if !footer.is_consistent() || wire.clears.to_native() > 1 {
            return Err(bad("the footer's counts contradict each other".into()));
        }
        Ok(footer)
    }

    fn from_wire(wire: &ArchivedWireFooter) -> Self {
        let group = |group: &ArchivedWireGroup| GroupDigest {
            group: KeyGroup(group.group.to_native()),
            entries: group.entries.to_native(),
            digest: Digest(u128::from_le_bytes(group.digest)),
        };
        Self {
            entries: wire.entries.to_native(),
            tombstones: wire.tombstones.to_native(),
            live_bytes: wire.live_bytes.to_native(),
            digest: Digest(u128::from_le_bytes(wire.digest)),
            clears: wire.clears.to_native() != 0,
            key_groups: wire.key_groups.to_native(),
            groups: wire.groups.iter().map(group).collect(),
        }
    }

    /// The groups are in order, none is empty, and together they are the file's entries.
    fn is_consistent(&self) -> bool {
        if self.key_groups == 0 {
            return self.groups.is_empty();
        }
        let mut digest = Digest::default();
        let mut entries = 0_u64;
        for group in &self.groups {
            digest.merge(group.digest);
            entries = entries.saturating_add(group.entries);
        }
        let ascending = self.groups.is_sorted_by(|a, b| a.group < b.group);
        let in_range = self.groups.iter().all(|group| group.group.0 < self.key_groups && group.entries > 0);
        ascending && in_range && entries == self.entries && digest == self.digest
    }
}
