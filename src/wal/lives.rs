//! Finding the lives of a log that has no manifest beside it, by what its segments say of each other.
//!
//! 1. The live life is that of the greatest token that has begun: its first `SegmentStart` is there, or a frame of
//!    it claims something durable, which no frame does before (`life`, invariant 2).
//! 2. The first `SegmentStart` of a life names the life before and its ceiling.
//! 3. Segments below the *floor*, the greatest that any valid frame states, count for nothing: some may be missing, some
//!    may be back. The segment that it names is the first of the log, and nothing from it on may be missing.
//! 4. Segments of other tokens are leftovers of opens that were interrupted, or of removals that a crash undid.
//! 5. Which log this is, the segments with frames say. An open that fails while it prepares the first segment of a new
//!    log gives up the name and the identity that it chose, and the next one chooses another; yet where syncs of the
//!    directory failed, the old name may come back beside the new log. It holds no frame: a leftover as well.

use std::path::Path;

use crate::error::{Error, ErrorCode, Result};
use crate::ids::{FencingToken, Lsn, SegmentNo};
use crate::vfs::{File, Vfs};
use crate::wal::evidence::evidence_in;
use crate::wal::frame::{FrameHeader, Predecessor};
use crate::wal::scan::{Life, LogId};
use crate::wal::segment::{self, FRAMES_START, FirstFrame, Front, LogSpec, SegmentHeader, segment_path};

/// What is known of one segment.
struct Seen {
    header: SegmentHeader,
    start: Option<(FrameHeader, Predecessor)>,
    /// The greatest floor found in what was read of it; zero for none.
    floor: SegmentNo,
    claims: bool,
    /// Whether any frame is in it; if not, it was prepared and never used.
    used: bool,
}

impl Seen {
    fn id(&self) -> LogId {
        let LogSpec { database, core, .. } = self.header.log;
        LogId { database, core }
    }
}

/// What a directory of segments holds.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    /// In order; empty for a log that was never begun.
    pub(crate) lives: Vec<Life>,
    /// The log that all segments with frames belong to; `None` when there are no segments.
    pub(crate) id: Option<LogId>,
    /// The write unit and the segment size of the live life's first segment.
    pub(crate) shape: Option<(u32, u64)>,
    /// The life before the first, if it was trimmed away: what it and the trimmed segments held at most.
    pub(crate) trimmed_through: Lsn,
    /// Of every segment, ascending.
    pub(crate) fronts: Vec<Front>,
    /// What interrupted preparations left behind.
    pub(crate) temps: Vec<String>,
    /// The greatest number and the greatest token seen anywhere.
    pub(crate) greatest_segment: SegmentNo,
    /// See [`Discovery::greatest_segment`].
    pub(crate) greatest_token: FencingToken,
}

/// Reads the front of every segment in `dir`.
///
/// # Errors
///
/// `Corrupt` for a segment whose header is bad, for a life whose beginning is, for segments of two databases, and when
/// segments from the floor on are missing.
pub(crate) async fn discover<V: Vfs>(vfs: &V, dir: &Path) -> Result<Discovery> {
    let listing = segment::list_all(vfs, dir).await?;
    let mut found = Discovery { temps: listing.temps, ..Discovery::default() };
    let (mut seen, mut last_started) = (Vec::new(), None);
    for number in listing.segments {
        let front = segment::read_first_frame(vfs, dir, number).await?;
        seen.push(see(&front).await?);
        found.fronts.push(front.front());
        if front.start.is_some() {
            last_started = Some(front);
        }
    }
    found.id = seen.iter().find(|one| one.used).or(seen.first()).map(Seen::id);
    for one in &seen {
        let theirs = one.id();
        if let Some(id) = found.id.filter(|id| one.used && *id != theirs) {
            return Err(Error::corrupt(
                ErrorCode::SegmentForeign,
                &segment_path(dir, one.header.number),
                format!(
                    "the segment header at offset 0 belongs to database {}, core {}; the segments before it to \
                     database {}, core {}: move the foreign file away",
                    theirs.database, theirs.core, id.database, id.core
                ),
            ));
        }
        found.greatest_segment = found.greatest_segment.max(one.header.number);
        found.greatest_token = found.greatest_token.max(one.header.log.token);
    }
    seen.retain(|one| Some(one.id()) == found.id);
    let begun = |one: &&Seen| {
        let first = one.start.is_some_and(|(_, start)| start.segment == SegmentNo(0));
        first || one.claims
    };
    let live = seen.iter().filter(begun).map(|one| one.header.log.token).max();
    let floor = floor_of(vfs, dir, &seen, live, last_started).await?;
    seen.retain(|one| one.header.number >= floor);
    follow_back(&seen, live, dir, &mut found)?;
    check_beginning(&seen, floor, dir, &found)?;
    Ok(found)
}

/// The greatest floor. Every life restates it when it begins, and every segment of it when the log rolls, so that beside
/// the fronts of all segments only the last one of the live life needs to be searched: `open` as a rule.
async fn floor_of<V: Vfs>(
    vfs: &V,
    dir: &Path,
    seen: &[Seen],
    live: Option<FencingToken>,
    open: Option<FirstFrame<V::File>>,
) -> Result<SegmentNo> {
    let mut floor = seen.iter().map(|one| one.floor).max().unwrap_or_default();
    let last = seen.iter().rfind(|one| Some(one.header.log.token) == live && one.start.is_some());
    if let Some(last) = last {
        let number = last.header.number;
        let front = match open.filter(|front| front.header.number == number) {
            Some(front) => front,
            None => segment::read_first_frame(vfs, dir, number).await?,
        };
        floor = floor.max(evidence_in(&front).await?.floor);
    }
    Ok(floor)
}

/// The log begins with the segment that the floor names. A log whose frames state none begins with what is there.
fn check_beginning(seen: &[Seen], floor: SegmentNo, dir: &Path, found: &Discovery) -> Result<()> {
    let first = found.lives.first();
    if floor == SegmentNo(0) || first.is_some_and(|life| life.first_segment == floor) {
        return Ok(());
    }
    if let Some(life) = first.filter(|_| seen.iter().any(|one| one.header.number == floor)) {
        return Err(Error::corrupt(
            ErrorCode::SegmentMissing,
            &segment_path(dir, life.first_segment),
            format!(
                "offset {FRAMES_START}: token {} follows another one, whose segments are missing, and the log is needed \
                 from segment {floor} on; nothing was changed: restore them from a backup",
                life.token
            ),
        ));
    }
    Err(Error::corrupt(
        ErrorCode::SegmentMissing,
        &segment_path(dir, floor),
        format!(
            "segment {floor} is missing, and the log is needed from it on; nothing was changed: restore it from a backup"
        ),
    ))
}

async fn see<F: File>(front: &FirstFrame<F>) -> Result<Seen> {
    let (claims, used, floor) = match &front.start {
        Some((frame, _)) if frame.durable_through > Lsn(0) => (true, true, front.floor),
        Some((_, start)) if start.segment == SegmentNo(0) => (false, true, front.floor),
        // Carried records may fill a segment whose frames claim nothing; the claim follows them.
        start => {
            let evidence = evidence_in(front).await?;
            let used = start.is_some() || evidence.frames > 0;
            (evidence.durable_through > Lsn(0), used, front.floor.max(evidence.floor))
        }
    };
    Ok(Seen { header: front.header, start: front.start, floor, claims, used })
}

/// Follows the links from the live life to the oldest one that is still there.
fn follow_back(seen: &[Seen], live: Option<FencingToken>, dir: &Path, found: &mut Discovery) -> Result<()> {
    let mut token = live;
    let mut ceiling = None;
    while let Some(of) = token {
        let Some(first) = seen.iter().find(|one| one.header.log.token == of && one.used) else {
            // The whole life was trimmed, perhaps but for a segment that it had prepared and never used.
            found.trimmed_through = ceiling.unwrap_or_default();
            break;
        };
        let number = first.header.number;
        let Some((frame, start)) = first.start else {
            return Err(Error::corrupt(
                ErrorCode::LifeDamaged,
                &segment_path(dir, number),
                format!(
                    "offset {FRAMES_START}: token {of} has begun, so that the first frame of its first segment is \
                     durable, yet there is no valid one; nothing was changed: restore this file from a backup"
                ),
            ));
        };
        if found.lives.is_empty() {
            found.shape = Some((first.header.log.write_unit, first.header.log.segment_bytes));
        }
        found.lives.push(Life {
            token: of,
            first_segment: number,
            identity: first.header.identity,
            first_lsn: frame.first_lsn,
            ceiling,
        });
        if start.segment != SegmentNo(0) {
            found.trimmed_through = start.last_lsn;
            break;
        }
        if start.token >= of {
            return Err(Error::corrupt(
                ErrorCode::LifeDamaged,
                &segment_path(dir, number),
                format!("offset {FRAMES_START}: token {of} says that it follows token {}", start.token),
            ));
        }
        token = (start.token > FencingToken(0)).then_some(start.token);
        ceiling = Some(start.last_lsn);
    }
    found.lives.reverse();
    Ok(())
}
