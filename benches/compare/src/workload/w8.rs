//! W8: durable commits that are not waited for one by one.

use super::{Row, Slice, Workload, higher, lower};
use crate::meter::{Figures, figures, micros};
use crate::peer::Result;
use crate::peer::highwater::{Mode, PipelineSpec, pipeline_engine, pipeline_wal};
use crate::raw::ring::in_flight;

pub(super) const WORKLOAD: Workload = Workload {
    id: "W8",
    title: "One core, up to 16 commits of one record unacknowledged",
    about: "A commit is issued as soon as fewer than so many are unacknowledged. Timed: from the append to the \
            acknowledgement. The raw rows are direct durable writes of 4 KiB (or 128 KiB) in flight. No peer can do \
            this: their W1 row is what they do.",
    columns: &[higher("commits_s"), lower("p50_us"), lower("p99_us"), lower("p999_us"), lower("cpu_us")],
    rounds: 11,
    rows,
    run,
};

const DEPTH: usize = 16;

fn rows() -> Vec<Row> {
    let raw = Row::raw;
    vec![
        raw("uring-1", "io_uring, `O_DIRECT` + `RWF_DSYNC`, 4 KiB, one in flight"),
        raw("uring-4", "four in flight"),
        Row::baseline("uring-16", "sixteen in flight"),
        raw("uring-128k-4", "128 KiB, four in flight"),
        Row::highwater(
            "highwater",
            "engine, a thread writes the log: an epoch per record, 16 unacknowledged",
        ),
        Row::highwater("highwater-inline", "engine, who waits writes the log: the same"),
        Row::highwater("highwater-wal", "`wal::Pipeline`, moved by who waits: a commit per record"),
        Row::highwater("highwater-wal-threaded", "`wal::Pipeline` in the background: the same"),
    ]
}

fn run(row: &str, slice: &Slice) -> Result<Figures> {
    let spec = |depth| PipelineSpec {
        depth,
        warm_up: slice.pick(10, 100) * DEPTH as u64,
        commits: slice.pick(100, 1_000) * DEPTH as u64,
    };
    let (latencies, span) = match row {
        "uring-1" => {
            in_flight(&slice.dir, PipelineSpec { commits: slice.pick(400, 4_000), ..spec(1) }, 4 << 10)?
        }
        "uring-4" => in_flight(&slice.dir, spec(4), 4 << 10)?,
        "uring-16" => in_flight(&slice.dir, spec(DEPTH), 4 << 10)?,
        "uring-128k-4" => {
            in_flight(&slice.dir, PipelineSpec { commits: slice.pick(400, 4_000), ..spec(4) }, 128 << 10)?
        }
        "highwater" => pipeline_engine(&slice.dir, Mode::Threaded, spec(DEPTH))?,
        "highwater-inline" => pipeline_engine(&slice.dir, Mode::Inline, spec(DEPTH))?,
        "highwater-wal" => pipeline_wal(&slice.dir, false, spec(DEPTH))?,
        "highwater-wal-threaded" => pipeline_wal(&slice.dir, true, spec(DEPTH))?,
        _ => return Err(format!("no row {row}").into()),
    };
    let commits = latencies.len() as f64;
    let mut figures =
        figures([("commits_s", commits / span.wall.as_secs_f64()), ("cpu_us", micros(span.cpu) / commits)]);
    figures.extend(latencies.percentiles().map(|(column, figure)| (column.to_owned(), figure)));
    Ok(figures)
}
