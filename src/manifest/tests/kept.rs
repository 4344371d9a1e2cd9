use super::samples;
use crate::error::ErrorKind;
use crate::ids::Epoch;
use crate::manifest::Manifest;
use crate::manifest::kept::{Edit, Spans};

fn pin(manifest: &mut Manifest, name: &str, epoch: Option<u64>) -> crate::Result<Epoch> {
    manifest.edit_pins(&Edit::Pin { name: name.to_owned(), epoch: epoch.map(Epoch) })
}

fn unpin(manifest: &mut Manifest, name: &str) -> crate::Result<Epoch> {
    manifest.edit_pins(&Edit::Unpin { name: name.to_owned() })
}

fn kept(manifest: &Manifest) -> Vec<u64> {
    manifest.kept.iter().map(|kept| kept.checkpoint.epoch.0).collect()
}

/// The same with a newest checkpoint of `epoch`.
fn with_checkpoint(manifest: &Manifest, epoch: u64) -> Manifest {
    let mut next = manifest.clone();
    next.checkpoints.last_mut().unwrap().epoch = Epoch(epoch);
    next
}

#[test]
fn a_pin_holds_the_files_of_its_epoch_and_not_its_log() {
    let mut manifest = samples::manifest();
    assert_eq!(pin(&mut manifest, "before the move", Some(4)).unwrap(), Epoch(4));
    assert_eq!(manifest.check(), Ok(()));
    let pinned = manifest.checkpoints.remove(0);
    let gone = manifest.clone();
    assert!(pinned.files.iter().all(|file| gone.referenced_files().contains(&file.name)));
    assert_eq!(gone.wal_floor_needed(), [crate::ids::SegmentNo(5); 2]);
    assert_eq!(manifest.check(), Ok(()));
    assert_eq!(unpin(&mut manifest, "before the move").unwrap(), Epoch(4));
    manifest.keep_spans(None);
    assert!(manifest.kept.is_empty());
}

#[test]
fn a_pin_holds_one_epoch_and_an_epoch_may_have_several() {
    let mut manifest = samples::manifest();
    assert_eq!(pin(&mut manifest, "b", None).unwrap(), Epoch(6));
    assert_eq!(pin(&mut manifest, "a", Some(6)).unwrap(), Epoch(6));
    assert_eq!(pin(&mut manifest, "a", Some(6)).unwrap(), Epoch(6), "as it is");
    assert_eq!(manifest.kept[0].pins, ["a", "b"]);
    assert_eq!(pin(&mut manifest, "a", Some(4)).unwrap_err().kind(), ErrorKind::Invalid);
    for (name, epoch) in [("c", 5), ("", 6), (&*"n".repeat(256), 6)] {
        assert_eq!(pin(&mut manifest, name, Some(epoch)).unwrap_err().kind(), ErrorKind::Invalid, "{name}");
    }
    assert_eq!(unpin(&mut manifest, "c").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(manifest.check(), Ok(()));
}

#[test]
fn without_a_checkpoint_there_is_nothing_to_pin() {
    let mut manifest = samples::manifest();
    manifest.checkpoints.clear();
    assert_eq!(pin(&mut manifest, "a", None).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn of_every_span_the_first_stays_and_pins_stay_besides() {
    let spans = Some(Spans { epochs: 10, count: 2 });
    let mut manifest = samples::manifest();
    for epoch in [6, 9, 13, 14, 25, 29, 41] {
        manifest = with_checkpoint(&manifest, epoch);
        if epoch == 14 {
            pin(&mut manifest, "fourteen", None).unwrap();
        }
        manifest.keep_spans(spans);
    }
    assert_eq!(kept(&manifest), [14, 25, 41]);
    unpin(&mut manifest, "fourteen").unwrap();
    manifest.keep_spans(spans);
    assert_eq!(kept(&manifest), [25, 41]);
    manifest.keep_spans(None);
    assert!(kept(&manifest).is_empty());
}

/// A manifest that was too large for its bounds could not be followed by a smaller one.
#[test]
fn what_names_too_many_files_gives_the_oldest_epochs_up() {
    let mut manifest = samples::manifest();
    for epoch in [6, 20, 30, 40] {
        manifest = with_checkpoint(&manifest, epoch);
        if epoch == 20 {
            pin(&mut manifest, "twenty", None).unwrap();
        }
        manifest.keep_spans(Some(Spans { epochs: 10, count: 9 }));
    }
    let files = |manifest: &Manifest| manifest.checkpoints.last().unwrap().files.len();
    assert_eq!((kept(&manifest), manifest.checkpoints.len()), (vec![6, 20, 30, 40], 2));
    let named = manifest.named_files();
    assert_eq!(manifest.give_up_beyond(named), 0);
    assert_eq!(manifest.give_up_beyond(named - files(&manifest) - 1), 2);
    assert_eq!(kept(&manifest), [20, 40]);
    assert_eq!(manifest.give_up_beyond(0), 1);
    assert_eq!((kept(&manifest), manifest.checkpoints.len()), (vec![20], 2), "pins and a fallback stay");
    let mut of_its_own = manifest.checkpoints[0].clone();
    of_its_own.epoch = Epoch(1);
    of_its_own.files.iter_mut().for_each(|file| file.name.attempt += 1000);
    manifest.checkpoints.insert(0, of_its_own);
    assert_eq!(manifest.give_up_beyond(0), 1);
    let left: Vec<_> = manifest.checkpoints.iter().map(|checkpoint| checkpoint.epoch).collect();
    assert_eq!(left, [Epoch(1), Epoch(40)], "the fallback is what shares no file with the newest");
}

#[test]
fn what_is_in_the_store_alone_needs_no_file_here() {
    let mut manifest = samples::manifest();
    pin(&mut manifest, "a", Some(6)).unwrap();
    let only = manifest.kept[0].checkpoint.files[2].name;
    manifest.checkpoints.pop();
    assert!(manifest.referenced_files().contains(&only));
    assert_eq!(manifest.keepers().get(&only), Some(&Epoch(6)));
    manifest.kept[0].away = true;
    assert!(!manifest.referenced_files().contains(&only));
    assert!(manifest.keepers().is_empty());
}
