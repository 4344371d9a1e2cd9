//! The records that every row writes: keys in hash order, values without a pattern.

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 16;

/// Bytes of a value where a workload does not say otherwise: 116 with its key, 128 in the frame of a baseline.
pub(crate) const VALUE_BYTES: usize = 100;

/// Values are stretches of so many random bytes: making one costs the same few nanoseconds in every row.
const POOL_BYTES: usize = 1 << 20;

pub(crate) type Key = [u8; KEY_BYTES];

/// Spreads `number` over all 64-bit words.
pub(crate) fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The key with this number.
pub(crate) fn key(number: u64) -> Key {
    let mut key = [0; KEY_BYTES];
    key[..8].copy_from_slice(&mix(number).to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Where values come from.
pub(crate) struct Values {
    pool: Vec<u8>,
}

impl Values {
    pub(crate) fn new() -> Self {
        let words = (0..POOL_BYTES as u64 / 8).flat_map(|at| mix(at ^ 0x5eed).to_le_bytes());
        Self { pool: words.collect() }
    }

    /// `bytes` bytes, others for every number and version.
    #[inline]
    pub(crate) fn of(&self, number: u64, version: u64, bytes: usize) -> &[u8] {
        let at = mix(number ^ (version << 48)) as usize % (POOL_BYTES - bytes);
        &self.pool[at..at + bytes]
    }
}

/// What was read back, in whatever order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) count: u64,
    sum: u64,
}

impl Check {
    #[inline]
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.first_chunk().copied().unwrap_or_default());
        self.count += 1;
        self.sum = self.sum.wrapping_add(word(key) ^ word(value).rotate_left(32));
    }
}
