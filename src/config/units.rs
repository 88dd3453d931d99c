//! Durations and sizes as people write them: `25m`, `1h30m`, `256MiB`.

use std::time::Duration;

/// The units of a duration, from large to small, in milliseconds.
const DURATION_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The units of a size, in bytes.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// The units in which a size is shown.
const SHOWN_SIZE_UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Why a text is no duration or no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// A minus sign.
    #[error("must not be negative")]
    Negative,
    /// No number where one belongs.
    #[error("must start with a number")]
    NoNumber,
    /// A number without a unit, in a duration.
    #[error("has no unit; write `{0}s` for seconds, or another of d, h, m, s, ms")]
    NoUnit(String),
    /// A fraction.
    #[error("must use whole numbers; take a smaller unit instead of a fraction")]
    Fraction,
    /// A unit that does not exist.
    #[error("has an unknown unit; the units are {0}")]
    UnknownUnit(&'static str),
    /// `30m1h`, or `1h1h`.
    #[error("must go from large units to small ones, each at most once, as in `1h30m`")]
    Order,
    /// More than 64 bits hold.
    #[error("is too large")]
    Overflow,
}

/// Reads a duration: whole numbers with the units d, h, m, s, ms, from large to small, without spaces.
///
/// # Errors
/// If the text is anything else.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    check_start(text)?;
    let (mut rest, mut total, mut units_left) = (text, 0_u64, &DURATION_UNITS[..]);
    while !rest.is_empty() {
        let (digits, behind) = split_while(rest, |c| c.is_ascii_digit());
        let (unit, behind) = split_while(behind, |c| !c.is_ascii_digit());
        match (digits, unit) {
            ("", _) => return Err(UnitError::NoNumber),
            (_, "") => return Err(UnitError::NoUnit(digits.to_owned())),
            (_, unit) if unit.starts_with(['.', ',']) => return Err(UnitError::Fraction),
            _ => {}
        }
        let Some(index) = units_left.iter().position(|(name, _)| *name == unit) else {
            let known = DURATION_UNITS.iter().any(|(name, _)| *name == unit);
            return Err(if known { UnitError::Order } else { UnitError::UnknownUnit("d, h, m, s, ms") });
        };
        let value = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(units_left[index].1));
        total = value.and_then(|value| total.checked_add(value)).ok_or(UnitError::Overflow)?;
        units_left = &units_left[index + 1..];
        rest = behind;
    }
    Ok(Duration::from_millis(total))
}

/// Writes a duration so that [`parse_duration`] reads it: `90d`, `1h30m`, `0s`. What is below a millisecond is left
/// out.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, size) in DURATION_UNITS {
        if left >= size {
            text += &(left / size).to_string();
            text += unit;
            left %= size;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Reads a size: a whole number of bytes, or one with the unit B, KiB, MiB, GiB, TiB (powers of 1024), KB, MB, GB or
/// TB (powers of 1000), without a space.
///
/// # Errors
/// If the text is anything else.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    check_start(text)?;
    let (digits, unit) = split_while(text, |c| c.is_ascii_digit());
    let size = match unit {
        _ if digits.is_empty() => return Err(UnitError::NoNumber),
        "" => 1,
        _ if unit.starts_with(['.', ',']) => return Err(UnitError::Fraction),
        _ => {
            let known = SIZE_UNITS.iter().find(|(name, _)| *name == unit);
            known.ok_or(UnitError::UnknownUnit("B, KiB, MiB, GiB, TiB, KB, MB, GB, TB"))?.1
        }
    };
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(size)).ok_or(UnitError::Overflow)
}

/// Writes a size so that [`parse_size`] reads it, in the largest unit that makes it a whole number: `256MiB`, `1000`.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    SHOWN_SIZE_UNITS
        .iter()
        .find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size))
        .map_or_else(|| bytes.to_string(), |(unit, size)| format!("{}{unit}", bytes / size))
}

fn check_start(text: &str) -> Result<(), UnitError> {
    match text.chars().next() {
        None => Err(UnitError::Empty),
        Some('-') => Err(UnitError::Negative),
        Some(_) => Ok(()),
    }
}

fn split_while(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}
