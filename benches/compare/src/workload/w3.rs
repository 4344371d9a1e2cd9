//! W3: steady appends that nobody waits for.

use super::{Column, DURABLE, Row, Slice, Workload, find, higher, lower, pause, rows_of};
use crate::meter::{Figures, Meter, figures, nanos, peak_rss_mb};
use crate::peer::highwater::Piped;
use crate::peer::{Entry, LogPeer, LogSpec, Result, logs};
use crate::raw::file::Form;
use crate::record::{KEY_BYTES, Values, key};

const ABOUT: &str = "Records are appended until so many bytes are with the kernel, or until time is up. `cpu_ns` is \
                     that of all threads per record, `caller_ns` the time on the caller's thread. okaywal \
                     knows no hand-over without durability: its figures include it.";

const COLUMNS: &[Column] =
    &[lower("cpu_ns"), lower("caller_ns"), higher("mb_s"), lower("caller_sync_ns"), lower("rss_mb")];

macro_rules! workload {
    ($id:literal, $title:literal, $value_bytes:literal) => {
        Workload {
            id: $id,
            title: $title,
            about: ABOUT,
            columns: COLUMNS,
            rounds: 5,
            rows: || rows_of(entries(&spec($value_bytes))),
            run: |row, slice| run(row, slice, $value_bytes),
        }
    };
}

pub(super) const SMALL: Workload = workload!("W3-100", "Steady appends, values of 100 B", 100);
pub(super) const MIDDLE: Workload = workload!("W3-1008", "Steady appends, values of 1,008 B", 1_008);
pub(super) const LARGE: Workload = workload!("W3-16368", "Steady appends, values of 16,368 B", 16_368);

/// Rows that are this slow are stopped: their rate is steady long before.
const SECONDS_MAX: u64 = 12;

fn spec(value_bytes: usize) -> LogSpec {
    LogSpec { value_bytes, durable: false, per_commit: u64::MAX, ..DURABLE }
}

fn entries(spec: &LogSpec) -> Vec<Entry<dyn LogPeer>> {
    let mut entries: Vec<Entry<dyn LogPeer>> = Vec::new();
    let raw = Row::baseline("raw-append", "growing file: encode, crc32c, write of 256 KiB");
    entries.push(Entry::new(raw, Box::new(Form::Append)));
    let wal = Row::highwater(
        "highwater",
        "`wal::Pipeline`, moved by who appends; durable where a segment ends, trimmed behind",
    );
    entries.push(Entry::new(wal, Box::new(Piped { background: false, in_flight: 0 })));
    entries.extend(logs(spec));
    entries
}

fn run(row: &str, slice: &Slice, value_bytes: usize) -> Result<Figures> {
    let bytes = slice.pick(64 << 20, 4 << 30);
    let seconds_max = slice.pick(2, SECONDS_MAX);
    let record_bytes = (KEY_BYTES + value_bytes) as u64;
    // Rows which keep state in memory keep at most so much.
    let keys = ((256 << 20) / record_bytes).min(1_000_000);
    let values = Values::new();
    let mut measured = None;
    find(entries(&spec(value_bytes)), row)?.with_one(&slice.dir, &spec(value_bytes), &mut |log| {
        let mut append = |number: u64| log.append(&key(number % keys), values.of(number, 0, value_bytes));
        let warm_up = (bytes / 16 / record_bytes).min(100_000);
        (0..warm_up).try_for_each(&mut append)?;
        pause();
        let meter = Meter::start();
        let start = std::time::Instant::now();
        let mut appended = 0;
        while appended * record_bytes < bytes && start.elapsed().as_secs() < seconds_max {
            (warm_up + appended..warm_up + appended + 1_000).try_for_each(&mut append)?;
            appended += 1_000;
        }
        log.hand_over()?;
        let span = meter.stop();
        log.commit()?;
        measured = Some((appended, span, start.elapsed()));
        Ok(())
    })?;
    let (appended, span, synced) = measured.ok_or("the peer did no work")?;
    let records = appended as f64;
    Ok(figures([
        ("cpu_ns", nanos(span.cpu) / records),
        ("caller_ns", nanos(span.wall) / records),
        ("mb_s", records * record_bytes as f64 / 1e6 / span.wall.as_secs_f64()),
        ("caller_sync_ns", nanos(synced) / records),
        ("rss_mb", peak_rss_mb()),
    ]))
}
