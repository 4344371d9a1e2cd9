//! An embedded storage engine for streaming state.

pub mod env;
#[cfg(feature = "sim")]
pub mod sim;
pub mod vfs;
pub mod wal;

mod checkpoint;
mod codec;
mod error;
mod ids;
mod limits;
mod manifest;
mod offset;
mod race;
mod route;

pub use error::{Error, ErrorKind, Result};
pub use ids::{
    CoreId, DatabaseId, Epoch, FencingToken, KeyGroup, Lsn, ManifestSeq, Nonce, SegmentNo, TimelineId,
};
pub use offset::Offset;
pub use route::Route;
