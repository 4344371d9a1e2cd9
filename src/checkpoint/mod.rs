//! Checkpoints: state as files of records in key order, and the merging that keeps the chain of files short.
//!
//! ```text
//! log records of an epoch range ─► delta::DeltaBuilder ─► delta file(s) ─┐
//!                                       base file + delta files ─► merge ┴─► base file      policy: when
//! ```
//!
//! C1. A file is written once, under a name that never existed, and synced before a manifest names it.
//! C2. Of records with one key in a core's files, the one in the later file of the manifest's list wins. A `Clear`
//!     opens its file and voids every earlier one of the core.
//! C3. A base holds puts only, each key once, the whole state as of its last epoch.
//! C4. A record leaves this module only after its block's checksums, its place in the key order and its kind were
//!     checked. A whole file is good only if the reader reached its end without an error.
//! C5. Memory is bounded by the budgets given, and besides by what is open: a block and at most four chunks (256 KiB each) of
//!     a file that is read, few of them where many are; about eight chunks (1 MiB each) and its index (at most 1 GiB, less than
//!     a hundredth of the file as a rule) of one that is written. A block is 64 KiB, or one record.
//!
//! `file` is the format's fixed parts, `block` its blocks and index, `footer` its counts and digests.

pub(crate) mod block;
mod checkpointer;
mod chunk;
pub(crate) mod delta;
mod distribution;
pub(crate) mod file;
mod follower;
pub(crate) mod footer;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod job;
pub(crate) mod merge;
mod pace;
pub(crate) mod policy;
mod queue;
pub(crate) mod reader;
mod retention;
mod rewrites;
mod tap;
pub(crate) mod writer;

#[cfg(test)]
mod tests;

pub(crate) use checkpointer::{CheckpointSpec, Checkpointer, Taken};
pub(crate) use reader::FileReader;
pub(crate) use retention::Bounds;
pub(crate) use tap::Tap;

use std::fmt;
use std::rc::Rc;

use crate::codec::{key_group, key_hash};
use crate::ids::KeyGroup;
use crate::route::Route;

/// The group of a key.
pub(crate) type GroupOf = Rc<dyn Fn(&[u8]) -> KeyGroup>;

/// Which key group a key is in: the hash, seed and route of IDENT, for the digests of bases.
#[derive(Clone)]
pub(crate) struct Grouping {
    /// Count of groups.
    pub(crate) groups: u16,
    /// The group of a key, below `groups`.
    pub(crate) group_of: GroupOf,
}

impl Grouping {
    /// As the engine groups the keys of a database with this hash seed and route, in `groups` groups.
    pub(crate) fn of(hash_seed: u64, route: Route, groups: u16) -> Self {
        Self { groups, group_of: Rc::new(move |key| key_group(key_hash(hash_seed, route.of(key)), groups)) }
    }
}

impl fmt::Debug for Grouping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grouping({})", self.groups)
    }
}
