//! The head manifest, by the byte tables of the format.

use std::collections::BTreeMap;

use super::bytes::{crc, i32_at, i64_at, slice, u8_at, u16_at, u32_at, u64_at, u128_at};
use super::memo::{Files, Key};
use super::state::Offset;

#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) database: u128,
    pub(super) token: u64,
    pub(super) recovered_epoch: u64,
    pub(super) cores: u16,
    pub(super) beginning: bool,
    pub(super) lives: Vec<Life>,
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) floors: Vec<u64>,
}

#[derive(Debug)]
pub(super) struct Life {
    pub(super) token: u64,
    pub(super) recovered_epoch: u64,
    pub(super) cores: Vec<CoreLife>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct CoreLife {
    pub(super) identity: u128,
    pub(super) first_segment: u64,
    pub(super) first_lsn: u64,
    pub(super) carried_through: u64,
    pub(super) ceiling: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) epoch: u64,
    pub(super) files: Vec<StateFile>,
    pub(super) cuts: Vec<Cut>,
    pub(super) watermarks: Vec<Option<i64>>,
    offsets: Vec<(u16, String, Offset)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) token: u64,
    pub(super) segment: u64,
    pub(super) lsn: u64,
}

#[derive(Debug)]
pub(super) struct StateFile {
    pub(super) uuid: u128,
    pub(super) token: u64,
    pub(super) attempt: u32,
    pub(super) is_base: bool,
    pub(super) digest: u128,
    pub(super) bytes: u64,
    pub(super) puts: u64,
    pub(super) deletes: u64,
    pub(super) put_bytes: u64,
    pub(super) from_epoch: u64,
    pub(super) through_epoch: u64,
    pub(super) crc: u32,
    pub(super) core: u16,
}

impl StateFile {
    /// Adds what a file is read by.
    pub(super) fn key(&self, key: Key) -> Key {
        let Self { uuid, token, attempt, is_base, digest, bytes, puts, deletes, put_bytes, .. } = *self;
        let Self { from_epoch, through_epoch, crc, core, .. } = *self;
        let key = key.with(uuid).with(digest).with(is_base.into()).with(core.into());
        let counts = [token, attempt.into(), bytes, puts, deletes, put_bytes];
        let epochs = [from_epoch, through_epoch, crc.into()];
        counts.into_iter().chain(epochs).fold(key, |key, number| key.with(number.into()))
    }

    pub(super) fn path(&self) -> String {
        let kind = if self.is_base { "base" } else { "delta" };
        format!("f/{:016x}-{:08x}-{:032x}.{kind}", self.token, self.attempt, self.uuid)
    }
}

impl Checkpoint {
    pub(super) fn offsets_of(&self, core: u16) -> BTreeMap<String, Offset> {
        let of_core = self.offsets.iter().filter(|(of, ..)| *of == core);
        of_core.map(|(_, name, offset)| (name.clone(), offset.clone())).collect()
    }
}

/// A struct within a body.
#[derive(Clone, Copy)]
struct At<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> At<'a> {
    fn u8(self, field: usize) -> Result<u8, String> {
        u8_at(self.body, self.at + field)
    }

    fn u16(self, field: usize) -> Result<u16, String> {
        u16_at(self.body, self.at + field)
    }

    fn u32(self, field: usize) -> Result<u32, String> {
        u32_at(self.body, self.at + field)
    }

    fn u64(self, field: usize) -> Result<u64, String> {
        u64_at(self.body, self.at + field)
    }

    fn u128(self, field: usize) -> Result<u128, String> {
        u128_at(self.body, self.at + field)
    }

    /// The items of the list at `field`, each of `item_bytes`.
    fn list(self, field: usize, item_bytes: usize) -> Result<impl Iterator<Item = Self>, String> {
        let stands = self.at + field;
        let (place, length) = (i32_at(self.body, stands)?, u32_at(self.body, stands + 4)? as usize);
        let begins = isize::try_from(stands).ok().and_then(|at| at.checked_add(place as isize)).unwrap_or(-1);
        let begins =
            if length == 0 { 0 } else { usize::try_from(begins).map_err(|_| "a list before its body")? };
        slice(self.body, begins, length * item_bytes)?;
        let body = self.body;
        Ok((0..length).map(move |index| Self { body, at: begins + index * item_bytes }))
    }

    fn bytes(self, field: usize) -> Result<&'a [u8], String> {
        let length = u32_at(self.body, self.at + field + 4)? as usize;
        let first = self.list(field, 1)?.next().map_or(0, |first| first.at);
        slice(self.body, first, length)
    }

    fn text(self, field: usize) -> Result<String, String> {
        String::from_utf8(self.bytes(field)?.to_vec()).map_err(|error| error.to_string())
    }
}

impl Manifest {
    /// Names what the log of `core` is read by, beside its files.
    pub(super) fn key_of_log(&self, core: u16, unit: u32) -> Key {
        let index = usize::from(core);
        let key = Key::new("log").with(self.database).with(self.token.into()).with(unit.into());
        let mut key = key.with(core.into()).with(self.floors[index].into());
        for life in &self.lives {
            let CoreLife { identity, first_segment, first_lsn, carried_through, ceiling } = life.cores[index];
            key =
                key.with(life.token.into()).with(identity).with(ceiling.map_or(0, |lsn| u128::from(lsn) + 1));
            for number in [first_segment, first_lsn, carried_through] {
                key = key.with(number.into());
            }
        }
        key
    }

    /// The greatest manifest.
    pub(super) fn head(files: &Files, database: u128, timeline: u128) -> Result<Self, String> {
        let numbers = files.keys().filter_map(|path| {
            let name = path.strip_prefix("m/")?;
            let digits = name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit());
            if digits { name.parse::<u64>().ok() } else { None }
        });
        let number = numbers.max().ok_or("there is no manifest")?;
        let path = path_of(number);
        Self::read(files, number, database, timeline).map_err(|why| format!("{path}: {why}"))
    }

    fn read(files: &Files, number: u64, database: u128, timeline: u128) -> Result<Self, String> {
        let file = files.get(&path_of(number)).ok_or("missing")?;
        check_header(file, number)?;
        let body = &file[48..];
        let root = At { body, at: body.len().checked_sub(104).ok_or("a body without a root")? };
        if root.u128(0)? != database || root.u128(16)? != timeline {
            return Err("is of another database or timeline".into());
        }
        let flags = root.u8(103)?;
        if flags & 1 == 1 {
            let previous = root.u64(56)?;
            // It may have been collected; if it is there, it must be the one that is meant.
            let found = files.get(&path_of(previous)).map(|file| u32_at(file, 44)).transpose()?;
            if previous >= number || found.is_some_and(|found| Ok(found) != root.u32(96)) {
                return Err(format!("the previous manifest {previous} is another one"));
            }
        }
        let manifest = Self {
            database,
            token: root.u64(32)?,
            recovered_epoch: root.u64(40)?,
            cores: root.u16(100)?,
            beginning: flags & 2 == 2,
            lives: root.list(64, 24)?.map(life).collect::<Result<_, _>>()?,
            checkpoints: root.list(72, 56)?.map(checkpoint).collect::<Result<_, _>>()?,
            floors: root.list(80, 8)?.map(|floor| floor.u64(0)).collect::<Result<_, _>>()?,
        };
        manifest.check()?;
        Ok(manifest)
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
                if !ordered || new.carried_through + 1 < new.first_lsn {
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
        let ascending = self.checkpoints.windows(2).all(|pair| pair[0].epoch <= pair[1].epoch);
        if ascending { Ok(()) } else { Err("checkpoints do not ascend".into()) }
    }
}

fn path_of(number: u64) -> String {
    format!("m/{number:020}")
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

fn checkpoint(at: At<'_>) -> Result<Checkpoint, String> {
    let cut = |at: At<'_>| -> Result<Cut, String> {
        Ok(Cut { token: at.u64(0)?, segment: at.u64(8)?, lsn: at.u64(16)? })
    };
    let offset = |at: At<'_>| -> Result<(u16, String, Offset), String> {
        let opaque = at.u16(26)? == 1;
        let offset = if opaque { Offset::Opaque(at.bytes(16)?.to_vec()) } else { Offset::Number(at.u64(0)?) };
        Ok((at.u16(24)?, at.text(8)?, offset))
    };
    let watermark = |at: At<'_>| -> Result<Option<i64>, String> {
        Ok((at.u64(8)? == 1).then_some(i64_at(at.body, at.at)?))
    };
    Ok(Checkpoint {
        epoch: at.u64(0)?,
        files: at.list(16, 104)?.map(state_file).collect::<Result<_, _>>()?,
        cuts: at.list(24, 24)?.map(cut).collect::<Result<_, _>>()?,
        offsets: at.list(32, 32)?.map(offset).collect::<Result<_, _>>()?,
        watermarks: at.list(40, 16)?.map(watermark).collect::<Result<_, _>>()?,
    })
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
