//! Loading many records at once: the places of several are fetched from memory together, where one put after the other
//! would wait for each.

use super::CoreState;
use crate::codec::{Record, RecordKind};

/// Records whose places are fetched together: few enough that they are still in the cache when their turn comes.
const TOGETHER: usize = 64;

/// Changes that wait to be applied in their order.
#[derive(Debug, Default)]
pub(crate) struct Load<'a> {
    waiting: Vec<(u64, Record<'a>)>,
}

impl<'a> Load<'a> {
    /// Nothing waits.
    pub(crate) fn new() -> Self {
        Self { waiting: Vec::with_capacity(TOGETHER) }
    }

    /// Takes the next change, and applies all that wait when they are many. False when the state has no room.
    #[inline]
    #[must_use]
    pub(crate) fn push(&mut self, state: &mut CoreState, record: Record<'a>) -> bool {
        let hash = state.hash(record.key);
        state.prefetch_place(hash);
        self.waiting.push((hash, record));
        self.waiting.len() < TOGETHER || self.apply(state)
    }

    /// Applies what waits. False when the state has no room.
    #[must_use]
    pub(crate) fn apply(&mut self, state: &mut CoreState) -> bool {
        self.waiting.drain(..).all(|(hash, record)| match record.kind {
            RecordKind::Put if !state.makes_room_for(hash, &record) => false,
            RecordKind::Put => {
                state.put(hash, &record);
                true
            }
            RecordKind::Delete => {
                state.delete(hash, record.key);
                true
            }
            RecordKind::Clear => {
                state.clear();
                true
            }
            RecordKind::EpochEnd => true,
        })
    }
}
