//! Pins of a run: programs set them and let them go, beside everything else.
//!
//! P1. A pin that somebody was told is set is there after every open, with its epoch; one that was let go is not.
//! P2. Its files are there, and hold what the model held at the end of the epoch: so say the decoder (D2) and the audits (A4).
//!
//! Where disks break their word, or are lost, what comes back is believed; that pins come back with a restore from the store is a
//! scenario of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use highwater::env::{Env, Spawn};
use highwater::sim::{Stream, Streams};
use highwater::{Engine, Epoch, ErrorKind, Opened, RetainedEpoch};

use crate::world::{Run, World, lock};

/// Few names, so that they are used again.
const NAMES: [&str; 3] = ["audit", "before", "x"];

/// What is known of every pin that anybody asked for.
#[derive(Default)]
pub(crate) struct Ledger(BTreeMap<&'static str, Pin>);

struct Pin {
    known: Known,
    /// The open whose engine was asked and has not answered: whoever asks twice at once does not know which comes first.
    asked: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Set(Epoch),
    Gone,
    /// Asked for, and not answered, or answered that nobody knows.
    Perhaps,
}

/// Perhaps sets a pin or lets one go, in the background.
pub(crate) fn perhaps(run: &Arc<Run>, engine: &Engine<World>, streams: Streams) {
    let mut stream: Stream = streams.stream("pins");
    let name = *stream.pick(&NAMES);
    let sets = stream.chance(0.6);
    let retained = engine.retained();
    // None for the newest checkpoint.
    let epoch = if stream.chance(0.5) || retained.is_empty() {
        None
    } else {
        let at = stream.below(retained.len() as u64);
        Some(retained[usize::try_from(at).unwrap_or(0)].epoch)
    };
    let opened = lock(&run.oracle).opened;
    let asked = Pin { known: Known::Perhaps, asked: Some(opened) };
    if lock(&run.pins).0.get(name).is_some_and(|pin| pin.asked == asked.asked) {
        return;
    }
    lock(&run.pins).0.insert(name, asked);
    let (pin, unpin) = (engine.pin_async(name, epoch), engine.unpin_async(name));
    let (since, run) = (run.since(), Arc::clone(run));
    let spawned = engine.env().spawn().spawn("pinner", move || async move {
        let answer = if sets { pin.await } else { unpin.await };
        if lock(&run.oracle).opened != opened {
            // A task of this engine may take its step when the next engine is open.
            return;
        }
        let mut known = Known::Perhaps;
        match answer {
            Ok(epoch) => {
                known = if sets { Known::Set(epoch) } else { Known::Gone };
                run.count(|tally| tally.pins += 1);
            }
            Err(error) => {
                let expected =
                    matches!(error.kind(), ErrorKind::Failed | ErrorKind::Full | ErrorKind::Invalid);
                assert!(expected || run.plan.damage.is_some(), "a pin: {error}");
                if error.kind() != ErrorKind::Invalid {
                    since.check(&run, "a pin", &error);
                }
            }
        }
        lock(&run.pins).0.insert(name, Pin { known, asked: None });
    });
    assert!(spawned.is_ok(), "a simulated task starts");
}

/// P1, of an open that has returned.
pub(crate) fn p1_what_was_set_is_there(run: &Run, opened: &Opened<World>) {
    let found: BTreeMap<String, Epoch> = opened
        .engine
        .retained()
        .iter()
        .flat_map(|RetainedEpoch { pins, epoch, .. }| pins.iter().map(|pin| (pin.clone(), *epoch)))
        .collect();
    // What was restored by an open that did not return is believed, too.
    let lost = lock(&run.oracle).is_lost();
    let believed = run.plan.damage.is_some() || opened.report.restored || lost;
    for (name, Pin { known, asked }) in &mut lock(&run.pins).0 {
        let is = found.get(*name).map_or(Known::Gone, |epoch| Known::Set(*epoch));
        assert!(
            *known == Known::Perhaps || *known == is || believed,
            "P1: pin {name} is {is:?}, not {known:?}"
        );
        (*known, *asked) = (is, None);
    }
}
