use super::{Stream, Streams};

fn words(stream: &mut Stream, count: usize) -> Vec<u64> {
    (0..count).map(|_| stream.bits()).collect()
}

#[test]
fn a_stream_depends_on_the_seed_and_its_name_only() {
    let alone = words(&mut Streams::new(7).stream("disk"), 100);

    let streams = Streams::new(7);
    let mut schedule = streams.stream("schedule");
    let mut disk = streams.stream("disk");
    let mut among_others = Vec::new();
    for _ in 0..100 {
        schedule.bits();
        schedule.fill(&mut [0; 13]);
        streams.stream("another").bits();
        among_others.push(disk.bits());
    }
    assert_eq!(alone, among_others);

    assert_ne!(alone, words(&mut Streams::new(8).stream("disk"), 100));
    assert_ne!(alone, words(&mut Streams::new(7).stream("disk "), 100));
    assert_ne!(alone, words(&mut Streams::new(7).fork("node").stream("disk"), 100));
}

/// The words are part of what a recorded seed means: they may not change with a dependency.
#[test]
fn the_words_of_a_seed_are_fixed() {
    let mut stream = Streams::new(0x5eed).stream("schedule");
    assert_eq!(words(&mut stream, 2), WORDS);
}

const WORDS: [u64; 2] = [9_919_813_532_726_166_208, 7_362_502_208_269_404_641];

#[test]
fn every_draw_takes_one_word() {
    let mut reference = Streams::new(1).stream("a");
    let mut drawn = Streams::new(1).stream("a");
    for round in 1..200_u64 {
        match round % 5 {
            0 => assert!(!drawn.chance(0.0)),
            1 => assert!(drawn.chance(1.0)),
            2 => assert!(drawn.below(round) < round),
            3 => assert!((round..=2 * round).contains(&drawn.range(round, 2 * round))),
            _ => assert!(drawn.pick(&[1, 2, 3]) <= &3),
        }
        reference.bits();
    }
    assert_eq!(reference.bits(), drawn.bits());
}

#[test]
fn draws_reach_both_ends_of_their_range() {
    let mut stream = Streams::new(2).stream("a");
    let drawn: Vec<u64> = (0..1000).map(|_| stream.range(3, 6)).collect();
    for value in 3..=6 {
        assert!(drawn.contains(&value));
    }
    assert_eq!(stream.below(1), 0);
    assert_eq!(stream.range(9, 9), 9);
    stream.range(0, u64::MAX);
    let heads = (0..10_000).filter(|_| stream.chance(0.25)).count();
    assert!((2_200..2_800).contains(&heads), "{heads}");
}
