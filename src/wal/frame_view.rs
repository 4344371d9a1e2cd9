//! The records of a frame, borrowed from where they were read.

use std::fmt;

use crate::codec::{Record, RecordKind};
use crate::ids::{Epoch, FencingToken, Lsn};
use crate::wal::epoch_end;
use crate::wal::record::WalRecord;

/// Whether `payload` is exactly `count` records. Adds the epochs that end there to `ends`, each with the place of its end
/// among the records.
pub(crate) fn records_are_whole(mut payload: &[u8], count: u32, ends: &mut Vec<(u32, Epoch)>) -> bool {
    for place in 0..count {
        let Some((record, rest)) = Record::decode(payload) else { return false };
        if record.kind == RecordKind::EpochEnd {
            let Some(epoch) = epoch_end::epoch_of(record.value) else { return false };
            ends.push((place, epoch));
        }
        payload = rest;
    }
    payload.is_empty()
}

/// The records of one frame that are in range, in order, each with its LSN.
pub struct Frame<'a> {
    pub(crate) token: FencingToken,
    pub(crate) next_lsn: Lsn,
    /// The encoded records that are left.
    pub(crate) payload: &'a [u8],
    /// Records at or below are not handed out.
    pub(crate) above: Lsn,
    /// Records above are not handed out.
    pub(crate) through: Lsn,
}

impl<'a> Frame<'a> {
    /// The token of the life that wrote the frame.
    pub fn token(&self) -> FencingToken {
        self.token
    }

    /// The LSN of the next record, and the bytes of it and all that follow.
    pub(crate) fn position(&self) -> (Lsn, usize) {
        (self.next_lsn, self.payload.len())
    }

    /// The next record as it is encoded everywhere.
    pub(crate) fn next_record(&mut self) -> Option<(Lsn, Record<'a>)> {
        loop {
            let (record, rest) = Record::decode(self.payload)?;
            let lsn = self.next_lsn;
            self.payload = rest;
            self.next_lsn = lsn.next();
            if lsn > self.through {
                return None;
            }
            if lsn > self.above {
                return Some((lsn, record));
            }
        }
    }
}

impl<'a> Iterator for Frame<'a> {
    type Item = (Lsn, WalRecord<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.next_record().map(|(lsn, record)| (lsn, WalRecord::of(&record)))
    }
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token, next_lsn, payload, .. } = self;
        f.debug_struct("Frame")
            .field("token", token)
            .field("next_lsn", next_lsn)
            .field("bytes", &payload.len())
            .finish_non_exhaustive()
    }
}
