use super::*;
use crate::ids::{FencingToken, Nonce};
use crate::manifest::FileKind;

const BASE: u128 = 1;
const DELTA: u128 = 2;
const NEXT_BASE: u128 = 3;
const BOUNDS: Bounds = Bounds { newest: 1, fallback_log_bytes: 100 };

/// A checkpoint of files with these uuids.
fn candidate(files: &[u128], log_bytes: u64) -> Candidate {
    let name = |uuid: &u128| FileName {
        token: FencingToken(1),
        attempt: 1,
        uuid: Nonce(*uuid),
        kind: FileKind::Base,
    };
    Candidate { files: files.iter().map(name).collect(), log_bytes }
}

#[test]
fn the_first_generation_falls_back_to_the_beginning_of_the_log() {
    let chain = [candidate(&[BASE], 40), candidate(&[BASE, DELTA], 10)];
    assert_eq!(retain(&chain, Some(60), BOUNDS), Kept { checkpoints: vec![false, true], beginning: true });
}

#[test]
fn a_new_base_makes_the_last_of_the_old_generation_the_fallback() {
    let chain = [candidate(&[BASE], 60), candidate(&[BASE, DELTA], 40), candidate(&[NEXT_BASE], 10)];
    assert_eq!(
        retain(&chain, Some(90), BOUNDS),
        Kept { checkpoints: vec![false, true, true], beginning: false }
    );
}

#[test]
fn a_fallback_that_holds_back_too_much_log_is_given_up() {
    let chain = [candidate(&[BASE], 101), candidate(&[NEXT_BASE], 10)];
    assert_eq!(retain(&chain, None, BOUNDS).checkpoints, vec![false, true]);
    assert!(!retain(&chain[1..], Some(101), BOUNDS).beginning);
}

#[test]
fn without_a_checkpoint_the_log_stays() {
    assert!(retain(&[], Some(u64::MAX), BOUNDS).beginning);
}
