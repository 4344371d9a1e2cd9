//! The contract of the disk seam, on every backend that runs here.

#![cfg(feature = "sim")]
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod broken;

use std::num::NonZeroUsize;
use std::panic::catch_unwind;

use highwater::env::{Blocking, StdEnv};
use highwater::vfs::{ObfuscatedVfs, StdVfs, Vfs, contract};

use broken::{BrokenVfs, FLAWS};

fn check(vfs: impl Vfs) {
    let dir = tempfile::tempdir().unwrap();
    StdEnv.block_on(contract::check(vfs, dir.path()));
}

#[test]
fn std_keeps_the_contract() {
    check(StdVfs);
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
