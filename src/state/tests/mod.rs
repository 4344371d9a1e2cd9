//! What a core's state promises, whatever the order of operations.

mod figures;
mod memory;
mod model;
mod unit;

use super::{CoreState, KeyHasher, StateConfig};
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
        Self::with_hash(crate::codec::key_hash)
    }

    fn with_hash(function: fn(u64, &[u8]) -> u64) -> Self {
        Self { state: CoreState::new(StateConfig::new(KeyHasher { seed: 0x5eed, function })) }
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

    /// S1 and S2, from the outside in.
    fn assert_invariants(&self) {
        let CoreState { index, slab, .. } = &self.state;
        index.assert_invariants();
        slab.assert_invariants();
        let mut bytes = 0;
        for (hash, location) in index.locations() {
            let key = slab.key(location);
            assert_eq!(self.state.hash(key) & ((1 << 42) - 1), hash, "an entry leads to its own key");
            bytes += (key.len() + slab.value(location).len()) as u64;
            assert_eq!(self.get(key), Some(slab.value(location)));
        }
        assert_eq!(bytes, self.state.bytes());
        assert_eq!(slab.records().count(), self.state.len());
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
