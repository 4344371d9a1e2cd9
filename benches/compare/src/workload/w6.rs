//! W6: two writers at once, one record per durable commit each.

use std::sync::Barrier;
use std::time::Instant;

use super::{DURABLE, Row, Slice, Workload, baselines, find, higher, lower, pause, rows_of};
use crate::meter::{Figures, Latencies, Meter, figures, micros};
use crate::peer::highwater::Mode;
use crate::peer::{Entry, Log, LogPeer, LogSpec, Result, logs};
use crate::record::{VALUE_BYTES, Values, key};

pub(super) const WORKLOAD: Workload = Workload {
    id: "W6",
    title: "Two writers, one record of 116 B per durable commit each",
    about: "Two threads commit at once. Raw rows, laminar and highwater have a log per writer (highwater: two \
            databases of one core in one process), the others a log that is shared.",
    columns: &[higher("commits_s"), lower("p50_us"), lower("p99_us"), lower("p999_us"), lower("cpu_us")],
    rounds: 11,
    rows: || rows_of(entries()),
    run,
};

const SPEC: LogSpec = LogSpec { writers: 2, ..DURABLE };

fn entries() -> Vec<Entry<dyn LogPeer>> {
    let mut entries = baselines();
    let row = Row::highwater;
    entries.push(Entry::new(
        row("highwater-inline", "engine, the caller writes its log"),
        Box::new(Mode::Inline),
    ));
    entries.push(Entry::new(row("highwater", "engine, a thread writes the log"), Box::new(Mode::Threaded)));
    entries.extend(logs(&SPEC));
    entries
}

fn write(log: &mut dyn Log, values: &Values, first: u64, commits: u64) -> Result<Latencies> {
    let mut latencies = Latencies::with_capacity(commits as usize);
    for number in first..first + commits {
        let start = Instant::now();
        log.append(&key(number), values.of(number, 0, VALUE_BYTES))?;
        log.commit()?;
        latencies.add(start.elapsed());
    }
    Ok(latencies)
}

fn run(row: &str, slice: &Slice) -> Result<Figures> {
    let (warm_up, commits) = (slice.pick(100, 500), slice.pick(300, 3_000));
    let values = Values::new();
    let mut measured = None;
    find(entries(), row)?.with(&slice.dir, &SPEC, &mut |logs| {
        for (number, log) in logs.iter_mut().enumerate() {
            write(&mut **log, &values, (number as u64) << 32, warm_up)?;
        }
        pause();
        let gate = Barrier::new(logs.len());
        let meter = Meter::start();
        let done = std::thread::scope(|scope| {
            let mut writers = Vec::new();
            for (number, log) in logs.iter_mut().enumerate() {
                let (gate, values) = (&gate, &values);
                writers.push(scope.spawn(move || {
                    gate.wait();
                    write(&mut **log, values, ((number as u64) << 32) + warm_up, commits)
                }));
            }
            let join = |writer: std::thread::ScopedJoinHandle<'_, Result<Latencies>>| {
                writer.join().map_err(|_| "a writer panicked")?
            };
            writers.into_iter().map(join).collect::<Result<Vec<_>>>()
        })?;
        measured = Some((done, meter.stop()));
        Ok(())
    })?;
    let (done, span) = measured.ok_or("the peer did no work")?;
    let mut latencies = Latencies::with_capacity(0);
    for of_writer in done {
        latencies.append(of_writer);
    }
    let commits = latencies.len() as f64;
    let mut figures =
        figures([("commits_s", commits / span.wall.as_secs_f64()), ("cpu_us", micros(span.cpu) / commits)]);
    figures.extend(latencies.percentiles().map(|(column, figure)| (column.to_owned(), figure)));
    Ok(figures)
}
