//! Durable writes by `io_uring`: one at a time as a log, or several in flight for W8.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Instant;

use io_uring::{IoUring, opcode, squeue, types};

use super::buffer::Aligned;
use super::file::{FILE_END, zeroed};
use super::{UNIT_BYTES, frame};
use crate::meter::{Latencies, Meter, Span};
use crate::peer::highwater::PipelineSpec;
use crate::peer::{Log, LogPeer, LogSpec, Result, Work, with_writers};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A write into the page cache, linked to an `fdatasync`.
    Linked,
    /// A direct write with `RWF_DSYNC`.
    Direct,
}

/// A file and a ring, with the buffers of writes that may be in flight.
struct Ring {
    io: IoUring,
    file: File,
    buffers: Vec<Aligned>,
    offset: u64,
}

impl Ring {
    fn new(path: &Path, form: Form, depth: usize, buffer_bytes: usize) -> Result<Self> {
        let flags = if form == Form::Direct { libc::O_DIRECT } else { 0 };
        let io = IoUring::new(2 * depth as u32)?;
        let buffers = (0..depth).map(|_| Aligned::new(buffer_bytes)).collect();
        Ok(Self { io, file: zeroed(path, flags)?, buffers, offset: 0 })
    }

    /// Queues a write of the first `bytes` of a buffer at `offset`, not submitted yet.
    fn push_write(&mut self, buffer: usize, bytes: usize, offset: u64, form: Form) -> Result<()> {
        let fd = types::Fd(self.file.as_raw_fd());
        let memory = self.buffers[buffer].get()[..bytes].as_ptr();
        let write = opcode::Write::new(fd, memory, bytes as u32).offset(offset);
        let entry = match form {
            Form::Linked => write.build().flags(squeue::Flags::IO_LINK),
            Form::Direct => write.rw_flags(libc::RWF_DSYNC).build(),
        };
        self.push(&entry.user_data(buffer as u64))?;
        if form == Form::Linked {
            let sync = opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build();
            self.push(&sync.user_data(SYNC))?;
        }
        Ok(())
    }

    fn push(&mut self, entry: &squeue::Entry) -> Result<()> {
        // SAFETY: the buffer and the file of the entry live as long as the ring, and nobody writes to the buffer
        // before the entry's completion: its callers wait for it first.
        unsafe { self.io.submission().push(entry)? };
        Ok(())
    }

    /// Submits what is queued, waits for at least `wait` completions, and says which buffers' writes are done.
    fn complete(&mut self, wait: usize, mut done: impl FnMut(usize)) -> Result<()> {
        self.io.submit_and_wait(wait)?;
        for completion in self.io.completion() {
            if completion.result() < 0 {
                return Err(std::io::Error::from_raw_os_error(-completion.result()).into());
            }
            if completion.user_data() != SYNC {
                done(completion.user_data() as usize);
            }
        }
        Ok(())
    }

    /// Room for `bytes` from the cursor on, or from the start of the file.
    fn place(&mut self, bytes: usize) -> u64 {
        if self.offset + bytes as u64 > FILE_END {
            self.offset = 0;
        }
        self.offset
    }
}

/// The completion of a linked sync.
const SYNC: u64 = u64::MAX;

struct RingLog {
    ring: Ring,
    form: Form,
    batch: Vec<u8>,
}

impl Log for RingLog {
    fn append(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        frame(&mut self.batch, key, value);
        Ok(())
    }

    /// One write, as in `raw::file`: direct ones rewrite the tail's unit.
    fn commit(&mut self) -> Result<()> {
        let Self { ring, form, batch } = self;
        let bytes = batch.len();
        let whole = if *form == Form::Direct { bytes.next_multiple_of(UNIT_BYTES) } else { bytes };
        if ring.buffers[0].get().len() < whole {
            ring.buffers[0] = Aligned::new(2 * whole);
        }
        let buffer = ring.buffers[0].get_mut();
        buffer[..bytes].copy_from_slice(batch);
        buffer[bytes..whole].fill(0);
        let offset = ring.place(whole);
        ring.push_write(0, whole, offset, *form)?;
        ring.complete(if *form == Form::Linked { 2 } else { 1 }, |_| {})?;
        let done = if *form == Form::Direct { bytes / UNIT_BYTES * UNIT_BYTES } else { bytes };
        ring.offset += done as u64;
        batch.drain(..done);
        Ok(())
    }
}

impl LogPeer for Form {
    fn with(&self, dir: &Path, spec: &LogSpec, work: Work<'_>) -> Result<()> {
        let log = |number| {
            let ring = Ring::new(&dir.join(format!("log-{number}")), *self, 1, 256 << 10)?;
            Ok(RingLog { ring, form: *self, batch: Vec::with_capacity(256 << 10) })
        };
        with_writers(spec.writers, log, work)
    }
}

/// W8: direct durable writes of `bytes` each, `spec.depth` of them in flight, in the order of the file.
pub(crate) fn in_flight(dir: &Path, spec: PipelineSpec, bytes: usize) -> Result<(Latencies, Span)> {
    let mut ring = Ring::new(&dir.join("log"), Form::Direct, spec.depth, bytes)?;
    let mut idle: Vec<usize> = (0..spec.depth).collect();
    let mut issued = vec![Instant::now(); spec.depth];
    let mut latencies = Latencies::with_capacity(spec.commits as usize);
    let mut meter = Meter::start();
    let (mut begun, mut ended, all) = (0, 0, spec.warm_up + spec.commits);
    while ended < all {
        while let Some(buffer) = idle.pop_if(|_| begun < all) {
            ring.buffers[buffer].get_mut()[..8].copy_from_slice(&begun.to_le_bytes());
            issued[buffer] = Instant::now();
            let offset = ring.place(bytes);
            ring.push_write(buffer, bytes, offset, Form::Direct)?;
            ring.offset += bytes as u64;
            begun += 1;
        }
        ring.complete(1, |buffer| {
            ended += 1;
            if ended == spec.warm_up {
                latencies = Latencies::with_capacity(spec.commits as usize);
                meter = Meter::start();
            }
            latencies.add(issued[buffer].elapsed());
            idle.push(buffer);
        })?;
    }
    Ok((latencies, meter.stop()))
}
