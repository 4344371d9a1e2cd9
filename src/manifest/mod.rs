//! Manifests: the immutable, numbered lists whose landing *is* the commit of an open or a checkpoint.
//!
//! ```text
//! data/ IDENT                              ident    who this database is, written once
//!       m/{seq:020}                        codec    one manifest: header, rkyv body
//!       m/{seq:020}.{nonce:032x}.tmp       store    a manifest that is about to land
//!       f/{token}-{attempt}-{uuid}.{kind}  checkpoint files, named by manifests only
//! ```
//!
//! M1. A manifest is never changed and its number never given to other content.
//! M2. A manifest needs no other manifest: recovery, restore and garbage collection read the head alone.
//! M3. The head is the greatest number in `m/`. One that cannot be read is corruption, never a reason to take an
//!     older one. Numbers may have gaps.
//! M4. What a manifest names was durable, under that name, before the manifest landed.
//! M5. Only what the head neither names nor could still come to name is ever deleted.
//!
//! `ident` creates, `opening` decides what a directory is, `store` lands and reads, `gc` plans deletions.

pub(crate) mod check;
mod codec;
pub(crate) mod first_life;
pub(crate) mod gc;
pub(crate) mod ident;
pub(crate) mod kept;
pub(crate) mod logs;
pub(crate) mod opening;
pub(crate) mod store;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use codec::{MANIFEST_BYTES_MAX, decode, encode_object};
pub(crate) use kept::KeptEpoch;
pub(crate) use wire::layout;

use std::collections::BTreeSet;
use std::fmt;

use crate::forecast::Rates;
use crate::ids::{CoreId, DatabaseId, Epoch, FencingToken, Lsn, ManifestSeq, Nonce, SegmentNo, TimelineId};
use crate::offset::Offset;
use crate::wal;

/// Why a manifest was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    /// The database was created: number 1, no lives, nothing to recover.
    Create,
    /// A writer opened the database: a new token, and the ceiling of the life before.
    Open,
    /// A checkpoint was taken, or a base rewritten at the same epoch.
    Checkpoint,
    /// Files and segments were given up for deletion. This program writes none: it gives them up with what makes them needless.
    Retire,
    /// In an object store only: an empty directory takes the database over.
    Restore,
    /// The keys were divided among another number of cores.
    Rescale,
    /// A pin was set, or let go.
    Pin,
}

/// Everything that a database rests on, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The number it lands under.
    pub(crate) seq: ManifestSeq,
    /// Tells this writer's manifest from another's of the same number.
    pub(crate) nonce: Nonce,
    /// The head it was derived from, and that file's header crc.
    pub(crate) previous: Option<(ManifestSeq, u32)>,
    pub(crate) database: DatabaseId,
    pub(crate) timeline: TimelineId,
    /// The writer's token: the token of the last life. Zero before the first open.
    pub(crate) token: FencingToken,
    /// Cores of the last life. Zero before the first open.
    pub(crate) cores: u16,
    pub(crate) author: Author,
    /// The epoch that this token's open recovered.
    pub(crate) recovered_epoch: Epoch,
    /// Whether the lives reach back to the creation of the database, so that replay needs no checkpoint.
    pub(crate) beginning: bool,
    /// The lives whose log may still be read, oldest first; the last is the current one.
    pub(crate) lives: Vec<Life>,
    /// The retained checkpoints, oldest first; the last is the one to restore. Empty before the first.
    pub(crate) checkpoints: Vec<Checkpoint>,
    /// Epochs that are kept beside those, oldest first.
    pub(crate) kept: Vec<KeptEpoch>,
    /// What checkpoints decided that were given up since, where the newest one does not say it.
    pub(crate) decided: Option<Decided>,
    /// How fast recoveries have been.
    pub(crate) rates: Rates,
    /// Per core, the first segment that may still be read.
    pub(crate) wal_floor: Vec<SegmentNo>,
    /// Files that no retained checkpoint and no kept epoch needs any more: this manifest allows their deletion.
    pub(crate) retired: Vec<FileName>,
    /// Attempts of `token` below this one are over: a file of theirs that is not named here never will be.
    pub(crate) attempt_floor: u64,
}

/// What one open of the database wrote to the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) token: FencingToken,
    /// The epoch it began from.
    pub(crate) recovered_epoch: Epoch,
    /// One entry per core of that life.
    pub(crate) cores: Vec<CoreLife>,
}

/// One core's log in one life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CoreLife {
    pub(crate) first_segment: SegmentNo,
    /// The identity nonce in that segment's header.
    pub(crate) identity: Nonce,
    /// The LSN of the first record the life could write.
    pub(crate) first_lsn: Lsn,
    /// The last record that the life carried over from before it; one below `first_lsn` if it carried none.
    pub(crate) carried_through: Lsn,
    /// The last record of the life that counts; `None` while the life is the current one.
    pub(crate) ceiling: Option<Lsn>,
}

impl CoreLife {
    /// The life as a reader of the log wants it, up to `ceiling`.
    pub(crate) fn as_read(&self, token: FencingToken, ceiling: Option<Lsn>) -> wal::Life {
        let Self { first_segment, identity, first_lsn, .. } = *self;
        wal::Life { token, first_segment, identity, first_lsn, ceiling }
    }
}

/// The state as of one closed epoch: files, the cuts at which the logs go on, and what the epoch's end recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) epoch: Epoch,
    /// The token that wrote it.
    pub(crate) token: FencingToken,
    /// Flat list: of records with the same key the one in the later file wins. A core's files stand in the order of
    /// their epochs.
    pub(crate) files: Vec<CheckpointFile>,
    /// Per core, the place behind which the log holds what the files do not. Of a kept epoch there is none.
    pub(crate) cuts: Vec<Cut>,
    /// The newest offset of every source, sorted by core and name.
    pub(crate) offsets: Vec<(CoreId, String, Offset)>,
    /// Offsets that the cores of an earlier count had stated, sorted as well: each counts until any core states one of
    /// that name.
    pub(crate) inherited: Vec<(CoreId, String, Offset)>,
    /// Per core.
    pub(crate) watermarks: Vec<Option<i64>>,
    /// What this checkpoint decides, and what earlier ones decided and nobody knows to be published: sorted by sink, epoch
    /// and core. The newest epoch has an entry per sink and core, also where there is no handle.
    pub(crate) sinks: Vec<SinkEntry>,
}

/// Where a checkpoint and a core's log meet: the record that ends the checkpoint's epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) token: FencingToken,
    pub(crate) segment: SegmentNo,
    pub(crate) lsn: Lsn,
}

/// What a sink was given by one core in one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SinkEntry {
    pub(crate) name: String,
    pub(crate) epoch: Epoch,
    pub(crate) core: CoreId,
    pub(crate) handle: Option<Vec<u8>>,
    /// The sink has forgotten it, and that was accepted: kept for the record.
    pub(crate) lost: bool,
}

/// What is decided for the sinks without a checkpoint that says so: its files did not read back, and what it decided cannot be
/// taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    /// Every epoch up to this one is decided.
    pub(crate) epoch: Epoch,
    /// As of [`Checkpoint::sinks`].
    pub(crate) sinks: Vec<SinkEntry>,
}

/// What a checkpoint file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FileKind {
    /// The whole state of a core.
    Base,
    /// The last change to every key changed in a range of epochs.
    Delta,
}

/// The name of a checkpoint file, without its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileName {
    pub(crate) token: FencingToken,
    pub(crate) attempt: u32,
    pub(crate) uuid: Nonce,
    pub(crate) kind: FileKind,
}

/// A checkpoint file as a manifest names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CheckpointFile {
    pub(crate) name: FileName,
    /// The core whose keys it holds.
    pub(crate) core: CoreId,
    /// Of how many cores: files of different counts divide the keys differently, and no checkpoint mixes them.
    pub(crate) cores: u16,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// crc32c of the whole file.
    pub(crate) crc: u32,
    /// Count of puts.
    pub(crate) entries: u64,
    /// Count of deletes.
    pub(crate) tombstones: u64,
    /// Bytes of the encoded puts.
    pub(crate) live_bytes: u64,
    /// [`crate::codec::Digest`] of the puts.
    pub(crate) digest: u128,
    /// The epoch behind which its changes begin; zero for the beginning of the database.
    pub(crate) from_epoch: Epoch,
    /// The last epoch whose changes it holds.
    pub(crate) through_epoch: Epoch,
}

impl Manifest {
    /// The manifest of a database that nobody has opened yet.
    pub(crate) fn create(database: DatabaseId, timeline: TimelineId, nonce: Nonce) -> Self {
        Self {
            seq: ManifestSeq(1),
            nonce,
            previous: None,
            database,
            timeline,
            token: FencingToken(0),
            cores: 0,
            author: Author::Create,
            recovered_epoch: Epoch(0),
            beginning: true,
            lives: Vec::new(),
            checkpoints: Vec::new(),
            kept: Vec::new(),
            decided: None,
            rates: Rates::default(),
            wal_floor: Vec::new(),
            retired: Vec::new(),
            attempt_floor: 0,
        }
    }

    /// The manifest that follows this one, landed with header crc `crc`: equal but for its place and nonce. The
    /// caller edits it and lands it.
    pub(crate) fn successor(&self, crc: u32, nonce: Nonce, author: Author) -> Self {
        assert!(author != Author::Create, "a database is created once");
        let seq = ManifestSeq(self.seq.0 + 1);
        Self { seq, nonce, previous: Some((self.seq, crc)), author, ..self.clone() }
    }

    /// Forgets the lives that nothing reaches back to, and raises the floors to what is needed.
    pub(crate) fn trim(&mut self) {
        if !self.beginning {
            let oldest = self.oldest_cut_token();
            self.lives.retain(|life| life.token >= oldest);
        }
        self.wal_floor = self.wal_floor_needed();
    }

    /// Forgets the lives, but for the current one, that left nothing which counts and hold no cut.
    pub(crate) fn forget_empty_lives(&mut self) {
        let current = self.token;
        let cuts: BTreeSet<FencingToken> =
            self.checkpoints.iter().flat_map(|checkpoint| &checkpoint.cuts).map(|cut| cut.token).collect();
        self.lives.retain(|life| {
            let left_something =
                life.cores.iter().any(|log| log.ceiling.is_none_or(|last| last >= log.first_lsn));
            life.token == current || left_something || cuts.contains(&life.token)
        });
    }

    /// Retires the files that `before` needed and this manifest does not.
    pub(crate) fn retire_files_of(&mut self, before: &Self) {
        self.retired = before.referenced_files().difference(&self.referenced_files()).copied().collect();
    }

    /// The checkpoint to restore.
    pub(crate) fn newest_checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoints.last()
    }

    /// The last epoch whose sinks are listed: decided.
    pub(crate) fn listed_epoch(&self) -> Epoch {
        let newest = self.newest_checkpoint().map_or(Epoch(0), Checkpoint::listed_epoch);
        self.decided.as_ref().map_or(newest, |decided| decided.epoch)
    }

    /// What of that is not known to be published.
    pub(crate) fn sinks(&self) -> &[SinkEntry] {
        let newest = || self.newest_checkpoint().map_or(&[][..], |newest| &newest.sinks);
        self.decided.as_ref().map_or_else(newest, |decided| &decided.sinks)
    }

    /// Takes over what `before` had decided: the files of a checkpoint can be given up, that cannot.
    pub(crate) fn stand_by_decisions_of(&mut self, before: &Self) {
        let epoch = before.listed_epoch();
        if let Some(newest) = self.checkpoints.last_mut() {
            newest.sinks = before.sinks().to_vec();
        }
        self.decided = None;
        self.decided =
            (self.listed_epoch() < epoch).then(|| Decided { epoch, sinks: before.sinks().to_vec() });
    }

    /// Every checkpoint file that a retained checkpoint or a kept epoch needs.
    pub(crate) fn referenced_files(&self) -> BTreeSet<FileName> {
        let retained = self.checkpoints.iter().flat_map(|checkpoint| &checkpoint.files);
        retained.chain(self.kept.iter().flat_map(KeptEpoch::files)).map(|file| file.name).collect()
    }

    /// Per core, the first segment that the oldest retained checkpoint and the listed lives need. It may lie above
    /// `wal_floor`, which is what was promised when the manifest was written, and becomes the next one's.
    pub(crate) fn wal_floor_needed(&self) -> Vec<SegmentNo> {
        let width = self.lives.iter().map(|life| life.cores.len()).max().unwrap_or(0);
        (0..width).map(|core| self.floor_of(core)).collect()
    }

    /// The floor of one core is the lowest of its cuts. When the oldest checkpoint is of fewer cores, replay from it
    /// reads the core's log from the first life that has it.
    fn floor_of(&self, core: usize) -> SegmentNo {
        if self.beginning {
            let first = self.lives.iter().find_map(|life| life.cores.get(core));
            return first.map_or(SegmentNo(0), |life| life.first_segment);
        }
        let cut =
            self.checkpoints.iter().filter_map(|checkpoint| checkpoint.cuts.get(core)).map(|cut| cut.segment);
        let oldest_token = self.oldest_cut_token();
        let is_cut = self.checkpoints.first().is_some_and(|oldest| core < oldest.cuts.len());
        let of_life = |life: &Life| life.cores.get(core).map(|log| log.first_segment);
        let begin = self.lives.iter().filter(|life| !is_cut && life.token >= oldest_token).find_map(of_life);
        let last_seen = || self.lives.iter().rev().find_map(of_life);
        cut.chain(begin).min().or_else(last_seen).unwrap_or_default()
    }

    /// The oldest life that replay from a retained checkpoint reads; zero when there is none.
    fn oldest_cut_token(&self) -> FencingToken {
        self.checkpoints.iter().map(Checkpoint::cut_token).min().unwrap_or_default()
    }
}

impl Manifest {
    /// Bytes of the files that a restore of the newest checkpoint loads.
    pub(crate) fn load_bytes(&self) -> u64 {
        self.newest_checkpoint().map_or(0, Checkpoint::file_bytes)
    }
}

impl Checkpoint {
    /// Bytes of its files. A forged manifest may say anything.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.bytes))
    }

    /// The oldest life that replay from this checkpoint reads.
    pub(crate) fn cut_token(&self) -> FencingToken {
        self.cuts.iter().map(|cut| cut.token).min().unwrap_or(FencingToken(0))
    }

    /// How many cores it is of.
    pub(crate) fn cores(&self) -> u16 {
        u16::try_from(self.watermarks.len()).unwrap_or(u16::MAX)
    }

    /// What of [`inherited`](Self::inherited) still counts when offsets of the names of `stated` were stated since.
    pub(crate) fn inherited_unless(&self, stated: impl Fn(&str) -> bool) -> Vec<(CoreId, String, Offset)> {
        self.inherited.iter().filter(|(_, name, _)| !stated(name)).cloned().collect()
    }

    /// The last epoch whose sinks are listed: greater than the checkpoint's own where it took over the list of a later one.
    pub(crate) fn listed_epoch(&self) -> Epoch {
        let listed = self.sinks.iter().filter(|entry| !entry.lost).map(|entry| entry.epoch);
        listed.max().unwrap_or(self.epoch).max(self.epoch)
    }

    /// The files of one core, oldest first.
    pub(crate) fn files_of(&self, core: CoreId) -> impl Iterator<Item = &CheckpointFile> {
        self.files.iter().filter(move |file| file.core == core)
    }
}

impl FileKind {
    /// The ending of the file's name.
    fn extension(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Delta => "delta",
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:08x}-{}.{}", self.token.0, self.attempt, self.uuid, self.kind.extension())
    }
}

impl FileName {
    /// The file that `name` names; `None` unless it is exactly what [`FileName`] prints.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (stem, extension) = name.split_once('.')?;
        let kind = match extension {
            "base" => FileKind::Base,
            "delta" => FileKind::Delta,
            _ => return None,
        };
        let mut parts = stem.split('-');
        let token = FencingToken(hex(parts.next()?, 16)?.try_into().ok()?);
        let attempt = hex(parts.next()?, 8)?.try_into().ok()?;
        let uuid = Nonce(hex(parts.next()?, 32)?);
        parts.next().is_none().then_some(Self { token, attempt, uuid, kind })
    }
}

/// The value of exactly `digits` lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if text.len() != digits || !plain {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

/// The value of exactly 20 decimal digits: the number of a manifest or a segment.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    if text.len() != 20 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// The number and nonce in `{number:020}.{nonce:032x}.tmp`.
fn temp(text: &str) -> Option<(u64, Nonce)> {
    let (number, rest) = text.split_once('.')?;
    let nonce = rest.strip_suffix(".tmp")?;
    Some((decimal(number)?, Nonce(hex(nonce, 32)?)))
}
