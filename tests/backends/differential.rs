//! Random sequences of operations have the same results on every backend: on the simulated disk, in memory, by plain calls
//! and by io_uring, with every form of durable write.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use highwater::env::{Blocking, StdEnv};
use highwater::sim::{Disk, Executor, FaultPlan, Handle, Personality, SimDisk, Simulator, Streams, Trace};
use highwater::vfs::{File, MemoryVfs, OpenMode, StdVfs, SystemVfs, Vfs};
use highwater::{Backend, DurableWrite};

use crate::{FORMS, uring};

const SEQUENCES: u64 = 15;
const OPERATIONS: usize = 120;

const FILES: [&str; 4] = ["a", "b", "c", "d/a"];
const DIRECTORIES: [&str; 3] = ["d", "e", "f"];
const HANDLES: usize = 4;

/// No file grows beyond it.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// A stream of numbers from a seed.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let index = usize::try_from(self.below(choices.len() as u64)).unwrap();
        choices[index]
    }

    fn handle(&mut self) -> usize {
        usize::try_from(self.below(HANDLES as u64)).unwrap()
    }

    /// A place in a file: often the beginning of a block, sometimes of a sector, and anywhere.
    fn extent(&mut self) -> (u64, usize) {
        let unit = self.pick(&[4096, 4096, 512, 1]);
        let offset = self.below(FILE_BYTES_MAX / 2) / unit * unit;
        let bytes = (1 + self.below(units_max(unit))) * unit;
        (offset, usize::try_from(bytes).unwrap())
    }
}

/// Most units of one transfer: also large ones, which go other ways than small ones.
fn units_max(unit: u64) -> u64 {
    FILE_BYTES_MAX / 2 / unit.max(4)
}

#[derive(Clone, Debug)]
enum Op {
    Create {
        handle: usize,
        name: &'static str,
    },
    Open {
        handle: usize,
        name: &'static str,
        mode: OpenMode,
    },
    Close {
        handle: usize,
    },
    Write {
        handle: usize,
        at: (u64, usize),
        fill: u8,
        durable: bool,
    },
    Read {
        handle: usize,
        at: (u64, usize),
    },
    /// Blocks of their own, written together, durably or not, and synced by a call beside them.
    Together {
        handle: usize,
        fill: u8,
    },
    SetLen {
        handle: usize,
        bytes: u64,
    },
    Allocate {
        handle: usize,
        bytes: u64,
    },
    Describe {
        handle: usize,
    },
    Sync {
        handle: usize,
    },
    CreateDir {
        name: &'static str,
    },
    Link {
        from: &'static str,
        to: &'static str,
    },
    Rename {
        from: &'static str,
        to: &'static str,
    },
    RenameDir {
        from: &'static str,
        to: &'static str,
    },
    Remove {
        name: &'static str,
    },
    List {
        name: &'static str,
    },
    SyncDir {
        name: &'static str,
    },
}

fn draw(draws: &mut Draws) -> Op {
    let handle = draws.handle();
    let fill = u8::try_from(draws.below(255)).unwrap() + 1;
    let name = draws.pick(&FILES);
    let directory = draws.pick(&["", "d", "e", "f"]);
    match draws.below(26) {
        0..=2 => Op::Create { handle, name },
        3..=5 => {
            Op::Open { handle, name, mode: draws.pick(&[OpenMode::Write, OpenMode::Write, OpenMode::Read]) }
        }
        6 => Op::Close { handle },
        7..=9 => Op::Write { handle, at: draws.extent(), fill, durable: false },
        10..=12 => Op::Write { handle, at: draws.extent(), fill, durable: true },
        13..=15 => Op::Read { handle, at: draws.extent() },
        16 => Op::Together { handle, fill },
        17 => Op::SetLen { handle, bytes: draws.below(FILE_BYTES_MAX) },
        18 => Op::Allocate { handle, bytes: draws.below(FILE_BYTES_MAX) },
        19 => Op::Describe { handle },
        20 => Op::Sync { handle },
        21 => Op::CreateDir { name: draws.pick(&DIRECTORIES) },
        22 => Op::Link { from: name, to: draws.pick(&FILES) },
        23 => match draws.below(2) {
            0 => Op::Rename { from: name, to: draws.pick(&FILES) },
            // What it means to rename a directory to itself is nobody's promise.
            _ => match (draws.pick(&DIRECTORIES), draws.pick(&DIRECTORIES)) {
                (from, to) if from == to => Op::CreateDir { name: from },
                (from, to) => Op::RenameDir { from, to },
            },
        },
        24 => Op::Remove { name },
        _ => match draws.below(2) {
            0 => Op::List { name: directory },
            _ => Op::SyncDir { name: directory },
        },
    }
}

/// What an operation came to, as far as backends must agree.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Number(u64),
    Bytes(Vec<u8>),
    Names(Vec<String>),
    NoHandle,
    Missing,
    Taken,
    Refused,
}

fn outcome<T>(result: io::Result<T>, of: impl FnOnce(T) -> Outcome) -> Outcome {
    match result.map_err(|error| error.kind()) {
        Ok(value) => of(value),
        Err(io::ErrorKind::NotFound) => Outcome::Missing,
        Err(io::ErrorKind::AlreadyExists) => Outcome::Taken,
        Err(_) => Outcome::Refused,
    }
}

async fn write(file: &impl File, mut offset: u64, mut data: Bytes, durable: bool) -> io::Result<()> {
    while !data.is_empty() {
        let count = if durable {
            file.write_at_and_sync(offset, data.clone()).await?
        } else {
            file.write_at(offset, data.clone()).await?
        };
        offset += count as u64;
        drop(data.split_to(count));
    }
    Ok(())
}

async fn read(file: &impl File, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    while content.len() < bytes {
        let buffer = BytesMut::zeroed(bytes - content.len());
        let (buffer, count) = file.read_at(offset + content.len() as u64, buffer).await?;
        if count == 0 {
            break;
        }
        content.extend_from_slice(&buffer[..count]);
    }
    Ok(content)
}

type Flight<'a> = Pin<Box<dyn Future<Output = io::Result<()>> + 'a>>;

async fn together(file: &impl File, fill: u8) -> io::Result<()> {
    let mut flights: Vec<Option<Flight<'_>>> = Vec::new();
    for block in 0..8_u64 {
        let data = Bytes::from(vec![fill.wrapping_add(u8::try_from(block).unwrap()); 4096]);
        flights.push(Some(Box::pin(write(file, block * 2 * 4096, data, block % 2 == 0))));
    }
    flights.push(Some(Box::pin(file.sync_data())));
    let mut first_error = None;
    std::future::poll_fn(|context| {
        for flight in &mut flights {
            let Some(Poll::Ready(result)) = flight.as_mut().map(|flight| flight.as_mut().poll(context))
            else {
                continue;
            };
            *flight = None;
            first_error = first_error.take().or(result.err());
        }
        if flights.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    first_error.map_or(Ok(()), Err)
}

/// Files by the seam, and the handles that a sequence has open.
struct Player<'a, V: Vfs> {
    vfs: V,
    root: &'a Path,
    handles: [Option<V::File>; HANDLES],
}

impl<V: Vfs> Player<'_, V> {
    async fn names(&mut self, op: &Op) -> Outcome {
        let at = |name: &str| self.root.join(name);
        let done = |()| Outcome::Done;
        match op {
            Op::Create { handle, name } => {
                let created = self.vfs.create_new(&at(name)).await;
                outcome(created, |file| self.keep(*handle, file))
            }
            Op::Open { handle, name, mode } => {
                let opened = self.vfs.open(&at(name), *mode).await;
                outcome(opened, |file| self.keep(*handle, file))
            }
            Op::CreateDir { name } => outcome(self.vfs.create_dir(&at(name)).await, done),
            Op::Link { from, to } => outcome(self.vfs.link(&at(from), &at(to)).await, done),
            Op::Rename { from, to } | Op::RenameDir { from, to } => {
                outcome(self.vfs.rename(&at(from), &at(to)).await, done)
            }
            Op::Remove { name } => outcome(self.vfs.remove(&at(name)).await, done),
            Op::List { name } => outcome(self.vfs.list(&at(name)).await, |entries| {
                Outcome::Names(entries.into_iter().map(|entry| entry.name).collect())
            }),
            Op::SyncDir { name } => outcome(self.vfs.sync_dir(&at(name)).await, done),
            _ => self.bytes(op).await,
        }
    }

    fn keep(&mut self, handle: usize, file: V::File) -> Outcome {
        self.handles[handle] = Some(file);
        Outcome::Done
    }

    async fn bytes(&mut self, op: &Op) -> Outcome {
        let (Op::Close { handle }
        | Op::Write { handle, .. }
        | Op::Read { handle, .. }
        | Op::Together { handle, .. }
        | Op::SetLen { handle, .. }
        | Op::Allocate { handle, .. }
        | Op::Describe { handle }
        | Op::Sync { handle }) = op
        else {
            unreachable!("an operation on names");
        };
        let Some(file) = &self.handles[*handle] else { return Outcome::NoHandle };
        let done = |()| Outcome::Done;
        match op {
            Op::Close { handle } => {
                self.handles[*handle] = None;
                Outcome::Done
            }
            Op::Write { at: (offset, bytes), fill, durable, .. } => {
                outcome(write(file, *offset, Bytes::from(vec![*fill; *bytes]), *durable).await, done)
            }
            Op::Read { at: (offset, bytes), .. } => {
                outcome(read(file, *offset, *bytes).await, Outcome::Bytes)
            }
            Op::Together { fill, .. } => outcome(together(file, *fill).await, done),
            Op::SetLen { bytes, .. } => outcome(file.set_len(*bytes).await, done),
            Op::Allocate { bytes, .. } => match file.allocate(*bytes).await {
                // A file system without the means, and one backend of several: their lengths are to stay the same.
                Err(error) if error.kind() == io::ErrorKind::Unsupported => match file.len().await {
                    Ok(length) => outcome(file.set_len(length.max(*bytes)).await, done),
                    error => outcome(error, Outcome::Number),
                },
                allocated => outcome(allocated, done),
            },
            Op::Describe { .. } => match file.len().await {
                Ok(bytes) => outcome(file.link_count().await, |links| Outcome::Number(bytes << 8 | links)),
                error => outcome(error, Outcome::Number),
            },
            _ => outcome(file.sync_data().await, done),
        }
    }
}

async fn play<V: Vfs>(vfs: V, root: &Path, ops: &[Op]) -> Vec<Outcome> {
    let mut player = Player { vfs, root, handles: [const { None }; HANDLES] };
    let mut outcomes = Vec::new();
    for op in ops {
        outcomes.push(player.names(op).await);
    }
    outcomes
}

fn on_this_machine(vfs: impl Vfs, ops: &[Op]) -> Vec<Outcome> {
    let dir = tempfile::tempdir().unwrap();
    StdEnv.block_on(play(vfs, dir.path(), ops))
}

fn on_the_simulated_disk(seed: u64, ops: &[Op]) -> Vec<Outcome> {
    let ops = ops.to_vec();
    let ran = Simulator::new(seed).run(|handle: Handle| async move {
        let (executor, streams): (Arc<dyn Executor>, _) = (Arc::new(handle), Streams::new(seed));
        let disk = Disk::new(Personality::default());
        let disk = SimDisk::new(disk, executor, &streams, FaultPlan::none(), Trace::silent());
        let root = Path::new("root");
        disk.vfs().create_dir(root).await.unwrap();
        play(disk.vfs(), root, &ops).await
    });
    ran.unwrap()
}

#[test]
fn every_backend_gives_the_same_results() {
    let mut done = 0;
    for seed in 0..SEQUENCES {
        let mut draws = Draws(seed);
        let ops: Vec<Op> = (0..OPERATIONS).map(|_| draw(&mut draws)).collect();
        let expected = on_the_simulated_disk(seed, &ops);
        done +=
            expected.iter().filter(|outcome| matches!(outcome, Outcome::Done | Outcome::Bytes(_))).count();
        let agrees = |backend: &str, outcomes: Vec<Outcome>| {
            for (number, ((op, expected), found)) in ops.iter().zip(&expected).zip(outcomes).enumerate() {
                assert_eq!(found, *expected, "seed {seed}, operation {number}, {op:?} on {backend}");
            }
        };
        agrees("std", on_this_machine(StdVfs, &ops));
        agrees("memory", StdEnv.block_on(play(MemoryVfs::new(), Path::new("/"), &ops)));
        // Each sequence on two forms: all of them in turn.
        for step in 0..2 {
            let form = FORMS[usize::try_from(2 * seed + step).unwrap() % FORMS.len()];
            agrees(&format!("{form:?}"), on_this_machine(SystemVfs::new(Backend::Std, form).unwrap(), &ops));
            if let Some(vfs) = uring(form) {
                agrees(&format!("io_uring, {form:?}"), on_this_machine(vfs, &ops));
            }
        }
        if let Ok(vfs) = SystemVfs::new(Backend::Uring, DurableWrite::Auto) {
            agrees("io_uring as it comes", on_this_machine(vfs, &ops));
        }
    }
    let all = usize::try_from(SEQUENCES).unwrap() * OPERATIONS;
    assert!(done * 3 > all, "only {done} of {all} operations did something");
}
