//! Making a ring, and finding out whether it works.

use std::io;

use io_uring::{IoUring, Submitter, opcode};

/// The best ring that the kernel makes: its work is done when this thread asks for it, by this thread.
pub(super) fn build(entries: u32) -> io::Result<IoUring> {
    let mut newest = IoUring::builder();
    newest.setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun().setup_taskrun_flag();
    let mut older = IoUring::builder();
    older.setup_coop_taskrun().setup_taskrun_flag();
    let oldest = IoUring::builder();
    let mut refused = None;
    for mut builder in [newest, older, oldest] {
        match builder.dontfork().build(entries) {
            Ok(ring) => return Ok(ring),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or_else(|| io::ErrorKind::Unsupported.into()))
}

/// What the kernel must be able to do.
fn check(ring: &IoUring, kernel: &Submitter<'_>) -> io::Result<()> {
    let parameters = ring.params();
    let lacks =
        |what: &str| Err(io::Error::new(io::ErrorKind::Unsupported, format!("io_uring lacks {what}")));
    if !parameters.is_feature_nodrop() {
        return lacks("completions that are kept on overflow (Linux 5.5)");
    }
    if !parameters.is_feature_ext_arg() {
        return lacks("waiting with a timeout (Linux 5.11)");
    }
    let mut known = io_uring::Probe::new();
    kernel.register_probe(&mut known)?;
    let needed = [
        opcode::Read::CODE,
        opcode::Write::CODE,
        opcode::WriteFixed::CODE,
        opcode::Fsync::CODE,
        opcode::PollAdd::CODE,
    ];
    if needed.iter().any(|&code| !known.is_supported(code)) {
        return lacks("reads, writes, syncs or polls");
    }
    Ok(())
}

/// Makes a ring, has it do nothing once, and says whether that worked.
pub(super) fn try_out() -> io::Result<()> {
    let mut ring = build(4)?;
    check(&ring, &ring.submitter())?;
    push_nop(&mut ring)?;
    ring.submit_and_wait(1)?;
    match ring.completion().next() {
        Some(entry) if entry.result() == 0 => Ok(()),
        entry => Err(io::Error::other(format!("io_uring answered {entry:?}"))),
    }
}

#[expect(unsafe_code, reason = "the crate has no other way in")]
fn push_nop(ring: &mut IoUring) -> io::Result<()> {
    // SAFETY: a no-op names no memory.
    unsafe { ring.submission().push(&opcode::Nop::new().build()) }.map_err(io::Error::other)
}
