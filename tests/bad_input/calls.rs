//! Calls with wrong arguments: `Invalid`, with the limit or the right owner, and nothing has happened.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::shelf::Shelf;
use super::{Place, advises};
use highwater::remote::Remote;
use highwater::{Engine, EpochMark, ErrorKind, Offset, Opened, Options};

#[test]
fn options_outside_their_limits_create_nothing() {
    let place = Place::new();
    let wrong: [(&str, Options); 17] = [
        ("cores", place.options().cores(0)),
        ("cores", place.options().cores(257)),
        ("segment_bytes", place.options().segment_bytes(0)),
        ("segment_bytes", place.options().segment_bytes(20_000)),
        ("batch_bytes", place.options().batch_bytes(1 << 20)),
        ("batch_bytes", place.options().batch_bytes(4096)),
        ("key_groups", place.options().key_groups(1)),
        ("write_unit_bytes", place.options().write_unit_bytes(1000)),
        ("depth", place.options().depth(0)),
        ("retain_checkpoints", place.options().retain_checkpoints(0)),
        ("retain_checkpoints", place.options().retain_checkpoints(1_001)),
        ("depth", place.options().depth(1_025)),
        ("queue_bytes", place.options().queue_bytes(usize::MAX)),
        ("checkpoint_memory_bytes", place.options().checkpoint_memory_bytes(3 << 30)),
        ("keep_history", place.options().keep_history(1, usize::MAX)),
        ("keep_history", place.options().keep_history(0, 10)),
        ("parallel", place.options().remote(Remote::new(Shelf::default()).parallel(usize::MAX))),
    ];
    for (name, options) in wrong {
        let error = Engine::open(options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        advises(&error, &[name]);
        assert!(!place.path.exists(), "{name}: something was created");
    }
}

#[test]
fn too_long_keys_and_values_are_refused_and_change_nothing() {
    let place = Place::new();
    let Opened { engine, mut cores, .. } = Engine::open(place.options().cores(1)).unwrap();
    let core = &mut cores[0];
    let first = core.put(b"key", b"value").unwrap();
    for (key, value) in [
        (vec![7; 60 * 1024 + 1], vec![]),
        (b"key".to_vec(), vec![7; 16 * 1024 * 1024 + 1]),
        (b"key".to_vec(), vec![7; 10_000]),
    ] {
        let error = core.put(&key, &value).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        advises(&error, &["limit", "over"]);
    }
    let error = core.delete(&vec![7; 30_000]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "a delete that no segment takes: {error}");
    assert_eq!(core.get(&vec![7; 60 * 1024 + 1]).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(core.get(b"key").unwrap().as_deref(), Some(&b"value"[..]));
    let next = core.put(b"other", b"value").unwrap();
    assert_eq!(next, first.next(), "a refused put took an LSN");

    let name = "n".repeat(256);
    for mark in [
        EpochMark::new().offset(name, 1),
        EpochMark::new().offset("source", Offset::Opaque(vec![1; 1025])),
        (0..100)
            .fold(EpochMark::new(), |mark, n| mark.offset(format!("s{n}"), Offset::Opaque(vec![1; 1000]))),
    ] {
        let open = core.open_epoch();
        assert_eq!(core.close_epoch(mark).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(core.open_epoch(), open, "a refused end ended the epoch");
    }
    core.commit().unwrap();
    engine.close(cores).unwrap();
}

#[test]
fn a_key_of_another_core_is_refused_with_the_way_to_its_owner() {
    let place = Place::new();
    let Opened { engine, mut cores, .. } = Engine::open(place.options()).unwrap();
    let owner = engine.core_of(b"key").index();
    let stranger = &mut cores[1 - owner];
    for error in [
        stranger.put(b"key", b"value").unwrap_err(),
        stranger.delete(b"key").unwrap_err(),
        stranger.get(b"key").map(|_| ()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        advises(&error, &["core_of"]);
    }
    assert!(cores.iter().all(highwater::CoreHandle::is_empty));
    assert_eq!(cores[0].commit().unwrap_err().kind(), ErrorKind::Invalid, "commit is for one core");
    engine.close(cores).unwrap();
}

#[test]
fn an_open_epoch_is_not_closed_over() {
    let place = Place::new();
    let Opened { engine, mut cores, .. } = Engine::open(place.options().cores(1)).unwrap();
    cores[0].put(b"key", b"value").unwrap();
    let error = engine.close(&mut cores[..]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    advises(&error, &["discard_open"]);
    cores[0].commit().unwrap();
    engine.close(cores).unwrap();
    let Opened { report, .. } = Engine::open(place.options().cores(1)).unwrap();
    assert_eq!(report.epoch.0, 1);
}

#[test]
fn odd_paths_work_or_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["with space", "ünïcödé ☂", "-dash", "a.tmp", "IDENT", "x\ny", "trailing/"] {
        let path = dir.path().join(name);
        let Opened { engine, cores, .. } = Engine::open(Options::new(&path)).unwrap();
        engine.close(cores).unwrap();
        assert!(path.join("IDENT").exists(), "{name}");
    }
    let not_utf8 = dir.path().join(OsStr::from_bytes(b"\xff\xfe"));
    let long = dir.path().join("l".repeat(300));
    for path in [Path::new("nul\0inside"), Path::new(""), long.as_path(), not_utf8.as_path()] {
        match Engine::open(Options::new(path)) {
            Ok(Opened { engine, cores, .. }) => engine.close(cores).unwrap(),
            Err(error) => {
                assert!(matches!(
                    error.kind(),
                    ErrorKind::Invalid | ErrorKind::Failed | ErrorKind::Unsupported
                ));
                assert!(!error.to_string().is_empty());
            }
        }
    }
}
