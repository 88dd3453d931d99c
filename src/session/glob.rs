//! Patterns of keys and channels, matched as Redis 7 matches them (`stringmatchlen`), oddities included.

/// The longest pattern that [`matches()`] is meant for, in bytes; commands refuse longer ones.
///
/// A match takes at most pattern × subject steps, so this bounds what one key can cost.
pub const LONGEST_PATTERN: usize = 1024;

/// Whether all of `subject` is as `pattern` says: `*`, `?`, `[a-z]`, `[^a-z]`, and `\` before what means itself.
///
/// Redis tries every length of a star, but gives up all stars as soon as a later one has failed. So it is enough to
/// remember the last star, and no recursion is needed.
#[must_use]
pub fn matches(pattern: &[u8], subject: &[u8]) -> bool {
    let (mut at, mut rest) = (0, subject);
    // The last star: the pattern behind it, and what its shortest match not tried yet leaves.
    let mut star: Option<(usize, &[u8])> = None;
    // An empty subject is matched by an empty pattern only, not even by a star.
    while !rest.is_empty() {
        if pattern.get(at) == Some(&b'*') {
            at += pattern[at..].iter().take_while(|byte| **byte == b'*').count();
            if at == pattern.len() {
                return true;
            }
            star = Some((at, &rest[1..]));
        }
        match one(&pattern[at..], rest[0]) {
            Some(length) => {
                at += length;
                rest = &rest[1..];
                if rest.is_empty() {
                    at += pattern[at..].iter().take_while(|byte| **byte == b'*').count();
                }
                if at == pattern.len() && rest.is_empty() {
                    return true;
                }
            }
            None => rest = &[],
        }
        // Whatever is wrong, the last star may take one byte more, unless none would be left for what follows it.
        let stuck = rest.is_empty() || at == pattern.len();
        if stuck {
            match star {
                Some((behind, left)) if !left.is_empty() => {
                    (at, rest) = (behind, left);
                    star = Some((behind, &left[1..]));
                }
                _ => return false,
            }
        }
    }
    pattern.is_empty()
}

/// How long the first element of `pattern` is, if it matches `byte`. It is no star.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', set @ ..] => {
            let (length, found) = class(set, byte);
            found.then_some(1 + length)
        }
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [literal, ..] => (*literal == byte).then_some(1),
    }
}

/// Whether `byte` is in a set, which begins behind its `[`, and how long the set is. It may lack its `]`.
fn class(set: &[u8], byte: u8) -> (usize, bool) {
    let negated = set.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &set[at..] {
            [] => break,
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            // Characters are signed where Redis usually runs.
            [first, b'-', last, ..] => {
                let (first, last) = (first.cast_signed(), last.cast_signed());
                found |= (first.min(last)..=first.max(last)).contains(&byte.cast_signed());
                at += 3;
            }
            [single, ..] => {
                found |= *single == byte;
                at += 1;
            }
        }
    }
    (at, found != negated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, subject) in [
            ("", ""),
            ("*", "a"),
            ("**", "abc"),
            ("sess:*", "sess:"),
            ("sess:*", "sess:abc"),
            ("*c", "abcabc"),
            ("a*b*c", "axxbyyc"),
            ("h?llo", "hallo"),
            ("h[ae]llo", "hello"),
            ("h[^e]llo", "hallo"),
            ("h[b-a]llo", "hallo"),
            ("h\\*llo", "h*llo"),
            ("h[\\]]llo", "h]llo"),
            ("[a-", "a"),
            ("[^", "x"),
            ("\\", "\\"),
            ("a*?", "ab"),
        ] {
            assert!(matches(pattern.as_bytes(), subject.as_bytes()), "{pattern} {subject}");
        }
        for (pattern, subject) in [
            ("*", ""),
            ("", "a"),
            ("sess:*", "sess"),
            ("*c", "abcab"),
            ("a*b*c", "axxbyy"),
            ("h?llo", "hllo"),
            ("h[^e]llo", "hello"),
            ("[", "["),
            ("[]", "]"),
            ("a*?", "a"),
        ] {
            assert!(!matches(pattern.as_bytes(), subject.as_bytes()), "{pattern} {subject}");
        }
    }

    #[test]
    fn stars_cost_no_more_than_their_product() {
        let pattern = b"a*".repeat(LONGEST_PATTERN / 2 - 1);
        assert!(!matches(&[&*pattern, b"b"].concat(), &b"a".repeat(20_000)));
    }
}
