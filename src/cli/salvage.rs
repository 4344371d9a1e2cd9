//! `highwater salvage`: the latest epoch that the undamaged parts of a database still lead to.
//!
//! ```text
//! manifest     the newest that can be read
//! checkpoint   the newest whose files are all sound
//! logs         from its cuts, each as far as it can be followed; what claims that it went on further is not heard
//! epoch        the last that ends on all cores there
//! kept         the newest epoch that is kept and sound, if it is a later one
//! ```
//!
//! 1. The original is only read. What is written is a copy as `restore` makes it: whole, verified, a timeline of its own.
//! 2. The copy is exactly the state of one closed epoch on all cores, an older one than was promised.
//! 3. Everything that was left out is told. What a newer program wrote is not left out: nothing is salvaged then.

use std::path::PathBuf;

use serde_json::json;

use super::console::Console;
use super::copy;
use super::snapshot::Snapshot;
use super::{Database, Exit, Failure, Outcome};
use crate::env::{Blocking, Entropy, Env, StdEnv};
use crate::verify::decode::ident::Ident;
use crate::verify::decode::manifest::{Checkpoint, Manifest};
use crate::verify::head;
use crate::verify::log::{LogReader, Position};
use crate::verify::merge::Merge;
use crate::verify::source::Directory;
use crate::verify::tail::{self, Claims};
use crate::verify::{DamageKind, Finding};
use crate::vfs::StdVfs;

/// Copy what damage has left of a database into a new folder: the latest epoch that still can be rebuilt, as a new timeline.
///
/// For when `verify` names damage that no backup repairs. The original stays as it is; later epochs are lost, and told.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    database: Database,
    /// The folder to make; its parent must exist.
    #[arg(value_name = "TARGET")]
    target: PathBuf,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// What is left of a database.
struct Left {
    snapshot: Snapshot,
    epoch: u64,
    /// The last epoch that anything speaks of.
    known: u64,
    dropped: Vec<String>,
}

pub(super) fn run(args: &Args, console: &mut Console) -> Outcome {
    let timeline = StdEnv.entropy().nonce();
    let salvaged = StdEnv.block_on(async {
        let left = look(args).await?;
        let paths = (&*args.database.path, &*args.target);
        let copied =
            copy::write(&left.snapshot, paths, left.epoch, Some(timeline), (console, "salvaging")).await?;
        Ok::<_, Failure>((left, copied))
    });
    let (left, copied) = salvaged?;
    if args.json {
        let lost = (left.known > left.epoch).then(|| json!({ "from": left.epoch + 1, "to": left.known }));
        let mut told = copied.told(&args.target, Some(timeline));
        (told["left_out"], told["lost"]) = (json!(left.dropped), json!(lost));
        console.json(&told)?;
        return Ok(Exit::Fine);
    }
    for dropped in &left.dropped {
        console.line(format!("left out: {dropped}"))?;
    }
    if left.known > left.epoch {
        console.line(format!("lost: epochs {} to {}", left.epoch + 1, left.known))?;
    }
    let (keys, target) = (copied.keys, args.target.display());
    console.line(format!(
        "epoch {}: {keys} keys salvaged to {target}, timeline {timeline}, and verified; read the sources again from the \
         offsets that its open reports",
        copied.epoch
    ))?;
    Ok(Exit::Fine)
}

async fn look(args: &Args) -> Outcome<Left> {
    let directory = Directory::new(StdVfs, &args.database.path, None);
    directory.check_folders().await?;
    // Without the seed in it no key can be given to a core.
    let ident = head::ident(&directory).await.map_err(|finding| match finding.kind {
        DamageKind::Damaged => Failure::new(Exit::Damaged, format!("{}; it cannot be salvaged", *finding)),
        _ => finding.into(),
    })?;
    let mut dropped = Vec::new();
    let (number, manifest) = newest_manifest(&directory, &ident, &mut dropped).await?;
    let mut snapshot = Snapshot { directory, ident, number, manifest, in_part: true };
    let mut known = snapshot.manifest.recovered_epoch;
    known = known.max(snapshot.manifest.checkpoints.last().map_or(0, |checkpoint| checkpoint.epoch));
    let base = newest_sound(&snapshot, &mut dropped).await?;
    begin_with(&mut snapshot.manifest, base);
    let newest = snapshot.manifest.checkpoints.last().map_or(0, |checkpoint| checkpoint.epoch);
    let mut reach = u64::MAX;
    let claims = Claims::of_all(&snapshot.directory, &snapshot.ident, &snapshot.manifest).await;
    for (core, claims) in (0..).zip(claims) {
        let (ends, claimed) = follow(&snapshot, core, claims, &mut dropped).await?;
        (reach, known) = (reach.min(ends), known.max(ends).max(claimed).max(claims.closed_through));
    }
    // Without a checkpoint only the whole log leads anywhere.
    let leads = snapshot.cores() > 0 && (newest > 0 || snapshot.manifest.beginning);
    let led_to = if leads { newest.max(reach) } else { 0 };
    let epoch = newest_kept(&snapshot, led_to, &mut dropped).await?.unwrap_or(led_to);
    if epoch == 0 {
        let what = format!("nothing leads to any epoch: {}", dropped.join("; "));
        return Err(Failure::new(Exit::Damaged, what));
    }
    Ok(Left { snapshot, epoch, known, dropped })
}

/// The newest checkpoint whose files are all sound. No older one leads further: its log passes where this one's begins.
async fn newest_sound(snapshot: &Snapshot, dropped: &mut Vec<String>) -> Outcome<Option<usize>> {
    for (index, checkpoint) in snapshot.manifest.checkpoints.iter().enumerate().rev() {
        match read(snapshot, checkpoint).await {
            Ok(()) => return Ok(Some(index)),
            Err(finding) => {
                dropped.push(format!("the checkpoint of epoch {}: {}", checkpoint.epoch, left_out(finding)?));
            }
        }
    }
    Ok(None)
}

/// The newest epoch behind `epoch` that is kept, and whose files are all sound.
async fn newest_kept(snapshot: &Snapshot, epoch: u64, dropped: &mut Vec<String>) -> Outcome<Option<u64>> {
    let mut kept: Vec<&Checkpoint> =
        snapshot.manifest.kept_here().filter(|kept| kept.epoch > epoch).collect();
    kept.sort_by_key(|kept| kept.epoch);
    for kept in kept.into_iter().rev() {
        match read(snapshot, kept).await {
            Ok(()) => return Ok(Some(kept.epoch)),
            Err(finding) => dropped.push(format!("the kept epoch {}: {}", kept.epoch, left_out(finding)?)),
        }
    }
    Ok(None)
}

/// Says what is left out. What a newer program wrote is not: it is there, and not for this build to do without.
fn left_out(finding: Finding) -> Outcome<String> {
    if finding.kind == DamageKind::Newer { Err(finding.into()) } else { Ok(finding.to_string()) }
}

/// Leaves one checkpoint, and of the log what lies behind its cuts: what is damaged before them does not matter.
fn begin_with(manifest: &mut Manifest, base: Option<usize>) {
    let Some(base) = base.map(|base| manifest.checkpoints.swap_remove(base)) else {
        manifest.checkpoints.clear();
        return;
    };
    let oldest = base.cuts.iter().map(|cut| cut.token).min().unwrap_or(0);
    manifest.lives.retain(|life| life.token >= oldest);
    manifest.floors = base.cuts.iter().map(|cut| cut.segment).collect();
    manifest.beginning = false;
    manifest.checkpoints = vec![base];
}

/// The greatest manifest that can be read.
async fn newest_manifest(
    directory: &Directory<StdVfs>,
    ident: &Ident,
    dropped: &mut Vec<String>,
) -> Outcome<(u64, Manifest)> {
    for number in directory.numbers("m").await?.into_iter().rev() {
        match head::manifest(directory, number, ident).await {
            Ok((manifest, _)) => return Ok((number, manifest)),
            Err(finding) => dropped.push(left_out(finding)?),
        }
    }
    let what = format!("no manifest can be read: {}", dropped.join("; "));
    Err(Failure::new(Exit::Damaged, what))
}

/// The last epoch that ends in what can be followed of the log of `core`, and the last that its frames speak of.
async fn follow(
    snapshot: &Snapshot,
    core: u16,
    claims: Claims,
    dropped: &mut Vec<String>,
) -> Outcome<(u64, u64)> {
    let (directory, which) = (&snapshot.directory, (core, snapshot.ident.unit));
    let mut bad = Vec::new();
    let found = |_, finding: Finding| bad.push(finding);
    let log = crate::verify::log::Log::open_in_part(directory, &snapshot.manifest, which, found).await;
    for finding in bad {
        dropped.push(left_out(finding)?);
    }
    let log = match log {
        Ok(log) => log,
        Err(finding) => {
            dropped.push(left_out(finding)?);
            return Ok((0, 0));
        }
    };
    let mut reader = LogReader::from(directory, &log, Position::default());
    loop {
        match reader.next().await {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(finding) => {
                dropped.push(left_out(finding)?);
                return Ok(reader.epochs());
            }
        }
    }
    // Where it ends is perhaps not where it ended.
    let end = (core, reader.place(), claims);
    if let Err(finding) = tail::check(directory, &snapshot.manifest, &log, end).await {
        dropped.push(left_out(finding)?);
    }
    Ok(reader.epochs())
}

/// Reads all files of a checkpoint.
async fn read(snapshot: &Snapshot, checkpoint: &Checkpoint) -> Result<(), Finding> {
    for core in 0..checkpoint.cores() {
        let files: Vec<_> = checkpoint.files.iter().filter(|file| file.core == core).collect();
        let mut merge = Merge::open(&snapshot.directory, &files, &snapshot.ident).await?;
        while let Some(key) = merge.key().map(<[u8]>::to_vec) {
            merge.pass(&key).await?;
        }
    }
    Ok(())
}
