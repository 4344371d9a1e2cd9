use std::sync::Arc;

use crate::error::ErrorKind;
use crate::ids::{Epoch, ManifestSeq, Nonce};
use crate::manifest::tests::samples;
use crate::manifest::{FileKind, Manifest};
use crate::offsite::collect::{Known, Reason};
use crate::offsite::{Mirror, StoreId};

fn id() -> StoreId {
    StoreId { stride: 256, nonce: Nonce(0x5708e), ident: samples::ident() }
}

/// A manifest whose newest checkpoint is of `epoch`.
fn head(epoch: u64) -> Manifest {
    let mut manifest = samples::manifest();
    manifest.checkpoints.last_mut().unwrap().epoch = Epoch(epoch);
    manifest
}

#[test]
fn store_reads_back_as_it_was_written() {
    let bytes = id().encode();
    assert_eq!(bytes.len(), super::identity::STORE_BYTES);
    assert_eq!(StoreId::decode(&bytes).unwrap(), id());
}

#[test]
fn a_damaged_store_object_is_never_believed() {
    let bytes = id().encode();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1 << bit;
            assert_eq!(StoreId::decode(&damaged).unwrap_err().kind(), ErrorKind::Corrupt, "byte {at}");
        }
        assert_eq!(StoreId::decode(&bytes[..at]).unwrap_err().kind(), ErrorKind::Corrupt, "{at} bytes");
    }
}

#[test]
fn a_newer_store_object_is_unsupported() {
    let mut bytes = id().encode().to_vec();
    bytes[8] = 2;
    let end = bytes.len() - 4;
    let crc = crate::codec::crc(0, &bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(StoreId::decode(&bytes).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn whoever_waits_is_told_of_failures_since_and_of_nothing_older() {
    let mirror = Mirror::new(&head(3), Arc::default(), || {});
    assert!(matches!(mirror.outcome(Epoch(3), 0), Some(Ok(()))));
    assert!(mirror.outcome(Epoch(4), 0).is_none());
    mirror.failed(crate::Error::new(crate::ErrorCode::StoreUnavailable, "the store is away"));
    let told = mirror.outcome(Epoch(4), 0).unwrap().unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Busy, "{told}");
    assert!(mirror.outcome(Epoch(4), mirror.failures()).is_none(), "the next attempt may succeed");
    assert!(mirror.status().trouble.is_some());
    mirror.landed(Epoch(4), ManifestSeq(6), &Vec::new());
    assert!(matches!(mirror.outcome(Epoch(4), 0), Some(Ok(()))));
    let status = mirror.status();
    assert_eq!((status.epoch, status.manifest, status.pending), (Epoch(4), ManifestSeq(6), false));
    assert!(status.trouble.is_none());
}

#[test]
fn a_pin_alone_is_offered_and_what_the_store_keeps_is_not() {
    let mirror = Mirror::new(&head(3), Arc::default(), || {});
    let mut local = head(3);
    mirror.offer(&local);
    assert!(!mirror.status().pending, "the store has it");
    local.edit_pins(&crate::manifest::kept::Edit::Pin { name: "a".into(), epoch: None }).unwrap();
    mirror.offer(&local);
    assert!(mirror.status().pending);
    assert!(local.kept[0].files().all(|file| mirror.pinned().contains(&file.name)));
    let taken = mirror.take().unwrap();
    mirror.landed(Epoch(3), ManifestSeq(6), &Vec::new());
    assert!(mirror.status().pending, "an earlier manifest landed, without the pin");
    mirror.landed(Epoch(3), ManifestSeq(7), &super::mirror::pins_of(&taken));
    assert!(!mirror.status().pending);
    mirror.offer(&local);
    assert!(!mirror.status().pending);
}

/// Every name of a store has one reason, and only what is dead goes.
#[test]
fn a_collection_removes_what_nothing_names_and_nothing_will() {
    let head = samples::keeper();
    let file = |token, attempt| {
        let mut name = samples::file(FileKind::Delta, 0, attempt, 0, 1).name;
        name.token = crate::ids::FencingToken(token);
        name
    };
    let known = Known::of(&head, 4, [file(1, 9)].into());
    let of = |name: crate::manifest::FileName| known.reason(&format!("f/{name}"));
    assert_eq!(of(head.checkpoints[0].files[0].name), Reason::Needed);
    assert_eq!(of(head.kept[0].checkpoint.files[0].name), Reason::Kept(Epoch(3)));
    assert_eq!(of(file(1, 9)), Reason::OfDirectory);
    assert_eq!(of(file(1, 8)), Reason::DeadToken(crate::ids::FencingToken(1)));
    assert_eq!(of(file(2, 1)), Reason::DeadAttempt(1));
    assert_eq!(of(file(2, 4)), Reason::InFlight);
    assert_eq!(of(file(3, 0)), Reason::InFlight, "of a writer that came since");
    let others = [
        (format!("m/{:020}", 4), Reason::BelowBoundary(4)),
        (format!("m/{:020}", 5), Reason::AboveBoundary),
        (format!("m/{:020}", 9), Reason::Head),
        (format!("m/{:020}", 10), Reason::AboveBoundary),
        (format!("b/{:020}", 1), Reason::Mark),
        ("STORE".to_owned(), Reason::Store),
        ("probe/1".to_owned(), Reason::Probe),
        ("f/notes".to_owned(), Reason::Foreign),
        ("m/5".to_owned(), Reason::Foreign),
        ("notes".to_owned(), Reason::Foreign),
        ("f/below/f".to_owned(), Reason::Foreign),
    ];
    for (name, reason) in others {
        assert_eq!(known.reason(&name), reason, "{name}");
        assert!(!reason.to_string().is_empty());
    }
}
