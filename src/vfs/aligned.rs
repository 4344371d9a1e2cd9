//! Memory that direct I/O takes on every disk.

use bytes::BytesMut;

use crate::limits::WRITE_UNIT_BYTES_MAX;

const ALIGN_BYTES: usize = WRITE_UNIT_BYTES_MAX as usize;

/// `bytes` zeroes at an address that direct I/O takes. Freezing them allocates nothing.
pub(crate) fn aligned_zeroes(bytes: usize) -> BytesMut {
    let mut whole = BytesMut::zeroed(bytes + ALIGN_BYTES);
    let start = match whole.as_ptr().align_offset(ALIGN_BYTES) {
        // A split at zero would hand over the buffer unshared, and the first freeze would allocate.
        0 => ALIGN_BYTES,
        start => start,
    };
    let mut aligned = whole.split_off(start);
    aligned.truncate(bytes);
    aligned
}
