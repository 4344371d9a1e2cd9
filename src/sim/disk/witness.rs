//! A simulated disk that follows a real one, and says whether what a power cut left there is what it allows.
//!
//! What a program asks of a real file system is told as it begins and as it ends. So the model knows what was in flight,
//! pending or durable at every moment, and a tree of files that was found after a cut at such a moment can be held against it.
//!
//! W1. A call that has begun may have been done, whole or in part, until it has ended: then it was done.
//! W2. As strict as the personality: sectors are garbage and new space is stale only where it says so. But for the order:
//!     what an ordered disk leaves is not told from what a paranoid one does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::content::SECTOR;
use super::file::FileNode;
use super::names::{Change, Inode, Node};
use super::pending::{Slot, file_slots};
use super::{Cover, Disk, Stamp, SyncFate, index};
use crate::sim::personality::Personality;
use crate::sim::rng::Streams;

/// Something that a program asked of a file system. Files go by their [`Disk::file_number`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Act {
    /// An empty file is made.
    CreateFile(PathBuf),
    /// A directory is made.
    CreateDir(PathBuf),
    /// The file of the first name gets the second one.
    Link(PathBuf, PathBuf),
    /// The first name becomes the second one.
    Rename(PathBuf, PathBuf),
    /// The name of a file is removed.
    Remove(PathBuf),
    /// The names in a directory are made durable.
    SyncDir(PathBuf),
    /// Bytes are written at an offset.
    Write(u64, u64, Bytes),
    /// Bytes are written at an offset and made durable, all of them or none.
    WriteAndSync(u64, u64, Bytes),
    /// A file gets this length.
    SetLen(u64, u64),
    /// A file gets this length, if it was shorter.
    Allocate(u64, u64),
    /// The bytes of a file are made durable.
    Sync(u64),
}

/// What a directory holds below a root: the bytes of files, nothing for directories.
pub type FoundTree = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// A call that has begun and not ended: what [`Witness::end`] takes.
#[derive(Debug)]
#[must_use = "a call that never ends stays in flight"]
pub struct Begun {
    act: Act,
    /// Nothing for what changes nothing.
    stamp: io::Result<Option<Stamp>>,
}

/// See the module.
///
/// ```
/// use highwater::sim::{Act, FoundTree, Personality, Witness};
///
/// let mut witness = Witness::new(Personality::default());
/// let made = witness.begin(Act::CreateFile("a".into()));
/// witness.end(made, 0);
/// assert_eq!(witness.allows(&FoundTree::new()), Ok(())); // the directory was not synced
/// let synced = witness.begin(Act::SyncDir("".into()));
/// witness.end(synced, 0);
/// assert!(witness.allows(&FoundTree::new()).is_err());
/// ```
#[derive(Clone, Debug)]
pub struct Witness {
    pub(super) disk: Disk,
}

impl Witness {
    /// Follows an empty file system.
    #[must_use]
    pub fn new(personality: Personality) -> Self {
        Self { disk: Disk::new(personality) }
    }

    /// Follows a file system that holds this, all of it durable.
    ///
    /// # Panics
    ///
    /// When something is below a file, or below nothing.
    #[must_use]
    pub fn of(personality: Personality, found: &FoundTree) -> Self {
        let mut disk = Disk::new(personality);
        for (path, bytes) in found {
            let installed = match bytes {
                None => disk.install_dir(path),
                Some(bytes) => disk.install_file(path, bytes),
            };
            installed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
        Self { disk }
    }

    /// The number of the file `path`.
    pub fn file_number(&self, path: impl AsRef<Path>) -> Option<u64> {
        self.disk.file_number(path)
    }

    /// A call begins. What the model refuses (a name that is taken, one that is missing) changes nothing, and must
    /// fail on the machine as well.
    pub fn begin(&mut self, act: Act) -> Begun {
        let disk = &mut self.disk;
        let stamp = match &act {
            Act::CreateFile(path) => disk.create_new(path).map(|(_, stamp)| Some(stamp)),
            Act::CreateDir(path) => disk.create_dir(path).map(Some),
            Act::Link(from, to) => disk.link(from, to).map(Some),
            Act::Rename(from, to) => disk.rename(from, to),
            Act::Remove(path) => disk.remove(path).map(Some),
            Act::SyncDir(_) | Act::Sync(_) => Ok(Some(disk.stamp())),
            Act::Write(file, offset, data) | Act::WriteAndSync(file, offset, data) => {
                Ok(Some(disk.write(Inode(*file), *offset, data)))
            }
            Act::SetLen(file, bytes) => Ok(Some(disk.set_len(Inode(*file), *bytes))),
            Act::Allocate(file, bytes) => Ok(Some(disk.allocate(Inode(*file), *bytes))),
        };
        Begun { act, stamp }
    }

    /// A call ends well; a write took the first `taken` of its bytes, which means nothing for other calls: the others may have
    /// been there for a moment, and no sync is of them. A call that fails is not ended at all.
    ///
    /// # Panics
    ///
    /// When the machine did what the model refuses.
    pub fn end(&mut self, begun: Begun, taken: usize) {
        let Begun { act, stamp } = begun;
        let stamp =
            stamp.unwrap_or_else(|error| panic!("the machine did what the model refuses: {act:?}: {error}"));
        let Some(stamp) = stamp else { return };
        let disk = &mut self.disk;
        let mut nothing = Streams::new(0).stream("witness");
        match act {
            Act::SyncDir(path) => {
                let directory = disk.directory(&path).expect("a directory that was synced exists");
                disk.sync_dir(directory, stamp, SyncFate::Done, &mut nothing);
            }
            Act::Sync(file) => {
                disk.sync_data(Inode(file), Cover::CompletedBy(stamp), SyncFate::Done, &mut nothing);
            }
            Act::Write(file, offset, data) | Act::WriteAndSync(file, offset, data) if taken < data.len() => {
                disk.shorten(Inode(file), stamp, offset + taken as u64);
                disk.complete(Inode(file), stamp);
            }
            Act::Write(file, ..) | Act::SetLen(file, _) | Act::Allocate(file, _) => {
                disk.complete(Inode(file), stamp);
            }
            Act::WriteAndSync(file, ..) => {
                disk.complete(Inode(file), stamp);
                disk.sync_data(Inode(file), Cover::One(stamp), SyncFate::Done, &mut nothing);
            }
            _ => disk.complete_name(stamp),
        }
    }

    /// Whether a power cut at this moment may leave this tree. It is looked at a name at a time: a rename is whole or not at
    /// all within one directory, and its two ends are looked at on their own where it goes from one to another.
    ///
    /// # Errors
    ///
    /// What is found and not allowed, for people.
    pub fn allows(&self, found: &FoundTree) -> Result<(), String> {
        self.directory_allows(Inode::ROOT, Path::new(""), found)
    }

    fn directory_allows(&self, directory: Inode, path: &Path, found: &FoundTree) -> Result<(), String> {
        let names = &self.disk.names;
        let durable = names.durable(directory);
        let pending: Vec<&Change> = names.pending.iter().filter(|change| change.touches(directory)).collect();
        let mut decided: BTreeSet<Arc<str>> = BTreeSet::new();
        for group in groups(&pending, directory) {
            let touched: BTreeSet<&Arc<str>> =
                group.iter().flat_map(|change| change.names(directory)).collect();
            let state = touched.iter().map(|name| (Arc::clone(name), durable.get(&***name).copied()));
            self.some_outcome_allows(&group, directory, &state.collect(), path, found)?;
            decided.extend(touched.into_iter().cloned());
        }
        for (name, node) in durable.iter().filter(|(name, _)| !decided.contains(*name)) {
            self.entry_allows(Some(*node), &path.join(&**name), found)?;
        }
        let known = |name: &str| decided.contains(name) || durable.get(name).is_some();
        match found
            .keys()
            .filter(|found| found.parent() == Some(path))
            .find(|found| !found.file_name().and_then(|name| name.to_str()).is_some_and(known))
        {
            Some(stranger) => Err(format!("{}: nobody ever made this name", stranger.display())),
            None => Ok(()),
        }
    }

    /// Tries every legal choice of the changes `group`, whose names are `state` so far.
    fn some_outcome_allows(
        &self,
        group: &[&Change],
        directory: Inode,
        state: &BTreeMap<Arc<str>, Option<Node>>,
        path: &Path,
        found: &FoundTree,
    ) -> Result<(), String> {
        let mut refusal = None;
        // Of each change so far, whether it is kept: an open branch is one more than the last.
        let mut branches = vec![Vec::new()];
        while let Some(kept) = branches.pop() {
            if let Some(change) = group.get(kept.len()) {
                let lacks = |(earlier, kept): (&&Change, &bool)| !kept && change.needs(earlier);
                if !group.iter().zip(&kept).any(lacks) {
                    branches.push([&kept[..], &[true]].concat());
                }
                branches.push([&kept[..], &[false]].concat());
                continue;
            }
            let mut state = state.clone();
            for (change, _) in group.iter().zip(&kept).filter(|(_, kept)| **kept) {
                state.extend(change.outcomes(directory).map(|(name, node)| (Arc::clone(name), node)));
            }
            let entries = state.iter();
            match entries
                .map(|(name, node)| self.entry_allows(*node, &path.join(&**name), found))
                .find(Result::is_err)
            {
                None => return Ok(()),
                // Of several reasons, what a file holds says more than that it is there.
                Some(Err(reason)) => {
                    refusal = refusal.filter(|old: &String| old.contains("sector")).or(Some(reason));
                }
                Some(Ok(())) => unreachable!("found as an error"),
            }
        }
        Err(refusal.expect("there is a branch"))
    }

    fn entry_allows(&self, node: Option<Node>, path: &Path, found: &FoundTree) -> Result<(), String> {
        let at = path.display();
        match (node, found.get(path)) {
            (None, None) => Ok(()),
            (Some(Node::File(inode)), Some(Some(bytes))) => {
                bytes_allowed(&self.disk, inode, bytes).map_err(|what| format!("{at}: {what}"))
            }
            (Some(Node::Directory(inode)), Some(None)) => self.directory_allows(inode, path, found),
            (Some(_), None) => Err(format!("{at}: a durable name is missing")),
            (None, Some(_)) => Err(format!("{at}: the name is there, which it cannot be")),
            (Some(_), Some(_)) => Err(format!("{at}: a file for a directory, or the other way round")),
        }
    }
}

/// Changes that share names in `directory`, together; in each group and among them in the order in which they were made.
fn groups<'a>(pending: &[&'a Change], directory: Inode) -> Vec<Vec<&'a Change>> {
    let mut groups: Vec<Vec<&Change>> = Vec::new();
    for &change in pending {
        let mut joined = Vec::new();
        let share = |other: &&Change| {
            other.names(directory).any(|name| change.names(directory).any(|mine| mine == name))
        };
        groups.retain_mut(|group| {
            let joins = group.iter().any(share);
            if joins {
                joined.append(group);
            }
            !joins
        });
        joined.push(change);
        joined.sort_by_key(|change| change.stamp);
        groups.push(joined);
    }
    groups
}

/// Whether a power cut may leave these bytes in this file.
fn bytes_allowed(disk: &Disk, inode: Inode, bytes: &[u8]) -> Result<(), String> {
    let file: &FileNode = &disk.files[inode];
    let slots = file_slots(disk, inode, file);
    let len = bytes.len() as u64;
    let mut stale = false;
    let mut lens = vec![file.platter.len()];
    let mut written = BTreeMap::new();
    let mut garbled = BTreeSet::new();
    let unit = u64::from(disk.personality.write_unit) / SECTOR as u64;
    for slot in &slots {
        match slot {
            Slot::Length { lens: more } => lens.extend(more.iter().map(|(_, len)| *len)),
            Slot::Sector { sector, versions, garbage } => {
                written.insert(*sector, versions);
                garbled.extend(garbage.then_some(*sector / unit));
            }
            Slot::Stale { .. } => stale = true,
            Slot::Name { .. } => unreachable!("a file has no name slots"),
        }
    }
    if !lens.contains(&len) {
        return Err(format!("{len} bytes long, where {lens:?} are possible"));
    }
    for (sector, here) in (0..).zip(bytes.chunks(SECTOR)) {
        let mut durable = [0; SECTOR];
        let from = sector * SECTOR as u64;
        // What lies behind the durable length was never promised to be found; it reads as zero.
        let there = index(file.platter.len().saturating_sub(from).min(SECTOR as u64));
        file.platter.read_raw(from, &mut durable);
        let is = |version: &[u8]| here == &version[..here.len()];
        let versions = written.get(&sector);
        let holds = is(&durable)
            || (there < SECTOR && is(&[&durable[..there], &[0; SECTOR][there..]].concat()))
            || versions.is_some_and(|versions| {
                let of = |bytes: &Option<Bytes>| bytes.as_ref().map_or(is(&[0; SECTOR]), |bytes| is(bytes));
                versions.iter().any(|(_, bytes)| of(bytes))
            })
            || garbled.contains(&(sector / unit))
            || (stale && there == 0);
        if !holds {
            let count = versions.map_or(0, |versions| versions.len());
            return Err(format!("sector {sector} is neither durable nor any of {count} pending versions"));
        }
    }
    Ok(())
}
