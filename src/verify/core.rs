//! One core of a database: its log followed once, and at the cut of every retained epoch the state compared.

use std::collections::BTreeMap;

use super::decode::ident::Ident;
use super::decode::manifest::{Checkpoint, Manifest, StateFile};
use super::decode::record::{Kind, Offset};
use super::end::LogEnd;
use super::interval::{Divergence, Sides, compare};
use super::kept;
use super::log::{Log, LogReader, Position};
use super::merge::Merge;
use super::report::{DamageKind, Finding, Proof, StateDigest};
use super::source::Directory;
use super::tail::Claims;
use super::writes::{Writes, key_hash};
use crate::ids::{KeyGroup, Lsn};
use crate::vfs::Vfs;

/// What the verification of a core is done with.
pub(super) struct CoreProof<'a, V: Vfs> {
    pub(super) directory: &'a Directory<V>,
    pub(super) ident: &'a Ident,
    pub(super) head: &'a Manifest,
    /// The head's file.
    pub(super) head_path: &'a str,
    pub(super) core: u16,
    /// Taken down before the log of any core was followed.
    pub(super) claims: Claims,
    pub(super) memory_bytes: usize,
    pub(super) state_digests: bool,
    pub(super) found: &'a mut dyn FnMut(Finding),
}

/// What was proven of a core.
pub(super) struct Proven {
    /// By retained epoch.
    pub(super) epochs: Vec<(Proof, Option<StateDigest>)>,
    /// Of the log, if it could be followed to its end.
    pub(super) log: Option<LogEnd>,
}

/// What a core's marks have said by the end of an epoch.
#[derive(Clone, Default, PartialEq)]
struct Marks {
    offsets: BTreeMap<String, Offset>,
    watermark: Option<i64>,
}

/// A range of the log that was read.
struct Range {
    end: Position,
    records: u64,
    marks: Marks,
}

/// What an epoch is rebuilt from, beside its own files.
#[derive(Clone, Copy)]
enum Earlier<'a> {
    /// Nothing leads to it.
    Nothing,
    /// The whole log.
    Beginning,
    /// The log on top of this.
    Checkpoint(&'a Checkpoint),
}

impl<'a> Earlier<'a> {
    fn checkpoint(self) -> Option<&'a Checkpoint> {
        match self {
            Self::Checkpoint(checkpoint) => Some(checkpoint),
            Self::Nothing | Self::Beginning => None,
        }
    }
}

impl<V: Vfs> CoreProof<'_, V> {
    pub(super) async fn run(&mut self) -> Proven {
        let log = Log::open(self.directory, self.head, (self.core, self.ident.unit), &mut *self.found).await;
        let log = match log {
            Ok(log) => Some(log),
            Err(finding) => {
                (self.found)(finding);
                None
            }
        };
        let mut followed = log.as_ref().map(|log| (log, Position::default(), 0));
        // The way to the first retained epoch is there only if the log was never cut.
        let mut from = None;
        let whole = log.as_ref().is_some_and(|log| log.route.from_beginning) && self.head.beginning;
        let mut epochs: Vec<(Proof, Option<StateDigest>)> = Vec::new();
        for (index, checkpoint) in self.head.checkpoints.iter().enumerate() {
            let earlier = match from {
                None if whole => Earlier::Beginning,
                None => Earlier::Nothing,
                // What is damaged proves nothing about what follows.
                Some(_) if epochs.last().is_some_and(|(proof, _)| *proof >= Proof::Newer) => Earlier::Nothing,
                Some(index) => Earlier::Checkpoint(&self.head.checkpoints[index]),
            };
            let mut proof = self.epoch(checkpoint, earlier, &mut followed).await;
            let digest = if self.state_digests && proof < Proof::Newer {
                kept::state(self.directory, self.ident, (checkpoint, self.core)).await.map_or_else(
                    |finding| {
                        proof = self.damaged(finding, checkpoint);
                        None
                    },
                    Some,
                )
            } else {
                None
            };
            epochs.push((proof, digest));
            from = Some(index);
        }
        let log = match followed {
            Some((log, position, records)) => self.rest(log, position, records).await,
            None => None,
        };
        Proven { epochs, log }
    }

    fn damaged(&mut self, finding: Finding, checkpoint: &Checkpoint) -> Proof {
        let proof = Proof::without(&finding);
        (self.found)(finding.of_core(self.core).in_epoch(checkpoint.epoch));
        proof
    }

    fn files<'b>(&self, checkpoint: &'b Checkpoint) -> Vec<&'b StateFile> {
        checkpoint.files.iter().filter(|file| file.core == self.core).collect()
    }

    /// Proves one retained epoch: from `earlier`, if the log leads from there.
    async fn epoch(
        &mut self,
        checkpoint: &Checkpoint,
        earlier: Earlier<'_>,
        followed: &mut Option<(&Log, Position, u64)>,
    ) -> Proof {
        let after = self.files(checkpoint);
        let before = earlier.checkpoint().map(|earlier| self.files(earlier)).unwrap_or_default();
        let sides = Sides::of(&before, &after);
        let Some((log, begin, records)) = followed.clone() else {
            return self.files_only(checkpoint, &sides).await;
        };
        let mut writes = Writes::new(self.memory_bytes);
        writes.begin(0);
        let start = earlier.checkpoint().map(|earlier| self.marks_of(earlier)).unwrap_or_default();
        let range = match self.read(log, begin.clone(), (checkpoint, start.clone()), &mut writes).await {
            Ok(range) => range,
            Err(finding) => {
                (self.found)(finding.of_core(self.core));
                *followed = None;
                return self.files_only(checkpoint, &sides).await;
            }
        };
        *followed = Some((log, range.end.clone(), records + range.records));
        if matches!(earlier, Earlier::Nothing) {
            return self.files_only(checkpoint, &sides).await;
        }
        if range.marks != self.marks_of(checkpoint) {
            let what = "its source offsets or its watermark are not those of the epoch before and the log";
            let finding = Finding::new(DamageKind::Diverges, self.head_path.as_ref(), what);
            return self.damaged(finding, checkpoint);
        }
        match self.compare(log, begin, (checkpoint, start), &sides, &mut writes).await {
            Ok(None) if matches!(earlier, Earlier::Beginning) => Proof::FromTheBeginning,
            Ok(None) => Proof::Rebuilt,
            Ok(Some(finding)) | Err(finding) => self.damaged(finding, checkpoint),
        }
    }

    /// Compares part by part; what diverges, if something does.
    async fn compare(
        &self,
        log: &Log,
        begin: Position,
        (checkpoint, start): (&Checkpoint, Marks),
        sides: &Sides<'_>,
        writes: &mut Writes,
    ) -> Result<Option<Finding>, Finding> {
        let mut found = Divergence::default();
        let mut part = 0;
        loop {
            found.join(compare(self.directory, self.ident, sides, writes).await?);
            part += 1;
            if part == writes.parts() {
                break;
            }
            writes.begin(part);
            self.read(log, begin.clone(), (checkpoint, start.clone()), writes).await?;
        }
        let Some(first) = found.first else { return Ok(None) };
        let key = match (first.key.clone(), first.lsn) {
            (None, Some(lsn)) => self.key_at(log, begin, lsn).await?,
            (key, _) => key,
        };
        let path = if found.path.is_empty() { self.head_path.to_owned() } else { found.path.clone() };
        let text = key.as_deref().map_or_else(String::new, |key| format!(" \"{}\"", key.escape_ascii()));
        let what = format!("{} keys diverge, first{text}: {}", found.keys, first.what());
        let mut finding = Finding::new(DamageKind::Diverges, path.as_ref(), what);
        finding.key_group = key.map(|key| KeyGroup(self.ident.group_of(&key)));
        finding.lsn = first.lsn.map(Lsn);
        Ok(Some(finding))
    }

    /// The key that the record at `lsn` is about.
    async fn key_at(&self, log: &Log, begin: Position, lsn: u64) -> Result<Option<Vec<u8>>, Finding> {
        let mut reader = LogReader::from(self.directory, log, begin);
        while let Some(record) = reader.next().await? {
            if record.lsn == lsn {
                let keyed = matches!(record.entry.kind, Kind::Put | Kind::Delete);
                return Ok(keyed.then(|| record.entry.key.to_vec()));
            }
        }
        Ok(None)
    }

    fn marks_of(&self, checkpoint: &Checkpoint) -> Marks {
        Marks {
            offsets: checkpoint.offsets_of(self.core),
            watermark: checkpoint.watermarks[usize::from(self.core)],
        }
    }

    /// Reads the log from `begin` to the cut of `checkpoint`: into `writes`, and onto the marks.
    async fn read(
        &self,
        log: &Log,
        begin: Position,
        (checkpoint, mut marks): (&Checkpoint, Marks),
        writes: &mut Writes,
    ) -> Result<Range, Finding> {
        let cut = checkpoint.cuts[usize::from(self.core)];
        let mut records = 0;
        let mut reader = LogReader::from(self.directory, log, begin.clone());
        if begin.consumed == cut.lsn {
            return Ok(Range { end: begin, records, marks });
        }
        while let Some(record) = reader.next().await? {
            records += 1;
            let (lsn, token) = (record.lsn, record.token);
            match record.entry.kind {
                Kind::Put => {
                    let put = xxhash_rust::xxh3::xxh3_128(record.entry.encoded);
                    writes.write(key_hash(record.entry.key), Some(put), lsn);
                }
                Kind::Delete => writes.write(key_hash(record.entry.key), None, lsn),
                Kind::Clear => writes.clear(lsn),
                Kind::EpochEnd => {}
            }
            let mut ends = None;
            if let Some(mark) = record.mark {
                ends = Some(mark.epoch);
                marks.offsets.extend(mark.offsets);
                marks.watermark = mark.watermark.or(marks.watermark);
            }
            if lsn >= cut.lsn {
                if (token, lsn, ends) == (cut.token, cut.lsn, Some(checkpoint.epoch)) {
                    return Ok(Range { end: reader.position(), records, marks });
                }
                break;
            }
        }
        let what = format!(
            "checkpoint {} is cut at LSN {} of token {}, where no such epoch ends in the log",
            checkpoint.epoch, cut.lsn, cut.token
        );
        Err(match reader.place() {
            // The log lost its end, and nothing else says so.
            Some((segment, at, last)) if last < cut.lsn => log.stops((segment, at), &what),
            _ => Finding::new(DamageKind::Diverges, self.head_path.as_ref(), what).in_epoch(checkpoint.epoch),
        })
    }

    /// Reads what only this epoch has of files.
    async fn files_only(&mut self, checkpoint: &Checkpoint, sides: &Sides<'_>) -> Proof {
        let read = async {
            let mut merge = Merge::open(self.directory, &sides.after, self.ident).await?;
            let mut key = Vec::new();
            while let Some(least) = merge.key() {
                least.clone_into(&mut key);
                merge.pass(&key).await?;
            }
            Ok::<_, Finding>(())
        };
        match read.await {
            Ok(()) => Proof::FilesOnly,
            Err(finding) => self.damaged(finding, checkpoint),
        }
    }

    /// Follows the log behind the last cut to its end.
    async fn rest(&mut self, log: &Log, position: Position, records: u64) -> Option<LogEnd> {
        let reader = LogReader::from(self.directory, log, position);
        let of_core = (self.core, log, self.claims);
        match LogEnd::find(self.directory, self.head, of_core, reader, records).await {
            Ok(end) => Some(end),
            Err(finding) => {
                (self.found)(finding);
                None
            }
        }
    }
}
