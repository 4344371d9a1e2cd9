//! What one core's handle costs per operation, in time: `cargo bench --bench ring0`.
//!
//! 100,000 keys of 16 bytes with values of 100, met in no order: more than the nearest caches hold. Each figure is for
//! the number of items beside it. Nothing waits for the disk but for the room that the log's buffers leave: `put`
//! is the state and the copy into the log. Under `cargo test --benches` every row runs once.
#![expect(clippy::unwrap_used, reason = "a benchmark that fails has to stop")]

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use highwater::{CoreHandle, Engine, EpochMark, ErrorKind, Opened, Options};
use tempfile::TempDir;

const KEYS: u64 = 100_000;
/// Operations of one sample, or keys of one call.
const BATCH: u64 = 1_000;
const VALUE: [u8; 100] = [7; 100];

fn main() {
    divan::main();
}

fn key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    key[8..].copy_from_slice(&number.to_le_bytes());
    key
}

struct Database {
    core: CoreHandle,
    /// Where the walk over all keys stands.
    at: u64,
    _engine: Engine,
    _dir: TempDir,
}

impl Database {
    fn new(ordered: bool) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let options = Options::new(dir.path().join("data")).checkpoint_interval(None);
        let Opened { engine, mut cores, .. } = Engine::open(options.ordered_index(ordered)).unwrap();
        let mut database = Self { core: cores.remove(0), at: 0, _engine: engine, _dir: dir };
        for number in 0..KEYS {
            database.put(&key(number));
        }
        database.end_epoch();
        database
    }

    fn patiently<T>(&mut self, mut change: impl FnMut(&mut CoreHandle) -> highwater::Result<T>) -> T {
        loop {
            match change(&mut self.core) {
                Err(error) if error.kind() == ErrorKind::Busy => self.core.ready().wait().unwrap(),
                outcome => return outcome.unwrap(),
            }
        }
    }

    fn put(&mut self, key: &[u8]) {
        self.patiently(|core| core.put(key, &VALUE));
    }

    fn end_epoch(&mut self) {
        self.patiently(|core| core.close_epoch(EpochMark::new()));
    }

    /// The next keys of a walk over all of them.
    fn keys(&mut self) -> Vec<[u8; 16]> {
        self.at += BATCH;
        (self.at - BATCH..self.at).map(|number| key(number * 61_803 % KEYS)).collect()
    }
}

#[divan::bench]
fn put(bencher: Bencher<'_, '_>) {
    let mut database = Database::new(false);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for key in database.keys() {
            database.put(&key);
        }
        database.end_epoch();
    });
}

#[divan::bench]
fn put_many(bencher: Bencher<'_, '_>) {
    let mut database = Database::new(false);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let entries: Vec<_> = database.keys().into_iter().map(|key| (key, VALUE)).collect();
        let mut rest = &entries[..];
        while let Err(failed) = database.core.put_many(rest) {
            assert_eq!(failed.error.kind(), ErrorKind::Busy);
            rest = &rest[failed.applied..];
            database.core.ready().wait().unwrap();
        }
        database.end_epoch();
    });
}

#[divan::bench]
fn get(bencher: Bencher<'_, '_>) {
    let mut database = Database::new(false);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for key in database.keys() {
            assert!(database.core.get(black_box(&key)).unwrap().is_some());
        }
    });
}

#[divan::bench]
fn get_many(bencher: Bencher<'_, '_>) {
    let mut database = Database::new(false);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let keys = database.keys();
        for value in database.core.get_many(&keys) {
            assert!(value.unwrap().is_some());
        }
    });
}

/// A key comes and goes: what an ordered index costs where it costs anything.
#[divan::bench(args = [false, true])]
fn new_key(bencher: Bencher<'_, '_>, ordered: bool) {
    let mut database = Database::new(ordered);
    bencher.counter(ItemsCount::new(2 * BATCH)).bench_local(|| {
        for mut key in database.keys() {
            key[15] ^= 0x80;
            database.put(&key);
            database.patiently(|core| core.delete(&key));
        }
        database.end_epoch();
    });
}

/// A hundred keys from some key on; without an ordered index all keys are looked at.
#[divan::bench(args = [false, true])]
fn range_of_100(bencher: Bencher<'_, '_>, ordered: bool) {
    let mut database = Database::new(ordered);
    bencher.counter(ItemsCount::new(100_u64)).bench_local(|| {
        let from = database.keys()[0];
        database.core.range(&from[..]..).take(100).map(|entry| entry.unwrap().1.len()).sum::<usize>()
    });
}

#[divan::bench(args = [false, true])]
fn scan_prefix_of_all(bencher: Bencher<'_, '_>, ordered: bool) {
    let database = Database::new(ordered);
    bencher
        .counter(ItemsCount::new(KEYS))
        .bench_local(|| database.core.scan_prefix(b"").map(|entry| entry.unwrap().1.len()).sum::<usize>());
}
