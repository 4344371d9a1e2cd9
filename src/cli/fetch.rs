//! `highwater fetch`: what an object store holds of a database, as a database of its own.
//!
//! The store is only read: whoever writes there goes on, and nobody is fenced. The folder is of another timeline, so that no open
//! takes it for the one that belongs to the store.

use std::path::{Path, PathBuf};

use super::console::Console;
use super::copy::{finish, temp_of, unwritten};
use super::{Exit, Failure, Outcome};
use crate::env::{Blocking, Entropy, Env, StdEnv};
use crate::ids::Epoch;
use crate::manifest::gc::Listing;
use crate::manifest::ident::{self, Ident};
use crate::offsite::{Site, restore};
use crate::remote::{Bucket, Remote};
use crate::verify::{VerifyOptions, verify_in};
use crate::vfs::StdVfs;

/// Files on their way at once.
const LANES: usize = 4;

/// Bring the newest checkpoint of an object store down, into a new folder and as a new timeline.
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
    /// An option of the store, such as `endpoint=http://127.0.0.1:8333`; secrets belong into the environment.
    #[arg(long = "option", short, value_name = "NAME=VALUE", value_parser = option)]
    options: Vec<(String, String)>,
}

fn option(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE is needed")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) fn run(args: &Args, console: &mut Console) -> Outcome {
    let remote = Remote::new(Bucket::at(&args.url, args.options.clone())?);
    let bar = console.bar("fetching");
    let fetched = StdEnv.block_on(fetch(&remote, &args.target));
    bar.finish_and_clear();
    let (epoch, ident) = fetched?;
    let (target, timeline) = (args.target.display(), ident.timeline);
    console.line(format!("epoch {epoch}: fetched to {target}, timeline {timeline}, and verified"))?;
    Ok(Exit::Fine)
}

async fn fetch(remote: &Remote, target: &Path) -> Outcome<(Epoch, Ident)> {
    let temp = temp_of(target).await?;
    let site = Site::new(&StdEnv, remote);
    let nothing = || Failure::new(Exit::Unreadable, "there is no checkpoint of a database in this store");
    let found = site.look().await?.ok_or_else(nothing)?;
    let head = found.head.ok_or_else(nothing)?.manifest;
    let epoch = head.newest_checkpoint().ok_or_else(nothing)?.epoch;
    let entropy = StdEnv.entropy();
    let ident = Ident { timeline: entropy.nonce(), ..found.id.ident };
    ident::make_folders(&StdVfs, &temp, head.cores, &Listing::default()).await.map_err(unwritten)?;
    ident::land(&StdVfs, &temp, &ident, entropy.nonce()).await.map_err(unwritten)?;
    restore(&StdEnv, (&StdVfs, &temp), &site, (&ident, &head), LANES).await?;
    let report = verify_in(&StdEnv, &temp, VerifyOptions::new()).await?;
    if !report.is_sound() || report.recoverable_epoch != Some(epoch) {
        let what = format!("what was fetched is not sound; it stays as {}: {report}", temp.display());
        return Err(Failure::new(Exit::Damaged, what));
    }
    finish(&temp, target).await?;
    Ok((epoch, ident))
}
