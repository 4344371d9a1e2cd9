//! The logs of several cores as one stream, in the order (token, epoch, core, LSN).
//!
//! A record's epoch is known only when the end of that epoch is read, which may be far behind the record. So each
//! log is read twice: once for its epoch ends and its damage, before the first record is handed out, and once for
//! its records. Memory is one window for each core and a few words for each epoch.

use std::fmt;
use std::path::PathBuf;

use crate::error::Result;
use crate::ids::{CoreId, Epoch, FencingToken, Lsn};
use crate::vfs::Vfs;
use crate::wal::reader::WalReader;
use crate::wal::record::WalRecord;
use crate::wal::scan::{Cut, EpochEndAt, Life, LogId};

/// A log that is read: by itself ([`WalReader::open`]), or merged with others ([`merged`]).
#[derive(Clone, Debug)]
pub struct MergedLog {
    /// The directory of its segments.
    pub dir: PathBuf,
    /// Which log it is.
    pub log: LogId,
    /// Its lives, in order.
    pub lives: Vec<Life>,
    /// Where to begin; `None`: with the first life.
    pub cut: Option<Cut>,
}

/// A record of the merged stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MergedRecord<'a> {
    /// The token of the life that wrote it.
    pub token: FencingToken,
    /// The epoch that it belongs to; for records behind the last epoch end, the one that was open.
    pub epoch: Epoch,
    /// The core that wrote it.
    pub core: CoreId,
    /// Its LSN on that core.
    pub lsn: Lsn,
    /// The record.
    pub record: WalRecord<'a>,
}

/// Begins to merge `logs`, up to where they end now. Reads are of `read_ahead_bytes` at once.
///
/// The logs of a database are found by [`logs_in`](crate::logs_in).
///
/// # Errors
///
/// Those of [`WalReader::open`] and of [`WalReader::next`], for any record of any log: damage is known before the first
/// record is handed out.
pub async fn merged<V: Vfs>(
    vfs: &V,
    logs: Vec<MergedLog>,
    read_ahead_bytes: usize,
) -> Result<MergedReader<V>> {
    let mut streams = Vec::new();
    for log in logs {
        let mut pilot = WalReader::open(vfs, &log, read_ahead_bytes).await?;
        while pilot.advance().await? {}
        let (ends, last) = (pilot.scan().epoch_ends.clone(), pilot.scan().prefix_end);
        let first_epoch = pilot.epoch_before().map_or(Epoch(1), Epoch::next);
        let reader = WalReader::open(vfs, &log, read_ahead_bytes).await?;
        let mut stream =
            Stream { core: log.log.core, reader, ends, first_epoch, last, passed: 0, rest: None };
        stream.settle().await?;
        streams.push(stream);
    }
    Ok(MergedReader { streams, last: None })
}

/// Where a stream stands in its current frame.
#[derive(Clone, Copy)]
struct Rest {
    token: FencingToken,
    lsn: Lsn,
    bytes: usize,
}

struct Stream<V: Vfs> {
    core: CoreId,
    reader: WalReader<V>,
    ends: Vec<EpochEndAt>,
    /// The epoch of its first record, if that is not in `ends`.
    first_epoch: Epoch,
    /// Where the log ended when its epoch ends were read: of what a writer appends later the epoch is not known.
    last: Lsn,
    /// How many of `ends` lie before the next record.
    passed: usize,
    rest: Option<Rest>,
}

impl<V: Vfs> Stream<V> {
    /// Moves to the next frame if the current one has no record left.
    async fn settle(&mut self) -> Result<()> {
        loop {
            if let Some(rest) = self.rest
                && self.reader.frame_rest(rest.bytes, rest.lsn).next_record().is_some()
            {
                return Ok(());
            }
            self.rest = None;
            if !self.reader.advance().await? {
                return Ok(());
            }
            let frame = self.reader.frame();
            let (lsn, bytes) = frame.position();
            if lsn > self.last {
                return Ok(());
            }
            self.rest = Some(Rest { token: frame.token(), lsn, bytes });
        }
    }

    /// The place of the next record in the merged order.
    fn key(&self) -> Option<(FencingToken, Epoch, CoreId, Lsn)> {
        let rest = self.rest?;
        let (lsn, _) = self.reader.frame_rest(rest.bytes, rest.lsn).next_record()?;
        let epoch = match self.ends.get(self.passed) {
            Some(end) if end.token == rest.token => end.epoch,
            // Behind the last epoch end of its life.
            _ => self.passed.checked_sub(1).map_or(self.first_epoch, |last| self.ends[last].epoch.next()),
        };
        Some((rest.token, epoch, self.core, lsn))
    }
}

/// Several logs as one stream.
pub struct MergedReader<V: Vfs> {
    streams: Vec<Stream<V>>,
    /// The stream whose record was handed out last.
    last: Option<usize>,
}

impl<V: Vfs> MergedReader<V> {
    /// The next record, or `None` at the end of all logs.
    ///
    /// # Errors
    ///
    /// `Failed` when the device fails to read.
    ///
    /// # Panics
    ///
    /// When an invariant of the reader is broken: a defect of this crate.
    pub async fn next(&mut self) -> Result<Option<MergedRecord<'_>>> {
        if let Some(last) = self.last.take() {
            self.streams[last].settle().await?;
        }
        let keys = self.streams.iter().enumerate();
        let Some((key, index)) = keys.filter_map(|(i, stream)| Some((stream.key()?, i))).min() else {
            return Ok(None);
        };
        self.last = Some(index);
        let stream = &mut self.streams[index];
        let rest = stream.rest.expect("a stream with a key has a record");
        if stream.ends.get(stream.passed).is_some_and(|end| (end.token, end.lsn) <= (key.0, key.3)) {
            stream.passed += 1;
        }
        let mut frame = stream.reader.frame_rest(rest.bytes, rest.lsn);
        let (lsn, record) = frame.next_record().expect("a stream with a key has a record");
        let (next_lsn, bytes) = frame.position();
        stream.rest = Some(Rest { lsn: next_lsn, bytes, ..rest });
        let (token, epoch, core, _) = key;
        Ok(Some(MergedRecord { token, epoch, core, lsn, record: WalRecord::of(&record) }))
    }
}

impl<V: Vfs> fmt::Debug for MergedReader<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores: Vec<CoreId> = self.streams.iter().map(|stream| stream.core).collect();
        f.debug_struct("MergedReader").field("cores", &cores).finish_non_exhaustive()
    }
}
