//! How fast checkpoint files are written: as fast as can be while nobody commits, else slowly and in small pieces, so that
//! commits do not wait behind them, at the device or for a processor.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::chunk::CHUNK_BYTES;
use super::tap::Tap;
use crate::env::Clock;

/// Bytes that one core's files grow by in a second while the logs are written.
const BUSY_BYTES_PER_S: u64 = 256 << 20;

/// Bytes of one write while the logs are written: what a commit may have to wait for.
const BUSY_CHUNK_BYTES: usize = 128 * 1024;

type Wait = Pin<Box<dyn Future<Output = ()>>>;

/// Waits for so many bytes; `None` while nobody commits.
type GiveWay = Rc<dyn Fn(u64) -> Option<Wait>>;

/// The pace of one file at a time.
#[derive(Clone, Default)]
pub(crate) struct Pace {
    give_way: Option<GiveWay>,
    busy: bool,
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pace({})", if self.busy { "busy" } else { "free" })
    }
}

impl Pace {
    /// Gives way to the writers of the logs that `taps` belong to.
    pub(super) fn beside<C: Clock>(clock: C, taps: Vec<Arc<Tap>>) -> Self {
        let offered = move || taps.iter().fold(0_u64, |sum, tap| sum.wrapping_add(tap.offered()));
        let before = Cell::new(offered());
        let give_way = move |bytes: u64| -> Option<Wait> {
            let now = offered();
            if before.replace(now) == now {
                return None;
            }
            let (clock, pause) =
                (clock.clone(), Duration::from_nanos(bytes * 1_000_000_000 / BUSY_BYTES_PER_S));
            Some(Box::pin(async move { clock.sleep(pause).await }))
        };
        Self { give_way: Some(Rc::new(give_way)), busy: false }
    }

    /// Bytes of the next write.
    pub(super) fn chunk_bytes(&self) -> usize {
        if self.busy { BUSY_CHUNK_BYTES } else { CHUNK_BYTES }
    }

    /// After `bytes` bytes, at most a few chunks, were written: waits, if others want to write.
    pub(super) async fn keep(&mut self, bytes: u64) {
        let wait = self.give_way.as_ref().and_then(|give_way| give_way(bytes));
        self.busy = wait.is_some();
        if let Some(wait) = wait {
            wait.await;
        }
    }
}
