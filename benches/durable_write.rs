//! Which form of a durable write is fast on this device: `cargo bench --bench durable_write`.
//!
//! ```text
//! raw     4 KiB and 128 KiB writes, one after the other in a file of zeroes, by each form, by plain calls and io_uring,
//!         alone and with several in flight
//! engine  one record per durable commit, by the caller and by a thread; a thousand records; commits in flight
//! ```
//!
//! 1. Every row makes every write durable, and all rows of a table write as many bytes.
//! 2. Rows are interleaved: each round visits every row, in turned order. A ratio is one of a row and the first row of
//!    its table in the same round; the table shows the median and its 95 % interval. The last column is what the round
//!    came to that the machine disturbed least.
//! 3. What is written is read back at the end, or the program fails.
//!
//! Files lie below the target directory, or in `HIGHWATER_BENCH_DIR`: the device below them is the one that is measured.
//! `HIGHWATER_BENCH_ROUNDS` sets the rounds (default 20). Run it on a quiet machine, and once more beside a busy process:
//! forms that need another thread's turn suffer there. A tiny version runs with `--test`, and without the `--bench` that
//! `cargo bench` passes: so under `cargo test`.
#![expect(clippy::print_stdout, reason = "the table is what the program is for")]
#![expect(clippy::disallowed_methods, reason = "a benchmark looks at the clock, and makes its own files")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::collections::VecDeque;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use highwater::env::{Blocking, StdEnv, SystemEnv};
use highwater::vfs::{File, OpenMode, SystemFile, SystemVfs, Vfs};
use highwater::{Backend, CoreHandle, DurableWrite, Engine, Epoch, EpochMark, ErrorKind, Opened, Options};

const ROUNDS: usize = 20;

const BLOCK_BYTES: usize = 4096;
const LARGE_BYTES: usize = 128 * 1024;

/// Bytes of the file that a row writes to, again and again from the front.
const FILE_BYTES: usize = 32 << 20;

/// How much one visit of a row does.
#[derive(Clone, Copy)]
struct Scale {
    rounds: usize,
    small: usize,
    large: usize,
    commits: usize,
}

const TINY: Scale = Scale { rounds: 2, small: 8, large: 2, commits: 4 };

/// What one visit measured.
struct Visit {
    latencies: Vec<Duration>,
    took: Duration,
}

type Job = Box<dyn FnMut() -> Result<Visit, Box<dyn Error>>>;

struct Row {
    name: String,
    job: Job,
    visits: Vec<Visit>,
}

/// How a row writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// One durable write, as the backend does it: with io_uring, direct ones with an `fdatasync` link it, and those
    /// through the page cache share one, with or without the flag.
    Durably,
    /// A write, and when it is done a sync.
    Separately,
    /// Durably, and always the same block: what a log does that rewrites its tail.
    SameBlock,
}

/// One row of raw writes.
#[derive(Clone, Copy)]
struct Raw {
    backend: Backend,
    form: DurableWrite,
    how: How,
    bytes: usize,
    depth: usize,
}

impl Raw {
    fn name(&self) -> String {
        let by = if self.backend == Backend::Std { "calls" } else { "io_uring" };
        let form = match self.form {
            DurableWrite::Cached => "cached, fdatasync",
            DurableWrite::CachedDsync => "cached, DSYNC",
            DurableWrite::Direct => "direct, fdatasync",
            DurableWrite::DirectDsync => "direct, DSYNC",
            _ => "direct, as it fits",
        };
        let how = match self.how {
            How::Durably => "",
            How::Separately => ", separate",
            How::SameBlock => ", same block",
        };
        let depth = if self.depth > 1 { format!(" × {}", self.depth) } else { String::new() };
        format!("{by}: {form}{how}{depth}")
    }

    fn vfs(&self) -> io::Result<SystemVfs> {
        Ok(SystemVfs::new(self.backend, self.form)?.pipelined_from(0))
    }
}

/// A file of zeroes that was written, and what is written over them.
struct Target {
    file: SystemFile,
    data: Bytes,
    next: usize,
}

impl Target {
    fn new(vfs: SystemVfs, path: &Path, bytes: usize) -> io::Result<Self> {
        let file = StdEnv.block_on(async {
            let file = vfs.create_new(path).await?;
            let zeroes = Bytes::from(vec![0; 1 << 20]);
            for piece in 0..FILE_BYTES / zeroes.len() {
                let mut rest = zeroes.clone();
                while !rest.is_empty() {
                    let offset = (piece + 1) * zeroes.len() - rest.len();
                    let count = file.write_at(offset as u64, rest.clone()).await?;
                    drop(rest.split_to(count));
                }
            }
            file.sync_data().await?;
            vfs.open(path, OpenMode::Write).await
        })?;
        Ok(Self { file, data: aligned(bytes), next: 0 })
    }

    /// Where the next write goes.
    fn offset(&mut self, how: How) -> u64 {
        let place = if how == How::SameBlock { 0 } else { self.next };
        self.next = (self.next + 1) % (FILE_BYTES / self.data.len());
        (place * self.data.len()) as u64
    }

    async fn check(&self) -> io::Result<()> {
        let mut found = BytesMut::zeroed(self.data.len());
        let mut done = 0;
        while done < found.len() {
            let (rest, count) = self.file.read_at(done as u64, found.split_off(done)).await?;
            found.unsplit(rest);
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            done += count;
        }
        if found == self.data { Ok(()) } else { Err(io::Error::other("other bytes came back")) }
    }
}

/// Bytes for direct I/O.
fn aligned(bytes: usize) -> Bytes {
    let mut memory = BytesMut::zeroed(bytes + BLOCK_BYTES);
    let start = memory.as_ptr().align_offset(BLOCK_BYTES);
    let mut data = memory.split_off(start);
    data.truncate(bytes);
    data.fill(0x5A);
    data.freeze()
}

async fn write(file: &SystemFile, offset: u64, data: Bytes, how: How) -> io::Result<()> {
    let bytes = data.len();
    let count = if how == How::Separately {
        let count = file.write_at(offset, data).await?;
        file.sync_data().await?;
        count
    } else {
        file.write_at_and_sync(offset, data).await?
    };
    if count == bytes { Ok(()) } else { Err(io::Error::other(format!("{count} bytes of {bytes}"))) }
}

type Flight<'a> = Pin<Box<dyn Future<Output = io::Result<()>> + 'a>>;

/// Writes `count` times, `depth` at a time.
async fn visit(target: &mut Target, raw: Raw, count: usize) -> io::Result<Visit> {
    let offsets: Vec<u64> = (0..count).map(|_| target.offset(raw.how)).collect();
    let mut offsets = offsets.into_iter();
    let mut latencies = Vec::with_capacity(count);
    let start = Instant::now();
    let mut flights: Vec<Option<(Instant, Flight<'_>)>> = (0..raw.depth).map(|_| None).collect();
    poll_fn(|context| {
        for flight in &mut flights {
            loop {
                if flight.is_none() {
                    let Some(offset) = offsets.next() else { break };
                    let write = write(&target.file, offset, target.data.clone(), raw.how);
                    *flight = Some((Instant::now(), Box::pin(write)));
                }
                let Some((began, write)) = flight else { break };
                match write.as_mut().poll(context) {
                    Poll::Pending => break,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Ready(Ok(())) => latencies.push(began.elapsed()),
                }
                *flight = None;
            }
        }
        if flights.iter().all(Option::is_none) { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await?;
    drop(flights);
    let took = start.elapsed();
    target.check().await?;
    Ok(Visit { latencies, took })
}

fn raw_row(dir: &Path, raw: Raw, count: usize) -> Result<Option<Row>, Box<dyn Error>> {
    let Ok(vfs) = raw.vfs() else { return Ok(None) };
    let name = raw.name();
    let path = dir.join(name.replace(['/', ' '], "_") + &raw.bytes.to_string());
    let mut target = Target::new(vfs, &path, raw.bytes)?;
    let job = move || Ok(StdEnv.block_on(visit(&mut target, raw, count))?);
    Ok(Some(Row { name, job: Box::new(job), visits: Vec::new() }))
}

const FORMS: [DurableWrite; 4] =
    [DurableWrite::Cached, DurableWrite::CachedDsync, DurableWrite::Direct, DurableWrite::DirectDsync];

/// The rows of raw writes of `bytes` bytes, `count` to a visit.
fn raw_rows(dir: &Path, bytes: usize, count: usize, depths: &[usize]) -> Result<Vec<Row>, Box<dyn Error>> {
    let raw = |backend, form, how, depth| Raw { backend, form, how, bytes, depth };
    let mut all: Vec<Raw> = FORMS.iter().map(|&form| raw(Backend::Std, form, How::Durably, 1)).collect();
    for form in [DurableWrite::Cached, DurableWrite::DirectDsync] {
        all.push(raw(Backend::Std, form, How::SameBlock, 1));
    }
    all.push(raw(Backend::Uring, DurableWrite::Cached, How::Separately, 1));
    for &depth in depths {
        let forms = FORMS.iter().filter(|form| **form != DurableWrite::CachedDsync);
        all.extend(forms.map(|&form| raw(Backend::Uring, form, How::Durably, depth)));
        all.push(raw(Backend::Uring, DurableWrite::Auto, How::Durably, depth));
    }
    let rows = all.into_iter().map(|raw| raw_row(dir, raw, count));
    Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// A database that commits.
struct Commits {
    engine: Engine,
    cores: Vec<CoreHandle>,
    records: u64,
    in_flight: usize,
    number: u64,
}

impl Commits {
    /// One epoch more.
    fn close(&mut self) -> highwater::Result<Epoch> {
        let core = &mut self.cores[0];
        for _ in 0..self.records {
            self.number += 1;
            let key = (self.number % 1_000).to_le_bytes();
            while let Err(error) = core.put(&key, &[7; 108]) {
                if error.kind() != ErrorKind::Busy {
                    return Err(error);
                }
                self.engine.env().block_on(core.ready().into_future())?;
            }
        }
        core.close_epoch(EpochMark::new())
    }

    fn visit(&mut self, count: usize) -> highwater::Result<Visit> {
        let mut latencies = Vec::with_capacity(count);
        let mut waiting = VecDeque::new();
        let start = Instant::now();
        for _ in 0..count {
            let began = Instant::now();
            waiting.push_back((began, self.close()?));
            while waiting.len() >= self.in_flight
                && let Some((began, epoch)) = waiting.pop_front()
            {
                self.engine.wait_durable(epoch)?;
                latencies.push(began.elapsed());
            }
        }
        for (began, epoch) in waiting {
            self.engine.wait_durable(epoch)?;
            latencies.push(began.elapsed());
        }
        Ok(Visit { latencies, took: start.elapsed() })
    }
}

/// How a database commits.
#[derive(Clone, Copy)]
struct Committing {
    name: &'static str,
    inline: bool,
    depth: usize,
    records: u64,
    in_flight: usize,
}

/// One record per commit, by a thread.
const SINGLE: Committing =
    Committing { name: "one record per commit", inline: false, depth: 2, records: 1, in_flight: 1 };

const COMMITTING: [Committing; 5] = [
    Committing { name: "one record per commit, inline", inline: true, depth: 1, ..SINGLE },
    SINGLE,
    Committing { name: "one record, 16 commits in flight", in_flight: 16, ..SINGLE },
    Committing { name: "one record, 16 commits in flight", in_flight: 16, depth: 4, ..SINGLE },
    Committing {
        name: "1,000 records, 4 commits in flight",
        records: 1_000,
        in_flight: 4,
        depth: 4,
        ..SINGLE
    },
];

fn engine_rows(dir: &Path, how: Committing, count: usize) -> Result<Vec<Row>, Box<dyn Error>> {
    let mut rows = Vec::new();
    for (by, backend, form, small_too) in [
        ("calls, cached", Backend::Std, DurableWrite::Cached, false),
        ("calls, direct DSYNC", Backend::Std, DurableWrite::DirectDsync, false),
        ("io_uring, cached", Backend::Uring, DurableWrite::Cached, false),
        ("io_uring, direct DSYNC", Backend::Uring, DurableWrite::DirectDsync, false),
        ("io_uring, direct, as it fits", Backend::Uring, DurableWrite::Auto, false),
        ("io_uring, the same, small ones too", Backend::Uring, DurableWrite::Auto, true),
    ] {
        let Ok(vfs) = SystemVfs::new(backend, form) else { continue };
        let env = SystemEnv::with(if small_too { vfs.pipelined_from(0) } else { vfs });
        let path = dir.join(format!("{}-{}-{by}", how.name, how.depth).replace(' ', "_"));
        let options = Options::new(path).inline(how.inline).depth(how.depth).epoch_skew_max(1 << 20);
        let options = options.checkpoint_interval(None).checkpoint_wal_bytes(u64::MAX);
        let Opened { engine, cores, .. } = env.block_on(Engine::open_in(env.clone(), options))?;
        let (records, in_flight) = (how.records, how.in_flight);
        let mut commits = Commits { engine, cores, records, in_flight, number: 0 };
        let job = move || Ok(commits.visit(count)?);
        rows.push(Row { name: by.to_owned(), job: Box::new(job), visits: Vec::new() });
    }
    Ok(rows)
}

/// Measures the rows of one table, interleaved, and prints it.
fn table(title: &str, mut rows: Vec<Row>, rounds: usize) -> Result<(), Box<dyn Error>> {
    let count = rows.len();
    for round in 0..rounds {
        for step in 0..count {
            let row = &mut rows[(round + step) % count];
            let visit = (row.job)()?;
            row.visits.push(visit);
        }
    }
    println!("\n{title}\n");
    println!(
        "| | p50 µs | p99 µs | per second | time × the first row (95 %) | quietest round: p50 µs, per second |"
    );
    println!("|--|--|--|--|--|--|");
    let of_visit = |visit: &Visit| visit.took.as_secs_f64() / visit.latencies.len() as f64;
    for row in &rows {
        let part =
            |percent| median(row.visits.iter().map(|visit| percentile(&visit.latencies, percent)).collect());
        let per_second = median(row.visits.iter().map(|visit| 1.0 / of_visit(visit)).collect());
        let pairs = row.visits.iter().zip(&rows[0].visits);
        let mut ratios: Vec<f64> = pairs.map(|(visit, first)| of_visit(visit) / of_visit(first)).collect();
        ratios.sort_by(f64::total_cmp);
        let (low, high) = interval(&ratios);
        let (p50, p99, ratio) = (part(50), part(99), median(ratios));
        let name = &row.name;
        let least = |of: &dyn Fn(&Visit) -> f64| row.visits.iter().map(of).fold(f64::INFINITY, f64::min);
        let (best, fastest) = (least(&|visit| percentile(&visit.latencies, 50)), 1.0 / least(&of_visit));
        let ratio = format!("{ratio:.2} ({low:.2}–{high:.2})");
        println!("| {name} | {p50:.0} | {p99:.0} | {per_second:.0} | {ratio} | {best:.0}, {fastest:.0} |");
    }
    Ok(())
}

/// Microseconds.
fn percentile(latencies: &[Duration], percent: usize) -> f64 {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.is_empty() {
        f64::NAN
    } else if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

/// The 95 % interval of the median of `sorted` values, by their order alone.
fn interval(sorted: &[f64]) -> (f64, f64) {
    let count = sorted.len();
    let reach = 0.98 * (count as f64).sqrt();
    let at = |place: f64| {
        let mut index = 0;
        while index + 1 < count && (index + 1) as f64 <= place {
            index += 1;
        }
        sorted[index]
    };
    let middle = (count as f64 - 1.0) / 2.0;
    (at(middle - reach), at((middle + reach).ceil()))
}

fn run(dir: &Path, scale: Scale) -> Result<(), Box<dyn Error>> {
    let Scale { rounds, small, large, commits } = scale;
    let rows = raw_rows(dir, BLOCK_BYTES, small, &[1, 4, 16])?;
    table("4 KiB, each durable", rows, rounds)?;
    let rows = raw_rows(dir, LARGE_BYTES, large, &[1, 4])?;
    table("128 KiB, each durable", rows, rounds)?;
    for how in COMMITTING {
        // As many bytes, or the log files that are prepared meanwhile would be most of what is measured.
        let count = if how.records > 1 { commits / 4 } else { commits };
        let rows = engine_rows(dir, how, count)?;
        table(&format!("Engine, one core: {}, depth {}", how.name, how.depth), rows, rounds)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let tiny = has("--test") || !has("--bench");
    let rounds = std::env::var("HIGHWATER_BENCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let whole = Scale { rounds: rounds.unwrap_or(ROUNDS), small: 200, large: 40, commits: 200 };
    let place = std::env::var_os("HIGHWATER_BENCH_DIR");
    let place = place.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let outcome = tempfile::tempdir_in(place)
        .map_err(Box::from)
        .and_then(|dir| run(dir.path(), if tiny { TINY } else { whole }));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("durable_write: {error}");
            ExitCode::FAILURE
        }
    }
}
