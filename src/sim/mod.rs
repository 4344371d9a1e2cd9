//! The simulator: your program, or this engine, on a simulated disk, clock and scheduler, every choice of which comes
//! from one seed.
//!
//! ```text
//! Machine     disk, clock and process in one                     machine
//! Shrinker    what a failure does not need is taken away         shrink
//! Simulator   runs tasks of nodes (processes) in virtual time     runner, queue, node, choices
//! SimDisk     a disk that does what disks may do                  disk, vfs, faults, ledger, personality
//! SimClock    time with faults                                    clock
//! SimStore    an object store that does what those may do         store
//! Streams     independent randomness by name                      rng
//! Trace       the digest of a run and its last lines              trace
//! SimEnv      all of it as an Env                                 env
//! ```
//!
//! # What the disk may do
//!
//! Bytes live in a page cache until a sync, names until a sync of their directory. A *process crash* leaves the cache
//! to the next process: unsynced changes are still there, and still unsynced. A *power loss* decides for each unsynced
//! change on its own:
//!
//! | | a power loss may leave | because |
//! |--|--|--|
//! | a sector of 512 bytes | what the platter had, or any version written since the last sync | unsynced writes lost, torn writes, reordering within and across files, write-back |
//! | a sector being overwritten | neither old nor new bytes, in all of its write unit, unless overwrites are power-safe | torn sector |
//! | a file's length | the platter's, or any that it had since, whatever becomes of its bytes | size and data diverge, a cut that did not last |
//! | what a longer file gained, unwritten | zeroes; or stale bytes, of another file or of nobody | stale extension |
//! | a name: created, linked, removed | there or not, each on its own; a removed one comes back | directory entry lost without a directory sync |
//! | a rename | whole or not at all: new name there and old one gone, or neither; a replaced file is the old or the new one | journaled rename |
//!
//! A name persists only with the earlier changes of the same name, and what is durable is never undone. A sync of a file
//! says nothing about its name, a sync of a directory nothing about bytes or about the directory's own name. Nothing
//! follows from an order in which changes were made, unless the disk is [`Order::PrefixOrdered`]: then a power
//! loss leaves everything up to a moment, the last change torn.
//!
//! Writes in flight at a crash count as unsynced, also those whose future was dropped.
//!
//! # Failing syncs
//!
//! After a failed sync its changes stay pending, or some are lost, or all. What is lost is clean in the cache: a read
//! finds it there ([`AfterFailedSync`] says what), after a process crash too, the next sync says `Ok`, and the platter
//! never sees it. Directories do the same. The sync of one write (`write_at_and_sync`) that fails may lose what the cache
//! holds of the file's other writes as well, whose own syncs then say `Ok`, unless failures are own
//! ([`Personality::failures_are_own`]). The news of a sync that failed may come later than those of one that ended behind it.
//!
//! # In contract and out of it
//!
//! In contract, to be survived exactly: everything above, and [`FaultClass`]es from `WriteBack` to `Stall`: failing syncs,
//! writes and reads, short and interrupted calls, a full device whose space comes back, latency and stalls. Out of
//! contract, to be detected and named: syncs that lie (on a lying device), bit rot, misdirected writes and reads,
//! latent sector errors; and what the caller does to a disk: [`Damage`] at rest ([`SimDisk::damage`]), locks that are
//! lost ([`SimDisk::lose_locks`]). [`FaultClass::in_contract`] tells them apart, and the [`Ledger`] has every fault
//! that was injected.
//!
//! # Using it
//!
//! [`guide`] goes from "my program takes an [`Env`](crate::env::Env)" to a recorded seed, step by step. A [`Machine`] is all
//! that a program of one process needs; [`Shrinker`] makes a failure small.
//!
//! Underneath, [`SimDisk`] runs a [`Disk`] under an [`Executor`] and makes the [`SimVfs`] of each process.
//! [`Disk`] alone is a value: copy it at any call ([`SimDisk::on_boundary`]) for the price of its pointers, and ask
//! [`Disk::images`] what a power loss at that moment may leave. A [`Witness`] follows a real file system, and says whether
//! what was found there after a power loss is allowed here. Everything is drawn from named streams of one seed:
//! the same seed does the same things.

#[doc = include_str!("../../docs/simulate-your-app.md")]
pub mod guide {}

mod choices;
mod clock;
mod disk;
mod env;
mod executor;
mod faults;
mod ledger;
mod machine;
mod node;
mod personality;
mod queue;
mod rng;
mod runner;
mod shrink;
mod store;
mod trace;
mod vfs;

pub use choices::{Choices, Deviation, Fit, Tape};
pub use clock::{ClockFaults, SimClock};
pub use disk::{
    Act, Aftermath, Begun, Crash, Damage, Disk, FileFate, FoundTree, Hit, Images, NameFate, SectorFate,
    Witness,
};
pub use env::{SimEntropy, SimEnv, SimSpawn};
pub use executor::{Executor, LocalFuture, yield_now};
pub use faults::{FaultClass, FaultPlan, Firing, Latency};
pub use ledger::{Injected, Ledger};
pub use machine::{Hardware, Machine};
pub use node::{Handle, Node};
pub use personality::{AfterFailedSync, Order, Personality};
pub use rng::{Stream, Streams};
pub use runner::{Simulator, Stuck};
pub use shrink::{Shrinker, caught, minimize};
pub use store::{SimStore, StoreClient, StoreEffect, StoreFault, StoreFaults, StoreHook, StoreImage};
pub use trace::Trace;
pub use vfs::{
    BoundaryHook, BoundaryInfo, CrashHook, DeadCalls, LockHook, Phase, SimDisk, SimFile, SimLock, SimVfs,
};

use crate::sync::lock;
