//! Files of a newer format: refused by name, before anything is written (that a newer build reads older files is what
//! `tests/golden` is for).

use std::fs;
use std::path::Path;

use super::{Place, advises, edit, sorted};
use highwater::{DamageKind, Engine, Error, ErrorKind, VerifyOptions, verify};

/// Gives the header in front of `bytes` format 2, with the crc of its first `crc_at` bytes behind them.
fn renumbered(bytes: &mut [u8], crc_at: usize) {
    bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..crc_at]);
    bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
}

/// The same, and all of its fields mean something else.
fn rearranged(bytes: &mut [u8], crc_at: usize) {
    bytes[12..].fill(0xee);
    renumbered(bytes, crc_at);
}

/// What another format may do with a file whose header's crc is at a place.
const NEWER: [fn(&mut [u8], usize); 2] = [renumbered, rearranged];

/// Which format was found, which are read, and what to do.
fn says_it_all(what: &str) {
    for words in ["of format 2", "formats up to 1", "use a newer build"] {
        assert!(what.contains(words), "{words}: {what}");
    }
}

fn is_newer(error: &Error, path: &Path) {
    assert_eq!((error.kind(), error.path()), (ErrorKind::Unsupported, Some(path)), "{error}");
    says_it_all(&error.to_string());
}

/// A verification names nothing but `path`, and does not call it damaged.
fn verifies_as_newer(place: &Place, path: &Path) {
    let report = verify(&place.path, VerifyOptions::new()).unwrap();
    assert!(!report.is_sound() && report.is_newer(), "{report}");
    for damage in &report.damage {
        assert_eq!(damage.kind, DamageKind::Newer, "{report}");
        assert_eq!(place.path.join(&damage.path), path, "{report}");
        says_it_all(&damage.what);
    }
    let text = report.to_string().to_lowercase();
    assert!(!text.contains("damage"), "{text}");
}

#[test]
fn a_newer_ident_is_unsupported() {
    for newer in NEWER {
        let place = Place::with_epochs(3);
        edit(&place.path.join("IDENT"), |bytes| newer(bytes, 92));
        let error = place.refuses(place.options(), ErrorKind::Unsupported, "IDENT");
        is_newer(&error, &place.path.join("IDENT"));
        is_newer(&verify(&place.path, VerifyOptions::new()).unwrap_err(), &place.path.join("IDENT"));
    }
}

#[test]
fn a_newer_manifest_is_unsupported() {
    for newer in NEWER {
        let place = Place::with_epochs(3);
        let head = sorted(&place.path.join("m")).pop().unwrap();
        edit(&head, |bytes| newer(bytes, 44));
        let name = head.file_name().unwrap().to_str().unwrap().to_owned();
        let error = place.refuses(place.options(), ErrorKind::Unsupported, &name);
        is_newer(&error, &head);
        is_newer(&verify(&place.path, VerifyOptions::new()).unwrap_err(), &head);
    }
}

#[test]
fn a_newer_segment_is_unsupported() {
    let place = Place::with_epochs(3);
    for (path, newer) in
        place.segments().into_iter().flat_map(|path| NEWER.map(|newer| (path.clone(), newer)))
    {
        let whole = fs::read(&path).unwrap();
        edit(&path, |bytes| newer(bytes, 124));
        let before = place.tree();
        let error = Engine::open(place.options()).unwrap_err();
        is_newer(&error, &path);
        assert!(place.tree() == before, "{error}");
        verifies_as_newer(&place, &path);
        fs::write(&path, whole).unwrap();
    }
    assert_eq!(place.epoch(), 3);
}

/// Older files and the log may lead to the same state. But to go on from there would throw away what a newer build relies on.
#[test]
fn a_newer_checkpoint_file_is_unsupported() {
    let place = Place::with_epochs(5);
    let files = sorted(&place.path.join("f"));
    assert!(!files.is_empty());
    for (path, newer) in files.into_iter().flat_map(|path| NEWER.map(|newer| (path.clone(), newer))) {
        let whole = fs::read(&path).unwrap();
        edit(&path, |bytes| newer(bytes, 92));
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let error = place.refuses(place.options(), ErrorKind::Unsupported, &name);
        is_newer(&error, &path);
        verifies_as_newer(&place, &path);
        fs::write(&path, whole).unwrap();
    }
    assert_eq!(place.epoch(), 5);
}

/// A header whose crc does not fit is damage, whatever format it names.
#[test]
fn a_newer_format_is_believed_only_with_its_crc() {
    let place = Place::with_epochs(3);
    edit(&place.path.join("IDENT"), |bytes| bytes[8] = 2);
    let error = place.refuses(place.options(), ErrorKind::Corrupt, "IDENT");
    advises(&error, &["damaged"]);
    let report = verify(&place.path, VerifyOptions::new()).unwrap();
    assert!(!report.is_newer() && report.damage.iter().all(|damage| damage.kind == DamageKind::Damaged));
}
