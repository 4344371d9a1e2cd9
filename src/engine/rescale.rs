//! Another number of cores: what an open does first when the options ask for one.
//!
//! ```text
//! 1 recover      as ever, with the cores that there are: an open manifest of its own
//! 2 checkpoint   of the recovered epoch, so that files hold everything
//! 3 distribute   the keys of all chains, by key group, into a base for each new core
//!                and refused, if one of these has no room for what would be its own
//! 4 begin        a log for each new core, which holds nothing but the end of that epoch
//! 5 land         a manifest that names those bases and logs alone. The commit
//! ```
//!
//! A crash before step 5 leaves the database as it was, and files and segments that no manifest names; behind it the
//! database has the new cores, and whoever opens it goes on from there. Nothing before the recovered epoch is kept:
//! logs and checkpoints of one number of cores are never mixed with those of another.

use super::start::checkpoint_spec;
use crate::checkpoint::{Checkpointer, FileReader};
use crate::env::{Entropy, Env};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{CoreId, Epoch, FencingToken, Lsn, SegmentNo};
use crate::limits::INHERITED_OFFSETS_MAX;
use crate::manifest::first_life::{FirstLife, clear_log, first_life, log_dir};
use crate::manifest::gc::{self, Listing};
use crate::manifest::ident::Ident;
use crate::manifest::store::{self, Head};
use crate::manifest::{Author, Checkpoint, CheckpointFile, CoreLife, Cut, Life, Manifest, SinkEntry};
use crate::options::Options;
use crate::recovery::{Floors, Recovered, RecoveredCore, RecoveryReport, recover};
use crate::state::{KeyHasher, Room, StateConfig};
use crate::vfs::{Vfs, retry};

/// What was recovered before the number of cores changed.
pub(super) struct Rescaled {
    from: u16,
    report: RecoveryReport,
}

impl Rescaled {
    /// Adds what only the first of the two recoveries knows to the `report` of the second.
    pub(super) fn complete(self, report: &mut RecoveryReport) {
        let Self { from, report: first } = self;
        report.rescaled_from = Some(from);
        report.checkpoint_epoch = first.checkpoint_epoch;
        report.replayed_records += first.replayed_records;
        report.discarded_records += first.discarded_records;
        report.carried_records += first.carried_records;
        report.tails = first.tails;
        report.skipped = first.skipped;
        report.took += first.took;
        report.predicted += first.predicted;
    }
}

/// Gives the database whose head is `found` the cores of `options`.
///
/// # Errors
///
/// As `Engine::open`. The database then has the cores that it had, or those that were asked for, and nothing is lost.
pub(super) async fn rescale<E: Env>(
    env: &E,
    vfs: &E::Vfs,
    options: &Options,
    ident: &Ident,
    found: (Head, Listing),
    floors: Floors,
) -> Result<((Head, Listing), Rescaled)> {
    let from = found.0.manifest.cores;
    let old = options.clone().cores(from);
    let recovered = recover(env, vfs, &old, ident, found, floors).await?;
    let Recovered { head, cores, report, sinks, rates, .. } = recovered;
    let places = Places::behind(&cores, options);
    drop(cores);
    let log_dirs = (0..from).map(|core| log_dir(&options.path, CoreId(core))).collect();
    let spec = checkpoint_spec(&old, ident, log_dirs, rates);
    let mut checkpointer = Checkpointer::new(env.clone(), vfs.clone(), spec, head);
    checkpointer.take(report.epoch, listed(sinks)).await?;
    check_inherited(checkpointer.head_manifest(), options)?;
    let files = checkpointer.distribute(options.cores).await?;
    check_room(vfs, options, ident, &files).await?;
    let head = checkpointer.into_head();
    for core in (from..options.cores).map(CoreId) {
        let dir = log_dir(&options.path, core);
        clear_log(vfs, &dir).await?;
        retry(|| vfs.sync_dir(&dir)).await.map_err(|error| Error::io("syncing a log folder", &dir, error))?;
    }
    let manifest = begin(env, vfs, options, ident, (&head, report.epoch, files), &places).await?;
    let head = store::land_head(vfs, &options.path, manifest).await?;
    let (epoch, to) = (report.epoch.0, options.cores);
    tracing::info!(target: "highwater::engine", from, to, epoch, "rescaled");
    let listing = gc::listing(vfs, &options.path).await?;
    Ok(((head, listing), Rescaled { from, report }))
}

/// Whether every new core has room for its base: behind the landing nobody could open the database any more.
///
/// # Errors
///
/// `Full` when not: the database still has the cores that it had.
async fn check_room<V: Vfs>(
    vfs: &V,
    options: &Options,
    ident: &Ident,
    bases: &[CheckpointFile],
) -> Result<()> {
    let config = StateConfig::new(KeyHasher::new(ident.hash_seed)).chunks_max(options.state_chunks_max);
    for base in bases {
        let mut room = Room::new(config);
        if room.surely_fits(base.entries, base.live_bytes) {
            continue;
        }
        let reader = FileReader::open(vfs, &options.path, ident.database, base).await?;
        reader.load(|block| block.entries().for_each(|entry| room.take(&entry.record))).await?;
        if !room.fits() {
            let (core, cores) = (base.core, options.cores);
            let what = format!(
                "core {core} of {cores} would have more records than its state can hold: open with more cores; the database has \
                 those that it had"
            );
            return Err(Error::new(ErrorCode::StateFullAtOpen, what));
        }
    }
    Ok(())
}

/// Whether the offsets of all cores so far are few enough for a manifest.
///
/// # Errors
///
/// `Invalid` when not.
fn check_inherited(head: &Manifest, options: &Options) -> Result<()> {
    let newest = head.newest_checkpoint();
    let count = newest.map_or(0, |newest| newest.inherited.len() + newest.offsets.len());
    if count <= INHERITED_OFFSETS_MAX {
        return Ok(());
    }
    let what = format!(
        "the cores, and those of earlier counts, have stated offsets of {count} sources, over the limit of \
         {INHERITED_OFFSETS_MAX}: open with {} cores, and state those anew that still count",
        head.cores
    );
    Err(Error::new(ErrorCode::TooManyOffsets, what).at(&options.path))
}

/// In the order of a manifest.
fn listed(mut sinks: Vec<SinkEntry>) -> Vec<SinkEntry> {
    let place = |entry: &SinkEntry| (entry.name.clone(), entry.epoch, entry.core);
    sinks.sort_by_key(place);
    sinks.dedup_by_key(|entry| place(entry));
    sinks
}

/// Where the new logs begin: above everything that was there.
struct Places {
    segments: Vec<SegmentNo>,
    lsn: Lsn,
}

impl Places {
    fn behind(cores: &[RecoveredCore], options: &Options) -> Self {
        let next = |core: u16| cores.get(usize::from(core)).map_or(SegmentNo(1), |core| core.next_segment);
        let lsn = cores.iter().map(|core| core.life.next_lsn).max();
        Self { segments: (0..options.cores).map(next).collect(), lsn: lsn.unwrap_or(Lsn(1)) }
    }
}

/// Steps 4 and 5 up to the landing.
async fn begin<E: Env>(
    env: &E,
    vfs: &E::Vfs,
    options: &Options,
    ident: &Ident,
    (head, epoch, files): (&Head, Epoch, Vec<CheckpointFile>),
    places: &Places,
) -> Result<Manifest> {
    let token = FencingToken(head.manifest.token.0 + 1);
    let newest = head.manifest.newest_checkpoint();
    // No core is ahead of what all cores together had seen.
    let watermarks: Option<Vec<i64>> = newest.and_then(|newest| newest.watermarks.iter().copied().collect());
    let watermark = watermarks.and_then(|watermarks| watermarks.into_iter().min());
    let mut lives: Vec<CoreLife> = Vec::with_capacity(usize::from(options.cores));
    for (core, segment) in (0..).map(CoreId).zip(&places.segments) {
        let life = FirstLife {
            ident,
            core,
            token,
            identity: env.entropy().nonce(),
            segment: *segment,
            lsn: places.lsn,
            epoch,
            offsets: Vec::new(),
            watermark,
        };
        lives.push(first_life(vfs, &log_dir(&options.path, core), life).await?);
    }
    let cut = |life: &CoreLife| Cut { token, segment: life.first_segment, lsn: places.lsn };
    let checkpoint = newest.map(|newest| Checkpoint {
        epoch,
        token,
        files,
        cuts: lives.iter().map(cut).collect(),
        offsets: Vec::new(),
        inherited: inherited(newest),
        watermarks: lives.iter().map(|_| watermark).collect(),
        sinks: newest.sinks.clone(),
    });
    let mut next = head.manifest.successor(head.crc, env.entropy().nonce(), Author::Rescale);
    next.token = token;
    next.cores = options.cores;
    next.recovered_epoch = epoch;
    next.attempt_floor = 0;
    next.beginning = checkpoint.is_none();
    next.lives = vec![Life { token, recovered_epoch: epoch, cores: lives }];
    next.checkpoints = checkpoint.into_iter().collect();
    next.retire_files_of(&head.manifest);
    next.trim();
    Ok(next)
}

/// All offsets of `checkpoint`, of whatever cores.
fn inherited(checkpoint: &Checkpoint) -> Vec<(CoreId, String, crate::Offset)> {
    let mut all = [checkpoint.inherited.as_slice(), &checkpoint.offsets].concat();
    all.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    all
}
