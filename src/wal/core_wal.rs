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
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::{Blocking, Entropy, Env};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{FencingToken, Lsn, Nonce, SegmentNo};
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::vfs::{Vfs, renew_dir, retry};
use crate::wal::batch::{Batch, Pool};
use crate::wal::feed::Queue;
use crate::wal::frame::Predecessor;
use crate::wal::life::{LifeBuilder, LifeSpec, LifeStart, record_bytes_max};
use crate::wal::lives::{Discovery, discover};
use crate::wal::log::{CoreLog, Feed, Segments};
use crate::wal::options::WalOptions;
use crate::wal::reader::WalReader;
use crate::wal::record::WalRecord;
use crate::wal::scan::{Cut, Life, LogId, LogScan, Tail};
use crate::wal::segment::{self, Front, Link, LogSpec, Prepared, SegmentHeader};
use crate::wal::trim::{self, Retired};

/// What an open found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WalReport {
    /// What the log held. `scan.prefix_end` is the last LSN of the life before.
    pub scan: LogScan,
    /// How that log ended.
    pub tail: Tail,
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
struct Numbers<N> {
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

/// A write-ahead log. One writer; `Send` whenever the disk's files are.
pub struct CoreWal<E: Env> {
    vfs: E::InlineVfs,
    dir: PathBuf,
    id: LogId,
    log: CoreLog<E::InlineVfs>,
    lives: Vec<Life>,
    /// Of the segments that were there once the log was open.
    fronts: Arc<[Front]>,
    numbers: Numbers<E::Entropy>,
    pool: Arc<Pool>,
    open_batch: Option<Batch>,
    queue: Queue,
    queued: usize,
    next_lsn: Lsn,
    options: WalOptions,
    /// Segments below the floor that are still to be removed or recycled.
    given_up: VecDeque<Retired>,
    env: E,
    _lock: <E::InlineVfs as Vfs>::Lock,
}

impl<E: Env> CoreWal<E> {
    /// Opens the log in `dir`, or creates it there; recovers what it holds.
    ///
    /// # Errors
    ///
    /// `Busy` while somebody has it open. `Corrupt` when proven records are missing or bytes contradict each other:
    /// nothing was changed. `Full` without space for a first segment. `Failed` when the device fails. `Invalid` for
    /// options outside their limits.
    pub async fn open(env: E, dir: &Path, options: WalOptions) -> Result<WalOpened<E>> {
        let vfs = env.inline_vfs().map_err(|e| Error::io("opening the disk", dir, e))?;
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
            trim::remove(&vfs, dir, *leftover).await?;
        }
        let kept = fronts.iter().filter(|front| !leftovers.contains(&front.header.number));
        let fronts = kept.copied().chain([front]).collect();
        let report =
            WalReport { tail: scan.tail, scan, carried, token: start.spec.token, next_lsn: start.next_lsn };
        let batch_bytes = options.batch_bytes.min(record_bytes_max(&start.spec));
        let wal = Self {
            vfs,
            dir: dir.to_owned(),
            id,
            log,
            lives,
            fronts,
            numbers,
            pool: Pool::new(options.batches_max, batch_bytes),
            open_batch: None,
            queue: Queue::closed_through(report.scan.closed_through),
            queued: 0,
            next_lsn: start.next_lsn,
            options,
            given_up: VecDeque::new(),
            env,
            _lock: lock,
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
        if let Some(error) = self.log.failure() {
            return Err(error);
        }
        let token = self.log.spec().token;
        record.encoded(token, |record| {
            let bytes = record.encoded_bytes();
            let record_max = record_bytes_max(self.log.spec());
            if record.key.len() > KEY_BYTES_MAX || record.value.len() > VALUE_BYTES_MAX || bytes > record_max
            {
                return Err(Error::invalid(format!(
                    "a record of {} key and {} value bytes; keys end at {KEY_BYTES_MAX}, values at \
                     {VALUE_BYTES_MAX}, and a record of this log at {record_max} in all",
                    record.key.len(),
                    record.value.len()
                )));
            }
            if let Some(lsn) = self.open_batch.as_mut().and_then(|batch| batch.append(record)) {
                self.next_lsn = lsn.next();
                return Ok(lsn);
            }
            if self.queued >= self.options.batches_max {
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
        self.log.run(&mut self.queue, &mut self.numbers).await?;
        self.queued = 0;
        Ok(self.high_water())
    }

    /// The greatest LSN such that it and all below are durable.
    pub fn high_water(&self) -> Lsn {
        self.log.marks().acknowledged
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
        let reader = WalReader::open(self.vfs.clone(), &self.dir, self.id, lives, cut, ahead).await?;
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
        self.log.raise_floor(floor, self.queue.closed_through(), &mut self.numbers).await?;
        self.lives = lives;
        self.given_up.extend(&retired);
        while let Some(one) = self.given_up.pop_front() {
            assert!(one.number < floor, "segment {} was given up, the log begins with {floor}", one.number);
            if self.numbers.spare.len() >= self.options.spare_segments {
                trim::remove(&self.vfs, &self.dir, one.number).await?;
                continue;
            }
            let (number, identity) = self.numbers.fresh();
            let header = SegmentHeader { log: *self.log.spec(), number, identity };
            self.numbers.spare.extend(trim::reuse(&self.vfs, &self.dir, one, &header).await?);
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
        self.log.seal(self.queue.closed_through()).await?;
        Ok(mark)
    }

    fn close_batch(&mut self) {
        if let Some(batch) = self.open_batch.take() {
            self.queue.push(batch);
            self.queued += 1;
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
    pub fn open_blocking(env: E, dir: &Path, options: WalOptions) -> Result<WalOpened<E>> {
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

fn busy() -> Error {
    Error::new(ErrorKind::Busy, "every batch is full and none is synced: sync, then append again")
}

fn lock_error(dir: &Path, source: io::Error) -> Error {
    if source.kind() == io::ErrorKind::WouldBlock {
        return Error::new(ErrorKind::Busy, "somebody has this log open: close it there first").at(dir);
    }
    Error::io("locking the log", dir, source)
}

/// Locks `dir`, and makes it first if it is missing.
async fn lock<V: Vfs>(vfs: &V, dir: &Path) -> Result<V::Lock> {
    match vfs.lock(dir).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_dir(vfs, dir).await?;
            vfs.lock(dir).await.map_err(|e| lock_error(dir, e))
        }
        locked => locked.map_err(|e| lock_error(dir, e)),
    }
}

/// Makes `dir` if it is missing; its parent must exist.
async fn create_dir<V: Vfs>(vfs: &V, dir: &Path) -> Result<()> {
    match retry(|| vfs.create_dir(dir)).await {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io("creating the log's directory", dir, error))
        }
        _ => Ok(()),
    }
}

/// Makes the name of `dir`, in which no log has begun, durable: also if a sync of it failed before.
async fn renew_name<V: Vfs>(vfs: &V, dir: &Path, nonce: Nonce) -> Result<()> {
    renew_dir(vfs, dir, nonce).await.map_err(|e| Error::io("renewing the log's directory", dir, e))?;
    let Some(parent) = dir.parent() else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    retry(|| vfs.sync_dir(parent)).await.map_err(|e| Error::io("creating the log's directory", parent, e))
}

/// Which log this is: what its segments say, or for a new one what the options say.
fn identify<N: Entropy>(dir: &Path, options: &WalOptions, found: &Discovery, entropy: &N) -> Result<LogId> {
    let Some(id) = found.id else {
        let database = options.database.unwrap_or_else(|| entropy.nonce());
        return Ok(LogId { database, core: options.core });
    };
    if id.core != options.core || options.database.is_some_and(|database| database != id.database) {
        return Err(Error::invalid(format!(
            "the log belongs to database {}, core {}; the options name another: open it with those, or another \
             directory",
            id.database, id.core
        ))
        .at(dir));
    }
    Ok(id)
}

fn check_trimmed(dir: &Path, options: &WalOptions, found: &Discovery) -> Result<()> {
    match options.trimmed_through {
        Some(known) if found.trimmed_through > known => Err(Error::corrupt(
            dir,
            format!(
                "the log begins above LSN {}, and was trimmed through {known} only: its first segments are missing; \
                 restore them from a backup",
                found.trimmed_through
            ),
        )),
        _ => Ok(()),
    }
}

/// The log as an open finds it: nobody else writes it.
struct OldLog<'a, V> {
    vfs: &'a V,
    dir: &'a Path,
    id: LogId,
    /// Of all segments.
    fronts: &'a Arc<[Front]>,
    read_ahead_bytes: usize,
}

impl<V: Vfs> OldLog<'_, V> {
    fn reader(&self, lives: Vec<Life>, cut: Option<Cut>) -> WalReader<V> {
        let (place, fronts) = ((self.vfs.clone(), self.dir), Arc::clone(self.fronts));
        WalReader::of_fronts(place, self.id, lives, cut, self.read_ahead_bytes, fronts)
    }

    async fn scan(&self, lives: &[Life]) -> Result<LogScan> {
        let mut reader = self.reader(lives.to_vec(), None);
        while reader.advance().await? {}
        Ok(reader.into_scan())
    }
}

/// Ends the last of `lives` at the proven mark. A life of which nothing is proven is left out: its first
/// `SegmentStart` may be in the page cache only, so that the new life may not build on it. All of its records are
/// carried, and the life before it keeps the ceiling that it had.
fn drop_unproven(lives: &mut Vec<Life>, proven: Lsn) {
    let Some(last) = lives.last_mut() else { return };
    if last.first_lsn <= proven {
        last.ceiling = Some(proven);
    } else {
        lives.pop();
    }
}

/// A life that has begun, and the log that goes on with it.
struct Begun<V: Vfs> {
    start: LifeStart,
    log: CoreLog<V>,
    /// Of its first segment.
    front: Front,
    /// Count of the records that were written again.
    carried: u64,
}

/// Begins the life of this open and carries into it what is read but not proven.
async fn begin<V: Vfs>(
    old: &OldLog<'_, V>,
    found: &Discovery,
    scan: &LogScan,
    segments: &mut impl Segments,
    options: &WalOptions,
) -> Result<Begun<V>> {
    let (segment, identity) = segments.fresh();
    let token = FencingToken(found.greatest_token.0 + 1);
    let write_unit = found.shape.map_or(options.write_unit, |(unit, _)| unit);
    let log = LogSpec {
        database: old.id.database,
        core: old.id.core,
        token,
        write_unit,
        segment_bytes: options.segment_bytes,
    };
    let mut linked = found.lives.clone();
    drop_unproven(&mut linked, scan.proven);
    let floor = linked.first().map_or(segment, |oldest| oldest.first_segment);
    let spec = LifeSpec {
        log,
        segment,
        identity,
        first_lsn: scan.greatest_lsn.next(),
        closed_through: scan.closed_through,
        floor,
        predecessor: Predecessor {
            segment: SegmentNo(0),
            last_lsn: linked.last().and_then(|life| life.ceiling).unwrap_or_default(),
            token: linked.last().map_or(FencingToken(0), |life| life.token),
        },
    };
    let mut life = LifeBuilder::begin(old.vfs.clone(), old.dir, spec, options.batch_bytes).await?;
    let mut carried = 0;
    if let Some(before) = found.lives.last().filter(|_| scan.proven < scan.prefix_end) {
        let cut = Cut { segment: before.first_segment, lsn: scan.proven };
        let lives = vec![Life { ceiling: Some(scan.prefix_end), ..*before }];
        let mut reader = old.reader(lives, Some(cut));
        while reader.advance().await? {
            let mut frame = reader.frame();
            while let Some((_, record)) = frame.next_record() {
                life.carry(&record, segments).await?;
                carried += 1;
            }
        }
    }
    let (start, log) = life.finish_into_log(segments, options.depth).await?;
    let header = SegmentHeader { log: spec.log, number: segment, identity };
    let link = Link { token, predecessor: spec.predecessor };
    let front = Front { header, salt: header.salt(), link: Some(link) };
    Ok(Begun { start, log, front, carried })
}
