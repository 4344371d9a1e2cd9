//! The three profiles: in memory, durable, and with an object store.

#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

mod shelf;

use std::path::Path;

use highwater::remote::Remote;
use highwater::{Backend, Engine, Epoch, ErrorKind, Opened, Options};

use shelf::Shelf;

/// Puts `value` under some keys and commits.
fn commit(opened: &mut Opened, value: &[u8]) -> Epoch {
    for key in 0..100_u8 {
        opened.cores[0].put(&[key], value).unwrap();
    }
    opened.cores[0].commit().unwrap()
}

fn reopen(options: &Options) -> Opened {
    loop {
        match Engine::open(options.clone()) {
            // The background of the engine before may still hold the lock.
            Err(error) if error.kind() == ErrorKind::Busy => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

#[test]
fn in_memory_everything_works_and_nothing_is_left() {
    let options = Options::in_memory();
    let mut first = Engine::open(options.clone()).unwrap();
    assert!(first.report.created);
    let epoch = commit(&mut first, b"value");
    assert_eq!(first.engine.durable_epoch(), epoch, "nobody had to wait for it");
    let info = first.engine.checkpoint().unwrap();
    assert_eq!((info.epoch, info.files_written), (epoch, 1));
    first.engine.pin("before", None).unwrap();
    commit(&mut first, b"another");
    assert_eq!(first.cores[0].get(&[7]).unwrap().as_deref(), Some(&b"another"[..]));

    // Beside it, of the same options: another one.
    let mut second = Engine::open(options.clone()).unwrap();
    assert!(second.report.created && second.cores[0].is_empty());
    assert_ne!(first.engine.database_id(), second.engine.database_id());
    commit(&mut second, b"its own");
    assert_eq!(first.cores[0].get(&[7]).unwrap().as_deref(), Some(&b"another"[..]));
    first.engine.close(first.cores).unwrap();
    second.engine.close(second.cores).unwrap();

    assert!(reopen(&options).report.created, "it went with its engine");
    assert!(!Path::new("/memory").exists(), "no file of it is anywhere");
}

/// Whatever goes through it, the log is as long as it is since the last checkpoint.
#[test]
fn in_memory_the_log_does_not_grow_for_ever() {
    let options = Options::in_memory().segment_bytes(1 << 20).checkpoint_wal_bytes(2 << 20);
    let mut opened = Engine::open(options).unwrap();
    let mut most = 0;
    for _ in 0..400 {
        commit(&mut opened, &[7; 1000]);
        while opened.engine.stats().cores[0].segments > 12 {
            // The checkpoint is on its way.
            std::thread::yield_now();
        }
        most = most.max(opened.engine.stats().cores[0].segments);
    }
    let stats = opened.engine.stats();
    assert!(stats.cores[0].log_bytes > 35 << 20, "{stats:?}");
    assert!(stats.checkpoints.taken > 2 && most <= 12, "{stats:?}");
    opened.engine.close(opened.cores).unwrap();
}

#[test]
fn in_memory_with_the_options_of_a_disk_is_as_good() {
    let options = Options::durable("no/such/place").backend(Backend::Memory);
    let Opened { engine, mut cores, .. } = Engine::open(options).unwrap();
    cores[0].put(b"key", b"value").unwrap();
    let epoch = cores[0].commit().unwrap();
    assert_eq!(engine.durable_epoch(), epoch);
    engine.close(cores).unwrap();
}

#[test]
fn durable_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::durable(dir.path().join("data"));
    let mut opened = Engine::open(options.clone()).unwrap();
    let epoch = commit(&mut opened, b"value");
    drop(opened);
    let opened = reopen(&options);
    assert_eq!((opened.report.epoch, opened.report.live_keys), (epoch, 100));
    opened.engine.close(opened.cores).unwrap();
}

/// The machine is lost, with its directory or its memory: the store has what was waited for.
#[test]
fn remote_outlives_the_machine() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let durable = dirs.each_ref().map(|dir| Options::durable(dir.path().join("data")));
    let in_memory = [Options::in_memory(), Options::in_memory()];
    for [here, there] in [durable, in_memory] {
        let shelf = Shelf::default();
        let mut lost = Engine::open(here.remote(Remote::new(shelf.clone()))).unwrap();
        let epoch = commit(&mut lost, b"value");
        lost.engine.wait_remote(epoch).unwrap();
        commit(&mut lost, b"never uploaded");
        drop(lost);

        let restored = Engine::open(there.remote(Remote::new(shelf))).unwrap();
        assert!(restored.report.restored);
        assert_eq!((restored.report.epoch, restored.report.live_keys), (epoch, 100));
        assert_eq!(restored.cores[0].get(&[7]).unwrap().as_deref(), Some(&b"value"[..]));
        restored.engine.close(restored.cores).unwrap();
    }
}
