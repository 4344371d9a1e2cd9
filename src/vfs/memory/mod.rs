//! A file system in the memory of the process: names and bytes that nothing outside can see and that go with their last user.
//!
//! ```text
//! mod.rs    names: one map from path to file or directory
//! file.rs   bytes: pages, of which those that hold zeroes alone take no memory
//! ```
//!
//! M1. Clones are the same file system; two that were made apart share nothing.
//! M2. Every call is done when it is polled once, and nobody waits for a device: what is written is as durable as it gets.
//! M3. Paths are absolute, and mean what they say: there are no links of names, `.` or `..` to follow.
//! M4. It is never full: a process without memory ends, and the file system with it.

mod file;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

pub use file::MemoryFile;

use super::{Entry, EntryKind, OpenMode, Vfs};
use crate::sync::unpoisoned;
use file::Inode;

/// What is said to be free: more than anybody asks for (M4).
const FREE_BYTES: u64 = 1 << 60;

/// A file system in memory, with one empty directory: `/`.
#[derive(Clone, Debug)]
pub struct MemoryVfs {
    names: Arc<Mutex<BTreeMap<PathBuf, Node>>>,
}

/// What a path names.
#[derive(Clone, Debug)]
enum Node {
    File(Arc<Inode>),
    /// With whether somebody holds its lock.
    Directory(Arc<AtomicBool>),
}

/// A held lock of a directory of a [`MemoryVfs`].
#[derive(Debug)]
pub struct MemoryLock {
    held: Arc<AtomicBool>,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.held.store(false, Ordering::Release);
    }
}

impl Default for MemoryVfs {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryVfs {
    /// One that is empty, and shared with nobody.
    pub fn new() -> Self {
        let root = (PathBuf::from("/"), Node::Directory(Arc::default()));
        Self { names: Arc::new(Mutex::new(BTreeMap::from([root]))) }
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Node>> {
        unpoisoned(self.names.lock())
    }

    fn directory(&self, path: &Path) -> io::Result<Arc<AtomicBool>> {
        directory(&self.names(), path)
    }
}

fn directory(names: &BTreeMap<PathBuf, Node>, path: &Path) -> io::Result<Arc<AtomicBool>> {
    match names.get(path) {
        Some(Node::Directory(lock)) => Ok(Arc::clone(lock)),
        Some(Node::File(_)) => Err(ErrorKind::NotADirectory.into()),
        None => Err(ErrorKind::NotFound.into()),
    }
}

fn file(names: &BTreeMap<PathBuf, Node>, path: &Path) -> io::Result<Arc<Inode>> {
    match names.get(path) {
        Some(Node::File(inode)) => Ok(Arc::clone(inode)),
        Some(Node::Directory(_)) => Err(ErrorKind::IsADirectory.into()),
        None => Err(ErrorKind::NotFound.into()),
    }
}

/// That `path` can be given to something new.
fn free(names: &BTreeMap<PathBuf, Node>, path: &Path) -> io::Result<()> {
    if names.contains_key(path) {
        return Err(ErrorKind::AlreadyExists.into());
    }
    directory(names, path.parent().unwrap_or(path)).map(drop)
}

/// Everything below the directory `path`, in order.
fn below<'a>(
    names: &'a BTreeMap<PathBuf, Node>,
    path: &'a Path,
) -> impl Iterator<Item = (&'a PathBuf, &'a Node)> {
    let behind = (Bound::Excluded(path), Bound::Unbounded);
    names.range::<Path, _>(behind).take_while(move |(name, _)| name.starts_with(path))
}

impl Vfs for MemoryVfs {
    type File = MemoryFile;
    type Lock = MemoryLock;

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<MemoryFile> {
        match file(&self.names(), path) {
            Ok(inode) => Ok(MemoryFile::new(inode, mode)),
            Err(error) if error.kind() == ErrorKind::IsADirectory => Err(ErrorKind::InvalidInput.into()),
            Err(error) => Err(error),
        }
    }

    async fn create_new(&self, path: &Path) -> io::Result<MemoryFile> {
        let mut names = self.names();
        free(&names, path)?;
        let inode = Inode::with_a_name();
        names.insert(path.to_owned(), Node::File(Arc::clone(&inode)));
        Ok(MemoryFile::new(inode, OpenMode::Write))
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut names = self.names();
        free(&names, path)?;
        names.insert(path.to_owned(), Node::Directory(Arc::default()));
        Ok(())
    }

    async fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = self.names();
        let inode = file(&names, from)?;
        free(&names, to)?;
        inode.named();
        names.insert(to.to_owned(), Node::File(inode));
        Ok(())
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = self.names();
        let Some(moved) = names.get(from).cloned() else { return Err(ErrorKind::NotFound.into()) };
        directory(&names, to.parent().unwrap_or(to))?;
        match (&moved, names.get(to)) {
            (Node::File(moved), Some(Node::File(replaced))) => {
                if Arc::ptr_eq(moved, replaced) {
                    // Two names of one file: nothing changes, as everywhere.
                    return Ok(());
                }
                replaced.unnamed();
            }
            (Node::File(_), Some(Node::Directory(_))) => return Err(ErrorKind::IsADirectory.into()),
            (Node::Directory(_), Some(_)) => return Err(ErrorKind::AlreadyExists.into()),
            (Node::Directory(_), None) if to.starts_with(from) => {
                return Err(ErrorKind::InvalidInput.into());
            }
            (_, None) => {}
        }
        let inside: Vec<PathBuf> = match &moved {
            Node::File(_) => Vec::new(),
            Node::Directory(_) => below(&names, from).map(|(name, _)| name.clone()).collect(),
        };
        names.remove(from);
        names.insert(to.to_owned(), moved);
        for old in inside {
            if let (Ok(rest), Some(node)) = (old.strip_prefix(from).map(Path::to_owned), names.remove(&old)) {
                names.insert(to.join(rest), node);
            }
        }
        Ok(())
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        let mut names = self.names();
        file(&names, path)?.unnamed();
        names.remove(path);
        Ok(())
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let names = self.names();
        directory(&names, path)?;
        let entries = below(&names, path).filter(|(name, _)| name.parent() == Some(path));
        let entry = |(name, node): (&PathBuf, &Node)| {
            let kind = match node {
                Node::File(_) => EntryKind::File,
                Node::Directory(_) => EntryKind::Directory,
            };
            Some(Entry { name: name.file_name()?.to_str()?.to_owned(), kind })
        };
        let mut entries: Vec<Entry> = entries.filter_map(entry).collect();
        entries.sort_unstable();
        Ok(entries)
    }

    async fn lock(&self, path: &Path) -> io::Result<MemoryLock> {
        let held = self.directory(path)?;
        if held.swap(true, Ordering::AcqRel) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(MemoryLock { held })
    }

    async fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.directory(path).map(|_| FREE_BYTES)
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.directory(path).map(drop)
    }
}
