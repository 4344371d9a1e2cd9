//! Files of a newer format: refused by name, before anything is written (S21; that a newer build reads older files is for
//! the golden files of released formats).

use std::fs;

use super::{Place, advises, edit, sorted};
use highwater::{Engine, ErrorKind};

/// Gives the header in front of `bytes` format 2, with the crc of its first `crc_at` bytes behind them.
fn newer(bytes: &mut [u8], crc_at: usize) {
    bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..crc_at]);
    bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn a_newer_ident_is_unsupported() {
    let place = Place::with_epochs(3);
    edit(&place.path.join("IDENT"), |bytes| newer(bytes, 92));
    let error = place.refuses(place.options(), ErrorKind::Unsupported, "IDENT");
    advises(&error, &["format 2", "newer"]);
}

#[test]
fn a_newer_manifest_is_unsupported() {
    let place = Place::with_epochs(3);
    let head = sorted(&place.path.join("m")).pop().unwrap();
    edit(&head, |bytes| newer(bytes, 44));
    let name = head.file_name().unwrap().to_str().unwrap().to_owned();
    let error = place.refuses(place.options(), ErrorKind::Unsupported, &name);
    advises(&error, &["format 2", "newer"]);
}

#[test]
fn a_newer_segment_is_unsupported() {
    let place = Place::with_epochs(3);
    for path in place.segments() {
        let whole = fs::read(&path).unwrap();
        edit(&path, |bytes| newer(bytes, 124));
        let before = place.tree();
        let error = Engine::open(place.options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert_eq!(error.path(), Some(path.as_path()));
        advises(&error, &["format 2", "newer"]);
        assert!(place.tree() == before, "{error}");
        fs::write(&path, whole).unwrap();
    }
    assert_eq!(place.epoch(), 3);
}

#[test]
fn a_newer_checkpoint_file_is_no_reason_to_lose_anything() {
    let place = Place::with_epochs(5);
    for path in sorted(&place.path.join("f")) {
        edit(&path, |bytes| newer(bytes, 92));
    }
    let before = place.tree();
    match Engine::open(place.options()) {
        // The log may still reach back to the beginning.
        Ok(opened) => assert_eq!(opened.report.epoch.0, 5),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{error}");
            assert!(error.path().is_some_and(|path| path.starts_with(place.path.join("f"))), "{error}");
            assert!(place.tree() == before, "{error}");
        }
    }
}
