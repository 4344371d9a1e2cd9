//! What the job keeps: one aggregate per hour, per route, and per aircraft and day, all of them state in the engine.
//!
//! | key | e.g. |
//! |--|--|
//! | scheduled hour | `hour/2013-07-04T18` |
//! | route and carrier | `route/JFK-LAX-DL` |
//! | aircraft and day | `aircraft/N14228/2013-01-01` |
//!
//! Every flight counts in exactly one key of each kind.

use std::io::Write;

use crate::source::{Flight, Flights};

/// The kinds of keys, by prefix.
pub(crate) const KINDS: [&str; 3] = ["hour/", "route/", "aircraft/"];

const MINUTES_PER_DAY: u32 = 24 * 60;
const MONTH_DAYS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Multiplies the trail before each step: any odd number that mixes would do.
const TRAIL_FACTOR: u64 = 0x0100_0000_01b3;

/// Sums over the flights of one key. Integers only, so that equal means equal to the last bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aggregate {
    pub(crate) flights: u32,
    pub(crate) cancelled: u32,
    pub(crate) departure_delay_sum: i64,
    /// `i32::MIN` while there is none.
    pub(crate) departure_delay_max: i32,
    pub(crate) arrival_delay_sum: i64,
    /// `i32::MIN` while there is none.
    pub(crate) arrival_delay_max: i32,
    pub(crate) distance_miles_sum: u64,
    /// Depends on every flight number and on their order: sums alone would not notice two flights swapped, or one
    /// counted twice in place of its equal.
    pub(crate) trail: u64,
}

impl Aggregate {
    /// Bytes of an encoded aggregate.
    pub(crate) const BYTES: usize = 48;

    /// Nothing counted yet.
    pub(crate) const EMPTY: Self = Self {
        flights: 0,
        cancelled: 0,
        departure_delay_sum: 0,
        departure_delay_max: i32::MIN,
        arrival_delay_sum: 0,
        arrival_delay_max: i32::MIN,
        distance_miles_sum: 0,
        trail: 0,
    };

    /// Counts one flight.
    pub(crate) fn add(&mut self, flight: &Flight) {
        self.flights += 1;
        self.cancelled += u32::from(flight.departure_delay.is_none());
        if let Some(delay) = flight.departure_delay {
            self.departure_delay_sum += i64::from(delay);
            self.departure_delay_max = self.departure_delay_max.max(i32::from(delay));
        }
        if let Some(delay) = flight.arrival_delay {
            self.arrival_delay_sum += i64::from(delay);
            self.arrival_delay_max = self.arrival_delay_max.max(i32::from(delay));
        }
        self.distance_miles_sum += u64::from(flight.distance_miles);
        self.trail = trail_after(self.trail, flight.number);
    }

    /// The value that the engine keeps.
    pub(crate) fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0..4].copy_from_slice(&self.flights.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.cancelled.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.departure_delay_sum.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.arrival_delay_sum.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.departure_delay_max.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.arrival_delay_max.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.distance_miles_sum.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.trail.to_le_bytes());
        bytes
    }

    /// The aggregate that `bytes` hold; none when they have another length.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        Some(Self {
            flights: u32::from_le_bytes(part(bytes, 0)),
            cancelled: u32::from_le_bytes(part(bytes, 4)),
            departure_delay_sum: i64::from_le_bytes(part(bytes, 8)),
            arrival_delay_sum: i64::from_le_bytes(part(bytes, 16)),
            departure_delay_max: i32::from_le_bytes(part(bytes, 24)),
            arrival_delay_max: i32::from_le_bytes(part(bytes, 28)),
            distance_miles_sum: u64::from_le_bytes(part(bytes, 32)),
            trail: u64::from_le_bytes(part(bytes, 40)),
        })
    }
}

/// The trail, one flight further.
pub(crate) fn trail_after(trail: u64, number: u16) -> u64 {
    (trail ^ u64::from(number)).wrapping_mul(TRAIL_FACTOR).wrapping_add(1)
}

fn part<const N: usize>(bytes: &[u8; Aggregate::BYTES], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}

/// Writes the key of `kind` that `flight` counts in.
pub(crate) fn key_of(kind: usize, flight: &Flight, flights: &Flights, key: &mut Vec<u8>) {
    key.clear();
    key.extend_from_slice(KINDS[kind].as_bytes());
    let day = Day::of(flight.minute);
    let written = match kind {
        0 => write!(key, "{day}T{:02}", flight.minute % MINUTES_PER_DAY / 60),
        1 => {
            let origin = &flights.origins[usize::from(flight.origin)];
            let dest = &flights.dests[usize::from(flight.dest)];
            write!(key, "{origin}-{dest}-{}", flights.carriers[usize::from(flight.carrier)])
        }
        _ => write!(key, "{}/{day}", flights.tails[usize::from(flight.tail)]),
    };
    assert!(written.is_ok(), "memory takes what is written");
}

/// A day of 2013.
struct Day {
    month: u32,
    day: u32,
}

impl Day {
    fn of(minute: u32) -> Self {
        let (mut month, mut day) = (1, minute / MINUTES_PER_DAY + 1);
        for days in MONTH_DAYS {
            if day <= days {
                break;
            }
            month += 1;
            day -= days;
        }
        Self { month, day }
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "2013-{:02}-{:02}", self.month, self.day)
    }
}
