//! A window on a file: large reads, and memory bounded by the read-ahead or by one frame, whichever is larger.

use std::io;
use std::ops::Range;

use bytes::BytesMut;

use crate::vfs::{File, read_full_at, split_off, unsplit};

/// The bytes of a file around the place that is being read.
pub(crate) struct Window {
    bytes: BytesMut,
    start: u64,
    filled: usize,
    read_ahead_bytes: usize,
}

impl Window {
    pub(crate) fn new(read_ahead_bytes: usize) -> Self {
        Self { bytes: BytesMut::new(), start: 0, filled: 0, read_ahead_bytes }
    }

    /// Forgets what was read: the next read is of another file.
    pub(crate) fn reset(&mut self) {
        self.filled = 0;
        self.start = 0;
    }

    /// Makes `count` bytes from `offset` available and tells whether the file has them before `limit`.
    pub(crate) async fn ensure<F: File>(
        &mut self,
        file: &F,
        offset: u64,
        count: usize,
        limit: u64,
    ) -> io::Result<bool> {
        if self.get(offset, count).is_some() {
            return Ok(true);
        }
        if limit.saturating_sub(offset) < count as u64 {
            return Ok(false);
        }
        let end = self.start + self.filled as u64;
        let kept = if (self.start..end).contains(&offset) {
            let from = usize::try_from(offset - self.start).expect("an offset inside the window");
            self.bytes.copy_within(from..self.filled, 0);
            self.filled - from
        } else {
            0
        };
        let room = usize::try_from(limit - offset).unwrap_or(usize::MAX);
        let size = count.max(self.read_ahead_bytes).min(room);
        self.start = offset;
        self.filled = kept;
        self.bytes.resize(size, 0);
        let rest = split_off(&mut self.bytes, kept);
        let (rest, read) = read_full_at(file, offset + kept as u64, rest).await?;
        unsplit(&mut self.bytes, rest);
        self.filled = kept + read;
        Ok(self.filled >= count)
    }

    /// Whether all of `stretch` is in the window.
    pub(crate) fn covers(&self, stretch: Range<u64>) -> bool {
        let count = stretch.end.saturating_sub(stretch.start);
        usize::try_from(count).is_ok_and(|count| self.get(stretch.start, count).is_some())
    }

    /// The `count` bytes from `offset`, if they are in the window.
    pub(crate) fn get(&self, offset: u64, count: usize) -> Option<&[u8]> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let end = from.checked_add(count)?;
        if end > self.filled { None } else { self.bytes.get(from..end) }
    }
}
