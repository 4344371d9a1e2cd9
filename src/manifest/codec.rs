//! A manifest as bytes: a hand-coded header, then the archived body.
//!
//! ```text
//!  0  magic "HWMANIF\0"      8  u32 format     12  u32 body bytes    16  u32 body crc
//! 20  u128 nonce            36  u64 number     44  u32 crc of 0..44  48  body
//! ```
//!
//! The header's length and the place of its crc are the same in every format, so that a newer format is told
//! from damage. The body is validated before it is read, then checked as a manifest.

use std::path::Path;

use rkyv::rancor;
use rkyv::rend::{i64_le, u16_le, u32_le, u64_le};
use rkyv::util::AlignedVec;

use crate::codec::{Reader, Writer, crc};
use crate::error::{Error, ErrorCode, Result};
use crate::forecast::Rates;
use crate::ids::{CoreId, Epoch, FencingToken, Lsn, ManifestSeq, Nonce, SegmentNo};
use crate::limits::FORMAT_VERSION;
use crate::offset::Offset;

use super::wire::{
    ArchivedWireCheckpoint, ArchivedWireDecided, ArchivedWireExtended, ArchivedWireFile, ArchivedWireKept,
    ArchivedWireLife, ArchivedWireManifest, ArchivedWireName, ArchivedWireOffset, ArchivedWireSink,
    WireCheckpoint, WireCoreLife, WireCut, WireDecided, WireExtended, WireFile, WireKept, WireLife,
    WireManifest, WireName, WireOffset, WirePin, WireSink, WireWatermark,
};
use super::{
    Author, Checkpoint, CheckpointFile, CoreLife, Cut, Decided, FileKind, FileName, KeptEpoch, Life,
    Manifest, SinkEntry,
};

const MAGIC: &[u8; 8] = b"HWMANIF\0";

const HEADER_BYTES: usize = 48;

/// The flag of a body with more in front of its root.
const EXTENDED: u8 = 1 << 2;

/// The flag of one with still more in front of that.
const DECIDED: u8 = 1 << 3;

/// Longest manifest file: bounds what is read into memory before anything in it is believed.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// A manifest ready to land.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    /// The header's crc, by which the next manifest names this one.
    pub(super) crc: u32,
}

/// The bytes of `manifest`.
///
/// # Errors
///
/// `Invalid` when they would exceed [`MANIFEST_BYTES_MAX`]: too many files, offsets or handles.
///
/// # Panics
///
/// When the manifest breaks a rule: this program built it.
pub(super) fn encode(manifest: &Manifest) -> Result<Encoded> {
    if let Err(flaw) = manifest.check() {
        panic!("manifest {}: {flaw}", manifest.seq);
    }
    let wire = to_wire(manifest);
    let body = if wire.flags & EXTENDED == 0 {
        rkyv::to_bytes::<rancor::Error>(&wire)
    } else {
        let kept = manifest.kept.iter().map(kept_to_wire).collect();
        let Rates { fixed_us, load_bytes_per_s, replay_bytes_per_s } = manifest.rates;
        let extended = WireExtended {
            kept,
            fixed_us: le(fixed_us),
            load_bytes_per_s: le(load_bytes_per_s),
            replay_bytes_per_s: le(replay_bytes_per_s),
            manifest: wire,
        };
        match &manifest.decided {
            None => rkyv::to_bytes::<rancor::Error>(&extended),
            Some(Decided { epoch, sinks }) => {
                let sinks = sinks.iter().map(sink_to_wire).collect();
                rkyv::to_bytes::<rancor::Error>(&WireDecided { sinks, epoch: le(epoch.0), extended })
            }
        }
    };
    let body = body.map_err(|error| {
        Error::new(ErrorCode::ManifestTooLarge, format!("manifest {}: {error}", manifest.seq))
    })?;
    let body_bytes = u32::try_from(body.len()).unwrap_or(u32::MAX);
    if (HEADER_BYTES + body.len()) as u64 > MANIFEST_BYTES_MAX {
        return Err(Error::new(
            ErrorCode::ManifestTooLarge,
            format!(
                "manifest {} has {} bytes, more than {MANIFEST_BYTES_MAX}: keep fewer checkpoints and epochs, or fewer or shorter source offsets",
                manifest.seq,
                body.len()
            ),
        ));
    }
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    Writer(&mut bytes)
        .bytes(MAGIC)
        .u32(FORMAT_VERSION)
        .u32(body_bytes)
        .u32(crc(0, &body))
        .u128(manifest.nonce.0)
        .u64(manifest.seq.0);
    let header_crc = crc(0, &bytes);
    Writer(&mut bytes).u32(header_crc).bytes(&body);
    Ok(Encoded { bytes, crc: header_crc })
}

/// The bytes of `manifest` for an object store, and the header's crc.
///
/// # Errors
///
/// As for a file.
///
/// # Panics
///
/// When the manifest breaks a rule: this program built it.
pub(crate) fn encode_object(manifest: &Manifest) -> Result<(Vec<u8>, u32)> {
    encode(manifest).map(|encoded| (encoded.bytes, encoded.crc))
}

/// The manifest in `bytes`, the whole content of the file `path`, and its header's crc.
///
/// # Errors
///
/// `Corrupt` when it is damaged, `Unsupported` when a newer program wrote it.
pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<(Manifest, u32)> {
    let short =
        || Error::corrupt(ErrorCode::ManifestDamaged, path, format!("{} bytes are no manifest", bytes.len()));
    let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(short)?;
    let mut fields = Reader(header);
    let magic = fields.bytes(MAGIC.len()).ok_or_else(short)?;
    let format = fields.u32().ok_or_else(short)?;
    let body_bytes = fields.u32().ok_or_else(short)?;
    let body_crc = fields.u32().ok_or_else(short)?;
    let nonce = Nonce(fields.u128().ok_or_else(short)?);
    let seq = ManifestSeq(fields.u64().ok_or_else(short)?);
    let header_crc = fields.u32().ok_or_else(short)?;
    if magic != MAGIC || crc(0, &header[..HEADER_BYTES - 4]) != header_crc {
        return Err(Error::corrupt(
            ErrorCode::ManifestDamaged,
            path,
            "offset 0: the manifest's header is damaged",
        ));
    }
    if format > FORMAT_VERSION {
        return Err(Error::newer_format(path, "a manifest", format));
    }
    if format == 0 || body.len() as u64 != u64::from(body_bytes) {
        return Err(Error::corrupt(
            ErrorCode::ManifestDamaged,
            path,
            format!("offset 12: the header names {body_bytes} bytes, {} are there", body.len()),
        ));
    }
    if crc(0, body) != body_crc {
        return Err(Error::corrupt(
            ErrorCode::ManifestDamaged,
            path,
            format!("offset {HEADER_BYTES}: the manifest's body is damaged"),
        ));
    }
    let bad = |why: String| {
        Error::corrupt(ErrorCode::ManifestDamaged, path, format!("offset {HEADER_BYTES}: {why}"))
    };
    let mut aligned: AlignedVec = AlignedVec::with_capacity(body.len());
    aligned.extend_from_slice(body);
    let misplaced = |error: rancor::Error| bad(format!("the body is not laid out as a manifest: {error}"));
    let invalid = || bad("a field has no valid value".into());
    let wire = rkyv::access::<ArchivedWireManifest, rancor::Error>(&aligned).map_err(misplaced)?;
    let mut manifest = from_wire(seq, nonce, wire).ok_or_else(invalid)?;
    if wire.flags & EXTENDED != 0 {
        let wire = rkyv::access::<ArchivedWireExtended, rancor::Error>(&aligned).map_err(misplaced)?;
        manifest.kept = wire.kept.iter().map(kept_from_wire).collect::<Option<_>>().ok_or_else(invalid)?;
        manifest.rates = Rates {
            fixed_us: wire.fixed_us.to_native(),
            load_bytes_per_s: wire.load_bytes_per_s.to_native(),
            replay_bytes_per_s: wire.replay_bytes_per_s.to_native(),
        };
        if wire.manifest.flags & DECIDED != 0 {
            let wire = rkyv::access::<ArchivedWireDecided, rancor::Error>(&aligned).map_err(misplaced)?;
            manifest.decided = Some(decided_from_wire(wire).ok_or_else(invalid)?);
        }
    }
    if flags(&manifest) != wire.flags {
        return Err(invalid());
    }
    manifest.check().map_err(|flaw| bad(flaw.to_string()))?;
    Ok((manifest, header_crc))
}

fn le(value: u64) -> u64_le {
    u64_le::from_native(value)
}

fn flag(set: bool) -> u64_le {
    le(u64::from(set))
}

fn to_wire(manifest: &Manifest) -> WireManifest {
    let (previous_seq, previous_crc) = manifest.previous.unwrap_or_default();
    WireManifest {
        database: manifest.database.0.to_le_bytes(),
        timeline: manifest.timeline.0.to_le_bytes(),
        token: le(manifest.token.0),
        recovered_epoch: le(manifest.recovered_epoch.0),
        attempt_floor: le(manifest.attempt_floor),
        previous_seq: le(previous_seq.0),
        lives: manifest.lives.iter().map(life_to_wire).collect(),
        checkpoints: manifest.checkpoints.iter().map(checkpoint_to_wire).collect(),
        wal_floor: manifest.wal_floor.iter().map(|segment| le(segment.0)).collect(),
        retired: manifest.retired.iter().map(name_to_wire).collect(),
        previous_crc: u32_le::from_native(previous_crc),
        cores: u16_le::from_native(manifest.cores),
        author: match manifest.author {
            Author::Create => 0,
            Author::Open => 1,
            Author::Checkpoint => 2,
            Author::Retire => 3,
            Author::Restore => 4,
            Author::Rescale => 5,
            Author::Pin => 6,
        },
        flags: flags(manifest),
    }
}

/// What there is, and whether there is more than fits into the root.
fn flags(manifest: &Manifest) -> u8 {
    let is_decided = manifest.decided.is_some();
    let is_extended = is_decided || !manifest.kept.is_empty() || manifest.rates != Rates::default();
    u8::from(manifest.previous.is_some())
        | u8::from(manifest.beginning) << 1
        | if is_extended { EXTENDED } else { 0 }
        | if is_decided { DECIDED } else { 0 }
}

fn life_to_wire(life: &Life) -> WireLife {
    let cores = life.cores.iter().map(|core| WireCoreLife {
        identity: core.identity.0.to_le_bytes(),
        first_segment: le(core.first_segment.0),
        first_lsn: le(core.first_lsn.0),
        carried_through: le(core.carried_through.0),
        ceiling: le(core.ceiling.unwrap_or_default().0),
        has_ceiling: flag(core.ceiling.is_some()),
    });
    WireLife { token: le(life.token.0), recovered_epoch: le(life.recovered_epoch.0), cores: cores.collect() }
}

fn name_to_wire(name: &FileName) -> WireName {
    let kind = match name.kind {
        FileKind::Base => 1,
        FileKind::Delta => 2,
    };
    WireName {
        uuid: name.uuid.0.to_le_bytes(),
        token: le(name.token.0),
        attempt: u32_le::from_native(name.attempt),
        kind: u32_le::from_native(kind),
    }
}

fn file_to_wire(file: &CheckpointFile) -> WireFile {
    WireFile {
        name: name_to_wire(&file.name),
        digest: file.digest.to_le_bytes(),
        bytes: le(file.bytes),
        entries: le(file.entries),
        tombstones: le(file.tombstones),
        live_bytes: le(file.live_bytes),
        from_epoch: le(file.from_epoch.0),
        through_epoch: le(file.through_epoch.0),
        crc: u32_le::from_native(file.crc),
        core: u16_le::from_native(file.core.0),
        cores: u16_le::from_native(file.cores),
    }
}

fn offset_to_wire(inherited: bool, (core, name, offset): &(CoreId, String, Offset)) -> WireOffset {
    let (kind, number, opaque) = match offset {
        Offset::Number(number) => (0, *number, Vec::new()),
        Offset::Opaque(bytes) => (1, 0, bytes.clone()),
    };
    WireOffset {
        number: le(number),
        name: name.as_bytes().to_vec(),
        opaque,
        core: u16_le::from_native(core.0),
        kind: u16_le::from_native(kind),
        inherited: u32_le::from_native(u32::from(inherited)),
    }
}

fn sink_to_wire(sink: &SinkEntry) -> WireSink {
    WireSink {
        epoch: le(sink.epoch.0),
        name: sink.name.as_bytes().to_vec(),
        handle: sink.handle.clone().unwrap_or_default(),
        core: sink.core.0.into(),
        state: (u16::from(sink.handle.is_some()) + u16::from(sink.lost)).into(),
        zero: 0.into(),
    }
}

fn checkpoint_to_wire(checkpoint: &Checkpoint) -> WireCheckpoint {
    let cuts = checkpoint.cuts.iter().map(|cut| WireCut {
        token: le(cut.token.0),
        segment: le(cut.segment.0),
        lsn: le(cut.lsn.0),
    });
    let watermarks = checkpoint.watermarks.iter().map(|watermark| WireWatermark {
        watermark: i64_le::from_native(watermark.unwrap_or_default()),
        present: flag(watermark.is_some()),
    });
    let own = checkpoint.offsets.iter().map(|offset| offset_to_wire(false, offset));
    let inherited = checkpoint.inherited.iter().map(|offset| offset_to_wire(true, offset));
    WireCheckpoint {
        epoch: le(checkpoint.epoch.0),
        token: le(checkpoint.token.0),
        files: checkpoint.files.iter().map(file_to_wire).collect(),
        cuts: cuts.collect(),
        offsets: own.chain(inherited).collect(),
        watermarks: watermarks.collect(),
        sinks: checkpoint.sinks.iter().map(sink_to_wire).collect(),
    }
}

/// Whether a flag of the format is set; nothing when it is neither zero nor one.
fn is_set(flag: u64) -> Option<bool> {
    match flag {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn from_wire(seq: ManifestSeq, nonce: Nonce, wire: &ArchivedWireManifest) -> Option<Manifest> {
    let previous = (ManifestSeq(wire.previous_seq.to_native()), wire.previous_crc.to_native());
    if wire.flags > 15 {
        return None;
    }
    Some(Manifest {
        seq,
        nonce,
        previous: is_set((wire.flags & 1).into())?.then_some(previous),
        beginning: wire.flags & 2 != 0,
        database: Nonce(u128::from_le_bytes(wire.database)),
        timeline: Nonce(u128::from_le_bytes(wire.timeline)),
        token: FencingToken(wire.token.to_native()),
        cores: wire.cores.to_native(),
        author: match wire.author {
            0 => Author::Create,
            1 => Author::Open,
            2 => Author::Checkpoint,
            3 => Author::Retire,
            4 => Author::Restore,
            5 => Author::Rescale,
            6 => Author::Pin,
            _ => return None,
        },
        recovered_epoch: Epoch(wire.recovered_epoch.to_native()),
        lives: wire.lives.iter().map(life_from_wire).collect::<Option<_>>()?,
        checkpoints: wire.checkpoints.iter().map(checkpoint_from_wire).collect::<Option<_>>()?,
        kept: Vec::new(),
        decided: None,
        rates: Rates::default(),
        wal_floor: wire.wal_floor.iter().map(|segment| SegmentNo(segment.to_native())).collect(),
        retired: wire.retired.iter().map(name_from_wire).collect::<Option<_>>()?,
        attempt_floor: wire.attempt_floor.to_native(),
    })
}

fn life_from_wire(wire: &ArchivedWireLife) -> Option<Life> {
    let cores = wire.cores.iter().map(|core| {
        Some(CoreLife {
            first_segment: SegmentNo(core.first_segment.to_native()),
            identity: Nonce(u128::from_le_bytes(core.identity)),
            first_lsn: Lsn(core.first_lsn.to_native()),
            carried_through: Lsn(core.carried_through.to_native()),
            ceiling: is_set(core.has_ceiling.to_native())?.then_some(Lsn(core.ceiling.to_native())),
        })
    });
    Some(Life {
        token: FencingToken(wire.token.to_native()),
        recovered_epoch: Epoch(wire.recovered_epoch.to_native()),
        cores: cores.collect::<Option<_>>()?,
    })
}

fn name_from_wire(wire: &ArchivedWireName) -> Option<FileName> {
    let kind = match wire.kind.to_native() {
        1 => FileKind::Base,
        2 => FileKind::Delta,
        _ => return None,
    };
    Some(FileName {
        token: FencingToken(wire.token.to_native()),
        attempt: wire.attempt.to_native(),
        uuid: Nonce(u128::from_le_bytes(wire.uuid)),
        kind,
    })
}

fn file_from_wire(wire: &ArchivedWireFile) -> Option<CheckpointFile> {
    Some(CheckpointFile {
        name: name_from_wire(&wire.name)?,
        core: CoreId(wire.core.to_native()),
        cores: wire.cores.to_native(),
        bytes: wire.bytes.to_native(),
        crc: wire.crc.to_native(),
        entries: wire.entries.to_native(),
        tombstones: wire.tombstones.to_native(),
        live_bytes: wire.live_bytes.to_native(),
        digest: u128::from_le_bytes(wire.digest),
        from_epoch: Epoch(wire.from_epoch.to_native()),
        through_epoch: Epoch(wire.through_epoch.to_native()),
    })
}

fn offset_from_wire(wire: &ArchivedWireOffset) -> Option<(CoreId, String, Offset)> {
    let offset = match wire.kind.to_native() {
        0 if wire.opaque.is_empty() => Offset::Number(wire.number.to_native()),
        1 if wire.number.to_native() == 0 => Offset::Opaque(wire.opaque.to_vec()),
        _ => return None,
    };
    Some((CoreId(wire.core.to_native()), text(&wire.name)?, offset))
}

fn sink_from_wire(wire: &ArchivedWireSink) -> Option<SinkEntry> {
    let (has_handle, lost) = match (wire.state.to_native(), wire.zero.to_native()) {
        (0, 0) if wire.handle.is_empty() => (false, false),
        (1, 0) => (true, false),
        (2, 0) => (true, true),
        _ => return None,
    };
    Some(SinkEntry {
        name: text(&wire.name)?,
        epoch: Epoch(wire.epoch.to_native()),
        core: CoreId(wire.core.to_native()),
        handle: has_handle.then_some(wire.handle.to_vec()),
        lost,
    })
}

fn checkpoint_from_wire(wire: &ArchivedWireCheckpoint) -> Option<Checkpoint> {
    let cuts = wire.cuts.iter().map(|cut| Cut {
        token: FencingToken(cut.token.to_native()),
        segment: SegmentNo(cut.segment.to_native()),
        lsn: Lsn(cut.lsn.to_native()),
    });
    let watermarks = wire
        .watermarks
        .iter()
        .map(|entry| Some(is_set(entry.present.to_native())?.then_some(entry.watermark.to_native())));
    let is_inherited = |wire: &&ArchivedWireOffset| wire.inherited.to_native() == 1;
    // Its own first, then those that it has inherited.
    let valid = wire.offsets.is_sorted_by_key(|wire| wire.inherited.to_native())
        && wire.offsets.iter().all(|wire| wire.inherited.to_native() <= 1);
    let offsets = wire.offsets.iter().filter(|wire| !is_inherited(wire)).map(offset_from_wire);
    let inherited = wire.offsets.iter().filter(is_inherited).map(offset_from_wire);
    valid.then_some(())?;
    Some(Checkpoint {
        epoch: Epoch(wire.epoch.to_native()),
        token: FencingToken(wire.token.to_native()),
        files: wire.files.iter().map(file_from_wire).collect::<Option<_>>()?,
        cuts: cuts.collect(),
        offsets: offsets.collect::<Option<_>>()?,
        inherited: inherited.collect::<Option<_>>()?,
        watermarks: watermarks.collect::<Option<_>>()?,
        sinks: wire.sinks.iter().map(sink_from_wire).collect::<Option<_>>()?,
    })
}

fn decided_from_wire(wire: &ArchivedWireDecided) -> Option<Decided> {
    let sinks = wire.sinks.iter().map(sink_from_wire).collect::<Option<_>>()?;
    Some(Decided { epoch: Epoch(wire.epoch.to_native()), sinks })
}

fn kept_to_wire(kept: &KeptEpoch) -> WireKept {
    let pins = kept.pins.iter().map(|name| WirePin { name: name.as_bytes().to_vec() });
    WireKept { checkpoint: checkpoint_to_wire(&kept.checkpoint), pins: pins.collect(), away: flag(kept.away) }
}

fn kept_from_wire(wire: &ArchivedWireKept) -> Option<KeptEpoch> {
    Some(KeptEpoch {
        checkpoint: checkpoint_from_wire(&wire.checkpoint)?,
        pins: wire.pins.iter().map(|pin| text(&pin.name)).collect::<Option<_>>()?,
        away: is_set(wire.away.to_native())?,
    })
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(ToOwned::to_owned)
}
