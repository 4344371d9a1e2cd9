//! What lies between a [`Pipeline`](super::Pipeline) and the drive of its log, who may be on different threads.
//!
//! 1. taken ≥ written ≥ durable, and none of them falls.
//! 2. Whoever waits is woken when what it waits for has come, and not for every step on the way.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use crate::env::Env;
use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::ids::{Epoch, Lsn};
use crate::sync::unpoisoned;
use crate::wal::batch::{Batch, Pool};
use crate::wal::core_wal::Writer;
use crate::wal::feed::Queue;
use crate::wal::log::Feed;

/// What somebody waits for.
#[derive(Clone)]
pub(super) enum Awaited {
    Written(Lsn),
    Durable(Lsn),
    /// A batch of the pool.
    Room(Arc<Pool>),
    /// The drive's.
    End,
}

/// The tray. The caller puts batches down, the drive takes them.
pub(super) struct Tray<E: Env>(Mutex<State<E>>);

struct State<E: Env> {
    batches: VecDeque<Batch>,
    /// Through which record the caller has put batches down, and wants them durable.
    put: Lsn,
    demanded: Lsn,
    closed_through: Epoch,
    written: Lsn,
    durable: Lsn,
    /// The drive is to end when the batches are done.
    ending: bool,
    /// The drive found no space and waits to be told to try again.
    full: Option<Error>,
    /// How the drive ended.
    outcome: Option<Result<()>>,
    /// Given back at its end.
    writer: Option<Box<Writer<E>>>,
    driver: Option<Waker>,
    waiter: Option<(Awaited, Waker)>,
}

impl<E: Env> State<E> {
    fn has_come(&self, awaited: &Awaited) -> bool {
        match awaited {
            Awaited::Written(lsn) => self.written >= *lsn,
            Awaited::Durable(lsn) => self.durable >= *lsn,
            Awaited::Room(pool) => pool.has_room(),
            Awaited::End => self.outcome.is_some(),
        }
    }

    /// What a waiter is told; `None` while it waits.
    fn answer(&self, awaited: &Awaited) -> Option<Result<()>> {
        if self.has_come(awaited) {
            return Some(match (awaited, &self.outcome) {
                (Awaited::End, Some(Err(error))) => Err(error.duplicate()),
                _ => Ok(()),
            });
        }
        match (&self.outcome, &self.full) {
            (Some(Err(error)), _) | (None, Some(error)) => Some(Err(error.duplicate())),
            (Some(Ok(())), _) => Some(Err(given_up())),
            (None, None) => None,
        }
    }

    /// The waker of the waiter, if there is an answer for it.
    fn due(&mut self) -> Option<Waker> {
        let answered = self.waiter.as_ref().is_some_and(|(awaited, _)| self.answer(awaited).is_some());
        if answered { self.waiter.take().map(|(_, waker)| waker) } else { None }
    }
}

fn given_up() -> Error {
    let what = "the pipeline was given up while writes were under way: reopen the log";
    Error::new(ErrorCode::PipelineDropped, what)
}

impl<E: Env> Tray<E> {
    /// For a log in which everything through `durable` is durable, and which has taken everything through `taken`;
    /// `queue` holds what an earlier sync left behind that.
    pub(super) fn new(queue: Queue, durable: Lsn, taken: Lsn) -> Self {
        let (batches, closed_through) = queue.into_parts();
        let put = batches.back().map_or(taken, |batch| Lsn(batch.next_lsn().0 - 1));
        Self(Mutex::new(State {
            batches,
            put,
            demanded: put,
            closed_through,
            written: durable,
            durable,
            ending: false,
            full: None,
            outcome: None,
            writer: None,
            driver: None,
            waiter: None,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State<E>> {
        unpoisoned(self.0.lock())
    }

    /// Changes the state as the caller, and wakes the drive.
    fn as_caller(&self, change: impl FnOnce(&mut State<E>)) {
        let driver = {
            let mut state = self.state();
            change(&mut state);
            state.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// Changes the state as the drive, and wakes the caller if it waits for that.
    fn as_drive(&self, change: impl FnOnce(&mut State<E>)) {
        let waiter = {
            let mut state = self.state();
            change(&mut state);
            state.due()
        };
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    pub(super) fn push(&self, batch: Batch) {
        self.as_caller(|state| state.push(batch));
    }

    /// Durability is wanted through `lsn`, which ends in `batch` if there is one.
    pub(super) fn demand(&self, lsn: Lsn, batch: Option<Batch>) {
        self.as_caller(|state| {
            if let Some(batch) = batch.filter(|batch| !batch.is_empty()) {
                state.push(batch);
            }
            state.demanded = state.demanded.max(lsn);
        });
    }

    /// What the drive could not do for lack of space is to be tried again.
    pub(super) fn retry(&self) {
        if self.state().full.is_some() {
            self.as_caller(|state| state.full = None);
        }
    }

    pub(super) fn end(&self) {
        self.as_caller(|state| state.ending = true);
    }

    /// # Errors
    ///
    /// The failure of the drive, if it has ended with one; `Failed` if it has ended at all.
    pub(super) fn check(&self) -> Result<()> {
        match &self.state().outcome {
            None => Ok(()),
            Some(Err(error)) => Err(error.duplicate()),
            Some(Ok(())) => Err(given_up()),
        }
    }

    /// Nothing more is written: whoever asks is told `error`. For a log that was taken back and goes on no further.
    pub(super) fn fail(&self, error: Error) {
        self.as_drive(|state| state.outcome = Some(Err(error)));
    }

    /// Whether the disk has nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state();
        state.written == state.put && (state.durable == state.put || state.demanded <= state.durable)
    }

    pub(super) fn written(&self) -> Lsn {
        self.state().written
    }

    pub(super) fn durable(&self) -> Lsn {
        self.state().durable
    }

    pub(super) fn poll(&self, awaited: &Awaited, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.state();
        if let Some(answer) = state.answer(awaited) {
            state.waiter = None;
            return Poll::Ready(answer);
        }
        state.waiter = Some((awaited.clone(), context.waker().clone()));
        Poll::Pending
    }

    /// What is left when the drive has ended: the log, and batches that it did not take. From then on nothing more is
    /// written by this tray, and whoever asks is told so.
    ///
    /// # Errors
    ///
    /// `Failed` when the log was taken before.
    pub(super) fn take(&self) -> Result<(Box<Writer<E>>, Queue)> {
        let mut state = self.state();
        let writer = state.writer.take().ok_or_else(given_up)?;
        state.outcome = Some(Err(given_up()));
        let batches = std::mem::take(&mut state.batches);
        Ok((writer, Queue::of(batches, state.closed_through, state.durable)))
    }
}

impl<E: Env> State<E> {
    fn push(&mut self, batch: Batch) {
        assert_eq!(batch.first_lsn(), self.put.next(), "a batch out of order");
        self.put = Lsn(batch.next_lsn().0 - 1);
        self.batches.push_back(batch);
    }
}

/// The drive's side of a tray. Dropped before its end, it says that the log is lost.
struct TrayFeed<E: Env>(Arc<Tray<E>>);

impl<E: Env> TrayFeed<E> {
    /// Waits until the caller wants what there was no space for to be tried again.
    async fn until_retry(&mut self, error: Error) {
        self.0.as_drive(|state| state.full = Some(error));
        poll_fn(|context| {
            let mut state = self.0.state();
            if state.full.is_none() || state.ending {
                state.full = None;
                return Poll::Ready(());
            }
            state.driver = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl<E: Env> Drop for TrayFeed<E> {
    fn drop(&mut self) {
        self.0.as_drive(|state| {
            state.outcome.get_or_insert_with(|| Err(given_up()));
        });
    }
}

impl<E: Env> Feed for TrayFeed<E> {
    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Option<Batch>> {
        let mut state = self.0.state();
        let batch = state.batches.pop_front();
        if batch.is_some() || state.ending {
            return Poll::Ready(batch);
        }
        match &mut state.driver {
            Some(driver) => driver.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    fn try_batch(&mut self) -> Option<Batch> {
        self.0.state().batches.pop_front()
    }

    fn closed_through(&self) -> Epoch {
        self.0.state().closed_through
    }

    fn demanded(&self) -> Lsn {
        self.0.state().demanded
    }

    fn written(&mut self, lsn: Lsn) {
        self.0.as_drive(|state| {
            assert!(state.written < lsn && lsn <= state.put, "written {lsn} after {}", state.written);
            state.written = lsn;
        });
    }

    fn durable(&mut self, lsn: Lsn, epochs: &[(Epoch, Lsn)]) {
        self.0.as_drive(|state| {
            assert!(state.durable < lsn && lsn <= state.put, "durable {lsn} after {}", state.durable);
            state.durable = lsn;
            // With one core an epoch is closed as soon as its end is durable.
            if let Some((epoch, _)) = epochs.last() {
                state.closed_through = state.closed_through.max(*epoch);
            }
        });
    }
}

/// Writes what is put into `tray` until it is to end, and gives the log back there.
pub(super) async fn drive<E: Env>(mut writer: Box<Writer<E>>, tray: Arc<Tray<E>>) {
    let mut feed = TrayFeed(Arc::clone(&tray));
    let outcome = loop {
        match writer.log.stream(&mut feed, &mut writer.numbers).await {
            Err(error) if error.kind() == ErrorKind::Full && !tray.state().ending => {
                feed.until_retry(error).await;
            }
            outcome => break outcome,
        }
    };
    tray.as_drive(|state| {
        state.writer = Some(writer);
        state.outcome = Some(outcome);
    });
}
