//! The sinks of a run: an external system, and files on the database's own disk. I9 is checked here.
//!
//! Every core numbers its rows from one, and says in the mark of an epoch how many there are: so what it writes after a recovery
//! goes on where the recovered epoch ended.
//!
//! Q1. At every open, and in the end, the rows of a core that a sink shows are 1, 2, 3 … in this order: none twice,
//!     none missing, but for those that the external system has forgotten, which it shows never.
//! Q2. At every open they are no more than the recovered epoch has: nothing is seen that could come again.
//! Q3. In the end they are all there (I11), and the external system has nothing in doubt.

mod outlet;
mod rig;
mod scenarios;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use highwater::sim::{Executor, SimDisk, Stream, Streams};
use highwater::sink::{FileSink, LostPolicy};
use highwater::{CoreId, Offset, Options};
use serde::{Deserialize, Serialize};

use crate::Test;
use crate::draw::Draw;
use crate::oracle::CoreModel;
use crate::world::{Run, World, lock};

pub(crate) use outlet::{Manners, Outlet, OutletSink, SinkFault};

/// Every list of tests.
pub(crate) const TESTS: &[Test] = scenarios::TESTS;

/// The source in whose offset a core counts its rows.
pub(crate) const ROWS: &str = "rows";

/// Where the files are.
const FILES: &str = "out";

/// Bytes of a row in a file.
const ROW_BYTES: usize = 8;

/// What a plan says of its sinks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SinkPlan {
    /// Whether there is an external system, and whether there are files.
    pub(crate) external: bool,
    /// See above.
    pub(crate) files: bool,
    /// The rates of the external system's faults, by name; the others are off.
    pub(crate) rates: BTreeMap<String, f64>,
    /// How long it takes for a request.
    pub(crate) latency_ms: (u64, u64),
    /// How late requests take effect.
    pub(crate) late_max_ms: u64,
    /// Transactions per core that may be in doubt.
    pub(crate) epochs_max: u64,
    /// The chance that a step of the workload writes rows.
    pub(crate) rows: f64,
}

impl SinkPlan {
    /// Draws whether there are sinks, and which. Files are lost with the disk: a run that loses it has none.
    pub(crate) fn draw(streams: Streams, keeps_disk: bool) -> Option<Self> {
        let mut stream = streams.stream("plan.sinks");
        let (some, both, one) = (stream.chance(0.4), stream.chance(0.3), stream.chance(0.6));
        let (external, files) = (both || one || !keeps_disk, keeps_disk && (both || !one));
        let quiet = stream.chance(0.2);
        let mut rates = BTreeMap::new();
        for fault in SinkFault::ALL {
            let rate = *stream.pick(&[0.0, 0.0, 0.01, 0.1, 0.3]);
            let rate = if fault == SinkFault::Forgets { rate / 10.0 } else { rate };
            if rate > 0.0 && !quiet {
                rates.insert(format!("{fault:?}"), rate);
            }
        }
        let plan = Self {
            external,
            files,
            rates,
            latency_ms: *stream.pick(&[(0, 0), (0, 2), (1, 30)]),
            late_max_ms: stream.scale(1, 60_000),
            epochs_max: *stream.pick(&[1, 2, 3, 8, 1_000]),
            rows: *stream.pick(&[0.1, 0.5, 1.0]),
        };
        some.then_some(plan)
    }

    /// The external system, for all processes of the run.
    pub(crate) fn outlet(&self, run: &Run) -> Outlet {
        let of = |fault: &SinkFault| Some((*fault, *self.rates.get(&format!("{fault:?}"))?));
        let manners = Manners {
            rates: SinkFault::ALL.iter().filter_map(of).collect(),
            latency_ms: self.latency_ms,
            late_max: Duration::from_millis(self.late_max_ms),
            in_doubt_max: self.epochs_max * u64::from(run.plan.shape.cores),
        };
        Outlet::new(Streams::new(run.plan.seed), manners, run.trace.clone())
    }
}

impl fmt::Display for SinkPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { external, files, rates, latency_ms, late_max_ms, epochs_max, rows } = self;
        write!(
            f,
            "sinks:  external={external} files={files} {rates:?} latency={latency_ms:?}ms late={late_max_ms}ms "
        )?;
        write!(f, "epochs={epochs_max} rows={rows}")
    }
}

/// The sinks of one open.
#[derive(Clone)]
pub(crate) struct Sinks {
    external: Option<OutletSink>,
    files: Option<FileSink<World>>,
    accepts: bool,
    chance: f64,
}

impl Sinks {
    /// Those of the plan, for a process.
    pub(crate) fn of(run: &Run, env: &World, executor: &Arc<dyn Executor>) -> Option<Self> {
        let plan = run.plan.sinks.as_ref()?;
        let outlet = lock(&run.outlet).clone().filter(|_| plan.external);
        let in_doubt_max = plan.epochs_max * u64::from(run.plan.shape.cores);
        let files = plan.files.then(|| FileSink::in_env(env.clone(), FILES).in_doubt_max(in_doubt_max));
        Some(Self {
            external: outlet.map(|outlet| outlet.client("sink", Arc::clone(executor))),
            files,
            accepts: plan.rates.contains_key("Forgets"),
            chance: plan.rows,
        })
    }

    /// As options.
    pub(crate) fn option(&self, options: Options) -> Options {
        let policy = if self.accepts { LostPolicy::Accept } else { LostPolicy::Halt };
        let mut options = options.on_lost(policy);
        if let Some(external) = &self.external {
            options = options.sink("external", external.clone());
        }
        if let Some(files) = &self.files {
            options = options.sink("files", files.clone());
        }
        options
    }

    /// How many rows a step writes.
    pub(crate) fn some(&self, stream: &mut Stream) -> u64 {
        if stream.chance(self.chance) { stream.range(1, 3) } else { 0 }
    }

    /// Writes the row `number` of `core` to every sink.
    pub(crate) fn write(&self, core: usize, number: u64) {
        let core = CoreId(u16::try_from(core).unwrap_or(u16::MAX));
        if let Some(external) = &self.external {
            external.write(core, number);
        }
        if let Some(files) = &self.files {
            files.write(core, &number.to_le_bytes());
        }
    }
}

/// How many rows `core` has written, by the model.
pub(crate) fn count(run: &Run, core: usize) -> u64 {
    rows_of(lock(&run.oracle).live(core))
}

fn rows_of(state: &CoreModel) -> u64 {
    match state.offsets.get(ROWS) {
        Some(Offset::Number(rows)) => *rows,
        _ => 0,
    }
}

/// Q1 and Q2, of a run whose database has just been opened.
pub(crate) fn i9_nothing_twice_nothing_missing(run: &Run) {
    if run.plan.sinks.is_none() {
        return;
    }
    for core in 0..usize::from(run.plan.shape.cores) {
        let recovered = count(run, core);
        for (sink, rows, forgotten) in shown(run, core) {
            dense(sink, core, &rows, &forgotten);
            let last = rows.last().copied().unwrap_or(0);
            assert!(
                last <= recovered,
                "I9: {sink}: row {last} of core {core} is published, and the recovered epoch has {recovered}: it comes again"
            );
        }
    }
}

/// Q1 and Q3, of a run that has ended with everything published.
pub(crate) fn i9_everything_once(run: &Run) {
    let Some(plan) = &run.plan.sinks else { return };
    let epoch = lock(&run.oracle).ceiling();
    // Cores that are ahead have written more.
    let states = lock(&run.oracle).at(epoch);
    for (core, state) in states.iter().enumerate() {
        let written = rows_of(state);
        for (sink, rows, forgotten) in shown(run, core) {
            dense(sink, core, &rows, &forgotten);
            let all = rows.len() + forgotten.iter().filter(|row| **row <= written).count();
            assert_eq!(
                all as u64, written,
                "I9: {sink}: core {core} wrote {written} rows, and {all} are there"
            );
        }
    }
    let left = lock(&run.outlet).as_ref().filter(|_| plan.external).map(Outlet::prepared).unwrap_or_default();
    let left: Vec<_> = left.iter().filter(|prepared| prepared.part.epoch.0 <= epoch).collect();
    assert!(left.is_empty(), "I9: at epoch {epoch} the external system has in doubt: {left:?}");
}

/// What each sink shows of `core`: its name, the published rows in order, and the forgotten ones.
fn shown(run: &Run, core: usize) -> Vec<(&'static str, Vec<u64>, BTreeSet<u64>)> {
    let id = CoreId(u16::try_from(core).unwrap_or(u16::MAX));
    let mut shown = Vec::new();
    let Some(plan) = &run.plan.sinks else { return shown };
    if let Some(outlet) = lock(&run.outlet).as_ref().filter(|_| plan.external) {
        let (rows, forgotten) = outlet.rows(id);
        shown.push(("external", rows, forgotten));
    }
    if plan.files {
        shown.push(("files", files(run, id), BTreeSet::new()));
    }
    shown
}

/// The rows in the published files of `core`, in the order of their names, as a reader of the disk finds them.
fn files(run: &Run, core: CoreId) -> Vec<u64> {
    let Some(disk) = lock(&run.disk).as_ref().map(SimDisk::disk) else { return Vec::new() };
    let mut tree: Vec<_> = disk.tree().into_iter().map(|(path, _)| path).collect();
    tree.sort();
    let infix = format!("-{:05}-", core.0);
    // A reader looks into the folders of databases. What one was called while its name was made anew may lead to it,
    // too, when the sync of that failed: it is no name of a folder.
    let is_folder = |path: &Path| path.parent().is_some_and(|folder| folder.extension().is_none());
    let names = tree.iter().filter(|path| {
        path.starts_with(FILES) && is_folder(path) && path.extension().is_some_and(|end| end == "rows")
    });
    let of_core =
        names.filter(|path| path.file_stem().is_some_and(|stem| stem.to_string_lossy().contains(&infix)));
    let mut rows = Vec::new();
    for path in of_core {
        let content = disk.read_file(path).unwrap_or_else(|| panic!("{} is gone", path.display()));
        let (chunks, rest) = content.as_chunks::<ROW_BYTES>();
        assert!(rest.is_empty() && !chunks.is_empty(), "I9: {} is half a file", path.display());
        rows.extend(chunks.iter().map(|row| u64::from_le_bytes(*row)));
    }
    rows
}

/// Q1: rows are dense, but for those that were forgotten.
fn dense(sink: &str, core: usize, rows: &[u64], forgotten: &BTreeSet<u64>) {
    let mut next = 1;
    for &row in rows {
        while forgotten.contains(&next) {
            next += 1;
        }
        assert_eq!(row, next, "I9: {sink}, core {core}: row {row} is published where {next} was to come");
        next += 1;
    }
}
