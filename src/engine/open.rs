//! Opening: lock, look, recover, and have everything started.

use std::path::Path;
use std::sync::Arc;

use super::Engine;
use super::core::CoreHandle;
use super::offsite::{Attached, Owned};
use super::rescale::rescale;
use super::reserve;
use super::sinks::{self, Beginning};
use super::start::{Participants, start};
use crate::codec::HASH_ID_XXH3_64;
use crate::env::{Clock, Entropy, Env};
use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::ids::Epoch;
use crate::manifest::gc::Listing;
use crate::manifest::ident::{self, Ident};
use crate::manifest::opening::{Action, survey};
use crate::manifest::store::{self, Head, Landing};
use crate::manifest::{Checkpoint, Manifest};
use crate::options::Options;
use crate::recovery::{Floors, Recovered, RecoveryReport, recover};
use crate::vfs::{Vfs, retry};

/// What `open` returns: the engine, a handle per core in their order, and the report.
#[derive(Debug)]
pub struct Opened<E: Env = crate::env::SystemEnv> {
    /// What the cores have in common.
    pub engine: Engine<E>,
    /// One handle per core: `cores[i]` is core `i`.
    pub cores: Vec<CoreHandle>,
    /// What was recovered.
    pub report: RecoveryReport,
}

/// Opens the database of `options` in `env`.
///
/// # Errors
///
/// As `Engine::open`.
pub(super) async fn open<E: Env>(env: E, options: Options) -> Result<Opened<E>> {
    options.check()?;
    let disk = |error| Error::io("opening the disk", &options.path, error).coded(ErrorCode::DiskNotOpened);
    let vfs = env.vfs().map_err(disk)?;
    let lock = lock(&env, &vfs, &options).await?;
    let store = Attached::attach(&env, &vfs, &options).await?;
    let floors = store.as_ref().map_or(Floors::default(), Attached::floors);
    let wanted = store.as_ref().and_then(Attached::ident);
    // Boxed: twice, it would make this future twice as large.
    let found = match Box::pin(find(&env, &vfs, &options, (wanted, floors))).await {
        // What is held back is for this. It makes no room in the state of a core.
        Err(error) if is_of_device(&error) && reserve::give_up(&vfs, &options.path).await? => {
            tracing::warn!(target: "highwater::engine", %error, "no space to open: the reserve is given up");
            Box::pin(find(&env, &vfs, &options, (wanted, floors))).await
        }
        found => found,
    };
    let (ident, mut recovered) = found?;
    let owned = match store {
        None => None,
        Some(store) => {
            recovered.report.restored = store.restored;
            recovered.report.created &= store.is_new();
            let owned = store.own(&env, &ident, &recovered.head.manifest).await?;
            Some((store.site, owned))
        }
    };
    let ledger =
        begin_sinks(&env, &options, &ident, &mut recovered, owned.as_ref().map(|(_, owned)| owned)).await?;
    start(env, options, &ident, (recovered, owned, ledger), Arc::new(lock)).await
}

/// Whether space on the device would help.
fn is_of_device(error: &Error) -> bool {
    error.kind() == ErrorKind::Full && error.code() != ErrorCode::StateFullAtOpen
}

/// Finds out what the directory is, and recovers what it holds.
async fn find<E: Env>(
    env: &E,
    vfs: &E::Vfs,
    options: &Options,
    (wanted, floors): (Option<Ident>, Floors),
) -> Result<(Ident, Recovered)> {
    let (ident, found) = enter(env, vfs, options, wanted).await?;
    let cores = found.0.manifest.cores;
    if cores == 0 || cores == options.cores {
        let recovered = recover(env, vfs, options, &ident, found, floors).await?;
        return Ok((ident, recovered));
    }
    let (found, rescaled) = rescale(env, vfs, options, &ident, found, floors).await?;
    let mut recovered = recover(env, vfs, options, &ident, found, floors).await?;
    rescaled.complete(&mut recovered.report);
    Ok((ident, recovered))
}

/// Begins the life of the sinks. With a store, what is in its head decides, and its history names the transactions: they
/// are taken over with the database.
async fn begin_sinks<E: Env>(
    env: &E,
    options: &Options,
    ident: &Ident,
    recovered: &mut Recovered,
    owned: Option<&Owned>,
) -> Result<Participants> {
    let (timeline, decided, listed) = match owned {
        None => (ident.timeline, recovered.listed, recovered.listed),
        Some(owned) => {
            let newest = owned.head.manifest.newest_checkpoint();
            let decided = newest.map_or(Epoch(0), Checkpoint::listed_epoch);
            // What only checkpoints listed that were given up never gets there: another one has to list it.
            let here = recovered.head.manifest.newest_checkpoint();
            (owned.id.ident.timeline, decided, here.map_or(decided, |newest| newest.epoch.max(decided)))
        }
    };
    let beginning = Beginning {
        database: ident.database,
        timeline,
        token: recovered.head.manifest.token,
        epoch: recovered.report.epoch,
        known: std::mem::take(&mut recovered.sinks),
        decided,
        listed,
    };
    sinks::begin(env, options, beginning).await
}

/// Takes the lock of the directory, which is created if it is missing.
async fn lock<E: Env>(env: &E, vfs: &E::Vfs, options: &Options) -> Result<<E::Vfs as Vfs>::Lock> {
    let root = &options.path;
    let failed = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::WouldBlock {
            let what = "the database is open already, in this process or another: close it there first";
            return Error::new(ErrorCode::DatabaseOpen, what).at(root);
        }
        Error::io("locking the database directory", root, error).with_kind(ErrorKind::Failed)
    };
    match vfs.lock(root).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        outcome => return outcome.map_err(failed),
    }
    match retry(|| vfs.create_dir(root)).await {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Error::io("creating the database directory (its parent must exist)", root, error));
        }
        _ => {
            let at = env.clock().wall_ms();
            tracing::info!(target: "highwater::engine", path = %root.display(), at, "created");
        }
    }
    vfs.lock(root).await.map_err(failed)
}

/// Finds out what the directory is, and finishes its creation if that is what it needs. Returns the head and the names
/// that were listed before.
async fn enter<E: Env>(
    env: &E,
    vfs: &E::Vfs,
    options: &Options,
    wanted: Option<Ident>,
) -> Result<(Ident, (Head, Listing))> {
    let root = &options.path;
    let survey = survey(vfs, root).await?;
    let action = survey.decide(root)?;
    let head = survey.head.as_ref().map_or(0, |head| head.manifest.seq.0);
    tracing::debug!(target: "highwater::engine", ?action, manifest = head, "directory read");
    let listing = survey.listing;
    if let (Action::Recover, Some(ident), Some(head)) = (action, survey.ident, survey.head) {
        check_ident(options, &ident)?;
        ident::make_folders(vfs, root, options.cores, &listing).await?;
        if head.manifest.lives.is_empty() {
            // Before the first log file gets a name: it would be data without a manifest.
            store::land_again(vfs, root, &head.manifest, env.entropy().nonce()).await?;
        }
        return Ok((ident, (head, listing)));
    }
    let ident = survey.ident.or(wanted).unwrap_or_else(|| fresh_ident(env, options));
    check_ident(options, &ident)?;
    lay_out(env, vfs, (root, options.cores), (action, &listing), &ident).await?;
    let manifest = Manifest::create(ident.database, ident.timeline, env.entropy().nonce());
    match store::land(vfs, root, &manifest).await? {
        Landing::Landed { crc } => Ok((ident, (Head { manifest, crc }, listing))),
        Landing::Unknown(error) => Err(error.with_kind(ErrorKind::Failed)),
        Landing::Conflict(_) => {
            let what = "another writer created the database at the same moment: open again";
            Err(Error::new(ErrorCode::RaceAtOpen, what).at(root))
        }
    }
}

/// Makes the folders and IDENT of a database of `cores` cores in the directory `root`, whose names are `listing`, as
/// `action` says: a creation.
pub(super) async fn lay_out<E: Env>(
    env: &E,
    vfs: &E::Vfs,
    (root, cores): (&Path, u16),
    (action, listing): (Action, &Listing),
    ident: &Ident,
) -> Result<()> {
    let nonce = || env.entropy().nonce();
    if action == Action::CreateAgain {
        ident::renew_folders(vfs, root, cores, nonce()).await?;
    }
    ident::make_folders(vfs, root, cores, listing).await?;
    if action == Action::FinishCreation {
        ident::land_again(vfs, root, ident, nonce()).await
    } else {
        ident::land(vfs, root, ident, nonce()).await
    }
}

pub(super) fn fresh_ident<E: Env>(env: &E, options: &Options) -> Ident {
    let entropy = env.entropy();
    Ident {
        write_unit: options.write_unit_bytes,
        database: entropy.nonce(),
        timeline: entropy.nonce(),
        hash_seed: entropy.bits(),
        hash_id: HASH_ID_XXH3_64,
        key_groups: options.key_groups,
        route: options.route,
        created_wall_ms: env.clock().wall_ms(),
    }
}

/// # Errors
///
/// `Invalid` when the options contradict what the database was created with.
pub(super) fn check_ident(options: &Options, ident: &Ident) -> Result<()> {
    let differs = |what: &str, asked: &dyn std::fmt::Debug, is: &dyn std::fmt::Debug| {
        let text = format!(
            "the database was created with {what} {is:?}, the options ask for {asked:?}: ask for that"
        );
        Err(Error::new(ErrorCode::OtherOptions, text).at(&options.path))
    };
    if options.key_groups != ident.key_groups {
        return differs("key_groups", &options.key_groups, &ident.key_groups);
    }
    if options.route != ident.route {
        return differs("route", &options.route, &ident.route);
    }
    if options.write_unit_bytes != ident.write_unit {
        return differs("write_unit_bytes", &options.write_unit_bytes, &ident.write_unit);
    }
    Ok(())
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
