use crate::error::ErrorKind;
use crate::ids::{Epoch, ManifestSeq, Nonce};
use crate::manifest::tests::samples;
use crate::offsite::{Mirror, StoreId};

fn id() -> StoreId {
    StoreId { stride: 256, nonce: Nonce(0x5708e), ident: samples::ident() }
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
    let mirror = Mirror::new(Epoch(3), ManifestSeq(5), || {});
    assert!(matches!(mirror.outcome(Epoch(3), 0), Some(Ok(()))));
    assert!(mirror.outcome(Epoch(4), 0).is_none());
    mirror.failed(crate::Error::invalid("the store is away"));
    let told = mirror.outcome(Epoch(4), 0).unwrap().unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Busy, "{told}");
    assert!(mirror.outcome(Epoch(4), mirror.failures()).is_none(), "the next attempt may succeed");
    assert!(mirror.status().trouble.is_some());
    mirror.landed(Epoch(4), ManifestSeq(6));
    assert!(matches!(mirror.outcome(Epoch(4), 0), Some(Ok(()))));
    let status = mirror.status();
    assert_eq!((status.epoch, status.manifest, status.pending), (Epoch(4), ManifestSeq(6), false));
    assert!(status.trouble.is_none());
}
