//! Logs in plain files, one form of durable write each.
//!
//! ```text
//! append         the file grows                    write, fdatasync
//! falloc         fallocated, not written           write, fdatasync
//! zeroed         zeroes written before             write, fdatasync
//! dsync          zeroes written before             pwritev2(RWF_DSYNC)
//! direct         zeroes written before, O_DIRECT   write of whole units, fdatasync
//! direct-dsync   zeroes written before, O_DIRECT | O_DSYNC   write of whole units
//! ```
//!
//! `bytes` and `direct-bytes` are the same with bytes that were made before: nothing is framed, nothing checksummed.
//! A file that is not growing is written from its start again when it is full.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::buffer::Aligned;
use super::{HEADER_BYTES, UNIT_BYTES, frame};
use crate::peer::{Log, LogPeer, LogSpec, Result, Work, with_writers};
use crate::sys;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Append,
    Falloc,
    Zeroed,
    Dsync,
    Direct,
    DirectDsync,
    Bytes,
    DirectBytes,
}

impl Form {
    fn direct(self) -> bool {
        matches!(self, Self::Direct | Self::DirectDsync | Self::DirectBytes)
    }

    fn ready_made(self) -> bool {
        matches!(self, Self::Bytes | Self::DirectBytes)
    }
}

/// Bytes of a file that does not grow.
const FILE_BYTES: u64 = 64 << 20;

/// Without durability, so much is buffered before it is written.
const BUFFER_BYTES: usize = 256 << 10;

/// A file of [`FILE_BYTES`] zeroes that are on the disk, opened for plain or direct writes.
pub(super) fn zeroed(path: &Path, flags: i32) -> Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let zeroes = vec![0; 1 << 20];
    for at in (0..FILE_BYTES).step_by(zeroes.len()) {
        file.write_all_at(&zeroes, at)?;
    }
    file.sync_all()?;
    Ok(OpenOptions::new().write(true).custom_flags(flags).open(path)?)
}

pub(super) const FILE_END: u64 = FILE_BYTES;

fn open(path: &Path, form: Form) -> Result<File> {
    let fresh = || OpenOptions::new().write(true).create_new(true).open(path);
    Ok(match form {
        Form::Append => fresh()?,
        Form::Falloc => {
            let file = fresh()?;
            sys::allocate(&file, FILE_BYTES)?;
            file.sync_all()?;
            file
        }
        Form::Zeroed | Form::Dsync | Form::Bytes => zeroed(path, 0)?,
        Form::Direct => zeroed(path, libc::O_DIRECT)?,
        Form::DirectDsync | Form::DirectBytes => zeroed(path, libc::O_DIRECT | libc::O_DSYNC)?,
    })
}

/// The writer of one file.
struct FileLog {
    file: File,
    form: Form,
    durable: bool,
    /// Where the next write goes: for direct writes the unit that holds the tail.
    offset: u64,
    /// What was appended since the last write, behind the front of the tail's unit for direct writes.
    batch: Vec<u8>,
    aligned: Aligned,
    /// Bytes of ready-made records that count as appended.
    appended: usize,
}

impl FileLog {
    fn new(path: &Path, form: Form, durable: bool) -> Result<Self> {
        let (batch, aligned) = (Vec::with_capacity(2 * BUFFER_BYTES), Aligned::new(BUFFER_BYTES));
        Ok(Self { file: open(path, form)?, form, durable, offset: 0, batch, aligned, appended: 0 })
    }

    /// Writes the whole units that hold the batch; the tail's unit will be written again with what comes next.
    fn write_direct(&mut self) -> Result<()> {
        let bytes = self.batch.len();
        let whole = bytes.next_multiple_of(UNIT_BYTES);
        if self.offset + whole as u64 > FILE_BYTES {
            self.offset = 0;
        }
        if self.aligned.get().len() < whole {
            self.aligned = Aligned::new(2 * whole);
        }
        let buffer = &mut self.aligned.get_mut()[..whole];
        buffer[..bytes].copy_from_slice(&self.batch);
        buffer[bytes..].fill(0);
        self.file.write_all_at(buffer, self.offset)?;
        let done = bytes / UNIT_BYTES * UNIT_BYTES;
        self.offset += done as u64;
        self.batch.drain(..done);
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        if self.form != Form::Append && self.offset + self.batch.len() as u64 > FILE_BYTES {
            self.offset = 0;
        }
        if self.form == Form::Dsync {
            sys::write_dsync(&self.file, &self.batch, self.offset)?;
        } else {
            self.file.write_all_at(&self.batch, self.offset)?;
        }
        self.offset += self.batch.len() as u64;
        self.batch.clear();
        Ok(())
    }

    /// The first batch is framed and kept; later ones write its bytes again.
    fn write_ready_made(&mut self) -> Result<()> {
        let unit = if self.form.direct() { UNIT_BYTES } else { 1 };
        let bytes = self.appended.next_multiple_of(unit);
        if self.offset + bytes as u64 > FILE_BYTES {
            self.offset = 0;
        }
        if self.form.direct() {
            if self.aligned.get().len() < bytes {
                self.aligned = Aligned::new(bytes);
            }
            if self.offset == 0 {
                self.aligned.get_mut()[..self.batch.len()].copy_from_slice(&self.batch);
            }
            self.file.write_all_at(&self.aligned.get()[..bytes], self.offset)?;
        } else {
            self.file.write_all_at(&self.batch[..bytes], self.offset)?;
            self.file.sync_data()?;
        }
        self.offset += bytes as u64;
        self.appended = 0;
        Ok(())
    }
}

impl Log for FileLog {
    #[inline]
    fn append(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if self.form.ready_made() {
            self.appended += HEADER_BYTES + key.len() + value.len();
            if self.batch.len() < self.appended {
                frame(&mut self.batch, key, value);
            }
            return Ok(());
        }
        frame(&mut self.batch, key, value);
        if !self.durable && self.batch.len() >= BUFFER_BYTES { self.write() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<()> {
        match self.form {
            Form::Append | Form::Falloc | Form::Zeroed => {
                self.write()?;
                self.file.sync_data()?;
            }
            Form::Dsync => self.write()?,
            Form::DirectDsync => self.write_direct()?,
            Form::Direct => {
                self.write_direct()?;
                self.file.sync_data()?;
            }
            Form::Bytes | Form::DirectBytes => self.write_ready_made()?,
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<()> {
        self.write()
    }
}

/// A file for each writer.
impl LogPeer for Form {
    fn with(&self, dir: &Path, spec: &LogSpec, work: Work<'_>) -> Result<()> {
        let log = |number| FileLog::new(&dir.join(format!("log-{number}")), *self, spec.durable);
        with_writers(spec.writers, log, work)
    }
}
