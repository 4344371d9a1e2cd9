//! The parent: starts the job, kills it by the plan, starts it again, and holds it to its word.
//!
//! What it checks
//! 1. A recovery never brings back less than was acknowledged before any kill: neither an earlier epoch nor fewer
//!    events.
//! 2. The planned kills hit: one lands inside a recovery and one inside a checkpoint.
//! 3. At least three recoveries replay records from the logs.
//! 4. In the end another process finds the state of a plain computation, to the last bit.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::plan::{Trigger, plan};
use crate::protocol::{Line, Phase, Recovered};
use crate::{Args, Role};

/// A job that says nothing for so long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How often a kill that came too late for its phase is tried again.
const TRIES_MAX: u32 = 12;

/// How many recoveries must have replayed records, if there are so many kills.
const REPLAYS_MIN: u64 = 3;

/// One life of the job.
#[derive(Debug, Default)]
struct Life {
    /// What it recovered, unless it was killed before it could say so.
    recovered: Option<Recovered>,
    /// Events gone through when it ended.
    events: u64,
    /// The phase that it ended in.
    phase: Option<Phase>,
    killed: bool,
}

/// What was promised so far, over all lives.
#[derive(Debug, Default)]
struct Promised {
    epoch: u64,
    events: u64,
}

/// Runs the whole experiment in `dir`; `false` when the final state is wrong.
pub(crate) fn run(args: &Args, dir: &Path, events: u64) -> Result<bool, Box<dyn Error>> {
    let began = Instant::now();
    let bar = ProgressBar::new(events);
    bar.set_style(ProgressStyle::with_template(
        "{bar:40} {human_pos:>7}/{human_len} events  {per_sec:>16}  {msg}",
    )?);
    println!("seed {}: {} kills over {events} events on {} cores", args.seed, args.kills, args.cores);

    let mut parent = Parent { args, dir, bar, promised: Promised::default(), lives: Vec::new() };
    for trigger in plan(args.seed, args.kills, events) {
        parent.kill_by(trigger)?;
    }
    let last = parent.live(None)?;
    parent.lives.push(last);
    parent.bar.finish_and_clear();

    parent.table();
    parent.check_lives()?;
    let equal = parent.check_state()?;
    println!("took {:.1?} in all", began.elapsed());
    Ok(equal)
}

struct Parent<'a> {
    args: &'a Args,
    dir: &'a Path,
    bar: ProgressBar,
    promised: Promised,
    lives: Vec<Life>,
}

impl Parent<'_> {
    /// Lets the job live until `trigger` has hit. A kill is a race with the job: one that came too late for its phase
    /// counts as what it was, and is tried again with less delay.
    fn kill_by(&mut self, mut trigger: Trigger) -> Result<(), Box<dyn Error>> {
        for _ in 0..TRIES_MAX {
            let life = self.live(Some(trigger))?;
            let hit = trigger.phase.is_none() || life.phase == trigger.phase;
            self.lives.push(life);
            if hit {
                return Ok(());
            }
            trigger.delay /= 2;
        }
        Err(format!("no kill of {TRIES_MAX} fell into the phase that was asked for: {trigger:?}").into())
    }

    /// One life of the job, ended by `trigger` or by its own success.
    fn live(&mut self, trigger: Option<Trigger>) -> Result<Life, Box<dyn Error>> {
        let mut job = Job::start(self.args, self.dir)?;
        let mut life = Life::default();
        let mut done = false;
        // After a kill the pipe still holds what the job said before: it is read to its end.
        loop {
            let line = match job.lines.recv_timeout(SILENCE_MAX) {
                Ok(line) => line?,
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(format!("the job said nothing for {SILENCE_MAX:?}: {life:?}").into());
                }
            };
            self.take(&line, &mut life)?;
            done |= line == Line::Done;
            if !life.killed && trigger.is_some_and(|trigger| is_due(&trigger, &line, life.events)) {
                thread::sleep(trigger.map_or(Duration::ZERO, |trigger| trigger.delay));
                // SIGKILL: no destructor runs, nothing is flushed, the lock goes with the process.
                job.child.kill()?;
                life.killed = true;
            }
        }
        let status = job.child.wait()?;
        match (life.killed, done && status.success(), trigger) {
            (true, _, _) | (false, true, None) => Ok(life),
            (false, true, Some(trigger)) => {
                Err(format!("the job was done before it could be killed: {trigger:?}").into())
            }
            (false, false, _) => Err(format!("the job ended by itself: {status}").into()),
        }
    }

    /// Takes note of what the job said.
    fn take(&mut self, line: &Line, life: &mut Life) -> Result<(), String> {
        match line {
            Line::Begin(phase) => life.phase = Some(*phase),
            Line::End(_) => life.phase = None,
            Line::Recovered(recovered) => {
                let Promised { epoch, events } = self.promised;
                if recovered.epoch < epoch || recovered.events < events {
                    return Err(format!(
                        "LOST: epoch {epoch} with {events} events was acknowledged, and {recovered:?}"
                    ));
                }
                life.recovered = Some(*recovered);
                life.events = recovered.events;
                let took = Duration::from_micros(recovered.took_us);
                self.bar.set_message(format!("life {}, recovered in {took:.1?}", self.lives.len() + 1));
            }
            Line::Report(text) => {
                let life = self.lives.len() + 1;
                self.bar.suspend(|| println!("life {life}: {text}"));
            }
            Line::Progress(events) => {
                life.events = *events;
                self.bar.set_position(*events);
            }
            Line::Acked { epoch, events } => {
                self.promised = Promised {
                    epoch: self.promised.epoch.max(*epoch),
                    events: self.promised.events.max(*events),
                };
            }
            Line::Done => {}
        }
        Ok(())
    }

    fn table(&self) {
        println!("\nlife  recovered epoch   events  replayed      took  ended");
        for (number, life) in (1..).zip(&self.lives) {
            let recovered = life.recovered.map_or_else(
                || format!("{:>15} {:>8} {:>9} {:>9}", "-", "-", "-", "-"),
                |Recovered { epoch, events, replayed, took_us }| {
                    let took = format!("{:.1?}", Duration::from_micros(took_us));
                    format!("{epoch:>15} {events:>8} {replayed:>9} {took:>9}")
                },
            );
            let ended = match (life.killed, life.phase) {
                (false, _) => "done".to_owned(),
                (true, Some(Phase::Recovery)) => "SIGKILL during recovery".to_owned(),
                (true, Some(Phase::Checkpoint)) => format!("SIGKILL during a checkpoint at {}", life.events),
                (true, None) => format!("SIGKILL at {}", life.events),
            };
            println!("{number:>4}  {recovered}  {ended}");
        }
        let Promised { epoch, events } = self.promised;
        println!("acknowledged: epoch {epoch} with {events} events; no recovery brought back less\n");
    }

    /// The experiment showed what it was to show.
    fn check_lives(&self) -> Result<(), String> {
        let kills = self.lives.iter().filter(|life| life.killed).count() as u64;
        let replays = self.lives.iter().filter_map(|life| life.recovered);
        let replays = replays.filter(|recovered| recovered.replayed > 0).count() as u64;
        if kills < self.args.kills || replays < REPLAYS_MIN.min(self.args.kills) {
            return Err(format!("{kills} kills and {replays} recoveries with replayed records are too few"));
        }
        Ok(())
    }

    /// Lets a process that has seen nothing of all this read and compare the state.
    fn check_state(&self) -> Result<bool, Box<dyn Error>> {
        Ok(command(self.args, self.dir, Role::Check)?.status()?.success())
    }
}

/// Whether `line` is what the trigger waits for.
fn is_due(trigger: &Trigger, line: &Line, events: u64) -> bool {
    match (trigger.phase, line) {
        (Some(Phase::Recovery), Line::Begin(Phase::Recovery)) => true,
        (Some(Phase::Checkpoint), Line::Begin(Phase::Checkpoint)) | (None, Line::Progress(_)) => {
            events >= trigger.events_min
        }
        _ => false,
    }
}

/// This program in another role.
fn command(args: &Args, dir: &Path, role: Role) -> Result<Command, Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--cores").arg(args.cores.to_string()).arg("--rate").arg(args.rate.to_string());
    command.arg("--backend").arg(args.backend.name());
    command.arg("--dir").arg(dir).arg("--child").arg(role.name()).stdin(Stdio::null());
    Ok(command)
}

/// The running job. It dies with its handle, so that an error here leaves no process behind.
struct Job {
    child: Child,
    lines: Receiver<Result<Line, String>>,
}

impl Job {
    fn start(args: &Args, dir: &Path) -> Result<Self, Box<dyn Error>> {
        let mut child = command(args, dir, Role::Job)?.stdout(Stdio::piped()).spawn()?;
        let out = child.stdout.take().ok_or("the job has no output")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let line = line.map_err(|error| error.to_string()).and_then(|line| line.parse());
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
