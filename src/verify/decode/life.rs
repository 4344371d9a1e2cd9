//! Following the frames of one life: each continues the one before, or the log ends.

use super::bytes::crc;
use super::record::Mark;
use super::route::{Begin, Leg};
use super::segment::{CLOSE, FRAMES, FrameHeader, RECORDS, START};

/// Where a reader of a life stands. Between two lives it begins anew; the epochs go on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Follower {
    next_lsn: Option<u64>,
    chain: Option<u32>,
    /// Whether the last frame said that none follows.
    closed: bool,
    /// The last epoch that has ended; zero before the first.
    pub(crate) last_epoch: u64,
    /// The greatest closed-through mark.
    pub(crate) closed_through: u64,
}

/// What a frame that continues the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Part of the log: its records, if any, begin with this LSN.
    Frame(u64),
    /// Behind the last LSN that counts in its segment.
    Behind,
}

impl Follower {
    /// Goes on to `leg`.
    pub(crate) fn enter(&mut self, leg: &Leg) {
        match leg.begins {
            Some(Begin::First(lsn)) => (self.next_lsn, self.chain) = (Some(lsn), Some(0)),
            Some(Begin::Later) => (self.next_lsn, self.chain) = (None, None),
            None => return,
        }
        self.closed = false;
    }

    /// Takes the next frame of `leg`, which is whole.
    pub(crate) fn take(&mut self, leg: &Leg, frame: &FrameHeader, payload: &[u8]) -> Result<Taken, String> {
        if frame.first_lsn == 0 {
            return Err("a frame of LSN 0".to_owned());
        }
        // Invariant: a life that was closed has written nothing since.
        if self.closed {
            return Err("a frame behind the last one of its life".to_owned());
        }
        let lsn = *self.next_lsn.get_or_insert(frame.first_lsn);
        let expected = *self.chain.get_or_insert(frame.chain);
        if lsn > leg.through && (frame.kind == RECORDS || frame.first_lsn != lsn) {
            return Ok(Taken::Behind);
        }
        if frame.chain != expected || frame.first_lsn != lsn || (frame.kind == START) != (frame.at == FRAMES)
        {
            return Err("chain, LSN or kind do not continue".to_owned());
        }
        // The manifest has the floor.
        if frame.floor(payload)?.unwrap_or(0) != 0 {
            return Err("a floor in the log of a database".to_owned());
        }
        // Invariant: a frame promises only what was durable before it was submitted.
        if frame.durable_through >= frame.first_lsn {
            return Err(format!("durable-through {} in the frame of LSN {lsn}", frame.durable_through));
        }
        let next = lsn.checked_add(frame.records.into()).ok_or("LSNs end")?;
        self.next_lsn = Some(next);
        self.chain = Some(crc(expected, &frame.header_crc.to_le_bytes()));
        self.closed_through = self.closed_through.max(frame.closed_through);
        self.closed = frame.kind == CLOSE;
        Ok(Taken::Frame(lsn))
    }

    /// Takes the end of an epoch at `lsn`, found in a life of `token`.
    pub(crate) fn end_epoch(&mut self, token: u64, lsn: u64, mark: &Mark) -> Result<(), String> {
        if mark.token > token || (self.last_epoch > 0 && self.last_epoch.checked_add(1) != Some(mark.epoch)) {
            return Err(format!(
                "LSN {lsn}: epoch {} of token {} ends after epoch {}",
                mark.epoch, mark.token, self.last_epoch
            ));
        }
        self.last_epoch = mark.epoch;
        Ok(())
    }

    /// The last LSN that was read, as far as it counts in `leg`; zero for none.
    pub(crate) fn last_lsn(&self, leg: &Leg) -> u64 {
        self.next_lsn.map_or(0, |next| next.saturating_sub(1)).min(leg.through)
    }

    /// Leaves `leg` where its frames end.
    pub(crate) fn leave(&self, leg: &Leg) -> Result<(), String> {
        let last = self.last_lsn(leg);
        if leg.must_reach && last != leg.through {
            return Err(format!("the log ends at LSN {last}, and must reach LSN {}", leg.through));
        }
        Ok(())
    }
}
