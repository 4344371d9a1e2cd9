//! The system calls that the standard library does not have. All unsafe code of the benchmark is here and in
//! `raw/ring.rs`.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

fn usage() -> libc::rusage {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is valid for writes, and zeroes are a valid `rusage` if the call should fail.
    unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    }
}

/// User and system time of all threads of this process, those that have ended included.
pub(crate) fn cpu_time() -> Duration {
    let usage = usage();
    let of = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    of(usage.ru_utime) + of(usage.ru_stime)
}

/// The most memory that this process ever had resident, in bytes.
pub(crate) fn peak_rss() -> u64 {
    usage().ru_maxrss as u64 * 1024
}

/// Bytes that the allocator has given out.
pub(crate) fn heap_bytes() -> u64 {
    // SAFETY: no preconditions; the allocator is the C library's, as for every Rust program that names no other.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as u64
}

/// Writes everything dirty of the file system of `dir` back, so that no slice pays for the one before.
pub(crate) fn settle(dir: &Path) -> io::Result<()> {
    let dir = File::open(dir)?;
    // SAFETY: the descriptor is open.
    check(unsafe { libc::syncfs(dir.as_raw_fd()) }.into()).map(drop)
}

/// Reserves the first `bytes` of `file`, as unwritten extents.
pub(crate) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let bytes = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open.
    check(unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, bytes) }.into()).map(drop)
}

/// One `pwritev2` with `RWF_DSYNC`: durable when it returns, with no other data of the file.
pub(crate) fn write_dsync(file: &File, data: &[u8], offset: u64) -> io::Result<()> {
    let part = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open, and `part` describes `data`, which the call only reads.
    let written =
        check(
            unsafe { libc::pwritev2(file.as_raw_fd(), &raw const part, 1, offset, libc::RWF_DSYNC) } as i64
        )?;
    if written as usize == data.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
