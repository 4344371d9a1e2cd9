#![expect(clippy::disallowed_methods, reason = "tests of the real system")]

use bytes::{Bytes, BytesMut};

use super::SystemVfs;
use super::durable::{Alignment, Form};
use crate::env::{Blocking, StdEnv};
use crate::options::{Backend, DurableWrite};
use crate::vfs::{File, OpenMode, Vfs, read_exact_at, write_all_and_sync, write_all_at};

const FORMS: [Form; 5] = [Form::Cached, Form::CachedDsync, Form::Direct, Form::DirectDsync, Form::Fitting];

const UNIT: usize = 4096;

/// Bytes at an address that is a multiple of 4,096, plus `shift`.
fn aligned(shift: usize, bytes: usize, fill: u8) -> Bytes {
    let mut memory = BytesMut::zeroed(bytes + shift + UNIT);
    let start = memory.as_ptr().align_offset(UNIT) + shift;
    let mut data = memory.split_off(start);
    data.truncate(bytes);
    data.fill(fill);
    data.freeze()
}

#[test]
fn every_form_has_one_through_the_cache() {
    for form in FORMS {
        assert!(!form.cached().is_direct());
        assert_eq!(form.cached().cached(), form.cached());
        assert!(form.is_direct() || form.cached() == form, "{form:?}");
    }
    let all = [
        DurableWrite::Cached,
        DurableWrite::CachedDsync,
        DurableWrite::Direct,
        DurableWrite::DirectDsync,
        DurableWrite::Auto,
    ];
    assert_eq!(all.map(Form::from), FORMS);
}

#[test]
fn direct_writes_are_whole_units() {
    let alignment = Alignment { offset: 512, memory: 4 };
    for (offset, bytes, allowed) in [
        (0, 512, true),
        (512, 4096, true),
        (0, 0, false),
        (1, 512, false),
        (512, 511, false),
        (256, 256, false),
    ] {
        assert_eq!(alignment.allows(offset, bytes), allowed, "{bytes} bytes at {offset}");
    }
    let data = aligned(0, 8, 1);
    assert!(alignment.allows_memory(data.as_ptr()) && alignment.allows_memory(data[4..].as_ptr()));
    assert!(!alignment.allows_memory(data[1..].as_ptr()));
}

/// S2: what direct I/O does not take goes through the cache, and both see each other's bytes.
#[test]
fn direct_and_cached_writes_are_one_file() {
    let dir = tempfile::tempdir().unwrap();
    for (name, form) in [
        ("auto", DurableWrite::Auto),
        ("cached", DurableWrite::Cached),
        ("cached_dsync", DurableWrite::CachedDsync),
        ("direct", DurableWrite::Direct),
        ("direct_dsync", DurableWrite::DirectDsync),
    ] {
        for (backend, reopened) in [(Backend::Std, false), (Backend::Std, true), (Backend::Uring, true)] {
            let Ok(vfs) = SystemVfs::new(backend, form) else {
                println!("NOT RUN: {backend:?}");
                continue;
            };
            let vfs = vfs.pipelined_from(0);
            let path = dir.path().join(format!("{name}-{backend:?}-{reopened}"));
            let content = StdEnv.block_on(async {
                let mut file = vfs.create_new(&path).await.unwrap();
                if reopened {
                    file = vfs.open(&path, OpenMode::Write).await.unwrap();
                }
                write_all_at(&file, 0, aligned(0, 8 * UNIT, 1)).await.unwrap();
                // Aligned, large, unaligned in memory, in length, in place, and next to each other.
                for (offset, shift, bytes, fill) in [
                    (0, 0, UNIT, 2),
                    (UNIT, 3, UNIT, 3),
                    (2 * UNIT, 0, 100, 4),
                    (3 * UNIT + 100, 0, 2 * UNIT, 5),
                    (6 * UNIT, 0, 20 * UNIT, 6),
                ] {
                    let data = aligned(shift, bytes, fill);
                    write_all_and_sync(&file, offset as u64, data).await.unwrap();
                }
                let (buffer, count) = file.read_at(0, BytesMut::zeroed(30 * UNIT)).await.unwrap();
                buffer[..count].to_vec()
            });
            let mut expected = vec![1; 26 * UNIT];
            expected[..UNIT].fill(2);
            expected[UNIT..2 * UNIT].fill(3);
            expected[2 * UNIT..2 * UNIT + 100].fill(4);
            expected[3 * UNIT + 100..5 * UNIT + 100].fill(5);
            expected[6 * UNIT..].fill(6);
            assert_eq!(content, expected, "{name} on {backend:?}");
            assert_eq!(std::fs::read(&path).unwrap(), expected);
        }
    }
}

/// S3, S4: large writes and reads go past the cache where they can, and everybody sees the same bytes.
#[test]
fn large_writes_and_reads_agree_with_small_ones() {
    const LARGE: usize = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    for (backend, name) in [(Backend::Std, "std"), (Backend::Auto, "auto")] {
        let path = dir.path().join(name);
        let vfs = SystemVfs::new(backend, DurableWrite::Auto).unwrap();
        let content = StdEnv.block_on(async {
            let file = vfs.create_new(&path).await.unwrap();
            write_all_at(&file, 0, aligned(0, LARGE, 1)).await.unwrap();
            write_all_at(&file, LARGE as u64, aligned(8, LARGE, 2)).await.unwrap();
            write_all_at(&file, 2 * LARGE as u64, aligned(0, LARGE, 3)).await.unwrap();
            write_all_at(&file, 3 * LARGE as u64, aligned(0, 100, 4)).await.unwrap();
            file.sync_data().await.unwrap();
            let file = vfs.open(&path, OpenMode::Read).await.unwrap();
            let mut content = Vec::new();
            for (offset, bytes) in [(0, LARGE), (LARGE, LARGE), (2 * LARGE, LARGE), (3 * LARGE, 100)] {
                let memory = BytesMut::from(aligned(0, bytes, 0));
                let read = read_exact_at(&file, offset as u64, memory).await.unwrap();
                content.extend_from_slice(&read);
            }
            content
        });
        let expected: Vec<u8> = [(1, LARGE), (2, LARGE), (3, LARGE), (4, 100)]
            .iter()
            .flat_map(|&(fill, n)| vec![fill; n])
            .collect();
        assert!(content == expected, "{name}");
        assert!(std::fs::read(&path).unwrap() == expected, "{name}");
    }
}

/// The second look at a path must find the same file: another one may have taken its name.
#[test]
#[cfg(target_os = "linux")]
fn a_file_of_the_same_name_is_not_the_same_file() {
    use super::machine::open_direct;
    use crate::vfs::StdVfs;

    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    StdEnv.block_on(async {
        let first = StdVfs.create_new(&old).await.unwrap();
        StdVfs.create_new(&new).await.unwrap();
        assert!(open_direct(&new, OpenMode::Write, &first).is_none());
        assert!(open_direct(&dir.path().join("missing"), OpenMode::Write, &first).is_none());
        assert!(open_direct(&old, OpenMode::Write, &first).is_some() || on_tmpfs(&old));
    });
}

/// Whether nothing there can be opened past the cache.
#[cfg(target_os = "linux")]
fn on_tmpfs(path: &std::path::Path) -> bool {
    use rustix::fs::OFlags;
    crate::vfs::StdFile::open_with(path, OFlags::RDWR | OFlags::DIRECT).is_err()
}

#[test]
fn the_choice_of_a_backend_is_kept() {
    assert!(!SystemVfs::new(Backend::Std, DurableWrite::Auto).unwrap().uses_uring());
    let auto = SystemVfs::new(Backend::Auto, DurableWrite::Auto).unwrap();
    match SystemVfs::new(Backend::Uring, DurableWrite::Auto) {
        Ok(vfs) => assert!(vfs.uses_uring() && auto.uses_uring()),
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
            assert!(!auto.uses_uring());
        }
    }
}
