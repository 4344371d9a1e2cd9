//! W2: group commit, 1,000 records per sync.

use std::time::Instant;

use super::{DURABLE, Row, Slice, Workload, baselines, find, higher, lower, pause, rows_of};
use crate::meter::{Figures, Latencies, Meter, figures, micros};
use crate::peer::highwater::{Mode, Piped, Pipelined, Wal};
use crate::peer::{Entry, LocalLog, LogPeer, LogSpec, Result, logs};
use crate::raw::file::Form;
use crate::record::{KEY_BYTES, VALUE_BYTES, Values, key};

pub(super) const WORKLOAD: Workload = Workload {
    id: "W2",
    title: "1,000 records per durable commit",
    about: "A thousand records are appended and committed together, then the next thousand. Timed: appends and \
            commit. `cpu_us` is that of all threads per 1,000 records; `wal_ratio` is bytes written per byte of key \
            and value, new segments included.",
    columns: &[
        higher("recs_s"),
        higher("mb_s"),
        lower("p50_us"),
        lower("p99_us"),
        lower("cpu_us"),
        lower("wal_ratio"),
    ],
    rounds: 11,
    rows: || rows_of(entries()),
    run,
};

const PER_COMMIT: u64 = 1_000;
const SPEC: LogSpec = LogSpec { per_commit: PER_COMMIT, ..DURABLE };

fn entries() -> Vec<Entry<dyn LogPeer>> {
    let mut entries = baselines();
    let bytes = Row::raw("raw-bytes", "as `raw-zeroed`, the same bytes again and again: nothing framed");
    entries.insert(0, Entry::new(bytes, Box::new(Form::Bytes)));
    let bytes = Row::raw("raw-direct-bytes", "as `raw-direct-dsync`, the same bytes again and again");
    entries.insert(1, Entry::new(bytes, Box::new(Form::DirectBytes)));
    let row = Row::highwater;
    let piped = |background, in_flight| Box::new(Piped { background, in_flight });
    entries.push(Entry::new(
        row("highwater", "`wal::Pipeline`, moved by who waits: each commit is waited for"),
        piped(false, 0),
    ));
    entries.push(Entry::new(
        row("highwater-pipelined", "`wal::Pipeline` in the background: up to 4 commits under way"),
        piped(true, 4),
    ));
    entries.push(Entry::new(row("highwater-sync", "`wal::CoreWal`: append and sync"), Box::<Wal>::default()));
    let inline = row(
        "highwater-engine",
        "engine, inline: live state as well; without checkpoints every segment is a new one",
    );
    entries.push(Entry::new(inline, Box::new(Mode::Inline)));
    let pipelined =
        row("highwater-engine-pipelined", "engine, threaded: up to 4 commits under way; otherwise the same");
    entries.push(Entry::new(pipelined, Box::new(Pipelined { in_flight: 4 })));
    entries.extend(logs(&SPEC));
    entries
}

/// Appends and commits one batch. Keys repeat, so that rows which keep state do not grow without end.
fn batch(log: &mut dyn LocalLog, values: &Values, first: u64) -> Result<()> {
    for number in first..first + PER_COMMIT {
        log.append(&key(number % 100_000), values.of(number, 0, VALUE_BYTES))?;
    }
    log.commit()
}

fn run(row: &str, slice: &Slice) -> Result<Figures> {
    let (warm_up, commits) = (slice.pick(10, 400), slice.pick(40, 600));
    let values = Values::new();
    let mut measured = None;
    find(entries(), row)?.with_one(&slice.dir, &SPEC, &mut |log| {
        (0..warm_up).try_for_each(|number| batch(log, &values, number * PER_COMMIT))?;
        pause();
        let mut latencies = Latencies::with_capacity(commits as usize);
        let meter = Meter::start();
        for number in warm_up..warm_up + commits {
            let start = Instant::now();
            batch(log, &values, number * PER_COMMIT)?;
            latencies.add(start.elapsed());
        }
        measured = Some((latencies, meter.stop()));
        Ok(())
    })?;
    let (latencies, span) = measured.ok_or("the peer did no work")?;
    let records = (commits * PER_COMMIT) as f64;
    let bytes = records * (KEY_BYTES + VALUE_BYTES) as f64;
    let mut figures = figures([
        ("recs_s", records / span.wall.as_secs_f64()),
        ("mb_s", bytes / 1e6 / span.wall.as_secs_f64()),
        ("cpu_us", micros(span.cpu) / commits as f64),
        ("wal_ratio", span.written as f64 / bytes),
    ]);
    figures.extend(latencies.percentiles().map(|(column, figure)| (column.to_owned(), figure)));
    Ok(figures)
}
