//! The archived shape of a manifest body. Its layout is the format: every field has a fixed width, an explicit
//! byte order and no padding around it, and the assertions at the end stop the build when a feature of `rkyv`,
//! switched on anywhere in the dependency graph, would change that.
//!
//! 128-bit values are 16 little-endian bytes, text is bytes, an absent value is a zero with a flag beside it.

use rkyv::rend::{i64_le, u16_le, u32_le, u64_le};
use rkyv::vec::ArchivedVec;
use rkyv::{Archive, Serialize};

#[derive(Archive, Serialize)]
pub(super) struct WireManifest {
    pub(super) database: [u8; 16],
    pub(super) timeline: [u8; 16],
    pub(super) token: u64_le,
    pub(super) recovered_epoch: u64_le,
    pub(super) attempt_floor: u64_le,
    pub(super) previous_seq: u64_le,
    pub(super) lives: Vec<WireLife>,
    pub(super) checkpoints: Vec<WireCheckpoint>,
    pub(super) wal_floor: Vec<u64_le>,
    pub(super) retired: Vec<WireName>,
    pub(super) previous_crc: u32_le,
    pub(super) cores: u16_le,
    /// 0 create, 1 open, 2 checkpoint, 3 retire, 4 restore, 5 rescale, 6 pin.
    pub(super) author: u8,
    /// Bit 0: there is a previous manifest. Bit 1: the lives reach back to the creation. Bit 2: it is the end of a
    /// [`WireExtended`]. Bit 3: that is the end of a [`WireDecided`].
    pub(super) flags: u8,
}

/// A manifest with more than the first builds knew: it ends with what they knew.
#[derive(Archive, Serialize)]
pub(super) struct WireExtended {
    pub(super) kept: Vec<WireKept>,
    /// How fast recoveries have been; zeroes where that is not known.
    pub(super) fixed_us: u64_le,
    pub(super) load_bytes_per_s: u64_le,
    pub(super) replay_bytes_per_s: u64_le,
    pub(super) manifest: WireManifest,
}

/// A manifest that stands by what checkpoints decided which are gone.
#[derive(Archive, Serialize)]
pub(super) struct WireDecided {
    pub(super) sinks: Vec<WireSink>,
    pub(super) epoch: u64_le,
    pub(super) extended: WireExtended,
}

#[derive(Archive, Serialize)]
pub(super) struct WireKept {
    pub(super) checkpoint: WireCheckpoint,
    pub(super) pins: Vec<WirePin>,
    /// 1 when the files are in the object store alone.
    pub(super) away: u64_le,
}

#[derive(Archive, Serialize)]
pub(super) struct WirePin {
    pub(super) name: Vec<u8>,
}

#[derive(Archive, Serialize)]
pub(super) struct WireLife {
    pub(super) token: u64_le,
    pub(super) recovered_epoch: u64_le,
    pub(super) cores: Vec<WireCoreLife>,
}

#[derive(Archive, Serialize)]
pub(super) struct WireCoreLife {
    pub(super) identity: [u8; 16],
    pub(super) first_segment: u64_le,
    pub(super) first_lsn: u64_le,
    pub(super) carried_through: u64_le,
    pub(super) ceiling: u64_le,
    /// 1 when there is a ceiling.
    pub(super) has_ceiling: u64_le,
}

#[derive(Archive, Serialize)]
pub(super) struct WireCheckpoint {
    pub(super) epoch: u64_le,
    pub(super) token: u64_le,
    pub(super) files: Vec<WireFile>,
    pub(super) cuts: Vec<WireCut>,
    pub(super) offsets: Vec<WireOffset>,
    pub(super) watermarks: Vec<WireWatermark>,
    pub(super) sinks: Vec<WireSink>,
}

#[derive(Archive, Serialize)]
pub(super) struct WireName {
    pub(super) uuid: [u8; 16],
    pub(super) token: u64_le,
    pub(super) attempt: u32_le,
    /// 1 base, 2 delta.
    pub(super) kind: u32_le,
}

#[derive(Archive, Serialize)]
pub(super) struct WireFile {
    pub(super) name: WireName,
    pub(super) digest: [u8; 16],
    pub(super) bytes: u64_le,
    pub(super) entries: u64_le,
    pub(super) tombstones: u64_le,
    pub(super) live_bytes: u64_le,
    pub(super) from_epoch: u64_le,
    pub(super) through_epoch: u64_le,
    pub(super) crc: u32_le,
    pub(super) core: u16_le,
    pub(super) cores: u16_le,
}

#[derive(Archive, Serialize)]
pub(super) struct WireCut {
    pub(super) token: u64_le,
    pub(super) segment: u64_le,
    pub(super) lsn: u64_le,
}

#[derive(Archive, Serialize)]
pub(super) struct WireOffset {
    pub(super) number: u64_le,
    pub(super) name: Vec<u8>,
    pub(super) opaque: Vec<u8>,
    pub(super) core: u16_le,
    /// 0 number, 1 opaque.
    pub(super) kind: u16_le,
    /// 1 when cores of an earlier count had stated it.
    pub(super) inherited: u32_le,
}

#[derive(Archive, Serialize)]
pub(super) struct WireWatermark {
    pub(super) watermark: i64_le,
    /// 1 when there is a watermark.
    pub(super) present: u64_le,
}

#[derive(Archive, Serialize)]
pub(super) struct WireSink {
    pub(super) epoch: u64_le,
    pub(super) name: Vec<u8>,
    pub(super) handle: Vec<u8>,
    pub(super) core: u16_le,
    /// 0 no handle, 1 a handle, 2 the handle of what was lost, and accepted as lost.
    pub(super) state: u16_le,
    pub(super) zero: u32_le,
}

/// Stops the build unless each archived type has this size and alignment.
macro_rules! layout {
    ($($archived:ty: $bytes:expr, $align:expr;)*) => {$(
        const _: () = assert!(
            size_of::<$archived>() == $bytes && align_of::<$archived>() == $align,
            "highwater needs rkyv without `unaligned`, `big_endian`, `pointer_width_16` and `pointer_width_64`: \
             a crate in this build enables one, and the on-disk layout would change"
        );
    )*};
}
pub(crate) use layout;

layout! {
    u64_le: 8, 8;
    ArchivedVec<u8>: 8, 4;
    ArchivedWireManifest: 104, 8;
    ArchivedWireExtended: 136, 8;
    ArchivedWireDecided: 152, 8;
    ArchivedWireKept: 72, 8;
    ArchivedWirePin: 8, 4;
    ArchivedWireLife: 24, 8;
    ArchivedWireCoreLife: 56, 8;
    ArchivedWireCheckpoint: 56, 8;
    ArchivedWireName: 32, 8;
    ArchivedWireFile: 104, 8;
    ArchivedWireCut: 24, 8;
    ArchivedWireOffset: 32, 8;
    ArchivedWireWatermark: 16, 8;
    ArchivedWireSink: 32, 8;
}

// Size and alignment do not show the byte order of a relative pointer, which is `rkyv`'s own integer. A type error
// here means the same as the message above.
const _: fn(rkyv::primitive::ArchivedU32) -> u32_le = |little_endian_and_aligned| little_endian_and_aligned;
const _: () = assert!(size_of::<rkyv::primitive::ArchivedIsize>() == 4, "relative pointers are 32 bits wide");
