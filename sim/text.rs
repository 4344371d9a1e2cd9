//! Plans as people read and keep them: TOML that names only what differs from the plainest plan.
//!
//! A plan that is kept is explicit: its faults are named firings, its steps and crash points are written out. So it
//! survives changes of the generators that once drew it; what is new in a plan since gets its plain value.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use highwater::Route;
use highwater::sim::{
    AfterFailedSync, ClockFaults, FaultClass, FaultPlan, Firing, Latency, Order, Personality,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::{Table, Value};

use crate::Test;
use crate::coverage::Work;
use crate::damage::DamagePlan;
use crate::fanout::Cut;
use crate::host::Schedule;
use crate::plan::{Ending, Fate, LifePlan, Load, Next, Plan, Trigger};
use crate::profile::Profile;
use crate::remote::RemotePlan;
use crate::shape::{Shape, Tuning};
use crate::sink::SinkPlan;
use crate::step::{Moment, Step, number};

/// A plan as it is written. See [`Plan`] for what the fields are.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanText {
    schedule: BTreeMap<String, u32>,
    faults: Vec<FiringText>,
    stall_us: u64,
    full_for_us: u64,
    slow: bool,
    last_steps: Vec<Step>,
    #[serde(with = "DiskText")]
    disk: Personality,
    #[serde(with = "ClockText")]
    clock: ClockFaults,
    shape: Shape,
    load: Load,
    last: Tuning,
    lives: Vec<Table>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    damage: Option<DamagePlan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remote: Option<RemotePlan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sinks: Option<SinkPlan>,
}

/// A life as it is written. See [`LifePlan`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LifeText {
    number: u32,
    steps: Vec<Step>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crash: Option<TriggerText>,
    fate: Fate,
    ending: Ending,
    next: Next,
    tuning: Tuning,
}

/// See [`Personality`].
#[derive(Serialize, Deserialize)]
#[serde(remote = "Personality", deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "as in the personality")]
struct DiskText {
    #[serde(with = "OrderText")]
    order: Order,
    #[serde(with = "AfterText")]
    after_failed_sync: AfterFailedSync,
    write_unit: u32,
    power_safe_overwrite: bool,
    stale_extension: bool,
    lying: bool,
    #[serde(default)]
    failures_are_own: bool,
    depth_max: u8,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Order", rename_all = "kebab-case")]
enum OrderText {
    Paranoid,
    PrefixOrdered,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "AfterFailedSync", rename_all = "kebab-case")]
enum AfterText {
    New,
    Old,
    Mixed,
}

/// See [`ClockFaults`].
#[derive(Serialize, Deserialize)]
#[serde(remote = "ClockFaults", deny_unknown_fields)]
struct ClockText {
    wall_jump: f64,
    wall_freeze: f64,
    wall_resolution: f64,
    suspend: f64,
    #[serde(with = "millis")]
    suspend_max: Duration,
}

/// A route as `whole-key`, `prefix 4` or `until 47`.
pub(crate) mod route {
    use super::{Deserialize, Deserializer, Route, Serialize, Serializer, number};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
    pub(crate) fn serialize<S: Serializer>(value: &Route, serializer: S) -> Result<S::Ok, S::Error> {
        let words = match value {
            Route::Prefix(bytes) => format!("prefix {bytes}"),
            Route::Until(byte) => format!("until {byte}"),
            _ => "whole-key".to_owned(),
        };
        words.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Route, D::Error> {
        let words = String::deserialize(deserializer)?;
        let route = match words.split_once(' ') {
            None if words == "whole-key" => Ok(Route::WholeKey),
            Some(("prefix", bytes)) => number(bytes).map(Route::Prefix),
            Some(("until", byte)) => number(byte).map(Route::Until),
            _ => Err(format!("no route is called {words}")),
        };
        route.map_err(serde::de::Error::custom)
    }
}

/// A duration as its milliseconds.
pub(crate) mod millis {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        u64::try_from(value.as_millis()).unwrap_or(u64::MAX).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// A duration as its milliseconds, or zero for none.
pub(crate) mod maybe_millis {
    use super::{Deserialize, Deserializer, Duration, Serializer, millis};

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        millis::serialize(&value.unwrap_or_default(), serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let millis = u64::deserialize(deserializer)?;
        Ok((millis > 0).then(|| Duration::from_millis(millis)))
    }
}

/// A firing as `SyncError 1/7 #2`: the class, the moment, and how many calls it could have hit before in that moment.
#[derive(Clone, Copy)]
pub(crate) struct FiringText(pub(crate) Firing);

impl fmt::Display for FiringText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Firing { scope, class, number } = self.0;
        write!(f, "{class:?} {} #{number}", Moment::of(scope))
    }
}

impl FromStr for FiringText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [class, moment, count] = words[..] else {
            return Err(format!("a fault is \"class life/step #number\", not \"{text}\""));
        };
        let known = FaultClass::RATED.into_iter().find(|known| format!("{known:?}") == class);
        let class = known.ok_or_else(|| format!("no fault is called {class}"))?;
        let moment: Moment = moment.parse()?;
        Ok(Self(Firing { scope: moment.scope(), class, number: number(count.trim_start_matches('#'))? }))
    }
}

/// A trigger as `Landing 2` or `any 12 after 1/7`.
#[derive(Clone, Copy)]
struct TriggerText(Trigger);

impl fmt::Display for TriggerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Trigger { after, work, boundaries } = self.0;
        match work {
            Some(work) => write!(f, "{work:?} {boundaries}")?,
            None => write!(f, "any {boundaries}")?,
        }
        after.map_or(Ok(()), |after| write!(f, " after {after}"))
    }
}

impl FromStr for TriggerText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (name, count, after) = match words[..] {
            [name, count] => (name, count, None),
            [name, count, "after", moment] => (name, count, Some(moment.parse()?)),
            _ => return Err(format!("a crash is \"work number after life/step\", not \"{text}\"")),
        };
        let work = Work::CALLS.into_iter().find(|known| format!("{known:?}") == name);
        if work.is_none() && name != "any" {
            return Err(format!("no crash is aimed at {name}"));
        }
        Ok(Self(Trigger { after, work, boundaries: number(count)? }))
    }
}

/// Serialises as its words.
macro_rules! as_words {
    ($($type:ty),+) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

as_words!(FiringText, TriggerText, Step, Moment);

impl LifeText {
    fn plain() -> Self {
        Self {
            number: u32::MAX,
            steps: Vec::new(),
            crash: None,
            fate: Fate::Cache,
            ending: Ending::Crash,
            next: Next::NewProcess,
            tuning: Tuning::plain(),
        }
    }

    fn of(life: &LifePlan) -> Self {
        let LifePlan { number, tuning, steps, trigger, ending, next, fate } = life.clone();
        Self { number, steps, crash: trigger.map(TriggerText), fate, ending, next, tuning }
    }

    fn life(self) -> LifePlan {
        let Self { number, steps, crash, fate, ending, next, tuning } = self;
        LifePlan { number, tuning, steps, trigger: crash.map(|text| text.0), ending, next, fate }
    }
}

/// What `plan` is, as far as it differs from the plainest one. Its faults have to be named firings.
pub(crate) fn of_plan(plan: &Plan) -> Table {
    let mut table = table_of(&full(plan));
    without(&mut table, &table_of(&full(&Plan::plain(plan.profile, plan.seed))));
    table
}

fn full(plan: &Plan) -> PlanText {
    let plain = table_of(&LifeText::plain());
    let life = |life: &LifePlan| {
        let mut table = table_of(&LifeText::of(life));
        without(&mut table, &plain);
        table
    };
    PlanText {
        schedule: match &plan.schedule {
            Schedule::Tape(choices) => choices.iter().map(|(at, choice)| (at.to_string(), *choice)).collect(),
            Schedule::Drawn | Schedule::Recorded(_) => BTreeMap::from([(DRAWN.to_owned(), 0)]),
        },
        faults: plan.faults.firings().map(FiringText).collect(),
        stall_us: micros(plan.faults.stall),
        full_for_us: micros(plan.faults.full_for),
        slow: plan.faults.latency != Latency::NONE,
        last_steps: plan.last_steps.clone(),
        disk: plan.disk,
        clock: plan.clock,
        shape: plan.shape.clone(),
        load: plan.load.clone(),
        last: plan.last.clone(),
        lives: plan.lives.iter().map(life).collect(),
        damage: plan.damage.clone(),
        remote: plan.remote.clone(),
        sinks: plan.sinks.clone(),
    }
}

/// What is written in the place of a tape when the seed draws the schedule.
const DRAWN: &str = "drawn";

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The plan that `table` describes.
///
/// # Errors
///
/// What is wrong with the table, for people.
pub(crate) fn plan(profile: Profile, seed: u64, mut table: Table) -> Result<Plan, String> {
    with(&mut table, &table_of(&full(&Plan::plain(profile, seed))));
    let text: PlanText = Value::Table(table).try_into().map_err(|error| format!("{error}"))?;
    let plain = table_of(&LifeText::plain());
    let life = |mut table: Table| {
        with(&mut table, &plain);
        let text: Result<LifeText, _> = Value::Table(table).try_into();
        text.map(LifeText::life).map_err(|error| format!("{error}"))
    };
    let mut faults = FaultPlan::none().only(text.faults.iter().map(|firing| firing.0));
    faults.stall = Duration::from_micros(text.stall_us);
    faults.full_for = Duration::from_micros(text.full_for_us);
    faults.latency = if text.slow { Latency::FLASH } else { Latency::NONE };
    let schedule = if text.schedule.contains_key(DRAWN) {
        Schedule::Drawn
    } else {
        let choice = |(at, choice): (String, u32)| number(&at).map(|at| (at, choice));
        Schedule::Tape(text.schedule.into_iter().map(choice).collect::<Result<_, _>>()?)
    };
    Ok(Plan {
        profile,
        seed,
        schedule,
        disk: text.disk,
        faults,
        clock: text.clock,
        shape: text.shape,
        load: text.load,
        lives: text.lives.into_iter().map(life).collect::<Result<_, _>>()?,
        last: text.last,
        last_steps: text.last_steps,
        damage: text.damage,
        remote: text.remote,
        sinks: text.sinks,
    })
}

/// A cut as it is written. See [`Cut`].
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CutText {
    operations: Vec<Moment>,
    faults: Vec<FiringText>,
    tame: bool,
    short: bool,
}

/// What is left of the run of a fan-out.
pub(crate) fn of_cut(cut: &Cut) -> Table {
    let faults = cut.faults.iter().flatten().copied().map(FiringText).collect();
    let operations = cut.kept.clone().unwrap_or_default();
    table_of(&CutText { operations, faults, tame: cut.tame, short: cut.short })
}

/// The cut that `table` describes.
///
/// # Errors
///
/// What is wrong with the table, for people.
pub(crate) fn cut(table: Table) -> Result<Cut, String> {
    let text: CutText = Value::Table(table).try_into().map_err(|error| format!("{error}"))?;
    let CutText { operations, faults, tame, short } = text;
    let faults = faults.into_iter().map(|firing| firing.0).collect();
    Ok(Cut { kept: Some(operations), faults: Some(faults), tame, short, states_max: None })
}

fn table_of(value: &impl Serialize) -> Table {
    Table::try_from(value).unwrap_or_else(|error| panic!("a plan is a table: {error}"))
}

/// Takes away what is as in `plain`.
fn without(table: &mut Table, plain: &Table) {
    for (key, plain) in plain {
        if let (Some(Value::Table(table)), Value::Table(plain)) = (table.get_mut(key), plain) {
            without(table, plain);
        }
        let empty = Value::Table(Table::new());
        let is_plain = table.get(key) == Some(plain);
        if is_plain || (plain.is_table() && table.get(key) == Some(&empty)) {
            table.remove(key);
        }
    }
}

/// Fills in what is as in `plain`.
fn with(table: &mut Table, plain: &Table) {
    for (key, plain) in plain {
        match (table.get_mut(key), plain) {
            (Some(Value::Table(table)), Value::Table(plain)) => with(table, plain),
            (Some(_), _) => {}
            (None, _) => drop(table.insert(key.clone(), plain.clone())),
        }
    }
}

/// A table in one line: `disk.write_unit=4096 shape.cores=2`; lists are left out.
pub(crate) fn in_words(table: &Table) -> String {
    let mut words = Vec::new();
    collect("", table, &mut words);
    words.join(" ")
}

fn collect(prefix: &str, table: &Table, words: &mut Vec<String>) {
    for (key, value) in table {
        match value {
            Value::Table(inner) => collect(&format!("{prefix}{key}."), inner, words),
            Value::Array(_) => {}
            value => words.push(format!("{prefix}{key}={value}")),
        }
    }
}

/// See [`Test`].
pub(crate) const TESTS: &[Test] =
    tests![a_plan_reads_back_as_it_was_written, the_plainest_plan_has_nothing_to_say];

fn a_plan_reads_back_as_it_was_written() {
    for seed in 0..50 {
        let profile = match seed % 3 {
            0 => Profile::Damage,
            1 => Profile::Remote,
            _ => Profile::Forward,
        };
        let mut plan = Plan::of(profile, seed);
        let fault = |number| Firing { scope: (seed << 32) | 7, class: FaultClass::SyncError, number };
        let FaultPlan { latency, stall, full_for, .. } = plan.faults;
        plan.faults = FaultPlan::none().only((0..seed).map(fault)).with_latency(latency);
        (plan.faults.stall, plan.faults.full_for) = (stall, full_for);
        if seed % 2 == 0 {
            plan.schedule = Schedule::Tape(BTreeMap::from([(3, 1), (70, 2)]));
            plan.lives[0].trigger = Some(Trigger {
                after: Some(Moment { life: 0, step: Moment::END }),
                work: Some(Work::Landing),
                boundaries: 4,
            });
        }
        let written = Table::from_iter([("plan".to_owned(), Value::Table(of_plan(&plan)))]).to_string();
        let table: Table = written.parse().unwrap_or_else(|error| panic!("{error}: {written}"));
        let read = self::plan(profile, seed, table["plan"].as_table().cloned().unwrap_or_default());
        let read = read.unwrap_or_else(|error| panic!("{error}: {written}"));
        assert!(format!("{read:?}") == format!("{plan:?}"), "{read:?}\n{plan:?}\n{written}");
    }
}

fn the_plainest_plan_has_nothing_to_say() {
    for profile in [Profile::Forward, Profile::Damage, Profile::Remote] {
        assert_eq!(of_plan(&Plan::plain(profile, 1)), Table::new());
    }
}
