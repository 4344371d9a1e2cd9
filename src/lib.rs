//! An embedded storage engine for streaming state.

pub mod env;
pub mod vfs;

mod codec;
mod error;
mod ids;
mod limits;

pub use error::{Error, ErrorKind, Result};
pub use ids::{
    CoreId, DatabaseId, Epoch, FencingToken, KeyGroup, Lsn, ManifestSeq, Nonce, SegmentNo, TimelineId,
};
