//! A manifest, by the byte tables of the format.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::bytes::{crc, i32_at, i64_at, slice, u8_at, u16_at, u32_at, u64_at, u128_at};
use super::record::Offset;

/// The longest manifest: its header, and the longest body.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 48 + (64 << 20);

#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) database: u128,
    pub(crate) token: u64,
    pub(crate) recovered_epoch: u64,
    pub(crate) cores: u16,
    pub(crate) beginning: bool,
    pub(crate) lives: Vec<Life>,
    pub(crate) checkpoints: Vec<Checkpoint>,
    pub(crate) kept: Vec<Kept>,
    /// What checkpoints decided that were given up: through which epoch, and what of that may not be published.
    pub(crate) decided: Option<(u64, Vec<SinkEntry>)>,
    pub(crate) floors: Vec<u64>,
    /// The manifest that this one was derived from, and its header's crc.
    pub(crate) previous: Option<(u64, u32)>,
    #[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "the command-line tool shows it"))]
    pub(crate) author: u8,
}

/// An epoch that is kept beside those that a recovery may begin with.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Without cuts.
    pub(crate) checkpoint: Checkpoint,
    #[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "the command-line tool shows it"))]
    pub(crate) pins: Vec<String>,
    /// Whether its files are in an object store alone.
    pub(crate) away: bool,
}

#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) token: u64,
    pub(crate) recovered_epoch: u64,
    pub(crate) cores: Vec<CoreLife>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct CoreLife {
    pub(crate) identity: u128,
    pub(crate) first_segment: u64,
    pub(crate) first_lsn: u64,
    pub(crate) carried_through: u64,
    pub(crate) ceiling: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) epoch: u64,
    pub(crate) token: u64,
    pub(crate) files: Vec<StateFile>,
    pub(crate) cuts: Vec<Cut>,
    pub(crate) watermarks: Vec<Option<i64>>,
    pub(crate) offsets: Vec<(u16, String, Offset)>,
    /// Of cores of an earlier count.
    pub(crate) inherited: Vec<(u16, String, Offset)>,
    #[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "the command-line tool shows it"))]
    pub(crate) sinks: Vec<SinkEntry>,
}

/// What a sink was given by one core in one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SinkEntry {
    pub(crate) epoch: u64,
    pub(crate) name: String,
    pub(crate) core: u16,
    pub(crate) handle: Option<Vec<u8>>,
    pub(crate) lost: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) token: u64,
    pub(crate) segment: u64,
    pub(crate) lsn: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateFile {
    pub(crate) uuid: u128,
    pub(crate) token: u64,
    pub(crate) attempt: u32,
    pub(crate) is_base: bool,
    pub(crate) digest: u128,
    pub(crate) bytes: u64,
    pub(crate) puts: u64,
    pub(crate) deletes: u64,
    pub(crate) put_bytes: u64,
    pub(crate) from_epoch: u64,
    pub(crate) through_epoch: u64,
    pub(crate) crc: u32,
    pub(crate) core: u16,
}

impl StateFile {
    /// Its path in the directory.
    pub(crate) fn path(&self) -> String {
        let kind = if self.is_base { "base" } else { "delta" };
        format!("f/{:016x}-{:08x}-{:032x}.{kind}", self.token, self.attempt, self.uuid)
    }
}

impl Manifest {
    /// The epochs that are kept in the directory.
    pub(crate) fn kept_here(&self) -> impl Iterator<Item = &Checkpoint> {
        self.kept.iter().filter(|kept| !kept.away).map(|kept| &kept.checkpoint)
    }
}

impl Checkpoint {
    /// How many cores it is of.
    pub(crate) fn cores(&self) -> u16 {
        u16::try_from(self.watermarks.len()).unwrap_or(u16::MAX)
    }

    /// Bytes of its files. A forged manifest may say anything.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.bytes))
    }

    /// The offsets of a core, by source.
    pub(crate) fn offsets_of(&self, core: u16) -> BTreeMap<String, Offset> {
        let of_core = self.offsets.iter().filter(|(of, ..)| *of == core);
        of_core.map(|(_, name, offset)| (name.clone(), offset.clone())).collect()
    }
}

/// A struct within a body.
#[derive(Clone, Copy)]
struct At<'a> {
    body: &'a [u8],
    /// What lists may still take: together they are within the body, so that a bad one cannot name them again and again.
    left: &'a Cell<usize>,
    begins: usize,
}

impl<'a> At<'a> {
    fn u8(self, field: usize) -> Result<u8, String> {
        u8_at(self.body, self.begins + field)
    }

    fn u16(self, field: usize) -> Result<u16, String> {
        u16_at(self.body, self.begins + field)
    }

    fn u32(self, field: usize) -> Result<u32, String> {
        u32_at(self.body, self.begins + field)
    }

    fn u64(self, field: usize) -> Result<u64, String> {
        u64_at(self.body, self.begins + field)
    }

    fn u128(self, field: usize) -> Result<u128, String> {
        u128_at(self.body, self.begins + field)
    }

    /// Where the list at `field` begins, and its length in items of `item_bytes`.
    fn place(self, field: usize, item_bytes: usize) -> Result<(usize, usize), String> {
        let stands = self.begins + field;
        let (place, length) = (i32_at(self.body, stands)?, u32_at(self.body, stands + 4)? as usize);
        if length == 0 {
            return Ok((0, 0));
        }
        let begins = i64::try_from(stands).ok().and_then(|at| at.checked_add(place.into()));
        let begins = begins.and_then(|at| usize::try_from(at).ok()).ok_or("a list before its body")?;
        let bytes = length.checked_mul(item_bytes).ok_or("a list beyond memory")?;
        slice(self.body, begins, bytes)?;
        self.left.set(self.left.get().checked_sub(bytes).ok_or("lists that overlap")?);
        Ok((begins, length))
    }

    /// The items of the list at `field`, each of `item_bytes`.
    fn list(self, field: usize, item_bytes: usize) -> Result<impl Iterator<Item = Self>, String> {
        let (begins, length) = self.place(field, item_bytes)?;
        Ok((0..length).map(move |index| Self { begins: begins + index * item_bytes, ..self }))
    }

    fn bytes(self, field: usize) -> Result<&'a [u8], String> {
        let (begins, length) = self.place(field, 1)?;
        slice(self.body, begins, length)
    }

    fn text(self, field: usize) -> Result<String, String> {
        String::from_utf8(self.bytes(field)?.to_vec()).map_err(|error| error.to_string())
    }
}

impl Manifest {
    /// Reads the whole file `m/{number}`.
    pub(crate) fn read(file: &[u8], number: u64, database: u128, timeline: u128) -> Result<Self, String> {
        check_header(file, number)?;
        let body = &file[48..];
        let left = Cell::new(body.len());
        let root =
            At { body, left: &left, begins: body.len().checked_sub(104).ok_or("a body without a root")? };
        if root.u128(0)? != database || root.u128(16)? != timeline {
            return Err("is of another database or timeline than IDENT".into());
        }
        let flags = root.u8(103)?;
        let kept = if flags & 4 == 4 {
            let extended =
                body.len().checked_sub(136).ok_or("a body without what is in front of its root")?;
            let extended = At { begins: extended, ..root };
            extended.list(0, 72)?.map(kept).collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        let decided = if flags & 8 == 8 {
            let begins = body.len().checked_sub(152).ok_or("a body without what is decided")?;
            let at = At { begins, ..root };
            let sinks = at.list(0, 32)?.map(sink).collect::<Result<_, _>>()?;
            Some((at.u64(8)?, sinks))
        } else {
            None
        };
        let previous = if flags & 1 == 1 { Some((root.u64(56)?, root.u32(96)?)) } else { None };
        if previous.is_some_and(|(previous, _)| previous >= number) {
            return Err("derived from a later manifest".into());
        }
        let manifest = Self {
            database,
            token: root.u64(32)?,
            recovered_epoch: root.u64(40)?,
            cores: root.u16(100)?,
            beginning: flags & 2 == 2,
            lives: root.list(64, 24)?.map(life).collect::<Result<_, _>>()?,
            checkpoints: root.list(72, 56)?.map(checkpoint).collect::<Result<_, _>>()?,
            kept,
            decided,
            floors: root.list(80, 8)?.map(|floor| floor.u64(0)).collect::<Result<_, _>>()?,
            previous,
            author: root.u8(102)?,
        };
        manifest.check()?;
        Ok(manifest)
    }

    /// The crc of a manifest file's header, by which the next one names it.
    pub(crate) fn header_crc(file: &[u8]) -> Result<u32, String> {
        u32_at(file, 44)
    }

    fn check(&self) -> Result<(), String> {
        let cores = usize::from(self.cores);
        let Some(last) = self.lives.last() else {
            let empty = self.checkpoints.is_empty() && self.cores == 0 && self.token == 0;
            return if empty { Ok(()) } else { Err("no life, and yet something".into()) };
        };
        let writer = last.token == self.token && last.recovered_epoch == self.recovered_epoch;
        if !writer || last.cores.iter().any(|core| core.ceiling.is_some()) {
            return Err("the last life is not the writer's".into());
        }
        if self.lives.iter().any(|life| life.cores.len() != cores) || self.floors.len() != cores {
            return Err(format!("not all lives and floors are of {cores} cores"));
        }
        for (before, after) in self.lives.iter().zip(&self.lives[1..]) {
            for (old, new) in before.cores.iter().zip(&after.cores) {
                let ceiling = old.ceiling.ok_or("an old life without a ceiling")?;
                let ordered = before.token < after.token && ceiling < new.first_lsn;
                if !ordered || new.carried_through.saturating_add(1) < new.first_lsn {
                    return Err(format!("life {} does not follow life {}", after.token, before.token));
                }
            }
        }
        for checkpoint in &self.checkpoints {
            if checkpoint.cuts.len() != cores || checkpoint.watermarks.len() != cores {
                return Err(format!("checkpoint {} is not of {cores} cores", checkpoint.epoch));
            }
            for (core, cut) in (0..self.cores).zip(&checkpoint.cuts) {
                check_chain(checkpoint, core)?;
                if cut.segment < self.floors[usize::from(core)] {
                    return Err(format!(
                        "checkpoint {} is cut below the floor of core {core}",
                        checkpoint.epoch
                    ));
                }
            }
        }
        for kept in &self.kept {
            let Checkpoint { epoch, cuts, watermarks, files, .. } = &kept.checkpoint;
            let of_cores = u16::try_from(watermarks.len()).map_err(|error| error.to_string())?;
            if !cuts.is_empty() || of_cores == 0 || files.iter().any(|file| file.core >= of_cores) {
                return Err(format!("epoch {epoch} is kept, and not by itself"));
            }
            (0..of_cores).try_for_each(|core| check_chain(&kept.checkpoint, core))?;
        }
        if let Some((epoch, sinks)) = &self.decided {
            let newest = self.checkpoints.last().map_or(0, |newest| newest.epoch);
            let above = newest < *epoch && *epoch <= self.recovered_epoch;
            if !above || sinks.iter().any(|sink| sink.epoch > *epoch) {
                return Err(format!("epoch {epoch} is decided, and not by what was given up"));
            }
        }
        let of_kept: Vec<u64> = self.kept.iter().map(|kept| kept.checkpoint.epoch).collect();
        if !of_kept.is_sorted_by(|a, b| a < b) {
            return Err("kept epochs do not ascend".into());
        }
        let ascending = self.checkpoints.windows(2).all(|pair| pair[0].epoch <= pair[1].epoch);
        if ascending { Ok(()) } else { Err("checkpoints do not ascend".into()) }
    }
}

fn check_header(file: &[u8], number: u64) -> Result<(), String> {
    slice(file, 0, 48)?;
    let sound = &file[..8] == b"HWMANIF\0" && u32_at(file, 44)? == crc(0, &file[..44]);
    if !sound || u32_at(file, 8)? != 1 || u64_at(file, 36)? != number {
        return Err("a bad header".into());
    }
    let body = &file[48..];
    if body.len() != u32_at(file, 12)? as usize || crc(0, body) != u32_at(file, 16)? {
        return Err("a bad body".into());
    }
    Ok(())
}

/// The files of one core lead from the beginning to the checkpoint's epoch.
fn check_chain(checkpoint: &Checkpoint, core: u16) -> Result<(), String> {
    let mut before: Option<&StateFile> = None;
    for file in checkpoint.files.iter().filter(|file| file.core == core) {
        let follows = match before {
            None => file.from_epoch == 0,
            Some(before) => {
                let part = (before.from_epoch, before.through_epoch) == (file.from_epoch, file.through_epoch);
                !file.is_base && (file.from_epoch == before.through_epoch || part)
            }
        };
        if !follows {
            return Err(format!("{} does not follow what is before it", file.path()));
        }
        before = Some(file);
    }
    match before {
        Some(last) if last.through_epoch > checkpoint.epoch => {
            Err(format!("{} goes beyond checkpoint {}", last.path(), checkpoint.epoch))
        }
        _ => Ok(()),
    }
}

fn life(at: At<'_>) -> Result<Life, String> {
    let core = |at: At<'_>| -> Result<CoreLife, String> {
        Ok(CoreLife {
            identity: at.u128(0)?,
            first_segment: at.u64(16)?,
            first_lsn: at.u64(24)?,
            carried_through: at.u64(32)?,
            ceiling: (at.u64(48)? == 1).then_some(at.u64(40)?),
        })
    };
    let cores = at.list(16, 56)?.map(core).collect::<Result<_, _>>()?;
    Ok(Life { token: at.u64(0)?, recovered_epoch: at.u64(8)?, cores })
}

fn kept(at: At<'_>) -> Result<Kept, String> {
    let pins = at.list(56, 8)?.map(|pin| pin.text(0)).collect::<Result<_, _>>()?;
    let away = at.u64(64)?;
    if away > 1 {
        return Err(format!("a kept epoch is away in the way {away}"));
    }
    Ok(Kept { checkpoint: checkpoint(at)?, pins, away: away == 1 })
}

fn checkpoint(at: At<'_>) -> Result<Checkpoint, String> {
    let cut = |at: At<'_>| -> Result<Cut, String> {
        Ok(Cut { token: at.u64(0)?, segment: at.u64(8)?, lsn: at.u64(16)? })
    };
    let offset = |at: At<'_>| -> Result<(u16, String, Offset), String> {
        let opaque = at.u16(26)? == 1;
        let offset = if opaque { Offset::Opaque(at.bytes(16)?.to_vec()) } else { Offset::Number(at.u64(0)?) };
        Ok((at.u16(24)?, at.text(8)?, offset))
    };
    let (mut offsets, mut inherited) = (Vec::new(), Vec::new());
    for at in at.list(32, 32)? {
        let list = if at.u32(28)? == 1 { &mut inherited } else { &mut offsets };
        list.push(offset(at)?);
    }
    let watermark = |at: At<'_>| -> Result<Option<i64>, String> {
        Ok((at.u64(8)? == 1).then_some(i64_at(at.body, at.begins)?))
    };
    Ok(Checkpoint {
        epoch: at.u64(0)?,
        token: at.u64(8)?,
        files: at.list(16, 104)?.map(state_file).collect::<Result<_, _>>()?,
        cuts: at.list(24, 24)?.map(cut).collect::<Result<_, _>>()?,
        offsets,
        inherited,
        watermarks: at.list(40, 16)?.map(watermark).collect::<Result<_, _>>()?,
        sinks: at.list(48, 32)?.map(sink).collect::<Result<_, _>>()?,
    })
}

fn sink(at: At<'_>) -> Result<SinkEntry, String> {
    let state = at.u16(26)?;
    if state > 2 || at.u32(28)? != 0 {
        return Err(format!("a sink's state {state}"));
    }
    let handle = at.bytes(16)?.to_vec();
    let (epoch, name, core) = (at.u64(0)?, at.text(8)?, at.u16(24)?);
    Ok(SinkEntry { epoch, name, core, handle: (state > 0).then_some(handle), lost: state == 2 })
}

fn state_file(at: At<'_>) -> Result<StateFile, String> {
    Ok(StateFile {
        uuid: at.u128(0)?,
        token: at.u64(16)?,
        attempt: at.u32(24)?,
        is_base: at.u32(28)? == 1,
        digest: at.u128(32)?,
        bytes: at.u64(48)?,
        puts: at.u64(56)?,
        deletes: at.u64(64)?,
        put_bytes: at.u64(72)?,
        from_epoch: at.u64(80)?,
        through_epoch: at.u64(88)?,
        crc: at.u32(96)?,
        core: at.u16(100)?,
    })
}
