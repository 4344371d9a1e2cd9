//! Directories: the names in the cache, the names on the platter, and the changes between them.
//!
//! N1. A change is one or two entries that persist together: a rename is found whole or not at all (the new name
//!     there and the old one gone, or neither), as in a journal. Everything else persists on its own.
//! N2. A change persists only with every earlier pending change of a name that it touches. Changes of different names
//!     persist in any order: a removal may overtake a rename, in the same directory too.
//! N3. A sync of a directory takes the changes of its entries that had completed when it began, and what they
//!     need (N2). It says nothing about the name of the directory itself, nor about any file's bytes.
//! N4. After a failed sync, what was lost is neither pending nor on the platter: no later sync finds it.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::table::Table;
use super::{Stamp, SyncFate};
use crate::sim::choices::Choices;

/// The number of a file or directory. Never reused within one simulated disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sim) struct Inode(pub(super) u64);

impl Inode {
    pub(super) const ROOT: Self = Self(0);

    pub(in crate::sim) fn number(self) -> u64 {
        self.0
    }
}

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(Inode),
    Directory(Inode),
}

pub(super) type Entries = Table<Arc<str>, Node>;

#[derive(Clone, Default)]
struct Directory {
    cache: Entries,
    platter: Entries,
}

/// One entry of one directory, before and after.
#[derive(Clone)]
pub(super) struct Edit {
    pub(super) directory: Inode,
    pub(super) name: Arc<str>,
    to: Option<Node>,
}

impl Edit {
    /// Whether the name is there afterwards.
    pub(super) fn makes(&self) -> bool {
        self.to.is_some()
    }
}

/// See N1.
#[derive(Clone)]
pub(super) struct Change {
    pub(super) stamp: Stamp,
    done: Stamp,
    pub(super) edits: [Option<Edit>; 2],
}

impl Change {
    pub(super) fn touches(&self, directory: Inode) -> bool {
        self.names(directory).next().is_some()
    }

    /// The names in `directory` that it changes.
    pub(super) fn names(&self, directory: Inode) -> impl Iterator<Item = &Arc<str>> {
        self.outcomes(directory).map(|(name, _)| name)
    }

    /// What it makes of names in `directory`.
    pub(super) fn outcomes(&self, directory: Inode) -> impl Iterator<Item = (&Arc<str>, Option<Node>)> {
        let edits = self.edits.iter().flatten().filter(move |edit| edit.directory == directory);
        edits.map(|edit| (&edit.name, edit.to))
    }

    /// Whether this change needs `earlier` (N2).
    pub(super) fn needs(&self, earlier: &Self) -> bool {
        let mine = self.edits.iter().flatten();
        mine.into_iter().any(|mine| {
            earlier
                .edits
                .iter()
                .flatten()
                .any(|edit| edit.directory == mine.directory && edit.name == mine.name)
        })
    }
}

/// The directory and the last name of a path.
pub(super) struct Place {
    pub(super) directory: Inode,
    pub(super) name: Arc<str>,
}

/// See the module.
#[derive(Clone)]
pub(super) struct Names {
    directories: Table<Inode, Directory>,
    pub(super) pending: Arc<Vec<Change>>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { directories: Table::of(vec![(Inode::ROOT, Directory::default())]), pending: Arc::default() }
    }

    /// What `path` leads to, as the cache has it. Paths start at the root, with or without a slash.
    pub(super) fn find(&self, path: &Path) -> io::Result<Node> {
        match self.walk_to(path)? {
            None => Ok(Node::Directory(Inode::ROOT)),
            Some((directory, name)) => {
                self.entries(directory).get(name).copied().ok_or_else(|| not_found(path))
            }
        }
    }

    /// Where the name `path` is or would be; `None` is the root.
    pub(super) fn place(&self, path: &Path) -> io::Result<Option<Place>> {
        let found = self.walk_to(path)?;
        Ok(found.map(|(directory, name)| Place { directory, name: Arc::from(name) }))
    }

    /// The directory that the last name of `path` is in, and that name; `None` is the root.
    fn walk_to<'a>(&self, path: &'a Path) -> io::Result<Option<(Inode, &'a str)>> {
        let mut directory = Inode::ROOT;
        let mut last: Option<&str> = None;
        let text = path.to_str().ok_or_else(|| error(io::ErrorKind::InvalidInput, path, "is not UTF-8"))?;
        let mut rest = Some(text);
        while let Some(text) = rest {
            let name;
            (name, rest) = first_name(text);
            match name {
                "" | "." => continue,
                ".." => return Err(error(io::ErrorKind::InvalidInput, path, "is not a plain path")),
                _ => {}
            }
            if let Some(before) = last.replace(name) {
                directory = match self.entries(directory).get(before) {
                    Some(Node::Directory(inode)) => *inode,
                    Some(Node::File(_)) => {
                        return Err(error(io::ErrorKind::NotADirectory, path, "leads through a file"));
                    }
                    None => return Err(not_found(path)),
                };
            }
        }
        Ok(last.map(|name| (directory, name)))
    }

    pub(super) fn look_up(&self, place: &Place) -> Option<Node> {
        self.entries(place.directory).get(&*place.name).copied()
    }

    /// The entries of one directory, as the cache has them.
    pub(super) fn entries(&self, directory: Inode) -> &Entries {
        &self.directories[directory].cache
    }

    /// The entries of one directory, as the platter has them.
    pub(super) fn durable(&self, directory: Inode) -> &Entries {
        &self.directories[directory].platter
    }

    /// Adds an empty directory without a name.
    pub(super) fn add_directory(&mut self, inode: Inode) {
        self.directories.insert(inode, Directory::default());
    }

    /// Changes the cache, and leaves the platter to a sync or to chance.
    pub(super) fn change(&mut self, stamp: Stamp, edits: [Option<(Place, Option<Node>)>; 2]) {
        let edits = edits
            .map(|edit| edit.map(|(place, to)| Edit { directory: place.directory, name: place.name, to }));
        for edit in edits.iter().flatten() {
            let directory = self.directory_mut(edit.directory);
            put(&mut directory.cache, edit);
        }
        Arc::make_mut(&mut self.pending).push(Change { stamp, done: Stamp::NEVER, edits });
    }

    pub(super) fn complete(&mut self, stamp: Stamp, now: Stamp) {
        for change in Arc::make_mut(&mut self.pending).iter_mut().filter(|change| change.stamp == stamp) {
            change.done = now;
        }
    }

    pub(super) fn complete_all(&mut self, now: Stamp) {
        for change in Arc::make_mut(&mut self.pending) {
            change.done = change.done.min(now);
        }
    }

    pub(super) fn sync(&mut self, directory: Inode, began: Stamp, fate: SyncFate, choices: &mut dyn Choices) {
        if matches!(fate, SyncFate::Forgotten | SyncFate::FailedStillDirty) {
            return;
        }
        let covered = self.take(|change| change.done <= began && change.touches(directory));
        let mut lost: Vec<Change> = Vec::new();
        for change in covered {
            let kept = match fate {
                SyncFate::Done => true,
                SyncFate::FailedSomeLost => {
                    !lost.iter().any(|earlier| change.needs(earlier)) && choices.choose(2) == 1
                }
                _ => false,
            };
            if kept {
                self.persist(&change);
            } else {
                lost.push(change);
            }
        }
    }

    /// Puts one change on the platter.
    pub(super) fn persist(&mut self, change: &Change) {
        for edit in change.edits.iter().flatten() {
            let directory = self.directory_mut(edit.directory);
            put(&mut directory.platter, edit);
        }
    }

    /// Some complete changes reach the platter early, each with what it needs. Returns how many.
    pub(super) fn write_back(&mut self, now: Stamp, choices: &mut dyn Choices) -> usize {
        let mut back = BTreeSet::new();
        for at in 0..self.pending.len() {
            if self.pending[at].done <= now && choices.choose(2) == 1 {
                back.insert(self.pending[at].stamp);
            }
        }
        let taken = self.take(|change| back.contains(&change.stamp));
        for change in &taken {
            self.persist(change);
        }
        taken.len()
    }

    /// What a power cut leaves, after the kept changes are on the platter: the cache is read anew, nothing is
    /// pending, and what no name leads to is gone. Returns the files that are left, ascending.
    pub(super) fn reboot(&mut self) -> Vec<Inode> {
        self.pending = Arc::default();
        let mut files = Vec::new();
        let mut reached = Vec::new();
        let mut walk = vec![Inode::ROOT];
        while let Some(inode) = walk.pop() {
            let platter = self.directories[inode].platter.clone();
            for node in platter.values() {
                match node {
                    Node::File(file) => files.push(*file),
                    Node::Directory(directory) => walk.push(*directory),
                }
            }
            reached.push((inode, Directory { cache: platter.clone(), platter }));
        }
        self.directories = Table::of(reached);
        files.sort_unstable();
        files
    }

    /// The files that some name leads to or may lead to again, ascending.
    pub(super) fn files(&self) -> Vec<Inode> {
        let mut files = Vec::new();
        self.each_file(|inode| files.push(inode));
        files.sort_unstable();
        files.dedup();
        files
    }

    /// Shows the files that some name leads to or may lead to again: each once at least, in any order.
    pub(super) fn each_file(&self, mut show: impl FnMut(Inode)) {
        let mut add = |node: Option<Node>| {
            if let Some(Node::File(inode)) = node {
                show(inode);
            }
        };
        for Directory { cache, platter } in self.directories.values() {
            cache.values().for_each(|node| add(Some(*node)));
            if !cache.is_shared_with(platter) {
                platter.values().for_each(|node| add(Some(*node)));
            }
        }
        self.pending.iter().flat_map(|change| change.edits.iter().flatten()).for_each(|edit| add(edit.to));
    }

    /// How many names in the cache lead to each file.
    pub(super) fn link_counts(&self) -> LinkCounts {
        let nodes = self.directories.values().flat_map(|directory| directory.cache.values());
        let files = nodes.filter_map(|node| match node {
            Node::File(inode) => Some(*inode),
            Node::Directory(_) => None,
        });
        let mut files: Vec<Inode> = files.collect();
        files.sort_unstable();
        LinkCounts(files)
    }

    /// How many names in the cache lead to `file`.
    pub(super) fn link_count(&self, file: Inode) -> u64 {
        let nodes = self.directories.values().flat_map(|directory| directory.cache.values());
        nodes.filter(|node| **node == Node::File(file)).count() as u64
    }

    /// Shows every name in the cache, a directory before what is in it, with its depth.
    pub(super) fn walk(&self, show: &mut dyn FnMut(u32, &str, Node)) {
        self.walk_from(Inode::ROOT, 0, show);
    }

    fn walk_from(&self, directory: Inode, depth: u32, show: &mut dyn FnMut(u32, &str, Node)) {
        for (name, node) in self.entries(directory).iter() {
            show(depth, name, *node);
            if let Node::Directory(inode) = node {
                self.walk_from(*inode, depth + 1, show);
            }
        }
    }

    /// Takes the changes that `wanted` names, and those that they need, out of the pending ones.
    pub(super) fn take(&mut self, wanted: impl Fn(&Change) -> bool) -> Vec<Change> {
        let mut taken: Vec<Change> = Vec::new();
        if self.pending.is_empty() {
            return taken;
        }
        let mut rest = Vec::new();
        for change in std::mem::take(Arc::make_mut(&mut self.pending)).into_iter().rev() {
            if wanted(&change) || taken.iter().any(|later| later.needs(&change)) {
                taken.push(change);
            } else {
                rest.push(change);
            }
        }
        taken.reverse();
        rest.reverse();
        self.pending = Arc::new(rest);
        taken
    }

    fn directory_mut(&mut self, inode: Inode) -> &mut Directory {
        self.directories.get_mut(&inode).expect("a place names a directory that exists")
    }
}

/// The first name of a path, and what is behind it.
fn first_name(path: &str) -> (&str, Option<&str>) {
    match path.bytes().position(|byte| byte == b'/') {
        Some(end) => (&path[..end], Some(&path[end + 1..])),
        None => (path, None),
    }
}

/// The file that each name leads to, ascending.
pub(super) struct LinkCounts(Vec<Inode>);

impl LinkCounts {
    /// How many names lead to `inode`.
    pub(super) fn of(&self, inode: Inode) -> u64 {
        let first = self.0.partition_point(|other| *other < inode);
        self.0[first..].iter().take_while(|other| **other == inode).count() as u64
    }
}

fn put(entries: &mut Entries, edit: &Edit) {
    match edit.to {
        Some(node) => entries.insert(Arc::clone(&edit.name), node),
        None => entries.remove(&edit.name),
    }
}

pub(super) fn not_found(path: &Path) -> io::Error {
    error(io::ErrorKind::NotFound, path, "does not exist")
}

pub(super) fn error(kind: io::ErrorKind, path: &Path, what: &str) -> io::Error {
    io::Error::new(kind, format!("{} {what}", path.display()))
}
