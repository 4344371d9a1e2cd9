//! Threads on processors of their own.

#[cfg(target_os = "linux")]
use std::sync::OnceLock;

use crate::error::{Error, ErrorCode, Result};

/// Keeps the calling thread on the `number`-th of the processors that the process may use, counted from zero and round
/// again behind the last one. Returns the processor that it is. For threads with a [`CoreHandle`](crate::CoreHandle):
/// `pin_thread(core.id().index())`, where a thread to itself has a processor to itself. Which processors those are is asked
/// once, by the first call in the process.
///
/// # Errors
///
/// `Unsupported` where the system does not let a program choose: go on without.
#[cfg(target_os = "linux")]
pub fn pin_thread(number: usize) -> Result<usize> {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let refused =
        |error: rustix::io::Errno| Error::new(ErrorCode::NoPinning, format!("pinning a thread: {error}"));
    let usable = usable().map_err(refused)?;
    let cpu = *usable.get(number % usable.len().max(1)).ok_or_else(|| refused(rustix::io::Errno::INVAL))?;
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).map_err(refused)?;
    Ok(cpu)
}

/// The processors that the process may use, ascending.
#[cfg(target_os = "linux")]
fn usable() -> rustix::io::Result<&'static [usize]> {
    use rustix::thread::{CpuSet, sched_getaffinity};
    // There is no such set of a process, only of its threads: the first thread's, before any of them was pinned here.
    static USABLE: OnceLock<Vec<usize>> = OnceLock::new();
    if let Some(usable) = USABLE.get() {
        return Ok(usable);
    }
    let allowed = sched_getaffinity(Some(rustix::process::getpid()))?;
    let usable = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    Ok(USABLE.get_or_init(|| usable))
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::thread::{sched_getaffinity, sched_setaffinity};

    use super::pin_thread;

    /// The first thread was pinned, and every later one landed on its processor.
    #[test]
    fn a_pinned_first_thread_takes_the_others_nowhere() {
        let first_thread = Some(rustix::process::getpid());
        let before = sched_getaffinity(first_thread).unwrap();
        let here =
            |number| std::thread::scope(|scope| scope.spawn(move || pin_thread(number)).join().unwrap());
        let zeroth = here(0).unwrap();
        // As if the first thread had called.
        let mut only = rustix::thread::CpuSet::new();
        only.set(zeroth);
        sched_setaffinity(first_thread, &only).unwrap();
        let next = here(1);
        sched_setaffinity(first_thread, &before).unwrap();
        assert_eq!(next.unwrap() == zeroth, before.count() == 1, "of {} processors", before.count());
    }
}
