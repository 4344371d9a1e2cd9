//! An embedded storage engine for streaming state.
//!
//! Every core of a program owns a shard of in-memory key→value state; every change goes to that core's write-ahead
//! log; epochs close over all cores; checkpoints are incremental; recovery rebuilds exactly
//!
//! ```text
//! state(now) = checkpoint(E) + WAL.replay(E .. now)
//! ```
//!
//! and says from where to read on: the offsets of the sources are part of what an epoch closes.
//!
//! # A job
//!
//! Departures are counted by airport, on two cores. Each core goes through all events and counts those whose key it owns, so
//! that the cores agree on how far they are. Nothing is kept between two events but the state in the engine: a process that
//! is killed anywhere goes on from the last closed epoch, and counts nothing twice. (The repository's example `flights` does
//! this with a year of real departures under `kill -9`.)
//!
//! ```
//! use highwater::{CoreHandle, Engine, Epoch, EpochMark, Offset, Opened, Options, RecoveryReport};
//!
//! const EVENTS: [&str; 8] = ["JFK", "LGA", "EWR", "JFK", "JFK", "EWR", "LGA", "JFK"];
//!
//! /// Counts the event if it is this core's.
//! fn count(engine: &Engine, core: &mut CoreHandle, airport: &str) -> highwater::Result<()> {
//!     let key = airport.as_bytes();
//!     if engine.core_of(key) == core.id() {
//!         let before = core.get(key)?.map_or(0, |value| value[0]);
//!         core.put(key, &[before + 1])?; // at memory speed: into the state, and into the log's open batch
//!     }
//!     Ok(())
//! }
//!
//! /// How many events the recovered state holds.
//! fn resume_at(report: &RecoveryReport, core: &CoreHandle) -> usize {
//!     match report.offsets.get(&(core.id(), "departures".to_owned())) {
//!         Some(Offset::Number(events)) => *events as usize,
//!         _ => 0,
//!     }
//! }
//!
//! /// Goes on with the events up to `end`, two to an epoch. When it returns, no crash loses them any more.
//! fn run(engine: &Engine, cores: &mut [CoreHandle], start: usize, end: usize) -> highwater::Result<()> {
//!     let mut closed = Epoch::default();
//!     for (number, events) in EVENTS[start..end].chunks(2).enumerate() {
//!         let read = start + 2 * number + events.len();
//!         for core in &mut *cores {
//!             for airport in events {
//!                 count(engine, core, airport)?;
//!             }
//!             closed = core.close_epoch(EpochMark::new().offset("departures", read as u64))?;
//!         }
//!     }
//!     engine.wait_durable(closed)
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = tempfile::tempdir()?;
//! # let directory = scratch.path().join("data");
//! let options = || Options::new(&directory).cores(2);
//!
//! let Opened { engine, mut cores, report } = Engine::open(options())?;
//! let start = resume_at(&report, &cores[0]);
//! run(&engine, &mut cores, start, 4)?;
//! count(&engine, &mut cores[0], "JFK")?; // an epoch that nobody closes
//! cores.iter_mut().for_each(CoreHandle::discard_open); // is gone, as it is after a crash
//! engine.close(cores)?;
//!
//! let Opened { engine, mut cores, report } = Engine::open(options())?;
//! let start = resume_at(&report, &cores[0]);
//! assert_eq!((report.epoch, start), (Epoch(2), 4)); // what was waited for, and not a put more
//! run(&engine, &mut cores, start, EVENTS.len())?;
//!
//! engine.checkpoint()?; // or leave it to the options: by time, by the log's size, by the time a recovery may take
//! let core = &cores[engine.core_of(b"JFK").index()];
//! assert_eq!(core.get(b"JFK")?.as_deref(), Some(&[4][..]));
//! engine.close(cores)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Where things are
//!
//! | to | there is |
//! |--|--|
//! | open a database, close epochs, wait, take checkpoints | [`Engine`], [`Options`] |
//! | change and read one core's keys, in one call or many at once, in order or not | [`CoreHandle`] |
//! | say how far sources were read, and the watermark | [`EpochMark`], [`Offset`] |
//! | know what came back | [`RecoveryReport`] |
//! | hold on to epochs, and open one of the past elsewhere | [`Engine::pin`], [`Options::keep_history`] |
//! | let rows be seen once outside of the database | [`sink`] |
//! | survive the loss of the machine | [`Options::remote`], [`mod@remote`] |
//! | prove that a database on disk is what was written | [`verify`](fn@verify) |
//! | read the stream of changes, as it was logged | [`logs_in`], [`wal::merged`] |
//! | have the log alone | [`wal`] |
//! | run it on a disk, a clock and a scheduler of your own | [`mod@env`], [`vfs`], [`Engine::open_in`] |
//! | test your program under crashes, seed by seed | module `sim`, with the feature of that name |
//!
//! # What a call promises
//!
//! A put is visible to its own core at once, and to nobody after a crash until its epoch has closed: on every core, and
//! durably. [`Engine::wait_durable`] returns then; [`CoreHandle::commit`] does both for one core. Calls are refused rather
//! than queued without bound: what [`ErrorKind::Busy`] or [`ErrorKind::Full`] refuses has changed nothing
//! ([`CoreHandle::put_many`] says how far it got, and a [`CoreHandle::commit`] may have ended the epoch), and
//! [`CoreHandle::ready`] waits for what passes by itself. Every [`ErrorKind`] says what the caller does next. After
//! [`ErrorKind::Failed`] reads go on; if [`Engine::check`] fails, too, nothing is acknowledged any more, and the database is to
//! be opened again.
//!
//! Threads of the engine's own write the logs and take checkpoints: a put takes no lock and makes no system call. With
//! [`Options::inline`] the core's own thread writes its log.

#[cfg(feature = "cli")]
pub mod cli;
pub mod env;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod remote;
#[cfg(feature = "sim")]
pub mod sim;
pub mod sink;
pub mod vfs;
pub mod wal;

mod checkpoint;
mod codec;
mod engine;
mod error;
mod forecast;
#[cfg(test)]
mod golden;
mod ids;
mod limits;
mod manifest;
mod meter;
mod offset;
mod offsite;
mod options;
mod parallel;
mod race;
mod recovery;
mod route;
mod state;
mod sync;
mod turns;
mod verify;

pub use engine::{
    CheckpointInfo, CheckpointStats, CoreHandle, CoreStats, Engine, EngineStats, EpochMark, Health, InDoubt,
    Key, Opened, PutManyError, Ready, RecoveryForecast, RemoteStats, RetainedEpoch, SinkStatus, Standing,
    Value,
};
pub use error::{Error, ErrorCode, ErrorKind, Result};
pub use ids::{
    CoreId, DatabaseId, Epoch, FencingToken, KeyGroup, Lsn, ManifestSeq, Nonce, SegmentNo, TimelineId,
};
pub use manifest::logs::logs_in;
pub use offset::Offset;
pub use offsite::RemoteStatus;
pub use options::{Backend, DurableWrite, Options};
pub use recovery::{RecoveryReport, SkippedCheckpoint, Tail};
pub use route::Route;
pub use sink::Sink;
pub use verify::{
    Damage, DamageKind, Proof, StateDigest, VerifiedEpoch, VerifiedLog, VerifyOptions, VerifyProgress,
    VerifyReport, verify, verify_in,
};

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
