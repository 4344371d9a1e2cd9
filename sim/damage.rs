//! Disks that break their word: what of that a seed draws, and how damage at rest is done to the files that are there.
//!
//! ```text
//! in a life      syncs that lie, rot, misdirected writes and reads, latent sectors   faults of the disk
//! between two    rot, latent sectors; files and folders of an earlier moment, of     Damage::draw, between_lives
//!                another place, of another database; files gone; stale names
//! after a refusal, perhaps: the disk as it was before the damage, as from a backup
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use highwater::sim::{
    Damage, Disk, Executor, FaultClass, FaultPlan, Handle, Personality, SimDisk, SimEnv, Simulator, Stream,
    Streams, Trace,
};
use highwater::{Engine, EpochMark, Error, Opened, Options};

use serde::{Deserialize, Serialize};

use crate::draw::Draw;
use crate::shape::DIRECTORY;
use crate::story::LAST;
use crate::world::{Run, lock};

/// Earlier images that are kept of one disk.
const IMAGES_MAX: usize = 8;

/// What breaks its word besides the disk's own faults.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DamagePlan {
    /// What happens after lives that end with their process, and in front of the last one.
    pub(crate) rest: Vec<AtRest>,
    /// Whether a database that was refused is put back to what it was before the last damage at rest.
    pub(crate) restore: bool,
    /// Boundaries between two images of the disk.
    pub(crate) image_every: u64,
}

/// One piece of damage at rest. Which file it hits is decided when there are files.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AtRest {
    /// The number of the life that it follows; that of the last life for what is done in front of that.
    pub(crate) life: u32,
    /// What is done.
    pub(crate) kind: Kind,
    /// To what.
    pub(crate) part: Part,
    /// The seed of the rest.
    pub(crate) draws: u64,
}

/// Kinds of damage at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Bits of a byte flip.
    Rot,
    /// A sector cannot be read.
    Latent,
    /// A file or folder is what it was at an earlier moment.
    Earlier,
    /// A folder has the names that it had at an earlier moment.
    StaleNames,
    /// A file or folder is another one of the same database.
    Sibling,
    /// A file or folder is of another database.
    Foreign,
    /// A file or folder is gone.
    Gone,
}

/// Parts of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    /// IDENT.
    Ident,
    /// The manifests.
    Manifests,
    /// The checkpoint files.
    Checkpoints,
    /// The logs.
    Logs,
    /// All of it.
    Everything,
}

/// Images of a run's disk.
#[derive(Default)]
pub(crate) struct Images {
    taken: Vec<Disk>,
    boundaries: u64,
    /// The disk before the last damage at rest, and how many images there were.
    undamaged: Option<(Disk, usize)>,
    /// The disk when the last open got its lock, if it did.
    pub(crate) at_lock: Option<Disk>,
    /// Whether the last open was refused for damage.
    pub(crate) refused: bool,
    /// The identities of segments whose history was left behind.
    pub(crate) left: BTreeSet<u128>,
    /// How many faults out of contract there were before the last two opens that succeeded.
    pub(crate) opened_after: [usize; 2],
}

impl DamagePlan {
    /// Nothing at rest.
    pub(crate) fn plain() -> Self {
        Self { rest: Vec::new(), restore: false, image_every: 100 }
    }

    /// Draws one for a run of lives with these numbers, and a last one.
    pub(crate) fn draw(stream: &mut Stream, lives: impl Iterator<Item = u32>) -> Self {
        let often = *stream.pick(&[0, 1, 1, 2]);
        let mut rest = Vec::new();
        for life in lives.chain([LAST]) {
            let count = if stream.chance(0.6) { 0 } else { stream.range(0, often) };
            rest.extend((0..count).map(|_| AtRest::draw(stream, life)));
        }
        Self { rest, restore: stream.chance(0.7), image_every: stream.scale(20, 2_000) }
    }
}

impl AtRest {
    fn draw(stream: &mut Stream, life: u32) -> Self {
        use Kind::{Earlier, Foreign, Gone, Latent, Rot, Sibling, StaleNames};
        use Part::{Checkpoints, Everything, Ident, Logs, Manifests};
        let kinds = [
            Rot, Rot, Rot, Latent, Latent, Earlier, Earlier, Earlier, StaleNames, StaleNames, Sibling,
            Foreign, Gone,
        ];
        let parts = [Ident, Manifests, Manifests, Checkpoints, Checkpoints, Checkpoints, Logs, Logs, Logs];
        let (kind, part) = (*stream.pick(&kinds), *stream.pick(&parts));
        let all = kind == Earlier && stream.chance(0.1);
        // A number that people can write down in TOML.
        Self { life, kind, part: if all { Everything } else { part }, draws: stream.bits() >> 1 }
    }
}

/// Adds faults out of contract to `plan`.
pub(crate) fn faults(stream: &mut Stream, mut plan: FaultPlan) -> FaultPlan {
    for class in FaultClass::RATED {
        let (on, rare) = (stream.chance(0.3), *stream.pick(&[0.0003, 0.001, 0.003, 0.01]));
        let frequent = *stream.pick(&[0.003, 0.03, 0.3, 1.0]);
        if !class.in_contract() && on {
            plan = plan.with(class, if class == FaultClass::LostSync { frequent } else { rare });
        }
    }
    plan
}

/// To be called before a run: madsim lets nobody start a thread during one.
pub(crate) fn prepare() {
    LazyLock::force(&ANOTHER);
}

/// Keeps an image of the disk now and then.
pub(crate) fn remember(run: &Run, disk: &Disk) {
    let Some(plan) = &run.plan.damage else { return };
    let mut images = lock(&run.images);
    images.boundaries += 1;
    if images.boundaries.is_multiple_of(plan.image_every) {
        images.keep(disk.clone());
    }
}

/// Nobody runs: what was refused is perhaps put back, and then things happen to the disk.
pub(crate) fn between_lives(run: &Run, disk: &SimDisk, life: u32) {
    let Some(plan) = &run.plan.damage else { return };
    let mut images = lock(&run.images);
    if std::mem::take(&mut images.refused)
        && plan.restore
        && let Some((undamaged, count)) = images.undamaged.take()
    {
        // Of what came after it nothing may come back: its files have numbers that will be given again.
        images.taken.truncate(count);
        disk.with_disk(|disk| *disk = undamaged);
        run.count(|tally| tally.restored += 1);
    }
    let now = disk.disk();
    images.keep(now.clone());
    images.undamaged = Some((now, images.taken.len()));
    for at_rest in plan.rest.iter().filter(|at_rest| at_rest.life == life) {
        if let Some((path, damage)) = at_rest.resolve(&disk.disk(), &images.taken) {
            // What cannot be done is not done: a folder in place of a file, say.
            let hits = disk.damage(&path, &damage).unwrap_or(0);
            run.count(|tally| tally.damaged += hits as u64);
        }
    }
}

impl Images {
    fn keep(&mut self, disk: Disk) {
        if self.taken.len() == IMAGES_MAX {
            self.taken.remove(IMAGES_MAX / 2);
            if let Some((_, count)) = &mut self.undamaged
                && *count > IMAGES_MAX / 2
            {
                *count -= 1;
            }
        }
        self.taken.push(disk);
    }

    /// Every image.
    pub(crate) fn taken(&self) -> &[Disk] {
        &self.taken
    }
}

impl AtRest {
    /// What exactly to do to which path, if there is anything to do.
    fn resolve(&self, disk: &Disk, images: &[Disk]) -> Option<(PathBuf, Damage)> {
        let mut stream = Streams::new(self.draws).stream("damage");
        let file = |stream: &mut Stream| pick_file(stream, disk, self.part);
        match self.kind {
            Kind::Rot => {
                let path = file(&mut stream)?;
                let offset = pick_byte(&mut stream, &disk.read_file(&path)?)?;
                let mask = *stream.pick(&[1, 2, 16, 128, 0xFF]);
                Some((path, Damage::BitRot { offset, mask }))
            }
            Kind::Latent => {
                let path = file(&mut stream)?;
                let sector = pick_byte(&mut stream, &disk.read_file(&path)?)? / 512;
                Some((path, Damage::LatentSector { sector }))
            }
            Kind::Earlier => {
                let path = self.file_or_folder(&mut stream, disk)?;
                let with = stream.pick(images).clone();
                Some((path.clone(), Damage::Exchanged { with, path }))
            }
            Kind::StaleNames => {
                let path = folder(&mut stream, disk, self.part)?;
                let before = stream.pick(images).clone();
                Some((path, Damage::StaleNames { before }))
            }
            Kind::Sibling => {
                let (path, other) = (file(&mut stream)?, file(&mut stream)?);
                Some((path, Damage::Exchanged { with: disk.clone(), path: other }))
            }
            Kind::Foreign => {
                let path = file(&mut stream)?;
                let with = ANOTHER.clone();
                let same = with.read_file(&path).is_some();
                let other = if same { path.clone() } else { pick_file(&mut stream, &with, self.part)? };
                Some((path, Damage::Exchanged { with, path: other }))
            }
            Kind::Gone => {
                let path = self.file_or_folder(&mut stream, disk)?;
                let with = Disk::new(Personality::default());
                Some((path.clone(), Damage::Exchanged { with, path }))
            }
        }
    }

    fn file_or_folder(&self, stream: &mut Stream, disk: &Disk) -> Option<PathBuf> {
        if self.part == Part::Everything || stream.chance(0.5) {
            return folder(stream, disk, self.part);
        }
        pick_file(stream, disk, self.part)
    }
}

/// A folder of `part`.
fn folder(stream: &mut Stream, disk: &Disk, part: Part) -> Option<PathBuf> {
    let root = Path::new(DIRECTORY);
    let folder = match part {
        Part::Ident | Part::Everything => return Some(root.to_owned()),
        Part::Manifests => root.join("m"),
        Part::Checkpoints => root.join("f"),
        Part::Logs if stream.chance(0.3) => root.join("wal"),
        Part::Logs => {
            let cores: Vec<_> =
                folders(disk).into_iter().filter(|path| path.starts_with(root.join("wal"))).collect();
            (!cores.is_empty()).then(|| stream.pick(&cores).clone())?
        }
    };
    folders(disk).contains(&folder).then_some(folder)
}

fn folders(disk: &Disk) -> Vec<PathBuf> {
    disk.tree().into_iter().filter(|(_, len)| len.is_none()).map(|(path, _)| path).collect()
}

/// A file of `part` that is not empty: often the last one.
fn pick_file(stream: &mut Stream, disk: &Disk, part: Part) -> Option<PathBuf> {
    let root = Path::new(DIRECTORY);
    let within = match part {
        Part::Ident => root.join("IDENT"),
        Part::Manifests => root.join("m"),
        Part::Checkpoints => root.join("f"),
        Part::Logs => root.join("wal"),
        Part::Everything => root.to_owned(),
    };
    let files: Vec<PathBuf> = disk
        .tree()
        .into_iter()
        .filter(|(path, len)| path.starts_with(&within) && len.is_some_and(|len| len > 0))
        .map(|(path, _)| path)
        .collect();
    let last = files.last()?;
    Some(if stream.chance(0.4) { last.clone() } else { stream.pick(&files).clone() })
}

/// The place of a byte: mostly of one that is not zero.
fn pick_byte(stream: &mut Stream, bytes: &[u8]) -> Option<u64> {
    let any = stream.chance(0.15);
    let used: Vec<usize> = (0..bytes.len()).filter(|at| any || bytes[*at] != 0).collect();
    (!used.is_empty()).then(|| *stream.pick(&used) as u64)
}

/// Another database with checkpoints and several lives.
static ANOTHER: LazyLock<Disk> = LazyLock::new(|| {
    // On a thread of its own: the events of this engine are no events of the seed's.
    #[expect(clippy::disallowed_methods, reason = "the harness is outside of the simulations that it starts")]
    let built = std::thread::spawn(|| (0..3).fold(Disk::new(Personality::default()), a_life_elsewhere));
    built.join().unwrap_or_else(|_| panic!("the other database could not be made"))
});

fn a_life_elsewhere(disk: Disk, life: u64) -> Disk {
    let ran = Simulator::new(life).run(|handle: Handle| async move {
        let (executor, streams): (Arc<dyn Executor>, _) = (Arc::new(handle), Streams::new(0xE15E + life));
        let disk = SimDisk::new(disk, executor.clone(), &streams, FaultPlan::none(), Trace::new());
        let env = SimEnv::new("elsewhere", executor, disk.vfs(), &streams);
        work_elsewhere(env, life).await.unwrap_or_else(|error| panic!("no faults: {error}"));
        disk.disk()
    });
    ran.unwrap_or_else(|stuck| panic!("elsewhere: {stuck}"))
}

async fn work_elsewhere(env: crate::world::World, life: u64) -> Result<(), Error> {
    let options = Options::new(DIRECTORY)
        .cores(4)
        .segment_bytes(16 << 10)
        .batch_bytes(1 << 10)
        .queue_bytes(16 << 10)
        .checkpoint_interval(None);
    let Opened { engine, mut cores, .. } = Engine::open_in(env, options).await?;
    for round in 0..6_u64 {
        for number in 0..24_u64 {
            let key = number.to_le_bytes();
            cores[engine.core_of(&key).index()].put(&key, &[0xE1; 200])?;
        }
        let mut ended = None;
        for core in &mut cores {
            ended = Some(core.close_epoch(EpochMark::new().offset("elsewhere", life * 6 + round))?);
        }
        if let Some(epoch) = ended {
            engine.durable(epoch).await?;
        }
        engine.checkpoint_async().await?;
    }
    engine.close_async(cores).await
}

impl fmt::Display for DamagePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "damage: image every {} boundaries, restore={}", self.image_every, self.restore)?;
        for AtRest { life, kind, part, draws } in &self.rest {
            let when =
                if *life == LAST { "before the last life".to_owned() } else { format!("after life {life}") };
            write!(f, "\n        {when}: {kind:?} of {part:?} ({draws:#x})")?;
        }
        Ok(())
    }
}
