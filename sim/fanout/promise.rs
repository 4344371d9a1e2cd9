//! What the work of an engine has been told by it, and may rely on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::found::Found;
use crate::decode::{Flat, FlatState};

/// What every core said at each end of an epoch, and how many of these ends were promised on all cores.
#[derive(Clone, Debug)]
pub(super) struct Promise {
    pub(super) ends: Vec<Arc<Vec<End>>>,
    pub(super) acked: u64,
    /// The greatest token that an open has returned.
    pub(super) token: u64,
    /// With an object store, from here on. The epoch that it was said to hold.
    pub(super) stored: u64,
    /// The pins that somebody was told, with their epochs.
    pub(super) pins: BTreeMap<String, u64>,
    /// Those of them that the store has.
    pub(super) stored_pins: BTreeMap<String, u64>,
}

/// One core at the end of an epoch.
#[derive(Clone, Debug, Default)]
pub(super) struct End {
    pub(super) flat: Flat,
    pub(super) watermark: Option<i64>,
}

impl Promise {
    pub(super) fn new(cores: u16) -> Self {
        let beginning = Arc::new(vec![End::default()]);
        let (pins, stored_pins) = (BTreeMap::new(), BTreeMap::new());
        Self { ends: vec![beginning; usize::from(cores)], acked: 0, stored: 0, token: 0, pins, stored_pins }
    }

    /// The state at the end of `epoch`, which every core has ended.
    pub(super) fn state_at(&self, epoch: u64) -> Option<Vec<&End>> {
        let index = usize::try_from(epoch).ok()?;
        self.ends.iter().map(|ends| ends.get(index)).collect()
    }

    /// Whether an open with `token` is of a later life than all opens that have returned.
    pub(super) fn precedes(&self, token: u64) -> Result<(), String> {
        if token <= self.token {
            return Err(format!("I8: token {token} is not above {}", self.token));
        }
        Ok(())
    }

    /// Whether an open with `token` that has found `pins` lets everybody go on; behind the loss of a machine with what the store
    /// was said to have.
    pub(super) fn holds(&self, token: u64, pins: &BTreeMap<String, u64>, lost: bool) -> Result<(), String> {
        self.precedes(token)?;
        let told = if lost { &self.stored_pins } else { &self.pins };
        match told.iter().find(|(name, epoch)| pins.get(*name) != Some(epoch)) {
            Some((name, epoch)) => Err(format!("pin {name} of epoch {epoch} is gone: {pins:?} (I6)")),
            None => Ok(()),
        }
    }

    /// Whether `found` is exact, and not below epoch `promised`.
    pub(super) fn keeps(&self, found: &Found, promised: u64) -> Result<(), String> {
        let Found { epoch, state, .. } = found;
        if *epoch < promised {
            return Err(format!("recovered epoch {epoch}, and {promised} was promised"));
        }
        let Some(expected) = self.state_at(*epoch) else {
            return Err(format!("recovered epoch {epoch}, which no core or not every core has ended"));
        };
        let watermark = expected.first().and_then(|end| end.watermark);
        if expected.iter().map(|end| &end.flat).eq(&state.cores) && watermark == state.watermark {
            return Ok(());
        }
        let cores = expected.into_iter().map(|end| end.flat.clone()).collect();
        let expected = FlatState { cores, watermark };
        Err(format!("epoch {epoch} came back changed: {}", expected.difference(state)))
    }
}
