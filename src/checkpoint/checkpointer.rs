//! Taking a checkpoint: the log since the last one, compacted into files, and a manifest that names them.
//!
//! ```text
//! 0 follow   per core, the log while it is written ─► delta in memory                    (follower.rs)
//! 1 write    per core, the rest of the log to the end of the epoch ─► delta file(s)      (job.rs)
//! 2 rewrite  where the chain of a core has grown too long ─► a new base, read back and verified
//! 3 land     the manifest: files, cuts, offsets, watermarks, what is retained. The commit
//! 4 give up  files that the manifest retired, segments below its floor
//! ```
//!
//! Invariants
//! 1. Only closed epochs are read, and live state never: no core notices.
//! 2. A manifest names a file only after its bytes and its name are durable.
//! 3. Nothing is deleted before the manifest that retires it has landed.
//! 4. After an attempt that failed nothing of it is built upon: every core's log is followed anew from the cut. Its files are
//!    removed at once, unless its manifest may yet be found, or another writer has taken over.
//! 5. A rewrite that fails is no such attempt: the checkpoint lands without it (rewrites.rs).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Grouping;
use super::follower::{Beginning, Follower};
use super::job::{Done, Job, Names};
use super::retention::{Bounds, Candidate, retain};
use super::rewrites::Rewrites;
use super::tap::Tap;
use super::writer::{remove, seal};
use crate::env::{Entropy, Env};
use crate::error::{Error, ErrorKind, Result};
use crate::forecast::Rates;
use crate::ids::{CoreId, Epoch, Lsn, ManifestSeq, SegmentNo};
use crate::limits::MANIFEST_FILES_MAX;
use crate::manifest::gc;
use crate::manifest::kept::{Edit, Spans};
use crate::manifest::store::{self, Head, Landing};
use crate::manifest::{Author, Checkpoint, FileName, Manifest, SinkEntry};
use crate::parallel;
use crate::route::Route;
use crate::turns::Turns;
use crate::wal::{self, LogId, segment_numbers};

/// Cores get threads of their own once they hold this part of the memory that they may use.
const THREADS_PART: usize = 32;

/// What stays the same over all checkpoints of one open.
#[derive(Clone, Debug)]
pub(crate) struct CheckpointSpec {
    pub(crate) root: PathBuf,
    /// Per core, the directory of its log.
    pub(crate) log_dirs: Vec<PathBuf>,
    /// Per core, where its log's writer leaves what it writes.
    pub(crate) taps: Vec<Arc<Tap>>,
    pub(crate) hash_seed: u64,
    pub(crate) route: Route,
    pub(crate) key_groups: u16,
    pub(crate) segment_bytes: u64,
    /// For the delta of one core.
    pub(crate) memory_bytes: usize,
    pub(crate) retention: Bounds,
    /// How fast recoveries are, for the manifests.
    pub(crate) rates: Rates,
    /// Bytes of one core's files above which a base may be due for that alone.
    pub(crate) load_bytes_max: u64,
    /// Spans of epochs that keep one, if there are any.
    pub(crate) spans: Option<Spans>,
}

impl CheckpointSpec {
    /// For the digests of bases.
    pub(super) fn grouping(&self) -> Grouping {
        Grouping::of(self.hash_seed, self.route, self.key_groups)
    }
}

/// A checkpoint that landed.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) manifest: ManifestSeq,
    pub(crate) bytes_written: u64,
    pub(crate) files_written: u32,
    pub(crate) bases_written: u32,
    pub(crate) records_read: u64,
}

/// A manifest that is not the head.
struct NotLanded {
    error: Error,
    /// Whether it never will be, and nobody else writes here: what only it names is garbage.
    never: bool,
}

/// Takes the checkpoints of one open database.
pub(crate) struct Checkpointer<E: Env> {
    env: E,
    pub(super) vfs: E::Vfs,
    pub(super) entropy: E::Entropy,
    pub(super) spec: Arc<CheckpointSpec>,
    pub(super) head: Head,
    /// The number of the next manifest: above every one that may have landed.
    next_seq: ManifestSeq,
    pub(super) attempt: u32,
    /// Whether space is short.
    is_short: bool,
    rewrites: Rewrites,
    /// Per core, the segment below which all were handed over by [`Checkpointer::give_up`].
    given_up: Vec<SegmentNo>,
    /// One for each core; none behind an attempt that failed.
    followers: Vec<Follower>,
}

impl<E: Env> Checkpointer<E> {
    /// For the database whose open manifest is `head`.
    pub(crate) fn new(env: E, vfs: E::Vfs, spec: CheckpointSpec, head: Head) -> Self {
        let next_seq = ManifestSeq(head.manifest.seq.0 + 1);
        let (entropy, spec, rewrites) = (env.entropy(), Arc::new(spec), Rewrites::default());
        let given_up = head.manifest.wal_floor.clone();
        let (attempt, is_short, followers) = (0, false, Vec::new());
        let mut checkpointer = Self {
            env,
            vfs,
            entropy,
            spec,
            head,
            next_seq,
            attempt,
            is_short,
            rewrites,
            given_up,
            followers,
        };
        checkpointer.begin();
        checkpointer
    }

    /// The epoch of the newest checkpoint; zero before the first.
    pub(crate) fn newest_epoch(&self) -> Epoch {
        self.head.manifest.newest_checkpoint().map_or(Epoch(0), |checkpoint| checkpoint.epoch)
    }

    /// The number of the newest manifest.
    pub(crate) fn head(&self) -> ManifestSeq {
        self.head.manifest.seq
    }

    /// How long a log file is.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.spec.segment_bytes
    }

    /// From now on space `is_short`: no log is kept to fall back further than the number of checkpoints asks for, and no base
    /// is rewritten.
    pub(crate) fn set_short(&mut self, is_short: bool) {
        self.is_short = is_short;
    }

    /// How many lives a recovery would have to read.
    pub(crate) fn lives(&self) -> usize {
        self.head.manifest.lives.len()
    }

    /// Begins to follow every core's log, at the newest checkpoint's cut.
    fn begin(&mut self) {
        let cores = (0..self.head.manifest.cores).map(CoreId);
        self.followers =
            cores.map(|core| Follower::new(self.beginning(core), self.spec.memory_bytes)).collect();
    }

    fn beginning(&self, core: CoreId) -> Beginning {
        let manifest = &self.head.manifest;
        let newest = manifest.newest_checkpoint();
        let through = self.newest_epoch();
        let cut = newest.map(|newest| newest.cuts[core.index()]).filter(|cut| cut.token == manifest.token);
        let fresh = || {
            // Everything before this life's own records is in the checkpoint, or there is none.
            let life = manifest.lives.last().filter(|life| life.recovered_epoch == through)?;
            Some(life.cores[core.index()].carried_through.next())
        };
        let offsets = newest.into_iter().flat_map(|newest| &newest.offsets);
        Beginning {
            through,
            next: cut.map(|cut| cut.lsn.next()).or_else(fresh),
            offsets: offsets
                .filter(|(of, ..)| *of == core)
                .map(|(_, name, offset)| (name.clone(), offset.clone()))
                .collect(),
            watermark: newest.and_then(|newest| newest.watermarks[core.index()]),
        }
    }

    /// Follows what the logs were given in memory, through the closed epoch `closed`. What goes wrong is found again,
    /// and told, by the next checkpoint.
    pub(crate) fn follow(&mut self, closed: Epoch) {
        let logs = self.spec.taps.iter().zip(&self.spec.log_dirs);
        for (follower, (tap, dir)) in self.followers.iter_mut().zip(logs) {
            if let Err(error) = follower.follow(tap, closed, dir) {
                tracing::debug!(target: "highwater::checkpoint", %error, "a log is not followed");
            }
        }
    }

    /// Takes a checkpoint of `epoch`, which is closed, that lists `sinks`; `None` when the newest one is of that epoch already.
    ///
    /// # Errors
    ///
    /// `Full`, `Failed` or `Corrupt` as `Engine::checkpoint`: nothing is lost, what was written is removed, and the next attempt
    /// uses other names.
    pub(crate) async fn take(&mut self, epoch: Epoch, sinks: Vec<SinkEntry>) -> Result<Option<Taken>> {
        let newest = self.newest_epoch();
        assert!(epoch >= newest, "a checkpoint of epoch {epoch} after one of {newest}");
        if epoch == newest {
            return Ok(None);
        }
        self.attempt += 1;
        let taken = self.attempt(epoch, sinks).await;
        if taken.is_err() {
            self.begin();
        }
        taken.map(Some)
    }

    async fn attempt(&mut self, epoch: Epoch, sinks: Vec<SinkEntry>) -> Result<Taken> {
        let (manifest, done) = match self.prepare(epoch, sinks).await {
            Ok(prepared) => prepared,
            Err(error) => {
                self.discard().await;
                return Err(error);
            }
        };
        if let Err(NotLanded { error, never }) = self.land(manifest).await {
            if never {
                self.discard().await;
            }
            return Err(error);
        }
        let records_read = done.iter().map(|done| done.records).sum();
        let (mut bytes_written, mut files_written, mut bases_written) = (0, 0, 0);
        for done in &done {
            bytes_written += done.tally.bytes;
            files_written += done.tally.files;
            bases_written += done.tally.bases;
        }
        self.followers = done.into_iter().map(|done| done.follower).collect();
        let manifest = self.head.manifest.seq;
        Ok(Taken { manifest, bytes_written, files_written, bases_written, records_read })
    }

    /// All but step 3: the manifest, and what the cores have contributed to it.
    async fn prepare(&mut self, epoch: Epoch, sinks: Vec<SinkEntry>) -> Result<(Manifest, Vec<Done>)> {
        self.follow(epoch);
        let mut done = self.run_jobs(epoch).await?;
        self.rewrites.note(self.attempt, done.iter().map(|done| done.rewrite));
        let written = done.iter_mut().flat_map(|done| std::mem::take(&mut done.written)).collect();
        seal(&self.vfs, &self.spec.root, written).await?;
        let manifest = self.manifest(epoch, &done, sinks).await?;
        Ok((manifest, done))
    }

    /// Removes the files of the attempt, which no manifest names or ever will: a device that is full wants the space for the
    /// next one. What stays is removed by the garbage collection.
    pub(super) async fn discard(&self) {
        let Manifest { token, .. } = self.head.manifest;
        let Ok(entries) = store::list(&self.vfs, &self.spec.root.join("f")).await else { return };
        let needed = self.head.manifest.referenced_files();
        let names = entries.iter().filter_map(|entry| FileName::parse(&entry.name));
        for name in names.filter(|name| (name.token, name.attempt) == (token, self.attempt)) {
            assert!(!needed.contains(&name), "the head names {name}, of an attempt that failed");
            remove(&self.vfs, &self.spec.root, &name).await;
        }
    }

    /// Steps 1 and 2: on a thread for each core when they have much to do, and beside each other when not.
    async fn run_jobs(&mut self, epoch: Epoch) -> Result<Vec<Done>> {
        let threads_bytes = self.spec.memory_bytes / THREADS_PART;
        let many = self.followers.iter().any(|follower| follower.delta.held_bytes() >= threads_bytes);
        let (followers, rewrites) = (std::mem::take(&mut self.followers), Arc::default());
        let jobs: Vec<_> = (0..)
            .map(CoreId)
            .zip(followers)
            .map(|(core, follower)| {
                (self.job(core, epoch, follower, &rewrites), self.entropy.clone(), self.env.clock())
            })
            .collect();
        if many {
            let jobs = jobs.into_iter().map(|(job, entropy, clock)| {
                move |vfs: E::Vfs| async move { job.run(&vfs, &entropy, clock).await }
            });
            return parallel::for_each(&self.env, "highwater-checkpoint", jobs.collect()).await;
        }
        let vfs = &self.vfs;
        let jobs =
            jobs.into_iter().map(|(job, entropy, clock)| async move { job.run(vfs, &entropy, clock).await });
        parallel::beside(jobs.collect()).await.into_iter().collect()
    }

    fn job(&self, core: CoreId, epoch: Epoch, follower: Follower, rewrites: &Arc<Turns>) -> Job {
        let manifest = &self.head.manifest;
        let Manifest { database, token, cores, .. } = *manifest;
        let newest = manifest.newest_checkpoint();
        let cut = newest.map(|newest| newest.cuts[core.index()]);
        let lives = manifest.lives.iter().filter(|life| cut.is_none_or(|cut| life.token >= cut.token));
        let lives = lives.map(|life| {
            let of_core = &life.cores[core.index()];
            wal::Life {
                token: life.token,
                first_segment: of_core.first_segment,
                identity: of_core.identity,
                first_lsn: of_core.first_lsn,
                ceiling: of_core.ceiling,
            }
        });
        Job {
            spec: Arc::clone(&self.spec),
            names: Names { database, token, cores, attempt: self.attempt },
            log: LogId { database, core },
            epoch,
            chain: newest.into_iter().flat_map(|newest| newest.files_of(core)).copied().collect(),
            lives: lives.collect(),
            cut: cut.map_or((SegmentNo(0), Lsn(0)), |cut| (cut.segment, cut.lsn)),
            follower,
            may_rewrite: !self.is_short && self.rewrites.may(self.attempt),
            rewrites: Arc::clone(rewrites),
        }
    }

    /// The manifest of the checkpoint: what it adds, and what stays of the older ones.
    async fn manifest(&self, epoch: Epoch, done: &[Done], sinks: Vec<SinkEntry>) -> Result<Manifest> {
        let mut next = self.head.manifest.successor(self.head.crc, self.entropy.nonce(), Author::Checkpoint);
        next.seq = self.next_seq;
        next.attempt_floor = u64::from(self.attempt) + 1;
        let mut checkpoint = Checkpoint {
            epoch,
            token: next.token,
            files: Vec::new(),
            cuts: Vec::new(),
            offsets: Vec::new(),
            inherited: Vec::new(),
            watermarks: Vec::new(),
            sinks,
        };
        let stated = |name: &str| done.iter().any(|done| done.follower.offsets.contains_key(name));
        checkpoint.inherited = self
            .head
            .manifest
            .newest_checkpoint()
            .map_or_else(Vec::new, |newest| newest.inherited_unless(stated));
        for (core, done) in (0..).map(CoreId).zip(done) {
            checkpoint.files.extend(&done.chain);
            checkpoint.cuts.push(done.cut);
            let offsets = &done.follower.offsets;
            checkpoint
                .offsets
                .extend(offsets.iter().map(|(name, offset)| (core, name.clone(), offset.clone())));
            checkpoint.watermarks.push(done.follower.watermark);
        }
        next.checkpoints.push(checkpoint);
        // Its list is the whole one.
        next.decided = None;
        self.apply_retention(&mut next).await?;
        next.keep_spans(self.spec.spans);
        next.give_up_beyond(MANIFEST_FILES_MAX);
        next.rates = self.spec.rates;
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
        let mut bounds = self.spec.retention;
        if self.is_short {
            bounds.fallback_log_bytes = 0;
        }
        if self.rewrites.is_in_doubt() {
            bounds.fallback_log_bytes = u64::MAX;
        }
        let kept = retain(&candidates, beginning, bounds);
        let mut stays = kept.checkpoints.into_iter();
        next.checkpoints.retain(|_| stays.next() == Some(true));
        next.beginning = kept.beginning;
        Ok(())
    }

    /// Does what `edit` wants of the pins, by a manifest of its own; the epoch that the pin holds, or held.
    ///
    /// # Errors
    ///
    /// `Invalid` as [`Manifest::edit_pins`]. `Full` or `Failed`: the pin is as it was, or as it was to be.
    pub(crate) async fn edit_pins(&mut self, edit: &Edit) -> Result<Epoch> {
        let mut next = self.head.manifest.successor(self.head.crc, self.entropy.nonce(), Author::Pin);
        next.seq = self.next_seq;
        let edited = next.edit_pins(edit);
        // What a manifest says that may surface is not what the head says: one behind it decides.
        let in_doubt = self.next_seq.0 > self.head.manifest.seq.0 + 1;
        if !in_doubt && (edited.is_err() || next.kept == self.head.manifest.kept) {
            return edited;
        }
        next.retire_files_of(&self.head.manifest);
        self.land(next).await.map_err(|not| not.error)?;
        edited
    }

    /// Step 3.
    async fn land(&mut self, manifest: Manifest) -> std::result::Result<(), NotLanded> {
        let seq = manifest.seq;
        match store::land(&self.vfs, &self.spec.root, &manifest).await {
            Ok(Landing::Landed { crc }) => {
                let epoch = manifest.newest_checkpoint().map_or(0, |checkpoint| checkpoint.epoch.0);
                tracing::debug!(target: "highwater::checkpoint", seq = seq.0, epoch, "checkpoint landed");
                self.next_seq = ManifestSeq(seq.0 + 1);
                self.head = Head { manifest, crc };
                Ok(())
            }
            Ok(Landing::Unknown(error)) => {
                // It may surface after a crash, and is as good as the head then: nothing that either needs may go,
                // and its number is taken.
                self.next_seq = ManifestSeq(seq.0 + 1);
                Err(NotLanded { error: error.with_kind(ErrorKind::Failed), never: false })
            }
            Ok(Landing::Conflict(found)) => {
                Err(NotLanded { error: store::overtaken(&self.spec.root, &found), never: false })
            }
            // What has its number and cannot be read may be this very one.
            Err(error) => Err(NotLanded { never: error.kind() != ErrorKind::Corrupt, error }),
        }
    }

    /// The head, for who lands the next manifest.
    pub(crate) fn into_head(self) -> Head {
        self.head
    }

    /// The head, for those who copy what it names.
    pub(crate) fn head_manifest(&self) -> &Manifest {
        &self.head.manifest
    }

    /// Step 4: best effort, because what stays is removed by the next checkpoint or open. Returns, per core, the
    /// segments that nothing needs any more, oldest first, each once. The files `pinned` stay for now.
    pub(crate) async fn give_up(&mut self, pinned: &BTreeSet<FileName>) -> Vec<Vec<SegmentNo>> {
        let root = &self.spec.root;
        let pinned: BTreeSet<PathBuf> = pinned.iter().map(|name| name.to_string().into()).collect();
        let outcome = async {
            let listing = gc::listing(&self.vfs, root).await?;
            let mut plan = gc::plan(&listing, &self.head.manifest, gc::Moment::Running);
            // Segments are not removed but recycled.
            let is_pinned =
                |name: &Path| name.strip_prefix("f").ok().is_some_and(|name| pinned.contains(name));
            plan.retain(|decision| !decision.name.starts_with("wal") && !is_pinned(&decision.name));
            gc::execute(&self.vfs, root, &plan).await
        };
        if let Err(error) = outcome.await {
            tracing::warn!(target: "highwater::checkpoint", %error, "not everything could be removed");
        }
        let mut retired = Vec::with_capacity(self.spec.log_dirs.len());
        for (core, dir) in self.spec.log_dirs.iter().enumerate() {
            let floor = self.head.manifest.wal_floor[core];
            retired.push(match segment_numbers(&self.vfs, dir).await {
                Ok(numbers) => {
                    let from = std::mem::replace(&mut self.given_up[core], floor);
                    numbers.into_iter().filter(|number| (from..floor).contains(number)).collect()
                }
                Err(error) => {
                    tracing::warn!(target: "highwater::checkpoint", core, %error, "old segments stay for now");
                    Vec::new()
                }
            });
        }
        retired
    }
}
