//! Rewriting chains of files as one base: a merge of sorted files in which the newest record of a key wins.
//!
//! A chain is one core's files as a checkpoint lists them. It begins at the beginning of the database, so that nothing
//! older is hidden by a delete: deletes end here. A file that opens with a `Clear` voids what is before it in its
//! chain, which is then not even read.
//!
//! Usually there is one chain, and the base is for the same core. When the count of cores changes, every new core
//! gets its keys from the chains of all old ones, in which no key stands twice.
//!
//! A process may not open any number of files: what takes more is done in passes.

use std::path::Path;

use crate::codec::{Record, RecordKind};
use crate::error::Result;
use crate::ids::CoreId;
use crate::limits::CORES_MAX;
use crate::manifest::{CheckpointFile, FileKind};
use crate::vfs::{File, Vfs};

use super::Grouping;
use super::block::{Block, Entry};
use super::file::Header;
use super::pace::Pace;
use super::reader::{FileReader, FileStream};
use super::writer::{FileWriter, Written, remove};

/// Reads ahead over all files of a merge, as long as each has one: they hold memory.
const READS_AHEAD: usize = 32;

/// Most files that are read at once, and most that are written: a process may have 1,024 open as a rule, and the program
/// wants some.
pub(super) const READERS_MAX: usize = 256;
const WRITERS_MAX: usize = 64;

const _: () =
    assert!(READERS_MAX >= CORES_MAX as usize, "a base of every core can be read beside the others");

/// Merges `chain` into a new base, at a pace. `target` gives one header after the other, which differ in their names: a long
/// chain takes several passes, each from the base of the one before.
///
/// # Errors
///
/// `Corrupt` naming the damaged file, `Full`, or `Failed`. The base is then given up; the chain is as good as before.
///
/// # Panics
///
/// When the chain is of several cores, does not begin at the beginning, or goes beyond the base.
pub(crate) async fn merge<V: Vfs>(
    vfs: &V,
    root: &Path,
    chain: &[CheckpointFile],
    target: impl Fn() -> Header,
    how: (Grouping, Pace),
) -> Result<Written> {
    merge_in_passes(vfs, root, (chain, READERS_MAX), target, how).await
}

/// The same with at most `files_max` of the files open, two at least.
pub(super) async fn merge_in_passes<V: Vfs>(
    vfs: &V,
    root: &Path,
    (chain, files_max): (&[CheckpointFile], usize),
    target: impl Fn() -> Header,
    (grouping, pace): (Grouping, Pace),
) -> Result<Written> {
    assert!(files_max > 1, "a pass over {files_max} files makes no chain shorter");
    let mut left = chain.to_vec();
    let mut of_last_pass = None;
    loop {
        let count = left.len().min(files_max);
        let how = (grouping.clone(), pace.clone());
        let written = merge_once(vfs, root, &left[..count], target(), how).await;
        if let Some(name) = of_last_pass.take() {
            remove(vfs, root, &name).await;
        }
        let written = written?;
        if count == left.len() {
            return Ok(written);
        }
        of_last_pass = Some(written.file().name);
        left.splice(..count, [*written.file()]);
    }
}

/// One pass over all of `chain`.
async fn merge_once<V: Vfs>(
    vfs: &V,
    root: &Path,
    chain: &[CheckpointFile],
    target: Header,
    (grouping, pace): (Grouping, Pace),
) -> Result<Written> {
    assert_eq!(target.name.kind, FileKind::Base, "a merge makes a base");
    let mut readers = Vec::new();
    open_chain(vfs, root, target, chain, &mut readers).await?;
    let mut merge = Merge::begin(&readers).await?;
    let mut writer = FileWriter::create(vfs, root, target, Some(grouping)).await?.at(pace);
    let written = match merge.each(async |record| writer.push(record).await).await {
        Ok(()) => writer.finish().await,
        Err(error) => Err(error),
    };
    if written.is_err() {
        writer.abandon().await;
    }
    written
}

/// Merges the `chains` of all cores and hands each key to the base of `targets` that `owner` says; a base without a
/// key is not made. All files of the chains are open at once; for many targets they are read several times.
///
/// # Errors
///
/// As [`merge`].
///
/// # Panics
///
/// As [`merge`], when there are more than [`READERS_MAX`] files, and when `owner` names no target.
pub(crate) async fn distribute<V: Vfs>(
    vfs: &V,
    root: &Path,
    chains: &[Vec<CheckpointFile>],
    targets: &[Header],
    how: (Grouping, Pace),
    owner: impl Fn(&[u8]) -> CoreId,
) -> Result<Vec<Written>> {
    distribute_in_passes(vfs, root, chains, (targets, WRITERS_MAX), how, owner).await
}

/// The same with at most `bases_max` bases written at once.
pub(super) async fn distribute_in_passes<V: Vfs>(
    vfs: &V,
    root: &Path,
    chains: &[Vec<CheckpointFile>],
    (targets, bases_max): (&[Header], usize),
    (grouping, pace): (Grouping, Pace),
    owner: impl Fn(&[u8]) -> CoreId,
) -> Result<Vec<Written>> {
    let files = chains.iter().map(Vec::len).sum::<usize>();
    assert!(files <= READERS_MAX, "{files} files are too many to be open at once");
    let mut bases: Vec<Written> = Vec::new();
    for first in (0..targets.len()).step_by(bases_max) {
        let some = &targets[first..targets.len().min(first + bases_max)];
        let place = |key: &[u8]| {
            let core = owner(key).index();
            assert!(core < targets.len(), "a key of core {core}, and {} have targets", targets.len());
            core.checked_sub(first).filter(|place| *place < some.len())
        };
        match distribute_once(vfs, root, chains, some, (grouping.clone(), pace.clone()), place).await {
            Ok(more) => bases.extend(more),
            Err(error) => {
                for base in &bases {
                    remove(vfs, root, &base.file().name).await;
                }
                return Err(error);
            }
        }
    }
    Ok(bases)
}

/// One pass: `place` says which of `targets` has a key, if one of them does.
async fn distribute_once<V: Vfs>(
    vfs: &V,
    root: &Path,
    chains: &[Vec<CheckpointFile>],
    targets: &[Header],
    (grouping, pace): (Grouping, Pace),
    place: impl Fn(&[u8]) -> Option<usize>,
) -> Result<Vec<Written>> {
    let mut readers = Vec::new();
    for chain in chains {
        open_chain(vfs, root, targets[0], chain, &mut readers).await?;
    }
    let mut merge = Merge::begin(&readers).await?;
    let mut writers: Vec<Option<FileWriter<V>>> = targets.iter().map(|_| None).collect();
    let merged = merge.each(async |record| {
        let Some(place) = place(record.key) else { return Ok(()) };
        if writers[place].is_none() {
            let writer = FileWriter::create(vfs, root, targets[place], Some(grouping.clone())).await?;
            writers[place] = Some(writer.at(pace.clone()));
        }
        writers[place].as_mut().expect("made above").push(record).await
    });
    let mut outcome = merged.await;
    let mut bases = Vec::new();
    for writer in writers.iter_mut().flatten() {
        if outcome.is_ok() {
            match writer.finish().await {
                Ok(written) => bases.push(written),
                Err(error) => outcome = Err(error),
            }
        }
    }
    if let Err(error) = outcome {
        for writer in writers.into_iter().flatten() {
            writer.abandon().await;
        }
        return Err(error);
    }
    Ok(bases)
}

/// Opens the files of `chain`, oldest first, that are not void.
async fn open_chain<V: Vfs>(
    vfs: &V,
    root: &Path,
    target: Header,
    chain: &[CheckpointFile],
    readers: &mut Vec<FileReader<V::File>>,
) -> Result<()> {
    let Some(first) = chain.first() else { return Ok(()) };
    assert_eq!(first.from_epoch.0, 0, "the chain begins behind the beginning");
    let begin = readers.len();
    for file in chain {
        assert!((file.core, file.cores) == (first.core, first.cores), "a chain is of one core");
        assert!(file.through_epoch <= target.through_epoch, "the base ends before {}", file.name);
        readers.push(FileReader::open(vfs, root, target.database, file).await?);
    }
    let newest_clear = readers[begin..].iter().rposition(|reader| reader.footer().clears).unwrap_or(0);
    readers.drain(begin..begin + newest_clear);
    Ok(())
}

/// One file of the merge and the record it stands at.
struct Cursor<'a, F: File> {
    stream: FileStream<'a, F>,
    block: Block,
    /// Where in the block the record begins, and where the next one does.
    at: usize,
    next: usize,
}

impl<'a, F: File> Cursor<'a, F> {
    /// A cursor at the first record with a key, which reads `reads` chunks ahead; `None` when there is none.
    async fn begin(reader: &'a FileReader<F>, reads: usize) -> Result<Option<Self>> {
        let mut stream = reader.stream_ahead(reads);
        let Some(block) = stream.next().await? else { return Ok(None) };
        let mut cursor = Self { stream, block, at: 0, next: 0 };
        // A Clear has done its work: the files before it are left out.
        let mut found = cursor.settle().await?;
        while found && cursor.entry().record.kind == RecordKind::Clear {
            found = cursor.advance().await?;
        }
        Ok(found.then_some(cursor))
    }

    fn entry(&self) -> Entry<'_> {
        let Some((entry, _)) = self.block.entry_at(self.at) else { panic!("a cursor stands at a record") };
        entry
    }

    /// Moves to the next record; whether there is one. At the end the whole file has been checked.
    async fn advance(&mut self) -> Result<bool> {
        self.at = self.next;
        self.settle().await
    }

    /// Goes on to the next block when this one has ended at `at`.
    async fn settle(&mut self) -> Result<bool> {
        loop {
            if let Some((_, next)) = self.block.entry_at(self.at) {
                self.next = next;
                return Ok(true);
            }
            let Some(block) = self.stream.next().await? else { return Ok(false) };
            self.block = block;
            self.at = 0;
        }
    }
}

/// Cursors and a heap of their places: the smallest key on top, and of equal keys the newest file's.
struct Merge<'a, F: File> {
    cursors: Vec<Cursor<'a, F>>,
    heap: Vec<usize>,
}

impl<'a, F: File> Merge<'a, F> {
    /// Opens a cursor for each of `readers`, oldest first.
    async fn begin(readers: &'a [FileReader<F>]) -> Result<Self> {
        let mut cursors = Vec::with_capacity(readers.len());
        let reads = READS_AHEAD / readers.len().max(1);
        for reader in readers {
            cursors.extend(Cursor::begin(reader, reads).await?);
        }
        let mut merge = Self { heap: (0..cursors.len()).collect(), cursors };
        for place in (0..merge.heap.len()).rev() {
            merge.sift_down(place);
        }
        Ok(merge)
    }

    /// Hands `take` what is left of each key, in their order.
    async fn each(&mut self, mut take: impl AsyncFnMut(&Record<'_>) -> Result<()>) -> Result<()> {
        let mut key = Vec::new();
        while let Some(&newest) = self.heap.first() {
            let record = self.cursors[newest].entry().record;
            key.clear();
            key.extend_from_slice(record.key);
            if record.kind == RecordKind::Put {
                take(&record).await?;
            }
            while let Some(&top) = self.heap.first()
                && self.cursors[top].entry().record.key == key
            {
                if !self.cursors[top].advance().await? {
                    self.heap.swap_remove(0);
                }
                self.sift_down(0);
            }
        }
        Ok(())
    }

    /// Whether cursor `a` goes before cursor `b`.
    fn before(&self, a: usize, b: usize) -> bool {
        let (key_a, key_b) = (self.cursors[a].entry().record.key, self.cursors[b].entry().record.key);
        key_a.cmp(key_b).then_with(|| b.cmp(&a)).is_lt()
    }

    fn sift_down(&mut self, mut place: usize) {
        loop {
            let mut first = place;
            for child in [2 * place + 1, 2 * place + 2] {
                if child < self.heap.len() && self.before(self.heap[child], self.heap[first]) {
                    first = child;
                }
            }
            if first == place {
                return;
            }
            self.heap.swap(place, first);
            place = first;
        }
    }
}
