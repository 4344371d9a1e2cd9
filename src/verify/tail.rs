//! What the frames say that are not followed: behind the end of a log, and in segments of later lives.
//!
//! A frame there counts for nothing but for what it claims: that something was durable which is missing now, or that a
//! life has begun which the newest manifest does not know.

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

/// Looks at every frame of the last life that was not followed, and at those of later lives; returns the greatest
/// epoch that one of the last life calls closed.
pub(super) async fn check<V: Vfs>(
    directory: &Directory<V>,
    head: &Manifest,
    log: &Log,
    (core, place): (u16, Place),
) -> Result<u64, Finding> {
    let mut closed_through = 0;
    let first = head.lives.last().map_or(0, |life| life.cores[usize::from(core)].first_lsn);
    let last = place.map_or(0, |(_, _, last)| last).max(first.saturating_sub(1));
    let end = place.map_or((0, 0), |(segment, at, _)| (segment, at));
    let carried = head.lives.last().map_or(0, |life| life.cores[usize::from(core)].carried_through);
    if last < carried {
        let what =
            format!("the log ends at LSN {last}, and its life began with records through LSN {carried}");
        return Err(log.stops(end, &what));
    }
    for (number, front) in log.fronts.iter().filter(|(_, front)| front.header.token == head.token) {
        let on_the_way = log.route.legs.iter().any(|leg| leg.segment == *number);
        let from = match on_the_way {
            true if *number != end.0 => continue,
            true => end.1,
            false => FRAMES,
        };
        let mut proof = None;
        frames(directory, core, front, from, |frame| {
            closed_through = closed_through.max(frame.closed_through);
            if frame.durable_through > last {
                proof = proof.or(Some((frame.at, frame.durable_through)));
            }
        })
        .await?;
        if let Some((at, durable)) = proof {
            let claims = segment_path(core, *number);
            let what = format!(
                "the log ends at LSN {last}, and the frame at offset {at} of {claims} says that LSN {durable} was durable"
            );
            return Err(log.stops(end, &what));
        }
    }
    later_lives(directory, head, &log.fronts, core).await?;
    Ok(closed_through)
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
