//! Durations and sizes as people write them: `"250ms"`, `"1h"`, `"64KiB"`.

use std::time::Duration;

const SECOND: u64 = 1_000;

/// Reads a duration: a whole number and one of the units `ms`, `s`, `m`, `h`, `d`. `None` if the
/// text is anything else or does not fit 64 bits of milliseconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3_600 * SECOND,
        "d" => 86_400 * SECOND,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

/// Reads a size in bytes: a whole number and one of the units `B`, `KiB`, `MiB`, `GiB`. `None` if
/// the text is anything else or does not fit 64 bits.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let bytes = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes)
}

/// Reads a percentage: a whole number and `%`. `None` if the text is anything else.
pub(super) fn parse_percent(text: &str) -> Option<u32> {
    let (number, unit) = number_and_unit(text)?;
    (unit == "%").then(|| u32::try_from(number).ok())?
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_whole_number_and_one_unit() {
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("0s"), Some(Duration::ZERO));
        assert_eq!(parse_duration("10m"), Some(Duration::from_secs(600)));
        assert_eq!(parse_duration("7d"), Some(Duration::from_secs(604_800)));
        for odd in [
            "", "1", "s", "-1s", "1.5s", "1 s", " 1s", "1S", "1h30m", "½s",
        ] {
            assert_eq!(parse_duration(odd), None, "{odd}");
        }
        assert_eq!(parse_duration("18446744073709551615d"), None);
    }

    #[test]
    fn percentages_are_whole() {
        assert_eq!(parse_percent("0%"), Some(0));
        assert_eq!(parse_percent("10%"), Some(10));
        for odd in ["", "%", "10", "10 %", "1.5%", "-1%", "4294967296%"] {
            assert_eq!(parse_percent(odd), None, "{odd}");
        }
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(parse_size("64KiB"), Some(65_536));
        assert_eq!(parse_size("1MiB"), Some(1_048_576));
        assert_eq!(parse_size("2GiB"), Some(2_147_483_648));
        assert_eq!(parse_size("12B"), Some(12));
        for odd in ["", "1", "1KB", "1k", "1 MiB", "-1B", "1.5MiB"] {
            assert_eq!(parse_size(odd), None, "{odd}");
        }
    }
}
