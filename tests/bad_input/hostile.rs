//! A directory that somebody made to do harm: nothing outside of it is read, written or removed, no length in it is believed
//! before it is held against what is there, and nothing panics. (Somebody who changes it meanwhile is another matter: the
//! directory is locked, and belongs to who runs the program.)

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use highwater::{Engine, ErrorKind, VerifyOptions, verify};

use super::hostile_tree::{FORGED_COUNTS, content, forge_counts, giant, linked_out, outside, pipe, seal};
use super::{Place, advises, edit, sorted};

#[test]
fn a_folder_that_is_a_link_is_refused_and_what_it_leads_to_is_left_alone() {
    for folder in ["wal", "m", "f", "wal/00000", "wal/00001"] {
        let place = Place::with_epochs(5);
        let outside = linked_out(&place.path, folder);
        fs::write(outside.join(format!("{:020}.{:032x}.tmp", 9, 9)), "like a leftover of ours").unwrap();
        let before = content(&outside);
        let error = place.refuses(place.options(), ErrorKind::Corrupt, folder);
        advises(&error, &["links are not followed"]);
        assert!(content(&outside) == before, "{folder}");
        let report = verify(&place.path, VerifyOptions::new()).unwrap();
        assert!(!report.is_sound(), "{folder}");
        assert!(report.damage.iter().any(|damage| damage.path.ends_with(folder)), "{folder}: {report}");
    }
}

/// The files of `place`, below its directory.
fn names(place: &Place) -> Vec<PathBuf> {
    let files = place.tree().into_iter().filter(|(_, bytes)| bytes.is_some());
    files.map(|(path, _)| path.strip_prefix(&place.path).unwrap().to_owned()).collect()
}

#[test]
fn a_file_that_is_a_link_is_refused_or_left_alone() {
    let whole = Place::with_epochs(5);
    for name in names(&whole) {
        let place = copy(&whole);
        let outside = linked_out(&place.path, name.to_str().unwrap());
        let before = fs::read(&outside).unwrap();
        // An older manifest, say, is not needed; then the open succeeds without it.
        if let Ok(opened) = Engine::open(place.options()) {
            opened.engine.close(opened.cores).unwrap();
        }
        let _ = verify(&place.path, VerifyOptions::new());
        assert_eq!(fs::read(&outside).unwrap(), before, "{}", name.display());
    }
}

#[test]
fn a_dangling_link_makes_no_file_elsewhere() {
    for name in ["LOCK", "RESERVE", "IDENT", "m/00000000000000000099", "wal/00000/00000000000000000099"] {
        let place = Place::with_epochs(5);
        let elsewhere = outside(&place.path).join("made");
        let _ = fs::remove_file(place.path.join(name));
        symlink(&elsewhere, place.path.join(name)).unwrap();
        if let Ok(opened) = Engine::open(place.options()) {
            opened.engine.close(opened.cores).unwrap();
        }
        assert!(!elsewhere.exists(), "{name}");
    }
}

/// A second name of a file means that somebody else relies on its bytes: no log file is written anew in place.
#[test]
fn what_hard_links_lead_to_is_never_changed() {
    let place = Place::with_epochs(5);
    let outside = outside(&place.path);
    for (at, (path, _)) in place.tree().into_iter().filter(|(_, bytes)| bytes.is_some()).enumerate() {
        fs::hard_link(path, outside.join(at.to_string())).unwrap();
    }
    let before = content(&outside);
    for _ in 0..3 {
        let opened = Engine::open(place.options()).unwrap();
        let (engine, mut cores) = (opened.engine, opened.cores);
        for round in 0..40_u64 {
            for number in 0..20_u64 {
                let key = format!("key/{number}");
                let core = engine.core_of(key.as_bytes()).index();
                cores[core].put(key.as_bytes(), &[b'n'; 60]).unwrap();
            }
            let ended =
                cores.iter_mut().map(|core| core.close_epoch(highwater::EpochMark::new()).unwrap()).last();
            engine.wait_durable(ended.unwrap()).unwrap();
            if round % 10 == 9 {
                engine.checkpoint().unwrap();
            }
        }
        engine.close(cores).unwrap();
    }
    assert!(content(&outside) == before);
}

/// The counts that a manifest states of a file are what a restore makes room for.
#[test]
fn counts_that_no_file_has_are_refused_before_memory_is_taken_for_them() {
    let whole = Place::with_epochs(5);
    let file = sorted(&whole.path.join("f")).pop().unwrap();
    for counts in FORGED_COUNTS {
        let place = copy(&whole);
        let head = sorted(&place.path.join("m")).pop().unwrap();
        edit(&head, |manifest| forge_counts(manifest, &file, counts));
        let report = verify(&place.path, VerifyOptions::new()).unwrap();
        assert!(!report.is_sound());
        match Engine::open(place.options()) {
            // The whole log is there, and leads to the same.
            Ok(opened) => {
                assert_eq!(opened.report.epoch.0, 5);
                assert_eq!(opened.report.skipped.len(), 1, "{}", opened.report);
                opened.engine.close(opened.cores).unwrap();
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
        }
    }
}

/// Any four bytes of a manifest may be any number, with all checksums right: offsets, lengths and counts of its lists.
#[test]
fn forged_numbers_in_a_manifest_are_refused_or_harmless() {
    let place = Place::with_epochs(5);
    let head = sorted(&place.path.join("m")).pop().unwrap();
    let whole = fs::read(&head).unwrap();
    for at in (48..whole.len() - 3).step_by(4) {
        for forged in [u32::MAX, 0x7fff_ffff, 0x0100_0000] {
            edit(&head, |manifest| {
                manifest.copy_from_slice(&whole);
                manifest[at..at + 4].copy_from_slice(&forged.to_le_bytes());
                seal(manifest);
            });
            let _ = verify(&place.path, VerifyOptions::new());
        }
    }
}

/// A number that is off by one contradicts a log that is sound by itself. Epoch and place of a cut, say, ended in a panic.
#[test]
fn a_manifest_that_the_logs_contradict_is_refused_or_harmless() {
    let whole = Place::with_epochs(5);
    let bytes = fs::read(sorted(&whole.path.join("m")).pop().unwrap()).unwrap();
    for at in (48..bytes.len() - 7).step_by(8) {
        let place = copy(&whole);
        edit(&sorted(&place.path.join("m")).pop().unwrap(), |manifest| {
            manifest[at] ^= 1;
            seal(manifest);
        });
        if let Ok(opened) = Engine::open(place.options()) {
            opened.engine.close(opened.cores).unwrap();
        }
    }
}

/// A file of many gigabytes that takes no space: what is read of it is what a manifest of the database names.
#[test]
fn sparse_giants_are_refused_without_being_read() {
    let whole = Place::with_epochs(5);
    for name in names(&whole) {
        let place = copy(&whole);
        giant(&place.path.join(&name));
        if let Ok(opened) = Engine::open(place.options()) {
            opened.engine.close(opened.cores).unwrap();
        }
    }
}

/// Whoever opens a pipe waits for its other end.
#[test]
fn a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for() {
    let whole = Place::with_epochs(5);
    for name in names(&whole) {
        let place = copy(&whole);
        pipe(&place.path.join(&name));
        if let Ok(opened) = Engine::open(place.options()) {
            opened.engine.close(opened.cores).unwrap();
        }
        let _ = verify(&place.path, VerifyOptions::new());
    }
}

/// A copy of a closed database.
fn copy(whole: &Place) -> Place {
    let place = Place::new();
    fs::create_dir(&place.path).unwrap();
    for (path, bytes) in whole.tree() {
        let target = place.path.join(path.strip_prefix(&whole.path).unwrap());
        match bytes {
            None => fs::create_dir_all(target).unwrap(),
            Some(bytes) => {
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                fs::write(target, bytes).unwrap();
            }
        }
    }
    place
}
