use std::path::Path;

use super::disk::{MemoryVfs, block_on};
use super::samples;
use crate::error::ErrorKind;
use crate::ids::Nonce;
use crate::manifest::gc::Listing;
use crate::manifest::opening::{Action, Contents, IdentState, Refusal, decide, survey};
use crate::manifest::store::{Landing, land};
use crate::manifest::{Manifest, ident};

const ROOT: &str = "/data";

const IDENTS: [IdentState; 4] = [IdentState::Absent, IdentState::Good, IdentState::Bad, IdentState::Newer];
const CONTENTS: [Contents; 7] = [
    Contents::Missing,
    Contents::Empty,
    Contents::Scaffold,
    Contents::Data,
    Contents::Manifests,
    Contents::BadHead,
    Contents::NewerHead,
];

/// What must hold of each line, said apart from the table itself.
#[test]
fn the_table_is_total_and_never_creates_over_data() {
    let mut lines = 0;
    for ident in IDENTS {
        for contents in CONTENTS {
            for foreign in [false, true] {
                lines += 1;
                let action = decide(ident, contents, foreign);
                let holds_data =
                    !matches!(contents, Contents::Missing | Contents::Empty | Contents::Scaffold);
                let creates = matches!(action, Action::Create | Action::CreateAgain | Action::FinishCreation);
                assert!(!(creates && holds_data), "{ident:?} {contents:?}: {action:?}");
                let recovers = ident == IdentState::Good && contents == Contents::Manifests;
                assert_eq!(action == Action::Recover, recovers, "{ident:?} {contents:?}: {action:?}");
                let strangers_home = ident == IdentState::Absent && foreign && !holds_data;
                if strangers_home && contents != Contents::Missing {
                    assert_eq!(action, Action::Refuse(Refusal::Foreign));
                }
            }
        }
    }
    assert_eq!(lines, 56);
}

async fn create(vfs: &MemoryVfs) -> crate::Result<()> {
    let root = Path::new(ROOT);
    ident::make_folders(vfs, root, 2, &Listing::default()).await?;
    let found = survey(vfs, root).await?;
    let ident = match found.decide(root)? {
        Action::Create | Action::CreateAgain => {
            ident::land(vfs, root, &samples::ident(), Nonce(u128::from(vfs.calls()))).await?;
            samples::ident()
        }
        Action::FinishCreation => {
            let ident = found.ident.unwrap();
            ident::land_again(vfs, root, &ident, Nonce(u128::from(vfs.calls()))).await?;
            ident
        }
        Action::Recover => return Ok(()),
        Action::Refuse(refusal) => unreachable!("{refusal:?} is an error"),
    };
    let first = Manifest::create(ident.database, ident.timeline, Nonce(u128::from(vfs.calls())));
    match land(vfs, root, &first).await? {
        Landing::Landed { .. } => Ok(()),
        other => panic!("{other:?}"),
    }
}

/// A power cut at any call of a creation, twice in a row, leaves a directory that the next open finishes.
#[test]
fn a_creation_may_be_interrupted_anywhere() {
    let whole = MemoryVfs::new();
    block_on(create(&whole)).unwrap();
    for first in 0..whole.calls() {
        for second in (0..whole.calls()).step_by(3) {
            let vfs = MemoryVfs::new();
            for stop in [first, second] {
                vfs.stop_after(stop);
                let _ = block_on(create_until_stopped(&vfs));
                vfs.crash();
            }
            block_on(create(&vfs)).unwrap();
            vfs.crash();
            let found = block_on(survey(&vfs, Path::new(ROOT))).unwrap();
            assert_eq!(found.decide(Path::new(ROOT)).unwrap(), Action::Recover);
        }
    }
}

/// A stopped machine's answers are no outcome.
async fn create_until_stopped(vfs: &MemoryVfs) -> crate::Result<()> {
    let root = Path::new(ROOT);
    ident::make_folders(vfs, root, 2, &Listing::default()).await?;
    let found = survey(vfs, root).await?;
    let nonce = Nonce(u128::from(vfs.calls()));
    match found.ident {
        None => ident::land(vfs, root, &samples::ident(), nonce).await?,
        Some(ident) => ident::land_again(vfs, root, &ident, nonce).await?,
    }
    if found.head.is_none() {
        let first = Manifest::create(samples::DATABASE, samples::TIMELINE, Nonce(u128::from(vfs.calls())));
        land(vfs, root, &first).await?;
    }
    Ok(())
}

/// A database whose head is manifest 9.
fn database() -> MemoryVfs {
    let vfs = MemoryVfs::new();
    block_on(async {
        create(&vfs).await.unwrap();
        assert!(matches!(
            land(&vfs, Path::new(ROOT), &samples::manifest()).await.unwrap(),
            Landing::Landed { .. }
        ));
    });
    vfs
}

fn refused(vfs: &MemoryVfs) -> crate::Error {
    let before = vfs.image();
    let root = Path::new(ROOT);
    let error = block_on(survey(vfs, root)).unwrap().decide(root).unwrap_err();
    assert_eq!(vfs.image(), before, "a refusal changed the disk");
    error
}

#[test]
fn a_database_is_recovered_from_its_head() {
    let vfs = database();
    let found = block_on(survey(&vfs, Path::new(ROOT))).unwrap();
    assert_eq!(found.decide(Path::new(ROOT)).unwrap(), Action::Recover);
    assert_eq!(found.head.unwrap().manifest, samples::manifest());
}

#[test]
fn damage_is_refused_with_its_place() {
    let head = "/data/m/00000000000000000009";
    let cases: [(&str, Option<&[u8]>); 4] = [
        ("/data/IDENT", Some(b"torn")),
        (head, Some(b"")),
        (head, Some(b"HWMANIF\0")),
        ("/data/m/00000000000000000010", Some(b"not ours")),
    ];
    for (path, bytes) in cases {
        let vfs = database();
        vfs.plant(path, bytes.unwrap());
        let error = refused(&vfs);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!(error.path(), Some(Path::new(path)));
    }
}

#[test]
fn data_without_its_ident_or_manifests_is_refused() {
    let vfs = database();
    block_on(crate::vfs::Vfs::remove(&vfs, Path::new("/data/IDENT"))).unwrap();
    assert_eq!(refused(&vfs).kind(), ErrorKind::Corrupt);

    let vfs = database();
    vfs.plant("/data/wal/00001/00000000000000000001", b"a segment");
    for seq in [1, 9] {
        let path = format!("/data/m/{seq:020}");
        block_on(crate::vfs::Vfs::remove(&vfs, Path::new(&path))).unwrap();
    }
    let error = refused(&vfs);
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.path(), Some(Path::new("/data/m")));
}

#[test]
fn a_manifest_of_another_database_is_refused() {
    let vfs = database();
    let mut other = samples::manifest();
    other.database = Nonce(0xbad);
    other.seq = crate::ids::ManifestSeq(11);
    block_on(land(&vfs, Path::new(ROOT), &other)).unwrap();
    assert_eq!(refused(&vfs).kind(), ErrorKind::Corrupt);
}

#[test]
fn a_strangers_directory_is_refused_and_a_fresh_file_system_is_not() {
    let vfs = MemoryVfs::new();
    vfs.plant_folder("/data");
    vfs.plant_folder("/data/lost+found");
    let root = Path::new(ROOT);
    assert_eq!(block_on(survey(&vfs, root)).unwrap().decide(root).unwrap(), Action::Create);
    vfs.plant("/data/thesis.txt", b"years of work");
    let error = refused(&vfs);
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("thesis.txt"), "{error}");
}

#[test]
fn a_strangers_file_in_a_database_is_reported_and_left() {
    let vfs = database();
    vfs.plant("/data/f/notes.txt", b"mine");
    let found = block_on(survey(&vfs, Path::new(ROOT))).unwrap();
    assert_eq!(found.foreign, ["f/notes.txt"]);
    assert_eq!(found.decide(Path::new(ROOT)).unwrap(), Action::Recover);
}

#[test]
fn an_unreadable_device_is_no_damage() {
    let vfs = database();
    vfs.fail("read_at", 1, std::io::ErrorKind::Other, false);
    assert_eq!(block_on(survey(&vfs, Path::new(ROOT))).unwrap_err().kind(), ErrorKind::Failed);
}
