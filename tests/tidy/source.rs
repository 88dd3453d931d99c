//! A source file, taken apart just far enough to be judged: code, comments, literals, tests.

use std::ops::Range;

/// A Rust file, and three views of it that have the same length and the same lines.
pub struct Source {
    /// Where it is, from the package's root.
    pub path: String,
    /// All of it.
    pub text: String,
    /// Without comments and without what stands between quotes.
    pub code: String,
    /// The comments alone.
    pub comments: String,
    tests: Vec<Range<usize>>,
    modules: Vec<(String, Range<usize>)>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let (code, comments) = split(text);
        let tests = match path.starts_with("src/") {
            true => occurrences(&code, "#[cfg(test)]").map(|at| at..end_of_item(&code, at)).collect(),
            false => vec![0..text.len()],
        };
        let modules = occurrences(&code, "mod ")
            .filter(|&at| starts_word(&code, at))
            .filter_map(|at| {
                let name = identifier(&code[at + 4..]);
                let body = at + 4 + name.len();
                code[body..].trim_start().starts_with('{').then(|| (name.to_owned(), body..end_of_item(&code, body)))
            })
            .collect();
        Self { path: path.to_owned(), text: text.to_owned(), code, comments, tests, modules }
    }

    /// Whether only tests have what stands there.
    pub fn is_test(&self, at: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&at))
    }

    /// The module that it is, or that stands there in it: `["doors", "http"]`.
    pub fn module_at(&self, at: usize) -> Vec<&str> {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let path = path.strip_suffix(".rs").unwrap_or(path);
        let file = path.strip_suffix("/mod").unwrap_or(path).split('/').filter(|name| !matches!(*name, "lib" | "main"));
        let inner = self.modules.iter().filter(|(_, range)| range.contains(&at)).map(|(name, _)| name.as_str());
        file.chain(inner).collect()
    }

    /// What is wrong there, as an editor takes it.
    pub fn finding(&self, at: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, self.text[..at].matches('\n').count() + 1)
    }

    /// Where `word` stands in the code, as a word of its own.
    pub fn words<'s>(&'s self, word: &'s str) -> impl Iterator<Item = usize> + 's {
        words(&self.code, word)
    }

    /// Whether a comment stands on the line of `at`, or on the lines right before the statement that `at` is in.
    pub fn is_explained(&self, at: usize) -> bool {
        let is_comment = |line: &str| !line.trim().is_empty();
        let number = self.text[..at].matches('\n').count();
        let (code, comments): (Vec<_>, Vec<_>) = (self.code.lines().collect(), self.comments.lines().collect());
        let begins = |line: usize| {
            let before = code[..line].iter().rev().map(|line| line.trim()).find(|line| !line.is_empty());
            before.is_none_or(|before| before.ends_with([';', '{', '}', ',']))
        };
        let first = (0..=number).rev().find(|&line| !code[line].trim().is_empty() && begins(line)).unwrap_or(0);
        is_comment(comments[number]) || (first > 0 && is_comment(comments[first - 1]))
    }
}

/// Where `word` stands in `text`, as a word of its own.
pub fn words<'s>(text: &'s str, word: &'s str) -> impl Iterator<Item = usize> + 's {
    let ends = |at: usize| !text[at..].starts_with(is_of_word) || !word.ends_with(is_of_word);
    occurrences(text, word)
        .filter(move |&at| (starts_word(text, at) || !word.starts_with(is_of_word)) && ends(at + word.len()))
}

fn occurrences<'s>(text: &'s str, what: &'s str) -> impl Iterator<Item = usize> + 's {
    text.match_indices(what).map(|(at, _)| at)
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn starts_word(text: &str, at: usize) -> bool {
    !text[..at].ends_with(is_of_word)
}

/// The identifier that `text` begins with.
pub fn identifier(text: &str) -> &str {
    &text[..text.find(|c| !is_of_word(c)).unwrap_or(text.len())]
}

/// Where the item that begins at `at` ends: with its first semicolon outside braces, or its first closed brace.
fn end_of_item(code: &str, at: usize) -> usize {
    let mut depth = 0_usize;
    for (place, c) in code[at..].char_indices() {
        match c {
            ';' if depth == 0 => return at + place + 1,
            '{' => depth += 1,
            '}' if depth <= 1 => return at + place + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// The code and the comments of a text, each with blanks where the other and the literals were.
fn split(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let blank: Vec<u8> = bytes.iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }).collect();
    let (mut code, mut comments) = (blank.clone(), blank);
    let mut at = 0;
    while at < bytes.len() {
        let in_word = at > 0 && is_of_word(char::from(bytes[at - 1]));
        let (kind, length) = token(&bytes[at..], in_word);
        let range = at..(at + length).min(bytes.len());
        match kind {
            Kind::Code => code[range.clone()].copy_from_slice(&bytes[range.clone()]),
            Kind::Comment => comments[range.clone()].copy_from_slice(&bytes[range.clone()]),
            // The quotes stay, so that one sees that something was there.
            Kind::Literal => [range.start, range.end - 1].into_iter().for_each(|edge| code[edge] = b'"'),
        }
        at = range.end;
    }
    let text = |bytes| String::from_utf8(bytes).expect("whole tokens are copied or blanked");
    (text(code), text(comments))
}

/// What `bytes` begin with, and how long it is.
fn token(bytes: &[u8], in_word: bool) -> (Kind, usize) {
    let line = || bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    match bytes {
        [b'/', b'/', ..] => (Kind::Comment, line()),
        [b'/', b'*', ..] => (Kind::Comment, block_comment(bytes)),
        [b'"', ..] => (Kind::Literal, quoted(bytes, b'"')),
        [b'\'', b'\\', ..] => (Kind::Literal, quoted(bytes, b'\'')),
        [b'\'', first, rest @ ..] => {
            // A character, or else a lifetime. What is no ASCII is as long as its first byte says.
            let more = first.leading_ones().saturating_sub(1) as usize;
            if rest.get(more) == Some(&b'\'') { (Kind::Literal, more + 3) } else { (Kind::Code, 1) }
        }
        _ if !in_word && raw_string(bytes).is_some() => (Kind::Literal, raw_string(bytes).unwrap_or(1)),
        // A whole character at once.
        [first, ..] => (Kind::Code, first.leading_ones().max(1) as usize),
        [] => (Kind::Code, 1),
    }
}

fn block_comment(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(bytes: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string(bytes: &[u8]) -> Option<usize> {
    let prefix = [&b"r"[..], b"br", b"cr"].into_iter().find(|prefix| bytes.starts_with(prefix))?.len();
    let hashes = bytes[prefix..].iter().take_while(|byte| **byte == b'#').count();
    let open = prefix + hashes;
    (bytes.get(open) == Some(&b'"')).then_some(())?;
    let close = [b"\"", "#".repeat(hashes).as_bytes()].concat();
    let length = bytes[open + 1..].windows(close.len()).position(|window| window == close)?;
    Some(open + 1 + length + close.len())
}

#[test]
fn code_comments_and_literals_are_told_apart() {
    let text = r##"let a = "// no \" comment"; // a 'comment
let b = 'x'; let c: &'static str = r#"raw " /* "#; /* nested /* é */ */ let d = '\''; let é = b"}";"##;
    let source = Source::new("src/a.rs", text);
    assert_eq!(source.code.split_whitespace().collect::<Vec<_>>().join(" "), {
        "let a = \" \"; let b = \" \"; let c: &'static str = \" \"; let d = \" \"; let é = b\" \";"
    });
    let comments: Vec<_> = source.comments.lines().map(str::trim).collect();
    assert_eq!(comments, ["// a 'comment", "/* nested /* é */ */"]);
}

#[test]
fn tests_and_inner_modules_are_found() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { c() }\n}\n#[cfg(test)]\nuse x;\nfn d() {}\n";
    let source = Source::new("src/doors/http/mod.rs", text);
    let at = |what: &str| text.find(what).expect("it is there");
    assert!(source.is_test(at("c()")) && source.is_test(at("use x")));
    assert!(!source.is_test(at("fn a")) && !source.is_test(at("fn d")));
    assert_eq!(source.module_at(at("c()")), ["doors", "http", "tests"]);
    assert_eq!(source.module_at(at("fn d")), ["doors", "http"]);
    assert_eq!(source.finding(at("fn d"), "so"), "src/doors/http/mod.rs:8: so");
    assert!(Source::new("tests/a.rs", text).is_test(0));
}

#[test]
fn a_comment_explains_the_statement_it_stands_before() {
    let text = "// Why.\nlet a = b\n    .c();\nlet d = e;\nf(g); // why\n";
    let source = Source::new("src/a.rs", text);
    for (what, explained) in [(".c()", true), ("e;", false), ("g)", true)] {
        assert_eq!(source.is_explained(text.find(what).expect("it is there")), explained, "{what}");
    }
}
