//! The other way to the same result: one pass over the data, in memory, without an engine. And the comparison.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use highwater::{CoreHandle, Engine, Opened};

use crate::aggregate::{Aggregate, KINDS, key_of, trail_after};
use crate::job;
use crate::source::{Flight, Flights};

/// How many differences are shown.
const SHOWN_MAX: usize = 5;

/// The aggregates as a plain computation has them: the flights of each key are collected first and summed up after.
fn expected(flights: &Flights) -> BTreeMap<Vec<u8>, Aggregate> {
    let mut members: BTreeMap<Vec<u8>, Vec<&Flight>> = BTreeMap::new();
    for flight in &flights.rows {
        for kind in 0..KINDS.len() {
            let mut key = Vec::new();
            key_of(kind, flight, flights, &mut key);
            members.entry(key).or_default().push(flight);
        }
    }
    members.into_iter().map(|(key, members)| (key, summed_up(&members))).collect()
}

fn summed_up(members: &[&Flight]) -> Aggregate {
    let departures = || members.iter().filter_map(|flight| flight.departure_delay);
    let arrivals = || members.iter().filter_map(|flight| flight.arrival_delay);
    let departed = departures().count();
    Aggregate {
        flights: u32::try_from(members.len()).unwrap_or(u32::MAX),
        cancelled: u32::try_from(members.len() - departed).unwrap_or(u32::MAX),
        departure_delay_sum: departures().map(i64::from).sum(),
        departure_delay_max: departures().map(i32::from).max().unwrap_or(i32::MIN),
        arrival_delay_sum: arrivals().map(i64::from).sum(),
        arrival_delay_max: arrivals().map(i32::from).max().unwrap_or(i32::MIN),
        distance_miles_sum: members.iter().map(|flight| u64::from(flight.distance_miles)).sum(),
        trail: members.iter().fold(0, |trail, flight| trail_after(trail, flight.number)),
    }
}

/// Reads the state that the job has left, compares, and prints the verdict; `false` when they differ.
pub(crate) fn check(dir: &Path, core_count: u16) -> Result<bool, Box<dyn Error>> {
    let flights = Flights::load()?;
    let expected = expected(&flights);
    let found = state_in(dir, core_count)?;

    for kind in KINDS {
        let mut keys = 0_u64;
        let mut counted = 0_u64;
        for (_, value) in found.iter().filter(|(key, _)| key.starts_with(kind.as_bytes())) {
            keys += 1;
            counted += Aggregate::decode(value).map_or(0, |aggregate| u64::from(aggregate.flights));
        }
        let events = flights.rows.len();
        println!("{kind:<10} {keys:>7} keys, {counted} flights counted, {events} in the data");
    }

    let mut differences = Vec::new();
    for (key, aggregate) in &expected {
        let value = found.get(key);
        if value.is_none_or(|value| value[..] != aggregate.encode()) {
            let value = value.and_then(|value| Aggregate::decode(value));
            let key = key.escape_ascii();
            differences.push(format!("{key}\n    found    {value:?}\n    expected {:?}", Some(aggregate)));
        }
    }
    for key in found.keys().filter(|key| !expected.contains_key(*key)) {
        differences.push(format!("{}: should not be there", key.escape_ascii()));
    }
    for difference in differences.iter().take(SHOWN_MAX) {
        println!("{difference}");
    }
    if differences.is_empty() {
        println!("equal: yes ({} aggregates, to the last bit)", found.len());
    } else {
        println!("equal: NO ({} differences)", differences.len());
    }
    Ok(differences.is_empty())
}

/// Everything that the engine holds.
fn state_in(dir: &Path, core_count: u16) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Box<dyn Error>> {
    let Opened { engine, cores, report } = Engine::open(job::options(dir, core_count))?;
    println!("{report}");
    let mut state = BTreeMap::new();
    for core in &cores {
        for kind in KINDS {
            for entry in core.scan_prefix(kind.as_bytes()) {
                let (key, value) = entry?;
                let before = state.insert(key.to_vec(), value.to_vec());
                assert!(before.is_none(), "a key lives on one core");
            }
        }
    }
    let live: usize = cores.iter().map(CoreHandle::len).sum();
    assert_eq!(live, state.len(), "every key is of one of the three kinds");
    engine.close(cores)?;
    Ok(state)
}
