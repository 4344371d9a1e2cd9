//! Garbage collection: which names may go, why, and removing them.
//!
//! The plan is a pure function of a listing and of a head that is no older: the writer's own, or one that was read *after* the
//! listing, so that a name which a later manifest came to need is never judged by an older one. Age is no argument. A
//! name goes when
//!
//! G1. the head retires it, or it is below the head's WAL floor or number; or
//! G2. its (token, attempt) is dead, so that no manifest will ever name it, and the head does not either.
//!
//! Everything else stays. A removal needs no order and survives a crash between any two: the head is durable, needs
//! none of the names, and the next plan finds what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::ids::{Epoch, FencingToken, ManifestSeq, SegmentNo};
use crate::vfs::{Entry, EntryKind, Vfs, retry};

use super::opening::{RootName, core_folder, is_root_temp, root_name};
use super::store::list;
use super::{FileName, Manifest, decimal, temp};

/// What may be going on beside the collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// An open that has not begun to prepare or write anything, or has done all of that: every temp is a leftover.
    Opening,
    /// Segments are prepared, a checkpoint may be written.
    Running,
}

/// The names below a database's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) root: Vec<Entry>,
    pub(crate) manifests: Vec<Entry>,
    pub(crate) files: Vec<Entry>,
    /// The folders of logs by name, and what each holds.
    pub(crate) wal: Vec<(Entry, Vec<Entry>)>,
}

impl Listing {
    /// Whether one of a database's folders is there, as it is named below the database's own.
    pub(crate) fn has_folder(&self, folder: &Path) -> bool {
        let is_it = |entry: &Entry| entry.kind == EntryKind::Directory && folder.ends_with(&entry.name);
        match folder.parent() {
            Some(parent) if parent == Path::new("wal") => self.wal.iter().any(|(core, _)| is_it(core)),
            _ => self.root.iter().any(is_it),
        }
    }
}

/// Why a name goes or stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A retained checkpoint needs the file.
    Needed,
    /// Only an epoch that is kept needs it.
    Kept(Epoch),
    /// Its attempt may still be under way.
    InFlight,
    /// It is the head.
    Head,
    /// The head was derived from it: evidence for whoever must repair by hand.
    Predecessor,
    /// Its number is above the head's: it landed after the head was read.
    AboveHead,
    /// Replay from a retained checkpoint reads it, or it is being written.
    AboveFloor,
    /// Part of every database.
    Fixture,
    /// Not a name of ours, or not a file.
    Foreign,
    /// The manifest of this number retires it.
    Retired(ManifestSeq),
    /// No manifest names it and its token is fenced: none ever will.
    DeadToken(FencingToken),
    /// No manifest names it and its attempt is over: none ever will.
    DeadAttempt(u32),
    /// The head replaces it.
    OldManifest,
    /// Every retained checkpoint's cut is behind it.
    BelowFloor(SegmentNo),
    /// No life that may still be read has this core.
    NoLife,
    /// A temp that nobody goes on with.
    LeftoverTemp,
}

/// One name and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Below the database's directory.
    pub(crate) name: PathBuf,
    pub(crate) reason: Reason,
}

impl Reason {
    /// Whether the name is to be removed.
    pub(crate) fn deletes(self) -> bool {
        match self {
            Self::Needed
            | Self::Kept(_)
            | Self::InFlight
            | Self::Head
            | Self::Predecessor
            | Self::AboveHead
            | Self::AboveFloor
            | Self::Fixture
            | Self::Foreign => false,
            Self::Retired(_)
            | Self::DeadToken(_)
            | Self::DeadAttempt(_)
            | Self::OldManifest
            | Self::BelowFloor(_)
            | Self::NoLife
            | Self::LeftoverTemp => true,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Needed => f.write_str("a retained checkpoint needs it"),
            Self::Kept(epoch) => write!(f, "epoch {epoch}, which is kept, needs it"),
            Self::InFlight => f.write_str("its attempt may be under way"),
            Self::Head => f.write_str("it is the head"),
            Self::Predecessor => f.write_str("the head was derived from it"),
            Self::AboveHead => f.write_str("it is newer than the head that was read"),
            Self::AboveFloor => f.write_str("replay may read it"),
            Self::Fixture => f.write_str("part of every database"),
            Self::Foreign => f.write_str("not a name of this database's"),
            Self::Retired(seq) => write!(f, "manifest {seq} retires it"),
            Self::DeadToken(token) => write!(f, "no manifest names it and token {token} is fenced"),
            Self::DeadAttempt(attempt) => write!(f, "no manifest names it and attempt {attempt} is over"),
            Self::OldManifest => f.write_str("the head replaces it"),
            Self::BelowFloor(floor) => write!(f, "below the WAL floor, segment {floor}"),
            Self::NoLife => f.write_str("no life that may be read has this core"),
            Self::LeftoverTemp => f.write_str("a leftover of an interrupted operation"),
        }
    }
}

/// Lists the database at `root`.
///
/// # Errors
///
/// `Failed` naming the folder.
pub(crate) async fn listing<V: Vfs>(vfs: &V, root: &Path) -> Result<Listing> {
    let wal = root.join("wal");
    let mut logs = Vec::new();
    for core in list(vfs, &wal).await? {
        let is_log = core.kind == EntryKind::Directory && core_folder(&core.name).is_some();
        let segments = if is_log { list(vfs, &wal.join(&core.name)).await? } else { Vec::new() };
        logs.push((core, segments));
    }
    Ok(Listing {
        root: list(vfs, root).await?,
        manifests: list(vfs, &root.join("m")).await?,
        files: list(vfs, &root.join("f")).await?,
        wal: logs,
    })
}

/// What becomes of every name in `listing`, which was made before `head` was read: checkpoint files, segments, temps,
/// then manifests, oldest first.
pub(crate) fn plan(listing: &Listing, head: &Manifest, moment: Moment) -> Vec<Decision> {
    plan_of(listing, head, moment, |_| true)
}

/// The part of [`plan`] that removes something.
pub(crate) fn removals(listing: &Listing, head: &Manifest, moment: Moment) -> Vec<Decision> {
    plan_of(listing, head, moment, Reason::deletes)
}

fn plan_of(
    listing: &Listing,
    head: &Manifest,
    moment: Moment,
    wanted: impl Fn(Reason) -> bool,
) -> Vec<Decision> {
    let needed = head.referenced_files();
    let keepers = head.keepers();
    let retired: BTreeSet<FileName> = head.retired.iter().copied().collect();
    let mut plan = Vec::new();
    let mut decide = |folder: &Path, name: &str, reason: Reason| {
        if wanted(reason) {
            plan.push(Decision { name: folder.join(name), reason });
        }
    };
    for entry in &listing.files {
        decide(Path::new("f"), &entry.name, file_reason(entry, head, (&needed, &keepers), &retired));
    }
    for (core, segments) in &listing.wal {
        match (core.kind, core_folder(&core.name)) {
            (EntryKind::Directory, Some(number)) => {
                let folder = Path::new("wal").join(&core.name);
                for entry in segments {
                    decide(&folder, &entry.name, segment_reason(entry, number, head, moment));
                }
            }
            _ => decide(Path::new("wal"), &core.name, Reason::Foreign),
        }
    }
    for entry in &listing.root {
        let reason = match root_name(&entry.name, entry.kind) {
            None => Reason::Foreign,
            Some(RootName::Scaffold) if is_root_temp(&entry.name) && moment == Moment::Opening => {
                Reason::LeftoverTemp
            }
            Some(RootName::Fixture | RootName::Scaffold | RootName::Folder) => Reason::Fixture,
        };
        decide(Path::new(""), &entry.name, reason);
    }
    let mut manifests: Vec<&Entry> = listing.manifests.iter().collect();
    manifests.sort();
    for entry in manifests {
        decide(Path::new("m"), &entry.name, manifest_reason(entry, head, moment));
    }
    plan
}

fn file_reason(
    entry: &Entry,
    head: &Manifest,
    (needed, keepers): (&BTreeSet<FileName>, &BTreeMap<FileName, Epoch>),
    retired: &BTreeSet<FileName>,
) -> Reason {
    let name = match FileName::parse(&entry.name) {
        Some(name) if entry.kind == EntryKind::File => name,
        _ => return Reason::Foreign,
    };
    if needed.contains(&name) {
        return keepers.get(&name).copied().map_or(Reason::Needed, Reason::Kept);
    }
    if retired.contains(&name) {
        return Reason::Retired(head.seq);
    }
    if name.token < head.token {
        return Reason::DeadToken(name.token);
    }
    if name.token == head.token && u64::from(name.attempt) < head.attempt_floor {
        return Reason::DeadAttempt(name.attempt);
    }
    Reason::InFlight
}

fn segment_reason(entry: &Entry, core: u16, head: &Manifest, moment: Moment) -> Reason {
    if entry.kind != EntryKind::File {
        return Reason::Foreign;
    }
    if temp(&entry.name).is_some() {
        return if moment == Moment::Opening { Reason::LeftoverTemp } else { Reason::InFlight };
    }
    let Some(segment) = decimal(&entry.name).map(SegmentNo) else { return Reason::Foreign };
    match head.wal_floor.get(usize::from(core)) {
        Some(&floor) if segment < floor => Reason::BelowFloor(floor),
        Some(_) => Reason::AboveFloor,
        // Before the first open there are no lives, and what is there belongs to an open that has not landed.
        None if head.lives.is_empty() => Reason::InFlight,
        None => Reason::NoLife,
    }
}

fn manifest_reason(entry: &Entry, head: &Manifest, moment: Moment) -> Reason {
    if entry.kind != EntryKind::File {
        return Reason::Foreign;
    }
    if let Some((seq, _)) = temp(&entry.name) {
        let over = seq <= head.seq.0 || moment == Moment::Opening;
        return if over { Reason::LeftoverTemp } else { Reason::InFlight };
    }
    let Some(seq) = decimal(&entry.name).map(ManifestSeq) else { return Reason::Foreign };
    if seq == head.seq {
        Reason::Head
    } else if seq > head.seq {
        Reason::AboveHead
    } else if head.previous.is_some_and(|(previous, _)| previous == seq) {
        Reason::Predecessor
    } else {
        Reason::OldManifest
    }
}

/// Removes what `plan` removes below `root`, and makes that durable. Names that are gone already are fine. Returns
/// the count of names removed.
///
/// # Errors
///
/// `Failed` naming what could not be removed: nothing is harmed, and the next collection goes on.
pub(crate) async fn execute<V: Vfs>(vfs: &V, root: &Path, plan: &[Decision]) -> Result<u64> {
    let mut folders = BTreeSet::new();
    let mut removed = 0;
    for decision in plan.iter().filter(|decision| decision.reason.deletes()) {
        let path = root.join(&decision.name);
        match retry(|| vfs.remove(&path)).await {
            Ok(()) => removed += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("removing what no manifest needs", &path, error)),
        }
        folders.insert(path.parent().map_or_else(|| root.to_owned(), Path::to_owned));
    }
    for folder in folders {
        retry(|| vfs.sync_dir(&folder))
            .await
            .map_err(|error| Error::io("syncing a folder after removals", &folder, error))?;
    }
    Ok(removed)
}
