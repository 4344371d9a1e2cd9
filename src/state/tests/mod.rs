//! What a core's state promises, whatever the order of operations.

mod figures;
mod memory;
mod model;
mod unit;

use std::ops::Bound;

use super::index::Index;
use super::records::Records;
use super::{CoreState, KeyHasher, KeyRange, StateConfig};
use crate::codec::{Record, RecordKind};

fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Record<'a> {
    Record { kind: RecordKind::Put, key, value }
}

/// A state that hashes its keys itself, as the engine does for it.
struct Rig {
    state: CoreState,
}

impl Rig {
    fn new() -> Self {
        Self::with_hash(|hash| hash)
    }

    /// A state that keeps its keys in order, or does not.
    fn ordered(ordered: bool) -> Self {
        Self { state: CoreState::new(StateConfig::new(KeyHasher::new(0x5eed)).ordered(ordered)) }
    }

    /// A state whose hashes are narrowed to what `narrow` leaves of them.
    fn with_hash(narrow: fn(u64) -> u64) -> Self {
        Self { state: CoreState::new(StateConfig::new(KeyHasher { narrow, ..KeyHasher::new(0x5eed) })) }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        let hash = self.state.hash(key);
        self.state.put(hash, &put(key, value));
    }

    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.state.get(self.state.hash(key), key)
    }

    fn delete(&mut self, key: &[u8]) -> bool {
        let hash = self.state.hash(key);
        self.state.delete(hash, key)
    }

    /// S1, S2, S5 and S6, from the outside in.
    fn assert_invariants(&mut self) {
        let seen = |state: &CoreState| {
            let all = state.scan(KeyRange::prefix(b""));
            let all: Vec<_> = all.map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
            (all, state.len(), state.bytes(), state.is_empty())
        };
        let before = seen(&self.state);
        self.state.settle();
        assert_eq!(before, seen(&self.state), "S5: what is under way is seen as if it were done");
        let Records { index, slab, order, .. } = &self.state.records;
        index.assert_invariants();
        slab.assert_invariants();
        let mut bytes = 0;
        for (hash, location) in index.locations() {
            let key = slab.key(location);
            assert_eq!(Index::known_bits(self.state.hash(key)), hash, "an entry leads to its own key");
            bytes += (key.len() + slab.value(location).len()) as u64;
            assert_eq!(self.get(key), Some(slab.value(location)));
        }
        assert_eq!(bytes, self.state.bytes());
        assert_eq!(slab.records().count(), self.state.len());
        if let Some(order) = order {
            assert_eq!(order.len(), self.state.len(), "S6");
            assert!(order.range_from(Bound::Unbounded).all(|key| self.get(key).is_some()), "S6");
        }
    }
}

/// A small generator for loads that need no shrinking.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        crate::codec::key_hash(0, &self.0.to_le_bytes())
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % bound as u64).expect("below a usize")
    }
}
