//! What every manifest obeys, whoever wrote it. Checked before one lands, where a flaw is a bug of this program,
//! and after one is read, where it is corruption.

use std::collections::BTreeSet;

use crate::ids::{CoreId, Epoch, FencingToken};
use crate::limits::{
    CORES_MAX, INHERITED_OFFSETS_MAX, OFFSET_BYTES_MAX, OFFSET_NAME_BYTES_MAX, OFFSETS_MAX,
    PIN_NAME_BYTES_MAX, RECORD_HEADER_BYTES, SINK_HANDLE_BYTES_MAX, SINK_NAME_BYTES_MAX,
};
use crate::offset::Offset;

use super::{Author, Checkpoint, CheckpointFile, Decided, FileKind, Manifest, SinkEntry};

/// The rule that a manifest breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flaw {
    #[error("number {0} does not follow the manifest it was derived from")]
    Sequence(u64),
    #[error("a manifest of a creation has number 1, token 0 and nothing else")]
    Creation,
    #[error("{0} cores")]
    Cores(usize),
    #[error("the last life is not the writer's: its token, cores or recovered epoch differ")]
    CurrentLife,
    #[error("the life of token {0} does not follow the one before")]
    LifeOrder(FencingToken),
    #[error(
        "the life of token {token}, core {core}: its ceiling is missing, early or overlapped by a later life"
    )]
    Ceiling { token: FencingToken, core: usize },
    #[error("WAL floors of {floors} cores, where the lives have {cores}")]
    FloorCount { floors: usize, cores: usize },
    #[error("the WAL floor of core {0} is above a segment that is still needed")]
    FloorTooHigh(usize),
    #[error("the checkpoint of epoch {0} is out of order or of a later token")]
    CheckpointOrder(Epoch),
    #[error("the checkpoint of epoch {epoch}: {what} do not match the cores of its cut")]
    CheckpointCores { epoch: Epoch, what: &'static str },
    #[error("the checkpoint of epoch {0}: the log behind a cut is in no listed life")]
    CutLife(Epoch),
    #[error("the checkpoint of epoch {epoch}: the files of core {core} do not lead from the beginning to it")]
    FileChain { epoch: Epoch, core: CoreId },
    #[error("the checkpoint of epoch {0}: a file's counts contradict each other")]
    FileCounts(Epoch),
    #[error("the checkpoint of epoch {0} mixes files of several counts of cores")]
    FileCores(Epoch),
    #[error("the checkpoint of epoch {0} names one file twice")]
    FileTwice(Epoch),
    #[error("the checkpoint of epoch {0}: the offsets are unsorted, too many or too long")]
    Offsets(Epoch),
    #[error(
        "the checkpoint of epoch {0}: the sinks are unsorted, a name or handle is too long, or what is lost has no handle"
    )]
    Sinks(Epoch),
    #[error("what is decided up to epoch {0} is in a checkpoint, or no list of sinks up to that epoch")]
    Decided(Epoch),
    #[error("the kept epoch {0} is out of order, of no cores, or has more than its state")]
    Kept(Epoch),
    #[error("the pins of epoch {0} are unsorted, or a name is too long or has another epoch too")]
    Pins(Epoch),
    #[error("a file is both retired and needed, retired twice, or of a later token")]
    Retired,
}

impl Manifest {
    /// Whether the manifest keeps every structural rule; the first broken one otherwise.
    ///
    /// # Errors
    ///
    /// The [`Flaw`].
    pub(crate) fn check(&self) -> Result<(), Flaw> {
        if self.previous.map_or(self.seq.0 != 1, |(seq, _)| seq >= self.seq) {
            return Err(Flaw::Sequence(self.seq.0));
        }
        if self.author == Author::Create || self.lives.is_empty() || self.token.0 == 0 {
            let created = Self::create(self.database, self.timeline, self.nonce);
            return if *self == created { Ok(()) } else { Err(Flaw::Creation) };
        }
        self.check_lives()?;
        self.check_floor()?;
        let mut oldest = (Epoch(0), FencingToken(0));
        for checkpoint in &self.checkpoints {
            let this = (checkpoint.epoch, checkpoint.token);
            let ordered = oldest.0 <= this.0 && oldest.1 <= this.1 && this.1 <= self.token;
            if !ordered || checkpoint.epoch.0 == 0 {
                return Err(Flaw::CheckpointOrder(checkpoint.epoch));
            }
            oldest = this;
            self.check_checkpoint(checkpoint)?;
        }
        self.check_decided()?;
        self.check_kept()?;
        self.check_retired()
    }

    fn check_lives(&self) -> Result<(), Flaw> {
        let Some(current) = self.lives.last() else { return Err(Flaw::CurrentLife) };
        let same = current.token == self.token
            && current.cores.len() == usize::from(self.cores)
            && current.recovered_epoch == self.recovered_epoch;
        if !same {
            return Err(Flaw::CurrentLife);
        }
        for (index, life) in self.lives.iter().enumerate() {
            if life.cores.is_empty() || life.cores.len() > usize::from(CORES_MAX) {
                return Err(Flaw::Cores(life.cores.len()));
            }
            if let Some(next) = self.lives.get(index + 1)
                && (next.token <= life.token || next.recovered_epoch < life.recovered_epoch)
            {
                return Err(Flaw::LifeOrder(next.token));
            }
            for (core, log) in life.cores.iter().enumerate() {
                let later = self.lives[index + 1..].iter().find_map(|life| life.cores.get(core));
                let is_current = index + 1 == self.lives.len();
                let fits = match log.ceiling {
                    None => is_current,
                    // A life that wrote nothing ends right before it begins.
                    Some(ceiling) => {
                        !is_current
                            && ceiling.0.checked_add(1).is_some_and(|next| next >= log.first_lsn.0)
                            && later.is_none_or(|later| later.first_lsn > ceiling)
                    }
                };
                let carried_fits =
                    log.carried_through.0.checked_add(1).is_some_and(|next| next >= log.first_lsn.0)
                        && log.ceiling.is_none_or(|ceiling| log.carried_through <= ceiling);
                let segments_ascend = later.is_none_or(|later| later.first_segment > log.first_segment);
                if !fits || !carried_fits || !segments_ascend || log.first_lsn.0 == 0 {
                    return Err(Flaw::Ceiling { token: life.token, core });
                }
            }
        }
        Ok(())
    }

    fn check_floor(&self) -> Result<(), Flaw> {
        let needed = self.wal_floor_needed();
        if needed.len() != self.wal_floor.len() {
            return Err(Flaw::FloorCount { floors: self.wal_floor.len(), cores: needed.len() });
        }
        match (0..needed.len()).find(|&core| self.wal_floor[core] > needed[core]) {
            Some(core) => Err(Flaw::FloorTooHigh(core)),
            None => Ok(()),
        }
    }

    fn check_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), Flaw> {
        let epoch = checkpoint.epoch;
        let cores = checkpoint.cuts.len();
        if cores == 0 || cores > usize::from(CORES_MAX) {
            return Err(Flaw::Cores(cores));
        }
        for cut in &checkpoint.cuts {
            let life = self.lives.iter().find(|life| life.token == cut.token);
            if life.is_none_or(|life| life.cores.len() != cores) || cut.token > checkpoint.token {
                return Err(Flaw::CutLife(epoch));
            }
        }
        if checkpoint.watermarks.len() != cores {
            return Err(Flaw::CheckpointCores { epoch, what: "watermarks" });
        }
        check_files(checkpoint)?;
        check_offsets(checkpoint)?;
        if sinks_fit(&checkpoint.sinks) { Ok(()) } else { Err(Flaw::Sinks(epoch)) }
    }

    fn check_decided(&self) -> Result<(), Flaw> {
        let Some(Decided { epoch, sinks }) = &self.decided else { return Ok(()) };
        let listed = self.newest_checkpoint().map_or(Epoch(0), Checkpoint::listed_epoch);
        let alone = listed < *epoch && *epoch <= self.recovered_epoch;
        let fits = sinks_fit(sinks) && sinks.iter().all(|sink| sink.epoch <= *epoch);
        if alone && fits { Ok(()) } else { Err(Flaw::Decided(*epoch)) }
    }

    fn check_kept(&self) -> Result<(), Flaw> {
        let mut before = Epoch(0);
        let mut names = BTreeSet::new();
        for kept in &self.kept {
            let Checkpoint { epoch, token, cuts, watermarks, sinks, .. } = &kept.checkpoint;
            let cores = 1..=usize::from(CORES_MAX);
            let alone = cuts.is_empty() && sinks.is_empty() && cores.contains(&watermarks.len());
            if *epoch <= before || *token > self.token || !alone {
                return Err(Flaw::Kept(*epoch));
            }
            before = *epoch;
            check_files(&kept.checkpoint)?;
            check_offsets(&kept.checkpoint)?;
            let mut names_fit = kept.pins.is_sorted();
            for name in &kept.pins {
                names_fit &= (1..=PIN_NAME_BYTES_MAX).contains(&name.len()) && names.insert(name.as_str());
            }
            if !names_fit {
                return Err(Flaw::Pins(*epoch));
            }
        }
        Ok(())
    }

    fn check_retired(&self) -> Result<(), Flaw> {
        let needed = self.referenced_files();
        let ascending = self.retired.is_sorted_by(|a, b| a < b);
        let allowed = self.retired.iter().all(|name| !needed.contains(name) && name.token <= self.token);
        if ascending && allowed { Ok(()) } else { Err(Flaw::Retired) }
    }
}

/// Per core, a base or nothing first, then deltas whose ranges meet. Parts of one delta share a range.
fn check_files(checkpoint: &Checkpoint) -> Result<(), Flaw> {
    let mut names: Vec<_> = checkpoint.files.iter().map(|file| file.name).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Flaw::FileTwice(checkpoint.epoch));
    }
    if checkpoint.files.iter().any(|file| file.cores != checkpoint.cores()) {
        return Err(Flaw::FileCores(checkpoint.epoch));
    }
    let mut last: Vec<Option<&CheckpointFile>> = vec![None; usize::from(checkpoint.cores())];
    for file in &checkpoint.files {
        let Some(last) = last.get_mut(file.core.index()) else {
            return Err(Flaw::FileChain { epoch: checkpoint.epoch, core: file.core });
        };
        let range = (file.from_epoch, file.through_epoch);
        let follows = match (*last, file.name.kind) {
            (None, _) => range.0.0 == 0,
            (Some(_), FileKind::Base) => false,
            (Some(before), FileKind::Delta) => {
                let is_part =
                    before.name.kind == FileKind::Delta && range == (before.from_epoch, before.through_epoch);
                is_part || range.0 == before.through_epoch
            }
        };
        let in_range =
            range.0 < range.1 && range.1 <= checkpoint.epoch && file.name.token <= checkpoint.token;
        if !follows || !in_range {
            return Err(Flaw::FileChain { epoch: checkpoint.epoch, core: file.core });
        }
        let base_has_tombstones = file.name.kind == FileKind::Base && file.tombstones > 0;
        // A restore makes room for as many as there are said to be: a record is a header at least.
        let fits = |count: u64| {
            count.checked_mul(RECORD_HEADER_BYTES as u64).is_some_and(|least| least <= file.live_bytes)
        };
        if base_has_tombstones || file.live_bytes > file.bytes || !fits(file.entries) {
            return Err(Flaw::FileCounts(checkpoint.epoch));
        }
        *last = Some(file);
    }
    Ok(())
}

fn sinks_fit(sinks: &[SinkEntry]) -> bool {
    let fits = |sink: &SinkEntry| {
        sink.name.len() <= SINK_NAME_BYTES_MAX
            && sink.handle.as_ref().map_or(!sink.lost, |handle| handle.len() <= SINK_HANDLE_BYTES_MAX)
            && sink.core.0 < CORES_MAX
    };
    let place = |sink: &SinkEntry| (sink.epoch, sink.core);
    let sorted = sinks.is_sorted_by(|a, b| (a.name.as_str(), place(a)) < (b.name.as_str(), place(b)));
    sorted && sinks.iter().all(fits)
}

fn check_offsets(checkpoint: &Checkpoint) -> Result<(), Flaw> {
    let mut of_cores = checkpoint.offsets.chunk_by(|a, b| a.0 == b.0);
    let few = of_cores.all(|of_core| of_core.len() <= OFFSETS_MAX);
    // One core may have left names behind with each count of cores.
    let few_inherited = checkpoint.inherited.len() <= INHERITED_OFFSETS_MAX;
    let fit = offsets_fit(&checkpoint.offsets) && offsets_fit(&checkpoint.inherited);
    if fit && few && few_inherited { Ok(()) } else { Err(Flaw::Offsets(checkpoint.epoch)) }
}

fn offsets_fit(offsets: &[(CoreId, String, Offset)]) -> bool {
    let sorted = offsets.is_sorted_by(|a, b| (a.0, a.1.as_str()) < (b.0, b.1.as_str()));
    let fits = offsets.iter().all(|(core, name, offset)| {
        let opaque_fits = match offset {
            Offset::Number(_) => true,
            Offset::Opaque(bytes) => bytes.len() <= OFFSET_BYTES_MAX,
        };
        opaque_fits && name.len() <= OFFSET_NAME_BYTES_MAX && core.0 < CORES_MAX
    });
    sorted && fits
}
