//! Which segments of a core's log count, in which order, and how far each must reach.

use std::collections::BTreeMap;

use super::manifest::{CoreLife, Manifest};
use super::segment::Front;

/// One segment on the way through a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leg {
    pub(crate) segment: u64,
    pub(crate) token: u64,
    /// Reading of a life begins here: with its first LSN, if the segment is its first.
    pub(crate) begins: Option<Begin>,
    /// The last LSN that counts here.
    pub(crate) through: u64,
    /// Whether the segment must reach it.
    pub(crate) must_reach: bool,
}

/// Where reading of a life begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Begin {
    /// At its beginning, with this LSN.
    First(u64),
    /// Behind the floor: with whatever LSN and chain value the first frame there states.
    Later,
}

/// The way through a core's log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Route {
    pub(crate) legs: Vec<Leg>,
    /// Whether it begins with the first record that the core ever wrote, if the manifest's lives do.
    pub(crate) from_beginning: bool,
}

/// What contradicts the manifest: the segment, if it is one's fault, and why.
pub(crate) type Detour = (Option<u64>, String);

impl Route {
    /// The way through the log of `core`, whose segments are `fronts`, as the manifest `head` says.
    pub(crate) fn find(fronts: &BTreeMap<u64, Front>, head: &Manifest, core: u16) -> Result<Self, Detour> {
        let mut route = Self::default();
        let core = usize::from(core);
        let floor = head.floors[core];
        for checkpoint in &head.checkpoints {
            let cut = checkpoint.cuts[core];
            let what = match fronts.get(&cut.segment) {
                None => "it is missing (I6)",
                // Reading would begin behind it, and find the manifest wrong.
                Some(front) if front.start.is_none() => "it has no SegmentStart",
                Some(_) => continue,
            };
            let what = format!("the log behind checkpoint {} begins in it, and {what}", checkpoint.epoch);
            return Err((Some(cut.segment), what));
        }
        for (index, life) in head.lives.iter().enumerate() {
            let of_core = life.cores[core];
            let Some(first) = begin(fronts, life.token, &of_core, floor)? else {
                // Everything of this life is below the floor: allowed, unless a life was read already.
                if route.legs.is_empty() && of_core.ceiling.is_some() {
                    continue;
                }
                return Err((None, format!("life {}: no segment of it is there", life.token)));
            };
            let whole = first == of_core.first_segment;
            route.from_beginning |= index == 0 && whole;
            route.follow(fronts, life.token, first, of_core)?;
        }
        Ok(route)
    }

    /// The segments of the life of `token` from `first` on.
    fn follow(
        &mut self,
        fronts: &BTreeMap<u64, Front>,
        token: u64,
        first: u64,
        life: CoreLife,
    ) -> Result<(), Detour> {
        let of_life = fronts.values().filter(|front| front.header.token == token);
        let links = of_life.filter_map(|front| Some((front.start?.predecessor, front.header.number)));
        let mut next_of = BTreeMap::new();
        for (predecessor, number) in links {
            // Of two that name one predecessor the first counts; the other is not reached, which its own marks tell.
            next_of.entry(predecessor).or_insert(number);
        }
        let ceiling = life.ceiling.unwrap_or(u64::MAX);
        let (mut at, mut before) = (first, 0);
        loop {
            let start = fronts.get(&at).and_then(|front| front.start);
            let start = start.ok_or_else(|| (Some(at), "no SegmentStart".to_owned()))?;
            let begins_life = at == life.first_segment;
            if begins_life != (start.predecessor == 0) || (at != first && start.predecessor != before) {
                return Err((Some(at), format!("names segment {} as its predecessor", start.predecessor)));
            }
            // Numbers ascend, so a circle of names cannot be followed.
            let next = next_of.get(&at).copied().filter(|next: &u64| *next > at);
            let sealed = next.and_then(|next| fronts.get(&next)?.start).map(|start| start.stated_last);
            let begins = (at == first).then_some(if begins_life {
                Begin::First(life.first_lsn)
            } else {
                Begin::Later
            });
            let through = ceiling.min(sealed.unwrap_or(u64::MAX));
            let must_reach = sealed.is_some() || life.ceiling.is_some();
            self.legs.push(Leg { segment: at, token, begins, through, must_reach });
            match next {
                Some(next) if through < ceiling => (before, at) = (at, next),
                _ => return Ok(()),
            }
        }
    }
}

/// The segment that reading a life begins with: its first, or the first that is still there.
fn begin(
    fronts: &BTreeMap<u64, Front>,
    token: u64,
    life: &CoreLife,
    floor: u64,
) -> Result<Option<u64>, Detour> {
    // Below the floor nothing counts: a crash may have undone the removal of one segment and not of the next.
    if floor <= life.first_segment {
        let first = fronts.get(&life.first_segment).filter(|first| first.header.token == token);
        let first = first
            .ok_or_else(|| (Some(life.first_segment), "the segment is needed and missing (I6)".to_owned()))?;
        if first.header.identity != life.identity {
            return Err((Some(life.first_segment), "another identity than the manifest names".to_owned()));
        }
        return Ok(Some(life.first_segment));
    }
    let mut of_life =
        fronts.range(floor..).filter(|(_, front)| front.header.token == token && front.start.is_some());
    Ok(of_life.next().map(|(number, _)| *number))
}
