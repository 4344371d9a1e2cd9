//! Ring 1: the log writer of one core, as a thread of its own or driven by whoever waits.
//!
//! ```text
//! writing ──queue empty for a while──► idle: marks sealed, asleep until a batch comes
//!    │  ▲                                              │
//!    │  └──────────────────────────────────────────────┘
//!    ├──no space for the next segment──► full: tries again, says so
//!    ├──a write or sync failed─────────► failed: the whole engine, for good
//!    └──stop, queue empty──────────────► closed
//! ```

use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::drive::InlineLog;
use super::requests::Requests;
use super::segments::WriterSegments;
use super::shared::{CoreShared, Shared};
use crate::checkpoint::Tap;
use crate::env::{Clock, Env};
use crate::error::{Error, ErrorCode, ErrorKind};
use crate::ids::{CoreId, Epoch, Lsn};
use crate::race::race;
use crate::sync::atomic::Ordering;
use crate::vfs::Vfs;
use crate::wal::{Batch, CoreLog, Feed, LifeStart};

/// How long to wait for space before the next try.
const FULL_RETRY_AFTER: Duration = Duration::from_millis(100);

/// What a log writer works with.
pub(crate) struct WriterParts<E: Env> {
    pub(crate) env: E,
    pub(crate) core: CoreId,
    pub(crate) shared: Arc<Shared>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) tap: Arc<Tap>,
    pub(crate) queue: rtrb::Consumer<Batch>,
    pub(crate) segments: WriterSegments<E::Entropy>,
    pub(crate) dir: PathBuf,
    pub(crate) life: LifeStart,
    pub(crate) depth: usize,
    pub(crate) idle_seal_after: Duration,
}

/// Takes batches from the queue of one core, and publishes what became durable.
pub(super) struct QueueFeed<P> {
    pub(super) core: CoreId,
    pub(super) shared: Arc<Shared>,
    pub(super) requests: Arc<Requests>,
    pub(super) tap: Arc<Tap>,
    pub(super) queue: rtrb::Consumer<Batch>,
    pub(super) patience: P,
    /// Bytes that the log was given since the open.
    pub(super) given: u64,
}

/// How long a feed waits at an empty queue before it ends the drive.
pub(super) trait Patience {
    /// Ready once it has waited long enough; it is only asked while the queue is empty.
    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()>;

    /// There is work again.
    fn renew(&mut self);
}

/// Not at all: callers drive until everything is written.
struct Impatient;

impl Patience for Impatient {
    fn poll_over(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn renew(&mut self) {}
}

/// Until the log counts as idle.
struct UntilIdle<C> {
    clock: C,
    after: Duration,
    sleep: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl<C: Clock> Patience for UntilIdle<C> {
    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| {
            let (clock, after) = (self.clock.clone(), self.after);
            Box::pin(async move { clock.sleep(after).await })
        });
        let over = sleep.as_mut().poll(context);
        if over.is_ready() {
            self.sleep = None;
        }
        over
    }

    fn renew(&mut self) {
        self.sleep = None;
    }
}

impl<P: Patience> QueueFeed<P> {
    fn of_core(&self) -> &CoreShared {
        self.shared.core(self.core)
    }

    fn pop(&mut self) -> Option<Batch> {
        let batch = self.queue.pop().ok()?;
        let bytes = batch.payload().len() as u64;
        self.given += bytes;
        self.requests.log_grew(bytes);
        // Its records end with the epoch's end, if it has one.
        if let Some(epoch) = batch.ended_epoch() {
            self.requests.growth.ended(self.core, epoch, self.given, self.shared.closed());
        }
        self.of_core().counts.taken(Lsn(batch.next_lsn().0 - 1), bytes);
        if self.tap.offer(batch.first_lsn(), batch.next_lsn(), batch.payload()) {
            self.requests.wake();
        }
        if self.of_core().hungry.load(Ordering::Relaxed) {
            self.of_core().hungry.store(false, Ordering::Relaxed);
        }
        self.patience.renew();
        Some(batch)
    }

    /// Lets everybody know whether the log waits for space.
    fn set_full(&self, full: bool) {
        if self.of_core().full.swap(full, Ordering::AcqRel) != full {
            tracing::info!(target: "highwater::engine", core = self.core.0, full, "space for the log");
            self.shared.notify();
        }
    }

    /// Waits, without a timer, until there is something to write or the engine stops.
    pub(super) async fn asleep(&mut self) {
        poll_fn(|context| {
            self.of_core().writer.register(context.waker());
            let wake = !self.queue.is_empty() || self.shared.stopping() || self.shared.failed();
            if wake { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl<P: Patience> Feed for QueueFeed<P> {
    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Option<Batch>> {
        if self.shared.failed() {
            return Poll::Ready(None);
        }
        if let Some(batch) = self.pop() {
            return Poll::Ready(Some(batch));
        }
        self.of_core().hungry.store(true, Ordering::Relaxed);
        self.of_core().writer.register(context.waker());
        // What was queued before the waker stood there woke nobody.
        if let Some(batch) = self.pop() {
            return Poll::Ready(Some(batch));
        }
        if self.shared.stopping() {
            return Poll::Ready(None);
        }
        self.patience.poll_over(context).map(|()| None)
    }

    fn try_batch(&mut self) -> Option<Batch> {
        self.pop()
    }

    fn closed_through(&self) -> Epoch {
        self.shared.closed()
    }

    fn demanded(&self) -> Lsn {
        Lsn(u64::MAX)
    }

    /// Room in the pool is news.
    fn written(&mut self, _: Lsn) {
        if self.of_core().refused.load(Ordering::Relaxed) {
            self.of_core().refused.store(false, Ordering::Release);
        }
        self.shared.notify();
    }

    fn durable(&mut self, lsn: Lsn, epochs: &[(Epoch, Lsn)]) {
        // Nothing was in flight when there was no space, and nothing passes what waited: it went into a new segment.
        if self.of_core().full.load(Ordering::Relaxed) {
            self.set_full(false);
        }
        let waited = !self.of_core().is_large_durable();
        self.of_core().durable_lsn.store(lsn.0, Ordering::Release);
        if waited && self.of_core().is_large_durable() {
            self.shared.notify();
        }
        if let Some((epoch, _)) = epochs.last() {
            self.shared.durable(self.core, *epoch);
            self.requests.epochs_closed(self.shared.closed());
            if self.shared.space.is_short() {
                self.requests.wake();
            }
        }
    }
}

/// A log together with what feeds it.
struct Writer<V: Vfs, E: Env, P> {
    log: CoreLog<V>,
    feed: QueueFeed<P>,
    segments: WriterSegments<E::Entropy>,
}

impl<V: Vfs, E: Env, P: Patience> Writer<V, E, P> {
    async fn open(vfs: V, parts: WriterParts<E>, patience: P) -> crate::Result<Self> {
        let WriterParts { core, shared, requests, tap, queue, segments, dir, life, depth, .. } = parts;
        let mut log = CoreLog::resume(vfs, &dir, &life, depth).await?;
        log.count_in(Arc::clone(&shared.core(core).counts.log));
        Ok(Self { log, feed: QueueFeed { core, shared, requests, tap, queue, patience, given: 0 }, segments })
    }

    /// One drive: until the feed has nothing more.
    async fn write(&mut self) -> Result<(), ErrorKind> {
        let outcome = self.log.run(&mut self.feed, &mut self.segments).await;
        let no_space = matches!(&outcome, Err(error) if error.kind() == ErrorKind::Full);
        self.feed.set_full(no_space && self.segments.ran_out_of_space());
        outcome.map_err(|error| self.fail(&error))
    }

    /// Until the next try may find space: something was given up for it, or some time has passed.
    async fn wait_for_space(&self, clock: &impl Clock) {
        let shared = &self.feed.shared;
        let wait = clock.sleep(FULL_RETRY_AFTER);
        if self.feed.of_core().full.load(Ordering::Acquire) {
            wait.await;
        } else {
            race(shared.until(|| shared.space.is_gone().then_some(())), wait).await;
        }
    }

    /// Brings the marks on disk up to date.
    async fn seal(&mut self) -> Result<(), ErrorKind> {
        let closed = self.feed.shared.closed();
        self.log.seal(closed).await.map(|_| ()).map_err(|error| self.fail(&error))
    }

    /// Says on disk that the log ends here.
    async fn close(&mut self) {
        let closed = self.feed.shared.closed();
        if let Err(error) = self.log.close(closed).await {
            self.fail(&error);
        }
    }

    fn fail(&self, error: &Error) -> ErrorKind {
        if error.kind() != ErrorKind::Full {
            self.feed.shared.fail(error);
        }
        error.kind()
    }
}

/// Runs the writer of a core until the engine stops or fails.
pub(crate) async fn run<E: Env>(parts: WriterParts<E>) {
    let (env, shared) = (parts.env.clone(), Arc::clone(&parts.shared));
    let opened = match env.vfs() {
        Ok(vfs) => {
            let patience = UntilIdle { clock: env.clock(), after: parts.idle_seal_after, sleep: None };
            Writer::<_, E, _>::open(vfs, parts, patience).await
        }
        Err(error) => Err(Error::io("opening the disk for the log writer", &parts.dir, error)
            .coded(ErrorCode::DiskNotOpened)),
    };
    match opened {
        Ok(writer) => work(writer, &env).await,
        Err(error) => shared.fail(&error),
    }
}

async fn work<E: Env>(mut writer: Writer<E::Vfs, E, impl Patience>, env: &E) {
    loop {
        match writer.write().await {
            Ok(()) => {}
            Err(ErrorKind::Full) if !writer.feed.shared.stopping() => {
                writer.wait_for_space(&env.clock()).await;
                continue;
            }
            Err(_) => break,
        }
        let shared = &writer.feed.shared;
        if shared.stopping() && writer.feed.queue.is_empty() && !shared.failed() {
            writer.close().await;
            break;
        }
        if writer.seal().await.is_err() || writer.feed.shared.failed() {
            break;
        }
        // Nobody is in a hurry: the next checkpoint may take in what was written.
        writer.feed.requests.wake();
        writer.feed.asleep().await;
    }
}

/// Opens the log of a core for callers to drive.
///
/// # Errors
///
/// Those of opening the log's current segment.
pub(crate) async fn open_inline<E: Env, L: Send + Sync + 'static>(
    parts: WriterParts<E>,
    lock: Arc<L>,
) -> crate::Result<Box<dyn InlineLog>> {
    let vfs = parts
        .env
        .inline_vfs()
        .map_err(|error| Error::io("opening the disk", &parts.dir, error).coded(ErrorCode::DiskNotOpened))?;
    let writer = Writer::<_, E, _>::open(vfs, parts, Impatient).await?;
    Ok(Box::new(Inline::<E::InlineVfs, E, L> { writer, lock: Some(lock) }))
}

/// A writer that callers drive, with the lock that it holds until its end.
struct Inline<V: Vfs, E: Env, L> {
    writer: Writer<V, E, Impatient>,
    lock: Option<Arc<L>>,
}

impl<V: Vfs<File: Send> + Send, E: Env, L: Send + Sync> InlineLog for Inline<V, E, L> {
    fn drive(&mut self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        // The outcome is in `shared`: failure, fullness, marks.
        Box::pin(async move {
            let _ = self.writer.write().await;
        })
    }

    fn finish(&mut self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async move {
            if self.writer.write().await.is_ok() {
                self.writer.close().await;
            }
            self.lock = None;
            self.writer.feed.shared.part_ended();
        })
    }
}
