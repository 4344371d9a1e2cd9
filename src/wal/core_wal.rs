//! A write-ahead log as a product of its own: one directory, one writer, group commit.
//!
//! ```text
//! open ─► (recover) ─► append … append ─► sync ─► high-water mark … ─► close
//!                        │ nothing promised        │ promised
//! ```
//!
//! An open recovers the whole prefix of the log. What the prefix holds above the proven mark is written again under
//! the new token before the open returns, so such a record comes back with another LSN: (token, LSN) names a record.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::{Blocking, Entropy, Env};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{FencingToken, Lsn, Nonce, SegmentNo};
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::vfs::Vfs;
use crate::wal::batch::{Batch, Pool};
use crate::wal::feed::Queue;
use crate::wal::life::record_bytes_max;
use crate::wal::lives::{Discovery, discover};
use crate::wal::log::{CoreLog, Feed, Segments};
use crate::wal::merged::MergedLog;
use crate::wal::opening::{Begun, OldLog, begin, check_trimmed, drop_unproven, identify, lock, renew_name};
use crate::wal::options::WalOptions;
use crate::wal::pipeline::Pipeline;
use crate::wal::reader::WalReader;
use crate::wal::record::WalRecord;
use crate::wal::scan::{Cut, Life, LogId, LogScan};
use crate::wal::segment::{self, Front, LogSpec, Prepared, SegmentHeader};
use crate::wal::trim::{self, Retired};

/// What an open found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WalReport {
    /// What the log held, and how it ended. `scan.prefix_end` is the last LSN of the life before.
    pub scan: LogScan,
    /// Count of records that were written again because nothing proved them durable.
    pub carried: u64,
    /// The token of the life that this open began.
    pub token: FencingToken,
    /// The first LSN that this life can give out.
    pub next_lsn: Lsn,
}

/// An open log and what its opening found.
pub struct WalOpened<E: Env> {
    /// The log.
    pub wal: CoreWal<E>,
    /// What was found.
    pub report: WalReport,
}

/// Numbers and identities for new segments, and segments that trimming has made ready.
pub(super) struct Numbers<N> {
    entropy: N,
    last: SegmentNo,
    spare: VecDeque<Prepared>,
}

impl<N: Entropy> Segments for Numbers<N> {
    type Turn = ();

    async fn turn(&mut self) {}

    fn prepared(&mut self) -> Option<Prepared> {
        self.spare.pop_front()
    }

    fn fresh(&mut self) -> (SegmentNo, Nonce) {
        self.last = self.last.next();
        (self.last, self.entropy.nonce())
    }
}

/// What writes a log.
pub(super) struct Writer<E: Env> {
    pub(super) log: CoreLog<E::InlineVfs>,
    pub(super) numbers: Numbers<E::Entropy>,
}

/// What a record of a log may be.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) spec: LogSpec,
    record_bytes_max: usize,
}

impl Limits {
    /// The bytes that `record` takes in a batch.
    ///
    /// # Errors
    ///
    /// `Invalid` for one beyond the limits.
    #[inline]
    pub(super) fn check(&self, record: &WalRecord<'_>) -> Result<usize> {
        let (bytes, key_bytes, value_bytes) = record.sizes();
        if key_bytes > KEY_BYTES_MAX || value_bytes > VALUE_BYTES_MAX || bytes > self.record_bytes_max {
            return Err(self.refused(key_bytes, value_bytes));
        }
        Ok(bytes)
    }

    #[cold]
    fn refused(&self, key_bytes: usize, value_bytes: usize) -> Error {
        Error::new(
            ErrorCode::RecordTooLong,
            format!(
                "a record of {key_bytes} key and {value_bytes} value bytes; keys end at {KEY_BYTES_MAX}, values at \
             {VALUE_BYTES_MAX}, and a record of this log at {} in all",
                self.record_bytes_max
            ),
        )
    }
}

/// What a [`Pipeline`] takes over for its time.
pub(super) struct Lent<E: Env> {
    pub(super) writer: Box<Writer<E>>,
    pub(super) lock: Arc<<E::InlineVfs as Vfs>::Lock>,
    pub(super) queue: Queue,
    /// The last LSN that is durable, and the last that the log has taken.
    pub(super) durable: Lsn,
    pub(super) taken: Lsn,
}

/// A write-ahead log. One writer; `Send` whenever the disk's files are.
pub struct CoreWal<E: Env> {
    vfs: E::InlineVfs,
    dir: PathBuf,
    id: LogId,
    /// `None` while a [`Pipeline`] has it.
    writer: Option<Box<Writer<E>>>,
    limits: Limits,
    lives: Vec<Life>,
    /// Of the segments that were there once the log was open.
    fronts: Arc<[Front]>,
    pool: Arc<Pool>,
    open_batch: Option<Batch>,
    queue: Queue,
    next_lsn: Lsn,
    high_water: Lsn,
    options: WalOptions,
    /// Segments below the floor that are still to be removed or recycled.
    given_up: VecDeque<Retired>,
    env: E,
    lock: Arc<<E::InlineVfs as Vfs>::Lock>,
}

impl<E: Env> CoreWal<E> {
    /// Opens the log in `dir`, or creates it there; recovers what it holds.
    ///
    /// # Errors
    ///
    /// `Busy` while somebody has it open. `Corrupt` when proven records are missing or bytes contradict each other:
    /// nothing was changed. `Full` without space for a first segment. `Failed` when the device fails. `Unsupported` when a
    /// newer program wrote the log (HW-701: use that), or when the device overwrites more at once than the log was made for
    /// (HW-703: move it to another device).
    ///
    /// `Invalid` for options outside their limits ([`WalOptions`]): nothing was touched. For a log of another database or
    /// core than the options name (HW-806), and for segments that are too small for a record that is to be written again
    /// (HW-807): name those, or larger ones.
    pub async fn open(env: E, dir: impl AsRef<Path>, options: WalOptions) -> Result<WalOpened<E>> {
        options.check()?;
        let dir = dir.as_ref();
        let vfs = env
            .inline_vfs()
            .map_err(|e| Error::io("opening the disk", dir, e).coded(ErrorCode::DiskNotOpened))?;
        let lock = lock(&vfs, dir).await?;
        let mut found = discover(&vfs, dir).await?;
        let fronts: Arc<[Front]> = std::mem::take(&mut found.fronts).into();
        if found.greatest_segment == SegmentNo(0) {
            renew_name(&vfs, dir, env.entropy().nonce()).await?;
        }
        check_trimmed(dir, &options, &found)?;
        let entropy = env.entropy();
        let id = identify(dir, &options, &found, &entropy)?;
        let old = OldLog { vfs: &vfs, dir, id, fronts: &fronts, read_ahead_bytes: options.read_ahead_bytes };
        let scan = old.scan(&found.lives).await?;
        let mut numbers = Numbers { entropy, last: found.greatest_segment, spare: VecDeque::new() };
        let Begun { start, log, front, carried } = begin(&old, &found, &scan, &mut numbers, &options).await?;
        let Discovery { mut lives, temps, .. } = found;
        drop_unproven(&mut lives, scan.proven);
        lives.push(Life {
            token: start.spec.token,
            first_segment: start.first_segment,
            identity: start.identity,
            first_lsn: start.first_lsn,
            ceiling: None,
        });
        // Only now: until the new life had begun, recovery changed nothing.
        segment::remove_temps(&vfs, dir, &temps).await?;
        let leftovers = trim::leftovers(&lives, &fronts);
        for leftover in &leftovers {
            segment::remove(&vfs, dir, *leftover).await?;
        }
        let kept = fronts.iter().filter(|front| !leftovers.contains(&front.header.number));
        let fronts = kept.copied().chain([front]).collect();
        let report = WalReport { scan, carried, token: start.spec.token, next_lsn: start.next_lsn };
        let limits = Limits { spec: start.spec, record_bytes_max: record_bytes_max(&start.spec) };
        let wal = Self {
            vfs,
            dir: dir.to_owned(),
            id,
            high_water: log.marks().acknowledged,
            writer: Some(Box::new(Writer { log, numbers })),
            limits,
            lives,
            fronts,
            pool: Pool::new(options.batches_max, options.batch_bytes.min(limits.record_bytes_max)),
            open_batch: None,
            queue: Queue::closed_through(report.scan.closed_through),
            next_lsn: start.next_lsn,
            options,
            given_up: VecDeque::new(),
            env,
            lock: Arc::new(lock),
        };
        Ok(WalOpened { wal, report })
    }

    /// Appends `record` in memory and says which LSN it has. Nothing is promised until a [`CoreWal::sync`].
    ///
    /// # Errors
    ///
    /// `Invalid` for a record beyond the limits; `Busy` when the batches are used up: sync, then try again; `Failed`
    /// after a failed write: reopen.
    ///
    /// # Panics
    ///
    /// When an invariant of the log is broken: a defect of this crate.
    pub fn append(&mut self, record: &WalRecord<'_>) -> Result<Lsn> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        let bytes = self.limits.check(record)?;
        record.encoded(self.limits.spec.token, |record| {
            if let Some(lsn) = self.open_batch.as_mut().and_then(|batch| batch.append(record)) {
                self.next_lsn = lsn.next();
                return Ok(lsn);
            }
            if self.queue.len() >= self.options.batches_max {
                return Err(busy());
            }
            let mut fresh = if bytes > self.pool.batch_bytes() {
                Batch::of_its_own(bytes, self.next_lsn)
            } else {
                self.pool.take(self.next_lsn).ok_or_else(busy)?
            };
            let lsn = fresh.append(record).expect("a fresh batch has room for the record it was made for");
            self.close_batch();
            self.open_batch = Some(fresh);
            self.next_lsn = lsn.next();
            Ok(lsn)
        })
    }

    /// Makes everything appended durable and returns the high-water mark: that LSN and all below are promised.
    ///
    /// # Errors
    ///
    /// `Full` when there is no space for the next segment: nothing is lost; free some and sync again. `Failed` when
    /// a write or sync failed, now or earlier: records above the high-water mark may or may not be there; reopen.
    pub async fn sync(&mut self) -> Result<Lsn> {
        self.close_batch();
        let Writer { log, numbers } = present(&mut self.writer);
        let outcome = log.run(&mut self.queue, numbers).await;
        self.high_water = log.marks().acknowledged;
        outcome.map(|()| self.high_water)
    }

    /// Makes it a log that is written while it is appended to, by the thread that appends: whatever waits for the disk
    /// moves the writes in flight along.
    ///
    /// # Errors
    ///
    /// `Failed` after a failed write: reopen.
    pub fn pipeline(self) -> Result<Pipeline<E>> {
        Pipeline::new(self, false)
    }

    /// The same, written in the background ([`Env::spawn`]): a commit moves along while the caller does something else.
    ///
    /// # Errors
    ///
    /// `Failed` after a failed write, or when the system starts no background work: reopen.
    pub fn pipeline_in_background(self) -> Result<Pipeline<E>> {
        Pipeline::new(self, true)
    }

    /// Gives the writer to a pipeline, until [`CoreWal::take_back`].
    pub(super) fn lend(&mut self) -> Result<Lent<E>> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        let writer = self.writer.take().expect("a log has its writer");
        let (lock, queue) = (Arc::clone(&self.lock), std::mem::take(&mut self.queue));
        let marks = *writer.log.marks();
        Ok(Lent { writer, lock, queue, durable: marks.durable, taken: marks.appended })
    }

    /// The end of [`CoreWal::lend`]. Everything below `next_lsn` is durable.
    pub(super) fn take_back(&mut self, writer: Box<Writer<E>>, queue: Queue, next_lsn: Lsn) {
        self.high_water = writer.log.marks().acknowledged;
        assert_eq!(self.high_water.next(), next_lsn, "a pipeline ends when all of it is durable");
        self.next_lsn = next_lsn;
        self.queue = queue;
        self.writer = Some(writer);
    }

    /// The batch that is being filled.
    pub(super) fn take_open(&mut self) -> Option<Batch> {
        self.open_batch.take()
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Why nothing can be appended any more.
    fn failure(&self) -> Option<Error> {
        self.writer.as_ref().expect("a log has its writer").log.failure()
    }

    /// The greatest LSN such that it and all below are durable.
    pub fn high_water(&self) -> Lsn {
        self.high_water
    }

    /// Where the log lies.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The LSN that the next record gets.
    pub fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    /// The lives of the log, in order; the last is this one.
    pub fn lives(&self) -> &[Life] {
        &self.lives
    }

    /// Which log this is.
    pub fn id(&self) -> LogId {
        self.id
    }

    /// The environment that the log was opened in.
    pub fn env(&self) -> &E {
        &self.env
    }

    /// Reads the log back, from `cut` if there is one, through the high-water mark as it is now.
    ///
    /// # Errors
    ///
    /// `Failed` when the directory cannot be listed.
    pub async fn read(&self, cut: Option<Cut>) -> Result<WalReader<E::InlineVfs>> {
        let mut lives = self.lives.clone();
        if let Some(live) = lives.last_mut() {
            live.ceiling = Some(self.high_water());
        }
        let ahead = self.options.read_ahead_bytes;
        let log = MergedLog { dir: self.dir.clone(), log: self.id, lives, cut };
        let reader = WalReader::open(&self.vfs, &log, ahead).await?;
        Ok(reader.knowing(Arc::clone(&self.fronts)))
    }

    /// Gives up every segment whose records are all at or below `through`, and returns how many. The caller no
    /// longer needs those records. Once this has returned they are never read back, whatever crash comes: the log states
    /// durably where it begins before the first of them goes.
    ///
    /// # Errors
    ///
    /// `Full` when the segment in use has no room to state that, and there is no space for the next one: nothing was
    /// given up; free some space and trim again. `Failed` when the device fails: segments that were given up may still be
    /// there. Trim again, unless the log has failed; what stays harms nothing, and the next open removes it.
    ///
    /// # Panics
    ///
    /// When an invariant of the log is broken: a defect of this crate.
    pub async fn trim(&mut self, through: Lsn) -> Result<usize> {
        let mut lives = self.lives.clone();
        let retired = trim::retire(&self.vfs, &self.dir, &mut lives, through.min(self.high_water())).await?;
        let floor = lives.first().expect("the live life is never given up").first_segment;
        let Writer { log, numbers } = present(&mut self.writer);
        log.raise_floor(floor, self.queue.closed_through(), numbers).await?;
        self.lives = lives;
        self.given_up.extend(&retired);
        // Each is known until it is gone, also when this is dropped half-way.
        while let Some(one) = self.given_up.front().copied() {
            assert!(one.number < floor, "segment {} was given up, the log begins with {floor}", one.number);
            let gone = if numbers.spare.len() >= self.options.spare_segments {
                segment::remove(&self.vfs, &self.dir, one.number).await.map(|()| None)
            } else {
                let (number, identity) = numbers.fresh();
                let header = SegmentHeader { log: self.limits.spec, number, identity };
                trim::reuse(&self.vfs, &self.dir, one, &header).await
            };
            let Ok(spare) = gone else {
                // The next trim begins with another one.
                self.given_up.rotate_left(1);
                return gone.map(|_| 0);
            };
            self.given_up.pop_front();
            numbers.spare.extend(spare);
        }
        Ok(retired.len())
    }

    /// Syncs, proves it on disk, and closes. Dropping the log instead loses nothing that was promised.
    ///
    /// # Errors
    ///
    /// As [`CoreWal::sync`]; the log is closed all the same.
    pub async fn close(mut self) -> Result<Lsn> {
        let mark = self.sync().await?;
        present(&mut self.writer).log.close(self.queue.closed_through()).await?;
        Ok(mark)
    }

    fn close_batch(&mut self) {
        if let Some(batch) = self.open_batch.take() {
            self.queue.push(batch);
        }
    }
}

/// The same without `async`, for environments whose callers may block.
impl<E: Blocking> CoreWal<E> {
    /// [`CoreWal::open`], blocking.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_blocking(env: E, dir: impl AsRef<Path>, options: WalOptions) -> Result<WalOpened<E>> {
        env.clone().block_on(Self::open(env, dir, options))
    }

    /// [`CoreWal::sync`], blocking.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn sync_blocking(&mut self) -> Result<Lsn> {
        self.env.clone().block_on(self.sync())
    }

    /// [`CoreWal::trim`], blocking.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn trim_blocking(&mut self, through: Lsn) -> Result<usize> {
        self.env.clone().block_on(self.trim(through))
    }

    /// [`CoreWal::close`], blocking.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn close_blocking(self) -> Result<Lsn> {
        self.env.clone().block_on(self.close())
    }

    /// Calls `with` for every promised record from `cut` on, in order, with its token and LSN.
    ///
    /// # Errors
    ///
    /// As [`WalReader::next`].
    pub fn read_blocking(
        &self,
        cut: Option<Cut>,
        mut with: impl FnMut(FencingToken, Lsn, WalRecord<'_>),
    ) -> Result<()> {
        self.env.block_on(async {
            let mut reader = self.read(cut).await?;
            while let Some(frame) = reader.next().await? {
                let token = frame.token();
                frame.for_each(|(lsn, record)| with(token, lsn, record));
            }
            Ok(())
        })
    }
}

/// Nobody sees a log whose writer a pipeline has: the pipeline has the log, too.
fn present<E: Env>(writer: &mut Option<Box<Writer<E>>>) -> &mut Writer<E> {
    writer.as_deref_mut().expect("a log has its writer")
}

fn busy() -> Error {
    Error::new(ErrorCode::BuffersFull, "every batch is full and none is synced: sync, then append again")
}

impl<E: Env> fmt::Debug for CoreWal<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dir, id, high_water, next_lsn, .. } = self;
        f.debug_struct("CoreWal")
            .field("dir", dir)
            .field("id", id)
            .field("high_water", high_water)
            .field("next_lsn", next_lsn)
            .finish_non_exhaustive()
    }
}

impl<E: Env> fmt::Debug for WalOpened<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wal, report } = self;
        f.debug_struct("WalOpened").field("wal", wal).field("report", report).finish()
    }
}
