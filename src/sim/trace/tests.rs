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
    forth.mix("put", 1, 2);
    forth.mix("put", 3, 4);
    back.mix("put", 3, 4);
    back.mix("put", 1, 2);
    assert_ne!(forth.digest(), back.digest());

    let named = ["put", "end"].map(|what| {
        let trace = Trace::new();
        trace.mix(what, 1, 2);
        trace.digest()
    });
    assert_ne!(named[0], named[1]);
}

/// What makes bisection right: from the first difference on, no milestone is equal.
#[test]
fn milestones_differ_from_the_first_difference_on() {
    let events = 10 * Trace::milestone_events();
    let at = 3 * Trace::milestone_events() + 17;
    let traces = [false, true].map(|other| {
        let trace = Trace::new();
        trace.keep(at..at + 1);
        for event in 0..events {
            trace.step(u64::from(other && event == at), Tick(event));
        }
        trace
    });
    let [one, other] = traces.each_ref().map(Trace::milestones);
    assert_eq!(one.len(), 10);
    assert_eq!(one[..3], other[..3]);
    assert!(one[3..].iter().zip(&other[3..]).all(|(one, other)| one != other));
    assert_eq!(traces[0].kept(), ["0.003089ms step of task 0"]);
    assert_eq!(traces[1].kept(), ["0.003089ms step of task 1"]);
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
