//! The simulated disk: a page cache over a platter, and everything that may happen between the two.
//!
//! A plain model without time, tasks or errors of its own: who calls it decides when an operation takes effect,
//! when it completes and which fault hits it ([`SimVfs`](super::SimVfs) does). Its changes are ordered by stamps.
//! Copying a disk copies pointers: keep one at every call, if you like.

mod aftermath;
mod calls;
mod content;
mod damage;
mod file;
mod images;
mod names;
mod pending;
mod table;
mod witness;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use super::choices::Choices;
use super::personality::Personality;
pub use aftermath::{Aftermath, FileFate, NameFate, SectorFate};
use content::{Content, PAGE_BYTES, index};
pub use damage::{Damage, Hit};
use file::FileNode;
pub use images::Images;
pub(in crate::sim) use names::Inode;
use names::{Names, Node};
use pending::{Combination, Pending};
use table::Table;
pub use witness::{Act, Begun, FoundTree, Witness};

/// Room for what stands for the names and pages of most disks.
const HASHED_BYTES_USUAL: usize = 2048;

/// Orders what happens to a disk: the changes, their completions, the beginnings of syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sim) struct Stamp(u64);

impl Stamp {
    const NEVER: Self = Self(u64::MAX);
}

/// Which changes a sync covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Cover {
    /// Those that were complete at this moment.
    CompletedBy(Stamp),
    /// This one only: a write with a sync of its own.
    One(Stamp),
    /// All that is in the cache, complete or not: what a sync that fails may lose, also of writes with a sync of their own.
    Everything,
}

/// What becomes of the changes that a sync covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum SyncFate {
    /// They are durable.
    Done,
    /// Nothing, and nobody says so: the device lied.
    Forgotten,
    /// It failed, and they wait for the next sync.
    FailedStillDirty,
    /// It failed; some reached the platter, the others will not.
    FailedSomeLost,
    /// It failed, and none of them will reach the platter.
    FailedAllLost,
}

/// How a process ends.
pub enum Crash<'a> {
    /// The process dies, the machine stays up: the page cache survives, and unsynced changes stay unsynced.
    Process,
    /// The power goes: of every unsynced change, the choices say what is left.
    Power(&'a mut dyn Choices),
    /// The power goes, and no unsynced change is left: the simplest legal outcome.
    AllLost,
}

impl fmt::Debug for Crash<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Process => "Process",
            Self::Power(_) => "Power",
            Self::AllLost => "AllLost",
        })
    }
}

/// A simulated disk at one moment: a page cache over a platter, and what waits between the two.
///
/// A plain value without time, tasks or errors of its own; [`SimDisk`](super::SimDisk) puts it to use. A clone costs
/// what its pointers do: keep one at every call, if you like.
///
/// ```
/// use highwater::sim::{Disk, Personality};
///
/// let mut disk = Disk::new(Personality::default());
/// disk.install_file("config", b"cores = 2")?;
/// assert_eq!(disk.read_file("config").as_deref(), Some(&b"cores = 2"[..]));
/// assert_eq!(disk.images(10, 0).count(), 1); // nothing is pending: a power cut has nothing to decide
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Disk {
    personality: Personality,
    files: Table<Inode, Arc<FileNode>>,
    names: Names,
    last_stamp: u64,
    last_inode: u64,
    capacity_bytes: u64,
}

impl Disk {
    /// An empty disk without limits: a root directory and nothing in it.
    ///
    /// # Panics
    ///
    /// When the personality has a write unit other than 512 or 4,096, or a depth outside 1 to 16.
    #[must_use]
    pub fn new(personality: Personality) -> Self {
        assert!(
            matches!(personality.write_unit, 512 | 4096),
            "a write unit of {} bytes",
            personality.write_unit
        );
        assert!((1..=16).contains(&personality.depth_max), "a depth of {}", personality.depth_max);
        Self {
            personality,
            files: Table::default(),
            names: Names::new(),
            last_stamp: 0,
            last_inode: 0,
            capacity_bytes: u64::MAX,
        }
    }

    /// The same disk with room for `bytes` of file contents, counted in pages of 4,096 bytes.
    #[must_use]
    pub fn with_capacity(mut self, bytes: u64) -> Self {
        self.capacity_bytes = bytes;
        self
    }

    /// What kind of disk this is.
    pub fn personality(&self) -> Personality {
        self.personality
    }

    /// Bytes that files may still take up while nobody has one open that has lost its last name.
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes_beside(|_| false)
    }

    /// Bytes that files may still take up beside those that have names or are open.
    pub(in crate::sim) fn free_bytes_beside(&self, is_open: impl Fn(Inode) -> bool) -> u64 {
        if self.capacity_bytes == u64::MAX {
            return u64::MAX;
        }
        self.capacity_bytes.saturating_sub(self.used_bytes_beside(is_open))
    }

    /// Ends the process or cuts the power, and leaves the disk that the next process finds.
    pub fn crash(&mut self, crash: Crash<'_>) {
        if let Some((pending, combination)) = self.decide(crash) {
            *self = pending.image(&combination);
            return;
        }
        let now = self.stamp();
        self.names.complete_all(now);
        for file in self.files.values_mut().filter(|file| !file.is_settled()) {
            Arc::make_mut(file).complete_all(now);
        }
    }

    /// What a power loss does to each unsynced change; nothing is decided when only the process dies.
    fn decide(&self, crash: Crash<'_>) -> Option<(Pending, Combination)> {
        let pending = match crash {
            Crash::Process => return None,
            Crash::Power(_) | Crash::AllLost => Pending::new(self),
        };
        let combination = match crash {
            Crash::Power(choices) => images::sample(&pending, pending::is_ordered(self), choices),
            _ => vec![0; pending.slots.len()],
        };
        Some((pending, combination))
    }

    /// How many things a power cut now would decide, each on its own: sectors, lengths, names.
    pub fn pending(&self) -> usize {
        Pending::new(self).slots.len()
    }

    /// The disks that a power cut now may leave: each once, all of them if they are at most `limit`. Else, in this
    /// order: nothing lost; everything lost; everything up to each change; each single change lost; each
    /// single change kept; and as far as `limit` goes each single sector, length or name lost; each single
    /// one kept; a sample drawn from `seed`. Only the kinds before "as far as" may exceed `limit`.
    #[must_use]
    pub fn images(&self, limit: u64, seed: u64) -> Images {
        Images::new(self, limit, seed)
    }

    /// A digest of what a program can read from this disk: names, link counts, lengths, bytes.
    pub fn hash(&self) -> u128 {
        let links = self.names.link_counts();
        let mut text = Vec::with_capacity(HASHED_BYTES_USUAL);
        self.names.walk(&mut |depth, name, node| {
            text.extend_from_slice(&depth.to_le_bytes());
            text.extend_from_slice(&(name.len() as u64).to_le_bytes());
            text.extend_from_slice(name.as_bytes());
            match node {
                Node::Directory(_) => text.push(0),
                Node::File(inode) => {
                    text.push(1);
                    text.extend_from_slice(&links.of(inode).to_le_bytes());
                    self.files[inode].cache.digest_into(&mut text);
                }
            }
        });
        xxh3_128(&text)
    }

    /// Every name on the disk with the length of its file, in order; directories have none.
    pub fn tree(&self) -> Vec<(PathBuf, Option<u64>)> {
        let mut tree = Vec::new();
        self.walk_paths(|path, node| {
            let len = match node {
                Node::Directory(_) => None,
                Node::File(inode) => Some(self.files[inode].cache.len()),
            };
            tree.push((path.to_owned(), len));
        });
        tree
    }

    /// The path of every file on the disk, in order, with a digest of its length and its bytes, as a read finds them.
    /// Copies of a disk share what it costs.
    pub fn digests(&self) -> Vec<(PathBuf, u128)> {
        let (mut digests, mut text) = (Vec::new(), Vec::new());
        self.walk_paths(|path, node| {
            if let Node::File(inode) = node {
                text.clear();
                self.files[inode].cache.digest_into(&mut text);
                digests.push((path.to_owned(), xxh3_128(&text)));
            }
        });
        digests
    }

    /// Shows the path of every name in the cache, in order.
    fn walk_paths(&self, mut show: impl FnMut(&Path, Node)) {
        let (mut path, mut ends) = (String::new(), Vec::new());
        self.names.walk(&mut |depth, name, node| {
            ends.truncate(index(u64::from(depth)));
            path.truncate(ends.last().copied().unwrap_or(0));
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(name);
            ends.push(path.len());
            show(Path::new(&path), node);
        });
    }

    /// The number of the file `path`: other than its name, it never changes and is never used again.
    pub fn file_number(&self, path: impl AsRef<Path>) -> Option<u64> {
        self.file(path.as_ref()).ok().map(Inode::number)
    }

    /// The bytes of the file `path`, as a read finds them.
    pub fn read_file(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let inode = self.file(path.as_ref()).ok()?;
        Some(self.files[inode].cache.to_vec())
    }

    /// Puts a durable directory at `path`, with the directories that lead to it.
    ///
    /// # Errors
    ///
    /// `NotADirectory` when the path leads through a file or to one.
    pub fn install_dir(&mut self, path: impl AsRef<Path>) -> io::Result<()> {
        let mut prefix = PathBuf::new();
        for component in path.as_ref().components() {
            prefix.push(component);
            match self.names.find(&prefix) {
                Ok(Node::Directory(_)) => {}
                Ok(Node::File(_)) => {
                    return Err(names::error(io::ErrorKind::NotADirectory, &prefix, "is a file"));
                }
                Err(_) => {
                    let stamp = self.create_dir(&prefix)?;
                    self.settle_name(stamp);
                }
            }
        }
        Ok(())
    }

    /// Puts a durable file with these bytes at `path`, in the place of another one if need be.
    ///
    /// # Errors
    ///
    /// `NotFound` when its directory is missing.
    pub fn install_file(&mut self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        let path = path.as_ref();
        if self.names.find(path).is_ok() {
            let stamp = self.remove(path)?;
            self.settle_name(stamp);
        }
        let (inode, stamp) = self.create_new(path)?;
        self.settle_name(stamp);
        let mut content = Content::default();
        content.write_raw(0, bytes);
        content.clip(bytes.len() as u64);
        self.files.insert(inode, Arc::new(FileNode::settled(content, BTreeSet::new())));
        Ok(())
    }

    fn settle_name(&mut self, stamp: Stamp) {
        let now = self.stamp();
        self.names.complete(stamp, now);
        let taken = self.names.take(|change| change.stamp == stamp);
        for change in &taken {
            self.names.persist(change);
        }
    }

    /// Bytes that files with names take up, in whole pages. What has lost its last name takes up none, although a
    /// power loss may bring it back.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes_beside(|_| false)
    }

    fn used_bytes_beside(&self, is_open: impl Fn(Inode) -> bool) -> u64 {
        let links = self.names.link_counts();
        let held = self.files.iter().filter(|(inode, _)| links.of(**inode) > 0 || is_open(**inode));
        held.map(|(_, file)| file.cache.page_count()).sum::<u64>() * PAGE_BYTES as u64
    }

    /// After the names on the platter were decided: drops what they do not lead to.
    fn forget_unreached(&mut self) {
        let reached = self.names.reboot();
        self.files.retain(|inode| reached.binary_search(inode).is_ok());
    }

    fn file_mut(&mut self, inode: Inode) -> &mut FileNode {
        Arc::make_mut(self.files.get_mut(&inode).expect("an open file exists"))
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("personality", &format_args!("{}", self.personality))
            .field("tree", &self.tree())
            .finish_non_exhaustive()
    }
}
