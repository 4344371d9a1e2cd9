//! Checkpoints that leave the machine: stories of machines that are lost, of writers that wake up too late, and of
//! stores that do not answer. What one machine does with an object store, life after life, is the profile `remote`.

#![expect(clippy::unwrap_used, reason = "a scenario says what it expects")]

mod fencing;
mod keeping;
mod objects;
mod restoring;
mod rig;
mod storms;

use crate::Test;

/// Every list of tests.
pub(crate) const SUITES: [&[Test]; 5] =
    [fencing::TESTS, keeping::TESTS, objects::TESTS, restoring::TESTS, storms::TESTS];
