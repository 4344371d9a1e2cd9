//! The contract of the disk seam, on every backend that runs here.

#![cfg(feature = "sim")]
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![expect(clippy::print_stdout, reason = "a test says what it did not run")]

mod broken;
mod differential;

use std::num::NonZeroUsize;
use std::panic::catch_unwind;
use std::path::Path;

use highwater::env::{Blocking, Env, StdEnv, SystemEnv};
use highwater::vfs::{MemoryVfs, ObfuscatedVfs, StdVfs, SystemVfs, Vfs, contract};
use highwater::{Backend, DurableWrite};

use broken::{BrokenVfs, FLAWS};

const FORMS: [DurableWrite; 5] = [
    DurableWrite::Auto,
    DurableWrite::Cached,
    DurableWrite::CachedDsync,
    DurableWrite::Direct,
    DurableWrite::DirectDsync,
];

/// io_uring for everything, however small; none where it does not work.
fn uring(form: DurableWrite) -> Option<SystemVfs> {
    match SystemVfs::new(Backend::Uring, form) {
        Ok(vfs) => Some(vfs.pipelined_from(0)),
        Err(error) => {
            println!("NOT RUN: {error}");
            None
        }
    }
}

fn check(vfs: impl Vfs) {
    let dir = tempfile::tempdir().unwrap();
    StdEnv.block_on(contract::check(vfs, dir.path()));
}

#[test]
fn std_keeps_the_contract() {
    check(StdVfs);
}

#[test]
fn every_form_of_durable_write_keeps_the_contract() {
    for form in FORMS {
        check(SystemVfs::new(Backend::Std, form).unwrap());
    }
}

#[test]
fn io_uring_keeps_the_contract() {
    for vfs in FORMS.into_iter().filter_map(uring) {
        check(vfs);
        check(vfs.pipelined_from(5_000));
        check(ObfuscatedVfs::new(vfs, NonZeroUsize::new(512).unwrap()));
    }
}

#[test]
fn memory_keeps_the_contract() {
    let check = |vfs: MemoryVfs| StdEnv.block_on(contract::check(vfs, Path::new("/")));
    check(MemoryVfs::new());
    let odd = ObfuscatedVfs::new(MemoryVfs::new(), NonZeroUsize::new(7).unwrap());
    StdEnv.block_on(contract::check(odd, Path::new("/")));
}

/// What `Engine::open` takes, for each backend.
#[test]
fn either_disk_keeps_the_contract() {
    let memory = SystemEnv::new(Backend::Memory, DurableWrite::Auto).unwrap();
    StdEnv.block_on(contract::check(memory.vfs().unwrap(), Path::new("/")));
    check(SystemEnv::new(Backend::Auto, DurableWrite::Auto).unwrap().vfs().unwrap());
}

#[test]
fn obfuscated_std_keeps_the_contract() {
    check(ObfuscatedVfs::new(StdVfs, NonZeroUsize::new(7).unwrap()));
}

#[test]
fn one_byte_at_a_time_keeps_the_contract() {
    check(ObfuscatedVfs::new(StdVfs, NonZeroUsize::MIN));
}

/// A suite that nothing can fail proves nothing.
#[test]
fn every_broken_backend_is_refused() {
    check(BrokenVfs(None));
    for flaw in FLAWS {
        let refused = catch_unwind(|| check(BrokenVfs(Some(flaw)))).is_err();
        assert!(refused, "the suite accepts {flaw:?}");
    }
}
