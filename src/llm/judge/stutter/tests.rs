use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use proptest::test_runner::RngSeed;

use super::*;

const NOW: UnixMillis = UnixMillis::from_millis(0);

fn at(milliseconds: u64) -> UnixMillis {
    UnixMillis::from_millis(milliseconds)
}

const SENTENCE: &str = "The capital of France is Paris, which lies on the Seine.";

/// What a stream of these pieces for choice 0 comes to, so far apart.
fn score<T: AsRef<str>>(pieces: impl IntoIterator<Item = T>, gap_ms: u64) -> f64 {
    let mut stutter = Stutter::new();
    for (piece, now_ms) in pieces
        .into_iter()
        .zip((0..).step_by(gap_ms.max(1) as usize))
    {
        stutter.piece(0, piece.as_ref(), at(if gap_ms == 0 { 0 } else { now_ms }));
    }
    assert!((0.0..=1.0).contains(&stutter.score()));
    assert_eq!(
        stutter.is_stuttering(),
        stutter.score() >= Stutter::THRESHOLD
    );
    stutter.score()
}

fn trips<T: AsRef<str>>(pieces: impl IntoIterator<Item = T>) -> bool {
    score(pieces, 20) >= Stutter::THRESHOLD
}

/// The words of a text, each with the space before it.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<_> = text.split(' ').map(|word| format!(" {word}")).collect();
    words[0].remove(0);
    words
}

/// The same pieces, each with all those before it from the `from`th on.
fn cumulative(pieces: &[String], from: usize) -> Vec<String> {
    let stuttered = |(place, piece): (usize, &String)| match place {
        place if place < from => piece.clone(),
        place => pieces[..=place].concat(),
    };
    pieces.iter().enumerate().map(stuttered).collect()
}

#[test]
fn pieces_that_follow_one_another_come_to_nothing() {
    assert_eq!(score(words(SENTENCE), 20), 0.0);
}

#[test]
fn pieces_that_each_hold_all_before_them_trip_it_at_any_haste() {
    let pieces = cumulative(&words(SENTENCE), 0);
    for gap_ms in [0, 5, 50, 500, 3_000, 60_000] {
        assert!(score(&pieces, gap_ms) >= Stutter::THRESHOLD, "{gap_ms}");
    }
}

#[test]
fn haste_similarity_and_growth_each_raise_the_score() {
    let hasty = score(["Bordeaux wine", "Bordeaux wine is"], 20);
    let slow = score(["Bordeaux wine", "Bordeaux wine is"], 6_000);
    let diluted = score(["Bordeaux wine", "Bordeaux wine is what people drink"], 20);
    let repeated = [
        "Bordeaux wine",
        "Bordeaux wine is",
        "Bordeaux wine is",
        "Bordeaux wine is red",
    ];
    let at_every_step = score([repeated[0], repeated[1], repeated[3]], 20);
    assert!(0.0 < slow && slow < hasty);
    assert!(0.0 < diluted && diluted < hasty);
    assert!(score(repeated, 20) < at_every_step);
}

#[test]
fn a_stutter_that_begins_midway_trips_it() {
    let pieces = words(SENTENCE);
    assert!(trips(cumulative(&pieces, pieces.len() / 2)));
    // The same, where what came before is not repeated.
    let (head, tail) = pieces.split_at(pieces.len() / 2);
    assert!(trips([head, &cumulative(tail, 0)].concat()));
}

#[test]
fn a_stutter_of_the_second_choice_trips_it() {
    let pieces = words(SENTENCE);
    let mut stutter = Stutter::new();
    for (healthy, stuttered) in pieces.iter().zip(cumulative(&pieces, 0)) {
        stutter.piece(0, healthy, NOW);
        stutter.piece(7, &stuttered, NOW);
    }
    assert!(stutter.is_stuttering());
}

#[test]
fn choices_that_say_the_same_in_turn_do_not_trip_it() {
    let mut stutter = Stutter::new();
    for piece in words(SENTENCE).iter().cycle().take(100) {
        for choice in 0..20 {
            stutter.piece(choice, piece, NOW);
        }
    }
    assert_eq!(stutter.score(), 0.0);
}

#[test]
fn the_choices_after_the_eighth_are_not_watched() {
    let pieces = cumulative(&words(SENTENCE), 0);
    let mut stutter = Stutter::new();
    for choice in 0..9 {
        stutter.piece(choice, "x", NOW);
    }
    for piece in &pieces {
        stutter.piece(8, piece, NOW);
    }
    assert_eq!(stutter.score(), 0.0);
    for piece in &pieces {
        stutter.piece(7, piece, NOW);
    }
    assert!(stutter.is_stuttering());
}

#[test]
fn a_long_text_sent_again_once_is_enough_and_a_short_one_is_not() {
    let long = "All happy families are alike; each unhappy family is unhappy. ".repeat(6);
    let long = format!("1. {long}");
    assert!(trips([long.as_str(), &format!("{long}And so on.")]));
    assert!(!trips([
        SENTENCE,
        &format!("{SENTENCE} And it is an old city.")
    ]));
}

#[test]
fn all_of_a_long_answer_sent_again_at_its_end_trips_it() {
    let text = "Zur Sache: Die Donau entspringt im Schwarzwald, durchquert zehn Länder und mündet \
                nach 2850 Kilometern ins Schwarze Meer. An ihren Ufern liegen Ulm, Regensburg, \
                Passau, Linz, Wien, Bratislava, Budapest, Novi Sad und Belgrad; kein anderer \
                Strom der Welt berührt so viele Hauptstädte. Schiffe befahren sie ab Kelheim.";
    let mut pieces = words(text);
    pieces.push(text.to_owned());
    assert!(trips(&pieces));
}

#[test]
fn an_odd_piece_within_a_stutter_does_not_hide_it() {
    // A cumulative text that is cut inside a character ends in a replacement once.
    let mut pieces = cumulative(&words(SENTENCE), 0);
    pieces[3].push('\u{fffd}');
    pieces.insert(6, "\n".to_owned());
    assert!(trips(&pieces));
}

#[test]
fn a_stutter_that_heals_is_not_forgiven() {
    let pieces = words(SENTENCE);
    let mut stream = cumulative(&pieces, 0);
    stream.extend(words(
        "and now it goes on as any other answer would go on, at some length.",
    ));
    let before = score(&stream[..pieces.len()], 20);
    assert!(before >= Stutter::THRESHOLD);
    assert_eq!(score(&stream, 20), before);
}

#[test]
fn a_stutter_too_short_to_tell_leaves_only_its_score_behind() {
    let chance = ["no", "no way", " he", " said", ".", " And", " so", " on"];
    let once = score(chance, 20);
    assert!(0.0 < once && once < 0.1);
    // However often it happens.
    assert_eq!(score(chance.repeat(100), 20), once);
}

#[test]
fn text_that_repeats_itself_does_not_trip_it() {
    let healthy: [&[&str]; 14] = [
        &["ha", " ha", " ha", " ha ha", " ha ha ha", " ha ha ha ha"],
        &[
            "ha ",
            "ha ha ",
            "ha ha ha ",
            "ha ha ha ha ",
            "ha ha ha ha ha!",
        ],
        &["a", " a", " an", " and", " the", " the", " then", " a"],
        &["!", "!!", "!!!", "!!!!", "!!!!!!!!", "!!!!!!!!!!!!!!!!"],
        &["no", "no", "nono", "nononono", "nononononononono", "no."],
        &["|", "|--", "|---", "|----|", "|----|---", "|----|---|\n"],
        &[
            "| a | b |\n",
            "| a | b |\n",
            "| a | b |\n| a | b |\n",
            "| a | b |\n| c | d |\n",
        ],
        &[
            "1", ".", " The", " cat", "\n", "2", ".", " The", " cat", "\n", "10", ".", " The",
        ],
        &[
            "\n",
            "\n    ",
            "\n        ",
            "\n            ",
            "\n                ",
            "x",
        ],
        &[
            "{", "{{", "{{{", "[", "[[", "[[[", "((", "((((", "((((((", "))))))",
        ],
        &[
            "{\"a\":0},",
            "{\"a\":0},",
            "{\"a\":0},{\"a\":0},",
            "{\"a\":0},{\"a\":0},{\"a\":0}]",
        ],
        &[
            "0", "00", "000", "0000", "00000", "000000", "1", "10", "101", "1010", "10101",
        ],
        &[
            "H", "\n", "He", "\n", "Hel", "\n", "Hell", "\n", "Hello", "\n", "Hello!", "\n",
        ],
        &["", "", "", "Hi", "", "", "!", "", ""],
    ];
    for pieces in healthy {
        let healthy = score(pieces.iter(), 0);
        assert!(healthy < Stutter::THRESHOLD / 2.0, "{healthy} {pieces:?}");
        let often = score(pieces.repeat(50), 0);
        assert!(often < Stutter::THRESHOLD / 2.0, "{often} {pieces:?}");
    }
}

#[test]
fn large_equal_pieces_do_not_trip_it() {
    let verse = "All work and no play makes Jack a dull boy. ".repeat(20) + "\n";
    let counts = [1, 1, 2, 1, 2, 3, 5, 8, 13, 1, 2, 4];
    assert_eq!(score(counts.map(|count| verse.repeat(count)), 0), 0.0);
    let mut array: Vec<_> = counts.map(|count| format!("{verse},").repeat(count)).into();
    array.push(format!("{verse},{verse}]"));
    assert_eq!(score(array, 0), 0.0);
}

#[test]
fn a_clock_that_goes_back_does_no_harm() {
    let mut stutter = Stutter::new();
    for (piece, now_ms) in cumulative(&words(SENTENCE), 0)
        .iter()
        .zip([u64::MAX, 0].iter().cycle())
    {
        stutter.piece(u64::MAX, piece, at(*now_ms));
    }
    assert!(stutter.is_stuttering());
}

#[test]
fn long_texts_are_compared_whole_though_only_their_beginning_is_held() {
    let head = "x y z ".repeat(HEAD_BYTES);
    let mut told = TextPrefix::default();
    told.append(head.as_bytes());
    assert_eq!(told.head.len(), HEAD_BYTES);
    assert!(told.begins(head.as_bytes()));
    assert!(told.begins(format!("{head}!").as_bytes()));
    assert!(!told.begins(&head.as_bytes()[1..]));
    assert!(!told.begins(&head.as_bytes()[..head.len() - 1]));
    let other_end = format!("{}!", head.strip_suffix(' ').unwrap());
    assert!(!told.begins(other_end.as_bytes()));
}

#[test]
fn what_is_held_does_not_grow_with_the_stream() {
    let mut stutter = Stutter::new();
    let piece = "0123456789".repeat(1_000);
    for choice in 0..100 {
        for _ in 0..100 {
            stutter.piece(choice, &piece, NOW);
        }
    }
    let held = |choice: &Choice| match &choice.state {
        State::NormalFlow(heard) => heard.last.head.capacity() + heard.whole.head.capacity(),
        other => panic!("{other:?}"),
    };
    assert_eq!(stutter.choices.len(), MAX_CHOICES);
    assert!(stutter.choices.iter().map(held).sum::<usize>() <= MAX_CHOICES * 4 * HEAD_BYTES);
}

/// Texts of which much is said more than once.
fn repetitive_texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab ]{1,6}".prop_map(|unit| unit.repeat(200)),
        "[a-z]{2,40}".prop_map(|word| format!("{{\"name\":\"{word}\",\"value\":0}},").repeat(60)),
        "[a-z ]{2,40}".prop_map(|line| format!("| {line} | x |\n").repeat(60)),
        "[a-z ]{2,300}".prop_map(|line| format!("{line}\n").repeat(20)),
        (1..40_usize).prop_map(|n| (0..n)
            .map(|i| format!("{}- {i}\n", "  ".repeat(i)))
            .collect()),
        (1..200_u32).prop_map(|n| (0..n).map(|i| format!("{i}. Do the thing\n")).collect()),
        (1..60_usize).prop_map(|n| (0..n).map(|i| "*".repeat(i) + "\n").collect()),
        "[01]{1,800}",
        "[ACGT]{1,800}",
        Just(include_str!("../stutter.rs").to_owned()),
    ]
}

/// A text, cut at random.
fn cut(text: String, cuts: &[Index]) -> Vec<String> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    ends.extend([0, text.len()]);
    ends.retain(|end| text.is_char_boundary(*end));
    ends.sort_unstable();
    let piece = |ends: &[usize]| text.get(ends[0]..ends[1]).unwrap().to_owned();
    ends.windows(2).map(piece).collect()
}

proptest! {
    // Always the same texts: some hundred equal elements, cut at just the wrong places, do trip it,
    // one in some ten thousand such texts, and a test that fails by chance tells nobody anything.
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn no_way_to_cut_a_text_that_repeats_itself_trips_it(
        text in repetitive_texts(),
        cuts in proptest::collection::vec(any::<Index>(), 0..300),
    ) {
        let pieces = cut(text, &cuts);
        let score = score(&pieces, 0);
        prop_assert!(score < Stutter::THRESHOLD, "{score} {pieces:?}");
    }

    #[test]
    fn pieces_of_random_letters_do_not_trip_it(
        pieces in proptest::collection::vec("[ab]{1,3}|[a-c ]{1,8}|[0-9]{1,3}", 0..600),
    ) {
        let score = score(&pieces, 0);
        prop_assert!(score < Stutter::THRESHOLD, "{score}");
    }

    #[test]
    fn every_stutter_of_some_length_trips_it(
        before in proptest::collection::vec(" [a-z]{1,8}", 0..40),
        text in proptest::collection::vec(" [a-z]{2,8}", 14..40),
        all in any::<bool>(),
        gap_ms in 0..1_000_u64,
    ) {
        let stream = if all {
            cumulative(&[before.clone(), text].concat(), before.len())
        } else {
            [before, cumulative(&text, 0)].concat()
        };
        let score = score(&stream, gap_ms);
        prop_assert!(score >= Stutter::THRESHOLD, "{score}");
    }

    #[test]
    fn odd_pieces_between_do_not_hide_a_stutter(
        text in proptest::collection::vec(" [a-z]{2,8}", 24..40),
        odd in subsequence((0..24).collect::<Vec<_>>(), 0..6),
    ) {
        let mut stream = cumulative(&text, 0);
        for place in odd.iter().rev() {
            stream[*place] = "\u{fffd}".to_owned();
        }
        prop_assert!(trips(&stream));
    }

    #[test]
    fn a_score_never_falls(
        pieces in proptest::collection::vec(
            (0..3_u64, "[ab]{0,4}|(abcdefgh){1,8}", any::<u16>()),
            0..60,
        ),
    ) {
        let mut stutter = Stutter::new();
        let mut highest = 0.0;
        for (choice, piece, now_ms) in &pieces {
            stutter.piece(*choice, piece, at(u64::from(*now_ms)));
            prop_assert!(stutter.score() >= highest && stutter.score() <= 1.0);
            highest = stutter.score();
        }
    }
}
