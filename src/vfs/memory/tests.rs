use std::io::ErrorKind;
use std::path::Path;

use bytes::{Bytes, BytesMut};

use super::file::MemoryFile;
use super::{MemoryVfs, Vfs};
use crate::env::{Blocking, StdEnv};
use crate::vfs::{File, OpenMode};

fn with_a_file(test: impl AsyncFnOnce(MemoryVfs, MemoryFile)) {
    StdEnv.block_on(async {
        let vfs = MemoryVfs::new();
        let file = vfs.create_new(Path::new("/file")).await.unwrap();
        test(vfs, file).await;
    });
}

/// Log files are zeroed ahead of need: that must not take what they may hold one day.
#[test]
fn zeroes_take_no_memory() {
    with_a_file(async |_, file| {
        file.allocate(32 << 20).await.unwrap();
        file.write_at(0, Bytes::from(vec![0; 1 << 20])).await.unwrap();
        assert_eq!((file.len().await.unwrap(), file.pages()), (32 << 20, 0));
        file.write_at(20_000, Bytes::from_static(b"something")).await.unwrap();
        assert_eq!(file.pages(), 1);
        file.write_at(0, Bytes::from(vec![0; 1 << 20])).await.unwrap();
        assert_eq!(file.pages(), 0, "what was zeroed again is given back");
    });
}

#[test]
fn bytes_go_with_the_last_name_and_the_last_user() {
    with_a_file(async |vfs, file| {
        file.write_at(0, Bytes::from_static(b"content")).await.unwrap();
        vfs.remove(Path::new("/file")).await.unwrap();
        let weak = file.downgrade();
        assert!(weak.upgrade().is_some(), "somebody has it open");
        drop(file);
        assert!(weak.upgrade().is_none());
    });
}

#[test]
fn an_end_that_no_file_can_have_is_refused() {
    with_a_file(async |vfs, file| {
        let refused = file.write_at(u64::MAX - 1, Bytes::from_static(b"more")).await.unwrap_err();
        assert_eq!((refused.kind(), file.len().await.unwrap()), (ErrorKind::InvalidInput, 0));
        let clone = vfs.clone().open(Path::new("/file"), OpenMode::Read).await.unwrap();
        let (_, count) = clone.read_at(u64::MAX, BytesMut::zeroed(10)).await.unwrap();
        assert_eq!(count, 0);
    });
}

#[test]
fn a_directory_does_not_go_into_itself() {
    StdEnv.block_on(async {
        let vfs = MemoryVfs::new();
        vfs.create_dir(Path::new("/a")).await.unwrap();
        vfs.create_dir(Path::new("/a/b")).await.unwrap();
        vfs.create_new(Path::new("/a/b/c")).await.unwrap();
        vfs.create_new(Path::new("/ab")).await.unwrap();
        let refused = vfs.rename(Path::new("/a"), Path::new("/a/b/d")).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        vfs.rename(Path::new("/a"), Path::new("/z")).await.unwrap();
        assert!(vfs.open(Path::new("/z/b/c"), OpenMode::Read).await.is_ok(), "everything in it goes along");
        assert!(vfs.open(Path::new("/ab"), OpenMode::Read).await.is_ok(), "and nothing beside it");
    });
}
