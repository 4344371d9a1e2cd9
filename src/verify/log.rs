//! A core's log from disk: record after record, as replay would see it, in the memory of one frame.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::decode::life::{Follower, Taken};
use super::decode::manifest::Manifest;
use super::decode::record::{Entry, Kind, Mark, record_at};
use super::decode::route::{Leg, Route};
use super::decode::segment::{FRAMES, FRONT_BYTES, FrameHeader, Front, RECORDS};
use super::report::{DamageKind, Finding};
use super::source::{Directory, Sequential};
use super::version;
use crate::vfs::Vfs;

/// The segments of a core.
pub(crate) struct Log {
    core: u16,
    /// All that are there with a sound header.
    pub(crate) fronts: BTreeMap<u64, Front>,
    /// Those that count.
    pub(crate) route: Route,
}

/// Nobody can tell which of the two sides of a gap is damaged.
const EITHER: &str = "if this file is what was written, the damage is in";

/// The file of segment `number`.
pub(crate) fn segment_path(core: u16, number: u64) -> String {
    format!("wal/{core:05}/{number:020}")
}

impl Log {
    /// Looks at every segment of `core`, which is of the database of `head` with this write unit. Bad ones below the
    /// floor are given to `found`, and do not count.
    ///
    /// # Errors
    ///
    /// Why the log cannot be followed.
    pub(crate) async fn open<V: Vfs>(
        directory: &Directory<V>,
        head: &Manifest,
        (core, unit): (u16, u32),
        mut found: impl FnMut(Finding),
    ) -> Result<Self, Finding> {
        let floor = head.floors[usize::from(core)];
        let mut bad = None;
        let log = Self::open_in_part(directory, head, (core, unit), |number, finding| match number {
            // It counts for nothing.
            number if number < floor => found(finding),
            _ => bad = bad.take().or(Some(finding)),
        });
        let log = log.await;
        // What follows from that a segment does not count is no damage of its own.
        bad.map_or(log, Err)
    }

    /// As [`Log::open`]; every bad segment is given to `found` with its number and does not count, also where what it held
    /// is missing.
    ///
    /// # Errors
    ///
    /// Why the log cannot be followed at all.
    pub(crate) async fn open_in_part<V: Vfs>(
        directory: &Directory<V>,
        head: &Manifest,
        (core, unit): (u16, u32),
        mut found: impl FnMut(u64, Finding),
    ) -> Result<Self, Finding> {
        let folder = format!("wal/{core:05}");
        let mut fronts = BTreeMap::new();
        for number in directory.numbers(&folder).await? {
            match front(directory, (core, number), head.database, unit).await {
                Ok(front) => {
                    fronts.insert(number, front);
                }
                // A running engine gives segments that count for nothing other names. One that counts is missed below.
                Err(_) if !directory.numbers(&folder).await?.contains(&number) => {}
                Err(finding) => found(number, finding.of_core(core)),
            }
        }
        let route = Route::find(&fronts, head, core).map_err(|(segment, why)| {
            let path = segment.map_or(folder, |number| segment_path(core, number));
            let missing = segment.is_some_and(|number| !fronts.contains_key(&number));
            let kind = if missing { DamageKind::Missing } else { DamageKind::Damaged };
            Finding::new(kind, path.as_ref(), why).of_core(core)
        })?;
        Ok(Self { core, fronts, route })
    }

    /// The log ends at `place`, a segment and an offset, where it must not.
    pub(crate) fn stops(&self, (segment, at): (u64, u64), why: &str) -> Finding {
        let path = |number| segment_path(self.core, number);
        let legs = &self.route.legs;
        let place = legs.iter().position(|leg| leg.segment == segment);
        let leg = |place: Option<usize>| Some(legs.get(place?)?.segment);
        // A segment that could not be prepared leaves its number unused, or a file that no log has gone through; one
        // that is lost or has a bad header is not among the fronts: those before and behind it in the log, those
        // beside it that are there, those that would be, and what the next one there says that it follows.
        let there = |number: (&u64, &Front)| *number.0;
        let next = self.fronts.range(segment.saturating_add(1)..).next();
        let followed = next.and_then(|(_, front)| front.start).map(|start| start.predecessor);
        let beside = [
            leg(place.and_then(|place| place.checked_sub(1))),
            leg(place.and_then(|place| place.checked_add(1))),
            self.fronts.range(..segment).next_back().map(there),
            segment.checked_sub(1).filter(|before| *before > 0),
            segment.checked_add(1),
            next.map(there),
            followed.filter(|followed| *followed > segment),
        ];
        let beside: BTreeSet<u64> = beside.into_iter().flatten().collect();
        let beside: Vec<String> = beside.into_iter().map(path).collect();
        let what = format!("{why}; {EITHER} {}", beside.join(" or "));
        Finding::new(DamageKind::Damaged, path(segment).as_ref(), what).at(at).of_core(self.core)
    }
}

/// What the front of segment `number` of `core` says, which is of this database and write unit.
pub(crate) async fn front<V: Vfs>(
    directory: &Directory<V>,
    (core, number): (u16, u64),
    database: u128,
    unit: u32,
) -> Result<Front, Finding> {
    let source = directory.open(segment_path(core, number)).await?;
    let length = usize::try_from(source.bytes).unwrap_or(usize::MAX).min(FRONT_BYTES);
    let bytes = source.read(0, length).await?;
    version::SEGMENT.check(&source, &bytes)?;
    let front = Front::read(&bytes, number).map_err(|why| source.damage(0, why))?;
    if front.header.database != database || front.header.core != core || front.header.unit != unit {
        return Err(source.damage(0, "is of another database, core or write unit"));
    }
    if front.header.bytes > source.bytes {
        let what = format!("has {} bytes, and its header says {}", source.bytes, front.header.bytes);
        return Err(source.damage(source.bytes, what));
    }
    Ok(front)
}

/// Where a reader stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Position {
    leg: usize,
    /// Where the next frame begins; zero before the first.
    at: u64,
    follower: Follower,
    /// The last LSN that was taken. Those of the next frame up to here are not given again.
    pub(crate) consumed: u64,
}

/// A record, where it was found.
pub(crate) struct LogRecord<'a> {
    pub(crate) token: u64,
    pub(crate) lsn: u64,
    pub(crate) entry: Entry<'a>,
    /// What the end of an epoch says.
    pub(crate) mark: Option<Mark>,
}

/// Reads a log, in order.
pub(crate) struct LogReader<'a, V: Vfs> {
    directory: &'a Directory<V>,
    log: &'a Log,
    /// In front of the frame that is being read.
    begin: Position,
    /// Behind it.
    end: Position,
    open: Option<(usize, Sequential<V::File>)>,
    payload: Bytes,
    /// Of the frame: where the next record begins, its LSN, and how many are left.
    next: (usize, u64, u32),
}

impl<'a, V: Vfs> LogReader<'a, V> {
    pub(crate) fn from(directory: &'a Directory<V>, log: &'a Log, position: Position) -> Self {
        let (begin, end) = (position.clone(), position);
        Self { directory, log, begin, end, open: None, payload: Bytes::new(), next: (0, 0, 0) }
    }

    /// Where the record that was given last ends.
    pub(crate) fn position(&self) -> Position {
        if self.next.2 == 0 {
            return self.end.clone();
        }
        Position { consumed: self.end.consumed, ..self.begin.clone() }
    }

    /// The last epoch that has ended, and the greatest that a frame calls closed on all cores.
    pub(crate) fn epochs(&self) -> (u64, u64) {
        (self.end.follower.last_epoch, self.end.follower.closed_through)
    }

    /// Where the log ends, once it has: the segment and the offset, and the last LSN there.
    pub(crate) fn place(&self) -> Option<(u64, u64, u64)> {
        let leg = self.log.route.legs.get(self.end.leg)?;
        Some((leg.segment, self.end.at.max(FRAMES), self.end.follower.last_lsn(leg)))
    }

    /// The next record that counts; none at the end of the log.
    pub(crate) async fn next(&mut self) -> Result<Option<LogRecord<'_>>, Finding> {
        loop {
            while self.next.2 == 0 {
                if !self.next_frame().await? {
                    return Ok(None);
                }
            }
            if self.skip_or_stay()? {
                return self.take().map(Some);
            }
        }
    }

    fn leg(&self) -> Leg {
        self.log.route.legs[self.end.leg]
    }

    /// Whether the next record is to be given; otherwise it has been passed.
    fn skip_or_stay(&mut self) -> Result<bool, Finding> {
        let (_, lsn, _) = self.next;
        if lsn > self.leg().through {
            // Nothing of this frame counts from here on.
            self.next.2 = 0;
            return Ok(false);
        }
        let consumed = self.begin.consumed.max(self.end.consumed);
        if lsn > consumed {
            return Ok(true);
        }
        self.take()?;
        self.end.consumed = consumed;
        Ok(false)
    }

    /// Takes the next record of the frame.
    fn take(&mut self) -> Result<LogRecord<'_>, Finding> {
        let (at, lsn, left) = self.next;
        let leg = self.leg();
        let entry = record_at(&self.payload, at);
        let bad = |why: String| {
            let path = segment_path(self.log.core, leg.segment);
            let what = format!("LSN {lsn}: {why}");
            Finding::new(DamageKind::Damaged, path.as_ref(), what).at(self.begin.at).of_core(self.log.core)
        };
        let entry = entry.map_err(bad)?;
        let behind = at + entry.encoded.len();
        if left == 1 && behind != self.payload.len() {
            return Err(bad("bytes behind the records of a frame".to_owned()));
        }
        let mark =
            (entry.kind == Kind::EpochEnd).then(|| Mark::read(entry.value)).transpose().map_err(bad)?;
        if let Some(mark) = &mark {
            self.end.follower.end_epoch(leg.token, lsn, mark).map_err(bad)?;
        }
        self.next = (behind, lsn + 1, left - 1);
        self.end.consumed = lsn;
        Ok(LogRecord { token: leg.token, lsn, entry, mark })
    }

    /// Goes on to the next frame; whether there is one.
    async fn next_frame(&mut self) -> Result<bool, Finding> {
        loop {
            let Some(leg) = self.log.route.legs.get(self.end.leg).copied() else { return Ok(false) };
            if self.end.at == 0 {
                self.end.follower.enter(&leg);
                self.end.at = FRAMES;
            }
            if let Some((frame, payload)) = self.frame(&leg).await? {
                let begin = self.end.clone();
                let taken = self.end.follower.take(&leg, &frame, &payload);
                match taken.map_err(|why| self.damage(&leg, frame.at, &why))? {
                    Taken::Frame(lsn) => {
                        self.begin = begin;
                        self.end.at = frame.after(self.log.fronts[&leg.segment].header.unit);
                        if frame.kind == RECORDS {
                            (self.payload, self.next) = (payload, (0, lsn, frame.records));
                            return Ok(true);
                        }
                        continue;
                    }
                    Taken::Behind => {}
                }
            }
            let ended = self.end.follower.leave(&leg);
            ended.map_err(|why| self.damage(&leg, self.end.at, &why))?;
            if self.end.leg + 1 == self.log.route.legs.len() {
                return Ok(false);
            }
            self.end.leg += 1;
            self.end.at = 0;
        }
    }

    /// The whole frame at the reader's place, if there is one.
    async fn frame(&mut self, leg: &Leg) -> Result<Option<(FrameHeader, Bytes)>, Finding> {
        let header = self.log.fronts[&leg.segment].header;
        let at = self.end.at;
        if at + 64 > header.bytes {
            return Ok(None);
        }
        if self.open.as_ref().is_none_or(|(leg, file)| *leg != self.end.leg || file.at() > at) {
            let source = self.directory.open(segment_path(self.log.core, leg.segment)).await?;
            self.open = Some((self.end.leg, Sequential::from(source, at)));
        }
        let Some((_, file)) = &mut self.open else { return Ok(None) };
        file.skip_to(at).await?;
        let Some(frame) = header.frame(at, file.peek(64).await?) else { return Ok(None) };
        file.take(64).await?;
        let payload = file.take(frame.payload_bytes).await?;
        Ok(header.holds(&frame, &payload).then_some((frame, payload)))
    }

    fn damage(&self, leg: &Leg, at: u64, why: &str) -> Finding {
        self.log.stops((leg.segment, at), why)
    }
}
