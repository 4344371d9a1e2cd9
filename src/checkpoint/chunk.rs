//! Memory that a disk takes past the page cache: aligned, and used again and again.

use bytes::{Bytes, BytesMut};

/// Bytes of one write: big enough to keep a disk streaming.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// What direct I/O asks of places and memory, at most.
pub(super) const PAGE_BYTES: usize = 4096;

/// Room behind a chunk's usual size: for the block that completes it.
const SLACK_BYTES: usize = 128 * 1024;

/// Bytes that are gathered for one write.
#[derive(Default)]
pub(super) struct Chunk {
    /// As long as the room is; empty before the first use.
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
            let mut wider = aligned(end.max(2 * self.room.len()).max(CHUNK_BYTES + SLACK_BYTES));
            wider[..self.used].copy_from_slice(self.bytes());
            self.room = wider;
        }
        &mut self.room[std::mem::replace(&mut self.used, end)..end]
    }

    /// The first `count` bytes, for a write.
    pub(super) fn into_bytes(mut self, count: usize) -> Bytes {
        assert!(count <= self.used, "{count} bytes of {}", self.used);
        self.room.truncate(count);
        self.room.freeze()
    }

    /// The memory of `written`, if nobody else holds it and it is worth keeping.
    pub(super) fn reuse(written: Bytes) -> Option<Self> {
        let mut room = written.try_into_mut().ok()?;
        let whole = room.capacity();
        let usual = (CHUNK_BYTES + SLACK_BYTES..=4 * CHUNK_BYTES).contains(&whole);
        if !usual || !room.as_ptr().addr().is_multiple_of(PAGE_BYTES) {
            return None;
        }
        room.resize(whole, 0);
        Some(Self { room, used: 0 })
    }
}

/// `bytes` bytes of memory that direct I/O takes.
pub(super) fn aligned(bytes: usize) -> BytesMut {
    let mut whole = BytesMut::zeroed(bytes + PAGE_BYTES);
    // A split at zero would hand over the buffer unshared, with another way back from `Bytes`.
    let start = match whole.as_ptr().align_offset(PAGE_BYTES) {
        0 => PAGE_BYTES,
        start => start,
    };
    let mut aligned = whole.split_off(start);
    aligned.truncate(bytes);
    aligned
}
