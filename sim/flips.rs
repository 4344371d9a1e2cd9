//! I7 for single bytes: every byte of a small closed database is damaged in turn. The database opens with exactly its
//! state, or refuses with a typed error that names a file, and then nothing on disk has changed. Wrong data and panics
//! are never among the outcomes; nor is loss, because a closed database has proven all that it holds.
//!
//! `verify` names the file whenever an open is refused, and whenever it is one of a checkpoint; it blames no other.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use highwater::sim::{
    Disk, Executor, FaultPlan, Handle, Personality, SimDisk, SimEnv, Simulator, Streams, Trace,
};
use highwater::{Engine, EpochMark, Error, ErrorKind, Opened, Options, VerifyOptions};

use crate::fanout::words_of;
use crate::{Test, audit};

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![no_damaged_byte_is_ever_believed,];

/// Of the bytes that are zero, most of them behind the last frame, one in so many is damaged.
const ZEROES_STRIDE: usize = 7;

const EPOCHS: u64 = 12;

fn options() -> Options {
    Options::new("/data")
        .cores(2)
        .segment_bytes(16 << 10)
        .batch_bytes(1 << 10)
        .queue_bytes(16 << 10)
        .checkpoint_interval(None)
        .write_unit_bytes(512)
}

/// What an open shows: everything that a user could see.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    epoch: u64,
    offsets: String,
    values: Vec<BTreeMap<Vec<u8>, Vec<u8>>>,
}

/// Runs `with` beside a fresh simulation of `disk`; returns its result and the disk behind it.
fn on<T, F: Future<Output = T>>(
    disk: Disk,
    boot: u64,
    with: impl FnOnce(SimEnv<highwater::sim::SimVfs>) -> F,
) -> (T, Disk) {
    let ran = Simulator::new(boot).run(|handle: Handle| async move {
        let executor: Arc<dyn Executor> = Arc::new(handle);
        let streams = Streams::new(boot);
        let disk = SimDisk::new(disk, executor.clone(), &streams, FaultPlan::none(), Trace::silent());
        let result = with(SimEnv::new("flips", executor, disk.vfs(), &streams)).await;
        (result, disk.disk())
    });
    ran.unwrap_or_else(|stuck| panic!("the run is stuck: {stuck}"))
}

/// A closed database with a checkpoint and epochs behind it.
fn sample() -> Disk {
    // Two lives, so that the head is a manifest without which a life is lost.
    let (first, disk) = on(Disk::new(Personality::default()), 1, |env| work(env, 1..=EPOCHS - 4));
    first.expect("nothing fails on a healthy disk");
    let (second, disk) = on(disk, 4, |env| work(env, EPOCHS - 3..=EPOCHS));
    second.expect("nothing fails on a healthy disk");
    // Everything that is still pending is on the platter: this is damage at rest and no crash.
    disk.images(0, 0).next().expect("the image with nothing lost")
}

/// Works in the given epochs, with a checkpoint after the fourth, and closes.
async fn work(env: SimEnv<highwater::sim::SimVfs>, epochs: RangeInclusive<u64>) -> Result<(), Error> {
    let Opened { engine, mut cores, .. } = Engine::open_in(env, options()).await?;
    for epoch in epochs {
        for index in 0..8_u64 {
            let key = (epoch * 5 + index) % 30;
            let core = engine.core_of(&key.to_le_bytes()).index();
            cores[core].put(&key.to_le_bytes(), &[u8::try_from(epoch).expect("a few"); 40])?;
        }
        let mut ended = None;
        for core in &mut cores {
            ended = Some(core.close_epoch(EpochMark::new().offset("source", epoch))?);
        }
        engine.durable(ended.expect("two cores")).await?;
        if epoch == 4 {
            engine.checkpoint_async().await?;
        }
    }
    engine.close_async(cores).await
}

async fn show(env: SimEnv<highwater::sim::SimVfs>) -> Result<Shown, Error> {
    let Opened { cores, report, .. } = Engine::open_in(env, options()).await?;
    let mut values = Vec::new();
    for core in &cores {
        let entries: Result<_, Error> = core
            .scan_prefix(b"")
            .map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())))
            .collect();
        values.push(entries?);
    }
    Ok(Shown { epoch: report.epoch.0, offsets: format!("{:?}", report.offsets), values })
}

/// Every byte that is damaged: the file, the offset, the byte that is there.
fn places(disk: &Disk) -> Vec<(PathBuf, usize, u8)> {
    let mut places = Vec::new();
    for (path, len) in disk.tree() {
        if len.is_none() {
            continue;
        }
        let path = PathBuf::from("/").join(path);
        let bytes = disk.read_file(&path).expect("it was listed");
        let damaged =
            bytes.iter().enumerate().filter(|(at, byte)| **byte != 0 || at.is_multiple_of(ZEROES_STRIDE));
        places.extend(damaged.map(|(at, byte)| (path.clone(), at, *byte)));
    }
    places
}

fn no_damaged_byte_is_ever_believed() {
    let disk = sample();
    let whole = on(disk.clone(), 2, show).0.expect("the database opens");
    assert_eq!(whole.epoch, EPOCHS);
    let places = places(&disk);
    let (next, refused, failed) = (AtomicUsize::new(0), AtomicU64::new(0), std::sync::Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((path, at, byte)) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut damaged = disk.clone();
                    let bit = 1 << (at % 8);
                    damaged.scribble(path, *at as u64, &[byte ^ bit]).expect("the file is there");
                    match judge(&damaged, &whole).and_then(|refused| verified(&damaged, path, refused)) {
                        Ok(was_refused) => drop(refused.fetch_add(u64::from(was_refused), Ordering::Relaxed)),
                        Err(why) => {
                            let story = format!("{} at {at}, bit {bit:#04x}: {why}", path.display());
                            failed.lock().expect("no thread panics").push(story);
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no thread panics");
    println!("{} bytes damaged, {} refused", places.len(), refused.into_inner());
    assert!(
        failed.is_empty(),
        "{} damaged bytes were believed:\n{}",
        failed.len(),
        failed[..failed.len().min(20)].join("\n")
    );
}

/// Whether the damaged database was refused; why if the outcome is none of those allowed.
fn judge(damaged: &Disk, whole: &Shown) -> Result<bool, String> {
    let hash = damaged.hash();
    let shown = catch_unwind(AssertUnwindSafe(|| on(damaged.clone(), 3, show)));
    let (shown, after) = shown.map_err(|panic| words_of(panic.as_ref()))?;
    match shown {
        Ok(shown) if shown == *whole => Ok(false),
        Ok(shown) => Err(format!("opened with another state, of epoch {}", shown.epoch)),
        Err(error) if error.path().is_none() => Err(format!("refused without a place: {error}")),
        Err(error) if after.hash() != hash => Err(format!("refused, and changed the disk: {error}")),
        Err(error) => match error.kind() {
            ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::Invalid => Ok(true),
            kind => Err(format!("refused as {kind}: {error}")),
        },
    }
}

/// `refused` again, if verification says the same about a byte of `path`; else why not.
fn verified(damaged: &Disk, path: &Path, refused: bool) -> Result<bool, String> {
    let verify = || audit::verify(damaged.clone(), "/data", VerifyOptions::new());
    let report = catch_unwind(AssertUnwindSafe(verify)).map_err(|panic| words_of(panic.as_ref()))?;
    let report = report.map_err(|error| format!("verify says: {error}"))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let other = report.damage.iter().find(|damage| !damage.to_string().contains(&*name));
    let must_be_found = refused || path.starts_with("/data/f");
    match other {
        Some(damage) => Err(format!("verify blames another file: {damage}")),
        None if must_be_found && report.is_sound() => Err("verify finds nothing".to_owned()),
        None => Ok(refused),
    }
}
