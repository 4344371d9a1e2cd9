use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::disk::{MemoryVfs, block_on};
use super::samples;
use crate::ids::{FencingToken, Nonce, SegmentNo};
use crate::manifest::gc::{Decision, Moment, Reason, execute, listing, plan};
use crate::manifest::store::{Landing, head, land};
use crate::manifest::{FileKind, FileName, Manifest};

const ROOT: &str = "/data";

fn name(token: u64, attempt: u32, uuid: u128, kind: FileKind) -> FileName {
    FileName { token: FencingToken(token), attempt, uuid: Nonce(uuid), kind }
}

/// A database with the sample's head, every file it needs, and one name of each sort beside them.
fn disk() -> MemoryVfs {
    let vfs = MemoryVfs::new();
    for folder in ["", "/m", "/f", "/wal", "/wal/00000", "/wal/00001", "/wal/00007"] {
        vfs.plant_folder(format!("{ROOT}{folder}"));
    }
    assert!(matches!(
        block_on(land(&vfs, Path::new(ROOT), &samples::manifest())).unwrap(),
        Landing::Landed { .. }
    ));
    for file in samples::manifest().referenced_files() {
        vfs.plant(format!("{ROOT}/f/{file}"), b"needed");
    }
    let names = [
        format!("f/{}", samples::manifest().retired[0]),
        format!("f/{}", name(1, 900, 1, FileKind::Base)),
        format!("f/{}", name(2, 3, 2, FileKind::Base)),
        format!("f/{}", name(2, 4, 3, FileKind::Delta)),
        format!("f/{}", name(3, 0, 4, FileKind::Delta)),
        "f/notes.txt".to_owned(),
        format!("m/{:020}", 7),
        format!("m/{:020}", 8),
        format!("m/{:020}.{:032x}.tmp", 9, 5),
        format!("m/{:020}.{:032x}.tmp", 10, 5),
        "m/readme".to_owned(),
        format!("wal/00000/{:020}", 2),
        format!("wal/00000/{:020}", 3),
        format!("wal/00001/{:020}", 9),
        format!("wal/00001/{:020}.{:032x}.tmp", 1, 5),
        format!("wal/00007/{:020}", 4),
        "wal/scratch".to_owned(),
        "IDENT".to_owned(),
        format!("IDENT.{:032x}.tmp", 5),
        "core".to_owned(),
    ];
    for name in names {
        vfs.plant(format!("{ROOT}/{name}"), b"x");
    }
    vfs
}

/// What only a kept epoch needs stays, and the plan says for whom; what is in the store alone is not missed.
#[test]
fn a_kept_epoch_is_a_reason_to_stay() {
    let head = samples::keeper();
    let vfs = disk();
    let file = head.kept[0].checkpoint.files[0].name;
    vfs.plant(format!("{ROOT}/f/{file}"), b"kept");
    let reason = |head: &Manifest| {
        let listing = block_on(listing(&vfs, Path::new(ROOT))).unwrap();
        let plan = plan(&listing, head, Moment::Running);
        plan.into_iter().find(|decision| decision.name.ends_with(file.to_string())).unwrap().reason
    };
    assert_eq!(reason(&head), Reason::Kept(crate::ids::Epoch(3)));
    let mut gone = head;
    gone.kept.clear();
    gone.attempt_floor = 78;
    assert_eq!(reason(&gone), Reason::DeadAttempt(77));
}

fn planned(vfs: &MemoryVfs, moment: Moment) -> Vec<Decision> {
    let listing = block_on(listing(vfs, Path::new(ROOT))).unwrap();
    plan(&listing, &samples::manifest(), moment)
}

fn reason(plan: &[Decision], name: &str) -> Reason {
    let of_name: Vec<_> = plan.iter().filter(|decision| decision.name == Path::new(name)).collect();
    assert_eq!(of_name.len(), 1, "{name}");
    of_name[0].reason
}

#[test]
fn every_name_goes_or_stays_for_its_reason() {
    let plan = planned(&disk(), Moment::Running);
    let seq = samples::manifest().seq;
    for (name, expected) in [
        (format!("f/{}", samples::manifest().retired[0]), Reason::Retired(seq)),
        (format!("f/{}", name(1, 900, 1, FileKind::Base)), Reason::DeadToken(FencingToken(1))),
        (format!("f/{}", name(2, 3, 2, FileKind::Base)), Reason::DeadAttempt(3)),
        (format!("f/{}", name(2, 4, 3, FileKind::Delta)), Reason::InFlight),
        (format!("f/{}", name(3, 0, 4, FileKind::Delta)), Reason::InFlight),
        ("f/notes.txt".to_owned(), Reason::Foreign),
        (format!("m/{:020}", 7), Reason::OldManifest),
        (format!("m/{:020}", 8), Reason::Predecessor),
        (format!("m/{:020}", 9), Reason::Head),
        (format!("m/{:020}.{:032x}.tmp", 9, 5), Reason::LeftoverTemp),
        (format!("m/{:020}.{:032x}.tmp", 10, 5), Reason::InFlight),
        ("m/readme".to_owned(), Reason::Foreign),
        (format!("wal/00000/{:020}", 2), Reason::BelowFloor(SegmentNo(3))),
        (format!("wal/00000/{:020}", 3), Reason::AboveFloor),
        (format!("wal/00001/{:020}", 9), Reason::AboveFloor),
        (format!("wal/00001/{:020}.{:032x}.tmp", 1, 5), Reason::InFlight),
        (format!("wal/00007/{:020}", 4), Reason::NoLife),
        ("wal/scratch".to_owned(), Reason::Foreign),
        ("IDENT".to_owned(), Reason::Fixture),
        (format!("IDENT.{:032x}.tmp", 5), Reason::Fixture),
        ("core".to_owned(), Reason::Foreign),
    ] {
        assert_eq!(reason(&plan, &name), expected, "{name}");
        assert!(!expected.to_string().is_empty());
    }
    for file in samples::manifest().referenced_files() {
        assert_eq!(reason(&plan, &format!("f/{file}")), Reason::Needed);
    }
}

#[test]
fn at_opening_every_temp_is_a_leftover() {
    let plan = planned(&disk(), Moment::Opening);
    for name in [
        format!("m/{:020}.{:032x}.tmp", 10, 5),
        format!("wal/00001/{:020}.{:032x}.tmp", 1, 5),
        format!("IDENT.{:032x}.tmp", 5),
    ] {
        assert_eq!(reason(&plan, &name), Reason::LeftoverTemp);
    }
}

/// What is needed and what is foreign is there after a crash at any call, and a second collection ends the first.
#[test]
fn a_crash_between_any_two_removals_loses_nothing_needed() {
    let whole = disk();
    let before = whole.calls();
    block_on(execute(&whole, Path::new(ROOT), &planned(&whole, Moment::Running))).unwrap();
    let calls = whole.calls() - before;
    whole.crash();
    for call in 0..=calls {
        let vfs = disk();
        let plan = planned(&vfs, Moment::Running);
        let kept: BTreeSet<PathBuf> =
            plan.iter().filter(|d| !d.reason.deletes()).map(|d| Path::new(ROOT).join(&d.name)).collect();
        vfs.stop_after(call);
        let _ = block_on(execute(&vfs, Path::new(ROOT), &plan));
        vfs.crash();
        let there: BTreeSet<PathBuf> = vfs.image().into_iter().map(|(path, _)| path).collect();
        assert!(kept.is_subset(&there), "call {call}");
        let head = block_on(head(&vfs, Path::new(ROOT), samples::DATABASE)).unwrap().unwrap();
        assert_eq!(head.manifest, samples::manifest());

        let again = planned(&vfs, Moment::Running);
        block_on(execute(&vfs, Path::new(ROOT), &again)).unwrap();
        vfs.crash();
        assert_eq!(vfs.image(), whole.image(), "call {call}");
    }
}

#[test]
fn a_name_that_is_gone_already_is_no_error() {
    let vfs = disk();
    let plan = planned(&vfs, Moment::Running);
    let removed = block_on(execute(&vfs, Path::new(ROOT), &plan)).unwrap();
    assert!(removed > 0);
    assert_eq!(block_on(execute(&vfs, Path::new(ROOT), &plan)).unwrap(), 0);
}

#[test]
fn before_the_first_open_no_segment_is_touched() {
    let created = Manifest::create(samples::DATABASE, samples::TIMELINE, Nonce(1));
    let listing = block_on(listing(&disk(), Path::new(ROOT))).unwrap();
    let plan = plan(&listing, &created, Moment::Opening);
    assert_eq!(reason(&plan, &format!("wal/00007/{:020}", 4)), Reason::InFlight);
}

proptest! {
    /// Whatever lies in `f/`, a file goes only if the head does not need it and its attempt is over.
    #[test]
    fn no_needed_or_living_file_is_ever_removed(
        names in prop::collection::vec((1_u64..4, 0_u32..7, 0_u128..3, any::<bool>()), 0..60),
    ) {
        let head = samples::manifest();
        let mut listing = block_on(listing(&disk(), Path::new(ROOT))).unwrap();
        for (token, attempt, uuid, base) in names {
            let kind = if base { FileKind::Base } else { FileKind::Delta };
            let uuid = u128::from(attempt) << 64 | uuid;
            listing.files.push(crate::vfs::Entry {
                name: name(token, attempt, uuid, kind).to_string(),
                kind: crate::vfs::EntryKind::File,
            });
        }
        let needed = head.referenced_files();
        for decision in plan(&listing, &head, Moment::Running) {
            let file = decision.name.strip_prefix("f").ok().and_then(|name| FileName::parse(name.to_str()?));
            let Some(file) = file else { continue };
            let alive = file.token > head.token
                || (file.token == head.token && u64::from(file.attempt) >= head.attempt_floor);
            if decision.reason.deletes() {
                prop_assert!(!needed.contains(&file));
                prop_assert!(!alive || head.retired.contains(&file));
            } else {
                prop_assert!(alive || needed.contains(&file) || decision.reason == Reason::Foreign);
            }
        }
    }

    /// A segment that replay from any retained checkpoint reads is never removed, whatever lies beside it.
    #[test]
    fn no_segment_behind_a_cut_is_ever_removed(segments in prop::collection::vec((0_usize..2, 0_u64..12), 0..40)) {
        let head = samples::manifest();
        let mut listing = block_on(listing(&disk(), Path::new(ROOT))).unwrap();
        for (core, segment) in segments {
            listing.wal[core].1.push(crate::vfs::Entry {
                name: format!("{segment:020}"),
                kind: crate::vfs::EntryKind::File,
            });
        }
        for decision in plan(&listing, &head, Moment::Running) {
            let Ok(name) = decision.name.strip_prefix("wal") else { continue };
            let mut parts = name.to_str().unwrap().split('/');
            let core: usize = parts.next().unwrap().parse().unwrap_or(usize::MAX);
            let segment = parts.next().and_then(|segment| segment.parse().ok());
            let (Some(segment), true) = (segment, core < 2) else { continue };
            let needed = head.checkpoints.iter().any(|checkpoint| checkpoint.cuts[core].segment.0 <= segment);
            prop_assert_eq!(decision.reason.deletes(), !needed);
        }
    }
}
