//! One core's log as a state machine of group commit, driven by a thread or by the caller.
//!
//! ```text
//! Feed ─► batch ─► coalesce what is queued ─► header, padding ─► durable write(s) ─► in order: mark, acknowledge
//!                                     │ no room left
//!                                     └► roll: drain, seal, next segment, its SegmentStart durable, go on
//! ```
//!
//! 1. A write is one frame that starts on a fresh write unit: no write touches a unit that holds acknowledged bytes.
//! 2. Writes complete in any order; records are acknowledged in LSN order only ([`Marks`]).
//! 3. After the first failed write or sync nothing is acknowledged any more, not even a frame whose own write
//!    succeeds later: the log is poisoned until it is opened again.
//! 4. A device that is full while a segment is *prepared* harms nothing: `Full`, and the next drive tries again.
//! 5. The `SegmentStart` of a segment is durable before the segment's next frame is submitted, and is submitted
//!    only after everything in the segment before is durable.
//! 6. Behind a `Close` nothing is written: see [`CoreLog::close`].
//! 7. Nothing of a drive survives it: a [`CoreLog`] at rest has no write in flight, and may move between threads
//!    when its file may. A drive that is dropped half-way leaves the log poisoned.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::ids::{Epoch, Lsn, Nonce, SegmentNo};
use crate::vfs::{OpenMode, Vfs, retry, write_all_and_sync};
use crate::wal::batch::Batch;
use crate::wal::desk::{Cursor, Desk};
use crate::wal::frame::{FrameKind, Predecessor};
use crate::wal::life::LifeStart;
use crate::wal::marks::Marks;
use crate::wal::segment::{self, FRAMES_START, Prepared, SegmentHeader, segment_path};
use crate::wal::tally::Tally;

/// Where a log takes batches from, and whom it tells.
pub(crate) trait Feed {
    /// The next batch, in LSN order; `None` to end the drive once everything in flight is done.
    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Batch>>;

    /// The next batch if one is queued now: for coalescing.
    fn try_batch(&mut self) -> Option<Batch>;

    /// The greatest epoch known closed on all cores.
    fn closed_through(&self) -> Epoch;

    /// Through which record durability is wanted. What lies above is written all the same, and made durable when it is
    /// demanded, when the segment is left or when the drive ends.
    fn demanded(&self) -> Lsn;

    /// Everything through `lsn` has been written, durable or not, and its memory is back in its pool. Called in order; of
    /// a write that is durable when it completes, after [`Feed::durable`].
    fn written(&mut self, lsn: Lsn);

    /// Everything through `lsn` is durable; `epochs` ended in what became durable with this call. Called in order.
    fn durable(&mut self, lsn: Lsn, epochs: &[(Epoch, Lsn)]);
}

/// Where a log finds its next segment.
pub(crate) trait Segments {
    /// The exclusive right to give and sync names in the log's directory; see [`Segments::turn`].
    type Turn;

    /// Waits until nobody else gives names in the log's directory. A failed sync of a directory may lose the names that
    /// others gave and have not synced yet, and the sync that they wait for then says `Ok`: so one at a time.
    async fn turn(&mut self) -> Self::Turn;

    /// A segment that somebody prepared ahead, if there is one.
    fn prepared(&mut self) -> Option<Prepared>;

    /// A fresh number and identity, for a segment that the log prepares itself.
    fn fresh(&mut self) -> (SegmentNo, Nonce);
}

/// Whether a log may go on.
enum State {
    AtRest,
    /// Its last frame says that it is.
    Closed,
    /// Inside a drive; seen from outside, a drive that was dropped.
    Driven,
    Poisoned(Error),
}

/// One core's log, from the frame after those that are there.
pub(crate) struct CoreLog<V: Vfs> {
    vfs: V,
    dir: PathBuf,
    pub(super) file: V::File,
    pub(super) desk: Desk,
    pub(super) depth: usize,
    state: State,
}

impl<V: Vfs> CoreLog<V> {
    /// Opens the log that `life` began, to go on where it ended. `depth` is how many durable writes may be in
    /// flight; one drives without allocating.
    ///
    /// # Errors
    ///
    /// `Failed` when the segment cannot be opened, `Unsupported` when the device's write unit does not fit.
    pub(crate) async fn resume(vfs: V, dir: &Path, life: &LifeStart, depth: usize) -> Result<Self> {
        let path = segment_path(dir, life.cursor.segment);
        let file = retry(|| vfs.open(&path, OpenMode::Write))
            .await
            .map_err(|e| Error::io("opening a segment", &path, e))?;
        segment::check_unit(&file, &life.spec, &path)?;
        Ok(Self::on(file, vfs, dir, life, depth))
    }

    /// As [`CoreLog::resume`], where the segment is open already.
    pub(crate) fn on(file: V::File, vfs: V, dir: &Path, life: &LifeStart, depth: usize) -> Self {
        assert!(depth >= 1, "a depth of {depth} writes nothing");
        let marks = Marks::at(Lsn(life.next_lsn.0 - 1), life.proven, life.proven_epoch);
        let (spec, cursor, floor) = (life.spec, life.cursor, life.floor);
        let desk = Desk { spec, cursor, marks, held: None, floor, claims: true, tally: Arc::default() };
        Self { vfs, dir: dir.to_owned(), file, desk, depth, state: State::AtRest }
    }

    /// From now on what the log does is counted in `tally`.
    pub(crate) fn count_in(&mut self, tally: Arc<Tally>) {
        self.desk.tally = tally;
    }

    /// The marks, for those who wait and for statistics.
    pub(crate) fn marks(&self) -> &Marks {
        &self.desk.marks
    }

    /// The segment and the offset that the next frame goes to.
    pub(crate) fn cursor(&self) -> &Cursor {
        &self.desk.cursor
    }

    /// Why the log is poisoned; `None` while it is not.
    pub(crate) fn failure(&self) -> Option<Error> {
        match &self.state {
            State::Poisoned(error) => Some(error.duplicate()),
            State::AtRest | State::Driven | State::Closed => None,
        }
    }

    /// Writes what `feed` gives until it gives `None`, and acknowledges in order.
    ///
    /// # Errors
    ///
    /// `Full` when the next segment could not be prepared: free space and drive again; nothing is lost. `Failed`
    /// when a write or sync failed, now or earlier: reopen.
    pub(crate) async fn run(&mut self, feed: &mut impl Feed, segments: &mut impl Segments) -> Result<()> {
        self.enter()?;
        let outcome = if self.depth == 1 {
            self.run_serial(feed, segments).await
        } else {
            self.run_pipelined(feed, segments).await
        };
        self.leave(outcome)
    }

    /// As [`CoreLog::run`], with writes in flight whatever the depth, and durable only as far as `feed` demands while
    /// it goes on. When it ends, everything is durable.
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) async fn stream(&mut self, feed: &mut impl Feed, segments: &mut impl Segments) -> Result<()> {
        self.enter()?;
        let outcome = self.run_pipelined(feed, segments).await;
        self.leave(outcome)
    }

    /// Makes the marks on disk as good as the log's own, if they are behind and the segment has room for a seal:
    /// for a driver that goes idle. Tells whether a seal was written.
    ///
    /// # Errors
    ///
    /// `Failed` as for [`CoreLog::run`].
    pub(crate) async fn seal(&mut self, closed_through: Epoch) -> Result<bool> {
        self.enter()?;
        let sealed = self.write_seal(closed_through).await;
        let outcome = self.leave(sealed.as_ref().map(|_| ()).map_err(Error::duplicate));
        outcome.and(sealed)
    }

    /// Ends the life in order: says on disk, if the segment has room, that everything is durable and that nothing follows, which
    /// saves the next open the search for more. Nothing may be written any more.
    ///
    /// # Errors
    ///
    /// `Failed` as for [`CoreLog::run`].
    pub(crate) async fn close(&mut self, closed_through: Epoch) -> Result<()> {
        self.enter()?;
        let closed = self.write_close(closed_through).await;
        self.leave(closed)?;
        self.state = State::Closed;
        Ok(())
    }

    /// Makes it durable that no segment below `floor` is needed: they may be removed then, in any order, and count for
    /// nothing if they come back.
    ///
    /// # Errors
    ///
    /// As [`CoreLog::run`]; the floor is as it was after `Full`.
    pub(crate) async fn raise_floor(
        &mut self,
        floor: SegmentNo,
        closed_through: Epoch,
        segments: &mut impl Segments,
    ) -> Result<()> {
        // First, because a drive that was dropped may have been the one that raised it.
        self.enter()?;
        let stated = self.state_floor(floor, closed_through, segments).await;
        self.leave(stated)
    }

    async fn state_floor(
        &mut self,
        floor: SegmentNo,
        closed_through: Epoch,
        segments: &mut impl Segments,
    ) -> Result<()> {
        assert!(self.desk.claims, "a life that does not count yet raises no floor");
        assert!(floor >= self.desk.floor, "the floor falls from {} to {floor}", self.desk.floor);
        assert!(floor <= self.desk.cursor.segment, "floor {floor} above {}", self.desk.cursor.segment);
        if floor == self.desk.floor {
            return Ok(());
        }
        if self.desk.seal_fits() {
            self.write_control(FrameKind::Seal, &floor.0.to_le_bytes(), closed_through).await?;
        } else {
            self.roll_stating(floor, closed_through, segments).await?;
        }
        // Not before a frame on disk says so: what lies below goes by this.
        self.desk.floor = floor;
        Ok(())
    }

    pub(super) fn enter(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.state, State::Driven) {
            State::AtRest => {
                assert!(!self.desk.marks.in_flight(), "a log at rest has nothing in flight");
                Ok(())
            }
            State::Closed => panic!("a log was driven behind its last frame"),
            State::Driven => {
                let error = Error::new(
                    ErrorCode::DriveDropped,
                    "a drive of the log was dropped before its end, so that its writes may or may not be there; \
                     reopen the log",
                );
                self.leave(Err(error))
            }
            State::Poisoned(error) => {
                let again = error.duplicate();
                self.state = State::Poisoned(error);
                Err(again)
            }
        }
    }

    pub(super) fn leave(&mut self, outcome: Result<()>) -> Result<()> {
        match outcome {
            Ok(()) => {
                assert!(!self.desk.marks.in_flight(), "a drive ended with writes in flight");
                self.state = State::AtRest;
                Ok(())
            }
            // Only preparing a segment says `Full` (invariant 4): nothing was in flight and nothing changed.
            Err(error) if error.kind() == ErrorKind::Full => {
                self.state = State::AtRest;
                Err(error)
            }
            Err(error) => {
                let error = error.with_kind(ErrorKind::Failed);
                tracing::debug!(target: "highwater::wal", core = self.desk.spec.core.0, %error, "log poisoned");
                self.state = State::Poisoned(error.duplicate());
                Err(error)
            }
        }
    }

    /// One write at a time: no slot, no box, no allocation for a commit.
    async fn run_serial(&mut self, feed: &mut impl Feed, segments: &mut impl Segments) -> Result<()> {
        loop {
            let batch = match self.desk.held.take() {
                Some(batch) => Some(batch),
                None => std::future::poll_fn(|cx| feed.poll_batch(cx)).await,
            };
            let Some(batch) = batch else { return Ok(()) };
            self.desk.accept(&batch);
            if !self.desk.fits(&batch) {
                self.desk.held = Some(batch);
                self.roll(feed.closed_through(), segments).await?;
                continue;
            }
            let frame = self.desk.submit(batch, feed);
            let begun = self.desk.tally.sync_time.start();
            write_all_and_sync(&self.file, frame.offset, frame.bytes())
                .await
                .map_err(|e| self.write_failed(frame.offset, e))?;
            self.desk.tally.sync_time.stop(begun);
            self.desk.complete(&frame, feed);
            let lsn = frame.last_lsn();
            drop(frame);
            feed.written(lsn);
        }
    }

    /// An error of a write or sync in the current segment: whatever its kind, the log's end.
    pub(super) fn write_failed(&self, offset: u64, source: std::io::Error) -> Error {
        let path = segment_path(&self.dir, self.desk.cursor.segment);
        let doing = format!(
            "a durable write at offset {offset} failed; records above LSN {} may or may not be there, and nothing \
             more is acknowledged: reopen the log",
            self.desk.marks.acknowledged
        );
        Error::io(&doing, &path, source).with_kind(ErrorKind::Failed).coded(ErrorCode::LogWriteFailed)
    }

    /// Leaves the current segment for the next. Nothing may be in flight.
    pub(super) async fn roll(&mut self, closed: Epoch, segments: &mut impl Segments) -> Result<()> {
        self.roll_stating(self.desk.floor(), closed, segments).await
    }

    /// As [`CoreLog::roll`], into a segment whose `SegmentStart` states this `floor`.
    async fn roll_stating(
        &mut self,
        floor: SegmentNo,
        closed: Epoch,
        segments: &mut impl Segments,
    ) -> Result<()> {
        assert!(!self.desk.marks.in_flight(), "a roll before the segment's last frame is durable");
        // First, because a full device must leave everything as it is.
        let next = match segments.prepared() {
            Some(prepared) => prepared,
            None => self.prepare_here(segments).await?,
        };
        let from = self.desk.cursor.segment;
        assert!(next.number > from, "segment {} after {from}", next.number);
        self.write_seal(closed).await?;
        let path = segment_path(&self.dir, next.number);
        let file = retry(|| self.vfs.open(&path, OpenMode::Write))
            .await
            .map_err(|e| Error::io("opening the next segment", &path, e).with_kind(ErrorKind::Failed))?;
        let last_lsn = self.desk.marks.durable;
        let predecessor = Predecessor { segment: from, last_lsn, token: self.desk.spec.token };
        self.desk.cursor.segment = next.number;
        self.desk.cursor.salt = next.salt;
        self.desk.cursor.offset = FRAMES_START;
        self.file = file;
        self.desk.tally.hold([next.number]);
        let core = self.desk.spec.core.0;
        tracing::debug!(target: "highwater::wal", core, from = from.0, to = next.number.0, "roll");
        self.write_control(FrameKind::SegmentStart, &predecessor.encode(floor), closed).await
    }

    async fn prepare_here(&self, segments: &mut impl Segments) -> Result<Prepared> {
        let _turn = segments.turn().await;
        if let Some(prepared) = segments.prepared() {
            return Ok(prepared);
        }
        let (number, identity) = segments.fresh();
        let header = SegmentHeader { log: self.desk.spec, number, identity };
        segment::prepare(&self.vfs, &self.dir, &header).await
    }

    /// Writes a seal if the marks on disk are stale and there is room. The last unit of a segment has no other use.
    async fn write_seal(&mut self, closed: Epoch) -> Result<bool> {
        let Desk { marks, claims, .. } = &self.desk;
        if !claims || !self.desk.seal_fits() || !marks.stale(closed) {
            return Ok(false);
        }
        let (core, lsn) = (self.desk.spec.core.0, marks.durable.0);
        tracing::debug!(target: "highwater::wal", core, lsn, epoch = closed.0, "seal");
        let floor = self.desk.floor().0.to_le_bytes();
        self.write_control(FrameKind::Seal, &floor, closed).await?;
        Ok(true)
    }

    async fn write_close(&mut self, closed: Epoch) -> Result<()> {
        if !self.desk.seal_fits() {
            return Ok(());
        }
        assert!(self.desk.claims, "a life that does not count yet is closed");
        assert!(self.desk.held.is_none(), "a log is closed before everything was written");
        let (core, lsn) = (self.desk.spec.core.0, self.desk.marks.durable.0);
        tracing::debug!(target: "highwater::wal", core, lsn, epoch = closed.0, "close");
        let floor = self.desk.floor().0.to_le_bytes();
        self.write_control(FrameKind::Close, &floor, closed).await
    }

    /// Writes a frame without records, durably, while nothing is in flight.
    async fn write_control(&mut self, kind: FrameKind, payload: &[u8], closed: Epoch) -> Result<()> {
        let mark = self.desk.mark();
        let offset = self.desk.cursor.offset;
        let frame = self.desk.control_frame(kind, payload, mark, closed);
        let begun = self.desk.tally.sync_time.start();
        write_all_and_sync(&self.file, offset, frame).await.map_err(|e| self.write_failed(offset, e))?;
        self.desk.tally.sync_time.stop(begun);
        self.desk.tally.synced();
        let durable = self.desk.marks.durable;
        self.desk.marks.sync(durable, mark, closed);
        Ok(())
    }
}
