//! The life of a small database on a real disk: created, checkpointed, merged, collected, found again.

use std::num::NonZeroUsize;

use super::*;
use crate::checkpoint::delta::{DeltaBuilder, Pushed};
use crate::checkpoint::merge::merge;
use crate::checkpoint::reader::verify;
use crate::ids::{Lsn, SegmentNo};
use crate::manifest::gc::Listing;
use crate::manifest::opening::{Action, survey};
use crate::manifest::store::{Landing, land};
use crate::manifest::tests::samples;
use crate::manifest::{Author, Checkpoint, CoreLife, Cut, Life, Manifest, gc, ident};
use crate::vfs::{ObfuscatedVfs, StdVfs, Vfs};

async fn landed<V: Vfs>(vfs: &V, root: &Path, manifest: &Manifest) -> u32 {
    match land(vfs, root, manifest).await.unwrap() {
        Landing::Landed { crc } => crc,
        other => panic!("{other:?}"),
    }
}

/// The first open manifest of a database of two cores.
fn first_life(head: &Manifest, crc: u32) -> Manifest {
    let core = CoreLife {
        first_segment: SegmentNo(1),
        identity: Nonce(5),
        first_lsn: Lsn(1),
        carried_through: Lsn(0),
        ceiling: None,
    };
    let token = FencingToken(3);
    let life = Life { token, recovered_epoch: Epoch(0), cores: vec![core; 2] };
    Manifest {
        token,
        cores: 2,
        lives: vec![life],
        wal_floor: vec![SegmentNo(1); 2],
        ..head.successor(crc, Nonce(2), Author::Open)
    }
}

fn checkpoint(epoch: u64, files: Vec<CheckpointFile>) -> Checkpoint {
    Checkpoint {
        epoch: Epoch(epoch),
        token: FencingToken(3),
        files,
        cuts: vec![Cut { token: FencingToken(3), segment: SegmentNo(1), lsn: Lsn(9) }; 2],
        offsets: Vec::new(),
        inherited: Vec::new(),
        watermarks: vec![None; 2],
        sinks: Vec::new(),
    }
}

async fn write_delta<V: Vfs>(vfs: &V, root: &Path, attempt: u32, epoch: u64) -> CheckpointFile {
    let mut builder = DeltaBuilder::new(1 << 20);
    for i in 0..2000_u32 {
        let key = format!("key-{:05}", i * attempt);
        assert_eq!(builder.push(&put(key.as_bytes(), &[attempt.to_le_bytes()[0]; 100])), Pushed::Taken);
    }
    let header = Header { database: samples::DATABASE, ..header(FileKind::Delta, attempt, epoch - 1, epoch) };
    let writer = FileWriter::create(vfs, root, header, None).await.unwrap();
    let written = builder.write(writer).await.unwrap();
    seal(vfs, root, vec![written]).await.unwrap().remove(0)
}

async fn live<V: Vfs>(vfs: V, root: &Path) {
    ident::make_folders(&vfs, root, 2, &Listing::default()).await.unwrap();
    ident::land(&vfs, root, &samples::ident(), Nonce(1)).await.unwrap();
    let created = Manifest::create(samples::DATABASE, samples::TIMELINE, Nonce(1));
    let crc = landed(&vfs, root, &created).await;
    let opened = first_life(&created, crc);
    let crc = landed(&vfs, root, &opened).await;

    let chain = vec![write_delta(&vfs, root, 1, 1).await, write_delta(&vfs, root, 2, 2).await];
    let mut first = opened.successor(crc, Nonce(3), Author::Checkpoint);
    first.checkpoints = vec![checkpoint(2, chain.clone())];
    first.attempt_floor = 3;
    let crc = landed(&vfs, root, &first).await;

    let target = Header { database: samples::DATABASE, ..header(FileKind::Base, 3, 0, 2) };
    let written = merge(&vfs, root, &chain, || target, (grouping(), Pace::default())).await.unwrap();
    let base = seal(&vfs, root, vec![written]).await.unwrap().remove(0);
    verify(&vfs, root, samples::DATABASE, &base, Some(&grouping())).await.unwrap();
    assert_eq!((base.entries, base.tombstones), (3000, 0));

    let mut rewritten = first.successor(crc, Nonce(4), Author::Checkpoint);
    rewritten.checkpoints = vec![checkpoint(2, vec![base])];
    rewritten.retired = chain.iter().map(|file| file.name).collect();
    rewritten.attempt_floor = 4;
    landed(&vfs, root, &rewritten).await;

    let listing = gc::listing(&vfs, root).await.unwrap();
    let plan = gc::plan(&listing, &rewritten, gc::Moment::Opening);
    // Two deltas, the manifests of the creation and of the open; the head's predecessor stays.
    assert_eq!(gc::execute(&vfs, root, &plan).await.unwrap(), 4);

    let found = survey(&vfs, root).await.unwrap();
    assert_eq!(found.decide(root).unwrap(), Action::Recover);
    assert_eq!(found.foreign, [""; 0]);
    assert_eq!(found.head.unwrap().manifest, rewritten);
    verify(&vfs, root, samples::DATABASE, &base, None).await.unwrap();
}

#[test]
fn a_database_lives_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    block_on(live(StdVfs, &folder.path().join("data")));
}

/// Shifted bytes and short transfers change nothing that is seen through the seam.
#[test]
fn a_database_lives_behind_an_obfuscated_seam() {
    let folder = tempfile::tempdir().unwrap();
    let vfs = ObfuscatedVfs::new(StdVfs, NonZeroUsize::new(777).unwrap());
    block_on(live(vfs, &folder.path().join("data")));
}
