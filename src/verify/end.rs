//! Where logs end, and which epoch is closed on all cores by that: what an open recovers, or why it refuses.

use super::decode::manifest::Manifest;
use super::log::{Log, LogReader};
use super::report::{DamageKind, Finding};
use super::source::Directory;
use super::tail::{self, Claims};
use crate::vfs::Vfs;

/// How a log ends.
pub(super) struct LogEnd {
    pub(super) core: u16,
    pub(super) segments: u64,
    pub(super) records: u64,
    /// The last epoch that ends in it; zero if none does.
    pub(super) last_epoch: u64,
    /// The greatest epoch that a frame had called closed on all cores before it was followed.
    closed_through: u64,
    /// The segment in which it ends, and where.
    place: Option<(u64, u64)>,
}

impl LogEnd {
    /// Reads `log`, of which `records` were read, to its end, and holds that against what it had claimed.
    pub(super) async fn find<V: Vfs>(
        directory: &Directory<V>,
        head: &Manifest,
        (core, log, claims): (u16, &Log, Claims),
        mut reader: LogReader<'_, V>,
        mut records: u64,
    ) -> Result<Self, Finding> {
        while reader.next().await?.is_some() {
            records += 1;
        }
        let (last_epoch, _) = reader.epochs();
        let place = reader.place();
        tail::check(directory, head, log, (core, place, claims)).await?;
        Ok(Self {
            core,
            segments: log.route.legs.len() as u64,
            records,
            last_epoch,
            closed_through: claims.closed_through,
            place: place.map(|(segment, at, _)| (segment, at)),
        })
    }
}

/// The epoch below which no log needs to go.
pub(super) fn floor(head: &Manifest) -> u64 {
    head.checkpoints.last().map_or(0, |newest| newest.epoch).max(head.recovered_epoch)
}

/// The greatest epoch that is closed on all cores, whose logs have these `ends`; and no core claims another.
pub(super) fn recoverable(head: &Manifest, ends: &[LogEnd]) -> Result<u64, Finding> {
    let short = ends.iter().min_by_key(|end| end.last_epoch);
    let epoch = short.map_or(head.recovered_epoch, |short| short.last_epoch.max(floor(head)));
    match (ends.iter().find(|end| end.closed_through > epoch), short) {
        (Some(claims), Some(short)) => {
            let (segment, at) = short.place.unwrap_or_default();
            let what = format!(
                "the log ends in epoch {epoch}, at offset {at} of segment {segment}; that of core {} says that epoch {} was \
                 closed on all cores",
                claims.core, claims.closed_through
            );
            let path = format!("wal/{:05}", short.core);
            Err(Finding::new(DamageKind::Damaged, path.as_ref(), what).of_core(short.core))
        }
        _ => Ok(epoch),
    }
}

/// The epoch that an open recovers, by the logs alone.
///
/// # Errors
///
/// Why it would refuse: a log that cannot be followed, or that ends before what any log claims.
#[cfg(feature = "cli")]
pub(crate) async fn newest_epoch<V: Vfs>(
    directory: &Directory<V>,
    ident: &super::decode::ident::Ident,
    head: &Manifest,
) -> Result<u64, Finding> {
    let claims = Claims::of_all(directory, ident, head).await;
    let mut ends = Vec::with_capacity(claims.len());
    for (core, claims) in (0..).zip(claims) {
        let log = Log::open(directory, head, (core, ident.unit), |_| {}).await?;
        let reader = LogReader::from(directory, &log, super::log::Position::default());
        ends.push(LogEnd::find(directory, head, (core, &log, claims), reader, 0).await?);
    }
    if let Some(finding) = tail::beyond(directory, ident, head).await.into_iter().next() {
        return Err(finding);
    }
    recoverable(head, &ends)
}
