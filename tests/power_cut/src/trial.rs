//! One file system and one backend: recordings, cuts through them, and what is found in the images.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use highwater::Backend;
use highwater::sim::{FoundTree, Stream, Streams};
use rustix::fs::Advice;

use crate::blocks::Blocks;
use crate::cut::{Cutter, Kept};
use crate::device::Device;
use crate::disk::{Kind, Mounted, tree};
use crate::follower::Follower;
use crate::promises::Promises;
use crate::recording::{Event, Recording};
use crate::world::{Shape, World};

/// Recoveries of recoveries: how deep, how often and how many images of each.
const DEPTH_MAX: u32 = 2;
const DEEPER: f64 = 0.12;
const DEEPER_IMAGES: u64 = 2;

/// How often the kernel is told to write back what is dirty.
const STIR: Duration = Duration::from_millis(2);

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) recordings: u64,
    pub(crate) images: u64,
    /// Images of a recovery that was cut itself.
    pub(crate) deeper: u64,
    pub(crate) flushes: u64,
    /// Images with something that a power loss decided about, and how many sectors that was.
    pub(crate) undecided_images: u64,
    pub(crate) undecided_sectors: u64,
    /// Images of a moment at which an epoch was promised.
    pub(crate) promised: u64,
    pub(crate) findings: u64,
    /// Images, not counted otherwise, that are torn within a block and do not mount.
    pub(crate) unmountable: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.undecided_sectors / self.undecided_images.max(1);
        write!(
            f,
            "{} images ({} with an acknowledged epoch, {} of recoveries) of {} recordings with {} flushes; {} with \
             unflushed writes, of {each} sectors on average; {} more did not mount; {} findings",
            self.images,
            self.promised,
            self.deeper,
            self.recordings,
            self.flushes,
            self.undecided_images,
            self.unmountable,
            self.findings
        )
    }
}

/// A recording, and what was true when it began.
struct Past {
    seed: u64,
    shape: Shape,
    blocks: Blocks,
    tree: FoundTree,
    promises: Promises,
    events: Vec<Event>,
    depth: u32,
}

/// See the module.
pub(crate) struct Trial {
    kind: Kind,
    backend: Backend,
    keep: Option<PathBuf>,
    recording: Arc<Recording>,
    device: Device,
    empty: Blocks,
    folder: PathBuf,
    pub(crate) tally: Tally,
    _scratch: tempfile::TempDir,
}

impl Trial {
    pub(crate) fn new(kind: Kind, backend: Backend, keep: Option<PathBuf>) -> Result<Self, String> {
        let scratch = tempfile::tempdir().map_err(|error| format!("a scratch folder: {error}"))?;
        let place = |name: &str| {
            let path = scratch.path().join(name);
            std::fs::create_dir(&path).map(|()| path).map_err(|error| format!("a scratch folder: {error}"))
        };
        let recording = Arc::new(Recording::default());
        let device = Device::mount(&place("device")?, Arc::clone(&recording))?;
        let (empty, folder) = (kind.make(scratch.path())?, place("mounted")?);
        let tally = Tally::default();
        Ok(Self { kind, backend, keep, recording, device, empty, folder, tally, _scratch: scratch })
    }

    /// Records a few lives of a new database, and looks at so many images of them.
    ///
    /// # Errors
    ///
    /// When this machine cannot: no image is to blame.
    pub(crate) fn record(&mut self, seed: u64, images: u64) -> Result<(), String> {
        let mut stream = Streams::new(seed).stream("power-cut");
        let shape = Shape::draw(self.backend, &mut stream);
        self.recording.install(self.empty.clone());
        let mounted = self.kind.mount(&self.device, &self.folder)?;
        let found = tree(&self.folder)?;
        let mut world = World::new(shape, Promises::new(), &self.recording, &self.folder);
        let data = world.data().to_owned();
        let lived = stirred(&data, || (0..3).try_for_each(|_| world.life(stream.range(10, 50), &mut stream)));
        let promises = world.promises;
        mounted.unmount()?;
        lived.map_err(|error| format!("seed {seed}, before any cut: {error}"))?;
        let events = self.recording.take();
        self.tally.recordings += 1;
        self.tally.flushes += events.iter().filter(|event| matches!(event, Event::Flushed)).count() as u64;
        let past = Past { seed, shape, blocks: self.empty.clone(), tree: found, promises, events, depth: 0 };
        self.examine(&past, images, &mut stream)
    }

    /// Cuts the recording at so many places, and looks at what each leaves.
    fn examine(&mut self, past: &Past, images: u64, stream: &mut Stream) -> Result<(), String> {
        let mut cuts: Vec<usize> = (0..images).map(|_| draw_cut(&past.events, stream)).collect();
        cuts.sort_unstable();
        let mut cutter = Cutter::new(past.blocks.clone());
        let mut follower = Follower::new(&past.tree);
        let mut at = 0;
        for cut in cuts {
            for event in &past.events[at..cut] {
                cutter.follow(event);
                follower.follow(event);
            }
            at = cut;
            let (image, kept) = cutter.image(stream);
            if self.look(past, cut, (&image, kept), &follower, stream)? {
                let undecided = cutter.undecided() as u64;
                self.tally.undecided_images += u64::from(undecided > 0);
                self.tally.undecided_sectors += undecided;
            }
        }
        Ok(())
    }

    /// Looks at one image, and perhaps at images of its recovery. Whether there was a file system to look at.
    fn look(
        &mut self,
        past: &Past,
        cut: usize,
        (image, kept): (&Blocks, Kept),
        follower: &Follower,
        stream: &mut Stream,
    ) -> Result<bool, String> {
        let promises = past.promises.at(cut, &past.events);
        let promised = promises.floor() > 0;
        self.recording.install(image.clone());
        let looked = match self.kind.mount(&self.device, &self.folder) {
            // File systems take blocks of their own for whole: a superblock of ext4 that is torn between sectors does
            // not mount, nor does a directory of XFS. That is theirs, and nothing that the engine could help.
            Err(_) if kept.tears_blocks() => {
                self.tally.unmountable += 1;
                return Ok(false);
            }
            Err(error) => Err(format!("UNMOUNTABLE: {error}")),
            Ok(mounted) => self.recover(mounted, (past.shape, promises), follower, stream),
        };
        self.tally.images += 1;
        self.tally.deeper += u64::from(past.depth > 0);
        self.tally.promised += u64::from(promised);
        let events = self.recording.take();
        match looked {
            Ok((tree, promises)) if past.depth < DEPTH_MAX && stream.chance(DEEPER) => {
                let (seed, shape, depth) = (past.seed, past.shape, past.depth + 1);
                let deeper = Past { seed, shape, blocks: image.clone(), tree, promises, events, depth };
                self.examine(&deeper, DEEPER_IMAGES, stream)?;
            }
            Ok(_) => {}
            Err(finding) => {
                self.tally.findings += 1;
                let (seed, depth) = (past.seed, past.depth);
                println!(
                    "FOUND on {}, seed {seed}, depth {depth}, {:?}, cut at {cut} of {} ({:?}), kept {kept}: {finding}",
                    self.kind,
                    past.shape,
                    past.events.len(),
                    past.events.get(cut).map(name_of),
                );
                self.keep(image)?;
            }
        }
        Ok(true)
    }

    /// Holds what is mounted against the simulated disk, opens it, goes on a little, and verifies.
    fn recover(
        &self,
        mounted: Mounted,
        (shape, promises): (Shape, Promises),
        follower: &Follower,
        stream: &mut Stream,
    ) -> Result<(FoundTree, Promises), String> {
        let found = tree(&self.folder)?;
        follower.witness().allows(&found).map_err(|what| format!("NOT SIMULATED: {what}"))?;
        let mut world = World::new(shape, promises, &self.recording, &self.folder);
        world.life(stream.range(0, 8), stream)?;
        let promises = world.promises.clone();
        world.verify()?;
        mounted.unmount()?;
        Ok((found, promises))
    }

    fn keep(&self, image: &Blocks) -> Result<(), String> {
        let Some(folder) = &self.keep else { return Ok(()) };
        let path = folder.join(format!("{}-{}.img", self.kind, self.tally.findings));
        std::fs::write(&path, image.to_vec()).map_err(|error| format!("{}: {error}", path.display()))
    }
}

fn name_of(event: &Event) -> &'static str {
    match event {
        Event::Written { .. } => "before a write",
        Event::Completed { .. } => "before a write completes",
        Event::Flushed => "before a flush",
        Event::Opened { .. } => "before a file is open",
        Event::Began { .. } => "before a call",
        Event::Ended { .. } => "before a call returns",
        Event::Acknowledged { .. } => "before an acknowledgement",
    }
}

/// A moment: mostly in front of a flush, when the most is undecided, or behind an acknowledgement, when the most is
/// promised.
fn draw_cut(events: &[Event], stream: &mut Stream) -> usize {
    let places: Vec<usize> = match stream.below(10) {
        0..5 => places(events, |event| matches!(event, Event::Flushed)).collect(),
        5..9 => {
            places(events, |event| matches!(event, Event::Acknowledged { .. })).map(|at| at + 1).collect()
        }
        _ => Vec::new(),
    };
    if places.is_empty() {
        return usize::try_from(stream.below(events.len() as u64 + 1)).expect("an index");
    }
    *stream.pick(&places)
}

fn places(events: &[Event], is: impl Fn(&Event) -> bool) -> impl Iterator<Item = usize> {
    (0..events.len()).filter(move |&at| is(&events[at]))
}

/// Runs `work` while dirty pages of the files in `data` are written back, again and again: a kernel does that by itself,
/// but after seconds.
fn stirred<T>(data: &Path, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = Streams::new(1).stream("stir");
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(STIR);
                stir(data, &mut stream);
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// Starts the write-back of some files below `folder`, and waits for nothing.
fn stir(folder: &Path, stream: &mut Stream) {
    // Files come and go meanwhile.
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            stir(&entry.path(), stream);
        } else if stream.chance(0.2)
            && let Ok(file) = std::fs::File::open(entry.path())
        {
            let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
        }
    }
}
