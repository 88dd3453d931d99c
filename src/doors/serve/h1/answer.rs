//! Answers in the form in which they travel, exactly as hyper writes them: for the fast lane.

use hyper::Response;
use hyper::body::Bytes;

/// Appends a whole answer.
pub fn append(out: &mut Vec<u8>, answer: &Response<Bytes>, date: &[u8; 29]) {
    let status = answer.status();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("<none>").as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in answer.headers() {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    append_measured(out, date, |out| out.extend_from_slice(answer.body()));
}

/// Appends the last two header lines, with the length of the body that `body` writes, and the body.
pub fn append_measured(out: &mut Vec<u8>, date: &[u8; 29], body: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"content-length: ");
    let gap = out.len();
    out.extend_from_slice(b"\r\ndate: ");
    out.extend_from_slice(date);
    out.extend_from_slice(b"\r\n\r\n");
    let begin = out.len();
    body(out);
    // The length is known last and stands first: it is written behind the body and then moved into its place.
    let end = out.len();
    append_number(out, (end - begin) as u64);
    let digits = out.len() - end;
    out[gap..].rotate_right(digits);
}

/// Appends a whole number in decimal digits.
pub fn append_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        // `number % 10` is one decimal digit.
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_any_length_is_measured() {
        for length in [0, 1, 9, 10, 230, 1000, 70_000] {
            let mut out = b"etag: \"1\"\r\n".to_vec();
            append_measured(&mut out, b"Thu, 01 Jan 1970 00:00:00 GMT", |out| out.resize(out.len() + length, b'x'));
            let expected = format!(
                "etag: \"1\"\r\ncontent-length: {length}\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n{}",
                "x".repeat(length)
            );
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
