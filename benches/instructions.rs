//! What an operation costs in instructions: `cargo bench --bench instructions`. Unlike time, a count is the same on a
//! busy machine.
//!
//! ```text
//! (instructions of the thread in a run of 3 n operations − in one of n) ÷ 2 n      start and end cancel out
//! ```
//!
//! 1. valgrind's callgrind counts; only the thread that calls, not those that write the log.
//! 2. A figure is compared with `benches/instructions.toml` when compiler and valgrind are those that made it, and may
//!    differ by 3 %. Else, or without valgrind, the program prints `NOT COMPARED` and says why.
//! 3. `-- --update` writes that file anew.
//!
//! Under `cargo test` every operation runs once, uncounted.
#![expect(clippy::print_stdout, reason = "the table is what the program is for")]
#![expect(clippy::disallowed_methods, reason = "a benchmark makes its own files")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};

use highwater::env::StdEnv;
use highwater::wal::{CoreWal, WalOpened, WalOptions, WalRecord};
use highwater::{Backend, CoreHandle, Engine, ErrorKind, Opened, Options};
use serde::{Deserialize, Serialize};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What is measured, and how often: enough that the rest hardly counts.
const CASES: [Case; 9] = [
    Case { name: "put", count: 16_000, run: put },
    Case { name: "put_many", count: 16_000, run: put_many },
    Case { name: "get", count: 16_000, run: get },
    Case { name: "get_many", count: 16_000, run: get_many },
    Case { name: "range_of_100", count: 80, run: range },
    Case { name: "range_of_100_ordered", count: 400, run: range_ordered },
    Case { name: "log_append", count: 8_000, run: append },
    Case { name: "log_frame", count: 100, run: frame },
    Case { name: "log_scan_record", count: 4, run: scan },
];

struct Case {
    name: &'static str,
    count: u64,
    run: fn(&Path, u64) -> Result<u64>,
}

const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.toml");
/// By how much a figure may differ from the baseline, in percent.
const DIFFERENCE_MAX: f64 = 3.0;

const KEYS: u64 = 4_000;
const BATCH: usize = 64;
const VALUE: [u8; 100] = [7; 100];
/// Records in the log that is scanned.
const SCANNED: u64 = 4_000;

/// What was measured, and with what.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Baseline {
    rustc: String,
    valgrind: String,
    /// Instructions of one operation.
    instructions: BTreeMap<String, f64>,
}

fn key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    key[8..].copy_from_slice(&number.to_le_bytes());
    key
}

/// The `number`-th of a walk over all keys.
fn some_key(number: u64) -> [u8; 16] {
    key(number * 1_237 % KEYS)
}

/// A database with [`KEYS`] keys. The log's buffers hold everything that a run puts, and nobody writes them: to wait for
/// a disk or a thread takes another number of instructions each time.
fn database(dir: &Path, ordered: bool) -> Result<(Engine, CoreHandle)> {
    let options = Options::new(dir.join("data")).backend(Backend::Std).inline(true).checkpoint_interval(None);
    let Opened { engine, cores, .. } = Engine::open(options.ordered_index(ordered))?;
    let mut core = cores.into_iter().next().ok_or("a database has a core")?;
    for number in 0..KEYS {
        core.put(&key(number), &VALUE)?;
    }
    Ok((engine, core))
}

fn put(dir: &Path, count: u64) -> Result<u64> {
    let (engine, mut core) = database(dir, false)?;
    for number in 0..count {
        core.put(&some_key(number), &VALUE)?;
    }
    drop((engine, core));
    Ok(count)
}

fn batches(count: u64) -> impl Iterator<Item = Vec<[u8; 16]>> {
    let step = BATCH as u64;
    (0..count / step).map(move |batch| (batch * step..(batch + 1) * step).map(some_key).collect())
}

fn put_many(dir: &Path, count: u64) -> Result<u64> {
    let (engine, mut core) = database(dir, false)?;
    for keys in batches(count) {
        let entries: Vec<_> = keys.iter().map(|key| (key, VALUE)).collect();
        core.put_many(&entries)?;
    }
    drop((engine, core));
    Ok(count)
}

fn get(dir: &Path, count: u64) -> Result<u64> {
    let (engine, core) = database(dir, false)?;
    for number in 0..count {
        black_box(core.get(&some_key(number))?.ok_or("every key has a value")?);
    }
    drop((engine, core));
    Ok(count)
}

fn get_many(dir: &Path, count: u64) -> Result<u64> {
    let (engine, core) = database(dir, false)?;
    for keys in batches(count) {
        for value in core.get_many(&keys) {
            black_box(value?.ok_or("every key has a value")?);
        }
    }
    drop((engine, core));
    Ok(count)
}

fn ranges(dir: &Path, count: u64, ordered: bool) -> Result<u64> {
    let (engine, core) = database(dir, ordered)?;
    for number in 0..count {
        let from = some_key(number);
        let read = core.range(&from[..]..).take(100).filter(|entry| black_box(entry).is_ok()).count();
        assert!(read > 0, "a range from a key holds it");
    }
    drop((engine, core));
    Ok(count)
}

fn range(dir: &Path, count: u64) -> Result<u64> {
    ranges(dir, count, false)
}

fn range_ordered(dir: &Path, count: u64) -> Result<u64> {
    ranges(dir, count, true)
}

fn log(dir: &Path) -> Result<CoreWal<StdEnv>> {
    let WalOpened { wal, .. } = CoreWal::open_blocking(StdEnv, dir.join("log"), WalOptions::default())?;
    Ok(wal)
}

fn append_all(wal: &mut CoreWal<StdEnv>, count: u64) -> Result<()> {
    for number in 0..count {
        let key = some_key(number);
        let record = WalRecord::Put { key: &key, value: &VALUE };
        match wal.append(&record) {
            Err(error) if error.kind() == ErrorKind::Busy => {
                wal.sync_blocking()?;
                wal.append(&record)?;
            }
            appended => {
                appended?;
            }
        }
    }
    Ok(())
}

/// Records of full batches: a share of the frame that they become is in it.
fn append(dir: &Path, count: u64) -> Result<u64> {
    let mut wal = log(dir)?;
    append_all(&mut wal, count)?;
    wal.close_blocking()?;
    Ok(count)
}

/// Frames of one record, each synced.
fn frame(dir: &Path, count: u64) -> Result<u64> {
    let mut wal = log(dir)?;
    for _ in 0..count {
        append_all(&mut wal, 1)?;
        wal.sync_blocking()?;
    }
    wal.close_blocking()?;
    Ok(count)
}

fn scan(dir: &Path, count: u64) -> Result<u64> {
    let mut wal = log(dir)?;
    append_all(&mut wal, SCANNED)?;
    wal.sync_blocking()?;
    for _ in 0..count {
        let mut found = 0;
        wal.read_blocking(None, |_, _, record| {
            found += u64::from(matches!(black_box(record), WalRecord::Put { .. }));
        })?;
        assert_eq!(found, SCANNED);
    }
    wal.close_blocking()?;
    Ok(count * SCANNED)
}

/// Runs one case here, as the process that is counted does.
fn run(name: &str, count: u64) -> Result<u64> {
    let case = CASES.iter().find(|case| case.name == name).ok_or("no such case")?;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    (case.run)(dir.path(), count)
}

/// Instructions of the calling thread in a process that runs `case` `count` times.
fn counted(case: &Case, count: u64, dir: &Path) -> Result<u64> {
    let out = dir.join(format!("{}-{count}", case.name));
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--separate-threads=yes", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args(["--case", case.name, &count.to_string()])
        .status()?;
    if !status.success() {
        return Err(format!("{} failed under valgrind: {status}", case.name).into());
    }
    // The first thread's file; without another thread there may be only one.
    let first = dir.join(format!("{}-{count}-01", case.name));
    let text = fs::read_to_string(if first.exists() { first } else { out })?;
    let totals =
        text.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    Ok(totals.ok_or("callgrind wrote no totals")?.trim().parse()?)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn measure(case: &Case, dir: &Path) -> Result<f64> {
    let (few, many) = (case.count, 3 * case.count);
    let operations = if case.name == "log_scan_record" { SCANNED } else { 1 };
    let more = counted(case, many, dir)?.saturating_sub(counted(case, few, dir)?);
    let each = more as f64 / ((many - few) * operations) as f64;
    Ok((each * 10.0).round() / 10.0)
}

/// The first line of what a tool says of itself.
fn version(tool: &str) -> Option<String> {
    let output =
        Command::new(tool).arg("--version").output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned())
}

/// Whether no figure is off.
fn compare(found: &Baseline) -> Result<bool> {
    let baseline: Baseline = toml::from_str(&fs::read_to_string(BASELINE)?)?;
    let comparable = baseline.rustc == found.rustc && baseline.valgrind == found.valgrind;
    let mut right = true;
    println!("{:<24} {:>12} {:>12}", "instructions of one", "now", "before");
    for (name, now) in &found.instructions {
        let before = baseline.instructions.get(name).copied();
        let off = before.is_none_or(|before| (now / before - 1.0).abs() * 100.0 > DIFFERENCE_MAX);
        let note = if off && comparable { "  DIFFERS by over 3 %" } else { "" };
        println!("{name:<24} {now:>12.1} {:>12.1}{note}", before.unwrap_or(f64::NAN));
        right &= !off;
    }
    if !comparable {
        println!(
            "NOT COMPARED: {} and {} made the baseline, here are {} and {}",
            baseline.rustc, baseline.valgrind, found.rustc, found.valgrind
        );
    } else if !right {
        println!("FAILED: if that is meant, `cargo bench --bench instructions -- --update` says so");
    }
    Ok(right || !comparable)
}

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--case") {
        black_box(run(&arguments[at + 1], arguments[at + 2].parse()?)?);
        return Ok(ExitCode::SUCCESS);
    }
    let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    if has("--test") || !has("--bench") {
        for case in &CASES {
            run(case.name, BATCH as u64 / 16)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (Some(rustc), Some(valgrind)) = (version("rustc"), version("valgrind")) else {
        println!("NOT COMPARED: valgrind is missing; `apt-get install valgrind` brings it");
        return Ok(ExitCode::SUCCESS);
    };
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let measured = CASES.iter().map(|case| Ok((case.name.to_owned(), measure(case, dir.path())?)));
    let found = Baseline { rustc, valgrind, instructions: measured.collect::<Result<_>>()? };
    if has("--update") {
        fs::write(BASELINE, toml::to_string(&found)?)?;
        println!("written to {BASELINE}: {found:?}");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(if compare(&found)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
