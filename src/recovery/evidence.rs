//! What the log of one core shows of the life that was interrupted: the first pass over it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::plan::CoreEvidence;
use super::report::Tail;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{CoreId, DatabaseId, Epoch, FencingToken, Lsn, SegmentNo};
use crate::manifest::{CoreLife, Cut};
use crate::vfs::Vfs;
use crate::wal::{self, Evidence, Front, LogId, WalReader, catalog, evidence_in, read_first_frame};

/// Bytes read at once.
pub(super) const READ_AHEAD_BYTES: usize = 1 << 20;

/// Which log is looked at, and from where.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) database: DatabaseId,
    pub(super) core: CoreId,
    /// The interrupted life; `None` before the first.
    pub(super) life: Option<(FencingToken, CoreLife)>,
    /// The newest checkpoint's cut, if it lies in that life.
    pub(super) cut: Option<Cut>,
    /// Epochs through this one are decided.
    pub(super) base_epoch: Epoch,
    /// The folder of manifests, for those who must be told that one is missing.
    pub(super) manifests: PathBuf,
}

/// What one core's directory and log show.
#[derive(Clone, Debug)]
pub(super) struct Findings {
    pub(super) evidence: CoreEvidence,
    pub(super) tail: Tail,
    /// The greatest LSN in any frame: the new life starts above.
    pub(super) greatest_lsn: Lsn,
    /// What the front of every segment says that is there, ascending.
    pub(super) catalog: Arc<[Front]>,
    /// A segment of the life before that was certainly never written to: the new life begins in it.
    pub(super) unused: Option<SegmentNo>,
}

impl Findings {
    /// Every segment that is there, ascending, with the token that wrote it.
    pub(super) fn segments(&self) -> impl Iterator<Item = (SegmentNo, FencingToken)> {
        self.catalog.iter().map(|front| (front.header.number, front.header.log.token))
    }
}

/// Looks. Changes nothing.
///
/// # Errors
///
/// `Corrupt` when proven records are missing; `Failed` when the disk cannot be read.
pub(super) async fn look<V: Vfs>(vfs: V, dir: &Path, question: Question) -> Result<Findings> {
    let log = LogId { database: question.database, core: question.core };
    let catalog: Arc<[Front]> = catalog(&vfs, dir, log).await?.into();
    check_beyond(&vfs, dir, &question, &catalog).await?;
    let Some((token, life)) = question.life else {
        let nothing = Lsn(0);
        let evidence = CoreEvidence {
            base: nothing,
            end: nothing,
            proven: nothing,
            closed_through: Epoch(0),
            ends: Vec::new(),
        };
        return Ok(Findings { evidence, tail: Tail::Clean, greatest_lsn: nothing, catalog, unused: None });
    };
    let cut = question.cut.map(|cut| wal::Cut { segment: cut.segment, lsn: cut.lsn });
    let base = cut.map_or(life.carried_through, |cut| cut.lsn.max(life.carried_through));
    let lives = vec![life.as_read(token, None)];
    let fronts = Arc::clone(&catalog);
    let mut reader = WalReader::of_fronts((vfs, dir), log, lives, cut, READ_AHEAD_BYTES, fronts);
    while reader.advance().await? {}
    let scan = reader.scan();
    let end = scan.prefix_end.max(base);
    let ends: Vec<_> = scan
        .epoch_ends
        .iter()
        .filter(|end| end.epoch > question.base_epoch)
        .map(|end| (end.epoch, end.lsn))
        .collect();
    check_ends(&question, (base, end), &ends)?;
    let tail = match scan.tail {
        wal::LogTail::Torn => {
            Tail::Torn { segment: scan.end_segment, offset: scan.end_offset, first_lost: end.next() }
        }
        wal::LogTail::Clean | wal::LogTail::Residue => Tail::Clean,
    };
    let evidence = CoreEvidence {
        base,
        end,
        proven: scan.proven.clamp(base, end),
        closed_through: scan.closed_through,
        ends,
    };
    let unused = reader.unused().last().copied();
    Ok(Findings { evidence, tail, greatest_lsn: scan.greatest_lsn.max(end), catalog, unused })
}

/// The epochs that end in the log follow the one that the manifest says was there before, behind the place that it names. Each
/// file is sound by itself here: a manifest that was made for another log, or forged, is told from that.
fn check_ends(question: &Question, (base, end): (Lsn, Lsn), ends: &[(Epoch, Lsn)]) -> Result<()> {
    let mut expected = question.base_epoch.0;
    for (epoch, lsn) in ends {
        expected = expected.saturating_add(1);
        if epoch.0 != expected || *lsn < base || *lsn > end {
            let what = format!(
                "the greatest manifest says that core {} goes on behind LSN {base} with epoch {expected}, and its log ends \
                 epoch {epoch} at LSN {lsn}: they are not of one database; nothing was changed, restore this directory from \
                 a backup",
                question.core
            );
            return Err(Error::corrupt(ErrorCode::ManifestOlder, &question.manifests, what));
        }
    }
    Ok(())
}

/// No segment of this log is of a life that has begun and that the head does not know: then a later manifest is missing,
/// and what that names must not be taken for leftovers.
///
/// An open that was interrupted before its manifest landed leaves segments too. Their records claim nothing, and they
/// call closed only what that open had recovered: perhaps from the page cache, so that it proves nothing.
async fn check_beyond<V: Vfs>(vfs: &V, dir: &Path, question: &Question, catalog: &[Front]) -> Result<()> {
    let known = question.life.map_or(FencingToken(0), |(token, _)| token);
    let mut lives: BTreeMap<FencingToken, Evidence> = BTreeMap::new();
    for Front { header, .. } in catalog.iter().filter(|front| front.header.log.token > known) {
        let token = header.log.token;
        let front = read_first_frame(vfs, dir, header.number).await?;
        let evidence = lives.entry(token).or_default();
        evidence.merge(&evidence_in(&front).await?);
        let Evidence { closed_through, least_closed_through, records_durable_through, .. } = *evidence;
        let closed_more = least_closed_through.is_some_and(|least| closed_through > least);
        if records_durable_through > Lsn(0) || closed_more {
            let what = format!(
                "{} is of token {token}, which has begun: its frames say that LSN {} is durable and epoch {closed_through} \
                 closed; yet the greatest manifest knows no token above {known}: a later one is missing; nothing was \
                 changed, restore this folder from a backup",
                front.path.display(),
                evidence.durable_through,
            );
            return Err(Error::corrupt(ErrorCode::ManifestOlder, &question.manifests, what));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;
