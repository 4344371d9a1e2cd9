//! Which segment a record is in, by the fronts of segments alone.

use std::path::Path;

use crate::error::Result;
use crate::ids::{FencingToken, Lsn, SegmentNo};
use crate::vfs::Vfs;
use crate::wal::segment::{self, read_first_frame};

/// The segment of the log in `dir` that holds the record `lsn` of the life `token`, which is there and durable: the newest
/// that begins at or below it. `None` when no segment says so. The log may be written meanwhile.
///
/// # Errors
///
/// `Failed` when the device fails to read, `Corrupt` for a damaged segment header.
pub(crate) async fn segment_of<V: Vfs>(
    vfs: &V,
    dir: &Path,
    token: FencingToken,
    lsn: Lsn,
) -> Result<Option<SegmentNo>> {
    let mut listed = segment::list(vfs, dir).await?;
    loop {
        let error = match newest_at_or_below(vfs, dir, &listed, token, lsn).await {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        // A segment that was prepared and never used may have vanished. Only what a fresh list repeats is true.
        let again = segment::list(vfs, dir).await?;
        if again == listed {
            return Err(error);
        }
        listed = again;
    }
}

async fn newest_at_or_below<V: Vfs>(
    vfs: &V,
    dir: &Path,
    listed: &[SegmentNo],
    token: FencingToken,
    lsn: Lsn,
) -> Result<Option<SegmentNo>> {
    for &number in listed.iter().rev() {
        let front = read_first_frame(vfs, dir, number).await?;
        let begins = front.start.is_some_and(|(frame, _)| frame.first_lsn <= lsn);
        if front.header.log.token == token && begins {
            return Ok(Some(number));
        }
    }
    Ok(None)
}
