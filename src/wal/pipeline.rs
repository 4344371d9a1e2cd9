//! Appending without waiting: batches go to the disk while the next one fills, and durability is asked for apart.
//!
//! ```text
//!          append ─► open batch ─full, or the log is idle─► queue ─► written ─► durable
//!                        └────── submit, commit ───────────┘            ▲          ▲
//!                                                             wait_written        wait, after commit
//! ```
//!
//! 1. Records are written, made durable and acknowledged in LSN order. What is waited for is durable when
//!    [`Pipeline::wait`] has returned, and not a moment before.
//! 2. What was written and is not durable survives the end of the process, and no power loss.
//! 3. Memory is bounded: batches come from the log's pool, and at most one record at a time has a batch of its own.
//! 4. The log lies with whoever drives it and comes back when the drive has ended; a drive that was given up half-way
//!    poisons the log (invariant 6 of `log`). Until a background drive has ended, it keeps the directory locked.

use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::env::{Blocking, Env, Spawn};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::Lsn;
use crate::wal::batch::{Batch, Pool};
use crate::wal::core_wal::{CoreWal, Lent, Limits};
use crate::wal::record::WalRecord;
use crate::wal::tray::{Awaited, Tray, drive};

/// After so many bytes a filling batch is looked at: it goes to the disk if that has nothing to do. A frame of as many
/// bytes fills its write units.
const LOOK_BYTES: usize = 64 << 10;

/// A log that is written while it is appended to; from [`CoreWal::pipeline`] or [`CoreWal::pipeline_in_background`].
///
/// End it with [`Pipeline::finish`]. Dropping it loses nothing that was promised; what else was appended may be there
/// or not, and the log is to be opened again.
///
/// It is never `Send`, not in the background either: it stays on the thread that made it; the [`CoreWal`] that it gives
/// back moves on.
pub struct Pipeline<E: Env> {
    /// The drive, if the caller is the one who moves it. First, so that writes in flight end before the lock does.
    drive: Option<Drive>,
    tray: Caller<E>,
    wal: CoreWal<E>,
    background: bool,
    limits: Limits,
    pool: Arc<Pool>,
    open: Option<Batch>,
    /// Bytes of the open frame at which it is looked at next.
    look_at: usize,
    next_lsn: Lsn,
    /// Through which record durability was asked for.
    demanded: Lsn,
    /// The last record that was too large for a batch of the pool.
    large_record: Lsn,
}

/// The caller's side of a tray. With it the drive ends.
struct Caller<E: Env>(Arc<Tray<E>>);

impl<E: Env> Deref for Caller<E> {
    type Target = Tray<E>;

    fn deref(&self) -> &Tray<E> {
        &self.0
    }
}

impl<E: Env> Drop for Caller<E> {
    fn drop(&mut self) {
        self.0.end();
    }
}

type Drive = Pin<Box<dyn Future<Output = ()>>>;

/// Has the log of `wal` driven, by whoever polls what is returned, or in the background.
fn start<E: Env>(wal: &mut CoreWal<E>, background: bool) -> Result<(Caller<E>, Option<Drive>)> {
    let Lent { writer, lock, queue, durable, taken } = wal.lend()?;
    let tray = Arc::new(Tray::new(queue, durable, taken));
    let (caller, tray) = (Caller(Arc::clone(&tray)), tray);
    if !background {
        return Ok((caller, Some(Box::pin(drive(writer, tray)))));
    }
    let name = format!("highwater-wal-{}", wal.id().core);
    let started = wal.env().spawn().spawn(&name, move || async move {
        drive(writer, tray).await;
        drop(lock);
    });
    started.map_err(|source| {
        Error::io("starting the log's writer", wal.dir(), source).coded(ErrorCode::ThreadRefused)
    })?;
    Ok((caller, None))
}

impl<E: Env> Pipeline<E> {
    /// # Errors
    ///
    /// `Failed` when the log has failed, or when the system starts no background work.
    pub(super) fn new(mut wal: CoreWal<E>, background: bool) -> Result<Self> {
        let (tray, drive) = start(&mut wal, background)?;
        let (limits, pool) = (*wal.limits(), Arc::clone(wal.pool()));
        let (open, next_lsn) = (wal.take_open(), wal.next_lsn());
        Ok(Self {
            drive,
            tray,
            wal,
            background,
            limits,
            pool,
            open,
            look_at: LOOK_BYTES,
            next_lsn,
            demanded: Lsn(0),
            large_record: Lsn(0),
        })
    }

    /// Appends `record` and says which LSN it has. Waits only while every batch is under way.
    ///
    /// # Errors
    ///
    /// `Invalid` for a record beyond the limits; `Full` when every batch is under way and there is no space for the next
    /// segment: free some and append again; `Failed` after a failed write or sync: reopen.
    ///
    /// # Panics
    ///
    /// When an invariant of the log is broken: a defect of this crate.
    pub async fn append(&mut self, record: &WalRecord<'_>) -> Result<Lsn> {
        loop {
            match self.try_append(record)? {
                Ok(lsn) => return Ok(lsn),
                Err(bytes) => self.make_room(record, bytes).await?,
            }
        }
    }

    /// Has everything appended written, and does not wait for it. When the caller drives, that begins when it next waits or
    /// fills a batch.
    ///
    /// # Errors
    ///
    /// `Failed` after a failed write or sync: reopen.
    pub fn submit(&mut self) -> Result<Lsn> {
        self.hand_over();
        self.tray.check()?;
        Ok(Lsn(self.next_lsn.0 - 1))
    }

    /// Has everything appended made durable, and does not wait for it: what [`Pipeline::wait`] is to be told. Commits
    /// that the disk has not come to yet share a write and a sync.
    ///
    /// When the caller drives, nothing moves before it waits, or before a batch is full.
    ///
    /// # Errors
    ///
    /// `Failed` after a failed write or sync: reopen.
    pub fn commit(&mut self) -> Result<Lsn> {
        let lsn = Lsn(self.next_lsn.0 - 1);
        // Who drives it itself had better fill the batch until it waits.
        let batch = if self.background { self.open.take() } else { None };
        self.tray.demand(lsn, batch);
        self.demanded = lsn;
        self.tray.check()?;
        Ok(lsn)
    }

    /// Waits until everything through `lsn` is durable. What of it no commit has asked for is asked for now.
    ///
    /// # Errors
    ///
    /// `Full` when there is no space for the next segment: nothing is lost; free some and wait again. `Failed` when a
    /// write or sync failed: what lies above the high-water mark may or may not be there; reopen. `Invalid` for an LSN
    /// that was not given out.
    pub async fn wait(&mut self, lsn: Lsn) -> Result<()> {
        self.check_given_out(lsn)?;
        self.demanded = self.demanded.max(lsn);
        if self.open.as_ref().is_some_and(|open| open.first_lsn() <= self.demanded) {
            self.hand_over();
        }
        self.tray.demand(lsn, None);
        self.until(Awaited::Durable(lsn)).await
    }

    /// Waits until everything through `lsn` is with the kernel: it survives the end of this process.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::wait`].
    pub async fn wait_written(&mut self, lsn: Lsn) -> Result<()> {
        self.check_given_out(lsn)?;
        if self.open.as_ref().is_some_and(|open| open.first_lsn() <= lsn) {
            self.hand_over();
        }
        self.until(Awaited::Written(lsn)).await
    }

    /// The greatest LSN such that it and all below are with the kernel.
    pub fn written(&self) -> Lsn {
        self.tray.written()
    }

    /// The greatest LSN such that it and all below are durable.
    pub fn high_water(&self) -> Lsn {
        self.tray.durable()
    }

    /// The LSN that the next record gets.
    pub fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    /// Makes everything appended durable and returns the high-water mark.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::wait`].
    pub async fn sync(&mut self) -> Result<Lsn> {
        let last = Lsn(self.next_lsn.0 - 1);
        self.wait(last).await?;
        Ok(last)
    }

    /// [`CoreWal::trim`], between the writes: everything appended is made durable first.
    ///
    /// # Errors
    ///
    /// As there, and as [`Pipeline::wait`].
    pub async fn trim(&mut self, through: Lsn) -> Result<usize> {
        self.rest().await?;
        let trimmed = self.wal.trim(through).await;
        match start(&mut self.wal, self.background) {
            Ok(started) => (self.tray, self.drive) = started,
            Err(error) => {
                self.tray.fail(error.duplicate());
                return trimmed.and(Err(error));
            }
        }
        trimmed
    }

    /// Makes everything durable and gives the log back.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::wait`]; the log is to be opened again. To try again after `Full`, [`Pipeline::sync`] before.
    pub async fn finish(mut self) -> Result<CoreWal<E>> {
        self.rest().await?;
        Ok(self.wal)
    }

    /// Makes everything durable, ends the drive and puts the log back.
    async fn rest(&mut self) -> Result<()> {
        self.sync().await?;
        self.tray.end();
        self.until(Awaited::End).await?;
        let (writer, queue) = self.tray.take()?;
        self.wal.take_back(writer, queue, self.next_lsn);
        Ok(())
    }

    fn check_given_out(&self, lsn: Lsn) -> Result<()> {
        if lsn < self.next_lsn {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::LsnNotGiven,
            format!("LSN {lsn} was not given out: the next one is {}", self.next_lsn),
        ))
    }

    /// Appends to the open batch; `Err` with the bytes of the record when [`Pipeline::make_room`] is to be called first.
    #[inline]
    fn try_append(&mut self, record: &WalRecord<'_>) -> Result<std::result::Result<Lsn, usize>> {
        let bytes = self.limits.check(record)?;
        let Some(open) = self.open.as_mut().filter(|open| open.frame_bytes() + bytes <= self.look_at) else {
            return Ok(Err(bytes));
        };
        let token = self.limits.spec.token;
        let Some(lsn) = record.encoded(token, |record| open.append(record)) else { return Ok(Err(bytes)) };
        self.next_lsn = lsn.next();
        Ok(Ok(lsn))
    }

    /// Makes sure that the open batch takes `record`, of `bytes` bytes.
    async fn make_room(&mut self, record: &WalRecord<'_>, bytes: usize) -> Result<()> {
        self.turn().await;
        self.tray.check()?;
        if let Some(open) = &self.open {
            let idle = self.tray.is_idle() && open.frame_bytes() >= LOOK_BYTES / 2;
            if !idle && record.encoded(self.limits.spec.token, |record| open.takes(record)) {
                self.look_at += LOOK_BYTES.max(bytes);
                return Ok(());
            }
            self.hand_over();
            self.turn().await;
        }
        let fresh = if bytes > self.pool.batch_bytes() {
            self.until(Awaited::Written(self.large_record)).await?;
            self.large_record = self.next_lsn;
            Batch::of_its_own(bytes, self.next_lsn)
        } else {
            loop {
                if let Some(fresh) = self.pool.take(self.next_lsn) {
                    break fresh;
                }
                self.until(Awaited::Room(Arc::clone(&self.pool))).await?;
            }
        };
        self.look_at = LOOK_BYTES.max(fresh.frame_bytes() + bytes);
        self.open = Some(fresh);
        Ok(())
    }

    fn hand_over(&mut self) {
        if let Some(open) = self.open.take_if(|open| !open.is_empty()) {
            self.tray.push(open);
        }
    }

    /// Moves the drive as far as it goes without waiting, if the caller is the one who does.
    async fn turn(&mut self) {
        poll_fn(|context| {
            self.poll_drive(context);
            Poll::Ready(())
        })
        .await;
    }

    fn poll_drive(&mut self, context: &mut Context<'_>) {
        if let Some(drive) = &mut self.drive
            && drive.as_mut().poll(context).is_ready()
        {
            self.drive = None;
        }
    }

    async fn until(&mut self, awaited: Awaited) -> Result<()> {
        self.tray.retry();
        poll_fn(|context| {
            self.poll_drive(context);
            self.tray.poll(&awaited, context)
        })
        .await
    }
}

/// The same without `async`, for environments whose callers may block.
impl<E: Blocking> Pipeline<E> {
    /// [`Pipeline::append`], blocking.
    ///
    /// # Errors
    ///
    /// As there.
    #[inline]
    pub fn append_blocking(&mut self, record: &WalRecord<'_>) -> Result<Lsn> {
        match self.try_append(record)? {
            Ok(lsn) => Ok(lsn),
            Err(_) => self.wal.env().clone().block_on(self.append(record)),
        }
    }

    /// [`Pipeline::wait`], blocking.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn wait_blocking(&mut self, lsn: Lsn) -> Result<()> {
        self.wal.env().clone().block_on(self.wait(lsn))
    }

    /// [`Pipeline::wait_written`], blocking.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn wait_written_blocking(&mut self, lsn: Lsn) -> Result<()> {
        self.wal.env().clone().block_on(self.wait_written(lsn))
    }

    /// [`Pipeline::finish`], blocking.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn finish_blocking(self) -> Result<CoreWal<E>> {
        self.wal.env().clone().block_on(self.finish())
    }

    /// [`Pipeline::sync`], blocking.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn sync_blocking(&mut self) -> Result<Lsn> {
        self.wal.env().clone().block_on(self.sync())
    }

    /// [`Pipeline::trim`], blocking.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn trim_blocking(&mut self, through: Lsn) -> Result<usize> {
        self.wal.env().clone().block_on(self.trim(through))
    }
}

impl<E: Env> fmt::Debug for Pipeline<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { background, next_lsn, demanded, .. } = self;
        f.debug_struct("Pipeline")
            .field("background", background)
            .field("next_lsn", next_lsn)
            .field("demanded", demanded)
            .finish_non_exhaustive()
    }
}
