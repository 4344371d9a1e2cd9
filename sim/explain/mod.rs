//! Explains one run: what was promised, what the disk and the faults did, what every recovery decided, and which
//! promise was broken first.
//!
//! ```text
//! a recipe's run ─► record (what happened) ─► doc (life after life) ─┬─► text: for a terminal
//!                                 └─► lanes (every core's marks) ────┴─► page: one HTML file, no network
//!                                                                    └─► picture: the crash alone, as SVG
//! ```
//!
//! Of a fan-out the run is told, then the crash that broke a promise and the recoveries of what it left.
//!
//! E1. The recording changes nothing: a run that is explained has the same digest as one that is not.
//! E2. A page loads nothing: style, script and data are in it.

mod doc;
mod lanes;
mod page;
mod picture;
mod promise;
pub(crate) mod record;
mod sectors;
mod text;

use highwater::env::Tick;
use highwater::sim::Aftermath;

use crate::Test;
use crate::fanout::{self, Explored, Seen, Tally};
use crate::host::Scheduler;
use crate::profile::Profile;
use crate::recipe::Recipe;
use crate::sweep;
use doc::Doc;
use record::{Entry, Event, Opened, Recording, Told};

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

/// See [`Test`].
pub(crate) const TESTS: &[Test] =
    tests![a_life_with_more_cores_than_the_first_has_lanes, a_power_loss_has_a_picture];

fn a_power_loss_has_a_picture() {
    let case = |seed| Recipe::of(Profile::Forward, Scheduler::BuiltIn, seed);
    let draw = |seed| run(Profile::Forward, case(seed)).picture("a crash").expect("it can be drawn");
    let mut drawn = (1..50).filter_map(draw);
    let picture = drawn.find(|picture| picture.contains("power loss")).expect("one of so many seeds has one");
    for part in ["<svg", "a crash", "recovery", "acknowledged", "core 0: LSN"] {
        assert!(picture.contains(part), "{part} is not drawn");
    }
}

fn a_life_with_more_cores_than_the_first_has_lanes() {
    let opened = |epoch, cores| {
        Event::Opened(Opened { epoch: Some(epoch), cores: Some(cores), ..Opened::saying("something") })
    };
    let told = |core: u16| {
        let fields = vec![("core", core.to_string()), ("next_lsn", "7".to_owned())];
        Event::Engine(Told { target: "wal", message: "life begun".to_owned(), fields })
    };
    let ended = |core| Event::Ended { core, epoch: 1 };
    let life = |number| Event::Life { number, plan: String::new() };
    let events = [life(0), opened(0, 1), ended(0), life(1), opened(0, 3), told(2), ended(0), ended(2)];
    let entries = (0..).zip(events).map(|(at, event)| Entry { at: Tick(at), event });
    let recording = Recording { entries: entries.collect(), ..Recording::default() };
    let result = Err("I1: epoch 1 was acknowledged".to_owned());
    let explored = Explored { tally: Tally::default(), seen: Seen::default(), result };
    let doc = Doc::of_fan_out((Profile::FanOutRescale, 1), &explored, &recording);
    let explained = Explained { doc, recording };
    let text = explained.text();
    for part in ["core 0 ended it at 0.006 µs", "core 1 has not ended it", "core 2 ended it"] {
        assert!(text.contains(part), "{part} is not told:\n{text}");
    }
    assert!(explained.page().contains("<td>2</td>"), "the page tells of each core");
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

    /// An SVG of the first power loss, or else of the first crash; none if there was none.
    ///
    /// # Errors
    ///
    /// Why it cannot be drawn.
    pub(crate) fn picture(&self, title: &str) -> Result<Option<String>, String> {
        let lanes = lanes::Lanes::new(&self.doc, &self.recording);
        picture::picture(&lanes, title).map_err(|error| error.to_string())
    }

    /// Whether every promise was kept.
    pub(crate) fn passed(&self) -> bool {
        self.doc.broken.is_none()
    }
}
