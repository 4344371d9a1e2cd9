//! Giving up segments that nothing needs any more.
//!
//! 1. Oldest first, and each removal durable before the next: a crash that undoes one must not leave a hole.
//! 2. The segment that is being written is never given up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::error::{Error, Result};
use crate::ids::{Lsn, Nonce, SegmentNo};
use crate::vfs::{Vfs, retry};
use crate::wal::frame::FrameHeader;
use crate::wal::scan::Life;
use crate::wal::segment::{self, Prepared, SegmentHeader, segment_path};

/// A segment that nothing needs below a floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retired {
    pub(crate) number: SegmentNo,
    pub(crate) segment_bytes: u64,
}

/// Takes out of `lives` every segment whose records are all at or below `through`, oldest first. The segments are
/// still there: remove or recycle them in this order.
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

/// The segments in `dir` that none of `lives` reaches by the links from its first segment: left by opens that were
/// interrupted and by removals that a crash undid, or prepared and never used. Remove them only when the open that
/// names `lives` counts.
///
/// # Errors
///
/// `Failed` or `Corrupt` when a segment's front cannot be read.
pub(crate) async fn leftovers<V: Vfs>(vfs: &V, dir: &Path, lives: &[Life]) -> Result<Vec<SegmentNo>> {
    let mut links = BTreeMap::new();
    let mut all = Vec::new();
    for number in segment::list(vfs, dir).await? {
        let front = segment::read_first_frame(vfs, dir, number).await?;
        all.push(number);
        if let Some((_, start)) = front.start {
            links.insert((front.header.log.token, start.segment), number);
        }
    }
    let mut reached = BTreeSet::new();
    for life in lives {
        let mut at = Some(life.first_segment);
        while let Some(number) = at.filter(|number| reached.insert(*number)) {
            at = links.get(&(life.token, number)).copied();
        }
    }
    all.retain(|number| !reached.contains(number));
    Ok(all)
}

/// Removes a segment, durably: its final name first, then the rest, which is a temporary file by then.
///
/// After a failed sync the name may be gone in the cache alone, and a later sync proves nothing about it. So the name is
/// given back and taken once more, which is a new change, and synced again.
///
/// # Errors
///
/// `Failed` when the device fails: whether the segment is there is unknown then.
pub(crate) async fn remove<V: Vfs>(vfs: &V, dir: &Path, number: SegmentNo) -> Result<()> {
    let (path, temp) = (segment_path(dir, number), segment::temp_path(dir, number, Nonce(0)));
    let failed = |e| Error::io("removing a segment", &path, e);
    retry(|| vfs.rename(&path, &temp)).await.map_err(failed)?;
    if retry(|| vfs.sync_dir(dir)).await.is_err() {
        retry(|| vfs.rename(&temp, &path)).await.map_err(failed)?;
        retry(|| vfs.rename(&path, &temp)).await.map_err(failed)?;
        retry(|| vfs.sync_dir(dir)).await.map_err(failed)?;
    }
    // Nobody reads a temporary file; one that comes back is removed by the next open.
    retry(|| vfs.remove(&temp)).await.map_err(failed)
}

/// Turns a retired segment into one that is ready for use, or removes it durably when it cannot be.
///
/// # Errors
///
/// As [`segment::recycle`].
pub(crate) async fn reuse<V: Vfs>(
    vfs: &V,
    dir: &Path,
    retired: Retired,
    header: &SegmentHeader,
) -> Result<Option<Prepared>> {
    if retired.segment_bytes != header.log.segment_bytes {
        remove(vfs, dir, retired.number).await?;
        return Ok(None);
    }
    let prepared = segment::recycle(vfs, dir, retired.number, header).await?;
    if prepared.is_none() {
        retry(|| vfs.sync_dir(dir)).await.map_err(|e| Error::io("removing a segment", dir, e))?;
    }
    Ok(prepared)
}
