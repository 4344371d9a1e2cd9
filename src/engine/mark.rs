//! What a core says when it ends an epoch.

use crate::codec::EpochEnd;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{Epoch, FencingToken};
use crate::limits::{OFFSET_BYTES_MAX, OFFSET_NAME_BYTES_MAX};
use crate::offset::Offset;

/// The source offsets and the watermark that belong to the records of an epoch: after a crash they come back
/// together with them, or not at all.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct EpochMark {
    offsets: Vec<(String, Offset)>,
    watermark: Option<i64>,
}

impl EpochMark {
    /// A mark that says nothing: offsets and watermark stay what they were.
    pub fn new() -> Self {
        Self::default()
    }

    /// The source `name` has been read up to `offset`. Kept per core and name until overwritten; of two calls with the
    /// same name the later counts. A name has at most 255 bytes, an opaque offset 1,024, and a core keeps 256 names: the
    /// end of an epoch that goes beyond is `Invalid`.
    pub fn offset(mut self, name: impl Into<String>, offset: impl Into<Offset>) -> Self {
        let name = name.into();
        self.offsets.retain(|(set, _)| *set != name);
        self.offsets.push((name, offset.into()));
        self
    }

    /// No event with a time below `watermark` is to be expected on this core any more. The unit is the caller's.
    pub fn watermark(mut self, watermark: i64) -> Self {
        self.watermark = Some(watermark);
        self
    }

    /// The names whose offsets the mark sets.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.offsets.iter().map(|(name, _)| name.as_str())
    }

    /// # Errors
    ///
    /// `Invalid` when it breaks a limit.
    pub(super) fn check(&self) -> Result<()> {
        for (name, offset) in &self.offsets {
            if name.len() > OFFSET_NAME_BYTES_MAX {
                return Err(Error::new(
                    ErrorCode::OffsetTooLong,
                    format!(
                        "the source name of {} bytes is over the limit of {OFFSET_NAME_BYTES_MAX}",
                        name.len()
                    ),
                ));
            }
            if let Offset::Opaque(bytes) = offset
                && bytes.len() > OFFSET_BYTES_MAX
            {
                return Err(Error::new(
                    ErrorCode::OffsetTooLong,
                    format!(
                        "the offset of source `{name}` has {} bytes, over the limit of {OFFSET_BYTES_MAX}",
                        bytes.len()
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The log's form of the mark, which keeps the limits, with what the `sinks` have pre-committed.
    pub(super) fn into_epoch_end(
        self,
        epoch: Epoch,
        token: FencingToken,
        sinks: Vec<(String, Option<Vec<u8>>)>,
    ) -> EpochEnd {
        EpochEnd { epoch, token, watermark: self.watermark, offsets: self.offsets, sinks }
    }
}
