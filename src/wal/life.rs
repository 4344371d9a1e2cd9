//! The beginning of a life: what an open writes before it may count.
//!
//! ```text
//! 1  prepare the first segment, of an unused one if there is one     (final name durable, no frame)
//! 2  carried records, as frames *behind* the place of the first SegmentStart, durable
//! 3  the first SegmentStart, durable                  (from here on the life has begun)
//! 4  a seal                                           (proof that 3 happened)
//! ```
//!
//! 1. Recovery acknowledges nothing that it has not made durable itself: records that it believes without proof are
//!    carried, that is, written again under the new token.
//! 2. Until step 3 the segments of the new token count for nothing: no frame of them claims anything durable
//!    (`durable-through` 0), and none but the first `SegmentStart`, which is step 3, states a floor, so that a crash
//!    leaves leftovers and never evidence.
//! 3. From step 4 on every frame claims what is true; a missing `SegmentStart` is damage then.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::codec::Record;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{Epoch, Lsn, Nonce, SegmentNo};
use crate::vfs::{OpenMode, Vfs, retry, write_all_and_sync};
use crate::wal::batch::Batch;
use crate::wal::desk::Cursor;
use crate::wal::feed::Queue;
use crate::wal::frame::{FrameKind, Predecessor};
use crate::wal::log::{CoreLog, Segments};
use crate::wal::segment::{self, FRAMES_START, LogSpec, Prepared, SegmentHeader, segment_path};

/// What a life is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LifeSpec {
    pub(crate) log: LogSpec,
    /// The first segment: above every number that this core's directory has seen.
    pub(crate) segment: SegmentNo,
    /// Fresh entropy.
    pub(crate) identity: Nonce,
    /// Above every LSN seen.
    pub(crate) first_lsn: Lsn,
    /// The recovered epoch.
    pub(crate) closed_through: Epoch,
    /// The first segment that is needed once this life has begun; zero in a database, whose manifest says it.
    pub(crate) floor: SegmentNo,
    /// The life before: its token and its ceiling, with segment number zero; all zero for the first life.
    pub(crate) predecessor: Predecessor,
}

/// A life that has begun, as the writer needs it: give it to the thread that will drive the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LifeStart {
    pub(crate) spec: LogSpec,
    /// The first segment and its identity: what the open manifest names.
    pub(crate) first_segment: SegmentNo,
    /// See [`LifeStart::first_segment`].
    pub(crate) identity: Nonce,
    pub(crate) first_lsn: Lsn,
    /// The floor that its frames state; see [`LifeSpec::floor`].
    pub(crate) floor: SegmentNo,
    /// The next LSN to be written: everything below, from `first_lsn` on, was carried and is durable.
    pub(crate) next_lsn: Lsn,
    /// What the frames on disk prove durable and closed.
    pub(crate) proven: Lsn,
    /// See [`LifeStart::proven`].
    pub(crate) proven_epoch: Epoch,
    /// Where the next frame goes, perhaps in a later segment than the first.
    pub(crate) cursor: Cursor,
}

/// A life that is being begun. Dropping it leaves leftovers that the next open removes.
pub(crate) struct LifeBuilder<V: Vfs> {
    vfs: V,
    dir: PathBuf,
    spec: LifeSpec,
    log: CoreLog<V>,
    /// The first `SegmentStart`, made first because the chain begins with it, written last.
    start_frame: Bytes,
    batch: Batch,
    batch_bytes: usize,
    carried: u64,
}

impl<V: Vfs> LifeBuilder<V> {
    /// Prepares the first segment, if possible of `unused`: one that was prepared in an earlier life of this log and will never
    /// be written to. Carried records are buffered up to `batch_bytes`.
    ///
    /// # Errors
    ///
    /// `Full` without space for a segment; `Failed` when the device fails; `Invalid` for a size out of its limits.
    pub(crate) async fn begin(
        vfs: V,
        dir: &Path,
        spec: LifeSpec,
        batch_bytes: usize,
        unused: Option<SegmentNo>,
    ) -> Result<Self> {
        assert!(spec.first_lsn > Lsn(0), "LSN 0 means \"none yet\"");
        assert_eq!(spec.predecessor.segment, SegmentNo(0), "the first segment of a token follows none");
        assert!(spec.floor <= spec.segment, "floor {} above segment {}", spec.floor, spec.segment);
        let header = SegmentHeader { log: spec.log, number: spec.segment, identity: spec.identity };
        let recycled = match unused {
            Some(unused) => segment::recycle_open(&vfs, dir, unused, &header).await?,
            None => None,
        };
        let (prepared, file) = match recycled {
            Some(recycled) => recycled,
            None => segment::prepare_open(&vfs, dir, &header).await?,
        };
        let unwritten = LifeStart {
            spec: spec.log,
            first_segment: spec.segment,
            identity: spec.identity,
            first_lsn: spec.first_lsn,
            floor: spec.floor,
            next_lsn: spec.first_lsn,
            proven: Lsn(0),
            proven_epoch: Epoch(0),
            cursor: Cursor { segment: spec.segment, salt: prepared.salt, offset: FRAMES_START, chain: 0 },
        };
        let mut log = CoreLog::on(file, vfs.clone(), dir, &unwritten, 1);
        log.desk.claims = false;
        let payload = spec.predecessor.encode(spec.floor);
        let start_frame =
            log.desk.control_frame(FrameKind::SegmentStart, &payload, Lsn(0), spec.closed_through);
        let batch_bytes = batch_bytes.min(record_bytes_max(&spec.log));
        let batch = Batch::of_its_own(batch_bytes, spec.first_lsn);
        Ok(Self { vfs, dir: dir.to_owned(), spec, log, start_frame, batch, batch_bytes, carried: 0 })
    }

    /// Writes `record` again under the new token, in a frame of this or a later call.
    ///
    /// # Errors
    ///
    /// `Full` without space for one more segment, `Failed` when the device fails: begin another life. `Invalid` for
    /// a record that the life's segments are too small for: begin one with larger segments.
    pub(crate) async fn carry(&mut self, record: &Record<'_>, segments: &mut impl Segments) -> Result<Lsn> {
        let (bytes, bytes_max) = (record.encoded_bytes(), record_bytes_max(&self.spec.log));
        if bytes > bytes_max {
            return Err(Error::new(ErrorCode::SegmentsTooSmall, format!(
                "the log holds a record of {bytes} bytes, and segments of {} bytes take {bytes_max}: open it with \
                 larger segments",
                self.spec.log.segment_bytes
            ))
            .at(&self.dir));
        }
        self.carried += 1;
        if let Some(lsn) = self.batch.append(record) {
            return Ok(lsn);
        }
        let room = self.batch_bytes.max(bytes);
        self.flush(room, segments).await?;
        Ok(self.batch.append(record).expect("a fresh batch has room for the record it was made for"))
    }

    /// Makes the carried records durable, then the life itself.
    ///
    /// # Errors
    ///
    /// As [`LifeBuilder::carry`].
    pub(crate) async fn finish(self, segments: &mut impl Segments) -> Result<LifeStart> {
        self.finish_open(segments).await.map(|(start, _)| start)
    }

    /// As [`LifeBuilder::finish`], and goes on as the log of the life, with up to `depth` durable writes in flight.
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) async fn finish_into_log(
        self,
        segments: &mut impl Segments,
        depth: usize,
    ) -> Result<(LifeStart, CoreLog<V>)> {
        let (vfs, dir) = (self.vfs.clone(), self.dir.clone());
        let (start, file) = self.finish_open(segments).await?;
        Ok((start, CoreLog::on(file, vfs, &dir, &start, depth)))
    }

    /// Returns the segment that the cursor is in as well.
    async fn finish_open(mut self, segments: &mut impl Segments) -> Result<(LifeStart, V::File)> {
        self.flush(self.batch_bytes, segments).await?;
        let path = segment_path(&self.dir, self.spec.segment);
        let failed = |e| Error::io("writing the first SegmentStart of a life", &path, e);
        let start = self.start_frame.clone();
        if self.log.cursor().segment == self.spec.segment {
            write_all_and_sync(&self.log.file, FRAMES_START, start).await.map_err(failed)?;
        } else {
            let first = retry(|| self.vfs.open(&path, OpenMode::Write)).await.map_err(failed)?;
            write_all_and_sync(&first, FRAMES_START, start).await.map_err(failed)?;
        }
        self.log.desk.claims = true;
        self.log.seal(self.spec.closed_through).await?;
        let next_lsn = self.log.marks().durable.next();
        let (core, token) = (self.spec.log.core.0, self.spec.log.token.0);
        tracing::debug!(target: "highwater::wal", core, token, next_lsn = next_lsn.0, "life begun");
        if self.carried > 0 {
            tracing::debug!(
                target: "highwater::wal",
                core,
                token,
                first_lsn = self.spec.first_lsn.0,
                records = self.carried,
                "carry",
            );
        }
        let start = LifeStart {
            spec: self.spec.log,
            first_segment: self.spec.segment,
            identity: self.spec.identity,
            first_lsn: self.spec.first_lsn,
            floor: self.spec.floor,
            next_lsn,
            proven: Lsn(next_lsn.0 - 1),
            proven_epoch: self.spec.closed_through,
            cursor: *self.log.cursor(),
        };
        Ok((start, self.log.file))
    }

    async fn flush(&mut self, next_room: usize, segments: &mut impl Segments) -> Result<()> {
        if self.batch.is_empty() {
            if next_room > self.batch_bytes {
                self.batch = Batch::of_its_own(next_room, self.batch.first_lsn());
            }
            return Ok(());
        }
        let fresh = Batch::of_its_own(next_room, self.batch.next_lsn());
        let full = std::mem::replace(&mut self.batch, fresh);
        let mut queue = Queue::closed_through(self.spec.closed_through);
        queue.push(full);
        self.log.run(&mut queue, segments).await
    }
}

/// Segments that the beginning of a life takes for itself, if it needs more than the first.
pub(crate) struct OwnSegments<F> {
    last: SegmentNo,
    nonce: F,
}

impl<F: FnMut() -> Nonce> OwnSegments<F> {
    /// Numbers above `last`, with identities from `nonce`.
    pub(crate) fn after(last: SegmentNo, nonce: F) -> Self {
        Self { last, nonce }
    }
}

impl<F: FnMut() -> Nonce> Segments for OwnSegments<F> {
    type Turn = ();

    async fn turn(&mut self) {}

    fn prepared(&mut self) -> Option<Prepared> {
        None
    }

    fn fresh(&mut self) -> (SegmentNo, Nonce) {
        self.last = self.last.next();
        (self.last, (self.nonce)())
    }
}

/// The largest encoded record that a log of this shape takes.
pub(crate) fn record_bytes_max(spec: &LogSpec) -> usize {
    spec.frame_bytes_max() - crate::limits::FRAME_HEADER_BYTES
}
