//! Measures highwater against its peers and against plain baselines, and writes docs/performance.md.
//!
//! ```text
//! main.rs       the command line
//! run.rs        rounds of slices, each a process of its own
//! workload/     W1 … W8: what is done, what is timed
//! peer/         highwater and its peers
//! raw/          the baselines
//! goal.rs       the goals, and whether they are met
//! profile.rs    where the time goes
//! report/       Markdown and SVG
//! ```
#![cfg(target_os = "linux")]

mod goal;
mod meter;
mod peer;
mod profile;
mod raw;
mod record;
mod report;
mod run;
mod stats;
mod sys;
mod workload;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use peer::Result;
use run::{Plan, Run};
use workload::Group;

/// Measures highwater against its peers and against plain baselines.
#[derive(Parser)]
struct Arguments {
    /// Workloads, such as W1,W3; all if none is named.
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<String>,
    /// Rows, such as highwater*,raw-*,fjall; all if none is named.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// How many times each row is run; each workload has its own number.
    #[arg(long)]
    rounds: Option<usize>,
    /// Where files are written: on the device that is to be measured.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/data"))]
    dir: PathBuf,
    /// Small sizes and two rounds: to see that everything works. Its figures mean little.
    #[arg(long)]
    quick: bool,
    /// Afterwards, runs rows of highwater once more under `perf`, and says where their time goes.
    #[arg(long)]
    profile: bool,
    /// Writes the report as Markdown.
    #[arg(long)]
    report_md: Option<PathBuf>,
    /// Writes the report as a picture.
    #[arg(long)]
    report_svg: Option<PathBuf>,
    /// Writes everything that was measured.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measures nothing, and makes the reports from what an earlier run wrote with --json.
    #[arg(long)]
    from: Option<PathBuf>,
    /// Runs one slice; for the program itself.
    #[arg(long, hide = true)]
    slice: Option<String>,
}

fn main() -> ExitCode {
    match act(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn act(arguments: &Arguments) -> Result<()> {
    if let Some(workload) = &arguments.slice {
        let row = arguments.rows.first().ok_or("a slice is of one row")?;
        println!("{}", run::of_slice(workload, row, &arguments.dir, arguments.quick)?);
        return Ok(());
    }
    let run = match &arguments.from {
        Some(path) => serde_json::from_str::<Run>(&fs::read_to_string(path)?)?,
        None => run::run(&plan(arguments)?, |line| eprintln!("{line}"))?,
    };
    if let Some(path) = &arguments.json {
        fs::write(path, serde_json::to_string(&run)?)?;
    }
    if let Some(path) = &arguments.report_svg {
        report::svg::write(&run, path)?;
    }
    // The two are expected side by side.
    let picture =
        arguments.report_svg.as_ref().and_then(|path| path.file_name()).and_then(|name| name.to_str());
    let text = report::markdown::text(&run, picture);
    match &arguments.report_md {
        Some(path) => fs::write(path, text)?,
        None => print!("{text}"),
    }
    eprintln!("{}", report::markdown::goals(&run));
    // A peer may fail, and the report says so.
    let rows = run.tables.iter().flat_map(|table| &table.rows);
    match rows.filter(|row| row.row.group == Group::Highwater).find_map(|row| row.failure.as_ref()) {
        Some(failure) => Err(format!("a row of highwater failed: {failure}").into()),
        None => Ok(()),
    }
}

fn plan(arguments: &Arguments) -> Result<Plan> {
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    Ok(Plan {
        workloads: run::workloads(&arguments.workloads)?,
        rows: arguments.rows.clone(),
        rounds: arguments.rounds,
        dir: arguments.dir.clone(),
        quick: arguments.quick,
        profile: arguments.profile,
        command,
    })
}
