//! What a crash did to a disk, told for people: which sectors, lengths and names it kept, and what became of the others.
//!
//! Nothing is computed unless somebody asks ([`Disk::crash_and_tell`], [`SimDisk::on_crash`](crate::sim::SimDisk::on_crash)).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::content::{Content, SECTOR};
use super::file::FileNode;
use super::names::{Change, Inode, Node};
use super::pending::{Combination, Pending, Slot};
use super::{Disk, index};

/// What one crash decided. Files about which nothing was undecided are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Aftermath {
    /// Whether the power went; else the page cache survived, and nothing was decided.
    pub power: bool,
    /// Every unsynced change of a name, in the order in which they were made.
    pub names: Vec<NameFate>,
    /// Paths that were there before and are not any more.
    pub vanished: Vec<PathBuf>,
    /// Paths that had been removed and are there again.
    pub came_back: Vec<PathBuf>,
    /// Files with unsynced changes, or with bytes that a failed sync had lost, in the order of their creation.
    pub files: Vec<FileFate>,
}

/// What became of an unsynced change of a name: made (`to`), removed (`from`), or renamed (both).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NameFate {
    /// The name that the change takes away.
    pub from: Option<PathBuf>,
    /// The name that it makes.
    pub to: Option<PathBuf>,
    /// Whether the change is still there.
    pub kept: bool,
}

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileFate {
    /// See [`Disk::file_number`].
    pub number: u64,
    /// Its name before the crash; empty if it had none left.
    pub path: PathBuf,
    /// Its name now.
    pub path_after: Option<PathBuf>,
    /// Bytes as a read saw them before the crash.
    pub len_before: u64,
    /// Bytes that were durable.
    pub len_durable: u64,
    /// Bytes now; zero without a name.
    pub len_after: u64,
    /// What each sector of 512 bytes holds now, in order, without gaps.
    pub sectors: Vec<(Range<u64>, SectorFate)>,
}

/// What a sector holds after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SectorFate {
    /// It was durable, and nothing was pending.
    Durable,
    /// The newest version: an unsynced write that the crash kept.
    New,
    /// A version between the durable one and the newest.
    Between,
    /// What was durable: every unsynced write is lost.
    Old,
    /// The front half is new, the rest old.
    Torn,
    /// Neither old nor new bytes.
    Garbage,
    /// Bytes of another file or of nobody, where the file became longer.
    Stale,
    /// What was durable, while reads had shown the bytes of a failed sync.
    Ghost,
    /// Behind the new end of the file.
    Cut,
    /// In the page cache of the next process, and still unsynced.
    Unsynced,
}

impl Disk {
    /// Does what [`Disk::crash`] does, and tells about it.
    pub fn crash_and_tell(&mut self, crash: super::Crash<'_>) -> Aftermath {
        let Some((pending, combination)) = self.decide(crash) else {
            let told = Aftermath::of_process(self);
            self.crash(super::Crash::Process);
            return told;
        };
        let image = pending.image(&combination);
        let told = Aftermath::of_power(self, &pending, &combination, &image);
        *self = image;
        told
    }
}

impl Aftermath {
    fn of_process(disk: &Disk) -> Self {
        let paths = Paths::of(disk);
        let names = disk.names.pending.iter().map(|change| paths.fate(change, true)).collect();
        let mut files = Vec::new();
        for (&inode, file) in disk.files.iter().filter(|(_, file)| !file.is_settled()) {
            let dirty: BTreeSet<u64> = file.writes.iter().flat_map(super::file::Write::sectors).collect();
            let fate = |sector| {
                if dirty.contains(&sector) { SectorFate::Unsynced } else { SectorFate::Durable }
            };
            let len = file.cache.len();
            files.push(FileFate {
                number: inode.number(),
                path: paths.of_file(inode).unwrap_or_default(),
                path_after: paths.of_file(inode),
                len_before: len,
                len_durable: file.platter.len(),
                len_after: len,
                sectors: runs(len.div_ceil(SECTOR as u64), fate),
            });
        }
        Self { power: false, names, files, ..Self::default() }
    }

    pub(super) fn of_power(
        before: &Disk,
        pending: &Pending,
        combination: &Combination,
        after: &Disk,
    ) -> Self {
        let (paths, paths_after) = (Paths::of(before), Paths::of(after));
        let names = before.names.pending.iter().zip(combination);
        let names = names.map(|(change, option)| paths.fate(change, *option > 0)).collect();
        let slots: BTreeMap<Inode, Range<usize>> = pending.files.iter().cloned().collect();
        let mut files = Vec::new();
        for (&inode, file) in before.files.iter().filter(|(_, file)| !file.is_settled()) {
            let decided = slots.get(&inode).cloned().unwrap_or(0..0);
            let decided = pending.slots[decided.clone()].iter().zip(&combination[decided]);
            let now = after.files.get(&inode).map(|file| &file.cache);
            files.push(FileFate {
                number: inode.number(),
                path: paths.of_file(inode).unwrap_or_default(),
                path_after: paths_after.of_file(inode),
                len_before: file.cache.len(),
                len_durable: file.platter.len(),
                len_after: now.map_or(0, Content::len),
                sectors: now.map_or(Vec::new(), |now| sectors(before, file, decided, now)),
            });
        }
        let (had, has) = (paths.all(), paths_after.all());
        Self {
            power: true,
            names,
            vanished: had.difference(&has).cloned().collect(),
            came_back: has.difference(&had).cloned().collect(),
            files,
        }
    }
}

/// The fate of every sector of a file that is still there.
fn sectors<'a>(
    disk: &Disk,
    file: &FileNode,
    decided: impl Iterator<Item = (&'a Slot, &'a u32)>,
    now: &Content,
) -> Vec<(Range<u64>, SectorFate)> {
    let unit = u64::from(disk.personality.write_unit) / SECTOR as u64;
    let mut fates = BTreeMap::new();
    let mut garbled = BTreeSet::new();
    for (slot, option) in decided {
        let Slot::Sector { sector, versions, .. } = slot else { continue };
        let option = *option as usize;
        let fate = match option {
            0 => SectorFate::Old,
            _ if option == versions.len() => SectorFate::New,
            _ if option < versions.len() => SectorFate::Between,
            _ if option == versions.len() + 1 => {
                garbled.insert(sector / unit);
                SectorFate::Garbage
            }
            _ => SectorFate::Torn,
        };
        fates.insert(*sector, fate);
    }
    let same = |one: &Content, sector: u64| {
        let (mut left, mut right) = ([0; SECTOR], [0; SECTOR]);
        one.read_raw(sector * SECTOR as u64, &mut left);
        now.read_raw(sector * SECTOR as u64, &mut right);
        left == right
    };
    let end = now.len().div_ceil(SECTOR as u64);
    let durable_end = file.platter.len().div_ceil(SECTOR as u64);
    let fate = |sector| match fates.get(&sector) {
        _ if sector >= end => SectorFate::Cut,
        _ if garbled.contains(&(sector / unit)) => SectorFate::Garbage,
        Some(SectorFate::Old) if sector >= durable_end && !same(&file.platter, sector) => SectorFate::Stale,
        Some(fate) => *fate,
        None if same(&file.cache, sector) => SectorFate::Durable,
        None if sector >= durable_end => SectorFate::Stale,
        None => SectorFate::Ghost,
    };
    runs(file.cache.len().max(now.len()).div_ceil(SECTOR as u64), fate)
}

/// `count` sectors, equal neighbours together.
fn runs(count: u64, fate: impl Fn(u64) -> SectorFate) -> Vec<(Range<u64>, SectorFate)> {
    let mut runs: Vec<(Range<u64>, SectorFate)> = Vec::new();
    for sector in 0..count {
        let fate = fate(sector);
        match runs.last_mut() {
            Some((range, last)) if *last == fate => range.end = sector + 1,
            _ => runs.push((sector..sector + 1, fate)),
        }
    }
    runs
}

/// The names in the cache of a disk, by what they lead to.
struct Paths {
    directories: BTreeMap<Inode, PathBuf>,
    files: BTreeMap<Inode, BTreeSet<PathBuf>>,
}

impl Paths {
    fn of(disk: &Disk) -> Self {
        let directories = BTreeMap::from([(Inode::ROOT, PathBuf::new())]);
        let mut paths = Self { directories, files: BTreeMap::new() };
        let mut here = PathBuf::new();
        disk.names.walk(&mut |depth, name, node| {
            here = here.iter().take(index(u64::from(depth))).collect();
            here.push(name);
            match node {
                Node::Directory(inode) => {
                    paths.directories.insert(inode, here.clone());
                }
                Node::File(inode) => {
                    paths.files.entry(inode).or_default().insert(here.clone());
                }
            }
        });
        paths
    }

    fn of_file(&self, inode: Inode) -> Option<PathBuf> {
        self.files.get(&inode)?.first().cloned()
    }

    fn all(&self) -> BTreeSet<PathBuf> {
        self.files.values().flatten().chain(self.directories.values()).cloned().collect()
    }

    /// What became of `change`; a name in a directory that has no name itself is told without it.
    fn fate(&self, change: &Change, kept: bool) -> NameFate {
        let (mut from, mut to) = (None, None);
        for edit in change.edits.iter().flatten() {
            let directory = self.directories.get(&edit.directory).map_or(Path::new(""), PathBuf::as_path);
            let path = Some(directory.join(&*edit.name));
            if edit.makes() { to = path } else { from = path }
        }
        NameFate { from, to, kept }
    }
}
