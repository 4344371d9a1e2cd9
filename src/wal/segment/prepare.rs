//! How a segment comes by its final name and loses it again: prepared, recycled or removed (`segment`, invariants 1, 3 and 4).

use std::io;
use std::path::Path;

use super::names::temp_path;
use super::{FRAMES_START, LogSpec, SegmentHeader, segment_path};
use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::ids::{Nonce, SegmentNo};
use crate::vfs::{File, OpenMode, Vfs, allocate, retry, write_all_and_sync, write_all_at, write_zeroes};

/// A segment under its final name, ready for its first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prepared {
    pub(crate) number: SegmentNo,
    pub(crate) identity: Nonce,
    pub(crate) salt: u32,
}

/// Makes a new segment: zeroes written, header durable, final name durable.
///
/// # Errors
///
/// `Full` when the device has no space: the call may be repeated with another identity. `Failed` for every other
/// trouble. Nothing is left behind, if the device lets it be removed.
pub(crate) async fn prepare<V: Vfs>(vfs: &V, dir: &Path, header: &SegmentHeader) -> Result<Prepared> {
    prepare_open(vfs, dir, header).await.map(|(prepared, _)| prepared)
}

/// As [`prepare`], and leaves the segment open for whoever writes its first frame.
///
/// # Errors
///
/// As there.
pub(crate) async fn prepare_open<V: Vfs>(
    vfs: &V,
    dir: &Path,
    header: &SegmentHeader,
) -> Result<(Prepared, V::File)> {
    header.log.check()?;
    let temp = temp_path(dir, header.number, header.identity);
    let made = async {
        let file = write_new(vfs, &temp, header).await?;
        Ok((publish(vfs, dir, &temp, header).await?, file))
    }
    .await;
    let core = header.log.core.0;
    match &made {
        Ok(_) => {
            tracing::debug!(target: "highwater::wal", core, segment = header.number.0, "segment prepared");
        }
        Err(_) => discard(vfs, &temp).await,
    }
    made
}

async fn write_new<V: Vfs>(vfs: &V, temp: &Path, header: &SegmentHeader) -> Result<V::File> {
    let failed = |e| Error::io("preparing a segment", temp, e);
    let file = retry(|| vfs.create_new(temp)).await.map_err(failed)?;
    check_unit(&file, &header.log, temp)?;
    // Where the file system has no means to, the zeroes take the space.
    allocate(&file, header.log.segment_bytes).await.map_err(failed)?;
    write_all_at(&file, 0, header.page()).await.map_err(failed)?;
    write_zeroes(&file, FRAMES_START..header.log.segment_bytes).await.map_err(failed)?;
    retry(|| file.sync_data()).await.map_err(failed)?;
    Ok(file)
}

/// Gives the file `temp`, whose content is durable, its final name.
async fn publish<V: Vfs>(vfs: &V, dir: &Path, temp: &Path, header: &SegmentHeader) -> Result<Prepared> {
    let path = segment_path(dir, header.number);
    if vfs.open(&path, OpenMode::Read).await.is_ok() {
        return Err(Error::new(
            ErrorCode::SegmentExists,
            format!("segment {} exists already: numbers are never used twice; reopen the log", header.number),
        )
        .at(&path));
    }
    retry(|| vfs.rename(temp, &path)).await.map_err(|e| Error::io("naming a segment", &path, e))?;
    if let Err(error) = retry(|| vfs.sync_dir(dir)).await {
        discard(vfs, &path).await;
        return Err(Error::io("naming a segment", dir, error));
    }
    Ok(Prepared { number: header.number, identity: header.identity, salt: header.salt() })
}

/// Removes a segment that was not finished, of which nobody knows: a caller that tries again takes another number, and
/// space with it. Best effort: one that stays is removed at the next open.
async fn discard<V: Vfs>(vfs: &V, path: &Path) {
    let _ = retry(|| vfs.remove(path)).await;
}

/// Removes a segment that no log needs any more; that it is gone already is as good. A crash may undo it
/// (`trim`, invariant 1).
///
/// # Errors
///
/// `Failed` when the device fails: whether the segment is there is unknown then.
pub(crate) async fn remove<V: Vfs>(vfs: &V, dir: &Path, number: SegmentNo) -> Result<()> {
    let path = segment_path(dir, number);
    match retry(|| vfs.remove(&path)).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("removing a segment that is no longer needed", &path, error)
                .with_kind(ErrorKind::Failed))
        }
        _ => Ok(()),
    }
}

/// Makes a new segment out of the retired one, without writing its zeroes again. `None` when that cannot be done: the
/// file's size differs, or it has a second name, or the device fails. The retired one is removed then.
///
/// # Errors
///
/// `Full` when there is no space for a name, `Failed` when the retired segment cannot even be removed. It may be there
/// still: recycle or remove it later.
pub(crate) async fn recycle<V: Vfs>(
    vfs: &V,
    dir: &Path,
    retired: SegmentNo,
    header: &SegmentHeader,
) -> Result<Option<Prepared>> {
    Ok(recycle_open(vfs, dir, retired, header).await?.map(|(prepared, _)| prepared))
}

/// As [`recycle`], and leaves the segment open for whoever writes its first frame.
///
/// # Errors
///
/// As there.
pub(crate) async fn recycle_open<V: Vfs>(
    vfs: &V,
    dir: &Path,
    retired: SegmentNo,
    header: &SegmentHeader,
) -> Result<Option<(Prepared, V::File)>> {
    header.log.check()?;
    assert!(retired < header.number, "segment {} recycled as {}", retired, header.number);
    match recycle_file(vfs, dir, retired, header).await {
        Ok(Some(recycled)) => return Ok(Some(recycled)),
        Ok(None) => {}
        Err(error) if error.kind() == ErrorKind::Full => return Err(error),
        Err(error) => {
            let (core, from) = (header.log.core.0, retired.0);
            tracing::debug!(target: "highwater::wal", core, from, %error, "segment not recycled");
        }
    }
    remove(vfs, dir, retired).await?;
    Ok(None)
}

/// [`recycle`], as far as it goes: leaves the retired segment as it is, or nothing at all, when it cannot be done.
async fn recycle_file<V: Vfs>(
    vfs: &V,
    dir: &Path,
    retired: SegmentNo,
    header: &SegmentHeader,
) -> Result<Option<(Prepared, V::File)>> {
    let old = segment_path(dir, retired);
    let temp = temp_path(dir, header.number, header.identity);
    let failed = |e| Error::io("recycling a segment", &old, e);
    let file = retry(|| vfs.open(&old, OpenMode::Write)).await.map_err(failed)?;
    let bytes = retry(|| file.len()).await.map_err(failed)?;
    let names = retry(|| file.link_count()).await.map_err(failed)?;
    if bytes != header.log.segment_bytes || names != 1 {
        return Ok(None);
    }
    // The old name must be gone for good before the first byte changes.
    retry(|| vfs.rename(&old, &temp)).await.map_err(failed)?;
    let made = async {
        retry(|| vfs.sync_dir(dir)).await.map_err(failed)?;
        write_all_and_sync(&file, 0, header.page()).await.map_err(failed)?;
        publish(vfs, dir, &temp, header).await
    }
    .await;
    let (core, from, to) = (header.log.core.0, retired.0, header.number.0);
    match &made {
        Ok(_) => tracing::debug!(target: "highwater::wal", core, from, to, "segment recycled"),
        Err(_) => discard(vfs, &temp).await,
    }
    Ok(Some((made?, file)))
}

/// # Errors
///
/// `Unsupported` when the device overwrites more at once than the log's write unit: a torn write could then reach
/// acknowledged bytes.
pub(crate) fn check_unit<F: File>(file: &F, log: &LogSpec, path: &Path) -> Result<()> {
    if file.write_unit() > log.write_unit {
        return Err(Error::new(
            ErrorCode::UnitTooLarge,
            format!(
                "the device overwrites {} bytes at once, the log was made for {}: move it to another device",
                file.write_unit(),
                log.write_unit
            ),
        )
        .at(path));
    }
    Ok(())
}
