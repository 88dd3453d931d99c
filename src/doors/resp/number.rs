//! Numbers in arguments, by the rules of Redis.

/// The longest number there is: `-9223372036854775808`.
const MOST_DIGITS: usize = 20;

/// A number that is written the one way it can be (`string2ll` of Redis): no sign but `-`, no leading zero, no blank.
#[must_use]
pub fn integer(text: &[u8]) -> Option<i64> {
    if text == b"0" {
        return Some(0);
    }
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if text.len() > MOST_DIGITS || !matches!(digits, [b'1'..=b'9', ..]) {
        return None;
    }
    let value = decimal(digits)?;
    if negative { 0_i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// The cursor of a `SCAN`, which Redis reads with C's `strtoul`: signs and leading zeros are fine, and nothing is 0.
#[must_use]
pub fn cursor(text: &[u8]) -> Option<u64> {
    let text = c_string(text);
    let (negative, digits) = match text {
        [] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let value = if digits.is_empty() { None } else { decimal(digits) }?;
    Some(if negative { value.wrapping_neg() } else { value })
}

fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { value.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

/// What C makes of an argument when it takes it for a string: it ends at the first NUL.
#[must_use]
pub fn c_string(argument: &[u8]) -> &[u8] {
    argument.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_is_written_one_way() {
        for value in [0, 1, -1, 10, 9_007_199_254_740_993, i64::MAX, i64::MIN] {
            assert_eq!(integer(value.to_string().as_bytes()), Some(value));
        }
        for text in ["", "-", "-0", "+1", "01", "00", " 1", "1 ", "1.0", "1e3", "0x1", "9223372036854775808", "--1"] {
            assert_eq!(integer(text.as_bytes()), None, "{text}");
        }
        assert_eq!(integer(b"-9223372036854775809"), None);
        assert_eq!(integer(b"18446744073709551616"), None);
        assert_eq!(integer(b"1\0"), None);
        assert_eq!(integer(&[b'1'; 1000]), None);
    }

    #[test]
    fn a_cursor_is_what_strtoul_makes_of_it() {
        for (text, value) in [
            ("0", 0),
            ("", 0),
            ("\0x", 0),
            ("007", 7),
            ("+7", 7),
            ("-1", u64::MAX),
            ("-0", 0),
            ("7\0x", 7),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(cursor(text.as_bytes()), Some(value), "{text}");
        }
        for text in ["-", "+", "+-1", " 1", "\t1", "1 ", "x", "0x1", "18446744073709551616", "-18446744073709551616"] {
            assert_eq!(cursor(text.as_bytes()), None, "{text}");
        }
    }
}
