//! What every epoch changes, as a function of its number; and the state after any of them.

use std::collections::BTreeMap;

use highwater::CoreHandle;
use xxhash_rust::xxh3::Xxh3;

/// One change; no value deletes.
pub(crate) struct Op {
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// A well mixed function of `n`.
pub(crate) fn mix(n: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes())
}

/// The changes of `epoch`, in order.
pub(crate) fn ops(epoch: u64) -> impl Iterator<Item = Op> {
    (0..=mix(epoch) % 12).map(move |index| {
        let draw = mix(epoch << 8 | index);
        let key = format!("key/{}", draw % 300).into_bytes();
        let value = !(draw >> 32).is_multiple_of(6);
        let bytes = usize::try_from((draw >> 16) % 900).unwrap();
        Op { key, value: value.then(|| mix(draw).to_le_bytes().into_iter().cycle().take(bytes).collect()) }
    })
}

/// The state after every epoch, computed as far as it was asked for.
pub(crate) struct Model {
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    digests: Vec<u64>,
}

impl Model {
    /// Before the first epoch.
    pub(crate) fn new() -> Self {
        let state = BTreeMap::new();
        Self { digests: vec![digest_of(&state)], state }
    }

    /// The digest of the state at the end of `epoch`.
    pub(crate) fn digest_at(&mut self, epoch: u64) -> u64 {
        let epoch = usize::try_from(epoch).unwrap();
        while self.digests.len() <= epoch {
            for Op { key, value } in ops(self.digests.len() as u64) {
                match value {
                    Some(value) => drop(self.state.insert(key, value)),
                    None => drop(self.state.remove(&key)),
                }
            }
            self.digests.push(digest_of(&self.state));
        }
        self.digests[epoch]
    }
}

/// The digest of what the cores of a database hold.
pub(crate) fn digest(cores: &[CoreHandle]) -> u64 {
    let mut state = BTreeMap::new();
    for core in cores {
        for entry in core.scan_prefix(b"") {
            let (key, value) = entry.unwrap();
            assert!(state.insert(key.to_vec(), value.to_vec()).is_none(), "a key on two cores");
        }
    }
    digest_of(&state)
}

fn digest_of(state: &BTreeMap<Vec<u8>, Vec<u8>>) -> u64 {
    let mut hasher = Xxh3::new();
    for (key, value) in state {
        hasher.update(&(key.len() as u64).to_le_bytes());
        hasher.update(key);
        hasher.update(&(value.len() as u64).to_le_bytes());
        hasher.update(value);
    }
    hasher.digest()
}
