//! Proves a database offline, and changes nothing: every retained epoch is rebuilt twice, from its checkpoint files, and
//! from its predecessor with the log on top, and the two are compared.
//!
//! ```text
//! decode/       the formats, by docs/format.md alone           source.rs    files and folders, in chunks
//! log.rs        a core's log, record after record              file.rs      a checkpoint file, key after key
//! writes.rs     the last write of every key, by hash           merge.rs     several files, by key
//! interval.rs   one epoch from both sides                      core.rs      one core, epoch after epoch
//! tail.rs       what frames claim that nothing leads to        end.rs       where logs end, and what is recovered
//! kept.rs       epochs that no log leads to                    report.rs    what was found
//! version.rs    what a newer program wrote
//! ```
//!
//! 1. Nothing of the engine's readers is used: `decode` is independent of them, and everything here rests on it.
//! 2. Nothing is written, locked or removed. Beside a running engine logs go on meanwhile: they are held against what they
//!    claimed before any of them was followed. And a file may vanish: when there is a newer manifest, what was found counts
//!    for nothing, and the verification begins anew.
//! 3. Values and keys are compared by XXH3-128: two that differ are taken for equal once in 2^128.
//! 4. The memory is that of [`VerifyOptions::memory_bytes`], and half as much again for a moment while that is
//!    filled, and besides of one read of each file of a core's chain (256 KiB, or one record), of one frame, of the
//!    manifests and of 64 bytes for each segment, however large the database is. A range of the log that writes to
//!    more keys than fit is read several times. What diverges is held key by key, until that is certain.
//! 5. Damage never ends it: what does not depend on the damaged file is verified. A newer format of IDENT or of the newest
//!    manifest does: nothing else is believed then.

mod core;
pub(crate) mod decode;
pub(crate) mod end;
mod file;
pub(crate) mod head;
mod interval;
mod kept;
pub(crate) mod log;
pub(crate) mod merge;
mod report;
pub(crate) mod source;
pub(crate) mod tail;
#[cfg(test)]
mod tests;
pub(crate) mod version;
mod writes;

pub(crate) use report::Finding;
pub use report::{Damage, DamageKind, Proof, StateDigest, VerifiedEpoch, VerifiedLog, VerifyReport};

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use self::core::{CoreProof, Proven};
use crate::env::{Blocking, Env, StdEnv};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{CoreId, Epoch, FencingToken, ManifestSeq, Nonce};
use crate::vfs::Vfs;
use end::{LogEnd, floor};
use head::Head;
use source::Directory;
use tail::Claims;

/// Who is told how far a verification is.
pub(crate) type Progress = Arc<dyn Fn(VerifyProgress) + Send + Sync>;

/// How often a verification begins anew because a running engine has landed another manifest.
const TRIES_MAX: u32 = 5;

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// Bytes that were read.
    pub bytes_read: u64,
    /// Bytes that are known to be read by the end, those included. Files that must be read again are not.
    pub bytes_known: u64,
}

/// How to verify.
#[derive(Clone)]
pub struct VerifyOptions {
    memory_bytes: usize,
    state_digests: bool,
    progress: Option<Progress>,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self { memory_bytes: 128 << 20, state_digests: false, progress: None }
    }
}

impl fmt::Debug for VerifyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory_bytes, state_digests, progress: _ } = self;
        f.debug_struct("VerifyOptions")
            .field("memory_bytes", memory_bytes)
            .field("state_digests", state_digests)
            .finish_non_exhaustive()
    }
}

impl VerifyOptions {
    /// 128 MiB of memory, no digests, no progress.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes for the last writes of a range of the log: 49 for each key, in tables that double, and half as much again while
    /// they do. With less, ranges are read in more parts.
    #[must_use]
    pub fn memory_bytes(mut self, bytes: usize) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// Also computes the digest of every retained epoch's state: two databases with equal digests hold the same. All
    /// files of every epoch are read for that.
    #[must_use]
    pub fn state_digests(mut self, wanted: bool) -> Self {
        self.state_digests = wanted;
        self
    }

    /// Calls `progress` after every read.
    #[must_use]
    pub fn progress(mut self, progress: impl Fn(VerifyProgress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }
}

/// Verifies the database at `path`, without changing or locking anything. Damage is in the report.
///
/// # Errors
///
/// `Invalid` when there is no database at `path`; `Unsupported` when its IDENT or its newest manifest is of a newer
/// format: it names the file, use a newer build; `Failed` when the folder cannot be read at all. `Busy` (HW-104) when a
/// running engine lands checkpoints faster than it can be read: verify a backup of it, or pause the writer.
pub fn verify(path: impl AsRef<Path>, options: VerifyOptions) -> Result<VerifyReport> {
    StdEnv.block_on(verify_in(&StdEnv, path, options))
}

/// [`verify`] over any environment.
///
/// # Errors
///
/// As [`verify`].
pub async fn verify_in<E: Env>(
    env: &E,
    path: impl AsRef<Path>,
    options: VerifyOptions,
) -> Result<VerifyReport> {
    let path = path.as_ref();
    let vfs = env
        .vfs()
        .map_err(|error| Error::io("opening the file system", path, error).coded(ErrorCode::DiskNotOpened))?;
    for _ in 1..TRIES_MAX {
        let report = once(&vfs, path, &options).await?;
        if report.is_sound() || !head::is_newer(&vfs, path, report.manifest).await {
            return Ok(report);
        }
    }
    let report = once(&vfs, path, &options).await?;
    if report.is_sound() || !head::is_newer(&vfs, path, report.manifest).await {
        return Ok(report);
    }
    let what =
        "checkpoints land faster than the database can be read: verify a backup of it, or pause the writer";
    Err(Error::new(ErrorCode::VerifyOutpaced, what).at(path))
}

async fn once<V: Vfs>(vfs: &V, path: &Path, options: &VerifyOptions) -> Result<VerifyReport> {
    let directory = Directory::new(vfs.clone(), path, options.progress.clone());
    let mut report = VerifyReport::default();
    let head = Head::find(&directory, path, &mut |finding| report.add(finding)).await?;
    report.database = head.ident.map_or(Nonce(0), |ident| Nonce(ident.database));
    report.timeline = head.ident.map_or(Nonce(0), |ident| Nonce(ident.timeline));
    report.manifest = head.greatest.map(ManifestSeq);
    if let (Some(ident), Some(manifest)) = (&head.ident, &head.manifest) {
        report.token = FencingToken(manifest.token);
        report.cores = manifest.cores;
        let retained = manifest.checkpoints.iter();
        report.epochs.extend(retained.map(|checkpoint| kept::unproven(checkpoint, options.state_digests)));
        directory.expect_bytes(head.bytes());
        let head_path = head.path();
        let claims = Claims::of_all(&directory, ident, manifest).await;
        let mut logs = Vec::new();
        for (core, claims) in (0..manifest.cores).zip(claims) {
            let mut findings = Vec::new();
            let mut found = |finding| findings.push(finding);
            let mut proof = CoreProof {
                directory: &directory,
                ident,
                head: manifest,
                head_path: &head_path,
                core,
                claims,
                memory_bytes: options.memory_bytes,
                state_digests: options.state_digests,
                found: &mut found,
            };
            let Proven { epochs, log } = proof.run().await;
            for finding in findings {
                report.add(finding);
            }
            join(&mut report, &epochs);
            logs.push(log);
        }
        for finding in inheritances(manifest, &head.path()) {
            report.add(finding);
        }
        for finding in tail::beyond(&directory, ident, manifest).await {
            report.add(finding);
        }
        recoverable(&mut report, manifest, logs);
        let (of, mut found) = ((ident, manifest), Vec::new());
        let kept =
            kept::verify(&directory, of, options.state_digests, &mut |finding| found.push(finding)).await;
        report.epochs.splice(0..0, kept);
        report.epochs.sort_by_key(|verified| verified.epoch);
        for finding in found {
            report.add(finding);
        }
    }
    report.bytes_read = directory.bytes_read();
    Ok(report)
}

/// What cores of an earlier count had stated is handed down from epoch to epoch, until any core states the name.
fn inheritances(manifest: &decode::manifest::Manifest, path: &str) -> Vec<Finding> {
    let pairs = manifest.checkpoints.windows(2);
    let broken = pairs.filter(|pair| {
        let (before, after) = (&pair[0].inherited, &pair[1]);
        let is_stated = |name: &str| after.offsets.iter().any(|(_, stated, _)| stated == name);
        !before.iter().filter(|(_, name, _)| !is_stated(name)).eq(&after.inherited)
    });
    let what =
        "the offsets that it has inherited are not those of the epoch before that nobody has stated since";
    broken
        .map(|pair| Finding::new(DamageKind::Diverges, path.as_ref(), what).in_epoch(pair[1].epoch))
        .collect()
}

/// What is proven of an epoch is what is proven on all cores.
fn join(report: &mut VerifyReport, of_core: &[(Proof, Option<StateDigest>)]) {
    for (epoch, (proof, digest)) in report.epochs.iter_mut().zip(of_core) {
        epoch.proof = epoch.proof.max(*proof);
        match (&mut epoch.states, digest) {
            (Some(states), Some(digest)) => states.push(*digest),
            (states, _) => *states = None,
        }
    }
}

/// The greatest epoch that is closed on all cores; and no core claims another.
fn recoverable(report: &mut VerifyReport, head: &decode::manifest::Manifest, logs: Vec<Option<LogEnd>>) {
    report.logs.extend(logs.iter().flatten().map(|log| VerifiedLog {
        core: CoreId(log.core),
        segments: log.segments,
        records: log.records,
        last_epoch: Epoch(log.last_epoch.max(floor(head))),
    }));
    let Some(ends) = logs.into_iter().collect::<Option<Vec<LogEnd>>>() else { return };
    match end::recoverable(head, &ends) {
        Ok(epoch) => report.recoverable_epoch = Some(Epoch(epoch)),
        Err(finding) => report.add(finding),
    }
}
