//! What the harness takes of the machine.

#![expect(unsafe_code, reason = "a global allocator is an unsafe trait; this one counts and passes on")]

use std::alloc::{GlobalAlloc, Layout};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use mimalloc::MiMalloc;
use rustix::time::{ClockId, clock_gettime};

use crate::Test;
use crate::repeat;

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![what_a_seed_took_is_given_back];

/// Seeds of [`what_a_seed_took_is_given_back`], and how often they are run.
const SEEDS: u64 = 40;
const ROUNDS: usize = 8;

/// How far a later round may be above the second one, in bytes. Names and counts of what was met are kept, and come to
/// an end; a disk that stays behind takes 100 KB and more, and between two rounds there are 40 of them.
const GROWTH_MAX: i64 = 256 << 10;

/// A fast allocator. It counts while somebody wants to know.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

impl Counting {
    fn add(bytes: usize, sign: i64) {
        if COUNTS.load(Ordering::Relaxed) {
            LIVE_BYTES.fetch_add(sign * i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
        }
    }
}

// SAFETY: every call goes to `MiMalloc` as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size(), 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size(), 1);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        Self::add(layout.size(), -1);
        // SAFETY: the caller keeps the contract of `dealloc`; `memory` is from `MiMalloc`.
        unsafe { MiMalloc.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        Self::add(layout.size(), -1);
        Self::add(new_size, 1);
        // SAFETY: the caller keeps the contract of `realloc`; `memory` is from `MiMalloc`.
        unsafe { MiMalloc.realloc(memory, layout, new_size) }
    }
}

/// Counts from now on what is allocated and not given back.
pub(crate) fn count_live_bytes() {
    COUNTS.store(true, Ordering::Relaxed);
}

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

/// The line in which a round of a sweep says how much memory it left the process with: what the system gave it, and
/// what was allocated since [`count_live_bytes`] and is still in use.
pub(crate) fn memory() -> String {
    let live = if COUNTS.load(Ordering::Relaxed) {
        format!("; {LIVE}{} bytes", LIVE_BYTES.load(Ordering::Relaxed))
    } else {
        String::new()
    };
    match resident_bytes() {
        Some((now, most)) => format!("memory: {} KiB resident, {} at most{live}", now >> 10, most >> 10),
        None => format!("memory: the system does not tell{live}"),
    }
}

/// What stands before the count of bytes in use.
const LIVE: &str = "in use: ";

/// A soak of days must not end for want of memory. The same seeds again need what they needed before, and no more.
fn what_a_seed_took_is_given_back() {
    for scheduler in ["built-in", "madsim"] {
        let rounds = rounds(scheduler);
        assert_eq!(rounds.len(), ROUNDS, "{rounds:?}");
        // The first one makes what stays, and the result of the last is still there.
        let steady = &rounds[1..ROUNDS - 1];
        let grown = steady.iter().any(|bytes| *bytes > steady[0] + GROWTH_MAX);
        assert!(!grown, "{scheduler}: bytes in use after each round: {rounds:?}");
    }
}

/// Bytes in use after each round of a sweep in a process of its own.
fn rounds(scheduler: &str) -> Vec<i64> {
    let repeat::Place::Process(program) = repeat::this_program().unwrap_or_else(|why| panic!("{why}")) else {
        panic!("this program is one");
    };
    let (seeds, rounds) = (SEEDS.to_string(), ROUNDS.to_string());
    let output = Command::new(program)
        .args(["sweep", "--seeds", &seeds, "--rounds", &rounds, "--scheduler", scheduler])
        .output()
        .unwrap_or_else(|error| panic!("a sweep: {error}"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let bytes = text.lines().filter_map(|line| line.split_once(LIVE)?.1.strip_suffix(" bytes")?.parse().ok());
    bytes.collect()
}
