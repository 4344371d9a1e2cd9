//! Epochs that are kept beside those that a recovery may begin with: their files are read, there is no log to hold them against.

use super::decode::ident::Ident;
use super::decode::manifest::{Checkpoint, Manifest, StateFile};
use super::merge::{Merge, Says};
use super::report::{Finding, Proof, StateDigest, VerifiedEpoch};
use super::source::Directory;
use crate::ids::{Epoch, FencingToken, Nonce};
use crate::vfs::Vfs;

/// What is known of `checkpoint` before it is looked at.
pub(super) fn unproven(checkpoint: &Checkpoint, state_digests: bool) -> VerifiedEpoch {
    VerifiedEpoch {
        epoch: Epoch(checkpoint.epoch),
        token: FencingToken(checkpoint.token),
        files: checkpoint.files.len() as u64,
        bytes: checkpoint.file_bytes(),
        // What no core takes away from it.
        proof: Proof::Rebuilt,
        states: state_digests.then(Vec::new),
    }
}

/// Reads the files of every epoch that `head` keeps in the directory and does not retain besides.
pub(super) async fn verify<V: Vfs>(
    directory: &Directory<V>,
    (ident, head): (&Ident, &Manifest),
    state_digests: bool,
    found: &mut dyn FnMut(Finding),
) -> Vec<VerifiedEpoch> {
    let mut epochs = Vec::new();
    let is_retained = |kept: &&Checkpoint| head.checkpoints.iter().any(|of| of.epoch == kept.epoch);
    for checkpoint in head.kept_here().filter(|kept| !is_retained(kept)) {
        let mut verified = unproven(checkpoint, state_digests);
        verified.proof = Proof::FilesOnly;
        for core in 0..checkpoint.cores() {
            match state(directory, ident, (checkpoint, core)).await {
                Ok(digest) => verified.states.iter_mut().for_each(|states| states.push(digest)),
                Err(finding) => {
                    let proof = verified.proof.max(Proof::without(&finding));
                    (verified.proof, verified.states) = (proof, None);
                    found(finding.of_core(core).in_epoch(checkpoint.epoch));
                }
            }
        }
        epochs.push(verified);
    }
    epochs
}

/// The digest of a core's state, read from its files.
pub(super) async fn state<V: Vfs>(
    directory: &Directory<V>,
    ident: &Ident,
    (checkpoint, core): (&Checkpoint, u16),
) -> Result<StateDigest, Finding> {
    let files: Vec<&StateFile> = checkpoint.files.iter().filter(|file| file.core == core).collect();
    let mut merge = Merge::open(directory, &files, ident).await?;
    let (mut keys, mut digest) = (0, 0_u128);
    let mut key = Vec::new();
    while let Some(least) = merge.key() {
        least.clone_into(&mut key);
        if let Says::Put(put) = merge.says(&key) {
            (keys, digest) = (keys + 1, digest.wrapping_add(put));
        }
        merge.pass(&key).await?;
    }
    Ok(StateDigest { keys, digest: Nonce(digest) })
}
