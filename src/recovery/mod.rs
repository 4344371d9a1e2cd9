//! From a directory to a running state: what `open` does before the first put.
//!
//! ```text
//! head manifest ─► 1 look     every core's log at once: how far it goes, what is proven        (evidence.rs)
//!                  2 decide   the epoch, and per core what is kept, carried, discarded        (plan.rs, pure)
//!                  3 rebuild  every core at once: checkpoint files, then the log on top       (replay.rs)
//!                  4 begin    leftovers go; a new life: first segments, with the carried records, durable   (wal)
//!                  5 land     the open manifest: token, ceilings, new segments. The commit
//!                  6 clean    what no manifest needs                                           (clean.rs)
//! ```
//!
//! Invariants
//! 1. Nothing that a manifest names is changed before step 5, and nothing that the old head needs is changed after it: a crash
//!    anywhere in between recovers the same epoch or a later one (I5).
//! 2. What is reported is durable: records that no mark proves are carried before the manifest lands.
//! 3. The manifest discards for all cores at once (I3): no core writes a frame before it has landed.
//! 4. A checkpoint whose files do not read back costs time: an older one is taken, and the log on top of it. The
//!    recovered epoch is the same.
//! 5. No token is used twice: the last segment of the greatest token that no manifest names goes when one of a greater token
//!    is there, so that a removal which a power loss undoes brings back no segment of a life that counts.

mod clean;
mod evidence;
mod plan;
mod replay;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use report::{RecoveryReport, SkippedCheckpoint, Tail};
use tracing::Instrument;

use crate::codec::Record;
use crate::env::{Clock, Entropy, Env};
use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::forecast::{Measured, Parts, Rates, Volume};
use crate::ids::{CoreId, Epoch, FencingToken, Lsn, SegmentNo};
use crate::limits::MANIFEST_FILES_MAX;
use crate::manifest::first_life::log_dir;
use crate::manifest::gc::Listing;
use crate::manifest::ident::Ident;
use crate::manifest::store::{self, Head};
use crate::manifest::{Author, Checkpoint, CoreLife, Life, Manifest, SinkEntry};
use crate::options::Options;
use crate::parallel;
use crate::state::CoreState;
use crate::wal::{self, Front, LifeBuilder, LifeSpec, LifeStart, LogSpec, OwnSegments, Predecessor};

use clean::Leftover;
use evidence::{Findings, Question, look};
use plan::{Plan, plan};
use replay::{Order, Rebuilt, rebuild};

/// A stage of a recovery.
macro_rules! stage {
    ($name:literal) => {
        tracing::debug_span!(target: "highwater::recovery", $name)
    };
}

/// A database that was recovered, ready to be written.
pub(crate) struct Recovered {
    /// The open manifest, landed.
    pub(crate) head: Head,
    pub(crate) cores: Vec<RecoveredCore>,
    pub(crate) report: RecoveryReport,
    /// What sinks were given and are not known to have published, through the recovered epoch.
    pub(crate) sinks: Vec<SinkEntry>,
    /// The greatest epoch that a manifest of the directory decides or lists.
    pub(crate) listed: Epoch,
    /// Bytes of the records that were replayed, over all cores.
    pub(crate) replayed_bytes: u64,
    /// How fast recoveries are, this one included.
    pub(crate) rates: Rates,
}

/// One core of it.
pub(crate) struct RecoveredCore {
    pub(crate) state: CoreState,
    pub(crate) life: LifeStart,
    /// A number above every segment of the core.
    pub(crate) next_segment: SegmentNo,
    /// The segments that hold its log.
    pub(crate) segments: Vec<SegmentNo>,
    pub(crate) offset_names: BTreeSet<String>,
}

/// What an object store knows of the database: nothing older may be recovered, and no token below used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Floors {
    pub(crate) token: FencingToken,
    pub(crate) epoch: Epoch,
}

/// Recovers the database whose head is `head` and whose names were `listing` before that was read. The caller holds the
/// lock since.
///
/// # Errors
///
/// As `Engine::open`.
pub(crate) async fn recover<E: Env>(
    env: &E,
    vfs: &E::Vfs,
    options: &Options,
    ident: &Ident,
    (head, listing): (Head, Listing),
    floors: Floors,
) -> Result<Recovered> {
    let span =
        tracing::debug_span!(target: "highwater::recovery", "recovery", manifest = head.manifest.seq.0);
    let dirs = (0..options.cores).map(|core| log_dir(&options.path, CoreId(core))).collect();
    let work = Recovery { env, vfs, options, ident, old: &head.manifest, listing, dirs, floors };
    work.steps(&head).instrument(span).await
}

/// The files of a checkpoint that could be restored; `None` for the empty beginning.
type Base = Option<Checkpoint>;

struct Recovery<'a, E: Env> {
    env: &'a E,
    vfs: &'a E::Vfs,
    options: &'a Options,
    ident: &'a Ident,
    old: &'a Manifest,
    /// The names of the database as the open found them.
    listing: Listing,
    /// The directory of every core's log.
    dirs: Vec<PathBuf>,
    floors: Floors,
}

impl<E: Env> Recovery<'_, E> {
    /// Every step, from `head`, whose manifest is `old`.
    async fn steps(&self, head: &Head) -> Result<Recovered> {
        let clock = self.env.clock();
        let started = clock.now();
        self.check_width()?;
        let findings = self.look().instrument(stage!("look")).await?;
        let looked = clock.now();
        let plan = stage!("decide").in_scope(|| self.decide(&findings))?;
        let began = clock.now();
        let (base, rebuilt, skipped) = self.rebuild(&plan, &findings).instrument(stage!("rebuild")).await?;
        let rebuilding = clock.now().since(began);
        let token = self.next_token(&findings);
        let begin = self.begin(token, &plan, &findings, &rebuilt);
        let lives = begin.instrument(stage!("begin")).await?;
        let manifest = self.manifest(head, token, &plan, &skipped, &lives);
        let landed = self.land(manifest).instrument(stage!("land")).await?;
        self.clean(&landed.manifest, &findings).instrument(stage!("clean")).await;
        let mut report = report(&plan, base.as_ref(), &rebuilt, skipped, token);
        report.created = self.old.lives.is_empty();
        report.tails = findings.iter().map(|found| found.tail.clone()).collect();
        report.took = clock.now().since(started);
        let replayed_bytes = rebuilt.iter().map(|core| core.replayed_bytes).sum();
        let load_bytes = base.as_ref().map_or(0, Checkpoint::file_bytes);
        let volume = Volume { load_bytes, log_bytes: replayed_bytes };
        report.predicted = self.old.rates.predict(volume);
        let each = Parts {
            loading: rebuilt.iter().map(|core| core.loading).sum(),
            replaying: rebuilt.iter().map(|core| core.replaying).sum(),
        };
        let measured = Measured::of(each, rebuilding, looked.since(started), report.took);
        let rates = self.old.rates.learn(volume, measured);
        let (predicted, took) = (report.predicted, report.took);
        tracing::debug!(target: "highwater::recovery", ?volume, ?predicted, ?took, ?measured, ?rates, "measured");
        let (sinks, listed) = (self.sinks(&rebuilt), self.listed());
        let cores =
            rebuilt.into_iter().zip(lives).zip(&findings).map(|((rebuilt, life), found)| RecoveredCore {
                state: rebuilt.state,
                life,
                segments: self.log_segments(&landed.manifest, found, &life),
                next_segment: SegmentNo(life.cursor.segment.0.max(greatest_segment(found).0) + 1),
                offset_names: rebuilt.offsets.into_keys().collect(),
            });
        let cores = cores.collect();
        Ok(Recovered { head: landed, cores, report, sinks, listed, replayed_bytes, rates })
    }

    fn cores(&self) -> impl Iterator<Item = CoreId> + use<E> {
        (0..self.options.cores).map(CoreId)
    }

    /// Only another number of cores begins lives of another width, and it leaves none of the old ones.
    fn check_width(&self) -> Result<()> {
        let cores = usize::from(self.options.cores);
        let lives = self.old.lives.iter().map(|life| life.cores.len());
        let cuts = self.old.checkpoints.iter().map(|checkpoint| checkpoint.cuts.len());
        match lives.chain(cuts).find(|width| *width != cores) {
            None => Ok(()),
            Some(width) => {
                let what = format!(
                    "manifest {} is of {cores} cores and says something of {width}: nothing was changed, restore this folder \
                     from a backup",
                    self.old.seq
                );
                Err(Error::corrupt(ErrorCode::ManifestDamaged, &self.options.path.join("m"), what))
            }
        }
    }

    /// The directory of one core's log.
    fn dir(&self, core: CoreId) -> &Path {
        &self.dirs[core.index()]
    }

    /// The last epoch that needs no look at the log: what the interrupted life began with, or a checkpoint since.
    fn base_epoch(&self) -> Epoch {
        let newest = self.old.newest_checkpoint().map_or(Epoch(0), |checkpoint| checkpoint.epoch);
        self.old.recovered_epoch.max(newest)
    }

    /// The last epoch whose sinks the manifest lists.
    fn listed(&self) -> Epoch {
        self.old.listed_epoch()
    }

    /// What the manifest lists of the sinks, and the log behind it.
    fn sinks(&self, rebuilt: &[Rebuilt]) -> Vec<SinkEntry> {
        let listed = self.old.sinks().iter().cloned();
        let logged = self.cores().zip(rebuilt).flat_map(|(core, rebuilt)| {
            rebuilt.sinks.iter().map(move |(epoch, name, handle)| SinkEntry {
                name: name.clone(),
                epoch: *epoch,
                core,
                handle: Some(handle.clone()),
                lost: false,
            })
        });
        listed.chain(logged).collect()
    }

    /// Step 1.
    async fn look(&self) -> Result<Vec<Findings>> {
        let newest = self.old.newest_checkpoint();
        let jobs = self.cores().map(|core| {
            let dir = self.dir(core).to_owned();
            let life = self.old.lives.last();
            let cut = newest.map(|checkpoint| checkpoint.cuts[core.index()]);
            let cut = cut.filter(|cut| Some(cut.token) == life.map(|life| life.token));
            let question = Question {
                database: self.ident.database,
                core,
                life: life.map(|life| (life.token, life.cores[core.index()])),
                cut,
                base_epoch: self.base_epoch(),
                manifests: self.options.path.join("m"),
            };
            move |vfs: E::Vfs| async move { look(vfs, &dir, question).await }
        });
        parallel::for_each(self.env, "highwater-look", jobs.collect()).await
    }

    /// Step 2.
    fn decide(&self, findings: &[Findings]) -> Result<Plan> {
        let evidence: Vec<_> = findings.iter().map(|found| found.evidence.clone()).collect();
        let decided = plan(self.base_epoch(), &evidence).map_err(|loss| {
            let core = CoreId(u16::try_from(loss.core).unwrap_or(u16::MAX));
            let found = &findings[loss.core].evidence;
            let what = format!(
                "the log of core {core} ends at LSN {} with epoch {}, yet epoch {} was closed on all cores: \
                 acknowledged records are missing; nothing was changed, restore this directory from a backup",
                found.end, loss.reaches, loss.closed
            );
            Error::corrupt(ErrorCode::LogEndsEarly, self.dir(core), what)
        })?;
        if decided.epoch < self.floors.epoch {
            let what = format!(
                "the directory reaches epoch {}, its object store epoch {}: this is an older copy; nothing was changed, open \
                 an empty directory to restore what the store holds",
                decided.epoch, self.floors.epoch
            );
            return Err(Error::corrupt(ErrorCode::OlderCopy, &self.options.path, what));
        }
        for (core, (found, planned)) in self.cores().zip(evidence.iter().zip(&decided.cores)) {
            tracing::debug!(
                target: "highwater::recovery",
                core = core.0,
                epoch = decided.epoch.0,
                carried_before = found.base.0,
                proven = found.proven.0,
                keep = planned.keep.0,
                cut = planned.cut.0,
                end = found.end.0,
                "decided",
            );
        }
        Ok(decided)
    }

    /// Step 3: the newest checkpoint that reads back, and the log on top of it.
    async fn rebuild(
        &self,
        plan: &Plan,
        findings: &[Findings],
    ) -> Result<(Base, Vec<Rebuilt>, Vec<SkippedCheckpoint>)> {
        let mut skipped = Vec::new();
        let newest_first = self.old.checkpoints.iter().rev().map(Some);
        let beginning = self.old.beginning.then_some(None);
        let mut last = None;
        for base in newest_first.chain(beginning) {
            match self.rebuild_from(base, plan, findings).await {
                Ok(rebuilt) => return Ok((base.cloned(), rebuilt, skipped)),
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    let Some(checkpoint) = base else { return Err(last.unwrap_or(error)) };
                    tracing::warn!(target: "highwater::recovery", epoch = checkpoint.epoch.0, %error, "fallback");
                    skipped.push(SkippedCheckpoint { epoch: checkpoint.epoch, reason: error.to_string() });
                    last.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| {
            Error::corrupt(
                ErrorCode::NoBeginning,
                &self.options.path,
                "the manifest names neither a checkpoint nor the beginning of the log",
            )
        }))
    }

    async fn rebuild_from(
        &self,
        base: Option<&Checkpoint>,
        plan: &Plan,
        findings: &[Findings],
    ) -> Result<Vec<Rebuilt>> {
        let jobs = self.cores().map(|core| {
            let fronts = Arc::clone(&findings[core.index()].catalog);
            let order = self.order(core, base, plan, fronts);
            let clock = self.env.clock();
            move |vfs: E::Vfs| async move { rebuild(vfs, order, clock).await }
        });
        parallel::for_each(self.env, "highwater-rebuild", jobs.collect()).await
    }

    fn order(&self, core: CoreId, base: Option<&Checkpoint>, plan: &Plan, fronts: Arc<[Front]>) -> Order {
        let index = core.index();
        let cut = base.map(|checkpoint| checkpoint.cuts[index]);
        let planned = plan.cores[index];
        let lives = self.old.lives.iter().filter(|life| cut.is_none_or(|cut| life.token >= cut.token));
        let lives = lives.map(|life| {
            let of_core = &life.cores[index];
            of_core.as_read(life.token, Some(of_core.ceiling.unwrap_or(planned.cut)))
        });
        let offsets = base.into_iter().flat_map(|checkpoint| &checkpoint.offsets);
        Order {
            database: self.ident.database,
            core,
            hash_seed: self.ident.hash_seed,
            ordered: self.options.ordered_index,
            chunks_max: self.options.state_chunks_max,
            root: self.options.path.clone(),
            log_dir: self.dir(core).to_owned(),
            files: base.into_iter().flat_map(|checkpoint| checkpoint.files_of(core)).copied().collect(),
            fronts,
            cut: cut.map(|cut| wal::Cut { segment: cut.segment, lsn: cut.lsn }),
            lives: lives.collect(),
            plan: planned,
            token: self.old.token,
            epoch: plan.epoch,
            listed: self.listed(),
            offsets: offsets
                .filter(|(of, ..)| *of == core)
                .map(|(_, name, offset)| (name.clone(), offset.clone()))
                .collect(),
            watermark: base.and_then(|checkpoint| checkpoint.watermarks[index]),
        }
    }

    /// Above every token that was ever used, also by an open that did not land.
    fn next_token(&self, findings: &[Findings]) -> FencingToken {
        let fronts = findings.iter().flat_map(|found| &*found.catalog);
        let used = fronts.map(|front| front.header.log.token.0);
        FencingToken(used.chain([self.old.token.0, self.floors.token.0]).max().unwrap_or(0) + 1)
    }

    /// Step 4.
    async fn begin(
        &self,
        token: FencingToken,
        plan: &Plan,
        findings: &[Findings],
        rebuilt: &[Rebuilt],
    ) -> Result<Vec<LifeStart>> {
        let mut witness = self.remove_leftovers(findings).await;
        let mut lives = Vec::with_capacity(findings.len());
        for (core, (found, rebuilt)) in self.cores().zip(findings.iter().zip(rebuilt)) {
            let spec = LifeSpec {
                log: LogSpec {
                    database: self.ident.database,
                    core,
                    token,
                    write_unit: self.ident.write_unit,
                    segment_bytes: self.options.segment_bytes,
                },
                segment: greatest_segment(found).next(),
                identity: self.env.entropy().nonce(),
                first_lsn: found.greatest_lsn.next(),
                closed_through: plan.epoch,
                floor: SegmentNo(0),
                predecessor: Predecessor {
                    segment: SegmentNo(0),
                    last_lsn: plan.cores[core.index()].keep,
                    token: self.old.token,
                },
            };
            lives.push(self.begin_core(spec, rebuilt, found.unused, &mut witness).await?);
        }
        Ok(lives)
    }

    async fn begin_core(
        &self,
        spec: LifeSpec,
        rebuilt: &Rebuilt,
        unused: Option<SegmentNo>,
        witness: &mut Option<Leftover>,
    ) -> Result<LifeStart> {
        let dir = self.dir(spec.log.core);
        let entropy = self.env.entropy();
        let mut segments = OwnSegments::after(spec.segment, move || entropy.nonce());
        let batch_bytes = self.options.batch_bytes;
        let mut builder = LifeBuilder::begin(self.vfs.clone(), dir, spec, batch_bytes, unused).await?;
        // Its first segment says from here on which tokens were used.
        if let Some(leftover) = witness.take() {
            self.remove_leftover(leftover).await;
        }
        let mut rest = rebuilt.carry.as_slice();
        while let Some((record, behind)) = Record::decode(rest) {
            builder.carry(&record, &mut segments).await?;
            rest = behind;
        }
        assert!(rest.is_empty(), "{} bytes of carried records are none", rest.len());
        builder.finish(&mut segments).await
    }

    /// The open manifest: the old life ends where the plan says, for all cores at once.
    fn manifest(
        &self,
        old: &Head,
        token: FencingToken,
        plan: &Plan,
        skipped: &[SkippedCheckpoint],
        lives: &[LifeStart],
    ) -> Manifest {
        let mut next = old.manifest.successor(old.crc, self.env.entropy().nonce(), Author::Open);
        next.token = token;
        next.cores = self.options.cores;
        next.recovered_epoch = plan.epoch;
        next.attempt_floor = 0;
        if let Some(ended) = next.lives.last_mut() {
            for (life, planned) in ended.cores.iter_mut().zip(&plan.cores) {
                life.ceiling = Some(planned.keep);
            }
        }
        next.checkpoints.retain(|checkpoint| skipped.iter().all(|skipped| skipped.epoch != checkpoint.epoch));
        next.stand_by_decisions_of(&old.manifest);
        let cores = lives.iter().map(|life| CoreLife {
            first_segment: life.first_segment,
            identity: life.identity,
            first_lsn: life.first_lsn,
            carried_through: Lsn(life.next_lsn.0 - 1),
            ceiling: None,
        });
        next.lives.push(Life { token, recovered_epoch: plan.epoch, cores: cores.collect() });
        next.forget_empty_lives();
        next.give_up_beyond(MANIFEST_FILES_MAX);
        next.retire_files_of(&old.manifest);
        next.trim();
        next
    }

    /// The segments of a core that hold its log when step 6 is done.
    fn log_segments(&self, head: &Manifest, found: &Findings, life: &LifeStart) -> Vec<SegmentNo> {
        let floor = head.wal_floor[life.spec.core.index()];
        let counts = |token| token <= self.old.token && head.lives.iter().any(|life| life.token == token);
        let is_there = |number| number >= floor && found.unused != Some(number);
        let old = found.segments().filter(|(number, token)| is_there(*number) && counts(*token));
        let new = (life.first_segment.0..=life.cursor.segment.0).map(SegmentNo);
        old.map(|(number, _)| number).chain(new).collect()
    }

    /// Step 5.
    async fn land(&self, manifest: Manifest) -> Result<Head> {
        let head = store::land_head(self.vfs, &self.options.path, manifest).await?;
        let (seq, token, lives) = (head.manifest.seq.0, head.manifest.token.0, head.manifest.lives.len());
        tracing::debug!(target: "highwater::recovery", seq, token, lives, "open manifest landed");
        Ok(head)
    }
}

fn greatest_segment(found: &Findings) -> SegmentNo {
    found.segments().map(|(number, _)| number).max().unwrap_or(SegmentNo(0))
}

fn report(
    plan: &Plan,
    base: Option<&Checkpoint>,
    rebuilt: &[Rebuilt],
    skipped: Vec<SkippedCheckpoint>,
    token: FencingToken,
) -> RecoveryReport {
    let mut offsets = BTreeMap::new();
    for (index, core) in rebuilt.iter().enumerate() {
        let id = CoreId(u16::try_from(index).unwrap_or(u16::MAX));
        offsets.extend(core.offsets.iter().map(|(name, offset)| ((id, name.clone()), offset.clone())));
    }
    let stated = |name: &str| rebuilt.iter().any(|core| core.offsets.contains_key(name));
    let inherited = base.map_or_else(Vec::new, |base| base.inherited_unless(stated));
    offsets.extend(inherited.into_iter().map(|(core, name, offset)| ((core, name), offset)));
    let watermarks: Option<Vec<i64>> = rebuilt.iter().map(|core| core.watermark).collect();
    RecoveryReport {
        epoch: plan.epoch,
        checkpoint_epoch: base.map_or(Epoch(0), |checkpoint| checkpoint.epoch),
        token,
        offsets,
        watermark: watermarks.and_then(|marks| marks.into_iter().min()),
        live_keys: rebuilt.iter().map(|core| core.state.len() as u64).sum(),
        replayed_records: rebuilt.iter().map(|core| core.replayed).sum(),
        discarded_records: plan.cores.iter().map(|core| core.discarded).sum(),
        carried_records: rebuilt.iter().map(|core| core.carried).sum(),
        skipped,
        ..RecoveryReport::default()
    }
}
