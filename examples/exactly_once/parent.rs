//! The parent: starts the job, kills it where it stops, starts it again.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::watched::{Phase, Stop};

/// A job that says nothing for so long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Killed {
    /// Kills, by phase.
    pub(crate) kills: BTreeMap<Phase, u64>,
    /// What the lives said of themselves.
    pub(crate) lives: Vec<String>,
}

/// Kills at every phase, twice at least. What is to be aborted has to be left behind first: a kill in an abort comes behind
/// one that left something in doubt.
pub(crate) fn plan() -> Vec<Stop> {
    let mut plan = Vec::new();
    for count in [1, 2] {
        for phase in Phase::ALL {
            if matches!(phase, Phase::BeforeAbort | Phase::AfterAbort) {
                plan.push(Stop { phase: Phase::AfterPreCommit, count });
            }
            let count = if matches!(phase, Phase::Recovering | Phase::Listed) { 1 } else { count };
            // An open has one thing to abort, and no more.
            let count = if matches!(phase, Phase::BeforeAbort | Phase::AfterAbort) { 1 } else { count };
            plan.push(Stop { phase, count });
        }
    }
    plan
}

/// Runs the job that `command` makes, kills it at every stop of `plan`, and lets it end in the last life.
///
/// # Errors
///
/// When a life ends by itself, hangs, or comes to its end before it has come to its stop.
pub(crate) fn run(
    plan: &[Stop],
    command: impl Fn(Option<Stop>) -> Command,
) -> Result<Killed, Box<dyn Error>> {
    let mut killed = Killed::default();
    for stop in plan {
        life(command(Some(*stop)), Some(*stop), &mut killed)?;
        *killed.kills.entry(stop.phase).or_default() += 1;
    }
    life(command(None), None, &mut killed)?;
    Ok(killed)
}

fn life(mut command: Command, stop: Option<Stop>, killed: &mut Killed) -> Result<(), Box<dyn Error>> {
    let mut job = Job(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
    let out = job.0.stdout.take().ok_or("the job has no output")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let awaited = stop.map(|stop| format!("at {}", stop.to_word()));
    let mut done = false;
    loop {
        match lines.recv_timeout(SILENCE_MAX) {
            Ok(line) if Some(&line) == awaited.as_ref() => {
                // SIGKILL: no destructor runs, nothing is flushed, the lock goes with the process.
                job.0.kill()?;
                job.0.wait()?;
                return Ok(());
            }
            Ok(line) => {
                done |= line == "done";
                if let Some(life) = line.strip_prefix("life ") {
                    killed.lives.push(life.to_owned());
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!("the job is silent on its way to {stop:?}").into());
            }
        }
    }
    let status = job.0.wait()?;
    match (stop, done && status.success()) {
        (None, true) => Ok(()),
        (Some(stop), true) => Err(format!("the job was done before it came to {stop:?}").into()),
        (_, false) => Err(format!("the job ended by itself on its way to {stop:?}: {status}").into()),
    }
}

/// The running job. It dies with its handle, so that an error here leaves no process behind.
struct Job(Child);

impl Drop for Job {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
