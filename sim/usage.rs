//! What the harness takes of the machine.

use std::process::Command;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::Test;
use crate::repeat;

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![what_a_seed_took_is_given_back];

/// Seeds of [`what_a_seed_took_is_given_back`], and how often they are run.
const SEEDS: u64 = 40;
const ROUNDS: usize = 8;

/// How far the least of the later rounds may be above the least of the earlier ones, in bytes. An allocator is not exact;
/// a disk that stays behind takes 100 KB and more, and between the two there are 160 of them.
const GROWTH_MAX: u64 = 4 << 20;

/// How long this thread has been on a processor: what a busy machine hardly distorts.
pub(crate) fn on_processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}

/// Bytes of memory that this process has now, and had at most, where the system tells.
#[expect(clippy::disallowed_methods, reason = "it is about the real machine")]
fn resident_bytes() -> Option<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kilobytes << 10)
    };
    Some((of("VmRSS")?, of("VmHWM")?))
}

/// The line in which a round of a sweep says how much memory it left the process with.
pub(crate) fn memory() -> String {
    match resident_bytes() {
        Some((now, most)) => format!("memory: {} KiB resident, {} at most", now >> 10, most >> 10),
        None => "memory: the system does not tell".to_owned(),
    }
}

/// A soak of days must not end for want of memory. The same seeds again need what they needed before, and no more.
fn what_a_seed_took_is_given_back() {
    for scheduler in ["built-in", "madsim"] {
        let rounds = rounds(scheduler);
        if rounds.is_empty() {
            continue;
        }
        assert_eq!(rounds.len(), ROUNDS, "{rounds:?}");
        let (early, late) = rounds.split_at(ROUNDS / 2);
        let grown = late.iter().min() > early.iter().min().map(|least| least + GROWTH_MAX).as_ref();
        assert!(!grown, "{scheduler}: resident bytes after each round: {rounds:?}");
    }
}

/// Resident bytes after each round of a sweep in a process of its own; none where the system does not tell.
fn rounds(scheduler: &str) -> Vec<u64> {
    let repeat::Place::Process(program) = repeat::this_program().unwrap_or_else(|why| panic!("{why}")) else {
        panic!("this program is one");
    };
    let output = Command::new(program)
        .args([
            "sweep",
            "--seeds",
            &SEEDS.to_string(),
            "--rounds",
            &ROUNDS.to_string(),
            "--scheduler",
            scheduler,
        ])
        .output()
        .unwrap_or_else(|error| panic!("a sweep: {error}"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let kilobytes = text.lines().filter_map(|line| line.trim().strip_prefix("memory: ")?.split_once(" KiB"));
    kilobytes.filter_map(|(count, _)| Some(count.parse::<u64>().ok()? << 10)).collect()
}
