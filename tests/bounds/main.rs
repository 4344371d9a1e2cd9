//! Nothing grows without a bound: memory, queues, epochs. A bound says `Busy`, changes nothing, and passes.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod stall;
#[path = "../watched/mod.rs"]
mod watched;

use std::path::Path;
use std::task::{Context, Waker};

use highwater::env::Blocking;
use highwater::{CoreHandle, Engine, Epoch, EpochMark, ErrorKind, Health, Opened, Options, Result};

use stall::Stall;

/// Bytes of a record's header, which the state keeps with every key and value.
const HEADER_BYTES: u64 = 8;

/// What the state may take beside one and a half times the records: a chunk of 64 KiB for each of its 80 size
/// classes, a few spare ones, and the smallest index.
const MEMORY_CONSTANT_BYTES: u64 = 6 << 20;

/// Options whose log takes little space and whose checkpoints nobody takes by himself.
fn options(path: &Path) -> Options {
    Options::new(path).segment_bytes(1 << 20).checkpoint_interval(None)
}

/// Numbers without a pattern, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

fn is_busy<T>(outcome: &Result<T>) -> bool {
    matches!(outcome, Err(error) if error.kind() == ErrorKind::Busy)
}

fn key(number: u64) -> [u8; 16] {
    let mut key = [b'k'; 16];
    key[8..].copy_from_slice(&number.to_le_bytes());
    key
}

/// Bytes of a record as the log takes them.
fn record_bytes(key: &[u8], value: &[u8]) -> u64 {
    HEADER_BYTES + (key.len() + value.len()) as u64
}

/// Puts, and waits for room as often as the core asks for it.
fn put(env: &impl Blocking, core: &mut CoreHandle, key: &[u8], value: &[u8]) {
    while is_busy(&core.put(key, value).map(|_| ())) {
        env.block_on(core.ready().into_future()).unwrap();
    }
}

/// Ends the epoch, and waits for room as often as the core asks for it.
fn end_epoch(env: &impl Blocking, core: &mut CoreHandle) -> Epoch {
    loop {
        match core.close_epoch(EpochMark::new()) {
            Err(error) if error.kind() == ErrorKind::Busy => {
                env.block_on(core.ready().into_future()).unwrap();
            }
            outcome => return outcome.unwrap(),
        }
    }
}

/// Puts values of `value_bytes` under the keys from `first` on until the core is busy. Returns the key that was
/// refused, and the bytes that were taken.
fn put_until_busy(core: &mut CoreHandle, first: u64, value_bytes: usize) -> (u64, u64) {
    let value = vec![b'v'; value_bytes];
    let mut taken_bytes = 0;
    for number in first.. {
        let outcome = core.put(&key(number), &value);
        if is_busy(&outcome) {
            return (number, taken_bytes);
        }
        outcome.unwrap();
        taken_bytes += record_bytes(&key(number), &value);
        assert!(taken_bytes < 1 << 30, "no bound is in sight after {taken_bytes} bytes");
    }
    unreachable!("a core that is never busy");
}

/// The second of two such records in one epoch was `Busy` for ever: the batch that held the first one alone stayed open.
#[test]
fn records_that_are_larger_than_a_batch_follow_one_another() {
    for inline in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let options = options(&dir.path().join("data")).batch_bytes(1 << 10).inline(inline);
        let Opened { engine, mut cores, .. } = Engine::open(options.clone()).unwrap();
        for number in 0..20 {
            let mut refusals = 0;
            while is_busy(&cores[0].put(&key(number), &[7; 5_000]).map(|_| ())) {
                refusals += 1;
                assert!(refusals < 3, "ready() returns, and the core is not");
                cores[0].ready().wait().unwrap();
            }
            // A small one finds its way between them.
            cores[0].put(b"small", &number.to_le_bytes()).unwrap();
        }
        cores[0].commit().unwrap();
        engine.close(cores).unwrap();
        let Opened { engine, cores, .. } = Engine::open(options).unwrap();
        assert_eq!(cores[0].len(), 21);
        engine.close(cores).unwrap();
    }
}

#[test]
fn memory_stays_below_one_and_a_half_times_the_records_however_their_sizes_change() {
    const KEYS: usize = 40_000;
    let dir = tempfile::tempdir().unwrap();
    let Opened { engine, mut cores, .. } = Engine::open(options(dir.path()).segment_bytes(8 << 20)).unwrap();
    let core = &mut cores[0];
    let (mut dice, bytes) = (Dice(0x5eed), vec![b'v'; 5_000]);
    // Value sizes by round: from and up to. Each round empties most slots that the one before it filled.
    let rounds =
        [(40, 200), (500, 1_500), (1_000, 1_100), (40, 120), (2_000, 4_900), (100, 101), (40, 1_000)];
    for (from, to) in rounds {
        for _ in 0..KEYS {
            let value = &bytes[..from + dice.below(to - from)];
            put(engine.env(), core, &key(dice.below(KEYS) as u64), value);
        }
        end_epoch(engine.env(), core);
        let live_bytes = core.bytes() + HEADER_BYTES * core.len() as u64;
        let bound_bytes = live_bytes + live_bytes / 2 + MEMORY_CONSTANT_BYTES;
        let memory_bytes = core.memory_bytes();
        assert!(
            memory_bytes <= bound_bytes,
            "values of {from}..{to} bytes: {memory_bytes} bytes of memory for {live_bytes} of records"
        );
    }
    // With all buffers back there is room for one more record.
    let epoch = end_epoch(engine.env(), core);
    engine.wait_durable(epoch).unwrap();
    core.clear().unwrap();
    assert!(core.memory_bytes() <= MEMORY_CONSTANT_BYTES, "{} bytes for nothing", core.memory_bytes());
    core.commit().unwrap();
    engine.close(cores).unwrap();
}

#[test]
fn a_disk_that_stands_still_makes_a_core_busy_and_loses_nothing() {
    const QUEUE_BYTES: u64 = 128 << 10;
    let dir = tempfile::tempdir().unwrap();
    let disk = Stall::default();
    let env = disk.env();
    let options = options(dir.path()).queue_bytes(128 << 10).batch_bytes(16 << 10);
    let opened = env.block_on(Engine::open_in(env.clone(), options.clone())).unwrap();
    let Opened { engine, mut cores, .. } = opened;

    disk.begin();
    let (refused, taken_bytes) = put_until_busy(&mut cores[0], 0, 100);
    assert!(taken_bytes <= QUEUE_BYTES, "{taken_bytes} bytes were taken into a queue of {QUEUE_BYTES}");
    assert!(
        taken_bytes >= QUEUE_BYTES / 2,
        "only {taken_bytes} bytes were taken into a queue of {QUEUE_BYTES}"
    );
    assert_eq!(cores[0].get(&key(refused)).unwrap(), None, "what was refused has changed nothing");
    assert_eq!(cores[0].len() as u64, refused);
    assert_eq!(engine.durable_epoch(), Epoch(0));
    engine.check().unwrap();
    assert_eq!(engine.health(), Health::Throttled);
    let mut ready = cores[0].ready().into_future();
    let polled = ready.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending(), "the core is busy, and ready() says {polled:?}");

    disk.release();
    env.block_on(ready).unwrap();
    for number in refused..2 * refused {
        put(engine.env(), &mut cores[0], &key(number), &[b'v'; 100]);
    }
    let epoch = end_epoch(engine.env(), &mut cores[0]);
    engine.wait_durable(epoch).unwrap();
    assert_eq!(engine.health(), Health::Healthy);
    engine.close(cores).unwrap();

    let Opened { engine, cores, report, .. } = Engine::open(options).unwrap();
    assert_eq!((report.epoch, report.live_keys), (epoch, 2 * refused));
    for number in 0..2 * refused {
        assert_eq!(cores[0].get(&key(number)).unwrap().as_deref(), Some(&[b'v'; 100][..]), "key {number}");
    }
    engine.close(cores).unwrap();
}

#[test]
fn records_larger_than_a_log_buffer_queue_one_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Stall::default();
    let env = disk.env();
    let options = options(dir.path()).queue_bytes(64 << 10).batch_bytes(16 << 10);
    let opened = env.block_on(Engine::open_in(env.clone(), options)).unwrap();
    let Opened { engine, mut cores, .. } = opened;

    disk.begin();
    let (refused, _) = put_until_busy(&mut cores[0], 0, 200 << 10);
    assert_eq!(refused, 1, "large records in the queue");
    // Small ones still have the buffers of the pool.
    cores[0].put(b"small", b"1").unwrap();

    disk.release();
    put(engine.env(), &mut cores[0], &key(refused), &vec![b'v'; 200 << 10]);
    let epoch = end_epoch(engine.env(), &mut cores[0]);
    engine.wait_durable(epoch).unwrap();
    assert_eq!(cores[0].len(), 3);
    engine.close(cores).unwrap();
}

#[test]
fn an_epoch_takes_no_more_than_its_bytes_until_it_is_ended() {
    // Room for 80 records of 124 bytes, and not for a delete of 24 on top.
    const EPOCH_BYTES: u64 = 80 * 124 + 20;
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path()).epoch_bytes_max(EPOCH_BYTES);
    let Opened { engine, mut cores, .. } = Engine::open(options.clone()).unwrap();
    let core = &mut cores[0];

    let (second, taken_bytes) = put_until_busy(core, 0, 100);
    assert!(taken_bytes <= EPOCH_BYTES && taken_bytes + record_bytes(&key(0), &[0; 100]) > EPOCH_BYTES);
    assert!(is_busy(&core.delete(&key(0))), "a delete is a record, too");
    assert!(core.get(&key(0)).unwrap().is_some(), "and has changed nothing");
    assert!(core.get(&key(second)).unwrap().is_none());

    let epoch = core.commit().unwrap();
    let (third, taken_again_bytes) = put_until_busy(core, second, 100);
    assert_eq!(taken_again_bytes, taken_bytes, "each epoch has the same room");
    core.discard_open();
    engine.close(cores).unwrap();

    let Opened { engine, cores, report, .. } = Engine::open(options).unwrap();
    assert_eq!((report.epoch, report.live_keys), (epoch, second), "and not {third}");
    engine.close(cores).unwrap();
}

#[test]
fn a_core_runs_no_further_ahead_than_the_skew_and_goes_on_when_the_slowest_follows() {
    const SKEW: u64 = 3;
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path()).cores(2).epoch_skew_max(SKEW);
    let Opened { engine, mut cores, .. } = Engine::open(options).unwrap();
    let [fast, slow] = &mut cores[..] else { panic!("two cores") };

    for epoch in 1..=SKEW {
        assert_eq!(fast.close_epoch(EpochMark::new()).unwrap(), Epoch(epoch));
    }
    assert!(is_busy(&fast.close_epoch(EpochMark::new())));
    assert_eq!(fast.open_epoch(), Epoch(SKEW + 1), "it is still open");
    assert_eq!(engine.durable_epoch(), Epoch(0), "no epoch closes without the slow core");

    slow.close_epoch(EpochMark::new()).unwrap();
    fast.ready().wait().unwrap();
    assert_eq!(fast.close_epoch(EpochMark::new()).unwrap(), Epoch(SKEW + 1));
    assert!(is_busy(&fast.close_epoch(EpochMark::new())), "one step of the slow core is one of the fast one");

    for epoch in 2..=SKEW + 1 {
        assert_eq!(slow.close_epoch(EpochMark::new()).unwrap(), Epoch(epoch));
    }
    engine.wait_durable(Epoch(SKEW + 1)).unwrap();
    engine.close(cores).unwrap();
}

/// Core 0 ends epoch 2 and core 1 does not; the records of both reach the disk.
#[test]
fn an_epoch_that_one_core_has_not_ended_never_appears() {
    let dir = tempfile::tempdir().unwrap();
    // The queue is much smaller than what is put, so most of it has been written when the last put returns.
    let options = options(dir.path()).cores(2).queue_bytes(64 << 10).batch_bytes(16 << 10);
    let Opened { engine, mut cores, .. } = Engine::open(options.clone()).unwrap();
    let put_all = |cores: &mut [CoreHandle], numbers: std::ops::Range<u64>| {
        for number in numbers {
            let owner = engine.core_of(&key(number)).index();
            put(engine.env(), &mut cores[owner], &key(number), &[b'v'; 100]);
        }
    };

    put_all(&mut cores, 0..100);
    let closed = cores.iter_mut().map(|core| end_epoch(engine.env(), core)).max().unwrap();
    engine.wait_durable(closed).unwrap();
    put_all(&mut cores, 50..5_000);
    let ended_by_one = end_epoch(engine.env(), &mut cores[0]);
    assert_eq!(ended_by_one, closed.next());
    cores[1].discard_open();
    engine.close(cores).unwrap();

    let Opened { engine, cores, report, .. } = Engine::open(options).unwrap();
    assert_eq!((report.epoch, report.live_keys), (closed, 100));
    assert!(report.discarded_records > 0, "the log held records of the open epoch: {report}");
    assert_eq!(cores[0].open_epoch(), closed.next(), "its number is free again");
    for number in 0..5_000 {
        let value = cores[engine.core_of(&key(number)).index()].get(&key(number)).unwrap();
        assert_eq!(value.is_some(), number < 100, "key {number}");
    }
    engine.close(cores).unwrap();
}
