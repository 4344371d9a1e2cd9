//! A seed's run from beginning to end, as its root task sees it: life after life, each on what the last one left.

use std::sync::Arc;
use std::time::Duration;

use highwater::sim::{Crash, Disk, SimClock, SimDisk, SimEnv, Streams};

use crate::host::{Host, Process, Scheduler};
use crate::life;
use crate::load::within;
use crate::plan::{LifePlan, Next, Plan};
use crate::world::{News, Run, World, lock};

/// Virtual time that a life may take: faults last for seconds, and every wait in it is bounded.
const LIFE_MAX: Duration = Duration::from_secs(1_200);

/// Runs `run` on `scheduler`. Panics at the first violation.
pub(crate) fn tell(scheduler: Scheduler, run: &Arc<Run>) {
    let shared = Arc::clone(run);
    scheduler.run(run.plan.seed, &run.trace, |host| root(host, shared));
}

/// The run of a seed, before it has begun.
pub(crate) fn of_seed(seed: u64) -> Arc<Run> {
    Run::new(Plan::new(seed))
}

/// A machine with one disk, and the process that runs on it now.
struct Machine {
    host: Host,
    run: Arc<Run>,
    disk: SimDisk,
    clock: SimClock,
    process: Process,
    env: World,
}

async fn root(host: Host, run: Arc<Run>) {
    let mut machine = Machine::new(host, &run);
    for (number, life) in run.plan.lives.clone().into_iter().enumerate() {
        machine.life(number as u64, life).await;
    }
    machine.last_life(run.plan.lives.len() as u64).await;
    machine.process.kill();
    let dead = machine.disk.dead_calls();
    assert_eq!(dead.changes, 0, "a dead process changed the disk: {dead:?}");
}

impl Machine {
    fn new(host: Host, run: &Arc<Run>) -> Self {
        let plan = &run.plan;
        let streams = Streams::new(plan.seed);
        let executor = host.executor();
        let disk = SimDisk::new(
            Disk::new(plan.disk),
            executor.clone(),
            &streams,
            plan.faults.clone(),
            run.trace.clone(),
        );
        let watcher = Arc::downgrade(run);
        disk.on_boundary(Box::new(move |_, info| {
            if let Some(run) = watcher.upgrade() {
                run.boundary(&info);
            }
        }));
        *lock(&run.disk) = Some(disk.clone());
        let clock = SimClock::new(executor).with_faults(plan.clock, streams.stream("clock"));
        let process = host.process("engine");
        let env = SimEnv::new("engine", process.executor(), disk.vfs(), &streams)
            .with_clock(clock.with_executor(process.executor()));
        Self { host, run: Arc::clone(run), disk, clock, process, env }
    }

    async fn life(&mut self, number: u64, plan: LifePlan) {
        self.run.step(format!("life {number}: opening"));
        self.run.count(|tally| tally.lives += 1);
        self.run.begin(plan.trigger.clone());
        let opened_before = lock(&self.run.oracle).opened;
        let (run, env, executor, life) =
            (Arc::clone(&self.run), self.env.clone(), self.process.executor(), plan.clone());
        let make = move || life::live(run, env, executor.clone(), number, life);
        self.process.executor().spawn("life", Box::new(move || Box::pin(make())));
        let news = within(&*self.host.executor(), LIFE_MAX, self.run.news()).await;
        let Some(news) = news else { panic!("I11: life {number} hangs") };
        self.note(&format!("life {number}"), &format!("{news:?}"));
        let crash = match (&news, plan.next) {
            (News::Triggered | News::Idle, _) => Some(plan.power),
            (News::Over(_), Next::SameProcess) => None,
            (News::Over(_), Next::NewProcess) => Some(false),
            (News::Over(_), Next::PowerLoss) => Some(true),
        };
        let in_open = news == News::Triggered && lock(&self.run.oracle).opened == opened_before;
        self.run.count(|tally| tally.crashes_in_open += u64::from(in_open));
        if let Some(power) = crash {
            self.crash(power);
        }
    }

    /// Ends the process, with or without the power, and starts the next one.
    fn crash(&mut self, power: bool) {
        self.run.begin(None);
        self.run.count(|tally| tally.crashes += 1);
        self.process.kill();
        if power {
            self.disk.power_loss();
        } else {
            self.disk.crash(Crash::Process);
        }
        self.process = self.host.process("engine");
        self.env = self.env.reboot(self.process.executor(), self.disk.vfs());
    }

    /// The life without faults, on whatever the others left.
    async fn last_life(&mut self, number: u64) {
        self.disk.stop_faults();
        self.clock.stop_faults();
        self.crash(number.is_multiple_of(2));
        let (run, env, executor) = (Arc::clone(&self.run), self.env.clone(), self.process.executor());
        let make = move || life::live_happily(run, env, executor.clone(), number);
        self.process.executor().spawn("life", Box::new(move || Box::pin(make())));
        let news = within(&*self.host.executor(), LIFE_MAX, self.run.news()).await;
        let Some(news) = news else { panic!("I11: the last life hangs: {}", lock(&self.run.step)) };
        self.note("last life", &format!("{news:?}"));
    }

    fn note(&self, who: &str, what: &str) {
        let now = self.host.executor().now();
        self.run.trace.event("root", who, format_args!(""), format_args!("{what}"), now);
    }
}
