//! `highwater backup` and `highwater restore`: an epoch of a database as a database of its own.
//!
//! ```text
//! target.{nonce}.tmp/   folders · IDENT · manifest 1 (create)
//!                       f/   a base for each core that has keys
//!                       wal/ one segment for each core, whose only record is the end of the epoch
//!                       manifest 2: the checkpoint, cut behind that record
//! verified, then renamed to target: there never is half a copy under the name that was asked for
//! ```
//!
//! The copy has the epoch, offsets and watermarks of the original, and the same routing of keys. A backup keeps its
//! identity, and lists what sinks are not known to have published of its epochs: an open of it publishes that. A restore
//! begins a new timeline, so that neither history can be taken for the other.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::console::Console;
use super::snapshot::{CoreState, Snapshot};
use super::{Database, Exit, Failure, Outcome};
use crate::checkpoint::Grouping;
use crate::checkpoint::file::Header;
use crate::checkpoint::writer::{FileWriter, Written, seal};
use crate::codec::{Record, RecordKind};
use crate::env::{Blocking, Entropy, Env, StdEnv};
use crate::error::Error;
use crate::ids::{CoreId, Epoch, FencingToken, Lsn, Nonce, SegmentNo};
use crate::manifest::first_life::{FirstLife, first_life, log_dir};
use crate::manifest::gc::Listing;
use crate::manifest::ident::{self, Ident};
use crate::manifest::store::{self, Landing};
use crate::manifest::{Author, Checkpoint, CoreLife, Cut, FileKind, FileName, Life, Manifest, SinkEntry};
use crate::offset::Offset;
use crate::verify::decode::record;
use crate::verify::{VerifyOptions, VerifyProgress, verify_in};
use crate::vfs::{StdVfs, Vfs};

/// Copy an epoch into a new folder: a database of its own, which can be moved, verified and opened.
///
/// The folder appears only when the copy is complete, durable and verified.
#[derive(clap::Args)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    database: Database,
    /// The folder to make; its parent must exist.
    #[arg(value_name = "TARGET")]
    target: PathBuf,
    /// The epoch: any that is kept, or that a retained checkpoint and the log lead to [default: the newest closed one].
    #[arg(long)]
    epoch: Option<u64>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Bring an earlier epoch back, into a new folder and as a new timeline; the database stays as it is.
#[derive(clap::Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    database: Database,
    /// The folder to make; its parent must exist.
    #[arg(value_name = "TARGET")]
    target: PathBuf,
    /// The epoch: any that is kept, or that a retained checkpoint and the log lead to.
    #[arg(long, value_name = "EPOCH")]
    to_epoch: u64,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn backup(args: &BackupArgs, console: &mut Console) -> Outcome {
    let copied = copy(&args.database.path, &args.target, args.epoch, None, console)?;
    if args.json {
        console.json(&copied.told(&args.target, None))?;
        return Ok(Exit::Fine);
    }
    let target = args.target.display();
    console.line(format!("epoch {}: {} keys copied to {target}, and verified", copied.epoch, copied.keys))?;
    Ok(Exit::Fine)
}

pub(super) fn restore(args: &RestoreArgs, console: &mut Console) -> Outcome {
    let timeline = StdEnv.entropy().nonce();
    let copied = copy(&args.database.path, &args.target, Some(args.to_epoch), Some(timeline), console)?;
    if args.json {
        console.json(&copied.told(&args.target, Some(timeline)))?;
        return Ok(Exit::Fine);
    }
    let (target, Copied { epoch, keys }) = (args.target.display(), copied);
    console.line(format!(
        "epoch {epoch}: {keys} keys restored to {target}, timeline {timeline}, and verified"
    ))?;
    Ok(Exit::Fine)
}

/// What was copied.
pub(super) struct Copied {
    pub(super) epoch: u64,
    pub(super) keys: u64,
}

impl Copied {
    /// What programs are told.
    pub(super) fn told(&self, target: &Path, timeline: Option<Nonce>) -> Value {
        let Self { epoch, keys } = self;
        let mut told = json!({ "epoch": epoch, "keys": keys, "target": target.display().to_string() });
        if let Some(timeline) = timeline {
            told["timeline"] = json!(timeline.to_string());
        }
        told
    }
}

/// The only token of a copy that is a history of its own.
const FIRST_TOKEN: FencingToken = FencingToken(1);

/// The number of a copy's segments, the LSN of its only record.
const SEGMENT: SegmentNo = SegmentNo(1);
const LSN: Lsn = Lsn(1);

/// The attempt that wrote its files.
const ATTEMPT: u32 = 1;

pub(super) fn unwritten(error: Error) -> Failure {
    Failure { exit: Exit::Unwritten, ..Failure::from(error) }
}

fn copy(
    source: &Path,
    target: &Path,
    epoch: Option<u64>,
    timeline: Option<Nonce>,
    console: &Console,
) -> Outcome<Copied> {
    StdEnv.block_on(async {
        let snapshot = Snapshot::open(source).await?;
        let epoch = snapshot.epoch(epoch).await?;
        if epoch == 0 {
            return Err(Failure::new(Exit::Unreadable, "no epoch has closed yet: there is nothing to copy"));
        }
        write(&snapshot, (source, target), epoch, timeline, (console, "copying")).await
    })
}

/// Writes `epoch` of `snapshot`, which is the database at the first path, to the second one, and shows that as `doing`. Without
/// a `timeline` it is the same history, and goes on with what that has in doubt of its sinks.
pub(super) async fn write(
    snapshot: &Snapshot,
    (source, target): (&Path, &Path),
    epoch: u64,
    timeline: Option<Nonce>,
    (console, doing): (&Console, &'static str),
) -> Outcome<Copied> {
    let temp = temp_of(target).await?;
    let ident = target_ident(source, timeline).await?;
    // Sinks know every token of a history that goes on: the copy's first open has to come behind all of them.
    let (token, sinks) = match timeline {
        None => (FencingToken(snapshot.manifest.token), snapshot.sinks(epoch).await?),
        Some(_) => (FIRST_TOKEN, Vec::new()),
    };
    let bar = console.bar(doing);
    let mut copy = Copy { snapshot, temp: &temp, ident, token, epoch, sinks, keys: 0, bar: &bar };
    let written = copy.write().await;
    let keys = copy.keys;
    bar.finish_and_clear();
    written?;
    let bar = console.bar("verifying");
    let report = verify_in(&StdEnv, &temp, VerifyOptions::new().progress(shown(&bar))).await;
    bar.finish_and_clear();
    let report = report?;
    if !report.is_sound() || report.recoverable_epoch != Some(Epoch(epoch)) {
        let what = format!("the copy is not what was written; it stays as {}: {report}", temp.display());
        return Err(Failure::new(Exit::Unwritten, what));
    }
    finish(&temp, target).await?;
    Ok(Copied { epoch, keys })
}

/// Shows how far a verification is.
pub(super) fn shown(bar: &ProgressBar) -> impl Fn(VerifyProgress) + Send + Sync + 'static {
    let bar = bar.clone();
    move |progress| {
        bar.set_length(progress.bytes_known);
        bar.set_position(progress.bytes_read);
    }
}

/// A name beside `target`, which must not exist.
pub(super) async fn temp_of(target: &Path) -> Outcome<PathBuf> {
    let refuse = |what: &str| Failure::new(Exit::Unwritten, format!("{}: {what}", target.display()));
    let name = target.file_name().ok_or_else(|| refuse("is no name for a folder"))?;
    let parent = parent_of(target);
    let entries = StdVfs.list(parent).await.map_err(|error| refuse(&format!("in its parent: {error}")))?;
    if entries.iter().any(|entry| *entry.name == *name) {
        return Err(refuse("exists already: choose another name"));
    }
    let mut temp = name.to_owned();
    temp.push(format!(".{}.tmp", StdEnv.entropy().nonce()));
    Ok(parent.join(temp))
}

fn parent_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

async fn target_ident(source: &Path, timeline: Option<Nonce>) -> Outcome<Ident> {
    let ident = ident::read(&StdVfs, source).await?;
    let ident = ident.ok_or_else(|| Failure::new(Exit::Unreadable, "IDENT has vanished"))?;
    Ok(Ident { timeline: timeline.unwrap_or(ident.timeline), ..ident })
}

/// Gives the copy its name, durably.
pub(super) async fn finish(temp: &Path, target: &Path) -> Outcome<()> {
    let failed = |doing: &str, error| unwritten(Error::io(doing, target, error));
    // A rename replaces no folder, even one that came there meanwhile.
    StdVfs.rename(temp, target).await.map_err(|error| failed("naming the copy", error))?;
    StdVfs.sync_dir(parent_of(target)).await.map_err(|error| failed("making the copy's name durable", error))
}

/// A copy that is being written.
struct Copy<'a> {
    snapshot: &'a Snapshot,
    temp: &'a Path,
    ident: Ident,
    token: FencingToken,
    epoch: u64,
    /// What the checkpoint lists.
    sinks: Vec<SinkEntry>,
    keys: u64,
    bar: &'a ProgressBar,
}

impl Copy<'_> {
    async fn write(&mut self) -> Outcome<()> {
        let (cores, nonce) = (self.snapshot.cores_at(self.epoch), || StdEnv.entropy().nonce());
        ident::make_folders(&StdVfs, self.temp, cores, &Listing::default()).await.map_err(unwritten)?;
        ident::land(&StdVfs, self.temp, &self.ident, nonce()).await.map_err(unwritten)?;
        let created = Manifest::create(self.ident.database, self.ident.timeline, nonce());
        let crc = self.land(&created).await?;
        let (mut files, mut lives) = (Vec::new(), Vec::new());
        let mut checkpoint = Checkpoint {
            epoch: Epoch(self.epoch),
            token: self.token,
            files: Vec::new(),
            cuts: Vec::new(),
            offsets: Vec::new(),
            inherited: Vec::new(),
            watermarks: Vec::new(),
            sinks: std::mem::take(&mut self.sinks),
        };
        for core in (0..cores).map(CoreId) {
            let mut state = self.snapshot.state(core.0, self.epoch).await?;
            files.extend(self.base(core, &mut state).await?);
            let offsets: Vec<(String, Offset)> =
                state.marks.offsets.iter().map(|(name, offset)| (name.clone(), known(offset))).collect();
            lives.push(self.life(core, &offsets, state.marks.watermark).await?);
            checkpoint.cuts.push(Cut { token: self.token, segment: SEGMENT, lsn: LSN });
            checkpoint.offsets.extend(offsets.into_iter().map(|(name, offset)| (core, name, offset)));
            checkpoint.watermarks.push(state.marks.watermark);
        }
        let base = self.snapshot.base(self.epoch);
        for (core, name, offset) in base.into_iter().flat_map(|base| &base.inherited) {
            if checkpoint.offsets.iter().all(|(_, stated, _)| stated != name) {
                checkpoint.inherited.push((CoreId(*core), name.clone(), known(offset)));
            }
        }
        checkpoint.files = seal(&StdVfs, self.temp, files).await.map_err(unwritten)?;
        let mut manifest = created.successor(crc, nonce(), Author::Checkpoint);
        manifest.token = self.token;
        manifest.cores = cores;
        manifest.recovered_epoch = Epoch(self.epoch);
        manifest.beginning = false;
        manifest.attempt_floor = u64::from(ATTEMPT) + 1;
        manifest.lives.push(Life { token: self.token, recovered_epoch: Epoch(self.epoch), cores: lives });
        manifest.checkpoints.push(checkpoint);
        manifest.trim();
        self.land(&manifest).await.map(|_| ())
    }

    async fn land(&self, manifest: &Manifest) -> Outcome<u32> {
        match store::land(&StdVfs, self.temp, manifest).await.map_err(unwritten)? {
            Landing::Landed { crc } => Ok(crc),
            Landing::Unknown(error) => Err(unwritten(error)),
            Landing::Conflict(_) => Err(Failure::new(Exit::Unwritten, "somebody else writes to the copy")),
        }
    }

    /// The base of `core`; none without a key.
    async fn base(&mut self, core: CoreId, state: &mut CoreState) -> Outcome<Option<Written>> {
        let Some(mut next) = state.next().await? else { return Ok(None) };
        let Ident { database, hash_seed, route, key_groups, .. } = self.ident;
        let uuid = StdEnv.entropy().nonce();
        let header = Header {
            database,
            name: FileName { token: self.token, attempt: ATTEMPT, uuid, kind: FileKind::Base },
            core,
            cores: self.snapshot.cores_at(self.epoch),
            from_epoch: Epoch(0),
            through_epoch: Epoch(self.epoch),
        };
        let grouping = Grouping::of(hash_seed, route, key_groups);
        let mut writer =
            FileWriter::create(&StdVfs, self.temp, header, Some(grouping)).await.map_err(unwritten)?;
        loop {
            let (key, value) = &next;
            writer.push(&Record { kind: RecordKind::Put, key, value }).await.map_err(unwritten)?;
            self.keys += 1;
            self.bar.inc((key.len() + value.len()) as u64);
            match state.next().await? {
                Some(following) => next = following,
                None => return writer.finish().await.map(Some).map_err(unwritten),
            }
        }
    }

    /// The log of `core`, in which nothing but the epoch has ended.
    async fn life(
        &self,
        core: CoreId,
        offsets: &[(String, Offset)],
        watermark: Option<i64>,
    ) -> Outcome<CoreLife> {
        let life = FirstLife {
            ident: &self.ident,
            core,
            token: self.token,
            identity: StdEnv.entropy().nonce(),
            segment: SEGMENT,
            lsn: LSN,
            epoch: Epoch(self.epoch),
            offsets: offsets.to_vec(),
            watermark,
        };
        first_life(&StdVfs, &log_dir(self.temp, core), life).await.map_err(unwritten)
    }
}

fn known(offset: &record::Offset) -> Offset {
    match offset {
        record::Offset::Number(number) => Offset::Number(*number),
        record::Offset::Opaque(bytes) => Offset::Opaque(bytes.clone()),
    }
}
