//! The sequences of a block: a number of literals, then something from before (RFC 8878, section
//! 3.1.1.3.2).

use super::bits::Backward;
use super::fse::Table;
use crate::coding::effort::Effort;
use crate::coding::history::History;
use crate::steps;

/// The tables for numbers of literals, distances, and lengths of what is said again. Blocks may use
/// those of the one before.
#[derive(Debug, Default)]
pub(super) struct Tables {
    literals: Option<Table>,
    distances: Option<Table>,
    lengths: Option<Table>,
}

/// How a kind of table is described.
struct Rules {
    max_log: u32,
    max_symbol: usize,
    /// The one that needs no description, and its size as a power of two.
    known: &'static [i16],
    known_log: u32,
}

/// The last three distances, the newest first.
#[derive(Debug)]
pub(super) struct Distances([usize; 3]);

impl Default for Distances {
    fn default() -> Self {
        Self([1, 4, 8])
    }
}

/// How many sequences there are, and what comes after that.
pub(super) fn count(bytes: &[u8]) -> Option<(usize, &[u8])> {
    Some(match bytes {
        [few @ 0..128, rest @ ..] => (usize::from(*few), rest),
        [255, low, high, rest @ ..] => {
            let many = u16::from_le_bytes([*low, *high]);
            (usize::from(many) + 0x7f00, rest)
        }
        [high, low, rest @ ..] => {
            let some = u16::from_be_bytes([high - 128, *low]);
            (usize::from(some), rest)
        }
        _ => return None,
    })
}

impl Tables {
    /// What they can hold at the most.
    pub(super) const MAX_BYTES: usize = 3 * 4 * 512;

    /// Reads their descriptions, and gives what comes after them.
    pub(super) fn read<'a>(&mut self, bytes: &'a [u8], effort: &mut Effort) -> Option<&'a [u8]> {
        let (modes, rest) = bytes.split_first()?;
        // The lowest two are reserved.
        if modes & 3 != 0 {
            return None;
        }
        let rest = read(&mut self.literals, modes >> 6, &LITERALS, rest, effort)?;
        let rest = read(&mut self.distances, modes >> 4, &DISTANCES, rest, effort)?;
        read(&mut self.lengths, modes >> 2, &LENGTHS, rest, effort)
    }
}

fn read<'a>(
    table: &mut Option<Table>,
    mode: u8,
    rules: &Rules,
    bytes: &'a [u8],
    effort: &mut Effort,
) -> Option<&'a [u8]> {
    let (new, rest) = match mode & 3 {
        0 => {
            effort.spend(2 << rules.known_log);
            (Table::new(rules.known, rules.known_log)?, bytes)
        }
        1 => {
            let (symbol, rest) = bytes.split_first()?;
            if usize::from(*symbol) > rules.max_symbol {
                return None;
            }
            (Table::of(*symbol), rest)
        }
        2 => Table::read(bytes, rules.max_log, rules.max_symbol, effort)?,
        _ => return table.is_some().then_some(bytes),
    };
    *table = Some(new);
    Some(rest)
}

/// Carries the sequences out.
pub(super) fn run(
    tables: &Tables,
    bytes: &[u8],
    count: usize,
    literals: &[u8],
    distances: &mut Distances,
    history: &mut History,
    max_bytes: usize,
) -> Option<()> {
    let Tables {
        literals: Some(literals_table),
        distances: Some(distances_table),
        lengths: Some(lengths_table),
    } = tables
    else {
        return None;
    };
    let mut bits = Backward::new(bytes)?;
    let mut literals_place = literals_table.begin(&mut bits);
    let mut distances_place = distances_table.begin(&mut bits);
    let mut lengths_place = lengths_table.begin(&mut bits);
    let mut rest = literals;
    for left in (0..count).rev() {
        steps::take(1);
        let code = u32::from(distances_table.symbol(distances_place)?);
        let distance = (1_u64 << code) + u64::from(bits.take(code));
        let (base, more) = length(lengths_table.symbol(lengths_place)?)?;
        let length = (base + bits.take(more)) as usize;
        let (base, more) = literal_count(literals_table.symbol(literals_place)?)?;
        let literal_count = (base + bits.take(more)) as usize;
        if bits.is_beyond_end() {
            return None;
        }
        let (said, after) = rest.split_at_checked(literal_count)?;
        rest = after;
        if history.fresh().len() + said.len() + length > max_bytes {
            return None;
        }
        history.extend(said);
        history.repeat(distances.find(distance, said.is_empty())?, length)?;
        if left > 0 {
            literals_place = literals_table.next(literals_place, &mut bits)?;
            lengths_place = lengths_table.next(lengths_place, &mut bits)?;
            distances_place = distances_table.next(distances_place, &mut bits)?;
        }
    }
    history.extend(rest);
    bits.is_at_end().then_some(())
}

impl Distances {
    /// The distance that a value stands for: up to 3, one of the last.
    fn find(&mut self, value: u64, without_literals: bool) -> Option<usize> {
        let Self([first, second, third]) = *self;
        if value > 3 {
            let distance = usize::try_from(value - 3).ok()?;
            self.0 = [distance, first, second];
            return Some(distance);
        }
        self.0 = match value + u64::from(without_literals) {
            1 => [first, second, third],
            2 => [second, first, third],
            3 => [third, first, second],
            _ => [first.checked_sub(1)?, first, second],
        };
        self.0.first().copied()
    }
}

/// The least number of literals that a code stands for, and how many bits are added.
fn literal_count(code: u8) -> Option<(u32, u32)> {
    Some(match code {
        0..16 => (u32::from(code), 0),
        16..20 => (16 + 2 * (u32::from(code) - 16), 1),
        20 => (24, 2),
        21 => (28, 2),
        22 => (32, 3),
        23 => (40, 3),
        24 => (48, 4),
        25..36 => {
            let more = u32::from(code) - 19;
            (1 << more, more)
        }
        _ => return None,
    })
}

/// The least length that a code stands for, and how many bits are added.
fn length(code: u8) -> Option<(u32, u32)> {
    Some(match code {
        0..32 => (3 + u32::from(code), 0),
        32..36 => (35 + 2 * (u32::from(code) - 32), 1),
        36 => (43, 2),
        37 => (47, 2),
        38 => (51, 3),
        39 => (59, 3),
        40 => (67, 4),
        41 => (83, 4),
        42 => (99, 5),
        43..53 => {
            let more = u32::from(code) - 36;
            ((1 << more) + 3, more)
        }
        _ => return None,
    })
}

const LITERALS: Rules = Rules {
    max_log: 9,
    max_symbol: 35,
    known: &[
        4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1,
        1, 1, -1, -1, -1, -1,
    ],
    known_log: 6,
};

const DISTANCES: Rules = Rules {
    max_log: 8,
    max_symbol: 31,
    known: &[
        1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1,
    ],
    known_log: 5,
};

const LENGTHS: Rules = Rules {
    max_log: 9,
    max_symbol: 52,
    known: &[
        1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
    ],
    known_log: 6,
};
