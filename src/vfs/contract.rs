//! One suite of cases that every backend passes: what the traits of [`crate::vfs`] promise, as far as a running
//! program can see it.
//!
//! Call [`check`] with a backend of your own, wrappers included. What becomes of bytes and names in a *crash* cannot
//! be seen by a running program: promises 1, 3 and 5 are the simulator's to check, on a disk that crashes.

mod data;
mod flight;
mod names;

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};

use super::{File, Vfs, read_full_at, retry, write_all_at};

/// Runs every case on `vfs`, each in a directory of its own below `root`, an existing and empty directory.
///
/// # Panics
///
/// When the backend breaks a promise; the message says which.
pub async fn check<V: Vfs>(vfs: V, root: &Path) {
    names::check(&vfs, root).await;
    data::check(&vfs, root).await;
    flight::check(&vfs, root).await;
}

/// The directory of one case.
struct Case<'a, V> {
    vfs: &'a V,
    name: &'static str,
    dir: PathBuf,
}

impl<'a, V: Vfs> Case<'a, V> {
    async fn new(vfs: &'a V, root: &Path, name: &'static str) -> Self {
        let dir = root.join(name);
        let case = Self { vfs, name, dir };
        case.ok("create_dir", retry(|| vfs.create_dir(&case.dir)).await);
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The value of a call that may not fail here.
    #[track_caller]
    fn ok<T>(&self, call: &str, result: io::Result<T>) -> T {
        match result {
            Ok(value) => value,
            Err(error) => panic!("{}: {call}: {error}", self.name),
        }
    }

    /// Checks that a call failed with an error of `kind`.
    #[track_caller]
    fn fails<T>(&self, call: &str, kind: io::ErrorKind, result: io::Result<T>) {
        match result {
            Ok(_) => panic!("{}: {call} is Ok, not {kind:?}", self.name),
            Err(error) => assert_eq!(error.kind(), kind, "{}: {call}: {error}", self.name),
        }
    }

    /// Creates the file `name` with `content`.
    async fn file(&self, name: &str, content: &[u8]) -> V::File {
        let path = self.path(name);
        let file = self.ok("create_new", retry(|| self.vfs.create_new(&path)).await);
        self.write(&file, 0, content).await;
        file
    }

    async fn write(&self, file: &V::File, offset: u64, content: &[u8]) {
        self.ok("write_at", write_all_at(file, offset, Bytes::copy_from_slice(content)).await);
    }

    /// Up to `bytes` bytes of `file` from `offset`.
    async fn read(&self, file: &V::File, offset: u64, bytes: usize) -> Vec<u8> {
        let mut buffer = BytesMut::zeroed(bytes);
        // Garbage beforehand shows bytes that were counted and not read.
        buffer.fill(0xEE);
        let (buffer, count) = self.ok("read_at", read_full_at(file, offset, buffer).await);
        assert_eq!(buffer.len(), bytes, "{}: the buffer came back with another length", self.name);
        buffer[..count].to_vec()
    }

    async fn names(&self) -> Vec<String> {
        let entries = self.ok("list", retry(|| self.vfs.list(&self.dir)).await);
        entries.into_iter().map(|entry| entry.name).collect()
    }
}

/// The length of `file`.
async fn len(file: &impl File) -> io::Result<u64> {
    retry(|| file.len()).await
}

/// Runs `futures` together, in one task; their results in order.
async fn join<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut slots: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut done = true;
        for (future, result) in &mut slots {
            if result.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *result = Some(value),
                    std::task::Poll::Pending => done = false,
                }
            }
        }
        if done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    slots.into_iter().filter_map(|(_, result)| result).collect()
}
