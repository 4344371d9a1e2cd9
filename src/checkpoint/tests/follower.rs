use super::*;
use crate::checkpoint::follower::{Beginning, Follower, Stop};
use crate::checkpoint::tap::Tap;
use crate::codec::EpochEnd;
use crate::ids::Lsn;

/// Encoded puts of `keys`, and the end of `epoch` if there is one.
fn batch(keys: &[&str], epoch: Option<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for key in keys {
        put(key.as_bytes(), b"value").append_to(&mut bytes);
    }
    if let Some(epoch) = epoch {
        let mut value = Vec::new();
        EpochEnd { epoch: Epoch(epoch), token: FencingToken(3), ..EpochEnd::default() }.encode(&mut value);
        Record { kind: RecordKind::EpochEnd, key: &[], value: &value }.append_to(&mut bytes);
    }
    bytes
}

fn offer(tap: &Tap, lsns: std::ops::Range<u64>, bytes: &[u8]) {
    tap.offer(Lsn(lsns.start), Lsn(lsns.end), bytes);
}

fn follower() -> Follower {
    let beginning =
        Beginning { through: Epoch(0), next: Some(Lsn(1)), offsets: BTreeMap::new(), watermark: None };
    Follower::new(beginning, 1 << 20)
}

fn follow(follower: &mut Follower, tap: &Tap, through: u64) -> Stop {
    follower.follow(tap, Epoch(through), Path::new("log")).unwrap()
}

#[test]
fn only_closed_epochs_are_followed() {
    let (tap, mut follower) = (Tap::new(1 << 16), follower());
    offer(&tap, 1..4, &batch(&["a", "b"], Some(1)));
    offer(&tap, 4..6, &batch(&["c"], Some(2)));
    offer(&tap, 6..7, &batch(&["d"], None));
    assert_eq!(follow(&mut follower, &tap, 1), Stop::AtEnd);
    assert_eq!((follower.next(), follower.records), (Some(Lsn(4)), 3));
    assert_eq!(follow(&mut follower, &tap, 2), Stop::AtEnd);
    assert_eq!((follower.next(), follower.through()), (Some(Lsn(6)), Epoch(2)));
    // The end of epoch 3 is closed before the tap is asked again.
    offer(&tap, 7..8, &batch(&[], Some(3)));
    assert_eq!(follow(&mut follower, &tap, 3), Stop::AtEnd);
    assert_eq!((follower.next(), follower.records), (Some(Lsn(8)), 7));
}

#[test]
fn what_a_full_tap_did_not_keep_is_asked_of_the_disk() {
    let first = batch(&["a"], Some(1));
    let (tap, mut follower) = (Tap::new(first.len() + 5), follower());
    offer(&tap, 1..3, &first);
    offer(&tap, 3..5, &batch(&["b"], Some(2))); // finds no room
    assert_eq!(follow(&mut follower, &tap, 2), Stop::Short);
    assert_eq!((follower.next(), follower.through()), (Some(Lsn(3)), Epoch(1)));
    offer(&tap, 5..7, &batch(&["c"], Some(3)));
    assert_eq!(follow(&mut follower, &tap, 3), Stop::Short, "LSNs 3 and 4 are missing");
    // Read back from the disk; then the tap is good again.
    let second = batch(&["b"], Some(2));
    let (record, rest) = Record::decode(&second).unwrap();
    assert!(follower.read(Lsn(3), &record, Path::new("log")).unwrap());
    let (record, _) = Record::decode(rest).unwrap();
    assert!(follower.read(Lsn(4), &record, Path::new("log")).unwrap());
    assert_eq!(follow(&mut follower, &tap, 3), Stop::AtEnd);
    assert_eq!(follower.next(), Some(Lsn(7)));
}

#[test]
fn an_empty_tap_proves_nothing() {
    let (tap, mut follower) = (Tap::new(1 << 16), follower());
    offer(&tap, 1..3, &batch(&["a"], Some(1)));
    assert_eq!(follow(&mut follower, &tap, 1), Stop::AtEnd);
    for _ in 0..3 {
        assert_eq!(follow(&mut follower, &tap, 2), Stop::Short);
    }
    assert_eq!(follower.next(), Some(Lsn(3)));
}

/// A checkpoint has failed, and its records are gone from memory: nothing is held in vain until the next one reads the log.
#[test]
fn behind_a_gap_no_more_is_taken_than_a_tap_holds() {
    let one = batch(&["a"], Some(1)).len();
    let (tap, mut follower) = (Tap::new(4 * one), follower());
    for epoch in 2..100_u64 {
        offer(&tap, 2 * epoch - 1..2 * epoch + 1, &batch(&["a"], Some(epoch)));
        assert_eq!(follow(&mut follower, &tap, epoch), Stop::Short);
    }
    assert!(follower.pending_bytes() <= 4 * one, "{} bytes are held", follower.pending_bytes());
    // What is held, and what the tap has, goes on where the disk ends.
    for (lsn, key) in [(1, "a"), (2, "b")] {
        assert!(follower.read(Lsn(lsn), &put(key.as_bytes(), b""), Path::new("log")).unwrap());
    }
    follow(&mut follower, &tap, 99);
    assert!(follower.through() > Epoch(2), "followed through epoch {}", follower.through());
}
