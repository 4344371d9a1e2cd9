//! Memory that a disk takes past the page cache: aligned, and used again and again.

use bytes::{Bytes, BytesMut};

use crate::vfs::{ALIGN_BYTES, align};

/// Bytes of one write: big enough to keep a disk streaming.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// Room behind a chunk's usual size: for the block that completes it.
const SLACK_BYTES: usize = 128 * 1024;

/// So much of a chunk's room is filled with zeroes at a time, in front of what is gathered: of a small file little.
const STEP_BYTES: usize = 16 * 1024;

/// Bytes that are gathered for one write.
#[derive(Default)]
pub(super) struct Chunk {
    /// As long as the part of the room that may be written; without room before the first use.
    room: BytesMut,
    used: usize,
}

impl Chunk {
    /// What was gathered.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.room[..self.used]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.room[..self.used]
    }

    /// Adds `bytes`.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.extend_by(bytes.len()).copy_from_slice(bytes);
    }

    /// Adds `count` bytes, whatever they are, and returns them.
    pub(super) fn extend_by(&mut self, count: usize) -> &mut [u8] {
        let end = self.used + count;
        if end > self.room.len() {
            self.widen(end);
        }
        &mut self.room[std::mem::replace(&mut self.used, end)..end]
    }

    /// Makes the first `end` bytes of the room ready, and a step more.
    fn widen(&mut self, end: usize) {
        if end > self.room.capacity() {
            let bytes = end.max(2 * self.room.capacity()).max(CHUNK_BYTES + SLACK_BYTES);
            let mut wider = align(BytesMut::with_capacity(bytes + ALIGN_BYTES));
            wider.extend_from_slice(self.bytes());
            self.room = wider;
        }
        self.room.resize((end + STEP_BYTES).min(self.room.capacity()), 0);
    }

    /// The first `count` bytes, for a write.
    pub(super) fn into_bytes(mut self, count: usize) -> Bytes {
        assert!(count <= self.used, "{count} bytes of {}", self.used);
        self.room.truncate(count);
        self.room.freeze()
    }

    /// The memory of `written`, if nobody else holds it and it is worth keeping.
    pub(super) fn reuse(written: Bytes) -> Option<Self> {
        let room = written.try_into_mut().ok()?;
        let usual = (CHUNK_BYTES + SLACK_BYTES..=4 * CHUNK_BYTES).contains(&room.capacity());
        if !usual || !room.as_ptr().addr().is_multiple_of(ALIGN_BYTES) {
            return None;
        }
        Some(Self { room, used: 0 })
    }
}
