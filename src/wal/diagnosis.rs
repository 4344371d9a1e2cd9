//! What is wrong with a log that cannot be read on: which place is damaged, and what proves that it is.
//!
//! A reader that stops knows where it could not go on. The damage may be elsewhere: in the segment before, which lost the
//! frames that the chain misses, in the one behind, which does not say what it follows, or in no file at all, when a
//! segment is gone.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorCode};
use crate::ids::{CoreId, Lsn, Nonce, SegmentNo};
use crate::wal::segment::{FRAMES_START, LogSpec};
use crate::wal::tail::Next;

/// A segment as far as it was read.
pub(super) struct Stand {
    pub(super) number: SegmentNo,
    pub(super) path: PathBuf,
    pub(super) spec: LogSpec,
    pub(super) identity: Nonce,
    /// Where its bytes end.
    pub(super) limit: u64,
    pub(super) offset: u64,
    /// Whether its `SegmentStart` was read.
    pub(super) started: bool,
    /// Whether its life ended in order, here.
    pub(super) closed: bool,
    /// The segment that says it follows, and the last LSN that it states.
    pub(super) next: Option<(SegmentNo, Lsn)>,
    /// The unlinked segment that should go on where this one ends, if that was found out.
    pub(super) cut_off: Option<PathBuf>,
    /// The first unlinked segment that holds no frame of what is missing.
    pub(super) silent: Option<(SegmentNo, PathBuf)>,
    /// Where reading the segment before it ended, and at what.
    pub(super) behind: Option<(PathBuf, u64, Next)>,
}

impl Stand {
    /// Whether no records can come where reading has got to: none are ever in the last write unit of a segment.
    pub(super) fn is_full(&self) -> bool {
        self.limit.saturating_sub(self.offset) <= self.spec.unit()
    }

    /// The segment that lost the first frame, which would say that it goes on where this one ends. What a full segment
    /// lacks can only be in the next one, be it that all of that is gone.
    fn follower_without_link(&self) -> Option<&Path> {
        let silent =
            self.silent.as_ref().filter(|(number, _)| self.is_full() && *number == self.number.next());
        self.cut_off.as_ref().or(silent.map(|(_, path)| path)).map(PathBuf::as_path)
    }

    /// Whether what goes on behind this segment is in no file: a number that is missing speaks for a segment that is
    /// gone, more than for one behind it that was prepared and holds nothing.
    fn lost_its_follower(&self) -> bool {
        self.started
            && !self.closed
            && self.next.is_none()
            && self.is_full()
            && self.follower_without_link().is_none()
    }
}

/// What is refused.
pub(super) struct Refusal<'a> {
    /// The folder of the log.
    pub(super) dir: &'a Path,
    pub(super) core: CoreId,
    pub(super) at: &'a Stand,
    /// What stands there.
    pub(super) found: Next,
    pub(super) next_lsn: Lsn,
    /// The LSN that the log must reach.
    pub(super) needed: Lsn,
}

impl Refusal<'_> {
    /// The error that names the damaged place.
    pub(super) fn error(&self) -> Error {
        let Self { dir, core, at, found, next_lsn, needed } = *self;
        tracing::debug!(
            target: "highwater::wal",
            core = core.0,
            segment = at.number.0,
            offset = at.offset,
            proven = needed.0,
            "evidence behind damage",
        );
        let claim = if !at.started {
            "the first frame of a segment is durable before the segment is named".to_owned()
        } else if needed >= next_lsn {
            format!("records through LSN {needed} are proven durable")
        } else {
            "no crash leaves that".to_owned()
        };
        if at.lost_its_follower() {
            let or = at.silent.as_ref().map_or(String::new(), |(_, path)| {
                format!(", unless {} lost its first frame", path.display())
            });
            let what = format!(
                "core {core}, LSN {next_lsn}: segment {} is full and no segment that follows it is there{or}, yet {claim}; \
                 nothing was changed: restore this folder from a backup, or the database from a checkpoint",
                at.number,
            );
            return Error::corrupt(ErrorCode::SegmentMissing, dir, what);
        }
        let (path, offset, found) = blame(found, at);
        Error::corrupt(
            ErrorCode::LogDamaged,
            path,
            format!(
                "core {core}, offset {offset}, LSN {next_lsn}: found {found}, yet {claim}; nothing was changed: restore \
                 this file from a backup, or the database from a checkpoint",
            ),
        )
    }
}

/// The damaged place and what was found there: not always where reading could not go on.
fn blame(next: Next, at: &Stand) -> (&Path, u64, String) {
    let breaks_chain = next == Next::WrongChain && !at.started;
    match (&at.behind, at.follower_without_link()) {
        // Frames without records at the end of the segment before: only the chain misses them.
        (Some((path, offset, Next::BadHeader | Next::BadPayload)), _) if breaks_chain => {
            let found = format!("no frame that leads to the chain with which {} begins", at.path.display());
            (path, *offset, found)
        }
        // Either such frames were never written, or this segment, of this identity, is from elsewhere.
        (Some((path, ..)), _) if breaks_chain => {
            let (found, before) = (next.describe(), path.display());
            let found = format!("{found}, in {before} (this segment has identity {})", at.identity);
            (&at.path, at.offset, found)
        }
        (_, Some(path)) => {
            (path, FRAMES_START, format!("no valid first frame that goes on behind segment {}", at.number))
        }
        _ => (&at.path, at.offset, next.describe().to_owned()),
    }
}
