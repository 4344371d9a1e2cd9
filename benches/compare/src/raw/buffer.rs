//! Memory for direct I/O.

use super::UNIT_BYTES;

/// Bytes that begin on a unit, and are as many as fit.
pub(super) struct Aligned {
    memory: Vec<u8>,
    start: usize,
    bytes: usize,
}

impl Aligned {
    pub(super) fn new(bytes: usize) -> Self {
        let bytes = bytes.next_multiple_of(UNIT_BYTES);
        let memory = vec![0; bytes + UNIT_BYTES];
        let start = memory.as_ptr().align_offset(UNIT_BYTES);
        Self { memory, start, bytes }
    }

    pub(super) fn get(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.bytes]
    }

    pub(super) fn get_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.bytes]
    }
}
