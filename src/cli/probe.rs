//! `highwater probe`.

use std::io;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use serde_json::json;

use super::console::Console;
use super::{Exit, Failure, Outcome};
use crate::env::{Blocking, Clock, Entropy, Env, SystemEnv};
use crate::options::{Backend, DurableWrite};
use crate::vfs::{File, SystemVfs, Vfs};

/// Try out what this machine's disk can do: io_uring, direct I/O, and how long a durable write takes in each form.
///
/// Creates one file in the folder, writes to it for a moment, and removes it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A folder on the device that databases will be on.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Durable writes of each form; the median counts.
const WRITES: u64 = 16;

/// Bytes of each.
const WRITE_BYTES: u32 = 4096;

const FORMS: [(&str, DurableWrite); 5] = [
    ("Auto", DurableWrite::Auto),
    ("Cached", DurableWrite::Cached),
    ("CachedDsync", DurableWrite::CachedDsync),
    ("Direct", DurableWrite::Direct),
    ("DirectDsync", DurableWrite::DirectDsync),
];

pub(super) fn run(args: &Args, console: &mut Console) -> Outcome {
    let uring = SystemVfs::new(Backend::Uring, DurableWrite::Auto).err();
    let mut forms = Vec::new();
    let (mut unit, mut depth) = (0, 0);
    for (name, form) in FORMS {
        let env = SystemEnv::new(Backend::Auto, form).map_err(|error| failure(&args.folder, &error))?;
        let measured = env.block_on(measure(&env, &args.folder));
        let measured = measured.map_err(|error| failure(&args.folder, &error))?;
        (unit, depth) = (measured.unit, measured.depth);
        forms.push((name, measured.median_us));
    }
    if args.json {
        let forms: Vec<_> = forms.iter().map(|(name, us)| json!({ "form": name, "median_us": us })).collect();
        console.json(&json!({
            "io_uring": uring.is_none(),
            "why_not": uring.map(|error| error.to_string()),
            "write_unit_bytes": unit,
            "depth_max": depth,
            "durable_writes": forms,
        }))?;
        return Ok(Exit::Fine);
    }
    match uring {
        None => console.line("io_uring: works")?,
        Some(error) => {
            console.line(format!("io_uring: does not work here ({error}); plain calls are used"))?;
        }
    }
    console.line(format!("write unit: {unit} bytes; worth having in flight: {depth}"))?;
    let rows: Vec<_> = forms.iter().map(|(name, us)| vec![(*name).to_owned(), us.to_string()]).collect();
    console.table(&["durable write of 4 KiB", "median us"], &rows)?;
    Ok(Exit::Fine)
}

fn failure(folder: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Unwritten, format!("{}: {error}", folder.display()))
}

struct Measured {
    unit: u32,
    depth: usize,
    median_us: u64,
}

async fn measure(env: &SystemEnv, folder: &Path) -> io::Result<Measured> {
    let vfs = env.vfs()?;
    let path = folder.join(format!("probe.{}.tmp", env.entropy().nonce()));
    let file = vfs.create_new(&path).await?;
    let measured = write(env, &file).await;
    drop(file);
    let removed = vfs.remove(&path).await;
    let measured = measured?;
    removed.map(|()| measured)
}

async fn write<F: File>(env: &SystemEnv, file: &F) -> io::Result<Measured> {
    let bytes = u64::from(WRITE_BYTES);
    // Over bytes that are there, as a log writes.
    let zeroes = BytesMut::zeroed(WRITE_BYTES as usize).freeze();
    for number in 0..WRITES {
        file.write_at(number * bytes, zeroes.clone()).await?;
    }
    file.sync_data().await?;
    let mut took = Vec::new();
    for number in 0..WRITES {
        let data = Bytes::from(vec![0xA5; WRITE_BYTES as usize]);
        let begun = env.clock().now();
        file.write_at_and_sync(number * bytes, data).await?;
        took.push(env.clock().now().since(begun));
    }
    took.sort_unstable();
    let median = took.get(took.len() / 2).copied().unwrap_or_default();
    let median_us = u64::try_from(median.as_micros()).unwrap_or(u64::MAX);
    Ok(Measured { unit: file.write_unit(), depth: file.depth_max(), median_us })
}
