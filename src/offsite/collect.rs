//! What of a store may go, and why: a pure decision over a listing and what is known of it.
//!
//! The head was read before the listing, and is the asking writer's, so that nothing which a later manifest names is judged by
//! an older one. A file goes when no manifest names it, and none ever will:
//!
//! 1. its token is fenced, or its attempt is below the head's floor; and
//! 2. the writer's directory does not name it either (O8).
//!
//! Names that nobody can vouch for stay, and cost their room.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::identity::STORE_NAME;
use crate::ids::{Epoch, FencingToken, ManifestSeq};
use crate::manifest::{FileName, Manifest, decimal};

/// Why an object goes or stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It says whose the store is.
    Store,
    /// The checkpoint that a restore brings back needs it, or an older one that is retained.
    Needed,
    /// Only an epoch that is kept needs it.
    Kept(Epoch),
    /// The directory that writes to the store still names it.
    OfDirectory,
    /// Its upload may be under way.
    InFlight,
    /// It is the head.
    Head,
    /// A manifest above the boundary: those who look for the head walk over it.
    AboveBoundary,
    /// A boundary mark: it is looked at for ever.
    Mark,
    /// An open tries the store with it, or did and died.
    Probe,
    /// Not a name of ours.
    Foreign,
    /// No manifest names it, and its token is fenced.
    DeadToken(FencingToken),
    /// No manifest names it, and its attempt is over.
    DeadAttempt(u32),
    /// A manifest whose number is dead by a boundary mark.
    BelowBoundary(u64),
}

impl Reason {
    /// Whether the object is to be removed.
    pub(crate) fn deletes(self) -> bool {
        match self {
            Self::DeadToken(_) | Self::DeadAttempt(_) | Self::BelowBoundary(_) => true,
            Self::Store
            | Self::Needed
            | Self::Kept(_)
            | Self::OfDirectory
            | Self::InFlight
            | Self::Head
            | Self::AboveBoundary
            | Self::Mark
            | Self::Probe
            | Self::Foreign => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => f.write_str("it says whose store it is"),
            Self::Needed => f.write_str("a retained checkpoint needs it"),
            Self::Kept(epoch) => write!(f, "epoch {epoch}, which is kept, needs it"),
            Self::OfDirectory => f.write_str("the writer's directory still names it"),
            Self::InFlight => f.write_str("its upload may be under way"),
            Self::Head => f.write_str("it is the head"),
            Self::AboveBoundary => f.write_str("above the boundary"),
            Self::Mark => f.write_str("a boundary mark stays for ever"),
            Self::Probe => f.write_str("an open may be trying the store with it"),
            Self::Foreign => f.write_str("not a name of this database's"),
            Self::DeadToken(token) => write!(f, "no manifest names it and token {token} is fenced"),
            Self::DeadAttempt(attempt) => write!(f, "no manifest names it and attempt {attempt} is over"),
            Self::BelowBoundary(boundary) => write!(f, "below the boundary, number {boundary}"),
        }
    }
}

/// What a collection knows.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    head: &'a Manifest,
    /// Every manifest number up to this one is dead.
    boundary: u64,
    /// What the writer's directory names; nothing is known of that from elsewhere.
    directory: BTreeSet<FileName>,
    needed: BTreeSet<FileName>,
    keepers: BTreeMap<FileName, Epoch>,
}

impl<'a> Known<'a> {
    /// Of the store whose head is `head` and whose marks kill the numbers up to `boundary`, and of its writer's directory.
    pub(crate) fn of(head: &'a Manifest, boundary: u64, directory: BTreeSet<FileName>) -> Self {
        Self { head, boundary, directory, needed: head.referenced_files(), keepers: head.keepers() }
    }

    /// What becomes of the object `name`.
    pub(crate) fn reason(&self, name: &str) -> Reason {
        match name.split_once('/') {
            None if name == STORE_NAME => Reason::Store,
            Some(("f", file)) => FileName::parse(file).map_or(Reason::Foreign, |file| self.file(file)),
            Some(("m", number)) => decimal(number).map_or(Reason::Foreign, |number| self.manifest(number)),
            Some(("b", number)) if decimal(number).is_some() => Reason::Mark,
            Some(("probe", _)) => Reason::Probe,
            _ => Reason::Foreign,
        }
    }

    fn file(&self, name: FileName) -> Reason {
        let (token, floor) = (self.head.token, self.head.attempt_floor);
        if self.needed.contains(&name) {
            self.keepers.get(&name).copied().map_or(Reason::Needed, Reason::Kept)
        } else if self.directory.contains(&name) {
            Reason::OfDirectory
        } else if name.token < token {
            Reason::DeadToken(name.token)
        } else if name.token == token && u64::from(name.attempt) < floor {
            Reason::DeadAttempt(name.attempt)
        } else {
            Reason::InFlight
        }
    }

    fn manifest(&self, number: u64) -> Reason {
        if number <= self.boundary {
            Reason::BelowBoundary(self.boundary)
        } else if ManifestSeq(number) == self.head.seq {
            Reason::Head
        } else {
            Reason::AboveBoundary
        }
    }
}
