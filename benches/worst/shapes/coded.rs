//! Of chat completions and of prompts, compressed.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use envoy_llm_cache::coding::{FREE_PROMPT_BYTES, MAX_PROMPT_RATIO};

use super::{Answer, CHAT, SIZE, plain_stream, stream};

pub(super) fn coded() -> Vec<Answer> {
    let gzip = |name, deflate: Vec<u8>| Answer {
        coding: "gzip",
        ..stream(name, CHAT, [&GZIP_HEADER[..], &deflate].concat())
    };
    let zstd = |name, body| Answer {
        coding: "zstd",
        ..stream(name, CHAT, body)
    };
    let plain = plain_stream();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut flushed = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&plain).unwrap();
    for event in plain.split_inclusive(|byte| *byte == b'\n') {
        flushed.write_all(event).unwrap();
        flushed.flush().unwrap();
    }
    let mut name = vec![0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 255];
    name.resize(SIZE, b'n');
    let comments = ":\n".repeat(SIZE / 2);
    vec![
        Answer {
            coding: "gzip",
            ..stream("gzip", CHAT, encoder.finish().unwrap())
        },
        Answer {
            coding: "gzip",
            ..stream(
                "gzip, flushed after each line",
                CHAT,
                flushed.finish().unwrap(),
            )
        },
        Answer {
            coding: "gzip",
            ..stream("gzip: a long name", CHAT, name)
        },
        gzip("gzip: empty static blocks", bits(&[(0b010, 10)])),
        gzip(
            "gzip: empty stored blocks",
            [0, 0, 0, 255, 255].repeat(SIZE / 5),
        ),
        gzip("gzip: empty dynamic blocks", bits(&dynamic_block())),
        gzip(
            "gzip: stored bytes of a comment",
            [0, 1, 0, 254, 255, b':'].repeat(SIZE / 6),
        ),
        gzip("gzip: static blocks and comments between", {
            // ":" and a line feed in static codes: 0x30 and what they are.
            bits(&[
                (0b010, 3),
                (reversed(0x30 + 58, 8), 8),
                (reversed(0x30 + 10, 8), 8),
                (0, 7),
            ])
        }),
        gzip("gzip: as many dynamic blocks as are let pass", {
            // A static block of 92 bytes: ":", and that 91 times more.
            let mut parts = dynamic_block();
            parts.extend([(0b010, 3), (reversed(0x30 + 58, 8), 8)]);
            parts.extend([(reversed(278 - 256, 7), 7), (8, 4), (0, 5), (0, 7)]);
            bits(&parts)
        }),
        Answer {
            coding: "gzip",
            ..stream("gzip: a bomb of comments", CHAT, {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
                encoder.write_all(comments.repeat(10).as_bytes()).unwrap();
                encoder.finish().unwrap()
            })
        },
        zstd("zstd", zstd::encode_all(&plain[..], 3).unwrap()),
        zstd("zstd, flushed after each line", {
            let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
            for event in plain.split_inclusive(|byte| *byte == b'\n') {
                encoder.write_all(event).unwrap();
                encoder.flush().unwrap();
            }
            encoder.finish().unwrap()
        }),
        zstd(
            "zstd: a bomb of comments",
            zstd::encode_all(comments.repeat(10).as_bytes(), 19).unwrap(),
        ),
        zstd("zstd: empty blocks", zstd_blocks(&[0, 0, 0])),
        zstd(
            "zstd: repeated bytes, no times",
            zstd_blocks(&[2, 0, 0, b':']),
        ),
        // A sequence of three bytes by predefined tables, and a literal.
        zstd(
            "zstd: short sequences",
            zstd_blocks(&zstd_compressed(&[1 << 3, b'\n', 1, 0, 0, 0, 2])),
        ),
        // Two literals by a code of 2,048 entries.
        zstd(
            "zstd: a code for two literals",
            zstd_blocks(&zstd_compressed(&{
                let header: u32 = 0b10 | (2 << 4) | (31 << 14);
                let mut weights = [0; 29];
                weights[5] = 11 << 4;
                [
                    &header.to_le_bytes()[..3],
                    &[127 + 58],
                    &weights,
                    &[0b110, 0],
                ]
                .concat()
            })),
        ),
    ]
}

pub(crate) struct CodedPrompt {
    pub(crate) name: &'static str,
    pub(crate) coding: &'static str,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn coded_prompts() -> Vec<CodedPrompt> {
    // Of plain prompts, the one that costs most.
    let costly = |length: usize| "{\"A\":0},".repeat(length / 8);
    let prompt = |costly: &str, padding: &str| {
        format!(r#"{{"model":"m","x":[{costly}"{padding}"]}}"#).into_bytes()
    };
    let gzip = |plain: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |plain: &[u8]| zstd::encode_all(plain, 19).unwrap();
    // What hardly compresses lets pass what compresses without end.
    let most = |coded: &dyn Fn(&[u8]) -> Vec<u8>| {
        let mut padding = String::new();
        loop {
            let plain = prompt(&costly(SIZE), &padding);
            let body = coded(&plain);
            if plain.len() <= body.len() * MAX_PROMPT_RATIO {
                return body;
            }
            for number in 0..100 {
                let number = (padding.len() as u64 + number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                padding.push_str(&format!("{number:x}"));
            }
        }
    };
    let free = prompt(&costly(FREE_PROMPT_BYTES - 64), "");
    let bomb = prompt(&costly(16 * SIZE - 64), "");
    let [g, z] = ["gzip", "zstd"];
    [
        ("gzip: as much as is let pass", g, most(&gzip)),
        (
            "gzip: as much as is let pass of a short one",
            g,
            gzip(&free),
        ),
        ("gzip: a bomb", g, gzip(&bomb)),
        ("zstd: as much as is let pass", z, most(&zstd)),
        (
            "zstd: as much as is let pass of a short one",
            z,
            zstd(&free),
        ),
        ("zstd: a bomb", z, zstd(&bomb)),
    ]
    .map(|(name, coding, body)| CodedPrompt { name, coding, body })
    .into()
}

const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// These bits over and over, the lowest first, for [`SIZE`] bytes.
fn bits(parts: &[(u32, u32)]) -> Vec<u8> {
    let length: u32 = parts.iter().map(|(_, count)| count).sum();
    bits_of(parts, SIZE * 8 / length as usize)
}

fn bits_of(parts: &[(u32, u32)], times: usize) -> Vec<u8> {
    let (mut bytes, mut held, mut count) = (Vec::new(), 0_u64, 0);
    for (value, length) in parts.iter().cycle().take(parts.len() * times) {
        held |= u64::from(*value) << count;
        count += length;
        while count >= 8 {
            bytes.push(held as u8);
            held >>= 8;
            count -= 8;
        }
    }
    if count > 0 {
        bytes.push(held as u8);
    }
    bytes
}

/// A Huffman code begins with its highest bit.
fn reversed(code: u32, length: u32) -> u32 {
    code.reverse_bits() >> (32 - length)
}

/// The shortest block with codes of its own, which says nothing: 89 bits.
fn dynamic_block() -> Vec<(u32, u32)> {
    let mut parts = vec![(0b100, 3), (0, 5), (0, 5), (14, 4)];
    // The third and the eighteenth of the lengths' codes: runs of zeros, and 1.
    parts.extend((0..18).map(|n| (u32::from(n == 2 || n == 17), 3)));
    parts.extend([(1, 1), (127, 7), (1, 1), (107, 7), (0, 1), (0, 1), (0, 1)]);
    parts
}

/// This block over and over, in a frame with a window of 8 MiB.
fn zstd_blocks(block: &[u8]) -> Vec<u8> {
    let comments = [&[20 << 3, 0, 0][..], &b":\n".repeat(10)].concat();
    [
        &[0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3][..],
        &comments,
        &block.repeat(SIZE / block.len()),
    ]
    .concat()
}

fn zstd_compressed(content: &[u8]) -> Vec<u8> {
    let header = ((content.len() << 3) | 0b100) as u32;
    [&header.to_le_bytes()[..3], content].concat()
}
