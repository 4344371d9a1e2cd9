//! A stream job on several threads, killed in the middle: `cargo run --release --example pipeline`.
//!
//! ```text
//! source ─┬─► by key ─► core 0: balances of its accounts ─┐
//!         └─► by key ─► core 1                            ├─► epoch durable ─► sink
//!   ▲        request_epoch: each core ends its epoch       │
//!   └──────────── offsets of each core, after a crash ─────┘
//! ```
//!
//! The source draws transfers from a formula and sends each to the core that owns its account. Every few thousand it
//! asks for an epoch; each core ends its own as soon as it sees that, with the number of the last transfer that it has
//! done. The sink hears of an epoch when it is durable on all cores. A first process is killed; the second reads what
//! the last durable epoch holds, sends to each core again what came after that core's offset, and ends with the balances
//! that a run without a crash has.
#![expect(clippy::print_stdout, reason = "what the example shows")]
#![expect(clippy::cast_precision_loss, reason = "a figure for people")]
#![expect(clippy::disallowed_methods, reason = "a program has threads and a clock of its own")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Instant;

use highwater::env::pin_thread;
use highwater::{CoreHandle, Engine, Epoch, EpochMark, ErrorKind, Offset, Opened, Options};

type Failure = Box<dyn Error + Send + Sync>;
type Result<T> = std::result::Result<T, Failure>;

const CORES: u16 = 2;
const ACCOUNTS: u64 = 50_000;
const TRANSFERS: u64 = 1_000_000;
const TRANSFERS_PER_EPOCH: u64 = 20_000;
const BATCH: usize = 256;
/// Batches on their way to a core.
const BATCHES: usize = 16;
/// The name of the source, under which cores keep how far they have read it.
const SOURCE: &str = "transfers";

/// `amount` for an account.
#[derive(Clone, Copy)]
struct Transfer {
    number: u64,
    account: u64,
    amount: u64,
}

impl Transfer {
    fn new(number: u64) -> Self {
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Self { number, account: (mixed >> 20) % ACCOUNTS, amount: mixed % 1_000 }
    }

    fn key(self) -> [u8; 8] {
        self.account.to_le_bytes()
    }
}

/// What a core is sent: transfers in order, and how far the source has come with them.
struct Batch {
    transfers: Vec<Transfer>,
    through: u64,
}

fn options(dir: &Path) -> Options {
    Options::new(dir).cores(CORES).ordered_index(true)
}

/// Adds the transfers of a batch to the balances: one call reads them, one writes them.
fn apply(core: &mut CoreHandle, transfers: &[Transfer]) -> Result<()> {
    let mut sums = BTreeMap::<[u8; 8], u64>::new();
    for transfer in transfers {
        *sums.entry(transfer.key()).or_default() += transfer.amount;
    }
    for (sum, balance) in sums.values_mut().zip(core.get_many(transfers_keys(transfers))) {
        if let Some(balance) = balance? {
            *sum += u64::from_le_bytes(balance.as_ref().try_into()?);
        }
    }
    let entries: Vec<_> = sums.into_iter().map(|(key, sum)| (key, sum.to_le_bytes())).collect();
    let mut rest = &entries[..];
    while let Err(failed) = core.put_many(rest) {
        if failed.error.kind() != ErrorKind::Busy {
            return Err(failed.into());
        }
        rest = &rest[failed.applied..];
        core.ready().wait()?;
    }
    Ok(())
}

/// The keys of a batch, each once and in order.
fn transfers_keys(transfers: &[Transfer]) -> Vec<[u8; 8]> {
    let mut keys: Vec<_> = transfers.iter().map(|transfer| transfer.key()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// A core: works on what it is sent, and ends its epoch when somebody asks for that.
fn work(mut core: CoreHandle, batches: &Receiver<Batch>) -> Result<CoreHandle> {
    if let Err(error) = pin_thread(core.id().index()) {
        println!("core {} goes where the system puts it: {error}", core.id());
    }
    let mut through = 0;
    for batch in batches {
        apply(&mut core, &batch.transfers)?;
        through = batch.through;
        while core.epoch_requested().is_some() {
            end_epoch(&mut core, through)?;
        }
    }
    // All cores have ended what was requested, and nothing else: this is one and the same epoch.
    end_epoch(&mut core, through)?;
    Ok(core)
}

fn end_epoch(core: &mut CoreHandle, through: u64) -> Result<()> {
    loop {
        match core.close_epoch(EpochMark::new().offset(SOURCE, through)) {
            Err(error) if error.kind() == ErrorKind::Busy => core.ready().wait()?,
            ended => {
                ended?;
                return Ok(());
            }
        }
    }
}

/// Sends every core what it has not done yet, and asks for epochs. Whoever hears of them waits until they are durable.
fn feed(
    engine: &Engine,
    cores: &[SyncSender<Batch>],
    done: &[u64],
    epochs: &Sender<Epoch>,
    transfers: u64,
) -> Result<()> {
    let mut batches: Vec<Vec<Transfer>> = vec![Vec::with_capacity(BATCH); cores.len()];
    let send = |core: usize, batches: &mut Vec<Vec<Transfer>>, through: u64| {
        let transfers = std::mem::replace(&mut batches[core], Vec::with_capacity(BATCH));
        cores[core].send(Batch { transfers, through }).map_err(|_| "a core has stopped")
    };
    let first = done.iter().min().copied().unwrap_or(0) + 1;
    for number in first..=transfers {
        let transfer = Transfer::new(number);
        let core = engine.core_of(&transfer.key()).index();
        if transfer.number > done[core] {
            batches[core].push(transfer);
            if batches[core].len() == BATCH {
                send(core, &mut batches, number)?;
            }
        }
        if number % TRANSFERS_PER_EPOCH == 0 || number == transfers {
            // All cores are sent what they have to do, so that their offsets are this number; or later, if they are
            // slow and see the request with the next batch.
            epochs.send(engine.request_epoch()).map_err(|_| "the sink has stopped")?;
            (0..cores.len()).try_for_each(|core| send(core, &mut batches, number.max(done[core])))?;
        }
    }
    Ok(())
}

/// The sink: says which epochs are durable. What it publishes is never taken back.
fn publish(engine: &Engine, epochs: &Receiver<Epoch>) -> Result<()> {
    for epoch in epochs {
        engine.wait_durable(epoch)?;
        println!("epoch {epoch} is durable");
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// Runs the job until its end, from wherever it stands.
fn run(dir: &Path) -> Result<()> {
    let Opened { engine, cores, report } = Engine::open(options(dir))?;
    let offset = |core: &CoreHandle| match report.offsets.get(&(core.id(), SOURCE.to_owned())) {
        Some(Offset::Number(number)) => *number,
        _ => 0,
    };
    let done: Vec<u64> = cores.iter().map(offset).collect();
    println!("recovered epoch {}; the cores have done {done:?} of {TRANSFERS} transfers", report.epoch);
    let start = Instant::now();
    let ended = thread::scope(|threads| {
        let (mut senders, mut workers) = (Vec::new(), Vec::new());
        for core in cores {
            let (sender, batches) = sync_channel(BATCHES);
            senders.push(sender);
            workers.push(threads.spawn(move || work(core, &batches)));
        }
        let (epochs, asked) = channel();
        let sink = threads.spawn(|| publish(&engine, &{ asked }));
        let fed = feed(&engine, &senders, &done, &epochs, TRANSFERS);
        drop((senders, epochs));
        let panicked = |_| Failure::from("a thread panicked");
        let cores: Result<Vec<_>> =
            workers.into_iter().map(|worker| worker.join().map_err(panicked)?).collect();
        sink.join().map_err(panicked)??;
        fed.and(cores)
    });
    let cores = ended?;
    engine.wait_durable(Epoch(cores[0].open_epoch().0 - 1))?;
    let left = TRANSFERS - done.iter().min().copied().unwrap_or(0);
    let took = start.elapsed().as_secs_f64();
    println!("{left} transfers in {took:.2} s: {:.0} k/s on {CORES} cores", left as f64 / took / 1e3);
    check(&engine, &cores)?;
    engine.close(cores)?;
    Ok(())
}

/// Every balance is the sum of its transfers: none was lost, none counts twice.
fn check(engine: &Engine, cores: &[CoreHandle]) -> Result<()> {
    let mut wanted = BTreeMap::<u64, u64>::new();
    for transfer in (1..=TRANSFERS).map(Transfer::new) {
        *wanted.entry(transfer.account).or_default() += transfer.amount;
    }
    let mut found = BTreeMap::new();
    for core in cores {
        for entry in core.range(..) {
            let (key, balance) = entry?;
            assert_eq!(engine.core_of(&key), core.id(), "a key lives on the core that owns it");
            found.insert(
                u64::from_le_bytes(key.as_ref().try_into()?),
                u64::from_le_bytes(balance.as_ref().try_into()?),
            );
        }
    }
    assert_eq!(found, wanted, "the balances of a run without a crash");
    println!("{} balances are right", found.len());
    Ok(())
}

/// Runs the job in a process of its own and kills it when an epoch or two are durable.
fn run_and_kill(dir: &Path) -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args([std::ffi::OsStr::new("--run"), dir.as_os_str()])
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("the child has an output")?;
    let lines = BufReader::new(output).lines().map_while(std::result::Result::ok);
    let durable = lines.filter(|line| line.ends_with("is durable")).take(5).count();
    child.kill()?;
    child.wait()?;
    println!("killed after {durable} epochs");
    Ok(())
}

fn main() -> Result<()> {
    if let [_, mode, dir] = &std::env::args_os().collect::<Vec<_>>()[..]
        && mode == "--run"
    {
        return run(Path::new(dir));
    }
    let dir = tempfile::tempdir()?;
    let dir = dir.path().join("data");
    run_and_kill(&dir)?;
    run(&dir)
}
