//! A disk in memory that forgets what was not synced, fails and fills up where a test says, and completes durable
//! writes in the order that a test says.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use bytes::{Bytes, BytesMut};

use crate::vfs::{Entry, EntryKind, File, OpenMode, Vfs};

/// What becomes of unsynced state in a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsynced {
    Lost,
    Kept,
    /// Each sector and each name on its own, by this seed.
    Mixed(u64),
}

#[derive(Clone, Default)]
struct Inode {
    durable: Vec<u8>,
    now: Vec<u8>,
}

#[derive(Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
struct State {
    inodes: Vec<Inode>,
    durable_names: BTreeMap<PathBuf, usize>,
    names: BTreeMap<PathBuf, usize>,
    dirs: Vec<PathBuf>,
    locked: bool,
    /// Boots so far, over all crashes: entropy must differ between them.
    boots: u64,
    /// Calls that change something.
    changes: u64,
    crash_at: Option<u64>,
    fail_at: Option<(u64, io::ErrorKind)>,
    read_fails: bool,
    full: bool,
    creation_full: bool,
    dir_syncs_fail: bool,
    /// Names whose change a failed sync of the directory has called clean: no later sync writes it.
    forgotten: BTreeSet<PathBuf>,
    short: bool,
    /// Writes and syncs of files complete only when released.
    hold: bool,
    released: Vec<u64>,
    held: Vec<u64>,
    tickets: u64,
    failed_tickets: Vec<u64>,
    /// Bytes that come into a file when another one is opened: opened, file, offset, bytes.
    late: Option<(PathBuf, PathBuf, usize, Vec<u8>)>,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

pub(super) struct DiskFile {
    disk: Disk,
    inode: usize,
}

pub(super) struct Lock(Disk);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.state().locked = false;
    }
}

pub(super) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Counts a change; the error that the test wants in its place, if any.
    fn change(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.crash_at.is_some_and(|at| state.changes >= at) {
            return Err(io::Error::other("the machine is off"));
        }
        state.changes += 1;
        match state.fail_at {
            Some((at, kind)) if state.changes - 1 == at => Err(io::Error::new(kind, "injected")),
            _ => Ok(()),
        }
    }

    /// What stands in `file` at `offset` comes there only when `opened` is opened.
    pub(super) fn delay(&self, file: &Path, offset: usize, count: usize, opened: &Path) {
        let mut bytes = vec![0; count];
        self.edit(file, |content| bytes.swap_with_slice(&mut content[offset..offset + count]));
        self.state().late = Some((opened.to_owned(), file.to_owned(), offset, bytes));
    }

    /// Lets a second log be opened on this disk.
    pub(super) fn unlock(&self) {
        self.state().locked = false;
    }

    /// The number of one more boot.
    pub(super) fn boot(&self) -> u64 {
        let mut state = self.state();
        state.boots += 1;
        state.boots
    }

    pub(super) fn changes(&self) -> u64 {
        self.state().changes
    }

    pub(super) fn crash_at(&self, change: u64) {
        self.state().crash_at = Some(change);
    }

    /// The machine is on again, its page cache as it was: a process was killed, and nothing else.
    pub(super) fn restart(&self) {
        let mut state = self.state();
        state.crash_at = None;
        state.locked = false;
    }

    pub(super) fn fail_at(&self, change: u64, kind: io::ErrorKind) {
        self.state().fail_at = Some((change, kind));
    }

    pub(super) fn fail_reads(&self, fail: bool) {
        self.state().read_fails = fail;
    }

    pub(super) fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    /// No space for new files, while files that have their space go on.
    pub(super) fn set_creation_full(&self, full: bool) {
        self.state().creation_full = full;
    }

    /// From now on syncs of directories fail, and what they should have written is clean afterwards.
    pub(super) fn fail_dir_syncs(&self, fail: bool) {
        self.state().dir_syncs_fail = fail;
    }

    pub(super) fn shorten(&self) {
        self.state().short = true;
    }

    pub(super) fn hold_writes(&self) {
        self.state().hold = true;
    }

    /// From now on no write is held that comes; those that were dropped are not there any more.
    pub(super) fn stop_holding(&self) {
        self.state().hold = false;
    }

    /// Held writes, in submission order.
    pub(super) fn held(&self) -> Vec<u64> {
        self.state().held.clone()
    }

    pub(super) fn release(&self, ticket: u64) {
        self.state().released.push(ticket);
    }

    pub(super) fn release_as_failed(&self, ticket: u64) {
        let mut state = self.state();
        state.released.push(ticket);
        state.failed_tickets.push(ticket);
    }

    /// The disk after a power cut, as another machine finds it.
    pub(super) fn crash(&self, unsynced: Unsynced) -> Self {
        let state = self.state();
        let mut after = State { dirs: state.dirs.clone(), boots: state.boots, ..State::default() };
        let mut dice = match unsynced {
            Unsynced::Mixed(seed) => seed,
            Unsynced::Lost | Unsynced::Kept => 0,
        };
        let mut keep = || match unsynced {
            Unsynced::Lost => false,
            Unsynced::Kept => true,
            Unsynced::Mixed(_) => {
                dice = mix(dice);
                dice & 1 == 1
            }
        };
        for inode in &state.inodes {
            let mut durable = inode.durable.clone();
            if inode.now.len() != durable.len() && keep() {
                durable.resize(inode.now.len(), 0);
            }
            for at in (0..durable.len().min(inode.now.len())).step_by(512) {
                let end = (at + 512).min(durable.len()).min(inode.now.len());
                if durable[at..end] != inode.now[at..end] && keep() {
                    durable[at..end].copy_from_slice(&inode.now[at..end]);
                }
            }
            after.inodes.push(Inode { now: durable.clone(), durable });
        }
        let mut names = state.durable_names.clone();
        for (name, inode) in &state.names {
            if state.durable_names.get(name) != Some(inode) && keep() {
                names.insert(name.clone(), *inode);
            }
        }
        for name in state.durable_names.keys() {
            if !state.names.contains_key(name) && keep() {
                names.remove(name);
            }
        }
        after.names = names.clone();
        after.durable_names = names;
        Self(Arc::new(Mutex::new(after)))
    }

    /// A copy that later changes do not touch.
    pub(super) fn image(&self) -> Self {
        let state = self.state().clone();
        Self(Arc::new(Mutex::new(State { locked: false, ..state })))
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    pub(super) fn read_file(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        state.inodes[state.names[path]].now.clone()
    }

    /// Changes a file behind everybody's back, durably.
    pub(super) fn edit(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let inode = state.names[path];
        change(&mut state.inodes[inode].now);
        state.inodes[inode].durable = state.inodes[inode].now.clone();
    }

    /// Puts a file there that was removed, as a power cut that undoes the removal does.
    pub(super) fn bring_back(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state();
        state.inodes.push(Inode { durable: bytes.clone(), now: bytes });
        let inode = state.inodes.len() - 1;
        state.names.insert(path.to_owned(), inode);
        state.durable_names.insert(path.to_owned(), inode);
    }

    pub(super) fn delete(&self, path: &Path) {
        let mut state = self.state();
        state.names.remove(path);
        state.durable_names.remove(path);
    }
}

impl State {
    /// Points a name at an inode or takes it away; returns what it pointed at.
    fn name(&mut self, name: &Path, inode: Option<usize>) -> Option<usize> {
        self.forgotten.remove(name);
        match inode {
            Some(inode) => self.names.insert(name.to_owned(), inode),
            None => self.names.remove(name),
        }
    }
}

fn not_found() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "no such name")
}

impl Vfs for Disk {
    type File = DiskFile;
    type Lock = Lock;

    async fn open(&self, path: &Path, _: OpenMode) -> io::Result<DiskFile> {
        let late = self.state().late.take_if(|(opened, ..)| opened == path);
        if let Some((_, file, offset, bytes)) = late {
            self.edit(&file, |content| content[offset..offset + bytes.len()].copy_from_slice(&bytes));
        }
        let inode = *self.state().names.get(path).ok_or_else(not_found)?;
        Ok(DiskFile { disk: self.clone(), inode })
    }

    async fn create_new(&self, path: &Path) -> io::Result<DiskFile> {
        self.change()?;
        let mut state = self.state();
        if state.full || state.creation_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.inodes.push(Inode::default());
        let inode = state.inodes.len() - 1;
        state.name(path, Some(inode));
        drop(state);
        Ok(DiskFile { disk: self.clone(), inode })
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        let mut state = self.state();
        if state.dirs.iter().any(|dir| dir == path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.dirs.push(path.to_owned());
        Ok(())
    }

    async fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change()?;
        let mut state = self.state();
        let inode = *state.names.get(from).ok_or_else(not_found)?;
        state.name(to, Some(inode));
        Ok(())
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change()?;
        let mut state = self.state();
        if let Some(dir) = state.dirs.iter_mut().find(|dir| *dir == from) {
            to.clone_into(dir);
            return Ok(());
        }
        let inode = state.name(from, None).ok_or_else(not_found)?;
        state.name(to, Some(inode));
        Ok(())
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        self.state().name(path, None).map(|_| ()).ok_or_else(not_found)
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state();
        let inside = state.names.keys().filter(|name| name.parent() == Some(path));
        let name = |name: &PathBuf| name.file_name().unwrap().to_str().unwrap().to_owned();
        Ok(inside.map(|path| Entry { name: name(path), kind: EntryKind::File }).collect())
    }

    async fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut state = self.state();
        if !state.dirs.iter().any(|dir| dir == path) {
            return Err(not_found());
        }
        if std::mem::replace(&mut state.locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        drop(state);
        Ok(Lock(self.clone()))
    }

    async fn free_space(&self, _: &Path) -> io::Result<u64> {
        Ok(if self.state().full { 0 } else { 1 << 40 })
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        let mut state = self.state();
        let inside = |name: &&PathBuf| name.parent() == Some(path);
        let changed = state.names.keys().chain(state.durable_names.keys()).filter(inside);
        let changed = changed.filter(|name| state.names.get(*name) != state.durable_names.get(*name));
        let changed: BTreeSet<_> = changed.filter(|name| !state.forgotten.contains(*name)).cloned().collect();
        if state.dir_syncs_fail {
            state.forgotten.extend(changed);
            return Err(io::Error::other("the directory was not synced"));
        }
        for name in changed {
            match state.names.get(&name).copied() {
                Some(inode) => state.durable_names.insert(name, inode),
                None => state.durable_names.remove(&name),
            };
        }
        Ok(())
    }
}

impl DiskFile {
    fn put(&self, offset: u64, data: &[u8]) -> usize {
        let mut state = self.disk.state();
        let count = if state.short { data.len().min(700) } else { data.len() };
        let at = usize::try_from(offset).unwrap();
        let inode = &mut state.inodes[self.inode];
        if inode.now.len() < at + count {
            inode.now.resize(at + count, 0);
        }
        inode.now[at..at + count].copy_from_slice(&data[..count]);
        count
    }

    fn sync_range(&self, offset: u64, count: usize) {
        let mut state = self.disk.state();
        let at = usize::try_from(offset).unwrap();
        let inode = &mut state.inodes[self.inode];
        if inode.durable.len() < at + count {
            inode.durable.resize(at + count, 0);
        }
        let Inode { durable, now } = inode;
        durable[at..at + count].copy_from_slice(&now[at..at + count]);
    }
}

impl DiskFile {
    /// Waits until the test releases this write or sync, if it holds such.
    async fn held(&self) -> io::Result<()> {
        let ticket = {
            let mut state = self.disk.state();
            let ticket = state.tickets;
            state.tickets += 1;
            if state.hold {
                state.held.push(ticket);
            }
            ticket
        };
        std::future::poll_fn(|cx| {
            let state = self.disk.state();
            if !state.hold || state.released.contains(&ticket) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        let failed = self.disk.state().failed_tickets.contains(&ticket);
        if failed { Err(io::Error::other("injected")) } else { Ok(()) }
    }
}

impl File for DiskFile {
    async fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[self.inode].now.len() as u64)
    }

    async fn link_count(&self) -> io::Result<u64> {
        Ok(self.disk.state().names.values().filter(|inode| **inode == self.inode).count() as u64)
    }

    async fn read_at(&self, offset: u64, mut buffer: BytesMut) -> io::Result<(BytesMut, usize)> {
        let state = self.disk.state();
        if state.read_fails {
            return Err(io::Error::other("unreadable sector"));
        }
        let bytes = &state.inodes[self.inode].now;
        let at = usize::try_from(offset).unwrap().min(bytes.len());
        let mut count = buffer.len().min(bytes.len() - at);
        if state.short {
            count = count.min(900);
        }
        buffer[..count].copy_from_slice(&bytes[at..at + count]);
        Ok((buffer, count))
    }

    async fn write_at(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        self.disk.change()?;
        if self.disk.state().full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let count = self.put(offset, &data);
        self.held().await?;
        Ok(count)
    }

    async fn write_at_and_sync(&self, offset: u64, data: Bytes) -> io::Result<usize> {
        // A write that fails or that the power cut meets has left its bytes in the page cache.
        let begun = self.disk.change();
        let count = self.put(offset, &data);
        begun?;
        self.held().await?;
        self.sync_range(offset, count);
        Ok(count)
    }

    async fn sync_data(&self) -> io::Result<()> {
        self.disk.change()?;
        let now = self.disk.state().inodes[self.inode].now.clone();
        self.held().await?;
        self.disk.state().inodes[self.inode].durable = now;
        Ok(())
    }

    async fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.disk.change()?;
        if self.disk.state().full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut state = self.disk.state();
        let inode = &mut state.inodes[self.inode];
        let bytes = usize::try_from(bytes).unwrap().max(inode.now.len());
        inode.now.resize(bytes, 0);
        Ok(())
    }

    async fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.disk.change()?;
        self.disk.state().inodes[self.inode].now.resize(usize::try_from(bytes).unwrap(), 0);
        Ok(())
    }

    fn depth_max(&self) -> usize {
        16
    }

    fn failures_are_own(&self) -> bool {
        true
    }

    fn write_unit(&self) -> u32 {
        512
    }
}
