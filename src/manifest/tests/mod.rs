//! Tests of manifests, over a disk in memory.

pub(crate) mod disk;
pub(crate) mod samples;

mod codec;
pub(crate) mod format_page;
mod gc;
mod ident;
mod kept;
mod opening;
mod store;
