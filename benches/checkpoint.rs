//! What a checkpoint costs, and what it saves: `cargo bench --bench checkpoint`.
//!
//! ```text
//! load 1,000,000 keys ─► full checkpoint ─► change 1 % ─► checkpoint ─► close ─► reopen
//!      ─► change 100,000 more, no checkpoint ─► close ─► reopen, which replays them
//!      ─► commit and commit, now beside checkpoints, now without ─► 1 % again and again, with a checkpoint each
//! ```
//!
//! 1. The checkpoint after a change of 1 % writes at most 1.5 % of the bytes of the full one, or the program fails.
//! 2. Every reopen finds the number of keys that were loaded, and of a sample the value that was put last.
//!
//! Beside them stands the simplest honest program for the same bytes: it writes the encoded records to one file and
//! syncs it, and reads them back with a checksum. Files lie below the target directory, on whatever disk that is;
//! reads find the page cache warm, those of the baseline as well as those of the engine.
//!
//! A tiny version runs with `--test`, and without the `--bench` that `cargo bench` passes: so under `cargo test`.
#![expect(clippy::print_stdout, reason = "the table is what the program is for")]
#![expect(
    clippy::disallowed_methods,
    reason = "the baseline is plain files, and a benchmark looks at the clock"
)]
#![expect(clippy::disallowed_types, reason = "the baseline is plain files")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use highwater::{
    CoreHandle, Engine, Epoch, EpochMark, ErrorKind, Opened, Options, RecoveryReport, Result, Value,
};

const CORES: u16 = 2;
const KEY_BYTES: usize = 16;
const VALUE_BYTES: usize = 100;

/// A record in the log and in a checkpoint: eight bytes of header, the key, the value.
const RECORD_BYTES: u64 = 8 + (KEY_BYTES + VALUE_BYTES) as u64;

/// Of a hundred keys, one is changed between the checkpoints.
const CHANGED_ONE_IN: u64 = 100;

/// The most that the second checkpoint may write, in percent of the first.
const RATIO_PERCENT_MAX: f64 = 1.5;

/// Of so many keys, one is looked up after each reopen.
const SAMPLE_ONE_IN: u64 = 97;

#[derive(Clone, Copy)]
struct Scale {
    keys: u64,
    epoch_keys: u64,
    unchecked_keys: u64,
}

const WHOLE: Scale = Scale { keys: 1_000_000, epoch_keys: 10_000, unchecked_keys: 100_000 };
const TINY: Scale = Scale { keys: 20_000, epoch_keys: 1_000, unchecked_keys: 2_000 };

/// Which value a key has.
#[derive(Clone, Copy)]
struct Version(u64);

const LOADED: Version = Version(1);
const CHANGED: Version = Version(2);
const UNCHECKED: Version = Version(3);

fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn key(number: u64) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..8].copy_from_slice(&mix(number + 1).to_le_bytes());
    key[8..].copy_from_slice(&number.to_le_bytes());
    key
}

/// Bytes without a pattern, different for every key and version.
fn value(number: u64, Version(version): Version) -> [u8; VALUE_BYTES] {
    let mut value = [0; VALUE_BYTES];
    let mut word = mix(number.wrapping_mul(7) + version);
    for part in value.chunks_mut(8) {
        word = mix(word.wrapping_add(0x9e37_79b9_7f4a_7c15));
        part.copy_from_slice(&word.to_le_bytes()[..part.len()]);
    }
    value
}

/// Prints one line of the table.
fn print_row(step: &str, took: Duration, bytes: Option<u64>, note: &str) {
    let seconds = took.as_secs_f64();
    let (size, rate) = bytes.map_or(("-".to_owned(), "-".to_owned()), |bytes| {
        let mb = bytes as f64 / 1e6;
        (format!("{mb:.2}"), format!("{:.0}", mb / seconds))
    });
    println!("{step:<26}{:>10.1}{size:>10}{rate:>8}  {note}", seconds * 1e3);
}

fn thousands_per_s(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64() / 1e3
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let start = Instant::now();
    let done = work()?;
    Ok((done, start.elapsed()))
}

/// `change`, and again when there is room for it.
fn patiently<T>(core: &mut CoreHandle, mut change: impl FnMut(&mut CoreHandle) -> Result<T>) -> Result<T> {
    loop {
        match change(core) {
            Err(error) if error.kind() == ErrorKind::Busy => core.ready().wait()?,
            outcome => return outcome,
        }
    }
}

struct Database {
    engine: Engine,
    cores: Vec<CoreHandle>,
}

impl Database {
    /// Opens it, says how long that took until a key could be read, and how many log records were replayed.
    fn open(path: &Path) -> Result<(Self, Duration, RecoveryReport)> {
        // Checkpoints are taken when asked for and at no other time.
        let options = Options::new(path).cores(CORES);
        let options = options.checkpoint_interval(None).checkpoint_wal_bytes(u64::MAX);
        let ((database, report), took) = timed(|| {
            let Opened { engine, cores, report, .. } = Engine::open(options)?;
            let database = Self { engine, cores };
            database.get(0)?;
            Ok((database, report))
        })?;
        Ok((database, took, report))
    }

    fn get(&self, number: u64) -> Result<Option<Value<'_>>> {
        let key = key(number);
        self.cores[self.engine.core_of(&key).index()].get(&key)
    }

    /// Puts `version` of every key of `numbers`, in epochs of `epoch_keys`, and waits until all are durable.
    fn put(&mut self, numbers: impl Iterator<Item = u64>, version: Version, epoch_keys: u64) -> Result<()> {
        let mut in_epoch = 0;
        for number in numbers {
            let (key, value) = (key(number), value(number, version));
            let owner = self.engine.core_of(&key).index();
            patiently(&mut self.cores[owner], |core| core.put(&key, &value))?;
            in_epoch += 1;
            if in_epoch == epoch_keys {
                end_epoch(&mut self.cores)?;
                in_epoch = 0;
            }
        }
        let last = end_epoch(&mut self.cores)?;
        self.engine.wait_durable(last)
    }

    fn close(self) -> Result<()> {
        self.engine.close(self.cores)
    }

    /// Invariant 2; says how many keys were looked up.
    fn check(&self, scale: Scale, last: impl Fn(u64) -> Version) -> Result<u64> {
        let live: usize = self.cores.iter().map(CoreHandle::len).sum();
        assert_eq!(live as u64, scale.keys, "keys after a reopen");
        let mut looked_up = 0;
        for number in (0..scale.keys).filter(|number| number.is_multiple_of(SAMPLE_ONE_IN)) {
            let expected = value(number, last(number));
            assert_eq!(self.get(number)?.as_deref(), Some(&expected[..]), "key {number} after a reopen");
            looked_up += 1;
        }
        Ok(looked_up)
    }
}

/// Times of single puts and single commits.
#[derive(Default)]
struct Latencies {
    puts: Vec<Duration>,
    commits: Vec<Duration>,
}

impl Latencies {
    /// Commits `commits` times 100 keys, which `from` chooses.
    fn measure(
        &mut self,
        database: (&Engine, &mut [CoreHandle]),
        keys: u64,
        from: u64,
        commits: u64,
    ) -> Result<()> {
        let (engine, cores) = database;
        for commit in 0..commits {
            for step in 0..100 {
                let number = mix(from + commit * 100 + step) % keys;
                let (key, value) = (key(number), value(number, UNCHECKED));
                let owner = engine.core_of(&key).index();
                let start = Instant::now();
                patiently(&mut cores[owner], |core| core.put(&key, &value))?;
                self.puts.push(start.elapsed());
            }
            let start = Instant::now();
            let ended = end_epoch(cores)?;
            engine.wait_durable(ended)?;
            self.commits.push(start.elapsed());
        }
        Ok(())
    }
}

/// The time, in microseconds, that all but one in `one_in` of `times` stay below.
fn percentile(times: &mut [Duration], one_in: usize) -> f64 {
    times.sort_unstable();
    times[times.len() - 1 - times.len() / one_in].as_secs_f64() * 1e6
}

/// What commits and puts feel of checkpoints: slices with one checkpoint after the other and without, in turn.
fn beside(database: &mut Database, scale: Scale) -> Result<()> {
    let (mut with, mut without) = (Latencies::default(), Latencies::default());
    let (commits, mut checkpoints) = (scale.keys / 1_000, 0);
    let Database { engine, cores } = database;
    for slice in 0..4 {
        without.measure((engine, cores), scale.keys, 2 * slice * commits * 100, commits)?;
        let ended = AtomicBool::new(false);
        let (taken, measured) = std::thread::scope(|scope| {
            let taken = scope.spawn(|| -> Result<u64> {
                let mut taken = 0;
                while !ended.load(Ordering::Relaxed) {
                    taken += u64::from(engine.checkpoint()?.files_written > 0);
                }
                Ok(taken)
            });
            let measured =
                with.measure((engine, cores), scale.keys, (2 * slice + 1) * commits * 100, commits);
            ended.store(true, Ordering::Relaxed);
            (taken.join(), measured)
        });
        measured?;
        checkpoints += taken.expect("no checkpoint panics")?;
    }
    let print = |what: &str, one_in, with: &mut [Duration], without: &mut [Duration]| {
        let (with, without) = (percentile(with, one_in), percentile(without, one_in));
        let times = with / without;
        println!(
            "{what:<26}{with:>10.1} µs beside {checkpoints} checkpoints, {without:.1} µs without: {times:.2} ×"
        );
    };
    print("p99 of commits", 100, &mut with.commits, &mut without.commits);
    print("p99.9 of puts", 1000, &mut with.puts, &mut without.puts);
    Ok(())
}

/// What is written for a change: 1 % again and again, with a checkpoint each, until bases were rewritten.
fn amplification(database: &mut Database, scale: Scale) -> Result<()> {
    let (mut changed, mut deltas, mut bases) = (0, 0, 0);
    for round in 0..120 {
        let numbers =
            (0..scale.keys).filter(|number| mix(*number ^ (round << 40)).is_multiple_of(CHANGED_ONE_IN));
        let numbers: Vec<_> = numbers.collect();
        changed += numbers.len() as u64 * RECORD_BYTES;
        database.put(numbers.into_iter(), UNCHECKED, scale.epoch_keys)?;
        let info = database.engine.checkpoint()?;
        if info.bases_written == 0 { deltas += info.bytes_written } else { bases += info.bytes_written }
    }
    let times = |bytes: u64| bytes as f64 / changed as f64;
    println!(
        "{:<26}{:>10.2} × in deltas, {:.2} × in checkpoints that rewrite a base, per changed byte",
        "checkpoints of 1 %",
        times(deltas),
        times(bases)
    );
    Ok(())
}

/// Ends the epoch of every core.
fn end_epoch(cores: &mut [CoreHandle]) -> Result<Epoch> {
    let mut ended = Epoch::default();
    for core in cores {
        ended = patiently(core, |core| core.close_epoch(EpochMark::new()))?;
    }
    Ok(ended)
}

struct Baseline {
    write: Duration,
    read: Duration,
}

/// Writes the bytes of all records to one file, syncs it, and reads it back with a checksum.
fn baseline(dir: &Path, scale: Scale) -> std::io::Result<Baseline> {
    let mut records = Vec::new();
    for number in 0..scale.keys {
        records.extend_from_slice(&[0; 8]);
        records.extend_from_slice(&key(number));
        records.extend_from_slice(&value(number, LOADED));
    }
    assert_eq!(records.len() as u64, scale.keys * RECORD_BYTES);
    let written = crc32c::crc32c(&records);
    let path = dir.join("baseline");
    let start = Instant::now();
    let mut file = File::create_new(&path)?;
    for part in records.chunks(1 << 20) {
        file.write_all(part)?;
    }
    file.sync_all()?;
    let write = start.elapsed();
    drop((file, records));

    let start = Instant::now();
    let (mut file, mut buffer, mut found) = (File::open(&path)?, vec![0; 1 << 20], 0);
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        found = crc32c::crc32c_append(found, &buffer[..count]);
    }
    let read = start.elapsed();
    assert_eq!(found, written, "the baseline reads what it wrote");
    std::fs::remove_file(&path)?;
    Ok(Baseline { write, read })
}

/// Runs it all, prints the table, and says how many percent of the full checkpoint the second one wrote.
fn run(dir: &Path, scale: Scale, plain: &Baseline) -> Result<f64> {
    let (data, bytes) = (dir.join("data"), scale.keys * RECORD_BYTES);
    let print = |step, took, bytes, note: String| print_row(step, took, bytes, &note);
    println!("{:<26}{:>10}{:>10}{:>8}", "", "ms", "MB", "MB/s");
    print("plain file, write + sync", plain.write, Some(bytes), format!("{} records", scale.keys));
    print("plain file, read + crc32c", plain.read, Some(bytes), String::new());

    let (mut database, created, _) = Database::open(&data)?;
    print("create", created, None, "log files are written and synced, as in every open".to_owned());
    let ((), took) = timed(|| database.put(0..scale.keys, LOADED, scale.epoch_keys))?;
    let note = format!("durable, {:.0} k records/s, one thread", thousands_per_s(scale.keys, took));
    print("load", took, Some(bytes), note);

    let (full, took) = timed(|| database.engine.checkpoint())?;
    let times = took.div_duration_f64(plain.write);
    let note = format!("{} files, {times:.1} × plain write", full.files_written);
    print("full checkpoint", took, Some(full.bytes_written), note);

    let changed = |number: &u64| number.is_multiple_of(CHANGED_ONE_IN);
    database.put((0..scale.keys).filter(changed), CHANGED, scale.epoch_keys)?;
    let (delta, took) = timed(|| database.engine.checkpoint())?;
    let percent = delta.bytes_written as f64 * 1e2 / full.bytes_written as f64;
    let note = format!("{} files, {percent:.2} % of the full bytes", delta.files_written);
    print("checkpoint after 1 %", took, Some(delta.bytes_written), note);
    database.close()?;

    let last = |number: u64| if changed(&number) { CHANGED } else { LOADED };
    let (mut database, restored, report) = Database::open(&data)?;
    let looked_up = database.check(scale, last)?;
    let (replayed, times) = (report.replayed_records, restored.div_duration_f64(plain.read));
    let note = format!("readable, {replayed} replayed, {looked_up} keys looked up, {times:.1} × plain read");
    print("reopen", restored, Some(full.bytes_written + delta.bytes_written), note);

    // Every tenth or so of the keys, spread over all of them.
    let stride = scale.keys / scale.unchecked_keys;
    let unchecked = |number: &u64| number % stride == 1;
    database.put((0..scale.keys).filter(unchecked), UNCHECKED, scale.epoch_keys)?;
    database.close()?;
    let (mut database, took, report) = Database::open(&data)?;
    let replayed = report.replayed_records;
    // Ends of epochs are records, too: one per core.
    let epochs = scale.unchecked_keys / scale.epoch_keys + 1;
    assert_eq!(replayed, scale.unchecked_keys + epochs * u64::from(CORES), "records replayed");
    database.check(scale, |number| if unchecked(&number) { UNCHECKED } else { last(number) })?;
    let rate = thousands_per_s(replayed, took);
    let more_ms = (took.as_secs_f64() - restored.as_secs_f64()) * 1e3;
    let note = format!("{replayed} replayed: {rate:.0} k records/s, {more_ms:+.0} ms against reopen");
    print("reopen with replay", took, None, note);
    beside(&mut database, scale)?;
    amplification(&mut database, scale)?;
    database.close()?;
    Ok(percent)
}

fn main() -> Result<ExitCode> {
    let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let scale = if has("--test") || !has("--bench") { TINY } else { WHOLE };
    // Removed when it is dropped, on every way out but a kill.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory below target/");
    let plain = baseline(dir.path(), scale).expect("plain files work below target/");
    let percent = run(dir.path(), scale, &plain)?;
    if percent > RATIO_PERCENT_MAX {
        println!("FAILED: the checkpoint after 1 % wrote over {RATIO_PERCENT_MAX} % of the full one");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
