//! One core's log, read as a stream of frames with borrowed records.
//!
//! ```text
//! life 1: segment ─► segment … up to its ceiling │ life 2: … up to its ceiling │ the live life: to the end of the log
//! ```
//!
//! 1. Nothing is believed without its checksum, salted by the identity of its segment; nothing is handed out that
//!    does not continue the chain and the LSNs of what came before.
//! 2. A life that has a ceiling must reach it. The live life must reach everything that is proven durable; what the
//!    frames beyond the first bad one say counts as proof, and their records never count at all.
//! 3. A read error is `Failed`: never the end of the log, and never corruption.
//! 4. Memory is bounded by the read-ahead or the largest frame; a length is believed only after its checksum.
//!    The epoch ends found are kept, a few words for each.
//! 5. Reading changes nothing on disk.

mod way;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::crc;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{Epoch, Lsn, SegmentNo};
use crate::limits::FRAME_HEADER_BYTES;
use crate::vfs::Vfs;
use crate::wal::diagnosis::{Refusal, Stand};
use crate::wal::evidence::{self, Evidence, evidence_in, scan_evidence};
use crate::wal::frame::{FrameHeader, FrameKind, HeaderFault, Predecessor, chain_after, stated_floor};
use crate::wal::frame_view::{Frame, records_are_whole};
use crate::wal::merged::MergedLog;
use crate::wal::scan::{Cut, EpochEndAt, Life, LogId, LogScan, LogTail};
use crate::wal::segment::{self, Front, Links};
use crate::wal::tail::{Next, Place, Reach, Verdict, judge};
use crate::wal::window::Window;

/// The segment that is being read.
struct Reading<F> {
    file: F,
    salt: u32,
    at: Stand,
    /// What `SegmentStart` must say; `None` where the life or the cut begins.
    predecessor: Option<Predecessor>,
    /// Segments of the same token behind it, without a valid `SegmentStart`.
    unlinked: Vec<SegmentNo>,
    /// What is missing behind it, if the life may do without.
    gap: Option<Error>,
}

/// The records of the frame that was read last.
#[derive(Clone, Copy)]
struct Current {
    offset: u64,
    frame_bytes: usize,
    first_lsn: Lsn,
}

/// Reads one core's log. See the module for what it promises.
pub struct WalReader<V: Vfs> {
    vfs: V,
    dir: PathBuf,
    log: LogId,
    lives: Vec<Life>,
    cut: Option<Cut>,
    catalog: Vec<SegmentNo>,
    /// What was read of the segments in `catalog`, or known before.
    links: Links,
    /// The fronts of segments that were read before, ascending, while nobody writes this log.
    fronts: Arc<[Front]>,
    window: Window,
    life: usize,
    reading: Option<Reading<V::File>>,
    chain: u32,
    next_lsn: Lsn,
    proven: Lsn,
    current: Option<Current>,
    /// The last epoch that ends before the cut, if its end was come across.
    before: Option<Epoch>,
    /// Where the log was looked at once more before it was refused.
    again_at: Option<(SegmentNo, u64)>,
    /// The epochs that end in the frame that is looked at, each with its place among the records.
    ends: Vec<(u32, Epoch)>,
    scan: LogScan,
    ended: bool,
}

impl<V: Vfs> WalReader<V> {
    /// A reader of `log`, over its lives, from its cut if there is one. Reads are of `read_ahead_bytes` at once, or of one
    /// frame where that is larger.
    ///
    /// The logs of a database are found by [`logs_in`](crate::logs_in); one that is open in this program reads itself
    /// ([`CoreWal::read`](crate::wal::CoreWal::read)).
    ///
    /// # Errors
    ///
    /// `Failed` when the directory cannot be listed; `Invalid` when the lives are out of order.
    pub async fn open(vfs: &V, log: &MergedLog, read_ahead_bytes: usize) -> Result<Self> {
        let MergedLog { dir, log, lives, cut } = log;
        if !in_order(lives) {
            let what = "the lives of a log are to be given in the order in which they were lived";
            return Err(Error::new(ErrorCode::BadOption, what).at(dir));
        }
        let catalog = segment::list(vfs, dir).await?;
        Ok(Self::over((vfs.clone(), dir), *log, lives.clone(), *cut, read_ahead_bytes, catalog))
    }

    /// [`WalReader::open`] of a log that nobody writes and whose segments were looked at before: `fronts`, ascending.
    pub(crate) fn of_fronts(
        place: (V, &Path),
        log: LogId,
        lives: Vec<Life>,
        cut: Option<Cut>,
        read_ahead_bytes: usize,
        fronts: Arc<[Front]>,
    ) -> Self {
        assert!(fronts.is_sorted_by_key(|front| front.header.number), "fronts out of order");
        let catalog = fronts.iter().map(|front| front.header.number).collect();
        Self { fronts, ..Self::over(place, log, lives, cut, read_ahead_bytes, catalog) }
    }

    fn over(
        (vfs, dir): (V, &Path),
        log: LogId,
        lives: Vec<Life>,
        cut: Option<Cut>,
        read_ahead_bytes: usize,
        catalog: Vec<SegmentNo>,
    ) -> Self {
        assert!(in_order(&lives), "lives out of order");
        let mut reader = Self {
            vfs,
            dir: dir.to_owned(),
            log,
            lives,
            cut: None,
            catalog,
            links: Links::new(),
            fronts: Arc::default(),
            window: Window::new(read_ahead_bytes),
            life: 0,
            reading: None,
            chain: 0,
            next_lsn: Lsn(1),
            proven: Lsn(0),
            current: None,
            before: None,
            again_at: None,
            ends: Vec::new(),
            scan: LogScan::default(),
            ended: false,
        };
        reader.start_life(0);
        reader.seek(cut);
        reader
    }

    /// The same reader, which need not read these fronts, ascending: each of them has a link.
    pub(crate) fn knowing(mut self, fronts: Arc<[Front]>) -> Self {
        assert!(fronts.iter().all(|front| front.link.is_some()), "a segment may get its link later");
        self.fronts = fronts;
        self
    }

    /// The next frame with records, or `None` at the end of the log.
    ///
    /// # Errors
    ///
    /// `Corrupt` when proven records are missing or bytes contradict each other, with file and offset: restore the
    /// file. `Failed` when the device fails to read: nothing is known then; try again.
    pub async fn next(&mut self) -> Result<Option<Frame<'_>>> {
        Ok(if self.advance().await? { Some(self.frame()) } else { None })
    }

    /// What was learnt so far.
    pub fn scan(&self) -> &LogScan {
        &self.scan
    }

    /// What was learnt.
    pub(crate) fn into_scan(self) -> LogScan {
        self.scan
    }

    /// The last epoch that ends before the cut, if its end was come across: not when that is in a segment before.
    pub(crate) fn epoch_before(&self) -> Option<Epoch> {
        self.before
    }

    /// The segment of the frame that was read last.
    pub(crate) fn segment(&self) -> SegmentNo {
        self.reading.as_ref().map_or(self.scan.end_segment, |reading| reading.at.number)
    }

    /// Moves to the next frame with records in range; [`WalReader::frame`] is it. False at the end.
    pub(crate) async fn advance(&mut self) -> Result<bool> {
        self.current = None;
        while !self.ended {
            let Some(life) = self.lives.get(self.life).copied() else {
                self.end(LogTail::Clean);
                break;
            };
            if life.ceiling.is_some_and(|ceiling| self.next_lsn > ceiling) {
                self.start_life(self.life + 1);
                continue;
            }
            if self.reading.is_none() {
                self.enter_life(&life).await?;
            }
            let (next, frame) = self.look().await?;
            let evidence = if next == Next::Valid { None } else { Some(self.gather().await?) };
            let short = evidence.is_some() && self.needed(&life) >= self.next_lsn;
            let reach = if short { Reach::Short } else { Reach::Met };
            match (judge(next, reach, self.place()), frame) {
                (Verdict::Replay, Some((header, header_crc))) => {
                    if self.take(&life, &header, header_crc) {
                        return Ok(true);
                    }
                }
                (Verdict::NextSegment, _) => self.enter_next(next).await?,
                (Verdict::End | Verdict::Torn, _) => self.end_of_log(next, evidence.unwrap_or_default()),
                (Verdict::Corrupt | Verdict::Replay, _) => {
                    if !self.looks_again(&life).await? {
                        let gap = self.reading.as_mut().and_then(|reading| reading.gap.take());
                        // Nothing here says that anything was ever written here.
                        let is_blank = matches!(next, Next::Zero | Next::BadHeader | Next::SegmentEnd)
                            && evidence.is_some_and(|evidence| evidence.frames == 0);
                        let gap = gap.filter(|_| is_blank);
                        return Err(gap.unwrap_or_else(|| self.refuse(next, &life)));
                    }
                }
            }
        }
        Ok(false)
    }

    /// The frame that [`WalReader::advance`] moved to.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub(crate) fn frame(&self) -> Frame<'_> {
        let current = self.current.expect("advance() has found a frame");
        let life = &self.lives[self.life];
        let bytes = self.window.get(current.offset, current.frame_bytes).expect("the frame is in the window");
        let above = self.cut.map_or(Lsn(0), |cut| cut.lsn);
        let through = life.ceiling.unwrap_or(Lsn(u64::MAX));
        let payload = &bytes[FRAME_HEADER_BYTES..];
        Frame { token: life.token, next_lsn: current.first_lsn, payload, above, through }
    }

    /// What is left of that frame when `bytes` of its records are, the first of them with `lsn`.
    pub(crate) fn frame_rest(&self, bytes: usize, lsn: Lsn) -> Frame<'_> {
        let mut frame = self.frame();
        let from = frame.payload.len() - bytes;
        frame.payload = &frame.payload[from..];
        frame.next_lsn = lsn;
        frame
    }

    fn start_life(&mut self, index: usize) {
        self.life = index;
        self.reading = None;
        if let Some(life) = self.lives.get(index) {
            self.next_lsn = life.first_lsn;
            self.proven = Lsn(life.first_lsn.0.saturating_sub(1));
        }
    }

    /// Skips what `cut` makes unnecessary.
    fn seek(&mut self, cut: Option<Cut>) {
        let Some(cut) = cut else { return };
        self.cut = Some(cut);
        let at = self.lives.iter().rposition(|life| life.first_segment <= cut.segment).unwrap_or(0);
        self.start_life(at);
    }

    /// What stands at the current place.
    async fn look(&mut self) -> Result<(Next, Option<(FrameHeader, u32)>)> {
        let life = &self.lives[self.life];
        let Reading { file, salt, at, .. } = self.reading.as_ref().expect("a segment is being read");
        let failed = |e| Error::io("reading a segment", &at.path, e);
        let (offset, limit) = (at.offset, at.limit);
        if at.closed {
            return Ok((Next::Closed, None));
        }
        if !self.window.ensure(file, offset, FRAME_HEADER_BYTES, limit).await.map_err(failed)? {
            return Ok((Next::SegmentEnd, None));
        }
        let bytes = self.window.get(offset, FRAME_HEADER_BYTES).unwrap_or_default();
        let (header, header_crc) = match FrameHeader::decode(*salt, offset, bytes) {
            Ok(found) => found,
            Err(HeaderFault::Zero) => return Ok((Next::Zero, None)),
            Err(HeaderFault::Crc) => return Ok((Next::BadHeader, None)),
            Err(HeaderFault::Fields) => return Ok((Next::Foreign, None)),
        };
        let owner = (header.core, header.token, header.segment);
        let frame_bytes = header.frame_bytes as usize;
        if owner != (self.log.core, life.token, at.number)
            || u64::from(header.frame_bytes) > at.spec.segment_bytes.saturating_sub(offset)
        {
            return Ok((Next::Foreign, None));
        }
        if !self.window.ensure(file, offset, frame_bytes, limit).await.map_err(failed)? {
            return Ok((Next::BadPayload, None));
        }
        let bytes = self.window.get(offset, frame_bytes).unwrap_or_default();
        let payload = bytes.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        let mut ends = std::mem::take(&mut self.ends);
        ends.clear();
        let next = self.follow(&header, payload, &self.lives[self.life], &mut ends);
        self.ends = ends;
        Ok((next, Some((header, header_crc))))
    }

    /// Whether the frame with a valid header and these payload bytes continues the log. The epochs that end in it are
    /// added to `ends`.
    fn follow(
        &self,
        header: &FrameHeader,
        payload: &[u8],
        life: &Life,
        ends: &mut Vec<(u32, Epoch)>,
    ) -> Next {
        let reading = self.reading.as_ref().expect("a segment is being read");
        let at = &reading.at;
        if header.payload_crc != crc(reading.salt, payload) {
            return Next::BadPayload;
        }
        if at.started == (header.kind == FrameKind::SegmentStart) {
            return Next::Foreign;
        }
        if header.kind == FrameKind::SegmentStart {
            return self.follow_start(header, payload, reading, life);
        }
        if header.chain != self.chain {
            return Next::WrongChain;
        }
        if header.first_lsn != self.next_lsn {
            return Next::WrongLsn;
        }
        if at.next.is_some_and(|(_, last)| header.next_lsn() > last.next()) {
            return Next::Beyond;
        }
        let whole = match header.kind {
            FrameKind::Records => records_are_whole(payload, header.records, ends),
            FrameKind::Seal => stated_floor(header, payload).is_some(),
            FrameKind::Close => at.next.is_none() && stated_floor(header, payload).is_some(),
            FrameKind::SegmentStart => true,
        };
        if whole { Next::Valid } else { Next::Foreign }
    }

    fn follow_start(
        &self,
        header: &FrameHeader,
        payload: &[u8],
        reading: &Reading<V::File>,
        life: &Life,
    ) -> Next {
        let Some((stated, _)) = Predecessor::decode(payload, header.segment) else { return Next::Foreign };
        if let Some(expected) = reading.predecessor {
            if stated != expected {
                return Next::Foreign;
            }
            if header.chain != self.chain {
                return Next::WrongChain;
            }
            return if header.first_lsn == self.next_lsn { Next::Valid } else { Next::WrongLsn };
        }
        // Where reading begins: the first segment of a token begins the chain, any other goes on with it.
        if stated.segment == SegmentNo(0) && header.chain != 0 {
            return Next::WrongChain;
        }
        let fits = match self.cut {
            Some(cut) if cut.segment == reading.at.number => header.first_lsn <= cut.lsn.next(),
            _ => header.first_lsn == life.first_lsn,
        };
        if fits { Next::Valid } else { Next::WrongLsn }
    }

    /// Steps over a valid frame and tells whether it has records in range.
    fn take(&mut self, life: &Life, header: &FrameHeader, header_crc: u32) -> bool {
        let at = &mut self.reading.as_mut().expect("a segment is being read").at;
        let offset = at.offset;
        at.offset += u64::from(header.frame_bytes).next_multiple_of(at.spec.unit());
        at.started = true;
        at.closed = header.kind == FrameKind::Close;
        assert!(header.first_lsn >= self.next_lsn || header.kind == FrameKind::SegmentStart);
        self.chain = chain_after(header.chain, header_crc);
        self.next_lsn = header.next_lsn();
        self.proven = self.proven.max(header.durable_through);
        self.scan.closed_through = self.scan.closed_through.max(header.closed_through);
        self.scan.greatest_lsn = self.scan.greatest_lsn.max(Lsn(self.next_lsn.0 - 1));
        let above = self.cut.map_or(Lsn(0), |cut| cut.lsn);
        let through = life.ceiling.unwrap_or(Lsn(u64::MAX));
        if header.kind != FrameKind::Records {
            return false;
        }
        let lsn_at = |place: &u32| Lsn(header.first_lsn.0 + u64::from(*place));
        self.before = self
            .ends
            .iter()
            .rev()
            .find(|(place, _)| lsn_at(place) <= above)
            .map(|(_, epoch)| *epoch)
            .or(self.before);
        if header.next_lsn() <= above.next() {
            return false;
        }
        self.current =
            Some(Current { offset, frame_bytes: header.frame_bytes as usize, first_lsn: header.first_lsn });
        let first = header.first_lsn.max(above.next());
        let last = Lsn(header.next_lsn().0 - 1).min(through);
        let records = (last.0 + 1).saturating_sub(first.0);
        let ends = self.ends.iter().map(|(place, epoch)| (lsn_at(place), *epoch));
        let in_range = ends.filter(|(lsn, _)| (first..=last).contains(lsn));
        let token = life.token;
        self.scan.epoch_ends.extend(in_range.map(|(lsn, epoch)| EpochEndAt { token, epoch, lsn }));
        self.scan.records += records;
        self.scan.prefix_end = Lsn(self.next_lsn.0 - 1).min(through);
        records > 0
    }

    /// The segments behind the end of the log that were prepared and never written to, as far as that is certain: when the live
    /// life was closed. Of one that was interrupted, writes may still come in.
    pub(crate) fn unused(&self) -> &[SegmentNo] {
        self.reading.as_ref().filter(|reading| reading.at.closed).map_or(&[], |reading| &reading.unlinked)
    }

    /// Where reading has got to.
    fn at(&self) -> &Stand {
        &self.reading.as_ref().expect("a segment is being read").at
    }

    fn place(&self) -> Place {
        let at = self.at();
        match (at.started, at.next) {
            (false, _) => Place::Start,
            (true, None) => Place::Last,
            (true, Some(_)) => Place::Sealed,
        }
    }

    /// The LSN that the life must reach from here.
    fn needed(&self, life: &Life) -> Lsn {
        let at = self.at();
        let stated = at.next.map_or(Lsn(0), |(_, last)| last);
        let cut = self.cut.filter(|_| self.life + 1 == self.lives.len()).map_or(Lsn(0), |cut| cut.lsn);
        let proven = if life.ceiling.is_some() { Lsn(0) } else { self.proven };
        // A ceiling above a sealed segment's end is reached in a later segment.
        let ceiling = if at.next.is_some() { Lsn(0) } else { life.ceiling.unwrap_or(Lsn(0)) };
        let wanted = if at.next.is_some() { stated } else { proven.max(cut) };
        wanted.max(ceiling)
    }

    /// Reads the marks of everything behind the current place.
    async fn gather(&mut self) -> Result<Evidence> {
        let reading = self.reading.as_mut().expect("a segment is being read");
        let Reading { file, salt, at, unlinked, .. } = reading;
        // Behind a seal the rest of the segment says nothing that the next segment does not say better, and behind its end a
        // life says nothing at all.
        if at.next.is_some() || at.closed {
            return Ok(Evidence::default());
        }
        let stretch = (at.offset, at.limit);
        // What was read ahead need not be read again; what was not is read in large pieces.
        let mut wide = Window::new(evidence::READ_AHEAD_BYTES);
        let window = if self.window.covers(at.offset..at.limit) { &mut self.window } else { &mut wide };
        let mut evidence = scan_evidence(window, (&*file, &at.path), *salt, at.spec.unit(), stretch).await?;
        let (mut cut_off, mut silent) = (None, None);
        for &number in &*unlinked {
            let behind = segment::read_first_frame(&self.vfs, &self.dir, number).await?;
            let more = evidence_in(&behind).await?;
            if more.least_lsn.is_some_and(|least| least <= self.next_lsn) {
                cut_off.get_or_insert(behind.path);
            } else {
                silent.get_or_insert((number, behind.path));
            }
            evidence.merge(&more);
        }
        (at.cut_off, at.silent) = (cut_off, silent);
        self.proven = self.proven.max(evidence.durable_through);
        self.scan.closed_through = self.scan.closed_through.max(evidence.closed_through);
        self.scan.greatest_lsn = self.scan.greatest_lsn.max(evidence.greatest_lsn);
        Ok(evidence)
    }

    fn end_of_log(&mut self, next: Next, evidence: Evidence) {
        let tail = match next {
            _ if evidence.frames > 0 => LogTail::Torn,
            Next::BadHeader => LogTail::Residue,
            _ => LogTail::Clean,
        };
        let at = self.at();
        if tail == LogTail::Torn {
            tracing::debug!(
                target: "highwater::wal",
                core = self.log.core.0,
                segment = at.number.0,
                offset = at.offset,
                lsn = self.next_lsn.0,
                frames_behind = evidence.frames,
                "torn tail cut",
            );
        }
        self.end(tail);
    }

    fn end(&mut self, tail: LogTail) {
        self.ended = true;
        self.scan.tail = tail;
        let last = self.lives.last();
        self.scan.prefix_end = match last.and_then(|life| life.ceiling) {
            Some(ceiling) => ceiling,
            None => Lsn(self.next_lsn.0 - 1),
        };
        self.scan.proven = self.proven.min(self.scan.prefix_end);
        self.scan.greatest_lsn = self.scan.greatest_lsn.max(self.scan.prefix_end);
        if let Some(Reading { at, .. }) = &self.reading {
            self.scan.end_segment = at.number;
            self.scan.end_offset = at.offset;
        }
    }

    fn refuse(&self, found: Next, life: &Life) -> Error {
        let (dir, core, next_lsn) = (self.dir.as_path(), self.log.core, self.next_lsn);
        Refusal { dir, core, at: self.at(), found, next_lsn, needed: self.needed(life) }.error()
    }
}

/// Whether `lives` are in the order in which they were lived.
fn in_order(lives: &[Life]) -> bool {
    lives.is_sorted_by_key(|life| (life.first_segment, life.token))
}

impl<V: Vfs> fmt::Debug for WalReader<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dir, log, next_lsn, .. } = self;
        f.debug_struct("WalReader")
            .field("dir", dir)
            .field("log", log)
            .field("next_lsn", next_lsn)
            .finish_non_exhaustive()
    }
}
