//! W4: reopen a log and read it whole.

use super::{DURABLE, Row, Slice, Workload, find, higher, lower, pause, rows_of};
use crate::meter::{Figures, Meter, figures, nanos, peak_rss_mb};
use crate::peer::highwater::{Mode, ReopenedWal, Wal};
use crate::peer::{Entry, LogSpec, ReplayPeer, Replayed, Result, replays};
use crate::raw::replay::{Blocks, Records};
use crate::record::{Check, KEY_BYTES, VALUE_BYTES, Values, key};

pub(super) const WORKLOAD: Workload = Workload {
    id: "W4",
    title: "Reopen and read every record, checksums verified",
    about: "A log of 2,000,000 records with distinct keys is written and closed. Timed: from opening it until every \
            record was looked at (`highwater-state`: until every key can be read). The number and the sum of the \
            records are checked. Reads find the page cache warm.",
    columns: &[higher("recs_s"), higher("mb_s"), lower("cpu_ns"), lower("rss_mb")],
    rounds: 5,
    rows: || rows_of(entries()),
    run,
};

const PER_COMMIT: u64 = 1_000;
const SPEC: LogSpec = LogSpec { per_commit: PER_COMMIT, keep: true, ..DURABLE };

fn entries() -> Vec<Entry<dyn ReplayPeer>> {
    let mut entries: Vec<Entry<dyn ReplayPeer>> = Vec::new();
    let records = Row::baseline("raw-records", "plain reads of 1 MiB, one crc per record");
    entries.push(Entry::new(records, Box::new(Records)));
    let blocks = Row::raw("raw-blocks", "plain reads, one crc per 256 KiB");
    entries.push(Entry::new(blocks, Box::new(Blocks)));
    let row = Row::highwater;
    entries.push(Entry::new(row("highwater", "`wal::WalReader`"), Box::<Wal>::default()));
    let reopened =
        row("highwater-reopen", "`wal::CoreWal` opened, which verifies everything, and read: two passes");
    entries.push(Entry::new(reopened, Box::<ReopenedWal>::default()));
    let state = row("highwater-state", "engine, one core: into live state");
    entries.push(Entry::new(state, Box::new(Mode::Threaded)));
    entries.extend(replays());
    entries
}

fn run(row: &str, slice: &Slice) -> Result<Figures> {
    let records = slice.pick(100_000, 2_000_000);
    let peer = find(entries(), row)?;
    let values = Values::new();
    let mut written = Check::default();
    peer.with(&slice.dir, &SPEC, &mut |logs| {
        for number in 0..records {
            let (key, value) = (key(number), values.of(number, 0, VALUE_BYTES));
            written.add(&key, value);
            logs[0].append(&key, value)?;
            if (number + 1).is_multiple_of(PER_COMMIT) {
                logs[0].commit()?;
            }
        }
        Ok(())
    })?;
    pause();
    let meter = Meter::start();
    let replayed = peer.replay(&slice.dir)?;
    let span = meter.stop();
    let rss = peak_rss_mb();
    let found = match replayed {
        Replayed::Checked(found) => found,
        Replayed::Later(look) => look()?,
    };
    if found != written {
        return Err(format!("wrote {written:?} and read {found:?}").into());
    }
    let (count, bytes) = (records as f64, (records * (KEY_BYTES + VALUE_BYTES) as u64) as f64);
    Ok(figures([
        ("recs_s", count / span.wall.as_secs_f64()),
        ("mb_s", bytes / 1e6 / span.wall.as_secs_f64()),
        ("cpu_ns", nanos(span.cpu) / count),
        ("rss_mb", rss),
    ]))
}
