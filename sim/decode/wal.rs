//! The log of one core: segments, frames, records, lives with their ceilings.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::bytes::{crc, slice, u8_at, u16_at, u32_at, u64_at, u128_at};
use super::manifest::{CoreLife, Manifest};
use super::memo::{Content, Files};
use super::state::Mark;

/// Where frames begin.
const FRAMES: usize = 4096;

/// What a record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Put,
    Delete,
    Clear,
    EpochEnd,
}

/// A record that counts.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) token: u64,
    pub(super) lsn: u64,
    pub(super) kind: Kind,
    /// The file that it is in, and where: key and value.
    segment: Arc<Content>,
    key: Range<usize>,
    value: Range<usize>,
}

impl Record {
    pub(super) fn key(&self) -> &[u8] {
        &self.segment[self.key.clone()]
    }

    pub(super) fn value(&self) -> &[u8] {
        &self.segment[self.value.clone()]
    }
}

/// The log of one core.
#[derive(Debug, Default)]
pub(super) struct CoreLog {
    /// The records that count, in the order of replay: those of old lives up to their ceilings, and everything that
    /// can be followed of the last one.
    pub(super) records: Vec<Record>,
    /// Whether `records` reach back to the creation.
    pub(super) from_beginning: bool,
    /// The last epoch that ends in `records`.
    pub(super) last_epoch: u64,
    /// The greatest closed-through mark.
    pub(super) closed_through: u64,
    /// The segments that `records` are in, and the bytes that their headers state.
    pub(super) segments: Vec<(String, u64)>,
}

struct Segment<'a> {
    path: String,
    content: &'a Arc<Content>,
    bytes: &'a [u8],
    number: u64,
    token: u64,
    identity: u128,
    unit: usize,
    core: u16,
    salt: u32,
}

struct Frame<'a> {
    at: usize,
    kind: u8,
    first_lsn: u64,
    durable_through: u64,
    closed_through: u64,
    records: u32,
    chain: u32,
    header_crc: u32,
    payload: &'a [u8],
}

/// A record's kind, key and value, and what is behind it.
type Split<'a> = (Kind, &'a [u8], &'a [u8], &'a [u8]);

/// Splits the record off the front of `bytes`.
pub(super) fn split_record(bytes: &[u8]) -> Result<Split<'_>, String> {
    let (value_bytes, key_bytes) = (u32_at(bytes, 0)? as usize, usize::from(u16_at(bytes, 4)?));
    let kind = match u8_at(bytes, 6)? {
        1 => Kind::Put,
        2 => Kind::Delete,
        3 => Kind::Clear,
        4 => Kind::EpochEnd,
        other => return Err(format!("a record of kind {other}")),
    };
    let (key, value) = (slice(bytes, 8, key_bytes)?, slice(bytes, 8 + key_bytes, value_bytes)?);
    let shape = match kind {
        Kind::Put => true,
        Kind::Delete => value.is_empty(),
        Kind::Clear => key.is_empty() && value.is_empty(),
        Kind::EpochEnd => key.is_empty() && value.len() >= 28,
    };
    if u8_at(bytes, 7)? != 0 || !shape {
        return Err(format!("a {kind:?} of another shape"));
    }
    Ok((kind, key, value, &bytes[8 + key_bytes + value_bytes..]))
}

impl CoreLog {
    pub(super) fn read(files: &Files, head: &Manifest, core: u16, unit: u32) -> Result<Self, String> {
        let mut log = Self::default();
        let segments = segments_of(files, head.database, core, unit)?;
        let floor = head.floors[usize::from(core)];
        for (index, life) in head.lives.iter().enumerate() {
            let of_core = life.cores[usize::from(core)];
            let Some(first) = begin(&segments, life.token, &of_core, floor)? else {
                // Everything of this life is below the floor: allowed, unless it was read already.
                if log.records.is_empty() && of_core.ceiling.is_some() {
                    continue;
                }
                return Err(format!("life {}: no segment of it is there", life.token));
            };
            let whole = first == of_core.first_segment;
            log.from_beginning |= index == 0 && whole;
            log.follow(&segments, life.token, first, (whole, of_core))?;
        }
        log.check_marks_of_last_life(&segments, head)?;
        Ok(log)
    }

    /// Reads the life of `token` from segment `first` on.
    fn follow(
        &mut self,
        segments: &BTreeMap<u64, Segment<'_>>,
        token: u64,
        first: u64,
        (whole, life): (bool, CoreLife),
    ) -> Result<(), String> {
        let ceiling = life.ceiling.unwrap_or(u64::MAX);
        let mut at = first;
        let mut next_lsn = if whole { Some(life.first_lsn) } else { None };
        let mut chain = if whole { Some(0) } else { None };
        let mut before = 0;
        loop {
            let segment = segments.get(&at).ok_or_else(|| format!("segment {at} vanished"))?;
            let start = segment.start().ok_or_else(|| format!("{}: no SegmentStart", segment.path))?;
            let begins_life = at == life.first_segment;
            let states = (start.predecessor()?, start.stated_last()?);
            if begins_life != (states.0 == 0) || (at != first && states.0 != before) {
                return Err(format!("{}: names segment {} as its predecessor", segment.path, states.0));
            }
            self.segments.push((segment.path.clone(), segment.stated_bytes()?));
            let end = segments.values().find(|next| next.token == token && next.follows(at));
            let sealed_at =
                end.map(|end| end.start().map_or(Ok(0), |start| start.stated_last())).transpose()?;
            let through = ceiling.min(sealed_at.unwrap_or(u64::MAX));
            let last = self.follow_segment(segment, &mut next_lsn, &mut chain, through)?;
            let Some(next) = end.filter(|_| last < ceiling) else {
                if life.ceiling.is_some_and(|ceiling| last < ceiling) {
                    return Err(format!("{}: ends at LSN {last}, below the ceiling {ceiling}", segment.path));
                }
                return Ok(());
            };
            if sealed_at != Some(last) {
                return Err(format!("{}: sealed at LSN {sealed_at:?}, ends at {last}", segment.path));
            }
            (before, at) = (at, next.number);
        }
    }

    /// Takes the records of a segment up to LSN `through`; returns the last one.
    fn follow_segment(
        &mut self,
        segment: &Segment<'_>,
        next_lsn: &mut Option<u64>,
        chain: &mut Option<u32>,
        through: u64,
    ) -> Result<u64, String> {
        let mut at = FRAMES;
        while let Some(frame) = segment.frame(at) {
            let lsn = *next_lsn.get_or_insert(frame.first_lsn);
            let expected = *chain.get_or_insert(frame.chain);
            let stop = lsn > through;
            if stop && (frame.kind == 2 || frame.first_lsn != lsn) {
                break;
            }
            if frame.chain != expected || frame.first_lsn != lsn || (frame.kind == 1) != (at == FRAMES) {
                return Err(format!("{}, offset {at}: chain, LSN or kind do not continue", segment.path));
            }
            // The manifest has the floor.
            if frame.floor()?.unwrap_or(0) != 0 {
                return Err(format!("{}, offset {at}: a floor in the log of a database", segment.path));
            }
            // Invariant: a frame promises only what was durable before it was submitted.
            if frame.durable_through >= frame.first_lsn {
                return Err(format!(
                    "{}, offset {at}: durable-through {} in the frame of LSN {lsn}",
                    segment.path, frame.durable_through
                ));
            }
            let mut rest = frame.payload;
            for _ in 0..frame.records {
                let lsn = next_lsn.get_or_insert(lsn);
                let (kind, key, value, behind) =
                    split_record(rest).map_err(|why| format!("LSN {lsn}: {why}"))?;
                if *lsn <= through {
                    let key_at = frame.at + 64 + (frame.payload.len() - rest.len()) + 8;
                    let value_at = key_at + key.len();
                    let (key, value) = (key_at..value_at, value_at..value_at + value.len());
                    let (token, content) = (segment.token, Arc::clone(segment.content));
                    self.take(Record { token, lsn: *lsn, kind, segment: content, key, value })?;
                }
                *lsn += 1;
                rest = behind;
            }
            if frame.kind == 2 && !rest.is_empty() {
                return Err(format!("{}, offset {at}: bytes behind the records", segment.path));
            }
            *chain = Some(crc(expected, &frame.header_crc.to_le_bytes()));
            at = segment.after(&frame);
        }
        let read = next_lsn.unwrap_or(1) - 1;
        Ok(read.min(through))
    }

    fn take(&mut self, record: Record) -> Result<(), String> {
        if record.kind == Kind::EpochEnd {
            let mark = Mark::read(record.value())?;
            if mark.token > record.token || (self.last_epoch > 0 && mark.epoch != self.last_epoch + 1) {
                return Err(format!(
                    "LSN {}: epoch {} of token {} ends after epoch {}",
                    record.lsn, mark.epoch, mark.token, self.last_epoch
                ));
            }
            self.last_epoch = mark.epoch;
        }
        self.records.push(record);
        Ok(())
    }

    /// Nothing that a frame of the last life calls durable is missing.
    fn check_marks_of_last_life(
        &mut self,
        segments: &BTreeMap<u64, Segment<'_>>,
        head: &Manifest,
    ) -> Result<(), String> {
        let last =
            self.records.last().map_or(0, |record| if record.token == head.token { record.lsn } else { 0 });
        for segment in segments.values().filter(|segment| segment.token == head.token) {
            let mut at = FRAMES;
            while at + 64 <= segment.bytes.len() {
                if let Some(frame) = segment.header(at) {
                    let carried =
                        head.lives.last().map_or(0, |life| life.cores[usize::from(segment.core)].first_lsn);
                    if frame.durable_through > last.max(carried.saturating_sub(1)) {
                        return Err(format!(
                            "{}, offset {at}: LSN {} was durable, and the log ends at {last}",
                            segment.path, frame.durable_through
                        ));
                    }
                    self.closed_through = self.closed_through.max(frame.closed_through);
                }
                at += segment.unit;
            }
        }
        Ok(())
    }
}

/// The segment that reading a life begins with: its first, or the first that is still there.
fn begin(
    segments: &BTreeMap<u64, Segment<'_>>,
    token: u64,
    life: &CoreLife,
    floor: u64,
) -> Result<Option<u64>, String> {
    // Below the floor nothing counts: a crash may have undone the removal of one segment and not of the next.
    if floor <= life.first_segment {
        let first = segments.get(&life.first_segment).filter(|first| first.token == token);
        let first =
            first.ok_or_else(|| format!("segment {} is needed and missing (I6)", life.first_segment))?;
        if first.identity != life.identity {
            return Err(format!("{}: another identity than the manifest names", first.path));
        }
        return Ok(Some(life.first_segment));
    }
    let mut of_life = segments.values().filter(|segment| segment.token == token && segment.number >= floor);
    Ok(of_life.find(|segment| segment.start().is_some()).map(|segment| segment.number))
}

/// The folder of a core's log.
pub(super) fn folder(core: u16) -> String {
    format!("wal/{core:05}/")
}

fn segments_of(
    files: &Files,
    database: u128,
    core: u16,
    unit: u32,
) -> Result<BTreeMap<u64, Segment<'_>>, String> {
    let folder = folder(core);
    let mut segments = BTreeMap::new();
    for (path, bytes) in files.range(folder.clone()..).take_while(|(path, _)| path.starts_with(&folder)) {
        let name = &path[folder.len()..];
        if name.len() != 20 || !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let number = name.parse().map_err(|_| format!("{path}: no number"))?;
        let segment = Segment::read(path, bytes, number).map_err(|why| format!("{path}: {why}"))?;
        let theirs = u128_at(bytes, 16)? == database && segment.core == core && segment.unit == unit as usize;
        if !theirs || segment.stated_bytes()? > bytes.len() as u64 {
            return Err(format!("{path}: another database, core or unit, or too short"));
        }
        segments.insert(number, segment);
    }
    Ok(segments)
}

/// The greatest mark in a segment of a directory, whatever else is wrong there.
#[derive(Clone, Debug)]
pub(crate) struct Marked {
    /// The segment's path.
    pub(crate) path: String,
    /// Its identity.
    pub(crate) identity: u128,
    /// The greatest epoch that a frame of it calls closed on all cores; zero when nothing says that its life has
    /// begun, because then it may repeat what an interrupted open had found in a page cache.
    pub(crate) closed_through: u64,
}

/// What the frames of every segment that has a sound header say.
pub(crate) fn marks(files: &Files) -> Vec<Marked> {
    let database = files.get("IDENT").and_then(|ident| u128_at(ident, 16).ok());
    let sound = files.iter().filter(|(path, _)| path.starts_with("wal/")).filter_map(|(path, bytes)| {
        let number = path.rsplit('/').next()?.parse().ok()?;
        let theirs = database.is_none_or(|database| u128_at(bytes, 16) == Ok(database));
        Segment::read(path, bytes, number).ok().filter(|_| theirs)
    });
    let sound: Vec<Segment<'_>> = sound.collect();
    // Of each life of each core: the least and the greatest epoch called closed, and whether records came after that.
    let mut lives: BTreeMap<(u16, u64), (u64, u64, bool)> = BTreeMap::new();
    for segment in &sound {
        for frame in segment.frames() {
            let life = lives.entry((segment.core, segment.token)).or_insert((u64::MAX, 0, false));
            life.0 = life.0.min(frame.closed_through);
            life.1 = life.1.max(frame.closed_through);
            life.2 |= frame.kind == 2 && frame.durable_through > 0;
        }
    }
    let greatest = sound.iter().map(|segment| {
        let life = lives.get(&(segment.core, segment.token));
        let begun = life.is_some_and(|(least, greatest, records)| *records || greatest > least);
        let marks = segment.frames().map(|frame| frame.closed_through);
        let closed_through = marks.max().filter(|_| begun).unwrap_or(0);
        Marked { path: segment.path.clone(), identity: segment.identity, closed_through }
    });
    greatest.collect()
}

impl<'a> Segment<'a> {
    fn read(path: &str, content: &'a Arc<Content>, number: u64) -> Result<Self, String> {
        let bytes: &[u8] = content;
        let header = slice(bytes, 0, FRAMES)?;
        let salt = crc(0, &header[..124]);
        let rest = header[74..124] == [0; 50] && header[128..] == [0; FRAMES - 128];
        if &header[..8] != b"HWALSEG\0" || u32_at(header, 124)? != salt || u32_at(header, 8)? != 1 || !rest {
            return Err("a bad segment header".into());
        }
        if u64_at(header, 56)? != number {
            return Err(format!("the header says segment {}", u64_at(header, 56)?));
        }
        let stated = usize::try_from(u64_at(header, 64)?).map_err(|_| "a length beyond memory")?;
        Ok(Self {
            path: path.to_owned(),
            content,
            bytes: &bytes[..stated.min(bytes.len())],
            number,
            token: u64_at(header, 48)?,
            identity: u128_at(header, 32)?,
            unit: u32_at(header, 12)? as usize,
            core: u16_at(header, 72)?,
            salt,
        })
    }

    /// Every frame with a valid header, wherever it stands.
    fn frames(&self) -> impl Iterator<Item = Frame<'a>> + '_ {
        (FRAMES..self.bytes.len()).step_by(self.unit.max(512)).filter_map(|at| self.header(at))
    }

    fn stated_bytes(&self) -> Result<u64, String> {
        u64_at(self.bytes, 64)
    }

    fn start(&self) -> Option<Frame<'a>> {
        self.frame(FRAMES).filter(|frame| frame.kind == 1 && frame.payload.len() == 32)
    }

    fn follows(&self, number: u64) -> bool {
        self.start().is_some_and(|start| start.predecessor() == Ok(number))
    }

    /// The frame whose header at `at` is valid, with whatever payload.
    fn header(&self, at: usize) -> Option<Frame<'a>> {
        let header = slice(self.bytes, at, 64).ok()?;
        let place = crc(self.salt, &(at as u64).to_le_bytes());
        let header_crc = u32_at(header, 60).ok()?;
        let frame_bytes = u32_at(header, 0).ok()? as usize;
        if crc(place, &header[..60]) != header_crc || frame_bytes < 64 {
            return None;
        }
        let ours = u16_at(header, 6) == Ok(self.core)
            && u64_at(header, 8) == Ok(self.token)
            && u64_at(header, 16) == Ok(self.number)
            && header[5] == 0;
        let payload = slice(self.bytes, at + 64, frame_bytes - 64).ok()?;
        ours.then_some(Frame {
            at,
            kind: header[4],
            first_lsn: u64_at(header, 24).ok()?,
            durable_through: u64_at(header, 32).ok()?,
            closed_through: u64_at(header, 40).ok()?,
            records: u32_at(header, 48).ok()?,
            chain: u32_at(header, 56).ok()?,
            header_crc,
            payload,
        })
    }

    /// The whole frame at `at`.
    fn frame(&self, at: usize) -> Option<Frame<'a>> {
        let frame = self.header(at)?;
        let stated = u32_at(self.bytes, at + 52).ok()?;
        let sound = (frame.kind == 2) == (frame.records > 0) && (1..=4).contains(&frame.kind);
        (sound && crc(self.salt, frame.payload) == stated).then_some(frame)
    }

    /// Where the frame behind `frame` begins.
    fn after(&self, frame: &Frame<'_>) -> usize {
        (frame.at + 64 + frame.payload.len()).next_multiple_of(self.unit)
    }
}

impl Frame<'_> {
    fn predecessor(&self) -> Result<u64, String> {
        u64_at(self.payload, 0)
    }

    fn stated_last(&self) -> Result<u64, String> {
        u64_at(self.payload, 8)
    }

    /// The first segment that is needed, if frames of this kind say so.
    fn floor(&self) -> Result<Option<u64>, String> {
        match (self.kind, self.payload.len()) {
            (1, 32) => u64_at(self.payload, 24).map(Some),
            (3, 8) => u64_at(self.payload, 0).map(Some),
            (2, _) | (4, 0) => Ok(None),
            (kind, bytes) => Err(format!("a frame of kind {kind} with a payload of {bytes} bytes")),
        }
    }
}
