//! A disk in memory with the seam's promises and no more: what was not synced is lost at a crash, every call may
//! be the last, and chosen calls fail.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};

use crate::vfs::{Entry, EntryKind, File, OpenMode, Vfs};

/// Drives a future that never waits.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1_000_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
    panic!("the future waits for nothing");
}

#[derive(Default, Debug)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Node {
    Folder,
    File(Rc<RefCell<Content>>),
}

#[derive(Default, Debug)]
struct State {
    names: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    calls: u64,
    /// The call at which the machine stops.
    stop_at: Option<u64>,
    /// An operation's name, how often it still succeeds, and then its error; whether it takes effect all the same.
    fault: Option<(&'static str, u64, io::ErrorKind, bool)>,
    synced_folders: Vec<PathBuf>,
    short: bool,
}

/// The disk.
#[derive(Clone, Default, Debug)]
pub(crate) struct MemoryVfs(Rc<RefCell<State>>);

/// A file of it.
#[derive(Debug)]
pub(crate) struct MemoryFile {
    vfs: MemoryVfs,
    content: Rc<RefCell<Content>>,
}

/// What a call does before its own work.
enum Gate {
    Go,
    /// Do the work and report the error all the same.
    GoAndFail(io::Error),
}

impl MemoryVfs {
    /// An empty disk with the durable folder `/`.
    pub(crate) fn new() -> Self {
        let vfs = Self::default();
        vfs.0.borrow_mut().names.insert("/".into(), Node::Folder);
        vfs.0.borrow_mut().durable.insert("/".into(), Node::Folder);
        vfs
    }

    /// The machine stops at call `call` from now.
    pub(crate) fn stop_after(&self, call: u64) {
        let mut state = self.0.borrow_mut();
        state.stop_at = Some(state.calls + call);
    }

    /// `operation` fails with `kind` after `successes` more; with `done` it takes effect all the same.
    pub(crate) fn fail(&self, operation: &'static str, successes: u64, kind: io::ErrorKind, done: bool) {
        self.0.borrow_mut().fault = Some((operation, successes, kind, done));
    }

    /// Reads and writes take one byte less than asked whenever they can.
    pub(crate) fn short(&self) {
        self.0.borrow_mut().short = true;
    }

    /// A power cut, then a machine without faults. Everything unsynced is lost.
    pub(crate) fn crash(&self) {
        let mut state = self.0.borrow_mut();
        state.stop_at = None;
        state.fault = None;
        let durable = state.durable.clone();
        state.names = durable;
        for node in state.names.values() {
            if let Node::File(content) = node {
                let mut content = content.borrow_mut();
                content.now = content.synced.clone();
            }
        }
    }

    /// Calls since the disk was made.
    pub(crate) fn calls(&self) -> u64 {
        self.0.borrow().calls
    }

    /// Every name, sorted, with the bytes of files.
    pub(crate) fn image(&self) -> Vec<(PathBuf, Option<Vec<u8>>)> {
        let bytes = |node: &Node| match node {
            Node::Folder => None,
            Node::File(content) => Some(content.borrow().now.clone()),
        };
        self.0.borrow().names.iter().map(|(path, node)| (path.clone(), bytes(node))).collect()
    }

    /// The bytes of a file.
    pub(crate) fn bytes(&self, path: &Path) -> Vec<u8> {
        match &self.0.borrow().names[path] {
            Node::File(content) => content.borrow().now.clone(),
            Node::Folder => panic!("{} is a folder", path.display()),
        }
    }

    /// Puts a durable file at `path`.
    pub(crate) fn plant(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let content = Content { now: bytes.to_vec(), synced: bytes.to_vec() };
        let node = Node::File(Rc::new(RefCell::new(content)));
        let mut state = self.0.borrow_mut();
        state.names.insert(path.as_ref().to_owned(), node.clone());
        state.durable.insert(path.as_ref().to_owned(), node);
    }

    /// Puts a durable folder at `path`.
    pub(crate) fn plant_folder(&self, path: impl AsRef<Path>) {
        let mut state = self.0.borrow_mut();
        state.names.insert(path.as_ref().to_owned(), Node::Folder);
        state.durable.insert(path.as_ref().to_owned(), Node::Folder);
    }

    fn gate(&self, operation: &'static str) -> io::Result<Gate> {
        let mut state = self.0.borrow_mut();
        if state.stop_at.is_some_and(|stop_at| state.calls >= stop_at) {
            return Err(io::Error::other("the machine has stopped"));
        }
        state.calls += 1;
        match &mut state.fault {
            Some((name, 0, kind, done)) if *name == operation => {
                let error = io::Error::from(*kind);
                if *done { Ok(Gate::GoAndFail(error)) } else { Err(error) }
            }
            Some((name, successes, ..)) if *name == operation => {
                *successes -= 1;
                Ok(Gate::Go)
            }
            _ => Ok(Gate::Go),
        }
    }

    fn act<T>(
        &self,
        operation: &'static str,
        act: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        match self.gate(operation)? {
            Gate::Go => act(&mut self.0.borrow_mut()),
            Gate::GoAndFail(error) => {
                act(&mut self.0.borrow_mut())?;
                Err(error)
            }
        }
    }

    fn opened(&self, node: &Node) -> io::Result<MemoryFile> {
        match node {
            Node::Folder => Err(io::ErrorKind::InvalidInput.into()),
            Node::File(content) => Ok(MemoryFile { vfs: self.clone(), content: content.clone() }),
        }
    }
}

impl State {
    fn node(&self, path: &Path) -> io::Result<Node> {
        self.names.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<()> {
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        match path.parent().map(|parent| self.node(parent)) {
            Some(Ok(Node::Folder)) => {}
            _ => return Err(io::ErrorKind::NotFound.into()),
        }
        self.names.insert(path.to_owned(), node);
        Ok(())
    }
}

impl Vfs for MemoryVfs {
    type File = MemoryFile;
    type Lock = ();

    async fn open(&self, path: &Path, _mode: OpenMode) -> io::Result<MemoryFile> {
        let node = self.act("open", |state| state.node(path))?;
        self.opened(&node)
    }

    async fn create_new(&self, path: &Path) -> io::Result<MemoryFile> {
        let node = Node::File(Rc::default());
        self.act("create_new", |state| state.add(path, node.clone()))?;
        self.opened(&node)
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.act("create_dir", |state| state.add(path, Node::Folder))
    }

    async fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.act("link", |state| {
            let node = state.node(from)?;
            state.add(to, node)
        })
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.act("rename", |state| {
            let node = state.node(from)?;
            state.names.remove(from);
            state.names.insert(to.to_owned(), node);
            Ok(())
        })
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        self.act("remove", |state| {
            state.node(path)?;
            state.names.remove(path);
            Ok(())
        })
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.act("list", |state| {
            state.node(path)?;
            let inside = state.names.iter().filter(|(name, _)| name.parent() == Some(path));
            let entries = inside.map(|(name, node)| Entry {
                name: name.file_name().unwrap().to_str().unwrap().to_owned(),
                kind: match node {
                    Node::Folder => EntryKind::Directory,
                    Node::File(_) => EntryKind::File,
                },
            });
            Ok(entries.collect())
        })
    }

    async fn lock(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn free_space(&self, _path: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.act("sync_dir", |state| {
            state.node(path)?;
            state.synced_folders.push(path.to_owned());
            let inside = |name: &Path| name.parent() == Some(path);
            state.durable.retain(|name, _| !inside(name));
            let names = state.names.iter().filter(|(name, _)| inside(name));
            let now: Vec<_> = names.map(|(name, node)| (name.clone(), node.clone())).collect();
            state.durable.extend(now);
            Ok(())
        })
    }
}

impl MemoryFile {
    fn take(&self, bytes: usize) -> usize {
        if self.vfs.0.borrow().short && bytes > 1 { bytes - 1 } else { bytes }
    }
}

/// An offset or a length as an index.
fn place(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap()
}

impl File for MemoryFile {
    async fn len(&self) -> io::Result<u64> {
        self.vfs.act("len", |_| Ok(self.content.borrow().now.len() as u64))
    }

    async fn link_count(&self) -> io::Result<u64> {
        let is_this =
            |node: &&Node| matches!(node, Node::File(content) if Rc::ptr_eq(content, &self.content));
        Ok(self.vfs.0.borrow().names.values().filter(is_this).count() as u64)
    }

    async fn read_at(&self, offset: u64, mut buffer: BytesMut) -> io::Result<(BytesMut, usize)> {
        let want = self.take(buffer.len());
        self.vfs.act("read_at", |_| {
            let content = self.content.borrow();
            let rest = content.now.get(place(offset)..).unwrap_or_default();
            let count = rest.len().min(want);
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok((buffer, count))
        })
    }

    async fn write_at(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        let count = self.take(data.len());
        self.vfs.act("write_at", |_| {
            let now = &mut self.content.borrow_mut().now;
            let end = place(offset) + count;
            if now.len() < end {
                now.resize(end, 0);
            }
            now[place(offset)..end].copy_from_slice(&data[..count]);
            Ok(count)
        })
    }

    async fn write_at_and_sync(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        let count = self.write_at(offset, data).await?;
        self.sync_data().await?;
        Ok(count)
    }

    async fn sync_data(&self) -> io::Result<()> {
        self.vfs.act("sync_data", |_| {
            let mut content = self.content.borrow_mut();
            content.synced = content.now.clone();
            Ok(())
        })
    }

    async fn allocate(&self, bytes: u64) -> io::Result<()> {
        let length = self.content.borrow().now.len() as u64;
        self.set_len(bytes.max(length)).await
    }

    async fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.vfs.act("set_len", |_| {
            self.content.borrow_mut().now.resize(place(bytes), 0);
            Ok(())
        })
    }

    fn depth_max(&self) -> usize {
        4
    }

    fn failures_are_own(&self) -> bool {
        true
    }

    fn write_unit(&self) -> u32 {
        512
    }
}
