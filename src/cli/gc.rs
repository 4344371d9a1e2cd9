//! `highwater gc --dry-run`.

use serde_json::json;

use super::console::Console;
use super::{Database, Exit, Failure, Outcome};
use crate::env::{Blocking, StdEnv};
use crate::manifest::gc::{Moment, listing, plan};
use crate::manifest::{ident, store};
use crate::vfs::StdVfs;

/// Tell what the garbage collection would remove, and why every other name stays.
///
/// The plan is the engine's own, made from what is on disk now. Removing is the engine's business: it collects at every
/// open and after every checkpoint. Log segments are mostly not removed but used again.
#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "a flag of a command line is a bool")]
pub(crate) struct Args {
    #[command(flatten)]
    database: Database,
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

pub(super) fn run(args: &Args, console: &mut Console) -> Outcome {
    let root = &args.database.path;
    let plan = StdEnv.block_on(async {
        let missing = |what| Failure::new(Exit::Unreadable, format!("{}: {what}", root.display()));
        let ident = ident::read(&StdVfs, root).await?.ok_or_else(|| missing("there is no database"))?;
        let listing = listing(&StdVfs, root).await?;
        let head = store::head_among(&StdVfs, root, ident.database, &listing.manifests).await?;
        let head = head.ok_or_else(|| missing("there is no manifest"))?;
        let moment = if args.at_open { Moment::Opening } else { Moment::Running };
        Ok::<_, Failure>(plan(&listing, &head.manifest, moment))
    })?;
    let listed = plan.iter().filter(|decision| args.all || decision.reason.deletes());
    if args.json {
        let decisions = listed.map(|decision| {
            let (name, reason) = (decision.name.display().to_string(), decision.reason.to_string());
            json!({ "name": name, "removes": decision.reason.deletes(), "reason": reason })
        });
        console.json(&json!(decisions.collect::<Vec<_>>()))?;
        return Ok(Exit::Fine);
    }
    let rows: Vec<Vec<String>> = listed
        .map(|decision| {
            let what = if decision.reason.deletes() { "remove" } else { "keep" };
            vec![what.to_owned(), decision.name.display().to_string(), decision.reason.to_string()]
        })
        .collect();
    console.table(&["plan", "name", "because"], &rows)?;
    let removed = plan.iter().filter(|decision| decision.reason.deletes()).count();
    console.line(format!("{removed} names to remove, {} stay", plan.len() - removed))?;
    Ok(Exit::Fine)
}
