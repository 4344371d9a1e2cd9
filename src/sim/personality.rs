//! What kind of disk and file system a simulation runs on: drawn once per seed, printed, and kept for the whole run.

use std::fmt;

use super::rng::Stream;

/// In which order unsynced changes may reach the platter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// In any: each sector, each file length and each name on its own. What a program may rely on, and no more.
    Paranoid,
    /// In the order in which they were made, the last one torn: what an ordered journal often looks like.
    PrefixOrdered,
}

/// What a read finds in the sectors that a failed sync lost. The platter has the old bytes in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailedSync {
    /// The new bytes, as on ext4 and XFS: the page cache keeps what it could not write.
    New,
    /// The old bytes, as on btrfs.
    Old,
    /// Of each sector, one or the other.
    Mixed,
}

/// The properties of one simulated disk. `Display` gives them in one line.
#[expect(clippy::struct_excessive_bools, reason = "each is a property that a disk has or has not")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Personality {
    /// In which order unsynced changes reach the platter.
    pub order: Order,
    /// What a read finds after a failed sync.
    pub after_failed_sync: AfterFailedSync,
    /// The unit, in bytes, that the device overwrites without touching its neighbours: 512 or 4,096.
    pub write_unit: u32,
    /// Whether a unit that is being overwritten when the power goes holds the old or the new bytes. If not, it may
    /// hold neither.
    pub power_safe_overwrite: bool,
    /// Whether a file that became longer, with its new bytes not yet on the platter, may show stale bytes there
    /// instead of zeroes.
    pub stale_extension: bool,
    /// Whether the device may answer a sync with `Ok` and forget it: whether the fault class
    /// [`LostSync`](super::FaultClass::LostSync) can fire at all. Out of every contract.
    pub lying: bool,
    /// Whether a write with its sync that fails takes no other write with it, as past the page cache. If not, it may take
    /// what the cache holds of the file, and the syncs of those writes say `Ok`.
    pub failures_are_own: bool,
    /// How many operations of a file are worth having in flight: 1 to 16.
    pub depth_max: u8,
}

impl Default for Personality {
    /// The most paranoid disk that keeps its promises.
    fn default() -> Self {
        Self {
            order: Order::Paranoid,
            after_failed_sync: AfterFailedSync::New,
            write_unit: 512,
            power_safe_overwrite: false,
            stale_extension: true,
            lying: false,
            failures_are_own: false,
            depth_max: 4,
        }
    }
}

impl Personality {
    /// Draws one. Most are paranoid; none lies, which is a choice of the caller ([`Personality::lying`]).
    #[must_use]
    pub fn draw(stream: &mut Stream) -> Self {
        Self {
            order: *stream.pick(&[Order::Paranoid, Order::Paranoid, Order::Paranoid, Order::PrefixOrdered]),
            after_failed_sync: *stream.pick(&[
                AfterFailedSync::New,
                AfterFailedSync::Old,
                AfterFailedSync::Mixed,
            ]),
            write_unit: *stream.pick(&[512, 4096]),
            power_safe_overwrite: stream.chance(0.5),
            stale_extension: stream.chance(0.5),
            lying: false,
            failures_are_own: stream.chance(0.5),
            depth_max: *stream.pick(&[1, 2, 4, 8, 16]),
        }
    }
}

impl fmt::Display for Personality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "order={:?} after-failed-sync={:?} unit={} power-safe={} stale-extension={} lying={} \
             own-failures={} depth={}",
            self.order,
            self.after_failed_sync,
            self.write_unit,
            self.power_safe_overwrite,
            self.stale_extension,
            self.lying,
            self.failures_are_own,
            self.depth_max
        )
    }
}
