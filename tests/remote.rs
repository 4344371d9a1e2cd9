//! An object store of one's own, and the blocking calls: what a program with threads does.

#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

mod shelf;

use highwater::remote::Remote;
use highwater::{Engine, EpochMark, ErrorKind, Opened, Options};

use shelf::Shelf;

fn options(dir: &tempfile::TempDir, shelf: &Shelf) -> Options {
    Options::new(dir.path().join("data"))
        .cores(2)
        .segment_bytes(64 << 10)
        .batch_bytes(8 << 10)
        .remote(Remote::new(shelf.clone()).part_bytes(10_000))
}

/// Puts a value under each of many keys, and ends the epoch on every core.
fn fill(opened: &mut Opened, value: &[u8]) -> highwater::Epoch {
    for number in 0..2_000_u32 {
        let key = number.to_le_bytes();
        let core = opened.engine.core_of(&key).index();
        while let Err(error) = opened.cores[core].put(&key, value) {
            assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
            std::thread::yield_now();
        }
    }
    let ended =
        opened.cores.iter_mut().map(|core| core.close_epoch(EpochMark::new().offset("log", 7)).unwrap());
    ended.max().unwrap()
}

#[test]
fn a_directory_that_is_gone_comes_back_in_another_place() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let shelf = Shelf::default();
    let mut opened = Engine::open(options(&first, &shelf)).unwrap();
    let epoch = fill(&mut opened, b"one hundred");
    opened.engine.wait_remote(epoch).unwrap();
    assert_eq!(opened.engine.remote_status().unwrap().epoch, epoch);

    // The first process has lost its disk, and does not know that it is over.
    let restored = Engine::open(options(&second, &shelf)).unwrap();
    assert!(restored.report.restored);
    assert_eq!((restored.report.epoch, restored.report.live_keys), (epoch, 2_000));
    for number in 0..2_000_u32 {
        let key = number.to_le_bytes();
        let core = &restored.cores[restored.engine.core_of(&key).index()];
        assert_eq!(core.get(&key).unwrap().as_deref(), Some(&b"one hundred"[..]));
    }

    let epoch = fill(&mut opened, b"nothing of this");
    let fenced = opened.engine.wait_remote(epoch).unwrap_err();
    assert_eq!(fenced.kind(), ErrorKind::Fenced, "{fenced}");
    assert!(shelf.with(|inner| inner.uploads.is_empty()));
    restored.engine.close(restored.cores).unwrap();
}
