use crate::meter::figures;
use crate::profile::{Part, Profile};
use crate::report::{human, machine, markdown, svg, versions};
use crate::run::{RowFigures, Run, Table};
use crate::workload;

/// A run of W1 in which each row is slower than the one before it, and one row failed.
fn run() -> Run {
    let workload = workload::of("W1").unwrap();
    let row = |(at, row): (usize, workload::Row)| {
        let round = |round: u32| {
            let micros = (50.0 + at as f64) * f64::from(round);
            Some(figures([("p50_us", micros), ("p99_us", 2.0 * micros)]))
        };
        let failed = row.name == "uring-linked";
        let rounds = if failed { vec![None; 3] } else { [1, 2, 3].map(round).to_vec() };
        RowFigures { row, rounds, failure: failed.then(|| "no such call".to_owned()) }
    };
    let rows = (workload.rows)().into_iter().enumerate().map(row).collect();
    Run {
        machine: machine::of(std::path::Path::new(".")),
        versions: versions::all(),
        date: machine::date(),
        command: "--quick".to_owned(),
        quick: true,
        seconds: 61,
        tables: vec![Table { workload: "W1".to_owned(), rows }],
        profiles: vec![Profile { workload: "W2".to_owned(), row: "highwater".to_owned(), parts: parts() }],
    }
}

fn parts() -> Vec<Part> {
    let part = |share, place: &str| Part { share, place: place.to_owned(), function: "f".to_owned() };
    vec![part(40.0, "kernel"), part(30.25, "libc.so.6"), part(20.0, "kernel"), part(0.5, "vdso")]
}

#[test]
fn a_report_says_what_was_lost_what_failed_and_how_it_was_made() {
    let text = markdown::text(&run(), Some("performance.svg"));
    // The rounds differ threefold, and the paired ratio not at all: eight rows behind the first, 58 to 50.
    assert!(text.contains(
        "| W1 | highwater-inline | `p50_us` | ≤ 1.05 × baseline (raw-append) | 1.16 × (1.16–1.16) |"
    ));
    assert!(text.contains("**missed by 10 %**"), "{text}");
    assert!(text.contains("**failed: no such call**"));
    assert!(text.contains("Never edit a figure by hand") && text.contains("](performance.svg)"));
    assert!(text.contains("The figures mean little") && text.contains("## Method"));
    assert!(text.contains("### W2 highwater: kernel 60 %, libc.so.6 30 %\n"), "{text}");
    assert!(text.contains("| 30.2 | libc.so.6 | `f` |") && !text.contains("vdso"));
}

#[test]
fn a_run_is_read_back_from_json_and_gives_the_same_report() {
    let run = run();
    let again: Run = serde_json::from_str(&serde_json::to_string(&run).unwrap()).unwrap();
    assert_eq!(markdown::text(&run, None), markdown::text(&again, None));
}

#[test]
fn the_picture_has_a_bar_for_each_row_that_has_a_figure() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("performance.svg");
    svg::write(&run(), &path).unwrap();
    let picture = std::fs::read_to_string(path).unwrap();
    assert!(picture.contains("raw-append") && picture.contains("highwater-inline"));
    assert!(!picture.contains("uring-linked"));
}

#[test]
fn figures_have_three_or_four_digits() {
    let said = [0.0, 0.1666, 4.567, 75.04, 122.5, 4096.4, 12_628.0, 5_558_593.0].map(human);
    assert_eq!(said, ["0.00", "0.17", "4.57", "75.0", "122", "4096", "12.6 k", "5.56 M"]);
}
