//! The witness allows what the disk that it follows may leave, and nothing else.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::sim::disk::{Act, Begun, FoundTree, Witness};
use crate::sim::rng::{Stream, Streams};
use crate::sim::{Disk, Personality};

const NAMES: [&str; 4] = ["d/a", "d/b", "d/c", "d/e"];

/// No garbage and nothing stale: what is found can be told exactly.
fn strict() -> Personality {
    Personality { power_safe_overwrite: true, stale_extension: false, ..Personality::default() }
}

fn tree(disk: &Disk) -> FoundTree {
    let mut found = FoundTree::new();
    for (path, is_dir) in paths(disk) {
        let bytes = (!is_dir).then(|| disk.read_file(&path).unwrap());
        found.insert(path, bytes);
    }
    found
}

fn paths(disk: &Disk) -> Vec<(PathBuf, bool)> {
    disk.tree().into_iter().map(|(path, len)| (path, len.is_none())).collect()
}

fn done(witness: &mut Witness, act: Act) {
    let taken =
        if let Act::Write(_, _, data) | Act::WriteAndSync(_, _, data) = &act { data.len() } else { 0 };
    let begun = witness.begin(act);
    witness.end(begun, taken);
}

/// A file `a` of 1,024 bytes of `1`, durable with its name, and 512 bytes of `2` over its first sector, which are not.
fn overwritten() -> Witness {
    let mut witness = Witness::new(strict());
    done(&mut witness, Act::CreateFile("a".into()));
    let file = witness.file_number("a").unwrap();
    done(&mut witness, Act::WriteAndSync(file, 0, Bytes::from(vec![1; 1024])));
    done(&mut witness, Act::SyncDir("".into()));
    done(&mut witness, Act::Write(file, 0, Bytes::from(vec![2; 512])));
    witness
}

fn one(bytes: Vec<u8>) -> FoundTree {
    FoundTree::from([(PathBuf::from("a"), Some(bytes))])
}

#[test]
fn a_sector_is_old_or_new_and_what_was_synced_is_there() {
    let witness = overwritten();
    for first in [1, 2] {
        assert_eq!(witness.allows(&one([vec![first; 512], vec![1; 512]].concat())), Ok(()));
    }
    let refused = [
        (one([vec![3; 512], vec![1; 512]].concat()), "sector 0"),
        (one([vec![2; 512], vec![2; 512]].concat()), "sector 1"),
        (one(vec![1; 512]), "512 bytes long"),
        (FoundTree::new(), "missing"),
        (FoundTree::from([(PathBuf::from("a"), None)]), "for a directory"),
    ];
    for (found, reason) in refused {
        let said = witness.allows(&found).unwrap_err();
        assert!(said.contains(reason), "{said}");
    }
    let mut stranger = one(vec![1; 1024]);
    stranger.insert("b".into(), Some(Vec::new()));
    assert!(witness.allows(&stranger).unwrap_err().contains("nobody"));
}

#[test]
fn a_rename_is_whole_or_not_at_all() {
    let mut witness = overwritten();
    done(&mut witness, Act::Rename("a".into(), "b".into()));
    let old = one(vec![1; 1024]);
    let new = FoundTree::from([(PathBuf::from("b"), Some(vec![1; 1024]))]);
    let both = old.clone().into_iter().chain(new.clone()).collect();
    assert_eq!(witness.allows(&old), Ok(()));
    assert_eq!(witness.allows(&new), Ok(()));
    assert!(witness.allows(&both).is_err());
    assert!(witness.allows(&FoundTree::new()).is_err());
    done(&mut witness, Act::SyncDir("".into()));
    assert!(witness.allows(&old).is_err());
}

#[test]
fn a_sync_says_nothing_about_a_write_in_flight() {
    let mut witness = overwritten();
    let file = witness.file_number("a").unwrap();
    done(&mut witness, Act::Sync(file));
    let flight = witness.begin(Act::Write(file, 512, Bytes::from(vec![3; 512])));
    done(&mut witness, Act::Sync(file));
    let old = one([vec![2; 512], vec![1; 512]].concat());
    let new = one([vec![2; 512], vec![3; 512]].concat());
    assert_eq!((witness.allows(&old), witness.allows(&new)), (Ok(()), Ok(())));
    // It took half of a sector less than it was given: the rest may have been there, and may not stay.
    witness.end(flight, 256);
    done(&mut witness, Act::Sync(file));
    assert!(witness.allows(&old).is_err());
}

/// One act that the model does not refuse, or none.
fn act(witness: &Witness, stream: &mut Stream, writes: &mut u8) -> Option<Act> {
    let name = *stream.pick(&NAMES);
    let other = *stream.pick(&NAMES);
    let there = witness.file_number(name);
    let free = witness.file_number(other).is_none();
    *writes = writes.wrapping_add(1).max(1);
    let at = stream.below(8) * 512;
    let data = Bytes::from(vec![*writes; 512 * *stream.pick(&[1, 2, 5])]);
    match (stream.below(10), there) {
        (_, None) => Some(Act::CreateFile(name.into())),
        (0, Some(_)) if name != other => Some(Act::Rename(name.into(), other.into())),
        (1, Some(_)) if free => Some(Act::Link(name.into(), other.into())),
        (2, Some(_)) => Some(Act::Remove(name.into())),
        (3, Some(file)) => Some(Act::Sync(file)),
        (4, Some(_)) => Some(Act::SyncDir("d".into())),
        (5, Some(file)) => Some(Act::SetLen(file, at)),
        (6, Some(file)) => Some(Act::WriteAndSync(file, at, data)),
        (7..10, Some(file)) => Some(Act::Write(file, at, data)),
        _ => None,
    }
}

#[test]
fn every_image_of_the_disk_is_allowed_and_a_changed_one_is_not() {
    for seed in 0..60 {
        let mut stream = Streams::new(seed).stream("test.witness");
        let mut witness = Witness::new(if seed % 3 == 0 { Personality::default() } else { strict() });
        done(&mut witness, Act::CreateDir("d".into()));
        let (mut writes, mut flights) = (0, Vec::<Begun>::new());
        for step in 0..40 {
            let Some(act) = act(&witness, &mut stream, &mut writes) else { continue };
            let taken = if let Act::Write(_, _, data) = &act { data.len() } else { 0 };
            if taken > 0 && stream.chance(0.3) {
                // Never ended: a crash finds it in flight.
                flights.push(witness.begin(act));
            } else {
                done(&mut witness, act);
            }
            for image in witness.disk.images(12, step) {
                let found = tree(&image);
                assert_eq!(witness.allows(&found), Ok(()), "seed {seed}, step {step}");
                if seed % 3 > 0 {
                    refuses_changed(&witness, found, &mut stream);
                }
            }
        }
    }
}

/// Bytes that nobody ever wrote are refused, and so is a name that nobody made.
fn refuses_changed(witness: &Witness, found: FoundTree, stream: &mut Stream) {
    let mut stranger = found.clone();
    stranger.insert(Path::new("d/stranger").into(), Some(Vec::new()));
    if found.contains_key(Path::new("d")) {
        assert!(witness.allows(&stranger).is_err());
    }
    let with_bytes = found.iter().filter(|(_, bytes)| bytes.as_ref().is_some_and(|bytes| !bytes.is_empty()));
    let paths: Vec<PathBuf> = with_bytes.map(|(path, _)| path.clone()).collect();
    if let Some(path) = (!paths.is_empty()).then(|| stream.pick(&paths).clone()) {
        let mut changed = found;
        let bytes = changed.get_mut(&path).unwrap().as_mut().unwrap();
        let at = usize::try_from(stream.below(bytes.len() as u64)).unwrap();
        // Every sector that was written is of one byte throughout.
        bytes[at] ^= 0xff;
        assert!(witness.allows(&changed).is_err(), "{}", path.display());
    }
}

/// What a short write did not take is no sync's: it may be there, or not, and what is written instead counts.
#[test]
fn a_write_that_was_cut_short_is_durable_as_far_as_it_went() {
    let mut witness = overwritten();
    let file = witness.file_number("a").unwrap();
    let short = witness.begin(Act::Write(file, 0, Bytes::from(vec![3; 2048])));
    witness.end(short, 700);
    done(&mut witness, Act::Sync(file));
    let second = |front: u8, back: u8| [vec![3; 512], vec![front; 188], vec![back; 324]].concat();
    assert_eq!(witness.allows(&one(second(3, 1))), Ok(()));
    assert_eq!(witness.allows(&one(second(3, 3))), Ok(()), "it was there for a moment");
    assert!(witness.allows(&one(second(1, 1))).is_err(), "what it took is durable");
    assert!(witness.allows(&one(vec![3; 2048])).is_err(), "and so is the length");

    // The rest is written elsewhere: a sector that it never reached is as it was.
    done(&mut witness, Act::WriteAndSync(file, 1024, Bytes::from(vec![4; 512])));
    for end in [1, 3] {
        let found = [second(3, end), vec![4; 512]].concat();
        assert_eq!(witness.allows(&one(found)), Ok(()));
    }
    done(&mut witness, Act::WriteAndSync(file, 700, Bytes::from(vec![5; 10])));
    let found = [vec![3; 700], vec![5; 10], vec![1; 314], vec![4; 512]].concat();
    assert_eq!(
        witness.allows(&one(found.clone())),
        Ok(()),
        "nothing of what was not taken is in the sector now"
    );
    let not_taken = [vec![3; 700], vec![5; 10], vec![3; 314], vec![4; 512]].concat();
    assert!(witness.allows(&one(not_taken)).is_err());
}
