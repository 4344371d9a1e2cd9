//! Giving up segments that nothing needs any more.
//!
//! 1. The floor comes first: before a segment is removed, a durable frame of the log says that none below the first one
//!    that stays is needed (`frame`, invariant 4). From then on nothing reads them, whichever of them are there: removals
//!    need no order, no sync and no success, and what a crash or a failed sync of the directory brings back is a leftover.
//! 2. The segment that is being written is never given up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::error::{ErrorKind, Result};
use crate::ids::{Lsn, SegmentNo};
use crate::vfs::Vfs;
use crate::wal::frame::FrameHeader;
use crate::wal::scan::Life;
use crate::wal::segment::{self, Front, Prepared, SegmentHeader};

/// A segment that nothing needs below a floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retired {
    pub(crate) number: SegmentNo,
    pub(crate) segment_bytes: u64,
}

/// Takes out of `lives` every segment whose records are all at or below `through`, oldest first. The segments are
/// still there: state the first one of `lives` as the floor, then remove or recycle them.
///
/// # Errors
///
/// `Failed` or `Corrupt` when a segment's front cannot be read; `lives` is unchanged then.
pub(crate) async fn retire<V: Vfs>(
    vfs: &V,
    dir: &Path,
    lives: &mut Vec<Life>,
    through: Lsn,
) -> Result<Vec<Retired>> {
    let mut retired = Vec::new();
    let mut fronts = Vec::new();
    for number in segment::list(vfs, dir).await? {
        let front = segment::read_first_frame(vfs, dir, number).await?;
        if let Some(start) = front.start {
            fronts.push((front.header, start));
        }
    }
    let mut kept = Vec::new();
    for life in lives.iter() {
        let of_life: Vec<_> = fronts
            .iter()
            .filter(|(header, _)| header.log.token == life.token && header.number >= life.first_segment)
            .collect();
        let needed = of_life.iter().enumerate().position(|(index, _)| {
            let next = of_life.get(index + 1).map(|(_, (frame, _))| Lsn(frame.first_lsn.0 - 1));
            // `None` for the last segment of the live life: it has no end yet.
            let end = [next, life.ceiling].into_iter().flatten().min();
            !kept.is_empty() || end.is_none_or(|end| end > through)
        });
        let dead = needed.unwrap_or(of_life.len());
        retired.extend(of_life[..dead].iter().map(|(header, _)| retired_of(header)));
        if let Some((header, (frame, _))) = needed.map(|index| of_life[index]) {
            kept.push(from(life, header, frame));
        }
    }
    assert!(kept.len() <= lives.len(), "lives appeared while trimming");
    *lives = kept;
    Ok(retired)
}

fn retired_of(header: &SegmentHeader) -> Retired {
    Retired { number: header.number, segment_bytes: header.log.segment_bytes }
}

/// `life` without what comes before the segment with this header and first frame.
fn from(life: &Life, header: &SegmentHeader, frame: &FrameHeader) -> Life {
    Life { first_segment: header.number, identity: header.identity, first_lsn: frame.first_lsn, ..*life }
}

/// The segments of `fronts` that none of `lives` reaches by the links from its first segment: left by opens that were
/// interrupted and by removals that a crash undid, or prepared and never used. Remove them only when the open that
/// names `lives` counts, and its floor with it.
pub(crate) fn leftovers(lives: &[Life], fronts: &[Front]) -> Vec<SegmentNo> {
    let mut links = BTreeMap::new();
    for front in fronts {
        if let Some(link) = front.link {
            links.insert((link.token, link.predecessor.segment), front.header.number);
        }
    }
    let mut reached = BTreeSet::new();
    for life in lives {
        let mut at = Some(life.first_segment);
        while let Some(number) = at.filter(|number| reached.insert(*number)) {
            at = links.get(&(life.token, number)).copied();
        }
    }
    fronts.iter().map(|front| front.header.number).filter(|number| !reached.contains(number)).collect()
}

/// Turns a retired segment into one that is ready for use, or removes it when it cannot be.
///
/// # Errors
///
/// As [`segment::remove`]: the segment may be there still.
pub(crate) async fn reuse<V: Vfs>(
    vfs: &V,
    dir: &Path,
    retired: Retired,
    header: &SegmentHeader,
) -> Result<Option<Prepared>> {
    if retired.segment_bytes != header.log.segment_bytes {
        segment::remove(vfs, dir, retired.number).await?;
        return Ok(None);
    }
    match segment::recycle(vfs, dir, retired.number, header).await {
        Err(error) if error.kind() == ErrorKind::Full => {
            segment::remove(vfs, dir, retired.number).await?;
            Ok(None)
        }
        recycled => recycled,
    }
}
