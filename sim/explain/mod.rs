//! Explains one run: what was promised, what the disk and the faults did, what every recovery decided, and which
//! promise was broken first.
//!
//! ```text
//! a recipe's run ─► record (what happened) ─► doc (life after life) ─┬─► text: for a terminal
//!                                 └─► lanes (every core's marks) ────┴─► page: one HTML file, no network
//! ```
//!
//! Of a fan-out the run is told, then the crash that broke a promise and the recoveries of what it left.
//!
//! E1. The recording changes nothing: a run that is explained has the same digest as one that is not.
//! E2. A page loads nothing: style, script and data are in it.

mod doc;
mod lanes;
mod page;
mod promise;
pub(crate) mod record;
mod sectors;
mod text;

use highwater::sim::Aftermath;

use crate::fanout;
use crate::profile::Profile;
use crate::recipe::Recipe;
use crate::sweep;
use doc::Doc;
use record::Recording;

/// A run that was recorded, to be told.
pub(crate) struct Explained {
    doc: Doc,
    recording: Recording,
}

/// What a crash left, as text: names and sectors.
pub(crate) fn image(aftermath: &Aftermath) -> String {
    text::image(aftermath)
}

/// Runs `recipe`, of this profile, and records it.
pub(crate) fn run(profile: Profile, recipe: Recipe) -> Explained {
    match recipe {
        Recipe::Story(scheduler, plan) => {
            let (outcome, recording) = sweep::recorded(move || sweep::here(scheduler, *plan));
            Explained { doc: Doc::of_story(scheduler, &outcome, &recording), recording }
        }
        Recipe::FanOut(explore, seed, cut) => {
            let (explored, recording) = sweep::recorded(move || fanout::caught(explore, seed, &cut));
            Explained { doc: Doc::of_fan_out((profile, seed), &explored, &recording), recording }
        }
    }
}

impl Explained {
    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        text::text(&self.doc)
    }

    /// One HTML file.
    pub(crate) fn page(&self) -> String {
        page::page(&self.doc, &lanes::Lanes::new(&self.doc, &self.recording))
    }

    /// Whether every promise was kept.
    pub(crate) fn passed(&self) -> bool {
        self.doc.broken.is_none()
    }
}
