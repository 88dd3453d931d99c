//! Times, as apps write them.

use super::token::Scalar;
use crate::clock::Timestamp;

/// The time that a value stands for: a number since the epoch, or a text of RFC 3339.
pub(super) fn moment(scalar: Scalar<'_>) -> Option<Timestamp> {
    match scalar {
        Scalar::Integer(value) => since_epoch(value, 0),
        #[expect(clippy::cast_possible_truncation, reason = "a cast saturates, and what is that large is no time")]
        Scalar::Real(value) if value.is_finite() => since_epoch(value.trunc() as i128, (value.fract() * 1e3) as i128),
        Scalar::Text(text) => {
            let text = std::str::from_utf8(text).ok()?.trim();
            match text.parse() {
                Ok(value) => moment(Scalar::Real(value)),
                Err(_) => rfc3339(text),
            }
        }
        _ => None,
    }
}

/// Seconds, milliseconds, microseconds or nanoseconds since the epoch. Which, its size says: each unit covers the
/// years 1973 to 5138, where the next smaller one would mean the first years after the epoch.
fn since_epoch(value: i128, thousandths: i128) -> Option<Timestamp> {
    const LIMIT: i128 = 100_000_000_000;
    let ms = match value {
        1..LIMIT => value * 1_000 + thousandths,
        LIMIT..100_000_000_000_000 => value,
        100_000_000_000_000..100_000_000_000_000_000 => value / 1_000,
        _ => value / 1_000_000,
    };
    i64::try_from(ms).ok().filter(|&ms| ms > 0).map(Timestamp::from_millis)
}

/// `2026-01-31T23:59:59.999Z`; also with a space for the `T`, with an offset, or with neither: then it is UTC.
fn rfc3339(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let field = |at: usize, width: usize| -> Option<i64> {
        let digits = bytes.get(at..at + width)?;
        digits.iter().try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0')))
    };
    let separator = |at: usize, one_of: &[u8]| bytes.get(at).filter(|byte| one_of.contains(byte)).map(drop);
    let (year, month, day) = (field(0, 4)?, field(5, 2)?, field(8, 2)?);
    let (hour, minute, second) = (field(11, 2)?, field(14, 2)?, field(17, 2)?);
    separator(4, b"-").and(separator(7, b"-")).and(separator(10, b"Tt "))?;
    separator(13, b":").and(separator(16, b":"))?;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut ms = 0;
    if let Some(b'.' | b',') = bytes.get(at) {
        let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        ms = (0..3)
            .map(|place| if place < digits { field(at + 1 + place, 1) } else { Some(0) })
            .try_fold(0, |ms, digit| Some(ms * 10 + digit?))?;
        at += 1 + digits;
    }
    let zone = match bytes.get(at..)? {
        b"" | b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), ..] => {
            let minutes_at = if bytes.get(at + 3) == Some(&b':') { at + 4 } else { at + 3 };
            if bytes.len() != minutes_at + 2 {
                return None;
            }
            let minutes = field(at + 1, 2)? * 60 + field(minutes_at, 2)?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - zone * 60;
    Some(Timestamp::from_millis(seconds * 1_000 + ms)).filter(|at| at.as_millis() > 0)
}

/// Days since the epoch: `days_from_civil` of Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms".
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Option<i64> {
        moment(Scalar::Text(text.as_bytes())).map(Timestamp::as_millis)
    }

    #[test]
    fn a_number_is_taken_in_its_unit() {
        for (value, ms) in [
            (1_700_000_000, Some(1_700_000_000_000)),
            (1_700_000_000_123, Some(1_700_000_000_123)),
            (1_700_000_000_123_456, Some(1_700_000_000_123)),
            (1_700_000_000_123_456_789, Some(1_700_000_000_123)),
            (0, None),
            (-1, None),
            (i128::MAX, None),
        ] {
            assert_eq!(moment(Scalar::Integer(value)).map(Timestamp::as_millis), ms, "{value}");
        }
        let real = |value| moment(Scalar::Real(value)).map(Timestamp::as_millis);
        assert_eq!(real(1_700_000_000.25), Some(1_700_000_000_250));
        assert_eq!(real(1_700_000_000_123.9), Some(1_700_000_000_123));
        for none in [f64::NAN, f64::INFINITY, f64::MAX, -1.5, 0.0] {
            assert_eq!(real(none), None, "{none}");
        }
        assert_eq!(text(" 1700000000.25 "), Some(1_700_000_000_250));
    }

    #[test]
    fn a_text_is_taken_by_its_zone() {
        for same in [
            "2023-11-14T22:13:20Z",
            "2023-11-14 22:13:20",
            "2023-11-14t22:13:20.000000Z",
            "2023-11-15T00:13:20+02:00",
            "2023-11-14T17:43:20-0430",
        ] {
            assert_eq!(text(same), Some(1_700_000_000_000), "{same}");
        }
        assert_eq!(text("2023-11-14T22:13:20.5Z"), Some(1_700_000_000_500));
        for none in [
            "",
            "now",
            "2023-11-14",
            "2023-13-14T22:13:20Z",
            "2023-11-14T22:13:20X",
            "2023-11-14T22:13:20+1",
            "2023-11-14T22:13:20+01:0x",
            "1023-11-14T22:13:20Z",
            "2023-11-14T22:13:20.Zé",
        ] {
            assert_eq!(text(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn a_time_is_read_as_the_clock_writes_it(ms in 1..253_402_300_799_999_i64) {
            let written = Timestamp::from_millis(ms).to_rfc3339();
            prop_assert_eq!(moment(Scalar::Text(&written)), Some(Timestamp::from_millis(ms)));
        }
    }
}
