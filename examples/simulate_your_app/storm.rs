//! The simulation: what the program has to live through, and what must be true of it.
//!
//! ```text
//! seed ──► Plan: transfers, crashes, hardware ──► run ──► Outcome: a violation or none, and the digest of the run
//!                    ▲                                         │
//!                    └─────────── shrink ◄─────────────────────┘
//! ```
//!
//! A plan is a value. Drawing one from a seed and running one are two things, and so a plan can be made smaller by
//! hand or by [`shrink`](crate::shrink) and still be run.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use highwater::Options;
use highwater::sim::{
    Choices, Executor, Handle, Hardware, Machine, SimClock, Simulator, Streams, Tape, Trace, caught,
};

use crate::service::{ACCOUNTS, Bug, START, Transfer, Wire, audit, client, expected, serve};

/// Virtual time that a life gets to reach its crash: stalls and full devices last seconds.
const LIFE_MAX: Duration = Duration::from_secs(5);

/// Lives without faults after which everything must be confirmed.
const PEACEFUL_LIVES: u32 = 3;

/// Virtual time after which a run hangs.
const RUN_MAX: Duration = Duration::from_secs(600);

/// How a life of the service ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The process dies, the machine stays up.
    Process,
    /// The power goes; the seed decides what was not synced and is there all the same.
    Power,
    /// The power goes, and with it everything that was not synced.
    PowerAllLost,
}

/// A crash: at which call of the disk, counted from the start of the service, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crash {
    pub(crate) calls: u64,
    pub(crate) end: End,
}

/// Everything that happens in a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) bug: Bug,
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) crashes: Vec<Crash>,
    pub(crate) hardware: Hardware,
    /// Who is next whenever several tasks could go on; none = as the seed says.
    pub(crate) schedule: Option<Tape>,
}

impl Plan {
    /// What `seed` has in store. Each part has a stream of its own: a change of one does not move the others.
    pub(crate) fn of(seed: u64, bug: Bug) -> Self {
        let streams = Streams::new(seed);
        let accounts: Vec<usize> = (0..ACCOUNTS).collect();
        let mut draw = streams.stream("transfers");
        let transfers = (0..draw.range(5, 30)).map(|_| Transfer {
            from: *draw.pick(&accounts),
            to: *draw.pick(&accounts),
            amount: draw.range(1, START),
        });
        let transfers = transfers.collect();
        let mut draw = streams.stream("crashes");
        let crashes = (0..draw.range(1, 4)).map(|_| Crash {
            calls: draw.range(1, 250),
            end: *draw.pick(&[End::Process, End::Power, End::Power]),
        });
        let crashes = crashes.collect();
        Self { seed, bug, transfers, crashes, hardware: Hardware::draw(&streams), schedule: None }
    }
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A confirmed transfer is gone.
    Undone { confirmed: u64, made: u64 },
    /// The balances are those of no number of transfers.
    Wrong { balances: Vec<u64> },
    /// Long after the last fault a transfer is not confirmed.
    Unconfirmed { confirmed: u64 },
    /// The run did not come to an end, or an assertion ended it.
    Broken(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undone { confirmed, made } => {
                write!(f, "{confirmed} transfers were confirmed, and only {made} are in the balances")
            }
            Self::Wrong { balances } => {
                write!(f, "no number of transfers, each made once, gives the balances {balances:?}")
            }
            Self::Unconfirmed { confirmed } => {
                write!(f, "in peace at last, and only {confirmed} transfers are confirmed")
            }
            Self::Broken(what) => f.write_str(what),
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) violation: Option<Violation>,
    /// Equal for runs that did the same things at the same virtual times.
    pub(crate) digest: u128,
    /// Where each crash hit.
    pub(crate) crashes: Vec<String>,
}

/// Runs the plan.
pub(crate) fn run(plan: &Plan) -> Outcome {
    match &plan.schedule {
        Some(tape) => run_on(plan, tape.replay()),
        None => run_on(plan, seeded(plan)),
    }
}

/// Runs the plan and writes down every choice of the scheduler.
pub(crate) fn record(plan: &Plan) -> Tape {
    let tape = Tape::default();
    run_on(plan, tape.record(seeded(plan)));
    tape
}

fn seeded(plan: &Plan) -> impl Choices + 'static {
    Streams::new(plan.seed).stream("schedule")
}

fn run_on(plan: &Plan, choices: impl Choices + 'static) -> Outcome {
    let trace = Trace::new();
    let simulator = Simulator::with_choices(choices).trace(trace.clone()).time_max(RUN_MAX);
    let mut crashes = Vec::new();
    let told = caught(|| simulator.run(|sim| story(sim, plan, &mut crashes)));
    let violation = match told {
        Ok(Ok(told)) => told.err(),
        Ok(Err(stuck)) => Some(Violation::Broken(stuck.to_string())),
        Err(panic) => Some(Violation::Broken(panic)),
    };
    Outcome { violation, digest: trace.digest(), crashes }
}

/// Small files: much of what is rare happens at their ends.
fn options() -> Options {
    let small = Options::new("bank").segment_bytes(64 << 10).batch_bytes(4 << 10).queue_bytes(64 << 10);
    small.checkpoint_interval(Some(Duration::from_millis(100)))
}

/// Life after life of the service, each on what the last one left; the client sees them all.
async fn story(sim: Handle, plan: &Plan, crashes: &mut Vec<String>) -> Result<(), Violation> {
    let wire = Arc::new(Wire::default());
    let (clock, line, transfers) =
        (SimClock::new(Arc::new(sim.clone())), Arc::clone(&wire), plan.transfers.clone());
    sim.spawn("client", async move || client(clock, &line, &transfers).await);

    let mut machine = Machine::new(&sim, plan.seed, plan.hardware.clone());
    for crash in &plan.crashes {
        start(&machine, plan, &wire);
        let hit = machine.run_until_call(crash.calls, LIFE_MAX).await;
        match crash.end {
            End::Process => machine.crash_process(),
            End::Power => machine.cut_power(),
            End::PowerAllLost => machine.cut_power_with(&mut Tape::default().replay()),
        }
        wire.hang_up();
        let place =
            hit.map(|call| format!("call {} ({} {})", call.call, call.operation, call.path.display()));
        crashes.push(place.unwrap_or_else(|| "rest".to_owned()));
        // While faults go on nobody can promise that it opens.
        if let Ok(balances) = audit(machine.env(), options()).await {
            judge(plan, wire.confirmed(), balances)?;
        }
        machine.crash_process();
    }

    machine.stop_faults();
    let all = plan.transfers.len() as u64;
    for _ in 0..PEACEFUL_LIVES {
        if wire.confirmed() == all {
            break;
        }
        start(&machine, plan, &wire);
        sim.sleep(LIFE_MAX).await;
        machine.crash_process();
        wire.hang_up();
    }
    if wire.confirmed() < all {
        return Err(Violation::Unconfirmed { confirmed: wire.confirmed() });
    }
    match audit(machine.env(), options()).await {
        Ok(balances) => judge(plan, all, balances),
        Err(error) => Err(Violation::Broken(format!("in peace at last: {error}"))),
    }
}

/// Starts the service in the process that runs now. An error ends it, and the next life starts another.
fn start(machine: &Machine, plan: &Plan, wire: &Arc<Wire>) {
    let (wire, bug) = (Arc::clone(wire), plan.bug);
    machine.spawn("service", async move |env| {
        let _may_fail = serve(env, options(), &wire, bug).await;
    });
}

/// The oracle: the balances are those after at least all confirmed transfers, each made once, in order.
fn judge(plan: &Plan, confirmed: u64, balances: Vec<u64>) -> Result<(), Violation> {
    // From how many transfers the balances come; several numbers if some of them moved nothing.
    let made = (0..)
        .zip(0..=plan.transfers.len())
        .filter(|&(_, made)| expected(&plan.transfers[..made]) == balances);
    match made.map(|(made, _): (u64, _)| made).last() {
        Some(made) if made >= confirmed => Ok(()),
        Some(made) => Err(Violation::Undone { confirmed, made }),
        None => Err(Violation::Wrong { balances }),
    }
}
