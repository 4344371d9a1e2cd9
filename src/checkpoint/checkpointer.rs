//! Taking a checkpoint: the log since the last one, compacted into files, and a manifest that names them.
//!
//! ```text
//! 1 read     per core, the log from the last cut to the end of the epoch ─► delta file(s)
//! 2 rewrite  where the chain of a core has grown too long ─► a new base, read back and verified
//! 3 land     the manifest: files, cuts, offsets, watermarks, what is retained. The commit
//! 4 give up  files that the manifest retired, segments below its floor
//! ```
//!
//! Invariants
//! 1. Only closed epochs are read, and live state never: no core notices.
//! 2. A manifest names a file only after its bytes and its name are durable.
//! 3. Nothing is deleted before the manifest that retires it has landed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use super::delta::{DeltaBuilder, Pushed};
use super::file::Header;
use super::policy::base_due;
use super::reader::verify;
use super::retention::{Bounds, Candidate, retain};
use super::writer::{FileWriter, Written, seal};
use super::{Grouping, merge};
use crate::codec::{EpochEnd, Record, RecordKind, key_group, key_hash};
use crate::env::Entropy;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CoreId, Epoch, ManifestSeq, SegmentNo};
use crate::manifest::gc;
use crate::manifest::store::{self, Head, Landing};
use crate::manifest::{Author, Checkpoint, CheckpointFile, Cut, FileKind, FileName, Manifest};
use crate::offset::Offset;
use crate::route::Route;
use crate::vfs::Vfs;
use crate::wal::{self, LogId, WalReader, segment_numbers};

/// Bytes of log read at once.
const READ_AHEAD_BYTES: usize = 1 << 20;

/// What stays the same over all checkpoints of one open.
#[derive(Clone, Debug)]
pub(crate) struct CheckpointSpec {
    pub(crate) root: PathBuf,
    /// Per core, the directory of its log.
    pub(crate) log_dirs: Vec<PathBuf>,
    pub(crate) hash_seed: u64,
    pub(crate) route: Route,
    pub(crate) key_groups: u16,
    pub(crate) segment_bytes: u64,
    /// For the compaction of one core's log.
    pub(crate) memory_bytes: usize,
    pub(crate) retention: Bounds,
}

/// A checkpoint that landed.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) manifest: ManifestSeq,
    pub(crate) bytes_written: u64,
    pub(crate) files_written: u32,
    pub(crate) bases_written: u32,
    pub(crate) records_read: u64,
    /// Per core, the segments that nothing needs any more, oldest first.
    pub(crate) retired_segments: Vec<Vec<SegmentNo>>,
}

/// Takes the checkpoints of one open database.
pub(crate) struct Checkpointer<V, N> {
    vfs: V,
    entropy: N,
    spec: CheckpointSpec,
    head: Head,
    /// The number of the next manifest: above every one that may have landed.
    next_seq: ManifestSeq,
    attempt: u32,
}

/// What one core contributes.
struct Part {
    chain: Vec<CheckpointFile>,
    cut: Cut,
    offsets: BTreeMap<String, Offset>,
    watermark: Option<i64>,
}

/// What an attempt has written so far.
#[derive(Default)]
struct Tally {
    bytes: u64,
    files: u32,
    bases: u32,
    records: u64,
}

impl Tally {
    fn count(&mut self, files: &[CheckpointFile]) {
        for file in files {
            self.bytes += file.bytes;
            self.files += 1;
            self.bases += u32::from(file.name.kind == FileKind::Base);
        }
    }
}

impl<V: Vfs, N: Entropy> Checkpointer<V, N> {
    /// For the database whose open manifest is `head`.
    pub(crate) fn new(vfs: V, entropy: N, spec: CheckpointSpec, head: Head) -> Self {
        let next_seq = ManifestSeq(head.manifest.seq.0 + 1);
        Self { vfs, entropy, spec, head, next_seq, attempt: 0 }
    }

    /// The epoch of the newest checkpoint; zero before the first.
    pub(crate) fn newest_epoch(&self) -> Epoch {
        self.head.manifest.newest_checkpoint().map_or(Epoch(0), |checkpoint| checkpoint.epoch)
    }

    /// The number of the newest manifest.
    pub(crate) fn head(&self) -> ManifestSeq {
        self.head.manifest.seq
    }

    /// How many lives a recovery would have to read.
    pub(crate) fn lives(&self) -> usize {
        self.head.manifest.lives.len()
    }

    /// Takes a checkpoint of `epoch`, which is closed; `None` when the newest one is of that epoch already.
    ///
    /// # Errors
    ///
    /// `Full`, `Failed` or `Corrupt` as `Engine::checkpoint`: nothing is lost, the next attempt uses other names.
    pub(crate) async fn take(&mut self, epoch: Epoch) -> Result<Option<Taken>> {
        let newest = self.newest_epoch();
        assert!(epoch >= newest, "a checkpoint of epoch {epoch} after one of {newest}");
        if epoch == newest {
            return Ok(None);
        }
        self.attempt += 1;
        let mut tally = Tally::default();
        let mut parts = Vec::with_capacity(self.spec.log_dirs.len());
        for core in 0..self.head.manifest.cores {
            parts.push(self.part(CoreId(core), epoch, &mut tally).await?);
        }
        let manifest = self.manifest(epoch, parts).await?;
        let before = self.land(manifest).await?;
        let retired_segments = self.give_up(&before).await;
        Ok(Some(Taken {
            manifest: self.head.manifest.seq,
            bytes_written: tally.bytes,
            files_written: tally.files,
            bases_written: tally.bases,
            records_read: tally.records,
            retired_segments,
        }))
    }

    /// Steps 1 and 2 for one core.
    async fn part(&mut self, core: CoreId, epoch: Epoch, tally: &mut Tally) -> Result<Part> {
        let index = core.index();
        let newest = self.head.manifest.newest_checkpoint();
        let mut part = Part {
            chain: newest.into_iter().flat_map(|newest| newest.files_of(core)).copied().collect(),
            cut: Cut::default(),
            offsets: newest
                .into_iter()
                .flat_map(|newest| &newest.offsets)
                .filter(|(of, ..)| *of == core)
                .map(|(_, name, offset)| (name.clone(), offset.clone()))
                .collect(),
            watermark: newest.and_then(|newest| newest.watermarks[index]),
        };
        let written = self.compact_log(core, epoch, &mut part, tally).await?;
        let files = seal(&self.vfs, &self.spec.root, written).await?;
        tally.count(&files);
        part.chain.extend(files);
        if base_due(&part.chain).is_some() {
            let base = self.rewrite(core, &part.chain).await?;
            tally.count(&[base]);
            part.chain = vec![base];
        }
        Ok(part)
    }

    /// Reads the log up to the end of `epoch` into delta files.
    async fn compact_log(
        &self,
        core: CoreId,
        epoch: Epoch,
        part: &mut Part,
        tally: &mut Tally,
    ) -> Result<Vec<Written>> {
        let mut reader = self.reader(core).await?;
        let mut delta = DeltaBuilder::new(self.spec.memory_bytes);
        let mut written = Vec::new();
        while reader.advance().await? {
            let mut frame = reader.frame();
            while let Some((lsn, record)) = frame.next_record() {
                tally.records += 1;
                if record.kind == RecordKind::EpochEnd {
                    let end = decode_end(&record, &self.spec.log_dirs[core.index()])?;
                    part.offsets.extend(end.offsets);
                    part.watermark = end.watermark.or(part.watermark);
                    if end.epoch == epoch {
                        part.cut = Cut { token: frame.token(), segment: reader.segment(), lsn };
                        if !delta.is_empty() {
                            let whole = part.chain.is_empty() && written.is_empty();
                            written.push(self.write(core, epoch, &part.chain, &mut delta, whole).await?);
                        }
                        return Ok(written);
                    }
                    continue;
                }
                if delta.push(&record) == Pushed::Full {
                    written.push(self.write(core, epoch, &part.chain, &mut delta, false).await?);
                    let pushed = delta.push(&record);
                    assert!(pushed == Pushed::Taken, "an empty delta takes any record");
                }
            }
        }
        let what = format!(
            "the log of core {core} ends before epoch {epoch}, which was closed; restore this directory"
        );
        Err(Error::corrupt(&self.spec.log_dirs[core.index()], what))
    }

    async fn reader(&self, core: CoreId) -> Result<WalReader<V>> {
        let manifest = &self.head.manifest;
        let cut = manifest.newest_checkpoint().map(|newest| newest.cuts[core.index()]);
        let lives = manifest.lives.iter().filter(|life| cut.is_none_or(|cut| life.token >= cut.token));
        let lives = lives.map(|life| {
            let log = &life.cores[core.index()];
            wal::Life {
                token: life.token,
                first_segment: log.first_segment,
                identity: log.identity,
                first_lsn: log.first_lsn,
                ceiling: log.ceiling,
            }
        });
        let log = LogId { database: manifest.database, core };
        let cut = cut.map(|cut| wal::Cut { segment: cut.segment, lsn: cut.lsn });
        let dir = &self.spec.log_dirs[core.index()];
        WalReader::open(self.vfs.clone(), dir, log, lives.collect(), cut, READ_AHEAD_BYTES).await
    }

    /// Writes what `delta` holds: as a base, if it is the whole state of the core.
    async fn write(
        &self,
        core: CoreId,
        epoch: Epoch,
        chain: &[CheckpointFile],
        delta: &mut DeltaBuilder,
        whole: bool,
    ) -> Result<Written> {
        let kind = if whole { FileKind::Base } else { FileKind::Delta };
        let from = chain.last().map_or(Epoch(0), |file| file.through_epoch);
        let header = self.header(kind, core, from, epoch);
        let grouping = (kind == FileKind::Base).then(|| self.grouping());
        delta.write(FileWriter::create(&self.vfs, &self.spec.root, header, grouping).await?).await
    }

    /// A new base from the files of one core, read back before anything relies on it.
    async fn rewrite(&self, core: CoreId, chain: &[CheckpointFile]) -> Result<CheckpointFile> {
        let (root, database) = (&self.spec.root, self.head.manifest.database);
        let through = chain.last().map_or(Epoch(0), |file| file.through_epoch);
        let target = self.header(FileKind::Base, core, Epoch(0), through);
        let base = merge::merge(&self.vfs, root, &[chain], target, self.grouping(), |_| true).await?;
        let base = seal(&self.vfs, root, vec![base]).await?[0];
        verify(&self.vfs, root, database, &base, Some(&self.grouping())).await?;
        tracing::debug!(
            target: "highwater::checkpoint", core = core.0, files = chain.len(), bytes = base.bytes, "base rewritten"
        );
        Ok(base)
    }

    /// A file with a name that no other file has had.
    fn header(&self, kind: FileKind, core: CoreId, from_epoch: Epoch, through_epoch: Epoch) -> Header {
        let Manifest { database, token, cores, .. } = self.head.manifest;
        let name = FileName { token, attempt: self.attempt, uuid: self.entropy.nonce(), kind };
        Header { database, name, core, cores, from_epoch, through_epoch }
    }

    fn grouping(&self) -> Grouping {
        let CheckpointSpec { hash_seed, route, key_groups, .. } = self.spec;
        Grouping {
            groups: key_groups,
            group_of: Rc::new(move |key| key_group(key_hash(hash_seed, route.of(key)), key_groups)),
        }
    }

    /// The manifest of the checkpoint: what it adds, and what stays of the older ones.
    async fn manifest(&self, epoch: Epoch, parts: Vec<Part>) -> Result<Manifest> {
        let mut next = self.head.manifest.successor(self.head.crc, self.entropy.nonce(), Author::Checkpoint);
        next.seq = self.next_seq;
        next.attempt_floor = u64::from(self.attempt) + 1;
        let mut checkpoint = Checkpoint {
            epoch,
            token: next.token,
            files: Vec::new(),
            cuts: Vec::new(),
            offsets: Vec::new(),
            watermarks: Vec::new(),
            sinks: Vec::new(),
        };
        for (core, part) in (0..).map(CoreId).zip(parts) {
            checkpoint.files.extend(part.chain);
            checkpoint.cuts.push(part.cut);
            checkpoint.offsets.extend(part.offsets.into_iter().map(|(name, offset)| (core, name, offset)));
            checkpoint.watermarks.push(part.watermark);
        }
        next.checkpoints.push(checkpoint);
        self.apply_retention(&mut next).await?;
        next.retire_files_of(&self.head.manifest);
        next.trim();
        Ok(next)
    }

    async fn apply_retention(&self, next: &mut Manifest) -> Result<()> {
        let mut segments = Vec::with_capacity(self.spec.log_dirs.len());
        for dir in &self.spec.log_dirs {
            segments.push(segment_numbers(&self.vfs, dir).await?);
        }
        let bytes_from = |floor: &dyn Fn(usize) -> SegmentNo| {
            let count = segments.iter().enumerate().map(|(core, numbers)| {
                numbers.iter().filter(|number| **number >= floor(core)).count() as u64
            });
            count.sum::<u64>() * self.spec.segment_bytes
        };
        let candidates: Vec<Candidate> = next
            .checkpoints
            .iter()
            .map(|checkpoint| Candidate {
                files: checkpoint.files.iter().map(|file| file.name).collect(),
                log_bytes: bytes_from(&|core| checkpoint.cuts[core].segment),
            })
            .collect();
        let beginning = next.beginning.then(|| bytes_from(&|_| SegmentNo(0)));
        let kept = retain(&candidates, beginning, self.spec.retention);
        let mut stays = kept.checkpoints.into_iter();
        next.checkpoints.retain(|_| stays.next() == Some(true));
        next.beginning = kept.beginning;
        Ok(())
    }

    /// Step 3. Returns the manifest that was the head before.
    async fn land(&mut self, manifest: Manifest) -> Result<Manifest> {
        let seq = manifest.seq;
        match store::land(&self.vfs, &self.spec.root, &manifest).await? {
            Landing::Landed { crc } => {
                let epoch = manifest.newest_checkpoint().map_or(0, |checkpoint| checkpoint.epoch.0);
                tracing::debug!(target: "highwater::checkpoint", seq = seq.0, epoch, "checkpoint landed");
                self.next_seq = ManifestSeq(seq.0 + 1);
                Ok(std::mem::replace(&mut self.head, Head { manifest, crc }).manifest)
            }
            Landing::Unknown(error) => {
                // It may surface after a crash, and is as good as the head then: nothing that either needs may go,
                // and its number is taken.
                self.next_seq = ManifestSeq(seq.0 + 1);
                Err(error.with_kind(ErrorKind::Failed))
            }
            Landing::Conflict(found) => {
                let what = format!("manifest {seq} was landed by another writer, with token {}", found.token);
                Err(Error::new(ErrorKind::Fenced, what).at(&store::path_of(&self.spec.root, seq)))
            }
        }
    }

    /// Step 4: best effort, because what stays is removed by the next checkpoint or open.
    async fn give_up(&self, before: &Manifest) -> Vec<Vec<SegmentNo>> {
        let root = &self.spec.root;
        let outcome = async {
            let listing = gc::listing(&self.vfs, root).await?;
            let mut plan = gc::plan(&listing, &self.head.manifest, gc::Moment::Running);
            // Segments are not removed but recycled.
            plan.retain(|decision| !decision.name.starts_with("wal"));
            gc::execute(&self.vfs, root, &plan).await
        };
        if let Err(error) = outcome.await {
            tracing::warn!(target: "highwater::checkpoint", %error, "not everything could be removed");
        }
        let mut retired = Vec::with_capacity(self.spec.log_dirs.len());
        for (core, dir) in self.spec.log_dirs.iter().enumerate() {
            let floor = self.head.manifest.wal_floor[core];
            let was = before.wal_floor.get(core).copied().unwrap_or_default();
            let below = |number: &SegmentNo| (was..floor).contains(number);
            let numbers = segment_numbers(&self.vfs, dir).await.unwrap_or_default();
            retired.push(numbers.into_iter().filter(below).collect());
        }
        retired
    }
}

fn decode_end(record: &Record<'_>, dir: &std::path::Path) -> Result<EpochEnd> {
    EpochEnd::decode(record.value)
        .ok_or_else(|| Error::corrupt(dir, "the end of an epoch cannot be decoded; restore this directory"))
}
