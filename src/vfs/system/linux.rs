//! What Linux has beyond plain calls: files past the page cache, writes that make themselves durable, and word of
//! what the device below does with those.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{AtFlags, OFlags, StatxFlags, major, minor};
use rustix::io::{Errno, ReadWriteFlags};

use super::durable::Alignment;
use crate::sync::unpoisoned;
use crate::vfs::{OpenMode, StdFile};

/// Opens the file at `path` once more, past the page cache; `None` where that cannot be, or when it is no longer `file`.
pub(super) fn open_direct(path: &Path, mode: OpenMode, file: &StdFile) -> Option<(StdFile, Alignment)> {
    let access = match mode {
        OpenMode::Read => OFlags::RDONLY,
        OpenMode::Write => OFlags::RDWR,
    };
    let opened = StdFile::open_with(path, access | OFlags::DIRECT).ok()?;
    if opened.identity().ok()? != file.identity().ok()? {
        return None;
    }
    let alignment = match rustix::fs::statx(&opened, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN) {
        Ok(told) if told.stx_mask & StatxFlags::DIOALIGN.bits() != 0 => {
            Alignment { offset: told.stx_dio_offset_align, memory: told.stx_dio_mem_align }
        }
        // Before Linux 6.1 nobody tells, and this is enough for every disk.
        _ => Alignment { offset: 4096, memory: 4096 },
    };
    // Zeroes say that it has no direct I/O after all.
    (alignment.offset > 0 && alignment.memory > 0).then_some((opened, alignment))
}

/// Reads all of `buffer` from `offset`, if the page cache has it; whether it did.
pub(super) fn read_cached(file: &StdFile, offset: u64, buffer: &mut [u8]) -> bool {
    let length = buffer.len();
    let read = rustix::io::preadv2(file, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT);
    read.is_ok_and(|count| count == length)
}

/// Writes the front of `data` at `offset`; what it wrote is durable. `None` where a write cannot do that by itself.
pub(super) fn write_by_flag(file: &StdFile, offset: u64, data: &[u8]) -> Option<io::Result<usize>> {
    match rustix::io::pwritev2(file, &[IoSlice::new(data)], offset, ReadWriteFlags::DSYNC) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => None,
        result => Some(result.map_err(io::Error::from)),
    }
}

/// Whether a write with `RWF_DSYNC` is one command for the device of `file`: it has no volatile cache, or can write
/// through it. Otherwise the kernel sends a flush behind each such write, and does that in a thread of its own when the
/// write is in flight. `false` when nobody tells.
pub(super) fn writes_through(file: &StdFile) -> bool {
    /// What was found, by device: many files are opened, on few devices.
    static KNOWN: Mutex<BTreeMap<u64, bool>> = Mutex::new(BTreeMap::new());
    let Ok((device, _)) = file.identity() else { return false };
    let mut known = unpoisoned(KNOWN.lock());
    *known.entry(device).or_insert_with(|| look_at(device))
}

fn look_at(device: u64) -> bool {
    let place = PathBuf::from(format!("/sys/dev/block/{}:{}", major(device), minor(device)));
    // The place of a partition lies in that of its disk, which has the queue.
    let queue = [place.join("queue"), place.join("../queue")];
    queue
        .iter()
        .any(|queue| tells(&queue.join("fua"), "1") || tells(&queue.join("write_cache"), "write through"))
}

/// Whether the one line of the file at `path` is `line`.
fn tells(path: &Path, line: &str) -> bool {
    let mut text = String::new();
    StdFile::open_with(path, OFlags::RDONLY)
        .and_then(|file| file.reader().read_to_string(&mut text))
        .is_ok_and(|_| text.trim_end() == line)
}
