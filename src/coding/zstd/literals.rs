//! The literals of a block (RFC 8878, section 3.1.1.3.1).

use std::borrow::Cow;

use super::huffman::Huffman;
use super::little_endian;
use crate::coding::effort::Effort;

/// Reads the literals, and gives what comes after them. `huffman` is the last block's code.
pub(super) fn read<'a>(
    bytes: &'a [u8],
    huffman: &mut Option<Box<Huffman>>,
    max_bytes: usize,
    effort: &mut Effort,
) -> Option<(Cow<'a, [u8]>, &'a [u8])> {
    let first = bytes.first()?;
    let (kind, format) = (first & 3, (first >> 2) & 3);
    let is_compressed = kind >= 2;
    let header_bytes = match (is_compressed, format) {
        (false, 0 | 2) => 1,
        (false, 1) => 2,
        (false, _) | (true, 0 | 1) => 3,
        (true, 2) => 4,
        (true, _) => 5,
    };
    let (header, rest) = bytes.split_at_checked(header_bytes)?;
    let header = little_endian(header)?;
    if !is_compressed {
        let unused = if header_bytes == 1 { 3 } else { 4 };
        let length = usize::try_from(header >> unused).ok()?;
        if length > max_bytes {
            return None;
        }
        return Some(if kind == 0 {
            let (literals, rest) = rest.split_at_checked(length)?;
            (Cow::Borrowed(literals), rest)
        } else {
            let (byte, rest) = rest.split_first()?;
            (Cow::Owned(vec![*byte; length]), rest)
        });
    }
    let size_bits = match header_bytes {
        3 => 10,
        4 => 14,
        _ => 18,
    };
    let part = |shift: u32| usize::try_from((header >> shift) & ((1 << size_bits) - 1)).ok();
    let (length, coded) = (part(4)?, part(4 + size_bits)?);
    if length > max_bytes {
        return None;
    }
    let (mut coded, rest) = rest.split_at_checked(coded)?;
    if kind == 2 {
        let (read, after) = Huffman::read(coded, effort)?;
        *huffman = Some(read);
        coded = after;
    }
    let huffman = huffman.as_deref()?;
    let mut literals = Vec::with_capacity(length);
    if format == 0 {
        huffman.decode(coded, length, &mut literals)?;
    } else {
        four(huffman, coded, length, &mut literals)?;
    }
    Some((Cow::Owned(literals), rest))
}

/// Four streams, of which a table tells the lengths.
fn four(huffman: &Huffman, coded: &[u8], length: usize, literals: &mut Vec<u8>) -> Option<()> {
    let (lengths, mut rest) = coded.split_first_chunk::<6>()?;
    let each = length.div_ceil(4);
    let (lengths, _) = lengths.as_chunks::<2>();
    for coded in lengths {
        let coded = usize::from(u16::from_le_bytes(*coded));
        let (stream, after) = rest.split_at_checked(coded)?;
        huffman.decode(stream, each, literals)?;
        rest = after;
    }
    huffman.decode(rest, length.checked_sub(each.checked_mul(3)?)?, literals)
}
