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

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::{RecordKind, crc};
use crate::error::{Error, Result};
use crate::ids::{FencingToken, Lsn, Nonce, SegmentNo};
use crate::limits::FRAME_HEADER_BYTES;
use crate::vfs::{OpenMode, Vfs, retry};
use crate::wal::epoch_end;
use crate::wal::evidence::{self, Evidence, evidence_in, scan_evidence};
use crate::wal::frame::{FrameHeader, FrameKind, HeaderFault, Predecessor, chain_after, seal_floor};
use crate::wal::frame_view::{Frame, records_are_whole};
use crate::wal::scan::{Cut, EpochEndAt, Life, LogId, LogScan, Tail};
use crate::wal::segment::{self, FRAMES_START, Front, Fronts, LogSpec, segment_path};
use crate::wal::tail::{Next, Place, Reach, Verdict, judge};
use crate::wal::window::Window;

/// The segment that is being read.
struct Reading<F> {
    number: SegmentNo,
    path: PathBuf,
    file: F,
    spec: LogSpec,
    identity: Nonce,
    salt: u32,
    /// Where its bytes end.
    limit: u64,
    offset: u64,
    /// Whether its `SegmentStart` was read.
    started: bool,
    /// What `SegmentStart` must say; `None` where the life or the cut begins.
    predecessor: Option<Predecessor>,
    /// The segment that says it follows, and the last LSN that it states.
    next: Option<(SegmentNo, Lsn)>,
    /// Segments of the same token behind it, without a valid `SegmentStart`.
    unlinked: Vec<SegmentNo>,
    /// The unlinked segment that should go on where this one ends, if that was found out.
    cut_off: Option<PathBuf>,
    /// Where reading the segment before it ended, and at what.
    behind: Option<(PathBuf, u64, Next)>,
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
    fronts: Arc<Fronts>,
    window: Window,
    life: usize,
    reading: Option<Reading<V::File>>,
    chain: u32,
    next_lsn: Lsn,
    proven: Lsn,
    current: Option<Current>,
    scan: LogScan,
    ended: bool,
}

impl<V: Vfs> WalReader<V> {
    /// A reader of the log in `dir`, over `lives` in their order, from `cut` if there is one. Reads are of
    /// `read_ahead_bytes` at once, or of one frame where that is larger.
    ///
    /// # Errors
    ///
    /// `Failed` when the directory cannot be listed.
    ///
    /// # Panics
    ///
    /// When `lives` are out of order.
    pub async fn open(
        vfs: V,
        dir: &Path,
        log: LogId,
        lives: Vec<Life>,
        cut: Option<Cut>,
        read_ahead_bytes: usize,
    ) -> Result<Self> {
        let catalog = segment::list(&vfs, dir).await?;
        Ok(Self::over(catalog, vfs, dir, log, lives, cut, read_ahead_bytes))
    }

    /// As [`WalReader::open`], where the segments in `dir` have been listed already.
    pub(crate) fn over(
        catalog: Vec<SegmentNo>,
        vfs: V,
        dir: &Path,
        log: LogId,
        lives: Vec<Life>,
        cut: Option<Cut>,
        read_ahead_bytes: usize,
    ) -> Self {
        assert!(lives.is_sorted_by_key(|life| (life.first_segment, life.token)), "lives out of order");
        let mut reader = Self {
            vfs,
            dir: dir.to_owned(),
            log,
            lives,
            cut: None,
            catalog,
            fronts: Arc::default(),
            window: Window::new(read_ahead_bytes),
            life: 0,
            reading: None,
            chain: 0,
            next_lsn: Lsn(1),
            proven: Lsn(0),
            current: None,
            scan: LogScan::default(),
            ended: false,
        };
        reader.start_life(0);
        reader.seek(cut);
        reader
    }

    /// The same reader, which need not read these fronts.
    pub(crate) fn knowing(mut self, fronts: &Arc<Fronts>) -> Self {
        self.fronts = Arc::clone(fronts);
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

    /// The segment of the frame that was read last.
    pub(crate) fn segment(&self) -> SegmentNo {
        self.reading.as_ref().map_or(self.scan.end_segment, |at| at.number)
    }

    /// Moves to the next frame with records in range; [`WalReader::frame`] is it. False at the end.
    pub(crate) async fn advance(&mut self) -> Result<bool> {
        self.current = None;
        while !self.ended {
            let Some(life) = self.lives.get(self.life).copied() else {
                self.end(Tail::Clean);
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
                (Verdict::Corrupt | Verdict::Replay, _) => return Err(self.refuse(next, &life)),
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

    /// Opens the first segment of `life`, or the one that the cut names.
    async fn enter_life(&mut self, life: &Life) -> Result<()> {
        let cut_here = self.cut.filter(|cut| {
            let next = self.lives.get(self.life + 1);
            cut.segment >= life.first_segment && next.is_none_or(|next| cut.segment < next.first_segment)
        });
        let number = cut_here.map_or(life.first_segment, |cut| cut.segment);
        let reading = self.open_segment(number, life, None).await?;
        if number == life.first_segment && reading.identity != life.identity {
            return Err(Error::corrupt(
                &reading.path,
                format!(
                    "the segment header at offset 0 has identity {}, the log of token {} began with {}: the file was \
                     exchanged; restore it from a backup",
                    reading.identity, life.token, life.identity
                ),
            ));
        }
        self.reading = Some(reading);
        Ok(())
    }

    /// Opens the segment that says it follows the current one.
    async fn enter_next(&mut self, stopped_at: Next) -> Result<()> {
        let before = self.reading.as_ref().expect("a segment is being read");
        let (number, last_lsn) = before.next.expect("only a sealed segment has a next one");
        let life = self.lives[self.life];
        let predecessor = Predecessor { segment: before.number, last_lsn, token: life.token };
        let behind = Some((before.path.clone(), before.offset, stopped_at));
        let mut reading = self.open_segment(number, &life, Some(predecessor)).await?;
        reading.behind = behind;
        self.reading = Some(reading);
        Ok(())
    }

    async fn open_segment(
        &mut self,
        number: SegmentNo,
        life: &Life,
        predecessor: Option<Predecessor>,
    ) -> Result<Reading<V::File>> {
        let path = segment_path(&self.dir, number);
        if self.catalog.binary_search(&number).is_err() {
            return Err(Error::corrupt(
                &path,
                format!("segment {number} of token {} is missing; restore it from a backup", life.token),
            ));
        }
        let opened = retry(|| self.vfs.open(&path, OpenMode::Read)).await;
        let file = opened.map_err(|e| Error::io("opening a segment", &path, e))?;
        let (header, salt) = match self.fronts.get(&number) {
            Some(front) => (front.header, front.salt),
            None => segment::read_header(&file, &path, number).await?,
        };
        self.check_owner(&header.log, life.token, number)?;
        let (next, unlinked) = self.find_next(number, life.token).await?;
        self.window.reset();
        Ok(Reading {
            number,
            path,
            file,
            spec: header.log,
            identity: header.identity,
            salt,
            limit: header.log.segment_bytes,
            offset: FRAMES_START,
            started: false,
            predecessor,
            next,
            unlinked,
            cut_off: None,
            behind: None,
        })
    }

    fn check_owner(&self, spec: &LogSpec, token: FencingToken, number: SegmentNo) -> Result<()> {
        let expected = (self.log.database, self.log.core, token);
        let found = (spec.database, spec.core, spec.token);
        if expected == found {
            return Ok(());
        }
        Err(Error::corrupt(
            &segment_path(&self.dir, number),
            format!(
                "the segment header at offset 0 belongs to database {}, core {}, token {}; the log being read is \
                 database {}, core {}, token {}: a file of another log was put here",
                found.0, found.1, found.2, expected.0, expected.1, expected.2
            ),
        ))
    }

    /// The segment of `token` that says it follows `number`, with the last LSN that it states; and the segments of
    /// that token which say nothing.
    async fn find_next(
        &mut self,
        number: SegmentNo,
        token: FencingToken,
    ) -> Result<(Option<(SegmentNo, Lsn)>, Vec<SegmentNo>)> {
        loop {
            let error = match self.find_next_listed(number, token).await {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            // A log that is being written gains segments after it was listed, not in the order of their numbers, and
            // loses some that were prepared and never used. Only what a fresh list repeats is true.
            let listed = segment::list(&self.vfs, &self.dir).await?;
            if listed == self.catalog {
                return Err(error);
            }
            self.catalog = listed;
        }
    }

    async fn find_next_listed(
        &mut self,
        number: SegmentNo,
        token: FencingToken,
    ) -> Result<(Option<(SegmentNo, Lsn)>, Vec<SegmentNo>)> {
        let mut unlinked = Vec::new();
        for &later in self.catalog.iter().filter(|later| **later > number) {
            let front = if let Some(front) = self.fronts.get(&later) {
                *front
            } else {
                let front = segment::read_first_frame(&self.vfs, &self.dir, later).await?.front();
                if front.predecessor.is_some() {
                    Arc::make_mut(&mut self.fronts).insert(later, front);
                }
                front
            };
            let Front { header, predecessor, .. } = front;
            if header.log.token != token {
                continue;
            }
            self.check_owner(&header.log, token, later)?;
            let Some(start) = predecessor else {
                unlinked.push(later);
                continue;
            };
            if start.segment == number {
                return Ok((Some((later, start.last_lsn)), unlinked));
            }
            if start.segment != SegmentNo(0) {
                let path = segment_path(&self.dir, start.segment);
                return Err(Error::corrupt(
                    &path,
                    format!(
                        "segment {later} says at offset {FRAMES_START} that it follows segment {} up to LSN {}, but \
                         behind segment {number} that one is missing; restore it from a backup",
                        start.segment, start.last_lsn
                    ),
                ));
            }
        }
        Ok((None, unlinked))
    }

    /// What stands at the current place.
    async fn look(&mut self) -> Result<(Next, Option<(FrameHeader, u32)>)> {
        let life = &self.lives[self.life];
        let at = self.reading.as_ref().expect("a segment is being read");
        let failed = |e| Error::io("reading a segment", &at.path, e);
        let (file, offset, limit) = (&at.file, at.offset, at.limit);
        if !self.window.ensure(file, offset, FRAME_HEADER_BYTES, limit).await.map_err(failed)? {
            return Ok((Next::SegmentEnd, None));
        }
        let bytes = self.window.get(offset, FRAME_HEADER_BYTES).unwrap_or_default();
        let (header, header_crc) = match FrameHeader::decode(at.salt, offset, bytes) {
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
        Ok((self.follow(&header, payload, life), Some((header, header_crc))))
    }

    /// Whether the frame with a valid header and these payload bytes continues the log.
    fn follow(&self, header: &FrameHeader, payload: &[u8], life: &Life) -> Next {
        let at = self.reading.as_ref().expect("a segment is being read");
        if header.payload_crc != crc(at.salt, payload) {
            return Next::BadPayload;
        }
        if at.started == (header.kind == FrameKind::SegmentStart) {
            return Next::Foreign;
        }
        if header.kind == FrameKind::SegmentStart {
            return self.follow_start(header, payload, at, life);
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
            FrameKind::Records => records_are_whole(payload, header.records),
            FrameKind::Seal => seal_floor(header, payload).is_some(),
            FrameKind::SegmentStart | FrameKind::Pad => true,
        };
        if whole { Next::Valid } else { Next::Foreign }
    }

    fn follow_start(&self, header: &FrameHeader, payload: &[u8], at: &Reading<V::File>, life: &Life) -> Next {
        let Some((stated, _)) = Predecessor::decode(payload, header.segment) else { return Next::Foreign };
        if let Some(expected) = at.predecessor {
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
            Some(cut) if cut.segment == at.number => header.first_lsn <= cut.lsn.next(),
            _ => header.first_lsn == life.first_lsn,
        };
        if fits { Next::Valid } else { Next::WrongLsn }
    }

    /// Steps over a valid frame and tells whether it has records in range.
    fn take(&mut self, life: &Life, header: &FrameHeader, header_crc: u32) -> bool {
        let at = self.reading.as_mut().expect("a segment is being read");
        let offset = at.offset;
        at.offset += u64::from(header.frame_bytes).next_multiple_of(at.spec.unit());
        at.started = true;
        assert!(header.first_lsn >= self.next_lsn || header.kind == FrameKind::SegmentStart);
        self.chain = chain_after(header.chain, header_crc);
        self.next_lsn = header.next_lsn();
        self.proven = self.proven.max(header.durable_through);
        self.scan.closed_through = self.scan.closed_through.max(header.closed_through);
        self.scan.greatest_lsn = self.scan.greatest_lsn.max(Lsn(self.next_lsn.0 - 1));
        let above = self.cut.map_or(Lsn(0), |cut| cut.lsn);
        let through = life.ceiling.unwrap_or(Lsn(u64::MAX));
        if header.kind != FrameKind::Records || header.next_lsn() <= above.next() {
            return false;
        }
        self.current =
            Some(Current { offset, frame_bytes: header.frame_bytes as usize, first_lsn: header.first_lsn });
        let (mut ends, mut records) = (Vec::new(), 0);
        let mut frame = self.frame();
        while let Some((lsn, record)) = frame.next_record() {
            records += 1;
            if record.kind == RecordKind::EpochEnd {
                let epoch = epoch_end::epoch_of(record.value).expect("checked when the frame was followed");
                ends.push(EpochEndAt { token: life.token, epoch, lsn });
            }
        }
        self.scan.records += records;
        self.scan.epoch_ends.append(&mut ends);
        self.scan.prefix_end = Lsn(self.next_lsn.0 - 1).min(through);
        records > 0
    }

    fn place(&self) -> Place {
        let at = self.reading.as_ref().expect("a segment is being read");
        match (at.started, at.next) {
            (false, _) => Place::Start,
            (true, None) => Place::Last,
            (true, Some(_)) => Place::Sealed,
        }
    }

    /// The LSN that the life must reach from here.
    fn needed(&self, life: &Life) -> Lsn {
        let at = self.reading.as_ref().expect("a segment is being read");
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
        let at = self.reading.as_ref().expect("a segment is being read");
        // Behind a seal the rest of the segment says nothing that the next segment does not say better.
        if at.next.is_some() {
            return Ok(Evidence::default());
        }
        // What was read ahead need not be read again.
        let places = at.offset..at.limit;
        let mut own = Window::new(evidence::READ_AHEAD_BYTES);
        let window = if self.window.covers(&places) { &mut self.window } else { &mut own };
        let mut evidence = scan_evidence(window, &at.file, &at.path, at.salt, at.spec.unit(), places).await?;
        let is_full = Self::is_full(at);
        let (mut cut_off, mut silent) = (None, None);
        for &number in &at.unlinked {
            let behind = segment::read_first_frame(&self.vfs, &self.dir, number).await?;
            let more = evidence_in(&behind).await?;
            if more.least_lsn.is_some_and(|least| least <= self.next_lsn) {
                cut_off.get_or_insert(behind.path);
            } else {
                silent.get_or_insert(behind.path);
            }
            evidence.merge(&more);
        }
        if let Some(at) = &mut self.reading {
            // What a full segment lacks can only be in the next one, be it that all of that is gone.
            at.cut_off = cut_off.or(silent.filter(|_| is_full));
        }
        self.proven = self.proven.max(evidence.durable_through);
        self.scan.closed_through = self.scan.closed_through.max(evidence.closed_through);
        self.scan.greatest_lsn = self.scan.greatest_lsn.max(evidence.greatest_lsn);
        Ok(evidence)
    }

    fn end_of_log(&mut self, next: Next, evidence: Evidence) {
        let tail = match next {
            _ if evidence.frames > 0 => Tail::Torn,
            Next::BadHeader => Tail::Residue,
            _ => Tail::Clean,
        };
        let at = self.reading.as_ref().expect("a segment is being read");
        if tail == Tail::Torn {
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

    fn end(&mut self, tail: Tail) {
        self.ended = true;
        self.scan.tail = tail;
        let last = self.lives.last();
        self.scan.prefix_end = match last.and_then(|life| life.ceiling) {
            Some(ceiling) => ceiling,
            None => Lsn(self.next_lsn.0 - 1),
        };
        self.scan.proven = self.proven.min(self.scan.prefix_end);
        self.scan.greatest_lsn = self.scan.greatest_lsn.max(self.scan.prefix_end);
        if let Some(at) = &self.reading {
            self.scan.end_segment = at.number;
            self.scan.end_offset = at.offset;
        }
    }

    fn refuse(&self, next: Next, life: &Life) -> Error {
        let at = self.reading.as_ref().expect("a segment is being read");
        let needed = self.needed(life);
        tracing::debug!(
            target: "highwater::wal",
            core = self.log.core.0,
            segment = at.number.0,
            offset = at.offset,
            proven = needed.0,
            "evidence behind damage",
        );
        let claim = if !at.started {
            "the first frame of a segment is durable before the segment is named".to_owned()
        } else if needed >= self.next_lsn {
            format!("records through LSN {needed} are proven durable")
        } else {
            "no crash leaves that".to_owned()
        };
        if at.started && at.next.is_none() && at.cut_off.is_none() && Self::is_full(at) {
            let what = format!(
                "core {}, LSN {}: segment {} is full and no segment that follows it is there, yet {claim}; nothing was \
                 changed: restore this folder from a backup, or the database from a checkpoint",
                self.log.core, self.next_lsn, at.number,
            );
            return Error::corrupt(&self.dir, what);
        }
        let (path, offset, found) = Self::blame(next, at);
        Error::corrupt(
            path,
            format!(
                "core {}, offset {offset}, LSN {}: found {found}, yet {claim}; nothing was changed: restore this file \
                 from a backup, or the database from a checkpoint",
                self.log.core, self.next_lsn,
            ),
        )
    }

    /// Whether no records can come where reading has got to: none are ever in the last write unit of a segment.
    fn is_full(at: &Reading<V::File>) -> bool {
        at.limit.saturating_sub(at.offset) <= at.spec.unit()
    }

    /// The damaged place and what was found there: not always where reading could not go on.
    fn blame(next: Next, at: &Reading<V::File>) -> (&Path, u64, String) {
        let breaks_chain = next == Next::WrongChain && !at.started;
        match (&at.behind, &at.cut_off) {
            // Frames without records at the end of the segment before: only the chain misses them.
            (Some((path, offset, Next::BadHeader | Next::BadPayload)), _) if breaks_chain => {
                let found =
                    format!("no frame that leads to the chain with which {} begins", at.path.display());
                (path, *offset, found)
            }
            // Either such frames were never written, or this segment, of this identity, is from elsewhere.
            (Some((path, ..)), _) if breaks_chain => {
                let (found, before) = (next.describe(), path.display());
                let found = format!("{found}, in {before} (this segment has identity {})", at.identity);
                (&at.path, at.offset, found)
            }
            (_, Some(path)) => (
                path,
                FRAMES_START,
                format!("no valid first frame that goes on behind segment {}", at.number),
            ),
            _ => (&at.path, at.offset, next.describe().to_owned()),
        }
    }
}
