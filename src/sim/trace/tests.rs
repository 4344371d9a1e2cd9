use super::Trace;
use crate::env::Tick;

fn write(trace: &Trace, offset: u64, result: &str, at: u64) {
    trace.event("core-0", "write_at", format_args!("offset {offset}"), format_args!("{result}"), Tick(at));
}

#[test]
fn equal_events_give_equal_digests() {
    let (one, other) = (Trace::new(), Trace::with_lines(1));
    for trace in [&one, &other] {
        for step in 0..100 {
            write(trace, step * 4096, "Ok(4096)", step);
        }
    }
    assert_eq!(one.digest(), other.digest());
    assert_eq!(one.events(), 100);
}

#[test]
fn any_difference_moves_the_digest() {
    let digests = [(0, "Ok(1)", 5), (1, "Ok(1)", 5), (0, "Ok(2)", 5), (0, "Ok(1)", 6)].map(|(o, r, at)| {
        let trace = Trace::new();
        write(&trace, o, r, at);
        trace.digest()
    });
    for (i, digest) in digests.iter().enumerate() {
        assert!(!digests[..i].contains(digest));
    }

    let (forth, back) = (Trace::new(), Trace::new());
    forth.mix(1, 2);
    forth.mix(3, 4);
    back.mix(3, 4);
    back.mix(1, 2);
    assert_ne!(forth.digest(), back.digest());
}

#[test]
fn the_last_lines_are_kept_in_order() {
    let trace = Trace::with_lines(3);
    for step in 0..10 {
        write(&trace, step, "Ok(1)", 1_500_000 + step);
    }
    assert_eq!(
        trace.last(2),
        ["1.500008ms core-0: write_at(offset 8) = Ok(1)", "1.500009ms core-0: write_at(offset 9) = Ok(1)"]
    );
    assert_eq!(trace.last(100).len(), 3);
}
