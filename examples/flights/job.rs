//! The job itself, in a process of its own: what a user of the engine writes.
//!
//! Every core goes through the same sequence of events and counts those in whose keys it owns. So the offset in a
//! core's epoch mark, the number of events gone through, is the same on all cores, and after a crash all of them go on
//! from there. Nothing is kept between two events but the state in the engine.

use std::error::Error;
use std::path::Path;
use std::process;
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use highwater::{CoreHandle, Engine, Epoch, EpochMark, ErrorKind, Offset, Opened, Options, RecoveryReport};

use crate::aggregate::{Aggregate, KINDS, key_of};
use crate::protocol::{Line, Phase, Recovered};
use crate::source::{Flight, Flights};

/// The name of the source in the epoch marks.
const SOURCE: &str = "flights";

/// Events from one epoch mark to the next.
const EPOCH_EVENTS: usize = 250;

/// How many epochs the cores run ahead of what is durable.
const LAG_EPOCHS: u64 = 4;

/// Epochs from one checkpoint that the job asks for to the next; the engine takes others by itself.
const CHECKPOINT_EPOCHS: u64 = 160;

/// How the database is opened, by the job and by everybody who looks at it later.
pub(crate) fn options(dir: &Path, cores: u16) -> Options {
    Options::new(dir)
        .cores(cores)
        .segment_bytes(4 << 20)
        .checkpoint_wal_bytes(16 << 20)
        .checkpoint_interval(Some(Duration::from_secs(2)))
}

/// Runs the job from wherever it was to its end.
///
/// The source delivers `rate` events per second, or as many as the job takes if that is zero.
pub(crate) fn run(options: Options, rate: u32) -> Result<(), Box<dyn Error>> {
    let flights = Flights::load()?;

    Line::Begin(Phase::Recovery).send()?;
    let Opened { engine, mut cores, report } = Engine::open(options)?;
    let start = resume_at(&report, &cores, &flights)?;
    let recovered = Recovered {
        epoch: report.epoch.0,
        events: start as u64,
        replayed: report.replayed_records,
        took_us: u64::try_from(report.took.as_micros())?,
    };
    Line::Recovered(recovered).send()?;
    Line::Report(report.to_string()).send()?;
    Line::End(Phase::Recovery).send()?;

    let (checkpoints, requests) = mpsc::sync_channel(1);
    thread::scope(|scope| {
        for core in &mut cores {
            let worker =
                Worker { engine: &engine, flights: &flights, checkpoints: checkpoints.clone(), rate };
            scope.spawn(move || worker.run(core, start).unwrap_or_else(|error| give_up(&*error)));
        }
        drop(checkpoints);
        // A checkpoint is taken beside the running cores.
        for () in requests {
            checkpoint(&engine).unwrap_or_else(|error| give_up(&*error));
        }
    });
    engine.close(cores)?;
    Ok(Line::Done.send()?)
}

/// The cores close epochs together: when one cannot go on, none can. A restart recovers the last closed epoch.
fn give_up(error: &dyn Error) -> ! {
    eprintln!("the job cannot go on: {error}");
    process::exit(1);
}

fn checkpoint(engine: &Engine) -> Result<(), Box<dyn Error>> {
    Line::Begin(Phase::Checkpoint).send()?;
    let info = engine.checkpoint()?;
    assert!(info.epoch <= engine.durable_epoch(), "a checkpoint holds closed epochs only");
    Ok(Line::End(Phase::Checkpoint).send()?)
}

/// The event to go on from, as the epoch marks have it; the cores must agree.
fn resume_at(
    report: &RecoveryReport,
    cores: &[CoreHandle],
    flights: &Flights,
) -> Result<usize, Box<dyn Error>> {
    let mut starts = Vec::new();
    for core in cores {
        let start = match report.offsets.get(&(core.id(), SOURCE.to_owned())) {
            Some(Offset::Number(events)) => usize::try_from(*events)?,
            Some(Offset::Opaque(_)) => return Err("the offset is not a number".into()),
            None => 0,
        };
        starts.push(start);
    }
    let start = starts[0];
    if starts.iter().any(|other| *other != start) || start > flights.rows.len() {
        return Err(format!("the cores do not agree on where to go on: {starts:?}").into());
    }
    let watermark = (report.epoch > Epoch(0)).then(|| watermark_at(flights, start));
    if report.watermark != watermark {
        return Err(format!("the watermark is {:?} and was {watermark:?}", report.watermark).into());
    }
    Ok(start)
}

/// Event time after the first `events` events: no later one is scheduled before.
fn watermark_at(flights: &Flights, events: usize) -> i64 {
    flights.rows.get(events).or(flights.rows.last()).map_or(0, |flight| i64::from(flight.minute))
}

/// What a core's thread works with.
struct Worker<'a> {
    engine: &'a Engine,
    flights: &'a Flights,
    checkpoints: SyncSender<()>,
    rate: u32,
}

impl Worker<'_> {
    /// Counts the events from `start` on.
    fn run(&self, core: &mut CoreHandle, start: usize) -> Result<(), Box<dyn Error>> {
        let began = Instant::now();
        let mut events = start;
        // Ended epochs that are not known to be durable, each with the events that it holds.
        let mut waiting: Vec<(Epoch, usize)> = Vec::new();
        for batch in self.flights.rows[start..].chunks(EPOCH_EVENTS) {
            self.arrive(began, events - start);
            for flight in batch {
                self.count(core, flight)?;
            }
            events += batch.len();
            let mark =
                EpochMark::new().offset(SOURCE, events as u64).watermark(watermark_at(self.flights, events));
            let epoch = accepted(core, |core| core.close_epoch(mark.clone()))?;
            waiting.push((epoch, events));
            if waiting.len() as u64 > LAG_EPOCHS {
                self.wait(core, waiting.remove(0))?;
            }
            if is_first(core) {
                Line::Progress(events as u64).send()?;
                if epoch.0.is_multiple_of(CHECKPOINT_EPOCHS) {
                    // With one under way already, the next is soon enough.
                    let _ = self.checkpoints.try_send(());
                }
            }
        }
        waiting.into_iter().try_for_each(|ended| self.wait(core, ended))
    }

    /// Waits until the source has delivered `events` events since `began`.
    fn arrive(&self, began: Instant, events: usize) {
        if self.rate > 0 {
            let due = Duration::from_micros(events as u64 * 1_000_000 / u64::from(self.rate));
            thread::sleep(due.saturating_sub(began.elapsed()));
        }
    }

    /// Counts `flight` in those of its keys that this core owns.
    fn count(&self, core: &mut CoreHandle, flight: &Flight) -> Result<(), highwater::Error> {
        let mut key = Vec::with_capacity(32);
        for kind in 0..KINDS.len() {
            key_of(kind, flight, self.flights, &mut key);
            if self.engine.core_of(&key) != core.id() {
                continue;
            }
            let mut aggregate = match core.get(&key)? {
                Some(value) => Aggregate::decode(&value).unwrap_or_else(|| panic!("a value of another size")),
                None => Aggregate::EMPTY,
            };
            aggregate.add(flight);
            let value = aggregate.encode();
            accepted(core, |core| core.put(&key, &value))?;
        }
        Ok(())
    }

    /// Waits until the epoch is closed, and promises it to the parent.
    fn wait(&self, core: &CoreHandle, (epoch, events): (Epoch, usize)) -> Result<(), Box<dyn Error>> {
        self.engine.wait_durable(epoch)?;
        if is_first(core) {
            Line::Acked { epoch: epoch.0, events: events as u64 }.send()?;
        }
        Ok(())
    }
}

/// One core reports for all.
fn is_first(core: &CoreHandle) -> bool {
    core.id().index() == 0
}

/// Repeats `call` until the core accepts it: `Busy` is the engine's way to slow a source down.
fn accepted<T>(
    core: &mut CoreHandle,
    mut call: impl FnMut(&mut CoreHandle) -> Result<T, highwater::Error>,
) -> Result<T, highwater::Error> {
    loop {
        match call(core) {
            Err(error) if error.kind() == ErrorKind::Busy => core.ready().wait()?,
            outcome => return outcome,
        }
    }
}
