//! Drawing from a named stream, swarm style: a knob is often in its middle, sometimes at an end, sometimes off.

use std::time::Duration;

use highwater::env::Tick;
use highwater::sim::Stream;

/// What a plan is drawn with.
pub(crate) trait Draw {
    /// A number from `lo` to `hi` (both included), each power of two between them as likely as any other.
    fn scale(&mut self, lo: u64, hi: u64) -> u64;

    /// An index of `weights`, each as likely as its weight says.
    fn weighted(&mut self, weights: &[u32]) -> usize;

    /// A moment behind `now`, by `longest` at most.
    fn moment_behind(&mut self, now: Tick, longest: Duration) -> Tick;
}

impl Draw for Stream {
    fn scale(&mut self, lo: u64, hi: u64) -> u64 {
        assert!(lo >= 1 && lo <= hi, "{lo}..={hi} has no scale");
        let (low, high) = (lo.ilog2(), hi.ilog2());
        let power = self.range(u64::from(low), u64::from(high));
        let within = self.below(1 << power);
        ((1 << power) + within).clamp(lo, hi)
    }

    fn weighted(&mut self, weights: &[u32]) -> usize {
        let total: u32 = weights.iter().sum();
        let mut at = self.below(u64::from(total.max(1)));
        for (index, weight) in weights.iter().enumerate() {
            match at.checked_sub(u64::from(*weight)) {
                Some(rest) => at = rest,
                None => return index,
            }
        }
        0
    }

    fn moment_behind(&mut self, now: Tick, longest: Duration) -> Tick {
        let last = now.after(longest.max(Duration::from_nanos(1)));
        Tick(self.range(now.0 + 1, last.0))
    }
}
