//! The mark that an `EpochEnd` record carries, as far as the log itself reads it.
//!
//! ```text
//! 0       8       16      17     18        20          28
//! | epoch | token | flags | zero | offsets | watermark | offsets …, sinks …
//! ```
//!
//! The log needs the epoch; offsets, watermark and sinks belong to whoever closes epochs.

use crate::codec::Reader;
use crate::ids::{Epoch, FencingToken};

/// Bytes of a mark without offsets and sinks.
pub(crate) const EPOCH_END_BYTES_MIN: usize = 28;

/// The epoch that a mark ends; `None` when `value` is no mark.
pub(crate) fn epoch_of(value: &[u8]) -> Option<Epoch> {
    if value.len() < EPOCH_END_BYTES_MIN {
        return None;
    }
    Reader(value).u64().map(Epoch)
}

/// A mark with nothing but its epoch and its token.
pub(crate) fn bare(epoch: Epoch, token: FencingToken) -> [u8; EPOCH_END_BYTES_MIN] {
    let mut out = [0; EPOCH_END_BYTES_MIN];
    out[0..8].copy_from_slice(&epoch.0.to_le_bytes());
    out[8..16].copy_from_slice(&token.0.to_le_bytes());
    out
}
