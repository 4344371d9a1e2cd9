//! Overwrites, reads and appends allocate nothing, on the thread that calls: neither for the log nor for the state. What deletes,
//! inserts and changes sizes allocates little, and says what for.

#![expect(unsafe_code, reason = "a global allocator is an unsafe trait; this one counts and passes on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use highwater::env::StdEnv;
use highwater::wal::{CoreWal, WalOpened, WalOptions, WalRecord};
use highwater::{CoreHandle, Engine, EpochMark, ErrorKind, Opened, Options};

const KEYS: u64 = 10_000;
const PUTS: u64 = 100_000;
const PUTS_PER_EPOCH: u64 = 5_000;

thread_local! {
    /// Allocations of this thread while it counts; `None` while it does not.
    static COUNTED: Cell<Option<u64>> = const { Cell::new(None) };
}

struct Counting;

impl Counting {
    fn count() {
        COUNTED.with(|counted| counted.set(counted.get().map(|count| count + 1)));
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came; the counter is a `Cell` without a destructor,
// so counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`; `memory` is from `System`.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        Self::count();
        // SAFETY: the caller keeps the contract of `realloc`; `memory` is from `System`.
        unsafe { System.realloc(memory, layout, new_size) }
    }
}

/// What `call` returns, and the allocations of this thread meanwhile.
fn counted<T>(call: impl FnOnce() -> T) -> (T, u64) {
    COUNTED.set(Some(0));
    let result = call();
    (result, COUNTED.replace(None).expect("it counts"))
}

/// Puts 100-byte values round the keys, an epoch now and then; the allocations of the puts that were accepted.
fn overwrite(core: &mut CoreHandle, puts: u64) -> u64 {
    let mut allocations = 0;
    for number in 0..puts {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&(number % KEYS).to_le_bytes());
        let mut value = [7; 100];
        value[..8].copy_from_slice(&number.to_le_bytes());
        loop {
            let (outcome, count) = counted(|| core.put(&key, &value));
            match outcome {
                Ok(_) => {
                    allocations += count;
                    break;
                }
                // A refusal comes with a text, which allocates.
                Err(error) if error.kind() == ErrorKind::Busy => core.ready().wait().expect("room comes"),
                Err(error) => panic!("{error}"),
            }
        }
        if number % PUTS_PER_EPOCH == PUTS_PER_EPOCH - 1 {
            core.commit_with(EpochMark::new().offset("puts", number)).expect("an epoch closes");
        }
    }
    allocations
}

#[test]
fn an_overwrite_allocates_nothing() {
    assert_eq!(counted(|| vec![1_u8; 100]).1, 1, "the counter counts");
    for inline in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        // Four buffers, so that loading has used all of them, however busy the machine is: they are made when needed.
        let options = Options::new(dir.path().join("data")).inline(inline);
        let options = options.batch_bytes(64 << 10).queue_bytes(256 << 10);
        let Opened { engine, mut cores, .. } = Engine::open(options).unwrap();
        let loading = overwrite(&mut cores[0], 2 * KEYS);
        assert!(loading > 0, "new keys need memory");
        assert_eq!(overwrite(&mut cores[0], PUTS), 0, "allocations in {PUTS} overwrites, inline: {inline}");
        assert_eq!(cores[0].len() as u64, KEYS);
        engine.close(cores).unwrap();
    }
}

fn key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&(number % KEYS).to_le_bytes());
    key
}

/// Puts 64 keys a call; the allocations of the calls that were accepted as a whole.
fn overwrite_many(core: &mut CoreHandle, calls: u64) -> u64 {
    let mut allocations = 0;
    for call in 0..calls {
        let entries: [_; 64] = std::array::from_fn(|at| (key(call * 64 + at as u64), [7; 100]));
        let mut rest = &entries[..];
        loop {
            let (outcome, count) = counted(|| core.put_many(rest));
            match outcome {
                Ok(_) => {
                    allocations += count;
                    break;
                }
                Err(failed) if failed.error.kind() == ErrorKind::Busy => {
                    rest = &rest[failed.applied..];
                    core.ready().wait().expect("room comes");
                }
                Err(failed) => panic!("{failed}"),
            }
        }
        if call % 100 == 99 {
            core.commit().expect("an epoch closes");
        }
    }
    allocations
}

#[test]
fn calls_for_many_keys_and_reads_allocate_nothing() {
    for ordered in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path().join("data")).ordered_index(ordered);
        let options = options.batch_bytes(64 << 10).queue_bytes(256 << 10);
        let Opened { engine, mut cores, .. } = Engine::open(options).unwrap();
        overwrite(&mut cores[0], 2 * KEYS);
        assert_eq!(overwrite_many(&mut cores[0], 1_000), 0, "allocations in put_many, ordered: {ordered}");
        let core = &cores[0];
        let (found, allocations) = counted(|| {
            let one_by_one = (0..KEYS).filter(|number| core.get(&key(*number)).unwrap().is_some()).count();
            let together =
                core.get_many((0..KEYS).map(key)).filter(|value| matches!(value, Ok(Some(_)))).count();
            (one_by_one as u64, together as u64)
        });
        assert_eq!((found, allocations), ((KEYS, KEYS), 0), "allocations in reads");
        if ordered {
            let from = key(0);
            let (read, allocations) = counted(|| core.range(&from[..]..).take(1_000).count());
            assert_eq!((read, allocations), (1_000, 0), "allocations in a range");
        }
        engine.close(cores).unwrap();
    }
}

/// What [`steady`] does to a key.
#[derive(Clone, Copy)]
enum Change {
    Put { value_bytes: usize },
    Delete,
}

/// Rounds over all keys, in each of which `change` says what is done to a key, by round and number; the allocations
/// of the calls that were accepted.
fn steady(
    core: &mut CoreHandle,
    (key_bytes, rounds): (usize, u64),
    change: impl Fn(u64, u64) -> Change,
) -> u64 {
    let (value, mut allocations) = ([7; 300], 0);
    for round in 0..rounds {
        for number in 0..KEYS {
            let mut key = [0; 40];
            // In no order, so that nodes of an ordered index come and go.
            key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
            let key = &key[..key_bytes];
            allocations += loop {
                let (outcome, count) = counted(|| match change(round, number) {
                    Change::Put { value_bytes } => core.put(key, &value[..value_bytes]),
                    Change::Delete => core.delete(key),
                });
                match outcome {
                    Ok(_) => break count,
                    Err(error) if error.kind() == ErrorKind::Busy => core.ready().wait().expect("room comes"),
                    Err(error) => panic!("{error}"),
                }
            };
        }
        core.commit().expect("an epoch closes");
    }
    allocations
}

/// With and without an ordered index; bytes of a key, below and above what lies in the order's nodes.
const STEADY: [(bool, usize); 4] = [(false, 16), (false, 40), (true, 16), (true, 40)];

/// Round after round a quarter of the keys is deleted, the quarter that was deleted last comes back, and every value
/// changes its size class: tables, chunks and nodes grow and shrink with that, a few per hundred calls.
#[test]
fn a_mix_of_deletes_insertions_and_sizes_allocates_what_grows() {
    const ROUNDS: u64 = 24;
    const SIZES_BYTES: [usize; 3] = [40, 100, 300];
    for (ordered, key_bytes) in STEADY {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path().join("data")).ordered_index(ordered);
        let options = options.batch_bytes(64 << 10).queue_bytes(256 << 10);
        let Opened { engine, mut cores, .. } = Engine::open(options).unwrap();
        let mixed = |round: u64, number: u64| {
            let value_bytes = SIZES_BYTES[usize::try_from((number + round) % 3).expect("below three")];
            if number % 4 == round % 4 { Change::Delete } else { Change::Put { value_bytes } }
        };
        steady(&mut cores[0], (key_bytes, ROUNDS), mixed);
        let allocations = steady(&mut cores[0], (key_bytes, ROUNDS), mixed);
        let inserted = ROUNDS * KEYS / 4;
        let nodes_max = if ordered { inserted / 4 } else { 0 };
        let long = if ordered && key_bytes > 22 { inserted } else { 0 };
        let max = ROUNDS * KEYS / 10 + nodes_max + long;
        assert!(
            allocations >= long && allocations <= max,
            "{allocations} allocations over {max}, ordered: {ordered}, keys of {key_bytes} bytes"
        );
        engine.close(cores).unwrap();
    }
}

#[test]
fn an_append_allocates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let WalOpened { mut wal, .. } =
        CoreWal::open_blocking(StdEnv, dir.path().join("log"), WalOptions::default()).unwrap();
    let mut append_all = || {
        let mut allocations = 0;
        for number in 0..10_000 {
            let record = WalRecord::Put { key: &key(number), value: &[7; 100] };
            let (outcome, count) = counted(|| wal.append(&record));
            outcome.unwrap();
            allocations += count;
        }
        wal.sync_blocking().unwrap();
        allocations
    };
    let first = append_all();
    assert!(first > 0, "buffers are made when they are needed");
    assert_eq!(append_all(), 0, "allocations in 10,000 appends");
    wal.close_blocking().unwrap();
}

#[test]
fn an_append_to_a_pipeline_allocates_nothing() {
    for background in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let WalOpened { wal, .. } =
            CoreWal::open_blocking(StdEnv, dir.path().join("log"), WalOptions::default()).unwrap();
        let started = if background { wal.pipeline_in_background() } else { wal.pipeline() };
        let mut pipeline = started.unwrap();
        // Commits are waited for a little later, so that the disk works meanwhile and no append has to wait for it.
        let mut append_all = || {
            let (mut allocations, mut committed) = (0, None);
            for number in 0..50_000 {
                let record = WalRecord::Put { key: &key(number), value: &[7; 100] };
                let (outcome, count) = counted(|| pipeline.append_blocking(&record));
                outcome.unwrap();
                allocations += count;
                if number % 500 == 499
                    && let Some(before) = committed.replace(pipeline.commit().unwrap())
                {
                    pipeline.wait_blocking(before).unwrap();
                }
            }
            pipeline.sync_blocking().unwrap();
            allocations
        };
        let first = append_all();
        assert!(first > 0, "buffers are made when they are needed");
        assert_eq!(append_all(), 0, "allocations in 50,000 appends, in the background: {background}");
        pipeline.finish_blocking().unwrap().close_blocking().unwrap();
    }
}
