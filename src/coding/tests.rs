use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use proptest::prelude::*;

use super::*;

const TEXT: &[u8] = b"data: hello\n\n";

/// `TEXT` by zlib's `deflate`, raw, and the trailer that gzip adds.
const RAW: &[u8] = b"\x4b\x49\x2c\x49\xb4\x52\xc8\x48\xcd\xc9\xc9\xe7\xe2\x02\x00";
const TRAILER: &[u8] = b"\x1d\x73\x9d\xd4\x0d\x00\x00\x00";

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// One frame, by the reference implementation, with all that clients rely on.
fn zstd(data: &[u8], level: i32) -> Vec<u8> {
    let mut encoder = ::zstd::Encoder::new(Vec::new(), level).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A frame that says nothing (RFC 8878, section 3.1.2).
const SKIPPABLE: &[u8] = b"\x50\x2a\x4d\x18\x01\0\0\0x";

/// A member of gzip by zlib itself, with these flags and fields.
fn member(flags: u8, fields: &[u8]) -> Vec<u8> {
    let head = [0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 2, 255];
    [&head, fields, RAW, TRAILER].concat()
}

fn decode<'c>(
    coding: &str,
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> Result<Vec<u8>, CodingFault> {
    let mut decoder = Decoder::new(coding.as_bytes(), 1 << 20).unwrap();
    let mut out = Vec::new();
    for chunk in chunks {
        decoder.decode(chunk, &mut out)?;
    }
    decoder.finish()?;
    Ok(out)
}

/// A text that compresses a little, longer than the window.
fn long_text() -> Vec<u8> {
    let mut state = 1_u32;
    let mut word = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        format!("data: {}\n\n", state >> 20)
    };
    (0..20_000).flat_map(|_| word().into_bytes()).collect()
}

#[test]
fn codings_are_known_without_regard_to_case_and_one_at_a_time() {
    for known in [
        "identity", "", " GZip\t", "gzip", "X-GZIP", "deflate", "Zstd",
    ] {
        assert!(Decoder::new(known.as_bytes(), 1).is_some(), "{known}");
    }
    for unknown in [
        "gzip, gzip",
        "gzip,",
        "br",
        "zstd, gzip",
        "compress",
        "gzip;q=1",
    ] {
        assert!(Decoder::new(unknown.as_bytes(), 1).is_none(), "{unknown}");
    }
}

#[test]
fn identity_gives_what_it_takes() {
    assert_eq!(decode("identity", [&b"ab"[..], b"", b"c"]).unwrap(), b"abc");
    assert_eq!(decode("identity", []).unwrap(), b"");
}

#[test]
fn every_field_of_a_gzip_header_is_passed_over() {
    let checked = b"\x03\x00abcname\x00a comment\x00\xf8\x47";
    for (flags, fields) in [
        (0x00, &b""[..]),
        (0x01, b""),
        (0x04, b"\x00\x00"),
        (0x04, b"\x03\x00\x00\x1f\x8b"),
        (0x08, b"\x00"),
        (0x08, b"name\x00"),
        (0x10, b"comment\x00"),
        (0x18, b"\x00\x00"),
        (0x1f, checked),
    ] {
        let whole = member(flags, fields);
        assert_eq!(decode("gzip", [&whole[..]]).unwrap(), TEXT, "{flags:x}");
        assert_eq!(decode("gzip", whole.chunks(1)).unwrap(), TEXT, "{flags:x}");
    }
}

#[test]
fn a_wrong_gzip_header_is_a_fault() {
    let wrong_checksum = b"\x03\x00abcname\x00a comment\x00\xf8\x48";
    for (flags, fields, fault) in [
        (0x1f, &wrong_checksum[..], CodingFault::Checksum),
        (0x20, b"", CodingFault::Malformed),
        (0x80, b"", CodingFault::Malformed),
    ] {
        assert_eq!(decode("gzip", [&member(flags, fields)[..]]), Err(fault));
    }
    for place in 0..3 {
        let mut wrong = member(0, b"");
        wrong[place] ^= 1;
        assert_eq!(decode("gzip", [&wrong[..]]), Err(CodingFault::Malformed));
    }
}

#[test]
fn a_second_member_is_a_fault_because_some_clients_stop_before_it() {
    for second in [&member(0, b"")[..], &gzip(b""), b"\x1f"] {
        let members = [&gzip(TEXT), second].concat();
        let after_end = Err(CodingFault::AfterEnd);
        assert_eq!(decode("gzip", [&members[..]]), after_end);
        assert_eq!(decode("gzip", members.chunks(1)), after_end);
    }
    for second in [zstd(b"", 3), SKIPPABLE.to_vec()] {
        let frames = [zstd(TEXT, 3), second].concat();
        assert_eq!(decode("zstd", [&frames[..]]), Err(CodingFault::AfterEnd));
        assert_eq!(decode("zstd", frames.chunks(1)), Err(CodingFault::AfterEnd));
    }
    assert_eq!(decode("zstd", [SKIPPABLE]), Err(CodingFault::Malformed));
}

#[test]
fn what_reaches_before_the_beginning_is_a_fault() {
    // An `a`, then three bytes from four bytes back: zlib says "invalid distance too far back".
    let far = b"\x4b\x04\x62\x00";
    let coded = [&member(0, b"")[..10], far].concat();
    assert_eq!(decode("gzip", [&coded[..]]), Err(CodingFault::Malformed));
}

#[test]
fn anything_after_the_end_is_a_fault() {
    for garbage in [&b"\0"[..], b"x", b"\n", b"\x8b"] {
        let coded = [&gzip(TEXT), garbage].concat();
        let after_end = Err(CodingFault::AfterEnd);
        assert_eq!(decode("gzip", [&coded[..]]), after_end);
        assert_eq!(decode("gzip", coded.chunks(1)), after_end);
        let coded = [&zlib(TEXT), garbage].concat();
        assert_eq!(decode("deflate", [&coded[..]]), after_end);
        assert_eq!(decode("deflate", coded.chunks(1)), after_end);
    }
    // A zlib stream has one part only.
    let coded = [zlib(TEXT), zlib(TEXT)].concat();
    assert_eq!(decode("deflate", [&coded[..]]), Err(CodingFault::AfterEnd));
}

/// The shortest block with codes of its own, which says nothing.
const EMPTY_BLOCK: &[(u32, u32)] = &[
    (0b100, 3),
    (0, 10),
    (14, 4),
    (0, 6),
    (1, 3),
    (0, 42),
    (1, 3),
    (0b1111_1111, 8),
    (0b1101_0111, 8),
    (0, 3),
];

#[test]
fn a_block_with_codes_of_its_own_says_as_much_as_they_cost() {
    let (mut raw, mut held, mut count) = (Vec::new(), 0_u64, 0);
    for (value, length) in EMPTY_BLOCK.iter().cycle().take(EMPTY_BLOCK.len() * 100) {
        held |= u64::from(*value) << count;
        count += length;
        while count >= 8 {
            raw.push(held as u8);
            held >>= 8;
            count -= 8;
        }
    }
    let coded = [&member(0, b"")[..10], &raw].concat();
    assert_eq!(decode("gzip", [&coded[..]]), Err(CodingFault::Laborious));
    // Fewer of them may begin an answer.
    assert_eq!(decode("gzip", [&coded[..300]]), Err(CodingFault::Truncated));
    // As what flushes each event does.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let text = long_text();
    for event in text.chunks(100) {
        encoder.write_all(event).unwrap();
        encoder.flush().unwrap();
    }
    let coded = encoder.finish().unwrap();
    assert!(decode("gzip", [&coded[..]]).unwrap() == text);
}

#[test]
fn raw_deflate_is_no_deflate() {
    assert_eq!(decode("deflate", [RAW]), Err(CodingFault::Malformed));
}

#[test]
fn a_long_answer_is_decoded_at_every_split() {
    for text in [TEXT, &long_text()] {
        for (coding, coded) in [
            ("gzip", gzip(text)),
            ("deflate", zlib(text)),
            ("zstd", zstd(text, 1)),
            ("zstd", zstd(text, 19)),
        ] {
            for size in [1, 2, 7, 64, 4_096, usize::MAX] {
                let decoded = decode(coding, coded.chunks(size));
                assert!(decoded.unwrap() == text, "{coding} by {size}");
            }
            for split in (0..=coded.len()).step_by(1 + coded.len() / 97) {
                let (head, tail) = coded.split_at(split);
                let decoded = decode(coding, [head, tail]);
                assert!(decoded.unwrap() == text, "{coding} at {split}");
            }
        }
    }
}

#[test]
fn a_beginning_is_decoded_alike_at_every_split_and_has_not_ended() {
    let text = &long_text()[..20_000];
    for (coding, coded) in [
        ("gzip", gzip(text)),
        ("deflate", zlib(text)),
        ("zstd", zstd(text, 3)),
    ] {
        let beginning = |end: usize, size: usize| {
            let mut decoder = Decoder::new(coding.as_bytes(), 1 << 20).unwrap();
            let mut out = Vec::new();
            for chunk in coded[..end].chunks(size) {
                decoder.decode(chunk, &mut out).unwrap();
            }
            (decoder.is_ended(), out)
        };
        for end in (0..coded.len()).step_by(97).chain([coded.len() - 1]) {
            let (is_ended, at_once) = beginning(end, usize::MAX);
            assert!(!is_ended && text.starts_with(&at_once), "{coding} {end}");
            for size in [1, 7, 1_000] {
                let in_pieces = beginning(end, size);
                assert!(
                    in_pieces == (false, at_once.clone()),
                    "{coding} {end} {size}"
                );
            }
        }
        assert_eq!(beginning(coded.len(), 7), (true, text.into()), "{coding}");
    }
}

#[test]
fn an_answer_that_is_cut_anywhere_is_not_at_its_end() {
    for (coding, coded) in [
        ("gzip", gzip(TEXT)),
        (
            "gzip",
            member(0x1f, b"\x03\x00abcname\x00a comment\x00\xf8\x47"),
        ),
        ("gzip", gzip(&long_text()[..2_000])),
        ("deflate", zlib(TEXT)),
        ("deflate", zlib(&long_text()[..2_000])),
        ("zstd", zstd(TEXT, 3)),
        ("zstd", zstd(&long_text()[..2_000], 3)),
    ] {
        for cut in 0..coded.len() {
            let truncated = Err(CodingFault::Truncated);
            assert_eq!(decode(coding, [&coded[..cut]]), truncated, "{coding} {cut}");
            assert_eq!(decode(coding, coded[..cut].chunks(1)), truncated);
        }
    }
}

#[test]
fn a_flipped_bit_never_makes_another_answer() {
    let text = &long_text()[..600];
    for (coding, coded) in [
        ("gzip", gzip(text)),
        ("deflate", zlib(text)),
        ("zstd", zstd(text, 3)),
    ] {
        let mut undetected = 0;
        for bit in 0..coded.len() * 8 {
            let mut flipped = coded.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(decoded) = decode(coding, [&flipped[..]]) {
                assert!(decoded == text, "{coding} {bit}");
                undetected += 1;
            }
        }
        // The time, the compressor and the system in gzip's header, and the padding at the end.
        assert!(undetected <= 1 + 6 * 8 + 7, "{coding} {undetected}");
    }
}

#[test]
fn a_flipped_bit_of_a_checksum_is_told_as_such() {
    for (coding, coded, trailer) in [
        ("gzip", gzip(TEXT), 8),
        ("deflate", zlib(TEXT), 4),
        ("zstd", zstd(TEXT, 3), 4),
    ] {
        for bit in (coded.len() - trailer) * 8..coded.len() * 8 {
            let mut flipped = coded.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let checksum = Err(CodingFault::Checksum);
            assert_eq!(decode(coding, [&flipped[..]]), checksum, "{coding} {bit}");
        }
    }
}

#[test]
fn a_bomb_stops_at_the_cap() {
    let zeros = vec![0; 10 << 20];
    let cap = 100_000;
    for (coding, coded) in [
        ("gzip", gzip(&zeros)),
        ("deflate", zlib(&zeros)),
        ("zstd", zstd(&zeros, 3)),
    ] {
        for size in [1, 100, usize::MAX] {
            let mut decoder = Decoder::new(coding.as_bytes(), cap).unwrap();
            let mut out = Vec::new();
            let mut chunks = coded.chunks(size);
            let fault = chunks.find_map(|chunk| decoder.decode(chunk, &mut out).err());
            assert_eq!(fault, Some(CodingFault::TooLarge), "{coding} by {size}");
            assert!(out.len() <= cap && out.capacity() <= 2 * cap, "{coding}");
            // And stays so.
            assert_eq!(decoder.decode(b"", &mut out), Err(CodingFault::TooLarge));
            assert_eq!(decoder.decode(b"x", &mut out), Err(CodingFault::TooLarge));
            assert!(out.len() <= cap);
            assert_eq!(decoder.finish(), Err(CodingFault::TooLarge));
        }
    }
}

#[test]
fn the_cap_is_what_comes_out_and_no_less() {
    for (coding, coded, length) in [
        ("identity", TEXT.to_vec(), TEXT.len()),
        ("gzip", gzip(TEXT), TEXT.len()),
        ("deflate", zlib(TEXT), TEXT.len()),
        ("zstd", zstd(TEXT, 3), TEXT.len()),
    ] {
        let decode = |cap| {
            let mut decoder = Decoder::new(coding.as_bytes(), cap).unwrap();
            decoder.decode(&coded, &mut Vec::new())?;
            decoder.finish()
        };
        assert_eq!(decode(length), Ok(()), "{coding}");
        assert_eq!(decode(length - 1), Err(CodingFault::TooLarge), "{coding}");
    }
}

#[test]
fn what_goes_out_may_be_taken_away_between_chunks() {
    let text = long_text();
    let mut decoder = Decoder::new(b"gzip", text.len()).unwrap();
    let (mut out, mut taken) = (Vec::new(), Vec::new());
    for chunk in gzip(&text).chunks(1_000) {
        decoder.decode(chunk, &mut out).unwrap();
        taken.append(&mut out);
    }
    decoder.finish().unwrap();
    assert!(taken == text);
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded_however_it_is_cut(
        parts in proptest::collection::vec(
            prop_oneof!["[ab]{0,9}", "(data: hello\n\n){0,3000}", ".{0,200}"],
            0..6,
        ),
        level in 0..10_u32,
        size in 1..3_000_usize,
        flushed in any::<bool>(),
        checked in any::<bool>(),
    ) {
        let text = parts.concat();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
        for part in &parts {
            encoder.write_all(part.as_bytes()).unwrap();
            if flushed {
                encoder.flush().unwrap();
            }
        }
        let coded = encoder.finish().unwrap();
        prop_assert_eq!(decode("gzip", coded.chunks(size)).unwrap(), text.as_bytes());
        let mut encoder = ::zstd::Encoder::new(Vec::new(), 2 * level as i32 + 1).unwrap();
        encoder.include_checksum(checked).unwrap();
        for part in &parts {
            encoder.write_all(part.as_bytes()).unwrap();
            if flushed {
                encoder.flush().unwrap();
            }
        }
        let coded = encoder.finish().unwrap();
        prop_assert_eq!(decode("zstd", coded.chunks(size)).unwrap(), text.as_bytes());
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(text.as_bytes()).unwrap();
        let coded = encoder.finish().unwrap();
        prop_assert_eq!(decode("deflate", coded.chunks(size)).unwrap(), text.as_bytes());
    }

    #[test]
    fn any_bytes_come_to_the_same_however_they_are_cut(
        head in proptest::sample::select(vec![
            &b""[..],
            b"\x1f\x8b\x08",
            b"\x1f\x8b\x08\0\0\0\0\0\0\0",
            b"\x78\x9c",
            b"\x28\xb5\x2f\xfd\x04\x58",
            b"\x28\xb5\x2f\xfd\x20\x40\x85\x00\x00",
        ]),
        tail in proptest::collection::vec(any::<u8>(), 0..400),
        coding in proptest::sample::select(vec!["gzip", "deflate", "zstd"]),
        size in 1..40_usize,
    ) {
        let bytes = [head, &tail].concat();
        let at_once = decode(coding, [&bytes[..]]);
        prop_assert_eq!(decode(coding, bytes.chunks(size)), at_once);
    }
}
