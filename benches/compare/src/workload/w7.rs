//! W7: state in memory.

use std::hint::black_box;
use std::time::Instant;

use super::{Row, Slice, Workload, find, lower, rows_of};
use crate::meter::{Figures, Meter, figures, nanos};
use crate::peer::highwater::LiveState;
use crate::peer::{Entry, Map, MapPeer, Result, maps};
use crate::raw::map::Kind;
use crate::record::{KEY_BYTES, VALUE_BYTES, Values, key, mix};
use crate::sys;

pub(super) const WORKLOAD: Workload = Workload {
    id: "W7",
    title: "1,000,000 keys in memory, updated and read at random",
    about: "Load in order of numbers, random updates of the same size, random reads, then (where values may change \
            their size) random updates with values of 20 to 180 B. Waiting for the disk is not in `update_ns` but in \
            `wait_share`. `key_bytes` is memory per key after the load; `churn` is memory after the last step over \
            bytes of live keys and values. Memory is the allocator's count; for highwater what the core states.",
    columns: &[
        lower("update_ns"),
        lower("get_ns"),
        lower("insert_ns"),
        lower("key_bytes"),
        lower("churn"),
        lower("cpu_ns"),
        lower("wait_share"),
    ],
    rounds: 7,
    rows: || rows_of(entries()),
    run,
};

fn entries() -> Vec<Entry<dyn MapPeer>> {
    let mut entries: Vec<Entry<dyn MapPeer>> = Vec::new();
    let arena = Row::baseline("raw-fx-arena", "Fx hash → arena, overwritten in place; nothing captured");
    entries.push(Entry::new(arena, Box::new(Kind::Arena)));
    let frames = Row::raw("raw-fx-arena-frames", "the same, and a record framed with its crc");
    entries.push(Entry::new(frames, Box::new(Kind::ArenaAndFrames)));
    let inline = Row::raw("raw-fx-inline", "Fx hash, key and value in the table; nothing captured");
    entries.push(Entry::new(inline, Box::new(Kind::Inline)));
    entries
        .push(Entry::new(Row::raw("hashbrown", "boxed bytes; nothing captured"), Box::new(Kind::Hashbrown)));
    entries.push(Entry::new(Row::raw("ahash", "boxed bytes; nothing captured"), Box::new(Kind::AHash)));
    let state =
        Row::highwater("highwater", "engine, threaded, epochs of 10,000 updates: everything is logged");
    entries.push(Entry::new(state, Box::new(LiveState { ordered: false, batch: 1 })));
    let many = Row::highwater("highwater-many", "the same, `put_many` and `get_many` of 100 keys");
    entries.push(Entry::new(many, Box::new(LiveState { ordered: false, batch: 100 })));
    let ordered = Row::highwater("highwater-ordered", "with an ordered index");
    entries.push(Entry::new(ordered, Box::new(LiveState { ordered: true, batch: 1 })));
    entries.extend(maps());
    entries
}

/// Bytes of the value that an update with changing sizes puts: 100 on average.
fn changing(number: u64) -> usize {
    20 + (mix(number ^ 0xc4a6) % 161) as usize
}

fn memory(map: &dyn Map, before: u64) -> f64 {
    map.memory_bytes().unwrap_or_else(|| sys::heap_bytes().saturating_sub(before)) as f64
}

/// Does `count` updates of `next`'s key numbers, and says how long each took without waiting for a disk.
fn update(map: &mut dyn Map, values: &Values, keys: &[u32], bytes: impl Fn(u64) -> usize) -> Result<f64> {
    let (start, waited, batch) = (Instant::now(), map.waited(), map.batch());
    let numbered = (0..).zip(keys);
    let mut entries = numbered.map(|(at, number)| (key(u64::from(*number)), values.of(at, 1, bytes(at))));
    if batch == 1 {
        entries.try_for_each(|(key, value)| map.update(&key, value))?;
    } else {
        let mut many = Vec::with_capacity(batch);
        for _ in 0..keys.len().div_ceil(batch) {
            many.clear();
            many.extend(entries.by_ref().take(batch));
            map.update_many(&many)?;
        }
    }
    let took = start.elapsed().saturating_sub(map.waited().saturating_sub(waited));
    Ok(nanos(took) / keys.len() as f64)
}

/// Reads all of `keys`, and says how many have a value.
fn count(map: &dyn Map, keys: &[u32]) -> usize {
    let of = |number: &u32| key(u64::from(*number));
    match map.batch() {
        1 => keys.iter().filter_map(|number| map.get(&of(number))).map(black_box).count(),
        batch => {
            let batches = keys.chunks(batch).map(|chunk| chunk.iter().map(of).collect::<Vec<_>>());
            batches.map(|batch| map.get_many(&batch)).sum()
        }
    }
}

fn run(row: &str, slice: &Slice) -> Result<Figures> {
    let keys = slice.pick(50_000, 1_000_000);
    let values = Values::new();
    let in_order: Vec<u32> = (0..keys as u32).collect();
    let random = |salt: u64| -> Vec<u32> { (0..keys).map(|at| (mix(at ^ salt) % keys) as u32).collect() };
    let (updates, reads, changes) = (random(1 << 40), random(2 << 40), random(3 << 40));
    let before = sys::heap_bytes();
    let mut map = find(entries(), row)?.open(&slice.dir, keys)?;
    let same = |_| VALUE_BYTES;
    let insert_ns = update(&mut *map, &values, &in_order, same)?;
    let key_bytes = memory(&*map, before) / keys as f64;
    let (meter, waited) = (Meter::start(), map.waited());
    let update_ns = update(&mut *map, &values, &updates, same)?;
    let span = meter.stop();
    let wait_share = map.waited().saturating_sub(waited).as_secs_f64() / span.wall.as_secs_f64();
    let start = Instant::now();
    let found = count(&*map, &reads);
    let get_ns = nanos(start.elapsed()) / reads.len() as f64;
    if found != reads.len() {
        return Err(format!("{found} of {} keys were found", reads.len()).into());
    }
    let mut figures = figures([
        ("insert_ns", insert_ns),
        ("update_ns", update_ns),
        ("get_ns", get_ns),
        ("key_bytes", key_bytes),
        ("cpu_ns", nanos(span.cpu) / keys as f64),
        ("wait_share", wait_share),
    ]);
    if map.flexible() {
        let mut sizes = vec![VALUE_BYTES; keys as usize];
        for turn in 0..3 {
            let salted = |at: u64| changing(at ^ (turn << 40));
            update(&mut *map, &values, &changes, salted)?;
            changes.iter().enumerate().for_each(|(at, number)| sizes[*number as usize] = salted(at as u64));
        }
        let live: usize = sizes.iter().map(|bytes| KEY_BYTES + bytes).sum();
        figures.insert("churn".to_owned(), memory(&*map, before) / live as f64);
    }
    map.close()?;
    Ok(figures)
}
