//! Segments that could not be finished, and what is left of them.

use std::io::ErrorKind;

use super::disk::Disk;
use super::rig::{block_on, dir, segment_files};
use crate::ids::{CoreId, FencingToken, Nonce, SegmentNo};
use crate::vfs::Vfs;
use crate::wal::{LogSpec, SegmentHeader, prepare, recycle};

fn header(number: u64) -> SegmentHeader {
    let log = LogSpec {
        database: Nonce(1),
        core: CoreId(0),
        token: FencingToken(1),
        write_unit: 512,
        segment_bytes: 16 << 10,
    };
    SegmentHeader { log, number: SegmentNo(number), identity: Nonce(number.into()) }
}

/// Whoever needs a segment tries again with another number: each one left behind would be lost space.
#[test]
fn a_segment_that_cannot_be_prepared_leaves_nothing_behind() {
    let disk = Disk::default();
    block_on(prepare(&disk, dir(), &header(1))).unwrap();
    let changes = disk.changes();
    assert!(changes > 4, "{changes} changes");
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        for at in 0..changes {
            let disk = Disk::default();
            disk.fail_at(at, kind);
            block_on(prepare(&disk, dir(), &header(1))).unwrap_err();
            assert_eq!(disk.files(), Vec::<std::path::PathBuf>::new(), "{kind} at {at}");
        }
    }
}

#[test]
fn a_segment_that_was_there_before_is_not_removed() {
    let disk = Disk::default();
    block_on(prepare(&disk, dir(), &header(1))).unwrap();
    let before = disk.files();
    block_on(prepare(&disk, dir(), &header(1))).unwrap_err();
    assert_eq!(disk.files(), before);
}

#[test]
fn a_segment_that_cannot_be_recycled_is_removed() {
    let prepared = || {
        let disk = Disk::default();
        block_on(prepare(&disk, dir(), &header(1))).unwrap();
        let changes = disk.changes();
        (disk, changes)
    };
    let (disk, begin) = prepared();
    let recycled = block_on(recycle(&disk, dir(), SegmentNo(1), &header(2))).unwrap();
    assert_eq!(recycled.unwrap().number, SegmentNo(2));
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        for at in begin..disk.changes() {
            let (disk, _) = prepared();
            disk.fail_at(at, kind);
            let recycled = block_on(recycle(&disk, dir(), SegmentNo(1), &header(2)));
            if kind == ErrorKind::StorageFull {
                // Where there is no space for a name, the next try may find some: until then its own is not given away.
                assert_eq!(recycled.unwrap_err().kind(), crate::error::ErrorKind::Full);
                assert_eq!(disk.files().len(), usize::from(at == begin), "at {at}");
                assert_eq!(disk.files(), segment_files(&disk));
            } else {
                assert_eq!((recycled.unwrap(), disk.files().len()), (None, 0), "{kind} at {at}");
            }
        }
    }
    // With a second name it is somebody else's.
    let (disk, _) = prepared();
    let other = dir().with_file_name("backup");
    block_on(disk.link(&segment_files(&disk)[0], &other)).unwrap();
    assert_eq!(block_on(recycle(&disk, dir(), SegmentNo(1), &header(2))).unwrap(), None);
    assert_eq!(disk.files(), [other]);
    // And one that cannot be removed either is told.
    let (disk, changes) = prepared();
    disk.crash_at(changes);
    block_on(recycle(&disk, dir(), SegmentNo(1), &header(2))).unwrap_err();
    assert_eq!(disk.files(), segment_files(&disk));
}
