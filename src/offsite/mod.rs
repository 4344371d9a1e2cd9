//! A database's checkpoints in an object store: how they get there, who may put them there, and the way back.
//!
//! ```text
//! STORE             who the database is, created once                                  identity.rs
//! m/{number:020}    manifests, created once; the greatest is the head                  chain.rs, stored.rs
//! b/{mark:020}      mark k: every manifest number up to k × stride is dead             chain.rs
//! f/{token}-…       checkpoint files under the names that they have locally            transfer.rs
//! probe/…           what an open tried
//!
//! checkpoint landed locally ─► Mirror ─► files up, those that are not there ─► manifest ─► marks ─► removals   uploader.rs,
//!                                                                                                              collect.rs
//! empty directory ─► fence (a manifest with a new token) ─► files down ─► a first life ─► manifest 1           restore.rs
//! ```
//!
//! O1. A manifest names only files that are in the store, whole, before it is created.
//! O2. A writer creates only the number after the head that its manifest was made from. So its manifest landing *is* the proof
//!     that nobody else wrote since.
//! O3. A number that is dead by a mark is nothing, whatever is found or created under it. A mark lands before the
//!     numbers that it kills are freed, and marks are never removed: a writer that sleeps through all of that creates a freed
//!     number, looks at the mark, and knows.
//! O4. An outcome that is not known is no failure: the same bytes are put again until it is, and nothing is built upon
//!     either answer before.
//! O5. What a landed manifest of this writer has retired is removed, and what no manifest names or ever will. Age is
//!     no argument. A removal by a writer that was fenced meanwhile is harmless: what it removes is dead for its successor
//!     too.
//! O6. Nothing rests on a listing but what to try first, and which orphans there are.
//! O7. A manifest in the store is written as a restored directory begins: one life, the writer's, whose log holds nothing
//!     but the end of the newest checkpoint's epoch. Logs stay on their machine.
//! O8. A file is removed only when its writer's directory does not name it any more, and a directory never names again what it
//!     has given up (K1): so no name that was removed is ever put again, and a removal that comes late hits nothing.

mod chain;
pub(crate) mod collect;
mod identity;
mod mirror;
mod restore;
mod stored;
mod transfer;
mod uploader;

#[cfg(test)]
mod tests;

pub(crate) use chain::{Found, Landing, Site};
pub(crate) use identity::StoreId;
pub use mirror::RemoteStatus;
pub(crate) use mirror::{Lag, Mirror};
pub(crate) use restore::restore;
pub(crate) use stored::{Content, Writer, stored};
pub(crate) use uploader::{Uploader, fenced};

/// The object of a checkpoint file.
pub(crate) fn file_name(name: &crate::manifest::FileName) -> String {
    format!("f/{name}")
}

/// The object of a manifest.
fn manifest_name(seq: crate::ids::ManifestSeq) -> String {
    format!("m/{:020}", seq.0)
}

/// The object of a boundary mark.
fn mark_name(mark: u64) -> String {
    format!("b/{mark:020}")
}
