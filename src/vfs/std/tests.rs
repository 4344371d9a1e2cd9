use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::io::Errno;

use super::{StdFile, StdVfs, rename_dir};
use crate::env::{Blocking, StdEnv};
use crate::vfs::{Entry, EntryKind, File, OpenMode, Vfs, hold_space};

impl From<std::fs::File> for StdFile {
    fn from(file: std::fs::File) -> Self {
        Self(file)
    }
}

impl StdFile {
    /// Has the next reads go to the device.
    pub(crate) fn forget_cache(&self) {
        self.0.sync_data().unwrap();
        rustix::fs::fadvise(&self.0, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }

    /// The greatest length that the file system lets a file have, if it has one below what a call can express. Leaves
    /// the file empty.
    pub(crate) fn greatest_length(&self) -> Option<u64> {
        let (mut below, mut beyond) = (0, i64::MAX as u64);
        if self.0.set_len(beyond).is_ok() {
            return None;
        }
        while beyond - below > 1 {
            let middle = below + (beyond - below) / 2;
            if self.0.set_len(middle).is_ok() { below = middle } else { beyond = middle }
        }
        self.0.set_len(0).unwrap();
        Some(below)
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn files_and_directories_are_private() {
    let dir = tempfile::tempdir().unwrap();
    StdEnv.block_on(async {
        StdVfs.create_dir(&dir.path().join("d")).await.unwrap();
        StdVfs.create_new(&dir.path().join("d/f")).await.unwrap();
    });
    assert_eq!(mode(&dir.path().join("d")), 0o700);
    assert_eq!(mode(&dir.path().join("d/f")), 0o600);
}

/// U1: what somebody planted under a file's name is not followed, not written through and not waited for.
#[test]
fn planted_names_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("target"), b"outside").unwrap();
    symlink(path("target"), path("link")).unwrap();
    symlink(path("missing"), path("dangling")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), fifo, rustix::fs::Mode::RWXU, 0).unwrap();

    StdEnv.block_on(async {
        for name in ["link", "dangling", "pipe", "socket"] {
            for mode in [OpenMode::Read, OpenMode::Write] {
                let error = StdVfs.open(&path(name), mode).await.unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{name}: {error}");
            }
            let error = StdVfs.create_new(&path(name)).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists, "{name}");
        }
        let entries = StdVfs.list(dir.path()).await.unwrap();
        let is = |name: &str, kind| Entry { name: name.to_owned(), kind };
        let other = EntryKind::Other;
        assert_eq!(
            entries,
            [
                is("dangling", other),
                is("link", other),
                is("pipe", other),
                is("socket", other),
                is("target", EntryKind::File)
            ]
        );
    });
    assert!(!path("missing").exists());
}

#[test]
fn a_second_path_meets_the_same_lock() {
    let dir = tempfile::tempdir().unwrap();
    let alias = dir.path().join("alias");
    std::fs::create_dir(dir.path().join("data")).unwrap();
    symlink(dir.path().join("data"), &alias).unwrap();
    StdEnv.block_on(async {
        let lock = StdVfs.lock(&dir.path().join("data")).await.unwrap();
        let error = StdVfs.lock(&alias).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        drop(lock);
        StdVfs.lock(&alias).await.unwrap();
    });
}

#[test]
fn allocated_space_is_taken_from_the_device() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("segment");
    StdEnv.block_on(async {
        let file = StdVfs.create_new(&path).await.unwrap();
        file.allocate(0).await.unwrap();
        if let Err(error) = file.allocate(1 << 20).await {
            assert_eq!(error.kind(), std::io::ErrorKind::Unsupported, "{error}");
            assert_eq!(file.len().await.unwrap(), 0, "and no hole that passes for space");
            hold_space(&file, 1 << 20).await.unwrap();
            file.sync_data().await.unwrap();
        }
        assert_eq!(file.len().await.unwrap(), 1 << 20);
        assert!(file.allocate(u64::MAX).await.is_err());
    });
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!(metadata.len(), 1 << 20);
    // 512-byte blocks.
    assert!(metadata.blocks() >= 2048);
}

/// NFS, 9p and others know no rename that replaces nothing: a log could never be made there.
#[test]
fn a_directory_is_renamed_where_the_file_system_knows_no_flag() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["a", "taken"] {
        std::fs::create_dir(path(name)).unwrap();
    }
    std::fs::write(path("file"), b"").unwrap();
    for refusal in [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP] {
        let rename = |from: &str, to: &str| rename_dir(&path(from), &path(to), |_, _| Err(refusal));
        for taken in ["taken", "file"] {
            let kind = rename("a", taken).unwrap_err().kind();
            assert_eq!(kind, std::io::ErrorKind::AlreadyExists, "{taken}");
        }
        assert!(path("a").is_dir() && path("taken").is_dir());
        rename("a", "b").unwrap();
        assert!(!path("a").exists() && path("b").is_dir());
        assert_eq!(rename("b", "b/inside").unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        rename("b", "a").unwrap();
    }
    // Every other refusal is final.
    let refused = rename_dir(&path("a"), &path("b"), |_, _| Err(Errno::XDEV)).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::CrossesDevices);
    assert!(path("a").is_dir());
}
