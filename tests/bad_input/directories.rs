//! Directories that are no database, not yet one, somebody else's, or not all there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::{Place, advises, edit};
use highwater::{Engine, ErrorKind, Opened};

#[test]
fn a_directory_of_somebody_else_is_refused() {
    let place = Place::new();
    fs::create_dir(&place.path).unwrap();
    fs::write(place.path.join("notes.txt"), "mine").unwrap();
    let error = place.refuses(place.options(), ErrorKind::Invalid, "data");
    advises(&error, &["notes.txt"]);
}

#[test]
fn a_file_where_the_directory_should_be_is_refused() {
    let place = Place::new();
    fs::write(&place.path, "a file").unwrap();
    let error = Engine::open(place.options()).unwrap_err();
    assert_eq!(error.path(), Some(place.path.as_path()), "{error}");
    assert_eq!(fs::read(&place.path).unwrap(), b"a file");
}

#[test]
fn a_missing_parent_is_named_and_not_made() {
    let place = Place::new();
    let path = place.path.join("deeper/still");
    let options = highwater::Options::new(&path);
    let error = Engine::open(options).unwrap_err();
    advises(&error, &["parent"]);
    assert!(!place.path.exists(), "a parent was made");
}

#[test]
fn an_interrupted_creation_goes_on() {
    let whole = Place::with_epochs(0);
    let ident = fs::read(whole.path.join("IDENT")).unwrap();
    for step in 0..4 {
        let place = Place::new();
        fs::create_dir(&place.path).unwrap();
        if step >= 1 {
            fs::create_dir(place.path.join("wal")).unwrap();
            fs::create_dir(place.path.join("m")).unwrap();
        }
        if step >= 2 {
            let temp = format!("IDENT.{:032x}.tmp", 7);
            fs::write(place.path.join(temp), &ident[..40]).unwrap();
        }
        if step >= 3 {
            fs::write(place.path.join("IDENT"), &ident).unwrap();
        }
        assert_eq!(place.epoch(), 0, "step {step}");
        assert_eq!(place.epoch(), 0, "step {step}, opened again");
    }
}

#[test]
fn a_damaged_or_missing_ident_is_refused() {
    let place = Place::with_epochs(4);
    let ident = place.path.join("IDENT");
    let whole = fs::read(&ident).unwrap();
    for at in 0..whole.len() {
        edit(&ident, |bytes| bytes[at] ^= 0x10);
        place.refuses(place.options(), ErrorKind::Corrupt, "IDENT");
        fs::write(&ident, &whole).unwrap();
    }
    for cut in [&whole[..0], &whole[..50]] {
        fs::write(&ident, cut).unwrap();
        place.refuses(place.options(), ErrorKind::Corrupt, "IDENT");
    }
    fs::remove_file(&ident).unwrap();
    place.refuses(place.options(), ErrorKind::Corrupt, "IDENT");
    fs::write(&ident, &whole).unwrap();
    assert_eq!(place.epoch(), 4);
}

#[test]
fn lost_manifests_are_refused() {
    let place = Place::with_epochs(4);
    for path in super::sorted(&place.path.join("m")) {
        fs::remove_file(path).unwrap();
    }
    place.refuses(place.options(), ErrorKind::Corrupt, "m");
}

#[test]
fn every_missing_segment_is_refused_or_needed_by_nobody() {
    let mut refused = 0;
    for index in 0.. {
        let place = Place::with_epochs(12);
        let segments = place.segments();
        let Some(path) = segments.get(index) else { break };
        fs::remove_file(path).unwrap();
        let before = place.tree();
        match Engine::open(place.options()) {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                assert!(error.path().is_some(), "{error}");
                assert!(place.tree() == before, "a refused open changed the directory: {error}");
                refused += 1;
            }
            // Below the checkpoint, or prepared and not yet used.
            Ok(Opened { report, .. }) => assert_eq!(report.epoch.0, 12, "without {}", path.display()),
        }
    }
    assert!(refused >= 2, "only {refused} missing segments were noticed");
}

#[test]
fn a_directory_without_permissions_is_an_error() {
    let place = Place::with_epochs(3);
    fs::set_permissions(&place.path, fs::Permissions::from_mode(0o500)).unwrap();
    for folder in ["m", "f", "wal/00000", "wal/00001"] {
        fs::set_permissions(place.path.join(folder), fs::Permissions::from_mode(0o500)).unwrap();
    }
    let outcome = if fs::write(place.path.join("m/probe"), "").is_ok() {
        fs::remove_file(place.path.join("m/probe")).unwrap();
        Err("the user who runs this test may write everywhere")
    } else {
        let before = place.tree();
        let error = Engine::open(place.options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed, "{error}");
        assert!(error.path().is_some_and(|path| path.starts_with(&place.path)), "{error}");
        assert!(place.tree() == before, "{error}");
        Ok(())
    };
    for folder in ["", "m", "f", "wal/00000", "wal/00001"] {
        fs::set_permissions(place.path.join(folder), fs::Permissions::from_mode(0o700)).unwrap();
    }
    match outcome {
        Ok(()) => assert_eq!(place.epoch(), 3),
        Err(why) => println!("NOT RUN: {why}"),
    }
}

/// The variable that makes this binary the second opener.
const CHILD: &str = "HIGHWATER_SECOND_OPENER_DIR";

#[test]
fn a_directory_that_is_open_is_busy_for_everybody_else() {
    let place = Place::with_epochs(3);
    let Opened { engine, cores, .. } = Engine::open(place.options()).unwrap();
    let error = Engine::open(place.options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert_eq!(error.path(), Some(place.path.as_path()));
    advises(&error, &["close"]);

    let link = place.path.with_file_name("another name");
    std::os::unix::fs::symlink(&place.path, &link).unwrap();
    let error = Engine::open(highwater::Options::new(&link).cores(2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "by another path: {error}");

    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "directories::the_second_opener", "--nocapture"])
        .env(CHILD, &place.path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned();
    assert!(said.contains("second opener: Busy"), "{said}");
    engine.close(cores).unwrap();
    assert_eq!(place.epoch(), 3);
}

/// The other process's part; nothing when the test binary is run by a person.
#[test]
fn the_second_opener() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    match Engine::open(highwater::Options::new(path).cores(2)) {
        Ok(_) => println!("second opener: opened"),
        Err(error) => println!("second opener: {:?}", error.kind()),
    }
}
