use std::io;
use std::path::Path;

use super::disk::{MemoryVfs, block_on};
use super::samples;
use crate::error::ErrorKind;
use crate::ids::{ManifestSeq, Nonce};
use crate::manifest::store::{Landing, head, land};
use crate::manifest::{Author, Manifest};

const ROOT: &str = "/data";

fn disk() -> MemoryVfs {
    let vfs = MemoryVfs::new();
    vfs.plant_folder("/data");
    vfs.plant_folder("/data/m");
    vfs
}

fn landing(vfs: &MemoryVfs, manifest: &Manifest) -> crate::Result<Landing> {
    block_on(land(vfs, Path::new(ROOT), manifest))
}

fn found(vfs: &MemoryVfs) -> Option<Manifest> {
    block_on(head(vfs, Path::new(ROOT), samples::DATABASE)).unwrap().map(|head| head.manifest)
}

#[test]
fn a_landed_manifest_is_the_head_after_a_crash() {
    let vfs = disk();
    vfs.short();
    assert_eq!(found(&vfs), None);
    let Landing::Landed { crc } = landing(&vfs, &samples::manifest()).unwrap() else { panic!("not landed") };
    vfs.crash();
    assert_eq!(found(&vfs), Some(samples::manifest()));
    assert_eq!(block_on(head(&vfs, Path::new(ROOT), samples::DATABASE)).unwrap().unwrap().crc, crc);
}

#[test]
fn numbers_may_have_gaps() {
    let vfs = disk();
    landing(&vfs, &samples::manifest()).unwrap();
    let mut later = samples::manifest().successor(1, Nonce(2), Author::Retire);
    later.seq = ManifestSeq(400);
    landing(&vfs, &later).unwrap();
    assert_eq!(found(&vfs), Some(later));
}

#[test]
fn the_second_of_one_number_learns_of_the_first() {
    let vfs = disk();
    landing(&vfs, &samples::manifest()).unwrap();
    let rival = Manifest { nonce: Nonce(1), ..samples::manifest() };
    match landing(&vfs, &rival).unwrap() {
        Landing::Conflict(found) => assert_eq!(*found, samples::manifest()),
        other => panic!("{other:?}"),
    }
    assert_eq!(found(&vfs), Some(samples::manifest()));
}

/// Before the link nothing has a name: the error is a plain one, and the number is free.
#[test]
fn a_failure_before_the_link_is_a_failure() {
    for (operation, kind, expected) in [
        ("create_new", io::ErrorKind::StorageFull, ErrorKind::Full),
        ("write_at", io::ErrorKind::StorageFull, ErrorKind::Full),
        ("sync_data", io::ErrorKind::Other, ErrorKind::Failed),
        ("link", io::ErrorKind::StorageFull, ErrorKind::Full),
    ] {
        let vfs = disk();
        vfs.fail(operation, 0, kind, false);
        let before = vfs.image();
        assert_eq!(landing(&vfs, &samples::manifest()).unwrap_err().kind(), expected, "{operation}");
        assert_eq!(vfs.image(), before, "{operation}: what was written stays");
        vfs.crash();
        assert_eq!(found(&vfs), None);
        let again = Manifest { nonce: Nonce(7), ..samples::manifest() };
        assert!(matches!(landing(&vfs, &again).unwrap(), Landing::Landed { .. }));
    }
}

#[test]
fn a_failed_sync_of_the_folder_is_unknown_whether_it_took_effect_or_not() {
    for done in [false, true] {
        let vfs = disk();
        vfs.fail("sync_dir", 0, io::ErrorKind::Other, done);
        match landing(&vfs, &samples::manifest()).unwrap() {
            Landing::Unknown(error) => assert_eq!(error.kind(), ErrorKind::Failed),
            other => panic!("{other:?}"),
        }
        vfs.crash();
        assert_eq!(found(&vfs).is_some(), done);
    }
}

#[test]
fn a_link_that_failed_and_took_effect_has_landed() {
    let vfs = disk();
    vfs.fail("link", 0, io::ErrorKind::Other, true);
    assert!(matches!(landing(&vfs, &samples::manifest()).unwrap(), Landing::Landed { .. }));
    vfs.crash();
    assert_eq!(found(&vfs), Some(samples::manifest()));
}

#[test]
fn a_link_that_failed_without_a_trace_is_unknown() {
    let vfs = disk();
    vfs.fail("link", 0, io::ErrorKind::Other, false);
    assert!(matches!(landing(&vfs, &samples::manifest()).unwrap(), Landing::Unknown(_)));
}

/// A power cut at any call: the head is the old one or the new one, whole.
#[test]
fn a_crash_anywhere_leaves_the_old_head_or_the_new() {
    let next = samples::manifest().successor(3, Nonce(3), Author::Retire);
    let mut seen = [false; 2];
    for call in 0..40 {
        let vfs = disk();
        landing(&vfs, &samples::manifest()).unwrap();
        vfs.stop_after(call);
        let outcome = landing(&vfs, &next);
        vfs.crash();
        let found = found(&vfs).unwrap();
        assert!(found == next || found == samples::manifest(), "call {call}");
        if matches!(outcome, Ok(Landing::Landed { .. })) {
            assert_eq!(found, next, "call {call}: what landed was lost");
        }
        if outcome.is_err() {
            assert_ne!(found, next, "call {call}: what did not land is there");
        }
        seen[usize::from(found == next)] = true;
    }
    assert_eq!(seen, [true; 2]);
}

#[test]
fn a_damaged_greatest_manifest_hides_no_older_one() {
    let vfs = disk();
    landing(&vfs, &samples::manifest()).unwrap();
    vfs.plant("/data/m/00000000000000000010", b"");
    let error = block_on(head(&vfs, Path::new(ROOT), samples::DATABASE)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.path(), Some(Path::new("/data/m/00000000000000000010")));
}

#[test]
fn a_manifest_under_another_number_is_corrupt() {
    let vfs = disk();
    landing(&vfs, &samples::manifest()).unwrap();
    let bytes = vfs.bytes(Path::new("/data/m/00000000000000000009"));
    vfs.plant("/data/m/00000000000000000012", &bytes);
    let error = block_on(head(&vfs, Path::new(ROOT), samples::DATABASE)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}
