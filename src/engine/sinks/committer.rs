//! The thread of a sink: it publishes what is decided, in order, and does not give up.
//!
//! It also asks for a checkpoint when the sink has much in doubt: nothing else would decide it soon.

use std::sync::Arc;
use std::time::Duration;

use super::ledger::{Ledger, Participant, Permit};
use crate::engine::requests::Requests;
use crate::engine::shared::Shared;
use crate::env::{Clock, Env};
use crate::error::{Error, ErrorCode};
use crate::offsite::Mirror;
use crate::race::{First, race};
use crate::sink::{Commit, LostPolicy};

/// The wait behind a commit that failed: it doubles with each further one.
const PATIENCE_MIN: Duration = Duration::from_millis(50);
/// The longest of these waits.
const PATIENCE_MAX: Duration = Duration::from_secs(10);

/// What the thread of a sink begins with.
pub(crate) struct Committer<E: Env> {
    pub(crate) env: E,
    pub(crate) shared: Arc<Shared>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) ledger: Arc<Ledger>,
    /// With an object store: what has landed there decides.
    pub(crate) mirror: Option<Arc<Mirror>>,
    /// Which of the ledger's sinks.
    pub(crate) index: usize,
}

impl<E: Env> Committer<E> {
    /// Runs until the engine stops or fails.
    pub(crate) async fn run(self) {
        let clock = self.env.clock();
        let mut failures = 0;
        loop {
            let changed = self.shared.changed();
            if self.over() {
                return;
            }
            if self.mirror.as_ref().is_some_and(|mirror| self.ledger.decide(mirror.epoch())) {
                self.shared.notify();
            }
            if let Some(permit) = self.ledger.next(self.index) {
                if self.commit(permit).await {
                    failures = 0;
                } else {
                    let patience = PATIENCE_MIN.saturating_mul(1 << failures.min(16)).min(PATIENCE_MAX);
                    failures += 1;
                    race(clock.sleep(patience), self.until_over()).await;
                }
                continue;
            }
            if let Some(through) = self.ledger.take_forget(self.index) {
                let forget = self.participant().sink.forget(through);
                if let First::A(Err(error)) = race(forget, self.until_over()).await {
                    tracing::debug!(target: "highwater::sink", sink = %self.participant().name, %error, "not forgotten");
                }
                continue;
            }
            if self.ledger.presses(self.shared.closed()) {
                self.requests.wake();
            }
            changed.await;
        }
    }

    /// Commits what is decided. False when that has to be done again.
    async fn commit(&self, Permit { part, handle }: Permit) -> bool {
        let Participant { name, sink, .. } = self.participant();
        let First::A(outcome) = race(sink.commit(&handle), self.until_over()).await else { return true };
        match (outcome, self.ledger.policy()) {
            (Ok(Commit::Done), _) => {
                tracing::debug!(target: "highwater::sink", sink = %name, epoch = part.epoch.0, core = part.core.0, "published");
                self.ledger.published(self.index, part);
            }
            (Ok(Commit::Lost), LostPolicy::Accept) => {
                tracing::warn!(target: "highwater::sink", sink = %name, %part, "lost, and accepted");
                self.ledger.lost(self.index, part);
            }
            (Ok(Commit::Lost), LostPolicy::Halt) => {
                let what = format!(
                    "sink `{name}` has forgotten what was decided for {part} (\"{}\"): its rows are lost; publish them by hand \
                     and open with Options::on_lost(LostPolicy::Accept), once",
                    handle.escape_ascii()
                );
                self.shared.fail(&Error::new(ErrorCode::SinkForgot, what));
            }
            (Err(error), _) => {
                tracing::warn!(target: "highwater::sink", sink = %name, %part, %error, "commit failed");
                self.ledger.failed(self.index, error.to_string());
                self.shared.notify();
                return false;
            }
        }
        self.shared.notify();
        true
    }

    fn participant(&self) -> &Participant {
        &self.ledger.sinks()[self.index]
    }

    fn over(&self) -> bool {
        self.shared.stopping() || self.shared.failed()
    }

    async fn until_over(&self) {
        self.shared.until(|| self.over().then_some(())).await;
    }
}
