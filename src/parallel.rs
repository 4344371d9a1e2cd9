//! The same work for every core at once: each on a thread of its own, or beside each other on one.

use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use event_listener::Event;

use crate::env::{Env, Spawn};
use crate::error::{Error, ErrorCode, Result};
use crate::sync::unpoisoned;

/// The results that have come in, and the means to wait for the rest.
struct Board<T> {
    results: Mutex<Vec<Option<Result<T>>>>,
    changed: Event,
}

impl<T> Board<T> {
    fn post(&self, index: usize, result: Result<T>) {
        let mut results = unpoisoned(self.results.lock());
        assert!(results[index].replace(result).is_none(), "job {index} answered twice");
        drop(results);
        self.changed.notify(usize::MAX);
    }

    fn take_all(&self) -> Option<Result<Vec<T>>> {
        let mut results = unpoisoned(self.results.lock());
        if results.iter().any(Option::is_none) {
            return None;
        }
        Some(results.drain(..).flatten().collect())
    }
}

/// The place of a job's result, which is filled however the job's thread ends.
struct Place<T> {
    board: Arc<Board<T>>,
    index: usize,
    name: String,
    filled: bool,
}

impl<T> Place<T> {
    fn fill(mut self, result: Result<T>) {
        self.filled = true;
        self.board.post(self.index, result);
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        // One whose thread ends with its process has nobody left to tell.
        if !self.filled && std::thread::panicking() {
            let what = format!("{} panicked: this is a bug; reopen the database", self.name);
            self.board.post(self.index, Err(Error::new(ErrorCode::Panicked, what)));
        }
    }
}

/// Runs every job with a disk of its own and returns their results in order: on threads named `name`, or here when
/// there is only one.
///
/// # Errors
///
/// The error of the first job, in order, that has one; all of them run to their end before.
pub(crate) async fn for_each<E, T, F, Fut>(env: &E, name: &str, jobs: Vec<F>) -> Result<Vec<T>>
where
    E: Env,
    T: Send + 'static,
    F: FnOnce(E::Vfs) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T>> + 'static,
{
    let count = jobs.len();
    let board =
        Arc::new(Board { results: Mutex::new((0..count).map(|_| None).collect()), changed: Event::new() });
    for (index, job) in jobs.into_iter().enumerate() {
        if count == 1 {
            board.post(index, run(env.clone(), job).await);
            break;
        }
        let (env_of_job, name) = (env.clone(), format!("{name}-{index}"));
        let place = Place { board: Arc::clone(&board), index, name: name.clone(), filled: false };
        let started = env.spawn().spawn(&name, move || async move {
            place.fill(run(env_of_job, job).await);
        });
        if let Err(error) = started {
            let what = format!("starting the thread {name}: {error}; free some and try again");
            board.post(index, Err(Error::new(ErrorCode::ThreadRefused, what)));
        }
    }
    loop {
        let changed = board.changed.listen();
        if let Some(results) = board.take_all() {
            return results;
        }
        changed.await;
    }
}

async fn run<E: Env, T, Fut: Future<Output = Result<T>>>(
    env: E,
    job: impl FnOnce(E::Vfs) -> Fut,
) -> Result<T> {
    let vfs = env.vfs().map_err(|error| {
        Error::new(ErrorCode::DiskNotOpened, format!("opening the disk on a thread of its own: {error}"))
    })?;
    job(vfs).await
}

/// Runs the futures beside each other, on the calling thread, and returns their results in order.
pub(crate) async fn beside<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (Some(Box::pin(future)), None)).collect();
    poll_fn(|context| {
        for (future, result) in &mut running {
            if let Some(Poll::Ready(value)) = future.as_mut().map(|future| future.as_mut().poll(context)) {
                (*future, *result) = (None, Some(value));
            }
        }
        if running.iter().all(|(_, result)| result.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{Blocking, StdEnv};

    /// A thread that ended without an answer was waited for.
    #[test]
    fn a_job_that_panics_is_an_error() {
        let jobs = (0..3).map(|index| {
            move |_| async move {
                assert!(index != 1, "the second job panics");
                Ok(index)
            }
        });
        let error = StdEnv.block_on(for_each(&StdEnv, "job", jobs.collect())).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Panicked, "{error}");
    }
}
