//! Finite state entropy: tables of states, each with a symbol and the way to the next state
//! (RFC 8878, section 4.1).

use super::bits::{Backward, Forward};
use crate::coding::effort::Effort;

/// A table of states.
#[derive(Clone, Debug)]
pub(super) struct Table {
    states: Vec<State>,
    /// The size of the table as a power of two.
    log: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    symbol: u8,
    /// How many bits are added to `base` to find the next state.
    bits: u8,
    base: u16,
}

/// Which state of a table a decoder is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct StateIndex(usize);

impl Table {
    /// A table for symbols that have these shares of it; -1 is less than one.
    pub(super) fn new(shares: &[i16], log: u32) -> Option<Self> {
        let size = 1_usize << log;
        let mut states = vec![State::default(); size];
        // How many states a symbol has, and then more by each that it was given.
        let mut next = [0_u16; MAX_SYMBOLS];
        let mut high = size;
        for (symbol, share) in shares.iter().enumerate() {
            if *share == -1 {
                high = high.checked_sub(1)?;
                states.get_mut(high)?.symbol = u8::try_from(symbol).ok()?;
            }
            *next.get_mut(symbol)? = u16::try_from(share.abs()).ok()?;
        }
        let step = (size >> 1) + (size >> 3) + 3;
        let mut position = 0;
        for (symbol, share) in shares.iter().enumerate() {
            for _ in 0..(*share).max(0) {
                states.get_mut(position)?.symbol = u8::try_from(symbol).ok()?;
                position = (position + step) & (size - 1);
                while position >= high {
                    position = (position + step) & (size - 1);
                }
            }
        }
        if position != 0 {
            return None;
        }
        for state in &mut states {
            let next = next.get_mut(usize::from(state.symbol))?;
            let bits = log.checked_sub(next.checked_ilog2()?)?;
            state.bits = u8::try_from(bits).ok()?;
            state.base = u16::try_from((usize::from(*next) << bits).checked_sub(size)?).ok()?;
            *next += 1;
        }
        Some(Self { states, log })
    }

    /// A table that always gives this symbol.
    pub(super) fn of(symbol: u8) -> Self {
        let state = State {
            symbol,
            ..State::default()
        };
        Self {
            states: vec![state],
            log: 0,
        }
    }

    /// Reads the description of a table, and what comes after it.
    pub(super) fn read<'a>(
        bytes: &'a [u8],
        max_log: u32,
        max_symbol: usize,
        effort: &mut Effort,
    ) -> Option<(Self, &'a [u8])> {
        let mut bits = Forward::new(bytes);
        let log = bits.take(4)? + 5;
        if log > max_log {
            return None;
        }
        let mut shares = Vec::new();
        let mut left = 1_i32 << log;
        while left > 0 {
            if shares.len() > max_symbol {
                return None;
            }
            // From 0 to what is left and one more, the smaller ones in a bit less.
            let most = u32::try_from(left + 1).ok()?;
            let length = most.ilog2() + 1;
            let value = bits.take(length)?;
            let low = value & ((1 << (length - 1)) - 1);
            let few = (1 << length) - 1 - most;
            let value = if low < few {
                bits.give_back();
                low
            } else if value >= 1 << (length - 1) {
                value - few
            } else {
                value
            };
            let share = i16::try_from(value).ok()? - 1;
            left -= i32::from(share.abs());
            shares.push(share);
            // Zeros come with how many more follow, three at a time.
            let mut zeros = if share == 0 { 3 } else { 0 };
            while zeros == 3 {
                zeros = bits.take(2)? as usize;
                shares.resize(shares.len() + zeros, 0);
                if shares.len() > max_symbol + 1 {
                    return None;
                }
            }
        }
        if left != 0 || shares.len() > max_symbol + 1 {
            return None;
        }
        effort.spend(2 << log);
        Some((Self::new(&shares, log)?, bits.rest()?))
    }

    pub(super) fn begin(&self, bits: &mut Backward<'_>) -> StateIndex {
        StateIndex(bits.take(self.log) as usize)
    }

    #[inline]
    pub(super) fn symbol(&self, StateIndex(index): StateIndex) -> Option<u8> {
        Some(self.states.get(index)?.symbol)
    }

    #[inline]
    pub(super) fn next(
        &self,
        StateIndex(index): StateIndex,
        bits: &mut Backward<'_>,
    ) -> Option<StateIndex> {
        let state = self.states.get(index)?;
        let more = bits.take(u32::from(state.bits));
        Some(StateIndex(usize::from(state.base) + more as usize))
    }
}

/// More than any table has.
const MAX_SYMBOLS: usize = 256;
