//! How fast a verification reads, and how much memory it takes: `cargo bench --bench verify`.
//!
//! ```text
//! load the keys, one value each ─► checkpoint ─► 19 times: change 1 % of the keys, checkpoint ─► close
//!      ─► a process of its own verifies them: what it reads, its processor time, how much its memory grows
//! ```
//!
//! 1. The larger database has a million keys and 20 retained epochs. It is read with at least 300 MB per second and core, or
//!    the program fails.
//! 2. The smaller one has a fifth of the keys. The memory for the larger one grows by at most a quarter more, and 4 MiB, or the
//!    program fails: it does not depend on the size.
//!
//! Files lie below the target directory, on whatever disk that is; reads find the page cache warm. The rate is that of the
//! processor, which is one core's: a verification is one thread. Beside it stands the time on the clock.
//!
//! A tiny version runs with `--quick` or `--test`, and without the `--bench` that `cargo bench` passes: so under `cargo test`. It
//! promises no rate.
#![expect(clippy::print_stdout, reason = "the table is what the program is for")]
#![expect(clippy::unwrap_used, reason = "a benchmark that fails has to stop")]
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark looks at the clock, and asks the system about itself"
)]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use highwater::{
    CoreHandle, Engine, Epoch, EpochMark, ErrorKind, Opened, Options, Result, VerifyOptions, verify,
};
use rustix::time::{ClockId, clock_gettime};

const CORES: u16 = 2;
const VALUE_BYTES: usize = 100;

/// Retained epochs.
const EPOCHS: u64 = 20;

/// Of a hundred keys, one is changed in each of them.
const CHANGED_ONE_IN: u64 = 100;

/// The least that a million keys are read with.
const MB_PER_S_MIN: f64 = 300.0;

/// How much more memory the larger database may take: a quarter, and what allocators and threads do not account for.
const GROWTH_MORE: f64 = 1.25;
const GROWTH_SLACK_BYTES: f64 = 4e6;

/// Keys of the smaller and of the larger database.
const WHOLE: [u64; 2] = [200_000, 1_000_000];
const TINY: [u64; 2] = [4_000, 20_000];

/// The variable that makes this program the one that verifies, and says what.
const CHILD: &str = "HIGHWATER_VERIFY_DIR";

fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mix(number + 1).to_le_bytes());
    key[8..].copy_from_slice(&number.to_le_bytes());
    key
}

/// Bytes without a pattern, different for every key and epoch.
fn value(number: u64, epoch: u64) -> [u8; VALUE_BYTES] {
    let mut value = [0; VALUE_BYTES];
    let mut word = mix(number.wrapping_mul(7) + epoch);
    for part in value.chunks_mut(8) {
        word = mix(word.wrapping_add(0x9e37_79b9_7f4a_7c15));
        part.copy_from_slice(&word.to_le_bytes()[..part.len()]);
    }
    value
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

/// Makes the database of `keys` keys at `root`.
fn make(root: &Path, keys: u64) -> Result<()> {
    let options = Options::new(root)
        .cores(CORES)
        // What is empty in a segment is read, too, and faster than anything else. And the log of the load is gone then, as
        // with any database that has been at work for a while.
        .segment_bytes(1 << 20)
        .retain_checkpoints(usize::try_from(EPOCHS).unwrap())
        .fallback_bytes_max(0)
        .checkpoint_interval(None);
    let Opened { engine, mut cores, .. } = Engine::open(options)?;
    for epoch in 0..EPOCHS {
        let is_changed =
            |number: &u64| epoch == 0 || mix(number ^ (epoch << 40)).is_multiple_of(CHANGED_ONE_IN);
        for number in (0..keys).filter(is_changed) {
            let (key, value) = (key(number), value(number, epoch));
            let owner = engine.core_of(&key).index();
            patiently(&mut cores[owner], |core| core.put(&key, &value))?;
        }
        let mut ended = Epoch::default();
        for core in &mut cores {
            ended = patiently(core, |core| core.close_epoch(EpochMark::new().offset("number", epoch)))?;
        }
        engine.wait_durable(ended)?;
        engine.checkpoint()?;
    }
    engine.close(cores)
}

/// The most memory that this process has had at a time, in bytes, as Linux tells it; zero elsewhere.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

/// What a verification took.
#[derive(Clone, Copy, Debug)]
struct Cost {
    bytes_read: u64,
    processor: Duration,
    took: Duration,
    growth_bytes: u64,
}

/// The other process's part: verifies the database at `root` and prints what it took.
fn measure(root: &Path) {
    let (peak, busy, start) = (peak_bytes(), processor_time(), Instant::now());
    let report = verify(root, VerifyOptions::new()).unwrap();
    let (took, busy) = (start.elapsed(), processor_time().saturating_sub(busy));
    assert!(report.is_sound(), "{report}");
    assert_eq!(report.epochs.len() as u64, EPOCHS, "{report}");
    println!("{} {} {} {}", report.bytes_read, busy.as_nanos(), took.as_nanos(), peak_bytes() - peak);
}

/// Has another process verify the database at `root`. What this one has in memory is not its affair.
fn verified(root: &Path) -> Cost {
    let child = Command::new(std::env::current_exe().unwrap()).env(CHILD, root).output().unwrap();
    let told = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{told}");
    let told = String::from_utf8(child.stdout).unwrap();
    let numbers: Vec<u64> = told.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let [bytes_read, processor, took, growth_bytes] = numbers[..] else { panic!("{told}") };
    let (processor, took) = (Duration::from_nanos(processor), Duration::from_nanos(took));
    Cost { bytes_read, processor, took, growth_bytes }
}

impl Cost {
    fn mb_per_s(&self) -> f64 {
        self.bytes_read as f64 / 1e6 / self.processor.as_secs_f64()
    }
}

/// Prints the table; what both databases took.
fn run(sizes: [u64; 2]) -> [Cost; 2] {
    println!(
        "{:>10}{:>8}{:>10}{:>14}{:>14}{:>14}",
        "keys", "epochs", "MB read", "MB/s per core", "MB/s by clock", "growth in MB"
    );
    sizes.map(|keys| {
        // Removed when it is dropped, on every way out but a kill.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let root = dir.path().join("data");
        make(&root, keys).unwrap();
        // The first one finds the files in the page cache, or brings them there.
        verified(&root);
        let cost = verified(&root);
        println!(
            "{keys:>10}{EPOCHS:>8}{:>10.1}{:>14.0}{:>14.0}{:>14.1}",
            cost.bytes_read as f64 / 1e6,
            cost.mb_per_s(),
            cost.bytes_read as f64 / 1e6 / cost.took.as_secs_f64(),
            cost.growth_bytes as f64 / 1e6,
        );
        cost
    })
}

fn main() -> ExitCode {
    if let Some(root) = std::env::var_os(CHILD) {
        measure(Path::new(&root));
        return ExitCode::SUCCESS;
    }
    let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let is_tiny = has("--test") || has("--quick") || !has("--bench");
    let [small, large] = run(if is_tiny { TINY } else { WHOLE });
    let allowed = small.growth_bytes as f64 * GROWTH_MORE + GROWTH_SLACK_BYTES;
    if large.growth_bytes as f64 > allowed {
        println!(
            "FAILED: five times the keys took {} bytes, {} at most are fine",
            large.growth_bytes, allowed
        );
        return ExitCode::FAILURE;
    }
    if !is_tiny && large.mb_per_s() < MB_PER_S_MIN {
        println!("FAILED: {:.0} MB/s per core, where {MB_PER_S_MIN} are promised", large.mb_per_s());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
