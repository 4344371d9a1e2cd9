//! Damage at rest: what becomes of a disk while nobody runs on it. All of it is out of contract.
//!
//! A1. Damage is durable: no crash undoes it, and no change that was pending for a damaged name comes true later. Bytes that are
//!     damaged beside a pending write of their sector are the exception: that write may still come true over them.
//! A2. What is called damaged is different now, and nothing else is: a file that was exchanged for an equal one is no hit.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::content::{SECTOR, index};
use super::file::FileNode;
use super::names::{Inode, Node, error};
use super::{Disk, Stamp};
use crate::sim::faults::FaultClass;

/// Something that happens to a file or directory at rest.
#[derive(Clone, Debug)]
pub enum Damage {
    /// Bits of one byte of a file flip: those of `mask`.
    BitRot {
        /// Which byte.
        offset: u64,
        /// Which bits; none is no damage.
        mask: u8,
    },
    /// A sector of a file cannot be read until it is written again.
    LatentSector {
        /// The number of the sector of 512 bytes, from the beginning of the file.
        sector: u64,
    },
    /// A file, or a directory with everything below it, is what another disk has at `path`: an earlier image of the
    /// same disk (a snapshot put back in part, a mirror that fell behind), or a disk of somebody else. Where that one
    /// has nothing, nothing is left.
    Exchanged {
        /// The disk that it comes from. Its cache counts: what a read finds there.
        with: Disk,
        /// Where it is there.
        path: PathBuf,
    },
    /// A directory has the names of files that it had in an earlier image of the same disk. A file that is still
    /// there keeps its bytes, one that is gone comes back as it was. Names of directories stay.
    StaleNames {
        /// The earlier image.
        before: Disk,
    },
}

/// A file that is different after damage.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hit {
    /// Its path.
    pub path: PathBuf,
    /// Its number now, or before if it is gone.
    pub file: u64,
    /// Which bytes are affected: up to the greater of its lengths before and now, at least one.
    pub bytes: Range<u64>,
}

impl Damage {
    /// What a ledger calls it.
    pub fn class(&self) -> FaultClass {
        match self {
            Self::BitRot { .. } => FaultClass::BitRot,
            Self::LatentSector { .. } => FaultClass::LatentSector,
            Self::Exchanged { .. } | Self::StaleNames { .. } => FaultClass::Exchanged,
        }
    }
}

/// The files below a path, by what is behind it in their own paths.
type Below = BTreeMap<PathBuf, Inode>;

impl Disk {
    /// Does `damage` to what is at `path`, and returns the files that are different now.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is nothing at `path` (for [`Damage::Exchanged`], when its directory is missing);
    /// `NotADirectory` or `InvalidInput` when it is a file and should be a directory, or the other way round.
    ///
    /// # Panics
    ///
    /// When the byte or sector lies behind the end of the file.
    pub fn damage(&mut self, path: impl AsRef<Path>, damage: &Damage) -> io::Result<Vec<Hit>> {
        let path = path.as_ref();
        match damage {
            Damage::BitRot { mask: 0, .. } => Ok(Vec::new()),
            Damage::BitRot { offset, mask } => {
                let (inode, offset) = (self.file(path)?, *offset);
                assert!(offset < self.len(inode), "byte {offset} is behind the end of {}", path.display());
                self.rot(inode, offset, *mask);
                Ok(vec![Hit { path: path.to_owned(), file: inode.number(), bytes: offset..offset + 1 }])
            }
            Damage::LatentSector { sector } => {
                let (inode, start) = (self.file(path)?, sector * SECTOR as u64);
                assert!(start < self.len(inode), "sector {sector} is behind the end of {}", path.display());
                self.mark_bad(inode, *sector);
                let bytes = start..start + SECTOR as u64;
                Ok(vec![Hit { path: path.to_owned(), file: inode.number(), bytes }])
            }
            Damage::Exchanged { with, path: from } => self.exchange(path, with, from),
            Damage::StaleNames { before } => self.turn_names_back(path, before),
        }
    }

    /// Damages the file `path` at rest: overwrites bytes on the platter and in the cache, within its length.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is no such file.
    ///
    /// # Panics
    ///
    /// When the bytes reach beyond its end.
    pub fn scribble(&mut self, path: impl AsRef<Path>, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let inode = self.file(path.as_ref())?;
        let file = self.file_mut(inode);
        assert!(offset + bytes.len() as u64 <= file.cache.len(), "damage beyond the end");
        file.scribble(offset, bytes);
        Ok(())
    }

    /// Removes the name `path` for good, without a crash bringing it back.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is no such file.
    pub fn remove_at_rest(&mut self, path: impl AsRef<Path>) -> io::Result<()> {
        let stamp = self.remove(path.as_ref())?;
        self.settle_name(stamp);
        Ok(())
    }

    fn exchange(&mut self, path: &Path, with: &Self, from: &Path) -> io::Result<Vec<Hit>> {
        let (here, there) = (self.below(path), with.below(from));
        let mut hits = Vec::new();
        for rest in here.keys().chain(there.keys()).collect::<BTreeSet<_>>() {
            let (old, new) = (here.get(rest).copied(), there.get(rest).copied());
            let equal = old.zip(new).is_some_and(|(old, new)| self.reads_as(old, with, new));
            if equal {
                continue;
            }
            let at = if rest.as_os_str().is_empty() { path.to_owned() } else { path.join(rest) };
            let len =
                [old.map(|old| self.len(old)), new.map(|new| with.len(new))].into_iter().flatten().max();
            if old.is_some() {
                self.remove_at_rest(&at)?;
            }
            let mut file = old.unwrap_or(Inode::ROOT);
            if let Some(new) = new {
                if let Some(parent) = at.parent() {
                    self.install_dir(parent)?;
                }
                let stamp;
                (file, stamp) = self.create_new(&at)?;
                self.settle_name(stamp);
                self.files.insert(file, Arc::new(with.at_rest(new)));
            }
            hits.push(Hit { path: at, file: file.number(), bytes: 0..len.unwrap_or(0).max(1) });
        }
        Ok(hits)
    }

    fn turn_names_back(&mut self, path: &Path, before: &Self) -> io::Result<Vec<Hit>> {
        let files = |disk: &Self| -> io::Result<BTreeMap<Arc<str>, Inode>> {
            let entries = disk.names.entries(disk.directory(path)?).iter();
            let files = entries.filter_map(|(name, node)| match node {
                Node::File(inode) => Some((Arc::clone(name), *inode)),
                Node::Directory(_) => None,
            });
            Ok(files.collect())
        };
        let (now, then) = (files(self)?, files(before)?);
        let mut hits = Vec::new();
        for name in now.keys().chain(then.keys()).collect::<BTreeSet<_>>() {
            let (old, new) = (now.get(name).copied(), then.get(name).copied());
            if old == new {
                continue;
            }
            let at = path.join(&**name);
            if self.directory(&at).is_ok() {
                return Err(error(io::ErrorKind::InvalidInput, &at, "is a directory now"));
            }
            let len = old.map_or(0, |old| self.len(old));
            if let Some(inode) = new
                && !self.files.contains(&inode)
            {
                self.files.insert(inode, Arc::new(before.at_rest(inode)));
                // Of a disk that had gone further: the number is taken here too.
                self.last_inode = self.last_inode.max(inode.number());
            }
            let stamp = self.lead(&at, new)?;
            self.settle_name(stamp);
            let bytes = 0..new.map_or(len, |new| self.len(new).max(len)).max(1);
            hits.push(Hit { path: at, file: new.or(old).unwrap_or(Inode::ROOT).number(), bytes });
        }
        Ok(hits)
    }

    /// Makes the name `path` lead to the file, or nowhere.
    fn lead(&mut self, path: &Path, to: Option<Inode>) -> io::Result<Stamp> {
        let place =
            self.names.place(path)?.ok_or_else(|| error(io::ErrorKind::InvalidInput, path, "is the root"))?;
        let stamp = self.stamp();
        self.names.change(stamp, [Some((place, to.map(Node::File))), None]);
        Ok(stamp)
    }

    /// The files at and below `path`, as the cache has them.
    fn below(&self, path: &Path) -> Below {
        let root = path.strip_prefix("/").unwrap_or(path);
        let tree = self.tree().into_iter();
        let files = tree.filter_map(|(path, len)| {
            len?;
            let rest = path.strip_prefix(root).ok()?.to_owned();
            Some((rest, self.file(&path).ok()?))
        });
        files.collect()
    }

    /// Whether a read of `mine` finds what a read of `theirs` finds on the other disk.
    fn reads_as(&self, mine: Inode, other: &Self, theirs: Inode) -> bool {
        let bytes = |disk: &Self, inode: Inode| {
            let mut bytes = vec![0; index(disk.len(inode))];
            disk.read(inode, 0, &mut bytes);
            bytes
        };
        self.files[mine].bad == other.files[theirs].bad && bytes(self, mine) == bytes(other, theirs)
    }

    /// The file as a read finds it, with nothing pending.
    fn at_rest(&self, inode: Inode) -> FileNode {
        let file = &self.files[inode];
        FileNode::settled(file.cache.clone(), file.bad.clone())
    }
}
