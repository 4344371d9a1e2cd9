//! What the sink shows in the end: every departure once, or not.

use crate::job::row;
use crate::source::Flights;

/// Rows that are missing, and rows that are there more than once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Missing.
    pub(crate) lost: u64,
    /// More than once.
    pub(crate) twice: u64,
    /// There, and not what was written.
    pub(crate) wrong: u64,
}

/// Counts the rows of `text`, a line each.
pub(crate) fn count(flights: &Flights, text: &str) -> Count {
    let mut seen = vec![0_u64; flights.rows.len() + 1];
    let mut count = Count::default();
    for line in text.lines() {
        let number = line.split('\t').next().and_then(|number| number.parse::<usize>().ok());
        match number.filter(|number| (1..seen.len()).contains(number)) {
            Some(number) if row(flights, number).trim_end() == line => seen[number] += 1,
            _ => count.wrong += 1,
        }
    }
    count.lost = seen[1..].iter().filter(|seen| **seen == 0).count() as u64;
    count.twice = seen[1..].iter().filter(|seen| **seen > 1).count() as u64;
    count
}
