//! How far a log has come, as four marks and the proof of one of them.
//!
//! 1. acknowledged ≤ durable ≤ submitted ≤ appended, always.
//! 2. No mark ever falls.
//! 3. `proven` ≤ durable: the greatest durable mark that a durable frame states, which is what a later recovery can
//!    know. While it is behind, the marks on disk are *stale*.

use crate::ids::{Epoch, Lsn};

/// The marks of one core's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) appended: Lsn,
    pub(crate) submitted: Lsn,
    pub(crate) durable: Lsn,
    pub(crate) acknowledged: Lsn,
    proven: Lsn,
    proven_epoch: Epoch,
}

impl Marks {
    /// The marks of a log that has everything through `lsn` on disk, and proof of it through `proven` and
    /// `proven_epoch`.
    pub(crate) fn at(lsn: Lsn, proven: Lsn, proven_epoch: Epoch) -> Self {
        let marks =
            Self { appended: lsn, submitted: lsn, durable: lsn, acknowledged: lsn, proven, proven_epoch };
        marks.assert_invariants();
        marks
    }

    /// Panics unless the marks are in order. Runs around every change, in release builds too: four compares cost
    /// less than one wrong acknowledgement.
    pub(crate) fn assert_invariants(&self) {
        assert!(self.acknowledged <= self.durable, "acknowledged {} > {}", self.acknowledged, self.durable);
        assert!(self.durable <= self.submitted, "durable {} > {}", self.durable, self.submitted);
        assert!(self.submitted <= self.appended, "submitted {} > {}", self.submitted, self.appended);
        assert!(self.proven <= self.durable, "proven {} > durable {}", self.proven, self.durable);
    }

    /// Records through `lsn` were taken into the log's hands.
    pub(crate) fn append(&mut self, lsn: Lsn) {
        self.assert_invariants();
        assert!(lsn >= self.appended, "appended falls from {} to {lsn}", self.appended);
        self.appended = lsn;
    }

    /// Records through `lsn` were handed to the device.
    pub(crate) fn submit(&mut self, lsn: Lsn) {
        assert!(lsn >= self.submitted, "submitted falls from {} to {lsn}", self.submitted);
        self.submitted = lsn;
        self.assert_invariants();
    }

    /// A sync covered everything through `lsn`; the frame that ended there stated `mark` and `epoch`.
    pub(crate) fn sync(&mut self, lsn: Lsn, mark: Lsn, epoch: Epoch) {
        assert!(lsn >= self.durable, "durable falls from {} to {lsn}", self.durable);
        self.durable = lsn;
        self.proven = self.proven.max(mark);
        self.proven_epoch = self.proven_epoch.max(epoch);
        self.assert_invariants();
    }

    /// Everything durable is acknowledged.
    pub(crate) fn acknowledge(&mut self) {
        self.acknowledged = self.durable;
        self.assert_invariants();
    }

    /// Whether a later recovery could not prove what is durable and closed now.
    pub(crate) fn stale(&self, closed_through: Epoch) -> bool {
        self.proven < self.durable || self.proven_epoch < closed_through
    }

    /// Whether something is submitted and not yet durable.
    pub(crate) fn in_flight(&self) -> bool {
        self.durable < self.submitted
    }
}
