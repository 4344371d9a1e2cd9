//! Cases with several operations in flight, and with dropped futures.

use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};

use super::{Case, join};
use crate::vfs::{File, OpenMode, Vfs, read_full_at, retry, write_all_at};

/// Bytes of each of the writes that are in flight together.
const PIECE_BYTES: usize = 4096;

/// Operations that are begun and not polled again for a while: more than any backend has in flight.
const LEFT_ALONE: usize = 200;

pub(super) async fn check<V: Vfs>(vfs: &V, root: &Path) {
    writes_in_flight_together(vfs, root).await;
    reads_and_syncs_in_flight_together(vfs, root).await;
    operations_left_alone_hold_up_no_other(vfs, root).await;
    names_in_flight_together(vfs, root).await;
    dropped_futures_harm_nothing(vfs, root).await;
}

fn piece(index: usize) -> Bytes {
    Bytes::from(vec![u8::try_from(index).unwrap_or(0) + 1; PIECE_BYTES])
}

async fn writes_in_flight_together<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "writes_in_flight_together").await;
    let file = case.file("file", b"").await;
    let writes = (0..16).map(|index| {
        let file = &file;
        // Back to front, so that most extend the file out of order.
        let place = 15 - index;
        async move { write_all_at(file, (place * PIECE_BYTES) as u64, piece(place)).await }
    });
    for result in join(writes.collect()).await {
        case.ok("write_at", result);
    }
    case.ok("sync_data", retry(|| file.sync_data()).await);
    let content = case.read(&file, 0, 17 * PIECE_BYTES).await;
    assert_eq!(content, (0..16).flat_map(piece).collect::<Vec<u8>>());
}

async fn reads_and_syncs_in_flight_together<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "reads_and_syncs_in_flight_together").await;
    let file = case.file("file", &(0..16).flat_map(piece).collect::<Vec<u8>>()).await;
    let operations = (0..16).map(|index| {
        let file = &file;
        async move {
            if index % 4 == 3 {
                retry(|| file.sync_data()).await?;
            }
            let buffer = BytesMut::zeroed(PIECE_BYTES);
            read_full_at(file, (index * PIECE_BYTES) as u64, buffer).await
        }
    });
    for (index, result) in join(operations.collect()).await.into_iter().enumerate() {
        let (buffer, count) = case.ok("read_at", result);
        assert_eq!((&buffer[..], count), (&piece(index)[..], PIECE_BYTES), "each read has its own bytes");
    }
}

/// Promise 7: many are begun, and while nobody polls them others are awaited; then they are.
async fn operations_left_alone_hold_up_no_other<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "operations_left_alone_hold_up_no_other").await;
    let (file, other) = (case.file("file", b"").await, case.file("other", b"").await);
    let mut syncs: Vec<_> = (0..LEFT_ALONE)
        .map(|_| {
            let file = &file;
            Box::pin(async move { retry(|| file.sync_data()).await })
        })
        .collect();
    let mut done: Vec<_> = (0..LEFT_ALONE).map(|_| None).collect();
    poll_fn(|context| {
        for (sync, done) in syncs.iter_mut().zip(&mut done) {
            if let Poll::Ready(result) = sync.as_mut().poll(context) {
                *done = Some(result);
            }
        }
        Poll::Ready(())
    })
    .await;
    case.write(&other, 0, b"not held up").await;
    case.ok("sync_data", retry(|| other.sync_data()).await);
    assert_eq!(case.read(&other, 0, 11).await, *b"not held up");
    for (sync, done) in syncs.into_iter().zip(done) {
        case.ok("sync_data", if let Some(result) = done { result } else { sync.await });
    }
}

/// Of several that create one name, exactly one learns that it was first.
async fn names_in_flight_together<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "names_in_flight_together").await;
    let name = case.path("name");
    for index in 0..8_u8 {
        case.file(&format!("{index}.tmp"), &[index]).await;
    }
    let links = (0..8).map(|index| {
        let (from, to) = (case.path(&format!("{index}.tmp")), &name);
        async move { retry(|| vfs.link(&from, to)).await }
    });
    let results = join(links.collect()).await;
    let winners: Vec<usize> = (0..8).filter(|&index| results[index].is_ok()).collect();
    assert_eq!(winners.len(), 1, "exactly one link wins");
    for result in results.into_iter().filter(Result::is_err) {
        case.fails("link", std::io::ErrorKind::AlreadyExists, result);
    }
    let file = case.ok("open", retry(|| vfs.open(&name, OpenMode::Read)).await);
    assert_eq!(case.read(&file, 0, 10).await, [u8::try_from(winners[0]).unwrap_or(u8::MAX)]);
}

/// Dropping a future does not undo what it has begun: it may happen or not, and later calls work. The pieces do not
/// overlap, since a dropped write may still be in flight.
async fn dropped_futures_harm_nothing<V: Vfs>(vfs: &V, root: &Path) {
    let case = Case::new(vfs, root, "dropped_futures_harm_nothing").await;
    let old: Vec<u8> = (0..8).flat_map(|_| piece(0)).collect();
    let file = case.file("file", &old).await;
    for place in 1..8 {
        let mut write = pin!(file.write_at((place * PIECE_BYTES) as u64, piece(place)));
        let mut read = pin!(file.read_at(0, BytesMut::zeroed(PIECE_BYTES)));
        poll_fn(|context| {
            let _ = write.as_mut().poll(context);
            let _ = read.as_mut().poll(context);
            Poll::Ready(())
        })
        .await;
    }
    case.write(&file, 0, b"after").await;
    case.ok("sync_data", retry(|| file.sync_data()).await);
    let content = case.read(&file, 0, 9 * PIECE_BYTES).await;
    assert_eq!(content.len(), old.len());
    assert_eq!(content[..5], b"after"[..]);
    for (place, found) in content.chunks(PIECE_BYTES).enumerate().skip(1) {
        let (old, new) = (piece(0)[0], piece(place)[0]);
        assert!(found.iter().all(|&byte| byte == old || byte == new), "bytes that nobody wrote");
    }
}
