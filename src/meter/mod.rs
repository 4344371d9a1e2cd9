//! How long things take, for whoever watches: histograms of the crate `metrics`, with the feature of that name.
//!
//! A timer belongs to the recorder that was there when the database was opened. Without the feature it is nothing at all;
//! with the feature and no recorder it is a branch, and no clock is read.

#[cfg(not(feature = "metrics"))]
#[path = "absent.rs"]
mod timer;
#[cfg(feature = "metrics")]
mod timer;

#[cfg(feature = "metrics")]
pub(crate) use timer::is_watched;
pub(crate) use timer::{Begun, Timer};
