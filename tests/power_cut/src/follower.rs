//! The simulated disk beside the real one: what the engine asked of the file system, told to a [`Witness`].

use std::collections::BTreeMap;

use highwater::sim::{Act, Begun, FoundTree, Personality, Witness};

use crate::recording::Event;

/// See the module.
pub(crate) struct Follower {
    witness: Witness,
    files: BTreeMap<u64, u64>,
    calls: BTreeMap<u64, Begun>,
}

impl Follower {
    /// Beside a file system that holds this, durably.
    pub(crate) fn new(found: &FoundTree) -> Self {
        // The strictest there is: no garbage in sectors that are overwritten, nothing stale in longer files.
        let strict =
            Personality { power_safe_overwrite: true, stale_extension: false, ..Personality::default() };
        Self { witness: Witness::of(strict, found), files: BTreeMap::new(), calls: BTreeMap::new() }
    }

    pub(crate) fn witness(&self) -> &Witness {
        &self.witness
    }

    pub(crate) fn follow(&mut self, event: &Event) {
        match event {
            Event::Opened { file, path } => {
                let number = self.witness.file_number(path);
                self.files.insert(*file, number.expect("what was opened is there"));
            }
            Event::Began { call, act } => {
                let act = self.translated(act.clone());
                self.calls.insert(*call, self.witness.begin(act));
            }
            Event::Ended { call, taken } => {
                let begun = self.calls.remove(call).expect("what ends has begun");
                self.witness.end(begun, *taken);
            }
            _ => {}
        }
    }

    /// The act, with the witness's number of its file.
    fn translated(&self, mut act: Act) -> Act {
        match &mut act {
            Act::Write(file, ..)
            | Act::WriteAndSync(file, ..)
            | Act::SetLen(file, _)
            | Act::Allocate(file, _)
            | Act::Sync(file) => *file = self.files[file],
            _ => {}
        }
        act
    }
}
