//! W5: checkpoints and recovery.

use super::{Row, Slice, Workload, find, lower, pause, rows_of};
use crate::meter::{Figures, Meter, Span, figures, ms, peak_rss_mb};
use crate::peer::highwater::Checkpointed;
use crate::peer::{Entry, Result, Store, StorePeer, stores};
use crate::raw::store::Slots;
use crate::record::{VALUE_BYTES, Values, key};

pub(super) const WORKLOAD: Workload = Workload {
    id: "W5",
    title: "1,000,000 keys: full checkpoint, 1 % changed, recovery",
    about: "Load; full checkpoint; change every hundredth key; checkpoint again; change every tenth key without a \
            checkpoint; close; open. `open_ms` ends when a key can be read. All keys are counted and a sample is \
            compared. Bytes are those that the kernel accounts to the process.",
    columns: &[
        lower("full_ms"),
        lower("full_mb"),
        lower("incr_ms"),
        lower("incr_bytes_key"),
        lower("open_ms"),
        lower("load_ms"),
        lower("rss_mb"),
    ],
    rounds: 5,
    rows: || rows_of(entries()),
    run,
};

const PER_COMMIT: u64 = 1_000;

fn entries() -> Vec<Entry<dyn StorePeer>> {
    let mut entries: Vec<Entry<dyn StorePeer>> = Vec::new();
    let raw = "slots in one array, blocks of 1 MiB, one crc each, `O_DIRECT`; one thread";
    entries.push(Entry::new(Row::baseline("raw-slots", raw), Box::new(Slots)));
    let two = Row::highwater("highwater", "engine, two cores");
    entries.push(Entry::new(two, Box::new(Checkpointed { cores: 2 })));
    let one = Row::highwater("highwater-one", "engine, one core");
    entries.push(Entry::new(one, Box::new(Checkpointed { cores: 1 })));
    entries.extend(stores());
    entries
}

/// What is put, and into which keys.
#[derive(Clone, Copy)]
struct Change {
    version: u64,
    first: u64,
    one_in: u64,
}

const LOAD: Change = Change { version: 1, first: 0, one_in: 1 };
const ONE_PERCENT: Change = Change { version: 2, first: 0, one_in: 100 };
const TAIL: Change = Change { version: 3, first: 5, one_in: 10 };

impl Change {
    fn covers(self, number: u64) -> bool {
        number % self.one_in == self.first
    }
}

/// The value that `number` has in the end.
fn last(values: &Values, number: u64) -> &[u8] {
    let change = [TAIL, ONE_PERCENT].into_iter().find(|change| change.covers(number));
    values.of(number, change.unwrap_or(LOAD).version, VALUE_BYTES)
}

fn put(store: &mut dyn Store, values: &Values, keys: u64, change: Change) -> Result<()> {
    let numbers = (change.first..keys).step_by(change.one_in as usize);
    for (done, number) in numbers.enumerate() {
        store.put(&key(number), values.of(number, change.version, VALUE_BYTES))?;
        if (done as u64 + 1).is_multiple_of(PER_COMMIT) {
            store.commit()?;
        }
    }
    store.commit()
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Span> {
    let meter = Meter::start();
    work()?;
    Ok(meter.stop())
}

fn run(row: &str, slice: &Slice) -> Result<Figures> {
    let keys = slice.pick(50_000, 1_000_000);
    let peer = find(entries(), row)?;
    let values = Values::new();
    let mut store = peer.open(&slice.dir, keys)?;
    let load = timed(|| put(&mut *store, &values, keys, LOAD))?;
    pause();
    let full = timed(|| store.checkpoint())?;
    put(&mut *store, &values, keys, ONE_PERCENT)?;
    pause();
    let incremental = timed(|| store.checkpoint())?;
    put(&mut *store, &values, keys, TAIL)?;
    store.close()?;
    pause();
    let mut reopened = None;
    let open = timed(|| {
        let store = reopened.insert(peer.open(&slice.dir, keys)?);
        if store.has(&key(0), last(&values, 0))? {
            Ok(())
        } else {
            Err("the first key has another value".into())
        }
    })?;
    let mut store = reopened.ok_or("nothing was opened")?;
    check(&mut *store, &values, keys)?;
    store.close()?;
    Ok(figures([
        ("load_ms", ms(load.wall)),
        ("full_ms", ms(full.wall)),
        ("full_mb", full.written as f64 / 1e6),
        ("incr_ms", ms(incremental.wall)),
        ("incr_bytes_key", incremental.written as f64 / keys.div_ceil(ONE_PERCENT.one_in) as f64),
        ("open_ms", ms(open.wall)),
        ("rss_mb", peak_rss_mb()),
    ]))
}

/// Every key is there, and every 97th has the value that was put last.
fn check(store: &mut dyn Store, values: &Values, keys: u64) -> Result<()> {
    let count = store.count()?;
    if count != keys {
        return Err(format!("{count} keys of {keys} came back").into());
    }
    for number in (0..keys).step_by(97) {
        if !store.has(&key(number), last(values, number))? {
            return Err(format!("key {number} has another value").into());
        }
    }
    Ok(())
}
