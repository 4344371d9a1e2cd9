//! A seed's run from beginning to end, as its root task sees it: life after life, each on what the last one left.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use highwater::sim::{Crash, Disk, SimClock, SimDisk, SimEnv, Streams};

use crate::audit;
use crate::coverage::Work;
use crate::damage;
use crate::explain::record::{self, Event};
use crate::host::{Host, Process, Scheduler};
use crate::life;
use crate::load::within;
use crate::plan::{Fate, LifePlan, Next};
use crate::step::Moment;
use crate::without;
use crate::world::{News, Run, World, lock};

/// Virtual time that a life may take: faults last for seconds, and every wait in it is bounded.
const LIFE_MAX: Duration = Duration::from_secs(1_200);

/// The number of the last life.
pub(crate) const LAST: u32 = u32::MAX;

/// Runs `run` on `scheduler`. Panics at the first violation.
pub(crate) fn tell(scheduler: Scheduler, run: &Arc<Run>) {
    if run.plan.damage.is_some() {
        damage::prepare();
    }
    let shared = Arc::clone(run);
    scheduler.run((run.plan.seed, &run.plan.schedule), &run.trace, |host| root(host, shared));
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
    for life in run.plan.lives.clone() {
        machine.life(life).await;
    }
    machine.last_life().await;
    machine.process.kill();
    lock(&run.coverage).plan(&run.plan);
    lock(&run.coverage).faults(machine.disk.ledger().entries(), &lock(&run.opens));
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
        let (watcher, aimed) = (Arc::downgrade(run), Arc::clone(&run.aimed));
        let always = run.plan.damage.is_some() || record::is_on();
        disk.on_boundary(Box::new(move |disk, info| {
            if (always || aimed.load(Ordering::Relaxed))
                && let Some(run) = watcher.upgrade()
            {
                damage::remember(&run, disk);
                run.boundary(&info);
            }
        }));
        if run.plan.damage.is_some() {
            let judge = Arc::downgrade(run);
            disk.on_lock(Box::new(move |disk| {
                if let Some(run) = judge.upgrade() {
                    lock(&run.images).at_lock = Some(disk);
                }
            }));
        }
        if record::is_on() {
            record::clock(executor.clone());
            disk.on_crash(Box::new(record::crash));
        }
        *lock(&run.disk) = Some(disk.clone());
        *lock(&run.store) = plan.remote.as_ref().map(|remote| remote.store(streams, run.trace.clone()));
        *lock(&run.outlet) = plan.sinks.as_ref().map(|sinks| sinks.outlet(run));
        let clock = SimClock::new(executor.clone()).with_faults(plan.clock, streams.stream("clock"));
        *lock(&run.clocks) = Some((executor, clock.clone()));
        let process = host.process("engine");
        let env = SimEnv::new("engine", process.executor(), disk.vfs(), &streams)
            .with_clock(clock.with_executor(process.executor()));
        Self { host, run: Arc::clone(run), disk, clock, process, env }
    }

    async fn life(&mut self, plan: LifePlan) {
        let number = plan.number;
        self.run.step(format!("life {number}: opening"));
        record::note(|| Event::Life { number, plan: plan.to_string() });
        self.run.count(|tally| tally.lives += 1);
        self.run.begin(plan.trigger);
        self.run.enter(Moment { life: number, step: Moment::OPEN });
        let opened_before = lock(&self.run.oracle).opened;
        let (run, env, executor, life) =
            (Arc::clone(&self.run), self.env.clone(), self.process.executor(), plan.clone());
        let make = move || life::live(run, env, executor.clone(), life);
        self.process.executor().spawn("life", Box::new(move || Box::pin(make())));
        let news = within(&*self.host.executor(), LIFE_MAX, self.run.news()).await;
        let Some(news) = news else { panic!("I11: life {number} hangs") };
        self.note(&format!("life {number}"), &format!("{news:?}"));
        record::note(|| Event::Over(told(&news)));
        let crash = match (&news, plan.next) {
            (News::Triggered | News::Idle, _) => Some(plan.fate),
            (News::Over(_), Next::SameProcess) => None,
            (News::Over(_), Next::NewProcess) => Some(Fate::Cache),
            (News::Over(_), Next::PowerLoss) => {
                Some(if plan.fate == Fate::AllLost { Fate::AllLost } else { Fate::Drawn })
            }
        };
        let in_open = news == News::Triggered && lock(&self.run.oracle).opened == opened_before;
        self.run.count(|tally| tally.crashes_in_open += u64::from(in_open));
        if let Some(fate) = crash {
            let work = lock(&self.run.interrupted).take().unwrap_or(Work::Idle);
            lock(&self.run.coverage).crash(fate != Fate::Cache, work);
            self.crash(number, fate);
            damage::between_lives(&self.run, &self.disk, number);
        }
        let settled = crash.is_some() || news == News::Over(life::CLOSED.to_owned());
        audit::perhaps(&self.run, &self.disk, number, settled);
        self.perhaps_lose_the_disk(number);
    }

    /// The machine is gone with its disk, if the plan says so: the next life is on another.
    fn perhaps_lose_the_disk(&mut self, number: u32) {
        if self.run.plan.remote.as_ref().is_none_or(|remote| !remote.lost.contains(&number)) {
            return;
        }
        self.crash(number, Fate::AllLost);
        let empty = Disk::new(self.run.plan.disk);
        self.disk.with_disk(|disk| *disk = empty);
        lock(&self.run.oracle).lose_disk();
        *lock(&self.run.audits) = audit::Audits::default();
        self.run.count(|tally| tally.lost += 1);
        self.note("disk", "lost");
    }

    /// Ends the process, with or without the power, and starts the next one.
    fn crash(&mut self, number: u32, fate: Fate) {
        self.run.begin(None);
        self.run.opened(self.host.executor().now());
        self.run.crashed();
        self.process.kill();
        match fate {
            Fate::Cache => self.disk.crash(Crash::Process),
            Fate::AllLost => self.disk.crash(Crash::AllLost),
            Fate::Drawn => {
                let mut draws = Streams::new(self.run.plan.seed).stream(&format!("crash/{number}"));
                self.disk.crash(Crash::Power(&mut draws));
            }
        }
        self.process = self.host.process("engine");
        self.env = self.env.reboot(self.process.executor(), self.disk.vfs());
    }

    /// The life without faults, on whatever the others left.
    async fn last_life(&mut self) {
        let number = LAST;
        self.disk.stop_faults();
        self.clock.stop_faults();
        if let Some(store) = &*lock(&self.run.store) {
            store.stop_faults();
        }
        if let Some(outlet) = &*lock(&self.run.outlet) {
            outlet.stop_faults();
        }
        // Half of the last lives find a page cache.
        let number_of_lives = self.run.plan.lives.len();
        let fate = if number_of_lives.is_multiple_of(2) { Fate::Drawn } else { Fate::Cache };
        if let Some(fate) = without::crash(fate) {
            self.crash(number, fate);
            damage::between_lives(&self.run, &self.disk, number);
            audit::perhaps(&self.run, &self.disk, number, true);
        }
        record::note(|| Event::Life {
            number: self.run.plan.lives.last().map_or(0, |life| life.number + 1),
            plan: format!("the last, without faults; {}", self.run.plan.last),
        });
        self.run.enter(Moment { life: number, step: Moment::OPEN });
        let (run, env, executor) = (Arc::clone(&self.run), self.env.clone(), self.process.executor());
        let make = move || life::live_happily(run, env, executor.clone());
        self.process.executor().spawn("life", Box::new(move || Box::pin(make())));
        let news = within(&*self.host.executor(), LIFE_MAX, self.run.news()).await;
        let Some(news) = news else { panic!("I11: the last life hangs: {}", lock(&self.run.step)) };
        self.note("last life", &format!("{news:?}"));
        record::note(|| Event::Over(told(&news)));
    }

    fn note(&self, who: &str, what: &str) {
        let now = self.host.executor().now();
        self.run.trace.event("root", who, format_args!(""), format_args!("{what}"), now);
    }
}

/// How a life ended, for people.
fn told(news: &News) -> String {
    match news {
        News::Triggered => "its crash was due".to_owned(),
        News::Idle => "its work was done, and the engine still open".to_owned(),
        News::Over(story) => story.clone(),
    }
}
