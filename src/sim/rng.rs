//! Randomness of a simulation: one seed, many independent streams.
//!
//! R1. A stream depends on the seed and its own name, and on nothing else: adding a stream, or drawing more from
//!     one, never moves another. So a change to the workload does not roll new dice for the disk.
//! R2. Every draw but [`Stream::fill`] takes exactly one 64-bit word, whatever the result: switching a fault's
//!     rate to zero does not shift the faults after it.
//! R3. The words are those of `ChaCha8`, the arithmetic is on 64-bit integers: the same on every machine.

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use xxhash_rust::xxh3::xxh3_128;

use crate::env::Tick;

/// The root of a simulation's randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    seed: u64,
}

impl Streams {
    /// The streams of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The seed that all streams come from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The stream called `name`, from its beginning. Two calls with one name give the same stream twice.
    #[must_use]
    pub fn stream(&self, name: &str) -> Stream {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&(name.len() as u64).to_le_bytes());
        key[16..].copy_from_slice(&xxh3_128(name.as_bytes()).to_le_bytes());
        Stream { rng: ChaCha8Rng::from_seed(key) }
    }

    /// A root of its own for the part of the simulation called `name`, with streams of its own.
    #[must_use]
    pub fn fork(&self, name: &str) -> Self {
        Self { seed: self.stream(name).bits() }
    }
}

/// One independent sequence of random words.
pub struct Stream {
    rng: ChaCha8Rng,
}

impl Stream {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// A number below `n`.
    ///
    /// # Panics
    ///
    /// When `n` is zero.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "no number is below zero");
        // The high half of the product: a bias of at most n / 2^64, and always one word.
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// A number from `lo` to `hi`, both included.
    ///
    /// # Panics
    ///
    /// When `lo` is above `hi`.
    pub fn range(&mut self, lo: u64, hi: u64) -> u64 {
        assert!(lo <= hi, "the range {lo}..={hi} is empty");
        match (hi - lo).checked_add(1) {
            Some(n) => lo + self.below(n),
            None => self.bits(),
        }
    }

    /// A moment behind `now`, by `longest` at most.
    pub(super) fn moment_behind(&mut self, now: Tick, longest: Duration) -> Tick {
        let last = now.after(longest.max(Duration::from_nanos(1)));
        Tick(self.range(now.0 + 1, last.0))
    }

    /// True with probability `p`: never for 0, always for 1.
    pub fn chance(&mut self, p: f64) -> bool {
        // 53 bits fill a double's mantissa: each value is exact, the greatest is below one.
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact in a double")]
        let unit = (self.bits() >> 11) as f64 / (1_u64 << 53) as f64;
        unit < p
    }

    /// One of `items`.
    ///
    /// # Panics
    ///
    /// When there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        #[expect(clippy::cast_possible_truncation, reason = "the index is below a length, a usize")]
        let index = self.below(items.len() as u64) as usize;
        &items[index]
    }

    /// Overwrites `bytes` with random ones.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.rng.fill_bytes(bytes);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream(at word {})", self.rng.get_word_pos())
    }
}
