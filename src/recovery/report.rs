//! What a recovery found, took and left out.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::ids::{CoreId, Epoch, FencingToken, Lsn, SegmentNo};
use crate::offset::Offset;

/// How the log of one core ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tail {
    /// The last frame was whole, and no other was begun behind it. Bytes may follow that are no frame: the front of a
    /// write that was torn and that nobody was promised, or what an earlier use of the segment left.
    Clean,
    /// The log was cut behind the last whole frame: what followed was never promised to anybody.
    #[non_exhaustive]
    Torn {
        /// The segment with the first bytes that were left out.
        segment: SegmentNo,
        /// Where they begin, in bytes.
        offset: u64,
        /// The first LSN that did not survive.
        first_lost: Lsn,
    },
}

/// A checkpoint that recovery could not use, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SkippedCheckpoint {
    /// The epoch of the checkpoint.
    pub epoch: Epoch,
    /// What was wrong with it, naming the file.
    pub reason: String,
}

/// What `open` recovered.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Whether the database was created by this open.
    pub created: bool,
    /// Whether the directory held nothing, and its content came from the object store.
    pub restored: bool,
    /// How many cores the database had before, if the keys were divided anew: then nothing but the recovered epoch is left.
    pub rescaled_from: Option<u16>,
    /// The epoch whose state was recovered: the last one closed on all cores; zero if none was.
    pub epoch: Epoch,
    /// The epoch of the checkpoint that the recovery started from; zero if it replayed the log from its beginning.
    pub checkpoint_epoch: Epoch,
    /// The fencing token that this open took.
    pub token: FencingToken,
    /// The source offsets that belong to the epoch, by core and source name: where to rewind to. Behind a change of the
    /// number of cores they stand under the cores that stated them, which may be none any more. Those stay until any core
    /// has stated an offset of the same name.
    pub offsets: BTreeMap<(CoreId, String), Offset>,
    /// The least watermark over the cores, if every core has one.
    pub watermark: Option<i64>,
    /// Keys with a value, over all cores.
    pub live_keys: u64,
    /// Records taken from the logs on top of the checkpoint.
    pub replayed_records: u64,
    /// Records found behind the recovered epoch and left out: their epoch had not closed.
    pub discarded_records: u64,
    /// Records that were readable but not proven durable, and were written and synced once more.
    pub carried_records: u64,
    /// How each core's log ended.
    pub tails: Vec<Tail>,
    /// Checkpoints that were tried first and could not be used.
    pub skipped: Vec<SkippedCheckpoint>,
    /// How long it took, by the clock of the environment.
    pub took: Duration,
    /// How long it would have taken at the rates of earlier recoveries, or at guesses before the first that was large enough to
    /// measure them. The difference to `took` is the error of [`Engine::recovery_forecast`](crate::Engine::recovery_forecast),
    /// which goes on with rates that this recovery has corrected.
    pub predicted: Duration,
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.created {
            return write!(f, "created an empty database, token {}", self.token);
        }
        write!(
            f,
            "recovered epoch {} in {:.1?}: checkpoint {} + {} replayed records = {} keys (token {}, {} carried, {} discarded",
            self.epoch,
            self.took,
            self.checkpoint_epoch,
            self.replayed_records,
            self.live_keys,
            self.token,
            self.carried_records,
            self.discarded_records,
        )?;
        let torn = self.tails.iter().filter(|tail| matches!(tail, Tail::Torn { .. })).count();
        write!(f, ", {torn} torn tails)")?;
        if let Some(cores) = self.rescaled_from {
            write!(f, "; rescaled from {cores} to {} cores", self.tails.len())?;
        }
        for skipped in &self.skipped {
            write!(f, "; skipped checkpoint {}: {}", skipped.epoch, skipped.reason)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
