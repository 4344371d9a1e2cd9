//! The job: every departure becomes a row of the sink, on the core that owns its key, and is counted in the state.

use std::error::Error;
use std::path::Path;
use std::process;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use highwater::sink::Sink;
use highwater::{CoreHandle, CoreId, Engine, Epoch, EpochMark, ErrorKind, Offset, Opened, Options};

use crate::source::{Flight, Flights};
use crate::watched::{Phase, Watch, Watched};

/// Events between two barriers.
pub(crate) const EPOCH_EVENTS: usize = 2_000;

/// Epochs between two checkpoints: what is published is published then.
const PUBLISH_EPOCHS: u64 = 4;

const CORES: u16 = 2;

const SOURCE: &str = "departures";

/// Where a core writes its rows.
pub(crate) type Write<'a> = &'a (dyn Fn(CoreId, &[u8]) + Sync);

/// The database of the job.
fn options(dir: &Path) -> Options {
    Options::new(dir)
        .cores(CORES)
        .segment_bytes(1 << 20)
        .batch_bytes(64 << 10)
        .queue_bytes(1 << 20)
        // Checkpoints are asked for, so that every run is alike.
        .checkpoint_interval(None)
}

/// A row as COPY takes it: the number of the departure, from 1, and what it was.
pub(crate) fn row(flights: &Flights, number: usize) -> String {
    let flight = &flights.rows[number - 1];
    let [carrier, origin, dest] = [
        (&flights.carriers, flight.carrier),
        (&flights.origins, flight.origin),
        (&flights.dests, flight.dest),
    ]
    .map(|(names, place)| &names[usize::from(place)]);
    format!("{number}\t{}\t{carrier}\t{origin}\t{dest}\n", flight.minute)
}

/// Goes through all departures, from where the last life got to.
///
/// # Errors
///
/// What the engine or the sink says.
pub(crate) fn run(
    dir: &Path,
    sink: impl Sink,
    write: Write<'_>,
    watch: &Watch,
) -> Result<(), Box<dyn Error>> {
    let flights = Flights::load()?;
    let options = options(dir).sink("departures", Watched { sink, watch: watch.clone() });
    let Opened { engine, mut cores, report } = Engine::open(options)?;
    let start = match report.offsets.get(&(CoreId(0), SOURCE.to_owned())) {
        Some(Offset::Number(events)) => usize::try_from(*events)?,
        _ => 0,
    };
    println!("life {} {}", report.epoch, start);
    let (asked, requests) = mpsc::sync_channel(1);
    thread::scope(|scope| {
        for core in &mut cores {
            let worker = Worker { engine: &engine, flights: &flights, write, watch, asked: asked.clone() };
            scope.spawn(move || worker.run(core, start).unwrap_or_else(|error| give_up(&*error)));
        }
        drop(asked);
        // Publishing goes on beside the running cores.
        for epoch in requests {
            publish(&engine, epoch, watch).unwrap_or_else(|error| give_up(&error));
        }
    });
    publish(&engine, engine.durable_epoch(), watch)?;
    engine.close(cores)?;
    println!("done");
    Ok(())
}

/// The cores close epochs together: when one cannot go on, none can.
fn give_up(error: &dyn Error) -> ! {
    eprintln!("the job cannot go on: {error}");
    process::exit(1);
}

fn publish(engine: &Engine, epoch: Epoch, watch: &Watch) -> Result<(), highwater::Error> {
    engine.wait_durable(epoch)?;
    watch.at(Phase::Deciding);
    loop {
        match engine.wait_published(epoch) {
            Err(error) if error.kind() == ErrorKind::Busy => {}
            outcome => {
                outcome?;
                watch.at(Phase::Published);
                return Ok(());
            }
        }
    }
}

struct Worker<'a> {
    engine: &'a Engine,
    flights: &'a Flights,
    write: Write<'a>,
    watch: &'a Watch,
    asked: SyncSender<Epoch>,
}

impl Worker<'_> {
    fn run(&self, core: &mut CoreHandle, start: usize) -> Result<(), Box<dyn Error>> {
        let mut events = start;
        for batch in self.flights.rows[start..].chunks(EPOCH_EVENTS) {
            for flight in batch {
                events += 1;
                self.take(core, flight, events)?;
            }
            let mark = EpochMark::new().offset(SOURCE, events as u64);
            let epoch = accepted(core, |core| core.close_epoch(mark.clone()))?;
            self.watch.at(Phase::Ended);
            if core.id() == CoreId(0) {
                self.engine.wait_durable(epoch)?;
                self.watch.at(Phase::Durable);
                if epoch.0.is_multiple_of(PUBLISH_EPOCHS) {
                    // With one under way already, the next is soon enough.
                    let _ = self.asked.try_send(epoch);
                }
            }
        }
        Ok(())
    }

    /// Counts the departure `number`, and gives it to the sink, if it is this core's.
    fn take(&self, core: &mut CoreHandle, flight: &Flight, number: usize) -> Result<(), highwater::Error> {
        let key = &self.flights.tails[usize::from(flight.tail)];
        let key = if key.is_empty() { "unknown" } else { key }.as_bytes();
        if self.engine.core_of(key) != core.id() {
            return Ok(());
        }
        let count = core.get(key)?.and_then(|value| Some(u64::from_le_bytes(value[..].try_into().ok()?)));
        let count = count.unwrap_or(0) + 1;
        accepted(core, |core| core.put(key, &count.to_le_bytes()))?;
        (self.write)(core.id(), row(self.flights, number).as_bytes());
        Ok(())
    }
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
