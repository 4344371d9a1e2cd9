//! The judge of disks that break their word (I7). Whatever a fault out of contract did, an outcome is one of these, and
//! anything else is a bug:
//!
//! | outcome | when it is one |
//! |--|--|
//! | exact | the state of a closed epoch, and nothing that was acknowledged is missing |
//! | typed error | it names a place that the ledger knows, or a log file or a missing checkpoint file where the newest manifest may be an older one since the last open that succeeded; and no file has changed since the open had its lock |
//! | unproven tail lost | the ledger has a fault out of contract; the state is exactly that of an older closed epoch; and no mark that survived, of a later life either, says that a later epoch was closed |
//!
//! An older closed epoch may be one of a history that was left behind: whoever gets all of yesterday's disk back gets
//! yesterday's database. Marks of such a history say nothing about the one that was recovered instead; which segments
//! hold them is known by their identities.

use std::ops::Range;
use std::path::{Path, PathBuf};

use highwater::sim::{Disk, FaultClass, Injected, Ledger, SimDisk};
use highwater::{Error, ErrorKind, Opened};
use xxhash_rust::xxh3::Xxh3;

use crate::Test;
use crate::cause;
use crate::check;
use crate::decode::{self, FileCache, Marked};
use crate::shape::DIRECTORY;
use crate::world::{Run, World, lock};

/// See [`Test`].
pub(crate) const TESTS: &[Test] = tests![
    a_folder_that_was_hit_excuses_what_names_something_in_it,
    a_hit_elsewhere_in_a_file_excuses_no_place,
    a_place_is_excused_by_hits_there_and_on_what_contradicts_it
];

/// What a disk was like before an open.
pub(crate) struct Before {
    /// When nothing had been asked of the disk yet.
    disk: Disk,
    faults: usize,
}

impl Before {
    /// Looks, if the disk of `run` may break its word.
    pub(crate) fn look(run: &Run) -> Option<Self> {
        run.plan.damage.as_ref()?;
        lock(&run.images).at_lock = None;
        let disk = lock(&run.disk);
        let disk = disk.as_ref()?;
        Some(Self { disk: disk.disk(), faults: broken(&disk.ledger()) })
    }

    /// What the open found. Until it has the lock, an engine that failed in the same process still ends its work.
    fn found(&self, run: &Run) -> Disk {
        lock(&run.images).at_lock.clone().unwrap_or_else(|| self.disk.clone())
    }

    /// An open succeeded. Panics unless its state is one that the table allows.
    pub(crate) fn judge_opened(&self, run: &Run, opened: &Opened<World>) {
        let Opened { engine, cores, report } = opened;
        let epoch = report.epoch.0;
        let mut oracle = lock(&run.oracle);
        check::i3_cores_agree(&oracle, engine, cores, report);
        let mut difference = None;
        let matching = oracle.ever(epoch).find(|states| {
            let found = check::difference(states, cores, report);
            let fits = found.is_none();
            difference = difference.take().or(found);
            fits
        });
        let Some(states) = matching else {
            let what = difference.unwrap_or_else(|| "the model has no such epoch".to_owned());
            panic!("I7: opened at epoch {epoch} with a state that no closed epoch ever had: {what}");
        };
        let present = (oracle.base()..=oracle.ceiling()).contains(&epoch) && oracle.at(epoch) == states;
        if present && epoch >= oracle.floor() {
            run.count(|tally| tally.exact += 1);
        } else {
            self.judge_loss(run, epoch, oracle.floor());
            run.count(|tally| tally.tail_lost += 1);
        }
        oracle.recovered(epoch, states, report.token);
        let mut images = lock(&run.images);
        images.opened_after = [images.opened_after[1], self.faults];
    }

    /// Something that was acknowledged is missing. Panics unless nothing that survived says so.
    fn judge_loss(&self, run: &Run, epoch: u64, floor: u64) {
        let ledger = lock(&run.disk).as_ref().map(SimDisk::ledger).unwrap_or_default();
        assert!(broken(&ledger) > 0, "I1: recovered epoch {epoch}, but epoch {floor} was acknowledged");
        let found = decode::marks(&decode::files_of(&self.found(run), DIRECTORY, &mut FileCache::default()));
        let mut images = lock(&run.images);
        // What was hit while it was read may not have survived.
        let meanwhile: Vec<_> = ledger.out_of_contract().skip(self.faults).map(|hit| &hit.path).collect();
        let says_more = |mark: &&Marked| {
            let lost = images.left.contains(&mark.identity)
                || meanwhile.contains(&&Path::new(DIRECTORY).join(&mark.path));
            mark.closed_through > epoch && !lost
        };
        if let Some(Marked { path, closed_through, .. }) = found.iter().find(says_more) {
            panic!("I7: recovered epoch {epoch}, but {path} says that epoch {closed_through} was closed");
        }
        // From now on there is another history.
        let mut left: Vec<u128> = found.iter().map(|mark| mark.identity).collect();
        for image in images.taken() {
            let marks = decode::marks(&decode::files_of(image, DIRECTORY, &mut FileCache::default()));
            left.extend(marks.iter().map(|mark| mark.identity));
        }
        images.left.extend(left);
    }

    /// An open was refused. Panics unless the ledger knows the place, and the files are what they were. Whether damage
    /// was the reason; if not, the call may succeed when it is made again.
    pub(crate) fn judge_refused(&self, run: &Run, error: &Error) -> bool {
        let disk = lock(&run.disk).clone();
        let Some(disk) = disk else { return false };
        let ledger = disk.ledger();
        assert!(
            !cause::is_impossible(error.code()),
            "I7: no fault causes {}, and open says: {error}",
            error.code()
        );
        // The manifest of the last open that succeeded knew all that it saw.
        let [_, since] = lock(&run.images).opened_after;
        let excused = excused(&disk.disk(), (&ledger, since), error);
        match error.kind() {
            ErrorKind::Full => return false,
            ErrorKind::Failed if !excused => return false,
            ErrorKind::Failed => {}
            ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::Invalid => {
                assert!(excused, "I7: open names a place where nothing is damaged: {error}");
                let untouched =
                    broken(&ledger) > self.faults || digest(&disk.disk()) == digest(&self.found(run));
                assert!(untouched, "I7: open refused, and changed files: {error}");
            }
            kind => panic!("I7: open says {kind}: {error}"),
        }
        lock(&run.images).refused = true;
        run.count(|tally| tally.typed += 1);
        true
    }
}

/// Whether somebody who waits for a checkpoint may be told `error`: whether it is typed, and its place damaged.
pub(crate) fn excuses_checkpoint(run: &Run, error: &Error) -> bool {
    let disk: Option<SimDisk> = lock(&run.disk).clone();
    // The engine that is open may have begun with an older manifest.
    let [since, _] = lock(&run.images).opened_after;
    let excused = run.plan.damage.is_some()
        && disk.is_some_and(|disk| excused(&disk.disk(), (&disk.ledger(), since), error));
    run.count(|tally| tally.checkpoints_refused += u64::from(excused));
    excused
}

/// Whether a fault out of contract explains that something is wrong with a path, of which `text` says more. An open needs
/// only the newest checkpoint and the log behind it, and derives its manifest from whatever it found: what an older one
/// still retains, and a later one had given up, stays missing after opens that succeeded.
pub(crate) fn excused_at(run: &Run, (path, kind): (&Path, ErrorKind), text: &str) -> bool {
    let disk: Option<SimDisk> = lock(&run.disk).clone();
    disk.is_some_and(|disk| place_is_excused(&disk.disk(), (&disk.ledger(), 0), (path, kind), text))
}

/// Whether a fault out of contract hit the place that `error` names, under its name of now or an earlier one, or one
/// that came after the first `since` of them put an older manifest there, which the place contradicts.
fn excused(disk: &Disk, (ledger, since): (&Ledger, usize), error: &Error) -> bool {
    let Some(path) = error.path() else { return false };
    place_is_excused(disk, (ledger, since), (path, error.kind()), &error.to_string())
}

fn place_is_excused(
    disk: &Disk,
    (ledger, since): (&Ledger, usize),
    (path, kind): (&Path, ErrorKind),
    text: &str,
) -> bool {
    if path == Path::new(DIRECTORY) {
        // All of it is to blame only where it contradicts what the caller asks for.
        return kind == ErrorKind::Invalid && ledger.touching(&path.join("IDENT")).next().is_some();
    }
    let number = disk.file_number(path);
    let is_it = |hit: &Injected| hit.file != 0 && Some(hit.file) == number;
    number.is_some_and(|number| ledger.excuses(number, &named_bytes(path, text)))
        || ledger.touching(path).any(|hit| !is_it(hit))
        || ledger.out_of_contract().any(|hit| !is_it(hit) && is_named(disk, hit, text))
        || (contradicts_older_manifests(disk, path)
            && ledger.out_of_contract().skip(since).any(makes_older_manifest))
}

/// What a device tears, and a text may be a few bytes into.
const SECTOR_BYTES: u64 = 512;

/// Most bytes that are checked as one, but for manifests: a frame, a block, what a header says of itself.
const CHECKED_BYTES_MAX: u64 = 32 << 10;

/// The bytes of the file `path` that `text` is about: the sector that could not be read, which a long read may have met far behind
/// its beginning, or from the sector of the offset that it names on, or all of them. A manifest has one sum for all that is behind
/// its header, and is as long as what it lists.
fn named_bytes(path: &Path, text: &str) -> Range<u64> {
    if let Some(sector) = number_behind(text, "sector") {
        return sector.saturating_mul(SECTOR_BYTES)..sector.saturating_add(1).saturating_mul(SECTOR_BYTES);
    }
    let is_manifest = path.starts_with(Path::new(DIRECTORY).join("m"));
    number_behind(text, "offset").map_or(0..u64::MAX, |offset| {
        let end = if is_manifest { u64::MAX } else { offset.saturating_add(CHECKED_BYTES_MAX) };
        offset / SECTOR_BYTES * SECTOR_BYTES..end
    })
}

/// The number that stands behind a word.
fn number_behind(text: &str, word: &str) -> Option<u64> {
    let mut words = text.split_whitespace().skip_while(|other| *other != word);
    words.nth(1)?.trim_end_matches([',', ':']).parse().ok()
}

/// Whether `hit` may have put an older manifest in place of the newest.
fn makes_older_manifest(hit: &Injected) -> bool {
    let moved = matches!(hit.class, FaultClass::Exchanged | FaultClass::LostSync);
    moved && hit.path.starts_with(Path::new(DIRECTORY).join("m"))
}

/// Whether an undamaged `path` may contradict an older manifest in place of the newest: what that names is gone, and
/// the log files that are there it does not know; nobody can tell which of the two is right. But a checkpoint file that
/// is there is what every manifest says, and no manifest says anything of IDENT or of other manifests.
fn contradicts_older_manifests(disk: &Disk, path: &Path) -> bool {
    let root = Path::new(DIRECTORY);
    let gone = disk.file_number(path).is_none();
    path.starts_with(root.join("wal")) || (path.starts_with(root.join("f")) && gone)
}

/// Whether `text` names what was hit beside its place, as it is called now or was then: two files contradict each other.
/// Findings name files below the directory.
fn is_named(disk: &Disk, hit: &Injected, text: &str) -> bool {
    if hit.class == FaultClass::LostLock {
        return false;
    }
    let words = text.split_whitespace().map(|word| word.trim_matches(['(', ')', ',', ';', ':']));
    words.filter(|word| !word.is_empty()).map(below_directory).any(|path| {
        // A folder has no number: its hit is one of all the names in it.
        let then = if hit.file == 0 { path.parent() == Some(&hit.path) } else { path == hit.path };
        then || (hit.file != 0 && disk.file_number(path) == Some(hit.file))
    })
}

/// A path that a text gives whole, or from the directory on.
fn below_directory(word: &str) -> PathBuf {
    let root = Path::new(DIRECTORY);
    root.join(Path::new(word).strip_prefix(root).unwrap_or(Path::new(word)))
}

fn broken(ledger: &Ledger) -> usize {
    ledger.out_of_contract().count()
}

/// All files with their names; folders that an open makes do not count.
fn digest(disk: &Disk) -> u128 {
    let mut hasher = Xxh3::new();
    for (name, bytes) in decode::files_of(disk, DIRECTORY, &mut FileCache::default()) {
        hasher.update(name.as_bytes());
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(&bytes);
    }
    hasher.digest128()
}

fn lost_sync(path: &str, file: u64) -> Injected {
    let (operation, bytes, at) = ("sync", 0..u64::MAX, highwater::env::Tick(0));
    Injected { class: FaultClass::LostSync, operation, path: path.into(), file, bytes, at, firing: None }
}

/// `db/m` is in no text because that has an m.
fn a_folder_that_was_hit_excuses_what_names_something_in_it() {
    let mut disk = Disk::new(highwater::sim::Personality::default());
    for name in ["db/m/1", "db/f/2", "db/f/22"] {
        disk.install_dir(Path::new(name).parent().expect("a folder")).expect("a new one");
        disk.install_file(name, b"bytes").expect("a new one");
    }
    let of_folder = lost_sync("db/m", 0);
    assert!(!is_named(&disk, &of_folder, "corrupt: offset 12: the sum is wrong (db/f/2)"));
    assert!(is_named(&disk, &of_folder, "corrupt: m/1, behind it, says another length (db/f/2)"));
    let number = disk.file_number("db/f/2").expect("made above");
    let of_file = lost_sync("db/f/2", number);
    assert!(!is_named(&disk, &of_file, "corrupt: the sum is wrong (db/f/22)"));
    assert!(is_named(&disk, &of_file, "corrupt: contradicts (db/f/2)"));
    let renamed = lost_sync("db/f/2.tmp", number);
    assert!(is_named(&disk, &renamed, "corrupt: contradicts f/2 (db/m/1)"));
}

/// An error that names an offset is about the bytes from there on.
fn a_hit_elsewhere_in_a_file_excuses_no_place() {
    let log = Path::new("db/wal/1");
    let named = named_bytes(log, "corrupt: core 0, offset 8200, LSN 7: found zeroes (db/wal/1)");
    assert!(named.contains(&8192) && named.contains(&9000) && !named.contains(&8191));
    assert!(!named.contains(&(8192 + 2 * CHECKED_BYTES_MAX)));
    let body =
        named_bytes(Path::new("db/m/1"), "corrupt: offset 48: the manifest's body is damaged (db/m/1)");
    assert!(body.contains(&48) && body.contains(&(48 + 2 * CHECKED_BYTES_MAX)), "it has one sum");
    assert_eq!(named_bytes(log, "corrupt: the folder is missing (db/wal)"), 0..u64::MAX);
    let read =
        named_bytes(log, "db/wal/1, offset 4096: cannot be read: sector 122 cannot be read (simulated)");
    assert_eq!(read, 62_464..62_976, "a read is long");
}

/// Every text ends with the path that it blames: that names the file, and not all of its bytes.
fn a_place_is_excused_by_hits_there_and_on_what_contradicts_it() {
    let mut disk = Disk::new(highwater::sim::Personality::default());
    for name in ["db/wal/1", "db/m/1"] {
        disk.install_dir(Path::new(name).parent().expect("a folder")).expect("a new one");
        disk.install_file(name, b"bytes").expect("a new one");
    }
    let hit = |name: &str, bytes: Range<u64>| {
        let file = disk.file_number(name).expect("made above");
        Injected { class: FaultClass::BitRot, bytes, ..lost_sync(name, file) }
    };
    let blamed = (Path::new("db/wal/1"), ErrorKind::Corrupt);
    let excused = |hit: Injected, text: &str| {
        let ledger = Ledger::from_iter([hit]);
        place_is_excused(&disk, (&ledger, 0), blamed, text)
    };
    let at_offset = "corrupt: core 0, offset 8200, LSN 7: found zeroes (db/wal/1)";
    assert!(excused(hit("db/wal/1", 8_200..8_201), at_offset));
    assert!(!excused(hit("db/wal/1", 100..101), at_offset), "another place of the same file");
    assert!(!excused(hit("db/m/1", 0..1), at_offset), "another file");
    assert!(excused(hit("db/m/1", 0..1), "corrupt: offset 8200 contradicts m/1 (db/wal/1)"));
    let nowhere = "corrupt: its header contradicts its name (db/wal/1)";
    assert!(excused(hit("db/wal/1", 100..101), nowhere), "of all of its bytes");
}
