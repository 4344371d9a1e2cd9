//! The data of the example `flights` is what `examples/data/README.md` says.

#[path = "../examples/flights/source.rs"]
mod source;

use std::fmt::Write;

use sha2::{Digest, Sha256};
use source::Flights;

const README: &str = include_str!("../examples/data/README.md");

#[test]
fn the_shipped_data_has_the_documented_hash() {
    let data = source::decompress().unwrap();
    let mut hash = String::new();
    for byte in Sha256::digest(&data) {
        write!(hash, "{byte:02x}").unwrap();
    }
    assert!(README.contains(&hash), "examples/data/README.md does not name {hash}");
}

#[test]
fn the_shipped_data_is_the_whole_year_in_order_of_schedule() {
    let flights = Flights::load().unwrap();
    assert_eq!(flights.rows.len(), 336_776);
    assert_eq!(flights.origins, ["EWR", "JFK", "LGA"]);
    assert_eq!((flights.carriers.len(), flights.dests.len(), flights.tails.len()), (16, 105, 4_044));
    assert!(flights.rows.is_sorted_by_key(|flight| flight.minute));

    // The figures of the package: 8,255 flights never left, 9,430 did not arrive where they were to.
    assert_eq!(flights.rows.iter().filter(|flight| flight.departure_delay.is_none()).count(), 8_255);
    assert_eq!(flights.rows.iter().filter(|flight| flight.arrival_delay.is_none()).count(), 9_430);
}

#[test]
fn a_flight_reads_as_the_package_has_it() {
    let flights = Flights::load().unwrap();
    // 2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15
    let first = flights.rows[0];
    assert_eq!((first.minute, first.number, first.distance_miles), (5 * 60 + 15, 1_545, 1_400));
    assert_eq!((first.departure_delay, first.arrival_delay), (Some(2), Some(11)));
    assert_eq!(flights.carriers[usize::from(first.carrier)], "UA");
    assert_eq!(flights.origins[usize::from(first.origin)], "EWR");
    assert_eq!(flights.dests[usize::from(first.dest)], "IAH");
    assert_eq!(flights.tails[usize::from(first.tail)], "N14228");
}

#[test]
fn a_cut_file_is_refused() {
    let data = source::decompress().unwrap();
    for bytes in [0, 7, 11, 200, data.len() / 2, data.len() - 1] {
        assert!(source::parse(&data[..bytes]).is_err(), "{bytes} bytes");
    }
}
