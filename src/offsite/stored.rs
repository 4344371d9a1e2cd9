//! A manifest as the store holds it (O7).

use crate::env::Entropy;
use crate::ids::{DatabaseId, Epoch, FencingToken, Lsn, ManifestSeq, SegmentNo, TimelineId};
use crate::manifest::store::Head;
use crate::manifest::{Author, Checkpoint, CoreLife, Cut, KeptEpoch, Life, Manifest};

/// The first segment of a restored core, and the LSN of the only record in it.
pub(super) const SEGMENT: SegmentNo = SegmentNo(1);
/// See [`SEGMENT`].
pub(super) const LSN: Lsn = Lsn(1);

/// Who writes to the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer {
    pub(crate) database: DatabaseId,
    /// Of its directory: no two directories of a database have the same.
    pub(crate) timeline: TimelineId,
    pub(crate) token: FencingToken,
    /// Of a database that has no checkpoint yet.
    pub(crate) cores: u16,
}

/// What a manifest in the store holds.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// Oldest first.
    pub(crate) checkpoints: Vec<Checkpoint>,
    /// Those whose files are in the store.
    pub(crate) kept: Vec<KeptEpoch>,
}

impl Content {
    /// What `head` holds.
    pub(crate) fn of(head: &Head) -> Self {
        Self { checkpoints: head.manifest.checkpoints.clone(), kept: head.manifest.kept.clone() }
    }
}

/// The manifest of `writer` that follows `before` and names what is in `content`.
pub(crate) fn stored(
    before: Option<&Head>,
    writer: Writer,
    (author, attempt_floor): (Author, u64),
    Content { checkpoints, kept }: Content,
    entropy: &impl Entropy,
) -> Manifest {
    let Writer { database, timeline, token, .. } = writer;
    // One number of cores in one manifest: that of what a restore begins with.
    let cores = checkpoints.last().map_or(writer.cores, Checkpoint::cores);
    let checkpoints: Vec<_> =
        checkpoints.into_iter().filter(|checkpoint| checkpoint.cores() == cores).collect();
    let recovered_epoch = checkpoints.last().map_or(Epoch(0), |newest| newest.epoch);
    let beginning = checkpoints.is_empty();
    let carried_through = if beginning { Lsn(LSN.0 - 1) } else { LSN };
    let life = (0..cores).map(|_| CoreLife {
        first_segment: SEGMENT,
        identity: entropy.nonce(),
        first_lsn: LSN,
        carried_through,
        ceiling: None,
    });
    let mut manifest = Manifest {
        seq: ManifestSeq(before.map_or(0, |head| head.manifest.seq.0) + 1),
        nonce: entropy.nonce(),
        previous: before.map(|head| (head.manifest.seq, head.crc)),
        token,
        cores,
        author,
        recovered_epoch,
        beginning,
        lives: vec![Life { token, recovered_epoch, cores: life.collect() }],
        checkpoints: checkpoints.into_iter().map(|checkpoint| at_home(checkpoint, token)).collect(),
        kept: kept.into_iter().map(|kept| KeptEpoch { away: false, ..kept }).collect(),
        attempt_floor,
        ..Manifest::create(database, timeline, entropy.nonce())
    };
    if let Some(before) = before {
        manifest.retire_files_of(&before.manifest);
    }
    manifest.trim();
    manifest
}

/// `checkpoint` with its cuts where a restored directory has them, and without what sinks were given behind it: that comes again.
fn at_home(checkpoint: Checkpoint, token: FencingToken) -> Checkpoint {
    let cuts = checkpoint.cuts.iter().map(|_| Cut { token, segment: SEGMENT, lsn: LSN }).collect();
    let sinks = checkpoint.sinks.iter().filter(|entry| entry.epoch <= checkpoint.epoch).cloned().collect();
    Checkpoint { token, cuts, sinks, ..checkpoint }
}
