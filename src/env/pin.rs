//! Threads on processors of their own.

use crate::error::{Error, ErrorCode, Result};

/// Keeps the calling thread on the `number`-th of the processors that the process may use, counted from zero and round
/// again behind the last one. Returns the processor that it is. For threads with a [`CoreHandle`](crate::CoreHandle):
/// `pin_thread(core.id().index())`, where a thread to itself has a processor to itself.
///
/// # Errors
///
/// `Unsupported` where the system does not let a program choose: go on without.
#[cfg(target_os = "linux")]
pub fn pin_thread(number: usize) -> Result<usize> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let refused =
        |error: rustix::io::Errno| Error::new(ErrorCode::NoPinning, format!("pinning a thread: {error}"));
    // The first thread's: a thread that was pinned before may use one only.
    let allowed = sched_getaffinity(Some(rustix::process::getpid())).map_err(refused)?;
    let usable: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    let cpu = *usable.get(number % usable.len().max(1)).ok_or_else(|| refused(rustix::io::Errno::INVAL))?;
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).map_err(refused)?;
    Ok(cpu)
}

/// Keeps the calling thread on a processor of its own, where the system lets a program choose: not here.
///
/// # Errors
///
/// `Unsupported`: go on without.
#[cfg(not(target_os = "linux"))]
pub fn pin_thread(number: usize) -> Result<usize> {
    Err(Error::new(ErrorCode::NoPinning, format!("thread {number} is not pinned: this system has no way to")))
}
