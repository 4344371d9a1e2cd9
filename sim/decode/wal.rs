//! The logs of the cores: segments, frames, records, lives with their ceilings, all in memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::format::bytes::{slice, u128_at};
use super::format::life::{Follower, Taken};
use super::format::manifest::Manifest;
use super::format::record::{Kind, Mark, record_at};
use super::format::route::{Leg, Route};
use super::format::segment::{FRAMES, FrameHeader, Front, RECORDS, SegmentHeader};
use super::memo::{Content, Files};

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
    /// How many of `records` there are through the end of each epoch that ends in them.
    pub(super) ends: BTreeMap<u64, usize>,
    /// Whether `records` reach back to the creation.
    pub(super) from_beginning: bool,
    /// The last epoch that ends in `records`.
    pub(super) last_epoch: u64,
    /// The greatest closed-through mark.
    pub(super) closed_through: u64,
    /// The segments that `records` are in, and the bytes that their headers state.
    pub(super) segments: Vec<(String, u64)>,
}

/// A segment in memory.
struct Segment<'a> {
    path: String,
    content: &'a Arc<Content>,
    /// As many as its header states, if they are there.
    bytes: &'a [u8],
    front: Front,
}

impl CoreLog {
    pub(super) fn read(files: &Files, head: &Manifest, core: u16, unit: u32) -> Result<Self, String> {
        let segments = segments_of(files, head.database, core, unit)?;
        let fronts = segments.iter().map(|(number, segment)| (*number, segment.front)).collect();
        let route = Route::find(&fronts, head, core).map_err(|(segment, why)| match segment {
            Some(number) => format!("{}{number:020}: {why}", folder(core)),
            None => why,
        })?;
        let mut log = Self { from_beginning: route.from_beginning, ..Self::default() };
        let mut follower = Follower::default();
        for leg in &route.legs {
            let segment = &segments[&leg.segment];
            log.segments.push((segment.path.clone(), segment.front.header.bytes));
            log.follow(segment, leg, &mut follower).map_err(|why| format!("{}: {why}", segment.path))?;
        }
        log.last_epoch = follower.last_epoch;
        log.check_marks_of_last_life(&segments, head, core)?;
        Ok(log)
    }

    /// Takes the records of a segment.
    fn follow(&mut self, segment: &Segment<'_>, leg: &Leg, follower: &mut Follower) -> Result<(), String> {
        follower.enter(leg);
        let mut at = FRAMES;
        while let Some((frame, payload)) = segment.frame(at) {
            let taken = follower.take(leg, &frame, payload).map_err(|why| format!("offset {at}: {why}"))?;
            let Taken::Frame(first) = taken else { break };
            let payload_at = index(at) + 64;
            let mut next = 0;
            for lsn in (first..).take(frame.records as usize) {
                let entry = record_at(payload, next).map_err(|why| format!("LSN {lsn}: {why}"))?;
                if lsn <= leg.through {
                    if entry.kind == Kind::EpochEnd {
                        let mark = Mark::read(entry.value)?;
                        follower.end_epoch(leg.token, lsn, &mark)?;
                        self.ends.insert(mark.epoch, self.records.len() + 1);
                    }
                    let key_at = payload_at + next + 8;
                    let value_at = key_at + entry.key.len();
                    let (key, value) = (key_at..value_at, value_at..value_at + entry.value.len());
                    let (token, kind, segment) = (leg.token, entry.kind, Arc::clone(segment.content));
                    self.records.push(Record { token, lsn, kind, segment, key, value });
                }
                next += entry.encoded.len();
            }
            if frame.kind == RECORDS && next != payload.len() {
                return Err(format!("offset {at}: bytes behind the records"));
            }
            at = frame.after(segment.front.header.unit);
        }
        follower.leave(leg)
    }

    /// Nothing that a frame of the last life calls durable is missing.
    fn check_marks_of_last_life(
        &mut self,
        segments: &BTreeMap<u64, Segment<'_>>,
        head: &Manifest,
        core: u16,
    ) -> Result<(), String> {
        let last =
            self.records.last().map_or(0, |record| if record.token == head.token { record.lsn } else { 0 });
        let life = head.lives.last().map(|life| life.cores[usize::from(core)]);
        let (carried, through) = life.map_or((0, 0), |life| (life.first_lsn, life.carried_through));
        if last.max(carried.saturating_sub(1)) < through {
            return Err(format!("the log ends at LSN {last}, and its life began with LSN {through}"));
        }
        for segment in segments.values().filter(|segment| segment.front.header.token == head.token) {
            for frame in segment.frames() {
                if frame.durable_through > last.max(carried.saturating_sub(1)) {
                    return Err(format!(
                        "{}, offset {}: LSN {} was durable, and the log ends at {last}",
                        segment.path, frame.at, frame.durable_through
                    ));
                }
                self.closed_through = self.closed_through.max(frame.closed_through);
            }
        }
        Ok(())
    }
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
        let SegmentHeader { database: of, core: its, unit: units, bytes: stated, .. } = segment.front.header;
        if of != database || its != core || units != unit || stated > bytes.len() as u64 {
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
            let life = lives.entry(segment.life()).or_insert((u64::MAX, 0, false));
            life.0 = life.0.min(frame.closed_through);
            life.1 = life.1.max(frame.closed_through);
            life.2 |= frame.kind == 2 && frame.durable_through > 0;
        }
    }
    let greatest = sound.iter().map(|segment| {
        let life = lives.get(&segment.life());
        let begun = life.is_some_and(|(least, greatest, records)| *records || greatest > least);
        let marks = segment.frames().map(|frame| frame.closed_through);
        let closed_through = marks.max().filter(|_| begun).unwrap_or(0);
        Marked { path: segment.path.clone(), identity: segment.front.header.identity, closed_through }
    });
    greatest.collect()
}

impl<'a> Segment<'a> {
    fn read(path: &str, content: &'a Arc<Content>, number: u64) -> Result<Self, String> {
        let bytes: &[u8] = content;
        let front = Front::read(bytes, number)?;
        let stated = usize::try_from(front.header.bytes).map_err(|_| "a length beyond memory")?;
        Ok(Self { path: path.to_owned(), content, bytes: &bytes[..stated.min(bytes.len())], front })
    }

    /// The core and token.
    fn life(&self) -> (u16, u64) {
        (self.front.header.core, self.front.header.token)
    }

    /// Every frame with a valid header, wherever it stands.
    fn frames(&self) -> impl Iterator<Item = FrameHeader> + '_ {
        let unit = self.front.header.unit as usize;
        let places = (FRAMES..self.bytes.len() as u64).step_by(unit);
        places.filter_map(|at| self.header(at))
    }

    /// The frame whose header at `at` is valid, with whatever payload.
    fn header(&self, at: u64) -> Option<FrameHeader> {
        let frame = self.front.header.frame(at, slice(self.bytes, index(at), 64).ok()?)?;
        slice(self.bytes, index(at) + 64, frame.payload_bytes).ok()?;
        Some(frame)
    }

    /// The whole frame at `at`.
    fn frame(&self, at: u64) -> Option<(FrameHeader, &'a [u8])> {
        let frame = self.header(at)?;
        let payload = slice(self.bytes, index(at) + 64, frame.payload_bytes).ok()?;
        self.front.header.holds(&frame, payload).then_some((frame, payload))
    }
}

/// A place in a file that is in memory.
fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}
