//! Memory that direct I/O takes on every disk.

use bytes::BytesMut;

use crate::limits::WRITE_UNIT_BYTES_MAX;

/// What direct I/O asks of places and memory, at most.
pub(crate) const ALIGN_BYTES: usize = WRITE_UNIT_BYTES_MAX as usize;

/// `bytes` zeroes at an address that direct I/O takes. Freezing them allocates nothing.
pub(crate) fn aligned_zeroes(bytes: usize) -> BytesMut {
    let mut aligned = align(BytesMut::zeroed(bytes + ALIGN_BYTES));
    aligned.truncate(bytes);
    aligned
}

/// The part of `whole` that begins at an address which direct I/O takes: all of its room but [`ALIGN_BYTES`] at most.
pub(crate) fn align(mut whole: BytesMut) -> BytesMut {
    let start = match whole.as_ptr().align_offset(ALIGN_BYTES) {
        // A split at zero would hand over the buffer unshared: the first freeze would allocate, and the way back from `Bytes` be another.
        0 => ALIGN_BYTES,
        start => start,
    };
    whole.split_off(start)
}
