//! Starting what works behind a recovered database: a thread for each part of the background, and a handle per core.

use std::path::PathBuf;
use std::sync::Arc;

use super::core::{CoreHandle, CoreLimits, CoreParts, Ownership};
use super::drive::Drive;
use super::maintenance::{Maintenance, Triggers};
use super::meters::Meters;
use super::offsite::Owned;
use super::open::Opened;
use super::outlook::Outlook;
use super::requests::Requests;
use super::reserve::{Keeper, Space};
use super::segments::{Preparer, Supply, WriterSegments};
use super::shared::Shared;
use super::sinks::{Committer, Ledger};
use super::writer::{self, WriterParts};
use super::{Engine, Identity, RecoveredAt};
use crate::checkpoint::{Bounds, CheckpointSpec, Tap};
use crate::codec::groups_of;
use crate::env::{Env, Spawn};
use crate::error::{Error, ErrorCode, Result};
use crate::forecast::Rates;
use crate::ids::{CoreId, Epoch, FencingToken, Lsn};
use crate::manifest::Manifest;
use crate::manifest::first_life::log_dir;
use crate::manifest::ident::Ident;
use crate::manifest::kept::Spans;
use crate::manifest::store::Head;
use crate::offsite::{Lag, Mirror, Site, Uploader};
use crate::options::Options;
use crate::recovery::{Recovered, RecoveredCore, RecoveryReport};
use crate::vfs::Vfs;
use crate::wal::{Batch, LogSpec, Pool};

/// The part of a checkpoint's memory that holds records whose epoch is not closed yet.
const TAP_PART: usize = 8;

pub(super) fn checkpoint_spec(
    options: &Options,
    ident: &Ident,
    log_dirs: Vec<PathBuf>,
    rates: Rates,
) -> CheckpointSpec {
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
        rates,
        load_bytes_max: options
            .max_recovery
            .map_or(u64::MAX, |budget| rates.load_bytes_max(budget) / u64::from(options.cores)),
        spans: options.history.map(|(epochs, count)| Spans { epochs, count }),
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

/// How many parts the background has: the preparer, the maintenance, a writer per core, who uploads, and one for each sink.
fn parts(options: &Options, ledger: Option<&Arc<Ledger>>) -> usize {
    let sinks = ledger.map_or(0, |ledger| ledger.len());
    2 + usize::from(options.cores) + usize::from(options.remote.is_some()) + sinks
}

/// The sinks of an open, if it has any.
pub(super) type Participants = Option<Arc<Ledger>>;

/// Starts the background and hands out the cores.
pub(super) async fn start<E: Env>(
    env: E,
    options: Options,
    ident: &Ident,
    (recovered, owned, ledger): (Recovered, Option<(Site<E>, Owned)>, Participants),
    lock: Arc<<E::Vfs as Vfs>::Lock>,
) -> Result<Opened<E>> {
    let Recovered { head, cores, report, replayed_bytes, rates, .. } = recovered;
    let (token, database) = (head.manifest.token, ident.database);
    let ids = || (0..options.cores).map(CoreId);
    let shared = shared(&env, &options, ledger.as_ref(), &report);
    let (uploader, mirror) = uploader(&env, &options, owned, &head.manifest, &shared).unzip();
    let supply = Supply::new(cores.iter().map(|core| core.next_segment));
    let outlook = Outlook { rates, budget: options.max_recovery };
    let requests =
        Arc::new(Requests::new(outlook, options.checkpoint_wal_bytes, replayed_bytes, &head.manifest));
    let log_dirs: Vec<_> = ids().map(|core| log_dir(&options.path, core)).collect();
    let logs = log_dirs.iter().cloned().zip(cores.iter().map(|core| core.life.spec)).collect();
    let preparer = preparer(&env, &options, (&shared, &supply, &requests), logs);
    let spec = checkpoint_spec(&options, ident, log_dirs.clone(), rates);
    let told = (mirror.clone(), ledger.clone());
    let maintenance =
        maintenance(&env, (&shared, &supply, &requests), (spec, head), told, triggers(&options));

    let mut parts = Vec::with_capacity(cores.len());
    let mut queues = Vec::with_capacity(cores.len());
    for (core, recovered) in ids().zip(cores) {
        let pool = Pool::new(options.batches(), options.batch_bytes);
        // One more for a record that is larger than a batch.
        let (producer, consumer) = rtrb::RingBuffer::new(options.batches() + 1);
        shared.begin(core, Lsn(recovered.life.next_lsn.0 - 1), &recovered.segments);
        queues.push(WriterParts {
            env: env.clone(),
            core,
            shared: Arc::clone(&shared),
            requests: Arc::clone(&requests),
            tap: Arc::clone(&maintenance.spec.taps[core.index()]),
            queue: consumer,
            segments: WriterSegments::new((&supply, &shared), env.entropy(), &recovered.life),
            dir: log_dirs[core.index()].clone(),
            life: recovered.life,
            depth: if options.inline { 1 } else { options.depth },
            idle_seal_after: options.idle_seal_after,
        });
        parts.push((core, recovered, producer, pool));
    }
    let committers = committers(&env, (&shared, &requests), ledger.as_ref(), mirror.as_ref());
    let mut starter = Starter { env: &env, shared: &shared, left: shared.running(), lock };
    let inline = starter.start(queues, preparer, maintenance, (uploader, committers), options.inline).await;
    if inline.is_err() {
        stop(&shared, &requests, &supply, mirror.as_deref());
        starter.ended().await;
    }
    let drive = Arc::new(Drive::new(inline?));
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
    let lag = lag(&options, mirror.as_ref());
    let ownership = ownership(CoreId(0), ident, options.cores);
    let identity = Identity { database, token, cores: options.cores, ownership };
    let recovered = RecoveredAt::of(&report);
    let engine = Engine { env, shared, drive, requests, supply, mirror, lag, ledger, identity, recovered };
    Ok(Opened { engine, cores, report })
}

/// Tells every part of the background to end, and wakes each.
pub(super) fn stop(shared: &Shared, requests: &Requests, supply: &Supply, mirror: Option<&Mirror>) {
    shared.stop();
    requests.wake();
    supply.wake();
    if let Some(mirror) = mirror {
        mirror.stop();
    }
}

/// What the parts of the engine share that recovered what `report` says.
fn shared<E: Env>(
    env: &E,
    options: &Options,
    ledger: Option<&Arc<Ledger>>,
    report: &RecoveryReport,
) -> Arc<Shared> {
    let meters = Meters::new(&env.clock(), options, report.took);
    let space = Space::new(options.reserve);
    Arc::new(Shared::new(meters, report.epoch, parts(options, ledger), space))
}

/// Who takes checkpoints, and tells who brings them to a store, and the sinks.
fn maintenance<E: Env>(
    env: &E,
    (shared, supply, requests): (&Arc<Shared>, &Arc<Supply>, &Arc<Requests>),
    (spec, head): (CheckpointSpec, Head),
    (mirror, ledger): (Option<Arc<Mirror>>, Participants),
    triggers: Triggers,
) -> Maintenance<E> {
    Maintenance {
        env: env.clone(),
        shared: Arc::clone(shared),
        supply: Arc::clone(supply),
        requests: Arc::clone(requests),
        spec,
        head,
        mirror,
        ledger,
        triggers,
    }
}

/// Who keeps log files and the reserve ready.
fn preparer<E: Env>(
    env: &E,
    options: &Options,
    (shared, supply, requests): (&Arc<Shared>, &Arc<Supply>, &Arc<Requests>),
    logs: Vec<(PathBuf, LogSpec)>,
) -> Preparer<E> {
    Preparer {
        env: env.clone(),
        shared: Arc::clone(shared),
        supply: Arc::clone(supply),
        requests: Arc::clone(requests),
        logs,
        reserve: Keeper::new(options),
    }
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
    let mirror = Mirror::new(&head.manifest, site.traffic(), move || notified.notify());
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
        time: shared.meters.upload.clone(),
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

/// A part of the background while it runs. However it ends, whoever waits for it hears of that: a panic fails the engine.
struct Part<L> {
    shared: Arc<Shared>,
    name: String,
    /// Whose requests nobody answers behind this part.
    answers: Option<Arc<Requests>>,
    /// The directory's.
    lock: Option<Arc<L>>,
    /// Its work is done.
    done: bool,
}

impl<L> Drop for Part<L> {
    fn drop(&mut self) {
        // Given up before the end is announced: whoever waits for it may open again at once.
        self.lock = None;
        let panicked = std::thread::panicking();
        if panicked {
            let what =
                format!("{} panicked: this is a bug, of it or of a sink; reopen the database", self.name);
            self.shared.fail(&Error::new(ErrorCode::Panicked, what));
        } else if !self.done {
            // It never began, or it ends with its process.
            return;
        }
        if let Some(requests) = &self.answers {
            requests.end(&self.shared);
        }
        self.shared.part_ended();
    }
}

/// Starts the parts of the background. Each holds the directory's lock until it ends.
struct Starter<'a, E: Env> {
    env: &'a E,
    shared: &'a Arc<Shared>,
    /// Parts that do not run on a thread, yet or at all.
    left: usize,
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
                self.spawn(&name, None, move || writer::run(parts))?;
            }
        }
        self.spawn("highwater-segments", None, move || preparer.run())?;
        let answers = Some(Arc::clone(&maintenance.requests));
        self.spawn("highwater-checkpoint", answers, move || maintenance.run())?;
        if let Some(uploader) = uploader {
            let shared = Arc::clone(self.shared);
            self.spawn("highwater-remote", None, move || async move {
                if let Err(fenced) = uploader.run().await {
                    shared.fail(&fenced);
                }
            })?;
        }
        for committer in committers {
            let name = format!("highwater-sink-{}", committer.index);
            self.spawn(&name, None, move || committer.run())?;
        }
        Ok(logs)
    }

    /// Starts one part, behind which nobody `answers`.
    fn spawn<F, Fut>(&mut self, name: &str, answers: Option<Arc<Requests>>, make: F) -> Result<()>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let part = Part {
            shared: Arc::clone(self.shared),
            name: name.to_owned(),
            answers,
            lock: Some(Arc::clone(&self.lock)),
            done: false,
        };
        let started = self.env.spawn().spawn(name, move || async move {
            // Behind what it works with, when it panics.
            let mut part = part;
            make().await;
            part.done = true;
            drop(part);
        });
        started.map_err(|error| {
            Error::new(
                ErrorCode::ThreadRefused,
                format!("starting the thread {name}: {error}; free some and open again"),
            )
        })?;
        self.left -= 1;
        Ok(())
    }

    /// Waits until the parts that run have ended: they hold the directory's lock. The others do not begin any more.
    async fn ended(self) {
        (0..self.left).for_each(|_| self.shared.part_ended());
        self.shared.until(|| self.shared.ended().then_some(())).await;
    }
}
