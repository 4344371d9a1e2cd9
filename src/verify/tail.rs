//! What the frames of a log claim, followed or not: that something was durable which is missing now, or that a life has
//! begun which the newest manifest does not know.
//!
//! Claims are taken down before any log is followed: a running engine goes on meanwhile, and what it had made durable at
//! that moment is there at any later one.

use std::collections::BTreeMap;

use super::decode::ident::Ident;
use super::decode::manifest::Manifest;
use super::decode::segment::{FRAMES, FrameHeader, Front, RECORDS};
use super::log::{Log, front, segment_path};
use super::report::{DamageKind, Finding};
use super::source::{Directory, Sequential};
use crate::vfs::Vfs;

/// The segment in which a log ends, where, and the last LSN there.
type Place = Option<(u64, u64, u64)>;

/// The most that the last life of a core claimed at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Claims {
    /// The greatest epoch that a frame calls closed on all cores.
    pub(crate) closed_through: u64,
    /// The greatest LSN that one calls durable, with the segment and the offset of that frame.
    durable: Option<(u64, u64, u64)>,
}

impl Claims {
    /// Takes down those of every core of `head`.
    pub(crate) async fn of_all<V: Vfs>(
        directory: &Directory<V>,
        ident: &Ident,
        head: &Manifest,
    ) -> Vec<Self> {
        let mut claims = Vec::with_capacity(usize::from(head.cores));
        for core in 0..head.cores {
            claims.push(Self::take(directory, head, (core, ident.unit)).await);
        }
        claims
    }

    /// Takes down those of `core`, whose database has this write unit. Claims grow along a log: the last segment with a
    /// frame has the greatest ones, wherever the log itself breaks off. What cannot be read claims nothing, and is found by
    /// whoever follows the log.
    async fn take<V: Vfs>(directory: &Directory<V>, head: &Manifest, (core, unit): (u16, u32)) -> Self {
        let mut claims = Self::default();
        let numbers = directory.numbers(&format!("wal/{core:05}")).await.unwrap_or_default();
        for number in numbers.into_iter().rev() {
            let Ok(front) = front(directory, (core, number), head.database, unit).await else { continue };
            if front.header.token != head.token {
                continue;
            }
            let mut any = false;
            let read = frames(directory, core, &front, FRAMES, |frame| {
                any = true;
                claims.closed_through = claims.closed_through.max(frame.closed_through);
                if claims.durable.is_none_or(|(durable, ..)| frame.durable_through > durable) {
                    claims.durable = Some((frame.durable_through, number, frame.at));
                }
            });
            if read.await.is_ok() && any {
                break;
            }
        }
        claims
    }
}

/// Holds the end of a core's log against what it claimed before, and looks at the frames of later lives.
pub(crate) async fn check<V: Vfs>(
    directory: &Directory<V>,
    head: &Manifest,
    log: &Log,
    (core, place, claims): (u16, Place, Claims),
) -> Result<(), Finding> {
    let first = head.lives.last().map_or(0, |life| life.cores[usize::from(core)].first_lsn);
    let last = place.map_or(0, |(_, _, last)| last).max(first.saturating_sub(1));
    let end = place.map_or((0, 0), |(segment, at, _)| (segment, at));
    let carried = head.lives.last().map_or(0, |life| life.cores[usize::from(core)].carried_through);
    if last < carried {
        let what =
            format!("the log ends at LSN {last}, and its life began with records through LSN {carried}");
        return Err(log.stops(end, &what));
    }
    if let Some((durable, number, at)) = claims.durable.filter(|(durable, ..)| *durable > last) {
        let claims = segment_path(core, number);
        let what = format!(
            "the log ends at LSN {last}, and the frame at offset {at} of {claims} says that LSN {durable} was durable"
        );
        return Err(log.stops(end, &what));
    }
    later_lives(directory, head, &log.fronts, core).await
}

/// No segment is of a life that has begun and that the manifest does not know.
async fn later_lives<V: Vfs>(
    directory: &Directory<V>,
    head: &Manifest,
    fronts: &BTreeMap<u64, Front>,
    core: u16,
) -> Result<(), Finding> {
    let mut lives: BTreeMap<u64, (u64, u64, bool)> = BTreeMap::new();
    for front in fronts.values().filter(|front| front.header.token > head.token) {
        let life = lives.entry(front.header.token).or_insert((u64::MAX, 0, false));
        frames(directory, core, front, FRAMES, |frame| {
            life.0 = life.0.min(frame.closed_through);
            life.1 = life.1.max(frame.closed_through);
            life.2 |= frame.kind == RECORDS && frame.durable_through > 0;
        })
        .await?;
    }
    match lives.into_iter().find(|(_, (least, greatest, records))| *records || greatest > least) {
        None => Ok(()),
        Some((token, _)) => {
            let what =
                format!("a manifest is missing: the log of core {core} goes on in a life of token {token}");
            Err(Finding::new(DamageKind::Damaged, "m".as_ref(), what).of_core(core))
        }
    }
}

/// What is wrong with the logs of cores that the manifest does not have.
pub(super) async fn beyond<V: Vfs>(directory: &Directory<V>, ident: &Ident, head: &Manifest) -> Vec<Finding> {
    let mut found = Vec::new();
    let folders = directory.names("wal").await.ok().flatten().unwrap_or_default();
    let is_core = |name: &String| name.len() == 5 && name.bytes().all(|byte| byte.is_ascii_digit());
    let names = folders.into_iter().map(|folder| folder.name).filter(is_core);
    for core in names.filter_map(|name| name.parse::<u16>().ok()).filter(|core| *core >= head.cores) {
        let mut fronts = BTreeMap::new();
        for number in directory.numbers(&format!("wal/{core:05}")).await.unwrap_or_default() {
            match front(directory, (core, number), head.database, ident.unit).await {
                Ok(front) => {
                    fronts.insert(number, front);
                }
                Err(finding) => found.push(finding.of_core(core)),
            }
        }
        found.extend(later_lives(directory, head, &fronts, core).await.err());
    }
    found
}

/// Gives every frame with a valid header from `from` on to `each`.
async fn frames<V: Vfs>(
    directory: &Directory<V>,
    core: u16,
    front: &Front,
    from: u64,
    mut each: impl FnMut(&FrameHeader),
) -> Result<(), Finding> {
    let header = front.header;
    let source = directory.open(segment_path(core, header.number)).await?;
    let mut file = Sequential::from(source, from);
    while file.at() + 64 <= header.bytes {
        let at = file.at();
        if let Some(frame) = header.frame(at, file.peek(64).await?) {
            each(&frame);
        }
        file.skip_to((at + u64::from(header.unit)).min(header.bytes)).await?;
    }
    Ok(())
}
