//! What a recovery of an engine finds, and the opinions of others about the same bytes: the independent decoder's, and that
//! of `highwater::verify`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use highwater::sim::{
    Disk, Executor, FaultPlan, Handle, SimDisk, SimEnv, SimStore, SimVfs, Simulator, StoreFaults, Streams,
    Trace,
};
use highwater::{
    CoreHandle, Engine, Error, ErrorKind, Offset, Opened, Options, RecoveryReport, VerifyOptions,
};

use super::{Recovery, Remains, Shots};
use crate::audit;
use crate::decode::{self, Database, Flat, FlatState, Flattener, Labour, Memo};
use crate::explain::record;
use crate::remote::RemotePlan;

/// Where the database of every run is.
pub(super) const ROOT: &str = "/data";

pub(super) type World = SimEnv<SimVfs>;

/// What a recovery returned.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) epoch: u64,
    pub(super) token: u64,
    pub(super) state: FlatState,
    /// What it says that it did.
    labour: Labour,
}

impl PartialEq for Found {
    /// How the same was found may differ, and by which life.
    fn eq(&self, other: &Self) -> bool {
        (self.epoch, &self.state) == (other.epoch, &other.state)
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: usize = self.state.state().cores.iter().map(|core| core.values.len()).sum();
        write!(f, "epoch {} with {keys} keys, token {}", self.epoch, self.token)
    }
}

impl Found {
    /// What an open returned.
    pub(super) fn of(opened: &Opened<World>) -> Result<Self, Error> {
        let Opened { cores, report, .. } = opened;
        let labour = Labour {
            checkpoint: report.checkpoint_epoch.0,
            replayed: report.replayed_records,
            discarded: report.discarded_records,
        };
        let (epoch, token) = (report.epoch.0, report.token.0);
        Ok(Self { epoch, token, state: export(cores, report)?, labour })
    }
}

/// How long an engine with a store goes on for behind some of its opens: it looks for orphans then.
const GOES_ON_FOR: Duration = Duration::from_secs(2);

/// One in so many does.
const GOES_ON_ONE_IN: u64 = 4;

/// Opens what is `left` under these options, with the store if the run has one, and returns what `export` makes of it.
pub(super) fn recovered<F>(
    left: Remains,
    (boot, watch): (u64, bool),
    (options, remote): (Options, Option<&RemotePlan>),
    export: impl FnOnce(&Opened<World>) -> Result<F, Error>,
) -> Result<Recovery<F>, String> {
    let recovered = Simulator::new(boot).steps_max(2_000_000).run(|handle: Handle| async move {
        let executor: Arc<dyn Executor> = Arc::new(handle);
        let streams = Streams::new(boot);
        let disk = SimDisk::new(left.disk, executor.clone(), &streams, FaultPlan::none(), Trace::silent());
        let from = |image| SimStore::from_image(image, &streams, StoreFaults::none(), Trace::silent());
        let store = left.store.map(from);
        let shots = Shots::default();
        let _watch = watch.then(|| shots.watch(&disk, store.as_ref()));
        record::follow(&disk, &executor);
        let env = SimEnv::new("recovery", executor.clone(), disk.vfs(), &streams);
        let options = with_store(options, remote, store.as_ref(), &executor);
        let opened = Engine::open_in(env, options).await?;
        let found = export(&opened)?;
        if store.is_some() && boot.is_multiple_of(GOES_ON_ONE_IN) {
            executor.sleep(GOES_ON_FOR).await;
        }
        let remains = Remains { disk: disk.disk(), store: store.as_ref().map(SimStore::image) };
        Ok::<_, Error>(Recovery { found, remains, moments: shots.take() })
    });
    recovered.map_err(|stuck| format!("the recovery is stuck: {stuck}"))?.map_err(|error| error.to_string())
}

/// `options` with the store of a run, if it has one, for a process that runs on `executor`.
pub(super) fn with_store(
    options: Options,
    remote: Option<&RemotePlan>,
    store: Option<&SimStore>,
    executor: &Arc<dyn Executor>,
) -> Options {
    match (remote, store) {
        (Some(remote), Some(store)) => options.remote(remote.option(store, Arc::clone(executor))),
        _ => options,
    }
}

/// What `highwater::verify` says is recovered: it finds nothing wrong where disks keep their word.
pub(super) fn verified(image: &Disk) -> Result<Option<u64>, String> {
    match audit::verify(image.clone(), ROOT, VerifyOptions::new()) {
        Ok(report) if report.is_sound() => Ok(report.recoverable_epoch.map(|epoch| epoch.0)),
        Ok(report) => Err(format!("verify: {report}")),
        // Its creation was interrupted.
        Err(error) if error.kind() == ErrorKind::Invalid => Ok(None),
        Err(error) => Err(format!("verify: {error}")),
    }
}

/// What the independent decoder makes of the bytes; none when the database has not been created yet.
pub(super) fn decoded(image: &Disk, memo: &mut Memo) -> Result<Option<Database>, String> {
    let files = memo.files_of(image, ROOT);
    if !files.keys().any(|path| path.starts_with("m/") && path.rsplit('.').next() != Some("tmp")) {
        return Ok(None);
    }
    Database::read(&files, memo).map(Some).map_err(|why| format!("the decoder: {why}"))
}

/// Whether the decoder finds the same. If so, `found` shares its memory from now on.
pub(super) fn compare(
    decoded: Option<&Database>,
    found: &mut Found,
    cores: u16,
    memo: &mut Memo,
) -> Result<(), String> {
    let Some(decoded) = decoded else {
        return if found.epoch == 0 {
            Ok(())
        } else {
            Err(format!("{found:?} of a database that was not there"))
        };
    };
    if decoded.recovered_epoch() != found.epoch {
        return Err(format!("recovered {found:?}, the decoder finds epoch {}", decoded.recovered_epoch()));
    }
    let mut state = decoded.state_at(found.epoch, memo).map_err(|why| format!("the decoder: {why}"))?;
    // A database that was created and never opened has no cores yet.
    state.cores.resize(usize::from(cores), Flat::default());
    if state != found.state {
        let what = state.difference(&found.state);
        return Err(format!("epoch {}: the decoder finds another state: {what}", found.epoch));
    }
    let labour = decoded.labour(found.epoch);
    if labour != found.labour {
        return Err(format!("it is said to have taken {:?}, the decoder says {labour:?}", found.labour));
    }
    found.state = state;
    Ok(())
}

/// A report has the least watermark only: that is what is compared.
fn export<'a>(
    cores: impl IntoIterator<Item = &'a CoreHandle>,
    report: &RecoveryReport,
) -> Result<FlatState, Error> {
    let mut state = FlatState { cores: Vec::new(), watermark: report.watermark };
    for core in cores {
        let mut flat = Flattener::default();
        for entry in core.scan_prefix(b"") {
            let (key, value) = entry?;
            flat.key(&key, &value);
        }
        for ((_, name), offset) in report.offsets.iter().filter(|((of, _), _)| *of == core.id()) {
            flat.offset(name, &plain(offset));
        }
        state.cores.push(flat.end());
    }
    Ok(state)
}

pub(super) fn plain(offset: &Offset) -> decode::Offset {
    match offset {
        Offset::Number(number) => decode::Offset::Number(*number),
        Offset::Opaque(bytes) => decode::Offset::Opaque(bytes.clone()),
    }
}

/// The pins that an open has found, with their epochs.
pub(super) fn pins_of(opened: &Opened<World>) -> BTreeMap<String, u64> {
    let retained = opened.engine.retained().into_iter();
    retained.flat_map(|one| one.pins.into_iter().map(move |pin| (pin, one.epoch.0))).collect()
}
