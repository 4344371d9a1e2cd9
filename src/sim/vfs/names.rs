//! The names of a simulated disk.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::call::{Call, Completion, Effect, Kind, Request, Undo, full};
use super::file::{SimFile, sync_fate};
use super::{Inode, Shared, State, device_error, lock};
use crate::env::Tick;
use crate::sim::disk::{Stamp, SyncFate};
use crate::sim::faults::FaultClass;
use crate::sim::trace::{Answer, Traced};
use crate::vfs::{Entry, EntryKind, OpenMode, Vfs};

/// The file system of one process on a [`SimDisk`](crate::sim::SimDisk).
#[derive(Clone)]
pub struct SimVfs {
    shared: Arc<Shared>,
    incarnation: u64,
}

/// A held lock of a directory of a [`SimDisk`](crate::sim::SimDisk).
pub struct SimLock {
    shared: Arc<Shared>,
    incarnation: u64,
    inode: Inode,
}

impl SimVfs {
    pub(super) fn new(shared: Arc<Shared>, incarnation: u64) -> Self {
        Self { shared, incarnation }
    }

    async fn call<T: Traced>(
        &self,
        operation: &'static str,
        kind: Kind,
        path: &Arc<Path>,
        effect: impl FnOnce(&mut State, &Call<'_>, Tick) -> Effect<T>,
    ) -> io::Result<T> {
        let effect = |state: &mut State, call: &Call<'_>, (), now| effect(state, call, now);
        self.shared.perform(self.request(operation, kind, path), |_, _| (), effect, |_, _, _, _| Ok(())).await
    }

    fn request<'a>(&self, operation: &'static str, kind: Kind, path: &'a Arc<Path>) -> Request<'a> {
        let incarnation = self.incarnation;
        Request { operation, kind, path, bytes: 0..0, digest: None, target: 0, incarnation }
    }

    /// A call that makes a name, for which there must be space.
    async fn change<T: Traced>(
        &self,
        operation: &'static str,
        path: &Arc<Path>,
        change: impl FnOnce(&mut State) -> io::Result<(T, Option<Stamp>)>,
    ) -> io::Result<T> {
        self.call(operation, Kind::Change, path, |state, call, now| with_space(state, call, now, change))
            .await
    }
}

/// A change for which there must be space.
fn with_space<T>(
    state: &mut State,
    call: &Call<'_>,
    now: Tick,
    change: impl FnOnce(&mut State) -> io::Result<(T, Option<Stamp>)>,
) -> Effect<T> {
    if let Some(error) = call.is_full(state, now) {
        return Effect::plain(Err(error));
    }
    if state.free_bytes() == 0 {
        return Effect::plain(Err(full(false)));
    }
    changed(change(state))
}

fn changed<T>(result: io::Result<(T, Option<Stamp>)>) -> Effect<T> {
    match result {
        Ok((value, stamp)) => {
            Effect::completing(Ok(value), stamp.map_or(Completion::Nothing, Completion::Name))
        }
        Err(error) => Effect::plain(Err(error)),
    }
}

impl Traced for Inode {
    fn answer(&self) -> Answer {
        Answer::Number(self.number())
    }
}

impl Traced for Vec<Entry> {
    fn answer(&self) -> Answer {
        let mut hasher = Xxh3::new();
        for Entry { name, kind } in self {
            hasher.update(&[u8::from(*kind == EntryKind::Directory)]);
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
        }
        Answer::Content(self.len() as u64, hasher.digest())
    }
}

impl Vfs for SimVfs {
    type File = SimFile;
    type Lock = SimLock;

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SimFile> {
        let path = Arc::from(path);
        let open = |state: &mut State, _: &Call<'_>, _| {
            Effect::plain(state.open(&path)).or_undone(|inode| Undo::LetGo(*inode))
        };
        let inode = self.call("open", Kind::Find, &path, open).await?;
        Ok(SimFile::new(Arc::clone(&self.shared), self.incarnation, inode, path, mode))
    }

    async fn create_new(&self, path: &Path) -> io::Result<SimFile> {
        let path = Arc::from(path);
        let create = |state: &mut State| {
            let (inode, stamp) = state.disk.create_new(&path)?;
            state.hold(inode);
            Ok((inode, Some(stamp)))
        };
        let effect = |state: &mut State, call: &Call<'_>, now| {
            with_space(state, call, now, create).or_undone(|inode| Undo::LetGo(*inode))
        };
        let inode = self.call("create_new", Kind::Change, &path, effect).await?;
        Ok(SimFile::new(Arc::clone(&self.shared), self.incarnation, inode, path, OpenMode::Write))
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.change("create_dir", &Arc::from(path), |state| {
            state.disk.create_dir(path).map(|stamp| ((), Some(stamp)))
        })
        .await
    }

    async fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change("link", &Arc::from(to), |state| state.disk.link(from, to).map(|stamp| ((), Some(stamp))))
            .await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change("rename", &Arc::from(to), |state| state.disk.rename(from, to).map(|stamp| ((), stamp)))
            .await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        self.call("remove", Kind::Change, &Arc::from(path), |state, _, _| {
            changed(state.disk.remove(path).map(|stamp| ((), Some(stamp))))
        })
        .await
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.call("list", Kind::Find, &Arc::from(path), |state, _, _| Effect::plain(state.disk.list(path)))
            .await
    }

    async fn lock(&self, path: &Path) -> io::Result<SimLock> {
        let incarnation = self.incarnation;
        let inode = self
            .call("lock", Kind::Look, &Arc::from(path), |state, _, _| {
                let inode = match state.disk.directory(path) {
                    Ok(inode) => inode,
                    Err(error) => return Effect::plain(Err(error)),
                };
                if state.locked.contains(&inode) {
                    let text = format!("{} is locked", path.display());
                    return Effect::plain(Err(io::Error::new(io::ErrorKind::WouldBlock, text)));
                }
                state.lock(inode);
                Effect::plain(Ok(inode)).or_undone(|inode| Undo::Unlock(*inode))
            })
            .await?;
        Ok(SimLock { shared: Arc::clone(&self.shared), incarnation, inode })
    }

    async fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.call("free_space", Kind::Look, &Arc::from(path), |state, _, now| {
            let free = if state.faults.is_full(now) { 0 } else { state.free_bytes() };
            Effect::plain(state.disk.directory(path).map(|_| free))
        })
        .await
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let shown = Arc::from(path);
        let request = self.request("sync_dir", Kind::Sync, &shown);
        let effect = |state: &mut State, call: &Call<'_>, began, now| {
            let directory = match state.disk.directory(path) {
                Ok(directory) => directory,
                Err(error) => return Effect::plain(Err(error)),
            };
            let (fate, class) = sync_fate(state, call, FaultClass::DirSyncError, now);
            let State { disk, faults, .. } = state;
            disk.sync_dir(directory, began, fate, faults.choices(class, fate));
            let open = &state.open;
            state.disk.collect(|inode| open.contains(&inode));
            Effect::plain(match fate {
                SyncFate::Done | SyncFate::Forgotten => Ok(()),
                _ => Err(device_error("sync of a directory")),
            })
        };
        self.shared.perform(request, |state, _| state.disk.stamp(), effect, |_, _, (), _| Ok(())).await
    }
}

impl fmt::Debug for SimVfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimVfs(process {})", self.incarnation)
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        if state.incarnation == self.incarnation {
            state.locked.remove(&self.inode);
        }
    }
}

impl fmt::Debug for SimLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimLock({:?})", self.inode)
    }
}
