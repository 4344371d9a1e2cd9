//! Timers that tell a recorder.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics::Histogram;

use crate::env::{Clock, Tick};

/// Measures one kind of thing, if anybody wants to know how long it takes.
#[derive(Clone, Default)]
pub(crate) struct Timer(Option<Arc<Live>>);

struct Live {
    histogram: Histogram,
    now: Box<dyn Fn() -> Tick + Send + Sync>,
}

/// When something began, if anybody wants to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun(Option<Tick>);

/// Whether a recorder is installed for this thread, or for all. The one that stands for none has no size; one of somebody's
/// that has no size either is taken for it.
pub(crate) fn is_watched() -> bool {
    metrics::with_recorder(|recorder| size_of_val(recorder) > 0)
}

impl Timer {
    /// Tells `histogram`, in seconds by `clock`.
    pub(crate) fn new(histogram: Histogram, clock: impl Clock) -> Self {
        Self(Some(Arc::new(Live { histogram, now: Box::new(move || clock.now()) })))
    }

    /// Something begins.
    pub(crate) fn start(&self) -> Begun {
        Begun(self.0.as_ref().map(|live| (live.now)()))
    }

    /// What began then has ended.
    pub(crate) fn stop(&self, begun: Begun) {
        if let (Some(live), Begun(Some(begun))) = (&self.0, begun) {
            self.record((live.now)().since(begun));
        }
    }

    /// Something took that long.
    pub(crate) fn record(&self, took: Duration) {
        if let Some(live) = &self.0 {
            live.histogram.record(took.as_secs_f64());
        }
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timer").field(&self.0.is_some()).finish()
    }
}
