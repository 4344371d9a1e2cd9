//! W1: one record per durable commit.

use std::time::Instant;

use super::{DURABLE, Row, Slice, Workload, baselines, find, higher, lower, pause, rows_of};
use crate::meter::{Figures, Latencies, Meter, figures, micros};
use crate::peer::highwater::{Mode, Wal};
use crate::peer::{Entry, LogPeer, Result, logs};
use crate::record::{VALUE_BYTES, Values, key};

pub(super) const WORKLOAD: Workload = Workload {
    id: "W1",
    title: "One record of 116 B per durable commit",
    about: "A record is appended and committed, then the next. Timed: from the append to the commit's return.",
    columns: &[
        lower("p50_us"),
        lower("p99_us"),
        lower("p999_us"),
        higher("commits_s"),
        lower("cpu_us"),
        lower("disk_bytes_commit"),
    ],
    rounds: 15,
    rows: || rows_of(entries()),
    run,
};

fn entries() -> Vec<Entry<dyn LogPeer>> {
    let mut entries = baselines();
    let row = Row::highwater;
    entries.push(Entry::new(
        row("highwater-inline", "engine, the caller writes its log"),
        Box::new(Mode::Inline),
    ));
    entries.push(Entry::new(row("highwater", "engine, a thread writes the log"), Box::new(Mode::Threaded)));
    entries.push(Entry::new(row("highwater-wal", "`wal::CoreWal`"), Box::<Wal>::default()));
    entries.extend(logs(&DURABLE));
    entries
}

fn run(row: &str, slice: &Slice) -> Result<Figures> {
    let (warm_up, commits) = (slice.pick(100, 500), slice.pick(400, 4_000));
    let values = Values::new();
    let mut measured = None;
    find(entries(), row)?.with(&slice.dir, &DURABLE, &mut |logs| {
        let mut commit = |number| {
            let start = Instant::now();
            logs[0].append(&key(number), values.of(number, 0, VALUE_BYTES))?;
            logs[0].commit()?;
            Ok::<_, crate::peer::Error>(start.elapsed())
        };
        (0..warm_up).try_for_each(|number| commit(number).map(drop))?;
        pause();
        let mut latencies = Latencies::with_capacity(commits as usize);
        let meter = Meter::start();
        for number in warm_up..warm_up + commits {
            latencies.add(commit(number)?);
        }
        measured = Some((latencies, meter.stop()));
        Ok(())
    })?;
    let (latencies, span) = measured.ok_or("the peer did no work")?;
    let per_commit = |total: f64| total / commits as f64;
    let mut figures = figures([
        ("commits_s", commits as f64 / span.wall.as_secs_f64()),
        ("cpu_us", per_commit(micros(span.cpu))),
        ("disk_bytes_commit", per_commit(span.written as f64)),
    ]);
    figures.extend(latencies.percentiles().map(|(column, figure)| (column.to_owned(), figure)));
    Ok(figures)
}
