//! Every decoder of what comes from a disk or a store, for the fuzz targets of the same names in `fuzz/`: it may refuse,
//! but not panic, and not take memory without bound. There is no such module but under `--cfg fuzzing`, which `cargo fuzz`
//! sets.
//!
//! Z1. Checksums are put right first: no mutation would get behind them, and whoever forges a file computes them.
//! Z2. What a hand-coded decoder accepts encodes to the bytes that it came from; what `rkyv` lays out, to the same value.

use std::path::Path;

use crate::checkpoint;
use crate::codec::{EpochEnd, Record, crc, seal};
use crate::limits::FRAME_HEADER_BYTES;
use crate::manifest::ident::Ident;
use crate::manifest::{decode, encode_object};
use crate::offsite::StoreId;
use crate::wal::frame::{FrameHeader, FrameKind, header_crc, stated_floor};
use crate::wal::{Predecessor, SegmentHeader, records_are_whole};

/// IDENT of a database.
pub fn ident(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    if bytes.len() == 96 {
        seal(&mut bytes, 0, 0, 92);
    }
    if let Ok(ident) = Ident::decode(Path::new("IDENT"), &bytes) {
        assert_eq!(ident.encode(), bytes, "{ident:?}");
    }
}

/// STORE of an object store, with the IDENT in it.
pub fn store(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    if bytes.len() == 132 {
        seal(&mut bytes[32..128], 0, 0, 92);
        seal(&mut bytes, 0, 0, 128);
    }
    if let Ok(id) = StoreId::decode(&bytes) {
        assert_eq!(id.encode(), bytes, "{id:?}");
    }
}

/// A manifest, of a directory or a store.
pub fn manifest(bytes: &[u8]) {
    const HEADER: usize = 48;
    let mut bytes = bytes.to_vec();
    if let Some(body) = bytes.len().checked_sub(HEADER) {
        let length = u32::try_from(body).expect("inputs are small");
        bytes[12..16].copy_from_slice(&length.to_le_bytes());
        let sum = crc(0, &bytes[HEADER..]);
        bytes[16..20].copy_from_slice(&sum.to_le_bytes());
        seal(&mut bytes, 0, 0, 44);
    }
    let path = Path::new("m/1");
    if let Ok((manifest, _)) = decode(path, &bytes) {
        let (again, _) = encode_object(&manifest).expect("it was as long");
        let (same, _) = decode(path, &again).expect("this program wrote it");
        assert_eq!(same, manifest);
    }
}

/// The header of a segment: the front that has fields, and zeroes behind it.
pub fn segment_header(bytes: &[u8]) {
    let mut page = vec![0; 4096];
    let used = bytes.len().min(128);
    page[..used].copy_from_slice(&bytes[..used]);
    seal(&mut page, 0, 0, 124);
    if let Ok((header, _)) = SegmentHeader::decode(&page, Path::new("wal/00000/1")) {
        assert_eq!(header.encode().0, page[..128], "{header:?}");
    }
}

/// A frame and its payload, read to the last record.
pub fn frame(bytes: &[u8]) {
    const SALT: u32 = 0xffc0_9132;
    const OFFSET: u64 = 4096;
    let mut bytes = bytes.to_vec();
    let Some(header) = bytes.first_chunk_mut::<FRAME_HEADER_BYTES>() else { return };
    let sum = header_crc(SALT, OFFSET, header);
    header[60..].copy_from_slice(&sum.to_le_bytes());
    let Ok((header, _)) = FrameHeader::decode(SALT, OFFSET, &bytes) else { return };
    assert_eq!(header.encode(SALT, OFFSET).0, bytes[..FRAME_HEADER_BYTES], "{header:?}");
    let Some(payload) = bytes.get(FRAME_HEADER_BYTES..header.frame_bytes as usize) else { return };
    match header.kind {
        FrameKind::Records => {
            let mut ends = Vec::new();
            if records_are_whole(payload, header.records, &mut ends) {
                assert!(ends.len() <= header.records as usize);
            }
        }
        FrameKind::SegmentStart => {
            if let Some((start, floor)) = Predecessor::decode(payload, header.segment) {
                assert_eq!(start.encode(floor), payload, "{start:?}");
            }
        }
        FrameKind::Seal | FrameKind::Close => drop(stated_floor(&header, payload)),
    }
}

/// Records, one behind the other, as frames, blocks and the state have them.
pub fn record(mut bytes: &[u8]) {
    while let Some((record, rest)) = Record::decode(bytes) {
        let (here, _) = bytes.split_at(bytes.len() - rest.len());
        let mut again = Vec::new();
        record.append_to(&mut again);
        assert_eq!(again, here, "{record:?}");
        bytes = rest;
    }
}

/// The value of the record that ends an epoch.
pub fn epoch_end(bytes: &[u8]) {
    if let Some(end) = EpochEnd::decode(bytes) {
        let mut again = Vec::new();
        end.encode(&mut again);
        assert_eq!(again, bytes, "{end:?}");
    }
}

/// A whole checkpoint file, read as a restore reads it.
pub fn checkpoint_file(bytes: &[u8]) {
    checkpoint::fuzzing::read_file(bytes);
}
