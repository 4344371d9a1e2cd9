//! What a checksum costs, by length.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::{Row, Slice, Workload, higher};
use crate::meter::{Figures, figures};
use crate::peer::Result;
use crate::record::Values;

pub(super) const WORKLOAD: Workload = Workload {
    id: "crc",
    title: "Checksums, GB/s",
    about: "The same bytes again and again, 128 B, 4 KiB and 1 MiB at once.",
    columns: &[higher("gb_s_4k"), higher("gb_s_128"), higher("gb_s_1m")],
    rounds: 5,
    rows,
    run,
};

fn rows() -> Vec<Row> {
    let raw = Row::raw;
    vec![
        raw("memcpy", "no checksum"),
        raw("crc32c", "CRC-32C: the one in use"),
        raw("crc-fast", "CRC-32C"),
        raw("crc32fast", "CRC-32 (IEEE)"),
    ]
}

type Work = Box<dyn FnMut(&[u8])>;

/// Gigabytes of `bytes` at once that `work` gets through in a second.
fn rate(bytes: &[u8], least: Duration, mut work: impl FnMut(&[u8])) -> f64 {
    let (start, mut done) = (Instant::now(), 0_u64);
    let at_once = ((1 << 20) / bytes.len()).max(1);
    while start.elapsed() < least {
        for _ in 0..at_once {
            work(black_box(bytes));
        }
        done += (at_once * bytes.len()) as u64;
    }
    done as f64 / 1e9 / start.elapsed().as_secs_f64()
}

fn run(row: &str, slice: &Slice) -> Result<Figures> {
    let least = Duration::from_millis(slice.pick(20, 200));
    let values = Values::new();
    let mut copy = vec![0; 1 << 20];
    let mut work: Work = match row {
        "memcpy" => Box::new(move |bytes| {
            copy[..bytes.len()].copy_from_slice(bytes);
            black_box(&mut copy);
        }),
        "crc32c" => Box::new(|bytes| {
            black_box(crc32c::crc32c(bytes));
        }),
        "crc-fast" => Box::new(|bytes| {
            black_box(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes));
        }),
        "crc32fast" => Box::new(|bytes| {
            black_box(crc32fast::hash(bytes));
        }),
        _ => return Err(format!("no row {row}").into()),
    };
    let mut of = |bytes| rate(values.of(0, 0, bytes), least, &mut work);
    Ok(figures([("gb_s_128", of(128)), ("gb_s_4k", of(4 << 10)), ("gb_s_1m", of((1 << 20) - 1))]))
}
