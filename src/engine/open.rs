//! Opening: lock, look, recover, start everything.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::core::{CoreHandle, CoreLimits, CoreParts, Ownership};
use super::drive::Drive;
use super::maintenance::{Maintenance, Requests, Triggers};
use super::offsite::{Attached, Owned, newest_epoch};
use super::rescale::rescale;
use super::segments::{Preparer, Supply, WriterSegments};
use super::shared::Shared;
use super::sinks::{self, Beginning, Committer, Ledger};
use super::writer::{self, WriterParts};
use super::{Engine, Identity};
use crate::checkpoint::{Bounds, CheckpointSpec, Tap};
use crate::codec::{HASH_ID_XXH3_64, groups_of};
use crate::env::{Clock, Entropy, Env, Spawn};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CoreId, Epoch, FencingToken};
use crate::manifest::first_life::log_dir;
use crate::manifest::gc::Listing;
use crate::manifest::ident::{self, Ident};
use crate::manifest::opening::{Action, survey};
use crate::manifest::store::{self, Head, Landing};
use crate::manifest::{Checkpoint, Manifest};
use crate::offsite::{Lag, Mirror, Site, Uploader};
use crate::options::Options;
use crate::recovery::{Floors, Recovered, RecoveredCore, RecoveryReport, recover};
use crate::vfs::{Vfs, retry};
use crate::wal::{Batch, Pool};

/// The part of a checkpoint's memory that holds records whose epoch is not closed yet.
const TAP_PART: usize = 8;

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
    let disk = |error| Error::io("opening the disk", &options.path, error);
    let vfs = env.vfs().map_err(disk)?;
    let lock = lock(&env, &vfs, &options).await?;
    let store = Attached::attach(&env, &vfs, &options).await?;
    let (ident, found) = enter(&env, &vfs, &options).await?;
    let floors = store.as_ref().map_or(Floors::default(), Attached::floors);
    let cores = found.0.manifest.cores;
    let (found, rescaled) = if cores == 0 || cores == options.cores {
        (found, None)
    } else {
        let (found, rescaled) = rescale(&env, &vfs, &options, &ident, found, floors).await?;
        (found, Some(rescaled))
    };
    let mut recovered = recover(&env, &vfs, &options, &ident, found, floors).await?;
    if let Some(rescaled) = rescaled {
        rescaled.complete(&mut recovered.report);
    }
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

/// Begins the life of the sinks. With a store, what is in its head decides, and its history names the transactions: they
/// are taken over with the database.
async fn begin_sinks<E: Env>(
    env: &E,
    options: &Options,
    ident: &Ident,
    recovered: &mut Recovered,
    owned: Option<&Owned>,
) -> Result<Participants> {
    let (timeline, decided) = match owned {
        None => (ident.timeline, recovered.listed),
        Some(owned) => {
            let newest = owned.head.manifest.newest_checkpoint();
            (owned.id.ident.timeline, newest.map_or(Epoch(0), Checkpoint::listed_epoch))
        }
    };
    let beginning = Beginning {
        database: ident.database,
        timeline,
        token: recovered.head.manifest.token,
        epoch: recovered.report.epoch,
        known: std::mem::take(&mut recovered.sinks),
        decided,
        listed: recovered.listed,
    };
    sinks::begin(env, options, beginning).await
}

/// Takes the lock of the directory, which is created if it is missing.
async fn lock<E: Env>(env: &E, vfs: &E::Vfs, options: &Options) -> Result<<E::Vfs as Vfs>::Lock> {
    let root = &options.path;
    let failed = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::WouldBlock {
            let what = "the database is open already, in this process or another: close it there first";
            return Error::new(ErrorKind::Busy, what).at(root);
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
async fn enter<E: Env>(env: &E, vfs: &E::Vfs, options: &Options) -> Result<(Ident, (Head, Listing))> {
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
    let ident = survey.ident.unwrap_or_else(|| fresh_ident(env, options));
    check_ident(options, &ident)?;
    lay_out(env, vfs, (root, options.cores), (action, &listing), &ident).await?;
    let manifest = Manifest::create(ident.database, ident.timeline, env.entropy().nonce());
    match store::land(vfs, root, &manifest).await? {
        Landing::Landed { crc } => Ok((ident, (Head { manifest, crc }, listing))),
        Landing::Unknown(error) => Err(error.with_kind(ErrorKind::Failed)),
        Landing::Conflict(_) => {
            let what = "another writer created the database at the same moment: open again";
            Err(Error::new(ErrorKind::Busy, what).at(root))
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

fn fresh_ident<E: Env>(env: &E, options: &Options) -> Ident {
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
        Err(Error::invalid(text).at(&options.path))
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

pub(super) fn checkpoint_spec(options: &Options, ident: &Ident, log_dirs: Vec<PathBuf>) -> CheckpointSpec {
    let tap_bytes = options.checkpoint_memory_bytes / TAP_PART;
    CheckpointSpec {
        root: options.path.clone(),
        taps: log_dirs.iter().map(|_| Arc::new(Tap::new(tap_bytes))).collect(),
        log_dirs,
        hash_seed: ident.hash_seed,
        route: ident.route,
        key_groups: ident.key_groups,
        segment_bytes: options.segment_bytes,
        // A tap is held twice: as it is filled, and as it is followed.
        memory_bytes: options.checkpoint_memory_bytes - 2 * tap_bytes,
        retention: Bounds {
            newest: options.retain_checkpoints,
            fallback_log_bytes: options.fallback_bytes_max,
        },
    }
}

fn triggers(options: &Options) -> Triggers {
    let lag = options.remote.as_ref().and_then(|remote| remote.epoch_lag_max);
    Triggers {
        interval: options.checkpoint_interval,
        wal_bytes: options.checkpoint_wal_bytes,
        // At half the bound, so that one can go up while the other half is used.
        epochs: lag.map(|epochs| epochs.div_ceil(2)),
    }
}

/// How far ahead of the store the cores may be, if that is bounded.
fn lag(options: &Options, mirror: Option<&Arc<Mirror>>) -> Option<Lag> {
    let epochs_max = options.remote.as_ref()?.epoch_lag_max?;
    Some(Lag::new(Arc::clone(mirror?), epochs_max))
}

fn limits(options: &Options) -> CoreLimits {
    CoreLimits {
        record_bytes_max: options.record_bytes_max(),
        epoch_bytes_max: options.epoch_bytes_max,
        epoch_skew_max: options.epoch_skew_max,
    }
}

fn ownership(core: CoreId, ident: &Ident, cores: u16) -> Ownership {
    Ownership {
        hash_seed: ident.hash_seed,
        route: ident.route,
        key_groups: ident.key_groups,
        owned: groups_of(core, ident.key_groups, cores),
    }
}

/// The sinks of an open, if it has any.
type Participants = Option<Arc<Ledger>>;

/// Starts the background and hands out the cores.
async fn start<E: Env>(
    env: E,
    options: Options,
    ident: &Ident,
    (recovered, owned, ledger): (Recovered, Option<(Site<E>, Owned)>, Participants),
    lock: Arc<<E::Vfs as Vfs>::Lock>,
) -> Result<Opened<E>> {
    let Recovered { head, cores, report, replayed_bytes, .. } = recovered;
    let (token, database) = (head.manifest.token, ident.database);
    let ids = || (0..options.cores).map(CoreId);
    // The preparer, the maintenance, a writer per core, who uploads, and one for each sink.
    let sinks = ledger.as_ref().map_or(0, |ledger| ledger.len());
    let parts = usize::from(options.cores) + 2 + usize::from(owned.is_some()) + sinks;
    let shared = Arc::new(Shared::new(options.cores, report.epoch, parts));
    let (uploader, mirror) = uploader(&env, &options, owned, &head.manifest, &shared).unzip();
    let supply = Supply::new(cores.iter().map(|core| core.next_segment));
    let requests = Arc::new(Requests::new(options.checkpoint_wal_bytes, replayed_bytes));
    let log_dirs: Vec<_> = ids().map(|core| log_dir(&options.path, core)).collect();
    let logs = log_dirs.iter().cloned().zip(cores.iter().map(|core| core.life.spec)).collect();
    let preparer =
        Preparer { env: env.clone(), shared: Arc::clone(&shared), supply: Arc::clone(&supply), logs };
    let maintenance = Maintenance {
        env: env.clone(),
        shared: Arc::clone(&shared),
        supply: Arc::clone(&supply),
        requests: Arc::clone(&requests),
        spec: checkpoint_spec(&options, ident, log_dirs.clone()),
        head,
        mirror: mirror.clone(),
        ledger: ledger.clone(),
        triggers: triggers(&options),
    };

    let mut parts = Vec::with_capacity(cores.len());
    let mut queues = Vec::with_capacity(cores.len());
    for (core, recovered) in ids().zip(cores) {
        let pool = Pool::new(options.batches(), options.batch_bytes);
        // One more for a record that is larger than a batch.
        let (producer, consumer) = rtrb::RingBuffer::new(options.batches() + 1);
        let current = recovered.life.cursor.segment;
        queues.push(WriterParts {
            env: env.clone(),
            core,
            shared: Arc::clone(&shared),
            requests: Arc::clone(&requests),
            tap: Arc::clone(&maintenance.spec.taps[core.index()]),
            queue: consumer,
            segments: WriterSegments::new(Arc::clone(&supply), env.entropy(), core, current),
            dir: log_dirs[core.index()].clone(),
            life: recovered.life,
            depth: if options.inline { 1 } else { options.depth },
            idle_seal_after: options.idle_seal_after,
        });
        parts.push((core, recovered, producer, pool));
    }
    let mut starter = Starter { env: &env, shared: &shared, lock };
    let committers = committers(&env, (&shared, &requests), ledger.as_ref(), mirror.as_ref());
    let inline = starter.start(queues, preparer, maintenance, (uploader, committers), options.inline).await?;
    let drive = Arc::new(Drive::new(inline));
    let common = CoreCommon {
        options: &options,
        ident,
        shared: &shared,
        drive: &drive,
        ledger: ledger.as_ref(),
        lag: lag(&options, mirror.as_ref()),
        token,
    };
    let cores = parts.into_iter().map(|(core, recovered, queue, pool)| {
        common.handle((core, report.epoch.next()), recovered, (queue, pool))
    });
    let cores = cores.collect();
    let ownership = ownership(CoreId(0), ident, options.cores);
    let identity = Identity { database, token, cores: options.cores, ownership };
    let engine = Engine { env, shared, drive, requests, supply, mirror, ledger, identity };
    Ok(Opened { engine, cores, report })
}

/// Who brings the checkpoints of the directory whose head is `local` into the store, and how that one is told of them.
fn uploader<E: Env>(
    env: &E,
    options: &Options,
    owned: Option<(Site<E>, Owned)>,
    local: &Manifest,
    shared: &Arc<Shared>,
) -> Option<(Uploader<E>, Arc<Mirror>)> {
    let (remote, (site, Owned { id, writer, head, marks })) = options.remote.clone().zip(owned)?;
    let notified = Arc::clone(shared);
    let mirror = Mirror::new(newest_epoch(Some(&head)), head.manifest.seq, move || notified.notify());
    // What was on its way when the last life ended goes on.
    mirror.offer(local);
    let mirror = Arc::new(mirror);
    let uploader = Uploader {
        env: env.clone(),
        site,
        id,
        remote,
        root: options.path.clone(),
        writer,
        head,
        marks,
        local: local.clone(),
        mirror: Arc::clone(&mirror),
    };
    Some((uploader, mirror))
}

/// What all handles of an open are made with.
struct CoreCommon<'a> {
    options: &'a Options,
    ident: &'a Ident,
    shared: &'a Arc<Shared>,
    drive: &'a Arc<Drive>,
    ledger: Option<&'a Arc<Ledger>>,
    lag: Option<Lag>,
    token: FencingToken,
}

impl CoreCommon<'_> {
    fn handle(
        &self,
        (core, epoch): (CoreId, Epoch),
        recovered: RecoveredCore,
        (queue, pool): (rtrb::Producer<Batch>, Arc<Pool>),
    ) -> CoreHandle {
        CoreHandle::new(CoreParts {
            core,
            shared: Arc::clone(self.shared),
            drive: Arc::clone(self.drive),
            state: recovered.state,
            queue,
            pool,
            next_lsn: recovered.life.next_lsn,
            token: self.token,
            epoch,
            ownership: ownership(core, self.ident, self.options.cores),
            limits: limits(self.options),
            lag: self.lag.clone(),
            offset_names: recovered.offset_names,
            sinks: self.ledger.cloned(),
        })
    }
}

/// Who publishes what the sinks of `ledger` have.
fn committers<E: Env>(
    env: &E,
    (shared, requests): (&Arc<Shared>, &Arc<Requests>),
    ledger: Option<&Arc<Ledger>>,
    mirror: Option<&Arc<Mirror>>,
) -> Vec<Committer<E>> {
    let of_ledger = |ledger: &Arc<Ledger>| {
        let committer = |index| Committer {
            env: env.clone(),
            shared: Arc::clone(shared),
            requests: Arc::clone(requests),
            ledger: Arc::clone(ledger),
            mirror: mirror.cloned(),
            index,
        };
        (0..ledger.len()).map(committer).collect()
    };
    ledger.map(of_ledger).unwrap_or_default()
}

/// A part of the background while it runs. If it panics, those who wait for it must not wait for ever.
struct Part {
    shared: Arc<Shared>,
    name: String,
}

impl Drop for Part {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let what = format!("{} panicked: this is a bug; reopen the database", self.name);
            self.shared.fail(&Error::new(ErrorKind::Failed, what));
        }
    }
}

/// Starts the parts of the background. Each holds the directory's lock until it ends.
struct Starter<'a, E: Env> {
    env: &'a E,
    shared: &'a Arc<Shared>,
    lock: Arc<<E::Vfs as Vfs>::Lock>,
}

impl<E: Env> Starter<'_, E> {
    async fn start(
        &mut self,
        queues: Vec<WriterParts<E>>,
        preparer: Preparer<E>,
        maintenance: Maintenance<E>,
        (uploader, committers): (Option<Uploader<E>>, Vec<Committer<E>>),
        inline: bool,
    ) -> Result<Vec<Box<dyn super::drive::InlineLog>>> {
        let mut logs = Vec::new();
        for parts in queues {
            if inline {
                logs.push(writer::open_inline(parts, Arc::clone(&self.lock)).await?);
            } else {
                let name = format!("highwater-log-{}", parts.core);
                self.spawn(&name, move || writer::run(parts))?;
            }
        }
        self.spawn("highwater-segments", move || preparer.run())?;
        self.spawn("highwater-checkpoint", move || maintenance.run())?;
        if let Some(uploader) = uploader {
            let shared = Arc::clone(self.shared);
            self.spawn("highwater-remote", move || async move {
                if let Err(fenced) = uploader.run().await {
                    shared.fail(&fenced);
                }
            })?;
        }
        for committer in committers {
            let name = format!("highwater-sink-{}", committer.index);
            self.spawn(&name, move || committer.run())?;
        }
        Ok(logs)
    }

    /// Starts one part; if that fails, those that run already are told to end.
    fn spawn<F, Fut>(&mut self, name: &str, make: F) -> Result<()>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let lock = Arc::clone(&self.lock);
        let shared = Arc::clone(self.shared);
        let part = Part { shared: Arc::clone(self.shared), name: name.to_owned() };
        let started = self.env.spawn().spawn(name, move || async move {
            make().await;
            drop(part);
            // Given up before the end is announced: whoever waits for it may open again at once.
            drop(lock);
            shared.part_ended();
        });
        started.map_err(|error| {
            self.shared.stop();
            Error::new(
                ErrorKind::Failed,
                format!("starting the thread {name}: {error}; free some and open again"),
            )
        })
    }
}
