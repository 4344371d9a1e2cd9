//! What a file system asks of the disk. Changes take effect in the cache at once and return their stamp; they are
//! *complete*, so that a sync covers them, once [`Disk::complete`] or [`Disk::complete_name`] says so.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::content::{PAGE_BYTES, SECTOR};
use super::file::FileNode;
use super::names::{Inode, Node, Place, error};
use super::{Cover, Disk, Stamp, SyncFate};
use crate::sim::choices::Choices;
use crate::sim::personality::Order;
use crate::vfs::{Entry, EntryKind};

const PAGE: u64 = PAGE_BYTES as u64;

/// Names.
impl Disk {
    /// The next stamp: taken by a sync when it begins.
    pub(in crate::sim) fn stamp(&mut self) -> Stamp {
        self.last_stamp += 1;
        Stamp(self.last_stamp)
    }

    pub(in crate::sim) fn file(&self, path: &Path) -> io::Result<Inode> {
        match self.names.find(path)? {
            Node::File(inode) => Ok(inode),
            Node::Directory(_) => Err(error(io::ErrorKind::InvalidInput, path, "is a directory")),
        }
    }

    pub(in crate::sim) fn directory(&self, path: &Path) -> io::Result<Inode> {
        match self.names.find(path)? {
            Node::Directory(inode) => Ok(inode),
            Node::File(_) => Err(error(io::ErrorKind::NotADirectory, path, "is a file")),
        }
    }

    pub(in crate::sim) fn create_new(&mut self, path: &Path) -> io::Result<(Inode, Stamp)> {
        let place = self.free_place(path)?;
        let inode = self.new_inode();
        self.files.insert(inode, Arc::new(FileNode::default()));
        Ok((inode, self.change_names([Some((place, Some(Node::File(inode)))), None])))
    }

    pub(in crate::sim) fn create_dir(&mut self, path: &Path) -> io::Result<Stamp> {
        let place = self.free_place(path)?;
        let inode = self.new_inode();
        self.names.add_directory(inode);
        Ok(self.change_names([Some((place, Some(Node::Directory(inode)))), None]))
    }

    pub(in crate::sim) fn link(&mut self, from: &Path, to: &Path) -> io::Result<Stamp> {
        let inode = self.file(from)?;
        let place = self.free_place(to)?;
        Ok(self.change_names([Some((place, Some(Node::File(inode)))), None]))
    }

    /// `None` when both names lead to one file already: then nothing happens.
    pub(in crate::sim) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<Option<Stamp>> {
        let node = self.names.find(from)?;
        let old = self.place(from)?;
        let new = self.place(to)?;
        if matches!(node, Node::Directory(_)) && to.starts_with(from) {
            return Err(error(io::ErrorKind::InvalidInput, to, "is inside what is renamed"));
        }
        match (node, self.names.look_up(&new)) {
            (Node::File(_), Some(target)) if target == node => return Ok(None),
            (Node::File(_), Some(Node::Directory(_))) => {
                return Err(error(io::ErrorKind::IsADirectory, to, "is a directory"));
            }
            (Node::Directory(_), Some(_)) => {
                return Err(error(io::ErrorKind::AlreadyExists, to, "exists already"));
            }
            _ => {}
        }
        Ok(Some(self.change_names([Some((old, None)), Some((new, Some(node)))])))
    }

    pub(in crate::sim) fn remove(&mut self, path: &Path) -> io::Result<Stamp> {
        self.file(path)?;
        let place = self.place(path)?;
        Ok(self.change_names([Some((place, None)), None]))
    }

    pub(in crate::sim) fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let directory = self.directory(path)?;
        let entry = |(name, node): (&Arc<str>, &Node)| Entry {
            name: name.to_string(),
            kind: match node {
                Node::File(_) => EntryKind::File,
                Node::Directory(_) => EntryKind::Directory,
            },
        };
        Ok(self.names.entries(directory).iter().map(entry).collect())
    }

    pub(in crate::sim) fn complete_name(&mut self, stamp: Stamp) {
        let now = self.stamp();
        self.names.complete(stamp, now);
    }

    pub(in crate::sim) fn sync_dir(
        &mut self,
        directory: Inode,
        began: Stamp,
        fate: SyncFate,
        choices: &mut dyn Choices,
    ) {
        self.names.sync(directory, began, fate, choices);
    }

    /// Drops files that no name leads to, nor may lead to again, and that nobody holds open.
    pub(in crate::sim) fn collect(&mut self, is_open: impl Fn(Inode) -> bool) {
        let mut named = vec![false; super::index(self.last_inode) + 1];
        self.names.each_file(|Inode(number)| named[super::index(number)] = true);
        self.files.retain(|inode| named[super::index(inode.number())] || is_open(*inode));
    }

    fn change_names(&mut self, edits: [Option<(Place, Option<Node>)>; 2]) -> Stamp {
        let stamp = self.stamp();
        self.names.change(stamp, edits);
        stamp
    }

    fn free_place(&self, path: &Path) -> io::Result<Place> {
        let place = self.place(path)?;
        match self.names.look_up(&place) {
            None => Ok(place),
            Some(_) => Err(error(io::ErrorKind::AlreadyExists, path, "exists")),
        }
    }

    fn place(&self, path: &Path) -> io::Result<Place> {
        self.names.place(path)?.ok_or_else(|| error(io::ErrorKind::AlreadyExists, path, "is the root"))
    }

    fn new_inode(&mut self) -> Inode {
        self.last_inode += 1;
        Inode(self.last_inode)
    }
}

/// Bytes.
impl Disk {
    pub(in crate::sim) fn len(&self, inode: Inode) -> u64 {
        self.files[inode].cache.len()
    }

    pub(in crate::sim) fn link_count(&self, inode: Inode) -> u64 {
        self.names.link_count(inode)
    }

    /// Fills the front of `into`, up to the end of the file, and returns the count.
    pub(in crate::sim) fn read(&self, inode: Inode, offset: u64, into: &mut [u8]) -> usize {
        self.files[inode].cache.read(offset, into)
    }

    /// The first sector of `bytes` that cannot be read.
    pub(in crate::sim) fn bad_sector(&self, inode: Inode, bytes: &Range<u64>) -> Option<u64> {
        let sectors = bytes.start / SECTOR as u64..bytes.end.div_ceil(SECTOR as u64);
        if sectors.is_empty() {
            return None;
        }
        self.files[inode].bad.range(sectors).next().copied()
    }

    pub(in crate::sim) fn mark_bad(&mut self, inode: Inode, sector: u64) {
        self.file_mut(inode).bad.insert(sector);
    }

    /// Bytes of new space that a write to `bytes` takes up.
    pub(in crate::sim) fn space_needed(&self, inode: Inode, bytes: &Range<u64>) -> u64 {
        self.files[inode].cache.pages_missing(bytes) * PAGE
    }

    /// How many bytes at the front of `bytes` find space where so many are `free`.
    pub(in crate::sim) fn room_for(&self, inode: Inode, bytes: &Range<u64>, free: u64) -> usize {
        let mut end = bytes.start;
        while end < bytes.end {
            let next = (end / PAGE + 1) * PAGE;
            let next = next.min(bytes.end);
            if self.space_needed(inode, &(bytes.start..next)) > free {
                break;
            }
            end = next;
        }
        super::index(end - bytes.start)
    }

    pub(in crate::sim) fn write(&mut self, inode: Inode, offset: u64, data: &Bytes) -> Stamp {
        let stamp = self.stamp();
        self.file_mut(inode).write(stamp, offset, data);
        stamp
    }

    /// The write of `stamp` took the bytes before `end` and no others: these may have been there for a moment, and no sync
    /// is of them.
    pub(in crate::sim) fn shorten(&mut self, inode: Inode, stamp: Stamp, end: u64) {
        let rest = self.stamp();
        self.file_mut(inode).shorten(stamp, end, rest);
    }

    pub(in crate::sim) fn set_len(&mut self, inode: Inode, len: u64) -> Stamp {
        let stamp = self.stamp();
        self.file_mut(inode).set_len(stamp, len);
        stamp
    }

    pub(in crate::sim) fn allocate(&mut self, inode: Inode, bytes: u64) -> Stamp {
        let stamp = self.stamp();
        self.file_mut(inode).allocate(stamp, bytes);
        stamp
    }

    pub(in crate::sim) fn complete(&mut self, inode: Inode, stamp: Stamp) {
        let now = self.stamp();
        self.file_mut(inode).complete(stamp, now);
    }

    pub(in crate::sim) fn sync_data(
        &mut self,
        inode: Inode,
        cover: Cover,
        fate: SyncFate,
        choices: &mut dyn Choices,
    ) {
        let habit = self.personality.after_failed_sync;
        self.file_mut(inode).sync(cover, fate, habit, choices);
    }

    /// Flips the bits of `mask` in one byte, on the platter and in the cache.
    pub(in crate::sim) fn rot(&mut self, inode: Inode, offset: u64, mask: u8) {
        let mut byte = [0];
        if self.read(inode, offset, &mut byte) == 1 {
            self.file_mut(inode).scribble(offset, &[byte[0] ^ mask]);
        }
    }

    /// Bytes that land where nobody sent them, cut at the end of the file.
    pub(in crate::sim) fn misdirect(&mut self, inode: Inode, offset: u64, data: &[u8]) -> Range<u64> {
        let room = super::index(self.len(inode).saturating_sub(offset).min(data.len() as u64));
        self.file_mut(inode).scribble(offset, &data[..room]);
        offset..offset + room as u64
    }

    /// A path that leads to the file now.
    pub(in crate::sim) fn path_of(&self, inode: Inode) -> Option<PathBuf> {
        self.tree()
            .into_iter()
            .map(|(path, _)| path)
            .find(|path| self.file(path).is_ok_and(|found| found == inode))
    }

    /// Files that have bytes, in the order of their creation.
    pub(in crate::sim) fn files_with_bytes(&self) -> Vec<Inode> {
        self.files.iter().filter(|(_, file)| file.cache.len() > 0).map(|(inode, _)| *inode).collect()
    }

    /// Some of what is complete reaches the platter early, in no order. A disk that keeps order does nothing.
    /// Returns how many sectors and names did.
    pub(in crate::sim) fn write_back(&mut self, choices: &mut dyn Choices) -> u64 {
        if self.personality.order == Order::PrefixOrdered {
            return 0;
        }
        let now = self.stamp();
        let mut count = 0;
        for file in self.files.values_mut().filter(|file| !file.writes.is_empty()) {
            if choices.choose(2) == 1 {
                count += Arc::make_mut(file).write_back(now, choices);
            }
        }
        if choices.choose(2) == 1 {
            count += self.names.write_back(now, choices) as u64;
        }
        count
    }
}
