//! `highwater epochs`, `pin` and `unpin`: what is retained, and holding on to it.
//!
//! A pin is set by a manifest, as a running engine sets it (`Engine::pin`): the tool takes the directory's lock for that, and is
//! refused while a program has the database open.

use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::console::Console;
use super::place::Place;
use super::snapshot::Snapshot;
use super::{Database, Exit, Failure, Outcome};
use crate::engine::RetainedEpoch;
use crate::env::{Blocking, Entropy, Env, StdEnv};
use crate::ids::Epoch;
use crate::manifest::kept::Edit;
use crate::manifest::store::{self, Landing};
use crate::manifest::{Author, ident};
use crate::verify::source::Directory;
use crate::vfs::{StdVfs, Vfs};

/// List the epochs whose state is in files: retained for recovery, pinned, or kept as history.
///
/// These, and what the log behind those that a recovery begins with covers, can be dumped, compared and restored.
#[derive(clap::Args)]
pub(crate) struct EpochsArgs {
    #[command(flatten)]
    place: Place,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Hold an epoch until `unpin`: its files stay, whatever is retained else. No program may have the database open.
#[derive(clap::Args)]
pub(crate) struct PinArgs {
    #[command(flatten)]
    database: Database,
    /// The name of the pin.
    name: String,
    /// One of `highwater epochs` [default: that of the newest checkpoint].
    #[arg(long)]
    epoch: Option<u64>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Let a pin go; the files that nothing else needs go with the next checkpoint.
#[derive(clap::Args)]
pub(crate) struct UnpinArgs {
    #[command(flatten)]
    database: Database,
    /// The name of the pin.
    name: String,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn epochs(args: &EpochsArgs, console: &mut Console) -> Outcome {
    let retained = StdEnv.block_on(retained(&args.place))?;
    if args.json {
        let one = |of: &RetainedEpoch| json!({ "epoch": of.epoch, "bytes": of.bytes, "pins": of.pins, "recovers": of.recovers, "away": of.away });
        console.json(&json!(retained.iter().map(one).collect::<Vec<Value>>()))?;
        return Ok(Exit::Fine);
    }
    let row = |of: &RetainedEpoch| {
        let why = match (of.recovers, of.away) {
            (true, _) => "a recovery may begin with it",
            (false, false) => "kept",
            (false, true) => "kept in the object store",
        };
        let pins = if of.pins.is_empty() { "-".to_owned() } else { of.pins.join(", ") };
        vec![of.epoch.to_string(), of.bytes.to_string(), pins, why.to_owned()]
    };
    console.table(&["epoch", "bytes", "pins", "because"], &retained.iter().map(row).collect::<Vec<_>>())?;
    Ok(Exit::Fine)
}

async fn retained(place: &Place) -> Outcome<Vec<RetainedEpoch>> {
    #[cfg(feature = "object-store")]
    if let Some(remote) = place.remote()? {
        let (_, head) = super::fetch::head(&remote).await?;
        return Ok(RetainedEpoch::all_of(&head.manifest));
    }
    let manifest = Snapshot::open(&place.path()).await?.manifest;
    let checkpoints = manifest.checkpoints.iter().map(|of| (Epoch(of.epoch), of.file_bytes()));
    let kept = manifest.kept.iter().map(|kept| RetainedEpoch {
        epoch: Epoch(kept.checkpoint.epoch),
        bytes: kept.checkpoint.file_bytes(),
        pins: kept.pins.clone(),
        recovers: false,
        away: kept.away,
    });
    Ok(RetainedEpoch::joined(checkpoints, kept))
}

pub(super) fn pin(args: &PinArgs, console: &mut Console) -> Outcome {
    let edit = Edit::Pin { name: args.name.clone(), epoch: args.epoch.map(Epoch) };
    let epoch = StdEnv.block_on(land(&args.database.path, &edit))?;
    if args.json {
        console.json(&json!({ "pin": args.name, "epoch": epoch }))?;
        return Ok(Exit::Fine);
    }
    console.line(format!("epoch {epoch} stays until pin \"{}\" goes", args.name))?;
    Ok(Exit::Fine)
}

pub(super) fn unpin(args: &UnpinArgs, console: &mut Console) -> Outcome {
    let epoch = StdEnv.block_on(land(&args.database.path, &Edit::Unpin { name: args.name.clone() }))?;
    if args.json {
        console.json(&json!({ "pin": args.name, "epoch": epoch }))?;
        return Ok(Exit::Fine);
    }
    console.line(format!("pin \"{}\" is gone, and held epoch {epoch}", args.name))?;
    Ok(Exit::Fine)
}

/// Does what `edit` wants, by a manifest behind the head.
async fn land(root: &Path, edit: &Edit) -> Outcome<Epoch> {
    let refuse = |exit, what: &str| Failure::new(exit, format!("{}: {what}", root.display()));
    let missing = || refuse(Exit::Unreadable, "there is no database with a checkpoint");
    // A link in a folder's place would have the manifest written elsewhere.
    Directory::new(StdVfs, root, None).check_folders().await?;
    let locked = StdVfs.lock(root).await;
    let _lock = locked.map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock => refuse(
            Exit::Unwritten,
            "a program has the database open: it can set the pin itself (Engine::pin)",
        ),
        _ => refuse(Exit::Unreadable, &error.to_string()),
    })?;
    let ident = ident::read(&StdVfs, root).await?.ok_or_else(missing)?;
    let head = store::head(&StdVfs, root, ident.database).await?.ok_or_else(missing)?;
    if head.manifest.lives.is_empty() {
        return Err(missing());
    }
    let mut next = head.manifest.successor(head.crc, StdEnv.entropy().nonce(), Author::Pin);
    let epoch = next.edit_pins(edit)?;
    if next.kept == head.manifest.kept {
        return Ok(epoch);
    }
    next.retire_files_of(&head.manifest);
    match store::land(&StdVfs, root, &next).await.map_err(super::copy::unwritten)? {
        Landing::Landed { .. } => Ok(epoch),
        Landing::Unknown(error) => Err(super::copy::unwritten(error)),
        Landing::Conflict(_) => Err(refuse(Exit::Unwritten, "another program writes to it")),
    }
}
