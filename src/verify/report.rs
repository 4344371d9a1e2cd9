//! What a verification found.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

#[cfg(feature = "cli")]
use serde::Serialize;

use crate::ids::{CoreId, DatabaseId, Epoch, FencingToken, KeyGroup, Lsn, ManifestSeq, Nonce, TimelineId};

/// Most pieces of damage that a report lists; the others are counted.
const DAMAGE_MAX: usize = 100;

/// What kind of damage it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "cli", derive(Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum DamageKind {
    /// Bytes are not what they were written as, or contradict the format.
    Damaged,
    /// A file that is needed is not there.
    Missing,
    /// The device does not give the bytes.
    Unreadable,
    /// No damage: a newer program wrote the file, and this one does not know how to read it.
    Newer,
    /// Every byte is as it was written, and yet two ways that lead to one state disagree.
    Diverges,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(Serialize))]
#[non_exhaustive]
pub struct Damage {
    /// What kind it is.
    pub kind: DamageKind,
    /// The file or folder, below the database's own.
    pub path: PathBuf,
    /// Where in the file, in bytes.
    pub offset: Option<u64>,
    /// The core that it is of.
    pub core: Option<CoreId>,
    /// The retained epoch that it was found in.
    pub epoch: Option<Epoch>,
    /// The first key group that diverges: that of the first record of the log by which it does.
    pub key_group: Option<KeyGroup>,
    /// That record. None when the log does not speak of the key at all.
    pub lsn: Option<Lsn>,
    /// What is wrong.
    pub what: String,
}

/// Damage on its way into a report: small, because it is the error of everything here.
#[derive(Debug)]
pub(crate) struct Finding(Box<Damage>);

impl Deref for Finding {
    type Target = Damage;

    fn deref(&self) -> &Damage {
        &self.0
    }
}

impl DerefMut for Finding {
    fn deref_mut(&mut self) -> &mut Damage {
        &mut self.0
    }
}

impl Finding {
    pub(crate) fn new(kind: DamageKind, path: &Path, what: impl Into<String>) -> Self {
        let (path, what) = (path.to_owned(), what.into());
        let (offset, core, epoch, key_group, lsn) = (None, None, None, None, None);
        Self(Box::new(Damage { kind, path, offset, core, epoch, key_group, lsn, what }))
    }

    /// The same at an offset.
    pub(crate) fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// The same, of a core.
    pub(crate) fn of_core(mut self, core: u16) -> Self {
        self.core = Some(CoreId(core));
        self
    }

    /// The same, found in a retained epoch.
    pub(crate) fn in_epoch(mut self, epoch: u64) -> Self {
        self.epoch = Some(Epoch(epoch));
        self
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(offset) = self.offset {
            write!(f, ", offset {offset}")?;
        }
        if let Some(core) = self.core {
            write!(f, ", core {core}")?;
        }
        if let Some(epoch) = self.epoch {
            write!(f, ", epoch {epoch}")?;
        }
        if let Some(group) = self.key_group {
            write!(f, ", key group {group}")?;
        }
        if let Some(lsn) = self.lsn {
            write!(f, ", LSN {lsn}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// How much was proven of a retained epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "cli", derive(Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Proof {
    /// Its files and its predecessor with the log on top give the same state, offsets and watermark.
    Rebuilt,
    /// The same, from the beginning of the database: the whole log is there.
    FromTheBeginning,
    /// Its files are as they were written. There is nothing to rebuild it from: the log before it is gone, as it should be
    /// of the oldest one, or damaged, or the epoch before it is.
    FilesOnly,
    /// One of its files is of a newer format: the report says which.
    Newer,
    /// It is damaged: the report says where.
    Damaged,
}

impl Proof {
    /// What is proven of an epoch of which `finding` is told.
    pub(super) fn without(finding: &Finding) -> Self {
        if finding.kind == DamageKind::Newer { Self::Newer } else { Self::Damaged }
    }
}

/// A retained epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(Serialize))]
#[non_exhaustive]
pub struct VerifiedEpoch {
    /// Which one.
    pub epoch: Epoch,
    /// The life whose checkpoint it is.
    pub token: FencingToken,
    /// Its checkpoint's files, over all cores.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was proven of it.
    pub proof: Proof,
    /// The keys and the digest of the state of each core, if asked for.
    pub states: Option<Vec<StateDigest>>,
}

/// What tells the state of one core from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(Serialize))]
#[non_exhaustive]
pub struct StateDigest {
    /// Keys with a value.
    pub keys: u64,
    /// The sum modulo 2^128 of XXH3-128 over each encoded record (docs/format.md, "Conventions").
    pub digest: Nonce,
}

/// The log of one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(Serialize))]
#[non_exhaustive]
pub struct VerifiedLog {
    /// Whose log it is.
    pub core: CoreId,
    /// Segments that count.
    pub segments: u64,
    /// Records that count, without those that the oldest retained epoch holds.
    pub records: u64,
    /// The last epoch that ends in it or in a checkpoint.
    pub last_epoch: Epoch,
}

/// What [`verify`](crate::verify) found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(Serialize))]
#[non_exhaustive]
pub struct VerifyReport {
    /// The database.
    pub database: DatabaseId,
    /// Its timeline.
    pub timeline: TimelineId,
    /// The greatest manifest, if it could be read.
    pub manifest: Option<ManifestSeq>,
    /// The life that landed it.
    pub token: FencingToken,
    /// How many cores there are; zero before the first open.
    pub cores: u16,
    /// The epoch that an open of exactly these files recovers, if the logs are sound.
    pub recoverable_epoch: Option<Epoch>,
    /// The retained epochs, oldest first.
    pub epochs: Vec<VerifiedEpoch>,
    /// The logs that could be followed, by core.
    pub logs: Vec<VerifiedLog>,
    /// Bytes read, of files that were read more than once each time.
    pub bytes_read: u64,
    /// What is wrong, at most a hundred pieces.
    pub damage: Vec<Damage>,
    /// How many more pieces there are.
    pub damage_left_out: u64,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }

    /// Whether nothing is wrong but that a newer program wrote files that this one cannot read. Then it is not sound, and
    /// nothing is known to be damaged.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        let newer = self.damage.iter().all(|damage| damage.kind == DamageKind::Newer);
        newer && !self.damage.is_empty() && self.damage_left_out == 0
    }

    pub(crate) fn add(&mut self, finding: Finding) {
        let known = |damage: &Damage| {
            (&damage.path, damage.offset, &damage.what) == (&finding.path, finding.offset, &finding.what)
        };
        if self.damage.iter().any(known) {
            return;
        }
        if self.damage.len() < DAMAGE_MAX {
            self.damage.push(*finding.0);
        } else {
            self.damage_left_out += 1;
        }
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for VerifiedEpoch { epoch, files, bytes, proof, .. } in &self.epochs {
            let proven = match proof {
                Proof::Rebuilt => "rebuilt from the epoch before and the log: equal",
                Proof::FromTheBeginning => "rebuilt from the whole log: equal",
                Proof::FilesOnly => "its files are sound; nothing to rebuild it from",
                Proof::Newer => "NEWER than this build",
                Proof::Damaged => "DAMAGED",
            };
            writeln!(f, "epoch {epoch}: {files} files, {bytes} bytes: {proven}")?;
        }
        for VerifiedLog { core, segments, records, last_epoch } in &self.logs {
            writeln!(
                f,
                "log of core {core}: {segments} segments, {records} records, ends in epoch {last_epoch}"
            )?;
        }
        match self.recoverable_epoch {
            Some(epoch) => writeln!(f, "an open recovers epoch {epoch}")?,
            None => writeln!(f, "what an open recovers cannot be told")?,
        }
        for damage in &self.damage {
            let is_newer = damage.kind == DamageKind::Newer;
            writeln!(f, "{}: {damage}", if is_newer { "newer" } else { "damage" })?;
        }
        match (self.damage.len() as u64 + self.damage_left_out, self.damage_left_out) {
            (0, _) => write!(f, "sound"),
            (count, _) if self.is_newer() => {
                let files = if count == 1 { "one file".to_owned() } else { format!("{count} files") };
                write!(f, "{files} of a newer format: use a newer build")
            }
            (1, _) => write!(f, "one piece of damage"),
            (count, 0) => write!(f, "{count} pieces of damage"),
            (count, left_out) => write!(f, "{count} pieces of damage, {left_out} not listed"),
        }
    }
}
