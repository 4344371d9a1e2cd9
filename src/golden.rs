//! Every structure of the golden directories (`tests/golden`) encodes to the bytes that it was decoded from.

#[path = "../tests/golden/archive.rs"]
mod archive;

use std::path::Path;

use archive::{ALL, Tree};

use crate::checkpoint::Grouping;
use crate::checkpoint::file::{Header, file_path};
use crate::checkpoint::reader::FileReader;
use crate::checkpoint::writer::{FileWriter, seal};
use crate::codec::{EpochEnd, Record, RecordKind, crc};
use crate::limits::FRAME_HEADER_BYTES;
use crate::manifest::ident::Ident;
use crate::manifest::tests::disk::{MemoryVfs, block_on};
use crate::manifest::{CheckpointFile, FileKind, Manifest, decode, encode_object};
use crate::wal::frame::{FrameHeader, FrameKind, Predecessor, stated_floor};
use crate::wal::segment::SegmentHeader;

const ROOT: &str = "/data";

/// The files of `tree` below `folder`, with their paths.
fn files<'a>(tree: &'a Tree, folder: &'a str) -> impl Iterator<Item = (&'a str, &'a [u8])> {
    let below = tree.iter().filter(move |(path, _)| path.starts_with(folder));
    below.filter_map(|(path, bytes)| Some((path.as_str(), bytes.as_deref()?)))
}

fn ident(tree: &Tree) -> Option<Ident> {
    let bytes = tree.get("IDENT")?.as_deref()?;
    let ident = Ident::decode(Path::new("IDENT"), bytes).unwrap();
    assert!(ident.encode() == bytes);
    Some(ident)
}

fn manifests(tree: &Tree) -> Vec<Manifest> {
    let encodes = |(path, bytes)| {
        let (manifest, crc) = decode(Path::new(path), bytes).unwrap();
        assert!(encode_object(&manifest).unwrap() == (bytes.to_vec(), crc), "{path}");
        manifest
    };
    files(tree, "m/").map(encodes).collect()
}

#[test]
fn idents_and_manifests_encode_to_what_they_were() {
    let mut seen = 0;
    for golden in &ALL {
        let tree = archive::parse(golden.files);
        assert!(archive::print(&tree) == golden.files);
        if ident(&tree).is_none() {
            continue;
        }
        let manifests = manifests(&tree);
        seen += manifests.len();
        let head = manifests.last().unwrap();
        assert!(golden.held.starts_with("epoch "), "{}: what it holds begins with its epoch", golden.name);
        let is_decided = !head.checkpoints.is_empty() || head.decided.is_some();
        assert!(is_decided, "{}/{}", golden.version, golden.name);
    }
    assert!(seen >= 6, "{seen} manifests");
}

/// How often each kind of frame was met: `SegmentStart`, `Records`, `Seal`, `Close`.
type Kinds = [usize; 4];

/// A segment whose header and frames were decoded and encoded, each with the zeroes behind it. Elsewhere it may hold frames
/// of an earlier use of the file.
fn segment(path: &str, bytes: &[u8], kinds: &mut Kinds) -> Vec<u8> {
    let (header, salt) = SegmentHeader::decode(bytes, Path::new(path)).unwrap();
    let (front, encoded_salt) = header.encode();
    assert_eq!(encoded_salt, salt, "{path}");
    let mut again = bytes.to_vec();
    again[..4096].fill(0);
    again[..front.len()].copy_from_slice(&front);
    let unit = usize::try_from(header.log.unit()).unwrap();
    for at in (4096..bytes.len()).step_by(unit) {
        let Ok((frame, header_crc)) = FrameHeader::decode(salt, at as u64, &bytes[at..]) else { continue };
        let end = at + frame.frame_bytes as usize;
        let payload = payload(&frame, &bytes[at + FRAME_HEADER_BYTES..end], kinds);
        let frame = FrameHeader { payload_crc: crc(salt, &payload), ..frame };
        let (header, crc) = frame.encode(salt, at as u64);
        assert_eq!(crc, header_crc, "{path}, offset {at}");
        again[at..end.next_multiple_of(unit)].fill(0);
        again[at..at + FRAME_HEADER_BYTES].copy_from_slice(&header);
        again[at + FRAME_HEADER_BYTES..end].copy_from_slice(&payload);
    }
    again
}

/// What a frame holds, decoded and encoded.
fn payload(frame: &FrameHeader, bytes: &[u8], kinds: &mut Kinds) -> Vec<u8> {
    let mut out = Vec::new();
    match frame.kind {
        FrameKind::SegmentStart => {
            kinds[0] += 1;
            let (start, floor) = Predecessor::decode(bytes, frame.segment).unwrap();
            out.extend_from_slice(&start.encode(floor));
        }
        FrameKind::Records => {
            kinds[1] += 1;
            let mut rest = bytes;
            for _ in 0..frame.records {
                let (record, behind) = Record::decode(rest).unwrap();
                rest = behind;
                let mut value = record.value.to_vec();
                // A log without a database has ends of epochs that are marks, too.
                if record.kind == RecordKind::EpochEnd {
                    let mark = EpochEnd::decode(record.value).unwrap();
                    value.clear();
                    mark.encode(&mut value);
                }
                Record { value: &value, ..record }.append_to(&mut out);
            }
            assert!(rest.is_empty());
        }
        FrameKind::Seal | FrameKind::Close => {
            kinds[frame.kind as usize - 1] += 1;
            out.extend_from_slice(&stated_floor(frame, bytes).unwrap().0.to_le_bytes());
        }
    }
    out
}

#[test]
fn segments_encode_to_what_they_were() {
    let mut kinds = Kinds::default();
    for golden in &ALL {
        let tree = archive::parse(golden.files);
        for (path, bytes) in files(&tree, "").filter(|(_, bytes)| bytes.starts_with(b"HWALSEG\0")) {
            let again = segment(path, bytes, &mut kinds);
            assert!(again == bytes, "{}, {path}", golden.name);
        }
    }
    let [others @ .., closes] = kinds;
    assert!(others.iter().all(|count| *count >= 5) && closes >= 4, "{kinds:?}");
}

/// Writes the records of `file` to another disk, under the same name.
async fn rewrite(vfs: &MemoryVfs, other: &MemoryVfs, ident: &Ident, file: &CheckpointFile) {
    let root = Path::new(ROOT);
    let reader = FileReader::open(vfs, root, ident.database, file).await.unwrap();
    let header = Header {
        database: ident.database,
        name: file.name,
        core: file.core,
        cores: file.cores,
        from_epoch: file.from_epoch,
        through_epoch: file.through_epoch,
    };
    let Ident { hash_seed, route, key_groups, .. } = *ident;
    let grouping = (file.name.kind == FileKind::Base).then(|| Grouping::of(hash_seed, route, key_groups));
    let mut writer = FileWriter::create(other, root, header, grouping).await.unwrap();
    let mut stream = reader.stream();
    while let Some(block) = stream.next().await.unwrap() {
        for entry in block.entries() {
            writer.push(&entry.record).await.unwrap();
        }
    }
    let written = writer.finish().await.unwrap();
    assert_eq!(seal(other, root, vec![written]).await.unwrap(), [*file]);
}

#[test]
fn checkpoint_files_encode_to_what_they_were() {
    let (mut bases, mut deltas) = (0, 0);
    for golden in &ALL {
        let tree = archive::parse(golden.files);
        let Some(ident) = ident(&tree) else { continue };
        let head = manifests(&tree).pop().unwrap();
        let kept = head.kept.iter().map(|kept| &kept.checkpoint);
        let mut listed: Vec<_> =
            head.checkpoints.iter().chain(kept).flat_map(|checkpoint| checkpoint.files.clone()).collect();
        listed.sort_by_key(|file| file.name);
        listed.dedup();
        let (vfs, other) = (MemoryVfs::new(), MemoryVfs::new());
        for disk in [&vfs, &other] {
            disk.plant_folder(ROOT);
            disk.plant_folder("/data/f");
        }
        for file in &listed {
            let path = file_path(Path::new(ROOT), &file.name);
            let below = format!("f/{}", file.name);
            let bytes = tree[&below].as_deref().unwrap();
            vfs.plant(&path, bytes);
            block_on(rewrite(&vfs, &other, &ident, file));
            assert!(other.bytes(&path) == bytes, "{below}");
            match file.name.kind {
                FileKind::Base => bases += 1,
                FileKind::Delta => deltas += 1,
            }
        }
    }
    assert!(bases >= 3 && deltas >= 3, "{bases} bases, {deltas} deltas");
}
