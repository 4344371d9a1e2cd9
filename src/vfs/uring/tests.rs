#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests of the real system")]

use std::cell::Cell;
use std::fs::File as SysFile;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use bytes::{Bytes, BytesMut};
use io_uring::IoUring;
use rustix::fs::OFlags;

use super::ring::IN_FLIGHT_MAX;
use super::shared_sync::SharedSync;
use super::{Durability, Handle, Ring, current, probe, thread as of_thread};
use crate::env::{Blocking, Clock, StdClock, StdEnv};
use crate::vfs::StdFile;

const MS: Duration = Duration::from_millis(1);

const ALL: [Durability; 3] = [Durability::ByFlag, Durability::ByLink, Durability::Shared];

const PIECE_BYTES: usize = 4096;

/// Runs `test` where rings exist.
fn with_ring(test: impl AsyncFnOnce(Rc<Ring>, &Path)) {
    if let Err(error) = probe() {
        return println!("NOT RUN: {error}");
    }
    let dir = tempfile::tempdir().unwrap();
    StdEnv.block_on(async { test(current().unwrap(), dir.path()).await });
}

fn create(path: &Path, bytes: usize) -> Arc<Handle> {
    std::fs::write(path, vec![0xAA; bytes]).unwrap();
    open(path, OFlags::RDWR)
}

fn open(path: &Path, flags: OFlags) -> Arc<Handle> {
    Handle::new(StdFile::open_with(path, flags).unwrap())
}

/// The two ends of a pipe: a read that is in flight until somebody writes.
fn pipe() -> (Arc<Handle>, OwnedFd) {
    let (from, to) = std::io::pipe().unwrap();
    (Handle::new(StdFile::from(SysFile::from(OwnedFd::from(from)))), to.into())
}

async fn poll_once<T>(mut future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

async fn join<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut slots: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        for (future, result) in slots.iter_mut().filter(|(_, result)| result.is_none()) {
            if let Poll::Ready(value) = future.as_mut().poll(context) {
                *result = Some(value);
            }
        }
        if slots.iter().all(|(_, result)| result.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    slots.into_iter().map(|(_, result)| result.unwrap()).collect()
}

fn piece(index: usize) -> Vec<u8> {
    vec![u8::try_from(index % 251).unwrap(); PIECE_BYTES]
}

/// More operations than slots: those that find none wait, and all are done.
async fn many_writes_and_reads(ring: Rc<Ring>, dir: &Path) {
    let count = 4 * IN_FLIGHT_MAX as usize;
    let handle = create(&dir.join("file"), count * PIECE_BYTES);
    for durable in [None].into_iter().chain(ALL.map(Some)) {
        let writes = (0..count).map(|index| {
            let (ring, handle) = (Rc::clone(&ring), &handle);
            let (offset, data) = ((index * PIECE_BYTES) as u64, Bytes::from(piece(index)));
            async move {
                match durable {
                    None => ring.write(handle, offset, data).await,
                    Some(durable) => ring.write_durably(handle, offset, data, durable).await,
                }
            }
        });
        assert!(join(writes).await.into_iter().all(|result| result.unwrap() == PIECE_BYTES));
        let reads = (0..count).map(|index| {
            let (ring, handle) = (Rc::clone(&ring), &handle);
            async move { ring.read(handle, (index * PIECE_BYTES) as u64, BytesMut::zeroed(PIECE_BYTES)).await }
        });
        for (index, read) in join(reads).await.into_iter().enumerate() {
            let (buffer, bytes) = read.unwrap();
            assert_eq!((&buffer[..], bytes), (&piece(index)[..], PIECE_BYTES));
        }
    }
    assert!(ring.is_idle());
}

#[test]
fn operations_beyond_the_slots_wait_their_turn() {
    with_ring(many_writes_and_reads);
}

/// R4: a completion queue that is far too small loses nothing.
#[test]
fn completions_that_overflow_are_fetched() {
    with_ring(async |_, dir| {
        let small = IoUring::builder().setup_cqsize(4).build(4).unwrap();
        of_thread::replace(Ring::over(small, IN_FLIGHT_MAX));
        many_writes_and_reads(current().unwrap(), dir).await;
    });
}

/// R3: nothing of a write lands after its future is gone.
#[test]
fn a_dropped_write_has_landed() {
    with_ring(async |ring, dir| {
        let bytes = 1 << 20;
        let path = dir.join("file");
        let handle = create(&path, bytes);
        for (round, durable) in [None, Some(Durability::ByFlag), Some(Durability::ByLink)].iter().enumerate()
        {
            let data = Bytes::from(vec![u8::try_from(round).unwrap(); bytes]);
            {
                let durably = durable.unwrap_or(Durability::ByFlag);
                let mut write = pin!(async {
                    match durable {
                        None => Rc::clone(&ring).write(&handle, 0, data.clone()).await,
                        Some(_) => Rc::clone(&ring).write_durably(&handle, 0, data.clone(), durably).await,
                    }
                });
                let _ = poll_once(write.as_mut()).await;
            }
            assert!(ring.is_idle(), "a write in flight outlived its future");
            assert_eq!(std::fs::read(&path).unwrap(), data);
        }
        let mut sync = Box::pin(Rc::clone(&ring).sync(&handle));
        let _ = poll_once(sync.as_mut()).await;
        drop(sync);
        assert!(ring.is_idle());
    });
}

/// R2: the memory of a read that nobody waits for is the ring's until the kernel is done with it.
#[test]
fn abandoned_reads_free_their_slots() {
    with_ring(async |ring, dir| {
        let handle = create(&dir.join("file"), 64 * PIECE_BYTES);
        for round in 0..20 * IN_FLIGHT_MAX as usize {
            // Cold now and then, so that the read is in flight when it is given up.
            if round % 8 == 0 {
                handle.file.forget_cache();
            }
            let offset = (round % 64 * PIECE_BYTES) as u64;
            let mut read = Box::pin(Rc::clone(&ring).read(&handle, offset, BytesMut::zeroed(PIECE_BYTES)));
            let _ = poll_once(read.as_mut()).await;
        }
        let (buffer, bytes) = Rc::clone(&ring).read(&handle, 0, BytesMut::zeroed(10)).await.unwrap();
        assert_eq!((&buffer[..], bytes), (&[0xAA; 10][..], 10));
    });
}

/// Bytes that tell when their memory is given back.
struct Watched(Vec<u8>, Arc<AtomicBool>);

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.1.store(true, Ordering::SeqCst);
    }
}

/// R2: a forgotten future does not take the memory along that the kernel is still to read.
#[test]
fn memory_in_flight_stays_with_the_ring() {
    with_ring(async |ring, _| {
        let (from, to) = std::io::pipe().unwrap();
        let (room, bytes) = (64 << 10, 1 << 20);
        rustix::io::write(&to, &vec![0; room]).unwrap();
        let handle = Handle::new(StdFile::from(SysFile::from(OwnedFd::from(to))));
        let freed = Arc::new(AtomicBool::new(false));
        let data = Bytes::from_owner(Watched(vec![0xCC; bytes], Arc::clone(&freed)));
        let write = Rc::clone(&ring).write(&handle, 0, data);
        let mut write = std::mem::ManuallyDrop::new(Box::pin(write));
        assert!(poll_once(write.as_mut()).await.is_pending(), "the pipe was full");
        assert!(!freed.load(Ordering::SeqCst));

        // Somebody else makes room, and finds what was there when the write began.
        let reader = thread::spawn(move || {
            let mut found = vec![0; room + PIECE_BYTES];
            let mut done = 0;
            while done < found.len() {
                done += rustix::io::read(&from, &mut found[done..]).unwrap();
            }
            found.split_off(room)
        });
        while !reader.is_finished() {
            StdClock.sleep(MS).await;
        }
        assert_eq!(reader.join().unwrap(), vec![0xCC; PIECE_BYTES]);
        assert!(!freed.load(Ordering::SeqCst), "only its completion gives it back");
    });
}

/// A thread ends with operations in flight whose futures were forgotten: their memory outlives them.
#[test]
fn a_ring_ends_after_its_operations() {
    if probe().is_err() {
        return println!("NOT RUN");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let bytes = 1 << 20;
    let handle = create(&path, bytes);
    let in_thread = Arc::clone(&handle);
    let ended = thread::spawn(move || {
        StdEnv
            .block_on(async {
                let ring = current().unwrap();
                in_thread.file.forget_cache();
                for index in 0..8 {
                    let at = index * PIECE_BYTES as u64;
                    let read = Rc::clone(&ring).read(&in_thread, at, BytesMut::zeroed(PIECE_BYTES));
                    let mut read = std::mem::ManuallyDrop::new(Box::pin(read));
                    let _ = poll_once(read.as_mut()).await;
                }
                let write = Rc::clone(&ring).write(&in_thread, 0, Bytes::from(vec![0xBB; bytes]));
                let mut write = std::mem::ManuallyDrop::new(Box::pin(write));
                let _ = poll_once(write.as_mut()).await;
                // Forgotten futures keep their ring for ever; nothing else of it is leaked in earnest.
                Rc::downgrade(&ring)
            })
            .strong_count()
    });
    assert!(ended.join().unwrap() >= 1);
}

#[test]
fn another_thread_ends_a_wait_in_the_ring() {
    with_ring(async |ring, _| {
        let (handle, to) = pipe();
        let mut read = Box::pin(Rc::clone(&ring).read(&handle, 0, BytesMut::zeroed(1)));
        assert!(poll_once(read.as_mut()).await.is_pending());

        // By a waker, again and again.
        for _ in 0..20 {
            let flag = Arc::new((AtomicBool::new(false), AtomicWaker::new()));
            let setter = Arc::clone(&flag);
            let thread = thread::spawn(move || {
                thread::sleep(MS);
                setter.0.store(true, Ordering::SeqCst);
                setter.1.wake();
            });
            poll_fn(|context| {
                flag.1.register(context.waker());
                if flag.0.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            thread.join().unwrap();
        }
        // By time.
        let before = Instant::now();
        StdClock.sleep(20 * MS).await;
        assert!(before.elapsed() >= 20 * MS);
        // By the completion itself.
        assert!(poll_once(read.as_mut()).await.is_pending(), "nobody wrote");
        let writer = thread::spawn(move || {
            thread::sleep(5 * MS);
            rustix::io::write(&to, b"x").unwrap();
        });
        let (buffer, count) = read.await.unwrap();
        assert_eq!((&buffer[..], count), (&b"x"[..], 1));
        writer.join().unwrap();
    });
}

/// R5: who does not wait in the ring gets none, and what was begun elsewhere is waited for in the poll.
#[test]
fn a_thread_that_nobody_drives_waits_in_the_poll() {
    if probe().is_err() {
        return println!("NOT RUN");
    }
    let dir = tempfile::tempdir().unwrap();
    let handle = create(&dir.path().join("file"), PIECE_BYTES);
    assert!(current().is_none());
    let ring = StdEnv.block_on(async { current().unwrap() });
    let mut write =
        pin!(Rc::clone(&ring).write_durably(&handle, 0, Bytes::from(piece(1)), Durability::ByLink));
    let mut context = Context::from_waker(Waker::noop());
    match write.as_mut().poll(&mut context) {
        Poll::Ready(result) => assert_eq!(result.unwrap(), PIECE_BYTES),
        Poll::Pending => panic!("nobody would wake it"),
    }
}

/// A short write breaks the link to its sync; both forms say what was written, and promise nothing about it.
#[test]
fn short_writes_are_short_counts() {
    with_ring(async |ring, dir| {
        let handle = create(&dir.join("file"), 0);
        let Some(end) = handle.file.greatest_length() else {
            return println!("NOT RUN: this file system has no end");
        };
        for durable in ALL {
            let data = Bytes::from(vec![1; 2 * PIECE_BYTES]);
            let from = end - PIECE_BYTES as u64;
            let short = Rc::clone(&ring).write_durably(&handle, from, data.clone(), durable).await;
            assert_eq!(short.unwrap(), PIECE_BYTES);
            let beyond = Rc::clone(&ring).write_durably(&handle, end, data, durable).await.unwrap_err();
            assert_eq!(beyond.kind(), std::io::ErrorKind::FileTooLarge);
        }
    });
}

#[test]
fn errors_are_those_of_the_write() {
    with_ring(async |ring, dir| {
        create(&dir.join("file"), PIECE_BYTES);
        let reader = open(&dir.join("file"), OFlags::RDONLY);
        for durable in ALL {
            let data = Bytes::from(piece(1));
            let error = Rc::clone(&ring).write_durably(&reader, 0, data, durable).await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EBADF), "{durable:?}");
        }
        let error = Rc::clone(&ring).write(&reader, 0, Bytes::from_static(b"x")).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        let read = Rc::clone(&ring).read(&reader, u64::MAX / 2 + 1, BytesMut::zeroed(1)).await;
        assert_eq!(read.unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert!(ring.is_idle());
    });
}

/// Places in the table of files come back, also from other threads; without one a file works as well.
#[test]
fn registered_files_are_given_back() {
    with_ring(async |ring, dir| {
        let before = ring.places_free();
        let write = async |handle: &Arc<Handle>| {
            let data = Bytes::from(piece(7));
            let count = Rc::clone(&ring).write_durably(handle, 0, data, Durability::ByFlag).await;
            assert_eq!(count.unwrap(), PIECE_BYTES);
        };
        let mut handles = Vec::new();
        for index in 0..2 * before {
            let handle = create(&dir.join(index.to_string()), 0);
            write(&handle).await;
            handles.push(handle);
        }
        assert_eq!(ring.places_free(), 0);
        thread::spawn(move || drop(handles)).join().unwrap();
        let handle = create(&dir.join("last"), 0);
        write(&handle).await;
        assert_eq!(ring.places_free(), before - 1);
        drop(handle);
        write(&create(&dir.join("more"), 0)).await;
        assert_eq!(ring.places_free(), before - 1);
    });
}

#[test]
fn one_sync_covers_all_that_completed_before() {
    let syncs = SharedSync::default();
    let count = Cell::new(0);
    let sync = || {
        count.set(count.get() + 1);
        Ok(())
    };
    let (first, second) = (syncs.complete(), syncs.complete());
    syncs.cover(second, sync).unwrap();
    syncs.cover(first, sync).unwrap();
    assert_eq!(count.get(), 1, "the sync of the second began after the first had completed");
    let third = syncs.complete();
    syncs.cover(third, sync).unwrap();
    assert_eq!(count.get(), 2);
}

/// What was covered stays durable; nothing else ever is.
#[test]
fn no_shared_sync_is_believed_after_a_failed_one() {
    let syncs = SharedSync::default();
    let (covered, failed, shared) = (syncs.complete(), syncs.complete(), syncs.complete());
    let early = SharedSync::default();
    early.cover(early.complete(), || Ok(())).unwrap();
    let error = syncs.cover(failed, || Err(std::io::Error::from_raw_os_error(libc::EIO))).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    for ticket in [covered, failed, shared, syncs.complete()] {
        let error = syncs.cover(ticket, || panic!("a second sync")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
    }
    early.cover(1, || panic!("it was covered")).unwrap();
}
