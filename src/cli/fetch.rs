//! `highwater fetch`: what an object store holds of a database, as a database of its own.
//!
//! The store is only read: whoever writes there goes on, and nobody is fenced. The folder is of another timeline, so that no open
//! takes it for the one that belongs to the store.
//!
//! Its writer may retire a checkpoint while that is read, and nothing holds it: what is missing is damage only if the store's
//! head names it still. Else it is begun anew, with what the head names then.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use serde_json::json;

use super::console::Console;
use super::copy::{finish, temp_of, unwritten};
use super::place::StoreOptions;
use super::{Exit, Failure, Outcome};
use crate::env::{Blocking, Entropy, Env, StdEnv};
use crate::error::{Error, ErrorCode};
use crate::ids::Epoch;
use crate::manifest::gc::Listing;
use crate::manifest::ident::{self, Ident};
use crate::manifest::store::Head;
use crate::manifest::{Author, Checkpoint, Cut, Manifest};
use crate::offsite::{Content, Found, Site, Writer, restore, stored};
use crate::remote::Remote;
use crate::verify::{VerifyOptions, verify_in};
use crate::vfs::StdVfs;

/// Files on their way at once.
const LANES: usize = 4;

/// How often it is begun, when the store's writer retires what is being fetched.
const TRIES_MAX: u32 = 5;

/// Bring a checkpoint of an object store down, into a new folder and as a new timeline.
///
/// Credentials come from the environment, as for the engine. The store is only read, and its writer goes on: to take the
/// database over, open an empty folder with the store instead.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The store, as `Bucket::at` takes it: `s3://bucket/prefix`, `file:///directory`, …
    #[arg(value_name = "URL")]
    url: String,
    /// The folder to make; its parent must exist.
    #[arg(value_name = "TARGET")]
    target: PathBuf,
    /// The epoch: one of `highwater epochs URL` [default: the newest].
    #[arg(long, value_name = "EPOCH")]
    to_epoch: Option<u64>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreOptions,
}

pub(super) fn run(args: &Args, console: &mut Console) -> Outcome {
    let remote = args.store.remote(&args.url)?;
    let bar = console.bar("fetching");
    let fetched = StdEnv.block_on(fetch(&remote, &args.target, args.to_epoch.map(Epoch), &bar));
    bar.finish_and_clear();
    let (epoch, ident) = fetched?;
    let (target, timeline) = (args.target.display().to_string(), ident.timeline);
    if args.json {
        let database = ident.database.to_string();
        let timeline = timeline.to_string();
        console
            .json(&json!({ "epoch": epoch, "target": target, "database": database, "timeline": timeline }))?;
        return Ok(Exit::Fine);
    }
    console.line(format!("epoch {epoch}: fetched to {target}, timeline {timeline}, and verified"))?;
    Ok(Exit::Fine)
}

fn nothing() -> Failure {
    Failure::new(Exit::Unreadable, "there is no checkpoint of a database in this store")
}

/// The store that `remote` names, and what its head says.
pub(super) async fn head(remote: &Remote) -> Outcome<(Found, Head)> {
    let found = Site::new(&StdEnv, remote).look().await?.ok_or_else(nothing)?;
    let head = found.head.clone().ok_or_else(nothing)?;
    Ok((found, head))
}

/// The checkpoint of `epoch`, or the newest one, as of a timeline that has no part in what the original decides of its sinks.
fn checkpoint_of(head: &Manifest, epoch: Option<Epoch>) -> Outcome<Checkpoint> {
    let newest = head.newest_checkpoint().ok_or_else(nothing)?;
    let epoch = epoch.unwrap_or(newest.epoch);
    let retained = head.checkpoints.iter().rev().chain(head.kept.iter().map(|kept| &kept.checkpoint));
    let found = retained.into_iter().find(|checkpoint| checkpoint.epoch == epoch).cloned();
    let mut checkpoint = found.ok_or_else(|| {
        let there: Vec<String> = head.retained_epochs().iter().map(ToString::to_string).collect();
        Failure::new(Exit::Unreadable, format!("epoch {epoch} is not in the store: {} are", there.join(", ")))
    })?;
    checkpoint.sinks.clear();
    checkpoint.cuts = vec![Cut::default(); checkpoint.watermarks.len()];
    Ok(checkpoint)
}

async fn fetch(
    remote: &Remote,
    target: &Path,
    wanted: Option<Epoch>,
    bar: &ProgressBar,
) -> Outcome<(Epoch, Ident)> {
    let (mut found, mut newest) = head(remote).await?;
    for _ in 0..TRIES_MAX {
        let checkpoint = checkpoint_of(&newest.manifest, wanted)?;
        let (epoch, temp) = (checkpoint.epoch, temp_of(target).await?);
        let (ident, first) = begin(&found, &newest.manifest, checkpoint);
        ident::make_folders(&StdVfs, &temp, first.cores, &Listing::default()).await.map_err(unwritten)?;
        ident::land(&StdVfs, &temp, &ident, StdEnv.entropy().nonce()).await.map_err(unwritten)?;
        let (site, progress) = (Site::new(&StdEnv, remote), |bytes| bar.inc(bytes));
        let restored = restore(&StdEnv, (&StdVfs, &temp), &site, (&ident, &first), (LANES, &progress)).await;
        let Err(error) = restored else {
            return finished(&temp, target, epoch).await.map(|()| (epoch, ident));
        };
        remove(&temp);
        if error.code() != ErrorCode::ObjectMissing {
            return Err(error.into());
        }
        (found, newest) = head(remote).await?;
        if names(&newest.manifest, &error) {
            return Err(error.into());
        }
        bar.reset();
    }
    let what = "the store's writer retires checkpoints faster than they come down: pin an epoch (Engine::pin), and fetch that";
    Err(Failure::new(Exit::Unreadable, what))
}

/// The identity and the first manifest of a database that holds `checkpoint` of the store whose head is `head`.
fn begin(found: &Found, head: &Manifest, checkpoint: Checkpoint) -> (Ident, Manifest) {
    let (cores, entropy) = (checkpoint.cores(), StdEnv.entropy());
    let ident = Ident { timeline: entropy.nonce(), ..found.id.ident };
    let writer = Writer { database: ident.database, timeline: ident.timeline, token: head.token, cores };
    let content = Content { checkpoints: vec![checkpoint], kept: Vec::new() };
    (ident, stored(None, writer, (Author::Checkpoint, 0), content, &entropy))
}

/// Verifies what was fetched, and gives it its name.
async fn finished(temp: &Path, target: &Path, epoch: Epoch) -> Outcome<()> {
    let report = verify_in(&StdEnv, temp, VerifyOptions::new()).await?;
    if !report.is_sound() || report.recoverable_epoch != Some(epoch) {
        let what = format!("what was fetched is not sound; it stays as {}: {report}", temp.display());
        return Err(Failure::new(Exit::Damaged, what));
    }
    finish(temp, target).await
}

/// Whether `head` names the object that `error` is about.
fn names(head: &Manifest, error: &Error) -> bool {
    let named = head.referenced_files();
    named.iter().any(|name| error.path() == Some(Path::new(&crate::offsite::file_name(name))))
}

/// Removes a copy that never got its name, if it can: whoever looks finds it beside the target.
#[expect(
    clippy::disallowed_methods,
    reason = "a folder of the tool's own, with a name that it has just drawn"
)]
fn remove(temp: &Path) {
    let _ = std::fs::remove_dir_all(temp);
}
