//! `highwater gc --dry-run`, of a directory or an object store.

#[cfg(feature = "object-store")]
use std::collections::BTreeSet;

use serde_json::json;

use super::console::Console;
use super::place::Place;
use super::{Exit, Failure, Outcome};
use crate::env::{Blocking, StdEnv};
use crate::manifest::gc::{Moment, listing, plan};
use crate::manifest::{ident, store};
#[cfg(feature = "object-store")]
use crate::offsite::{Site, collect::Known};
use crate::vfs::StdVfs;

/// Tell what the garbage collection would remove, and why every other name stays.
///
/// The plan is the engine's own, made from what is on disk now. Removing is the engine's business: it collects at every
/// open and after every checkpoint. Log segments are mostly not removed but used again. Of an object store it is the plan of its
/// writer's next look through all names; what its directory still names stays longer, which is not known here.
#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "a flag of a command line is a bool")]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// Plan and remove nothing; there is no other way.
    #[arg(long, required = true)]
    dry_run: bool,
    /// Plan as the next open would, for which every unfinished file is a leftover.
    #[arg(long)]
    at_open: bool,
    /// Also list what stays.
    #[arg(long)]
    all: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// What becomes of a name, and why.
struct Planned {
    name: String,
    removes: bool,
    because: String,
}

pub(super) fn run(args: &Args, console: &mut Console) -> Outcome {
    let plan = StdEnv.block_on(planned(args))?;
    let listed = plan.iter().filter(|planned| args.all || planned.removes);
    if args.json {
        let decisions = listed.map(
            |Planned { name, removes, because }| json!({ "name": name, "removes": removes, "reason": because }),
        );
        console.json(&json!(decisions.collect::<Vec<_>>()))?;
        return Ok(Exit::Fine);
    }
    let row = |Planned { name, removes, because }: &Planned| {
        let what = if *removes { "remove" } else { "keep" };
        vec![what.to_owned(), name.clone(), because.clone()]
    };
    console.table(&["plan", "name", "because"], &listed.map(row).collect::<Vec<_>>())?;
    let removed = plan.iter().filter(|planned| planned.removes).count();
    console.line(format!("{removed} names to remove, {} stay", plan.len() - removed))?;
    Ok(Exit::Fine)
}

async fn planned(args: &Args) -> Outcome<Vec<Planned>> {
    #[cfg(feature = "object-store")]
    if let Some(remote) = args.place.remote()? {
        return of_store(&remote).await;
    }
    let root = args.place.path();
    let missing = |what| Failure::new(Exit::Unreadable, format!("{}: {what}", root.display()));
    let ident = ident::read(&StdVfs, &root).await?.ok_or_else(|| missing("there is no database"))?;
    let listing = listing(&StdVfs, &root).await?;
    let head = store::head_among(&StdVfs, &root, ident.database, &listing.manifests).await?;
    let head = head.ok_or_else(|| missing("there is no manifest"))?;
    let moment = if args.at_open { Moment::Opening } else { Moment::Running };
    let plan = plan(&listing, &head.manifest, moment).into_iter().map(|decision| Planned {
        name: decision.name.display().to_string(),
        removes: decision.reason.deletes(),
        because: decision.reason.to_string(),
    });
    Ok(plan.collect())
}

/// The head is read before the names are listed.
#[cfg(feature = "object-store")]
async fn of_store(remote: &crate::remote::Remote) -> Outcome<Vec<Planned>> {
    let (found, head) = super::fetch::head(remote).await?;
    let boundary = found.marks * u64::from(found.id.stride);
    let known = Known::of(&head.manifest, boundary, BTreeSet::new());
    let names = Site::new(&StdEnv, remote).names().await?;
    let plan = names.into_iter().map(|name| {
        let reason = known.reason(&name);
        Planned { name, removes: reason.deletes(), because: reason.to_string() }
    });
    Ok(plan.collect())
}
