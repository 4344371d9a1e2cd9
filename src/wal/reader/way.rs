//! The way from segment to segment: which one a life begins with, and which one says that it follows another.

use std::path::Path;

use super::{Reading, WalReader};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{FencingToken, Lsn, SegmentNo};
use crate::vfs::{OpenMode, Vfs, retry};
use crate::wal::diagnosis::Stand;
use crate::wal::frame::Predecessor;
use crate::wal::scan::Life;
use crate::wal::segment::{self, FRAMES_START, Front, LogSpec, segment_path};
use crate::wal::tail::Next;

impl<V: Vfs> WalReader<V> {
    /// Opens the first segment of `life`, or the one that the cut names.
    pub(super) async fn enter_life(&mut self, life: &Life) -> Result<()> {
        let cut_here = self.cut.filter(|cut| {
            let next = self.lives.get(self.life + 1);
            cut.segment >= life.first_segment && next.is_none_or(|next| cut.segment < next.first_segment)
        });
        let number = cut_here.map_or(life.first_segment, |cut| cut.segment);
        let reading = self.open_segment(number, life, None).await?;
        if number == life.first_segment && reading.at.identity != life.identity {
            return Err(Error::corrupt(
                ErrorCode::SegmentForeign,
                &reading.at.path,
                format!(
                    "the segment header at offset 0 has identity {}, the log of token {} began with {}: the file was \
                     exchanged; restore it from a backup",
                    reading.at.identity, life.token, life.identity
                ),
            ));
        }
        self.reading = Some(reading);
        Ok(())
    }

    /// Opens the segment that says it follows the current one.
    pub(super) async fn enter_next(&mut self, stopped_at: Next) -> Result<()> {
        let before = self.at();
        let (number, last_lsn) = before.next.expect("only a sealed segment has a next one");
        let life = self.lives[self.life];
        let predecessor = Predecessor { segment: before.number, last_lsn, token: life.token };
        let behind = Some((before.path.clone(), before.offset, stopped_at));
        let mut reading = self.open_segment(number, &life, Some(predecessor)).await?;
        reading.at.behind = behind;
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
                ErrorCode::SegmentMissing,
                &path,
                format!("segment {number} of token {} is missing; restore it from a backup", life.token),
            ));
        }
        let opened = retry(|| self.vfs.open(&path, OpenMode::Read)).await;
        let file = opened.map_err(|e| Error::io("opening a segment", &path, e))?;
        let (header, salt) = match self.front(number) {
            Some(front) => (front.header, front.salt),
            None => segment::read_header(&file, &path, number).await?,
        };
        self.check_owner(&header.log, life.token, &path)?;
        let (next, unlinked, gap) = match self.find_next(number, life.token).await {
            Ok((next, unlinked)) => (next, unlinked, None),
            // Behind the ceiling nothing is needed, and where it is reached this segment alone says.
            Err(error) if life.ceiling.is_some() && error.code() == ErrorCode::SegmentMissing => {
                (None, Vec::new(), Some(error))
            }
            Err(error) => return Err(error),
        };
        self.window.reset();
        let at = Stand {
            number,
            path,
            spec: header.log,
            identity: header.identity,
            limit: header.log.segment_bytes,
            offset: FRAMES_START,
            started: false,
            closed: false,
            next,
            cut_off: None,
            silent: None,
            behind: None,
        };
        Ok(Reading { file, salt, at, predecessor, unlinked, gap })
    }

    /// What was read of a segment before.
    fn front(&self, number: SegmentNo) -> Option<&Front> {
        let place = self.fronts.binary_search_by_key(&number, |front| front.header.number).ok()?;
        Some(&self.fronts[place])
    }

    fn check_owner(&self, spec: &LogSpec, token: FencingToken, path: &Path) -> Result<()> {
        let expected = (self.log.database, self.log.core, token);
        let found = (spec.database, spec.core, spec.token);
        if expected == found {
            return Ok(());
        }
        Err(Error::corrupt(
            ErrorCode::SegmentForeign,
            path,
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
            let links = self.links.len();
            let error = match self.find_next_listed(number, token).await {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            // A log that is being written gains segments after it was listed, not in the order of their numbers, and
            // loses some that were prepared and never used; one whose front was read before its first frame was there may
            // be named by the next one, whose front was read later. Only what another look repeats is true.
            let listed = segment::list(&self.vfs, &self.dir).await?;
            if listed == self.catalog && links == self.links.len() {
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
            let link = if let Some(link) = self.links.get(&later) {
                *link
            } else if let Some(front) = self.front(later) {
                if front.header.log.token != token {
                    continue;
                }
                self.check_owner(&front.header.log, token, &segment_path(&self.dir, later))?;
                let Some(link) = front.link else {
                    unlinked.push(later);
                    continue;
                };
                link
            } else {
                let first = segment::read_first_frame(&self.vfs, &self.dir, later).await?;
                if first.header.log.token == token {
                    self.check_owner(&first.header.log, token, &first.path)?;
                }
                let Some(link) = first.link() else {
                    if first.header.log.token == token {
                        unlinked.push(later);
                    }
                    continue;
                };
                self.links.insert(later, link);
                link
            };
            if link.token != token {
                continue;
            }
            let start = link.predecessor;
            if start.segment == number {
                return Ok((Some((later, start.last_lsn)), unlinked));
            }
            if start.segment != SegmentNo(0) {
                let path = segment_path(&self.dir, start.segment);
                return Err(Error::corrupt(
                    ErrorCode::SegmentMissing,
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

    /// Whether the place that cannot be read is to be looked at once more. A writer may have gone on between what was
    /// read ahead and the proof of more: then what the proof is of is there now. Up to a ceiling nobody writes.
    pub(super) async fn looks_again(&mut self, life: &Life) -> Result<bool> {
        let at = self.at();
        let here = (at.number, at.offset);
        if life.ceiling.is_some() || at.next.is_some() || self.again_at == Some(here) {
            return Ok(false);
        }
        self.again_at = Some(here);
        self.catalog = segment::list(&self.vfs, &self.dir).await?;
        let (next, unlinked) = self.find_next(here.0, life.token).await?;
        self.window.reset();
        let reading = self.reading.as_mut().expect("a segment is being read");
        (reading.at.next, reading.unlinked) = (next, unlinked);
        Ok(true)
    }
}
