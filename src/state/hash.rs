//! The hash by which a state finds its keys: of no meaning outside of it, and on the way of every operation.
//!
//! Who owns a key is decided by the hash of the format (`codec::key_hash`). That one is computed only where a key could
//! belong to another core; this one is a third of its work for keys of up to 16 bytes.

use crate::codec::key_hash;

/// Odd, without a pattern: digits of π and e.
const FRONT: u64 = 0x2438_6ad3_0885_a309;
const BACK: u64 = 0xb7e1_5162_8aed_2a6b;

/// Hashes keys under a seed from entropy, the same way in each life: equal histories leave equal states.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyHasher {
    pub(super) seed: u64,
    /// Tests make hashes that collide.
    #[cfg(test)]
    pub(super) narrow: fn(u64) -> u64,
}

impl KeyHasher {
    /// A hasher with the seed of the database.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            #[cfg(test)]
            narrow: |hash| hash,
        }
    }

    /// The hash of `key`.
    #[inline]
    pub(crate) fn hash(self, key: &[u8]) -> u64 {
        let hash = hash(self.seed, key);
        #[cfg(test)]
        let hash = (self.narrow)(hash);
        hash
    }
}

/// One product of 128 bits, folded: every bit of the words moves about half of the bits of the result.
#[inline]
fn hash(seed: u64, key: &[u8]) -> u64 {
    let (front, back) = match (key.first_chunk::<8>(), key.last_chunk::<8>()) {
        (Some(front), Some(back)) if key.len() <= 16 => {
            (u64::from_le_bytes(*front), u64::from_le_bytes(*back))
        }
        _ => return hash_of_another_length(seed, key),
    };
    fold(seed, front, back, key.len())
}

#[inline]
fn fold(seed: u64, front: u64, back: u64, bytes: usize) -> u64 {
    let product =
        u128::from(front ^ seed ^ FRONT) * u128::from(back ^ seed.rotate_left(32) ^ BACK ^ bytes as u64);
    #[expect(clippy::cast_possible_truncation, reason = "the halves of the product")]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}

#[inline(never)]
fn hash_of_another_length(seed: u64, key: &[u8]) -> u64 {
    if key.len() > 16 {
        return key_hash(seed, key);
    }
    let mut word = [0; 8];
    word[..key.len()].copy_from_slice(key);
    fold(seed, u64::from_le_bytes(word), 0, key.len())
}
