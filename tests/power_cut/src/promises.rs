//! What a database may come back as: the states at the ends of epochs, and the epoch that somebody counts on.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::recording::Event;

/// Keys and values of all cores, and the source's position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) entries: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) offset: Option<u64>,
}

/// The state at the end of an epoch, and when it may be found.
#[derive(Clone, Debug)]
struct Ended {
    epoch: u64,
    /// From the moment at which the cores began to end it.
    from: usize,
    /// Until an open returned that had discarded it.
    until: Option<usize>,
    content: Arc<Content>,
}

/// See the module. Moments are places in a recording.
#[derive(Clone, Debug)]
pub(crate) struct Promises {
    ended: Vec<Ended>,
    /// What was promised before the recording began.
    floor: u64,
}

impl Promises {
    /// Of a database that does not exist.
    pub(crate) fn new() -> Self {
        Self { ended: vec![Ended { epoch: 0, from: 0, until: None, content: Arc::default() }], floor: 0 }
    }

    pub(crate) fn end(&mut self, epoch: u64, now: usize, content: Arc<Content>) {
        self.ended.push(Ended { epoch, from: now, until: None, content });
    }

    /// What is promised when the events up to `cut` have happened: the promises of a recording that begins there.
    pub(crate) fn at(&self, cut: usize, events: &[Event]) -> Self {
        let possible = |ended: &&Ended| ended.from <= cut && ended.until.is_none_or(|until| cut < until);
        let ended = self.ended.iter().filter(possible);
        let acknowledged = events[..cut].iter().filter_map(|event| match event {
            Event::Acknowledged { epoch } => Some(*epoch),
            _ => None,
        });
        Self {
            ended: ended.map(|ended| Ended { from: 0, until: None, ..ended.clone() }).collect(),
            floor: acknowledged.fold(self.floor, u64::max),
        }
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// An open that returned at `now` found this: the other states of its epoch, and all of later ones, are discarded.
    ///
    /// # Errors
    ///
    /// Why that is not what was promised.
    pub(crate) fn recovered(
        &mut self,
        epoch: u64,
        content: &Content,
        floor: u64,
        now: usize,
    ) -> Result<(), String> {
        if epoch < floor {
            return Err(format!("LOST: epoch {floor} was acknowledged, epoch {epoch} came back"));
        }
        let alive = |ended: &&Ended| ended.epoch == epoch && ended.until.is_none();
        let (known, same) = self
            .ended
            .iter()
            .filter(alive)
            .fold((0, false), |(known, same), ended| (known + 1, same || *ended.content == *content));
        if !same {
            let what = if known == 0 { "no core ever ended it" } else { "its content is not what was put" };
            return Err(format!("WRONG: epoch {epoch} came back, {what}"));
        }
        for ended in self.ended.iter_mut().filter(|ended| ended.until.is_none()) {
            if ended.epoch > epoch || (ended.epoch == epoch && *ended.content != *content) {
                ended.until = Some(now);
            }
        }
        Ok(())
    }
}
