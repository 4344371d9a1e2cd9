use super::{Choices, Deviation, Fit, Tape};

fn ask(choices: &mut impl Choices, options: &[u32]) -> Vec<u32> {
    options.iter().map(|&options| choices.choose(options)).collect()
}

#[test]
fn a_tape_plays_what_it_recorded_and_says_that_it_fitted() {
    let tape = Tape::default();
    let played = ask(&mut tape.record(Tape::new(vec![1, 0, 2]).replay()), &[2, 2, 3]);
    assert_eq!(tape.choices(), [1, 0, 2]);
    assert_eq!(ask(&mut tape.replay(), &[2, 2, 3]), played);
    assert_eq!(tape.fit(), Fit { asked: 3, out_of_range: 0, behind_end: 0 });
    assert_eq!(tape.fit().to_string(), "the tape had all 3 choices");
}

#[test]
fn what_does_not_fit_is_the_default_and_is_counted() {
    let tape = Tape::new(vec![7, 1]);
    assert_eq!(ask(&mut tape.replay(), &[2, 2, 9, 9]), [0, 1, 0, 0]);
    assert_eq!(tape.fit(), Fit { asked: 4, out_of_range: 1, behind_end: 2 });
    assert!(!tape.fit().is_exact());
    let words = "of 4 choices 2 were behind the end of the tape and 1 did not fit: the default was taken";
    assert_eq!(tape.fit().to_string(), words);

    // The next replay counts for itself.
    assert_eq!(ask(&mut tape.replay(), &[8, 2]), [7, 1]);
    assert!(tape.fit().is_exact());
}

#[test]
fn a_tape_is_its_deviations() {
    let tape = Tape::new(vec![0, 3, 0, 0, 1, 0]);
    let deviations = tape.deviations();
    assert_eq!(deviations, [Deviation { at: 1, choice: 3 }, Deviation { at: 4, choice: 1 }]);
    assert_eq!(Tape::of_deviations(&deviations).choices(), [0, 3, 0, 0, 1]);
    assert!(Tape::of_deviations(&[]).choices().is_empty());
}
