//! What one run is made of: a seed and what it draws, or a plan that was shrunk and written down.

use toml::Table;

use crate::fanout::{self, Cut, Exploration};
use crate::host::Scheduler;
use crate::job::Ran;
use crate::plan::Plan;
use crate::profile::Profile;
use crate::sweep;
use crate::text;

/// See the module.
#[derive(Clone)]
pub(crate) enum Recipe {
    /// Life after life.
    Story(Scheduler, Box<Plan>),
    /// Every crash of the run of a seed, or of what is left of it.
    FanOut(Exploration, u64, Cut),
}

impl Recipe {
    /// What a seed draws.
    pub(crate) fn of(profile: Profile, scheduler: Scheduler, seed: u64) -> Self {
        match profile.exploration() {
            None => Self::Story(scheduler, Box::new(Plan::of(profile, seed))),
            Some(explore) => Self::FanOut(explore, seed, Cut::default()),
        }
    }

    /// What was written down.
    ///
    /// # Errors
    ///
    /// What is wrong with the table, for people.
    pub(crate) fn read(
        profile: Profile,
        scheduler: Scheduler,
        seed: u64,
        table: Table,
    ) -> Result<Self, String> {
        match profile.exploration() {
            None => Ok(Self::Story(scheduler, Box::new(text::plan(profile, seed, table)?))),
            Some(explore) => Ok(Self::FanOut(explore, seed, text::cut(table)?)),
        }
    }

    /// Runs it.
    pub(crate) fn run(&self) -> Ran {
        match self {
            Self::Story(scheduler, plan) => {
                let outcome = sweep::one(*scheduler, (**plan).clone());
                let (why, explored) = (outcome.failure.clone(), fanout::Tally::default());
                Ran { seed: plan.seed, why, outcome: Some(outcome), explored }
            }
            Self::FanOut(explore, seed, cut) => {
                let fanout::Explored { tally, result, .. } = fanout::caught(*explore, *seed, cut);
                Ran { seed: *seed, why: result.err(), outcome: None, explored: tally }
            }
        }
    }
}
