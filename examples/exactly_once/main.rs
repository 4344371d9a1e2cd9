//! Every departure of a year in a sink, once: the job is killed at every phase of the two-phase commit, and in the end no row
//! is lost and none is there twice.
//!
//! ```sh
//! cargo run --release --example exactly_once
//! cargo run --release --example exactly_once --features postgres -- --postgres postgres://user@host/database
//! ```
//!
//! The job (`job.rs`) goes through 336,776 flights (those of the example `flights`), counts them in the engine and writes a
//! row for each to a sink: files by default. The sink is watched (`watched.rs`): at the phase that its parent (`parent.rs`)
//! has named, the job stops, and is killed there with SIGKILL. `count.rs` reads what the sink shows in the end.
//!
//! With `--postgres` the rows go to the table `highwater_departures`, which is made anew. The server needs
//! `max_prepared_transactions`.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a user's program, not the engine"
)]

mod count;
mod job;
mod parent;
#[path = "../flights/source.rs"]
#[allow(dead_code, reason = "shared with an example that uses all of it")]
mod source;
mod watched;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::Parser;
use highwater::sink::FileSink;
#[cfg(feature = "postgres")]
use highwater::sink::PostgresSink;

use source::Flights;
use watched::{Stop, Watch};

/// Writes 336,776 real departures to a sink, kills the job at every phase of the commit, and counts the rows.
#[derive(Debug, Parser)]
struct Args {
    /// The PostgreSQL server that the rows go to [default: files]
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,

    /// Where to make the directory of the database [default: the system's directory for temporary files]
    #[arg(long)]
    dir: Option<PathBuf>,

    /// The program starts itself as the job; `--dir` is its home then
    #[arg(long, hide = true, requires = "dir")]
    job: bool,

    /// Where the job stops
    #[arg(long, hide = true)]
    stop: Option<String>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("exactly_once: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `false` when a row is lost, or there twice.
fn run(args: &Args) -> Result<bool, Box<dyn Error>> {
    if let (true, Some(home)) = (args.job, &args.dir) {
        let stop = args.stop.as_deref().map(|word| Stop::of_word(word).ok_or("no such phase")).transpose()?;
        job(home, args.postgres.as_deref(), &Watch::new(stop))?;
        return Ok(true);
    }
    let began = Instant::now();
    let mut prefix = tempfile::Builder::new();
    let prefix = prefix.prefix("highwater-exactly-once-");
    let home = match &args.dir {
        Some(dir) => prefix.tempdir_in(dir),
        None => prefix.tempdir(),
    }?;
    if let Some(url) = &args.postgres {
        table::make(url)?;
    }
    let program = std::env::current_exe()?;
    let killed = parent::run(&parent::plan(), |stop| {
        let mut command = Command::new(&program);
        command.arg("--job").arg("--dir").arg(home.path());
        if let Some(url) = &args.postgres {
            command.arg("--postgres").arg(url);
        }
        if let Some(stop) = stop {
            command.arg("--stop").arg(stop.to_word());
        }
        command
    })?;
    let text = match &args.postgres {
        Some(url) => table::read(url)?,
        None => files(home.path())?,
    };
    let flights = Flights::load()?;
    let count = count::count(&flights, &text);
    let kills: u64 = killed.kills.values().sum();
    println!("{} departures, {kills} kills: {:?}", flights.rows.len(), killed.kills);
    println!(
        "{} lives, the last one from epoch {}",
        killed.lives.len(),
        killed.lives.last().map_or("-", |life| life)
    );
    println!("took {:.1?}", began.elapsed());
    if count.wrong > 0 {
        println!("rows that nobody wrote: {}", count.wrong);
    }
    println!("rows lost: {}, rows twice: {}", count.lost, count.twice);
    Ok(count == count::Count::default())
}

fn job(home: &Path, postgres: Option<&str>, watch: &Watch) -> Result<(), Box<dyn Error>> {
    let data = home.join("data");
    match postgres {
        None => {
            let sink = FileSink::new(home.join("rows"));
            job::run(&data, sink.clone(), &|core, row| sink.write(core, row), watch)
        }
        #[cfg(feature = "postgres")]
        Some(url) => {
            let sink = PostgresSink::new(url, "COPY highwater_departures FROM STDIN")?;
            job::run(&data, sink.clone(), &|core, row| sink.write(core, row), watch)
        }
        #[cfg(not(feature = "postgres"))]
        Some(_) => Err("build with --features postgres".into()),
    }
}

/// What anybody reads who takes the published files in order.
fn files(home: &Path) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    for folder in fs::read_dir(home.join("rows"))? {
        for file in fs::read_dir(folder?.path())? {
            let path = file?.path();
            if path.extension().is_some_and(|end| end == "rows") {
                text.push_str(&fs::read_to_string(path)?);
            }
        }
    }
    Ok(text)
}

#[cfg(feature = "postgres")]
mod table {
    use std::error::Error;
    use std::io::Read;

    use postgres::{Client, NoTls};

    /// Makes the table anew.
    pub(crate) fn make(url: &str) -> Result<(), Box<dyn Error>> {
        let columns = "number bigint, minute integer, carrier text, origin text, dest text";
        let make = format!(
            "DROP TABLE IF EXISTS highwater_departures; CREATE TABLE highwater_departures ({columns})"
        );
        Ok(Client::connect(url, NoTls)?.batch_execute(&make)?)
    }

    /// All rows, as they were written.
    pub(crate) fn read(url: &str) -> Result<String, Box<dyn Error>> {
        let mut text = String::new();
        Client::connect(url, NoTls)?
            .copy_out("COPY highwater_departures TO STDOUT")?
            .read_to_string(&mut text)?;
        Ok(text)
    }
}

#[cfg(not(feature = "postgres"))]
mod table {
    use std::error::Error;

    pub(crate) fn make(_: &str) -> Result<(), Box<dyn Error>> {
        Err("build with --features postgres".into())
    }

    pub(crate) fn read(_: &str) -> Result<String, Box<dyn Error>> {
        Err("build with --features postgres".into())
    }
}
