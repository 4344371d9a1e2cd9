//! What is left of the run of a fan-out when it is shrunk. The seed still draws everything: a cut says which of its
//! operations and faults happen.

use highwater::sim::{FaultPlan, Firing, Personality};

use crate::plan::tame;
use crate::step::Moment;

/// See the module. By default everything happens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut {
    /// The operations that happen: their lives, and their numbers from one on.
    pub(crate) kept: Option<Vec<Moment>>,
    /// The faults that happen.
    pub(crate) faults: Option<Vec<Firing>>,
    /// Whether the disk is [`tame`].
    pub(crate) tame: bool,
    /// Whether values are short.
    pub(crate) short: bool,
    /// After so many crash states the rest is left out, if that is less than usual.
    pub(crate) states_max: Option<u64>,
}

/// What a run that was cut has shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The operations that it did.
    pub(crate) operations: Vec<Moment>,
    /// What each of them is called.
    pub(crate) names: Vec<&'static str>,
    /// The faults that were injected.
    pub(crate) faults: Vec<Firing>,
}

impl Cut {
    /// Whether this operation happens.
    pub(crate) fn keeps(&self, moment: Moment) -> bool {
        self.kept.as_ref().is_none_or(|kept| kept.contains(&moment))
    }

    /// Whether anything of this life happens.
    pub(crate) fn keeps_life(&self, life: u64) -> bool {
        self.kept.as_ref().is_none_or(|kept| kept.iter().any(|moment| u64::from(moment.life) == life))
    }

    /// What is left of the disk and its faults.
    pub(crate) fn disk(&self, personality: &mut Personality, plan: &mut FaultPlan) {
        if self.tame {
            *personality = Personality { write_unit: personality.write_unit, ..tame() };
        }
        if let Some(faults) = &self.faults {
            *plan = plan.clone().only(faults.iter().copied());
        }
    }
}
