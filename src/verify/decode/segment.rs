//! One file of a core's log: its header, the headers of its frames, its first frame.

use super::bytes::{crc, slice, u16_at, u32_at, u64_at, u128_at};

/// Where frames begin.
pub(crate) const FRAMES: u64 = 4096;

/// The bytes of a segment that [`Front::read`] looks at: the header and the first write unit.
pub(crate) const FRONT_BYTES: usize = 8192;

/// What the rest of a header is compared with.
static ZEROES: [u8; 4096] = [0; 4096];

/// Kinds of frames.
pub(crate) const START: u8 = 1;
pub(crate) const RECORDS: u8 = 2;
pub(crate) const CLOSE: u8 = 4;

/// What a segment's header says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u64,
    pub(crate) token: u64,
    pub(crate) identity: u128,
    pub(crate) database: u128,
    pub(crate) unit: u32,
    pub(crate) core: u16,
    pub(crate) salt: u32,
    /// The file's length as stated.
    pub(crate) bytes: u64,
}

/// What a frame's header says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameHeader {
    /// Where in the file the frame begins.
    pub(crate) at: u64,
    pub(crate) kind: u8,
    pub(crate) payload_bytes: usize,
    pub(crate) first_lsn: u64,
    pub(crate) durable_through: u64,
    pub(crate) closed_through: u64,
    pub(crate) records: u32,
    pub(crate) payload_crc: u32,
    pub(crate) chain: u32,
    pub(crate) header_crc: u32,
}

/// What the first frame of a segment says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) predecessor: u64,
    pub(crate) stated_last: u64,
}

/// A segment's header and its `SegmentStart`, if it has one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Front {
    pub(crate) header: SegmentHeader,
    pub(crate) start: Option<Start>,
}

impl Front {
    /// Reads the first [`FRONT_BYTES`] of the segment `number`.
    pub(crate) fn read(bytes: &[u8], number: u64) -> Result<Self, String> {
        let header = SegmentHeader::read(bytes, number)?;
        let start = slice(bytes, 4096, 64).ok().and_then(|first| header.frame(FRAMES, first));
        let start = start.and_then(|frame| {
            let payload = slice(bytes, 4096 + 64, 32).ok()?;
            (frame.kind == START && frame.payload_bytes == 32 && header.holds(&frame, payload))
                .then_some(payload)
        });
        let start = start.map(|payload| {
            Ok::<_, String>(Start { predecessor: u64_at(payload, 0)?, stated_last: u64_at(payload, 8)? })
        });
        Ok(Self { header, start: start.transpose()? })
    }
}

impl SegmentHeader {
    /// Reads the first 4,096 bytes of the segment `number`.
    pub(crate) fn read(bytes: &[u8], number: u64) -> Result<Self, String> {
        let header = slice(bytes, 0, 4096)?;
        let salt = crc(0, &header[..124]);
        let rest = header[74..124] == ZEROES[74..124] && header[128..] == ZEROES[128..];
        if &header[..8] != b"HWALSEG\0" || u32_at(header, 124)? != salt || u32_at(header, 8)? != 1 || !rest {
            return Err("a bad segment header".into());
        }
        if u64_at(header, 56)? != number {
            return Err(format!("the header says segment {}", u64_at(header, 56)?));
        }
        let (unit, bytes) = (u32_at(header, 12)?, u64_at(header, 64)?);
        let possible = (16_384..=1 << 30).contains(&bytes) && bytes.is_multiple_of(4096);
        if ![512, 4096].contains(&unit) || !possible {
            return Err(format!("the header says {bytes} bytes in units of {unit}"));
        }
        Ok(Self {
            number,
            token: u64_at(header, 48)?,
            identity: u128_at(header, 32)?,
            database: u128_at(header, 16)?,
            unit,
            core: u16_at(header, 72)?,
            salt,
            bytes,
        })
    }

    /// The frame whose header, the 64 bytes at `at`, is valid, with whatever payload.
    pub(crate) fn frame(&self, at: u64, header: &[u8]) -> Option<FrameHeader> {
        let header = slice(header, 0, 64).ok()?;
        let header_crc = u32_at(header, 60).ok()?;
        if crc(crc(self.salt, &at.to_le_bytes()), &header[..60]) != header_crc {
            return None;
        }
        let frame_bytes = u32_at(header, 0).ok()?;
        let fits = frame_bytes >= 64 && at.checked_add(frame_bytes.into())? <= self.bytes;
        let ours = u16_at(header, 6) == Ok(self.core)
            && u64_at(header, 8) == Ok(self.token)
            && u64_at(header, 16) == Ok(self.number)
            && header[5] == 0;
        if !fits || !ours {
            return None;
        }
        Some(FrameHeader {
            at,
            kind: header[4],
            payload_bytes: frame_bytes as usize - 64,
            first_lsn: u64_at(header, 24).ok()?,
            durable_through: u64_at(header, 32).ok()?,
            closed_through: u64_at(header, 40).ok()?,
            records: u32_at(header, 48).ok()?,
            payload_crc: u32_at(header, 52).ok()?,
            chain: u32_at(header, 56).ok()?,
            header_crc,
        })
    }

    /// Whether `frame` is whole and its payload is `payload`.
    pub(crate) fn holds(&self, frame: &FrameHeader, payload: &[u8]) -> bool {
        let sound = (frame.kind == RECORDS) == (frame.records > 0) && (1..=4).contains(&frame.kind);
        sound && payload.len() == frame.payload_bytes && crc(self.salt, payload) == frame.payload_crc
    }
}

impl FrameHeader {
    /// Where the next frame begins, in write units of `unit` bytes.
    pub(crate) fn after(&self, unit: u32) -> u64 {
        (self.at + 64 + self.payload_bytes as u64).next_multiple_of(unit.into())
    }

    /// The first segment that is needed, if frames of this kind say so.
    pub(crate) fn floor(&self, payload: &[u8]) -> Result<Option<u64>, String> {
        match (self.kind, payload.len()) {
            (START, 32) => u64_at(payload, 24).map(Some),
            (3 | CLOSE, 8) => u64_at(payload, 0).map(Some),
            (RECORDS, _) => Ok(None),
            (kind, bytes) => Err(format!("a frame of kind {kind} with a payload of {bytes} bytes")),
        }
    }
}
