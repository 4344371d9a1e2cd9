//! Shrinking of a fan-out: fewer operations and faults of the run, then the first crash of what is left.
//!
//! A seed still draws what the operations do, so that a cut is a shorter way to the same bug, and no plan that outlives
//! a change of the generators.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use highwater::sim::{Firing, minimize};

use super::signature;
use crate::fanout::{Cut, Exploration, Explored, caught};
use crate::job;
use crate::step::Moment;

/// Crash states of one try: a cut run has few moments.
const STATES_MAX: u64 = 1_000;

/// A fan-out that is being shrunk.
pub(crate) struct FanOut<'a> {
    explore: Exploration,
    seed: u64,
    /// The least so far.
    pub(crate) cut: Cut,
    /// What the operations that are left do.
    pub(crate) words: Vec<String>,
    /// What it says.
    pub(crate) why: String,
    /// Which failure is followed.
    pub(crate) signature: String,
    /// Runs so far.
    pub(crate) tries: u64,
    until: Instant,
    progress: &'a dyn Fn(&Cut, u64),
}

impl<'a> FanOut<'a> {
    /// Shrinks the failure of `seed`; `None` when it does not fail. `progress` is told of every step forward.
    pub(crate) fn shrunk(
        explore: Exploration,
        (seed, cut): (u64, &Cut),
        time_max: Duration,
        progress: &'a dyn Fn(&Cut, u64),
    ) -> Option<Self> {
        let Explored { seen, result, .. } = caught(explore, seed, cut);
        let why = result.err()?;
        let (signature, until) = (signature(&why), job::now() + time_max);
        let mut shrunk = Self {
            explore,
            seed,
            cut: cut.clone(),
            words: Vec::new(),
            why,
            signature,
            tries: 1,
            until,
            progress,
        };
        // Its moments are tried in another order from now on, as many as usual if need be.
        for states_max in [Some(STATES_MAX), None] {
            if shrunk.try_cut(&Cut { states_max, ..shrunk.cut.clone() }) {
                break;
            }
        }
        let classes: Vec<_> =
            seen.faults.iter().map(|firing| firing.class).collect::<BTreeSet<_>>().into_iter().collect();
        shrunk.minimize(&classes, |cut, kept| {
            let of_classes = seen.faults.iter().filter(|firing| kept.contains(&firing.class));
            cut.faults = Some(of_classes.copied().collect());
        });
        shrunk.minimize(&seen.operations, |cut, kept| cut.kept = Some(kept.to_vec()));
        let faults: Vec<Firing> = shrunk.cut.faults.clone().unwrap_or_default();
        shrunk.minimize(&faults, |cut, kept| cut.faults = Some(kept.to_vec()));
        let kept: Vec<Moment> = shrunk.cut.kept.clone().unwrap_or_default();
        shrunk.minimize(&kept, |cut, kept| cut.kept = Some(kept.to_vec()));
        for plainer in [|cut: &mut Cut| cut.tame = true, |cut: &mut Cut| cut.short = true] {
            let mut cut = shrunk.cut.clone();
            plainer(&mut cut);
            shrunk.try_cut(&cut);
        }
        let named = seen.operations.iter().zip(&seen.names);
        let left = named.filter(|(moment, _)| shrunk.cut.keeps(**moment));
        shrunk.words = left.map(|(moment, name)| format!("{moment} {name}")).collect();
        Some(shrunk)
    }

    fn try_cut(&mut self, cut: &Cut) -> bool {
        if job::now() >= self.until {
            return false;
        }
        self.tries += 1;
        let Err(why) = caught(self.explore, self.seed, cut).result else { return false };
        if signature(&why) != self.signature {
            return false;
        }
        (self.cut, self.why) = (cut.clone(), why);
        (self.progress)(&self.cut, self.tries);
        true
    }

    fn minimize<T: Clone>(&mut self, all: &[T], set: impl Fn(&mut Cut, &[T])) {
        let before = self.cut.clone();
        let _ = minimize(all, |kept| {
            let mut cut = before.clone();
            set(&mut cut, kept);
            self.try_cut(&cut)
        });
    }
}
