//! Checkpoints beside the running cores: when one is due, and what it allows to delete. Who asks is in `requests`.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use super::pins::Wish;
use super::requests::{CheckpointInfo, Requests};
use super::segments::Supply;
use super::shared::Shared;
use super::sinks::Ledger;
use crate::checkpoint::{CheckpointSpec, Checkpointer, Taken};
use crate::env::{Clock, Env, Spawn, Tick};
use crate::error::ErrorKind;
use crate::forecast::LOG_BYTES_MIN;
use crate::ids::{CoreId, Epoch};
use crate::manifest::store::Head;
use crate::offsite::Mirror;
use crate::race::race;
use crate::sync::atomic::Ordering;

/// Lives that a recovery may have to read before a checkpoint spares it that.
const LIVES_MAX: usize = 8;

/// The shortest wait between two unasked tries.
const PATIENCE_MIN: Duration = Duration::from_millis(100);

/// How often it doubles where tries fail and the cores wait: to 3.2 seconds.
const DOUBLINGS_MAX: u32 = 5;

/// When a checkpoint is due without being asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Triggers {
    pub(crate) interval: Option<Duration>,
    /// Epochs that closed since the last one.
    pub(crate) epochs: Option<u64>,
}

/// The background part that takes checkpoints.
pub(crate) struct Maintenance<E: Env> {
    pub(crate) env: E,
    pub(crate) shared: Arc<Shared>,
    pub(crate) supply: Arc<Supply>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) spec: CheckpointSpec,
    pub(crate) head: Head,
    /// Who brings checkpoints to an object store is told of them here.
    pub(crate) mirror: Option<Arc<Mirror>>,
    /// What the sinks have in doubt.
    pub(crate) ledger: Option<Arc<Ledger>>,
    pub(crate) triggers: Triggers,
}

impl<E: Env> Maintenance<E> {
    /// Runs until the engine stops.
    pub(crate) async fn run(self) {
        let Self { env, shared, supply, requests, spec, head, mirror, ledger, triggers } = self;
        env.spawn().give_way();
        match env.vfs() {
            Ok(vfs) => {
                let clock = env.clock();
                let checkpointer = Checkpointer::new(env, vfs, spec, head);
                let last = clock.now();
                let requests = &requests;
                let (shared, failures) = (&*shared, 0);
                Work {
                    clock,
                    checkpointer,
                    shared,
                    supply,
                    requests,
                    mirror,
                    ledger,
                    triggers,
                    last,
                    failures,
                }
                .run()
                .await;
            }
            Err(error) => {
                tracing::warn!(target: "highwater::engine", %error, "no disk for checkpoints: the logs will grow");
            }
        }
    }
}

struct Work<'a, E: Env> {
    clock: E::Clock,
    checkpointer: Checkpointer<E>,
    shared: &'a Shared,
    supply: Arc<Supply>,
    requests: &'a Requests,
    mirror: Option<Arc<Mirror>>,
    ledger: Option<Arc<Ledger>>,
    triggers: Triggers,
    /// When the last checkpoint was taken or tried.
    last: Tick,
    /// How many failed since the last that was taken.
    failures: u32,
}

impl<E: Env> Work<'_, E> {
    async fn run(mut self) {
        self.expect_next();
        while !self.shared.stopping() {
            let wanted = self.requests.wanted.listen();
            let asked = self.requests.pending();
            if asked.is_some() || self.due() {
                self.checkpoint(asked).await;
                continue;
            }
            if let Some(wish) = self.requests.pins.next() {
                self.grant(&wish).await;
                continue;
            }
            self.checkpointer.follow(self.shared.closed());
            if self.shared.stopping() {
                return;
            }
            let since = self.clock.now().since(self.last);
            // Where one is due but for the patience, nobody else may wake it: the cores may stand still until it is taken.
            let patience = self.is_wanted().then(|| self.patience());
            match patience.into_iter().chain(self.interval()).min() {
                Some(wait) => {
                    let left = wait.saturating_sub(since).max(PATIENCE_MIN);
                    race(wanted, self.clock.sleep(left)).await;
                }
                None => wanted.await,
            }
        }
    }

    /// Whether a checkpoint is due as soon as the last one, or the last try, is a little while ago: because of epochs that have
    /// closed, of the log, of lives, of space, or of sinks.
    fn is_wanted(&self) -> bool {
        let closed = self.shared.closed();
        let requests = self.requests;
        let by_log = requests.is_due(closed)
            || requests.log_is_due()
            || self.checkpointer.lives() > LIVES_MAX
            || self.space_is_due();
        (by_log && closed != self.checkpointer.newest_epoch()) || self.pressed()
    }

    /// Whether space is short, and a checkpoint lets enough of the log go to be worth what it takes itself.
    fn space_is_due(&self) -> bool {
        let log_bytes = self.requests.growth.bytes();
        let worth_it = LOG_BYTES_MIN.min(self.checkpointer.segment_bytes() / 4);
        self.shared.space.is_short() && (self.shared.is_full() || log_bytes >= worth_it)
    }

    /// The wait between a checkpoint, or a try, and the next that is due by anything but time. None where space is
    /// short: the cores fill what was given up.
    fn patience(&self) -> Duration {
        if self.failures == 0 && self.shared.space.is_short() {
            return Duration::ZERO;
        }
        PATIENCE_MIN.saturating_mul(1 << self.failures.min(DOUBLINGS_MAX))
    }

    /// The time from one checkpoint, or try, to the next. What fails is not tried faster because it is wanted often: where space
    /// is short, each try takes it from the logs for a while.
    fn interval(&self) -> Option<Duration> {
        let interval = self.triggers.interval?;
        Some(if self.failures > 0 { interval.max(self.patience()) } else { interval })
    }

    fn expect_next(&self) {
        let Some(epochs) = self.triggers.epochs else { return };
        let due = self.checkpointer.newest_epoch().0.saturating_add(epochs);
        self.requests.epoch_due.store(due, Ordering::Release);
    }

    /// Whether a checkpoint should be taken unasked.
    fn due(&self) -> bool {
        // While what is held back is being given up, there is no space yet; whoever does that wakes this.
        if self.shared.closed() == self.checkpointer.newest_epoch() || self.shared.space.is_asked() {
            return false;
        }
        let since = self.clock.now().since(self.last);
        let by_time = self.interval().is_some_and(|interval| since >= interval);
        by_time || (self.is_wanted() && since >= self.patience())
    }

    /// Whether sinks wait for a decision.
    fn pressed(&self) -> bool {
        self.ledger.as_ref().is_some_and(|ledger| ledger.presses(self.shared.closed()))
    }

    /// Takes a checkpoint, answers those who asked up to the ticket `asked`, and gives up what it made needless.
    async fn checkpoint(&mut self, asked: Option<u64>) {
        let (epoch, through) = self.requests.growth.through(|| self.shared.closed());
        // A list that no manifest is made of would have sinks forget too much.
        let ledger = self.ledger.as_ref().filter(|_| epoch > self.checkpointer.newest_epoch());
        let sinks = ledger.map(|ledger| ledger.list(epoch)).unwrap_or_default();
        let begun = self.clock.now();
        let span = tracing::debug_span!(target: "highwater::engine", "checkpoint", epoch = epoch.0);
        self.checkpointer.set_short(self.shared.space.is_short());
        let last_resort = self.shared.space.is_gone();
        let taken = self.checkpointer.take(epoch, sinks).instrument(span).await;
        self.last = self.clock.now();
        let took = self.last.since(begun);
        self.shared.meters.checkpoint.record(took);
        // Where there was something to give up, the next one is taken as soon as that is done: else the cores fill it first.
        let full = matches!(&taken, Err(error) if error.kind() == ErrorKind::Full);
        let counts = taken.is_err() && (!full || last_resort);
        self.failures = if counts { self.failures.saturating_add(1) } else { 0 };
        let (answer, taken) = match taken {
            Ok(taken) => {
                let info = self.info(epoch, taken.as_ref());
                if taken.is_some() {
                    self.requests.growth.held(through);
                    self.requests.count(Some(info), took);
                }
                (Ok(info), taken)
            }
            Err(error) => {
                if full && self.shared.space.ask() {
                    self.supply.wake();
                }
                tracing::warn!(target: "highwater::engine", %error, "checkpoint failed");
                self.requests.count(None, took);
                (Err(error), None)
            }
        };
        self.expect_next();
        self.requests.landed(self.checkpointer.head_manifest());
        if let (Some(ledger), Some(_)) = (&self.ledger, &taken) {
            ledger.landed(epoch);
            if self.mirror.is_none() {
                ledger.decide(epoch);
            }
            self.shared.notify();
        }
        if let (Some(mirror), Some(_)) = (&self.mirror, &taken) {
            mirror.offer(self.checkpointer.head_manifest());
        }
        if let Some(ticket) = asked {
            self.requests.answer_all(ticket, answer, self.shared);
        }
        if taken.is_none() {
            return;
        }
        let pinned = self.mirror.as_ref().map(|mirror| mirror.pinned()).unwrap_or_default();
        let span = tracing::debug_span!(target: "highwater::engine", "collect", epoch = epoch.0);
        let retired = self.checkpointer.give_up(&pinned).instrument(span).await;
        for (core, retired) in (0..).map(CoreId).zip(retired) {
            self.shared.core(core).counts.log.give_up(&retired);
            self.supply.retire(core, retired);
        }
    }

    /// Sets a pin, or lets one go. What nothing needs behind that goes with the next checkpoint.
    async fn grant(&mut self, wish: &Wish) {
        let granted = self.checkpointer.edit_pins(&wish.edit).await;
        match &granted {
            Ok(epoch) => {
                tracing::debug!(target: "highwater::engine", epoch = epoch.0, wish = ?wish.edit, "pin set or let go");
            }
            Err(error) => {
                tracing::debug!(target: "highwater::engine", %error, wish = ?wish.edit, "pins stay as they are");
            }
        }
        let head = self.checkpointer.head_manifest();
        self.requests.landed(head);
        if let Some(mirror) = &self.mirror {
            mirror.offer(head);
        }
        wish.tell(granted);
        self.shared.notify();
    }

    /// What is told about a checkpoint of `epoch`; `None` was taken if the newest one is of that epoch already.
    fn info(&self, epoch: Epoch, taken: Option<&Taken>) -> CheckpointInfo {
        let manifest = self.checkpointer.head();
        let Some(taken) = taken else {
            return CheckpointInfo { epoch, manifest, ..CheckpointInfo::default() };
        };
        CheckpointInfo {
            epoch,
            manifest: taken.manifest,
            bytes_written: taken.bytes_written,
            files_written: taken.files_written,
            bases_written: taken.bases_written,
            records_read: taken.records_read,
        }
    }
}
