//! When a core's chain of files is worth rewriting as one base. Pure: every checkpoint asks, with what it adds to the chain.

use crate::manifest::{CheckpointFile, FileKind};

/// Deltas that a restore reads beside a small base.
const DELTAS_FREE: u64 = 8;

/// A base of so many bytes more lets a restore read one delta more: opening that takes a tenth of the time of reading
/// these. Rewriting a large base for every few small deltas would write many times what was changed.
const BASE_BYTES_PER_DELTA: u64 = 1 << 20;

/// Longest chain of deltas, whatever the base.
const DELTAS_MAX: u64 = 256;

/// Deltas below this many bytes are no burden, however small the base is.
const DELTA_BYTES_FREE: u64 = 1 << 20;

/// Deletes below this count are no burden.
const TOMBSTONES_FREE: u64 = 1024;

/// For a budget a base is rewritten as soon as the deltas are this part of it, and no sooner: what is written stays
/// within as many times of what was changed.
const BUDGET_PART: u64 = 8;

/// Why a base is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A restore opens too many files.
    Deltas,
    /// A restore reads too much beside the base: more than half of it again.
    Bytes,
    /// Most of what a restore reads says what is gone.
    Tombstones,
    /// A restore takes more than its part of the recovery budget, and less with a new base.
    Budget,
}

/// Whether the chain of one core, as a checkpoint lists it, should become a base; the first reason that applies. A restore is to
/// load at most `load_bytes_max` of it, if that is possible.
pub(crate) fn base_due<'a>(
    chain: impl IntoIterator<Item = &'a CheckpointFile>,
    load_bytes_max: u64,
) -> Option<Due> {
    let (mut deltas, mut delta_bytes, mut base_bytes) = (0_u64, 0_u64, 0_u64);
    let (mut entries, mut tombstones) = (0_u64, 0_u64);
    for file in chain {
        match file.name.kind {
            FileKind::Base => base_bytes = base_bytes.saturating_add(file.bytes),
            FileKind::Delta => {
                deltas += 1;
                delta_bytes = delta_bytes.saturating_add(file.bytes);
            }
        }
        entries = entries.saturating_add(file.entries);
        tombstones = tombstones.saturating_add(file.tombstones);
    }
    if deltas > (DELTAS_FREE + base_bytes / BASE_BYTES_PER_DELTA).min(DELTAS_MAX) {
        Some(Due::Deltas)
    } else if delta_bytes > (base_bytes / 2).max(DELTA_BYTES_FREE) {
        Some(Due::Bytes)
    } else if tombstones > (entries / 2).max(TOMBSTONES_FREE) {
        Some(Due::Tombstones)
    } else if delta_bytes.saturating_add(base_bytes) > load_bytes_max
        && delta_bytes > base_bytes / BUDGET_PART
    {
        Some(Due::Budget)
    } else {
        None
    }
}
