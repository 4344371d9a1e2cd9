//! The frame: the unit that a log writes, checks and believes whole or not at all.
//!
//! ```text
//! 0       4      5      6      8       16        24          32                40               48        52        56      60     64
//! | frame | kind | zero | core | token | segment | first LSN | durable-through | closed-through | records | payload | chain | header | payload …
//! | bytes |      |      |      |       |         |           |                 |                |         | crc     |       | crc    |
//! ```
//!
//! 1. The header crc is salted with the segment's identity and with the frame's own place in the file: bytes of an
//!    earlier use of the segment, of another file or of another offset are no frame.
//! 2. A length is believed only after the header crc, and only within the segment.
//! 3. `durable-through` and `closed-through` are true when the frame is submitted, so a valid header alone is
//!    evidence, whatever became of its payload.
//! 4. A floor is true when the frame is submitted: no segment with a lower number is needed. It names a segment that is
//!    not above the frame's own, so that the frame outlives whatever it gives up.
//! 5. `chain` runs over the header crcs of all earlier frames of the same core and token: a frame that was lost
//!    or exchanged breaks it.
//! 6. Behind a `Close` its life writes nothing, and when it is submitted nothing is in flight: where it is read, the life
//!    ends, and nothing of it that could count stands anywhere behind.

use crate::codec::{Reader, crc};
use crate::ids::{CoreId, Epoch, FencingToken, Lsn, SegmentNo};
use crate::limits::FRAME_HEADER_BYTES;

/// Bytes of the payload of a `SegmentStart` frame.
pub(crate) const SEGMENT_START_PAYLOAD_BYTES: usize = 32;

/// Bytes of the payload of a `Seal` or `Close` frame: the floor.
pub(crate) const FLOOR_BYTES: usize = 8;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FrameKind {
    /// The first frame of a segment: which segment came before, how far it reached, and the floor.
    SegmentStart = 1,
    /// Records.
    Records = 2,
    /// Nothing but marks and the floor, because those on disk were out of date.
    Seal = 3,
    /// The same, as the last frame of its life.
    Close = 4,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::SegmentStart),
            2 => Some(Self::Records),
            3 => Some(Self::Seal),
            4 => Some(Self::Close),
            _ => None,
        }
    }
}

/// The header of a frame. [`FrameHeader::encode`] adds the header crc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Header and payload, without the padding that follows.
    pub(crate) frame_bytes: u32,
    pub(crate) kind: FrameKind,
    pub(crate) core: CoreId,
    pub(crate) token: FencingToken,
    pub(crate) segment: SegmentNo,
    /// Of the first record; in a frame without records, the next LSN to be written.
    pub(crate) first_lsn: Lsn,
    /// The core's high-water mark when the frame was submitted.
    pub(crate) durable_through: Lsn,
    /// The greatest epoch known closed on all cores when the frame was submitted.
    pub(crate) closed_through: Epoch,
    pub(crate) records: u32,
    pub(crate) payload_crc: u32,
    pub(crate) chain: u32,
}

/// Why bytes are no frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Nothing but zeroes: never written.
    Zero,
    /// The header crc does not match: torn, rotten, or left from an earlier use of the segment.
    Crc,
    /// The header crc matches and the fields contradict each other: no writer of this format wrote them.
    Fields,
}

impl FrameHeader {
    /// The encoded header and its crc, for a frame at `offset` of the segment with `salt`.
    pub(crate) fn encode(&self, salt: u32, offset: u64) -> ([u8; FRAME_HEADER_BYTES], u32) {
        assert!(self.frame_bytes as usize >= FRAME_HEADER_BYTES, "a frame of {} bytes", self.frame_bytes);
        let mut out = [0; FRAME_HEADER_BYTES];
        out[0..4].copy_from_slice(&self.frame_bytes.to_le_bytes());
        out[4] = self.kind as u8;
        out[6..8].copy_from_slice(&self.core.0.to_le_bytes());
        out[8..16].copy_from_slice(&self.token.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.segment.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.first_lsn.0.to_le_bytes());
        out[32..40].copy_from_slice(&self.durable_through.0.to_le_bytes());
        out[40..48].copy_from_slice(&self.closed_through.0.to_le_bytes());
        out[48..52].copy_from_slice(&self.records.to_le_bytes());
        out[52..56].copy_from_slice(&self.payload_crc.to_le_bytes());
        out[56..60].copy_from_slice(&self.chain.to_le_bytes());
        let header_crc = header_crc(salt, offset, &out);
        out[60..64].copy_from_slice(&header_crc.to_le_bytes());
        (out, header_crc)
    }

    /// The header at the front of `bytes`, which stand at `offset` of the segment with `salt`, and its crc.
    pub(crate) fn decode(salt: u32, offset: u64, bytes: &[u8]) -> Result<(Self, u32), HeaderFault> {
        let Some(bytes) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else { return Err(HeaderFault::Crc) };
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(HeaderFault::Zero);
        }
        let [.., c0, c1, c2, c3] = *bytes;
        let stated = u32::from_le_bytes([c0, c1, c2, c3]);
        if stated != header_crc(salt, offset, bytes) {
            return Err(HeaderFault::Crc);
        }
        let header = Self::fields(bytes).ok_or(HeaderFault::Fields)?;
        Ok((header, stated))
    }

    fn fields(bytes: &[u8; FRAME_HEADER_BYTES]) -> Option<Self> {
        let mut fields = Reader(bytes);
        let frame_bytes = fields.u32()?;
        let kind = FrameKind::from_byte(fields.u8()?)?;
        let zero = fields.u8()?;
        let header = Self {
            frame_bytes,
            kind,
            core: CoreId(fields.u16()?),
            token: FencingToken(fields.u64()?),
            segment: SegmentNo(fields.u64()?),
            first_lsn: Lsn(fields.u64()?),
            durable_through: Lsn(fields.u64()?),
            closed_through: Epoch(fields.u64()?),
            records: fields.u32()?,
            payload_crc: fields.u32()?,
            chain: fields.u32()?,
        };
        (zero == 0 && header.is_consistent()).then_some(header)
    }

    /// Whether a writer of this format can have written these fields together.
    fn is_consistent(&self) -> bool {
        let Some(payload_bytes) = (self.frame_bytes as usize).checked_sub(FRAME_HEADER_BYTES) else {
            return false;
        };
        let shape_fits = match self.kind {
            FrameKind::SegmentStart => payload_bytes == SEGMENT_START_PAYLOAD_BYTES && self.records == 0,
            FrameKind::Records => payload_bytes > 0 && self.records > 0,
            FrameKind::Seal | FrameKind::Close => payload_bytes == FLOOR_BYTES && self.records == 0,
        };
        // A mark covers what was durable before the frame was submitted, so never the frame itself.
        let mark_fits = self.durable_through < self.first_lsn;
        shape_fits && mark_fits && self.first_lsn.0.checked_add(u64::from(self.records)).is_some()
    }

    /// The LSN after the frame's last record.
    pub(crate) fn next_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.0 + u64::from(self.records))
    }
}

/// The chain value of the frame that follows one with this chain value and header crc.
pub(crate) fn chain_after(chain: u32, header_crc: u32) -> u32 {
    crc(chain, &header_crc.to_le_bytes())
}

pub(crate) fn header_crc(salt: u32, offset: u64, header: &[u8; FRAME_HEADER_BYTES]) -> u32 {
    let mut covered = [0; 8 + FRAME_HEADER_BYTES - 4];
    covered[..8].copy_from_slice(&offset.to_le_bytes());
    covered[8..].copy_from_slice(&header[..FRAME_HEADER_BYTES - 4]);
    crc(salt, &covered)
}

/// What a `SegmentStart` frame says about the segment before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Predecessor {
    /// The segment before of the same token; zero in the first segment of a token.
    pub(crate) segment: SegmentNo,
    /// The last LSN of that segment, or the ceiling of the life before; zero when there is none.
    pub(crate) last_lsn: Lsn,
    /// The token of that segment or life; zero when there is none.
    pub(crate) token: FencingToken,
}

impl Predecessor {
    /// The payload of a `SegmentStart` that says this, and which floor holds.
    pub(crate) fn encode(&self, floor: SegmentNo) -> [u8; SEGMENT_START_PAYLOAD_BYTES] {
        let mut out = [0; SEGMENT_START_PAYLOAD_BYTES];
        out[0..8].copy_from_slice(&self.segment.0.to_le_bytes());
        out[8..16].copy_from_slice(&self.last_lsn.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.token.0.to_le_bytes());
        out[24..32].copy_from_slice(&floor.0.to_le_bytes());
        out
    }

    /// What the `SegmentStart` of segment `number` says, and its floor.
    pub(crate) fn decode(payload: &[u8], number: SegmentNo) -> Option<(Self, SegmentNo)> {
        let mut fields = Reader(payload);
        let start = Self {
            segment: SegmentNo(fields.u64()?),
            last_lsn: Lsn(fields.u64()?),
            token: FencingToken(fields.u64()?),
        };
        let floor = SegmentNo(fields.u64()?);
        (fields.is_empty() && floor <= number).then_some((start, floor))
    }
}

/// The floor that the `Seal` or `Close` with this header and payload states.
pub(crate) fn stated_floor(header: &FrameHeader, payload: &[u8]) -> Option<SegmentNo> {
    let floor = SegmentNo(u64::from_le_bytes(payload.try_into().ok()?));
    (matches!(header.kind, FrameKind::Seal | FrameKind::Close) && floor <= header.segment).then_some(floor)
}
