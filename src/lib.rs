//! An embedded storage engine for streaming state.
//!
//! Every core of a program owns a shard of in-memory key→value state; every change goes to that core's write-ahead
//! log; epochs close over all cores; checkpoints are incremental; recovery rebuilds exactly
//!
//! ```text
//! state(now) = checkpoint(E) + WAL.replay(E .. now)
//! ```
//!
//! ```no_run
//! use highwater::{Engine, EpochMark, Opened, Options};
//!
//! # fn main() -> Result<(), highwater::Error> {
//! let Opened { engine, mut cores, report } = Engine::open(Options::new("data"))?;
//! println!("{report}");
//! cores[0].put(b"balance", b"100")?;
//! cores[0].commit_with(EpochMark::new().offset("orders", 42))?; // no crash loses it any more
//! engine.close(cores)?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Engine`] opens a database, [`CoreHandle`] is one core of it, [`RecoveryReport`] says what came back.
//! [`wal`] is the log as a product of its own. [`env`](mod@env) and [`vfs`] are the seams through which everything
//! passes; with feature `sim`, `sim` implements them with a model of what disks, clocks and schedulers may do.

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
mod ids;
mod limits;
mod manifest;
mod offset;
mod offsite;
mod options;
mod parallel;
mod race;
mod recovery;
mod route;
mod state;
mod turns;
mod verify;

pub use engine::{
    CheckpointInfo, CoreHandle, Engine, EpochMark, Health, InDoubt, Key, Opened, PutManyError, Ready,
    RecoveryForecast, RetainedEpoch, SinkStatus, Standing, Value,
};
pub use error::{Error, ErrorKind, Result};
pub use ids::{
    CoreId, DatabaseId, Epoch, FencingToken, KeyGroup, Lsn, ManifestSeq, Nonce, SegmentNo, TimelineId,
};
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
