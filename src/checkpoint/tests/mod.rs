//! Tests of checkpoint files, over a disk in memory.

mod backends;
mod delta;
mod file;
mod follower;
mod merge;
mod policy;

use std::collections::BTreeMap;
use std::path::Path;

use super::Grouping;
use super::file::{Header, file_path};
use super::pace::Pace;
use super::reader::FileReader;
use super::writer::{FileWriter, Written, seal};
use crate::codec::{Record, RecordKind};
use crate::ids::{CoreId, Epoch, FencingToken, Nonce};
use crate::manifest::tests::disk::{MemoryVfs, block_on};
use crate::manifest::{CheckpointFile, FileKind, FileName};
use crate::route::Route;

const ROOT: &str = "/data";
const DATABASE: Nonce = Nonce(0xdb);
const GROUPS: u16 = 16;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// A record of a file: kind, key, value.
type Held = (RecordKind, Vec<u8>, Vec<u8>);

fn root() -> &'static Path {
    Path::new(ROOT)
}

fn disk() -> MemoryVfs {
    let vfs = MemoryVfs::new();
    vfs.plant_folder("/data");
    vfs.plant_folder("/data/f");
    vfs
}

fn grouping() -> Grouping {
    Grouping::of(7, Route::WholeKey, GROUPS)
}

fn header(kind: FileKind, attempt: u32, from: u64, through: u64) -> Header {
    let uuid = Nonce(u128::from(attempt) + 1);
    Header {
        database: DATABASE,
        name: FileName { token: FencingToken(3), attempt, uuid, kind },
        core: CoreId(1),
        cores: 2,
        from_epoch: Epoch(from),
        through_epoch: Epoch(through),
    }
}

fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Record<'a> {
    Record { kind: RecordKind::Put, key, value }
}

fn delete(key: &[u8]) -> Record<'_> {
    Record { kind: RecordKind::Delete, key, value: &[] }
}

const CLEAR: Record<'static> = Record { kind: RecordKind::Clear, key: &[], value: &[] };

async fn writer(vfs: &MemoryVfs, header: Header) -> FileWriter<MemoryVfs> {
    let groups = (header.name.kind == FileKind::Base).then(grouping);
    FileWriter::create(vfs, root(), header, groups).await.unwrap()
}

fn sealed(vfs: &MemoryVfs, written: Written) -> CheckpointFile {
    block_on(seal(vfs, root(), vec![written])).unwrap().remove(0)
}

/// Writes `records`, which are in order, to the file of `header`.
fn write(vfs: &MemoryVfs, header: Header, records: &[Record<'_>]) -> CheckpointFile {
    let written = block_on(async {
        let mut writer = writer(vfs, header).await;
        for record in records {
            writer.push(record).await.unwrap();
        }
        writer.finish().await.unwrap()
    });
    sealed(vfs, written)
}

/// The records of a file, read and checked to its end.
fn read(vfs: &MemoryVfs, file: &CheckpointFile) -> crate::Result<Vec<Held>> {
    block_on(async {
        let reader = FileReader::open(vfs, root(), DATABASE, file).await?;
        let mut stream = reader.stream();
        let mut records = Vec::new();
        while let Some(block) = stream.next().await? {
            for entry in block.entries() {
                records.push((entry.record.kind, entry.record.key.to_vec(), entry.record.value.to_vec()));
            }
        }
        assert!(stream.next().await?.is_none());
        Ok(records)
    })
}

/// What a restore of `chain` rebuilds.
fn restore(vfs: &MemoryVfs, chain: &[CheckpointFile]) -> Model {
    let mut model = Model::new();
    for file in chain {
        for (kind, key, value) in read(vfs, file).unwrap() {
            match kind {
                RecordKind::Put => drop(model.insert(key, value)),
                RecordKind::Delete => drop(model.remove(&key)),
                RecordKind::Clear => model.clear(),
                RecordKind::EpochEnd => panic!("an epoch's end in a checkpoint file"),
            }
        }
    }
    model
}
