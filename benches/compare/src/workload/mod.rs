//! The workloads: one file each. A slice is one run of one row of one workload, in a process and a directory of its
//! own.

mod checksum;
mod w1;
mod w2;
mod w3;
mod w4;
mod w5;
mod w6;
mod w7;
mod w8;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::meter::Figures;
use crate::peer::{Entry, LogPeer, LogSpec, Result};
use crate::raw::{file, ring};

/// What a row is to the goals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Group {
    /// A form of the baseline: the fastest of them is what highwater is compared with.
    Baseline,
    /// Beside the baseline, for information.
    Raw,
    Peer,
    /// Does not do the same work: never the best peer.
    Reference,
    Highwater,
}

/// One row of a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) group: Group,
    /// What a reader has to know.
    pub(crate) note: String,
}

impl Row {
    fn new(name: &str, group: Group, note: &str) -> Self {
        Self { name: name.to_owned(), group, note: note.to_owned() }
    }

    pub(crate) fn baseline(name: &str, note: &str) -> Self {
        Self::new(name, Group::Baseline, note)
    }

    pub(crate) fn raw(name: &str, note: &str) -> Self {
        Self::new(name, Group::Raw, note)
    }

    #[allow(dead_code, reason = "a build may be without peers")]
    pub(crate) fn peer(name: &str, note: &str) -> Self {
        Self::new(name, Group::Peer, note)
    }

    #[allow(dead_code, reason = "a build may be without peers")]
    pub(crate) fn reference(name: &str, note: &str) -> Self {
        Self::new(name, Group::Reference, note)
    }

    pub(crate) fn highwater(name: &str, note: &str) -> Self {
        Self::new(name, Group::Highwater, note)
    }
}

/// Which way a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Lower,
    Higher,
}

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) better: Better,
}

pub(crate) const fn lower(name: &'static str) -> Column {
    Column { name, better: Better::Lower }
}

pub(crate) const fn higher(name: &'static str) -> Column {
    Column { name, better: Better::Higher }
}

/// One table. The first column is the one that rows are rated by.
pub(crate) struct Workload {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    /// What is done and what is timed.
    pub(crate) about: &'static str,
    pub(crate) columns: &'static [Column],
    /// How many times each row is run, unless the command line says so.
    pub(crate) rounds: usize,
    pub(crate) rows: fn() -> Vec<Row>,
    pub(crate) run: fn(&str, &Slice) -> Result<Figures>,
}

impl Workload {
    pub(crate) fn rated(&self) -> Column {
        self.columns[0]
    }

    pub(crate) fn column(&self, name: &str) -> Option<Column> {
        self.columns.iter().copied().find(|column| column.name == name)
    }
}

/// Where and how large a slice runs.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    /// An empty directory.
    pub(crate) dir: PathBuf,
    /// Whether sizes are small: to see that everything works.
    pub(crate) quick: bool,
}

impl Slice {
    /// The size for this scale.
    pub(crate) fn pick(&self, quick: u64, full: u64) -> u64 {
        if self.quick { quick } else { full }
    }
}

/// All tables, in the order of the report.
pub(crate) fn all() -> [Workload; 11] {
    [
        w1::WORKLOAD,
        w2::WORKLOAD,
        w3::SMALL,
        w3::MIDDLE,
        w3::LARGE,
        w4::WORKLOAD,
        w5::WORKLOAD,
        w6::WORKLOAD,
        w7::WORKLOAD,
        w8::WORKLOAD,
        checksum::WORKLOAD,
    ]
}

/// The table with this id.
pub(crate) fn of(id: &str) -> Option<Workload> {
    all().into_iter().find(|workload| workload.id == id)
}

/// Before the timed stretch: what was prepared in the background is done, what was written is on the disk.
fn pause() {
    std::thread::sleep(Duration::from_millis(150));
}

/// The forms of a durable log that a careful programmer would try.
fn baselines() -> Vec<Entry<dyn LogPeer>> {
    let (file, ring) = (file::Form::Append, ring::Form::Linked);
    let raw = Row::baseline;
    vec![
        Entry::new(raw("raw-append", "growing file, write + fdatasync"), Box::new(file)),
        Entry::new(raw("raw-falloc", "fallocated file, write + fdatasync"), Box::new(file::Form::Falloc)),
        Entry::new(raw("raw-zeroed", "pre-zeroed file, write + fdatasync"), Box::new(file::Form::Zeroed)),
        Entry::new(raw("raw-dsync", "pre-zeroed file, `pwritev2(RWF_DSYNC)`"), Box::new(file::Form::Dsync)),
        Entry::new(
            raw("raw-direct", "pre-zeroed file, `O_DIRECT` + fdatasync"),
            Box::new(file::Form::Direct),
        ),
        Entry::new(
            raw("raw-direct-dsync", "pre-zeroed file, `O_DIRECT|O_DSYNC`, the tail's 4 KiB rewritten"),
            Box::new(file::Form::DirectDsync),
        ),
        Entry::new(raw("uring-linked", "io_uring, write linked to fdatasync"), Box::new(ring)),
        Entry::new(raw("uring-direct", "io_uring, `O_DIRECT` + `RWF_DSYNC`"), Box::new(ring::Form::Direct)),
    ]
}

fn rows_of<P: ?Sized>(entries: Vec<Entry<P>>) -> Vec<Row> {
    entries.into_iter().map(|entry| entry.row).collect()
}

fn find<P: ?Sized>(entries: Vec<Entry<P>>, row: &str) -> Result<Box<P>> {
    let found = entries.into_iter().find(|entry| entry.row.name == row);
    found.map(|entry| entry.peer).ok_or_else(|| format!("no row {row}").into())
}

/// One writer, one record per commit.
const DURABLE: LogSpec = LogSpec {
    writers: 1,
    value_bytes: crate::record::VALUE_BYTES,
    durable: true,
    per_commit: 1,
    keep: false,
};
