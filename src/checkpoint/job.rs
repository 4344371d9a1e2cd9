//! One core's part of a checkpoint, from the followed log to durable files.

use std::path::Path;
use std::sync::Arc;

use super::checkpointer::CheckpointSpec;
use super::file::{Header, file_path};
use super::follower::{Follower, Stop};
use super::merge;
use super::pace::Pace;
use super::policy::base_due;
use super::reader::verify;
use super::rewrites::Rewrite;
use super::writer::{FileWriter, Written, remove};
use crate::env::{Clock, Entropy};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{DatabaseId, Epoch, FencingToken, Lsn, SegmentNo};
use crate::manifest::{CheckpointFile, Cut, FileKind, FileName};
use crate::turns::Turns;
use crate::vfs::Vfs;
use crate::wal::{self, LogId, MergedLog, WalReader, segment_of};

/// Bytes of log read at once.
const READ_AHEAD_BYTES: usize = 1 << 20;

/// What the names and headers of an attempt's files have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub(super) database: DatabaseId,
    pub(super) token: FencingToken,
    pub(super) cores: u16,
    pub(super) attempt: u32,
}

/// What one core is to contribute to a checkpoint of `epoch`.
pub(super) struct Job {
    pub(super) spec: Arc<CheckpointSpec>,
    pub(super) names: Names,
    pub(super) log: LogId,
    pub(super) epoch: Epoch,
    /// The newest checkpoint's files of the core.
    pub(super) chain: Vec<CheckpointFile>,
    /// The lives since its cut, and the cut: zeroes for the beginning.
    pub(super) lives: Vec<wal::Life>,
    pub(super) cut: (SegmentNo, Lsn),
    pub(super) follower: Follower,
    /// Whether the chain may be rewritten, if that is due.
    pub(super) may_rewrite: bool,
    /// To rewrite a base, which opens all files of a chain: one core at a time, so that what is open and read ahead at once
    /// does not grow with the number of cores.
    pub(super) rewrites: Arc<Turns>,
}

/// What a job works with, on the thread where it runs.
struct World<'a, V, N> {
    vfs: &'a V,
    entropy: &'a N,
    /// Gives way to the writers of all logs.
    pace: Pace,
}

/// What it contributed.
pub(super) struct Done {
    pub(super) chain: Vec<CheckpointFile>,
    pub(super) cut: Cut,
    /// With an empty delta, at the cut.
    pub(super) follower: Follower,
    pub(super) records: u64,
    pub(super) rewrite: Rewrite,
    /// Whose names must be made durable.
    pub(super) written: Vec<Written>,
    pub(super) tally: Tally,
}

/// What a job has written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) bytes: u64,
    pub(super) files: u32,
    pub(super) bases: u32,
}

impl Tally {
    fn count(&mut self, file: &CheckpointFile) {
        self.bytes += file.bytes;
        self.files += 1;
        self.bases += u32::from(file.name.kind == FileKind::Base);
    }
}

impl Job {
    /// Runs to the end.
    ///
    /// # Errors
    ///
    /// `Full`, `Failed` or `Corrupt`; none of what was written may ever be named then, and the caller removes it.
    pub(super) async fn run<V: Vfs, N: Entropy>(
        mut self,
        vfs: &V,
        entropy: &N,
        clock: impl Clock,
    ) -> Result<Done> {
        let world = &World { vfs, entropy, pace: Pace::beside(clock, self.spec.taps.clone()) };
        let mut written = Vec::new();
        let cut = self.finish_log(world, &mut written).await?;
        if !self.follower.delta.is_empty() {
            let whole = self.chain.is_empty() && written.is_empty();
            written.push(self.write(world, whole).await?);
        }
        let mut tally = Tally::default();
        for written in &written {
            tally.count(written.file());
            self.chain.push(*written.file());
        }
        let mut rewrite = Rewrite::NotTried;
        if self.may_rewrite && base_due(&self.chain, self.spec.load_bytes_max).is_some() {
            rewrite = match self.rewrite(world).await {
                Ok(base) => {
                    tally.count(base.file());
                    self.chain = vec![*base.file()];
                    written.push(base);
                    Rewrite::Done
                }
                Err(error) => self.without_base(error, &written)?,
            };
        }
        let records = std::mem::take(&mut self.follower.records);
        Ok(Done { chain: self.chain, cut, follower: self.follower, records, rewrite, written, tally })
    }

    /// What is made of an `error` of a rewrite: the chain stays as it is, with what was `written` now.
    ///
    /// # Errors
    ///
    /// The same, when it is one of those: the log that they were made of must not go.
    fn without_base(&self, error: Error, written: &[Written]) -> Result<Rewrite> {
        let is_about = |file: &CheckpointFile| error.path() == Some(&*file_path(&self.spec.root, &file.name));
        if written.iter().any(|written| is_about(written.file())) {
            return Err(error);
        }
        let is_unreadable = self.chain.iter().any(is_about);
        let core = self.log.core.0;
        tracing::warn!(target: "highwater::checkpoint", core, is_unreadable, %error, "a base cannot be rewritten");
        Ok(if is_unreadable { Rewrite::Unreadable } else { Rewrite::Failed })
    }

    /// Follows the rest of the log, to the end of the epoch. What the delta has no room for goes to files.
    async fn finish_log<V: Vfs, N: Entropy>(
        &mut self,
        world: &World<'_, V, N>,
        written: &mut Vec<Written>,
    ) -> Result<Cut> {
        let spec = Arc::clone(&self.spec);
        let index = self.log.core.index();
        let (tap, dir) = (&spec.taps[index], spec.log_dirs[index].as_path());
        loop {
            match self.follower.follow(tap, self.epoch, dir)? {
                Stop::Full => written.push(self.write(world, false).await?),
                Stop::Short => return self.read_log(world, written, dir).await,
                Stop::AtEnd => {
                    let next = self.follower.next().expect("the end of an epoch was followed");
                    let (token, lsn) = (self.names.token, Lsn(next.0 - 1));
                    let found = segment_of(world.vfs, dir, token, lsn).await?;
                    let Some(segment) = found else {
                        let what =
                            format!("no segment holds LSN {lsn}, which is durable; restore this directory");
                        return Err(Error::corrupt(ErrorCode::SegmentMissing, dir, what));
                    };
                    return Ok(Cut { token, segment, lsn });
                }
            }
        }
    }

    /// The same from the disk.
    async fn read_log<V: Vfs, N: Entropy>(
        &mut self,
        world: &World<'_, V, N>,
        written: &mut Vec<Written>,
        dir: &Path,
    ) -> Result<Cut> {
        let log =
            MergedLog { dir: dir.to_owned(), log: self.log, lives: self.lives.clone(), cut: self.place() };
        let mut reader = WalReader::open(world.vfs, &log, READ_AHEAD_BYTES).await?;
        tracing::debug!(target: "highwater::checkpoint", core = self.log.core.0, "log read from the disk");
        while reader.advance().await? {
            let mut frame = reader.frame();
            while let Some((lsn, record)) = frame.next_record() {
                if !self.follower.read(lsn, &record, dir)? {
                    written.push(self.write(world, false).await?);
                    let taken = self.follower.read(lsn, &record, dir)?;
                    assert!(taken, "an empty delta takes any record");
                }
                if self.follower.through() == self.epoch {
                    return Ok(Cut { token: frame.token(), segment: reader.segment(), lsn });
                }
            }
        }
        let what = format!(
            "the log of core {} ends before epoch {}, which was closed; restore this directory",
            self.log.core, self.epoch
        );
        Err(Error::corrupt(ErrorCode::LogEndsEarly, dir, what))
    }

    /// Where the log is to be read: behind the cut, and behind what was followed already.
    fn place(&self) -> Option<wal::Cut> {
        let (segment, lsn) = self.cut;
        let lsn = self.follower.next().map_or(lsn, |next| Lsn(next.0 - 1));
        let first = self.lives.first().map(|life| life.first_segment);
        let segment = if segment == SegmentNo(0) { first? } else { segment };
        (lsn > Lsn(0)).then_some(wal::Cut { segment, lsn })
    }

    /// Writes what the delta holds: as a base, if it is the `whole` state of the core.
    async fn write<V: Vfs, N: Entropy>(&mut self, world: &World<'_, V, N>, whole: bool) -> Result<Written> {
        let kind = if whole { FileKind::Base } else { FileKind::Delta };
        let from = self.chain.last().map_or(Epoch(0), |file| file.through_epoch);
        let header = self.header(world.entropy, kind, from, self.epoch);
        let grouping = (kind == FileKind::Base).then(|| self.spec.grouping());
        let writer = FileWriter::create(world.vfs, &self.spec.root, header, grouping).await?;
        self.follower.delta.write(writer.at(world.pace.clone())).await
    }

    /// A new base from the files of the core, read back before anything relies on it. Nothing of it is left after an error.
    async fn rewrite<V: Vfs, N: Entropy>(&self, world: &World<'_, V, N>) -> Result<Written> {
        let _turn = Arc::clone(&self.rewrites).take().await;
        let (root, database) = (&self.spec.root, self.names.database);
        let through = self.chain.last().map_or(Epoch(0), |file| file.through_epoch);
        let target = || self.header(world.entropy, FileKind::Base, Epoch(0), through);
        let how = (self.spec.grouping(), world.pace.clone());
        let base = merge::merge(world.vfs, root, &self.chain, target, how).await?;
        let grouping = self.spec.grouping();
        if let Err(error) = verify(world.vfs, root, database, base.file(), Some(&grouping)).await {
            remove(world.vfs, root, &base.file().name).await;
            return Err(error);
        }
        let (core, files, bytes) = (self.log.core.0, self.chain.len(), base.file().bytes);
        tracing::debug!(target: "highwater::checkpoint", core, files, bytes, "base rewritten");
        Ok(base)
    }

    /// For a file with a name that no other file has had.
    fn header<N: Entropy>(&self, entropy: &N, kind: FileKind, from: Epoch, through: Epoch) -> Header {
        let Names { database, token, cores, attempt } = self.names;
        let name = FileName { token, attempt, uuid: entropy.nonce(), kind };
        Header { database, name, core: self.log.core, cores, from_epoch: from, through_epoch: through }
    }
}
