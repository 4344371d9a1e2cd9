//! Cases about the bytes of one file.

use std::path::Path;

use bytes::{Bytes, BytesMut};

use super::{Case, len};
use crate::vfs::{File, OpenMode, Vfs, allocate, retry, write_all_and_sync};

pub(super) async fn check<V: Vfs>(vfs: &V, root: &Path) {
    reads_end_with_the_file(vfs, root).await;
    counts_are_honest(vfs, root).await;
    gaps_read_as_zero(vfs, root).await;
    later_writes_win(vfs, root).await;
    lengths_change(vfs, root).await;
    writes_with_sync(vfs, root).await;
    handles_share_the_file(vfs, root).await;
    read_mode_writes_nothing(vfs, root).await;
    files_describe_themselves(vfs, root).await;
}

/// Bytes that differ from their neighbours and from those of another `salt`.
fn pattern(salt: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| u8::try_from(i % 251).unwrap_or(0).wrapping_mul(7) ^ salt).collect()
}

async fn reads_end_with_the_file<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "reads_end_with_the_file").await;
    let file = case.file("file", b"").await;
    assert_eq!(case.read(&file, 0, 10).await, b"", "an empty file");
    let content = pattern(1, 1000);
    case.write(&file, 0, &content).await;
    assert_eq!(case.read(&file, 0, 1000).await, content, "the whole");
    assert_eq!(case.read(&file, 0, 5000).await, content, "more than the whole");
    assert_eq!(case.read(&file, 990, 100).await, content[990..], "across the end");
    assert_eq!(case.read(&file, 1000, 100).await, b"", "at the end");
    assert_eq!(case.read(&file, 1 << 40, 100).await, b"", "far behind the end");
    assert_eq!(case.read(&file, 3, 0).await, b"", "nothing");
}

async fn counts_are_honest<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "counts_are_honest").await;
    let file = case.file("file", b"").await;
    let content = pattern(2, 9000);
    let data = Bytes::from(content.clone());
    let count = case.ok("write_at", retry(|| file.write_at(0, data.clone())).await);
    assert!((1..=9000).contains(&count), "write_at took {count} bytes of 9000");
    let length = case.ok("len", len(&file).await);
    assert_eq!(length, count as u64, "only what was counted is there");

    case.write(&file, 0, &content).await;
    let (buffer, count) = case.ok("read_at", retry(|| file.read_at(0, BytesMut::zeroed(9000))).await);
    assert!((1..=9000).contains(&count), "read_at gave {count} bytes of 9000");
    assert_eq!(buffer.len(), 9000, "the buffer comes back whole");
    assert_eq!(buffer[..count], content[..count]);
}

async fn gaps_read_as_zero<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "gaps_read_as_zero").await;
    let file = case.file("file", b"start").await;
    case.write(&file, 10_000, b"end").await;
    assert_eq!(case.ok("len", len(&file).await), 10_003);
    let mut expected = vec![0; 10_003];
    expected[..5].copy_from_slice(b"start");
    expected[10_000..].copy_from_slice(b"end");
    assert_eq!(case.read(&file, 0, 20_000).await, expected);
}

async fn later_writes_win<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "later_writes_win").await;
    let file = case.file("file", &pattern(3, 9000)).await;
    let mut expected = pattern(3, 9000);
    // Across sectors and blocks, at odd places, and across the end.
    for (salt, offset, bytes) in [(4, 100, 1), (5, 500, 30), (6, 511, 4000), (7, 4096, 512), (8, 8999, 600)] {
        let piece = pattern(salt, bytes);
        case.write(&file, offset as u64, &piece).await;
        expected.resize(expected.len().max(offset + bytes), 0);
        expected[offset..offset + bytes].copy_from_slice(&piece);
    }
    assert_eq!(case.read(&file, 0, 20_000).await, expected);
}

async fn lengths_change<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "lengths_change").await;
    let content = pattern(9, 6000);
    let file = case.file("file", &content).await;
    case.ok("set_len", retry(|| file.set_len(100)).await);
    assert_eq!(case.ok("len", len(&file).await), 100);
    case.ok("set_len", retry(|| file.set_len(5000)).await);
    let mut expected = content[..100].to_vec();
    expected.resize(5000, 0);
    assert_eq!(case.read(&file, 0, 9000).await, expected, "cut bytes do not come back");

    let has_means = case.ok("allocate", allocate(&file, 3000).await);
    assert_eq!(case.ok("len", len(&file).await), 5000, "allocate never shortens");
    assert_eq!(case.ok("allocate", allocate(&file, 20_000).await), has_means);
    let length = if has_means { 20_000 } else { 5000 };
    assert_eq!(case.ok("len", len(&file).await), length, "allocate extends, or does nothing");
    if !has_means {
        case.ok("set_len", retry(|| file.set_len(20_000)).await);
    }
    expected.resize(20_000, 0);
    assert_eq!(case.read(&file, 0, 30_000).await, expected, "allocated bytes read as zero");
    case.write(&file, 19_000, b"inside").await;
    assert_eq!(case.ok("len", len(&file).await), 20_000);
    case.ok("set_len", retry(|| file.set_len(0)).await);
    assert_eq!(case.read(&file, 0, 10).await, b"");
}

async fn writes_with_sync<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "writes_with_sync").await;
    let file = case.file("file", b"").await;
    let content = pattern(10, 8192);
    let data = Bytes::from(content.clone());
    let count = case.ok("write_at_and_sync", retry(|| file.write_at_and_sync(0, data.clone())).await);
    assert!((1..=8192).contains(&count), "write_at_and_sync took {count} bytes of 8192");
    assert_eq!(case.read(&file, 0, 9000).await, content[..count]);
    case.ok("write_at_and_sync", write_all_and_sync(&file, 4096, data.clone()).await);
    assert_eq!(case.read(&file, 4096, 9000).await, content);
    case.ok("sync_data", retry(|| file.sync_data()).await);
    case.ok("sync_data with nothing to do", retry(|| file.sync_data()).await);
}

async fn handles_share_the_file<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "handles_share_the_file").await;
    let first = case.file("file", b"one").await;
    let second =
        case.ok("open", retry(|| async { vfs.open(&case.path("file"), OpenMode::Write).await }).await);
    let reader =
        case.ok("open", retry(|| async { vfs.clone().open(&case.path("file"), OpenMode::Read).await }).await);
    case.write(&second, 3, b", two").await;
    assert_eq!(case.read(&first, 0, 100).await, b"one, two");
    drop(first);
    drop(second);
    assert_eq!(case.read(&reader, 0, 100).await, b"one, two");
}

async fn read_mode_writes_nothing<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "read_mode_writes_nothing").await;
    case.file("file", b"content").await;
    let reader =
        case.ok("open", retry(|| async { vfs.open(&case.path("file"), OpenMode::Read).await }).await);
    let data = Bytes::from_static(b"x");
    assert!(retry(|| reader.write_at(0, data.clone())).await.is_err(), "write_at");
    assert!(retry(|| reader.write_at_and_sync(0, data.clone())).await.is_err(), "write_at_and_sync");
    assert!(retry(|| reader.set_len(0)).await.is_err(), "set_len");
    assert!(retry(|| reader.allocate(100)).await.is_err(), "allocate");
    assert_eq!(case.read(&reader, 0, 100).await, b"content");
}

async fn files_describe_themselves<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "files_describe_themselves").await;
    let file = case.file("file", b"").await;
    assert!(file.depth_max() >= 1);
    assert!([512, 4096].contains(&file.write_unit()), "{}", file.write_unit());
}
