//! A run: every row of every workload, round by round, each slice in a process of its own.
//!
//! ```text
//! round 1   A B C D
//! round 2   B C D A     what the machine does meanwhile meets every row alike,
//! round 3   C D A B     and no row always follows the same other
//! ```

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::meter::Figures;
use crate::peer::Result;
use crate::profile::{self, Profile};
use crate::report::machine::{self, Machine};
use crate::report::versions;
use crate::sys;
use crate::workload::{self, Row, Slice, Workload};

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) workloads: Vec<&'static str>,
    /// Patterns of row names, `*` at an end; empty for all.
    pub(crate) rows: Vec<String>,
    pub(crate) rounds: Option<usize>,
    pub(crate) dir: PathBuf,
    pub(crate) quick: bool,
    pub(crate) profile: bool,
    pub(crate) command: String,
}

/// Everything that a run found: what reports are made from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) machine: Machine,
    pub(crate) versions: Vec<(String, String)>,
    pub(crate) date: String,
    pub(crate) command: String,
    pub(crate) quick: bool,
    pub(crate) seconds: u64,
    pub(crate) tables: Vec<Table>,
    pub(crate) profiles: Vec<Profile>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) workload: String,
    pub(crate) rows: Vec<RowFigures>,
}

/// A row's figures, round by round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RowFigures {
    pub(crate) row: Row,
    /// `None` for a slice that failed.
    pub(crate) rounds: Vec<Option<Figures>>,
    pub(crate) failure: Option<String>,
}

impl RowFigures {
    /// The figures of one column, of the rounds that have one.
    pub(crate) fn figures(&self, column: &str) -> Vec<f64> {
        self.rounds.iter().flatten().filter_map(|figures| figures.get(column).copied()).collect()
    }
}

impl Table {
    pub(crate) fn row(&self, name: &str) -> Option<&RowFigures> {
        self.rows.iter().find(|row| row.row.name == name)
    }

    pub(crate) fn figures(&self, row: &str, column: &str) -> Vec<f64> {
        self.row(row).map(|row| row.figures(column)).unwrap_or_default()
    }

    /// The figures of two rows, of the rounds in which both have one.
    pub(crate) fn pairs(&self, row: &str, than: &str, column: &str) -> Vec<(f64, f64)> {
        let (Some(row), Some(than)) = (self.row(row), self.row(than)) else { return Vec::new() };
        let figure = |figures: &Option<Figures>| figures.as_ref()?.get(column).copied();
        let both = row.rounds.iter().zip(&than.rounds);
        both.filter_map(|(row, than)| Some((figure(row)?, figure(than)?))).collect()
    }
}

/// Whether `name` is one of `patterns`, each a name or the front of one and a `*`.
fn selected(patterns: &[String], name: &str) -> bool {
    patterns.is_empty()
        || patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(front) => name.starts_with(front),
            None => name == pattern,
        })
}

/// The ids of the workloads that `wanted` names: `W3` names all that begin so.
pub(crate) fn workloads(wanted: &[String]) -> Result<Vec<&'static str>> {
    let all = workload::all().map(|workload| workload.id);
    let is = |id: &str, wanted: &String| id == wanted || id.starts_with(&format!("{wanted}-"));
    if let Some(unknown) = wanted.iter().find(|wanted| !all.iter().any(|id| is(id, wanted))) {
        return Err(format!("no workload {unknown}; there are {}", all.join(", ")).into());
    }
    Ok(all.into_iter().filter(|id| wanted.is_empty() || wanted.iter().any(|wanted| is(id, wanted))).collect())
}

/// Runs `plan`; `tell` hears of every slice.
pub(crate) fn run(plan: &Plan, mut tell: impl FnMut(&str)) -> Result<Run> {
    let start = Instant::now();
    fs::create_dir_all(&plan.dir)?;
    let mut machine = machine::of(&plan.dir);
    let mut tables = Vec::new();
    for id in &plan.workloads {
        let workload = workload::of(id).ok_or("an unknown workload")?;
        tables.push(table(plan, &workload, &mut tell));
    }
    let profiles = if plan.profile { profiles(plan, &mut tell) } else { Vec::new() };
    machine.load_after = machine::load();
    Ok(Run {
        machine,
        versions: versions::all(),
        date: machine::date(),
        command: plan.command.clone(),
        quick: plan.quick,
        seconds: start.elapsed().as_secs(),
        tables,
        profiles,
    })
}

/// Profiles rows of the plan that are worth it. One that cannot be profiled is left out.
fn profiles(plan: &Plan, tell: &mut impl FnMut(&str)) -> Vec<Profile> {
    let planned =
        |(workload, row): &(&str, &str)| plan.workloads.contains(workload) && selected(&plan.rows, row);
    let rows = profile::ROWS.into_iter().filter(planned);
    let profiles = rows.filter_map(|(workload, row)| {
        let dir = plan.dir.join(format!("profile-{}", std::process::id()));
        let profile =
            profile::of((workload, row), &dir, |command| slice(plan, workload, row, command).map(drop));
        let said = profile.as_ref().map_or_else(ToString::to_string, |_| "profiled".to_owned());
        tell(&format!("{workload} {row:<20} {said}"));
        profile.ok()
    });
    profiles.collect()
}

fn table(plan: &Plan, workload: &Workload, tell: &mut impl FnMut(&str)) -> Table {
    let rounds = plan.rounds.unwrap_or(if plan.quick { 2 } else { workload.rounds });
    let wanted = (workload.rows)().into_iter().filter(|row| selected(&plan.rows, &row.name));
    let mut rows: Vec<RowFigures> =
        wanted.map(|row| RowFigures { row, rounds: Vec::new(), failure: None }).collect();
    let count = rows.len();
    for round in 0..rounds {
        for at in 0..count {
            let row = &mut rows[(at + round) % count];
            // It may have taken minutes to fail.
            if row.failure.is_some() {
                row.rounds.push(None);
                continue;
            }
            let start = Instant::now();
            let outcome = std::env::current_exe()
                .map_err(Into::into)
                .and_then(|own| slice(plan, workload.id, &row.row.name, Command::new(own)));
            let took = start.elapsed().as_secs_f64();
            let said = match &outcome {
                Ok(figures) => {
                    format!("{:.1}", figures.get(workload.rated().name).copied().unwrap_or(f64::NAN))
                }
                Err(error) => format!("FAILED: {error}"),
            };
            tell(&format!(
                "{} {}/{rounds} {:<20} {said:>14}  {took:.1} s",
                workload.id,
                round + 1,
                row.row.name
            ));
            row.failure = outcome.as_ref().err().map(ToString::to_string);
            row.rounds.push(outcome.ok());
        }
    }
    Table { workload: workload.id.to_owned(), rows }
}

/// No slice takes so long, at either scale.
const SLICE_MAX: Duration = Duration::from_mins(4);
const QUICK_SLICE_MAX: Duration = Duration::from_mins(1);

/// What a child writes before its figures.
const MARK: &str = "figures: ";

/// Runs one slice by `command`, which is this program, in a process and a directory of its own.
fn slice(plan: &Plan, workload: &str, row: &str, mut command: Command) -> Result<Figures> {
    let dir = plan.dir.join(format!("slice-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir)?;
    sys::settle(&plan.dir)?;
    command.args(["--slice", workload, "--rows", row, "--dir"]).arg(&dir);
    if plan.quick {
        command.arg("--quick");
    }
    // Walrus takes both from here and from nowhere else.
    command.env("WALRUS_QUIET", "1").env("WALRUS_DATA_DIR", &dir);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let outcome = ended(child, if plan.quick { QUICK_SLICE_MAX } else { SLICE_MAX });
    fs::remove_dir_all(&dir)?;
    outcome
}

fn ended(mut child: Child, longest: Duration) -> Result<Figures> {
    let (mut out, mut err) =
        (child.stdout.take().ok_or("no output")?, child.stderr.take().ok_or("no output")?);
    let out = std::thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).map(|_| text)
    });
    let err = std::thread::spawn(move || {
        let mut text = String::new();
        err.read_to_string(&mut text).map(|_| text)
    });
    let start = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if start.elapsed() > longest => {
                child.kill()?;
                child.wait()?;
                return Err(format!("still running after {} s", longest.as_secs()).into());
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let (out, err) = (out.join().map_err(|_| "a panic")??, err.join().map_err(|_| "a panic")??);
    let figures = out.lines().find_map(|line| line.strip_prefix(MARK));
    match figures {
        Some(figures) if status.success() => Ok(serde_json::from_str(figures)?),
        _ => Err(err.lines().last().map_or_else(|| status.to_string(), str::to_owned).into()),
    }
}

/// The child's side: runs the slice, and says its figures.
pub(crate) fn of_slice(id: &str, row: &str, dir: &Path, quick: bool) -> Result<String> {
    let workload = workload::of(id).ok_or("an unknown workload")?;
    let figures = (workload.run)(row, &Slice { dir: dir.to_owned(), quick })?;
    Ok(format!("{MARK}{}", serde_json::to_string(&figures)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_selected_by_name_or_by_the_front_of_one() {
        let patterns = ["raw-*".to_owned(), "fjall".to_owned()];
        assert!(selected(&patterns, "raw-zeroed") && selected(&patterns, "fjall"));
        assert!(!selected(&patterns, "fjall-all") && !selected(&patterns, "redb"));
        assert!(selected(&[], "anything"));
    }

    #[test]
    fn a_workload_of_several_tables_is_selected_as_one() {
        assert_eq!(workloads(&["W3".to_owned()]).unwrap(), ["W3-100", "W3-1008", "W3-16368"]);
        assert_eq!(workloads(&["W1".to_owned()]).unwrap(), ["W1"]);
        assert!(workloads(&["W9".to_owned()]).is_err());
    }
}
