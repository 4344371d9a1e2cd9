//! What a sweep has really tried: which fault met which work of the engine, and what the generator drew.
//!
//! ```text
//! ledger of a run + when its opens began and ended ─► cells: fault × work
//! plan of a run + its operations                   ─► draws: dimension × bucket
//! ```
//!
//! What no seed ever reached is not proved, however many seeds passed: [`cold`] names it, and a long sweep or a campaign
//! fails on it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::path::Path;

use highwater::env::Tick;
use highwater::sim::{FaultClass, Injected};

use crate::plan::Plan;
use crate::step::Op;

/// What the engine was doing at a call of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// Folders and IDENT are made.
    Creation,
    /// An open takes the lock and reads IDENT and manifests.
    Head,
    /// An open reads the logs.
    Scan,
    /// An open reads checkpoint files.
    Load,
    /// An open writes what no mark proves into a log file of its own.
    Carry,
    /// A frame is written and synced.
    Append,
    /// A log file is prepared: looked for space, made or taken from the retired ones, named.
    Segment,
    /// A checkpoint reads the log.
    Delta,
    /// A checkpoint file is written.
    File,
    /// A checkpoint reads checkpoint files: to merge them, or to read one back.
    Merge,
    /// A manifest is written and linked.
    Landing,
    /// A file that nothing needs is removed.
    Removal,
    /// None of these: nothing was called.
    Idle,
}

use Work::{Append, Carry, Creation, Delta, File, Head, Idle, Landing, Load, Merge, Removal, Scan, Segment};

impl Work {
    /// Every work that calls the disk.
    pub(crate) const CALLS: [Self; 12] =
        [Creation, Head, Scan, Load, Carry, Append, Segment, Delta, File, Merge, Landing, Removal];

    /// What a call of this name on `path` belongs to; `opening` while no engine is open.
    pub(crate) fn of(operation: &str, path: &Path, opening: bool) -> Self {
        // Components of paths are slow to find, and a trigger that aims at a work asks at every boundary.
        let text = path.to_str().unwrap_or("");
        let folder = text.split('/').nth(1).unwrap_or("");
        let temporary = text.rsplit_once('.').is_some_and(|(_, extension)| extension == "tmp");
        let reads = matches!(operation, "open" | "list" | "len" | "link_count" | "read_at" | "read");
        match (folder, operation) {
            (_, "create_dir" | "remove_dir") => Creation,
            (_, "lock") => Head,
            (_, "free_space") => Segment,
            ("wal" | "m" | "f", "remove") => Removal,
            ("wal", _) if reads => {
                if opening {
                    Scan
                } else {
                    Delta
                }
            }
            ("wal", "write_at" | "write_at_and_sync" | "sync_data") if !temporary => {
                if opening {
                    Carry
                } else {
                    Append
                }
            }
            ("wal", _) => Segment,
            ("m", _) if reads => Head,
            ("m", _) => Landing,
            ("f", _) if reads => {
                if opening {
                    Load
                } else {
                    Merge
                }
            }
            ("f", _) => File,
            _ if reads => Head,
            _ => Creation,
        }
    }
}

/// A row of the table: a class of faults, or a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    /// A fault of the disk.
    Fault(FaultClass),
    /// A crash of the process, or of the machine.
    Crash {
        /// Whether the power went.
        power: bool,
    },
}

/// Calls that read, and those that change something and are synced.
const READS: &[Work] = &[Head, Scan, Load, Delta, Merge];
const WRITES: &[Work] = &[Creation, Carry, Append, Segment, File, Landing];
const NAMES: &[Work] = &[Creation, Segment, File, Landing];

/// Which works each fault in contract can meet.
const CELLS: &[(Row, &[Work])] = &[
    (Row::Crash { power: false }, &Work::CALLS),
    (Row::Crash { power: true }, &Work::CALLS),
    (Row::Fault(FaultClass::WriteBack), &Work::CALLS),
    (Row::Fault(FaultClass::Interrupted), &Work::CALLS),
    (Row::Fault(FaultClass::Stall), &Work::CALLS),
    (Row::Fault(FaultClass::SyncError), WRITES),
    (Row::Fault(FaultClass::SyncErrorOnce), WRITES),
    (Row::Fault(FaultClass::DirSyncError), NAMES),
    (Row::Fault(FaultClass::WriteError), WRITES),
    (Row::Fault(FaultClass::ShortWrite), WRITES),
    (Row::Fault(FaultClass::Full), &[Creation, Segment, File, Landing]),
    (Row::Fault(FaultClass::ReadError), READS),
    (Row::Fault(FaultClass::ShortRead), READS),
];

/// A property of what the generator draws, and one range of it.
type Draw = (&'static str, Cow<'static, str>);

/// What was tried.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage {
    cells: BTreeMap<(Row, Work), u64>,
    draws: BTreeMap<Draw, u64>,
}

impl Coverage {
    /// Counts one fault.
    pub(crate) fn fault(&mut self, fault: &Injected, opening: bool) {
        let read_or_write = match fault.class {
            FaultClass::LatentSector | FaultClass::BitRot | FaultClass::MisdirectedRead => "read_at",
            FaultClass::MisdirectedWrite => "write_at",
            _ => fault.operation,
        };
        let work = Work::of(read_or_write, &fault.path, opening);
        self.cell(Row::Fault(fault.class), work);
    }

    /// Counts every fault of a run whose opens went on at `opens`.
    pub(crate) fn faults(&mut self, faults: &[Injected], opens: &[(Tick, Tick)]) {
        for fault in faults {
            let of_no_call = matches!(fault.class, FaultClass::ProcessCrash | FaultClass::PowerLoss)
                || matches!(fault.class, FaultClass::Exchanged | FaultClass::LostLock);
            if !of_no_call {
                let opening = opens.iter().any(|(from, to)| (*from..=*to).contains(&fault.at));
                self.fault(fault, opening);
            }
        }
    }

    /// Counts one crash.
    pub(crate) fn crash(&mut self, power: bool, work: Work) {
        self.cell(Row::Crash { power }, work);
    }

    fn cell(&mut self, row: Row, work: Work) {
        *self.cells.entry((row, work)).or_default() += 1;
    }

    /// Counts what a plan is.
    pub(crate) fn plan(&mut self, plan: &Plan) {
        self.draw("cores", plan.shape.cores.to_string());
        self.draw("lives", plan.lives.len().to_string());
        self.draw("write unit", plan.shape.write_unit.to_string());
        self.draw("disk order", format!("{:?}", plan.disk.order));
        self.draw("power-safe overwrite", plan.disk.power_safe_overwrite.to_string());
        self.draw("failures are own", plan.disk.failures_are_own.to_string());
        self.draw("after a failed sync", format!("{:?}", plan.disk.after_failed_sync));
        for life in &plan.lives {
            self.draw("ring 1", if life.tuning.inline { "inline" } else { "threads" }.to_owned());
            self.draw("segment bytes", life.tuning.segment_bytes.to_string());
            self.draw("depth", life.tuning.depth.to_string());
            self.draw("reserve", life.tuning.reserve.to_string());
        }
    }

    /// Counts one operation of the workload.
    pub(crate) fn operation(&mut self, op: Op) {
        self.draw("operation", format!("{op:?}"));
    }

    /// Counts a value.
    pub(crate) fn value(&mut self, bytes: usize) {
        self.draw("value bytes", magnitude(bytes as u64));
    }

    /// Counts an epoch of one core.
    pub(crate) fn epoch(&mut self, changes: usize) {
        self.draw("changes of an epoch", magnitude(changes as u64));
    }

    fn draw(&mut self, dimension: &'static str, bucket: impl Into<Cow<'static, str>>) {
        *self.draws.entry((dimension, bucket.into())).or_default() += 1;
    }

    /// Adds what another run has tried.
    pub(crate) fn add(&mut self, other: &Self) {
        for (cell, count) in &other.cells {
            *self.cells.entry(*cell).or_default() += count;
        }
        for (draw, count) in &other.draws {
            *self.draws.entry(draw.clone()).or_default() += count;
        }
    }
}

/// The power of ten of a number, as a range.
fn magnitude(number: u64) -> Cow<'static, str> {
    const MAGNITUDES: [&str; 6] = ["0", "1–9", "10–99", "100–999", "1000–9999", "10000–99999"];
    let power = number.checked_ilog10().map_or(0, |power| power + 1);
    match MAGNITUDES.get(power as usize) {
        Some(magnitude) => (*magnitude).into(),
        None => format!("from {}", 10_u64.pow(power - 1)).into(),
    }
}

/// What the generator has to draw, each bucket in every long sweep.
const DRAWS: &[(&str, &[&str])] = &[
    ("cores", &["1", "2", "3", "4", "8"]),
    ("lives", &["1", "2", "3", "4", "5", "6", "7"]),
    ("write unit", &["512", "4096"]),
    ("disk order", &["Paranoid", "PrefixOrdered"]),
    ("power-safe overwrite", &["false", "true"]),
    ("failures are own", &["false", "true"]),
    ("after a failed sync", &["New", "Old", "Mixed"]),
    ("ring 1", &["inline", "threads"]),
    ("segment bytes", &["16384", "32768", "65536"]),
    ("depth", &["1", "2", "3", "4", "6"]),
    ("reserve", &["false", "true"]),
    ("value bytes", &["0", "1–9", "10–99", "100–999", "1000–9999", "10000–99999"]),
    ("changes of an epoch", &["0", "1–9", "10–99", "100–999"]),
];

/// What could have been reached or drawn, and is not among `reached`, which is named as [`Coverage::named`] does.
pub(crate) fn cold(reached: &BTreeMap<String, u64>) -> Vec<String> {
    let cells = CELLS.iter().flat_map(|(row, works)| works.iter().map(|work| named_cell(*row, *work)));
    let operations = Op::ALL.iter().map(|(op, _)| named_draw("operation", &format!("{op:?}")));
    let others =
        DRAWS.iter().flat_map(|(name, buckets)| buckets.iter().map(|bucket| named_draw(name, bucket)));
    cells.chain(operations).chain(others).filter(|name| !reached.contains_key(name)).collect()
}

fn named_cell(row: Row, work: Work) -> String {
    format!("{row} × {work:?}")
}

fn named_draw(dimension: &str, bucket: &str) -> String {
    format!("{dimension} = {bucket}")
}

impl Coverage {
    /// Everything that was tried, by its name for people, and how often.
    pub(crate) fn named(&self) -> BTreeMap<String, u64> {
        let cells = self.cells.iter().map(|((row, work), count)| (named_cell(*row, *work), *count));
        let draws = self.draws.iter().map(|((name, bucket), count)| (named_draw(name, bucket), *count));
        cells.chain(draws).collect()
    }

    /// The table fault × work: a row for each fault that fired, `–` where the two cannot meet.
    fn table(&self) -> String {
        let mut table = format!("{:<20}", "");
        for work in Work::CALLS.iter().chain([&Idle]) {
            let _ = write!(table, "{:>9}", format!("{work:?}"));
        }
        let rows: BTreeSet<Row> =
            self.cells.keys().map(|(row, _)| *row).chain(CELLS.iter().map(|(row, _)| *row)).collect();
        for row in rows {
            let _ = write!(table, "\n{row:<20}");
            let legal = CELLS.iter().find(|(of, _)| *of == row).map(|(_, works)| *works);
            for work in Work::CALLS.iter().chain([&Idle]) {
                let count = self.cells.get(&(row, *work)).copied().unwrap_or(0);
                let cell = match (count, legal.is_some_and(|works| works.contains(work))) {
                    (0, false) => "–".to_owned(),
                    (0, true) => "COLD".to_owned(),
                    (count, _) => count.to_string(),
                };
                let _ = write!(table, "{cell:>9}");
            }
        }
        table
    }

    /// What was drawn: a line for each dimension, with the share of each bucket.
    fn mix(&self) -> String {
        let mut dimensions: BTreeMap<&str, Vec<(&str, u64)>> = BTreeMap::new();
        for ((name, bucket), count) in &self.draws {
            dimensions.entry(name).or_default().push((bucket, *count));
        }
        let mut mix = String::new();
        for (name, buckets) in dimensions {
            let total: u64 = buckets.iter().map(|(_, count)| count).sum();
            let _ = write!(mix, "{name:<21}");
            for (bucket, count) in buckets {
                #[expect(clippy::cast_precision_loss, reason = "a share is for people")]
                let share = 100.0 * count as f64 / total as f64;
                let _ = write!(mix, " {bucket}: {share:.1} %");
            }
            mix.push('\n');
        }
        mix
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.table(), self.mix().trim_end())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Self::Fault(class) => format!("{class:?}"),
            Self::Crash { power: true } => "power loss".to_owned(),
            Self::Crash { power: false } => "process crash".to_owned(),
        })
    }
}
